"""Results in another dtype than the usual one, and what becomes of those that do not fit it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import refconv
from refconv import strategies
from refconv.core import formats
from refconv.core.formats import FLOATS, INTEGERS, NARROW, largest, round_fraction
from refconv.judge.given import TAKEN

OPS = ("conv2d", "conv_transpose2d", "conv2d_input", "conv2d_weight", "conv2d_bias")
NARROW_INTEGERS = [str(dtype) for dtype in INTEGERS if dtype.itemsize < 4]


def with_results(case, **results):
    fields = {name: getattr(case, name) for name in TAKEN[case.op] if name != "op"}
    return refconv.Case(op=case.op, **fields | results)


def of_ops(dtypes, **options):
    return st.sampled_from(OPS).flatmap(lambda op: strategies.cases(op, dtypes=dtypes, **options))


@given(of_ops(NARROW_INTEGERS), st.sampled_from(NARROW_INTEGERS))
def test_integers_wrap_or_saturate(case, dtype):
    wide = case.expected().astype(object)
    info = np.iinfo(dtype)
    modulo = (wide - info.min) % 2**info.bits + info.min if wide.size else wide
    for overflow, expected in (("wrap", modulo), ("saturate", np.clip(wide, info.min, info.max))):
        narrow = with_results(case, out_dtype=dtype, overflow=overflow)
        assert narrow.unwritten.dtype == dtype
        np.testing.assert_array_equal(narrow.expected(), expected.astype(dtype))
        assert narrow.check(expected.astype(dtype)).verdict == "identical"
        assert not narrow.check(case.expected()).ok or case.unwritten.dtype == dtype
        if expected.size:
            wrong = expected.astype(dtype)
            wrong.flat[-1] ^= 1
            assert narrow.check(wrong).verdict == "wrong"


@given(of_ops(["int8"]))
def test_integers_that_must_fit_are_refused_where_they_do_not(case):
    narrow, wide = with_results(case, out_dtype="int8"), case.expected()
    if ((wide >= -128) & (wide <= 127)).all():
        assert np.array_equal(narrow.expected(), wide)
    else:
        with pytest.raises(OverflowError, match="does not fit into int8"):
            narrow.expected()


@given(of_ops([str(dtype) for dtype in FLOATS]), st.sampled_from([str(dtype) for dtype in FLOATS]))
def test_floats_are_rounded_once_to_the_dtype_asked_for(case, dtype):
    other = with_results(case, out_dtype=dtype)
    expected = other.expected()
    assert expected.dtype == np.dtype(dtype)
    assert other.check(expected).ok
    if np.dtype(dtype) == case.unwritten.dtype:
        assert expected.tobytes() == case.expected().tobytes()
    bound = other.bound()
    assert bound.shape == expected.shape


@given(of_ops([str(dtype) for dtype in NARROW]))
def test_narrow_floats_saturate(case):
    saturated = with_results(case, overflow="saturate")
    expected, usual = saturated.expected(), case.expected()
    most = largest(usual.dtype)
    assert np.array_equal(np.isnan(expected), np.isnan(with_results(case, out_dtype="float64").expected()))
    numbers = ~np.isnan(expected)
    assert (np.abs(expected[numbers].astype(np.float64)) <= most).all()
    kept = np.isfinite(usual)
    assert np.array_equal(expected[kept], usual[kept])
    assert saturated.check(expected).verdict == "identical"


def test_what_is_past_the_largest_number_must_be_the_largest():
    x, w = (np.full((1, 8, 1, 1), number, "float32") for number in (64, 448))
    for dtype in NARROW[2:]:
        case = refconv.Case(input=x.astype(dtype), weight=w.astype(dtype), overflow="saturate")
        most = np.full((1, 1, 1, 1), largest(dtype)).astype(dtype)
        assert case.expected() == most
        assert case.check(most).verdict == "identical"
        for wrong in (np.inf, np.nan, -largest(dtype), largest(dtype) / 2):
            assert case.check(np.full((1, 1, 1, 1), wrong).astype(dtype)).verdict == "wrong"
        assert not refconv.Case(input=case.input, weight=case.weight).check(most).ok  # which is not said to saturate


NARROWER = [dtype for dtype in NARROW if largest(dtype) < 2**20]  # whose sums of products float32 holds


@given(st.sampled_from(NARROWER), st.integers(0, 2**32 - 1), st.floats(0.1, 4))
def test_a_saturated_result_leaves_no_room_for_another(dtype, seed, scale):
    """Once everything passed where the exact sum was far past the largest number: the bound was relative to it."""
    rng = np.random.default_rng(seed)
    most = largest(dtype)
    x, w = rng.standard_normal((1, 8, 4, 4)), rng.standard_normal((3, 8, 2, 2))
    x, w = (array * scale * most**0.5 / 2 for array in (x, w))
    case = refconv.Case(input=x.astype(dtype), weight=w.astype(dtype), overflow="saturate")
    single = refconv.conv2d(case.input.astype("float32"), case.weight.astype("float32"), precision="float32")
    actual = np.clip(single, -most, most).astype(dtype)
    comparison = case.check(actual)
    assert comparison.ok, comparison
    assert comparison.n_free == 0
    for place in map(tuple, np.argwhere(np.abs(single) > 1.2 * most)):
        for wrong in (0, -actual[place], np.nan):
            other = actual.copy()
            other[place] = wrong
            assert case.check(other).verdict == "wrong"


def test_the_error_bound_is_that_of_the_result():
    x = np.full((1, 1, 1, 1), 1 / 3, "float16")
    wide, usual = refconv.Case(input=x, weight=x, out_dtype="float32"), refconv.Case(input=x, weight=x)
    assert wide.bound().item() < usual.bound().item()
    half = usual.expected().astype("float32")
    assert wide.check(half).verdict == "wrong"  # rounded to float16 on the way
    exact = float(x.item()) ** 2
    assert wide.expected().item() == float(round_fraction(formats.Fraction(exact), "float32"))


@pytest.mark.parametrize(
    ("dtype", "options", "error", "said"),
    [
        ("float32", {"out_dtype": "int8"}, TypeError, "out_dtype=int8: must be one of float32"),
        ("int8", {"out_dtype": "float32"}, TypeError, "out_dtype=float32: must be one of int8"),
        ("float32", {"out_dtype": "float128"}, TypeError, "out_dtype='float128': must be one of"),
        (
            "float32",
            {"overflow": "saturate"},
            ValueError,
            "overflow='saturate': must not be given, for float32 results",
        ),
        ("float16", {"overflow": "wrap"}, ValueError, "overflow='wrap': must be 'saturate', for float16"),
        ("int8", {"overflow": "clip"}, ValueError, "overflow='clip': must be one of"),
    ],
)
def test_results_that_there_can_not_be_are_refused(dtype, options, error, said):
    ones = np.ones((1, 1, 1, 1), dtype)
    with pytest.raises(error, match=said):
        refconv.Case(input=ones, weight=ones, **options)


def test_a_quantized_operator_has_its_own_results():
    ones = np.ones((1, 1, 1, 1), "int8")
    with pytest.raises(TypeError, match="out_dtype='int8': conv2d_integer does not take it"):
        refconv.Case(op="conv2d_integer", input=ones, weight=ones, out_dtype="int8")


def test_checksums_do_not_go_with_what_does_not_fit():
    ones = np.ones((1, 1, 9, 9), "int8")
    case = refconv.Case(input=ones, weight=ones[..., :1, :1], out_dtype="int8", overflow="wrap")
    with pytest.raises(refconv.GeometryError, match="sample=5: must not be given with overflow='wrap'"):
        case.check(ones, sample=5)
