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
from refconv.engine.targets.cpu.schedule import registers, tiles
from refconv.engine.targets.cpu.small_plan import Functions, Small, chosen, element, flat_of, interiors, rounded_up
from refconv.engine.targets.jit.cfunctions import cfunction, inner
from refconv.engine.targets.jit.convert import Steps, converter
from refconv.engine.targets.jit.memory import allocate, call, clear, load_record, release, view

AXES = 3  # most spatial axes of a small problem
MOST_PRODUCTS = 2**20  # multiplications: what takes longer is worth several threads
MOST_STRIDE = 64
MOST_BYTES = 256 * 1024  # of a panel: `schedule.PANEL_BYTES`
TOLD = Small(*range(len(Small._fields)))  # where each of its integers lies
FIELD = Job(*range(len(Job._fields)))  # where each of its integers lies
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


@inner
def _places(p, f, flat, tile, memory):
    """Addresses of all parts, from `memory` on; the last one is the end."""
    terms = p.in_channels * p.kernel_planes * p.kernel_rows * p.kernel_columns
    planes = flat.planes.number * flat.planes.length
    weights_at = rounded_up((p.in_channels * flat.panel_channel + tile.positions) * f.itemsize, LINE)
    weights = 0 if _lies_in_order(p, f) else rounded_up(tile.channels * terms * f.itemsize, LINE)
    sums_at = weights_at + weights
    panel = rounded_up(memory, LINE)
    bias = panel + sums_at + rounded_up(f.numbers * tile.channels * tile.sums_row * f.itemsize, LINE)
    job = bias + (0 if p.bias else rounded_up(p.groups * p.channels * f.numbers * f.itemsize, LINE))
    counters = rounded_up(job + 8 * len(FIELD), LINE)
    steps = counters + 8 * COUNTERS
    offsets = steps + 24 * STEPS
    sources = offsets + 8 * terms
    outputs = sources + 16 * planes
    return Places(
        weights_at, sums_at, panel, bias, job, counters, steps, offsets, sources, sources + 8 * planes, outputs
    ), outputs + 24 * p.planes + 8


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
    steps[12], steps[13], steps[14] = taps * item, p.kernel_columns * item, item
    steps[15], steps[16], steps[17] = 0, 0, 0
    steps[18], steps[19], steps[20] = item * tile.sums_row, item * tile.sums_line, item
    steps[21], steps[22], steps[23] = p.out_channel, p.out_row, p.out_column
    steps[24], steps[25], steps[26] = 0, tile.channels * tile.sums_row * item, p.slack


@inner
def _tell_problem(job, p):
    """What the job says as the problem does."""
    job[FIELD.groups], job[FIELD.channels], job[FIELD.in_channels] = p.groups, p.channels, p.in_channels
    job[FIELD.rows], job[FIELD.columns] = p.rows, p.columns
    job[FIELD.band_rows], job[FIELD.band_columns], job[FIELD.lead_outputs] = p.rows, p.columns, p.planes
    job[FIELD.lead_bands], job[FIELD.row_bands], job[FIELD.column_bands] = 1, 1, 1
    job[FIELD.padding_mode], job[FIELD.height], job[FIELD.width] = p.padding_mode, p.height, p.width
    job[FIELD.top], job[FIELD.bottom], job[FIELD.left], job[FIELD.right] = p.top, p.bottom, p.left, p.right
    job[FIELD.row_stride], job[FIELD.column_stride] = p.row_stride, p.column_stride
    job[FIELD.x_image], job[FIELD.x_group], job[FIELD.x_channel] = p.x_image, p.x_group, p.x_channel
    job[FIELD.x_row], job[FIELD.x_column] = p.x_row, p.x_column
    job[FIELD.out_image], job[FIELD.out_group], job[FIELD.out_channel] = p.out_image, p.out_group, p.out_channel
    job[FIELD.out_row], job[FIELD.out_column] = p.out_row, p.out_column
    job[FIELD.x], job[FIELD.w], job[FIELD.bias], job[FIELD.out] = p.x, p.w, p.bias, p.out


@inner
def _tell_weights(job, p, f):
    """How the weights lie in memory."""
    taps = p.kernel_planes * p.kernel_rows * p.kernel_columns
    terms = p.in_channels * taps
    job[FIELD.terms], job[FIELD.all_terms] = terms, terms
    job[FIELD.w_group], job[FIELD.w_channel], job[FIELD.w_channels] = p.w_group, p.w_channel, p.in_channels
    job[FIELD.w_rows], job[FIELD.w_columns] = p.kernel_rows, p.kernel_columns
    if p.w_contiguous:
        channel = terms * f.w_itemsize
        job[FIELD.w_group], job[FIELD.w_channel], job[FIELD.w_channels] = p.channels * channel, channel, 1
        job[FIELD.w_rows], job[FIELD.w_columns] = 1, terms
    elif p.w_row == p.kernel_columns * p.w_column:
        job[FIELD.w_rows], job[FIELD.w_columns] = 1, taps
    job[FIELD.convert_w] = 0 if _lies_in_order(p, f) else f.convert_w


