"""Small correlations: planned by compiled code in microseconds, and computed by the calling thread.

For such a problem, choosing a schedule in Python takes longer than all its sums. So compiled code fills in the `Job`
that `plan` fills in for large ones: one panel that holds all outputs of an image, one tile, one thread. The kernel is
the same. Knows jobs, the kernel and plans of small problems; functions of typed numbers are told by their addresses.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

import itertools
import math
from array import array
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np

from refconv.core.formats import number, numbers
from refconv.engine.correlation import Correlation
from refconv.engine.targets.cpu.job import COUNTER_STRIDE, LINE, MODES, NOTHING, Job
from refconv.engine.targets.cpu.kernel import kernel
from refconv.engine.targets.cpu.microkernel import microkernel
from refconv.engine.targets.cpu.schedule import PANEL_BYTES, registers, tiles
from refconv.engine.targets.cpu.small_plan import Functions, Small, chosen, element, flat_of, interiors, rounded_up
from refconv.engine.targets.jit.cfunctions import cfunction, inner
from refconv.engine.targets.jit.convert import Steps, converter
from refconv.engine.targets.jit.memory import allocate, call, clear, load_record, release, store_record, view

AXES = 3  # most spatial axes of a small problem
MOST_PRODUCTS = 2**20  # multiplications: what takes longer is worth several threads
MOST_STRIDE = 64
MOST_OPTION = 4096  # padding, dilation and taps along an axis, where they are looked at in compiled code only
TOLD = Small(*range(len(Small._fields)))  # where each of its integers lies
DONE = TOLD.done
JOB = -(-len(Job._fields) // COUNTER_STRIDE) * COUNTER_STRIDE  # integers, in whole lines
COUNTERS = 3 * COUNTER_STRIDE
STEPS = len(Steps._fields)


class Places(NamedTuple):
    """Addresses in the memory of a call, which begins with the panel; the first two are relative to it."""

    weights_at: int
    sums_at: int
    panel: int
    bias: int
    job: int
    counters: int
    steps: int
    offsets: int
    plane_sources: int
    plane_places: int
    outputs: int  # of the planes of outputs: where they lie in the panel, in the output and among the sums; their count


@inner
def _lies_in_order(p, f):
    """Whether the nest can read the weights where they lie."""
    return p.w_contiguous and f.same_weights


class Sizes(NamedTuple):
    """Bytes of the parts of a call's memory."""

    panel: int
    weights: Any  # converted ones
    sums: int
    bias: Any  # zeros, if there is none
    all: Any


@inner
def _sizes(p, f, flat, tile):
    terms = p.in_channels * p.kernel_planes * p.kernel_rows * p.kernel_columns
    panel = rounded_up((p.in_channels * flat.panel_channel + tile.positions) * f.itemsize, LINE)
    weights = np.int64(0) if _lies_in_order(p, f) else rounded_up(tile.channels * terms * f.itemsize, LINE)
    sums = rounded_up(f.numbers * tile.channels * tile.sums_row * f.itemsize, LINE)
    bias = np.int64(0) if p.bias else rounded_up(p.groups * p.channels * f.numbers * f.itemsize, LINE)
    integers = JOB + COUNTERS + 3 * STEPS + terms + 2 * flat.planes.number * flat.planes.length + 3 * p.planes + 1
    return Sizes(panel, weights, sums, bias, panel + weights + sums + bias + 8 * integers + LINE)


@inner
def _places(p, flat, sizes, memory):
    """Addresses of all parts, from `memory` on."""
    panel = rounded_up(memory, LINE)
    bias = panel + sizes.panel + sizes.weights + sizes.sums
    job = bias + sizes.bias
    counters = job + 8 * JOB
    steps = counters + 8 * COUNTERS
    offsets = steps + 24 * STEPS
    sources = offsets + 8 * p.in_channels * p.kernel_planes * p.kernel_rows * p.kernel_columns
    places = sources + 8 * flat.planes.number * flat.planes.length
    outputs = places + 8 * flat.planes.number * flat.planes.length
    weights, sums = sizes.panel, sizes.panel + sizes.weights
    return Places(weights, sums, panel, bias, job, counters, steps, offsets, sources, places, outputs)


