"""The loop nest: every operator of the family is this correlation, seen through other strides.

    out[n, k, p, q] = bias[k] + sum over t of x[start(n, g, p, q) + offset[t]] * w[k, t]

This source is run as it stands by Python and compiled for every other target: it may use nothing but loops, indices
and the tile it is given. A *tile* is what a target holds in registers: `tile.columns` neighbouring outputs of a row
times `tile.channels` output channels, 1 x 1 for the form that a person reads. Which type a sum has (the accumulator) is
the tile's business too:

    tile.bias(bias, group, k)                    the sums start as the bias of their channel
    tile.zero()                                  +0
    tile.fma(block, x, x_at, x_step, w, w_at)    block + x * w, rounded once
    tile.add(total, block)
    tile.store(total, out, n, group, k, p, q)    rounded to the type of `out`; a NaN is stored as the positive quiet NaN

The order of the additions is the canonical order, the same for every tile, target and number of threads: terms ascend
in (c, r, s), are summed in blocks of 256 from +0 by fused multiply-adds, and the blocks are added to the bias in order.
"""

from typing import Any

import numpy as np

BLOCK = 256


def correlate(
    tile: Any,
    x: np.ndarray,
    offsets: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray,
    out: np.ndarray,
    steps: tuple[np.ndarray, tuple[int, int, int]],
    jobs: tuple[int, int],
) -> None:
    """Compute the jobs `jobs[0] <= job < jobs[1]`; a job is one row of outputs, for one tile of channels of one image.

    Parameters
    ----------
    tile
        The register tile, see above.
    x
        The padded input, flat, in the accumulator's type.
    offsets
        Where the input of term t lies, relative to that of an output's first term.
    w
        The weights packed as (groups, tiles of channels, terms, tile.channels), in the accumulator's type.
    bias
        (groups, channels of a group), in the accumulator's type.
    out
        The outputs (images, groups, channels of a group, rows, columns).
    steps
        Where the input of each output row starts in its image and group; how far images, groups and columns lie apart.
    """
    groups, channel_tiles, terms, _ = w.shape
    rows, columns = out.shape[3], out.shape[4]
    row_starts, (batch_step, group_step, column_step) = steps
    weights = w.reshape(-1)
    for job in range(jobs[0], jobs[1]):
        row = job % rows
        channel_tile = job // rows % channel_tiles
        group = job // rows // channel_tiles % groups
        n = job // rows // channel_tiles // groups
        k = channel_tile * tile.channels
        w_start = (group * channel_tiles + channel_tile) * terms * tile.channels
        for column in range(0, columns, tile.columns):
            x_start = n * batch_step + group * group_step + row_starts[row] + column * column_step
            total = tile.bias(bias, group, k)
            for first in range(0, terms, BLOCK):
                block = tile.zero()
                for t in range(first, min(first + BLOCK, terms)):
                    w_at = w_start + t * tile.channels
                    block = tile.fma(block, x, x_start + offsets[t], column_step, weights, w_at)
                total = tile.add(total, block)
            tile.store(total, out, n, group, k, row, column)
