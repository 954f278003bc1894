"""What is said of a fault that is in no corpus must be true: of the case that is shown, and of those around it."""

import numpy as np
import pytest
from common import PLANAR

import refconv
from refconv.cases.fills import known
from refconv.cases.fitting import fitted
from refconv.cases.plan import plan
from refconv.cases.recipe import QUANTIZED
from refconv.cases.supports import Supports
from refconv.cases.values import Values
from refconv.cases.variations import variations
from refconv.core.errors import GeometryError
from refconv.verification.diagnose.altered_calls import alterations
from refconv.verification.diagnose.arithmetic import functions
from refconv.verification.diagnose.conditions import conditions
from refconv.verification.diagnose.diagnosis import diagnose
from refconv.verification.diagnose.evidence import LARGEST, Evidence


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
    failure = refconv.verify(kernel, op, dtypes=(dtype,), cases=100, isolate=False, examples=False).failures[0]
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
    assert not {"batch", "groups"} & {failure.property for failure in report.failures}


def test_variations_change_little_and_are_valid():
    recipe = fitted("conv2d", Values(batch=2, groups=2, rows=3, columns=2, height=6, width=7, stride_h=2, top=1))
    tried = list(variations(recipe))
    assert len(tried) == len(set(tried)) > 50
    assert recipe not in tried
    for variation in tried:
        assert variation.op == recipe.op
        assert variation.dtype == recipe.dtype
        assert variation.case().check(variation.case().expected()).ok


OPERATORS_AND_DTYPES = [
    *((op, dtype) for op in PLANAR if op not in QUANTIZED for dtype in ("float32", "int16")),
    *((op, "uint8") for op in QUANTIZED),
    ("conv2d", "bfloat16"), ("conv2d", "float8_e4m3fn"), ("conv2d", "complex64"), ("conv_transpose2d", "float64"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "dtype"), OPERATORS_AND_DTYPES)
def test_every_operator_and_dtype_gets_a_diagnosis(op, dtype):
    """The last elements lost, and zeros everywhere: neither costs the report."""

    def without_the_last(*arguments, **keywords):
        out = np.array(getattr(refconv, op)(*arguments, **keywords))
        out[..., -1:] = 0
        return out

    def zeros(*arguments, **keywords):
        return np.zeros_like(getattr(refconv, op)(*arguments, **keywords))

    for wrong in (without_the_last, zeros):
        options = {"cases": 20, "isolate": False, "examples": False, "shrink_seconds": 0.3}
        report = refconv.verify(wrong, op, dtypes=(dtype,), **options)
        assert any(failure.diagnosis for failure in report.failures)


@pytest.mark.parametrize(("op", "dtype"), OPERATORS_AND_DTYPES)
def test_every_altered_call_is_one_or_none(op, dtype):
    for fill in sorted({"integers", "special", "subnormal"} & set(known(dtype))):
        case = fitted(
            op, Values(dtype=dtype, fill=fill, batch=2, inputs=2, rows=2, height=5, width=4, bias=True)
        ).case()
        for alteration in alterations():
            try:
                result = alteration(case)
            except GeometryError:
                continue  # there is no such call
            assert result.dtype == case.unwritten.dtype


def test_products_images_and_biases_are_rounded_as_said():
    """Computed anew, one product or image at a time."""
    of_name = {function.name: function.compute for function in functions()}
    v = Values(batch=3, inputs=2, outputs=2, rows=2, columns=2, height=4, width=3, fill="normal", bias=True)
    case = fitted("conv2d", v).case()
    (n, c, height, width), (k, _, rows, columns) = case.input.shape, case.weight.shape
    total = np.zeros((n, k, height - 1, width - 1))
    for channel, r, s in np.ndindex(c, rows, columns):
        window = case.input[:, channel, None, r : r + height - 1, s : s + width - 1].astype("float64")
        total += (window * case.weight[None, :, channel, r, s, None, None]).astype("float16")
    expected = (total + case.bias[:, None, None]).astype("float32")
    np.testing.assert_array_equal(of_name["products-in-float16"](case), expected)
    case = fitted("conv2d_weight", v._replace(dtype="float16", bias=False)).case()
    parts = [
        refconv.conv2d_weight(case.input[m : m + 1], case.weight_size, case.grad_output[m : m + 1]) for m in range(n)
    ]
    np.testing.assert_array_equal(
        of_name["images-rounded"](case), sum(np.float64(part) for part in parts).astype("float16")
    )
    case = fitted("conv2d", v._replace(dtype="float16")).case()
    bare = refconv.conv2d(case.input, case.weight)
    rounded = (bare.astype("float64") + case.bias[:, None, None]).astype("float16")
    np.testing.assert_array_equal(of_name["bias-after-rounding"](case), rounded)


