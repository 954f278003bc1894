"""Tolerances: the rtol and atol for those who compare with an assert_close, tight and safe.

Knows what outputs are judged by; not how they are made.
"""

import math
from decimal import ROUND_CEILING, Context
from typing import Self

import numpy as np

from refconv.core.formats import part, parts, unit_roundoff
from refconv.judge.bounds.rounding import OUTWARDS
from refconv.judge.standard import Standard

DIGITS = 2  # significant decimal digits of a tolerance, as it is written into a test


class Tolerances(tuple[float, float]):  # noqa: SLOT001 - no tuple can have other slots
    """The pair (rtol, atol): |actual - expected| <= atol + rtol * |expected| is to be demanded.

    Parameters
    ----------
    rtol, atol : float
        The pair.
    reason : str
        Why these, in words.
    """

    reason: str

    def __new__(cls, rtol: float, atol: float, reason: str) -> Self:  # noqa: D102 - the class says it
        pair = super().__new__(cls, (rtol, atol))
        pair.reason = reason
        return pair

    def __reduce__(self) -> tuple[type, tuple[float, float, str]]:
        return type(self), (*self, self.reason)

    @property
    def rtol(self) -> float:
        """Relative to |expected|."""
        return self[0]

    @property
    def atol(self) -> float:
        """Absolute."""
        return self[1]


def tightest(standard: Standard, terms: int) -> Tolerances:
    """The pair with the smallest mean of atol + rtol * |expected| that accepts all that `standard` does.

    Safe, even if the comparison is itself computed in the output's format: what is admissible is rounded outwards.

    Parameters
    ----------
    standard
        Of floats or complex numbers.
    terms
        Number of terms of a sum, for the reason.
    """
    magnitude, most = needed(standard)
    covered = np.isfinite(most)
    n_free = most.size - int(covered.sum())
    rtol, atol = _rounded_up(_supporting_line(magnitude[covered], most[covered]), magnitude[covered], most[covered])
    return Tolerances(rtol, atol, _reason(standard, terms, rtol, atol, n_free))


def needed(standard: Standard) -> tuple[np.ndarray, np.ndarray]:
    """|expected| of every element, and the largest admissible |actual - expected|, infinite where anything goes.

    Elements that must be NaN or infinite are left out. Of complex numbers the modulus, and both parts' errors together.
    """
    expected, exact, bound = map(parts, (standard.expected, standard.exact, standard.bound))
    with np.errstate(all="ignore"):
        wide = expected.astype(np.float64)
        most = np.where(bound > 0, bound + np.abs(wide - exact), 0)
        # A difference, a product, a sum and its operands, each rounded once in the comparison.
        most = OUTWARDS * (1 + unit_roundoff(part(standard.expected.dtype))) ** 4 * most
    finite = np.logical_or(np.isfinite(wide), np.isposinf(bound))
    if expected.dtype != standard.expected.dtype:
        finite = np.logical_and(finite[..., ::2], finite[..., 1::2]).reshape(-1)
        wide, most = (np.hypot(pairs[..., ::2], pairs[..., 1::2]).reshape(-1) for pairs in (wide, most))
        wide, most = wide / OUTWARDS, most * OUTWARDS
    with np.errstate(invalid="ignore"):
        magnitude = np.where(np.isfinite(wide), np.abs(wide), 0)
    return magnitude[finite], most[finite]


def _supporting_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and intercept, neither negative, of the line above all points that is lowest at the mean of x.

    A linear program in two variables: the line lies along the edge of the points' upper hull that spans the mean. That
    edge is found as quickhull finds it, one farthest point after the other.
    """
    if not x.size:
        return 0.0, 0.0
    middle = x.mean()
    # (0, 0) keeps the intercept from being negative; the largest y, put at the largest x, keeps the slope from it.
    left, right = (0.0, 0.0), (float(x.max()), float(y.max()))
    if right[0] <= 0:
        return 0.0, right[1]
    while True:
        slope = (right[1] - left[1]) / (right[0] - left[0])
        heights = y - (left[1] + slope * (x - left[0]))
        farthest = int(heights.argmax())
        point = float(x[farthest]), float(y[farthest])
        if heights[farthest] <= 0 or point in (left, right):
            return slope, max(0.0, left[1] - slope * left[0])
        if point[0] <= middle and point[0] < right[0]:
            left = point
        else:
            right = point


def _rounded_up(line: tuple[float, float], x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The line rounded up to short numbers, and raised until it is above all points."""
    rtol, atol = map(_short, line)
    while True:
        lacking = float((y * OUTWARDS - (atol + rtol * x)).max(initial=0))
        if lacking <= 0:
            return rtol, atol
        atol = _short(max(atol + 2 * lacking, math.nextafter(atol, math.inf)))


def _short(value: float) -> float:
    """The next number from here on up with two significant decimal digits.

    >>> _short(0.001234), _short(0.0), _short(1.2e-320) >= 1.2e-320
    (0.0013, 0.0, True)
    """
    return float(Context(prec=DIGITS, rounding=ROUND_CEILING).create_decimal_from_float(value))


def unseen(standard: Standard, rtol: float, atol: float) -> float:
    """Share of the elements where an output without one typical product would pass with such tolerances."""
    exact, product = parts(standard.exact), parts(standard.product)
    with np.errstate(invalid="ignore"):
        passes = ~(product > atol + rtol * np.abs(exact))
    return float(passes.mean()) if passes.size else 1.0


def _reason(standard: Standard, terms: int, rtol: float, atol: float, n_free: int) -> str:
    """Why these tolerances, in words."""
    text = (
        f"sums of {terms} terms may be wrong by as much under the model {standard.model}, rounding to "
        f"{standard.expected.dtype} included; "
    )
    if atol:
        text += "the errors are in proportion to the terms' absolute values, which need not be small where the sum is: "
        text += "hence atol"
    else:
        text += "nothing cancels, so that errors are in proportion to the sums: hence no atol"
    share = unseen(standard, rtol, atol)
    text += f"; in {100 * share:.3g} % of the outputs one dropped tap of typical size would not be seen"
    if n_free:
        text += f"; {n_free} outputs are not covered, for a sum may overflow there"
    return text
