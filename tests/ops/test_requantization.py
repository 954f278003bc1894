"""The rules of requantization, against Python's integers and fractions, and against NumPy kernels of other authors."""

import math
from fractions import Fraction

import numpy as np
import pytest
from common import same_bits
from hypothesis import example, given
from hypothesis import strategies as st
from kernels.requantized import STEPS, exact_sums

import refconv
from refconv import GeometryError, conv2d_quantized, strategies
from refconv.core import formats
from refconv.ops.requantization import RULES

# The rules as their specifications have them, number by number.


def nearest(exact, ties):
    """A fraction rounded to an integer; ties go "up", "away" from zero or to "even" ones."""
    down = math.floor(exact)
    if exact - down != Fraction(1, 2):
        return math.floor(exact + Fraction(1, 2))
    return {"up": down + 1, "away": down + (exact > 0), "even": down + down % 2}[ties]


def multiplier_and_exponent(scales):
    """The effective scale in float64, as a multiplier of 31 bits and a power of two."""
    x, w, y = (float(np.float32(scale)) for scale in scales)
    significand, exponent = math.frexp(x * w / y)
    multiplier = nearest(Fraction(significand) * 2**31, "away")
    if multiplier == 2**31:
        multiplier, exponent = 2**30, exponent + 1
    if exponent < -31:
        return 0, 0
    return (2**31 - 1, 30) if exponent > 30 else (multiplier, exponent)


def by_fixed(total, multiplier, exponent):
    return nearest(Fraction(total * multiplier, 2**31) * Fraction(2) ** exponent, "up")


def by_fixed_16(total, multiplier, exponent):
    short = min((multiplier + 2**15) >> 16, 2**15 - 1)
    return nearest(Fraction(total * short, 2**15) * Fraction(2) ** exponent, "up")


def twice(ties):
    def rule(total, multiplier, exponent):
        shifted = min(max(total * 2 ** max(exponent, 0), -(2**31)), 2**31 - 1)
        high = nearest(Fraction(shifted * multiplier, 2**31), "up")
        return nearest(Fraction(high, 2 ** max(-exponent, 0)), ties)

    return rule


def as_float32(exact):
    return float(formats.round_fraction(Fraction(exact), "float32"))


def in_floats(total, scales, ties):
    x, w, y = (Fraction(float(np.float32(scale))) for scale in scales)
    scale = as_float32(Fraction(as_float32(x * w)) / y)
    product = as_float32(Fraction(as_float32(total)) * Fraction(scale))
    return nearest(Fraction(min(max(product, -(2.0**40)), 2.0**40)), ties)  # it may be infinite


BY_FRACTIONS = {
    "fixed": by_fixed,
    "fixed-double": twice("away"),
    "fixed-double-up": twice("up"),
    "fixed-16": by_fixed_16,
}


def expected(rule, total, scales, zero, dtype):
    """One result."""
    if rule in BY_FRACTIONS:
        value = BY_FRACTIONS[rule](total, *multiplier_and_exponent(scales))
    else:
        value = in_floats(total, scales, {"float": "even", "float-away": "away"}[rule])
    info = np.iinfo(dtype)
    return min(max(value + zero, int(info.min)), int(info.max))


def result(rule, total, scales, zero, dtype, **options):
    """The same by refconv: the sum as the bias of nothing."""
    x, w = np.zeros((1, 1, 1, 1), dtype), np.zeros((1, 1, 1, 1), np.int8)
    bias = np.array([total], np.int64 if dtype == "int16" else np.int32)
    x_scale, w_scale, y_scale = map(float, scales)
    arguments = (x, x_scale, 0, w, w_scale, 0, y_scale, np.dtype(dtype).type(zero), bias)
    return conv2d_quantized(*arguments, requantize=rule, **options).item()


