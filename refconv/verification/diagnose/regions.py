"""Where an output is wrong, and how: regions of elements and patterns of values, each under a name.

Knows arrays and geometries; not who computed them, and nothing of mutants.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from refconv.core import formats
from refconv.core.geometry import Axis, Geometry
from refconv.core.operators import axes_of, like

PLANAR = 2
BLOCKS = (2, 4, 8, 16, 32)
MOSTLY = 0.75  # share of the shapes that a formula must give: now and then a size has another reason
MOST_BIASES = 64  # more of them are not compared with each other's channels
NEARLY_ALL = 0.98  # share of the elements that are wrong "everywhere": by chance some are right


@dataclass(frozen=True, eq=False)
class Wrong:
    """An output of the right shape in which elements are wrong, all arrays (N, C, H, W) or (C_out, C_in, R, S).

    With other numbers of spatial axes likewise.

    Attributes
    ----------
    op : str
        The operator: it tells what the axes are.
    geometry : Geometry or None
        Of the forward convolution concerned.
    mask : ndarray of bool
        The wrong elements.
    actual, expected : ndarray
        The candidate's output and the oracle's.
    bias : ndarray or None
        The call's bias.
    """

    op: str
    geometry: Geometry | None
    mask: np.ndarray
    actual: np.ndarray
    expected: np.ndarray
    bias: np.ndarray | None = None

    @property
    def groups(self) -> int:
        """Number of blocks that the channel axis falls into."""
        return self.geometry.groups if self.geometry else 1


Region = Callable[[Wrong], np.ndarray | None]  # a mask that can be broadcast; None where there is no such region


def regions(wrongs: Sequence[Wrong]) -> tuple[str, ...]:
    """Names of the regions that hold all wrong elements of all outputs; the smallest first.

    Parameters
    ----------
    wrongs : sequence of Wrong
        Outputs of one candidate, each with a wrong element.

    Returns
    -------
    tuple of str
        Empty if there is no output; "everywhere" where nearly all elements are wrong.

    Examples
    --------
    >>> import numpy as np
    >>> mask = np.zeros((1, 1, 3, 5), bool)
    >>> mask[..., 4] = True
    >>> regions([Wrong("conv2d", None, mask, mask, mask)])[:2]
    ('last column', 'columns beyond the last whole block of 2')
    """
    wrongs = [wrong for wrong in wrongs if wrong.mask.ndim == axes_of(wrong.op) + 2 and wrong.mask.any()]
    if not wrongs:
        return ()
    named_shares = []
    for name, region in REGIONS.items():
        share = _share(region, wrongs)
        if share < 1:
            named_shares.append((share, name))
    wide = all(wrong.mask.mean() >= NEARLY_ALL for wrong in wrongs)
    return tuple(name for _, name in sorted(named_shares, key=lambda pair: pair[0])) or ("everywhere",) * wide


def _share(region: Region, wrongs: Sequence[Wrong]) -> float:
    """Share of the elements that a region has, where it is a real part; 1 if a wrong element lies outside."""
    shares = []
    for wrong in wrongs:
        inside = region(wrong)
        if inside is None or (wrong.mask & ~inside).any():
            return 1.0
        shares.append(float(np.broadcast_to(inside, wrong.mask.shape).mean()))
    return sum(shares) / len(shares)


def _along(axis: int, chosen: Callable[[np.ndarray, Wrong], np.ndarray]) -> Region:
    """The elements whose index along an axis is among those chosen; spatial axes are counted from the last one."""

    def region(wrong: Wrong) -> np.ndarray | None:
        ndim = wrong.mask.ndim
        if axis < 2 - ndim:  # no spatial one
            return None
        index = np.arange(wrong.mask.shape[axis])
        inside: np.ndarray = chosen(index, wrong).reshape([-1 if other == axis % ndim else 1 for other in range(ndim)])
        return inside

    return region


def _beyond(block: int) -> Callable[[np.ndarray, Wrong], np.ndarray]:
    return lambda index, _: index >= len(index) // block * block


def _pixels_beyond(block: int) -> Region:
    def region(wrong: Wrong) -> np.ndarray:
        size = wrong.mask.shape[2:]
        pixels = math.prod(size)
        inside: np.ndarray = (np.arange(pixels) >= pixels // block * block).reshape(1, 1, *size)
        return inside

    return region


def _in_group(index: np.ndarray, wrong: Wrong) -> np.ndarray:
    """Number of the group of each channel."""
    groups: np.ndarray = index // max(1, len(index) // wrong.groups)
    return groups


def _residue(axis: int) -> Callable[[np.ndarray, Wrong], np.ndarray]:
    """Elements of an input gradient, or a transposed convolution, off the first residue of the stride."""

    def chosen(index: np.ndarray, wrong: Wrong) -> np.ndarray:
        g = wrong.geometry
        if g is None or like(wrong.op) != "input":
            return np.ones(len(index), bool)
        off: np.ndarray = (index + g.padding[axis][0]) % g.stride[axis] != 0
        return off

    return chosen


def padded(wrong: Wrong, side: int | None = None) -> np.ndarray | None:
    """Outputs of a forward convolution whose receptive field meets the padding: (before, after) or any side."""
    g = wrong.geometry
    if g is None or like(wrong.op) != "output":
        return None
    meets = []
    for axis in range(len(g.size)):
        first = np.arange(g.output_size[axis]) * g.stride[axis] - g.padding[axis][0]
        last = first + g.dilation[axis] * (g.kernel[axis] - 1)
        both = first < 0, last >= g.size[axis]
        meets.append(both[0] | both[1] if side is None else both[side])
    inside = functools.reduce(np.logical_or.outer, meets)
    return inside[None, None] if inside.shape == wrong.mask.shape[2:] else None


_AXES = {0: ("image", "images"), 1: ("channel", "channels"), -3: ("plane", "planes"), -2: ("row", "rows"),
         -1: ("column", "columns")}  # fmt: skip


def _named_regions() -> Iterator[tuple[str, Region]]:
    for axis, (singular, many) in _AXES.items():
        yield f"last {singular}", _along(axis, lambda index, _: index == len(index) - 1)
        yield f"first {singular}", _along(axis, lambda index, _: index == 0)
        yield f"{many} after the first", _along(axis, lambda index, _: index > 0)
        yield f"{many} from 65536 on", _along(axis, lambda index, _: index >= 2**16)
    for axis in (-3, -2, -1):
        many = _AXES[axis][1]
        yield f"{many} off the stride's first residue", _along(axis, _residue(axis))
        yield f"every second of the {many}", _along(axis, lambda index, _: index % 2 == 1)
    for block, axis in product(BLOCKS, (1, -3, -2, -1)):
        yield f"{_AXES[axis][1]} beyond the last whole block of {block}", _along(axis, _beyond(block))
    for block in BLOCKS[1:]:
        yield f"pixels beyond the last whole block of {block}", _pixels_beyond(block)
    yield "groups after the first", _along(1, lambda index, wrong: _in_group(index, wrong) > 0)
    yield "last group", _along(1, lambda index, wrong: _in_group(index, wrong) == wrong.groups - 1)
    yield "where the receptive field meets the padding", padded
    yield "where it meets the padding above or to the left", lambda wrong: padded(wrong, 0)
    yield "where it meets the padding below or to the right", lambda wrong: padded(wrong, 1)


REGIONS: dict[str, Region] = dict(_named_regions())


class Shapes(NamedTuple):
    """The shape of an output, and what it had to be."""

    actual: tuple[int, ...]
    expected: tuple[int, ...]
    geometry: Geometry | None

    def at(self, axis: int) -> tuple[int, int] | None:
        """Both sizes along an axis, which is negative; None if there is no such axis, or the numbers of axes differ."""
        if len(self.actual) != len(self.expected) or -axis > len(self.expected):
            return None
        return self.actual[axis], self.expected[axis]


def values(wrong: Wrong) -> tuple[str, ...]:
    """Names of the patterns that the values of the wrong elements have.

    Examples
    --------
    >>> import numpy as np
    >>> expected = np.arange(1.0, 5).reshape(1, 1, 2, 2)
    >>> actual = expected.swapaxes(2, 3)
    >>> values(Wrong("conv2d", None, actual != expected, actual, expected))
    ('the right values in other places',)
    """
    return tuple(name for name, holds in _VALUES.items() if wrong.mask.any() and holds(wrong))


def _floats(wrong: Wrong) -> tuple[np.ndarray, np.ndarray]:
    return wrong.actual.astype(np.complex128), wrong.expected.astype(np.complex128)


def _moved(wrong: Wrong) -> bool:
    actual, expected = (np.sort(array, axis=None) for array in (wrong.actual, wrong.expected))
    return len(np.unique(expected)) > 1 and np.array_equal(actual, expected)


def _offset(wrong: Wrong) -> bool:
    """Whether each wrong channel lacks its bias, or has another channel's."""
    spatial = tuple(range(2, wrong.mask.ndim))
    if wrong.bias is None or not spatial or wrong.bias.shape != wrong.mask.shape[1:2]:
        return False
    actual, expected = _floats(wrong)
    bias = wrong.bias.astype(np.complex128)
    others = np.zeros(1) if len(bias) > MOST_BIASES else np.append(bias, 0)
    with np.errstate(all="ignore"):
        right = (expected - bias.reshape(-1, *(1 for _ in spatial)))[..., None] + others
        close = np.isclose(actual[..., None], right, rtol=_tolerance(wrong), atol=1e-6 * np.abs(bias).max(initial=0))
    # In every wrong channel of an image: one other bias, or none, explains all of its elements.
    return bool(close.all(axis=spatial).any(axis=-1)[wrong.mask.any(axis=spatial)].all())


