"""Conditions: what all failing cases share and all passing ones lack.

Knows cases and the traits of calls under which convolution kernels break; not who was judged.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import combinations
from typing import TypeAlias

import numpy as np

from refconv.cases.recipe import OFFSETS, OUTPUT, Recipe
from refconv.core import formats
from refconv.core.geometry import Axis, Geometry
from refconv.core.padding import MODES
from refconv.judge.case import Case
from refconv.verification.candidate.arrangements import alignment
from refconv.verification.candidate.call import IMAGES, OTHER_RESULTS

LARGEST_CONJUNCTION = 3  # traits that a condition joins
EXCEPTIONS = 0.05  # share of the passing cases that may meet a condition: a wrong kernel is right now and then
LACKING = 0.6  # share of the passing cases that must not meet it, if no more of them meet it than cases failed
EQUALLY = 0.01  # shares that differ by no more are equal: of their conditions the first is named
LARGE = 2**11  # the first integers that float16 does not have, and past every tile

Pair: TypeAlias = tuple[Case, Recipe]
Levels: TypeAlias = Callable[[Recipe], dict[str, str]]


def conditions(
    failing: Sequence[Pair], passing: Sequence[Pair], levels: Levels | None = None, *, lacking: float = LACKING
) -> tuple[str, ...]:
    """The fewest traits that together all failing cases have and (almost) no passing one has.

    Parameters
    ----------
    failing, passing : sequence of (Case, Recipe)
        The cases.
    levels : callable, optional
        More traits: factors and their levels of a recipe.
    lacking : float
        The share of the passing cases that must not have all of these traits.

    Returns
    -------
    tuple of str
        A conjunction; empty if none tells them apart.

    Examples
    --------
    >>> from refconv.core.geometry import convolution
    >>> def recipe(stride, groups):
    ...     return Recipe(convolution((2, 4, 8, 8), (4, 4 // groups, 3, 3), None, stride, 0, 1, groups, "zeros"), 0)
    >>> failing, passing = [recipe(2, 2), recipe(3, 4)], [recipe(1, 2), recipe(2, 1), recipe(1, 4), recipe(3, 1)]
    >>> conditions(*([(recipe.case(), recipe) for recipe in recipes] for recipes in (failing, passing)))
    ('groups > 1', 'stride > 1')
    """
    if not failing or not passing:
        return ()
    held = [_traits(*pair, levels) for pair in failing]
    common = [name for name in held[0] if all(name in traits for traits in held)]  # in the order of the table
    if not common:
        return ()
    lacks = np.array(
        [[name not in traits for name in common] for traits in (_traits(*pair, levels) for pair in passing)]
    )
    told_apart = 0.0
    best: tuple[str, ...] = ()
    for number in range(1, LARGEST_CONJUNCTION + 1):
        chosen = list(combinations(range(len(common)), number))
        shares = [float(lacks[:, positions].any(axis=1).mean()) for positions in chosen]
        most = max(shares, default=0)
        if most > told_apart + EXCEPTIONS * bool(best):
            told_apart = next(share for share in shares if share >= most - EQUALLY)
            best = tuple(common[position] for position in chosen[shares.index(told_apart)])
        if told_apart >= 1 - EQUALLY:
            break
    meeting = round((1 - told_apart) * len(passing))
    enough = told_apart >= 1 - EXCEPTIONS or (told_apart >= lacking and meeting <= len(failing))
    return best if enough else ()


def meets(case: Case, recipe: Recipe, names: Sequence[str]) -> bool:
    """Whether a case has all of these traits."""
    return set(names) <= _traits(case, recipe).keys()


def shared(cases: Sequence[Pair]) -> frozenset[str]:
    """The traits that all of these cases have."""
    return frozenset.intersection(*(frozenset(_traits(*pair)) for pair in cases)) if cases else frozenset()


def _traits(case: Case, recipe: Recipe, levels: Levels | None = None) -> dict[str, None]:
    """Names of the traits that a case has, the more telling ones first."""
    traits = dict.fromkeys(name for name, holds in OF_CALLS.items() if holds(case, recipe))
    traits |= dict.fromkeys(
        f"{name} {trait}" for name, way in recipe.memory for trait in _of_memory(case, recipe, name, way)
    )
    traits |= dict.fromkeys(_of_geometry(case.geometry))
    if levels:
        traits |= dict.fromkeys(f"{factor}: {level}" for factor, level in levels(recipe).items())
    return traits


def _of_memory(case: Case, recipe: Recipe, name: str, way: str) -> Iterator[str]:
    """What is to be said of an array's memory."""
    if way == "contiguous":
        return
    yield "not contiguous"
    yield from (trait for trait, ways in OF_MEMORY.items() if way in ways)
    array = case.unwritten if name == OUTPUT else getattr(case, name)
    is_image = name in IMAGES or (name == OUTPUT and case.op not in OTHER_RESULTS)
    last = recipe.layout == "NHWC" and is_image
    aligned = alignment(np.moveaxis(array, -3, -1).shape if last else array.shape, array.dtype, way)
    yield from (f"not aligned to {size} bytes" for size in ALIGNMENTS if aligned < size)


@lru_cache(maxsize=4096)
def _of_geometry(g: Geometry) -> tuple[str, ...]:
    names = [name for name, holds in OF_GEOMETRIES.items() if holds(g)]
    for name, of_axis in OF_AXES.items():
        where = [direction for direction, axis in zip(("height", "width"), g.axes, strict=True) if of_axis(axis)]
        names += [name] * bool(where) + [f"{name} ({direction})" for direction in where]
    return tuple(names)


def _of_mode(mode: str) -> Callable[[Geometry], bool]:
    return lambda g: g.padding_mode == mode


def _not_finite(case: Case) -> bool:
    with np.errstate(invalid="ignore"):
        floats = (array for array in case.arrays.values() if array.dtype not in formats.INTEGERS)
        return not all(np.isfinite(formats.parts(array)).all() for array in floats)


OF_MEMORY: dict[str, tuple[str, ...]] = {
    "in C order, but not at the start of its memory": ("offset", *OFFSETS, "unaligned"),
    "channels last": ("channels_last", "channels_last_chunk", "channels_last_pitch"),
    "with gaps between pixels or rows": ("channels_last_chunk", "channels_last_pitch", "row_pitch", "interleaved"),
    "with strides of 0": ("broadcast",),
    "with negative strides": ("negative",),
}
ALIGNMENTS = (4, 8, 16, 32, 64)  # bytes

# Of two traits that tell as much the first is named; so the more telling ones stand first.
OF_CALLS: dict[str, Callable[[Case, Recipe], bool]] = {
    "layout NHWC": lambda _, recipe: recipe.layout == "NHWC",
    "NaN or infinity": lambda case, _: _not_finite(case),
    "narrow format": lambda _, recipe: np.dtype(recipe.dtype) in formats.NARROW,
    "8-bit integers": lambda _, recipe: recipe.dtype in ("int8", "uint8"),
    "bias": lambda _, recipe: recipe.bias,
    "padding 'same'": lambda _, recipe: recipe.padding == "same",
    "output padding": lambda _, recipe: any(recipe.output_padding),
    "output padding (height)": lambda _, recipe: recipe.output_padding[0] > 0,
    "output padding (width)": lambda _, recipe: recipe.output_padding[-1] > 0,
    "no batch axis": lambda _, recipe: not recipe.batched,
    "zero points": lambda _, recipe: recipe.quantisation not in ("", "plain"),
    "real numbers": lambda _, recipe: recipe.fill not in ("integers", "positions"),
}

OF_GEOMETRIES: dict[str, Callable[[Geometry], bool]] = {
    "no images": lambda g: g.batch == 0,
    "an empty axis": lambda g: 0 in (g.in_channels, g.out_channels, *g.size, *g.output_size),
    "an axis of 65536 or more": lambda g: (
        max(g.batch, g.in_channels, g.out_channels, *g.size, *g.output_size) >= 2**16 - 1
    ),
    "more than 65535 pixels": lambda g: math.prod(g.output_size) > 2**16 - 1,
    f"an axis of {LARGE} or more": lambda g: max(g.batch, g.in_channels, g.out_channels, *g.size) >= LARGE,
    "more than 255 taps": lambda g: math.prod(g.kernel) > 255,
    "1x1 kernel": lambda g: set(g.kernel) == {1},
    "3x3 kernel": lambda g: set(g.kernel) == {3},
    "groups > 1": lambda g: g.groups > 1,
    "depthwise": lambda g: g.groups == g.in_channels > 1,
    "depthwise, multiplier > 1": lambda g: g.groups == g.in_channels > 1 and g.out_channels > g.groups,
    "grouped, not depthwise": lambda g: 1 < g.groups < g.in_channels,
    "more than one image": lambda g: g.batch > 1,
    "more than one filter": lambda g: g.out_channels > 1,
    "more than one filter in a group": lambda g: g.out_channels > g.groups,
    "padding mode not zeros": lambda g: g.padding_mode != "zeros",
    "unequal dilation": lambda g: g.dilation[0] != g.dilation[1],
    "unequal stride": lambda g: g.stride[0] != g.stride[1],
    "unequal padding": lambda g: g.padding[0] != g.padding[1],
    "unequal kernel": lambda g: g.kernel[0] != g.kernel[1],
    "square kernel": lambda g: g.kernel[0] == g.kernel[1],
    "output of one pixel": lambda g: set(g.output_size) == {1},
    "channels no multiple of 4": lambda g: g.in_channels % 4 > 0,
    "channels of a group no multiple of 4": lambda g: g.in_channels // g.groups % 4 > 0,
    "more than one channel in a group": lambda g: g.in_channels > g.groups,
    "taps no multiple of 4": lambda g: math.prod(g.kernel) % 4 > 0,
    "channels a multiple of 8": lambda g: g.in_channels % 8 == 0 < g.in_channels,
    "filters no multiple of 4": lambda g: g.out_channels % 4 > 0,
    "more than 9 taps": lambda g: math.prod(g.kernel) > 9,
    "more than 4 taps": lambda g: math.prod(g.kernel) > 4,
    "a long sum": lambda g: g.terms > 256,
    "dense": lambda g: g.groups == 1,
    "one image": lambda g: g.batch == 1,
    "one filter in a group": lambda g: g.out_channels == g.groups,
    "one channel in a group": lambda g: g.in_channels == g.groups,
    "an odd number of channels in a group": lambda g: g.in_channels // g.groups % 2 == 1,
    "an odd number of filters in a group": lambda g: g.out_channels // g.groups % 2 == 1,
    "more than 4 channels in a group": lambda g: g.in_channels // g.groups > 4,
    "more than 4 filters in a group": lambda g: g.out_channels // g.groups > 4,
}

OF_GEOMETRIES |= {f"padding mode {mode!r}": _of_mode(mode) for mode in MODES[1:]}

OF_AXES: dict[str, Callable[[Axis], bool]] = {
    "dilation > 1": lambda a: a.dilation > 1 < a.kernel,
    "even dilation": lambda a: a.dilation % 2 == 0 and a.kernel > 1,
    "dilation 3": lambda a: a.dilation == 3 and a.kernel > 1,
    "dilation argument > 1": lambda a: a.dilation > 1,
    "stride > 1": lambda a: a.stride > 1,
    "stride equal to the kernel": lambda a: a.stride == a.kernel > 1,
    "even kernel": lambda a: a.kernel % 2 == 0,
    "padding": lambda a: max(a.padding) > 0,
    "unequal sides of the padding": lambda a: a.padding[0] != a.padding[1],
    "padding on one side": lambda a: 0 in a.padding and max(a.padding) > 0,
    "padding not below the kernel": lambda a: max(a.padding) >= a.extent,
    "output smaller than the padding": lambda a: 0 < a.output < max(a.padding),
    "stride above the dilation": lambda a: a.stride > a.dilation,
    "stride above the kernel": lambda a: a.stride > a.kernel,
    "stride leaves some over": lambda a: a.left_over > 0,
    "kernel longer than 1": lambda a: a.kernel > 1,
    "kernel 1": lambda a: a.kernel == 1,
    "size 1": lambda a: a.size == 1,
    "output longer than 1": lambda a: a.output > 1,
    "output 1": lambda a: a.output == 1,
}