@st.composite
def sums(draw):
    """A sum, scales that bring it near a half or anywhere, and a zero point."""
    dtype = draw(st.sampled_from(["int8", "uint8", "int16"]))
    info = np.iinfo(dtype)
    total = draw(st.one_of(st.integers(-(2**31), 2**31 - 1), st.integers(-5000, 5000)))
    if draw(st.booleans()):
        scales = [2.0 ** draw(st.integers(-12, 6)) for _ in range(3)]
    else:
        scales = [float(np.float32(draw(st.floats(2.0**-30, 2.0**30, width=32)))) for _ in range(2)]
        halves = draw(st.integers(1, 2 * (int(info.max) - int(info.min)) + 10))
        scales.append(float(np.float32(2 * scales[0] * scales[1] * (abs(total) or 1) / halves)))
    return dtype, total, tuple(scales), draw(st.integers(int(info.min), int(info.max)))


EDGE = (1 - 2.0**-17, 1 + 2.0**-17, 4.0)  # of whose multiplier 31 bits are 2**31


@example("fixed", ("int8", 2, EDGE, 0))
@example("fixed-double", ("int8", -2, EDGE, 0))
@example("fixed-double", ("int8", -127, (1.0, 1.0, 2.0), 0))
@example("fixed", ("int8", 2**31 - 1, (2.0**-10, 2.0**-10, 2.0**13), 3))  # exponent -32: nothing is left
@example("fixed", ("int8", 2**31 - 1, (2.0**-10, 2.0**-10, 2.0**11), 3))  # exponent -30
@example("fixed", ("int8", -1, (2.0**20, 2.0**20, 1.0), 3))  # exponent 41
@example("fixed-double", ("uint8", 1, (2.0**20, 2.0**10, 1.0), 3))  # saturated on the way
@example("fixed-double", ("uint8", -(2**31), (2.0**3, 1.0, 1.0), 200))
@example("fixed-16", ("int16", 1, (2.0**14, 1.0, 1.0), 0))
@example("float-away", ("int8", -1, (0.5, 1.0, 1.0), 0))
@example("float-away", ("int8", -(2**31), (2.0**60, 2.0**60, 1.0), 0))  # infinite
@example("float-away", ("uint8", 1, (float(np.float32(0.49999997)), 1.0, 1.0), 0))
@given(st.sampled_from(RULES), sums())
def test_rules_are_those_of_their_specifications(rule, parameters):
    dtype, total, scales, zero = parameters
    assert result(rule, total, scales, zero, dtype) == expected(rule, total, scales, zero, dtype)


@given(st.integers(-(2**62), 2**62), st.integers(20, 31), st.sampled_from(["fixed", "fixed-16", "float"]))
def test_sums_of_64_bits(total, bits, rule):
    """They are exact where products with a multiplier do not fit into int64."""
    scales = (2.0**-bits, 1.0, 1.0 + 2.0**-20)
    assert result(rule, total, scales, 0, "int16") == expected(rule, total, scales, 0, "int16")


def test_bits_past_the_largest_shift_to_the_left_of_sums_of_64_bits():
    for bits in range(13, 40):
        assert result("fixed-16", 1, (2.0**bits, 1.0, 1.0), 0, "int16") == min(2**bits, 2**15 - 1)
        assert result("fixed-16", -1, (2.0**bits, 1.0, 1.0), 0, "int16") == max(-(2**bits), -(2**15))


@given(
    strategies.cases("conv2d_quantized", dtypes=["int8", "uint8", "int16"], unbatched=True, max_multiplications=5000)
)
def test_sums_are_exact_and_rules_have_a_number_for_each_channel(case):
    """Against NumPy, tap by tap; a function gets the sums of a channel, and its index."""
    batched = case.input.ndim == 4
    x = case.input if batched else case.input[None]
    options = case.arguments()[9:]
    exact = exact_sums(x, case.input_zero_point, case.weight, case.weight_zero_point, case.bias, options)
    seen = {}

    def rule(values, channel):
        assert values.dtype == np.int64
        seen.setdefault(channel, []).append(values.copy())
        return values % 100 + channel % 20 - 60

    out = conv2d_quantized(*case.arguments(), requantize=rule)
    channels = np.arange(exact.shape[1])[:, None, None]
    info = np.iinfo(out.dtype)
    wanted = np.clip(exact % 100 + channels % 20 - 60, info.min, info.max).astype(out.dtype)
    assert same_bits(out, wanted if batched else wanted[0])
    assert not exact.size or sorted(seen) == list(range(exact.shape[1]))


