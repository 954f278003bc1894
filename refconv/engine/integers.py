"""Exact correlations of integers: in the fastest accumulator that a bound shows to be exact, else by limbs.

Knows correlations and a target; integer arrays only.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from refconv.core.formats import DELIVERED, INT64
from refconv.engine.correlation import Correlation, Index, addends, pieces

OVERFLOWS = ("raise", "wrap", "saturate")

# Up to these magnitudes an accumulator holds every integer, and so every partial sum; the fastest first: a processor
# multiplies and adds floats in one instruction, 64-bit integers in several.
EXACT: dict[np.dtype, int] = {np.dtype("float32"): 2**24, np.dtype("float64"): 2**53, INT64: 2**63 - 1}
# At a time: results that a target can't store in their dtype; results that are Python's integers, which take some 100
# bytes each; elements that are cut into limbs.
MOST_ELEMENTS, MOST_OBJECTS, MOST_INPUTS = 2**18, 2**14, 2**16


class Fit(NamedTuple):
    """What happens to exact results that their dtype does not hold."""

    overflow: str
    result: np.ndarray  # contiguous, as the caller gets it: an error names the index of an element in it

    def check(self, values: np.ndarray, dtype: np.dtype, out: np.ndarray) -> None:
        """Refuse exact results, those of `out`, a view of `result`, if `dtype` does not hold all of them.

        Raises
        ------
        OverflowError
            Naming the first one that it does not hold.
        """
        info = np.iinfo(dtype)
        outside = (values < info.min) | (values > info.max)
        if outside.any():
            index = tuple(np.argwhere(outside)[0])
            where = self._index(out, index)
            raise OverflowError(
                f"output {where} is {values[index]}: does not fit into {dtype} ({info.min} to {info.max})"
            )

    def store(self, values: np.ndarray, out: np.ndarray) -> None:
        """Store exact results, int64 or Python's integers, in `out`, a view of `result`."""
        if self.overflow == "raise":
            self.check(values, out.dtype, out)
        info = np.iinfo(out.dtype)
        below, above = values < info.min, values > info.max
        if values.dtype == object:
            values = (values & (2**64 - 1)).astype(np.uint64)
        out[...] = values.astype(out.dtype)  # modulo a power of 2
        if self.overflow == "saturate":
            out[below], out[above] = info.min, info.max

    def _index(self, out: np.ndarray, index: tuple[Any, ...]) -> tuple[int, ...]:
        """The index in the result of an element of a view, computed from its address."""
        start, view = (array.__array_interface__["data"][0] for array in (self.result, out))
        distance = view - start + sum(int(i) * step for i, step in zip(index, out.strides, strict=True))
        return tuple(map(int, np.unravel_index(distance // out.itemsize, self.result.shape)))


def correlate(c: Correlation, target: Any, fit: Fit) -> None:
    """Fill `c.out` with the exact sums."""
    info = np.iinfo(c.out.dtype)
    if c.bias is not None and not c.w.shape[2] and fit.overflow == "raise":
        _check_bias(c.bias, c.out.dtype)
    largest = bound(c, most=min(info.max, EXACT[INT64]))
    arrays = (c.x, c.w, c.bias)
    unsigned = all(array is None or array.dtype.kind == "u" for array in arrays) and not c.zero_point
    fits = largest <= info.max and (unsigned or info.min < 0)
    accumulator = _accumulator(largest)
    if accumulator is not None and fits and c.out.dtype in DELIVERED:
        target.run(c._replace(accumulator=accumulator))
        return
    if fit.overflow == "wrap" and accumulator is None:
        _modulo(c, target)
        return
    for _, piece, values in sums(c, largest, INT64, target):
        fit.store(values, piece.out)


def _check_bias(bias: np.ndarray, dtype: np.dtype) -> None:
    """Refuse a bias that is an output by itself and does not fit, wherever in `out` it is: some may be overwritten."""
    info = np.iinfo(dtype)
    for value in bias.reshape(-1).tolist():
        if not info.min <= value <= info.max:
            raise OverflowError(
                f"output where no tap meets an element is the bias, {value}: does not fit into {dtype} "
                f"({info.min} to {info.max})"
            )


def sums(c: Correlation, largest: int, dtype: np.dtype, target: Any) -> Iterator[tuple[Index, Correlation, np.ndarray]]:
    """The exact sums of a correlation, piece by piece: the index in `c.out`, the piece, and its sums.

    Sums, of magnitudes up to `largest`, are of `dtype`, one of `DELIVERED`, if that holds them, else int64, else
    Python's integers.
    """
    wide = next((wider for wider in (dtype, INT64) if largest <= np.iinfo(wider).max), np.dtype(object))
    for index, piece in pieces(c, MOST_OBJECTS if wide.kind == "O" else MOST_ELEMENTS):
        values = np.empty(piece.out.shape, wide)
        exact(piece._replace(out=values), largest, target)
        yield index, piece, values


def _modulo(c: Correlation, target: Any) -> None:
    """Fill `c.out` with the sums modulo a power of 2, which is what sums in int64 are, whatever their order."""
    for _, piece in pieces(c, MOST_ELEMENTS):
        values = np.empty(piece.out.shape, INT64)
        target.run(piece._replace(out=values, accumulator=INT64))
        piece.out[...] = values.astype(c.out.dtype)


def exact(c: Correlation, largest: int, target: Any) -> None:
    """Fill `c.out`, of a dtype in `DELIVERED` or Python's integers, with sums of magnitudes up to `largest`."""
    accumulator = _accumulator(largest)
    if accumulator is None:
        c.out[...] = _by_limbs(c, target)
    elif c.out.dtype in DELIVERED:
        target.run(c._replace(accumulator=accumulator))
    else:
        values = np.empty(c.out.shape, INT64)
        target.run(c._replace(accumulator=accumulator, out=values))
        c.out[...] = values


def bound(c: Correlation, most: int) -> int:
    """A bound on the magnitudes of all partial sums of all outputs: by dtypes; if above `most`, by the numbers."""
    terms = math.prod(c.w.shape[2:])
    arrays = [c.x, c.w] if c.bias is None else [c.x, c.w, c.bias]
    for ranges in ([np.iinfo(array.dtype) for array in arrays], map(_Range, arrays)):
        x, w, *bias = ranges
        largest_x = max(abs(x.min - c.zero_point), abs(x.max - c.zero_point))
        largest_w, *largest_bias = (max(abs(numbers.min), abs(numbers.max)) for numbers in (w, *bias))
        largest = int(terms * largest_x * largest_w + sum(largest_bias))
        if largest <= most:
            break
    return largest


class _Range:
    """Smallest and largest number of an array, as Python's integers."""

    def __init__(self, array: np.ndarray) -> None:
        self.min, self.max = (int(array.min()), int(array.max())) if array.size else (0, 0)


def _accumulator(largest: int) -> np.dtype | None:
    """The fastest accumulator in which sums of magnitudes up to `largest` are exact, if there is one."""
    return next((accumulator for accumulator, limit in EXACT.items() if largest <= limit), None)


def _by_limbs(c: Correlation, target: Any) -> np.ndarray:
    """The sum over limbs i, j of 2**(bits * (i + j)) * conv(x_i, w_j), added up as Python's integers."""
    total = np.zeros(c.out.shape, object)
    values = np.empty(c.out.shape, INT64)
    for part in addends(c, MOST_INPUTS):
        # terms * (2**bits)**2 must stay below 2**63.
        bits = (62 - math.prod(part.w.shape[2:]).bit_length()) // 2
        weights = list(_limbs(part.w, bits))
        for i, x in enumerate(_limbs(part.x, bits)):
            for j, w in enumerate(weights):
                target.run(part._replace(x=x, w=w, out=values, accumulator=INT64))
                total += values.astype(object) << bits * (i + j)
    if c.bias is not None:
        total += c.bias.astype(object)[(..., *[None] * (total.ndim - 3))]
    return total


def _limbs(array: np.ndarray, bits: int) -> Iterator[np.ndarray]:
    """Arrays a_i with array = sum of a_i * 2**(bits * i) and |a_i| <= 2**bits; the last one carries the sign."""
    wide = array if array.dtype == np.uint64 else array.astype(INT64)
    number = wide.dtype.type
    shifts = range(0, 64, bits)
    for shift in shifts:
        limb = wide >> number(shift)
        if shift != shifts[-1]:
            limb &= number(2**bits - 1)
        yield limb.astype(INT64, copy=False)
