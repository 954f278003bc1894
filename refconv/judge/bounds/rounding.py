"""The bounds of single steps: a sum of products in an accumulator, a rounding, a sum that float64 computed.

Knows formats and arrays of float64; not where the sums come from. All bounds are rounded outwards: they may be a hair
too large, never too small.
"""

import math

import ml_dtypes
import numpy as np
import numpy.typing as npt

from refconv.core.formats import underflow_unit, unit_roundoff

# Every bound is computed in a handful of float64 operations, each wrong by 2**-53 at most.
OUTWARDS = 1 + 2.0**-49


def smallest_normal(dtype: npt.DTypeLike) -> float:
    """Smallest normal number of a floating format: what is below it, a processor may flush to zero.

    >>> smallest_normal("float32") == 2.0**-126
    True
    """
    return float(ml_dtypes.finfo(dtype).smallest_normal)  # type: ignore[no-untyped-call]


def growth(roundings: int, unit: float) -> float:
    """(1 + unit)**roundings - 1: what so many relative errors of at most `unit` make together.

    >>> growth(2, 0.5)
    1.25...
    """
    return OUTWARDS * math.expm1(OUTWARDS * roundings * math.log1p(unit))


def lost(operations: int, accumulator: npt.DTypeLike, *, flush_to_zero: bool = False) -> float:
    """What the multiplications and additions of a sum of so many products lose by underflow at most.

    Gradual underflow harms products only: half the smallest subnormal each. Flushed to zero are additions too, each
    number below the smallest normal one.

    >>> lost(3, "float32") == 3 * 2.0**-150, lost(3, "float32", flush_to_zero=True) == 6 * 2.0**-126
    (True, True)
    """
    return operations * (2 * smallest_normal(accumulator) if flush_to_zero else underflow_unit(accumulator))


def direct_sum(
    terms: int,
    absolute_sum: np.ndarray,
    accumulator: npt.DTypeLike,
    *,
    flush_to_zero: bool = False,
    truncated: bool = False,
) -> np.ndarray:
    """Largest error of a sum of products in `accumulator`: in any order, with or without fused multiply-adds.

    n * u * S, without higher-order terms, and what underflow loses: Jeannerod and Rump, "Improved error bounds for
    inner products in floating-point arithmetic", SIAM J. Matrix Anal. Appl. 34 (2013), theorem 3.1.

    Truncated, every operation is wrong by 2u of its exact result at most, and no result is larger than the exact one.
    By induction no partial sum is larger than the sum of its terms' magnitudes, which is at most S: 2 n u S has no
    higher-order terms either. Sums of terms of one sign are never too large; that is not made use of.

    Parameters
    ----------
    terms
        Number of products, the bias counted as one.
    absolute_sum
        S, the sum of the products' absolute values, not below its exact value.
    accumulator
        Format of the sums.
    flush_to_zero
        Whether the accumulator's subnormal numbers become zero.
    truncated
        Whether operations round toward zero, not to nearest.

    Examples
    --------
    >>> direct_sum(4, np.array([8.0]), "float32") >= 32 * 2.0**-24
    array([ True])
    """
    underflow = lost(terms, accumulator, flush_to_zero=flush_to_zero)
    directed = 1 + truncated
    bound: np.ndarray = directed * OUTWARDS * (terms * unit_roundoff(accumulator) * absolute_sum + underflow)
    return bound


def rounded(
    sum_error: np.ndarray,
    value: np.ndarray,
    out: npt.DTypeLike,
    *,
    flush_to_zero: bool = False,
    truncated: bool = False,
) -> np.ndarray:
    """Largest error once a sum with error `sum_error` and exact value `value` is rounded to `out`: to nearest, or cut.

    >>> rounded(np.array([0.0]), np.array([1.0]), "float16") >= 2.0**-11
    array([ True])
    """
    directed = 1 + truncated
    u = directed * unit_roundoff(out)
    least = smallest_normal(out) if flush_to_zero else directed * underflow_unit(out)
    bound: np.ndarray = OUTWARDS * ((1 + u) * sum_error + np.maximum(u * np.abs(value), least))
    return bound


def exact_sum(terms: int, computed: np.ndarray) -> np.ndarray:
    """Upper bound on a sum of `terms` non-negative products that was computed as `computed` in float64, in any order.

    >>> exact_sum(2, np.array([1.0])) > 1
    array([ True])
    """
    relative = terms * unit_roundoff("float64")
    bound: np.ndarray = OUTWARDS * (computed / (1 - relative) + terms * underflow_unit("float64"))
    return bound
