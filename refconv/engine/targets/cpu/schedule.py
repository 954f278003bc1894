"""Schedules: which tile, which bands and how many threads, by what they cost.

Knows the processor's vectors, layouts and arithmetic; of Numba only for which processor it compiles.
"""

import bisect
import itertools
import math
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
from numba.core.registry import cpu_target

from refconv.core.formats import number, numbers
from refconv.core.padding import Sides
from refconv.engine.flat_layout import Layout, Size, channel_elements, layout

TILES = {8: 3, 4: 6, 1: 4}  # output channels of a tile, and vectors at most: more would not make it faster
LONGEST_ROW = 2**16  # rows of larger images are long enough, and their bands need smaller tables
SMALL = 2**17  # multiplications: with fewer, a better schedule saves less than the search for it takes
UNITS_PER_THREAD = 8  # with fewer, threads wait long for the one that takes the last

# The cost model, in cycles and bytes. A panel is read once for each tile of channels: from the first-level cache for
# nothing, from the second the more slowly the larger it is (cycles for a vector). So are weights, if they are many.
PANEL_BYTES = 256 * 1024
L1_BYTES, L2_BYTES = 32 * 1024, 1024 * 1024
L2_CYCLES, L2_CYCLES_AT_1_MIB = 0.1, 0.5
L3_BYTES_PER_CYCLE = 8
# What packing and delivery cost for a vector, for a row, and for a panel; and what it costs to wake threads.
VECTOR_CYCLES, ROW_CYCLES, PANEL_CYCLES, WAKE_CYCLES = 5, 20, 200, 50_000
GATHER_CYCLES = 1.5  # for an element that is not the neighbour, or the next but one, of the one before
RUN_CYCLES = 30  # to start the nest
OPERATIONS = {1: 1, 2: 4}  # of a term, for sums of one number and of two
# A sum whose smallest panel is larger than the first is computed in slabs of terms, of panels as small as the second.
SLAB_LIMIT, SLAB_BYTES = 512 * 1024, 128 * 1024


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
    w_strides: Size  # group, output channel, channel, then the axes, of which there are two at most; none if contiguous
    out_strides: Size
    x_dtype: np.dtype
    w_dtype: np.dtype
    out_dtype: np.dtype
    accumulator: np.dtype
    threads: int  # that there are
    zero_point: int
    slack: int
    all_terms: int  # of a sum; `terms` may be some of them

    @property
    def terms(self) -> int:
        """Products in a sum, of those that are computed at once."""
        return self.in_channels * math.prod(self.kernel)

    @property
    def number(self) -> np.dtype:
        """What the accumulator consists of, and operands are converted to."""
        return number(self.accumulator)

    @property
    def numbers(self) -> int:
        """How many of these a sum is."""
        return numbers(self.accumulator)

    @property
    def converts_weights(self) -> bool:
        """Whether weights are not as the nest wants them: in the accumulator's format, one after the other."""
        return self.w_dtype != self.number or bool(self.w_strides)

    @property
    def lanes(self) -> int:
        """Sums in a vector."""
        return registers()[0] // self.number.itemsize


class Schedule(NamedTuple):
    """How a problem is computed."""

    cycles: float  # as the cost model has it, from the call to the return
    channels: int  # of a tile
    vectors: int
    full_tiles: int  # for the positions of a run; tiles of a single vector compute the rest, if any
    band: Size  # outputs of a panel along each axis
    split: int  # 0: a panel's outputs are one run of positions; 1: those of each plane are; 2: those of each row
    runs: int
    positions: int  # of a run
    layout: Layout
    units: int
    threads: int


class Slab(NamedTuple):
    """Some of a sum's terms, those that follow one another: of some channels and taps."""

    channels: slice
    taps: tuple[slice, ...]
    first_term: int


class Cut(NamedTuple):
    """How a long sum is cut into slabs: `length` along an axis of (channels, *taps), 1 along those before."""

    axis: int
    length: int


