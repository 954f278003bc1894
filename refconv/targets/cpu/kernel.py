"""The kernel: units of work, shared among threads; in each the nest over what was packed, and its delivery.

A unit is one tile of output channels, of one panel. A panel is a band of output rows and columns of one group of one
image, with the input that it needs, packed. Units of a panel follow one another, so a thread packs a panel once for all
of its units there. Knows jobs, packing and memory; not the type of any number: what does is called by address.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from refconv.targets.cpu.compiled import cfunction, inner
from refconv.targets.cpu.job import COUNTER_STRIDE, Job
from refconv.targets.cpu.memory import call, clear, fetch_add, load_record, yield_thread
from refconv.targets.cpu.pack import pack


class Unit(NamedTuple):
    """A tile of channels, of a column band, of a row band, of a group, of an image."""

    tile: int
    column_band: int
    row_band: int
    group: int
    image: int


@inner
def _unit(number, tiles, job):
    """The unit of a number; those of a panel follow one another."""
    panel, tile = number // tiles, number % tiles
    band, column_band = panel // job.column_bands, panel % job.column_bands
    group, row_band = band // job.row_bands, band % job.row_bands
    return Unit(tile, column_band, row_band, group % job.groups, group // job.groups)


@inner
def _next_unit(unit, tiles, job):
    """The next one, by counting: divisions take longer than the work of a small unit."""
    tile, column_band, row_band, group, image = unit
    tile += 1
    if tile == tiles:
        tile, column_band = 0, column_band + 1
    if column_band == job.column_bands:
        column_band, row_band = 0, row_band + 1
    if row_band == job.row_bands:
        row_band, group = 0, group + 1
    if group == job.groups:
        group, image = 0, image + 1
    return Unit(tile, column_band, row_band, group, image)


@inner
def _compute(at, job, unit, panel):
    """Compute a unit whose panel is packed, at the start of the thread's workspace."""
    # The last tile is moved back, over channels of the one before: no tile reaches past the last channel.
    wanted = unit.tile * job.tile_channels
    k = min(wanted, job.channels - job.tile_channels)
    channel = unit.group * job.channels + k
    w, sums = job.w + channel * job.terms * job.w_itemsize, panel + job.sums_at
    if job.convert_w:
        call(job.convert_w, (w, panel + job.weights_at, job.w_steps, 1, 1, job.tile_channels * job.terms))
        w = panel + job.weights_at
    bias = job.bias + channel * job.itemsize
    row, column = unit.row_band * job.band_rows, unit.column_band * job.band_columns
    rows, columns = min(job.band_rows, job.rows - row), min(job.band_columns, job.columns - column)
    positions = (rows - 1) * job.panel_columns + columns
    full = min(job.full_positions, positions)
    call(job.nest, (at, panel, w, bias, sums, full))
    if full < positions:
        shift = full * job.itemsize
        call(job.tail_nest, (at, panel + shift, w, bias, sums + shift, positions - full))
    out = job.out + unit.image * job.out_image + unit.group * job.out_group + wanted * job.out_channel
    out += row * job.out_row + column * job.out_column
    source = sums + (wanted - k) * job.sums_row * job.itemsize
    call(job.convert_out, (source, out, job.out_steps, k + job.tile_channels - wanted, rows, columns))


@inner
def _clear_gaps(job, panel):
    """Zeros where packing writes nothing: padding, and what lies after each channel and after the last.

    Tiles compute with the latter too, and on subnormal numbers that is a hundred times slower.
    """
    channel, filled = job.panel_channel * job.itemsize, job.panel_filled * job.itemsize
    for c in range(job.in_channels):
        clear(panel + c * channel + filled, channel - filled)
    clear(panel + job.in_channels * channel, job.tile_positions * job.itemsize)


def _kernel(at):
    """Compute units until none is left: those of this thread's share, then what is left of the others'."""
    job = load_record(Job, at)
    tiles = (job.channels + job.tile_channels - 1) // job.tile_channels
    stride = 8 * COUNTER_STRIDE
    me, done = fetch_add(job.counters, 1), job.counters + stride
    panel = job.workspace + me * job.workspace_size
    _clear_gaps(job, panel)
    end = np.int64(-1)  # of the units computed last: if those that follow are next, their panel is packed
    for turn in range(job.threads):
        share = (me + turn) % job.threads
        first, last = job.units * share // job.threads, job.units * (share + 1) // job.threads
        while True:
            start = first + fetch_add(job.counters + stride * (2 + share), job.chunk)
            if start >= last:
                break
            stop = min(start + job.chunk, last)
            unit = _unit(start, tiles, job)
            for number in range(start, stop):
                if unit.tile == 0 or number == start != end:
                    source = job.x + unit.image * job.x_image + unit.group * job.x_group
                    pack(job, source, unit.row_band, unit.column_band, panel)
                _compute(at, job, unit, panel)
                unit = _next_unit(unit, tiles, job)
            end = stop
            fetch_add(done, stop - start)
    while fetch_add(done, 0) < job.units:
        yield_thread()


@cache
def kernel() -> Any:
    """The compiled kernel: a C function of the address of a `Job`, to be called by up to `threads` threads for it.

    Each call returns when all of the job is done.
    """
    return cfunction(_kernel, 1)
