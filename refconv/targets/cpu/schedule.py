"""Schedules: which tile, which bands and how many threads, by what they cost.

Knows the processor's vectors, layouts and arithmetic; of Numba only for which processor it compiles.
"""

import math
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
from numba.core.registry import cpu_target

from refconv.layout import Layout, Size, layout
from refconv.padding import Sides

TILES = {8: 3, 4: 6, 1: 4}  # output channels of a tile, and vectors at most: more would not make it faster
LONGEST_ROW = 2**16  # rows of larger images are long enough, and their bands need smaller tables
UNITS_PER_THREAD = 8  # with fewer, threads wait long for the one that takes the last

# The cost model, in cycles and bytes. A panel is read once for each tile of channels: from the first-level cache for
# nothing, from the second the more slowly the larger it is (cycles for a vector). So are weights, if they are many.
PANEL_BYTES = 256 * 1024
L1_BYTES, L2_BYTES = 32 * 1024, 1024 * 1024
L2_CYCLES, L2_CYCLES_AT_1_MIB = 0.1, 0.5
L3_BYTES_PER_CYCLE = 8
# What packing and delivery cost for a vector, for a row, and for a panel; and what it costs to wake threads.
VECTOR_CYCLES, ROW_CYCLES, PANEL_CYCLES, WAKE_CYCLES = 5, 20, 200, 50_000


class Problem(NamedTuple):
    """Everything a schedule depends on: shapes, options, formats, and how input and output lie in memory."""

    images: int
    groups: int
    in_channels: int  # of a group, like the next
    channels: int
    size: Size
    kernel: Size
    output: Size
    stride: Size
    dilation: Size
    padding: Sides
    padding_mode: str
    x_strides: Size  # in bytes: image, group, channel, then the axes
    out_strides: Size
    x_dtype: np.dtype
    w_dtype: np.dtype
    out_dtype: np.dtype
    accumulator: np.dtype
    threads: int  # that there are

    @property
    def terms(self) -> int:
        """Products in a sum."""
        return self.in_channels * math.prod(self.kernel)

    @property
    def lanes(self) -> int:
        """Sums in a vector."""
        return registers()[0] // self.accumulator.itemsize


class Schedule(NamedTuple):
    """How a problem is computed."""

    cycles: float  # as the cost model has it, from the call to the return
    channels: int  # of a tile
    vectors: int
    full_tiles: int  # for the positions of a panel; tiles of a single vector compute the rest, if any
    band: Size  # outputs of a panel along each axis
    layout: Layout
    units: int
    threads: int


@cache
def registers() -> tuple[int, int]:
    """Bytes in a vector register of the processor that Numba compiles for, and how many there are."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    if "+avx512f" in features:
        return 64, 32
    if "+avx," in features + ",":
        return 32, 16
    return 16, 32 if "+neon" in features else 16


def tiles() -> Iterator[tuple[int, int]]:
    """Shapes of tiles, (channels, vectors): sums, a vector of each input and one of a weight fit into the registers."""
    for channels, most in TILES.items():
        vectors = min(most, (registers()[1] - 1) // (channels + 1))
        if vectors:
            yield channels, vectors


def schedule(p: Problem) -> Schedule:
    """The cheapest schedule."""
    return min(
        (
            costed(p, *tile, band, threads)
            for threads in {1, p.threads}
            for tile in tiles()
            if tile[0] <= p.channels
            for band in _bands(p, *tile, threads)
        ),
        key=lambda found: found.cycles,
    )


def costed(p: Problem, channels: int, vectors: int, band: Size, threads: int) -> Schedule:
    """A schedule with its cost: sums, packing and delivery, and what is lost where units do not share out evenly."""
    found = layout(p.kernel, p.stride, p.dilation, band)
    itemsize, lanes = p.accumulator.itemsize, p.lanes
    panel = p.in_channels * found.channel * itemsize
    positions = found.positions(band)
    term, full_tiles = _tiling(positions, channels, vectors, lanes, panel)
    sums = p.terms * term
    if p.groups * p.channels * p.terms * itemsize > L2_BYTES:
        sums = max(sums, p.terms * channels * itemsize / L3_BYTES_PER_CYCLE)
    stored = channels * (2 * positions / lanes + ROW_CYCLES * band[0])
    rows = found.channel // found.lengths[-1]
    packed = p.in_channels * rows * (ROW_CYCLES + VECTOR_CYCLES * found.lengths[-1] / lanes)
    panels = p.images * p.groups * math.prod(-(-all_ // size) for all_, size in zip(p.output, band, strict=True))
    tiles_ = -(-p.channels // channels)
    units = panels * tiles_
    most = -(-units // threads)  # units of a thread; it packs the panels of these, also if others do too
    cycles = most * (sums + stored) + -(-most // tiles_) * (packed + PANEL_CYCLES) + WAKE_CYCLES * (threads > 1)
    return Schedule(cycles, channels, vectors, full_tiles, band, found, units, threads)


def _tiling(positions: int, channels: int, vectors: int, lanes: int, panel: int) -> tuple[float, int]:
    """Cycles of a term over all positions, and how many full tiles to use; tiles of one vector compute the rest."""
    full, single = _term_cycles(channels, vectors, panel), _term_cycles(channels, 1, panel)
    tiles_, rest = divmod(positions, vectors * lanes)
    more = tiles_ + (rest > 0)
    return min((tiles_ * full + -(-rest // lanes) * single, tiles_), (more * full, more))


def _term_cycles(channels: int, vectors: int, panel: int) -> float:
    """Cost of a term in a tile: two fused multiply-adds or two loads in a cycle; most inputs lie across two lines."""
    multiply, load = channels * vectors / 2, (channels + 2 * vectors) / 2
    fetch = 0 if panel <= L1_BYTES else L2_CYCLES + L2_CYCLES_AT_1_MIB * panel / 2**20
    return max(multiply, load, 4) + vectors * fetch  # a sum waits four cycles for the one before


def _bands(p: Problem, channels: int, vectors: int, threads: int) -> set[Size]:
    """Sizes of bands worth a look: as large as a panel is to be, and some on both sides, enough for all threads."""
    limit = PANEL_BYTES // (p.accumulator.itemsize * max(1, p.in_channels))
    rows, columns = p.output
    one, two = (layout(p.kernel, p.stride, p.dilation, (size, columns)).channel for size in (1, 2))
    largest = (
        4 * limit
    )  # or four times the smallest: where a kernel is long, small bands would share most of their input
    if rows > 1 and one <= largest:
        fewest = -(-rows // max(1, 1 + (limit - one) // (two - one)))  # a channel grows evenly with its rows, at first
        wanted = -(-threads * UNITS_PER_THREAD // (p.images * p.groups * -(-p.channels // channels)))
        pieces = {1, fewest // 4, fewest // 2, fewest, fewest + 1, 2 * fewest, 3 * fewest, max(fewest, wanted)}
        sizes = {-(-rows // min(max(n, 1), rows)) for n in pieces}
        channel = {size: layout(p.kernel, p.stride, p.dilation, (size, columns)).channel for size in sizes}
        return {(size, columns) for size in sizes if channel[size] <= max(largest, 4 * channel[min(sizes)])}
    wide = vectors * p.lanes  # columns are cut where a full tile ends
    sizes = {min(columns, wide * 2**n) for n in range(columns.bit_length())}
    channel = {size: layout(p.kernel, p.stride, p.dilation, (1, size)).channel for size in sizes}
    return {(1, size) for size in sizes if channel[size] <= max(largest, 4 * channel[min(sizes)])}
