"""Epilogues: what must come out against rational numbers and mpmath, and what else is admissible."""

import math
from fractions import Fraction

import ml_dtypes
import mpmath
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kernels.epilogues import CHAINS, EPILOGUES, convolution

import refconv
from refconv import Case, ErrorModel
from refconv.core import formats
from refconv.judge.epilogue import truth
from refconv.judge.epilogue.admissible import Arithmetic
from refconv.judge.epilogue.enclosures import Interval, image
from refconv.ops.epilogue import Step, steps_of

FLOATS = ("float16", "bfloat16", "float32", "float64")
RATIONAL = ("scale", "residual", "relu", "relu6", "clip(-1.5,2.25)", "leaky_relu(0.01)", "leaky_relu(-2)", "hardswish")
INEXACT = ("silu", "gelu", "gelu_tanh", "sigmoid", "tanh")
CLOSE = Fraction(1, 2**20)  # ULP beyond half of one, as docs/numerics.md promises

mpmath.mp.dps = 70


def _sqrt_2_over_pi():
    return mpmath.sqrt(2 / mpmath.pi)


FAR = 1000  # there mpmath's ncdf is 0 or 1 to more digits than any format has

# As their papers and torch's pages have them, not as refconv computes them.
MPMATH = {
    "silu": lambda x: x / (1 + mpmath.exp(-x)),
    "gelu": lambda x: x * mpmath.ncdf(x) if abs(x) < FAR else max(x, 0),
    # (1 + tanh(t)) / 2 = 1 / (1 + exp(-2 t)), of which nothing cancels
    "gelu_tanh": lambda x: x / (1 + mpmath.exp(-2 * _sqrt_2_over_pi() * (x + mpmath.mpf("0.044715") * x**3))),
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "tanh": mpmath.tanh,
}


def mp(x):
    return mpmath.mpf(x.numerator) / mpmath.mpf(x.denominator)


def drawn(case_of, dtype):
    """A small case of a dtype, with operands."""
    return refconv.Recipe.parse("2,3,4,5:4,3,2,2:padding=1", dtype=dtype, **case_of).case()


def sum_of(case, index):
    """The exact sum behind an output as a rational number, without refconv's kernels."""
    n, k, p, q = index
    x = np.pad(case.input[n].astype(np.float64), ((0, 0), *case.geometry.padding))
    w = case.weight[k].astype(np.float64)
    window = x[:, p : p + w.shape[1], q : q + w.shape[2]]
    terms = zip(window.ravel().tolist(), w.ravel().tolist(), strict=True)
    return sum((Fraction(a) * Fraction(b) for a, b in terms), Fraction(0))


