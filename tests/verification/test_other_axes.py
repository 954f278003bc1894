"""Kernels of one axis and three, and of gradients of transposed convolutions: wrong ones are told apart by axis."""

import numpy as np
import pytest
from campaigns import verify

import refconv

pytestmark = pytest.mark.usefixtures("generated_only")


def test_the_case_of_one_axis_ends_well():
    x, w = np.ones((1, 3, 9), "float32"), np.ones((2, 3, 3), "float32")
    case = refconv.Case(op="conv1d", input=x, weight=w)
    assert case.check(refconv.conv1d(x, w)).verdict == "identical"
    assert eval(repr(case), {"refconv": refconv, "np": np}).is_expected(case.expected())  # noqa: S307 - our own code


def exchanged(input, weight, bias, stride, *options):
    """Depth and height taken for each other in the stride."""
    return refconv.conv3d(input, weight, bias, (stride[1], stride[0], stride[2]), *options)


def without_last_plane(*arguments):
    result = refconv.conv3d(*arguments)
    result[:, :, result.shape[2] // 2 * 2 :] = 0
    return result


def undilated(input, weight, bias, stride, padding, _dilation, groups):
    return refconv.conv1d(input, weight, bias, stride, padding, 1, groups)


def ignoring_output_padding(input_size, weight, grad_output, stride, padding, _output_padding, *rest):
    return refconv.conv_transpose1d_input(input_size, weight, grad_output, stride, padding, 0, *rest)


@pytest.mark.parametrize(
    ("kernel", "op", "told"),
    [
        (exchanged, "conv3d", "stride of depth and height swapped"),
        (without_last_plane, "conv3d", "last plane"),
        (undilated, "conv1d", "dilation ignored"),
    ],
)
def test_wrong_kernels_are_told_by_axis(kernel, op, told):
    report = verify(kernel, op, cases=150)
    assert not report.faults
    assert any(told in str(failure.diagnosis) for failure in report.failures), report.failures


def test_what_an_oracle_refuses_is_no_pass():
    """A gradient that ignores the output padding gets another shape than it is told: it raises."""
    report = verify(ignoring_output_padding, "conv_transpose1d_input", cases=60)
    assert {failure.property for failure in report.failures} == {"returns"}


@pytest.mark.parametrize(
    ("op", "supports", "named"),
    [
        ("conv2d", {"depth": 3}, "depth"),
        ("conv1d", {"height": 3}, "height"),
        ("conv1d", {"stride_h": 1}, "stride_h"),
        ("conv2d", {"kernel_d": 1}, "kernel_d"),
        ("conv1d", {"layout": "NHWC"}, "'NCL', 'NLC'"),
        ("conv3d", {"weight_layout": "HWIO"}, "OIDHW"),
    ],
)
def test_claims_of_axes_that_there_are_not_are_refused(op, supports, named):
    with pytest.raises(ValueError, match=named):
        verify(getattr(refconv, op), op, supports=supports)


@pytest.mark.parametrize(
    ("op", "supports", "holds"),
    [
        (
            "conv3d",
            {"stride_d": 2, "kernel_h": 3, "depth": 8},
            lambda g: (g.stride[0], g.kernel[1], g.size[0]) == (2, 3, 8),
        ),
        (
            "conv1d",
            {"width": {"multiple_of": 16}, "kernel": [1, 3]},
            lambda g: g.size[0] % 16 == 0 and g.kernel[0] in (1, 3),
        ),
    ],
)
def test_claims_hold_of_each_call(op, supports, holds):
    geometries = []

    def kernel(*arguments):
        case = refconv.Case(op=op, **dict(zip(("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
                                              arguments, strict=True)))  # fmt: skip
        geometries.append(case.geometry)
        return getattr(refconv, op)(*arguments)

    assert verify(kernel, op, cases=40, isolate=False, supports=supports).ok
    assert geometries
    assert all(map(holds, geometries))
