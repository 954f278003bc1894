"""Convolutions to which subnormal numbers are zero."""

import numpy as np
from kernels.lowered import lowered, narrowed, quiet
from kernels.operands import with_operands

from refconv.judge.bounds.rounding import smallest_normal


@quiet
def flushing(case):
    """Subnormal operands, products and sums become zero, as with -ffast-math or on many accelerators."""
    low = lowered(case)
    columns, filters = flushed(low.columns), flushed(low.filters)
    total = np.zeros((*filters.shape[:2], columns.shape[1]), "float32")
    for term in range(columns.shape[-1]):
        product = flushed(filters[:, :, None, term] * columns[:, None, :, term])
        total = flushed(total + product)
    return low.image(total if low.bias is None else flushed(total + flushed(low.bias)))


def flushed(values):
    """Zero for every number that is subnormal in the format of the values."""
    zero = values.dtype.type(0)
    return np.where(np.abs(values) < values.dtype.type(smallest_normal(values.dtype)), zero, values)


@np.errstate(all="ignore")
def flushing_everything(case):
    """Subnormal operands, products, sums and outputs become zero, subnormal as their formats have it."""
    dtype = case.input.dtype
    out = narrowed(flushing)(with_operands(flushed, case))
    return flushed(out).astype(dtype)