def _tolerance(wrong: Wrong) -> float:
    """How far two results of the format may be apart, relatively, that were rounded once or twice."""
    dtype = wrong.expected.dtype
    return 0.0 if dtype in formats.INTEGERS else max(1e-5, 4 * formats.unit_roundoff(dtype))


def _same(numbers: np.ndarray, spread: np.ndarray | float) -> bool:
    """Whether several finite numbers are one but for so much, and not 0."""
    if len(numbers) < 2 or not np.isfinite(numbers).all():
        return False
    middle = np.median(numbers.real)
    return bool(middle) and bool((np.abs(numbers - middle) <= spread).all())


def _scaled(wrong: Wrong) -> bool:
    actual, expected = (array[wrong.mask] for array in _floats(wrong))
    with np.errstate(all="ignore"):
        ratio = actual / expected
        return _same(ratio, _tolerance(wrong) * np.abs(ratio))


def _shifted(wrong: Wrong) -> bool:
    actual, expected = (array[wrong.mask] for array in _floats(wrong))
    with np.errstate(all="ignore"):
        return _same(actual - expected, _tolerance(wrong) * (np.abs(actual) + np.abs(expected)))


def _nan(array: np.ndarray) -> np.ndarray:
    return np.isnan(array.astype(np.complex128))


