"""Target "python": the nest run as it stands, without a compiler, with arithmetic beyond doubt. Slow.

A fused multiply-add is an exact rational sum rounded once. Knows formats, layouts and the nest; not Numba.
"""

import functools
from fractions import Fraction
from typing import Any

import numpy as np

from refconv.correlation import Correlation
from refconv.formats import INT64, round_fraction
from refconv.layout import Layout, layout
from refconv.nest import correlate
from refconv.padding import pad


def fma(x: Any, w: Any, total: Any) -> Any:
    """x * w + total, rounded once; the operands are of one type, which is that of the result.

    >>> fma(np.float32(1 + 2**-23), np.float32(1 - 2**-23), np.float32(-1))  # unfused: 0
    np.float32(-1.4210855e-14)
    """
    if x.dtype == INT64:
        return np.int64(int(x) * int(w) + int(total))  # Python's integers: past 64 bits this raises
    with np.errstate(all="ignore"):
        plain = x * w + total
    if not np.isfinite([x, w]).all():
        return plain
    if not np.isfinite(total):
        return total  # not plain: a finite product may overflow there
    exact = Fraction(float(x)) * Fraction(float(w)) + Fraction(float(total))
    return round_fraction(exact, x.dtype) if exact else plain  # a sum of zeros: the signs are IEEE's


class Scalar:
    """A tile of one output: its sums are NumPy scalars of the accumulator's type."""

    channels = positions = 1

    def __init__(self, accumulator: np.dtype) -> None:
        self.type: Any = accumulator.type

    def zero(self) -> Any:
        return self.type(0)

    def bias(self, bias: np.ndarray, k: int) -> Any:
        return bias[k]

    def fma(self, block: Any, x: np.ndarray, x_at: int, w: np.ndarray, w_at: int, terms: int) -> Any:
        return fma(x[x_at], w[w_at], block)

    def add(self, total: Any, block: Any) -> Any:
        with np.errstate(all="ignore"):
            return total + block

    def store(self, total: Any, sums: np.ndarray, k: int, i: int) -> None:
        sums[k, i] = total


def run(correlation: Correlation) -> None:
    """Fill `correlation.out` by running the nest in this process, one output after the other."""
    c = correlation
    output = c.out.shape[3:]
    flat = layout(c.w.shape[3:], c.stride, c.dilation, output)
    padded = pad(c.x, c.padding, c.padding_mode, c.accumulator)
    weights = np.ascontiguousarray(c.w, c.accumulator).reshape(*c.w.shape[:2], -1)
    bias = np.zeros(c.w.shape[:2], c.accumulator) if c.bias is None else c.bias.astype(c.accumulator)
    offsets = flat.offsets(c.w.shape[2])
    sums = np.empty((c.w.shape[1], flat.positions(output)), c.accumulator)
    # Where each output lies on the flat axis; no sum is computed between the rows.
    grid = np.ix_(*(np.arange(0, n * step, step) for n, step in zip(output, flat.steps, strict=True)))
    places: np.ndarray = functools.reduce(np.add, grid)
    for n, g in np.ndindex(c.x.shape[:2]):
        x = _flattened(padded[n, g], flat, c.stride)
        for first in places[..., 0].flat:
            row = (first, first + output[-1])
            correlate(Scalar(c.accumulator), x, offsets, weights[g].reshape(-1), bias[g], sums, row, len(sums))
        _deliver(sums[:, places], c.out[n, g])


def _flattened(padded: np.ndarray, flat: Layout, stride: tuple[int, ...]) -> np.ndarray:
    """The padded input of a group as its layout has it; what no output needs is anything."""
    indices = [
        np.minimum(np.add.outer(starts, np.arange(length) * step), size - 1).reshape(-1)
        for starts, length, step, size in zip(flat.starts, flat.lengths, stride, padded.shape[1:], strict=True)
    ]
    parts = padded[np.ix_(range(len(padded)), *indices)]
    axes = [n for starts, length in zip(flat.starts, flat.lengths, strict=True) for n in (len(starts), length)]
    *others, last = range(1, len(axes), 2)
    order = (0, last, *others, *(axis + 1 for axis in (*others, last)))
    return parts.reshape(len(padded), *axes).transpose(order).reshape(-1)


def _deliver(sums: np.ndarray, out: np.ndarray) -> None:
    """Round to the type of `out`, once; a NaN is stored as the positive quiet one."""
    with np.errstate(all="ignore"):
        out[...] = np.where(sums == sums, sums, sums.dtype.type(0) if sums.dtype == INT64 else np.nan)
