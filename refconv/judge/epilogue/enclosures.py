"""Enclosures: intervals of float64 that hold all values of a step over an interval.

Knows steps and intervals; not what computes them. All is rounded outwards.

A sum of two float64 and a product are wrong by half a unit in the last place, so that the next number on either side
encloses them. Library functions (exp, tanh, erfc) are taken to be right to 8 ULP, 2^-49 of their value: the GNU C
library's manual lists at most 5 for any processor ("Errors in Math Functions": exp 1, tanh 2, erfc 5), and NumPy's own
float64 exp and tanh stay below 4. What a formula adds to that is said at its function below.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Self, TypeAlias

import numpy as np

from refconv.ops.activations import FUNCTIONS, leaky, tanh_argument
from refconv.ops.epilogue import Step

LIBRARY = 2.0**-49  # relative error of a library's function
SMALLEST = 2.0**-1060  # of what underflows in a formula; no format but float64 comes near
FACTOR = "factor"  # the first half of a scale; its shift is like a residual
CHECKED = 9  # points of an interval at which a function is looked at that is said to be monotone


class Interval(NamedTuple):
    """Ends of intervals, as arrays. An element that is NaN or infinite for sure has both ends so."""

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def around(cls, value: np.ndarray, error: np.ndarray | float) -> Self:
        """All that is no farther away than the error; where the value is not finite, the value alone."""
        with np.errstate(all="ignore"):
            low, high = np.nextafter(value - error, -np.inf), np.nextafter(value + error, np.inf)
        alone = ~np.isfinite(value) | (np.asarray(error) == 0)
        return cls(np.where(alone, value, low), np.where(alone, value, high))

    @classmethod
    def over(cls, *arrays: np.ndarray) -> Self:
        """From the smallest to the largest; NaN where one is NaN."""
        low = high = arrays[0]
        for array in arrays[1:]:
            low, high = np.minimum(low, array), np.maximum(high, array)
        return cls(low, high)

    def widened(self, amount: np.ndarray | float) -> Self:
        """Wider on both sides, and by a rounding; not where nothing is added."""
        with np.errstate(all="ignore"):
            low, high = np.nextafter(self.low - amount, -np.inf), np.nextafter(self.high + amount, np.inf)
        same = (np.asarray(amount) == 0) | ~np.isfinite(self.low) | ~np.isfinite(self.high)
        return type(self)(np.where(same, self.low, low), np.where(same, self.high, high))

    @property
    def magnitude(self) -> np.ndarray:
        """The larger of both ends' magnitudes."""
        magnitude: np.ndarray = np.maximum(np.abs(self.low), np.abs(self.high))
        return magnitude

    @property
    def middle(self) -> np.ndarray:
        """A number in between; where both ends are one number, that."""
        with np.errstate(all="ignore"):
            middle = self.low + (self.high - self.low) / 2
        return np.where(self.low == self.high, self.low, middle)


def times(x: Interval, factor: np.ndarray) -> Interval:
    """The products with exact factors."""
    with np.errstate(all="ignore"):
        return _exact_or_next(Interval.over(x.low * factor, x.high * factor), (factor == 0) | (np.abs(factor) == 1))


def plus(x: Interval, addend: np.ndarray) -> Interval:
    """The sums with exact addends."""
    with np.errstate(all="ignore"):
        low, high = x.low + addend, x.high + addend
        # What is lost of a sum is a float64 itself (Knuth's TwoSum): 0 if nothing is.
        exact = [_lost(end, addend, total) == 0 for end, total in ((x.low, low), (x.high, high))]
        return Interval(
            np.where(exact[0] | ~np.isfinite(low), low, np.nextafter(low, -np.inf)),
            np.where(exact[1] | ~np.isfinite(high), high, np.nextafter(high, np.inf)),
        )


def _lost(a: np.ndarray, b: np.ndarray, total: np.ndarray) -> np.ndarray:
    """What a float64 sum of two numbers lacks."""
    share = total - a
    lost: np.ndarray = (a - (total - share)) + (b - share)
    return lost


def _exact_or_next(x: Interval, exact: np.ndarray) -> Interval:
    """The interval, rounded outwards where its ends are not exact; zeros, NaN and infinity stay."""
    low, high = np.nextafter(x.low, -np.inf), np.nextafter(x.high, np.inf)
    return Interval(
        np.where(exact | ~np.isfinite(x.low), x.low, low), np.where(exact | ~np.isfinite(x.high), x.high, high)
    )


# Relative errors of the formulas in `refconv.ops.activations`, as float64 evaluates them at one of its own numbers x.
# sigmoid: exp, an addition to it of what is at least as large, a division. gelu: where z = x / sqrt(2) is wrong by
# 2^-52 of itself, erfc(-z) is wrong by 2 z^2 + 1 times as much at most. gelu_tanh: where its argument t is wrong by
# 2^-50 of itself, sigmoid(t) is wrong by |t| times as much for negative t, by 0.28 times for positive ones.
_FORMULAS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = MappingProxyType(
    {
        "hardswish": lambda x: np.full(x.shape, 2.0**-51),
        "sigmoid": lambda x: np.full(x.shape, 2 * LIBRARY),
        "silu": lambda x: np.full(x.shape, 2 * LIBRARY),
        "tanh": lambda x: np.full(x.shape, LIBRARY),
        "gelu": lambda x: 2 * LIBRARY + (x * x + 2) * 2.0**-52,
        "gelu_tanh": lambda x: 2 * LIBRARY + (np.maximum(0, -tanh_argument(x)) + 1) * 2.0**-50,
    }
)

