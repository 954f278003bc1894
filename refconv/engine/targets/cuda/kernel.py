"""The kernels that compute sums: the nest over a register tile in each thread, on packed numbers.

A *unit* is what a block of threads computes at once: a tile of channels of a group, at some positions, of some terms. A
position is an output of an image; those of all images are one axis. Knows the nest, tiles and memory; not what numbers
stand for, nor any format but the accumulator's.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from refconv.arrays.gpu.device import SIMULATED, cuda
from refconv.core.formats import number, numbers
from refconv.engine import nest
from refconv.engine.targets.cuda.primitives import (  # fmt: skip
    VECTOR_BYTES,
    Divisor,
    Staged,
    Tile,
    copy_vector,
    divided,
    from_dtype,
    inner,
    load,
    put,
    store,
    table,
    take,
)

WARP = 32
MOST_REGISTERS = 128  # of a thread: so that two blocks of 256 threads fit into a processor
UNROLLED = 4  # terms that are one straight piece of code
WARP_CHANNELS = 4  # tiles of different channels in a warp, where there are so many: it reads both operands in few lines


class Shape(NamedTuple):
    """The shape of a unit, and of the block of threads that computes it."""

    channels: int  # of a thread's tile
    positions: int
    threads_channels: int  # tiles along channels
    threads_positions: int
    terms: int  # staged in shared memory at a time; 0: operands are read where they lie

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.threads_channels * self.threads_positions

    @property
    def block_channels(self) -> int:
        """Channels of a unit."""
        return self.channels * self.threads_channels

    @property
    def block_positions(self) -> int:
        """Positions of a unit."""
        return self.positions * self.threads_positions

    @property
    def columns(self) -> int:
        """Positions whose inputs one thread stages."""
        return max(1, self.block_positions // self.threads)


class Sums(NamedTuple):
    """All that a kernel is told: addresses, counts, and steps from an element to the next (in numbers)."""

    x: int  # packed: see `layout`
    w: int  # (groups, tiles, terms, channels of a tile)
    bias: int  # (groups, channels, 1 or 2), and room for a tile
    sums: int  # (1 or 2, parts, images, groups, channels, outputs)
    offsets: int  # (terms,) int64: where the input of a term lies, relative to an output's first
    rows: int  # (rows,) int64: where the first input of a row of outputs lies
    all_sums: int  # from the first numbers to the second
    image: int
    group: int
    outputs: int  # of an image and channel
    bias_step: int  # from a channel's bias to the next one's; 0 where it is the same for all tiles
    # From here on, counts: of 32 bits.
    units: Any
    terms: Any
    part_terms: Any  # of a unit: all, or one block
    groups: Any
    channels: Any  # of a group
    images: Any
    positions: Any  # of all images
    per_tiles: Divisor  # units along positions, tiles of channels, groups
    per_channels: Divisor
    per_groups: Divisor
    per_outputs: Divisor
    per_columns: Divisor  # outputs of a row
    in_group: Divisor  # channels
    lanes: Divisor  # without staging: threads along positions
    lines: Any  # the others lie along channels, so many


_nest = inner(nest.correlate)
_i32 = np.int32


class _Unit(NamedTuple):
    """The numbers of a unit's part, group, tile of channels and tile of positions."""

    part: Any
    group: Any
    tile: Any  # of channels
    place: Any  # of positions


@inner
def _unit(unit, job):
    rest, place = divided(unit, job.per_tiles)
    rest, tile = divided(rest, job.per_channels)
    part, group = divided(rest, job.per_groups)
    return _Unit(part, group, tile, place)


@inner
def _first_channel(tile, channels, job):
    """The first channel of a tile. The last tile is moved back, over channels of the tile before."""
    return max(min(_i32(tile * channels), _i32(job.channels - channels)), _i32(0))


@inner
def _place(job, position):
    """Where the first input of a position lies; past the last position, that of the last."""
    image, output = divided(min(position, _i32(job.positions - 1)), job.per_outputs)
    row, column = divided(output, job.per_columns)
    return image * job.image + load(np.int64, job.rows, row) + column


@cache
def kernel(accumulator: np.dtype, shape: Shape) -> Any:
    """The kernel of a `Sums` for an accumulator."""
    options = {} if SIMULATED else {"max_registers": MOST_REGISTERS}
    return cuda.jit((_staged if shape.terms else _direct)(accumulator, shape), **options)


def _tile(accumulator: np.dtype, shape: Shape) -> Tile:
    return Tile(number(accumulator), shape.channels, shape.positions, numbers(accumulator))


