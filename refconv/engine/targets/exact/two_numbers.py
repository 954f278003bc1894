"""Sums of two numbers: how they start, and how far they may be off.

A sum s of products is held as high + low, where high starts from 1.5 * 2**m, so large that it stays between 2**m and
2**(m+1). So high is always a multiple of 2**(m-52), and what a product adds to it is exact; what it is too coarse for,
at most 2**(m-53) in magnitude, goes to low. After each block, low hands over to high what has become large enough. At
any time s = (high - 1.5 * 2**m) + low, but for the roundings of low and of what is added to it, numbers some 2**-53
times as large as high (as in Rump, Ogita and Oishi, "Accurate floating-point summation part I", SIAM J. Sci. Comput. 31
(2008), where it is called the extraction of a vector).

With u = 2**-53, a unit being u * 2**(m-53) = 2**(m-106): what is added to low is rounded once, wrong by 1 unit at most;
and low, of at most j + 1 times 2**(m-53) after j terms of a block, is rounded by at most j + 1 units. That makes
L * (L + 5) / 2 for a block of L terms; `slack` is more, for the roundings of whoever uses it. Nothing is rounded at all
where every product is a multiple of a number so large that low holds all multiples of it. That is so for all float16,
most integers, and many a tensor of float32.

Knows correlations and NumPy; of Numba only how to look at numbers.
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

# Powers that sums may start from: the unit is a normal number, and twice the power is finite.
LEAST, MOST = -900, 1021
AT_A_TIME = 2**16  # elements that are looked at
NO_GRID = 2**20  # of zeros: larger than any


class Survey(NamedTuple):
    """What the finite numbers of an array have in common."""

    largest: float  # magnitude
    grid: int  # all are multiples of this power of two


def start(c: Correlation) -> Correlation | None:
    """The correlation with its sums' starts as its bias, and its slack; None where no power of two is large enough."""
    terms = math.prod(c.w.shape[2:])
    with np.errstate(all="ignore"):  # signalling NaNs, too
        x, w, b = _survey(c.x), _survey(c.w), Survey(0.0, NO_GRID)
        # The largest sum, and room for what rounding makes larger.
        largest = (1 + 2.0**-40) * terms * (x.largest * w.largest)
        bias = np.zeros(c.w.shape[:2])
        if c.bias is not None:
            bias, b = c.bias.astype(np.float64), _survey(c.bias)
        if not largest + b.largest < 2.0 ** (MOST - 2):
            return None
        magnitude = largest + np.where(np.isfinite(bias), abs(bias), 0)
        # The sums of the smallest numbers start from a power that is far too large for them; then they are redone.
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
    found = np.array([0, NO_GRID])
    look, result = survey().ctypes, found.ctypes.data
    for chunk in _chunks(array):
        dense = np.ascontiguousarray(chunk, np.float64)
        look(dense.ctypes.data, dense.size, result)
    return Survey(float(found[:1].view(np.float64)[0]), int(found[1]))


def _chunks(array: np.ndarray) -> Iterable[np.ndarray]:
    """All numbers of an array, some at a time."""
    if array.size <= AT_A_TIME:
        return (array,)
    once = array[tuple(slice(0, 1) if step == 0 else slice(None) for step in array.strides)]
    options: Any = {"flags": ["external_loop", "buffered", "zerosize_ok"], "casting": "unsafe", "order": "K"}
    chunks: Any = np.nditer(once, op_dtypes=[np.float64], buffersize=AT_A_TIME, **options)
    return chunks  # type: ignore[no-any-return]


@cache
def survey() -> Any:
    """A compiled `survey(start, count, found)` of float64: the bits of the largest magnitude, and the grid."""

    # Integers are compared, of which LLVM makes vectors: the order of magnitudes is that of their bits.
    def survey_(start, count, found):
        largest, grid = load(np.int64, found, 0, 8), load(np.int64, found, 1, 8)
        for i in range(count):
            magnitude = load(np.int64, start, i, 8) & 0x7FFFFFFFFFFFFFFF
            stored = magnitude >> 52
            finite = stored != 0x7FF
            largest = max(largest, magnitude if finite else np.int64(0))
            significand = (magnitude & 0xFFFFFFFFFFFFF) | (np.int64(1) << 52 if stored else np.int64(0))
            last = significand & -significand  # its last 1 bit: a power of two
            exponent = (bits_of(np.float64(last)) >> 52) - 1023 + max(stored, np.int64(1)) - 1075
            grid = min(grid, exponent if finite and significand else np.int64(NO_GRID))
        store(np.int64, found, 0, 8, largest)
        store(np.int64, found, 1, 8, grid)

    return cfunction(survey_, 3)