def test_a_function_clamps_to_an_activation():
    """As kernels do that have a ReLU6 inside: TFLite's activation_min and activation_max."""
    x, w = np.arange(8, dtype=np.int8).reshape(1, 1, 2, 4), np.full((1, 1, 1, 1), 2, np.int8)
    out = conv2d_quantized(x, 1.0, 0, w, 1.0, 0, 1.0, 0, requantize=lambda sums, _: np.clip((sums + 1) >> 1, 0, 6))
    assert out.ravel().tolist() == [0, 1, 2, 3, 4, 5, 6, 6]


# What is refused.

X, W = np.ones((2, 4, 5, 6), np.int8), np.ones((6, 4, 3, 3), np.int8)
WIDE = {"input": X.astype("int16")}
REFUSED = {
    "unknown": ({"requantize": "fixd"}, GeometryError, "requantize='fixd': must be one of 'float', 'float-away'"),
    "no name": ({"requantize": 3}, GeometryError, "requantize=3: must be one of"),
    "bits": ({"weight_bits": 5}, GeometryError, "weight_bits=5: must be 4 or 8"),
    "bits of another type": ({"weight_bits": 4.0}, TypeError, "weight_bits=4.0: must be an integer"),
    "weights out of range": (
        {"weight": W * 8, "weight_bits": 4}, GeometryError, "weight[0, 0, 0, 0]=8: must be at least -8 and at most 7",
    ),
    "unsigned weights of 4 bits": (
        {"weight": W.astype("uint8"), "weight_bits": 4}, TypeError, "weight has dtype uint8: must be int8",
    ),
    "zero point out of range": (
        {"weight_zero_point": 9, "weight_bits": 4}, GeometryError, "weight_zero_point=9: must be at least -8",
    ),
    "weight for int16": (
        WIDE | {"weight": W.astype("int16")}, TypeError, "weight has dtype int16: must be int8 for an input of int16",
    ),
    "bias for int16": (
        WIDE | {"bias": np.ones(6, np.int32)}, TypeError, "bias has dtype int32: must be int64 for an input of int16",
    ),
    "bias for int8": ({"bias": np.ones(6, np.int64)}, TypeError, "bias has dtype int64: must be int32"),
    "result of int16": (
        WIDE | {"output_zero_point": np.int8(0)}, TypeError, "output_zero_point has dtype int8: must be int16",
    ),
    "floats": ({"requantize": lambda sums, _: sums * 0.5}, TypeError, "must return int64, not float64"),
    "int32": ({"requantize": lambda sums, _: sums.astype("int32")}, TypeError, "must return int64, not int32"),
    "another shape": ({"requantize": lambda sums, _: sums[:1]}, GeometryError, "of the sums' shape (2, 3, 4), not (1"),
    "no array": ({"requantize": lambda *_: None}, TypeError, "must return an array of int64, not NoneType"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    arguments, error, words = REFUSED[name]
    call = {
        "input": X, "input_scale": 1.0, "input_zero_point": 0, "weight": W, "weight_scale": 1.0,
        "weight_zero_point": 0, "output_scale": 1.0, "output_zero_point": 0,
    }  # fmt: skip
    for function in (conv2d_quantized, lambda **given: refconv.Case(op="conv2d_quantized", **given)):
        with pytest.raises(error) as caught:
            function(**call | arguments)
        assert words in str(caught.value)


def test_sums_that_do_not_fit():
    """Into int32 of 8 bits and where a rule has 32, into int64 of 16 bits."""
    with pytest.raises(OverflowError, match="is 4294967296: does not fit into int32"):
        result("fixed-double", 2**32, (1.0, 1.0, 1.0), 0, "int16")
    x, w = np.full((1, 1, 1, 1), -1, np.int16), np.ones((1, 1, 1, 1), np.int8)
    bias = np.array([-(2**63)])
    with pytest.raises(OverflowError, match="does not fit into int64"):
        conv2d_quantized(x, 1.0, 0, w, 1.0, 0, 1.0, 0, bias, requantize="fixed")


def test_every_rule_has_a_kernel():
    assert set(RULES) == set(STEPS) == {*BY_FRACTIONS, "float", "float-away"}
