"""Layers: calls as networks make them, at their true width, and ordinary small ones with one or two things unusual.

Fast paths are written for what is ordinary, and chosen by several conditions at once, which values drawn independently
hardly ever meet together. Knows networks' layers, spaces and fitting; not which other cases a plan has.
"""

import math
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np

from refconv.cases import networks
from refconv.cases.fitting import size_of
from refconv.cases.recipe import Recipe
from refconv.cases.space import Space
from refconv.cases.values import AXES, Values, for_axes, output_size, values_of
from refconv.core.operators import CONV, named

WIDE = 2**26  # most multiplications of a layer
NARROW = 2**19  # and where the candidate takes no large cases
ORDINARY = 2**21  # most multiplications of an ordinary call
LONG = 2**21  # multiplications from which on most numbers are integers
EXACT = 2**18  # layers of so many multiplications are taken as they are
TELLING = ("integers", "integers", "normal", "positions", "positive", "uniform")  # data of which every term is seen
SEVERAL = 8  # images of a batch, of which few are kept where there are many multiplications

# What selectors compare: channels with multiples and powers of two up to 128, sums with powers of two up to 2048, the
# pixels of an output with those of common images.
MOST_CHANNELS, MOST_TERMS = 128, 2048
PIXELS = (49, 196, 784, 3136)
VECTOR = 16  # most pixels that are taken at a time

# Ordinary calls; twice what is common.
CHANNELS = (1, 2, 3, 3, 4, 4, 8, 8, 12, 16, 16, 20, 24, 32, 32, 40, 64, 5, 7, 9, 15, 17, 31, 33)
KERNELS = ((1, 0),) * 6 + ((3, 1),) * 5 + ((3, 0), (5, 2), (7, 3), (2, 0), (4, 1), (1, 0))  # and padding
DEPTHS = (1, 2, 3, 4, 4, 5, 8, 9)
PLANAR = 2  # axes: what is said here of height and width, `for_axes` says of one and of three
SIZES = (*range(1, 18), 4, 6, 7, 8, 10, 14, 14, 16, 20, 28)
STRIDES = (1, 1, 1, 2)
BATCHES = (1, 1, 1, 2, 3, 8)
GROUPS = (2, 4, 8)
KINDS = ("dense",) * 5 + ("depthwise",) * 2 + ("grouped",)

# The fields that make one thing of a call: they change together.
THINGS = (
    ("stride_h", "stride_w"), ("stride_h",), ("stride_w",), ("dilation_h", "dilation_w"), ("dilation_h",),
    ("dilation_w",), ("top", "left"), ("top",), ("left",), ("rows", "columns"), ("rows",), ("columns",), ("height",),
    ("width",), ("batch",), ("groups",), ("inputs",), ("outputs",), ("first",), ("second",), ("first", "second"),
    ("bias", "third"), ("output",), ("layout",), ("dtype", "fill"), ("mode",), ("padding", "bottom", "right"),
    ("batched",), ("extra_h", "extra_w"), ("quantisation",),
)  # fmt: skip

# Unusual things that are numbers together, or relations: a name stands for the number that this field has.
TOGETHER: tuple[dict[str, Any], ...] = (
    {"height": 1, "width": 1},
    {"rows": 1, "columns": 1, "top": 1, "left": 1},
    {"height": 1, "rows": 1, "top": 0},
    {"width": 1, "columns": 1, "left": 0},
    {"height": "rows", "width": "columns", "top": 0, "left": 0},  # a filter as large as its image
    {"stride_h": 2, "stride_w": 2, "dilation_h": 2, "dilation_w": 2},
    {"stride_h": 2, "stride_w": 2, "top": 2, "left": 2},
    {"stride_h": "rows", "stride_w": "columns", "top": 0, "left": 0},  # patches side by side
    {"dilation_h": 2, "dilation_w": 2, "top": 2, "left": 2},
    {"outputs": "inputs"},
)