def some(case, number=8):
    """The indices of some outputs."""
    return list(np.ndindex(case.unwritten.shape))[:: -(-case.unwritten.size // number)]


def by_fractions(text, x, operands):
    """The steps in rational numbers."""
    left = list(operands)
    for step in steps_of(text):
        if step.name == "scale":
            x = x * left.pop(0) + left.pop(0)
        elif step.name == "residual":
            x = x + left.pop(0)
        elif step.name in ("relu", "relu6", "clip"):
            low, high = {"relu": (0, None), "relu6": (0, 6)}.get(step.name, step.numbers)
            x = max(x, Fraction(low))
            x = x if high is None else min(x, Fraction(high))
        elif step.name == "leaky_relu":
            x = x if x >= 0 else x * Fraction(step.numbers[0])
        else:
            x = x * min(max(x + 3, 0), 6) / 6
    return x


def at(case, index):
    """The operands of an output as rational numbers."""
    return [Fraction(float(one[index] if one.ndim > 1 else one[index[1]])) for one in case.operands]


@pytest.mark.parametrize("dtype", FLOATS)
@settings(max_examples=40)
@given(
    text=st.sampled_from([*RATIONAL, "scale,residual,relu", "residual,hardswish,scale"]),
    seed=st.integers(0, 2**32),
    fill=st.sampled_from(["normal", "cancelling", "wide", "subnormal", "integers"]),
)
def test_rational_steps_are_correctly_rounded(dtype, text, seed, fill):
    case = drawn({"epilogue": text, "fill": fill, "seed": seed}, dtype)
    expected = case.expected()
    for index in some(case):
        exact = by_fractions(text, sum_of(case, index), at(case, index))
        right = formats.round_fraction(exact, dtype)
        assert expected[index] == right or (np.isnan(expected[index]) and np.isnan(right)), (index, exact)


def ulp(x, dtype):
    """The unit in the last place of a rational number in a format."""
    info = ml_dtypes.finfo(dtype)
    exponent = math.floor(mpmath.log(abs(mp(x)), 2)) if x else int(info.minexp)
    return Fraction(2) ** (max(exponent, int(info.minexp)) - int(info.nmant))


@pytest.mark.parametrize("dtype", FLOATS)
@settings(max_examples=30)
@given(
    name=st.sampled_from(INEXACT),
    seed=st.integers(0, 2**32),
    fill=st.sampled_from(["normal", "cancelling", "wide", "integers"]),
)
def test_functions_are_within_half_a_unit_and_a_millionth(dtype, name, seed, fill):
    case = drawn({"epilogue": name, "fill": fill, "seed": seed}, dtype)
    expected = case.expected()
    for index in some(case):
        right = MPMATH[name](mp(sum_of(case, index)))
        actual = float(expected[index])
        if not math.isfinite(actual):
            assert abs(right) > formats.largest(dtype)
            continue
        units = abs(mpmath.mpf(actual) - right) / mp(ulp(Fraction(float(right)), dtype))
        assert units <= mp(Fraction(1, 2) + CLOSE), (index, right)


@pytest.mark.parametrize("name", INEXACT)
@settings(max_examples=40)
@given(x=st.floats(-2000, 2000) | st.floats(-8, 8), exponent=st.integers(-80, 0))
@example(-37.5, 0)
@example(-5.9, 0)
@example(1.0, -40)
def test_enclosures_hold_the_truth(name, x, exponent):
    """Of single numbers, with few units in the last place of float64 to spare."""
    x = math.ldexp(x, exponent)
    low, high = image(Step(name), Interval(np.array([x]), np.array([x])))
    right = MPMATH[name](mpmath.mpf(x))
    assert mpmath.mpf(low[0]) <= right <= mpmath.mpf(high[0])
    near = truth.value(Step(name), Fraction(x))
    assert abs(mp(near) - right) <= mpmath.mpf(10) ** -50 * abs(right) + mpmath.mpf(10) ** -1000


@pytest.mark.parametrize("name", [*INEXACT, "hardswish", "leaky_relu(-2)", "leaky_relu(0.5)", "clip(-1,1)", "relu"])
@settings(max_examples=40)
@given(st.floats(-9, 9), st.floats(0, 6), st.floats(0, 1))
def test_intervals_hold_what_lies_within(name, low, width, share):
    (step,) = steps_of(name)
    inside = min(low + share * width, low + width)
    ends = image(step, Interval(np.array([low]), np.array([low + width])))
    value = image(step, Interval(np.array([inside]), np.array([inside])))
    assert ends.low[0] <= value.high[0]
    assert value.low[0] <= ends.high[0]


@pytest.mark.parametrize("before", [False, True], ids=["after", "before"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), fill=st.sampled_from(["normal", "cancelling", "special", "wide", "integers"]),
       steps=st.sampled_from([*EPILOGUES, *CHAINS]))  # fmt: skip
def test_kernels_in_float32_are_within_bounds(dtype, before, seed, fill, steps):
    kernel = convolution(*steps, before=before)
    case = drawn({"epilogue": steps, "fill": fill, "seed": seed, "rounded": kernel.rounded}, dtype)
    refconv.assert_close(kernel(*case.arguments()), case)


@pytest.mark.parametrize("steps", [*EPILOGUES, *CHAINS], ids=str)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_what_must_come_out_is_identical(steps, dtype):
    case = drawn({"epilogue": steps, "fill": "normal", "seed": 5}, dtype)
    assert case.check(case.expected()).verdict == "identical"
    assert case.is_expected(case.expected())
    assert case.check(case.expected(), ErrorModel.exact()).verdict == "identical"
    other = case.expected()
    other.flat[np.argmax(np.abs(other))] *= 1.1
    assert not case.check(other).ok


@pytest.mark.parametrize("steps", EPILOGUES, ids=str)
def test_a_missing_epilogue_is_wrong(steps):
    case = drawn({"epilogue": steps, "fill": "normal", "seed": 6}, "float32")
    bare = refconv.conv2d(*case.arguments()[:7])
    assert case.check(bare).verdict == "wrong"
    assert not np.array_equal(bare, case.expected())


def test_bounds_are_tight_where_functions_are_flat():
    """A ReLU has no error where its sum is certainly negative, and a sum between the limits of a clip has its own."""
    ones = np.ones((1, 1, 1, 1), "float32")
    negative = Case(input=-ones / 3, weight=ones / 3, epilogue="relu")
    assert negative.check(np.zeros((1, 1, 1, 1), "float32")).verdict == "identical"
    assert negative.check(np.full((1, 1, 1, 1), 1e-30, "float32")).verdict == "wrong"
    bare, clipped = (Case(input=ones / 3, weight=ones / 3, epilogue=text) for text in ("", "clip(-1,1)"))
    once = np.spacing(np.float32(1 / 9))
    assert abs(bare.bound().item() - clipped.bound().item()) < once
    assert Case(input=9 * ones, weight=ones, epilogue="tanh").bound().item() < 16 * formats.unit_roundoff("float32")


def test_small_integers_leave_no_room():
    case = drawn({"epilogue": "scale,residual,relu", "fill": "integers", "seed": 3}, "float32")
    next_ones = np.nextafter(case.expected(), np.float32(np.inf))
    assert case.check(next_ones).n_wrong == next_ones.size


def test_before_and_after_are_told_apart():
    """A residual that cancels shows the rounding of the sum."""
    x = np.full((1, 1, 1, 1), 1 + 2**-9, "float16")
    case = {"input": x, "weight": x, "epilogue": "residual", "operands": (np.float16(-1) * np.ones_like(x),)}
    before, after = Case(**case, rounded="before"), Case(**case)
    assert before.expected() != after.expected()
    assert not after.check(before.expected()).ok
    assert not before.check(after.expected()).ok


NAN = np.array([[[[np.nan]]]], "float32")


@pytest.mark.parametrize(
    ("epilogue", "sum_", "accepted", "strictly"),
    [
        ("relu", np.nan, (np.nan, 0), (np.nan,)),
        ("clip(-1,2)", np.nan, (np.nan, -1, 2), (np.nan,)),
        ("relu", -np.inf, (0,), (0,)),
        ("relu6", np.inf, (6,), (6,)),
        ("silu", -np.inf, (0, np.nan), (0, np.nan)),
        ("gelu", -np.inf, (0, np.nan), (0, np.nan)),
        ("hardswish", np.inf, (np.inf, np.nan), (np.inf, np.nan)),
        ("leaky_relu(0)", -np.inf, (0, np.nan), (0, np.nan)),
        ("sigmoid", np.inf, (1, np.nan), (1, np.nan)),
        ("tanh", np.nan, (np.nan,), (np.nan,)),
    ],
)
def test_what_becomes_of_nan_and_infinity(epilogue, sum_, accepted, strictly):
    case = Case(input=np.full((1, 1, 1, 1), sum_, "float32"), weight=np.ones_like(NAN), epilogue=epilogue)
    for value in (np.nan, np.inf, -np.inf, 0, 1, -1, 2, 3, 6):
        output = np.full((1, 1, 1, 1), value, "float32")
        for strict, right in ((False, accepted), (True, strictly)):
            is_right = any(value == one or (np.isnan(value) and np.isnan(one)) for one in right)
            assert case.check(output, strict=strict).ok == is_right, (value, strict)


def test_errors_that_no_sound_sum_has_are_suspicious_behind_a_relu_only():
    """Where the sum passes unchanged its errors are the sum's; behind other steps nothing is concluded from them."""
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype("float32") for shape in ((4, 64, 9, 9), (8, 64, 3, 3)))
    verdicts = {"relu": "suspicious", ("clip", -9, 9): "suspicious", ("leaky_relu", 0.5): "within bound"}
    for step, verdict in verdicts.items():
        case = Case(input=x, weight=w, epilogue=[step])
        lower = np.where(np.abs(case.expected()) < 9, case.expected() * np.float32(0.99999), case.expected())
        assert case.check(lower).verdict == verdict
        assert case.check(convolution(step)(*case.arguments())).ok


@pytest.mark.parametrize("steps", [("relu",), ("gelu",), ("scale", "residual", "relu")], ids=str)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=20)
def test_results_may_be_stored_in_a_narrower_format(steps, seed):
    case = drawn({"epilogue": steps, "fill": "normal", "seed": seed}, "float32")
    output = convolution(*steps)(*case.arguments())
    stored = formats.rounded(output, "bfloat16").astype("float32")
    assert case.check(stored, "direct:float32,results=bfloat16").ok
    assert not case.check(stored).ok