def merged(p: Problem) -> Problem:
    """The same with rows as one long row where nothing tells them apart: a 1x1 kernel over dense images."""
    while len(p.size) > 1 and _plain(p):
        p = p._replace(
            size=(*p.size[:-2], math.prod(p.size[-2:])),
            output=(*p.output[:-2], math.prod(p.output[-2:])),
            kernel=p.kernel[:-1], stride=p.stride[:-1], dilation=p.dilation[:-1], padding=p.padding[:-1],
            x_strides=(*p.x_strides[:-2], p.x_strides[-1]),
            w_strides=p.w_strides[:-1],
            out_strides=(*p.out_strides[:-2], p.out_strides[-1]),
        )  # fmt: skip
    return p


def with_rows(p: Problem) -> Problem:
    """The same with at least two axes."""
    if len(p.size) > 1:
        return p
    return p._replace(
        size=(1, *p.size), output=(1, *p.output), kernel=(1, *p.kernel), stride=(1, *p.stride),
        dilation=(1, *p.dilation), padding=((0, 0), *p.padding),
        x_strides=(*p.x_strides[:3], 0, *p.x_strides[3:]), out_strides=(*p.out_strides[:3], 0, *p.out_strides[3:]),
        w_strides=p.w_strides and (*p.w_strides[:3], 0, *p.w_strides[3:]),
    )  # fmt: skip


def _plain(p: Problem) -> bool:
    """Whether the last two axes are dense, and every element of a row is seen by an output of its own."""
    plain = p.kernel[-2:] == p.stride[-2:] == (1, 1) and not any(map(any, p.padding[-2:]))
    plain = plain and p.size[-1] == p.output[-1]  # a gradient of a weight has fewer outputs
    sides = ((p.x_strides, p.size), (p.out_strides, p.output))
    dense = all(strides[-2] == size[-1] * strides[-1] for strides, size in sides)
    return plain and dense and math.prod(p.size[-2:]) <= LONGEST_ROW


