"""Claims: texts of models, what can't be claimed, and which model a claim means for a call."""

from fractions import Fraction

import numpy as np
import pytest
from bounded import direct
from hypothesis import given, reject
from hypothesis import strategies as st

import refconv
from refconv import Case, ErrorModel, GeometryError
from refconv.judge.bounds import claimed, model_of

# --- texts -----------------------------------------------------------------------------------------------------------


FLOATING = st.sampled_from(["float16", "bfloat16", "float32", "float64", "float8_e4m3fn"])
SINGLE = st.sampled_from(["exact", "tf32", "tf32_truncated", "bfloat16", "float16"])
FLUSHING = st.booleans() | st.lists(st.sampled_from(["inputs", "weights", "sums", "results"]), min_size=1, unique=True)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "flush_to_zero": FLUSHING,
        "bias_after_rounding": st.booleans(),
        "results": FLOATING,
        "store": st.sampled_from(["nearest", "truncate"]),
    },
)
ROUNDING = st.sampled_from(["nearest", "truncate"])


@st.composite
def models(draw):
    """Any model."""
    options, kind = (
        draw(OPTIONS),
        draw(st.sampled_from(["direct", "both", "tf32", "winograd", "complex3", "fft", "core"])),
    )
    if kind == "direct":
        operands = {name: draw(SINGLE) for name in draw(st.sets(st.sampled_from(["inputs", "weights"])))}
        return ErrorModel.direct(draw(FLOATING), sums=draw(ROUNDING), **operands, **options)
    if kind == "both":
        return ErrorModel.direct(draw(FLOATING), draw(SINGLE | st.just("bf16x3")), sums=draw(ROUNDING), **options)
    if kind == "winograd":
        m, r = draw(st.integers(2, 6)), draw(st.integers(2, 5))
        points = draw(
            st.none()
            | st.lists(st.fractions(-9, 9, max_denominator=4), min_size=m + r - 2, max_size=m + r - 2, unique=True)
        )
        transforms = draw(st.sampled_from([None, "float16", "bfloat16"]))
        try:
            return ErrorModel.winograd(m, r, points=points, transforms=transforms, **options)
        except GeometryError:  # a format does not have all constants
            reject()
    if kind == "core":
        return ErrorModel.tensor_core(draw(st.sampled_from(["V100", "H100"])), draw(SINGLE), **options)
    made = {"tf32": ErrorModel.tf32, "complex3": ErrorModel.complex3, "fft": ErrorModel.fft}[kind]
    return made(**options)


