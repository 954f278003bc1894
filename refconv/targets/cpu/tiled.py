"""The nest over a register tile, compiled: the only code that knows what a sum is, and the fastest part of it all.

Knows the nest, tiles and jobs; not where the arrays that it reads come from.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from functools import cache
from typing import Any

import numpy as np
from numba import njit

from refconv.nest import correlate
from refconv.targets.cpu.compiled import compiled
from refconv.targets.cpu.job import Job
from refconv.targets.cpu.memory import record, view
from refconv.targets.cpu.tile import Tile

_nest = njit(nogil=True, error_model="numpy")(correlate)


@cache
def tiled(accumulator: np.dtype, channels: int, vectors: int, lanes: int, slim: bool = False) -> Any:
    """A compiled `nest(job, panel, w, bias, sums, last)`: the sums of a tile's channels, at all addresses.

    It computes the positions before `last`, those from 0 on, or a slim one those that the wide one leaves.
    """
    tile, number = Tile(accumulator, channels, 1 if slim else vectors, lanes), accumulator.type

    def nest(at, panel, w, bias, sums, last):
        job = record(Job, at)
        terms, size = job.terms, job.in_channels * job.panel_channel + job.tile_positions
        _nest(
            tile,
            view(number, panel, size),
            view(np.int64, job.offsets_at, terms),
            view(number, w, channels * terms),
            view(number, bias, channels),
            view(number, sums, channels * job.sums_row).reshape(channels, job.sums_row),
            (job.wide if slim else 0, last),
            channels,
        )

    return compiled(nest, 6, accumulator, f"{channels}x{tile.vectors}x{lanes}", *["slim"] * slim)
