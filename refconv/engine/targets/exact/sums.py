"""Exact sums: of two numbers, and those whose rounding is not certain once more, without any.

Knows correlations, how sums of two numbers start and how a sum is one long integer; not who computes the former.
"""

from collections.abc import Callable

import numpy as np

from refconv.engine import recomputed
from refconv.engine.correlation import Correlation, pieces
from refconv.engine.targets.exact import superaccumulator, two_numbers
from refconv.engine.targets.jit.convert import mark

MOST_REDONE = 2**20  # outputs that are looked at, and maybe redone, at a time


def run(correlation: Correlation, run_pairs: Callable[[Correlation], None]) -> None:
    """Fill `correlation.out`, an array of the host, by what computes sums of two numbers, and marks uncertain ones."""
    started, out = two_numbers.start(correlation), correlation.out
    uncertain = mark(out.dtype)
    if started is None:
        out.view(f"u{out.itemsize}")[...] = uncertain
    else:
        run_pairs(started)
    n_redone = 0
    some = pieces(correlation, MOST_REDONE) if out.size > MOST_REDONE else [((), correlation)]
    for _, piece in some:
        index = np.nonzero(piece.out.view(f"u{out.itemsize}") == uncertain)
        if len(index[0]):
            piece.out[index] = superaccumulator.rounded(piece, index)
            n_redone += len(index[0])
    recomputed.report(out.size, n_redone)
