"""Operands that are rounded before they are multiplied: to TF32 or bfloat16, or split into two parts.

Knows formats and the sums of a call; not how the products are added.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from refconv.core.formats import largest, unit_roundoff
from refconv.judge.bounds.rounding import OUTWARDS, smallest_normal
from refconv.judge.bounds.sums import Sums


@dataclass(frozen=True)
class Operands:
    """How operands x and w become what is multiplied, and what their products then lack.

    Parameters
    ----------
    unit : float
        Largest relative error of rounding to the format: its unit roundoff, or twice that if it is truncated.
    least, most : float
        Its smallest normal and its largest number.
    significant : int
        Number of significant bits: numbers of so many are not changed, and their products are exact.
    copies : int
        Number of products in place of one.
    product_error : float
        Largest relative error of such a product, if nothing underflows.
    growth : float
        How much larger than |x w| the products together may be.
    """

    unit: float
    least: float
    most: float
    significant: int
    copies: int
    product_error: float
    growth: float

    @classmethod
    def single(cls, significant: int, dtype: str = "float32", *, truncated: bool = False) -> Self:
        """Rounded once, to so many bits and the exponents of `dtype`: |xw - fl(x)fl(w)| <= (2u + u^2) |xw|."""
        u = 2.0**-significant * (1 + truncated)
        # The largest number of so many bits, or what becomes it.
        most = largest(dtype) if truncated else largest(dtype) / (1 - unit_roundoff(dtype)) * (1 - 2.0**-significant)
        return cls(u, smallest_normal(dtype), most, significant, 1, 2 * u + u * u, (1 + u) ** 2)

    @classmethod
    def split(cls, significant: int, dtype: str = "float32") -> Self:
        """x = x1 + x2 + dx, of which x1 w1 + x1 w2 + x2 w1 are multiplied.

        |x2| <= u (1 + u) |x|, |dx| <= u^2 |x|; what lacks is x2 w2 + dx w + (x - dx) dw, at most
        u^2 [(1 + u)^2 + 2 + u^2] |xw|, and the three products are at most (1 + u)^2 (1 + 2u) |xw| together.
        """
        u = 2.0**-significant
        whole = cls.single(significant, dtype)
        error, grown = u * u * ((1 + u) ** 2 + 2 + u * u), (1 + u) ** 2 * (1 + 2 * u)
        return cls(u, whole.least, whole.most, significant, 3, error, grown)

    def error(self, sums: Sums, *, flush_to_zero: bool = False) -> np.ndarray:
        """Largest error of an exact sum of products whose operands have been rounded, or flushed to zero."""
        error = OUTWARDS * self.product_error * sums.absolute if self.product_error else np.zeros(sums.value.shape)
        x, w = (
            self._underflow(operand, dtype, flush_to_zero)
            for operand, dtype in zip((sums.x, sums.w), sums.dtypes[:2], strict=True)
        )
        bias = None
        if flush_to_zero and sums.bias is not None:  # rounding to a format spares the bias: it is not multiplied
            bias = self._underflow(sums.bias, sums.dtypes[2], flush_to_zero)
        if x.any() or w.any() or (bias is not None and bias.any()):
            # With |x|, |w| and what they lose: dx |w| + |x| dw + dx dw, and the second parts' products once more.
            error = error + sums.of(x, self.growth * sums.w + 2 * w, bias) + sums.of(self.growth * sums.x, w)
        return OUTWARDS * error

    def free(self, sums: Sums) -> np.ndarray:
        """Where an operand, or what is left of it after its first part, is infinite or NaN without need."""
        x, w = sums.x > self.most, sums.w > self.most
        if self.copies > 1:  # infinity less infinity
            x, w = x | sums.x_special, w | sums.w_special
        free: np.ndarray = sums.touched(x, w) & ~np.isnan(sums.special)
        return free

    def exact(self, sums: Sums) -> bool:
        """Whether x and w are numbers of the format: not changed by rounding, and without a second part."""
        for operand in (sums.x, sums.w):
            significand = np.ldexp(np.frexp(operand)[0], self.significant)
            if not (significand == np.rint(significand)).all():
                return False
        return True

    def _underflow(self, operand: np.ndarray, dtype: np.dtype, flush_to_zero: bool) -> np.ndarray:
        """What each number may lose beyond its relative error; no number loses more than itself."""
        least = self.least
        lost = least * self.unit  # half the smallest subnormal, or all of it if truncated
        limit = least if self.copies == 1 else least / self.unit
        if flush_to_zero:
            least = lost = max(least, smallest_normal(dtype))
            limit = least if self.copies == 1 else least / self.unit**2
        small: np.ndarray = np.where(operand < limit, np.minimum(operand, lost), 0)
        return small


EXACT = Operands(0.0, 0.0, np.inf, 53, 1, 0.0, 1.0)  # operands that stay as they are

FORMATS = {
    "exact": EXACT,
    "tf32": Operands.single(11),
    "tf32_truncated": Operands.single(11, truncated=True),
    "bfloat16": Operands.single(8),
    "float16": Operands.single(11, "float16"),
    "bf16x3": Operands.split(8),
}
