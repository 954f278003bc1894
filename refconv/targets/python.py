"""Target "python": the nest run as it stands, without a compiler, with arithmetic beyond doubt. Slow.

A fused multiply-add is an exact rational sum rounded once. Knows formats and the nest; not Numba.
"""

from fractions import Fraction
from typing import Any

import numpy as np

from refconv.correlation import Correlation, jobs, pack
from refconv.formats import INT64, round_fraction
from refconv.nest import correlate


def fma(x: Any, w: Any, total: Any) -> Any:
    """x * w + total, rounded once; the operands are of one type, which is that of the result.

    >>> fma(np.float32(1 + 2**-23), np.float32(1 - 2**-23), np.float32(-1))  # unfused: 0
    np.float32(-1.4210855e-14)
    """
    if x.dtype == INT64:
        return np.int64(int(x) * int(w) + int(total))  # Python's integers: past 64 bits this raises
    with np.errstate(all="ignore"):
        plain = x * w + total
    if not np.isfinite([x, w]).all():
        return plain
    if not np.isfinite(total):
        return total  # not plain: a finite product may overflow there
    exact = Fraction(float(x)) * Fraction(float(w)) + Fraction(float(total))
    return round_fraction(exact, x.dtype) if exact else plain  # a sum of zeros: the signs are IEEE's


class Scalar:
    """A tile of one output: its sums are NumPy scalars of the accumulator's type."""

    columns = channels = 1

    def __init__(self, accumulator: np.dtype) -> None:
        self.type: Any = accumulator.type

    def zero(self) -> Any:
        return self.type(0)

    def bias(self, bias: np.ndarray, group: int, k: int) -> Any:
        return bias[group, k]

    def fma(self, block: Any, x: np.ndarray, x_at: int, x_step: int, w: np.ndarray, w_at: int) -> Any:
        return fma(x[x_at], w[w_at], block)

    def add(self, total: Any, block: Any) -> Any:
        with np.errstate(all="ignore"):
            return total + block

    def store(self, total: Any, out: np.ndarray, n: int, group: int, k: int, row: int, column: int) -> None:
        with np.errstate(over="ignore"):
            out[n, group, k, row, column] = total if total == total else np.nan


def run(correlation: Correlation) -> None:
    """Fill `correlation.out` by running the nest in this process, one output after the other."""
    packed = pack(correlation)
    correlate(Scalar(correlation.accumulator), *packed, (0, jobs(packed)))