@given(models(), models())
def test_texts_are_read_as_they_are_written(one, other):
    """Of one model, and of alternatives."""
    assert ErrorModel.parse(str(one)) == one
    assert claimed(str(one)) == one
    both = claimed(f"{one} | {other}")
    assert both.models == (one, other)
    assert claimed(str(both)) == both


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("direct,flush_to_zero", "direct:float32,flush_to_zero"),
        ("direct:bfloat16-operands", "direct:float32,bfloat16"),
        ("direct:fp16", "direct:float16"),
        ("dirct:float16", "direct:float16"),
        ("direct float16", "direct:float16"),
        ("direct:float32,result=bf16", "direct:float32,results=bfloat16"),
        ("direct:float32,flush-to-zero", "direct:float32,flush_to_zero"),
        ("direct:float32,flush_to_zero=weight+input", "direct:float32,flush_to_zero=inputs+weights"),
        ("winograd(4,3)", "winograd:4,3"),
        ("winograd:4:3", "winograd:4,3"),
        ("tensor_core:a100", "tensor_core:A100"),
        ("tf32:truncated", "tf32:truncate"),
        ("complex", "complex3"),
        ("FFT", "fft"),
    ],
)
def test_a_text_that_is_nearly_right_is_told_what_was_meant(text, meant):
    with pytest.raises(GeometryError) as error:
        claimed(text)
    assert str(error.value).endswith(f"; did you mean {meant!r}?")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: direct(operands="tf32", inputs="float16"), GeometryError, "inputs='float16': must not be given with"),
        (lambda: direct(weights="bf16x3"), GeometryError, "weights='bf16x3': must be one of 'exact'"),
        (lambda: direct(sums="up"), GeometryError, "sums='up': must be one of 'nearest', 'truncate'"),
        (lambda: direct(store="cut"), GeometryError, "store='cut': must be one of"),
        (lambda: direct(results="int8"), TypeError, "results='int8': must be a floating format"),
        (lambda: direct(flush_to_zero="bias"), GeometryError, "flush_to_zero='bias': must be one of 'inputs'"),
        (lambda: direct(flush_to_zero=1), TypeError, "flush_to_zero=1: must be True, False, or of 'inputs'"),
        (lambda: direct(flush_to_zero=()), TypeError, r"flush_to_zero=\(\): must be"),
        (lambda: direct(bias_after_rounding="no"), TypeError, "bias_after_rounding='no': must be True or False"),
        (lambda: ErrorModel.fft(rounded=3), TypeError, "rounded=3: got an unexpected keyword argument"),
        (lambda: ErrorModel.winograd(4, 3, points="0;1"), GeometryError, "points='0;1': must be 5 different finite"),
        (lambda: ErrorModel.winograd(2, 3, points=(0, 1, 1.0)), GeometryError, "must be 3 different finite numbers"),
        (lambda: ErrorModel.winograd(2, 3, points=(0, 1, np.inf)), GeometryError, "infinity is implied"),
        (lambda: ErrorModel.winograd(2, 3, points=(0, 1, "x")), GeometryError, "Invalid literal"),
        (lambda: ErrorModel.winograd(2, 3, points=(0, 1, None)), TypeError, "None.: must be 3 different"),
        (lambda: ErrorModel.winograd(2, 3, points=(0, 1, True)), TypeError, "True.: must be 3 different"),
        (lambda: ErrorModel.winograd(2, 3, points=3), TypeError, "points=3: must be 3 different"),
        (lambda: ErrorModel.winograd(4, 3, points=(0, 1, 2, 3, "1e200")), GeometryError, "must not overflow float64"),
        (
            lambda: ErrorModel.winograd(4, 3, points=(0, 1, -1, 99, -99), transforms="float16"),
            GeometryError,
            "transforms='float16': must have all constants of the transforms, from 5.21e-09 to 9.8e[+]03",
        ),
        (
            lambda: ErrorModel.winograd(10, 3, "float16"),
            GeometryError,
            "accumulator='float16': must have all constants",
        ),
        (lambda: ErrorModel.winograd(2, 3, transforms="float64"), GeometryError, "must have no more significant bits"),
        (lambda: ErrorModel.winograd(2, 3, transforms="int8"), TypeError, "transforms='int8': must be a floating"),
        (lambda: claimed("tf32|"), GeometryError, "model=''"),
        (lambda: ErrorModel.parse("tf32|fft"), GeometryError, "must be one model"),
        (lambda: claimed(3), TypeError, "model=3: must be an ErrorModel, the text of one, or a function of a case"),
        (lambda: claimed(ErrorModel), TypeError, "must be an ErrorModel"),
    ],
)
def test_what_can_not_be_is_refused_by_name(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_customary_points_are_no_other_points():
    """In any order and form; numbers are what they are."""
    same = ErrorModel.winograd(4, 3, points=(2, "-2", Fraction(1), -1.0, np.int64(0)))
    assert same == ErrorModel.winograd(4, 3)
    assert ErrorModel.winograd(2, 3, points=(0, 1, 0.1)) != ErrorModel.winograd(2, 3, points=(0, 1, "0.1"))


# --- which model is meant for which call -----------------------------------------------------------------------------


def three_by_three(stride=1, dtype="float32", **options):
    x, w = np.ones((1, 2, 8, 8), dtype), np.full((2, 2, 3, 3), 0.1, dtype)
    return Case(input=x, weight=w, stride=stride, **options)


def test_the_first_alternative_that_can_be():
    """By geometry, operator and dtype; otherwise none."""
    text = "winograd:6,3|complex3|direct:float64,results=float16"
    assert model_of(text, three_by_three()) == ErrorModel.winograd(6, 3)
    assert model_of(text, three_by_three(2, "complex64")) == ErrorModel.complex3()
    assert model_of(text, three_by_three(2)) == ErrorModel.direct("float64", results="float16")
    with pytest.raises(
        GeometryError, match=r"model='winograd:6,3\|complex3': none of them can be, of a conv2d: model='winograd"
    ):
        three_by_three(2).bound("winograd:6,3|complex3")
    gradient = Case(op="conv2d_bias", grad_output=np.ones((1, 2, 3, 3), "float32"))
    assert (gradient.bound("winograd:6,3|direct") == gradient.bound(direct())).all()


def test_every_function_of_the_judge_takes_every_claim():
    """A model, its text, alternatives and a function of the case mean the same."""
    case, model = three_by_three(), ErrorModel.tf32()
    for claim in ("tf32", "winograd:4,5|tf32", lambda _case: "tf32", lambda _case: "winograd:4,5|tf32"):
        assert (case.bound(claim) == case.bound(model)).all()
        assert case.tolerances(claim) == case.tolerances(model)
        assert case.standard(claim) is case.standard(model)
        assert case.check(case.expected(), claim, sample=3).ok
        refconv.assert_close(case.expected(), case, claim)
    assert (case.bound(lambda _case: None) == case.bound()).all()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda _case: 1 / 0, "raised ZeroDivisionError: division by zero, for conv2d"),
        (lambda _case: 3, "returned 3 for conv2d"),
        (lambda _case: lambda _case: "tf32", "must be a model or the text of one"),
        (lambda _case: "tf64", "must be one of 'direct'"),
        (lambda _case: "winograd:2,5", "model='winograd:2,5': kernel (3, 3): must be (5, 5)"),
        (lambda _case: "complex3", "model='complex3': the dtype must be complex"),
    ],
)
def test_a_function_that_is_wrong_is_the_callers(function, message):
    with pytest.raises(TypeError, match=r"^model=.*<lambda>: ") as error:
        three_by_three().bound(function)
    assert message in str(error.value)


@pytest.mark.parametrize("dtype", ["float32", "float16", "complex64"])
def test_what_can_not_be_of_a_dtype_is_refused(dtype):
    """Complex products of real numbers, and results that are wider than outputs."""
    case = three_by_three(dtype=dtype)
    for model in (ErrorModel.complex3(), direct(results="float32"), direct(results="float64")):
        impossible = "complex3" in str(model) and dtype != "complex64"
        impossible |= "64" in str(model) or ("results=float32" in str(model) and dtype == "float16")
        if not impossible:
            assert case.check(case.expected(), model).ok
            continue
        with pytest.raises(GeometryError, match=f"model={str(model)!r}: .* must "):
            case.bound(model)


@pytest.mark.parametrize(
    ("op", "text", "model"),
    [
        ("conv3d", "1,1,5,5,5:1,1,3,3,3", "winograd:2,3"),
        ("conv_transpose1d", "1,2,1:2,1,1", "fft"),
        ("conv_transpose2d", "1,1,5,5:1,1,3,3", "winograd:2,3"),
    ],
)
def test_a_model_that_an_operator_has_not_is_refused_behind_an_epilogue_too(op, text, model):
    case = refconv.Recipe.parse(text, op=op, epilogue="residual,relu").case()
    with pytest.raises(refconv.GeometryError, match="its errors are known of"):
        case.check(case.expected(), model)
