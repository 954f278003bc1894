"""Schedules: which tile, which bands, how much at a time, by what they cost. And the tables that go with it.

Knows the processor's vectors, layouts and arithmetic; no Numba but its settings, and computes nothing but sizes.
"""

import math
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from llvmlite import binding
from numba import config

from refconv.layout import Layout, Size, layout
from refconv.padding import ZERO, Sides, index_map
from refconv.targets.cpu.convert import Steps
from refconv.targets.cpu.job import NOWHERE, Job

HEIGHTS = {8: 3, 4: 6, 1: 4}  # output channels of a tile, and vectors at most: more would not make it faster
PANEL_BYTES = 256 * 1024  # a panel is read once for each tile of channels: the second-level cache is to hold it
L1_BYTES = 32 * 1024
L2_CYCLES = 0.25
SLOW = 1 / 2**20
NEAR_BYTES = 1024 * 1024  # more weights than that are far away
UNITS_PER_THREAD = 8  # with fewer, threads wait long for the one that takes the last
LONGEST_ROW = 2**16
GRAIN_CYCLES = 10_000  # what a thread takes at a time is to cost far more than taking it

# What packing and delivery cost, in cycles: for a vector, for a row, and for a panel.
VECTOR_CYCLES, ROW_CYCLES, PANEL_CYCLES = 5, 20, 200
FAR_BYTES = 8  # in a cycle, from the third-level cache


class Problem(NamedTuple):
    """Everything a schedule depends on: shapes, options, and how input and output lie in memory."""

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
    itemsize: int  # of the accumulator
    w_itemsize: int
    threads: int

    @property
    def terms(self) -> int:
        """Products in a sum."""
        return self.in_channels * math.prod(self.kernel)


class Schedule(NamedTuple):
    """How a problem is computed."""

    cycles: float  # as the cost model has it, of all threads together
    channels: int  # of a tile
    vectors: int  # of the wide tile
    wide: int  # tiles for a panel; slim ones compute the rest
    band: Size  # outputs of a panel along each axis; along the inner ones all
    layout: Layout


class Plan(NamedTuple):
    """A schedule, as the kernel is told, and the tables that it is told the addresses of."""

    schedule: Schedule
    job: Job
    tables: tuple[np.ndarray, ...]


@cache
def registers() -> tuple[int, int]:
    """Bytes in a vector register, and how many registers there are."""
    if config.CPU_NAME == "generic":  # type: ignore[attr-defined] # made at run time
        return 16, 16
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 64, 32
    if features.get("avx"):
        return 32, 16
    return 16, 32 if features.get("neon") else 16


def lanes(itemsize: int) -> int:
    """Numbers in a vector."""
    return registers()[0] // itemsize