def _wrapped(bits: int) -> Callable[[Wrong], bool]:
    def holds(wrong: Wrong) -> bool:
        if wrong.actual.dtype.kind not in "iu":
            return False
        difference = wrong.actual[wrong.mask].astype(object) - wrong.expected[wrong.mask].astype(object)
        return all(number % 2**bits == 0 for number in difference)

    return holds


_VALUES: dict[str, Callable[[Wrong], bool]] = {
    "NaN where there must be none": lambda wrong: bool((_nan(wrong.actual) & ~_nan(wrong.expected)).any()),
    "no NaN where there must be one": lambda wrong: bool((~_nan(wrong.actual) & _nan(wrong.expected)).any()),
    "zero": lambda wrong: not wrong.actual[wrong.mask].any(),
    "the bias is missing or another channel's": _offset,
    "the right values in other places": _moved,
    "a constant factor": _scaled,
    "off by a constant": _shifted,
    "off by multiples of 2**16": _wrapped(16),
    "off by multiples of 2**8": _wrapped(8),
}


def sizes(shapes: Sequence[Shapes], op: str) -> tuple[str, ...]:
    """What is wrong about shapes: which axes, and by which formula all of the sizes come about.

    Examples
    --------
    >>> from refconv.core.geometry import convolution
    >>> geometry = convolution((1, 1, 7, 7), (1, 1, 3, 3), None, 1, 0, (2, 1), 1, "zeros")
    >>> sizes([Shapes((1, 1, 5, 5), (1, 1, 3, 5), geometry)], "conv2d")
    ('height 5, not 3: without the dilation',)
    """
    faults = []
    names = _names(op)
    for axis, name in enumerate(names, -len(names)):
        wrong = [both for both in (shape.at(axis) for shape in shapes) if both and both[0] != both[1]]
        if wrong:
            got, expected = wrong[0]
            why = _formula(shapes, op, axis) if axis >= -axes_of(op) else ""
            faults.append(f"{name} {got}, not {expected}" + (f": {why}" if why else ""))
    axes = [shape for shape in shapes if len(shape.actual) != len(shape.expected)]
    return (*(f"{len(shape.actual)} axes, not {len(shape.expected)}" for shape in axes[:1]), *faults)


