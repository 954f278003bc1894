"""Pictures of a layer's weights. Knows arrays; matplotlib is imported when a picture is made."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from refconv.core.checks import integer
from refconv.core.errors import GeometryError
from refconv.core.optional import optional_module

if TYPE_CHECKING:
    from matplotlib.figure import Figure


MAX_PANELS = 256  # more take matplotlib longer than about 5 s
MAX_CHANNELS = 16  # more side by side are too wide for a screen
TITLE_WIDTH = 6.0  # inches, the least width of a figure


def chosen_indices(name: str, chosen: Any, count: int, most: int) -> list[int]:
    """Indices below `count`: those chosen, or the first ones, at most `most` of them."""
    if chosen is not None and not isinstance(chosen, Iterable):
        raise TypeError(f"{name}={chosen!r}: must be a sequence of integers, not {type(chosen).__name__}")
    indices = list(range(min(count, most))) if chosen is None else [integer(name, index, 0) for index in chosen]
    if not indices or max(indices) >= count:
        raise GeometryError(f"{name}={chosen!r}: must be at least one, each below {count}")
    return indices


def heat_maps(weight: np.ndarray, filters: list[int], channels: list[int]) -> "Figure":
    """Grid about as wide as high: the channels of a filter side by side, their colour bar, then the next filter."""
    optional_module("matplotlib.figure", "plot_weights()")
    from refconv.core.figures import ShownFigure

    columns_of_filter = [*[1.0] * len(channels), 0.1, 0.5]
    # As many filters side by side as fill the line below the title.
    fitting = math.ceil((TITLE_WIDTH - 0.4) / (1.4 * sum(columns_of_filter)))
    per_row = max(1, math.isqrt(len(filters) // len(channels)), min(len(filters), fitting))
    rows, columns = math.ceil(len(filters) / per_row), columns_of_filter * per_row
    grid_width, height = 1.4 * sum(columns) + 0.4, 1.4 * rows + 0.8  # inches
    width = max(grid_width, TITLE_WIDTH)
    figure = ShownFigure(figsize=(width, height))
    # Fixed margins: matplotlib's layout engines take five times longer than all the rest.
    grid = figure.add_gridspec(
        rows, len(columns), width_ratios=columns, wspace=0.1, hspace=0.25,
        left=0.2 / width, right=(grid_width - 0.2) / width, bottom=0.2 / height, top=1 - 0.8 / height,
    )  # fmt: skip
    for position, k in enumerate(filters):
        row, start = position // per_row, position % per_row * (len(channels) + 2)
        shown = weight[k, channels]
        limit = float(np.max(abs(shown), initial=0, where=np.isfinite(shown))) or 1.0
        for column, c in enumerate(channels, start):
            panel = figure.add_subplot(grid[row, column], xticks=[], yticks=[])
            image = panel.imshow(weight[k, c], cmap="RdBu_r", vmin=-limit, vmax=limit)
            panel.set_title(f"filter {k}, channel {c}", fontsize="x-small")
        bar = figure.colorbar(image, cax=figure.add_subplot(grid[row, start + len(channels)]))
        bar.ax.tick_params(labelsize="x-small")
    return figure
