"""Plans: a schedule in the numbers, tables and addresses that compiled code is told.

Knows schedules, layouts, compiled functions and what a job says; not who runs it.
"""

import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from refconv.layout import Layout, Size
from refconv.targets.cpu.convert import converter
from refconv.targets.cpu.job import LINE, MODES, Job, Steps
from refconv.targets.cpu.microkernel import microkernel
from refconv.targets.cpu.schedule import LONGEST_ROW, UNITS_PER_THREAD, Problem, Schedule, schedule

CHUNK_CYCLES = 10_000  # what a thread takes at a time is to cost far more than taking it


class Plan(NamedTuple):
    """A job but for what each call fills in, and what it tells the addresses of."""

    job: Job
    kept: tuple[Any, ...]


def plan(p: Problem) -> Plan:
    """The plan of a problem."""
    p = _flattened(p)
    found = schedule(p)
    bands = [range(0, outputs, size) for outputs, size in zip(p.output, found.band, strict=True)]
    workspace = _workspace(p, found)
    tables = _tables(p, found, bands, workspace["sums_row"])
    bias = np.zeros(p.groups * p.channels, p.accumulator)
    sizes = _sizes(p, found, bands) | workspace | _borders(p, found, tables) | _functions(p, found)
    addresses = {name: table.ctypes.data for name, table in (tables | {"bias": bias}).items()}
    return Plan(Job(**sizes, **addresses), (bias, *tables.values()))


def _flattened(p: Problem) -> Problem:
    """Rows as one long row, where nothing tells them apart: a 1x1 kernel over dense images."""
    plain = p.kernel == p.stride == (1, 1) and not any(map(any, p.padding))
    sides = ((p.x_strides, p.size), (p.out_strides, p.output))
    dense = all(strides[-2] == size[-1] * strides[-1] for strides, size in sides)
    if not (plain and dense) or math.prod(p.size) > LONGEST_ROW:
        return p
    return p._replace(size=(1, math.prod(p.size)), output=(1, math.prod(p.output)))


