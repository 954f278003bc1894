"""Comparisons: verdict, figures and text; vacuous ones; outputs that are no plain arrays of the right dtype."""

import numpy as np
import pytest
from cases import case_of

from refconv import Case, ErrorModel


def test_vacuous():
    """Where zeros would pass, or a tap less; and where there is nothing."""
    assert not case_of("normal", 16).check(case_of("normal", 16).expected()).vacuous
    wide = case_of("normal", 512)
    half = ErrorModel.direct("float16")
    assert wide.check(wide.expected(), half).vacuous
    assert "vacuous" in str(wide.check(wide.expected(), half))
    assert wide.check(np.zeros_like(wide.expected()), half).ok
    x, w = np.zeros((1, 1, 2, 2), "float32"), np.ones((1, 1, 1, 1), "float32")
    zero = Case(input=x, weight=w)
    assert zero.check(zero.expected()).vacuous
    empty = Case(input=np.ones((0, 1, 2, 2), "float32"), weight=w)
    assert empty.check(empty.expected()).vacuous
    nan = Case(input=np.full((1, 1, 2, 2), np.nan, "float32"), weight=w)
    assert not nan.check(nan.expected()).vacuous


def test_bias_and_spread():
    """In units of u S, exactly."""
    x = np.array([1.5, 2.5, 3.5, 0.1], "float32").reshape(1, 1, 1, 4)
    case = Case(input=x, weight=np.full((1, 1, 1, 1), 1.1, "float32"))
    out = np.nextafter(case.expected(), np.float32(9))
    error = (out.astype(float) - 1.0 * x.astype(float) * float(np.float32(1.1))) / (
        x.astype(float) * float(np.float32(1.1))
    )
    comparison = case.check(out)
    assert comparison.bias == pytest.approx(error.mean() * 2**24, rel=2**-30)
    assert comparison.spread == pytest.approx(np.sqrt((error**2).mean()) * 2**24, rel=2**-30)
    assert comparison.median_ulp == comparison.max_ulp == 1


def test_the_text_is_short():
    for comparison in (
        case_of("normal", 16).check(case_of("positive", 16).expected()),
        case_of("normal", 4).check(np.zeros(3)),
    ):
        assert len(str(comparison).splitlines()) <= 10


class Friendly(np.ndarray):
    """Equal to everything."""

    def __eq__(self, other):
        return np.ones(self.shape, bool)

    __hash__ = None

    def __array_ufunc__(self, *_arguments, **_options):
        return np.ones(self.shape, bool)


class Fickle:
    """An array that is right when it is looked at again."""

    def __init__(self, first, then):
        self.answers = [first, then]

    def __array__(self, dtype=None, copy=None):
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def test_arrays_with_a_mind_of_their_own():
    case = case_of("normal", 3)
    zeros = np.zeros_like(case.expected())
    assert case.check(zeros.view(Friendly)).verdict == "wrong"
    assert case.check(Fickle(zeros, case.expected())).verdict == "wrong"
    shared = case.expected()
    comparison = case.check(shared)
    shared[:] = 0
    assert comparison.actual.any()


def test_infinity_is_not_the_largest_number():
    largest = np.finfo("float32").max
    x, w = np.array([[[[np.inf, 1]]]], "float32"), np.ones((1, 1, 1, 1), "float32")
    case = Case(input=x, weight=w)
    for value in (largest, -np.inf, np.nan):
        assert case.check(np.array([[[[value, 1]]]], "float32")).n_wrong == 1
    case = Case(input=np.full_like(x, 2e38), weight=1.1 * w)
    for value in (largest, np.inf):
        assert case.check(np.full_like(x, value)).n_wrong == 2


def test_wrong_kinds_of_numbers():
    case = case_of("normal", 3)
    for dtype in ("float64", "float16", "complex64", "int32"):
        assert case.check(case.expected().astype(dtype)).problem.startswith("dtype")
    with pytest.raises(TypeError, match="model=32: must be an ErrorModel, the text of one, or a function of a case"):
        case.check(case.expected(), 32)


def test_units_are_the_accumulators():
    case = case_of("normal", 3)
    out = np.nextafter(case.expected(), np.float32(9))
    assert case.check(out).bias == pytest.approx(case.check(out, ErrorModel.direct("float64")).bias * 2.0**-29)


def test_what_may_overflow_is_not_called_wrong():
    """Where a sum may overflow in some order, infinity is not judged, and so not counted among what is wrong."""
    largest = np.finfo("float32").max
    x = np.array([largest, largest, -largest], "float32").reshape(1, 3, 1, 1)
    case = Case(input=x, weight=np.ones((1, 3, 1, 1), "float32"))
    comparison = case.check(np.full((1, 1, 1, 1), np.inf, "float32"))
    assert comparison.ok
    assert "1 not judged" in str(comparison)
    assert "NaN or infinite" not in str(comparison)
