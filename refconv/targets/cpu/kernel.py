"""The kernel: units of work, shared among threads; in each the nest over what was packed, and its delivery.

A unit is one tile of output channels, of one panel. A panel is a band of output rows and columns of one group of one
image, with the input that it needs, packed. Units of a panel follow one another, so a thread packs a panel once for all
of its units there. Knows jobs, memory and Numba's compiler; not the type of any number: what does is called by address.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from refconv.targets.cpu.compiled import compiled
from refconv.targets.cpu.job import LINE, PACE, Job
from refconv.targets.cpu.memory import address, call, clear, fetch_add, give_way, keep, record

_compiled = njit(nogil=True, error_model="numpy")


class Place(NamedTuple):
    """Which unit: a tile of channels, of a column band, of a row band, of a group, of an image."""

    tile: int
    column_band: int
    row_band: int
    group: int
    image: int


@_compiled
def _place(unit, tiles, job):
    """Where the unit of a number is; the numbers of a panel's units follow one another."""
    panel, tile = unit // tiles, unit % tiles
    band, column_band = panel // job.column_bands, panel % job.column_bands
    group, row_band = band // job.row_bands, band % job.row_bands
    return Place(tile, column_band, row_band, group % job.groups, group // job.groups)


@_compiled
def _after(place, tiles, job):
    """The next place, by counting: divisions take longer than the work of a small unit."""
    tile, column_band, row_band, group, image = place
    tile += 1
    if tile == tiles:
        tile, column_band = 0, column_band + 1
    if column_band == job.column_bands:
        column_band, row_band = 0, row_band + 1
    if row_band == job.row_bands:
        row_band, group = 0, group + 1
    if group == job.groups:
        group, image = 0, image + 1
    return Place(tile, column_band, row_band, group, image)


@_compiled
def _compute(at, job, place, panel, weights, sums):
    """Compute a unit whose panel is packed. Panel, weights and sums are addresses of a thread's own memory."""
    # The last tile is moved back, over channels of the one before: no tile reaches past the last channel.
    wanted = place.tile * job.tile_channels
    k = min(wanted, job.channels - job.tile_channels)
    channel = place.group * job.channels + k
    w = job.w + channel * job.terms * job.w_itemsize
    if job.widen_w:
        call(job.widen_w, (w, weights, job.w_steps_at, 1, 1, job.tile_channels * job.terms))
        w = weights
    bias = job.bias + channel * job.itemsize
    row, column = place.row_band * job.band_rows, place.column_band * job.band_columns
    rows, columns = min(job.band_rows, job.rows - row), min(job.band_columns, job.columns - column)
    positions = (rows - 1) * job.panel_columns + columns
    call(job.nest_wide, (at, panel, w, bias, sums, min(job.wide, positions)))
    if job.wide < positions:
        call(job.nest_slim, (at, panel, w, bias, sums, positions))
    out = job.out + place.image * job.out_image + place.group * job.out_group + wanted * job.out_channel
    out += row * job.out_row + column * job.out_column
    source = sums + (wanted - k) * job.sums_row * job.itemsize
    call(job.narrow, (source, out, job.out_steps_at, k + job.tile_channels - wanted, rows, columns))


@_compiled
def _clear_gaps(job, panel):
    """Zeros where packing writes nothing: padding, and what lies after each channel and after the last.

    Tiles compute with the latter too, and on subnormal numbers that takes for ever.
    """
    channel = job.panel_channel * job.itemsize
    filled = 0
    if not job.padded:
        filled = job.row_parts * job.column_parts * job.panel_rows * job.panel_columns * job.itemsize
    for c in range(job.in_channels):
        clear(panel + c * channel + filled, channel - filled)
    clear(panel + job.in_channels * channel, job.tile_positions * job.itemsize)


@_compiled
def _aligned(memory):
    """Where a cache line starts in an array."""
    start = address(memory, 0)
    return start + -start % LINE


@_compiled
def _work(at):
    """Compute units until none is left: those of this thread's share, then what is left of the others'."""
    job = record(Job, at)
    tiles = (job.channels + job.tile_channels - 1) // job.tile_channels
    panel_size = (job.in_channels * job.panel_channel + job.tile_positions) * job.itemsize
    weights_size = job.tile_channels * job.terms * job.itemsize if job.widen_w else 0
    memory = np.empty(panel_size + weights_size + job.tile_channels * job.sums_row * job.itemsize + 3 * LINE, np.uint8)
    panel = _aligned(memory)
    weights = panel + panel_size + -panel_size % LINE
    sums = weights + weights_size + -weights_size % LINE
    _clear_gaps(job, panel)
    me = fetch_add(job.counters, 1)
    done = job.counters + 8 * PACE
    end = np.int64(-1)  # of the units computed last: if those that follow are next, their panel is packed
    for turn in range(job.threads):
        share = (me + turn) % job.threads
        first, last = job.units * share // job.threads, job.units * (share + 1) // job.threads
        while True:
            start = first + fetch_add(job.counters + 8 * PACE * (2 + share), job.grain)
            if start >= last:
                break
            stop = min(start + job.grain, last)
            place = _place(start, tiles, job)
            for unit in range(start, stop):
                if place.tile == 0 or unit == start != end:
                    source = job.x + place.image * job.x_image + place.group * job.x_group
                    call(job.pack, (at, source, place.row_band, place.column_band, panel))
                _compute(at, job, place, panel, weights, sums)
                place = _after(place, tiles, job)
            end = stop
            fetch_add(done, stop - start)
    # A team's runtime would wait busily for the last to come, on a processor that this one may need to wake up on.
    while fetch_add(done, 0) < job.units or fetch_add(job.counters, 0) < job.team:
        give_way()
    keep(memory)


@cache
def kernel() -> Any:
    """The compiled kernel: a C function of the address of a `Job`, to be called by any number of threads for one job.

    Each call returns when all of the job is done.
    """

    def kernel(at):
        _work(at)

    return compiled(kernel, 1)
