"""Sums of two numbers: how they start, and how far they may be off.

A sum s of products is held as high + low, where high starts from 1.5 * 2**m, so large that high stays between 2**m and
2**(m+1). So high is always a multiple of 2**(m-52), and the multiple that a product adds to it is exact; the rest of
the product, at most 2**(m-53) in magnitude, goes to low. After each block, low hands over to high what has become large
enough. At any time s = (high - 1.5 * 2**m) + low, but for the roundings of low and of what is added to it, numbers some
2**-53 times as large as high (as in Rump, Ogita and Oishi, "Accurate floating-point summation part I", SIAM J. Sci.
Comput. 31 (2008), where it is called the extraction of a vector).

With u = 2**-53, a unit being u * 2**(m-53) = 2**(m-106): what is added to low is rounded once, wrong by 1 unit at most;
and low, of at most j + 1 times 2**(m-53) after j terms of a block, is rounded by at most j + 1 units. That makes
L * (L + 5) / 2 for a block of L terms; `slack` is more, to cover the roundings of the code that uses it. Nothing is
rounded at all where every product is a multiple of a number so large that low holds all its multiples: so for all
float16, most integers, and many float32 tensors.

Knows correlations and NumPy; of Numba only how to survey numbers; not who adds them up.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

import math
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from refconv.engine.correlation import Correlation
from refconv.engine.nest import BLOCK
from refconv.engine.targets.jit.certify import bits_of
from refconv.engine.targets.jit.cfunctions import cfunction
from refconv.engine.targets.jit.memory import load, store

# Exponents m that sums may start from: then the unit is a normal number, and twice 2**m is finite.
LEAST, MOST = -900, 1021
AT_A_TIME = 2**16  # elements surveyed at a time
NO_GRID = 2**20  # the grid of zeros: larger than any other


class Survey(NamedTuple):
    """What the finite numbers of an array have in common."""

    largest: float  # magnitude
    grid: int  # exponent: all numbers are multiples of 2**grid


def start(c: Correlation) -> Correlation | None:
    """The correlation with the starts of its sums as bias, and with slack; None if no power of two is large enough."""
    terms = math.prod(c.w.shape[2:])
    with np.errstate(all="ignore"):  # signalling NaNs, too
        x, w, b = _survey(c.x), _survey(c.w), Survey(0.0, NO_GRID)
        # A bound on all sums, enlarged to cover the rounding of this product.
        largest = (1 + 2.0**-40) * terms * (x.largest * w.largest)
        bias = np.zeros(c.w.shape[:2])
        if c.bias is not None:
            bias, b = c.bias.astype(np.float64), _survey(c.bias)
        if not largest + b.largest < 2.0 ** (MOST - 2):
            return None
        magnitude = largest + np.where(np.isfinite(bias), abs(bias), 0)
        # Sums of the smallest numbers start from a power that is far too large for them: they are computed anew.
        exponents = np.maximum(np.frexp(magnitude)[1] + 2, LEAST)
        pairs = np.empty((*bias.shape, 2))
        sigma = np.ldexp(1.5, exponents)
        pairs[..., 0] = sigma + bias
        pairs[..., 1] = bias - (pairs[..., 0] - sigma)
    longest = min(terms, BLOCK)
    # Both parts of a sum are multiples of the grid, and low is at most longest + 2 halves of high's last place.
    grid = min(x.grid + w.grid, b.grid)
    is_exact = int(exponents.max(initial=LEAST)) + (longest + 2).bit_length() - 53 <= 53 + grid
    slack = 0 if is_exact else terms * (longest + 6) // 2 + 2
    return c._replace(bias=pairs, slack=slack)


def _survey(array: np.ndarray) -> Survey:
    result = np.array([0, NO_GRID])
    survey_chunk, address = survey().ctypes, result.ctypes.data
    for chunk in _chunks(array):
        dense = np.ascontiguousarray(chunk, np.float64)
        survey_chunk(dense.ctypes.data, dense.size, address)
    return Survey(float(result[:1].view(np.float64)[0]), int(result[1]))


def _chunks(array: np.ndarray) -> Iterable[np.ndarray]:
    """All numbers of an array, at most AT_A_TIME at a time."""
    if array.size <= AT_A_TIME:
        return (array,)
    once = array[tuple(slice(0, 1) if step == 0 else slice(None) for step in array.strides)]
    options: Any = {"flags": ["external_loop", "buffered", "zerosize_ok"], "casting": "unsafe", "order": "K"}
    chunks: Any = np.nditer(once, op_dtypes=[np.float64], buffersize=AT_A_TIME, **options)
    return chunks  # type: ignore[no-any-return]


@cache
def survey() -> Any:
    """A compiled `survey(start, count, result)` of float64: updates the bits of the largest magnitude, and the grid."""

    # Magnitudes are compared by their bits, as integers, of which LLVM makes vectors.
    def survey_(start, count, result):
        largest, grid = load(np.int64, result, 0, 8), load(np.int64, result, 1, 8)
        for i in range(count):
            magnitude = load(np.int64, start, i, 8) & 0x7FFFFFFFFFFFFFFF
            stored = magnitude >> 52
            finite = stored != 0x7FF
            largest = max(largest, magnitude if finite else np.int64(0))
            significand = (magnitude & 0xFFFFFFFFFFFFF) | (np.int64(1) << 52 if stored else np.int64(0))
            last = significand & -significand  # its last 1 bit: a power of two
            exponent = (bits_of(np.float64(last)) >> 52) - 1023 + max(stored, np.int64(1)) - 1075
            grid = min(grid, exponent if finite and significand else np.int64(NO_GRID))
        store(np.int64, result, 0, 8, largest)
        store(np.int64, result, 1, 8, grid)

    return cfunction(survey_, 3)
