"""Layouts: the order of a padded input in a flat array, in which neighboring outputs read neighboring elements.

Knows sizes and steps only: no array of a user's, no dtype, and not who reads the flat array.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np

Size: TypeAlias = tuple[int, ...]

MOST_PARTS = 16  # with more taps than this, taps have no parts of their own: each part takes time to pack


class Layout(NamedTuple):
    """Where a channel's elements lie: in parts, one along each axis for each residue modulo the stride that taps have.

    A part is dense: its element j along an axis is the padded input's element start + j * stride. The outputs of a row
    are then neighbors whatever the stride, and so are rows, but for the `lengths[-1] - output[-1]` elements between the
    last output of one row and the first of the next: sums are computed there too, and thrown away. Where taps lie so
    far apart that most sums would be thrown away, each tap has a part of its own.

    Attributes
    ----------
    starts
        For each axis, where in the padded input the parts start.
    lengths
        For each axis, how many elements a part has.
    taps
        Where the input of each tap lies within its channel, relative to an output's first; in the order of the taps.
    steps
        From an output to the next along each axis.
    part_steps
        From a part to the next along each axis.
    channel
        Elements of a channel.
    """

    starts: tuple[Size, ...]
    lengths: Size
    taps: np.ndarray
    steps: Size
    part_steps: Size
    channel: int

    def offsets(self, channels: int, apart: int | None = None) -> np.ndarray:
        """Where the input of each term lies, in ascending (channel, tap), channels `apart` elements apart."""
        offsets: np.ndarray = np.add.outer(np.arange(channels) * (apart or self.channel), self.taps).reshape(-1)
        return offsets

    def positions(self, output: Size) -> int:
        """Positions of the flat axis from the first to the last of `output` outputs along each axis."""
        return 1 + sum((size - 1) * step for size, step in zip(output, self.steps, strict=True))


@lru_cache(maxsize=1024)
def layout(kernel: Size, stride: Size, dilation: Size, output: Size) -> Layout:
    """The layout of the input that `output` outputs of each axis need.

    A negative dilation is that of a kernel that lies the other way round: its first tap meets the last element.

    Examples
    --------
    Two residues along the second axis; the second tap alone has the second residue:

    >>> flat = layout((1, 3), (1, 2), (1, 1), (4, 5))
    >>> flat.starts, flat.lengths, flat.taps.tolist()
    (((0,), (0, 1)), (4, 6), [0, 24, 1])
    """
    rows = math.prod(output[:-1])
    between = [*(len(output) - 1) * [False], rows > 1]  # where sums are computed between the outputs, too
    axes = [_parts(*axis) for axis in zip(kernel, stride, dilation, output, between, strict=True)]
    starts, lengths, owners, shifts = zip(*axes, strict=True)
    steps = _steps(lengths)
    size = math.prod(lengths)
    # The parts of the last axis lie farthest apart: all rows of one residue of the columns come together.
    last, *others = (size * step for step in _steps([len(axis) for axis in starts[-1:] + starts[:-1]]))
    part_steps = (*others, last)
    taps = np.zeros(1, np.int64)
    for owner, part_step, shift, step in zip(owners, part_steps, shifts, steps, strict=True):
        taps = np.add.outer(taps, owner * part_step + shift * step).reshape(-1)
    return Layout(starts, lengths, taps, steps, part_steps, size * math.prod(map(len, starts)))


def channel_elements(kernel: Size, stride: Size, dilation: Size, output: Size) -> int:
    """`layout(...).channel`, or slightly less: computed without a table of the taps, which may be many."""
    elements = 1
    for taps, step, between, outputs in zip(kernel, stride, dilation, output, strict=True):
        residues = min(taps, step // math.gcd(step, between))
        together = residues * (outputs + (taps - 1) * abs(between) // step)
        elements *= min(together, taps * outputs) if taps <= MOST_PARTS else together
    return elements


def _parts(
    taps: int, stride: int, dilation: int, outputs: int, between: bool
) -> tuple[Size, int, np.ndarray, np.ndarray]:
    """Along an axis: where parts start; their length; for each tap its part, and its offset in the part."""
    places = np.arange(taps) * dilation - min(0, (taps - 1) * dilation)
    shift, residue = np.divmod(places, stride)
    starts, owner = np.unique(residue, return_inverse=True)
    reach = int(shift.max())
    together, apart = len(starts) * (outputs + reach), taps * outputs
    # Packing more elements is worth it if fewer sums are thrown away.
    if taps <= MOST_PARTS and (apart < together or (between and reach > outputs and apart < 2 * together)):
        return tuple(map(int, places)), outputs, np.arange(taps), np.zeros(taps, np.int64)
    return tuple(map(int, starts)), outputs + reach, owner, shift


def _steps(sizes: Sequence[int]) -> Size:
    """From an element to the next along each axis of a dense array."""
    return tuple(math.prod(sizes[axis + 1 :]) for axis in range(len(sizes)))
