"""What an output is judged by: the expected output, the largest admissible errors, and distances from them.

Knows arrays of numbers; not what was computed, nor what the verdict is.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from refconv.core.formats import COMPLEX, FLOATS, part, parts, ulp_distance, underflow_unit, unit_roundoff


@dataclass(frozen=True, eq=False, kw_only=True)
class Standard:
    """What an output is judged by. For complex numbers bound, unit, mean and product are complex: one for each part.

    Attributes
    ----------
    expected : ndarray
        The oracle's output, rounded: of the shape and dtype that outputs must have.
    exact : ndarray
        The oracle's output before rounding; NaN and infinity stand for themselves.
    bound : ndarray
        Largest admissible |actual - exact|; infinite where anything goes.
    unit : ndarray
        u S, what errors are counted in; 0 where nothing is counted.
    mean : ndarray
        Mean size of the products.
    typical : callable
        Computes the root mean square of the products, which is not below their mean: called only where the mean does
        not decide.
    model : str
        What the bound allows, in a word or two.
    """

    expected: np.ndarray
    exact: np.ndarray
    bound: np.ndarray
    unit: np.ndarray
    mean: np.ndarray
    typical: Callable[[], np.ndarray]
    model: str = ""

    @property
    def vacuous(self) -> bool:
        """Whether the bound can't tell the expected output from zeros, or from one without a tap, in any element."""
        exact, bound = parts(self.exact), parts(self.bound)
        with np.errstate(invalid="ignore"):
            special = ~np.isfinite(exact) & ~np.isposinf(bound)
            distinguishes_zeros = (special | (np.abs(exact) > bound)).any()
            if not distinguishes_zeros:
                return True
            passes = bound + self._half_ulp(exact)  # a missing product of this size may pass
            distinguishes_missing_tap = (
                special.any() or (parts(self.mean) > passes).any() or (parts(self.product) > passes).any()
            )
        return not distinguishes_missing_tap

    @cached_property
    def product(self) -> np.ndarray:
        """Size of a typical product: the root mean square of the terms."""
        return self.typical()

    def _half_ulp(self, exact: np.ndarray) -> np.ndarray:
        """Largest error of rounding the exact values to the output's format; 0 for integers."""
        dtype = part(self.expected.dtype)
        if dtype not in FLOATS:
            return np.zeros(exact.shape)
        half_ulp: np.ndarray = np.maximum(unit_roundoff(dtype) * np.abs(exact), underflow_unit(dtype))
        return half_ulp


def either(actual: np.ndarray, standard: Standard, other: Standard) -> Standard:
    """The standard, but the other one's elements where the output meets only the other."""
    met, met_otherwise = (
        bound_ratio(*map(parts, (actual, by.expected, by.exact, by.bound))) <= 1 for by in (standard, other)
    )
    chosen = met_otherwise & ~met

    def mixed(name: str) -> np.ndarray:
        ours, theirs = getattr(standard, name), getattr(other, name)
        return np.where(chosen, parts(theirs), parts(ours)).view(ours.dtype)

    return replace(standard, expected=mixed("expected"), exact=mixed("exact"), bound=mixed("bound"))


def errors(actual: np.ndarray, standard: Standard) -> np.ndarray:
    """actual - exact in float64, of complex numbers part by part; NaN where all values are admissible, or only one."""
    bound = parts(standard.bound)
    if part(actual.dtype) not in FLOATS:
        return np.full(bound.shape, np.nan)
    with np.errstate(all="ignore"):
        difference = parts(actual).astype(np.float64) - parts(standard.exact)
    return np.where(np.isfinite(difference) & np.isfinite(bound) & (bound > 0), difference, np.nan)


def relative_errors(difference: np.ndarray, standard: Standard) -> np.ndarray:
    """The errors in units of u S, without those that are NaN or have no unit."""
    unit = parts(standard.unit)
    counted = np.isfinite(difference) & (unit > 0)
    with np.errstate(over="ignore"):
        relative: np.ndarray = difference[counted] / unit[counted]
    return relative


def worse_part(values: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """For each element of `actual`, the larger of the values that belong to its parts."""
    return values.reshape(*actual.shape, 2).max(axis=-1) if actual.dtype in COMPLEX else values


def same_values(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Where numbers are equal, or both NaN."""
    with np.errstate(invalid="ignore"):  # a candidate's signalling NaN, which ml_dtypes converts
        same: np.ndarray = (actual == expected) | ((actual != actual) & (expected != expected))
    return same


def bound_ratio(actual: np.ndarray, expected: np.ndarray, exact: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """|actual - exact| / bound; 0 where values are the same or anything goes, infinite where they can't be compared."""
    same = same_values(actual, expected)
    if actual.dtype not in FLOATS:
        return np.where(same, 0.0, np.inf)
    with np.errstate(all="ignore"):
        wide = actual.astype(np.float64)
        ratio = np.abs(wide - exact) / bound
    comparable = np.isfinite(wide) & np.isfinite(exact) & (bound > 0)
    ratio = np.where(comparable, ratio, np.inf)
    ratio[np.isposinf(bound)] = 0
    # Equal infinities and NaNs have no ratio, and a bound of 0 asks for equality.
    ratio[same & ~comparable] = 0
    return ratio


def ulps(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Distances in units in the last place, where both are finite, part by part; empty for integers."""
    values, expected_values = parts(actual), parts(expected)
    if values.dtype not in FLOATS:
        return np.empty(0, np.uint64)
    with np.errstate(invalid="ignore"):
        finite = np.isfinite(values) & np.isfinite(expected_values)
    return ulp_distance(values[finite], expected_values[finite])
