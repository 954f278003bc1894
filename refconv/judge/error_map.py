"""Figures: where the errors of an output are, and how large.

Knows arrays; matplotlib is imported when a figure is made.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from refconv.core.formats import INTEGERS
from refconv.core.optional import optional_module
from refconv.judge.standard import ulps

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure(
    actual: np.ndarray, expected: np.ndarray, ratio: np.ndarray, worst: tuple[int, ...] | None, title: str
) -> "Figure":
    """A map of the errors in the worst image and channel, and a histogram of all distances in ULPs.

    Parameters
    ----------
    actual, expected : ndarray
        The output and what it must be, of one shape and dtype.
    ratio : ndarray
        The errors in units of their bounds, of the same shape.
    worst : tuple of int or None
        Index of the largest ratio; None if all elements are equal.
    title : str
        Heading of the figure.
    """
    optional_module("matplotlib.figure", "a figure")
    from refconv.core.figures import ShownFigure

    whole = ShownFigure(figsize=(10, 4), layout="constrained")
    left, right = whole.subplots(1, 2)
    _map(whole, left, ratio, worst)
    _histogram(right, actual, expected)
    whole.suptitle(title)
    return whole


def _map(whole: "Figure", axes: Any, ratio: np.ndarray, worst: tuple[int, ...] | None) -> None:
    """Errors of an image's channel in units of their bounds; what is beyond comparison in red."""
    import matplotlib as mpl

    place = worst or (0,) * ratio.ndim
    if not ratio.size:
        axes.text(0.5, 0.5, "no elements", ha="center")
        return
    image = np.ma.masked_invalid(ratio[place[:-2]])
    colors = mpl.colormaps["viridis"].with_extremes(bad="red")
    shown = axes.imshow(image, cmap=colors, vmin=0, vmax=max(1.0, float(np.ma.filled(image.max(), 1.0))))
    whole.colorbar(shown, ax=axes, label="error / bound (red: must be equal)")
    if worst:
        axes.plot(place[-1], place[-2], "o", markersize=14, markerfacecolor="none", markeredgecolor="white")
    axes.set(title=f"output[{', '.join(map(str, place[:-2]))}]", xlabel="q", ylabel="p")


def _histogram(axes: Any, actual: np.ndarray, expected: np.ndarray) -> None:
    """Numbers of elements by their distance: 0, 1, 2-3, 4-7, ..."""
    unit, distances = "ULP", ulps(actual, expected).astype(np.float64)
    if actual.dtype in INTEGERS:
        unit, distances = "difference", np.abs(actual.astype(np.float64) - expected).reshape(-1)
    steps = np.frexp(distances)[1]
    counts = np.bincount(steps, minlength=2)
    axes.bar(range(len(counts)), counts)
    labels = ["0", *(f"$2^{{{step - 1}}}$" for step in range(1, len(counts)))]
    every = max(1, len(counts) // 12)
    axes.set_xticks(range(0, len(counts), every), labels[::every])
    axes.set(title="distance from the expected value", xlabel=f"{unit}, from ... on", ylabel="elements")
    if counts.any():
        axes.set_yscale("log")
