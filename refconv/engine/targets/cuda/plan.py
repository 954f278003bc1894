"""Plans: a correlation in the numbers and tables that kernels are told, and which kernels.

Knows correlations' shapes, padding and kernels; nothing of devices: who runs a plan puts its tables there.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from refconv.core.formats import numbers
from refconv.core.padding import ZERO, Sides, element
from refconv.engine.nest import BLOCK
from refconv.engine.targets.cuda.extent import Extent, Size
from refconv.engine.targets.cuda.primitives import divisor
from refconv.engine.targets.cuda.transfer import NOTHING


class Problem(NamedTuple):
    """Everything a plan depends on: the extent, the padding, and the operands' strides on the device, in bytes."""

    extent: Extent
    padding: Sides
    padding_mode: str
    x_strides: Size
    w_strides: Size
    out_strides: Size


class Tables(NamedTuple):
    """Where elements lie: an offset in bytes for each plane, row and column; an element's place is their sum."""

    planes: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


class Plan(NamedTuple):
    """The tables and counts of a correlation's kernels."""

    x: Tables
    w: Tables
    out: Tables
    offsets: np.ndarray
    row_places: np.ndarray
    counts: dict[str, Any]  # of a `Sums`


class _Axis(NamedTuple):
    """Along an axis: the elements of the padded input that are packed, and the taps' places among them for output 0."""

    elements: np.ndarray
    taps: np.ndarray


def _axis(taps: int, stride: int, dilation: int, outputs: int) -> _Axis:
    """One part for each residue modulo the stride that a tap has: neighboring outputs read neighboring elements."""
    places = np.arange(taps) * dilation - min(0, (taps - 1) * dilation)
    shift, residue = np.divmod(places, stride)
    starts, owner = np.unique(residue, return_inverse=True)
    length = outputs + int(shift.max(initial=0))
    return _Axis(np.add.outer(starts, np.arange(length) * stride).reshape(-1), owner * length + shift)


def plan(p: Problem) -> Plan:
    """The plan of a problem."""
    e = p.extent
    groups, in_channels = e.x_shape[1:3]
    axes = [_axis(*along) for along in zip(e.w_shape[3:], e.stride, e.dilation, e.output, strict=True)]
    lengths = [len(axis.elements) for axis in axes]
    steps = [math.prod(lengths[n + 1 :]) for n in range(len(lengths))]
    taps, row_places = np.zeros(1, np.int64), np.zeros(1, np.int64)
    for axis, step in zip(axes, steps, strict=True):
        taps = np.add.outer(taps, axis.taps * step).reshape(-1)
    for outputs, step in zip(e.output[:-1], steps[:-1], strict=True):
        row_places = np.add.outer(row_places, np.arange(outputs) * step).reshape(-1)
    channel = math.prod(lengths)
    offsets = np.add.outer(np.arange(in_channels) * channel, taps).reshape(-1)
    tables = _x_tables(p, axes), _w_tables(p), _out_tables(p)
    counts = _counts(e) | {"image": groups * in_channels * channel, "group": in_channels * channel}
    return Plan(*tables, offsets, row_places, counts)


def _counts(e: Extent) -> dict[str, Any]:
    """The counts of a `Sums`, but for the steps of the packed input."""
    units, parts, (groups, channels), lanes = e.units, e.parts, e.w_shape[:2], e.lanes
    outputs = math.prod(e.output)
    return {
        "outputs": outputs,
        "all_sums": parts * e.sums,
        "bias_step": numbers(e.accumulator) if parts == 1 else 0,
        "units": np.int32(math.prod(units) * parts),
        "terms": np.int32(e.terms),
        "part_terms": np.int32(e.terms if parts == 1 else BLOCK),
        "groups": np.int32(groups),
        "channels": np.int32(channels),
        "images": np.int32(e.x_shape[0]),
        "positions": np.int32(e.positions),
        "per_tiles": divisor(units[0]),
        "per_channels": divisor(units[1]),
        "per_groups": divisor(units[2]),
        "per_outputs": divisor(outputs),
        "per_columns": divisor(e.output[-1]),
        "in_group": divisor(channels),
        "lanes": divisor(lanes),
        "lines": np.int32(e.shape.threads // lanes),
    }


def _sum(*offsets: np.ndarray) -> np.ndarray:
    """All sums of one element of each array, flat; NOTHING where an element is NOTHING."""
    total = np.zeros(1, np.int64)
    for array in offsets:
        left, right = total[:, None], array[None]
        total = np.where((left == NOTHING) | (right == NOTHING), NOTHING, left + right).reshape(-1)
    return total


def _steps(shape: Size, strides: Size) -> list[np.ndarray]:
    return [np.arange(size) * stride for size, stride in zip(shape, strides, strict=True)]


def _x_tables(p: Problem, axes: list[_Axis]) -> Tables:
    along = []
    for n, (axis, size) in enumerate(zip(axes, p.extent.x_shape[3:], strict=True)):
        before, after = p.padding[n]
        position = axis.elements - before
        index = np.where(position < size + after, element(position, size, p.padding_mode), ZERO)
        along.append(np.where(index == ZERO, NOTHING, index * p.x_strides[3 + n]))
    return Tables(_sum(*_steps(p.extent.x_shape[:3], p.x_strides[:3])), _sum(*along[:-1]), along[-1])


def _w_tables(p: Problem) -> Tables:
    """Tables of the weights: a plane for each tile of channels, a row for each term. The last tile is moved back."""
    groups, channels = p.extent.w_shape[:2]
    tile = p.extent.shape.block_channels
    first = np.maximum(np.minimum(np.arange(0, channels, tile), channels - tile), 0)
    planes = _sum(np.arange(groups) * p.w_strides[0], first * p.w_strides[1])
    columns = np.minimum(np.arange(tile), channels - 1) * p.w_strides[1]
    return Tables(planes, _sum(*_steps(p.extent.w_shape[2:], p.w_strides[2:])), columns)


def _out_tables(p: Problem) -> Tables:
    """Tables of the output."""
    planes = _steps((p.extent.x_shape[0], *p.extent.w_shape[:2]), p.out_strides[:3])
    along = _steps(p.extent.output, p.out_strides[3:])
    return Tables(_sum(*planes), _sum(*along[:-1]), along[-1])