@inner
def _tell_offsets(p, flat, at):
    """Where in the panel the input of each term lies."""
    planes, rows, columns = flat.planes, flat.rows, flat.columns
    plane_owners, plane_shifts = (
        view(np.int64, planes.owners, p.kernel_planes),
        view(np.int64, planes.shifts, p.kernel_planes),
    )
    row_owners, row_shifts = view(np.int64, rows.owners, p.kernel_rows), view(np.int64, rows.shifts, p.kernel_rows)
    owners, shifts = view(np.int64, columns.owners, p.kernel_columns), view(np.int64, columns.shifts, p.kernel_columns)
    offsets = view(np.int64, at, p.in_channels * p.kernel_planes * p.kernel_rows * p.kernel_columns)
    t = 0
    for c in range(p.in_channels):
        for d in range(p.kernel_planes):
            plane = c * flat.panel_channel + plane_owners[d] * flat.plane_part + plane_shifts[d] * flat.plane
            for r in range(p.kernel_rows):
                row = plane + row_owners[r] * flat.row_part + row_shifts[r] * columns.length
                for s in range(p.kernel_columns):
                    offsets[t] = row + owners[s] * flat.column_part + shifts[s]
                    t += 1


@inner
def _tell_planes(p, flat, tile, at):
    """Where planes of the panel come from, and where planes of outputs go; returns whether some planes are zeros."""
    parts = flat.planes
    starts, count = view(np.int64, parts.starts, parts.number), parts.number * parts.length
    sources, places = view(np.int64, at.plane_sources, count), view(np.int64, at.plane_places, count)
    nothing = False
    for part in range(parts.number):
        for j in range(parts.length):
            index = element(starts[part] + j * p.plane_stride - p.front, p.depth, p.back, p.padding_mode)
            i = part * parts.length + j
            sources[i] = index * p.x_plane if index >= 0 else NOTHING
            places[i] = part * flat.plane_part + j * flat.plane
            nothing |= index < 0
    outputs = view(np.int64, at.outputs, 3 * p.planes + 1)
    for j in range(p.planes):
        outputs[j], outputs[p.planes + j] = j * flat.plane, j * p.out_plane
        outputs[2 * p.planes + j] = j * p.rows * tile.sums_line if tile.split else j * flat.plane
    outputs[3 * p.planes] = p.planes
    return nothing


@inner
def _tell_steps(p, f, flat, tile, at):
    """Steps of packing, of the weights, and of delivery."""
    steps, item = view(np.int64, at, 3 * STEPS), f.itemsize
    taps = p.kernel_planes * p.kernel_rows * p.kernel_columns
    steps[0], steps[1], steps[2] = p.x_channel, p.x_row * p.row_stride, p.x_column * p.column_stride
    steps[3], steps[4], steps[5] = item * flat.panel_channel, item * flat.columns.length, item
    steps[6], steps[7], steps[8] = p.zero_point, 0, 0
    steps[9], steps[10], steps[11] = p.w_in_channel, p.w_row, p.w_column
    if p.w_contiguous:
        steps[9], steps[10], steps[11] = 0, 0, f.w_itemsize
    steps[12], steps[13], steps[14] = taps * item, p.kernel_columns * item, item
    steps[15], steps[16], steps[17] = 0, 0, 0
    steps[18], steps[19], steps[20] = item * tile.sums_row, item * tile.sums_line, item
    steps[21], steps[22], steps[23] = p.out_channel, p.out_row, p.out_column
    steps[24], steps[25], steps[26] = 0, tile.channels * tile.sums_row * item, p.slack