class TestFunctionsOfTheCaller:
    softplus = refconv.Epilogue(lambda x: np.logaddexp(0, x), error=4)
    sine = refconv.Epilogue(np.sin, error=4, slope=1)

    def case(self, step):
        return drawn({"epilogue": [step], "fill": "normal", "seed": 1}, "float32")

    @pytest.mark.parametrize("step", [softplus, sine], ids=["softplus", "sine"])
    def test_are_judged(self, step):
        case = self.case(step)
        sums = refconv.conv2d(*case.arguments(), precision="float32")
        refconv.assert_close(step.function(sums).astype("float32"), case)
        assert not case.check(np.cos(sums)).ok

    def test_must_be_monotone_or_say_how_steep_they_are(self):
        x = np.array([[[[1.5]]]], "float16")
        case = Case(input=x, weight=x, epilogue=[refconv.Epilogue(lambda x: np.sin(1e7 * x), error=4)])
        with pytest.raises(ValueError, match="must be monotone, or have slope="):
            case.check(x)

    def test_have_limits(self):
        case = Case(input=-np.inf * np.ones((1, 1, 1, 1)), weight=np.ones((1, 1, 1, 1)), epilogue=[self.softplus])
        assert case.expected() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epilogue": "swish"}, "epilogue='swish': must be one of 'scale'"),
        ({"epilogue": "clip(6,0)"}, "clip(6,0): low must not be above high"),
        ({"epilogue": [("clip", 1)]}, "clip with 1 numbers: must be clip(low, high)"),
        ({"epilogue": [("relu", 1)]}, "must be relu alone"),
        ({"epilogue": "leaky_relu(x)"}, "slope='x': must be a number"),
        ({"epilogue": "leaky_relu(inf)"}, "slope='inf': must be finite"),
        ({"epilogue": "relu,"}, "must be names with commas between"),
        ({"epilogue": [np.tanh]}, "of a function its error must be known, refconv.Epilogue(function, error=...)"),
        ({"epilogue": 3}, "epilogue=3: must be a sequence of steps, or a text"),
        ({"epilogue": "math:pi"}, "must be a refconv.Epilogue"),
        ({"epilogue": "nowhere:step"}, "must be module:name of a refconv.Epilogue"),
        ({"epilogue": "residual"}, "operands: 0 arrays: must be (residual)"),
        ({"operands": [np.ones(1, "float32")]}, "operands: 1 arrays: must be empty"),
        ({"epilogue": "residual", "operands": (np.ones((2, 4), "float32"),)}, "residual has shape (2, 4): must have"),
        ({"epilogue": "residual", "operands": (np.ones((1, 1, 1, 1)),)}, "residual has dtype float64: must be float32"),
        (
            {"epilogue": "scale", "operands": (np.ones(2, "f4"), np.ones(1, "f4"))},
            "scale has shape (2,): must have (1,)",
        ),
        ({"rounded": "before"}, "rounded='before': must be given with an epilogue"),
        ({"epilogue": "relu", "rounded": "never"}, "rounded='never': must be one of"),
    ],
)
def test_bad_epilogues_are_refused(arguments, message):
    ones = np.ones((1, 1, 1, 1), "float32")
    with pytest.raises((ValueError, TypeError)) as raised:
        Case(input=ones, weight=ones, **arguments)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"op": "conv2d_weight"}, "epilogue='relu': conv2d_weight does not take it"),
        ({"op": "conv2d_quantized", "dtype": "int8"}, "epilogue='relu': conv2d_quantized does not take it"),
        ({"dtype": "int8"}, "epilogue='relu': must not be given for int8"),
        ({"dtype": "complex64"}, "epilogue='relu': must not be given for complex64"),
    ],
)
def test_other_operators_have_none(recipe, message):
    with pytest.raises(refconv.GeometryError) as raised:
        refconv.Recipe.parse("1,1,3,3:1,1,2,2", epilogue="relu", **recipe)
    assert message in str(raised.value)


