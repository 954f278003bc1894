"""Numbers: operands as float64 or as signs, integers among them, and sums that are too large for the output's format.

Knows arrays and formats; no operator.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from refconv.core import formats

# First array, second array and bias, as `Call.apply` takes them.
Operands: TypeAlias = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]


def frozen(array: np.ndarray) -> np.ndarray:
    """A copy over bytes: memory that nobody can write to, whatever flags are set."""
    return np.ndarray(array.shape, array.dtype, array.tobytes())


def largest_integer(array: np.ndarray) -> float:
    """The largest magnitude (complex numbers: of a part) in an array of integers; infinite if not all are integers.

    >>> largest_integer(np.array([-3.0, 2.0])), largest_integer(np.array([0.5]))
    (3.0, inf)
    """
    with np.errstate(invalid="ignore"):  # signalling NaNs
        numbers = formats.parts(array)
        first = numbers.reshape(-1)[:1].astype(np.float64)
        if (first != np.rint(first)).any():  # of real numbers, as a rule, the first one tells
            return np.inf
        wide = numbers.astype(np.float64)
    return float(np.abs(wide).max(initial=0)) if (wide == np.rint(wide)).all() else np.inf


def mapped(function: Callable[[np.ndarray], np.ndarray], operands: Operands) -> Operands:
    """The operands with a function applied to them, where they are not None."""
    x, w, bias = operands
    return function(x), None if w is None else function(w), None if bias is None else function(bias)


def widened(array: np.ndarray) -> np.ndarray:
    """Floats as float64, complex numbers as complex128, integers as they are."""
    if array.dtype in formats.INTEGERS:
        return array
    with np.errstate(invalid="ignore"):  # signalling NaNs
        return np.asarray(array, np.complex128 if array.dtype in formats.COMPLEX else np.float64)


def real(array: np.ndarray) -> np.ndarray:
    """Complex numbers as pairs of real ones, along a last axis."""
    return array[..., None].view(formats.part(array.dtype)) if array.dtype in formats.COMPLEX else array


def signs(wide: np.ndarray) -> np.ndarray:
    """Finite numbers as -1, 0 or 1, so that no sum of them overflows; complex numbers part by part."""
    values = formats.parts(wide)
    signs: np.ndarray = np.where(np.isfinite(values), np.sign(values), values).view(wide.dtype)
    return signs


def clipped(exact: np.ndarray, bound: np.ndarray, largest: float) -> tuple[np.ndarray, np.ndarray]:
    """Exact values and largest errors, of outputs that saturate: clipping both ends of an interval clips all of it.

    >>> [array.tolist() for array in clipped(np.array([500.0, 440.0, 1.0]), np.array([9.0, 20.0, 0.5]), 448.0)]
    [[448.0, 440.0, 1.0], [0.0, 20.0, 0.5]]
    """
    ends = np.clip(exact - bound, -largest, largest), np.clip(exact + bound, -largest, largest)
    exact = np.clip(exact, -largest, largest)
    within = np.maximum(exact - ends[0], ends[1] - exact)
    return exact, np.where(np.isfinite(bound) & ~np.isnan(exact), within, bound)


def saturated(rounded: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Rounded sums, with the format's largest number in place of what is larger; NaN stays NaN.

    >>> saturated(np.array([1, np.inf, np.nan], "float16"), np.array([1, 70000, np.nan])).tolist()
    [1.0, 65504.0, nan]
    """
    largest = np.copysign(formats.largest(rounded.dtype), value)
    too_large = ~np.isfinite(rounded) & ~np.isnan(value)
    return np.where(too_large, largest.astype(rounded.dtype), rounded)
