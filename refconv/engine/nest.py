"""The loop nest: every operator of the family is this correlation, over inputs that were laid flat.

    out[k, i] = bias[k] + sum over t of w[k, t] * x[offset[t] + i]

Which output `i` is, and where the input of term `t` lies, is settled by `layout` and packing: there padding, strides
and dilations disappear. This source is run as it stands by Python and compiled for every other target: it may use
nothing but loops, indices and the tile it is given. A *tile* is what a target holds in registers: `tile.channels`
output channels times `tile.positions` neighboring outputs, 1 x 1 for the form that a person reads. Which type a sum
has (the accumulator) is the tile's business too:

    tile.bias(bias, k)                       the sums start as the bias of their channel
    tile.start(total)                        a block's sum before its first term, +0
    tile.fma(block, x, x_at, w, w_at, terms) block + x * w, rounded once; channels lie `terms` apart in w
    tile.add(total, block)
    tile.store(total, sums, 0, k, i)         and tile.load(sums, 0, k, i)

The order of the additions is the canonical order, the same for every tile, target and number of threads: terms are
summed in blocks of 256 from +0 by fused multiply-adds, and the blocks are added to the bias in order. A long sum may be
computed in several calls, each for some of its terms: totals and unfinished blocks are kept in between.

A sum of two numbers, high and low, is not cut: its blocks go on from the total. Low takes the bits of products that are
below the last place of high; at the end of each block it hands over to high what has grown large enough for high.
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
    positions: int,
    part: tuple[int, bool],
) -> None:
    """Compute the sums of some channels, `0 <= k < len(bias)`, and positions, `0 <= i < positions`, or go on with them.

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
        (channels, 1), in the accumulator's type; (channels, 2) for sums of two numbers.
    sums
        (2, channels, positions): the results, not yet rounded, and blocks that are not finished yet; or first and
        second numbers.
    part
        Number of the first of these terms among all of a sum (from 1 on, the sums so far are in `sums`); and whether
        these are the last ones.
    """
    terms = len(offsets)
    first, last = part
    for k in range(0, len(bias), tile.channels):
        for i in range(0, positions, tile.positions):
            if first == 0:
                total = tile.bias(bias, k)
                block = tile.start(total)
            else:
                total, block = tile.load(sums, 0, k, i), tile.load(sums, 1, k, i)
            for start in range(-(first % BLOCK), terms, BLOCK):
                end = min(start + BLOCK, terms)
                for t in range(max(start, 0), end):
                    block = tile.fma(block, x, offsets[t] + i, w, k * terms + t, terms)
                if last or end == start + BLOCK:
                    total = tile.add(total, block)
                    block = tile.start(total)
            tile.store(total, sums, 0, k, i)
            if not last:
                tile.store(block, sums, 1, k, i)