@inner
def _job(p, f, flat, tile, at, borders):
    """All that the kernel is told."""
    taps = p.kernel_planes * p.kernel_rows * p.kernel_columns
    terms = p.in_channels * taps
    units = p.images * p.groups * ((p.channels + tile.channels - 1) // tile.channels)
    w_group, w_channel, w_channels, w_rows, w_columns = _weights(p, f)
    convert_w = f.convert_w
    if _lies_in_order(p, f):
        convert_w = 0
    bias = p.bias
    if bias == 0:
        bias = at.bias
    filled = flat.channel
    if borders.any:
        filled = 0
    return Job(
        groups=p.groups, channels=p.channels, in_channels=p.in_channels, terms=terms, all_terms=terms,
        itemsize=f.itemsize, bias_size=f.numbers * f.itemsize, tile_channels=tile.channels,
        tile_positions=tile.positions, full_positions=tile.full_positions, units=units, chunk=units, threads=1,
        rows=p.rows, columns=p.columns, band_rows=p.rows, band_columns=p.columns, lead_bands=1, row_bands=1,
        column_bands=1, lead_outputs=p.planes, planes=flat.planes.number * flat.planes.length,
        row_parts=flat.rows.number, column_parts=flat.columns.number, row_part=flat.row_part,
        column_part=flat.column_part, panel_rows=flat.rows.length, panel_columns=flat.columns.length,
        panel_channel=flat.panel_channel, panel_filled=filled, plane_borders=0, row_borders=borders.rows,
        column_borders=borders.columns, split_planes=tile.split, split_rows=tile.split, sums_row=tile.sums_row,
        sums_line=tile.sums_line, padding_mode=p.padding_mode, height=p.height, width=p.width, top=p.top,
        bottom=p.bottom, left=p.left, right=p.right, row_stride=p.row_stride, column_stride=p.column_stride,
        w_group=w_group, w_channel=w_channel, w_channels=w_channels, w_rows=w_rows, w_columns=w_columns,
        x_image=p.x_image, x_group=p.x_group, x_channel=p.x_channel, x_row=p.x_row, x_column=p.x_column,
        out_image=p.out_image, out_group=p.out_group, out_channel=p.out_channel, out_row=p.out_row,
        out_column=p.out_column, weights_at=at.weights_at, sums_at=at.sums_at, workspace_size=0, sums_size=0,
        x_steps=at.steps, w_steps=at.steps + 8 * STEPS, out_steps=at.steps + 16 * STEPS, offsets=at.offsets,
        plane_sources=at.plane_sources, plane_places=at.plane_places, lead_counts=at.outputs + 24 * p.planes,
        lead_places=at.outputs, lead_sums=at.outputs + 16 * p.planes, lead_outs=at.outputs + 8 * p.planes,
        row_starts=flat.rows.starts, row_interiors=borders.row_interiors, column_starts=flat.columns.starts,
        column_interiors=borders.column_interiors, nest=tile.nest, tail_nest=tile.tail_nest, convert_x=f.convert_x,
        convert_w=convert_w, convert_out=f.convert_out, x=p.x, w=p.w, bias=bias, out=p.out, workspace=at.panel,
        counters=at.counters, sums=0, first_term=0,
    )  # fmt: skip


@inner
def _weights(p, f):
    """Steps from a group's weights, and a channel's, to the next; and how many weights lie along each axis."""
    taps = p.kernel_planes * p.kernel_rows * p.kernel_columns
    if p.w_contiguous:
        channel = p.in_channels * taps * f.w_itemsize
        return p.channels * channel, channel, np.int64(1), np.int64(1), p.in_channels * taps
    if p.w_row == p.kernel_columns * p.w_column:
        return p.w_group, p.w_channel, p.in_channels, np.int64(1), taps
    return p.w_group, p.w_channel, p.in_channels, p.kernel_rows, p.kernel_columns


class Borders(NamedTuple):
    """What of the panel is not the input's own."""

    any: bool
    rows: Any  # 1 if rows are filled one by one
    columns: Any
    row_interiors: int  # addresses of tables
    column_interiors: int


@inner
def _borders(p, flat, nothing, row, column):
    """The borders, whose tables are written to two addresses; `nothing`: some planes are zeros."""
    rows = interiors(flat.rows, p.top, p.height, p.row_stride, row)
    columns = interiors(flat.columns, p.left, p.width, p.column_stride, column)
    one_by_one = p.padding_mode != 0  # zeros stay
    return Borders(
        nothing or rows or columns, np.int64(rows and one_by_one), np.int64(columns and one_by_one), row, column
    )


def _small(at):
    p = load_record(Small, at)
    f = load_record(Functions, p.functions)
    taps = p.kernel_planes + p.kernel_rows + p.kernel_columns
    tables = allocate(24 * (taps + p.kernel_rows + p.kernel_columns))
    flat = flat_of(p, f, tables)
    if flat.elements > PANEL_BYTES or p.in_channels * flat.panel_channel * f.itemsize > PANEL_BYTES:
        release(tables)
        return
    tile = chosen(p, f, flat)
    sizes = _sizes(p, f, flat, tile)
    memory = allocate(sizes.all)
    places = _places(p, flat, sizes, memory)
    if p.bias == 0:
        clear(places.bias, sizes.bias)
    clear(places.counters, 8 * COUNTERS)
    _tell_offsets(p, flat, places.offsets)
    _tell_steps(p, f, flat, tile, places.steps)
    nothing = _tell_planes(p, flat, tile, places)
    row = tables + 24 * taps
    borders = _borders(p, flat, nothing, row, row + 24 * p.kernel_rows)
    store_record(places.job, _job(p, f, flat, tile, places, borders))
    call(f.kernel, (places.job,))
    release(memory)
    release(tables)
    view(np.int64, at, DONE + 1)[DONE] = 1


@cache
def small() -> Any:
    """The compiled planner and caller of the kernel: a C function of the address of a `Small`."""
    return cfunction(_small, 1)


def run(c: Correlation) -> bool:
    """Fill `c.out` if the problem is small; else return False, and nothing is done."""
    axes = len(c.stride)
    if axes > AXES or not _is_small(c):
        return False
    x, w, out = c.x, c.w, c.out
    to = functions(x.dtype, w.dtype, out.dtype, c.accumulator)
    bias = c.bias
    if bias is not None:
        with np.errstate(all="ignore"):  # a signalling NaN
            bias = np.ascontiguousarray(bias, number(c.accumulator))
    if not w.flags.c_contiguous and axes == AXES and w.shape[3] > 1:
        w = np.ascontiguousarray(w)
    ones, zeros = (1,) * (AXES - axes), (0,) * (AXES - axes)
    block = array("q", (
        *x.shape[:3], w.shape[1], *ones, *x.shape[3:], *ones, *w.shape[3:], *ones, *out.shape[3:], *ones, *c.stride,
        *ones, *c.dilation, *zeros, *zeros, *itertools.chain.from_iterable(c.padding),
        *x.strides[:3], *zeros, *x.strides[3:],
        int(w.flags.c_contiguous), *w.strides[:3], *zeros, *w.strides[3:],
        *out.strides[:3], *zeros, *out.strides[3:], MODES.index(c.padding_mode), c.zero_point, c.slack,
        x.ctypes.data, w.ctypes.data, 0 if bias is None else bias.ctypes.data, out.ctypes.data,
        to.buffer_info()[0], 0,
    ))  # fmt: skip
    small().ctypes(block.buffer_info()[0])
    return bool(block[-1])


def _is_small(c: Correlation) -> bool:
    products = math.prod(c.out.shape) * math.prod(c.w.shape[2:])
    return (
        0 < products <= MOST_PRODUCTS
        and max(c.stride) <= MOST_STRIDE
        and max(c.w.shape[3:]) <= MOST_OPTION
        and c.x.size > 0
    )


@lru_cache(maxsize=256)
def functions(x: np.dtype, w: np.dtype, out: np.dtype, accumulator: np.dtype) -> "array[int]":
    """A `Functions`, then its table of tiles."""
    of_sums = number(accumulator)
    lanes = registers()[0] // of_sums.itemsize
    shapes = list(tiles(numbers(accumulator)))
    nests = [
        (channels, vectors, *(microkernel(accumulator, channels, count, lanes, True).address for count in (vectors, 1)))
        for channels, vectors in shapes
    ]
    told = Functions(
        of_sums.itemsize, numbers(accumulator), lanes, w.itemsize, converter(x, of_sums).address,
        converter(w, of_sums).address, converter(accumulator, out, result=True).address, int(w == of_sums), 0,
        len(shapes), kernel().address, small().address,
    )  # fmt: skip
    block = array("q", (*told, *itertools.chain.from_iterable(nests)))
    block[Functions._fields.index("tiles")] = block.buffer_info()[0] + 8 * len(told)
    return block
