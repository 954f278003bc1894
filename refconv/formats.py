"""Number formats: which dtypes there are, what they accumulate in, how they round, how far apart two values are.

Knows numbers only: no shape, no kernel, no array library but NumPy.
"""

from fractions import Fraction
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from refconv.errors import GeometryError

FLOATS = tuple(map(np.dtype, ("float32", "float64")))
INTEGERS = tuple(map(np.dtype, ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")))
SUPPORTED = FLOATS + INTEGERS
PRECISIONS = ("float64", "float32")
INT64 = np.dtype("int64")


def accumulator(dtype: np.dtype, precision: Any) -> np.dtype:
    """Type in which sums over `dtype` are accumulated under `precision`; int64 stands for any that is exact."""
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise GeometryError(f"precision={precision!r}: must be one of {', '.join(map(repr, PRECISIONS))}")
    if dtype.kind in "iu":
        return INT64
    if dtype.itemsize > np.dtype(precision).itemsize:
        raise TypeError(f"precision={precision!r}: must be at least as wide as the input's dtype, {dtype}")
    return np.dtype(precision)


@cache
def result_dtype(dtype: np.dtype) -> np.dtype:
    """Dtype of a result over inputs of `dtype`: the same for floats, int32, int64 or uint64 for integers."""
    if dtype in FLOATS or dtype == np.uint64:
        # Not `dtype` itself: equal dtypes may differ, ulonglong from uint64 or in metadata, and results are not to.
        return np.dtype(dtype.name)
    return np.dtype("int32") if dtype.itemsize < 4 else INT64


def _info(dtype: npt.DTypeLike) -> Any:
    """Limits of a floating format; ml_dtypes knows the narrow ones too."""
    return ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]


def unit_roundoff(dtype: npt.DTypeLike) -> float:
    """Largest relative error of rounding to nearest: half the distance from 1 to the next number.

    >>> unit_roundoff("float32") == 2.0**-24
    True
    """
    return float(_info(dtype).eps) / 2


def underflow_unit(dtype: npt.DTypeLike) -> float:
    """Largest absolute error of rounding a tiny number: half the smallest subnormal, as a float64 not below it.

    >>> underflow_unit("float32") == 2.0**-150
    True
    >>> underflow_unit("float64") == 2.0**-1074  # its half, 2**-1075, is no float64
    True
    """
    smallest = float(_info(dtype).smallest_subnormal)
    return smallest / 2 or smallest


def round_fraction(exact: Fraction, dtype: npt.DTypeLike) -> Any:
    """Round a rational number to the nearest number of a floating format, ties to even, in one step.

    Numbers past the largest finite one (by half a unit in its last place or more) become infinite, as IEEE 754 has it
    (IEEE 754-2019, section 4.3.1).

    >>> round_fraction(Fraction(1) + Fraction(1, 2**24), "float32")  # a tie: to even
    np.float32(1.0)
    """
    info = _info(dtype)
    scalar: Any = np.dtype(dtype).type
    if exact == 0:
        return scalar(0)
    magnitude = abs(exact)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if Fraction(2) ** exponent > magnitude:
        exponent -= 1
    quantum = Fraction(2) ** (max(exponent, int(info.minexp)) - int(info.nmant))
    rounded = round(magnitude / quantum) * quantum  # round() of a Fraction is exact, ties to even
    value = float("inf") if rounded > Fraction(float(info.max)) else float(rounded)
    return scalar(-value if exact < 0 else value)


def ulp_distance(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Number of representable steps between two arrays of the same floating dtype, as uint64 (+0 and -0 are the same).

    NaN has no place in the order: where one value is NaN, the distance is meaningless and the caller must look first.

    >>> ulp_distance(np.float32([1.0]), np.nextafter(np.float32([1.0]), np.float32(2)))
    array([1], dtype=uint64)
    """
    ordered = [_ordered(np.ascontiguousarray(values)) for values in (left, right)]
    high, low = np.maximum(*ordered), np.minimum(*ordered)
    # The difference of two int64 can need 64 bits: subtract modulo 2**64, where it is exact.
    distance: np.ndarray = high.view(np.uint64) - low.view(np.uint64)
    return distance


def _ordered(values: np.ndarray) -> np.ndarray:
    """Integers in the order of the floats: the bits, with those of negative numbers mirrored."""
    bits = values.view(f"i{values.itemsize}").astype(np.int64)
    lowest = np.int64(-(2 ** (8 * values.itemsize - 1)))
    ordered: np.ndarray = np.where(bits < 0, lowest - bits, bits)
    return ordered
