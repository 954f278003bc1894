"""Convolutions as tensor cores compute them: blocks of products, aligned and truncated."""

import numpy as np
from kernels.lowered import lowered, quiet

from refconv.core.formats import rounded


@quiet
def tensor_core(case, block, fraction_bits):
    """Blocks of exact products and the sum so far, aligned to the largest exponent, truncated, added, truncated.

    Fasi, Higham, Mikaitis and Pranesh, "Numerical behavior of NVIDIA tensor cores", PeerJ Computer Science 7:e330
    (2021), section 3. Of operands whose products float64 holds.
    """
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
