"""Convolutions that add in another order, or in a narrower accumulator."""

import numpy as np
from kernels.lowered import lowered, quiet

from refconv.core.formats import rounded


@quiet
def im2col(case):
    """A matrix product by NumPy's BLAS."""
    low = lowered(case)
    return low.image(low.added(low.filters @ low.columns.swapaxes(1, 2)))


@quiet
def sequential(case):
    """One addition after the other, without FMA, from the bias on."""
    low = lowered(case)
    terms = low.products()
    if low.bias is not None:
        terms = np.concatenate([np.broadcast_to(low.bias[..., None], (*terms.shape[:3], 1)), terms], axis=-1)
    return low.image(running(terms))


def running(terms):
    """The sum of the last axis, one addition after the other."""
    return terms.cumsum(axis=-1, dtype=terms.dtype)[..., -1]


def _pairwise(terms):
    while terms.shape[-1] > 1:
        half = terms.shape[-1] // 2
        pairs = terms[..., :half] + terms[..., half : 2 * half]
        terms = np.concatenate([pairs, terms[..., 2 * half :]], axis=-1)
    return terms[..., 0]


def _split(terms, parts=8):
    """As threads share a sum: stretches of it, then the sum of these."""
    stretches = np.array_split(terms, min(parts, terms.shape[-1]), axis=-1)
    return running(np.stack([running(stretch) for stretch in stretches], axis=-1))


@quiet
def skipping(case):
    """Taps that fall on the padding are left out, not multiplied by zero."""
    low = lowered(case)
    terms = np.where(low.inside()[:, None], low.products(), np.float32(0))
    return low.image(low.added(running(terms)))


def inner_taps(case):
    """The same in the dtype of the case, of any number, one scalar after the other: from the bias on."""
    g = case.geometry
    out = np.zeros(case.expected().shape, case.expected().dtype)
    with np.errstate(all="ignore"):
        for index in np.ndindex(out.shape):
            n, k, p, q = index
            total = out.dtype.type(0 if case.bias is None else case.bias[k])
            first = k // (g.out_channels // g.groups) * case.weight.shape[1]
            for c, r, s in np.ndindex(case.weight.shape[1:]):
                row, column = (
                    place * step - before + tap * d
                    for place, step, (before, _), tap, d in zip(
                        (p, q), g.stride, g.padding, (r, s), g.dilation, strict=True
                    )
                )
                if 0 <= row < g.size[0] and 0 <= column < g.size[1]:
                    total += case.input[n, first + c, row, column] * case.weight[k, c, r, s]
            out[index] = total
    return out


@quiet
def bias_after_rounding(case):
    """The sum is rounded to the output format, and once more after the bias is added."""
    low = lowered(case)
    sums = rounded(running(low.products()), case.input.dtype).astype("float32")
    return rounded(low.image(low.added(sums)), case.input.dtype)


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
