"""One correlation: the form that every operator is lowered to.

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

    The group is an axis of its own: in a weight gradient, images and channels change places and groups do not.
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
    slack: int = 0  # by how many units a sum of two numbers may be off: see `targets.exact.two_numbers`


Index: TypeAlias = tuple[slice, ...]


def pieces(c: Correlation, most: int) -> Iterator[tuple[Index, Correlation]]:
    """Correlations that together compute `c.out`, of at most `most` outputs or one line, and where in `c.out` they lie.

    For callers who need memory for each output. Outputs are cut into some images at a time, else some channels, else
    some lines of the longest axis.
    """
    images, groups, channels, *size = c.out.shape
    axis = size.index(max(size))
    line = groups * math.prod(size) // size[axis]
    image = line * size[axis]  # outputs of an image that have the same channel of a group
    images_at_once, channels_at_once, lines = (max(1, most // outputs) for outputs in (image * channels, image, line))
    others = (slice(None),) * axis
    for n, k, first in itertools.product(
        range(0, images, images_at_once), range(0, channels, channels_at_once), range(0, size[axis], lines)
    ):
        chosen = slice(n, n + images_at_once), slice(None), slice(k, k + channels_at_once)
        index = (*chosen, *others, slice(first, first + lines))
        yield index, _piece(c, axis, index)


def halves(c: Correlation, axis: int) -> Iterator[Correlation]:
    """Two correlations that together compute `c.out`, each half of it along an axis, which is not that of groups."""
    spatial, middle = max(axis - 3, 0), c.out.shape[axis] // 2
    for half in (slice(0, middle), slice(middle, c.out.shape[axis])):
        index = [slice(0, size) for size in c.out.shape[: 4 + spatial]]
        index[axis] = half
        yield _piece(c, spatial, tuple(index))


def addends(c: Correlation, most: int) -> Iterator[Correlation]:
    """Correlations whose sums add up to those of `c` without its bias: each has some of the terms.

    Each reads at most `most` elements of x, or has one tap.
    """
    channels, *kernel = c.w.shape[2:]
    axis = kernel.index(max(kernel))
    of_channel = max(1, c.x.size // max(1, channels))  # elements of x
    channels_at_once = max(1, most // of_channel)
    taps_at_once = max(1, min(kernel[axis], kernel[axis] * most // of_channel))
    for channel, tap in itertools.product(range(0, channels, channels_at_once), range(0, kernel[axis], taps_at_once)):
        chosen, taps = slice(channel, channel + channels_at_once), slice(tap, min(tap + taps_at_once, kernel[axis]))
        part = c._replace(x=c.x[:, :, chosen], w=c.w[:, :, chosen], bias=None)
        if taps != slice(0, kernel[axis]):
            nearest = taps.start if c.dilation[axis] > 0 else kernel[axis] - taps.stop
            w = part.w[(slice(None),) * (3 + axis) + (taps,)]
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
    """`c` moved along an axis: the first output's first tap meets the element `first`; x is cut to what is read."""
    taps, outputs, size = c.w.shape[3 + axis], c.out.shape[3 + axis], c.x.shape[3 + axis]
    last = first + (taps - 1) * abs(c.dilation[axis]) + (outputs - 1) * c.stride[axis]
    if c.padding_mode == "zeros":
        low = min(max(first, 0), size - 1)
        high = max(min(last + 1, size), low + 1)
        x, sides = c.x[(slice(None),) * (3 + axis) + (slice(low, high),)], (low - first, last + 1 - high)
    else:  # padding may repeat elements from anywhere along the axis
        positions = element(np.arange(first, last + 1), size, c.padding_mode)
        x, sides = np.take(c.x, positions, 3 + axis), (0, 0)
    return c._replace(x=x, padding=(*c.padding[:axis], sides, *c.padding[axis + 1 :]))
