"""Packing: a panel, the input that a band of outputs needs, laid flat, padded and in the accumulator's format.

Knows jobs, memory and Numba's compiler; not the type of any number, and not what is computed from a panel.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from refconv.targets.cpu.compiled import compiled
from refconv.targets.cpu.job import NOWHERE, Job
from refconv.targets.cpu.memory import call, clear, record, view

_compiled = njit(nogil=True, error_model="numpy")


class Part(NamedTuple):
    """What one residue of the rows and one of the columns have of a panel, in each channel."""

    at: int  # where it starts, in elements of the panel
    rows: np.ndarray  # bytes from the channel's first element, or NOWHERE
    row_run: np.ndarray  # from and to where rows lie evenly, and how many are needed
    columns: np.ndarray  # the same for columns, from the row's first element
    column_run: np.ndarray


@_compiled
def _border(job, source, part, start, first, last):
    """Fill the elements `first <= i < last` of a row one by one."""
    for i in range(first, last):
        if part.columns[i] == NOWHERE:
            clear(start + i * job.itemsize, job.itemsize)
        else:
            call(job.widen_x, (source + part.columns[i], start + i * job.itemsize, job.x_steps_at, 1, 1, 1))


@_compiled
def _pack_rows(job, source, part, panel, first, last):
    """Fill the rows `first <= j < last` of all channels one by one."""
    left, right, used, width = part.column_run[0], part.column_run[1], part.column_run[2], len(part.columns)
    for c in range(job.in_channels):
        for j in range(first, last):
            row = source + c * job.x_channel + part.rows[j]
            start = panel + (part.at + c * job.panel_channel + j * width) * job.itemsize
            if part.rows[j] == NOWHERE:
                clear(start, used * job.itemsize)
                continue
            if left < right:
                target = start + left * job.itemsize
                call(job.widen_x, (row + part.columns[left], target, job.x_steps_at, 1, 1, right - left))
            _border(job, row, part, start, 0, left)
            _border(job, row, part, start, right, used)


@_compiled
def _pack_part(job, source, part, panel):
    """Fill a part of a panel, of all channels."""
    top, bottom, height = part.row_run[0], part.row_run[1], part.row_run[2]
    left, right = part.column_run[0], part.column_run[1]
    if job.column_borders:
        _pack_rows(job, source, part, panel, 0, height)
        return
    if top < bottom and left < right:
        start = source + part.rows[top] + part.columns[left]
        target = panel + (part.at + top * len(part.columns) + left) * job.itemsize
        call(job.widen_x, (start, target, job.x_steps_at, job.in_channels, bottom - top, right - left))
    if job.row_borders:
        _pack_rows(job, source, part, panel, 0, top)
        _pack_rows(job, source, part, panel, bottom, height)


@_compiled
def _pack(job, source, row_band, column_band, panel):
    """Fill the panel at an address from one group of one image, which starts at another."""
    for column_part in range(job.column_parts):
        column_place = column_band * job.column_parts + column_part
        for row_part in range(job.row_parts):
            row_place = row_band * job.row_parts + row_part
            part = Part(
                (column_part * job.row_parts + row_part) * job.panel_rows * job.panel_columns,
                view(np.int64, job.rows_at + 8 * row_place * job.panel_rows, job.panel_rows),
                view(np.int64, job.row_runs_at + 24 * row_place, 3),
                view(np.int64, job.columns_at + 8 * column_place * job.panel_columns, job.panel_columns),
                view(np.int64, job.column_runs_at + 24 * column_place, 3),
            )
            _pack_part(job, source, part, panel)


@cache
def packer() -> Any:
    """A compiled `pack(job, source, row_band, column_band, panel)`, of addresses and numbers of bands."""

    def pack(at, source, row_band, column_band, panel):
        _pack(record(Job, at), source, row_band, column_band, panel)

    return compiled(pack, 5)
