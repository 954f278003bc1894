"""Kernels and functions of a case that say how they compute, for processes that must load them. No test."""

import refconv
from refconv.core.formats import rounded


def operands_in_bfloat16(input, weight, bias, stride, padding, dilation, groups):
    """bfloat16 operands where the kernel is 3x3, else a direct sum."""
    if weight.shape[2:] == (3, 3):
        input, weight = (rounded(rounded(array, "bfloat16"), array.dtype) for array in (input, weight))
    return refconv.conv2d(input, weight, bias, stride, padding, dilation, groups)


def by_kernel(case):
    """What that kernel says of itself."""
    return "direct:float32,bfloat16" if case.geometry.kernel == (3, 3) else "direct"


def direct_everywhere(case):
    return refconv.ErrorModel.direct() if case.geometry else None


def raises_for_groups(case):
    if case.geometry.groups > 1:
        raise LookupError("no such groups")
