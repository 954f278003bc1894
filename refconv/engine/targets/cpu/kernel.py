"""The kernel: units of work, shared among threads; for each unit the nest over a packed panel, and delivery.

A unit is one tile of output channels, of one panel. A panel is a band of outputs along each axis, of one group of one
image, with the input that it needs, packed. Units of a panel follow one another, so that a thread packs a panel once
for all of its units there. Knows jobs, packing and memory; not the type of any number: functions of typed numbers are
called by address.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from refconv.engine.targets.cpu.job import COUNTER_STRIDE, Job
from refconv.engine.targets.cpu.pack import pack
from refconv.engine.targets.jit.cfunctions import cfunction, inner
from refconv.engine.targets.jit.memory import call, clear, fetch_add, load_record, view, yield_thread


class Unit(NamedTuple):
    """The numbers of a unit's tile, of its bands of columns, rows and leading axes, of its group and of its image."""

    tile: int
    column_band: int
    row_band: int
    lead_band: int
    group: int
    image: int


@inner
def _unit(number, tiles, job):
    """The unit of a number; units of a panel have consecutive numbers."""
    panel, tile = number // tiles, number % tiles
    band, column_band = panel // job.column_bands, panel % job.column_bands
    band, row_band = band // job.row_bands, band % job.row_bands
    group, lead_band = band // job.lead_bands, band % job.lead_bands
    return Unit(tile, column_band, row_band, lead_band, group % job.groups, group // job.groups)


@inner
def _next_unit(unit, tiles, job):
    """The unit of the next number, without divisions: these take longer than the work of a small unit."""
    tile, column_band, row_band, lead_band, group, image = unit
    tile += 1
    if tile == tiles:
        tile, column_band = 0, column_band + 1
    if column_band == job.column_bands:
        column_band, row_band = 0, row_band + 1
    if row_band == job.row_bands:
        row_band, lead_band = 0, lead_band + 1
    if lead_band == job.lead_bands:
        lead_band, group = 0, group + 1
    if group == job.groups:
        group, image = 0, image + 1
    return Unit(tile, column_band, row_band, lead_band, group, image)


@inner
def _compute(at, job, unit, number, panel):
    """Compute a unit whose panel is packed, at the start of the thread's workspace."""
    # The last tile is moved back, over channels of the one before: no tile reaches past the last channel.
    first = unit.tile * job.tile_channels  # channel that is the unit's own
    k = min(first, job.channels - job.tile_channels)
    channel = unit.group * job.channels + k
    w = job.w + unit.group * job.w_group + k * job.w_channel
    if job.convert_w:
        w = _weights(job, w, panel + job.weights_at)
    sums = job.sums + number * job.sums_size if job.sums_size else panel + job.sums_at
    _sum(at, job, unit, panel, w, job.bias + channel * job.bias_size, sums)
    if job.first_term + job.terms == job.all_terms:
        _deliver(job, unit, sums + (first - k) * job.sums_row * job.itemsize, first, k + job.tile_channels - first)


@inner
def _weights(job, source, target):
    """Convert the weights of a tile's channels."""
    for channel in range(job.tile_channels):
        place = target + channel * job.terms * job.itemsize
        counts = (job.w_channels, job.w_rows, job.w_columns)
        call(job.convert_w, (source + channel * job.w_channel, place, job.w_steps, *counts))
    return target


@inner
def _sizes(job, unit):
    """Outputs of a unit: planes, rows, columns."""
    rows = min(job.band_rows, job.rows - unit.row_band * job.band_rows)
    columns = min(job.band_columns, job.columns - unit.column_band * job.band_columns)
    return view(np.int64, job.lead_counts, job.lead_bands)[unit.lead_band], rows, columns


@inner
def _sum(at, job, unit, panel, w, bias, sums):
    """Run the nest over all outputs of a unit."""
    places = view(np.int64, job.lead_places, job.lead_outputs)
    sums_places = view(np.int64, job.lead_sums, job.lead_outputs)
    planes, rows, columns = _sizes(job, unit)
    positions = columns
    if not job.split_rows:
        positions += (rows - 1) * job.panel_columns
    if not job.split_planes:
        positions += places[planes - 1]
    full = min(job.full_positions, positions)
    shift = full * job.itemsize
    for plane in range(planes if job.split_planes else 1):
        for row in range(rows if job.split_rows else 1):
            x = panel + (places[plane] + row * job.panel_columns) * job.itemsize
            run = sums + (sums_places[plane] + row * job.sums_line) * job.itemsize
            call(job.nest, (at, x, w, bias, run, full))
            if full < positions:
                call(job.tail_nest, (at, x + shift, w, bias, run + shift, positions - full))


@inner
def _deliver(job, unit, sums, channel, channels):
    """Round the sums of some channels, and store them where the output has them."""
    sums_places = view(np.int64, job.lead_sums, job.lead_outputs)
    outs = view(np.int64, job.lead_outs + 8 * unit.lead_band * job.lead_outputs, job.lead_outputs)
    planes, rows, columns = _sizes(job, unit)
    out = job.out + unit.image * job.out_image + unit.group * job.out_group + channel * job.out_channel
    out += unit.row_band * job.band_rows * job.out_row + unit.column_band * job.band_columns * job.out_column
    for plane in range(planes):
        source = sums + sums_places[plane] * job.itemsize
        call(job.convert_out, (source, out + outs[plane], job.out_steps, channels, rows, columns))


@inner
def _clear_gaps(job, panel):
    """Write zeros where packing writes nothing: padding, and the gaps after each channel and after the last one.

    Tiles compute with the gaps too, and if these held subnormal numbers, that would be a hundred times slower.
    """
    channel, filled = job.panel_channel * job.itemsize, job.panel_filled * job.itemsize
    for c in range(job.in_channels):
        clear(panel + c * channel + filled, channel - filled)
    clear(panel + job.in_channels * channel, job.tile_positions * job.itemsize)


def _kernel(at):
    """Compute units until none is left: those of this thread's share, then those left of the other threads' shares."""
    job = load_record(Job, at)
    tiles = (job.channels + job.tile_channels - 1) // job.tile_channels
    stride = 8 * COUNTER_STRIDE
    me, done = fetch_add(job.counters, 1), job.counters + stride
    panel = job.workspace + me * job.workspace_size
    _clear_gaps(job, panel)
    end = np.int64(-1)  # of the units computed last: the panel of a unit that follows them is packed already
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
                    pack(job, source, unit, panel)
                _compute(at, job, unit, number, panel)
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
