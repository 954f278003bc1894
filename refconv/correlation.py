"""One correlation, as every operator is seen, and its packing into the arrays that the nest walks through.

Knows views, padding and the nest's arguments; not which operator it came from, and not who runs the nest.
"""

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from refconv.padding import Sides, dense, pad


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
    dilation: tuple[int, ...]
    padding: Sides
    padding_mode: str
    accumulator: np.dtype

    @property
    def multiplications(self) -> int:
        """Products in all sums together: the work there is."""
        return int(self.out.size * (self.w.size // (self.w.shape[0] * self.w.shape[1])))


class Packed(NamedTuple):
    """The arguments of `nest.correlate` between tile and jobs."""

    x: np.ndarray
    offsets: np.ndarray
    w: np.ndarray
    bias: np.ndarray
    out: np.ndarray
    steps: tuple[np.ndarray, tuple[int, int, int]]


def pack(c: Correlation) -> Packed:
    """Padding, strides and narrow formats dealt with: contiguous arrays in the accumulator's type."""
    x = pad(c.x, c.padding, c.padding_mode, c.accumulator)
    groups, channels = c.w.shape[:2]
    offsets, steps = _walk(x.shape, c.w.shape[3:], c.stride, c.dilation, c.out.shape[3:-1])
    return Packed(
        x.reshape(-1),
        offsets,
        dense(c.w, c.accumulator).reshape(groups, channels, len(offsets), 1),
        np.zeros((groups, channels), c.accumulator) if c.bias is None else dense(c.bias, c.accumulator),
        c.out if c.out.ndim == 5 else c.out.reshape(*c.out.shape[:3], -1, c.out.shape[-1], copy=False),
        steps,
    )


def jobs(packed: Packed) -> int:
    """Number of independent pieces of work: output rows of an image for a tile of channels."""
    images, _, _, rows, _ = packed.out.shape
    groups, channel_tiles, _, _ = packed.w.shape
    return int(images * groups * channel_tiles * rows)


@lru_cache(maxsize=1024)
def _walk(
    x_shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    output_rows: tuple[int, ...],
) -> tuple[np.ndarray, tuple[np.ndarray, tuple[int, int, int]]]:
    """Offsets of the terms in ascending (c, r, s); where rows start; steps from image to image, group and column."""
    batch_step, group_step, channel_step, *axis_steps = (math.prod(x_shape[axis + 1 :]) for axis in range(len(x_shape)))
    tap_steps = [step * d for step, d in zip(axis_steps, dilation, strict=True)]
    output_steps = [step * s for step, s in zip(axis_steps, stride, strict=True)]
    offsets = _grid((x_shape[2], *kernel), (channel_step, *tap_steps))
    row_starts = _grid(output_rows, output_steps[:-1])
    return offsets, (row_starts, (batch_step, group_step, output_steps[-1]))


def _grid(sizes: Iterable[int], steps: Iterable[int]) -> np.ndarray:
    """i * steps[0] + j * steps[1] + ... for all (i, j, ...) below sizes, in ascending order, flat."""
    total = np.zeros(1, np.int64)
    for size, step in zip(sizes, steps, strict=True):
        total = np.add.outer(total, np.arange(size) * step).reshape(-1)
    return total
