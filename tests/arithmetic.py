"""Convolutions in arithmetic that no library here has: narrow accumulators, split operands, tensor cores, large tiles.

Each takes a Case and returns an array. No test, no judgement.
"""

import numpy as np
from implementations import bfloat16, lowered, narrowed, with_operands
from implementations import flushing as flushing_float32
from scipy import fft as scipy_fft

from refconv.bounds.rounding import smallest_normal
from refconv.bounds.winograd import transforms
from refconv.formats import rounded


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


@np.errstate(all="ignore")
def tensor_core(case, block, fraction_bits):
    """Blocks of exact products and the sum so far, aligned to the largest exponent, truncated, added, truncated."""
    low = lowered(case)
    x, w = low.columns.astype(float)[:, None], low.filters.astype(float)[:, :, None]
    products, exponents = x * w, _exponent(x) + _exponent(w)  # of products not normalised
    total = np.zeros(products.shape[:-1])
    for first in range(0, products.shape[-1], block):
        some = slice(first, first + block)
        addends = np.concatenate([products[..., some], total[..., None]], axis=-1)
        largest = np.concatenate([exponents[..., some], _exponent(total)[..., None]], axis=-1).max(axis=-1)
        quantum = np.ldexp(1.0, np.maximum(largest - fraction_bits, -1000))
        total = _truncated((np.trunc(addends / quantum[..., None]) * quantum[..., None]).sum(axis=-1))
    total = total if low.bias is None else (total + low.bias).astype("float32")
    return rounded(low.image(total), case.input.dtype)


def _exponent(values):
    """Of the leading bit; very small for 0."""
    return np.where(values == 0, -5000, np.frexp(values)[1] - 1)


def _truncated(values):
    """float64 numbers as float32 has them, cut off toward zero, subnormal ones too."""
    quantum = np.ldexp(1.0, np.maximum(np.frexp(values)[1] - 24, -149))
    return np.trunc(values / quantum) * quantum


@np.errstate(all="ignore")
def winograd(case, m, r, *, factors=None, shift=0):
    """F(m x m, r x r) in float32.

    `factors`, one for each point, go from B to G; tiles begin `shift` rows and columns before the output.
    """
    g, low = case.geometry, lowered(case)
    t = m + r - 1
    factors = np.ones(t) if factors is None else np.array(factors, float)
    inverse, taps, data = (np.array(each, float) for each in transforms(m, r))
    taps, data = taps * factors[:, None], data / factors[:, None]
    inverse, taps, data = (each.astype("float32") for each in (inverse, taps, data))
    (P, Q), images = g.output_size, case.input.astype("float32").reshape(g.batch, g.in_channels, *g.size)
    rows, columns = (-(-(size + shift) // m) for size in (P, Q))
    padded = np.pad(images, ((0, 0), (0, 0), *g.padding))
    ends = [
        (shift, tiles * m + r - 1 - shift - size) for tiles, size in zip((rows, columns), g.padded_size, strict=True)
    ]
    padded = np.pad(padded, ((0, 0), (0, 0), *ends))
    tiles = np.lib.stride_tricks.sliding_window_view(padded, (t, t), axis=(2, 3))[:, :, ::m, ::m]
    u = (taps @ case.weight.astype("float32") @ taps.T).reshape(g.groups, -1, g.in_channels // g.groups, t * t)
    v = (data @ tiles @ data.T).reshape(g.batch, g.groups, -1, rows * columns, t * t)
    sums = np.einsum("gkct,ngcyt->ngkyt", u, v).reshape(g.batch, g.out_channels, rows, columns, t, t)
    out = (inverse @ sums @ inverse.T).swapaxes(3, 4).reshape(g.batch, g.out_channels, rows * m, columns * m)
    out = out[:, :, shift : shift + P, shift : shift + Q]
    out = out if case.bias is None else out + case.bias.astype("float32")[:, None, None]
    return rounded(out if low.batched else out[0], case.input.dtype)


@np.errstate(all="ignore")
def fft_of_any_size(case):
    """By float32 Fourier transforms of the sizes that SciPy likes, of small primes."""
    g = case.geometry
    images = case.input.astype("float32").reshape(g.batch, g.groups, -1, *g.size)
    padded = np.pad(images, ((0, 0), (0, 0), (0, 0), *g.padding))
    dilated = np.zeros((*case.weight.shape[:2], *(d * (k - 1) + 1 for d, k in zip(g.dilation, g.kernel, strict=True))))
    dilated[:, :, :: g.dilation[0], :: g.dilation[1]] = case.weight
    size = [scipy_fft.next_fast_len(each, real=True) for each in padded.shape[3:]]
    x = scipy_fft.rfft2(padded, size)[:, :, None]
    w = scipy_fft.rfft2(dilated.astype("float32"), size).conj()
    w = w.reshape(g.groups, -1, *w.shape[1:])
    out = scipy_fft.irfft2((x * w).sum(axis=3), size).reshape(g.batch, g.out_channels, *size)
    out = out[:, :, :: g.stride[0], :: g.stride[1]][:, :, : g.output_size[0], : g.output_size[1]]
    out = out if case.bias is None else out + case.bias.astype("float32")[:, None, None]
    return rounded(out if case.input.ndim == 4 else out[0], case.input.dtype)


@np.errstate(all="ignore")
def flushing(case):
    """Subnormal operands, products, sums and outputs become zero, subnormal as their formats have it."""
    dtype = case.input.dtype
    found = narrowed(flushing_float32)(with_operands(_flushed, case))
    return _flushed(found).astype(dtype)


def _flushed(values):
    return np.where(np.abs(values) < values.dtype.type(smallest_normal(values.dtype)), values.dtype.type(0), values)
