"""Models of what kernels do besides: what is honest stays within its bound, and what is not is given away."""

from functools import partial

import numpy as np
import pytest
from bounded import BOTH, FEW, FLOAT32, assert_within, assert_within_over_the_range, cases, computed, direct, tiled
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from kernels.complex_products import gauss, karatsuba
from kernels.flushing import flushed
from kernels.lowered import quiet
from kernels.narrow import chopping, cut, in_format, of_one, stored
from kernels.operands import bfloat16, of_operands, tf32
from kernels.sums import im2col, sequential
from kernels.winograd import six_by_six, winograd_by_points

from refconv import Case, ErrorModel, GeometryError, strategies
from refconv.cases.fills import operands
from refconv.core.formats import rounded

HALF = ("float16",)
bfloat16_results = direct(results="bfloat16")


# --- sound kernels stay within their bounds --------------------------------------------------------------------------


HONEST = {
    "float16 weights": (of_one("weight", in_format("float16")), direct(weights="float16"), FLOAT32),
    "bfloat16 inputs": (of_one("input", in_format("bfloat16"), sequential), direct(inputs="bfloat16"), FLOAT32),
    "TF32 beside bfloat16": (
        of_one("input", tf32, of_one("weight", in_format("bfloat16"))),
        direct(inputs="tf32", weights="bfloat16"),
        FLOAT32,
    ),
    "bfloat16 results": (stored(rounded, "bfloat16"), bfloat16_results, FLOAT32),
    "float16 results": (stored(rounded, "float16"), direct(results="float16"), FLOAT32),
    "bfloat16 results in float16": (stored(rounded, "bfloat16"), bfloat16_results, HALF),
    "bfloat16 results, exact": (
        lambda case: rounded(rounded(case.expected(), "bfloat16"), case.input.dtype),
        ErrorModel.exact(results="bfloat16"),
        ("bfloat16",),
    ),
    "results truncated": (stored(cut, "bfloat16"), direct(results="bfloat16", store="truncate"), FLOAT32),
    "truncated": (lambda case: cut(im2col(case), case.input.dtype), direct(store="truncate"), ("bfloat16", "float16")),
    "float32 sums truncated": (partial(chopping, dtype="float32"), direct(sums="truncate"), BOTH),
    "float16 sums truncated": (partial(chopping, dtype="float16"), direct("float16", sums="truncate"), HALF),
    "inputs flushed": (of_one("input", flushed), direct(flush_to_zero="inputs"), FLOAT32),
    "weights flushed": (of_one("weight", flushed), direct(flush_to_zero="weights"), FLOAT32),
    "operands flushed": (of_operands(flushed), direct(flush_to_zero=("inputs", "weights")), FLOAT32),
    "results flushed": (lambda case: flushed(im2col(case)), direct(flush_to_zero="results"), FLOAT32),
    "results flushed, narrow": (
        quiet(lambda case: flushed(rounded(im2col(case), case.input.dtype))),
        direct(flush_to_zero="results"),
        ("bfloat16", "float16"),
    ),
    "bfloat16 results flushed": (
        lambda case: flushed(stored(rounded, "bfloat16")(case)),
        direct(results="bfloat16", flush_to_zero="results"),
        FLOAT32,
    ),
}


@pytest.mark.parametrize("name", HONEST)
@given(st.data())
def test_what_is_claimed_is_within_its_bound(name, data):
    """Of every fill."""
    run, model, dtypes = HONEST[name]
    case = data.draw(cases(dtypes))
    assert_within(case, computed(run, case), model)


@pytest.mark.parametrize(
    "scale", [2.0**-149, 2.0**-140, 2.0**-126, 2.0**-75, 2.0**-14, 1.0, 2.0**16, 2.0**60, 2.0**126]
)
@pytest.mark.parametrize("name", [name for name in HONEST if "float32" in HONEST[name][2]])
def test_all_over_the_range(name, scale):
    """From numbers that are subnormal, and products that are, to such as overflow; and cancelling ones."""
    run, model, _ = HONEST[name]
    assert_within_over_the_range(run, model, scale)


@pytest.mark.parametrize("terms", [1, 577, 4608])
@pytest.mark.parametrize("name", [name for name in HONEST if "truncated" in name])
def test_long_sums_of_equal_terms(name, terms):
    """As bad as truncation gets."""
    run, model, dtypes = HONEST[name]
    shape, value = (1, terms, 1, 1), 1 + 3 * 2.0**-7
    case = Case(input=np.full(shape, value, dtypes[0]), weight=np.full(shape, 1 - 2.0**-7, dtypes[0]))
    assert_within(case, run(case), model)