def _names(op: str) -> tuple[str, ...]:
    """What the axes of a result are called."""
    sizes = ("depth", "height", "width")[-axes_of(op) :]
    if like(op) == "weight":
        return ("filters", "channels", *(f"kernel {size}" for size in sizes))
    return ("batch", "channels", *sizes)


def _formula(shapes: Sequence[Shapes], op: str, axis: int) -> str:
    """By which wrong formula (almost) all sizes come about, those that are right among them."""
    formulas = {"output": _FORMULAS, "input": _INPUT_FORMULAS}.get(like(op), {})
    for name, size in formulas.items():
        if sum(_is_of(shape, axis, size) for shape in shapes) >= MOSTLY * len(shapes):
            return name
    return ""


def _is_of(shapes: Shapes, axis: int, size: Callable[[Axis, Axis], int]) -> bool:
    g, both = shapes.geometry, shapes.at(axis)
    if g is None or not both:
        return False
    other = g.axes[-3 - axis] if len(g.axes) == PLANAR else g.axes[axis]  # of three axes, no one is the other
    return both[0] == max(0, size(g.axes[axis], other))


def _size(a: Axis, **changed: Any) -> int:
    """The output's size, with some of the axis' numbers replaced."""
    return a._replace(**changed).output


_FORMULAS: dict[str, Callable[[Axis, Axis], int]] = {
    "without the dilation": lambda a, _: _size(a, dilation=1),
    "without the stride": lambda a, _: _size(a, stride=1),
    "without the padding": lambda a, _: _size(a, padding=(0, 0)),
    "with the padding of one side": lambda a, _: _size(a, padding=(a.padding[0], 0)),
    "with the other axis' dilation": lambda a, b: _size(a, dilation=b.dilation),
    "with the other axis' stride": lambda a, b: _size(a, stride=b.stride),
    "with the other axis' kernel": lambda a, b: _size(a, kernel=b.kernel),
    "with the other axis' padding": lambda a, b: _size(a, padding=b.padding),
    "with the other axis' kernel and dilation": lambda a, b: _size(a, kernel=b.kernel, dilation=b.dilation),
    "with the other axis' kernel, stride and dilation": lambda a, b: _size(
        a, kernel=b.kernel, stride=b.stride, dilation=b.dilation
    ),
    "rounded up": lambda a, _: 1 - (-(_size(a, stride=1) - 1) // a.stride),
}


# What the stride leaves over is what a transposed convolution calls output padding.
_INPUT_FORMULAS: dict[str, Callable[[Axis, Axis], int]] = {
    "without what the stride leaves over": lambda a, _: a.size - a.left_over,
    "with one at most of what the stride leaves over": lambda a, _: a.size - max(0, a.left_over - 1),
    "without the dilation": lambda a, _: a.size - (a.dilation - 1) * (a.kernel - 1),
    "with what the stride leaves over counted in strides": lambda a, _: a.size + a.left_over * (a.stride - 1),
    "not cropped by the padding": lambda a, _: a.size + sum(a.padding),
    "cropped on one side only": lambda a, _: a.size + a.padding[1],
}