@inner
def _tell_panel(job, flat):
    """How the panel is laid out."""
    rows, columns = flat.rows, flat.columns
    job[FIELD.planes] = flat.planes.number * flat.planes.length
    job[FIELD.row_parts], job[FIELD.column_parts] = rows.number, columns.number
    job[FIELD.row_part], job[FIELD.column_part] = flat.row_part, flat.column_part
    job[FIELD.panel_rows], job[FIELD.panel_columns] = rows.length, columns.length
    job[FIELD.panel_channel], job[FIELD.panel_filled] = flat.panel_channel, flat.channel
    job[FIELD.plane_borders], job[FIELD.row_borders], job[FIELD.column_borders] = 0, 0, 0
    job[FIELD.row_starts], job[FIELD.column_starts] = rows.starts, columns.starts


@inner
def _tell_tile(job, p, f, tile):
    """What a unit is."""
    units = p.images * p.groups * ((p.channels + tile.channels - 1) // tile.channels)
    job[FIELD.units], job[FIELD.chunk], job[FIELD.threads] = units, units, 1
    job[FIELD.itemsize], job[FIELD.bias_size] = f.itemsize, f.numbers * f.itemsize
    job[FIELD.tile_channels], job[FIELD.tile_positions] = tile.channels, tile.positions
    job[FIELD.full_positions], job[FIELD.nest], job[FIELD.tail_nest] = tile.full_positions, tile.nest, tile.tail_nest
    job[FIELD.split_planes], job[FIELD.split_rows] = tile.split, tile.split
    job[FIELD.sums_row], job[FIELD.sums_line] = tile.sums_row, tile.sums_line
    job[FIELD.convert_x], job[FIELD.convert_out] = f.convert_x, f.convert_out


@inner
def _tell_places(job, p, at):
    """Where everything lies."""
    job[FIELD.weights_at], job[FIELD.sums_at], job[FIELD.workspace] = at.weights_at, at.sums_at, at.panel
    job[FIELD.workspace_size], job[FIELD.sums_size], job[FIELD.sums], job[FIELD.first_term] = 0, 0, 0, 0
    job[FIELD.counters], job[FIELD.offsets] = at.counters, at.offsets
    job[FIELD.x_steps], job[FIELD.w_steps], job[FIELD.out_steps] = at.steps, at.steps + 8 * STEPS, at.steps + 16 * STEPS
    job[FIELD.plane_sources], job[FIELD.plane_places] = at.plane_sources, at.plane_places
    job[FIELD.lead_places], job[FIELD.lead_outs] = at.outputs, at.outputs + 8 * p.planes
    job[FIELD.lead_sums], job[FIELD.lead_counts] = at.outputs + 16 * p.planes, at.outputs + 24 * p.planes
    if p.bias == 0:
        job[FIELD.bias] = at.bias


@inner
def _tell_borders(job, p, flat, nothing, at):
    """What of the panel is not the input's own; `at` is the address of two tables."""
    row, column = at, at + 24 * p.kernel_rows
    row_borders = interiors(flat.rows, p.top, p.height, p.row_stride, row)
    column_borders = interiors(flat.columns, p.left, p.width, p.column_stride, column)
    job[FIELD.row_interiors], job[FIELD.column_interiors] = row, column
    if nothing or row_borders or column_borders:
        job[FIELD.panel_filled] = 0
    if p.padding_mode:
        job[FIELD.row_borders], job[FIELD.column_borders] = np.int64(row_borders), np.int64(column_borders)


def _small(at):
    p = load_record(Small, at)
    f = load_record(Functions, p.functions)
    taps = p.kernel_planes + p.kernel_rows + p.kernel_columns
    tables = allocate(24 * (taps + p.kernel_rows + p.kernel_columns))
    flat = flat_of(p, f, tables)
    if p.in_channels * flat.panel_channel * f.itemsize > MOST_BYTES:
        release(tables)
        return
    tile = chosen(p, f, flat)
    _, size = _places(p, f, flat, tile, 0)
    memory = allocate(size + LINE)
    places, _ = _places(p, f, flat, tile, memory)
    job = view(np.int64, places.job, len(FIELD))
    if p.bias == 0:
        clear(places.bias, places.job - places.bias)
    clear(places.counters, 8 * COUNTERS)
    _tell_problem(job, p)
    _tell_weights(job, p, f)
    _tell_panel(job, flat)
    _tell_tile(job, p, f, tile)
    _tell_places(job, p, places)
    _tell_offsets(p, flat, places.offsets)
    _tell_steps(p, f, flat, tile, places.steps)
    if p.w_contiguous:
        steps = view(np.int64, places.steps + 8 * STEPS, 3)
        steps[0], steps[1], steps[2] = 0, 0, f.w_itemsize
    nothing = _tell_planes(p, flat, tile, places)
    _tell_borders(job, p, flat, nothing, tables + 24 * taps)
    call(f.kernel, (places.job,))
    release(memory)
    release(tables)
    view(np.int64, at, len(TOLD))[TOLD.done] = 1


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
    return 0 < products <= MOST_PRODUCTS and max(c.stride) <= MOST_STRIDE and c.x.size > 0


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
