"""Exact convolution of integers: in the fastest accumulator that a bound shows to be exact, else by limbs.

Knows geometry, lowering and a target; integer arrays only.
"""

from typing import Any

import numpy as np

from refconv.formats import INT64
from refconv.geometry import Geometry
from refconv.lowering import forward


def convolve(
    geometry: Geometry, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, dtype: np.dtype, target: Any
) -> np.ndarray:
    """The exact integer convolution in `dtype`.

    Raises
    ------
    OverflowError
        If a result does not fit into `dtype`.
    """
    arrays = [x, w] if bias is None else [x, w, bias]
    largest = _largest(geometry, [np.iinfo(array.dtype) for array in arrays])
    if largest > np.iinfo(dtype).max:  # only then look at the numbers
        largest = _largest(geometry, [_Range(array) for array in arrays])
    accumulator = next((each for each, limit in EXACT.items() if largest <= limit), None)
    if accumulator is not None:
        out = _sums(geometry, x, w, bias, target, accumulator)
    else:
        out = _by_limbs(geometry, x, w, bias, target)
    if largest > np.iinfo(dtype).max or dtype.kind == "u":
        _check_range(out, dtype)
    return out.astype(dtype, copy=False)


# Up to these magnitudes an accumulator holds every integer, and so every partial sum; the fastest first: a processor
# multiplies and adds floats in one instruction, 64-bit integers in several.
EXACT: dict[np.dtype, int] = {np.dtype("float32"): 2**24, np.dtype("float64"): 2**53, INT64: 2**63 - 1}


class _Range:
    """Smallest and largest number of an array, as Python's integers."""

    def __init__(self, array: np.ndarray) -> None:
        self.min, self.max = (int(array.min()), int(array.max())) if array.size else (0, 0)


def _largest(geometry: Geometry, ranges: list[Any]) -> int:
    """A bound on the magnitude of every partial sum of every output."""
    x, w, *bias = (max(abs(each.min), abs(each.max)) for each in ranges)
    return int(geometry.terms * x * w + sum(bias))


def _sums(
    geometry: Geometry, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, target: Any, accumulator: np.dtype
) -> np.ndarray:
    out = np.empty(geometry.output_shape, INT64)
    target.run(forward(geometry, x, w, bias, accumulator, out))
    return out


def _by_limbs(geometry: Geometry, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, target: Any) -> np.ndarray:
    """The sum over limbs i, j of 2**(bits * (i + j)) * conv(x_i, w_j), the last additions with Python's integers."""
    # terms * (2**bits)**2 must stay below 2**63.
    bits = (62 - geometry.terms.bit_length()) // 2
    total = np.zeros(geometry.output_shape, object)
    for i, x_limb in enumerate(_limbs(x, bits)):
        for j, w_limb in enumerate(_limbs(w, bits)):
            total += _sums(geometry, x_limb, w_limb, None, target, INT64).astype(object) << bits * (i + j)
    if bias is not None:
        total += bias.astype(object).reshape(-1, *(1 for _ in geometry.size))
    return total


def _limbs(array: np.ndarray, bits: int) -> list[np.ndarray]:
    """Arrays a_i with array = sum of a_i * 2**(bits * i) and |a_i| <= 2**bits; the last one carries the sign."""
    wide = array if array.dtype == np.uint64 else array.astype(INT64)
    mask = wide.dtype.type(2**bits - 1)
    shifts = range(0, 64, bits)
    return [
        (wide >> wide.dtype.type(shift) if shift == shifts[-1] else wide >> wide.dtype.type(shift) & mask).astype(INT64)
        for shift in shifts
    ]


def _check_range(out: np.ndarray, dtype: np.dtype) -> None:
    """Raise if a value does not fit, naming the first."""
    info = np.iinfo(dtype)
    outside = (out < info.min) | (out > info.max)
    if outside.any():
        index = tuple(map(int, np.argwhere(outside)[0]))
        raise OverflowError(f"output {index} is {out[index]}: does not fit into {dtype} ({info.min} to {info.max})")
