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

TILES = {8: 3, 4: 6, 1: 4}  # output channels of a tile: most vectors of a channel; more would not be faster
SIDE_BY_SIDE = ((1, 7), (1, 4))  # tiles of vectors of channels; rows of many networks are multiples of seven long
LONGEST_ROW = 2**16  # elements of a merged row: rows of larger images are long enough unmerged, with smaller tables
SMALL = 2**17  # multiplications of a problem; below this, a better schedule saves less time than the search takes
UNITS_PER_THREAD = 8  # with fewer, threads wait long for the thread that takes the last unit

# The cost model, in cycles and bytes. A panel is read once for each tile of channels: from the first-level cache at no
# cost, from the second at a cost that grows with the panel (cycles for a vector). Many weights come from the third.
PANEL_BYTES = 256 * 1024
L1_BYTES, L2_BYTES = 32 * 1024, 1024 * 1024
L2_CYCLES, L2_CYCLES_AT_1_MIB = 0.1, 0.5
L3_BYTES_PER_CYCLE = 8
# Cycles of packing and delivery for a vector, for a row and for a panel; and cycles to wake threads.
VECTOR_CYCLES, ROW_CYCLES, PANEL_CYCLES, WAKE_CYCLES = 5, 20, 200, 30_000
TRANSPOSE_CYCLES = 100  # for a square of numbers
GATHER_CYCLES = 1.5  # to pack an element more than two elements after the one before
RUN_CYCLES = 30  # to start the nest
OPERATIONS = {1: 1, 2: 4}  # instructions for a term, by how many numbers a sum consists of
# Bytes. If even the smallest panel is larger than the first, sums are computed in slabs, with panels of the second.
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
    threads: int  # most that may be used
    zero_point: int
    slack: int
    all_terms: int  # of a sum; `terms` is fewer in a slab

    @property
    def terms(self) -> int:
        """Products that are added to each sum: all, or those of a slab."""
        return self.in_channels * math.prod(self.kernel)

    @property
    def number(self) -> np.dtype:
        """Dtype of the numbers that the accumulator consists of; operands are converted to it."""
        return number(self.accumulator)

    @property
    def numbers(self) -> int:
        """How many such numbers a sum consists of."""
        return numbers(self.accumulator)

    @property
    def converts_weights(self) -> bool:
        """Whether weights are not in the accumulator's format, or not contiguous, as the nest needs them."""
        return self.w_dtype != self.number or bool(self.w_strides)

    @property
    def lanes(self) -> int:
        """Sums in a vector; 1 if the numbers are vectors themselves."""
        return registers()[0] // self.number.itemsize

    @property
    def is_side_by_side(self) -> bool:
        """Whether numbers are vectors of channels."""
        return self.number.subdtype is not None

    @property
    def tiles(self) -> tuple[tuple[int, int], ...]:
        """The shapes of tiles, (channels, vectors), that are no wider than the problem."""
        shapes = SIDE_BY_SIDE if self.is_side_by_side else tiles(self.numbers)
        return tuple(shape for shape in shapes if shape[0] <= self.channels)


class Schedule(NamedTuple):
    """How a problem is computed."""

    cycles: float  # as the cost model has it, from the call to the return
    channels: int  # of a tile
    vectors: int
    full_tiles: int  # for the positions of a run; tiles of a single vector compute the rest, if any
    band: Size  # outputs of a panel along each axis
    split: int  # what is one run of positions: 0: all outputs of a panel; 1: those of a plane; 2: those of a row
    runs: int
    positions: int  # of a run
    layout: Layout
    units: int
    threads: int


class Slab(NamedTuple):
    """Consecutive terms of a sum: those of some channels and taps."""

    channels: slice
    taps: tuple[slice, ...]
    first_term: int


class Cut(NamedTuple):
    """How a long sum is cut into slabs: `length` along an axis of (channels, *taps), 1 along those before."""

    axis: int
    length: int


def merged(p: Problem) -> Problem:
    """The same problem with its rows merged into one, where a 1x1 kernel passes over dense images."""
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
    """The same problem with at least two axes."""
    if len(p.size) > 1:
        return p
    return p._replace(
        size=(1, *p.size), output=(1, *p.output), kernel=(1, *p.kernel), stride=(1, *p.stride),
        dilation=(1, *p.dilation), padding=((0, 0), *p.padding),
        x_strides=(*p.x_strides[:3], 0, *p.x_strides[3:]), out_strides=(*p.out_strides[:3], 0, *p.out_strides[3:]),
        w_strides=p.w_strides and (*p.w_strides[:3], 0, *p.w_strides[3:]),
    )  # fmt: skip


