"""What a failure tells beside the judge's figures: reads outside the arrays, and errors that a map shows."""

import numpy as np
import pytest
from campaigns import verify

import refconv


def wrong_if_dilated(input, weight, bias, stride, padding, dilation, groups):
    y = refconv.conv2d(input, weight, bias, stride, padding, dilation, groups)
    return y + 1 if max(dilation) > 1 else y


def reads_past_the_end(input, weight, bias, stride, padding, dilation, groups):
    """The last element of the input is the one behind it."""
    if input.size and input.flags.c_contiguous:
        flat = np.lib.stride_tricks.as_strided(input, (input.size + 1,), (input.itemsize,))
        input = np.append(flat[:-2], flat[-1]).reshape(input.shape) if input.size > 1 else input
    return refconv.conv2d(input, weight, bias, stride, padding, dilation, groups)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_reads_past_the_end_are_called_that(dtype):
    report = verify(reads_past_the_end, dtypes=(dtype,), cases=60, examples=False, shrink_seconds=2)
    (failure,) = (failure for failure in report.failures if failure.property == "values")
    assert "it reads outside its arrays" in failure.text
    assert "largest 0 ULP" not in failure.text


def test_what_is_wrong_by_itself_reads_nothing_outside():
    def nan(*call):
        return np.full_like(refconv.conv2d(*call), np.nan)

    report = verify(nan, cases=20, examples=False, shrink_seconds=1)
    assert "reads outside" not in report.failures[0].text
    assert "of these are NaN or infinite" in report.failures[0].text
    assert "vacuous" not in report.failures[0].text


@pytest.mark.usefixtures("generated_only")
def test_an_error_map_is_of_a_case_with_outputs_enough():
    report = verify(wrong_if_dilated, cases=100)
    (failure,) = report.failures
    assert failure.comparison.actual.size < 16 <= failure.pictured.actual.size
    assert not failure.pictured.ok
