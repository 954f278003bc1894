"""Variations: recipes that differ from a given one in one thing, to see by experiment what its failure needs.

Knows recipes and how they are fitted; not who is judged on them.
"""

from collections.abc import Iterator
from typing import Any

from refconv.cases.fitting import MAX_MULTIPLICATIONS, fitted, size_of
from refconv.cases.recipe import LAYOUTS, OFFSETS, Recipe
from refconv.cases.supports import Supports
from refconv.cases.values import ANYTHING, PADDINGS, Values, values_of
from refconv.core.padding import MODES

_SMALL = (1, 2, 3, 4, 5, 8)  # channels and pixels: the first of each remainder that kernels look at
_NUMBERS: dict[str, tuple[int, ...]] = {
    "batch": (1, 2, 3),
    "groups": (1, 2, 3),
    "inputs": _SMALL,
    "outputs": _SMALL,
    "rows": (1, 2, 3),
    "columns": (1, 2, 3),
    "stride_h": (1, 2, 3),
    "stride_w": (1, 2, 3),
    "dilation_h": (1, 2, 3),
    "dilation_w": (1, 2, 3),
    "top": (0, 1, 2),
    "left": (0, 1, 2),
    "bottom": (0, 1, 2),
    "right": (0, 1, 2),
}
# And where an array is not contiguous, to see what of it matters.
_LAID = (*reversed(OFFSETS), "channels_last", "channels_last_chunk", "row_pitch")
_PAIRS = (("rows", "columns"), ("stride_h", "stride_w"), ("dilation_h", "dilation_w"), ("top", "left"))
_OPTIONS: dict[str, tuple[Any, ...]] = {
    "padding": PADDINGS,
    "mode": MODES,
    "layout": LAYOUTS,
    "batched": (True, False),
    "bias": (False, True),
    "first": ("contiguous", "transposed"),
    "second": ("contiguous", "transposed"),
    "third": ("contiguous", "negative"),
    "output": ("contiguous", "transposed"),
    "fill": ("integers", "positions", "normal"),
}


def variations(recipe: Recipe, supports: Supports = ANYTHING) -> Iterator[Recipe]:
    """Valid recipes of the same operator and dtype, each with one thing changed, or with both axes made alike.

    Examples
    --------
    >>> recipe = fitted("conv2d", Values(rows=2, columns=2, dilation_h=2, height=4, width=4))
    >>> dilations = {variation.geometry.dilation for variation in variations(recipe)}
    >>> (1, 1) in dilations, (2, 2) in dilations, (3, 1) in dilations
    (True, True, True)
    """
    v = values_of(recipe)
    limit = max(MAX_MULTIPLICATIONS, size_of(v))
    seen = {recipe}
    for changes in _changes(v):
        variation = fitted(recipe.op, v._replace(**changes), supports, limit)
        if variation not in seen:
            seen.add(variation)
            yield variation


def _changes(v: Values) -> Iterator[dict[str, Any]]:
    for name, values in (*_NUMBERS.items(), *_OPTIONS.items()):
        yield from ({name: value} for value in values if value != getattr(v, name))
    for name in ("first", "second", "third", "output"):
        if getattr(v, name) != "contiguous":
            yield from ({name: way} for way in _LAID if way != getattr(v, name))
    for height, width in _PAIRS:
        yield {height: getattr(v, width)}
        yield {width: getattr(v, height)}
        yield {height: getattr(v, width), width: getattr(v, height)}
    for name in ("height", "width"):
        yield from ({name: getattr(v, name) + more} for more in (-1, 1, 2, 3))
    yield {"height": v.height + 1, "width": v.width + 1}
    yield {"seed": v.seed + 1}
