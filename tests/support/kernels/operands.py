"""Convolutions of rounded operands: TF32, bfloat16, and sums of two bfloat16."""

from dataclasses import replace

import numpy as np
from kernels.lowered import lowered, quiet
from kernels.sums import im2col

from refconv.core.formats import part, parts, rounded


def with_operands(change, case):
    """The case with other numbers in input and weight."""
    with np.errstate(all="ignore"):
        x, w = (change(parts(array)).astype(part(array.dtype)).view(array.dtype) for array in (case.input, case.weight))
        return replace(case, input=x, weight=w)


def of_operands(change, run=im2col):
    """A convolution after a change of the operands."""
    return lambda case: run(with_operands(change, case))


def tf32(values, *, truncate=False):
    """float32 numbers of 11 significant bits: to nearest, ties to even, or toward zero."""
    bits = values.astype("float32").view(np.uint32)
    if not truncate:
        bits = np.where(np.isfinite(values), bits + 0xFFF + ((bits >> 13) & 1), bits)
    return np.where(np.isnan(values), values, (bits & np.uint32(0xFFFFE000)).view(np.float32))


def bfloat16(values):
    return rounded(rounded(values, "bfloat16"), "float32")


@quiet
def bf16x3(case):
    """Operands as sums of two bfloat16; three matrix products of the four.

    The rest of an infinity is NaN: such corrections are left out, as XLA does.
    """
    low = lowered(case)
    x, w = low.columns.swapaxes(1, 2), low.filters
    first, second = bfloat16(x), bfloat16(w)
    corrections = second @ bfloat16(x - first) + bfloat16(w - second) @ first
    return low.image(low.added(second @ first + np.where(np.isnan(corrections), np.float32(0), corrections)))


@np.errstate(all="ignore")
def split_in_two(case):
    """x1 w1 + x1 w2 + x2 w1 of operands split into two bfloat16, in float32, one after the other; small ones first."""
    low = lowered(case)
    (x1, x2), (w1, w2) = (_in_two(values) for values in (low.columns, low.filters))
    pairs = (x2, w1), (x1, w2), (x1, w1)
    terms = np.concatenate([w[:, :, None] * x[:, None] for x, w in pairs], axis=-1)
    return low.image(low.added(terms.cumsum(axis=-1, dtype="float32")[..., -1]))


def _in_two(values):
    first = bfloat16(values)
    return first, bfloat16(values - first)
