"""Layouts: how a padded input lies flat, so that to step by one output is to step by one element.

Knows sizes and steps only: no array of a user's, no dtype, and not who reads the flat array.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np

Size: TypeAlias = tuple[int, ...]


class Layout(NamedTuple):
    """Where a channel's elements lie: one part for each residue modulo the stride that a tap of the kernel has.

    A part is dense: its element j along an axis is the padded input's element residue + j * stride. The outputs of a
    row are then neighbours whatever the stride, and so are rows, but for the `lengths[-1] - output[-1]` elements
    between the last output of one and the first of the next: sums are computed there too, and thrown away.

    Attributes
    ----------
    residues
        For each axis, the residues.
    lengths
        For each axis, how many elements of a residue are used.
    taps
        Where the input of each tap lies within its channel, relative to an output's first; taps in ascending order.
    steps
        From an output to the next along each axis.
    channel
        Elements of a channel.
    """

    residues: tuple[Size, ...]
    lengths: Size
    taps: np.ndarray
    steps: Size
    channel: int

    def offsets(self, channels: int, apart: int | None = None) -> np.ndarray:
        """Where the input of each term lies, in ascending (channel, tap), channels `apart` elements apart."""
        found: np.ndarray = np.add.outer(np.arange(channels) * (apart or self.channel), self.taps).reshape(-1)
        return found

    def positions(self, output: Size) -> int:
        """Length of the flat axis that `output` outputs of each axis lie on."""
        return 1 + sum((size - 1) * step for size, step in zip(output, self.steps, strict=True))


@lru_cache(maxsize=1024)
def layout(kernel: Size, stride: Size, dilation: Size, output: Size) -> Layout:
    """The layout of the input that `output` outputs of each axis need.

    Examples
    --------
    Two residues along the second axis, of which the second tap has the other one:

    >>> found = layout((1, 3), (1, 2), (1, 1), (4, 5))
    >>> found.residues, found.lengths, found.taps.tolist()
    (((0,), (0, 1)), (4, 6), [0, 24, 1])
    """
    residues, lengths, parts, quotients = [], [], [], []
    for taps, step, d, outputs in zip(kernel, stride, dilation, output, strict=True):
        quotient, residue = np.divmod(np.arange(taps) * d, step)
        found, part = np.unique(residue, return_inverse=True)
        residues.append(tuple(map(int, found)))
        lengths.append(outputs + int(quotient[-1]))
        parts.append(part)
        quotients.append(quotient)
    steps = _steps(lengths)
    size = math.prod(lengths)
    # The parts of the last axis lie farthest apart: all rows of one residue of the columns come together.
    part_steps = [size * step for step in _steps([len(each) for each in residues[-1:] + residues[:-1]])]
    part_steps = part_steps[1:] + part_steps[:1]
    offsets = np.zeros(1, np.int64)
    for part, part_step, quotient, step in zip(parts, part_steps, quotients, steps, strict=True):
        offsets = np.add.outer(offsets, part * part_step + quotient * step).reshape(-1)
    return Layout(tuple(residues), tuple(lengths), offsets, steps, size * math.prod(map(len, residues)))


def _steps(sizes: Sequence[int]) -> Size:
    """From an element to the next along each axis of a dense array."""
    return tuple(math.prod(sizes[axis + 1 :]) for axis in range(len(sizes)))
