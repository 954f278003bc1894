"""A job: all that compiled code is told of one correlation, in one block of integers.

Knows nothing but the names of things.
"""

from typing import NamedTuple

# Of padding, by number; not `padding.MODES`, for what is compiled in must be covered by the key of the cache.
MODES = ("zeros", "reflect", "replicate", "circular")
LINE = 64  # bytes of a cache line, or a multiple of that; no vector is longer
COUNTER_STRIDE = LINE // 8  # counters of different threads lie in different cache lines


class Steps(NamedTuple):
    """Bytes from a number of a block to the next, along each axis: where it is read, and where it is written."""

    channel: int
    row: int
    column: int
    out_channel: int
    out_row: int
    out_column: int


class Job(NamedTuple):
    """All that a kernel is told: sizes, strides and sizes of numbers (in bytes), and where things lie (addresses).

    A panel holds, for each channel and each part of the columns, and within it of the rows, `panel_rows` rows of
    `panel_columns` elements. Tables hold int64.
    """

    groups: int
    channels: int  # output channels of a group
    in_channels: int  # input channels of a group
    terms: int
    itemsize: int  # of the accumulator
    tile_channels: int
    tile_positions: int
    full_positions: int  # that full tiles compute, from 0 on; tiles of a single vector compute the rest
    units: int
    chunk: int  # units that a thread takes at a time
    threads: int
    rows: int  # of the output
    columns: int
    band_rows: int
    band_columns: int
    row_bands: int
    column_bands: int
    row_parts: int
    column_parts: int
    panel_rows: int  # of a part
    panel_columns: int
    panel_channel: int  # elements from a channel of the panel to the next
    panel_filled: int  # elements that packing writes to each channel, from its first on; 0 if some are left to be zeros
    row_borders: int  # whether there are rows outside of the interior that must be filled for each panel
    column_borders: int
    sums_row: int  # positions that tiles may compute, past the last one of a band too
    padding_mode: int  # index into MODES
    height: int  # of the input
    width: int
    top: int  # padding
    bottom: int
    left: int
    right: int
    row_stride: int
    column_stride: int
    w_itemsize: int
    x_image: int  # strides
    x_group: int
    x_channel: int
    x_row: int
    x_column: int
    out_image: int
    out_group: int
    out_channel: int
    out_row: int
    out_column: int
    weights_at: int  # where converted weights, and sums, lie in a thread's workspace, after the panel
    sums_at: int
    workspace_size: int  # of a thread
    x_steps: int  # `Steps` of packing, of the weights, and of delivery
    w_steps: int
    out_steps: int
    offsets: int  # (terms,): elements of the panel
    row_starts: int  # (row parts,): where in the padded input they start
    row_interiors: int  # (row bands, row parts, 3): from and to where rows are the input's own; how many are needed
    column_starts: int
    column_interiors: int
    # Functions. `nest` computes the sums of a tile's channels, `tail_nest` with tiles of a single vector; conversions
    # are to the accumulator's format and back, or 0 where the weights are in it.
    nest: int
    tail_nest: int
    convert_x: int
    convert_w: int
    convert_out: int
    # From here on a call fills in its own.
    x: int = 0
    w: int = 0  # contiguous
    bias: int = 0  # contiguous, in the accumulator's format
    out: int = 0
    workspace: int = 0  # starts with a cache line
    counters: int = 0  # zeros: threads that came, units done, units taken of each thread's share; COUNTER_STRIDE apart


X, W, BIAS, OUT, WORKSPACE, COUNTERS = map(Job._fields.index, ("x", "w", "bias", "out", "workspace", "counters"))
