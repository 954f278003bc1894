"""Traits: what can be said of a call in a few words, under which convolution kernels break or choose another path.

Knows recipes; not who was judged, nor which trait matters.
"""

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from refconv.cases.recipe import OFFSETS, OUTPUT, Recipe
from refconv.core import formats
from refconv.core.geometry import Axis, Geometry
from refconv.core.layouts import LAYOUTS, Layouts, result_name
from refconv.core.padding import MODES
from refconv.verification.candidate.arrangements import outline
from refconv.verification.candidate.call import IMAGES

OfGeometry: TypeAlias = Callable[[Geometry], bool]
OfAxis: TypeAlias = Callable[[Axis], bool]

LARGE = 2**11  # the first integers that float16 does not have, and past every tile
# What selectors compare with: channels or filters, output pixels, rows or columns, terms of a sum.
CHANNELS = (4, 8, 16, 32, 64, 128)
PIXELS = (4, 8, 16, 32, 49, 64, 128, 196, 256, 512, 784, 1024, 3136)
LENGTHS = (2, 4, 8, 16, 32, 64)
TERMS = (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16384, 65535)
BLOCKS = (4, 8, 16)
ALIGNMENTS = (4, 8, 16, 32, 64)  # bytes


@lru_cache(maxsize=2**14)
def traits(recipe: Recipe) -> dict[str, None]:
    """Names of the traits that a call has, the more telling ones first.

    >>> from refconv.core.geometry import convolution
    >>> recipe = Recipe(convolution((2, 8, 5, 5), (8, 8, 1, 1), None, 2, 0, 1, 1, "zeros"), 0)
    >>> {"1x1 kernel", "stride > 1", "dense", "no bias"} <= traits(recipe).keys()
    True
    """
    names = dict.fromkeys(name for name, holds in OF_CALLS.items() if holds(recipe))
    return names | dict.fromkeys(_of_memory(recipe)) | dict.fromkeys(_of_geometry(recipe.geometry))


def _of_memory(recipe: Recipe) -> Iterator[str]:
    """What is to be said of the arrays' memory."""
    ways = dict(recipe.memory)
    for name, way in ways.items():
        yield f"{name} not contiguous"
        yield from (f"{name} {trait}" for trait, of_trait in OF_MEMORY.items() if way in of_trait)
    for name in dict.fromkeys((*recipe.shapes(), *ways)):
        way = ways.get(name, "contiguous")
        axes = len(recipe.geometry.size)
        view, aligned = outline(_shape(recipe, name), recipe.dtype, way, axes)
        if way != "broadcast" and view.ndim > axes:
            yield from [f"{name} in C order"] * view.flags.c_contiguous
            yield from [f"{name} channels last"] * np.moveaxis(view, -1 - axes, -1).flags.c_contiguous
        yield from (f"{name} not aligned to {size} bytes" for size in ALIGNMENTS if aligned < size)


def _shape(recipe: Recipe, name: str) -> tuple[int, ...]:
    """The shape of an array as it is handed over."""
    shape = recipe.shapes().get(name)
    if shape is None:
        case = recipe.case()
        shape = (case.unwritten if name == OUTPUT else getattr(case, name)).shape
    elif name in IMAGES and not recipe.batched:
        shape = shape[1:]
    layouts = Layouts.parse(recipe.layout, len(recipe.geometry.size))
    role = result_name(recipe.op) if name == OUTPUT else name
    return layouts.size(role, shape, recipe.geometry.groups)


@lru_cache(maxsize=2**13)
def _of_geometry(g: Geometry) -> tuple[str, ...]:
    names = [name for name, holds in OF_GEOMETRIES.items() if holds(g)]
    for name, holds_of_axis in OF_AXES.items():
        sizes = ("depth", "height", "width")[-len(g.axes) :]
        where = [way for way, axis in zip(sizes, g.axes, strict=True) if holds_of_axis(axis)]
        of_all = [f"{name} ({('', 'both', 'all')[len(g.axes) - 1]})"] * (len(where) == len(g.axes) > 1)
        names += [name] * bool(where) + [f"{name} ({way})" for way in where] + of_all
    names += [name for name, holds_of_axis in OF_BOTH_AXES.items() if all(map(holds_of_axis, g.axes))]
    return tuple(names)


def _not_finite(recipe: Recipe) -> bool:
    if recipe.fill != "special":
        return False
    with np.errstate(invalid="ignore"):
        floats = (array for array in recipe.case().arrays.values() if array.dtype not in formats.INTEGERS)
        return not all(np.isfinite(formats.parts(array)).all() for array in floats)


