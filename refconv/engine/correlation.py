"""One correlation, as every operator is seen.

Knows views and padding; not which operator it came from, and not who computes it.
"""

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np

from refconv.core.padding import Sides, element


class Correlation(NamedTuple):
    """`out` = `bias` + the correlation of the padded `x` with `w`, over views of any strides and dtypes.

    The group is an axis of its own: in a weight gradient images and channels change places and groups do not, which no
    array without it could say.
    """

    x: np.ndarray  # (images, groups, channels of a group, *size)
    w: np.ndarray  # (groups, output channels of a group, channels of a group, *kernel)
    bias: np.ndarray | None  # (groups, output channels of a group)
    out: np.ndarray  # (images, groups, output channels of a group, *output size)
    stride: tuple[int, ...]
    dilation: tuple[int, ...]  # negative where the kernel lies the other way round
    padding: Sides  # negative where the input is cropped
    padding_mode: str
    accumulator: np.dtype
    zero_point: int = 0  # what is subtracted from every element of `x`, an integer array
    slack: int = 0  # what a sum of two numbers may be off: see `targets.cpu.pairs`


Index: TypeAlias = tuple[slice, ...]


def pieces(c: Correlation, most: int) -> Iterator[tuple[Index, Correlation]]:
    """The same outputs by several correlations of at most so many elements, or a line; and where in `c.out` they lie.

    For those who need more memory than a correlation itself: some images each, else some channels, else some lines of
    the longest axis.
    """
    images, groups, channels, *size = c.out.shape
    axis = size.index(max(size))
    line = groups * math.prod(size) // size[axis]
    some, few, lines = (max(1, most // each) for each in (line * size[axis] * channels, line * size[axis], line))
    for n, k, first in itertools.product(range(0, images, some), range(0, channels, few), range(0, size[axis], lines)):
        others = (slice(None),) * axis
        index = (slice(n, n + some), slice(None), slice(k, k + few), *others, slice(first, first + lines))
        yield index, _piece(c, axis, index)


def halves(c: Correlation, axis: int) -> Iterator[Correlation]:
    """The same outputs by two correlations, each with half of an axis of the output, which is not that of groups."""
    spatial, middle = max(axis - 3, 0), c.out.shape[axis] // 2
    for some in (slice(0, middle), slice(middle, c.out.shape[axis])):
        index = [slice(0, size) for size in c.out.shape[: 4 + spatial]]
        index[axis] = some
        yield _piece(c, spatial, tuple(index))


def addends(c: Correlation, most: int) -> Iterator[Correlation]:
    """Correlations with some of the terms each, of at most so many elements of x, or one tap: their sums add up to c's.

    Without the bias.
    """
    channels, *kernel = c.w.shape[2:]
    axis = kernel.index(max(kernel))
    each = max(1, c.x.size // max(1, channels))
    few, taps = max(1, most // each), max(1, min(kernel[axis], kernel[axis] * most // each))
    for channel, tap in itertools.product(range(0, channels, few), range(0, kernel[axis], taps)):
        chosen, some = slice(channel, channel + few), slice(tap, min(tap + taps, kernel[axis]))
        part = c._replace(x=c.x[:, :, chosen], w=c.w[:, :, chosen], bias=None)
        if some != slice(0, kernel[axis]):
            nearest = some.start if c.dilation[axis] > 0 else kernel[axis] - some.stop
            w = part.w[(slice(None),) * (3 + axis) + (some,)]
            part = _seeing(part._replace(w=w), axis, nearest * abs(c.dilation[axis]) - c.padding[axis][0])
        yield part


def _piece(c: Correlation, axis: int, index: Index) -> Correlation:
    images, _, channels, *_, lines = index
    bias = None if c.bias is None else c.bias[:, channels]
    part = c._replace(x=c.x[images], w=c.w[:, channels], bias=bias, out=c.out[index])
    if part.out.shape[3 + axis] == c.out.shape[3 + axis]:
        return part
    return _seeing(part, axis, lines.start * c.stride[axis] - c.padding[axis][0])


def _seeing(c: Correlation, axis: int, first: int) -> Correlation:
    """The correlation whose first output's first tap, along an axis, meets this element; of x only what it sees."""
    taps, outputs, size = c.w.shape[3 + axis], c.out.shape[3 + axis], c.x.shape[3 + axis]
    last = first + (taps - 1) * abs(c.dilation[axis]) + (outputs - 1) * c.stride[axis]
    if c.padding_mode == "zeros":
        low = min(max(first, 0), size - 1)
        high = max(min(last + 1, size), low + 1)
        x, sides = c.x[(slice(None),) * (3 + axis) + (slice(low, high),)], (low - first, last + 1 - high)
    else:  # elements may come from anywhere
        positions = element(np.arange(first, last + 1), size, c.padding_mode)
        x, sides = np.take(c.x, positions, 3 + axis), (0, 0)
    return c._replace(x=x, padding=(*c.padding[:axis], sides, *c.padding[axis + 1 :]))