def truncated(*arguments):
    with np.errstate(all="ignore"):
        exact = refconv.conv2d(*(np.float64(a) if isinstance(a, np.ndarray) else a for a in arguments))
        near = exact.astype("float16")
        return np.where(abs(near.astype("float64")) > abs(exact), np.nextafter(near, np.float16(0)), near)


@pytest.mark.parametrize(
    ("kernel", "dtype", "said"),
    [
        (truncated, "float16", "rounded toward zero"),
        (lambda *a: np.clip(refconv.conv2d(*a), -6, 6), "float32", "clipped to [-6, 6]"),
        (lambda *a: np.tanh(refconv.conv2d(*a)), "float32", "tanh, which nobody asked for"),
        (
            lambda *a: np.nan_to_num(refconv.conv2d(*a), nan=0, posinf=np.inf, neginf=-np.inf),
            "float32",
            "NaN turned into 0",
        ),
        (lambda *a: refconv.conv2d(*a) * np.float32(1.5), "float32", "a constant factor"),
        (lambda *a: refconv.conv2d(*a) + np.float32(1.5), "float32", "off by a constant"),
    ],
)
def test_what_arithmetic_does_is_said(kernel, dtype, said):
    report = refconv.verify(kernel, dtypes=(dtype,), cases=80, isolate=False, examples=False)
    assert any(said in str(failure.diagnosis) for failure in report.failures), [
        str(f.diagnosis) for f in report.failures
    ]


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        (lambda _x, w, g: len(w) // g >= 32, ("filters of a group at least 32",)),
        (lambda _x, w, g: g > 1 and w.shape[1] == 1, ("depthwise",)),
        (lambda x, w, _g: w.shape[2:] == (3, 3) and len(x) > 1, ("3x3 kernel", "more than one image")),
    ],
)
def test_conditions_are_what_experiments_show(gate, said):
    def kernel(x, w, b, stride, padding, dilation, groups):
        y = refconv.conv2d(x, w, b, stride, padding, dilation, groups)
        return y + 1 if y.size and gate(x, w, groups) else y

    report = refconv.verify(kernel, cases=150, isolate=False, examples=False)
    failure = next(failure for failure in report.failures if failure.property == "values")
    conditions = failure.diagnosis.gate or failure.diagnosis.conditions
    assert set(said) <= set(conditions)
    assert not any("output" in condition or "pixels" in condition for condition in conditions)


def test_of_one_failing_case_without_experiment_no_condition_is_said():
    recipes = list(plan("conv2d", ["float32"], Supports(), 60))
    assert conditions(recipes[:1], recipes[1:]) == ()
    assert conditions(recipes[:1], recipes[1:30], recipes[30:])


def test_fixed_cases_get_a_diagnosis_too():
    def rectified_digits(input, weight, *others):
        digits = (input.shape[2:], weight.shape[:1]) == ((28, 28), (20,))
        return (rectified if digits else refconv.conv2d)(input, weight, *others)

    report = refconv.verify(rectified_digits, cases=20, isolate=False, shrink_seconds=1)
    assert [(failure.section, "relu" in str(failure.diagnosis)) for failure in report.failures] == [
        ("handwritten digits", True)
    ]


def test_what_fails_in_several_sections_is_made_small_in_the_first():
    report = refconv.verify(rectified, cases=20, isolate=False, shrink_seconds=1)
    sections = {failure.section: failure for failure in report.failures}
    assert {"generated cases", "documentation examples", "handwritten digits"} == sections.keys()
    assert all("relu" in str(failure.diagnosis) for failure in sections.values())
    assert sections["generated cases"].recipe.geometry.products < 10
    assert sections["documentation examples"].recipe.geometry.products > 1000


def test_a_larger_case_that_is_right_when_called_again_confirms_nothing():
    """It failed once: there are no wrong outputs to compare."""

    def without_bias(input, weight, _bias, *options):
        return refconv.conv2d(input, weight, None, *options)

    def evidence(recipe, function):
        case = recipe.case()
        return Evidence(recipe, case, function(*case.arguments()), failed=True, fault="values")

    small = [fitted("conv2d", Values(bias=True, inputs=n, outputs=3, height=4, width=5, seed=n)) for n in range(1, 6)]
    layer = Values(inputs=40, outputs=40, height=30, width=30, rows=3, columns=3, bias=True)
    large = fitted("conv2d", layer, limit=10**8)
    assert large.geometry.products > LARGEST
    cases = [*(evidence(recipe, without_bias) for recipe in small), evidence(large, refconv.conv2d)]
    diagnosis = diagnose(cases, "conv2d", lambda case, _: without_bias(*case.arguments()))
    assert diagnosis.mutant.startswith("bias-ignored")
