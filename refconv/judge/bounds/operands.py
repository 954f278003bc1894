"""Operands that are rounded before they are multiplied: to TF32, bfloat16 or float16, or split into two parts.

Knows formats and the sums of a call; not how the products are added.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from refconv.core.formats import largest, unit_roundoff
from refconv.judge.bounds.flush import NOTHING, Flush
from refconv.judge.bounds.rounding import OUTWARDS, smallest_normal
from refconv.judge.bounds.sums import Sums


@dataclass(frozen=True)
class Format:
    """What one array's numbers are rounded to.

    Parameters
    ----------
    unit : float
        Largest relative error of rounding to the format: its unit roundoff, or twice that if it is truncated.
    least, most : float
        Its smallest normal and its largest number.
    significant : int
        Number of significant bits: numbers of so many are not changed, and their products are exact.
    """

    unit: float
    least: float
    most: float
    significant: int

    @classmethod
    def of(cls, significant: int, dtype: str = "float32", *, truncated: bool = False) -> Self:
        """Of so many bits and the exponents of `dtype`."""
        # The largest number of so many bits, or what becomes it.
        most = largest(dtype) if truncated else largest(dtype) / (1 - unit_roundoff(dtype)) * (1 - 2.0**-significant)
        return cls(2.0**-significant * (1 + truncated), smallest_normal(dtype), most, significant)

    def has(self, operand: np.ndarray) -> bool:
        """Whether the format has the significands of all numbers: none is changed, and none has a second part."""
        significand = np.ldexp(np.frexp(operand)[0], self.significant)
        return bool((significand == np.rint(significand)).all())


@dataclass(frozen=True)
class Operands:
    """How operands x and w become what is multiplied, and what their products then lack.

    Parameters
    ----------
    x, w : Format
        What each is rounded to.
    copies : int
        Number of products in place of one.
    product_error : float
        Largest relative error of such a product, if nothing underflows.
    growth : float
        How much larger than |x w| the products together may be.
    """

    x: Format
    w: Format
    copies: int
    product_error: float
    growth: float

    @classmethod
    def single(cls, x: Format, w: Format) -> Self:
        """Rounded once: |xw - fl(x)fl(w)| <= (u + v + uv) |xw|, for formats of units u and v."""
        u, v = x.unit, w.unit
        return cls(x, w, 1, u + v + u * v, (1 + u) * (1 + v))

    @classmethod
    def split(cls, part: Format) -> Self:
        """x = x1 + x2 + dx, of which x1 w1 + x1 w2 + x2 w1 are multiplied.

        |x2| <= u (1 + u) |x|, |dx| <= u^2 |x|; what lacks is x2 w2 + dx w + (x - dx) dw, at most
        u^2 [(1 + u)^2 + 2 + u^2] |xw|, and the three products are at most (1 + u)^2 (1 + 2u) |xw| together.
        """
        u = part.unit
        error, grown = u * u * ((1 + u) ** 2 + 2 + u * u), (1 + u) ** 2 * (1 + 2 * u)
        return cls(part, part, 3, error, grown)

    @property
    def deviation(self) -> float:
        """Standard deviation of a product's relative error, if each operand's is uniform, between -u and u at most.

        Where both formats are the same, and of two parts, so is each operand's share of the product's error.
        """
        return self.product_error / math.sqrt(6 if self.x == self.w else 3)

    @property
    def least(self) -> float:
        """Operands that are smaller lose more than a relative error."""
        return max(self.x.least, self.w.least)

    @property
    def changes_nothing(self) -> bool:
        """Whether every number stays as it is."""
        return self.x is self.w is UNCHANGED

    def error(self, sums: Sums, flush: Flush = NOTHING) -> np.ndarray:
        """Largest error of an exact sum of products whose operands have been rounded, or flushed to zero."""
        if self.changes_nothing and not flush:
            return np.zeros(())
        error = self.product_error * sums.absolute if self.product_error else np.zeros(sums.value.shape)
        both: np.ndarray = OUTWARDS * (OUTWARDS * error + self.lost(sums, flush))
        return both

    def lost(self, sums: Sums, flush: Flush = NOTHING) -> np.ndarray:
        """The part of that error which is not relative: of operands that underflow, or are flushed to zero."""
        flushed = flush.of_operands(sums.call.op)
        x = self._underflow(sums.x, self.x, sums.dtypes[0], flush_to_zero=flushed.x)
        w = self._underflow(sums.w, self.w, sums.dtypes[1], flush_to_zero=flushed.w)
        bias = None
        if flushed.bias and sums.bias is not None:  # rounding to a format spares the bias: it is not multiplied
            bias = self._underflow(sums.bias, self.x, sums.dtypes[2], flush_to_zero=True)
        if x.any() or w.any() or (bias is not None and bias.any()):
            # With |x|, |w| and what they lose: dx |w| + |x| dw + dx dw, and the second parts' products once more.
            lost: np.ndarray = sums.of(x, self.growth * sums.w + 2 * w, bias) + sums.of(self.growth * sums.x, w)
            return lost
        return np.zeros(sums.value.shape)

    def free(self, sums: Sums) -> np.ndarray:
        """Where an operand, or what is left of it after its first part, is infinite or NaN without need."""
        if self.changes_nothing:
            return np.zeros((), bool)
        x, w = sums.x > self.x.most, sums.w > self.w.most
        if self.copies > 1:  # infinity less infinity
            x, w = x | sums.x_special, w | sums.w_special
        free: np.ndarray = sums.touched(x, w) & ~np.isnan(sums.special)
        return free

    def exact(self, sums: Sums) -> bool:
        """Whether x and w are numbers of their formats: not changed by rounding, and without a second part."""
        return self.x.has(sums.x) and self.w.has(sums.w)

    def _underflow(self, operand: np.ndarray, part: Format, dtype: np.dtype, *, flush_to_zero: bool) -> np.ndarray:
        """What each number may lose beyond its relative error; no number loses more than itself."""
        least = part.least
        lost = least * part.unit  # half the smallest subnormal, or all of it if truncated
        limit = least if self.copies == 1 else least / part.unit
        if flush_to_zero:
            least = lost = max(least, smallest_normal(dtype))
            limit = least if self.copies == 1 else least / part.unit**2
        small: np.ndarray = np.where(operand < limit, np.minimum(operand, lost), 0)
        return small


UNCHANGED = Format(0.0, 0.0, np.inf, 53)
PARTS = {
    "exact": UNCHANGED,
    "tf32": Format.of(11),
    "tf32_truncated": Format.of(11, truncated=True),
    "bfloat16": Format.of(8),
    "float16": Format.of(11, "float16"),
}
FORMATS = {name: Operands.single(part, part) for name, part in PARTS.items()}
EXACT = FORMATS["exact"]  # operands that stay as they are
FORMATS["bf16x3"] = Operands.split(PARTS["bfloat16"])


def of_call(inputs: str, weights: str, op: str) -> Operands:
    """How the operands of an operator are rounded, by the names of formats; a weight's gradient has inputs only.

    >>> of_call("exact", "float16", "conv2d").product_error == 2.0**-11
    True
    """
    if inputs == weights or op.endswith("_weight"):
        return FORMATS[inputs]
    return Operands.single(PARTS[inputs], PARTS[weights])