def _delivering(accumulator: np.dtype, shape: Shape) -> Any:
    """Function that stores a thread's sums, NaN as the positive quiet one."""
    of_sums, size, parts = number(accumulator).type, number(accumulator).itemsize, numbers(accumulator)
    channels, positions = shape.channels, shape.positions
    nan = np.float64(np.nan)
    is_float = number(accumulator).kind == "f"

    @inner
    def deliver(job, part, group, sums, channel, own, start, step):
        for i in range(positions):
            position = _i32(start + i * step)
            if position < job.positions:
                image, output = divided(position, job.per_outputs)
                line = _i32(_i32(part * job.images + image) * job.groups + group) * np.int64(job.channels)
                address = job.sums + ((line + channel) * job.outputs + output) * size
                for k in range(channels):
                    if own <= _i32(channel + k) < job.channels:
                        for n in range(parts):
                            value = take(sums, (n * channels + k) * positions + i)
                            if is_float and value != value:
                                value = of_sums(nan)
                            store(of_sums, address + n * job.all_sums * size, k * job.outputs, value)

    return deliver


def _tile_of(shape: Shape) -> Any:
    """Function from a thread's number to the first channel and position of its tile in the unit."""
    channels, positions = shape.channels, shape.positions
    warp_channels = min(WARP_CHANNELS, shape.threads_channels)
    warps_channels, warp_positions = shape.threads_channels // warp_channels, WARP // warp_channels

    @inner
    def tile_of(thread):
        lane, warp = _i32(thread % WARP), _i32(thread // WARP)
        channel = _i32(warp % warps_channels * warp_channels + lane // warp_positions)
        position = _i32(warp // warps_channels * warp_positions + lane % warp_positions)
        return _i32(channel * channels), _i32(position * positions)

    return tile_of


def _staging(accumulator: np.dtype, shape: Shape, whole: bool) -> Any:
    """Function that fills shared memory with all terms of a chunk, or with `count` of them."""
    of_sums, size = number(accumulator).type, number(accumulator).itemsize
    channels, positions, threads = shape.block_channels, shape.block_positions, shape.threads
    lanes = VECTOR_BYTES // size
    columns, rows = shape.columns, max(1, threads // positions)
    turns = -(-shape.terms // rows)
    w_vectors = shape.terms * channels // lanes
    w_turns = -(-w_vectors // threads)
    x_exact, w_exact = whole and shape.terms % rows == 0, whole and w_vectors % threads == 0

    @inner
    def stage(job, x, w, first, weights, places, count, thread):
        column, row = _i32(thread % positions), _i32(thread // positions)
        for turn in range(turns):
            t = _i32(row + turn * rows)
            if x_exact or t < count:
                offset = load(np.int64, job.offsets, first + t)
                for j in range(columns):
                    value = load(of_sums, job.x, take(places, j) + offset)
                    put(x, t * positions + column + j * threads, value)
        for turn in range(w_turns):
            i = _i32((turn * threads + thread) * lanes)
            if w_exact or i < count * channels:
                copy_vector(w, i, weights, i)

    return stage


def _placing(accumulator: np.dtype, shape: Shape) -> Any:
    """Function that notes where the inputs of a unit lie that a thread stages, and locates the other operands.

    It returns the first channel of the thread's tile, the address of the tile's bias, and that of the unit's weights.
    """
    channels, positions, size = shape.block_channels, shape.block_positions, number(accumulator).itemsize
    threads, columns = shape.threads, shape.columns

    @inner
    def locate(job, unit, places, thread, channel):
        for j in range(columns):
            place = _place(job, _i32(unit.place * positions + thread % positions + j * threads))
            put(places, j, unit.group * job.group + place)
        tile_number = _i32(unit.group * job.per_channels.value + unit.tile)
        k = _i32(_first_channel(unit.tile, channels, job) + channel)
        bias = (job.bias + (unit.group * job.channels + k) * job.bias_step * size,)
        return k, bias, job.w + tile_number * np.int64(job.terms) * (channels * size)

    return locate


def _adding(accumulator: np.dtype, shape: Shape) -> Any:
    """Functions that add what is staged to a thread's sums: a whole chunk of terms, or `count` terms; and end a block.

    A chunk is given to the nest as terms in the middle of a block.
    """
    tile, tile_positions, chunk = _tile(accumulator, shape), shape.positions, shape.terms
    channels, positions = shape.block_channels, shape.block_positions

    @inner
    def add_chunk(x, w, ramp, bias, sums):
        cuda.syncthreads()
        for t in range(_i32(0), _i32(chunk), _i32(UNROLLED)):
            x_from_t = Staged(x.array, _i32(x.start + t * positions), positions)
            w_from_t = Staged(w.array, _i32(w.start + t * channels), channels)
            _nest(tile, x_from_t, ramp[:UNROLLED], w_from_t, bias, sums, tile_positions, (chunk, False))

    @inner
    def add_rest(x, w, ramp, bias, sums, count):
        cuda.syncthreads()
        _nest(tile, x, ramp[: count % chunk], w, bias, sums, tile_positions, (chunk, False))

    @inner
    def end_block(x, w, ramp, bias, sums):
        _nest(tile, x, ramp[:0], w, bias, sums, tile_positions, (chunk, True))
        tile.store(tile.start(tile.load(sums, 0, 0, 0)), sums, 1, 0, 0)

    return add_chunk, add_rest, end_block


def _staged(accumulator: np.dtype, shape: Shape) -> Any:
    """A kernel whose threads share what they read: chunks of terms in shared memory, one after the other.

    A block of terms is a number of whole chunks; the nest is called without any term to begin, and to end a block.
    """
    tile, tile_positions, numba_type = _tile(accumulator, shape), shape.positions, from_dtype(number(accumulator))
    size, n_sums = number(accumulator).itemsize, numbers(accumulator) * shape.channels * shape.positions
    channels, positions, chunk, columns = shape.block_channels, shape.block_positions, shape.terms, shape.columns
    x_size, w_size, terms_of_chunk = chunk * positions, chunk * channels, np.arange(chunk)
    alike = numbers(accumulator) == 2  # blocks go on from the total: there is no use for both
    stage, stage_rest = (_staging(accumulator, shape, whole) for whole in (True, False))
    locate, (add_chunk, add_rest, end_block) = _placing(accumulator, shape), _adding(accumulator, shape)
    place_of, deliver = _tile_of(shape), _delivering(accumulator, shape)

    def sums_of_tiles(job):
        shared_x = cuda.shared.array(x_size, numba_type)
        shared_w = cuda.shared.array(w_size, numba_type)  # on a line of its own: the simulator tells arrays by lines
        total, block = cuda.local.array(n_sums, numba_type), cuda.local.array(n_sums, numba_type)
        sums = (total, total) if alike else (total, block)
        places, ramp = cuda.local.array(columns, np.int64), cuda.const.array_like(terms_of_chunk)
        thread = _i32(cuda.threadIdx.x)
        channel, position = place_of(thread)
        x, w = Staged(shared_x, position, positions), Staged(shared_w, channel, channels)
        for number_ in range(_i32(cuda.blockIdx.x), job.units, _i32(cuda.gridDim.x)):
            unit = _unit(number_, job)
            k, bias, weights = locate(job, unit, places, thread, channel)
            _nest(tile, x, ramp[:0], w, bias, sums, tile_positions, (0, False))
            term = _i32(unit.part * job.part_terms)
            end = min(_i32(term + job.part_terms), job.terms)
            while term < end:
                cuda.syncthreads()
                first, count = weights + term * (channels * size), _i32(end - term)
                if count >= chunk:
                    stage(job, shared_x, shared_w, term, first, places, _i32(chunk), thread)
                    add_chunk(x, w, ramp, bias, sums)
                else:
                    stage_rest(job, shared_x, shared_w, term, first, places, count, thread)
                    add_rest(x, w, ramp, bias, sums, count)
                term = _i32(term + chunk)
                if term % nest.BLOCK == 0 or term >= end:
                    end_block(x, w, ramp, bias, sums)
            start, own = _i32(unit.place * positions + position), _i32(unit.tile * channels)
            deliver(job, unit.part, unit.group, sums[0], k, own, start, 1)

    return sums_of_tiles


def _direct(accumulator: np.dtype, shape: Shape) -> Any:
    """A kernel whose threads read what they need where it lies: for groups of one channel, which share no input.

    A thread's positions lie as far apart as there are threads along positions; the other threads lie along channels.
    """
    tile, numba_type = _tile(accumulator, shape), from_dtype(number(accumulator))
    size, n_sums = number(accumulator).itemsize, numbers(accumulator) * shape.positions
    positions = shape.positions
    deliver = _delivering(accumulator, shape)

    def sums_of_channels(job):
        total, block = cuda.local.array(n_sums, numba_type), cuda.local.array(n_sums, numba_type)
        sums = (total, block)
        thread_channel, lane = divided(_i32(cuda.threadIdx.x), job.lanes)
        for number_ in range(_i32(cuda.blockIdx.x), job.units, _i32(cuda.gridDim.x)):
            unit = _unit(number_, job)
            channel = _i32(unit.tile * job.lines + thread_channel)  # of all groups
            group, k = divided(channel, job.in_group)
            if group >= job.groups:
                continue
            start = _i32(unit.place * positions * job.lanes.value + lane)
            x, step = job.x + group * job.group * size, job.lanes.value
            addresses = (
                x + _place(job, start) * size,
                x + _place(job, _i32(start + step)) * size,
                x + _place(job, _i32(start + 2 * step)) * size,
                x + _place(job, _i32(start + 3 * step)) * size,
            )
            bias = (job.bias + channel * job.bias_step * size,)
            first = np.int64(unit.part * job.part_terms)
            offsets = table(job.offsets + 8 * first, np.int64(min(job.part_terms, _i32(job.terms - first))))
            w = (job.w + (channel * np.int64(job.terms) + first) * size,)
            _nest(tile, addresses, offsets, w, bias, sums, positions, (0, True))
            deliver(job, unit.part, group, sums[0], k, k, start, step)

    return sums_of_channels
