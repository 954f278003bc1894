"""A job: all that compiled code is told of one correlation, in one block of integers.

Knows nothing but the names of things.
"""

from typing import NamedTuple

import numpy as np

NOWHERE = np.iinfo(np.int64).min  # in a table: padding
LINE = 64  # bytes of a cache line, or a multiple of that; no vector is longer
PACE = LINE // 8  # counters of different threads lie in different cache lines


class Job(NamedTuple):
    """All that a kernel is told: sizes, strides and sizes of numbers (in bytes), and where things lie (addresses).

    A panel holds, for each channel and each residue of the columns, and within it of the rows, `length[0]` rows of
    `length[1]` elements. Tables hold int64.
    """

    groups: int
    channels: int  # output channels of a group
    in_channels: int  # input channels of a group
    terms: int
    itemsize: int  # of the accumulator
    tile_channels: int
    tile_positions: int  # of a wide tile
    units: int
    grain: int  # units that a thread takes at a time
    threads: int
    rows: int  # of the output
    columns: int
    band_rows: int
    band_columns: int
    row_bands: int
    column_bands: int
    row_parts: int  # residues of the rows
    column_parts: int
    panel_rows: int  # of each residue
    panel_columns: int
    panel_channel: int  # elements of a channel of the panel
    padded: int  # whether there is padding in some panel
    row_borders: int  # whether there are rows outside of the runs that must be filled for each panel
    column_borders: int
    sums_row: int  # positions that tiles may compute, past the last one of a band too
    wide: int  # positions that the wide tile computes, from 0; the slim one computes the rest
    w_itemsize: int
    x_image: int  # strides
    x_group: int
    x_channel: int
    out_image: int
    out_group: int
    out_channel: int
    out_row: int
    out_column: int
    x_steps_at: int  # `Steps` of packing, of the weights, and of delivery
    w_steps_at: int
    out_steps_at: int
    offsets_at: int  # (terms,): elements of the panel
    rows_at: int  # (row bands, residues, panel rows): bytes from the channel's first element, or NOWHERE: padding
    row_runs_at: int  # (row bands, residues, 3): from and to where rows lie evenly; how many are needed
    columns_at: int  # the same for columns, from the row's first element
    column_runs_at: int
    # From here on a call fills in its own.
    x: int = 0
    w: int = 0  # contiguous
    bias: int = 0  # contiguous, in the accumulator's format
    out: int = 0
    pack: int = 0  # functions: fills a panel,
    nest_wide: int = 0  # computes the sums of a tile's channels at positions from 0 on
    nest_slim: int = 0  # and of those that wide tiles leave,
    widen_x: int = 0  # converts numbers to the accumulator's format
    widen_w: int = 0  # 0 where the weights are in it
    narrow: int = 0  # and back
    team: int = 1  # threads that all come, and are waited for
    counters: int = 0  # zeros: threads that have come, units done, then units taken of each thread's share, PACE apart


# Places of what each call fills in.
X, W, BIAS, OUT, TEAM, COUNTERS = map(Job._fields.index, ("x", "w", "bias", "out", "team", "counters"))
