"""Usual models: what a measured error is said to come from."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refconv import Case, ErrorModel, GeometryError
from refconv.cases.fills import operands
from refconv.judge.usual_models import largest_error, reading, usual_models

DTYPES = ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "complex64", "complex128")


def case_of(dtype="float32", op="conv2d", **options):
    x, w, _ = operands("normal", (2, 32, 9, 9), (4, 32, 3, 3), dtype=dtype)
    if op == "conv2d":
        return Case(input=x, weight=w, **options)
    return Case(op="conv2d_input", input_size=(2, 32, 5, 5), weight=w, grad_output=x[:, :4, :3, :3], **options)


@pytest.mark.parametrize("dtype", DTYPES)
def test_usual_models_bound_such_a_case(dtype):
    case = case_of(dtype)
    for usual in usual_models(case):
        assert largest_error(case, usual.model) >= case.bound(usual.model).real.max()
        assert str(usual.model) in str(usual)
    texts = [str(usual.model) for usual in usual_models(case)]
    assert len(set(texts)) == len(texts)
    assert any(text.startswith("winograd") for text in texts)
    assert str(ErrorModel.inferred(dtype)) in texts


def test_transforms_are_usual_only_where_they_can_be():
    def transforms(case, **options):
        return {str(usual.model).partition(":")[0] for usual in usual_models(case, **options)} & {"winograd", "fft"}

    assert transforms(case_of()) == {"winograd", "fft"}
    assert transforms(case_of(stride=2)) == {"fft"}
    assert not transforms(case_of(), whole_images=False)
    assert not transforms(case_of(op="conv2d_input"))


@given(st.floats(0, 1e6), st.sampled_from(DTYPES))
def test_readings_name_a_model_that_admits_the_error(error, dtype):
    """And none that is tighter does; where none does, the result is said to be wrong."""
    case = case_of(dtype)
    said = reading(case, error)
    sizes = {str(usual.model): largest_error(case, usual.model) for usual in usual_models(case)}
    asked = str(ErrorModel.inferred(dtype))
    assert said.startswith(f"{error:g} is ")
    assert f"({asked}) here" in said
    assert ("the model admits it" in said) == (error <= sizes[asked])
    within = re.search(r"within that of .*\((.*)\)", said)
    if within:
        named = sizes[within[1]]
        assert error <= named
        assert not any(sizes[asked] < size < named and error <= size for size in sizes.values())
    else:
        assert ("the result is wrong" in said) == (error > sizes[asked])


def test_readings_under_models():
    case = case_of()
    assert "of the model tf32:truncate here: the model admits it" in reading(case, 0.001, ErrorModel.tf32("truncate"))
    assert "larger than 0, all that is admitted by the model exact" in reading(case, 0.1, ErrorModel.exact())
    assert "zeros in place of the outputs too" in reading(case, 1.0, ErrorModel.direct("bfloat16"))
    assert reading(case, 1.0, called="20").startswith("20 is ")
    with pytest.raises(GeometryError, match="winograd:2,5"):
        reading(case, 1.0, ErrorModel.winograd(2, 5))


def test_errors_that_are_as_large_as_the_outputs():
    """No model explains them, for one that admits as much admits zeros."""
    case = case_of()
    most = float(np.abs(case.expected()).max())
    assert largest_error(case, ErrorModel.direct("bfloat16")) > most
    assert "no usual arithmetic explains it, the result is wrong. That of " in reading(case, most)


def test_sums_that_may_overflow_admit_anything():
    x, w = np.full((1, 64, 2, 2), 100, "float16"), np.full((1, 64, 1, 1), 10, "float16")
    x[0, 0] += np.float16(0.5)
    assert "a number may overflow" in reading(Case(input=x, weight=w), 1.0, ErrorModel.direct("float16"))
