"""Cases of every operator: expected result, bound, verdict, and the arguments that a case refuses."""

import dataclasses
import pickle

import numpy as np
import peers
import pytest
from common import SOME
from hypothesis import given, settings
from hypothesis import strategies as st

import refconv
from refconv import Case, ErrorModel
from refconv.ops.family import OPERATORS, Call, compute
from refconv.strategies import cases

FLOATING = tuple(name for name in SOME if not OPERATORS[name].is_quantized)
EVERYTHING = {"padding_modes": ("zeros", "reflect", "replicate", "circular"), "asymmetric_padding": True,
              "string_padding": True, "unbatched": True}  # fmt: skip
DTYPES = ("float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "complex64", "int8", "int32")
FEW = settings(max_examples=25)


def exactly(case):
    """The oracle's exact result, not by way of the case."""
    with np.errstate(all="ignore"):
        return compute(case.op, case.arguments(), case.padding_mode, "exact")


def same(left, right):
    with np.errstate(invalid="ignore"):
        return bool(((left == right) | ((left != left) & (right != right))).all())


@pytest.mark.parametrize("op", SOME)
@FEW
@given(st.data())
def test_what_must_come_out_is_the_oracles(op, data):
    """Also where it is not computed exactly because a float64 sum is certain enough."""
    case = data.draw(cases(op, dtypes=("int8", "uint8") if OPERATORS[op].is_quantized else DTYPES, **EVERYTHING))
    expected = case.expected()
    assert expected.shape == case.unwritten.shape
    assert expected.dtype == case.unwritten.dtype
    assert same(expected, exactly(case))
    assert case.check(expected).verdict == "identical"


@pytest.mark.parametrize("op", FLOATING)
@FEW
@given(st.data())
def test_sums_in_float_are_within_the_bound(op, data):
    case = data.draw(cases(op, dtypes=("float32", "float16", "bfloat16", "complex64"), **EVERYTHING))
    for precision in ("float32", "float64"):
        with np.errstate(all="ignore"):
            comparison = case.check(case.expected(precision), ErrorModel.direct("float32"))
        assert comparison.ok, comparison


@pytest.mark.parametrize("op", FLOATING)
@FEW
@given(st.data())
def test_a_wrong_element_is_seen(op, data):
    """One that is off by more than its bound, and by more than a rounding of it."""
    case = data.draw(cases(op, dtypes=("float32", "int32"), fills=("integers",), **EVERYTHING))
    actual = case.expected()
    if not actual.size:
        return
    at = data.draw(st.integers(0, actual.size - 1))
    actual.reshape(-1)[at] += 1
    comparison = case.check(actual)
    assert comparison.verdict == "wrong"
    assert comparison.n_wrong == 1
    assert np.ravel_multi_index(comparison.worst, actual.shape) == at


@pytest.mark.parametrize("op", ["conv_transpose2d", "conv2d_input", "conv2d_weight"])
@FEW
@given(st.data())
def test_torch_is_within_the_bound(op, data):
    case = data.draw(cases(op, dtypes=("float32", "float64")))
    if not all(array.size for array in case.arrays.values()):
        return
    by = {
        "conv_transpose2d": peers.torch_conv_transpose,
        "conv2d_input": peers.torch_conv2d_input,
        "conv2d_weight": peers.torch_conv2d_weight,
    }
    comparison = case.check(by[op](*case.arguments()))
    assert comparison.ok, comparison


@pytest.mark.parametrize("op", ["conv_transpose2d", "conv2d_input", "conv2d_weight"])
def test_numbers_beside_the_border_of_zeros_may_be_skipped(op):
    """A gradient that scatters does not multiply zeros around it by an infinite weight."""
    inf = np.full((1, 1, 1, 2), np.inf, "float32")
    one = np.ones((1, 1, 1, 1), "float32")
    given = {
        "conv_transpose2d": {"input": one, "weight": inf},
        "conv2d_input": {"input_size": (1, 1, 1, 2), "weight": inf, "grad_output": one},
        "conv2d_weight": {"input": one, "weight_size": (1, 1, 1, 1), "grad_output": inf, "padding": ((0, 0), (0, 1))},
    }
    case = Case(op=op, **given[op])
    skipped = np.full(case.unwritten.shape, np.inf, "float32")
    assert case.check(skipped).ok
    assert case.check(case.expected()).ok
    assert not case.check(np.zeros_like(skipped)).ok


def test_complex_parts_are_rounded_each():
    """Parts that add up to integers are none: as one number they were once taken for exact."""
    grad = np.array([1, 2**-24 + (1 - 2**-24) * 1j, 2**-60 + 1j], "complex64").reshape(1, 1, 1, 3)
    case = Case(op="conv2d_bias", grad_output=grad)
    assert same(case.expected(), exactly(case))
    z = np.full((1, 1, 1, 1), 0.3 + 0.7j, "complex64")
    for op in ("conv2d", "conv_transpose2d"):
        case = Case(op=op, input=z, weight=z)
        assert case.check(case.expected("float32")).ok


@pytest.mark.parametrize("op", FLOATING)
@FEW
@given(st.data())
def test_a_sum_has_no_more_products_than_are_said(op, data):
    """Counted by sums of ones."""
    case = data.draw(cases(op, dtypes=("float64",), fills=("integers",), **EVERYTHING))
    call: Call = case.call
    first, second = (None if operand is None else np.ones(operand.shape) for operand in case._operands[:2])
    counted = call.apply(first, second)
    assert counted.max(initial=0) <= call.products


@pytest.mark.parametrize("op", SOME)
@FEW
@given(st.data())
def test_cases_are_copied_whole(op, data):
    case = data.draw(cases(op, dtypes=("int8",) if OPERATORS[op].is_quantized else ("float32",), **EVERYTHING))
    for again in (pickle.loads(pickle.dumps(case)), dataclasses.replace(case)):  # noqa: S301 - our own
        assert str(again) == str(case)
        assert again.expected().tobytes() == case.expected().tobytes()
    assert list(case.arrays) == [name for name in OPERATORS[op].parameters if name in case.arrays]
    assert case.check(getattr(refconv, op)(*case.arguments(), **case.keywords())).ok


X, W, Y = "input", "weight", "grad_output"
ONES, BYTES = np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1), "int8")
REFUSED = [
    ({"op": "conv9d", X: ONES}, ValueError, "op='conv9d'"),
    ({"op": "conv2d_bias", X: ONES}, TypeError, "input=.* conv2d_bias does not take it"),
    ({"op": "conv2d_bias"}, TypeError, "grad_output=None: must be given for conv2d_bias"),
    ({X: ONES, W: ONES, "output_padding": 1}, TypeError, "output_padding=1: conv2d does not take it"),
    ({"op": "conv_transpose2d", X: ONES, W: ONES, "padding_mode": "reflect"}, TypeError, "padding_mode='reflect'"),
    ({"op": "conv2d_input", W: ONES, Y: ONES}, TypeError, "input_size=None"),
    ({"op": "conv2d_quantized", X: BYTES, W: BYTES}, TypeError, "input_scale=None"),
    ({"op": "conv2d_integer", X: BYTES, W: BYTES, "input_zero_point": 300}, ValueError, "input_zero_point=300"),
    ({"op": "conv2d_weight", X: ONES, "weight_size": (1, 1, 2, 1), Y: ONES}, ValueError, "weight_size"),
]


@pytest.mark.parametrize(("given", "error", "message"), REFUSED)
def test_what_an_operator_does_not_take_is_refused(given, error, message):
    with pytest.raises(error, match=message):
        Case(**given)


@pytest.mark.parametrize("op", ["conv2d_bias", "conv_transpose2d"])
def test_models_of_forward_convolutions_are_refused_for_others(op):
    given = {"grad_output": ONES} if op == "conv2d_bias" else {"input": ONES, "weight": ONES}
    with pytest.raises(ValueError, match=r"known of (a conv2d|convolutions) only"):
        Case(op=op, **given).bound(ErrorModel.fft())
    with pytest.raises(ValueError, match="sample=1"):
        Case(op=op, **given).check(ONES, sample=1)
