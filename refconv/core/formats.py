"""Number formats: which dtypes there are, what they accumulate in, how they round, how far apart two values are.

Knows numbers only: no shape, no kernel, no array library but NumPy.
"""

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from refconv.core.errors import GeometryError

# By ml_dtypes' types, not their names: `np.dtype` knows the names only once ml_dtypes is there.
NARROW = tuple(map(np.dtype, ("float16", ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2)))
WIDE = tuple(map(np.dtype, ("float32", "float64")))
FLOATS = WIDE + NARROW
COMPLEX = tuple(map(np.dtype, ("complex64", "complex128")))
INTEGERS = tuple(map(np.dtype, ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")))
SUPPORTED = FLOATS + COMPLEX + INTEGERS
MIXED = (frozenset(NARROW[2:]), frozenset(map(np.dtype, ("int8", "uint8"))))  # dtypes that may meet in one sum
PRECISIONS = ("float64", "float32", "exact")
INT64 = np.dtype("int64")
# An accumulator of two numbers, of which the second is what the first is too coarse for: see `nest`.
EXACT = np.dtype([("high", "float64"), ("low", "float64")])
DELIVERED = (np.dtype("int32"), INT64)  # integer types that targets deliver sums in, where these fit


def parse(name: str, dtype: Any) -> np.dtype:
    """The supported dtype that is meant by a name, a NumPy type or dtype, or a dtype of torch (recognized by its name).

    >>> parse("dtype", "bfloat16") in NARROW
    True
    """
    key = dtype if isinstance(dtype, (str, type, np.dtype)) else str(dtype).removeprefix("torch.")
    for supported in SUPPORTED:
        if key in (supported, supported.name):
            return np.dtype(supported)
    raise TypeError(f"{name}={dtype!r}: must be one of {', '.join(map(str, SUPPORTED))}")


def accumulator(dtype: np.dtype, precision: Any) -> np.dtype:
    """Type in which sums over `dtype` are accumulated under `precision`, those of complex numbers part by part.

    int64 stands for any type that is exact, for integers.

    >>> accumulator(np.dtype("complex64"), "float64")
    dtype('float64')
    """
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise GeometryError(f"precision={precision!r}: must be one of {', '.join(map(repr, PRECISIONS))}")
    if dtype.kind in "iu":
        return INT64
    if precision == "exact":
        return EXACT
    if part(dtype).itemsize > np.dtype(precision).itemsize:
        raise TypeError(f"precision={precision!r}: must be at least as wide as the input's dtype, {dtype}")
    return np.dtype(precision)


def number(accumulator: np.dtype) -> np.dtype:
    """Dtype of the numbers that an accumulator consists of; the operands of a sum are converted to it."""
    return WIDE[1] if accumulator is EXACT else accumulator


def numbers(accumulator: np.dtype) -> int:
    """How many such numbers an accumulator consists of."""
    return 2 if accumulator is EXACT else 1


@cache
def result_dtype(dtype: np.dtype) -> np.dtype:
    """Dtype of a result over inputs of `dtype`: the same for floats and complex; int32, int64, uint64 for integers."""
    if dtype in FLOATS or dtype in COMPLEX or dtype == np.uint64:
        # Not `dtype` itself: equal dtypes may differ (ulonglong from uint64, or in metadata), and results must not.
        return np.dtype(dtype.name)
    return np.dtype("int32") if dtype.itemsize < 4 else INT64


def part(dtype: np.dtype) -> np.dtype:
    """Dtype of the real and the imaginary part of complex numbers; any other dtype itself.

    >>> part(np.dtype("complex64")), part(np.dtype("int8"))
    (dtype('float32'), dtype('int8'))
    """
    return np.dtype(f"float{4 * dtype.itemsize}") if dtype in COMPLEX else dtype


def parts(array: np.ndarray) -> np.ndarray:
    """Real and imaginary parts side by side along the last axis, twice as long then; other arrays as they are.

    >>> parts(np.array([1 + 2j, 3]))
    array([1., 2., 3., 0.])
    """
    return np.ascontiguousarray(array).view(part(array.dtype)) if array.dtype in COMPLEX else array


# Limits of a floating format; ml_dtypes knows the narrow ones too.
_info: Callable[[Any], Any] = cache(ml_dtypes.finfo)


def unit_roundoff(dtype: npt.DTypeLike) -> float:
    """Largest relative error of rounding to nearest: half the distance from 1 to the next number.

    >>> unit_roundoff("float32") == 2.0**-24
    True
    """
    return float(_info(dtype).eps) / 2


def largest(dtype: npt.DTypeLike) -> float:
    """Largest finite number.

    >>> largest("float8_e4m3fn")
    448.0
    """
    return float(_info(dtype).max)


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
    (IEEE 754-2019, section 4.3.1), or NaN in a format without infinity, as where the OCP's specification of 8-bit
    floating point (revision 1.0, section 5.2.1) does not saturate. There a tie past the largest finite number is
    rounded to even too: float8_e4m3fn's 464 to 448.

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
    nearest = round(magnitude / quantum) * quantum  # round() of a Fraction is exact, ties to even
    value = float(scalar(np.inf)) if nearest > Fraction(largest(dtype)) else float(nearest)
    return scalar(-value if exact < 0 and value == value else value)


def added(left: Any, right: Any) -> Any:
    """The sum of two rational numbers, or floats for NaN and infinity.

    >>> added(Fraction(1, 2), np.inf), added(Fraction(1, 2), Fraction(1, 2))
    (inf, Fraction(1, 1))
    """
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left + right
    return sum(value for value in (left, right) if isinstance(value, float))  # what is finite changes nothing


def round_fractions(sums: np.ndarray, dtype: npt.DTypeLike) -> np.ndarray:
    """An array of rational numbers, or floats for NaN and infinity, each rounded as by `round_fraction`.

    >>> round_fractions(np.array([Fraction(1, 3), np.inf]), "float16")
    array([0.3333,    inf], dtype=float16)
    """
    values = [round_fraction(value, dtype) if isinstance(value, Fraction) else value for value in sums.flat]
    with np.errstate(all="ignore"):
        array = np.array([float(value) for value in values]).reshape(sums.shape)
    return rounded(array, dtype)


def rounded(array: np.ndarray, dtype: npt.DTypeLike) -> np.ndarray:
    """An array of floats or integers in a floating format: each number rounded once, to nearest, ties to even.

    What is too large is as `round_fraction` has it; every NaN becomes the positive quiet one. Complex numbers are
    rounded to a complex format part by part; integers are cast to integers as they are.

    >>> rounded(np.array([1 + 2.0**-8 + 2.0**-40]), "bfloat16")  # in two steps, by way of float32, it would become 1
    array([1.00781], dtype=bfloat16)
    """
    target = np.dtype(dtype)
    with np.errstate(all="ignore"):
        result: np.ndarray = (_to_odd(array) if target in NARROW else array).astype(target)
        floats = (result.real, result.imag) if target in COMPLEX else (result,) if target in FLOATS else ()
        for values in floats:
            np.copyto(values, values.dtype.type(np.nan), where=np.isnan(values))
    return result


def _to_odd(array: np.ndarray) -> np.ndarray:
    """The numbers in float32, inexact ones rounded so that their last bit is 1: then rounding once more is right.

    Boldo and Melquiond, "When double rounding is odd", IMACS 2005: it takes two bits more than the final format has.
    Subnormal numbers too: float32's reach 16 bits below bfloat16's, and those of other narrow formats are normal there.
    """
    if array.dtype in NARROW or array.dtype == np.float32:
        return array  # ml_dtypes goes from one format to another by way of float32, which holds these
    exact = np.asarray(_sticky(array), np.float64)
    odd = exact.astype(np.float32)
    bits = odd.view(np.int32)
    bits -= np.abs(odd) > np.abs(exact)  # toward zero: past infinity to the largest number, which is odd
    bits |= odd != exact
    return odd


def _sticky(array: np.ndarray) -> np.ndarray:
    """Integers that float64 holds, and that lie on the same side of every number of at most 25 bits."""
    if array.dtype.kind not in "iu" or array.dtype.itemsize < 8:
        return array
    low = array & array.dtype.type(2**11 - 1)
    shortened = (array - low) | np.where(low, array.dtype.type(2**10), array.dtype.type(0))
    return np.where(np.abs(array.astype(np.float64)) < 2.0**53, array, shortened)


def ulp_distance(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Number of representable steps between two arrays of the same floating dtype, as uint64 (+0 and -0 are the same).

    NaN has no place in the order: where a value is NaN, the distance is meaningless, and the caller must check first.

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
