"""Convolutions in arithmetic that no library here has: narrow accumulators, split operands, large tiles.

Each takes a Case and returns an array. No test, no judgement.
"""

from functools import partial

import numpy as np
from kernels.implementations import bfloat16, by_tiles, fft, lowered, narrowed, with_operands
from kernels.implementations import flushing as flushing_float32
from scipy import fft as scipy_fft

from refconv.core.formats import rounded
from refconv.judge.bounds.rounding import smallest_normal
from refconv.judge.bounds.winograd import transforms


@np.errstate(all="ignore")
def in_accumulator(case, dtype, *, backwards=False):
    """Every product and every sum rounded to a narrow format, the bias first or, backwards, last."""
    low = lowered(case)
    terms = low.filters[:, :, None].astype(float) * low.columns[:, None]
    if low.bias is not None:
        terms = np.concatenate([np.broadcast_to(low.bias[..., None], (*terms.shape[:3], 1)), terms], axis=-1)
    total = np.zeros(terms.shape[:-1])
    for term in np.moveaxis(rounded(terms, dtype).astype(float), -1, 0)[:: -1 if backwards else 1]:
        total = rounded(total + term, dtype).astype(float)
    return rounded(low.image(total), case.input.dtype)


@np.errstate(all="ignore")
def split_in_two(case):
    """x1 w1 + x1 w2 + x2 w1 of operands split into two bfloat16, in float32, one after the other; small ones first."""
    low = lowered(case)
    (x1, x2), (w1, w2) = (_split(each) for each in (low.columns, low.filters))
    pairs = (x2, w1), (x1, w2), (x1, w1)
    terms = np.concatenate([w[:, :, None] * x[:, None] for x, w in pairs], axis=-1)
    return low.image(low.added(terms.cumsum(axis=-1, dtype="float32")[..., -1]))


def _split(values):
    first = bfloat16(values)
    return first, bfloat16(values - first)


def winograd(case, m, r, *, factors=None, shift=0):
    """F(m x m, r x r) by refconv's own matrices; `factors`, one for each point, go from B to G."""
    factors = np.ones((m + r - 1, 1)) if factors is None else np.array(factors, float)[:, None]
    inverse, taps, data = (np.array(each, float) for each in transforms(m, r))
    return narrowed(partial(by_tiles, matrices=(data / factors, taps * factors, inverse), shift=shift))(case)


def fft_of_any_size(case):
    """By transforms of the sizes that SciPy likes, of small primes."""
    return narrowed(partial(fft, transforms=scipy_fft, length=_length_of_small_primes))(case)


def _length_of_small_primes(elements, _taps):
    return scipy_fft.next_fast_len(elements, real=True)


@np.errstate(all="ignore")
def flushing(case):
    """Subnormal operands, products, sums and outputs become zero, subnormal as their formats have it."""
    dtype = case.input.dtype
    found = narrowed(flushing_float32)(with_operands(_flushed, case))
    return _flushed(found).astype(dtype)


def _flushed(values):
    return np.where(np.abs(values) < values.dtype.type(smallest_normal(values.dtype)), values.dtype.type(0), values)
