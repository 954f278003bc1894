"""Convolutions that cut numbers off, round results or one operand alone, or flush one of them to zero."""

from dataclasses import replace

import numpy as np
from kernels.lowered import lowered, quiet
from kernels.sums import im2col

from refconv.core.formats import rounded


@quiet
def cut(values, dtype):
    """Numbers in a floating format, cut off toward zero."""
    nearest = rounded(values, dtype)
    bits = nearest.view(f"i{nearest.itemsize}")
    bits -= np.abs(nearest.astype(float)) > np.abs(values.astype(float))  # past infinity to the largest number
    return nearest


def stored(to, dtype, run=im2col):
    """A convolution whose results become numbers of a narrower format, by `rounded` or `cut`."""
    return quiet(lambda case: rounded(to(run(case), dtype), case.input.dtype))


def of_one(name, change, run=im2col):
    """A convolution after a change of one operand alone."""

    @quiet
    def changed(case):
        array = getattr(case, name)
        return run(replace(case, **{name: change(array).astype(array.dtype)}))

    return changed


def in_format(dtype):
    """A change of an operand: its numbers rounded to a format, and back."""
    return lambda array: rounded(rounded(array, dtype), array.dtype)


@quiet
def chopping(case, dtype):
    """Every product and every sum is cut off to a format, toward zero; the bias comes last."""
    low = lowered(case)
    total = np.zeros((*low.filters.shape[:2], low.columns.shape[1]))
    for term in range(low.columns.shape[-1]):
        product = cut(low.filters[:, :, None, term].astype(float) * low.columns[:, None, :, term], dtype)
        total = cut(total + product.astype(float), dtype).astype(float)
    total = total if low.bias is None else cut(total + cut(low.bias, dtype).astype(float), dtype).astype(float)
    return low.image(rounded(total, case.input.dtype))