def _plain(p: Problem) -> bool:
    """Whether the last two axes are dense, and every element of a row has an output of its own."""
    plain = p.kernel[-2:] == p.stride[-2:] == (1, 1) and not any(map(any, p.padding[-2:]))
    plain = plain and p.size[-1] == p.output[-1]  # a weight's gradient has fewer outputs
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
    """Shapes of tiles, (channels, vectors): the sums, all vectors of inputs and one of a weight fit into the registers.

    Sums of two numbers need two more registers for intermediate results.
    """
    for channels, most in TILES.items():
        vectors = min(most, (registers()[1] - 1 - 2 * (numbers - 1)) // (numbers * channels + 1))
        if vectors:
            yield channels, vectors


def cheapest(p: Problem) -> Schedule:
    """The cheapest schedule; for small problems only of the simplest ones."""
    channels = p.groups * p.channels * math.prod(p.number.shape)  # a vector has several
    small = p.images * channels * p.terms * math.prod(p.output) <= SMALL
    return min(
        (
            costed(p, *tile, band, threads)
            for threads in ({1} if small else {1, p.threads})
            for tile in p.tiles
            for band in ({p.output} if small and _is_one_panel(p) else _bands(p, *tile, threads))
        ),
        key=lambda schedule: schedule.cycles,
    )


def _is_one_panel(p: Problem) -> bool:
    """Whether all outputs of an image may lie in one band."""
    whole = layout(p.kernel, p.stride, p.dilation, p.output).channel
    return p.in_channels * whole * p.number.itemsize <= PANEL_BYTES


def costed(p: Problem, channels: int, vectors: int, band: Size, threads: int, split: int | None = None) -> Schedule:
    """A schedule with its cost: sums, packing, delivery, and the wait for the thread with the most units."""
    flat = layout(p.kernel, p.stride, p.dilation, band)
    itemsize, lanes = p.number.itemsize, p.lanes
    panel = p.in_channels * flat.channel * itemsize
    term, full_tiles, runs, positions, split = min(
        _run_cycles(flat, band, channels, vectors, p, panel, candidate)
        for candidate in (_splits(band) if split is None else (split,))
    )
    sums = p.terms * term + runs * RUN_CYCLES
    if p.groups * p.channels * p.terms * itemsize > L2_BYTES:
        sums = max(sums, p.terms * channels * itemsize / L3_BYTES_PER_CYCLE)
    stored = channels * (2 * runs * positions / lanes + ROW_CYCLES * math.prod(band[:-1]))
    packed = p.in_channels * _packing_cycles(p, flat)
    panels = p.images * p.groups * math.prod(-(-all_ // size) for all_, size in zip(p.output, band, strict=True))
    tiles_ = -(-p.channels // channels)
    units = panels * tiles_
    most = -(-units // threads)  # units of a thread; it packs all their panels, also if others pack them too
    cycles = most * (sums + stored) + -(-most // tiles_) * (packed + PANEL_CYCLES) + WAKE_CYCLES * (threads > 1)
    return Schedule(cycles, channels, vectors, full_tiles, band, split, runs, positions, flat, units, threads)


def _splits(band: Size) -> Iterator[int]:
    """The values of `Schedule.split` that differ for a band: with one plane, or one row, some are the same."""
    yield 0
    if math.prod(band[:-2]) > 1:
        yield 1
    if band[-2] > 1:
        yield 2


def _run_cycles(
    flat: Layout, band: Size, channels: int, vectors: int, p: Problem, panel: int, split: int
) -> tuple[float, int, int, int, int]:
    """Cycles of a term over all runs, full tiles of a run, number of runs, positions of a run; and the split."""
    axes = (len(band), 2, 1)[split]
    runs = math.prod(band[:-axes])
    positions = 1 + sum((size - 1) * step for size, step in zip(band[-axes:], flat.steps[-axes:], strict=True))
    term, full_tiles = _tiling(p, positions, channels, vectors, panel)
    return runs * term, full_tiles, runs, positions, split


def _packing_cycles(p: Problem, flat: Layout) -> float:
    """Cost of packing a channel of a panel."""
    rows, columns = flat.channel // flat.lengths[-1], flat.lengths[-1]
    near = p.x_strides[-1] * p.stride[-1] in (p.x_dtype.itemsize, 2 * p.x_dtype.itemsize)
    if p.is_side_by_side:  # transposed, as many columns at a time as there are channels side by side
        channels = int(p.number.shape[0])
        of_row = -(-columns // channels) * TRANSPOSE_CYCLES if near else columns * channels * GATHER_CYCLES
        return rows * of_row
    element = VECTOR_CYCLES / p.lanes if near or columns == 1 else GATHER_CYCLES
    return rows * (ROW_CYCLES + columns * element)


def _tiling(p: Problem, positions: int, channels: int, vectors: int, panel: int) -> tuple[float, int]:
    """Cycles of a term over all positions, and how many full tiles to use; tiles of one vector compute the rest."""
    lanes, operations = p.lanes, OPERATIONS[p.numbers]
    lines = 1 if p.is_side_by_side else 2  # of the cache, across which inputs lie
    full, single = (_term_cycles(channels, count, operations, panel, lines) for count in (vectors, 1))
    tiles_, rest = divmod(positions, vectors * lanes)
    more = tiles_ + (rest > 0)
    return min((tiles_ * full + -(-rest // lanes) * single, tiles_), (more * full, more))


def _term_cycles(channels: int, vectors: int, operations: int, panel: int, lines: int) -> float:
    """Cycles of a term in a tile: two multiply-adds and two loads in a cycle; inputs across two lines count twice."""
    multiply, load = operations * channels * vectors / 2, (channels + lines * vectors) / 2
    fetch = 0 if panel <= L1_BYTES else L2_CYCLES + L2_CYCLES_AT_1_MIB * panel / 2**20
    return max(multiply, load, 4) + vectors * fetch  # a sum waits four cycles for the one before


def _bands(p: Problem, channels: int, vectors: int, threads: int) -> set[Size]:
    """Sizes of bands to compare: panels of PANEL_BYTES, some smaller and larger, enough units for all threads."""
    limit = PANEL_BYTES // (p.number.itemsize * max(1, p.in_channels))
    for_threads = -(-threads * UNITS_PER_THREAD // (p.images * p.groups * -(-p.channels // channels)))
    bands = set()
    if p.kernel[-1] == 1 and p.kernel != (1, 1):  # columns share no input, so that cutting them costs nothing
        bands = _pieces(p, p.output[:-1], vectors * p.lanes, limit)
    for axis, outputs in enumerate(p.output[:-1]):
        if outputs > 1:
            before, after = (1,) * axis, p.output[axis + 1 :]
            sizes = _cut(p, before, after, outputs, limit, for_threads)
            if sizes:
                return bands | {(*before, size, *after) for size in sizes}
    return bands | _pieces(p, (1,) * (len(p.output) - 1), vectors * p.lanes, limit)


def _cut(p: Problem, before: Size, after: Size, outputs: int, limit: int, for_threads: int) -> set[int]:
    """Sizes of bands along an axis; none if even the smallest is too large: then the next axis must be cut too."""

    def channel(size: int) -> int:
        return layout(p.kernel, p.stride, p.dilation, (*before, size, *after)).channel

    # Four times the smallest is always allowed: small bands of a long kernel would share most of their input.
    smallest, next_smallest, largest = channel(1), channel(2), 4 * limit
    if smallest > largest:
        return set()
    # At first, a channel grows by the same number of elements with each row.
    fewest = -(-outputs // max(1, 1 + (limit - smallest) // max(1, next_smallest - smallest)))
    pieces = {1, fewest // 4, fewest // 2, fewest, fewest + 1, 2 * fewest, 3 * fewest, max(fewest, for_threads)}
    sizes = {-(-outputs // min(max(n, 1), outputs)) for n in pieces}
    channels = {size: channel(size) for size in sizes}
    return {size for size in sizes if channels[size] <= max(largest, 4 * channels[min(sizes)])}


def _pieces(p: Problem, before: Size, wide: int, limit: int) -> set[Size]:
    """Bands of columns: powers of two times the `wide` positions of a full tile."""
    columns = p.output[-1]
    sizes = {min(columns, wide * 2**n) for n in range(columns.bit_length())}
    channel = {size: layout(p.kernel, p.stride, p.dilation, (*before, size)).channel for size in sizes}
    return {(*before, size) for size in sizes if channel[size] <= max(4 * limit, 4 * channel[min(sizes)])}


def cut(p: Problem) -> Cut | None:
    """How to cut the sums of a problem into slabs if its smallest panel is too large; else None.

    Slabs have whole channels if one channel is small enough; else they are cut from each channel along its first axis;
    and so on.
    """
    smallest = (*(1 for _ in p.output[1:]), min(p.output[-1], p.lanes))

    def size(kernel: Size) -> int:
        return p.number.itemsize * channel_elements(kernel, p.stride, p.dilation, smallest)

    of_channel = size(p.kernel)
    if p.in_channels * of_channel <= SLAB_LIMIT:
        return None
    if of_channel <= SLAB_BYTES:
        return Cut(0, SLAB_BYTES // of_channel)
    for axis, taps in enumerate(p.kernel):
        before, after = (1,) * axis, p.kernel[axis + 1 :]
        length = bisect.bisect_right(range(1, taps + 1), SLAB_BYTES, key=lambda n: size((*before, n, *after)))
        if length:
            return Cut(axis + 1, length)
    return Cut(len(p.kernel), 1)


def slabs(p: Problem, slab_cut: Cut) -> Iterator[Slab]:
    """The slabs of a problem, in the order of their terms."""
    all_ = (p.in_channels, *p.kernel)
    steps = [*(1 for _ in all_[: slab_cut.axis]), slab_cut.length, *all_[slab_cut.axis + 1 :]]
    first = 0
    for starts in itertools.product(*(range(0, n, step) for n, step in zip(all_, steps, strict=True))):
        ends = [min(start + step, n) for start, step, n in zip(starts, steps, all_, strict=True)]
        channels, *taps = map(slice, starts, ends)
        yield Slab(channels, tuple(taps), first)
        first += math.prod(end - start for start, end in zip(starts, ends, strict=True))


def part(p: Problem, slab: Slab) -> tuple[Problem, int]:
    """The problem of a slab, and how many bytes after the whole problem's input its own starts.

    All slabs whose taps stay inside the input have the same problem: its input is only what the taps meet.
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