def test_errors_of_functions_are_declared():
    with pytest.raises(TypeError, match="error"):
        refconv.Epilogue(np.tanh)
    with pytest.raises(ValueError, match="error=-1: must not be negative"):
        refconv.Epilogue(np.tanh, error=-1)
    with pytest.raises(TypeError, match="must be callable"):
        refconv.Epilogue(3, error=1)


def test_cases_tell_their_epilogue():
    case = drawn({"epilogue": "scale,residual,clip(0,6)", "fill": "integers"}, "float32")
    assert (
        "scale=float32[4], shift=float32[4], residual=float32[2, 4, 5, 6], epilogue='scale,residual,clip(0,6)'"
        in str(case)
    )
    ones = np.ones((1, 1, 1, 1), "float32")
    small = Case(input=ones, weight=ones, epilogue="residual", operands=(ones,), rounded="before")
    told = "operands=(np.array([[[[1.0]]]], 'float32'),)"
    assert told in repr(small)
    assert "epilogue='residual', rounded='before')" in repr(small)


def test_a_residual_lies_as_the_output_does():
    rng = np.random.default_rng(2)
    x, w = rng.standard_normal((2, 5, 4, 3)), rng.standard_normal((2, 2, 3, 6))
    residual = rng.standard_normal((2, 4, 3, 6))
    last = Case(input=x, weight=w, layout="NHWC", weight_layout="HWIO", epilogue="residual,relu", operands=(residual,))
    first = Case(
        input=np.moveaxis(x, -1, 1), weight=w.transpose(3, 2, 0, 1), epilogue="residual,relu",
        operands=(np.moveaxis(residual, -1, 1),),
    )  # fmt: skip
    assert np.array_equal(np.moveaxis(last.expected(), -1, 1), first.expected())
    assert last.arguments()[-1].shape == residual.shape


@given(st.integers(0, 2**20), st.sampled_from(["float32", "float16"]))
def test_steps_admit_their_own_rounding_only(bits, dtype):
    """A residual is added with one rounding: the next number but one is too far."""
    x = np.array([1 + bits * 2.0**-22])
    arithmetic = Arithmetic(np.dtype(dtype))
    low, high = arithmetic.step(Step("residual"), Interval(x, x), (np.array([0.5]),))
    assert low[0] <= x[0] + 0.5 <= high[0]
    assert high[0] - low[0] <= 2 * formats.unit_roundoff(dtype)