def _sizes(p: Problem, found: Schedule, bands: list[range]) -> dict[str, int]:
    """Sizes and strides."""
    chunk = int(CHUNK_CYCLES * found.units / (found.cycles * found.threads)) + 1
    return {
        "groups": p.groups,
        "channels": p.channels,
        "in_channels": p.in_channels,
        "terms": p.terms,
        "itemsize": p.accumulator.itemsize,
        "tile_channels": found.channels,
        "tile_positions": found.vectors * p.lanes,
        "full_positions": found.full_tiles * found.vectors * p.lanes,
        "units": found.units,
        "chunk": min(chunk, found.units // (found.threads * UNITS_PER_THREAD) + 1),
        "threads": found.threads,
        "w_itemsize": p.w_dtype.itemsize,
        **_pair("{}", p.output),
        **_pair("band_{}", found.band),
        "row_bands": len(bands[0]),
        "column_bands": len(bands[1]),
        "row_parts": len(found.layout.starts[0]),
        "column_parts": len(found.layout.starts[1]),
        **_pair("panel_{}", found.layout.lengths),
        "padding_mode": MODES.index(p.padding_mode),
        **dict(zip(("height", "width"), p.size, strict=True)),
        **dict(zip(("top", "bottom", "left", "right"), itertools.chain(*p.padding), strict=True)),
        **dict(zip(("row_stride", "column_stride"), p.stride, strict=True)),
        **dict(zip(("x_image", "x_group", "x_channel", "x_row", "x_column"), p.x_strides, strict=True)),
        **dict(zip(("out_image", "out_group", "out_channel", "out_row", "out_column"), p.out_strides, strict=True)),
    }


def _pair(name: str, values: Size) -> dict[str, int]:
    return dict(zip((name.format("rows"), name.format("columns")), values, strict=True))


def _workspace(p: Problem, found: Schedule) -> dict[str, int]:
    """What a thread needs: a panel, weights if they are converted, and sums, each from the start of a cache line."""
    tile, itemsize = found.vectors * p.lanes, p.accumulator.itemsize
    row = -(-found.layout.positions(found.band) // tile) * tile
    panel = (p.in_channels * _panel_channel(p, found) + tile) * itemsize
    weights = found.channels * p.terms * itemsize if p.w_dtype != p.accumulator else 0
    weights_at = -(-panel // LINE) * LINE
    sums_at = weights_at + -(-weights // LINE) * LINE
    size = sums_at + -(-found.channels * row * itemsize // LINE) * LINE
    return {"sums_row": row, "weights_at": weights_at, "sums_at": sums_at, "workspace_size": size}


def _panel_channel(p: Problem, found: Schedule) -> int:
    """Elements between channels: where a vector may start, so that a 1x1 kernel's inputs do not lie across lines."""
    channel = found.layout.channel
    return -(-channel // p.lanes) * p.lanes if channel > p.lanes else channel


def _functions(p: Problem, found: Schedule) -> dict[str, int]:
    """Addresses of compiled functions."""
    same = p.w_dtype == p.accumulator
    return {
        "nest": microkernel(p.accumulator, found.channels, found.vectors, p.lanes).address,
        "tail_nest": microkernel(p.accumulator, found.channels, 1, p.lanes).address,
        "convert_x": converter(p.x_dtype, p.accumulator).address,
        "convert_w": 0 if same else converter(p.w_dtype, p.accumulator).address,
        "convert_out": converter(p.accumulator, p.out_dtype, result=True).address,
    }


def _tables(p: Problem, found: Schedule, bands: list[range], row: int) -> dict[str, np.ndarray]:
    """Where things lie; `row` is the length of a row of sums."""
    flat, itemsize, channel = found.layout, p.accumulator.itemsize, _panel_channel(p, found)
    x_steps = [p.x_strides[2], *(step * stride for step, stride in zip(p.stride, p.x_strides[3:], strict=True))]
    tables: dict[str, Any] = {
        "x_steps": Steps(*x_steps, *(itemsize * each for each in (channel, flat.lengths[1], 1))),
        "w_steps": Steps(0, 0, p.w_dtype.itemsize, 0, 0, itemsize),
        "out_steps": Steps(*(itemsize * each for each in (row, flat.lengths[1], 1)), *p.out_strides[2:]),
        "offsets": flat.offsets(p.in_channels, channel),
        "row_starts": flat.starts[0],
        "row_interiors": _interiors(p, flat, 0, bands[0]),
        "column_starts": flat.starts[1],
        "column_interiors": _interiors(p, flat, 1, bands[1]),
    }
    return {name: np.ascontiguousarray(table, np.int64) for name, table in tables.items()}


def _interiors(p: Problem, flat: Layout, axis: int, bands: range) -> np.ndarray:
    """(bands, parts, 3): from and to where elements are the input's own, and how many are needed: fewer at the end."""
    (before, _), size, step = p.padding[axis], p.size[axis], p.stride[axis]
    first_output = np.array(bands)[:, None]
    places = np.array(flat.starts[axis]) - before  # of the parts of the first band, in the unpadded input
    used = np.minimum(bands.step, bands.stop - first_output) + flat.lengths[axis] - bands.step
    ends = [np.clip(-((places - end) // step) - first_output, 0, used) for end in (0, size)]
    return np.stack([*ends, np.broadcast_to(used, ends[0].shape)], axis=-1)


def _borders(p: Problem, found: Schedule, tables: dict[str, np.ndarray]) -> dict[str, int]:
    """Whether elements outside of the interiors are filled for each panel: zeros in an axis' only band stay zeros."""
    filled, zeros = {}, False
    for axis in ("row", "column"):
        first, last, used = np.moveaxis(tables[f"{axis}_interiors"], -1, 0)
        outside = bool(((first > 0) | (last < used)).any())
        several = len(tables[f"{axis}_interiors"]) > 1 or p.padding_mode != "zeros"
        filled[f"{axis}_borders"] = int(outside and several)
        zeros |= outside or bool((used < used.max()).any())
    return filled | {"panel_channel": _panel_channel(p, found), "panel_filled": 0 if zeros else found.layout.channel}
