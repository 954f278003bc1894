"""Plans of small problems, by compiled code: the layout of the panel, and the tile.

What `flat_layout` and `schedule` say of a problem that is one panel and one thread's, in microseconds. Knows what a
small problem is told by, and memory; nothing of jobs.
"""

# Compiled integers, which have no types of Python's.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, check-untyped-defs=False

from typing import NamedTuple

import numpy as np

from refconv.engine.flat_layout import MOST_PARTS
from refconv.engine.targets.jit.cfunctions import inner
from refconv.engine.targets.jit.memory import view

LONGEST = 2**18  # elements of a part along an axis that a small problem may have


class Functions(NamedTuple):
    """What is the same for all problems of the same formats."""

    itemsize: int  # of the numbers that an accumulator consists of
    numbers: int
    lanes: int
    w_itemsize: int
    convert_x: int
    convert_w: int  # also where weights are in the accumulator's format: they may not be contiguous
    convert_out: int
    same_weights: int  # whether weights are in the accumulator's format
    tiles: int  # address of rows of four integers: channels and vectors of a tile, its nest, its nest of single vectors
    n_tiles: int
    kernel: int
    small: int  # what plans such a problem and calls the kernel


class Small(NamedTuple):
    """A small problem; of fewer than three axes the first ones have one element and one tap. Strides are in bytes."""

    images: int
    groups: int
    in_channels: int  # of a group, like the next
    channels: int
    depth: int
    height: int
    width: int
    kernel_planes: int
    kernel_rows: int
    kernel_columns: int
    planes: int
    rows: int
    columns: int
    plane_stride: int
    row_stride: int
    column_stride: int
    plane_dilation: int
    row_dilation: int
    column_dilation: int
    front: int
    back: int
    top: int
    bottom: int
    left: int
    right: int
    x_image: int
    x_group: int
    x_channel: int
    x_plane: int
    x_row: int
    x_column: int
    w_contiguous: int  # then the next six don't matter
    w_group: int
    w_channel: int
    w_in_channel: int
    w_plane: int
    w_row: int
    w_column: int
    out_image: int
    out_group: int
    out_channel: int
    out_plane: int
    out_row: int
    out_column: int
    padding_mode: int
    zero_point: int
    slack: int
    x: int
    w: int
    bias: int  # 0 for none
    out: int
    functions: int  # address of `Functions`
    done: int = 0  # set if it was computed: it may be too large after all


class Parts(NamedTuple):
    """The parts of a panel along an axis: as `flat_layout` has them. Tables hold int64."""

    number: int
    length: int  # of each
    starts: int  # address: where in the padded input each part starts
    owners: int  # address: the part of each tap
    shifts: int  # address: where in its part each tap lies