@cache
def registers() -> tuple[int, int]:
    """Bytes in a vector register of the processor that Numba compiles for, and how many there are."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    if "+avx512f" in features:
        return 64, 32
    if "+avx," in features + ",":
        return 32, 16
    return 16, 32 if "+neon" in features else 16


def tiles(numbers: int) -> Iterator[tuple[int, int]]:
    """Shapes of tiles, (channels, vectors): sums, a vector of each input and one of a weight fit into the registers.

    Sums of two numbers need two more for what lies between a sum and the next.
    """
    for channels, most in TILES.items():
        vectors = min(most, (registers()[1] - 1 - 2 * (numbers - 1)) // (numbers * channels + 1))
        if vectors:
            yield channels, vectors


def cheapest(p: Problem) -> Schedule:
    """The cheapest schedule; for small problems only the simplest are looked at."""
    small = p.images * p.groups * p.channels * p.terms * math.prod(p.output) <= SMALL
    return min(
        (
            costed(p, *tile, band, threads)
            for threads in ({1} if small else {1, p.threads})
            for tile in tiles(p.numbers)
            if tile[0] <= p.channels
            for band in ({p.output} if small and _is_one_panel(p) else _bands(p, *tile, threads))
        ),
        key=lambda found: found.cycles,
    )


def _is_one_panel(p: Problem) -> bool:
    """Whether all outputs of an image may lie in one band."""
    whole = layout(p.kernel, p.stride, p.dilation, p.output).channel
    return p.in_channels * whole * p.number.itemsize <= PANEL_BYTES


def costed(p: Problem, channels: int, vectors: int, band: Size, threads: int, split: int | None = None) -> Schedule:
    """A schedule with its cost: sums, packing and delivery, and what is lost where units do not share out evenly."""
    found = layout(p.kernel, p.stride, p.dilation, band)
    itemsize, lanes = p.number.itemsize, p.lanes
    panel = p.in_channels * found.channel * itemsize
    term, full_tiles, runs, positions, split = min(
        _run_cycles(found, band, channels, vectors, p, panel, each)
        for each in (_splits(band) if split is None else (split,))
    )
    sums = p.terms * term + runs * RUN_CYCLES
    if p.groups * p.channels * p.terms * itemsize > L2_BYTES:
        sums = max(sums, p.terms * channels * itemsize / L3_BYTES_PER_CYCLE)
    stored = channels * (2 * runs * positions / lanes + ROW_CYCLES * math.prod(band[:-1]))
    packed = p.in_channels * _packing_cycles(p, found)
    panels = p.images * p.groups * math.prod(-(-all_ // size) for all_, size in zip(p.output, band, strict=True))
    tiles_ = -(-p.channels // channels)
    units = panels * tiles_
    most = -(-units // threads)  # units of a thread; it packs the panels of these, also if others do too
    cycles = most * (sums + stored) + -(-most // tiles_) * (packed + PANEL_CYCLES) + WAKE_CYCLES * (threads > 1)
    return Schedule(cycles, channels, vectors, full_tiles, band, split, runs, positions, found, units, threads)


def _splits(band: Size) -> Iterator[int]:
    """What may be a run (see `Schedule.split`), but for what is the same where there is one plane, or one row."""
    yield 0
    if math.prod(band[:-2]) > 1:
        yield 1
    if band[-2] > 1:
        yield 2


def _run_cycles(
    found: Layout, band: Size, channels: int, vectors: int, p: Problem, panel: int, split: int
) -> tuple[float, int, int, int, int]:
    """Cycles of a term over all runs, full tiles in a run, runs, positions in one; and the split."""
    axes = (len(band), 2, 1)[split]
    runs = math.prod(band[:-axes])
    positions = 1 + sum((size - 1) * step for size, step in zip(band[-axes:], found.steps[-axes:], strict=True))
    term, full_tiles = _tiling(p, positions, channels, vectors, panel)
    return runs * term, full_tiles, runs, positions, split


def _packing_cycles(p: Problem, found: Layout) -> float:
    """Cost of packing a channel of a panel."""
    rows, columns = found.channel // found.lengths[-1], found.lengths[-1]
    near = p.x_strides[-1] * p.stride[-1] in (p.x_dtype.itemsize, 2 * p.x_dtype.itemsize)
    element = VECTOR_CYCLES / p.lanes if near or columns == 1 else GATHER_CYCLES
    return rows * (ROW_CYCLES + columns * element)


def _tiling(p: Problem, positions: int, channels: int, vectors: int, panel: int) -> tuple[float, int]:
    """Cycles of a term over all positions, and how many full tiles to use; tiles of one vector compute the rest."""
    lanes, operations = p.lanes, OPERATIONS[p.numbers]
    full, single = (_term_cycles(channels, each, operations, panel) for each in (vectors, 1))
    tiles_, rest = divmod(positions, vectors * lanes)
    more = tiles_ + (rest > 0)
    return min((tiles_ * full + -(-rest // lanes) * single, tiles_), (more * full, more))


def _term_cycles(channels: int, vectors: int, operations: int, panel: int) -> float:
    """Cost of a term in a tile: two fused multiply-adds or two loads in a cycle; most inputs lie across two lines."""
    multiply, load = operations * channels * vectors / 2, (channels + 2 * vectors) / 2
    fetch = 0 if panel <= L1_BYTES else L2_CYCLES + L2_CYCLES_AT_1_MIB * panel / 2**20
    return max(multiply, load, 4) + vectors * fetch  # a sum waits four cycles for the one before


def _bands(p: Problem, channels: int, vectors: int, threads: int) -> set[Size]:
    """Sizes of bands worth a look: as large as a panel is to be, and some on both sides, enough for all threads."""
    limit = PANEL_BYTES // (p.number.itemsize * max(1, p.in_channels))
    wanted = -(-threads * UNITS_PER_THREAD // (p.images * p.groups * -(-p.channels // channels)))
    found = set()
    if p.kernel[-1] == 1 and p.kernel != (1, 1):  # columns do not share their input, so they are cut for nothing
        found = _pieces(p, p.output[:-1], vectors * p.lanes, limit)
    for axis, outputs in enumerate(p.output[:-1]):
        if outputs > 1:
            before, after = (1,) * axis, p.output[axis + 1 :]
            sizes = _cut(p, before, after, outputs, limit, wanted)
            if sizes:
                return found | {(*before, size, *after) for size in sizes}
    return found | _pieces(p, (1,) * (len(p.output) - 1), vectors * p.lanes, limit)


def _cut(p: Problem, before: Size, after: Size, outputs: int, limit: int, wanted: int) -> set[int]:
    """Sizes of bands along an axis; none where the smallest is too large, so that the next axis must be cut too."""

    def channel(size: int) -> int:
        return layout(p.kernel, p.stride, p.dilation, (*before, size, *after)).channel

    # Or four times the smallest: where a kernel is long, small bands would share most of their input.
    one, two, largest = channel(1), channel(2), 4 * limit
    if one > largest:
        return set()
    fewest = -(-outputs // max(1, 1 + (limit - one) // max(1, two - one)))  # a channel grows evenly with rows, at first
    pieces = {1, fewest // 4, fewest // 2, fewest, fewest + 1, 2 * fewest, 3 * fewest, max(fewest, wanted)}
    sizes = {-(-outputs // min(max(n, 1), outputs)) for n in pieces}
    found = {size: channel(size) for size in sizes}
    return {size for size in sizes if found[size] <= max(largest, 4 * found[min(sizes)])}


def _pieces(p: Problem, before: Size, wide: int, limit: int) -> set[Size]:
    """Bands of columns, cut where a full tile ends."""
    columns = p.output[-1]
    sizes = {min(columns, wide * 2**n) for n in range(columns.bit_length())}
    channel = {size: layout(p.kernel, p.stride, p.dilation, (*before, size)).channel for size in sizes}
    return {(*before, size) for size in sizes if channel[size] <= max(4 * limit, 4 * channel[min(sizes)])}


def cut(p: Problem) -> Cut | None:
    """How to cut the sums of a problem whose panels would be too large; None for the others.

    Into slabs of channels, where one channel is small enough; else of each channel, along its first axis, and so on.
    """
    smallest = (*(1 for _ in p.output[1:]), min(p.output[-1], p.lanes))

    def size(kernel: Size) -> int:
        return p.number.itemsize * channel_elements(kernel, p.stride, p.dilation, smallest)

    one = size(p.kernel)
    if p.in_channels * one <= SLAB_LIMIT:
        return None
    if one <= SLAB_BYTES:
        return Cut(0, SLAB_BYTES // one)
    for axis, taps in enumerate(p.kernel):
        before, after = (1,) * axis, p.kernel[axis + 1 :]
        length = bisect.bisect_right(range(1, taps + 1), SLAB_BYTES, key=lambda n: size((*before, n, *after)))
        if length:
            return Cut(axis + 1, length)
    return Cut(len(p.kernel), 1)


def slabs(p: Problem, how: Cut) -> Iterator[Slab]:
    """The slabs of a problem, in the order of their terms."""
    all_ = (p.in_channels, *p.kernel)
    steps = [*(1 for _ in all_[: how.axis]), how.length, *all_[how.axis + 1 :]]
    first = 0
    for starts in itertools.product(*(range(0, n, step) for n, step in zip(all_, steps, strict=True))):
        ends = [min(start + step, n) for start, step, n in zip(starts, steps, all_, strict=True)]
        channels, *taps = map(slice, starts, ends)
        yield Slab(channels, tuple(taps), first)
        first += math.prod(end - start for start, end in zip(starts, ends, strict=True))


def part(p: Problem, slab: Slab) -> tuple[Problem, int]:
    """The problem of a slab, and how many bytes further on its input starts.

    Problems of slabs inside the input are the same: theirs is only what they see of it.
    """
    kernel = tuple(taps.stop - taps.start for taps in slab.taps)
    start, sizes, sides = slab.channels.start * p.x_strides[2], [], []
    axes = zip(p.size, p.padding, p.dilation, p.stride, p.kernel, p.output, slab.taps, p.x_strides[3:], strict=True)
    for size, (before, after), dilation, stride, all_taps, outputs, taps, step in axes:
        nearest = taps.start if dilation > 0 else all_taps - taps.stop
        first = nearest * abs(dilation) - before
        last = first + (taps.stop - taps.start - 1) * abs(dilation) + (outputs - 1) * stride
        inside = first >= 0 and last < size
        start += first * step if inside else 0
        sizes.append(last + 1 - first if inside else size)
        sides.append((0, 0) if inside else (-first, after))
    channels = slab.channels.stop - slab.channels.start
    return p._replace(in_channels=channels, kernel=kernel, size=tuple(sizes), padding=tuple(sides)), start
