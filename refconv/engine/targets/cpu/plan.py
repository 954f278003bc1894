"""Plans: a schedule in the numbers, tables and addresses that compiled code is told.

Knows schedules, layouts, compiled functions and what a job says; not who runs it.
"""

import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from refconv.core.padding import ZERO, element
from refconv.engine.targets.cpu.job import LINE, MODES, NOTHING, Job
from refconv.engine.targets.cpu.microkernel import microkernel
from refconv.engine.targets.cpu.schedule import UNITS_PER_THREAD, Problem, Schedule
from refconv.engine.targets.cpu.transpose import gatherer, scatterer
from refconv.engine.targets.jit.convert import Steps, converter

CHUNK_CYCLES = 10_000  # what a thread takes at a time is to cost far more than taking it


class Plan(NamedTuple):
    """A job but for what each call fills in, and what it tells the addresses of."""

    job: Job
    kept: tuple[Any, ...]


def plan(p: Problem, schedule: Schedule) -> Plan:
    """The plan of a problem by a schedule of it."""
    bands = [range(0, outputs, size) for outputs, size in zip(p.output, schedule.band, strict=True)]
    workspace = _workspace(p, schedule)
    tables = _tables(p, schedule, bands, workspace)
    bias = np.zeros(p.groups * p.channels * p.numbers, p.number)
    sizes = _sizes(p, schedule, bands) | workspace | _borders(p, schedule, tables) | _functions(p, schedule)
    addresses = {name: table.ctypes.data for name, table in (tables | {"bias": bias}).items()}
    return Plan(Job(**sizes, **addresses), (bias, *tables.values()))