@settings(max_examples=2 * FEW)
@given(tiled(((2, 3), (4, 3), (6, 3), (3, 2))), st.data())
def test_winograd_over_any_points(drawn, data):
    """Small and large ones, near one another or not; transforms in float32 or in float16."""
    case, m, r = drawn
    some = st.fractions(-6, 6, max_denominator=5)
    points = data.draw(st.lists(some, min_size=m + r - 2, max_size=m + r - 2, unique=True))
    narrow = data.draw(st.sampled_from(["float32", "float16"]))
    try:
        model = ErrorModel.winograd(m, r, points=points, transforms=narrow)
    except GeometryError:  # float16 does not have all constants
        reject()
    shift = data.draw(st.integers(0, m - 1))
    out = winograd_by_points(case, m, r, points=tuple(points), shift=shift, narrow=narrow)
    assert_within(case, out, model)


@pytest.mark.parametrize("product", [gauss, karatsuba], ids=["gauss", "karatsuba"])
@given(case=strategies.cases(dtypes=("complex64",), asymmetric_padding=True, max_multiplications=600))
def test_three_products_of_complex_numbers(product, case):
    """Not judged wrong, of every fill that there is for them; gradients have a bound, too."""
    if case.expected().size:
        assert case.check(product(case), ErrorModel.complex3()).ok
    gradient = Case(op="conv2d_bias", grad_output=case.input)
    assert gradient.check(gradient.expected(), ErrorModel.complex3()).ok


COMPLEX = {
    "conv_transpose2d": ({"stride": 2}, ("input", "weight"), (False, False)),
    "conv2d_input": ({"input_size": (2, 4, 6, 6)}, ("grad_output", "weight"), (False, True)),
    "conv2d_weight": ({"weight_size": (4, 4, 3, 3)}, ("input", "grad_output"), (True, False)),
}


@pytest.mark.parametrize("op", COMPLEX)
@settings(max_examples=FEW)
@given(seed=st.integers(0, 2**32 - 1))
def test_three_products_of_gradients(op, seed):
    """Of which one operand is conjugated."""
    options, (first, second), conjugated = COMPLEX[op]
    draw = np.random.default_rng(seed).standard_normal
    shapes = {"input": (2, 4, 6, 6), "weight": (4, 4, 3, 3), "grad_output": (2, 4, 4, 4)}
    x, w = (draw((*shapes[name], 2)).astype("float32").view("complex64")[..., 0] for name in (first, second))

    def real(left, right):
        arrays = (np.ascontiguousarray(left), np.ascontiguousarray(right))
        return Case(op=op, **options, **dict(zip((first, second), arrays, strict=True))).expected("float32")

    a, c = x.real, w.real
    b, d = (-array.imag if flip else array.imag for array, flip in zip((x, w), conjugated, strict=True))
    once, twice, thrice = real(a + b, c), real(a, d - c), real(b, c + d)
    case = Case(op=op, **options, **{first: x, second: w})
    assert case.check(((once - thrice) + 1j * (once + twice)).astype("complex64"), "complex3").ok


def test_which_array_is_a_weight():
    """The gradient of the output counts as an input; of a weight's gradient both arrays are inputs."""
    rng = np.random.default_rng(0)
    x, w, grad = (rng.standard_normal(shape).astype("float32") for shape in ((1, 2, 5, 5), (3, 2, 3, 3), (1, 3, 3, 3)))
    of_weight = Case(op="conv2d_weight", input=x, weight_size=w.shape, grad_output=grad)
    assert (of_weight.bound("direct:weights=float16") == of_weight.bound()).all()
    assert (of_weight.bound("direct:inputs=float16") == of_weight.bound(direct(operands="float16"))).all()
    of_input = Case(op="conv2d_input", input_size=x.shape, weight=w, grad_output=grad)
    for text, changed in (("direct:weights=bfloat16", "weight"), ("direct:inputs=bfloat16", "grad_output")):
        narrow = in_format("bfloat16")
        arrays = {"weight": w, "grad_output": grad} | {changed: narrow({"weight": w, "grad_output": grad}[changed])}
        out = Case(op="conv2d_input", input_size=x.shape, **arrays).expected()
        assert of_input.check(out, text).ok
        assert not of_input.check(out).ok


# --- others do not ---------------------------------------------------------------------------------------------------


def with_another_sign(case):
    """a (d + c) in place of a (d - c)."""
    return gauss(case, lambda part: im2col(part) * np.float32(-1 if part.weight[0, 0, 0, 0] < 0 else 1))