def tiles() -> Iterator[tuple[int, int]]:
    """Shapes of wide tiles, (channels, vectors): sums, the inputs' vectors and one of a weight fill the registers."""
    for channels, most in HEIGHTS.items():
        vectors = min(most, (registers()[1] - 1) // (channels + 1))
        if vectors:
            yield channels, vectors


def term_cycles(channels: int, vectors: int, panel: float) -> float:
    """Cost of a term in a tile: two fused multiply-adds or two loads in a cycle; most inputs lie across two lines.

    A panel too large for the first-level cache comes from the second, the more slowly the larger it is.
    """
    multiply, load = channels * vectors / 2, (channels + 2 * vectors) / 2
    fetch = 0 if panel <= L1_BYTES else L2_CYCLES + panel * SLOW
    return max(multiply, load, 4) + vectors * fetch  # a sum waits four cycles for the one before


@lru_cache(maxsize=4096)
def schedule(p: Problem) -> Schedule:
    """The cheapest schedule."""
    fitting = [tile for tile in tiles() if tile[0] <= p.channels]
    costed = (_costed(p, *tile, band) for tile in fitting for band in _bands(p, *tile))
    return min(costed, key=lambda found: found.cycles)


def _bands(p: Problem, channels: int, vectors: int) -> set[Size]:
    """Sizes of bands worth a look: as large as a panel may be, and smaller ones, enough for all threads."""
    limit = PANEL_BYTES // (p.itemsize * max(1, p.in_channels))
    rows, columns = p.output
    if rows > 1 and _channel(p, (1, columns)) <= 4 * limit:
        one, two = (_channel(p, (size, columns)) for size in (1, 2))
        fewest = -(-rows // max(1, 1 + (limit - one) // (two - one)))  # a channel grows evenly with its rows
        wanted = -(-p.threads * UNITS_PER_THREAD // (p.images * p.groups * -(-p.channels // channels)))
        pieces = {1, fewest // 4, fewest // 2, fewest, fewest + 1, 2 * fewest, 3 * fewest, max(fewest, wanted)}
        return {(-(-rows // min(max(n, 1), rows)), columns) for n in pieces}
    wide = vectors * lanes(p.itemsize)  # columns are cut where a wide tile ends
    steps = {min(columns, wide * 2**n) for n in range(columns.bit_length())}
    return {(1, size) for size in steps if size == min(steps) or _channel(p, (1, size)) <= 4 * limit}


def _channel(p: Problem, band: Size) -> int:
    """Elements of a channel of a panel."""
    return layout(p.kernel, p.stride, p.dilation, band).channel


def _costed(p: Problem, channels: int, vectors: int, band: Size) -> Schedule:
    """A schedule with its cost: sums, packing and delivery, and what is lost where units do not share out evenly."""
    found = layout(p.kernel, p.stride, p.dilation, band)
    bands = math.prod(-(-outputs // size) for outputs, size in zip(p.output, band, strict=True))
    size = lanes(p.itemsize)
    panel = p.in_channels * found.channel * p.itemsize
    positions = found.positions(band)
    cycles, wide = _tiling(p, positions, channels, vectors, panel)
    sums = p.terms * cycles
    # Weights come from afar, if there are many, and that may take longer than to use them.
    if p.groups * p.channels * p.terms * p.itemsize > NEAR_BYTES:
        sums = max(sums, p.terms * channels * p.itemsize / FAR_BYTES)
    stored = channels * (2 * positions / size + ROW_CYCLES * band[0])
    rows = found.channel // found.lengths[-1]
    packed = p.in_channels * rows * (ROW_CYCLES + VECTOR_CYCLES * found.lengths[-1] / size)
    panels = p.images * p.groups * bands
    units = panels * -(-p.channels // channels)
    total = units * (sums + stored) + panels * (packed + PANEL_CYCLES)
    return Schedule(total * _waiting(units, p.threads), channels, vectors, wide, band, found)


def _waiting(units: int, threads: int) -> float:
    """How much longer it takes than if the units shared out evenly."""
    return -(-units // threads) * threads / units


def _tiling(p: Problem, positions: int, channels: int, vectors: int, panel: int) -> tuple[float, int]:
    """Cycles of a term over all positions, and how many wide tiles to use; slim ones compute the rest, if any."""
    size = lanes(p.itemsize)
    wide, slim = term_cycles(channels, vectors, panel), term_cycles(channels, 1, panel)
    whole = positions // (vectors * size)
    rest = positions - whole * vectors * size
    return min((whole * wide + -(-rest // size) * slim, whole), ((whole + (rest > 0)) * wide, whole + (rest > 0)))


@lru_cache(maxsize=1024)
def prepare(p: Problem) -> Plan:
    """The schedule of a problem, and what it says as the kernel takes it."""
    p = _flattened(p)
    found = schedule(p)
    flat, band = found.layout, found.band
    bands = [range(0, outputs, size) for outputs, size in zip(p.output, band, strict=True)]
    (rows, row_runs), (columns, column_runs) = (_axis(p, flat, axis, starts) for axis, starts in enumerate(bands))
    # A channel starts where a vector may: of a 1x1 kernel's inputs none lies across two lines then.
    channel = -(-flat.channel // lanes(p.itemsize)) * lanes(p.itemsize)
    row = -(-flat.positions(band) // (lanes(p.itemsize) * found.vectors)) * lanes(p.itemsize) * found.vectors
    x_steps = [p.x_strides[2], *(step * stride for step, stride in zip(p.stride, p.x_strides[3:], strict=True))]
    tables = {
        "x_steps_at": Steps(*x_steps, *(p.itemsize * each for each in (channel, flat.lengths[1], 1))),
        "w_steps_at": Steps(0, 0, p.w_itemsize, 0, 0, p.itemsize),
        "out_steps_at": Steps(*(p.itemsize * each for each in (row, flat.lengths[1], 1)), *p.out_strides[2:]),
        "offsets_at": flat.offsets(p.in_channels, channel),
        "rows_at": rows,
        "row_runs_at": row_runs,
        "columns_at": columns,
        "column_runs_at": column_runs,
    }
    held = {name: np.ascontiguousarray(table, np.int64) for name, table in tables.items()}
    units = p.images * p.groups * len(bands[0]) * len(bands[1]) * -(-p.channels // found.channels)
    grain = int(GRAIN_CYCLES * units / found.cycles) + 1
    job = Job(
        groups=p.groups,
        channels=p.channels,
        in_channels=p.in_channels,
        terms=p.terms,
        itemsize=p.itemsize,
        tile_channels=found.channels,
        tile_positions=found.vectors * lanes(p.itemsize),
        units=units,
        grain=min(grain, units // (p.threads * UNITS_PER_THREAD) + 1),
        threads=p.threads,
        rows=p.output[0],
        columns=p.output[1],
        band_rows=band[0],
        band_columns=band[1],
        row_bands=len(bands[0]),
        column_bands=len(bands[1]),
        row_parts=len(flat.residues[0]),
        column_parts=len(flat.residues[1]),
        panel_rows=flat.lengths[0],
        panel_columns=flat.lengths[1],
        panel_channel=channel,
        padded=any(np.any(table == NOWHERE) for table in (held["rows_at"], held["columns_at"])),
        row_borders=_borders(p, held["row_runs_at"]),
        column_borders=_borders(p, held["column_runs_at"]),
        sums_row=row,
        wide=found.wide * found.vectors * lanes(p.itemsize),
        w_itemsize=p.w_itemsize,
        **dict(zip(("x_image", "x_group", "x_channel"), p.x_strides, strict=False)),
        **dict(zip(("out_image", "out_group", "out_channel", "out_row", "out_column"), p.out_strides, strict=True)),
        **{name: table.ctypes.data for name, table in held.items()},
    )
    return Plan(found, job, tuple(held.values()))


def _flattened(p: Problem) -> Problem:
    """Rows as one long row, where nothing tells them apart: a 1x1 kernel over dense images.

    Rows of large images are long enough as they are, and bands of them need smaller tables.
    """
    plain = p.kernel == p.stride == (1, 1) and not any(map(any, p.padding))
    sides = ((p.x_strides, p.size), (p.out_strides, p.output))
    dense = all(strides[-2] == size[-1] * strides[-1] for strides, size in sides)
    if not (plain and dense) or math.prod(p.size) > LONGEST_ROW:
        return p
    return p._replace(size=(1, math.prod(p.size)), output=(1, math.prod(p.output)))


def _borders(p: Problem, runs: np.ndarray) -> bool:
    """Whether elements outside of the runs change from panel to panel: zeros in an axis' only band do not."""
    first, last, used = np.moveaxis(runs, -1, 0)
    return bool(((first > 0) | (last < used)).any()) and (len(runs) > 1 or p.padding_mode != "zeros")


def _axis(p: Problem, flat: Layout, axis: int, starts: range) -> tuple[list[np.ndarray], list[list[Size]]]:
    """For each band of an axis and each residue: bytes to each element, and its run.

    A run says from and to where elements lie evenly, and how many the band needs: fewer at the end of the axis.
    """
    indices = index_map(p.size[axis], *p.padding[axis], p.padding_mode)
    (before, _), size, step = p.padding[axis], p.size[axis], p.stride[axis]
    length, stride, reach = flat.lengths[axis], p.x_strides[3 + axis], flat.lengths[axis] - starts.step
    elements, runs = [], []
    for start in starts:
        padded = np.add.outer(flat.residues[axis], (start + np.arange(length)) * step)
        # An element past the padded input belongs to no output.
        found = np.where(padded < len(indices), indices[np.minimum(padded, len(indices) - 1)], ZERO)
        elements.append(np.where(found == ZERO, NOWHERE, found * stride))
        ends = [
            [-(-(end - residue) // step) - start for end in (before, before + size)] for residue in flat.residues[axis]
        ]
        used = min(starts.step, starts.stop - start) + reach
        runs.append([(*(min(max(end, 0), used) for end in pair), used) for pair in ends])
    return elements, runs
