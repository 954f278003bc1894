"""Extents: how large a correlation is, in units, in what kernels count by 32 bits, and in bytes of the device's memory.

Knows shapes, steps and kernels; not where elements lie, which are padding, nor any device.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from refconv.core.errors import BackendUnavailable
from refconv.core.formats import EXACT, number, numbers
from refconv.engine.correlation import Correlation
from refconv.engine.nest import BLOCK
from refconv.engine.targets.cuda.kernel import Shape

Size = tuple[int, ...]

FEW_UNITS = 2 * 132  # with fewer, a large GPU has idle processors: long sums are computed in parts
MOST_SUMS = 2**26  # of all parts
MOST = 2**31 - 2**25  # of what is counted in 32 bits: leaves room for rounding up to units, and for a step of a grid
_ENTRY = 8  # bytes, of a table


def shapes(accumulator: np.dtype) -> dict[str, Shape]:
    """The units for sums of an accumulator: for many channels of a group, for few, and for one (depthwise)."""
    if number(accumulator).itemsize == 4:
        dense, grouped = Shape(8, 4, 8, 32, 16), Shape(8, 4, 1, 128, 8)
    else:
        dense, grouped = Shape(4, 4 // numbers(accumulator), 8, 32, 16), Shape(4, 2, 1, 256, 8)
    return {"dense": dense, "grouped": grouped, "depthwise": Shape(1, 4, 1, 256, 0)}


class Extent(NamedTuple):
    """The shapes of a correlation's operands, and its steps."""

    x_shape: Size
    w_shape: Size
    output: Size
    stride: Size
    dilation: Size
    accumulator: np.dtype

    @property
    def terms(self) -> int:
        """Products in a sum."""
        return math.prod(self.w_shape[2:])

    @property
    def positions(self) -> int:
        """Outputs of a channel, of all images."""
        return self.x_shape[0] * math.prod(self.output)

    @property
    def sums(self) -> int:
        """Outputs."""
        return self.w_shape[0] * self.w_shape[1] * self.positions

    @property
    def lengths(self) -> Iterator[int]:
        """How many elements are packed along each axis: one part for each residue modulo the stride that a tap has."""
        for taps, stride, dilation, outputs in zip(
            self.w_shape[3:], self.stride, self.dilation, self.output, strict=True
        ):
            parts = min(taps, stride // math.gcd(stride, dilation))
            yield parts * (outputs + max(0, taps - 1) * abs(dilation) // stride)

    @property
    def shape(self) -> Shape:
        """The shape of units: for many channels, unless such units would be mostly empty."""
        by_name, channels = shapes(self.accumulator), self.w_shape[1]
        if channels == 1:
            return by_name["depthwise"]
        return by_name["grouped" if 2 * channels <= by_name["dense"].block_channels else "dense"]

    @property
    def tiles(self) -> int:
        """Tiles of channels of a group, as its weights are packed."""
        return -(-self.w_shape[1] // self.shape.block_channels)

    @property
    def lanes(self) -> int:
        """Threads along positions of a unit without staging: a power of two."""
        shape = self.shape
        needed = -(-self.positions // shape.positions)
        return min(shape.threads, 1 << (needed - 1).bit_length())

    @property
    def units(self) -> tuple[int, int, int]:
        """Units of one part: along positions, along tiles of channels, along groups."""
        shape, (groups, channels) = self.shape, self.w_shape[:2]
        if shape.terms:
            return -(-self.positions // shape.block_positions), self.tiles, groups
        lines = -(-groups * channels // (shape.threads // self.lanes))
        return -(-self.positions // (shape.positions * self.lanes)), lines, 1

    @property
    def parts(self) -> int:
        """Into how many parts, of a block each, sums are cut: long sums, if there are few."""
        parts = -(-self.terms // BLOCK)
        few = parts * self.sums <= MOST_SUMS and math.prod(self.units) < FEW_UNITS
        return parts if few and parts >= 4 and self.accumulator is not EXACT else 1

    @property
    def table_bytes(self) -> int:
        """Bytes of all tables of a `Plan` and of the bias's tables."""
        planes, (groups, channels) = math.prod(self.x_shape[:3]), self.w_shape[:2]
        *rows, columns = self.lengths
        *out_rows, out_columns = self.output
        of_x = planes + math.prod(rows) + columns
        of_w = groups * self.tiles + self.terms + self.shape.block_channels
        of_out = self.x_shape[0] * groups * channels + math.prod(out_rows) + out_columns
        of_bias = 1 + groups + channels * numbers(self.accumulator)
        return _ENTRY * (of_x + of_w + of_out + of_bias + self.terms + math.prod(out_rows))

    @property
    def packed_bytes(self) -> int:
        """Bytes of packed operands, of the sums and their parts, and of what parts start from."""
        of_sum, parts = numbers(self.accumulator), self.parts
        x = math.prod(self.x_shape[:3]) * math.prod(self.lengths)
        w = self.w_shape[0] * self.tiles * self.shape.block_channels * self.terms
        sums = self.sums * (of_sum if parts == 1 else parts + 1)
        bias = of_sum * (math.prod(self.w_shape[:2]) + 2 * self.shape.block_channels)  # and room for tiles
        return number(self.accumulator).itemsize * (x + w + sums + bias)

    @property
    def spans(self) -> Iterator[int]:
        """Elements along each axis from the first to the last that outputs read, padding included."""
        for taps, stride, dilation, outputs in zip(
            self.w_shape[3:], self.stride, self.dilation, self.output, strict=True
        ):
            yield (outputs - 1) * stride + max(0, taps - 1) * abs(dilation) + 1

    def check(self) -> None:
        """Refuse a correlation that kernels can't count in 32 bits.

        Raises
        ------
        BackendUnavailable
            Saying what there is too much of.
        """
        for what, count in {
            "outputs": self.sums,
            "terms in an output": self.terms,
            "channels of the input": math.prod(self.x_shape[:3]),
            "elements in a channel of the padded input": math.prod(self.lengths),
            "weights in a tile of channels": self.terms * self.shape.block_channels,
        }.items():
            if count > MOST:
                raise BackendUnavailable(
                    f"backend='cuda': there are {count} {what}, of what can't be divided: must be at most {MOST}; use "
                    "backend='cpu', with arrays of the host"
                )


def extent(c: Correlation, shape: Size) -> Extent:
    """The extent of a correlation whose output has this shape: that of `c.out`, or smaller."""
    x_shape, w_shape = (shape[0], *c.x.shape[1:]), (*shape[1:3], *c.w.shape[2:])
    return Extent(x_shape, w_shape, shape[3:], c.stride, c.dilation, c.accumulator)
