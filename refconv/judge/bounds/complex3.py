"""Products of complex numbers by three real ones instead of four, and what they may get wrong.

Knows the sums of a call of complex numbers; not the output's format. Bounds hold for both parts together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from refconv.core.formats import largest, unit_roundoff
from refconv.judge.bounds.algorithm import ANYTHING, Estimate, Unrounded
from refconv.judge.bounds.flush import NOTHING, Flush
from refconv.judge.bounds.operands import EXACT
from refconv.judge.bounds.rounding import OUTWARDS, growth, lost, smallest_normal
from refconv.judge.bounds.sums import Sums


@dataclass(frozen=True)
class Complex3(Unrounded):
    """Three real sums for a complex one, each in any order: of c (a + b), a (d - c) and b (c + d), or Karatsuba's."""

    accumulator: np.dtype

    statistical = False
    unit = 0.0
    forward_only = False
    complex_only = True
    limits: ClassVar[Mapping[str, int]] = ANYTHING

    def estimate(self, sums: Sums, flush: Flush = NOTHING) -> Estimate:
        """[(1 + u)^(n + 5) - 1] 2T, and what underflow loses, where T is the sum of (|a| + |b|)(|c| + |d|).

        The three sums K1 = sum of c (a + b), K2 = sum of a (d - c) and K3 = sum of b (c + d) make the real part K1 - K3
        and the imaginary part K1 + K2; Karatsuba's are the sums of ac, bd and (a + b)(c + d). On a path from a product
        to a part lie at most two sums of operands, the product, n - 1 additions, two more of the sums, and the bias: n
        + 5 roundings. The magnitudes of all terms of a part are 2T together at most. What cancels in a part does not
        cancel in the three sums, so that a small part beside a large one may be all wrong: Higham, "Stability of a
        method for multiplying complex matrices with three real matrix multiplications", SIAM J. Matrix Anal. Appl. 13
        (1992).
        """
        complex_products = -(-sums.products // 2)
        peak = 2 * OUTWARDS * sums.modulus
        error = growth(complex_products + 5, unit_roundoff(self.accumulator)) * peak
        error = error + 3 * lost(complex_products + 3, self.accumulator, flush_to_zero=flush.sums)
        if flush.sums:  # the sums of operands, too
            least = smallest_normal(self.accumulator)
            x, w = (np.full(operand.shape, least) for operand in (sums.x, sums.w))
            error = error + 2 * (sums.of(x, sums.w + w) + sums.of(sums.x, w))
        # Half of the largest number, lest a sum of two operands overflow. NaN and infinity reach both parts.
        most = largest(self.accumulator) / 2
        free = sums.touched(sums.x_special | (sums.x >= most), sums.w_special | (sums.w >= most))
        return Estimate(OUTWARDS * (error + EXACT.error(sums, flush)), peak, free)

    def exact(self, sums: Sums) -> np.ndarray:
        """Where no order of summation rounds: sums of small integers."""
        exact: np.ndarray = sums.integral & (2 * OUTWARDS * sums.modulus < 1 / unit_roundoff(self.accumulator))
        return exact

    def __str__(self) -> str:
        return "complex3" if self.accumulator == np.float32 else f"complex3:{self.accumulator}"