def _sizes(p: Problem, schedule: Schedule, bands: list[range]) -> dict[str, int]:
    """Sizes and strides."""
    chunk = int(CHUNK_CYCLES * schedule.units / (schedule.cycles * schedule.threads)) + 1
    return {
        "groups": p.groups,
        "channels": p.channels,
        "in_channels": p.in_channels,
        "terms": p.terms,
        "all_terms": p.all_terms,
        "itemsize": p.number.itemsize,
        "bias_size": p.numbers * p.number.itemsize,
        "tile_channels": schedule.channels,
        "tile_positions": schedule.vectors * p.lanes,
        "full_positions": schedule.full_tiles * schedule.vectors * p.lanes,
        "units": schedule.units,
        "chunk": min(chunk, schedule.units // (schedule.threads * UNITS_PER_THREAD) + 1),
        "threads": schedule.threads,
        **_weights(p),
        **_pair("{}", p.output),
        **_pair("band_{}", schedule.band),
        "lead_bands": math.prod(map(len, bands[:-2])),
        **_pair("{}", [len(starts) for starts in bands], "row_bands", "column_bands"),
        "lead_outputs": math.prod(schedule.band[:-2]),
        **_pair("{}", [len(starts) for starts in schedule.layout.starts], "row_parts", "column_parts"),
        **_pair("{}", schedule.layout.part_steps, "row_part", "column_part"),
        **_pair("panel_{}", schedule.layout.lengths),
        "split_planes": int(schedule.split > 0),
        "split_rows": int(schedule.split > 1),
        "padding_mode": MODES.index(p.padding_mode),
        **_pair("{}", p.size, "height", "width"),
        **dict(zip(("top", "bottom", "left", "right"), itertools.chain(*p.padding[-2:]), strict=True)),
        **_pair("{}", p.stride, "row_stride", "column_stride"),
        **dict(zip(("x_image", "x_group", "x_channel"), p.x_strides, strict=False)),
        **_pair("x_{}", p.x_strides, "row", "column"),
        **dict(zip(("out_image", "out_group", "out_channel"), p.out_strides, strict=False)),
        **_pair("out_{}", p.out_strides, "row", "column"),
    }


def _pair(name: str, values: Any, row: str = "rows", column: str = "columns") -> dict[str, int]:
    """The values of the last two axes, under the names of rows and columns."""
    return dict(zip((name.format(row), name.format(column)), values[-2:], strict=True))


def _weights(p: Problem) -> dict[str, int]:
    """How the weights of an output channel lie in memory."""
    if not p.w_strides:
        channel = p.terms * p.w_dtype.itemsize
        return {
            "w_group": p.channels * channel, "w_channel": channel, "w_channels": 1, "w_rows": 1, "w_columns": p.terms
        }  # fmt: skip
    group, channel, _, row, column = p.w_strides
    rows, columns = p.kernel[-2:]
    if row == columns * column:  # a short loop takes longer than what it copies
        rows, columns = 1, rows * columns
    return {
        "w_group": group, "w_channel": channel, "w_channels": p.in_channels, "w_rows": rows, "w_columns": columns
    }  # fmt: skip


def _weight_steps(p: Problem) -> Steps:
    """Steps from a weight of an output channel to the next: in the caller's array, and in the order of the nest."""
    itemsize, columns = p.number.itemsize, p.kernel[-1]
    *_, channel, row, column = (0, 0, *p.w_strides) if p.w_strides else (0, 0, p.w_dtype.itemsize)
    return Steps(channel, row, column, math.prod(p.kernel) * itemsize, columns * itemsize, itemsize)


def _workspace(p: Problem, schedule: Schedule) -> dict[str, int]:
    """A thread's workspace: a panel, weights if they are converted, and sums; each starts with a cache line."""
    tile, itemsize = schedule.vectors * p.lanes, p.number.itemsize
    line = schedule.layout.steps[-2] if schedule.split < 2 else -(-schedule.band[-1] // tile) * tile
    row = schedule.runs * (-(-schedule.positions // tile) * tile)
    panel = (p.in_channels * _panel_channel(p, schedule) + tile) * itemsize
    weights = schedule.channels * p.terms * itemsize if p.converts_weights else 0
    weights_at = -(-panel // LINE) * LINE
    sums_at = weights_at + -(-weights // LINE) * LINE
    whole = p.terms == p.all_terms
    parts = p.numbers if whole else 2
    sums = -(-parts * schedule.channels * row * itemsize // LINE) * LINE
    kept = 0 if whole else sums
    return {
        "sums_row": row, "sums_line": line, "weights_at": weights_at, "sums_at": sums_at, "sums_size": kept,
        "workspace_size": sums_at + (0 if kept else sums),
    }  # fmt: skip


def _panel_channel(p: Problem, schedule: Schedule) -> int:
    """Elements from a channel to the next: whole vectors, so that a 1x1 kernel's do not lie across cache lines."""
    channel = schedule.layout.channel
    return -(-channel // p.lanes) * p.lanes if channel > p.lanes else channel


def _functions(p: Problem, schedule: Schedule) -> dict[str, int]:
    """Addresses of compiled functions."""
    whole = p.terms == p.all_terms
    if p.is_side_by_side:
        (lanes,) = p.number.shape
        gather, scatter = gatherer(p.x_dtype, lanes).address, scatterer(p.out_dtype, lanes).address
        convert = {"convert_x": gather, "convert_w": gather, "convert_out": scatter}
    else:
        convert = {
            "convert_x": converter(p.x_dtype, p.number).address,
            "convert_w": converter(p.w_dtype, p.number).address if p.converts_weights else 0,
            "convert_out": converter(p.accumulator, p.out_dtype, result=True).address,
        }
    return convert | {
        "nest": microkernel(p.accumulator, schedule.channels, schedule.vectors, p.lanes, whole).address,
        "tail_nest": microkernel(p.accumulator, schedule.channels, 1, p.lanes, whole).address,
    }


def _tables(p: Problem, schedule: Schedule, bands: list[range], workspace: dict[str, int]) -> dict[str, np.ndarray]:
    """All tables: steps, offsets of terms, and where rows, columns, planes and outputs lie."""
    flat, itemsize, channel = schedule.layout, p.number.itemsize, _panel_channel(p, schedule)
    row, column = (step * stride for step, stride in zip(p.x_strides[-2:], p.stride[-2:], strict=True))
    to_panel = (itemsize * elements for elements in (channel, flat.lengths[-1], 1))
    from_sums = (itemsize * elements for elements in (workspace["sums_row"], workspace["sums_line"], 1))
    low = schedule.channels * workspace["sums_row"] * itemsize
    tables: dict[str, Any] = {
        "x_steps": (p.x_strides[2], row, column, *to_panel, p.zero_point, 0, 0),
        "w_steps": _weight_steps(p),
        "out_steps": (*from_sums, p.out_strides[2], *p.out_strides[-2:], 0, low, p.slack),
        "offsets": flat.offsets(p.in_channels, channel),
        "row_starts": flat.starts[-2],
        "row_interiors": _interiors(p, schedule, -2, bands[-2]),
        "column_starts": flat.starts[-1],
        "column_interiors": _interiors(p, schedule, -1, bands[-1]),
        **_planes(p, schedule, bands[:-2]),
        **_lead_outputs(p, schedule, bands[:-2], workspace),
    }
    return {name: np.ascontiguousarray(table, np.int64) for name, table in tables.items()}


def _interiors(p: Problem, schedule: Schedule, axis: int, bands: range) -> np.ndarray:
    """(bands, parts, 3): from and to where elements are the input's own, and how many are needed: fewer at the end."""
    flat, (before, _), size, step = schedule.layout, p.padding[axis], p.size[axis], p.stride[axis]
    first_output = np.array(bands)[:, None]
    places = np.array(flat.starts[axis]) - before  # of the parts of the first band, in the unpadded input
    used = np.minimum(bands.step, bands.stop - first_output) + flat.lengths[axis] - bands.step
    ends = [np.clip(-((places - end) // step) - first_output, 0, used) for end in (0, size)]
    return np.stack([*ends, np.broadcast_to(used, ends[0].shape)], axis=-1)


def _planes(p: Problem, schedule: Schedule, bands: list[range]) -> dict[str, np.ndarray]:
    """Where the planes of each band of the leading axes lie, in the input and in the panel."""
    flat, mode = schedule.layout, p.padding_mode
    sources, places = np.zeros((1, 1), np.int64), np.zeros(1, np.int64)
    for axis, starts in enumerate(bands):
        size, step, (before, after) = p.size[axis], p.stride[axis], p.padding[axis]
        elements = np.add.outer(flat.starts[axis], np.arange(flat.lengths[axis]) * step).reshape(-1)
        position = np.add.outer(np.array(starts) * step, elements) - before
        index = np.where(position < size + after, element(position, size, mode), ZERO)
        more = np.where(index == ZERO, NOTHING, index * p.x_strides[3 + axis])[None, :, None]
        less = sources[:, None, :, None]
        both = np.where((more == NOTHING) | (less == NOTHING), NOTHING, more + less)
        sources = both.reshape(len(sources) * len(starts), -1)
        parts = np.arange(len(flat.starts[axis])) * flat.part_steps[axis]
        inner = np.add.outer(parts, np.arange(flat.lengths[axis]) * flat.steps[axis]).reshape(-1)
        places = np.add.outer(places, inner).reshape(-1)
    return {"plane_sources": sources, "plane_places": places}


def _lead_outputs(
    p: Problem, schedule: Schedule, bands: list[range], workspace: dict[str, int]
) -> dict[str, np.ndarray]:
    """Where the planes of outputs lie, in panel, sums and output; a band at the end has the first ones of them.

    For of two leading axes, one is cut into bands of 1 or the other one not at all.
    """
    places, outs, counts = np.zeros(1, np.int64), np.zeros((1, 1), np.int64), np.ones(1, np.int64)
    for axis, starts in enumerate(bands):
        inner, step = np.arange(starts.step), p.out_strides[3 + axis]
        places = np.add.outer(places, inner * schedule.layout.steps[axis]).reshape(-1)
        offsets = np.add.outer(np.array(starts), inner) * step
        outs = (outs[:, None, :, None] + offsets[None, :, None]).reshape(len(outs) * len(starts), -1)
        counts = np.outer(counts, np.minimum(starts.step, starts.stop - np.array(starts))).reshape(-1)
    sums = np.arange(len(places)) * (workspace["sums_row"] // len(places)) if schedule.split else places
    return {"lead_places": places, "lead_outs": outs, "lead_counts": counts, "lead_sums": sums}


def _borders(p: Problem, schedule: Schedule, tables: dict[str, np.ndarray]) -> dict[str, int]:
    """Whether elements outside of the interiors are filled for each panel: zeros in an axis' only band stay zeros."""
    nothing = bool((tables["plane_sources"] == NOTHING).any())
    filled, zeros = {"plane_borders": int(nothing and len(tables["lead_counts"]) > 1)}, nothing
    for axis in ("row", "column"):
        first, last, used = np.moveaxis(tables[f"{axis}_interiors"], -1, 0)
        outside = bool(((first > 0) | (last < used)).any())
        several = len(tables[f"{axis}_interiors"]) > 1 or p.padding_mode != "zeros"
        filled[f"{axis}_borders"] = int(outside and (several or bool(filled["plane_borders"])))
        zeros |= outside or bool((used < used.max()).any())
    return filled | {
        "panel_channel": _panel_channel(p, schedule),
        "panel_filled": 0 if zeros else schedule.layout.channel,
        "planes": len(tables["plane_places"]),
    }
