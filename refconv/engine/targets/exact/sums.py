"""Exact sums: computed as sums of two numbers; those whose rounding is not certain anew, as one long integer each.

Knows correlations, how sums of two numbers start, and the superaccumulator; not who computes sums of two numbers.
"""

from collections.abc import Callable

import numpy as np

from refconv.engine import recomputed
from refconv.engine.correlation import Correlation, pieces
from refconv.engine.targets.exact import superaccumulator, two_numbers
from refconv.engine.targets.jit.convert import mark

MOST_REDONE = 2**20  # outputs that are checked, and recomputed where uncertain, at a time


def run_exactly(correlation: Correlation, run_pairs: Callable[[Correlation], None]) -> None:
    """Fill `correlation.out`, an array of the host, by `run_pairs`, which marks uncertain sums; compute these anew."""
    started, out = two_numbers.start(correlation), correlation.out
    uncertain = mark(out.dtype)
    if started is None:
        out.view(f"u{out.itemsize}")[...] = uncertain
    else:
        run_pairs(started)
    n_redone = 0
    checked = pieces(correlation, MOST_REDONE) if out.size > MOST_REDONE else [((), correlation)]
    for _, piece in checked:
        index = np.nonzero(piece.out.view(f"u{out.itemsize}") == uncertain)
        if len(index[0]):
            piece.out[index] = superaccumulator.rounded(piece, index)
            n_redone += len(index[0])
    recomputed.report(out.size, n_redone)
