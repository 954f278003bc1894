"""The microkernel: the nest over a register tile, compiled. The only code that adds, and where the time is spent.

Knows the nest, tiles and jobs; not where the arrays that it reads come from.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from functools import cache
from typing import Any

import numpy as np

from refconv.core.formats import EXACT, number, numbers
from refconv.engine.nest import correlate
from refconv.engine.targets.cpu.job import Job
from refconv.engine.targets.cpu.tile import Tile
from refconv.engine.targets.jit.cfunctions import cfunction, inner
from refconv.engine.targets.jit.memory import load_record, view

_nest = inner(correlate)


@cache
def microkernel(accumulator: np.dtype, channels: int, vectors: int, lanes: int, whole: bool = True) -> Any:
    """A compiled `nest(job, x, w, bias, sums, positions)`: the sums of a tile's channels at so many positions.

    All arguments but the last are addresses; x and sums those of the first position. `whole`: one job computes whole
    sums. An accumulator that is a vector of numbers (`depthwise.side_by_side`) has its own lanes: channels.
    """
    type_, parts = number(accumulator), numbers(accumulator)
    side_by_side = type_.subdtype is not None
    if side_by_side:
        (lanes,), type_ = type_.shape, type_.base
    tile, of_sums = Tile(type_, channels, vectors, lanes, parts, side_by_side=side_by_side), type_.type

    def nest(at, x, w, bias, sums, positions):
        job = load_record(Job, at)
        # If one job computes whole sums, the compiler must know: only then do a tile's sums stay in registers.
        part: Any = (np.int64(0), True) if whole else (job.first_term, job.first_term + job.terms == job.all_terms)
        _nest(
            tile,
            view(of_sums, x, job.in_channels * job.panel_channel),
            view(np.int64, job.offsets, job.terms),
            view(of_sums, w, channels * job.terms),
            view(of_sums, bias, channels * parts).reshape(channels, parts),
            view(of_sums, sums, 2 * channels * job.sums_row).reshape(2, channels, job.sums_row),
            positions,
            part,
        )

    name = "exact" if accumulator is EXACT else f"{type_}-side-by-side" if side_by_side else accumulator
    return cfunction(nest, 6, name, f"{channels}x{vectors}x{lanes}", *["part"] * (not whole))