class Layers:
    """Calls as networks make them: all layers of all networks in turn, in an order of their own for each seed."""

    def __init__(self, space: Space, rng: np.random.Generator) -> None:
        self.space, self.rng = space, rng
        self._next: list[Values] = []

    def next(self) -> Values:
        """The next layer: one image or several, with a bias or without, contiguous or channels last."""
        rng, space = self.rng, self.space
        if not self._next:
            known = network_layers(len(space.rules.axes))
            self._next = [known[index] for index in rng.permutation(len(known)).tolist()]
        v = self._next.pop()
        first = _pick(rng, ("contiguous", "channels_last"))
        v = v._replace(
            batch=_pick(rng, (1, SEVERAL)), bias=bool(rng.integers(2)), first=first, layout=space.draw(rng, "layout"),
            second=_pick(rng, ("contiguous", first)), dtype=space.draw(rng, "dtype"), fill=_pick(rng, TELLING),
            quantisation=space.draw(rng, "quantisation"), mode=space.draw(rng, "mode"),
        )  # fmt: skip
        limit = space.within(WIDE if space.supports.large else NARROW)
        v = affordable(thrifty(v), limit, rng)
        if size_of(v) > LONG and rng.integers(8):  # exact sums are quickly judged, and leave no tolerance at all
            v = v._replace(fill="integers")
        return space.settled(v, limit)


def ordinary(space: Space, rng: np.random.Generator) -> Values:
    """An ordinary call in which up to two things are unusual."""
    axes = len(space.rules.axes)
    kind, (kernel, padding), stride = _pick(rng, KINDS), _pick(rng, KERNELS), _pick(rng, STRIDES)
    inputs, outputs, groups = _pick(rng, CHANNELS), _pick(rng, CHANNELS), 1
    if kind == "depthwise":
        groups, inputs, outputs = inputs, 1, 1
    elif kind == "grouped":
        groups, inputs, outputs = _pick(rng, GROUPS), _pick(rng, CHANNELS[:12]), _pick(rng, CHANNELS[:12])
    height = _pick(rng, SIZES)
    width = height if rng.integers(3) else _pick(rng, SIZES)
    along = {
        "height": height, "width": width, "rows": kernel, "columns": kernel, "top": padding, "left": padding,
        "bottom": padding, "right": padding, "stride_h": stride, "stride_w": stride,
    }  # fmt: skip
    v = Values(
        batch=_pick(rng, BATCHES), groups=groups, inputs=inputs, outputs=outputs, **for_axes(axes, along),
        bias=bool(rng.integers(2)), layout=space.draw(rng, "layout"), dtype=space.draw(rng, "dtype"),
        fill=_pick(rng, TELLING),
    )  # fmt: skip
    if axes > PLANAR:
        v = v._replace(depth=_pick(rng, DEPTHS))
    for _ in range(int(rng.integers(3))):
        v = _changed(space, rng, v)
    limit = space.within(ORDINARY)
    return space.settled(affordable(v, limit, rng), limit)


def _changed(space: Space, rng: np.random.Generator, v: Values) -> Values:
    """The values with one thing unusual."""
    axes = len(space.rules.axes)
    things = _things(axes)
    number = int(rng.integers(len(things) + len(TOGETHER)))
    if number >= len(things):
        numbers = for_axes(axes, TOGETHER[number - len(things)])
        return v._replace(**{name: getattr(v, of) if isinstance(of, str) else of for name, of in numbers.items()})
    names = things[number]
    if names == ("dtype", "fill"):
        return v._replace(**dict(zip(names, space.draw(rng, "dtype and fill"), strict=True)))
    return v._replace(**{name: space.draw(rng, name) for name in names})


@cache
def _things(axes: int) -> tuple[tuple[str, ...], ...]:
    """`THINGS` of so many axes: depth with height and width, and by itself."""
    if axes == PLANAR:
        return THINGS
    absent = {name for axis in AXES[:-axes] for name in axis}
    things = [tuple(name for name in names if name not in absent) for names in THINGS]
    if axes > PLANAR:
        depth = {width: depth for depth, _, width in zip(*AXES, strict=True)}
        things = [(*names, *(depth[name] for name in names if name in depth and len(names) > 1)) for names in things]
        things += [(name,) for name in depth.values() if name != AXES[0].after]
    return tuple(names for names in dict.fromkeys(things) if names)


