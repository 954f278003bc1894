"""Error bounds: what an accumulator of a given type, and the rounding of its sum, may get wrong at most.

Knows formats and arrays of float64; not where the sums come from. All bounds are rounded outwards: they may be a hair
too large, never too small.
"""

import numpy as np

from refconv.formats import underflow_unit, unit_roundoff

# Every bound below is computed in a handful of float64 operations, each wrong by 2**-53 at most.
OUTWARDS = 1 + 2.0**-49


def direct_sum(terms: int, absolute_sum: np.ndarray, accumulator: np.dtype) -> np.ndarray:
    """Largest error of a sum of products in `accumulator`: in any order, with or without fused multiply-adds.

    n * u * S + n * eta, without higher-order terms: Jeannerod and Rump, "Improved error bounds for inner products in
    floating-point arithmetic", SIAM J. Matrix Anal. Appl. 34 (2013), theorem 3.1; eta for products that underflow.

    Parameters
    ----------
    terms
        Number of products, the bias counted as one.
    absolute_sum
        S, the sum of the products' absolute values, not below its exact value.
    """
    return OUTWARDS * (terms * unit_roundoff(accumulator) * absolute_sum + terms * underflow_unit(accumulator))


def rounded(sum_error: np.ndarray, value: np.ndarray, out: np.dtype) -> np.ndarray:
    """Largest error once a sum with error `sum_error` and exact value `value` is rounded to `out`, to nearest."""
    u = unit_roundoff(out)
    bound: np.ndarray = OUTWARDS * ((1 + u) * sum_error + np.maximum(u * np.abs(value), underflow_unit(out)))
    return bound


def exact_sum(terms: int, computed: np.ndarray) -> np.ndarray:
    """Upper bound on a sum of `terms` non-negative products that was computed as `computed` in float64."""
    relative = terms * unit_roundoff("float64")
    return OUTWARDS * (computed / (1 - relative) + terms * underflow_unit("float64"))