FAR_APART = ("0", "1", "-1", "2", "-2", "4", "-4")
WRONG = {
    "winograd:6,3": six_by_six(FAR_APART, narrow="float16"),
    "winograd:6,3,points=0;1;-1;2;-2;4;-4": six_by_six(("0", "1", "-1", "3", "-3", "9", "-9"), narrow="float16"),
    "winograd:2,3,transforms=float16": six_by_six(FAR_APART, narrow="float16"),
    "direct:float32,weights=float16": of_one("weight", in_format("bfloat16")),
    "direct:float32,inputs=float16": of_one("input", in_format("bfloat16")),
    "direct:float32,results=bfloat16": stored(cut, "bfloat16"),
    "direct:float32,results=bfloat16,store=truncate": stored(rounded, "float8_e5m2"),
    "direct:float32,store=truncate": stored(cut, "float16"),
    "direct:float32,sums=truncate": partial(chopping, dtype="float16"),
    "direct:float32,flush_to_zero=inputs": of_one("weight", flushed),
    "direct:float32,flush_to_zero=weights": of_one("input", flushed),
    "direct:float32,flush_to_zero=sums": of_operands(flushed),
    "direct:float32,flush_to_zero=results": of_one("weight", flushed),
    "direct:float32,bias_after_rounding": stored(rounded, "bfloat16"),
}


def claims_case(fill, x_scale=1.0, w_scale=1.0):
    """A call that all kernels take."""
    x, w, b = operands(fill, (1, 6, 12, 12), (4, 6, 3, 3), bias=True)
    x, w = (array * np.float32(scale) for array, scale in ((x, x_scale), (w, w_scale)))
    return Case(input=x, weight=w, bias=b if x_scale == w_scale else None)


TELLING = [
    claims_case("normal"),
    claims_case("positive"),
    claims_case("normal", 2.0**-130, 2.0**100),  # subnormal numbers of which products are not
    claims_case("normal", 2.0**100, 2.0**-130),
]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_not_claimed_is_given_away(text):
    """By one of some fills, under a claim that a sound kernel meets."""
    assert any(not case.check(WRONG[text](case), text).ok for case in TELLING)


def test_alternatives_are_no_looser_than_the_one_that_is_meant():
    """What F(6x6, 3x3) may get wrong, a direct sum with a stride may not."""
    case = claims_case("normal")
    strided = Case(input=case.input, weight=case.weight, stride=2)
    text, wrong = "winograd:6,3|direct", of_operands(bfloat16)
    assert case.check(wrong(case), text).ok
    assert not strided.check(wrong(strided), text).ok


@pytest.mark.parametrize("product", [gauss, karatsuba], ids=["gauss", "karatsuba"])
def test_complex_products_that_are_wrong_are_given_away(product):
    """A wrong sign, TF32 operands, and one part forgotten, by numbers without structure."""
    draw = np.random.default_rng(0).standard_normal
    x, w = (draw((*shape, 2)).astype("float32").view("complex64")[..., 0] for shape in ((1, 8, 9, 9), (4, 8, 3, 3)))
    case, model = Case(input=x, weight=w), ErrorModel.complex3()
    assert case.check(product(case), model).ok
    assert not case.check(product(Case(input=x, weight=w.conj())), model).ok
    assert not case.check(of_operands(tf32, product)(case), model).ok
    assert not case.check(product(case).real.astype("complex64"), model).ok


def test_a_part_that_is_small_beside_the_other_may_be_all_wrong():
    """That is what three products cost, and four do not."""
    x, w = (np.full((1, 64, 1, 1), value, "complex64") for value in (1 + 1j * 2.0**-30, 1 + 1j * 2.0**-30))
    case = Case(input=x, weight=w)
    assert case.bound(ErrorModel.complex3()).imag.item() > case.expected().imag.item()
    assert case.bound().imag.item() < 2.0**-16 * case.expected().imag.item()


def test_results_that_are_representable_must_come_out():
    """Of sums of integers; others may be either neighbor, and past the largest number anything goes."""
    x = np.array([256, 257, 2.0**17], "float32").reshape(3, 1, 1, 1)
    case = Case(input=x, weight=np.ones((1, 1, 1, 1), "float32"))
    bounds = bfloat16_results.bound(case.sums, "float32").ravel()
    assert bounds[0] == bounds[2] == 0
    assert 1 <= bounds[1] < 1.01
    assert np.isinf(direct(results="float16").bound(case.sums, "float32").ravel()[2])
    assert (bfloat16_results.bound(case.sums, "bfloat16") == direct().bound(case.sums, "bfloat16")).all()