@cache
def network_layers(axes: int = PLANAR) -> tuple[Values, ...]:
    """The different layers of all networks that have so many axes, on one image."""
    geometries = (layer.recipe().geometry for layer in networks.layers() if len(layer.stride) == axes)
    recipes = (Recipe(g, tuple(before for before, _ in g.padding), op=named(CONV, axes)) for g in geometries)
    return tuple(dict.fromkeys(map(values_of, recipes)))


@lru_cache(maxsize=4096)
def thrifty(v: Values) -> Values:
    """The values with fewer channels, images and pixels, as far as no selector can tell: see `_asked`.

    >>> wide = Values(inputs=512, outputs=512, rows=3, columns=3, height=112, width=112, top=1, left=1)
    >>> thrifty(wide).inputs, thrifty(wide).height
    (256, 58)
    """
    if size_of(v) <= EXACT:
        return v
    taps = v.planes * v.rows * v.columns
    inputs, outputs = next(
        (inputs, outputs)
        for inputs in _alike(v.inputs)
        if _terms(inputs * taps) == _terms(v.inputs * taps)
        for outputs in _alike(v.outputs)
        if _order(inputs, outputs) == _order(v.inputs, v.outputs)
    )
    groups = v.groups if v.groups < MOST_CHANNELS // 2 else MOST_CHANNELS // 4 + v.groups % 4
    v = v._replace(inputs=inputs, outputs=outputs, groups=groups, batch=min(v.batch, 2))
    reaches = _reaches(v)  # of axes along which there is nothing to leave out, none
    sizes = {size: getattr(v, size) for size, reach in reaches.items() if max(getattr(v, size), reach) > 1}
    room = min((length - reaches[size] for size, length in sizes.items()), default=0)
    for fewer in range(room, 0, -1):
        smaller = v._replace(**{size: length - fewer for size, length in sizes.items()})
        if _asked(smaller) == _asked(v):
            return smaller
    return v


def _reaches(v: Values) -> dict[str, int]:
    """How many elements the kernel spans along each axis, by the name of its size."""
    return {axis.size: getattr(v, axis.dilation) * (getattr(v, axis.taps) - 1) + 1 for axis in AXES}


def affordable(v: Values, limit: int, rng: np.random.Generator) -> Values:
    """The values with the batch, the image or the channels halved, which of them by chance, up to a size."""
    while size_of(v) > limit:
        smaller: list[dict[str, int]] = []
        if v.batch > 1:
            smaller.append({"batch": 2 if v.batch > 2 else 1})
        reaches = _reaches(v)
        if any(getattr(v, size) // 2 >= reach for size, reach in reaches.items()):
            lengths = {size: getattr(v, size) for size in reaches}
            smaller.append({size: min(n, max(n // 2, reaches[size])) for size, n in lengths.items()})
        if max(v.inputs, v.outputs) > 1:
            equal = v.inputs == v.outputs
            names = [name for name in ("inputs", "outputs") if equal or getattr(v, name) == max(v.inputs, v.outputs)]
            smaller.append({name: getattr(v, name) // 2 for name in names})
        if not smaller:
            return v
        v = v._replace(**_pick(rng, smaller))
    return v


def _pick(rng: np.random.Generator, options: Sequence[Any]) -> Any:
    return options[int(rng.integers(len(options)))]


def _asked(v: Values) -> tuple[Any, ...]:
    """What selectors ask of the image: pixels of the output, how many a vector leaves over, and what hangs over."""
    pixels = math.prod(output_size(v))
    over = v.depth >= v.planes, v.height >= v.rows, v.width >= v.columns
    return sum(pixels >= least for least in PIXELS), math.gcd(pixels, VECTOR), *over


@cache
def _alike(channels: int) -> tuple[int, ...]:
    """Numbers up to this one that have the same powers of two in them, and below them."""
    return tuple(number for number in range(1, channels + 1) if _channels(number) == _channels(channels))


def _channels(number: int) -> tuple[int, int]:
    return math.gcd(number, MOST_CHANNELS), min(number, MOST_CHANNELS).bit_length()


def _terms(number: int) -> int:
    return (min(number, MOST_TERMS + 1) - 1).bit_length()


def _order(inputs: int, outputs: int) -> int:
    return (inputs > outputs) - (inputs < outputs)