@inner
def _parts(taps, stride, dilation, outputs, between, tables):
    """The parts along an axis, as `flat_layout` has them; `tables` is the address of three tables of taps."""
    starts = view(np.int64, tables, taps)
    owners = view(np.int64, tables + 8 * taps, taps)
    shifts = view(np.int64, tables + 16 * taps, taps)
    lowest = min(np.int64(0), (taps - 1) * dilation)
    count, reach = np.int64(0), np.int64(0)
    for residue in range(stride):
        mine = False
        for tap in range(taps):
            place = tap * dilation - lowest
            if place % stride == residue:
                owners[tap], shifts[tap] = count, place // stride
                reach = max(reach, place // stride)
                mine = True
        if mine:
            starts[count] = residue
            count += 1
    together, apart = count * (outputs + reach), taps * outputs
    if taps <= MOST_PARTS and (apart < together or (between and reach > outputs and apart < 2 * together)):
        for tap in range(taps):
            starts[tap], owners[tap], shifts[tap] = tap * dilation - lowest, tap, 0
        return Parts(taps, outputs, tables, tables + 8 * taps, tables + 16 * taps)
    return Parts(count, outputs + reach, tables, tables + 8 * taps, tables + 16 * taps)


@inner
def interiors(parts, before, size, stride, at):
    """For each part from and to where its elements are the input's own, and how many are needed; if not all are."""
    starts, table = view(np.int64, parts.starts, parts.number), view(np.int64, at, 3 * parts.number)
    outside = False
    for part in range(parts.number):
        place = starts[part] - before
        table[3 * part] = min(max(-(place // stride), 0), parts.length)
        table[3 * part + 1] = min(max(-((place - size) // stride), 0), parts.length)
        table[3 * part + 2] = parts.length
        outside |= table[3 * part] > 0 or table[3 * part + 1] < parts.length
    return outside


@inner
def element(place, size, after, mode):
    """The index of the input's element at a place along an axis, -1 for a zero: as `padding.element` has it."""
    if place >= size + after:
        return np.int64(-1)
    if 0 <= place < size:
        return place
    if mode == 1:
        return size - 1 - abs(size - 1 - abs(place))
    if mode == 2:
        return min(max(place, 0), size - 1)
    return place % size if mode == 3 else np.int64(-1)


@inner
def _term_cycles(channels, vectors, numbers):
    """As in `schedule`: multiply-adds and loads of a term in a tile, of a panel in the first-level cache."""
    operations = 1 if numbers == 1 else 4
    return max(operations * channels * vectors, channels + 2 * vectors, 8)  # in half cycles


@inner
def _run_cycles(channels, vectors, numbers, lanes, positions):
    """Half cycles of a term over a run of positions, and how many full tiles to use."""
    full, single = _term_cycles(channels, vectors, numbers), _term_cycles(channels, 1, numbers)
    count, rest = positions // (vectors * lanes), positions % (vectors * lanes)
    more = count + (rest > 0)
    with_singles = count * full + (rest + lanes - 1) // lanes * single
    if with_singles <= more * full:
        return with_singles, count
    return more * full, more


class Flat(NamedTuple):
    """The layout of a panel: parts along each axis, and elements from one thing to the next."""

    planes: Parts
    rows: Parts
    columns: Parts
    elements: int  # of a part; more than 2**18 for any number that is larger than that
    plane: int  # elements of a plane
    channel: int  # elements that are filled
    panel_channel: int  # from a channel to the next
    plane_part: int
    row_part: int
    column_part: int


class Chosen(NamedTuple):
    """The tile, and how positions fall into runs."""

    channels: int
    positions: int  # of a tile
    full_positions: int  # of a run that full tiles compute
    nest: int
    tail_nest: int
    split: int  # whether each row is a run of its own
    sums_row: int
    sums_line: int


@inner
def rounded_up(size, unit):
    """The next multiple of a unit."""
    return (size + unit - 1) // unit * unit


@inner
def flat_of(p, f, at):
    """The layout of the panel; `at` is the address of three tables for each axis, as long as it has taps."""
    rows_at = at + 24 * p.kernel_planes
    planes = _parts(p.kernel_planes, p.plane_stride, p.plane_dilation, p.planes, False, at)
    rows = _parts(p.kernel_rows, p.row_stride, p.row_dilation, p.rows, False, rows_at)
    between, columns_at = p.planes * p.rows > 1, rows_at + 24 * p.kernel_rows
    columns = _parts(p.kernel_columns, p.column_stride, p.column_dilation, p.columns, between, columns_at)
    plane = rows.length * columns.length
    size = planes.length * plane
    channel = size * planes.number * rows.number * columns.number
    panel_channel = rounded_up(channel, f.lanes) if channel > f.lanes else channel
    plane_part = rows.number * size
    most = max(planes.length, rows.length, columns.length)
    elements = most if most > LONGEST else size  # the product of longer parts may not fit into 64 bits
    return Flat(
        planes, rows, columns, elements, plane, channel, panel_channel, plane_part, size, planes.number * plane_part
    )


@inner
def chosen(p, f, flat):
    """The tile that takes the least time, and whether sums between the rows are left out."""
    table = view(np.int64, f.tiles, 4 * f.n_tiles)
    lines, row = p.planes * p.rows, flat.columns.length
    whole = 1 + (p.planes - 1) * flat.plane + (p.rows - 1) * row + p.columns - 1
    terms = p.in_channels * p.kernel_planes * p.kernel_rows * p.kernel_columns
    least, best, by_rows, full_tiles = np.int64(2**62), np.int64(0), np.int64(0), np.int64(0)
    for candidate in range(f.n_tiles):
        channels, vectors = table[4 * candidate], table[4 * candidate + 1]
        if channels > p.channels:
            continue
        count = (p.channels + channels - 1) // channels
        for split in range(2):
            runs, positions = (lines, p.columns) if split else (np.int64(1), whole)
            cycles, full = _run_cycles(channels, vectors, f.numbers, f.lanes, positions)
            stored = 4 * channels * (runs * positions // f.lanes + 10 * lines)
            total = count * (terms * runs * cycles + 60 * runs + stored)
            if total < least:
                least, best, by_rows, full_tiles = total, candidate, split, full
    positions = table[4 * best + 1] * f.lanes
    sums_line = rounded_up(p.columns, positions) if by_rows else row
    sums_row = lines * sums_line if by_rows else rounded_up(whole, positions)
    return Chosen(
        table[4 * best], positions, full_tiles * positions, table[4 * best + 2], table[4 * best + 3], by_rows, sums_row,
        sums_line,
    )  # fmt: skip
