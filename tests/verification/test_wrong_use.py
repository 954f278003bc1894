"""Calls that can't be meant so end the campaign at once; what only some cases raise is a failure of the kernel."""

import time

import pytest
import torch
from campaigns import verify
from typer.testing import CliRunner

import refconv
from refconv.cli.app import app
from refconv.verification.faults import WrongUse


def three(input, weight, bias):
    return refconv.conv2d(input, weight, bias)


def of_seven(input, weight, bias, stride, padding, dilation, groups):
    return refconv.conv2d(input, weight, bias, stride, padding, dilation, groups)


def decorated(*arguments, **keywords):
    return of_seven(*arguments, **keywords)


class Holder:
    """Of torch's function, which nothing says."""

    def method(self, *call):
        return torch.nn.functional.conv2d(*call)


def deep(*call):
    return len(len(call))


def without_bias(input, weight, bias, *options):
    if bias is not None:
        raise TypeError("no bias")
    return refconv.conv2d(input, weight, bias, *options)


def without_strides(input, weight, bias, stride, *options):
    if stride != (1, 1):
        raise TypeError("no strides")
    return refconv.conv2d(input, weight, bias, stride, *options)


@pytest.mark.parametrize(
    ("candidate", "supports", "said"),
    [
        (
            three,
            {},
            ["three() takes 3 positional arguments but 7 were given", "three(float32 (", "expected: a function"],
        ),
        (three, {"groups": 1, "bias": False}, ["three() takes 3"]),
        (
            decorated,
            {"layout": ["NCHW", "NHWC"]},
            ["unexpected keyword argument 'layout'", "layout='NHWC')", "keyword"],
        ),
        (Holder().method, {}, ["received an invalid combination of arguments", "arrays='torch'"]),
        (deep, {}, ["object of type 'int' has no len()"]),
    ],
)
def test_wrong_use_ends_the_campaign(candidate, supports, said):
    start = time.monotonic()
    with pytest.raises(WrongUse) as raised:
        verify(candidate, supports=supports, cases=1000)
    assert time.monotonic() - start < 60  # of a campaign that takes minutes
    for part in said:
        assert part in str(raised.value)


def three_by_three(input, weight, *rest):
    if weight.shape[2:] != (3, 3):
        raise TypeError("only 3x3 kernels")
    return refconv.conv2d(input, weight, *rest)


def pointwise(input, weight, *rest):
    if weight.shape[2:] != (1, 1) or len(input) > 1:
        raise TypeError("only 1x1 kernels and one image")
    return refconv.conv2d(input, weight, *rest)


@pytest.mark.parametrize("candidate", [without_bias, without_strides, three_by_three, pointwise])
def test_what_only_some_cases_raise_is_a_failure(candidate):
    for seed in range(2):
        report = verify(candidate, cases=60, examples=False, shrink_seconds=0.5, seed=seed)
        assert [failure.property for failure in report.failures] == ["returns"]
        assert report.n_cases == 60


@pytest.mark.parametrize("options", [(), ("-x", "--no-isolate"), ("--cases", "1", "--no-isolate")], ids=str)
def test_on_the_command_line_it_is_wrong_usage(tmp_path, options):
    (tmp_path / "kernel.py").write_text("def conv2d(x, w):\n    return x\n")
    answer = CliRunner().invoke(app, ["verify", f"{tmp_path}/kernel.py:conv2d", *options])
    assert answer.exit_code == 2
    assert "conv2d() takes 2 positional arguments but 7 were given" in answer.output
    assert "it was called as: conv2d(float32 (" in answer.output


STRIDED, GROUPED, BIASED, VIEWED = range(4)


def of_call(input, _weight, bias, stride, _padding, _dilation, groups):
    """What may be refused about a call."""
    return stride != (1, 1), groups > 1, bias is not None, not input.flags.c_contiguous


@pytest.mark.parametrize("error", [ValueError, AssertionError])
@pytest.mark.parametrize(
    ("together", "claim"),
    [
        ((STRIDED,), '{"stride": 1}'),
        ((GROUPED,), '{"groups": 1}'),
        ((BIASED,), '{"bias": false}'),
        ((VIEWED,), ""),  # the claim would leave out other arrays, too
        ((STRIDED, GROUPED), ""),
    ],
    ids=str,
)
def test_a_claim_that_leaves_out_what_is_refused_is_named(error, together, claim):
    def kernel(*call):
        if all(of_call(*call)[what] for what in together):
            raise error("not this one")
        return refconv.conv2d(*call)

    report = verify(kernel, cases=100, examples=False, shrink_seconds=0.5)
    (failure,) = report.failures
    said = "if these calls are not meant to be taken: --supports"
    assert (f"{said} '{claim}'" in failure.text) if claim else (said not in failure.text)


def test_a_claim_keeps_what_is_claimed_already():
    def kernel(input, weight, bias, stride, padding, dilation, groups):
        if stride != (1, 1):
            raise ValueError("no strides")
        return refconv.conv2d(input, weight, bias, stride, padding, dilation, groups)

    report = verify(kernel, cases=100, supports={"groups": 1}, examples=False, shrink_seconds=1)
    assert """--supports '{"groups": 1, "stride": 1}'""" in report.failures[0].text


def test_what_the_caller_gives_is_the_callers_fault():
    def broken(*_):
        raise ZeroDivisionError("by the caller")

    with pytest.raises(WrongUse, match="supports raised ZeroDivisionError: by the caller"):
        verify(refconv.conv2d, supports=broken, cases=5)
    with pytest.raises(ZeroDivisionError, match="by the caller"):
        verify(refconv.conv2d, progress=broken, cases=5)
    with pytest.raises(ValueError, match="dtype='float32': must be one of"):
        verify(refconv.conv2d_quantized, "conv2d_quantized", dtypes=("float32",), cases=5)
