"""What is said of a fault that is in no corpus must be true: of the case that is shown, and of those around it."""

import numpy as np
import pytest

import refconv
from refconv.cases.fitting import fitted
from refconv.cases.values import Values
from refconv.cases.variations import variations


def rectified(*arguments):
    return np.maximum(refconv.conv2d(*arguments), 0)


def flushing(size, weight, grad_output, *options):
    flushed = [np.where(abs(a.astype("float32")) < 2.0**-14, a.dtype.type(0), a) for a in (weight, grad_output)]
    return refconv.conv2d_input(size, *flushed, *options)


def through_half(x, *others):
    with np.errstate(all="ignore"):
        return refconv.conv2d(x.astype("float16").astype(x.dtype), *others)


def flat_pointwise(x, w, b, stride, padding, dilation, groups):
    """1x1 kernels take the image for (C, P * Q), whatever the stride."""
    if w.shape[2:] == (1, 1) and tuple(padding) == (0, 0) and x.size:
        P, Q = ((n - 1) // s + 1 for n, s in zip(x.shape[2:], stride, strict=True))
        N, C = x.shape[:2]
        x, stride = np.ascontiguousarray(x).reshape(N, -1)[:, : C * P * Q].reshape(N, C, P, Q), (1, 1)
    return refconv.conv2d(x, w, b, stride, padding, dilation, groups)


def bias_by_pixel(x, w, b, stride, padding, dilation, groups):
    """Small dense 1x1 layers take the bias by the pixel: wrong for a group alone, which is a wrong value."""
    y = refconv.conv2d(x, w, b, stride, padding, dilation, groups)
    if b is not None and y.size and groups == 1 and w.shape[2:] == (1, 1) and len(w) < 8:
        bare = refconv.conv2d(x, w, None, stride, padding, dilation, groups)
        flat = bare.reshape(*bare.shape[:2], -1)
        y = (flat + b[np.arange(flat.shape[2]) % len(b)]).reshape(bare.shape)
    return y


@pytest.mark.parametrize(
    ("kernel", "op", "dtype", "said"),
    [
        (rectified, "conv2d", "float32", "relu, which nobody asked for"),
        (flushing, "conv2d_input", "float16", "subnormal numbers of both operands taken for zeros"),
        (through_half, "conv2d", "float32", "the first operand rounded to float16"),
    ],
)
def test_mistakes_of_arithmetic_are_named(kernel, op, dtype, said):
    failure = refconv.verify(kernel, op, dtypes=(dtype,), cases=100, isolate=False).failures[0]
    assert said in str(failure.diagnosis)


def test_conditions_hold_of_the_case_that_is_shown():
    report = refconv.verify(flat_pointwise, cases=250, isolate=False)
    (failure,) = (failure for failure in report.failures if failure.section == "generated cases")
    for axis, direction in enumerate(("height", "width")):
        if f"stride > 1 ({direction})" in failure.diagnosis.conditions:
            assert failure.case.stride[axis] > 1


def test_a_part_that_is_wrong_by_itself_is_a_failure_of_values():
    report = refconv.verify(bias_by_pixel, cases=400)
    assert not report.ok
    assert "values" in {failure.property for failure in report.failures}
    assert not any("a single call is right" in str(failure) for failure in report.failures)


def test_variations_change_little_and_are_valid():
    recipe = fitted("conv2d", Values(batch=2, groups=2, rows=3, columns=2, height=6, width=7, stride_h=2, top=1))
    tried = list(variations(recipe))
    assert len(tried) == len(set(tried)) > 50
    assert recipe not in tried
    for variation in tried:
        assert variation.op == recipe.op
        assert variation.dtype == recipe.dtype
        assert variation.case().check(variation.case().expected()).ok
