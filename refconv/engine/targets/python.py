"""Target "python": the nest run as it stands, without a compiler, with arithmetic beyond doubt. Slow.

A fused multiply-add is an exact rational sum rounded once, and exact sums are rational. Knows formats, layouts and the
nest; not Numba.
"""

import functools
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from refconv.core.formats import EXACT, INT64, added, number, round_fraction, round_fractions, rounded
from refconv.core.padding import pad
from refconv.engine import recomputed
from refconv.engine.correlation import Correlation
from refconv.engine.flat_layout import Layout, layout
from refconv.engine.nest import correlate


def fma(x: Any, w: Any, total: Any) -> Any:
    """x * w + total, rounded once; the operands are of one type, which is that of the result.

    >>> fma(np.float32(1 + 2**-23), np.float32(1 - 2**-23), np.float32(-1))  # unfused: 0
    np.float32(-1.4210855e-14)
    """
    if x.dtype == INT64:
        return _modulo(int(x) * int(w) + int(total))
    with np.errstate(all="ignore"):
        plain = x * w + total
    if not np.isfinite([x, w]).all():
        return plain
    if not np.isfinite(total):
        return total  # not plain: a finite product may overflow there
    exact = Fraction(float(x)) * Fraction(float(w)) + Fraction(float(total))
    return round_fraction(exact, x.dtype) if exact else plain  # a sum of zeros: the signs are IEEE's


def _modulo(number: int) -> np.int64:
    """The number modulo 2**64, as an int64."""
    return np.int64((number + 2**63) % 2**64 - 2**63)


class Scalar:
    """A tile of one output: its sums are NumPy scalars of the accumulator's type."""

    channels = positions = 1

    def __init__(self, accumulator: np.dtype) -> None:
        self.type: Any = accumulator.type

    def bias(self, bias: np.ndarray, k: int) -> Any:
        return bias[k, 0]

    def start(self, _total: Any) -> Any:
        return self.type(0)

    def fma(self, block: Any, x: np.ndarray, x_at: int, w: np.ndarray, w_at: int, terms: int) -> Any:
        return fma(x[x_at], w[w_at], block)

    def add(self, total: Any, block: Any) -> Any:
        if isinstance(total, np.int64):
            return _modulo(int(total) + int(block))
        with np.errstate(all="ignore"):
            return total + block

    def load(self, sums: np.ndarray, part: int, k: int, i: int) -> Any:
        return sums[part, k, i]

    def store(self, total: Any, sums: np.ndarray, part: int, k: int, i: int) -> None:
        sums[part, k, i] = total


class Rational(Scalar):
    """A tile of one output whose sum is not rounded: a `Fraction`, or a float where it is NaN or infinity."""

    def bias(self, bias: np.ndarray, k: int) -> Any:
        return _rational(bias[k, 0])

    def start(self, _total: Any) -> Any:
        return Fraction(0)

    def fma(self, block: Any, x: np.ndarray, x_at: int, w: np.ndarray, w_at: int, terms: int) -> Any:
        left, right = _rational(x[x_at]), _rational(w[w_at])
        if isinstance(left, float) or isinstance(right, float):
            return added(block, float(x[x_at]) * float(w[w_at]))
        return added(block, left * right)

    def add(self, total: Any, block: Any) -> Any:
        return added(total, block)


def _rational(value: Any) -> Any:
    return Fraction(float(value)) if np.isfinite(value) else float(value)


def run(correlation: Correlation) -> None:
    """Fill `correlation.out` by running the nest in this process, one output after the other."""
    for n, g, values in _sums(correlation):
        _deliver(values, correlation.out[n, g])
    if correlation.accumulator is EXACT:
        recomputed.report(correlation.out.size, 0)


def sums(correlation: Correlation, index: tuple[np.ndarray, ...]) -> np.ndarray:
    """The exact sums of some outputs, of these indices, as `Fraction`s, or floats where they are NaN or infinity."""
    c = correlation._replace(accumulator=EXACT)
    exact_sums = np.empty(c.out.shape, object)
    for n, g, values in _sums(c):
        exact_sums[n, g] = values
    chosen: np.ndarray = exact_sums[index]
    return chosen


def _sums(c: Correlation) -> Iterator[tuple[int, int, np.ndarray]]:
    """The sums of each image and group."""
    output = c.out.shape[3:]
    flat = layout(c.w.shape[3:], c.stride, c.dilation, output)
    is_exact, type_ = c.accumulator is EXACT, number(c.accumulator)
    tile = Rational(type_) if is_exact else Scalar(type_)
    with np.errstate(all="ignore"):  # a signalling NaN
        padded = pad(_shifted(c.x, c.zero_point).astype(type_), c.padding, c.padding_mode)
        weights = np.ascontiguousarray(c.w, type_).reshape(*c.w.shape[:2], -1)
        bias = np.zeros(c.w.shape[:2], type_) if c.bias is None else c.bias.astype(type_)
    offsets = flat.offsets(c.w.shape[2])
    positions = flat.positions(output)
    sums = np.empty((2, c.w.shape[1], positions), object if is_exact else type_)
    # Where each output lies on the flat axis; no sum is computed between the rows.
    grid = np.ix_(*(np.arange(0, n * step, step) for n, step in zip(output, flat.steps, strict=True)))
    places: np.ndarray = functools.reduce(np.add, grid)
    for n, g in np.ndindex(c.x.shape[:2]):
        x = _flattened(padded[n, g], flat, c.stride)
        for first in places[..., 0].flat:
            row = sums[:, :, first:]
            correlate(tile, x[first:], offsets, weights[g].reshape(-1), bias[g][:, None], row, output[-1], (0, True))
        yield n, g, sums[0][:, places]


def _shifted(x: np.ndarray, zero_point: int) -> np.ndarray:
    return x.astype(np.int64) - zero_point if zero_point else x


def _flattened(padded: np.ndarray, flat: Layout, stride: tuple[int, ...]) -> np.ndarray:
    """The padded input of a group in the order of its layout; elements that no output needs hold any number."""
    indices = [
        np.clip(np.add.outer(starts, np.arange(length) * step), 0, size - 1).reshape(-1)
        for starts, length, step, size in zip(flat.starts, flat.lengths, stride, padded.shape[1:], strict=True)
    ]
    parts = padded[np.ix_(np.arange(len(padded)), *indices)]
    axes = [n for starts, length in zip(flat.starts, flat.lengths, strict=True) for n in (len(starts), length)]
    *others, last = range(1, len(axes), 2)
    order = (0, last, *others, *(axis + 1 for axis in (*others, last)))
    flattened: np.ndarray = parts.reshape(len(padded), *axes).transpose(order).reshape(-1)
    return flattened


def _deliver(sums: np.ndarray, out: np.ndarray) -> None:
    """Round to the type of `out`, once; a NaN is stored as the positive quiet one."""
    if sums.dtype == object:
        out[...] = round_fractions(sums, out.dtype)
        return
    with np.errstate(all="ignore"):
        out[...] = sums if sums.dtype == INT64 else rounded(sums, out.dtype)
