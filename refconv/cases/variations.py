"""Variations: recipes that differ from a given one in one thing, to see by experiment what its failure needs.

Knows recipes and how they are fitted; not who is judged on them.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from refconv.cases.fitting import MAX_MULTIPLICATIONS, fitted, size_of
from refconv.cases.recipe import LAYOUTS, OFFSETS, Recipe
from refconv.cases.supports import Supports
from refconv.cases.values import ANYTHING, AXES, PADDINGS, Axis, Values, output_size, values_of
from refconv.core.padding import MODES

_SELECTED = (8, 16, 32, 64, 128)  # numbers that selectors ask for multiples of
_LENGTHS = (1, 2, 3, 4, 8, 16, 17)  # of outputs
_SMALL = (1, 2, 3, 4, 5, 8)  # channels and pixels: the first of each remainder that kernels look at
_NUMBERS: dict[str, tuple[int, ...]] = {
    "batch": (1, 2, 3),
    "groups": (1, 2, 3),
    "inputs": _SMALL,
    "outputs": _SMALL,
}
_ALONG = {"taps": (1, 2, 3), "stride": (1, 2, 3), "dilation": (1, 2, 3), "before": (0, 1, 2), "after": (0, 1, 2)}
_EQUAL = ("taps", "stride", "dilation", "before")  # what may be the same along two axes
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


_ROOM = {"depth": 2, "height": 4, "width": 3, "batch": 1, "inputs": 1, "outputs": 1}


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
    for changes in _changes(v, AXES[-len(recipe.geometry.size) :]):
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


def _changes(v: Values, axes: Sequence[Axis]) -> Iterator[dict[str, Any]]:
    along = {getattr(axis, field): values for field, values in _ALONG.items() for axis in axes}
    for name, values in (*_NUMBERS.items(), *along.items(), *_OPTIONS.items()):
        yield from ({name: value} for value in values if value != getattr(v, name))
    for name in ("first", "second", "third", "output"):
        if getattr(v, name) != "contiguous":
            yield from ({name: way} for way in _LAID if way != getattr(v, name))
    for field, (one, two) in itertools.product(_EQUAL, itertools.combinations(axes, 2)):
        height, width = getattr(one, field), getattr(two, field)
        yield {height: getattr(v, width)}
        yield {width: getattr(v, height)}
        yield {height: getattr(v, width), width: getattr(v, height)}
        yield from ({height: number, width: number} for number in _BOTH)
    yield from (_of(axes, taps=n, before=n // 2) for n in _BOTH)
    for n in _BOTH:
        patches = _of(axes, taps=n, stride=n)
        yield from (patches, patches | {axis.size: n * getattr(v, axis.size) for axis in axes})
    yield _of(axes, before=0, after=0)
    yield from _sizes(v, axes)
    yield {"seed": v.seed + 1}


def _of(axes: Sequence[Axis], **fields: int) -> dict[str, Any]:
    """The same numbers for all axes."""
    return {getattr(axis, field): number for field, number in fields.items() for axis in axes}


def _sizes(v: Values, axes: Sequence[Axis]) -> Iterator[dict[str, Any]]:
    """Changes of channels, filters and the image: near by, and to where selectors look."""
    for name in ("inputs", "outputs"):
        yield from ({name: number} for number in _around(getattr(v, name)))
    yield from ({"inputs": number, "outputs": number} for number in _around(v.inputs))
    yield from ({"outputs": number} for number in (v.inputs, 2 * v.inputs))
    yield {"inputs": v.outputs}
    sizes = {axis.size: getattr(v, axis.size) for axis in axes}
    for name, size in sizes.items():
        yield from ({name: number} for number in _around(size))
    yield from ({"groups": number} for number in _around(v.groups))
    outputs = dict(zip(axes, output_size(v)[-len(axes) :], strict=True))
    for length in _LENGTHS:
        longer = {axis.size: sizes[axis.size] + (length - n) * getattr(v, axis.stride) for axis, n in outputs.items()}
        yield from ({name: size} for name, size in longer.items())
        yield longer
    for more in (-2, -1, 1, 2, 3, 4, 8, max(sizes.values())):
        yield {name: size + more for name, size in sizes.items()}


def _around(number: int) -> Iterator[int]:
    """Numbers near one: others by little, halves, one and a half, doubles, and the next ones that selectors ask for."""
    others = (number - 2, number - 1, number + 1, number + 2, number + 3, number + 4, number // 2, 3 * number // 2,
              3 * number // 4, 2 * number, *((number // of + 1) * of for of in _SELECTED))  # fmt: skip
    yield from (other for other in dict.fromkeys(others) if other > 0 and other != number)
