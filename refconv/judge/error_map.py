"""Figures: where the errors of an output are, and how large.

Knows comparisons and matplotlib, which is imported when a figure is made.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from refconv.core.formats import INTEGERS
from refconv.judge.comparison import Comparison, ulps

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure(comparison: Comparison) -> "Figure":
    """A map of the errors in the worst image and channel, and a histogram of all distances in ULPs."""
    from matplotlib.figure import Figure

    if comparison.ratio.shape != comparison.expected.shape or comparison.ratio.ndim < 2:
        raise ValueError(f"nothing to plot: {comparison.problem or 'the output is a sample, not an image'}")
    found = Figure(figsize=(10, 4), layout="constrained")
    left, right = found.subplots(1, 2)
    _map(found, left, comparison)
    _histogram(right, comparison)
    # The description can be long: its first words say what was called.
    found.suptitle(f"{comparison.verdict}: {comparison.n_wrong} of {comparison.actual.size} elements wrong")
    return found


def _map(whole: "Figure", axes: Any, comparison: Comparison) -> None:
    """Errors of an image's channel in units of their bounds; what is beyond comparison in red."""
    import matplotlib as mpl

    place = comparison.worst or (0,) * comparison.ratio.ndim
    if not comparison.ratio.size:
        axes.text(0.5, 0.5, "no elements", ha="center")
        return
    image = np.ma.masked_invalid(comparison.ratio[place[:-2]])
    colours = mpl.colormaps["viridis"].with_extremes(bad="red")
    shown = axes.imshow(image, cmap=colours, vmin=0, vmax=max(1.0, float(np.ma.filled(image.max(), 1.0))))
    whole.colorbar(shown, ax=axes, label="error / bound (red: must be equal)")
    if comparison.worst:
        axes.plot(place[-1], place[-2], "o", markersize=14, markerfacecolor="none", markeredgecolor="white")
    axes.set(title=f"output[{', '.join(map(str, place[:-2]))}]", xlabel="q", ylabel="p")


def _histogram(axes: Any, comparison: Comparison) -> None:
    """Numbers of elements by their distance: 0, 1, 2-3, 4-7, ..."""
    unit, distances = "ULP", ulps(comparison.actual, comparison.expected).astype(np.float64)
    if comparison.actual.dtype in INTEGERS:
        unit, distances = "difference", np.abs(comparison.actual.astype(np.float64) - comparison.expected).reshape(-1)
    steps = np.frexp(distances)[1]
    counts = np.bincount(steps, minlength=2)
    axes.bar(range(len(counts)), counts)
    labels = ["0", *(f"$2^{{{step - 1}}}$" for step in range(1, len(counts)))]
    every = max(1, len(counts) // 12)
    axes.set_xticks(range(0, len(counts), every), labels[::every])
    axes.set(title="distance from the expected value", xlabel=f"{unit}, from ... on", ylabel="elements")
    if counts.any():
        axes.set_yscale("log")