# Where a function has its minimum, and which that is: it falls before, and rises behind. To 17 digits, rounded down.
_MINIMA: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "hardswish": (-1.5, -0.375),
        "silu": (-1.2784645427610738, -0.27846454276107385),
        "gelu": (-0.7517915246935645, -0.16997120747990373),
        "gelu_tanh": (-0.7524614220710163, -0.17004075057125408),
    }
)
ABOUT = 2.0**-50  # how far from its minimum, relative to the place, a place is not told from it


def image(step: Step, x: Interval, operands: Sequence[np.ndarray] = ()) -> Interval:
    """All values of a step over intervals; of numbers that are NaN or infinite for sure, the value in IEEE 754.

    >>> interval = Interval(np.array([-3.0]), np.array([0.0]))
    >>> image(Step("hardswish"), interval)
    Interval(low=array([-0.375]), high=array([0.]))
    """
    with np.errstate(all="ignore"):
        if step.name == FACTOR:
            return times(x, operands[0])
        if step.name == "residual":
            return plus(x, operands[0])
        if step.custom is not None:
            return _custom(step, x)
        if step.name == "leaky_relu":
            return _leaky(x, *step.numbers)
        if step.name not in _FORMULAS:
            return Interval(*(FUNCTIONS[step.name](end, *step.numbers) for end in x))
        return _function(step.name, x)


def _leaky(x: Interval, slope: float) -> Interval:
    ends = [leaky(end, slope) for end in x]
    within = np.where((x.low < 0) & (x.high > 0), 0.0, ends[0])  # a kink at 0: below it a slope may be negative
    exact = (x.low >= 0) & (x.high >= 0)
    return _exact_or_next(Interval.over(*ends, within), exact | (slope in (0, 1, -1)))


Ends: TypeAlias = tuple[np.ndarray, np.ndarray]


def _function(name: str, x: Interval) -> Interval:
    """One of the functions whose formula is inexact."""
    low, high = zip(*(_at(name, end) for end in x), strict=True)
    lowest, highest = np.minimum(*low), np.maximum(*high)
    if name in _MINIMA:
        place, minimum = _MINIMA[name]
        passes = (x.low <= place * (1 - ABOUT)) & (x.high >= place * (1 + ABOUT))
        lowest = np.where(passes, np.nextafter(minimum, -np.inf) if name != "hardswish" else minimum, lowest)
    return Interval(lowest, highest)


def _at(name: str, x: np.ndarray) -> Ends:
    """Enclosure of a function at single numbers."""
    y = FUNCTIONS[name](x)
    error = np.abs(y) * _FORMULAS[name](np.where(np.isfinite(x), x, 0.0)) + SMALLEST * (1 + np.abs(x))
    sure = ~np.isfinite(x) | (x == 0) if name != "sigmoid" else ~np.isfinite(x)
    if name == "hardswish":
        sure |= np.abs(x) >= 3
    error = np.where(sure, 0.0, error)
    return y - error, y + error


def _custom(step: Step, x: Interval) -> Interval:
    """A caller's function, right to `LIBRARY`."""
    assert step.custom is not None  # noqa: S101 - asked only where there is one
    ends = [step.value(end) for end in x]
    if step.custom.slope is None:
        _check_monotone(step, x)
        spread = Interval.over(*ends)
    else:
        middle = x.middle
        at = step.value(middle)
        reach = np.where(x.low == x.high, 0.0, step.custom.slope * np.maximum(x.high - middle, middle - x.low))
        spread = Interval(at - reach, at + reach).widened(np.where(reach > 0, 2.0**-51 * np.abs(reach), 0.0))
    return spread.widened(np.where(np.isfinite(spread.magnitude), LIBRARY * spread.magnitude + SMALLEST, 0.0))


def _check_monotone(step: Step, x: Interval) -> None:
    """Refuse a function that is not monotone over an interval, as far as some points of it show."""
    wide = np.isfinite(x.low) & np.isfinite(x.high) & (x.low < x.high)
    low, high = x.low[wide], x.high[wide]
    if not low.size:
        return
    values = np.stack([step.value(low + (high - low) * (share / (CHECKED - 1))) for share in range(CHECKED)])
    room = 2 * LIBRARY * np.abs(values).max(axis=0) + SMALLEST
    outside = (values > np.maximum(values[0], values[-1]) + room) | (values < np.minimum(values[0], values[-1]) - room)
    if outside.any():
        at = int(np.flatnonzero(outside.any(axis=0))[0])
        raise ValueError(
            f"epilogue: {step}: must be monotone, or have slope=: it is not between {low[at]!r} and {high[at]!r}"
        )