# Of two traits that tell as much the first is named; so the more telling ones stand first.
OF_CALLS: dict[str, Callable[[Recipe], bool]] = {
    "layout NHWC": lambda recipe: recipe.layout in (last for _, last in LAYOUTS.values()),
    "NaN or infinity": _not_finite,
    "narrow format": lambda recipe: np.dtype(recipe.dtype) in formats.NARROW,
    "8-bit integers": lambda recipe: recipe.dtype in ("int8", "uint8"),
    "bias": lambda recipe: recipe.bias,
    "padding 'same'": lambda recipe: recipe.padding == "same",
    "padding 'same_upper'": lambda recipe: recipe.padding == "same_upper",
    "padding 'same_lower'": lambda recipe: recipe.padding == "same_lower",
    "output padding": lambda recipe: any(recipe.output_padding),
    "output padding (height)": lambda recipe: any(recipe.output_padding[-2:-1]),
    "output padding (width)": lambda recipe: recipe.output_padding[-1] > 0,
    "no batch axis": lambda recipe: not recipe.batched,
    "zero points": lambda recipe: recipe.quantisation not in ("", "plain"),
    "real numbers": lambda recipe: recipe.fill not in ("integers", "positions"),
    "no bias": lambda recipe: not recipe.bias,
}

OF_MEMORY: dict[str, tuple[str, ...]] = {
    "in C order, but not at the start of its memory": ("offset", *OFFSETS, "unaligned"),
    "with its channels side by side": ("channels_last", "channels_last_chunk", "channels_last_pitch"),
    "with gaps between pixels or rows": ("channels_last_chunk", "channels_last_pitch", "row_pitch", "interleaved"),
    "with strides of 0": ("broadcast",),
    "with negative strides": ("negative",),
}


def _of_mode(mode: str) -> OfGeometry:
    return lambda g: g.padding_mode == mode


def _square(size: int) -> OfGeometry:
    return lambda g: set(g.kernel) == {size}


def _channels(g: Geometry) -> int:
    """Of a group."""
    return g.in_channels // g.groups


def _filters(g: Geometry) -> int:
    """Of a group."""
    return g.out_channels // g.groups


def _pixels(g: Geometry) -> int:
    """Of an output."""
    return math.prod(g.output_size)


def _least(number: Callable[[Geometry], int], least: int) -> OfGeometry:
    return lambda g: number(g) >= least


def _multiple(number: Callable[[Geometry], int], factor: int) -> OfGeometry:
    return lambda g: number(g) % factor == 0 < number(g)


def _no_multiple(number: Callable[[Geometry], int], factor: int) -> OfGeometry:
    return lambda g: number(g) % factor > 0


def _numbers() -> Iterator[tuple[str, OfGeometry]]:
    """Numbers compared with those that selectors compare them with."""
    counted: tuple[tuple[str, Callable[[Geometry], int]], ...] = (
        ("channels of a group", _channels),
        ("filters of a group", _filters),
        ("channels", lambda g: g.in_channels),
        ("filters", lambda g: g.out_channels),
    )
    for (name, number), size in ((pair, size) for pair in counted for size in CHANNELS):
        yield f"{name} a multiple of {size}", _multiple(number, size)
        yield f"{name} no multiple of {size}", _no_multiple(number, size)
        yield f"{name} at least {size}", _least(number, size)
    for size in (2, 3, 4, 8):
        yield f"{size} groups", lambda g, size=size: g.groups == size  # type: ignore[misc]
    for size in BLOCKS:
        yield f"pixels no multiple of {size}", _no_multiple(_pixels, size)
        yield f"pixels a multiple of {size}", _multiple(_pixels, size)
    for size in PIXELS:
        yield f"at least {size} pixels", _least(_pixels, size)
    for size in TERMS:
        yield f"sums of more than {size} terms", _least(lambda g: g.terms, size + 1)


