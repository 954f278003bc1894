"""Plans: a correlation in the numbers and tables that kernels are told, and which kernels.

Knows correlations' shapes, padding and kernels; nothing of devices: who runs a plan puts its tables there.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from refconv.correlation import Correlation
from refconv.errors import BackendUnavailable
from refconv.formats import EXACT, number, numbers
from refconv.nest import BLOCK
from refconv.padding import ZERO, Sides, element
from refconv.targets.cuda.kernel import Shape
from refconv.targets.cuda.memory import divisor
from refconv.targets.cuda.transfer import NOTHING

Size = tuple[int, ...]

FEW_UNITS = 2 * 132  # with fewer, a large GPU has processors to spare: long sums are computed in parts
MOST_SUMS = 2**26  # of all parts
MOST = 2**31 - 2**25  # of what has a number of 32 bits: there is room for rounding up to units, and a step of a grid


def shapes(accumulator: np.dtype) -> dict[str, Shape]:
    """The units for sums of an accumulator: for many channels of a group, for few, and for one (depthwise)."""
    if number(accumulator).itemsize == 4:
        dense, grouped = Shape(8, 4, 8, 32, 16), Shape(8, 4, 1, 128, 8)
    else:
        dense, grouped = Shape(4, 4 // numbers(accumulator), 8, 32, 16), Shape(4, 2, 1, 256, 8)
    return {"dense": dense, "grouped": grouped, "depthwise": Shape(1, 4, 1, 256, 0)}


class Problem(NamedTuple):
    """Everything a plan depends on: shapes, options, formats, and how the operands lie on the device, in bytes."""

    x_shape: Size
    w_shape: Size
    output: Size
    stride: Size
    dilation: Size
    padding: Sides
    padding_mode: str
    x_strides: Size
    w_strides: Size
    out_strides: Size
    accumulator: np.dtype

    @property
    def terms(self) -> int:
        """Products in a sum."""
        return math.prod(self.w_shape[2:])

    @property
    def sums(self) -> int:
        """Outputs."""
        return self.x_shape[0] * self.w_shape[0] * self.w_shape[1] * math.prod(self.output)


class Tables(NamedTuple):
    """Where elements lie: of each plane, row and column."""

    planes: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


class Plan(NamedTuple):
    """What is moved and computed."""

    shape: Shape
    x: Tables
    w: Tables
    out: Tables
    offsets: np.ndarray
    row_places: np.ndarray
    counts: dict[str, Any]  # of a `Sums`
    parts: int

    @property
    def packed_x(self) -> int:
        """Numbers of the packed input."""
        return len(self.x.planes) * len(self.x.rows) * len(self.x.columns)

    @property
    def packed_w(self) -> int:
        """Numbers of the packed weights."""
        return len(self.w.planes) * len(self.w.rows) * len(self.w.columns)


class _Axis(NamedTuple):
    """Of one axis: what is packed of the padded input, and where the taps lie in it, relative to an output's first."""

    elements: np.ndarray
    taps: np.ndarray


def _axis(taps: int, stride: int, dilation: int, outputs: int) -> _Axis:
    """One part for each residue modulo the stride that a tap has: neighbouring outputs see neighbouring elements."""
    places = np.arange(taps) * dilation - min(0, (taps - 1) * dilation)
    shift, residue = np.divmod(places, stride)
    starts, owner = np.unique(residue, return_inverse=True)
    length = outputs + int(shift.max(initial=0))
    return _Axis(np.add.outer(starts, np.arange(length) * stride).reshape(-1), owner * length + shift)


