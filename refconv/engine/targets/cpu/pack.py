"""Packing: a panel, the input that a band of outputs needs, laid flat, padded and in the accumulator's format.

Knows jobs and memory; not the type of any number, and not what is computed from a panel.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from typing import NamedTuple

import numpy as np

from refconv.engine.targets.cpu.job import MODES, NOTHING
from refconv.engine.targets.jit.cfunctions import inner
from refconv.engine.targets.jit.memory import call, clear, view

ZERO = -1  # in place of an index: a zero, no element of the input
_REFLECT, _REPLICATE, _CIRCULAR = map(MODES.index, ("reflect", "replicate", "circular"))


class Axis(NamedTuple):
    """One part of a panel along an axis."""

    place: int  # of its first element, in the unpadded input
    stride: int  # from an element to the next
    size: int  # of the input
    after: int  # padding
    first: int  # the elements from `first` to `last`, which is excluded, are the input's own
    last: int
    used: int  # how many elements are needed


@inner
def _index(mode, axis, j):
    """The index of the input's element at element j of a part, ZERO for a zero: the same as in `padding.index_map`."""
    place = axis.place + j * axis.stride
    if place >= axis.size + axis.after:  # past the padded input: it belongs to no output
        return ZERO
    if 0 <= place < axis.size:
        return place
    if mode == _REFLECT:
        return axis.size - 1 - abs(axis.size - 1 - abs(place))
    if mode == _REPLICATE:
        return min(max(place, 0), axis.size - 1)
    if mode == _CIRCULAR:
        return place % axis.size
    return ZERO


@inner
def _borders(job, source, columns, start):
    """Fill the elements of a row that are not the input's own, one by one."""
    i = np.int64(0)
    while i < columns.used:
        if columns.first <= i < columns.last:
            i = columns.last
            continue
        index = _index(job.padding_mode, columns, i)
        target = start + i * job.itemsize
        if index == ZERO:
            clear(target, job.itemsize)
        else:
            call(job.convert_x, (source + index * job.x_column, target, job.x_steps, 1, 1, 1))
        i += 1


@inner
def _rows(job, source, rows, columns, panel, done, end):
    """Fill the rows of all channels, one by one; rows from `done` to `end` are filled already."""
    for c in range(job.in_channels):
        for j in range(rows.used):
            if done <= j < end:
                continue
            start = panel + (c * job.panel_channel + j * job.panel_columns) * job.itemsize
            index = _index(job.padding_mode, rows, j)
            if index == ZERO:
                clear(start, columns.used * job.itemsize)
                continue
            row = source + c * job.x_channel + index * job.x_row
            if columns.first < columns.last:
                origin = row + (columns.place + columns.first * columns.stride) * job.x_column
                target = start + columns.first * job.itemsize
                call(job.convert_x, (origin, target, job.x_steps, 1, 1, columns.last - columns.first))
            _borders(job, row, columns, start)


@inner
def _part(job, source, rows, columns, panel):
    """Fill one part of the rows and of the columns, of all channels."""
    done, end = rows.first, rows.last
    if job.column_borders:
        end = done
    elif rows.first < rows.last and columns.first < columns.last:
        row = (rows.place + rows.first * rows.stride) * job.x_row
        origin = source + row + (columns.place + columns.first * columns.stride) * job.x_column
        target = panel + (rows.first * job.panel_columns + columns.first) * job.itemsize
        counts = (job.in_channels, rows.last - rows.first, columns.last - columns.first)
        call(job.convert_x, (origin, target, job.x_steps, *counts))
    if job.row_borders or job.column_borders:
        _rows(job, source, rows, columns, panel, done, end)


@inner
def _clear_part(job, panel):
    """Fill one part of all channels with zeros."""
    for c in range(job.in_channels):
        clear(panel + c * job.panel_channel * job.itemsize, job.panel_rows * job.panel_columns * job.itemsize)


@inner
def pack(job, source, unit, panel):
    """Fill the panel of a unit, at address `panel`, from one group of one image, at address `source`."""
    sources = view(np.int64, job.plane_sources + 8 * unit.lead_band * job.planes, job.planes)
    places = view(np.int64, job.plane_places, job.planes)
    row_starts = view(np.int64, job.row_starts, job.row_parts)
    column_starts = view(np.int64, job.column_starts, job.column_parts)
    row = unit.row_band * job.band_rows * job.row_stride
    column = unit.column_band * job.band_columns * job.column_stride
    for b in range(job.column_parts):
        inside = view(np.int64, job.column_interiors + 24 * (unit.column_band * job.column_parts + b), 3)
        place = column_starts[b] + column - job.left
        columns = Axis(place, job.column_stride, job.width, job.right, inside[0], inside[1], inside[2])
        for a in range(job.row_parts):
            inside = view(np.int64, job.row_interiors + 24 * (unit.row_band * job.row_parts + a), 3)
            place = row_starts[a] + row - job.top
            rows = Axis(place, job.row_stride, job.height, job.bottom, inside[0], inside[1], inside[2])
            for plane in range(job.planes):
                part = panel + (places[plane] + b * job.column_part + a * job.row_part) * job.itemsize
                if sources[plane] != NOTHING:
                    _part(job, source + sources[plane], rows, columns, part)
                elif job.plane_borders:
                    _clear_part(job, part)
