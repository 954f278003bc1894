"""Variations: recipes that differ from a given one in one thing, to see by experiment what its failure needs.

Knows recipes and how they are fitted; not who is judged on them.
"""

from collections.abc import Callable, Iterator
from typing import Any

from refconv.cases.fitting import MAX_MULTIPLICATIONS, fitted, size_of
from refconv.cases.recipe import LAYOUTS, OFFSETS, Recipe
from refconv.cases.supports import Supports
from refconv.cases.values import ANYTHING, PADDINGS, Values, output_size, values_of
from refconv.core.padding import MODES

_SELECTED = (8, 16, 32, 64, 128)  # numbers that selectors ask for multiples of
_LENGTHS = (1, 2, 3, 4, 8, 16, 17)  # of outputs
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
_PAIRS = (("rows", "columns"), ("stride_h", "stride_w"), ("dilation_h", "dilation_w"), ("top", "left"))
_BOTH = (1, 2, 3, 5, 7)  # of both numbers of a pair
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
# And where an array is not contiguous, to see what of it matters.
_LAID = (*reversed(OFFSETS), "channels_last", "channels_last_chunk", "row_pitch")


_ROOM = {"height": 4, "width": 3, "batch": 1, "inputs": 1, "outputs": 1}


def variations(recipe: Recipe, supports: Supports = ANYTHING) -> Iterator[Recipe]:
    """Valid recipes of the same operator and dtype, each with one thing changed, or what belongs together.

    Examples
    --------
    >>> recipe = fitted("conv2d", Values(rows=2, columns=2, dilation_h=2, height=4, width=4))
    >>> dilations = {variation.geometry.dilation for variation in variations(recipe)}
    >>> (1, 1) in dilations, (2, 2) in dilations, (3, 1) in dilations
    (True, True, True)
    """
    v, seen = values_of(recipe), {recipe}
    for changes in _changes(v):
        variation = _changed(recipe.op, v, changes, supports)
        if variation not in seen:
            seen.add(variation)
            yield variation


def roomy(recipe: Recipe, fails: Callable[[Recipe], bool | None], supports: Supports = ANYTHING) -> Recipe:
    """A recipe that fails as well, with more of each size where it still does.

    In a smallest case there is one pixel or one channel, and so no telling whether memory or remainders matter.

    >>> roomy(fitted("conv2d", Values()), lambda larger: larger.geometry.batch == 1).geometry.size
    (5, 4)
    """
    v = values_of(recipe)
    for name, more in _ROOM.items():
        larger = _changed(recipe.op, v, {name: getattr(v, name) + more}, supports)
        if larger != recipe and fails(larger):
            v, recipe = values_of(larger), larger
    return recipe


def _changed(op: str, v: Values, changes: dict[str, Any], supports: Supports) -> Recipe:
    """The recipe of changed values, of at most four times as many products; or of as many as others of a plan."""
    return fitted(op, v._replace(**changes), supports, max(MAX_MULTIPLICATIONS, 4 * size_of(v)))


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
        yield from ({height: number, width: number} for number in _BOTH)
    yield from ({"rows": n, "columns": n, "top": n // 2, "left": n // 2} for n in _BOTH)
    for n in _BOTH:
        patches = {"rows": n, "columns": n, "stride_h": n, "stride_w": n}
        yield from (patches, patches | {"height": n * v.height, "width": n * v.width})
    yield {"top": 0, "left": 0, "bottom": 0, "right": 0}
    yield from _sizes(v)
    yield {"seed": v.seed + 1}


def _sizes(v: Values) -> Iterator[dict[str, Any]]:
    """Changes of channels, filters and the image: near by, and to where selectors look."""
    for name in ("inputs", "outputs"):
        yield from ({name: number} for number in _around(getattr(v, name)))
    yield from ({"inputs": number, "outputs": number} for number in _around(v.inputs))
    yield from ({"outputs": number} for number in (v.inputs, 2 * v.inputs))
    yield {"inputs": v.outputs}
    for name in ("height", "width"):
        yield from ({name: number} for number in _around(getattr(v, name)))
    yield from ({"groups": number} for number in _around(v.groups))
    rows, columns = output_size(v)
    for size in _LENGTHS:
        height, width = v.height + (size - rows) * v.stride_h, v.width + (size - columns) * v.stride_w
        yield from ({"height": height}, {"width": width}, {"height": height, "width": width})
    for more in (-2, -1, 1, 2, 3, 4, 8, max(v.height, v.width)):
        yield {"height": v.height + more, "width": v.width + more}


def _around(number: int) -> Iterator[int]:
    """Numbers near one: others by little, halves, one and a half, doubles, and the next ones that selectors ask for."""
    others = (number - 2, number - 1, number + 1, number + 2, number + 3, number + 4, number // 2, 3 * number // 2,
              3 * number // 4, 2 * number, *((number // of + 1) * of for of in _SELECTED))  # fmt: skip
    yield from (other for other in dict.fromkeys(others) if other > 0 and other != number)