OF_GEOMETRIES: dict[str, OfGeometry] = {
    "no images": lambda g: g.batch == 0,
    "an empty axis": lambda g: 0 in (g.in_channels, g.out_channels, *g.size, *g.output_size),
    "an axis of 65536 or more": lambda g: (
        max(g.batch, g.in_channels, g.out_channels, *g.size, *g.output_size) >= 2**16 - 1
    ),
    "more than 65535 pixels": lambda g: math.prod(g.output_size) > 2**16 - 1,
    f"an axis of {LARGE} or more": lambda g: max(g.batch, g.in_channels, g.out_channels, *g.size) >= LARGE,
    "more than 255 taps": lambda g: math.prod(g.kernel) > 255,
    **{f"{size}x{size} kernel": _square(size) for size in (1, 3, 2, 5, 7)},
    "groups > 1": lambda g: g.groups > 1,
    "depthwise": lambda g: g.groups == g.in_channels > 1,
    "depthwise, multiplier > 1": lambda g: g.groups == g.in_channels > 1 and g.out_channels > g.groups,
    "grouped, not depthwise": lambda g: 1 < g.groups < g.in_channels,
    "more than one image": lambda g: g.batch > 1,
    "more than one filter": lambda g: g.out_channels > 1,
    "more than one filter in a group": lambda g: g.out_channels > g.groups,
    "padding mode not zeros": lambda g: g.padding_mode != "zeros",
    **{f"padding mode {mode!r}": _of_mode(mode) for mode in MODES[1:]},
    "unequal dilation": lambda g: len(set(g.dilation)) > 1,
    "unequal stride": lambda g: len(set(g.stride)) > 1,
    "unequal padding": lambda g: len(set(g.padding)) > 1,
    "unequal kernel": lambda g: len(set(g.kernel)) > 1,
    "square kernel": lambda g: len(set(g.kernel)) == 1 < len(g.kernel),
    "kernel of one row": lambda g: g.kernel[-2:-1] == (1,) and g.kernel[-1] > 1,
    "kernel of one column": lambda g: g.kernel[-1] == 1 < max(g.kernel),
    "output of one pixel": lambda g: set(g.output_size) == {1},
    "an odd number of pixels": lambda g: _pixels(g) % 2 == 1,
    "more than one channel in a group": lambda g: g.in_channels > g.groups,
    "3 channels in a group": lambda g: _channels(g) == 3,
    "as many filters as channels in a group": lambda g: _channels(g) == _filters(g),
    "more filters than channels in a group": lambda g: _filters(g) > _channels(g),
    "more channels than filters in a group": lambda g: _channels(g) > _filters(g),
    "taps no multiple of 4": lambda g: math.prod(g.kernel) % 4 > 0,
    "more than 9 taps": lambda g: math.prod(g.kernel) > 9,
    "more than 4 taps": lambda g: math.prod(g.kernel) > 4,
    "dense": lambda g: g.groups == 1,
    "one image": lambda g: g.batch == 1,
    "one filter in a group": lambda g: g.out_channels == g.groups,
    "one channel in a group": lambda g: g.in_channels == g.groups,
    "an odd number of channels in a group": lambda g: _channels(g) % 2 == 1,
    "an odd number of filters in a group": lambda g: _filters(g) % 2 == 1,
    **dict(_numbers()),
}


def _output_lengths() -> Iterator[tuple[str, OfAxis]]:
    for size in BLOCKS:
        yield f"output no multiple of {size}", lambda a, size=size: a.output % size > 0  # type: ignore[misc]
    for size in LENGTHS:
        yield f"output at least {size}", lambda a, size=size: a.output >= size  # type: ignore[misc]


OF_AXES: dict[str, OfAxis] = {
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
    "padding no multiple of the stride": lambda a: a.padding[0] % a.stride > 0,
    "output smaller than the padding": lambda a: 0 < a.output < max(a.padding),
    "stride above the dilation": lambda a: a.stride > a.dilation,
    "stride unequal to the dilation": lambda a: a.stride != a.dilation,
    "stride above the kernel": lambda a: a.stride > a.kernel,
    "stride leaves some over": lambda a: a.left_over > 0,
    "kernel longer than 1": lambda a: a.kernel > 1,
    "kernel as long as the input": lambda a: a.extent == a.size,
    "kernel 1": lambda a: a.kernel == 1,
    "size 1": lambda a: a.size == 1,
    "output 1": lambda a: a.output == 1,
    **dict(_output_lengths()),
}

# What is said only where both axes have it.
OF_BOTH_AXES: dict[str, OfAxis] = {
    "stride 1": lambda a: a.stride == 1,
    "stride 2": lambda a: a.stride == 2,
    "stride as the kernel": lambda a: a.stride == a.kernel,
    "dilation 1": lambda a: a.dilation == 1 or a.kernel == 1,
    "dilation argument 1": lambda a: a.dilation == 1,
    "no padding": lambda a: max(a.padding) == 0,
    "padding of half the kernel": lambda a: a.padding == (a.kernel // 2,) * 2,
}