def packed_channel(c: Correlation, output: Size) -> int:
    """How many elements of a channel are packed, for an output of this size: what `_axis` has, multiplied."""
    lengths = 1
    for taps, stride, dilation, outputs in zip(c.w.shape[3:], c.stride, c.dilation, output, strict=True):
        parts = min(taps, stride // math.gcd(stride, dilation))
        lengths *= parts * (outputs + max(0, taps - 1) * abs(dilation) // stride)
    return lengths


def check_counts(c: Correlation) -> None:
    """Refuse what kernels can't count.

    Raises
    ------
    BackendUnavailable
        Saying what there is too much of.
    """
    terms = math.prod(c.w.shape[2:])
    for what, count in {
        "outputs": c.out.size,
        "terms in an output": terms,
        "channels of the input": math.prod(c.x.shape[:3]),
        "elements in a channel of the padded input": packed_channel(c, c.out.shape[3:]),
        "weights in a tile of channels": terms * _shape(c.accumulator, c.w.shape[1]).block_channels,
    }.items():
        if count > MOST:
            raise BackendUnavailable(
                f"backend='cuda': there are {count} {what}, of what can't be divided: must be at most {MOST}; use "
                "backend='cpu', with arrays of the host"
            )


def plan(p: Problem) -> Plan:
    """The plan of a problem."""
    images, groups, in_channels = p.x_shape[:3]
    channels, kernel = p.w_shape[1], p.w_shape[3:]
    axes = [_axis(*axis) for axis in zip(kernel, p.stride, p.dilation, p.output, strict=True)]
    lengths = [len(each.elements) for each in axes]
    steps = [math.prod(lengths[axis + 1 :]) for axis in range(len(lengths))]
    taps, row_places = np.zeros(1, np.int64), np.zeros(1, np.int64)
    for each, step in zip(axes, steps, strict=True):
        taps = np.add.outer(taps, each.taps * step).reshape(-1)
    for outputs, step in zip(p.output[:-1], steps[:-1], strict=True):
        row_places = np.add.outer(row_places, np.arange(outputs) * step).reshape(-1)
    shape = _shape(p.accumulator, channels)
    channel = math.prod(lengths)
    outputs, columns = math.prod(p.output), p.output[-1]
    positions = images * outputs
    lanes = _lanes(positions, shape)
    if shape.terms:
        tiles, groups_of_units = -(-channels // shape.block_channels), groups
        places = -(-positions // shape.block_positions)
    else:
        tiles, groups_of_units = -(-groups * channels // (shape.threads // lanes)), 1
        places = -(-positions // (shape.positions * lanes))
    units = places * tiles * groups_of_units
    parts = _parts(p, units)
    counts = {
        "image": groups * in_channels * channel,
        "group": in_channels * channel,
        "outputs": outputs,
        "all_sums": parts * p.sums,
        "bias_step": numbers(p.accumulator) if parts == 1 else 0,
        "units": np.int32(units * parts),
        "terms": np.int32(p.terms),
        "part_terms": np.int32(p.terms if parts == 1 else BLOCK),
        "groups": np.int32(groups),
        "channels": np.int32(channels),
        "images": np.int32(images),
        "positions": np.int32(positions),
        "per_tiles": divisor(places),
        "per_channels": divisor(tiles),
        "per_groups": divisor(groups_of_units),
        "per_outputs": divisor(outputs),
        "per_columns": divisor(columns),
        "in_group": divisor(channels),
        "lanes": divisor(lanes),
        "lines": np.int32(shape.threads // lanes),
    }
    offsets = np.add.outer(np.arange(in_channels) * channel, taps).reshape(-1)
    tables = _x_tables(p, axes), _w_tables(p, shape), _out_tables(p)
    return Plan(shape, *tables, offsets, row_places, counts, parts)


def _shape(accumulator: np.dtype, channels: int) -> Shape:
    """The units: of many channels where they are not mostly empty."""
    found = shapes(accumulator)
    if channels == 1:
        return found["depthwise"]
    return found["grouped" if 2 * channels <= found["dense"].block_channels else "dense"]


def _lanes(positions: int, shape: Shape) -> int:
    """Threads along positions of a unit without staging: a power of two."""
    wanted = -(-positions // shape.positions)
    return min(shape.threads, 1 << (wanted - 1).bit_length())


def _parts(p: Problem, units: int) -> int:
    """Into how many parts, of a block each, sums are cut: long ones of which there are few."""
    parts = -(-p.terms // BLOCK)
    if p.accumulator is EXACT or units >= FEW_UNITS or parts < 4 or parts * p.sums > MOST_SUMS:
        return 1
    return parts


def _sum(*offsets: np.ndarray) -> np.ndarray:
    """All sums of an element of each, NOTHING where one is."""
    total = np.zeros(1, np.int64)
    for each in offsets:
        left, right = total[:, None], each[None]
        total = np.where((left == NOTHING) | (right == NOTHING), NOTHING, left + right).reshape(-1)
    return total


def _steps(shape: Size, strides: Size) -> list[np.ndarray]:
    return [np.arange(size) * stride for size, stride in zip(shape, strides, strict=True)]


def _x_tables(p: Problem, axes: list[_Axis]) -> Tables:
    found = []
    for axis, (each, size) in enumerate(zip(axes, p.x_shape[3:], strict=True)):
        before, after = p.padding[axis]
        position = each.elements - before
        index = np.where(position < size + after, element(position, size, p.padding_mode), ZERO)
        found.append(np.where(index == ZERO, NOTHING, index * p.x_strides[3 + axis]))
    return Tables(_sum(*_steps(p.x_shape[:3], p.x_strides[:3])), _sum(*found[:-1]), found[-1])


def _w_tables(p: Problem, shape: Shape) -> Tables:
    """Of weights: a plane for each tile of channels, a row for each term. The last tile is moved back."""
    groups, channels = p.w_shape[:2]
    tile = shape.block_channels
    first = np.maximum(np.minimum(np.arange(0, channels, tile), channels - tile), 0)
    planes = _sum(np.arange(groups) * p.w_strides[0], first * p.w_strides[1])
    columns = np.minimum(np.arange(tile), channels - 1) * p.w_strides[1]
    return Tables(planes, _sum(*_steps(p.w_shape[2:], p.w_strides[2:])), columns)


def _out_tables(p: Problem) -> Tables:
    """Of outputs."""
    planes = _steps((p.x_shape[0], *p.w_shape[:2]), p.out_strides[:3])
    along = _steps(p.output, p.out_strides[3:])
    return Tables(_sum(*planes), _sum(*along[:-1]), along[-1])
