"""A job: all that compiled code is told of one correlation, in one block of integers.

Knows the names of the integers only; not how they are computed.
"""

from typing import NamedTuple

# The padding modes by number. Not `padding.MODES`: constants of compiled code must be covered by the cache's key.
MODES = ("zeros", "reflect", "replicate", "circular")
LINE = 64  # bytes of a cache line, or a multiple of that; no vector is longer
NOTHING = -(2**63)  # in place of an offset: zeros, no elements of the input
COUNTER_STRIDE = LINE // 8  # integers: counters of different threads lie in different cache lines


class Job(NamedTuple):
    """All that a kernel is told: sizes and counts, strides (in bytes), and addresses.

    The last two axes are rows and columns; all axes before them, the leading ones, are told in tables. A panel holds,
    for each channel and each part of the columns, and within it of the leading axes and of the rows, planes of
    `panel_rows` rows of `panel_columns` elements. Tables hold int64.
    """

    groups: int
    channels: int  # output channels of a group
    in_channels: int  # input channels of a group
    terms: int  # of this job
    all_terms: int  # of a sum, which several jobs may compute
    itemsize: int  # of the numbers that an accumulator consists of, in bytes
    bias_size: int  # of the bias of a channel, in bytes
    tile_channels: int
    tile_positions: int
    full_positions: int  # of a run: computed by full tiles, from 0 on; tiles of a single vector compute the rest
    units: int
    chunk: int  # units that a thread takes at a time
    threads: int
    rows: int  # of the output
    columns: int
    band_rows: int
    band_columns: int
    lead_bands: int
    row_bands: int
    column_bands: int
    lead_outputs: int  # of a band: planes of outputs
    planes: int  # of a panel, in a part of the rows and columns
    row_parts: int
    column_parts: int
    row_part: int  # elements from a part to the next
    column_part: int
    panel_rows: int  # of a plane
    panel_columns: int
    panel_channel: int  # elements from a channel of the panel to the next
    panel_filled: int  # elements of a channel, from its first on, that packing writes; 0 if it leaves gaps of zeros
    plane_borders: int  # whether planes (next: rows, columns) outside of the input are filled anew for each panel
    row_borders: int
    column_borders: int
    split_planes: int  # whether each plane (next: row) is a run of its own: no sums are computed in between
    split_rows: int
    sums_row: int  # positions of a channel that tiles may compute, also past the end of a run
    sums_line: int  # from a row of outputs to the next among them
    padding_mode: int  # index into MODES
    height: int  # of the input
    width: int
    top: int  # padding
    bottom: int
    left: int
    right: int
    row_stride: int
    column_stride: int
    w_group: int  # strides
    w_channel: int
    w_channels: int  # weights of an output channel along each axis, where they are converted
    w_rows: int
    w_columns: int
    x_image: int
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
    sums_size: int  # of a unit's sums, where they are kept from job to job
    x_steps: int  # `Steps` of packing, of the weights, and of delivery
    w_steps: int
    out_steps: int
    offsets: int  # (terms,): elements of the panel
    plane_sources: int  # (lead bands, planes): where in the input they lie, NOTHING for zeros
    plane_places: int  # (planes,): elements of the panel
    lead_counts: int  # (lead bands,): planes of outputs in this band
    lead_places: int  # (lead outputs,): elements of the panel
    lead_sums: int  # (lead outputs,): elements of the sums
    lead_outs: int  # (lead bands, lead outputs): where in the output they lie
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
    # From here on, each call fills in its own.
    x: int = 0
    w: int = 0
    bias: int = 0  # contiguous, in the accumulator's format
    out: int = 0
    workspace: int = 0  # starts with a cache line
    counters: int = 0  # zeros: threads that came, units done, units taken of each thread's share; COUNTER_STRIDE apart
    sums: int = 0  # of all units, where they are kept from job to job
    first_term: int = 0  # the number of this job's first term


X, W, BIAS, OUT, WORKSPACE, COUNTERS, SUMS, FIRST_TERM = map(
    Job._fields.index, ("x", "w", "bias", "out", "workspace", "counters", "sums", "first_term")
)
