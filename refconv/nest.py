"""The loop nest: every operator of the family is this correlation, over inputs that were laid flat.

    out[k, i] = bias[k] + sum over t of w[k, t] * x[offset[t] + i]

Which output `i` is, and where the input of term `t` lies, is settled by `layout` and packing: there padding, strides
and dilations disappear. This source is run as it stands by Python and compiled for every other target: it may use
nothing but loops, indices and the tile it is given. A *tile* is what a target holds in registers: `tile.channels`
output channels times `tile.positions` neighbouring outputs, 1 x 1 for the form that a person reads. Which type a sum
has (the accumulator) is the tile's business too:

    tile.bias(bias, k)                       the sums start as the bias of their channel
    tile.zero()                              +0
    tile.fma(block, x, x_at, w, w_at, terms) block + x * w, rounded once; channels lie `terms` apart in w
    tile.add(total, block)
    tile.store(total, sums, k, i)

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
    sums: np.ndarray,
    positions: tuple[int, int],
    channels: int,
) -> None:
    """Compute all sums of some channels, `0 <= k < channels`, and positions, `positions[0] <= i < positions[1]`.

    Parameters
    ----------
    tile
        The register tile, see above; it may compute, and store, past the last channel and position.
    x
        The input of one group of one image, laid flat, in the accumulator's type.
    offsets
        Where the input of term t lies, relative to that of an output's first term.
    w
        (channels, terms), flat, in the accumulator's type.
    bias
        (channels,), in the accumulator's type.
    sums
        (channels, positions): the results, not yet rounded.
    """
    terms = len(offsets)
    for k in range(0, channels, tile.channels):
        for i in range(positions[0], positions[1], tile.positions):
            total = tile.bias(bias, k)
            for first in range(0, terms, BLOCK):
                block = tile.zero()
                for t in range(first, min(first + BLOCK, terms)):
                    block = tile.fma(block, x, offsets[t] + i, w, k * terms + t, terms)
                total = tile.add(total, block)
            tile.store(total, sums, k, i)
