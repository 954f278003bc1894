"""The quantised operators against onnxruntime, bit for bit, and against Python's integers and fractions."""

from fractions import Fraction

import numpy as np
import peers
import pytest
import torch
from common import same_bits
from hypothesis import example, given
from hypothesis import strategies as st

from refconv import GeometryError, strategies
from refconv.core import formats
from refconv.ops.quantized import conv2d_integer, conv2d_quantized

ALL_PAIRS = [(x, w) for x in ("uint8", "int8") for w in ("uint8", "int8")]
ONNX_PAIRS = [("uint8", "uint8"), ("uint8", "int8"), ("int8", "int8")]  # all that QLinearConv is made for
COMPARED_INTEGERS = [dtypes for dtypes in ALL_PAIRS if peers.onnx_multiplies(*dtypes)]
COMPARED = [dtypes for dtypes in ONNX_PAIRS if peers.onnx_multiplies(*dtypes)]
SEEDS = st.integers(0, 2**32 - 1)
GEOMETRIES = strategies.geometries(asymmetric_padding=True, max_multiplications=20_000, string_padding=True)


def whole_range(rng, shape, dtype):
    """Every integer of a type, the ends of its range more often."""
    info = np.iinfo(dtype)
    ends = rng.choice([info.min, info.max], shape)
    return np.where(rng.random(shape) < 0.1, ends, rng.integers(info.min, info.max, shape, endpoint=True)).astype(dtype)


def weights(rng, shape, dtype):
    """The same, but of 7 bits where onnxruntime can't multiply more."""
    w = whole_range(rng, shape, dtype)
    return w >> 1 if dtype == "int8" and peers.onnx_saturates() else w


def weight_shape(geometry):
    return (geometry.out_channels, geometry.in_channels // geometry.groups, *geometry.kernel)


def tensors(rng, geometry, dtypes):
    """Input, its zero point, weight and its zero point."""
    x_dtype, w_dtype = dtypes
    x = whole_range(rng, (geometry.batch, geometry.in_channels, *geometry.size), x_dtype)
    w = weights(rng, weight_shape(geometry), w_dtype)
    # Zero: onnxruntime has kernels of their own for weights without a zero point.
    w_zero = rng.choice([0, int(whole_range(rng, (), w_dtype))])
    return x, int(whole_range(rng, (), x_dtype)), w, int(w_zero)


def call(geometry):
    return geometry.stride, geometry.padding, geometry.dilation, geometry.groups


@pytest.mark.parametrize("dtypes", ALL_PAIRS)
def test_what_onnxruntime_is_compared_on(dtypes):
    if not peers.onnx_multiplies(*dtypes):
        pytest.skip(f"onnxruntime multiplies {dtypes[0]} by {dtypes[1]} wrongly on this processor")


@given(GEOMETRIES, st.sampled_from(COMPARED_INTEGERS), SEEDS)
def test_integers_equal_onnxruntime(geometry, dtypes, seed):
    x, x_zero, w, w_zero = tensors(np.random.default_rng(seed), geometry, dtypes)
    ours = conv2d_integer(x, w, x_zero, w_zero, *call(geometry))
    assert same_bits(ours, peers.onnx_conv_integer(x, w, x_zero, w_zero, **peers.onnx_conv2d_options(geometry)))


def scales(rng, geometry, per_channel, exponents):
    """Scales under which most results are neither all clamped nor all alike; powers of two every other time: ties."""
    spread = rng.uniform(-2.0, 9.0) - np.log2(128 * 128 * geometry.terms**0.5)
    x_scale, y_scale = exponents
    shape = (geometry.out_channels,) if per_channel else ()
    logarithms = [x_scale, y_scale + spread - x_scale + rng.uniform(-1.0, 1.0, shape), y_scale]
    if rng.random() < 0.5:
        logarithms = [np.rint(logarithm) for logarithm in logarithms]
    return [np.exp2(logarithm).astype(np.float32) for logarithm in logarithms]


@given(
    GEOMETRIES,
    st.sampled_from(COMPARED),
    st.booleans(),
    st.sampled_from([None, 1, 8, 16, 24, 30]),
    st.booleans(),
    st.tuples(st.floats(-40, 40), st.floats(-40, 40)),
    SEEDS,
)
def test_quantized_equals_onnxruntime(geometry, dtypes, per_channel, bias_bits, constant, exponents, seed):
    """The whole range of every parameter; `constant` takes the kernels that onnxruntime has for weights of a model."""
    rng = np.random.default_rng(seed)
    x, x_zero, w, w_zero = tensors(rng, geometry, dtypes)
    x_scale, w_scale, y_scale = scales(rng, geometry, per_channel, exponents)
    y_zero = whole_range(rng, (), x.dtype)
    b = None
    if bias_bits is not None:
        b = rng.integers(-(2**bias_bits), 2**bias_bits, geometry.out_channels, np.int32)
    arguments = (x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, b)
    theirs = peers.onnx_qlinear_conv(*arguments, constant=constant, **peers.onnx_conv2d_options(geometry))
    assert same_bits(conv2d_quantized(*arguments, *call(geometry)), theirs)


@st.composite
def single_sums(draw):
    """One sum, scales that bring it close to a tie, and where zero lies in the result."""
    dtype = draw(st.sampled_from(["uint8", "int8"]))
    info = np.iinfo(dtype)
    total = draw(st.one_of(st.integers(-(2**31), 2**31 - 1), st.integers(-1024, 1024)))
    x_scale, w_scale = (np.float32(draw(st.floats(2.0**-30, 2.0**30, width=32))) for _ in range(2))
    halves = draw(st.integers(1, 520))  # of a step
    y_scale = np.float32(2 * float(x_scale) * float(w_scale) * (abs(total) or 1) / halves)
    return dtype, total, (x_scale, w_scale, y_scale), draw(st.integers(int(info.min), int(info.max)))


HALF = (0.5, 1, 1)


@example(("uint8", 1, HALF, 0))  # 0.5: to 0
@example(("uint8", 3, HALF, 0))  # 1.5: to 2
@example(("uint8", 1, HALF, 1))  # 0.5: to 0, and then the zero point, though 1.5 lies as close to the even 2
@example(("uint8", -1, HALF, 128))  # -0.5: to -0
@example(("int8", -3, HALF, -127))  # -1.5: to -2, and out of range with it
@example(("uint8", 511, HALF, 0))  # 255.5: clamped before it is rounded
@example(("int8", -257, HALF, 0))
@example(("uint8", 2**31 - 1, (1, 1, 1), 255))
@example(("uint8", -(2**31), (1, 1, 1), 0))
@example(("int8", 2**31 - 1, (2.0**50, 2.0**50, 2.0**-20), 127))  # the product is infinite
@example(("int8", -(2**31), (2.0**50, 2.0**50, 2.0**-20), -128))
@example(("uint8", 2**31 - 1, (2.0**-80, 2.0**-80, 1), 9))  # the scale is 0
@example(("uint8", 200, (2.0**-70, 1.75 * 2.0**-72, 2.0**-140), 0))  # subnormal on the way
@example(("uint8", 253 * 2**20 + 1, (1, 2.0**-21, 1), 0))  # past the tie at 126.5, but as a float32 the sum lies on it
@example(("uint8", 680677285, (1, float.fromhex("0x1.26324cp-22"), 1), 0))  # rounded twice: to 187, not 186
@example(("uint8", 3, (1, 1, 6), 0))  # past the tie at 0.5, but as a float32 the product lies on it
@given(single_sums())
def test_rounding_and_saturation(parameters):
    """The sum as a bias of nothing: ties, ends of the ranges, sums that float32 can't hold."""
    dtype, total, (x_scale, w_scale, y_scale), zero = parameters
    x, w = np.zeros((1, 1, 1, 1), dtype), np.zeros((1, 1, 1, 1), np.int8)
    zero_point, bias = np.dtype(dtype).type(zero), np.array([total], np.int32)
    arguments = (x, float(x_scale), 0, w, float(w_scale), 0, float(y_scale), zero_point, bias)
    ours = conv2d_quantized(*arguments)
    assert same_bits(ours, peers.onnx_qlinear_conv(*arguments))
    assert ours.item() == step_by_step(total, (x_scale, w_scale, y_scale), zero, dtype)


def step_by_step(total, scales, zero, dtype):
    """The documented steps, each in exact arithmetic and rounded to float32."""
    x_scale, w_scale, y_scale = (Fraction(float(np.float32(scale))) for scale in scales)
    scale = as_float32(Fraction(as_float32(x_scale * w_scale)) / y_scale)
    product = as_float32(Fraction(as_float32(Fraction(int(total)))) * Fraction(scale))
    info = np.iinfo(dtype)
    clamped = min(max(product, int(info.min) - zero), int(info.max) - zero)  # the product may be infinite
    return round(Fraction(clamped)) + zero


def as_float32(exact):
    return float(formats.round_fraction(exact, "float32"))


@given(GEOMETRIES, st.sampled_from(ALL_PAIRS), st.sampled_from(["uint8", "int8"]), SEEDS)
def test_every_pair_of_dtypes_and_zero_points_per_channel(geometry, dtypes, result, seed):
    """What onnxruntime has no kernel for: channel by channel, and with the sum as the bias of nothing."""
    rng = np.random.default_rng(seed)
    x, x_zero, w, _ = tensors(rng, geometry, dtypes)
    w_zeros = whole_range(rng, len(w), w.dtype)
    x_scale, w_scales, y_scale = scales(rng, geometry, True, (0, 0))
    y_zero = whole_range(rng, (), result)[()]
    sums = conv2d_integer(x, w, x_zero, w_zeros, *call(geometry))
    out = conv2d_quantized(x, x_scale, x_zero, w, w_scales, w_zeros, y_scale, y_zero, None, *call(geometry))
    assert out.dtype == result
    assert sums.dtype == np.int32
    per_group = len(w) // geometry.groups
    inputs = w.shape[1]
    for k, zero in enumerate(w_zeros):
        group = k // per_group
        part = x[:, group * inputs : (group + 1) * inputs]
        options = (geometry.stride, geometry.padding, geometry.dilation)
        assert np.array_equal(conv2d_integer(part, w[k : k + 1], x_zero, zero, *options)[:, 0], sums[:, k])
        for total, value in zip(sums[:, k].flat[:5], out[:, k].flat[:5], strict=True):
            assert value == step_by_step(total, (x_scale, w_scales[k], y_scale), int(y_zero), result)


@given(GEOMETRIES, st.sampled_from(ALL_PAIRS), SEEDS)
def test_views_batches_and_other_kinds_of_arrays(geometry, dtypes, seed):
    """Strided views, single images and torch tensors: the same numbers."""
    rng = np.random.default_rng(seed)
    x, x_zero, w, w_zero = tensors(rng, geometry, dtypes)
    arguments = (0.5, x_zero, w, 2.0**-9, w_zero, 0.25, 7, np.arange(len(w), dtype=np.int32), *call(geometry))
    expected, expected_sums = conv2d_quantized(x, *arguments), conv2d_integer(x, w, x_zero, w_zero, *call(geometry))
    assert expected.dtype == x.dtype
    view = np.repeat(x, 2, axis=-1)[..., ::-2][..., ::-1]
    assert same_bits(conv2d_quantized(view, *arguments), expected)
    assert same_bits(conv2d_integer(view, w, x_zero, w_zero, *call(geometry)), expected_sums)
    tensor = conv2d_quantized(torch.tensor(x), *arguments)
    assert isinstance(tensor, torch.Tensor)
    assert same_bits(tensor.numpy(), expected)
    if len(x):
        assert same_bits(conv2d_quantized(x[0], *arguments), expected[0])
        assert same_bits(conv2d_integer(x[0], w, x_zero, w_zero, *call(geometry)), expected_sums[0])


def test_images_are_rescaled_in_parts():
    """More sums than are rescaled at a time: every image has its own."""
    x = np.random.default_rng(0).integers(0, 256, (7, 1, 300, 301), np.uint8)
    w, scale = np.ones((2, 1, 1, 1), np.uint8), np.float32([0.75, 0.5])
    out = conv2d_quantized(x, 1.0, 0, w, scale, 0, 1.0, 3)
    for n in range(len(x)):
        assert same_bits(conv2d_quantized(x[n], 1.0, 0, w, scale, 0, 1.0, 3), out[n])


def test_padding_counts_as_the_zero_point():
    x, w = np.full((1, 1, 1, 1), 9, np.uint8), np.ones((1, 1, 3, 3), np.uint8)
    assert conv2d_integer(x, w, input_zero_point=7, padding=1).item() == 2
    assert conv2d_integer(x, w, input_zero_point=7, weight_zero_point=3, padding="same").item() == -4


@pytest.mark.parametrize("kind", [int, np.int64, np.uint8, np.asarray, torch.tensor], ids=lambda kind: kind.__name__)
def test_kinds_of_parameters(kind):
    """Zero points and scales may be Python's, NumPy's or torch's scalars; the result's dtype is its zero point's."""
    x, w = np.full((1, 1, 1, 1), 9, np.uint8), np.ones((1, 1, 1, 1), np.int8)
    assert conv2d_integer(x, w, kind(7), kind(0)).item() == 2
    scale = kind(1) * 0.5 if kind is not np.uint8 else np.float32(0.5)
    for zero in (np.int8(-1), np.array(-1, np.int8), torch.tensor(-1, dtype=torch.int8)):
        assert conv2d_quantized(x, scale, kind(7), w, scale, kind(0), scale, zero) == np.array([[[[0]]]], np.int8)
        assert conv2d_quantized(x, scale, kind(7), w, scale, kind(0), scale, zero).dtype == np.int8


def test_sums_that_do_not_fit_into_int32():
    """They raise, naming the element; a bias may bring them back."""
    terms = 2**31 // 255**2 + 1
    x, w = np.full((1, terms, 1, 2), 255, np.uint8), np.full((2, terms, 1, 1), 255, np.uint8)
    x[..., 0] = w[0] = 0
    total = terms * 255**2
    with pytest.raises(OverflowError, match=rf"output \(0, 1, 0, 1\) is {total}: does not fit into int32"):
        conv2d_integer(x, w)
    with pytest.raises(OverflowError, match=rf"output \(1, 0, 1\) is {total + 1}: does not fit into int32"):
        conv2d_quantized(x[0], 1.0, 0, w, 1.0, 0, 2.0**24, 0, np.array([0, 1], np.int32))
    assert conv2d_quantized(x, 1.0, 0, w, 1.0, 0, 2.0**24, 0, np.array([0, -(2**16)], np.int32)).max() == 128
    assert conv2d_integer(x[:, 1:], w[:, 1:]).max() == total - 255**2


def test_no_input_channels():
    """As torch has it: no output channels either, whatever scales there are."""
    x, w = np.zeros((2, 0, 3, 3), np.uint8), np.zeros((4, 0, 1, 1), np.uint8)
    assert conv2d_quantized(x, 1.0, 0, w, np.ones(4, np.float32), 0, 1.0, 0).shape == (2, 0, 3, 3)


X, W, B = np.ones((2, 4, 5, 6), np.uint8), np.ones((6, 4, 3, 3), np.int8), np.ones(6, np.int32)
SHARED = {
    "input float": ({"input": X.astype("float32")}, TypeError, ["input", "float32", "int8 or uint8"]),
    "input int32": ({"input": X.astype("int32")}, TypeError, ["input", "int32", "int8 or uint8"]),
    "input list": ({"input": X.tolist()}, TypeError, ["input", "list", "array"]),
    "weight int16": ({"weight": W.astype("int16")}, TypeError, ["weight", "int16", "int8 or uint8"]),
    "weight of rank 3": ({"weight": W[0]}, GeometryError, ["weight", "(4, 3, 3)", "4 axes"]),
    "input of rank 2": ({"input": X[0, 0]}, GeometryError, ["input", "(5, 6)", "4 axes"]),
    "wrong channels": ({"weight": W[:, :3]}, GeometryError, ["weight", "(6, 3, 3, 3)", "= 4"]),
    "stride 0": ({"stride": 0}, GeometryError, ["stride=0"]),
    "input zero point too large": ({"input_zero_point": 256}, GeometryError, ["input_zero_point=256", "at most 255"]),
    "input zero point too small": ({"input_zero_point": -1}, GeometryError, ["input_zero_point=-1", "at least 0"]),
    "input zero point float": ({"input_zero_point": 1.0}, TypeError, ["input_zero_point=1.0", "integer"]),
    "input zero point bool": ({"input_zero_point": True}, TypeError, ["input_zero_point=True", "integer"]),
    "input zero point None": ({"input_zero_point": None}, TypeError, ["input_zero_point=None", "integer"]),
    "input zero point per channel": ({"input_zero_point": np.ones(4, np.uint8)}, TypeError, ["input_zero_point"]),
    "weight zero point too large": ({"weight_zero_point": 128}, GeometryError, ["weight_zero_point=128", "most 127"]),
    "weight zero point list": ({"weight_zero_point": [0] * 6}, TypeError, ["weight_zero_point", "integer"]),
    "weight zero points float": (
        {"weight_zero_point": np.zeros(6)}, TypeError, ["weight_zero_point", "float64", "integers"],
    ),
    "weight zero points, too few": (
        {"weight_zero_point": np.zeros(5, np.int8)}, GeometryError, ["weight_zero_point", "(5,)", "(6,)"],
    ),
    "weight zero points of rank 2": (
        {"weight_zero_point": np.zeros((6, 1), np.int8)}, GeometryError, ["weight_zero_point", "(6, 1)", "(6,)"],
    ),
    "weight zero points out of range": (
        {"weight_zero_point": np.array([0, 0, -129, 0, 0, 0])}, GeometryError, ["weight_zero_point[2]=-129", "-128"],
    ),
}  # fmt: skip
QUANTIZED = {
    "bias int64": ({"bias": B.astype("int64")}, TypeError, ["bias", "int64", "int32"]),
    "bias float32": ({"bias": B.astype("float32")}, TypeError, ["bias", "float32", "int32"]),
    "bias too short": ({"bias": B[:5]}, GeometryError, ["bias", "(5,)", "(6,)"]),
    "output zero point too large": ({"output_zero_point": 256}, GeometryError, ["output_zero_point=256", "most 255"]),
    "output zero point int64": ({"output_zero_point": np.int64(1)}, TypeError, ["output_zero_point", "int64", "int8"]),
    "output zero point float": ({"output_zero_point": 1.0}, TypeError, ["output_zero_point=1.0", "integer"]),
    "output zero point with axes": (
        {"output_zero_point": np.ones(1, np.uint8)}, TypeError, ["output_zero_point", "integer"],
    ),
    "weight scales, too few": ({"weight_scale": np.ones(5)}, GeometryError, ["weight_scale", "(5,)", "(6,)"]),
    "weight scales of rank 2": ({"weight_scale": np.ones((1, 6))}, GeometryError, ["weight_scale", "(1, 6)", "(6,)"]),
    "a weight scale of 0": ({"weight_scale": np.arange(6.0)}, GeometryError, ["weight_scale", "positive"]),
    "input scale with axes": ({"input_scale": np.ones(1)}, GeometryError, ["input_scale", "(1,)", "single"]),
    "output scale per channel": ({"output_scale": np.ones(6)}, GeometryError, ["output_scale", "(6,)", "single"]),
    "scales too large together": (
        {"input_scale": 1e30, "weight_scale": 1e30}, GeometryError, ["input_scale=", "weight_scale=", "finite"],
    ),
}  # fmt: skip
VALUES = [0.0, -1.0, float("nan"), float("inf"), 1e-60, 1e60, 0, np.float32(0), np.array(-2.0)]
TYPES = [None, True, "1", 1j, np.True_, np.complex64(1), [1.0], np.array(1), np.array(1j)]


def refused(function, error, words, **arguments):
    with pytest.raises(error) as caught:
        function(**arguments)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", SHARED)
def test_refused(name):
    arguments, error, words = SHARED[name]
    refused(conv2d_integer, error, words, **{"input": X, "weight": W, **arguments})
    refused(conv2d_quantized, error, words, **quantized(**arguments))


@pytest.mark.parametrize("name", QUANTIZED)
def test_refused_when_quantized(name):
    arguments, error, words = QUANTIZED[name]
    refused(conv2d_quantized, error, words, **quantized(**arguments))


@pytest.mark.parametrize("value", VALUES + TYPES, ids=repr)
@pytest.mark.parametrize("name", ["input_scale", "weight_scale", "output_scale"])
def test_not_a_scale(name, value):
    """Positive and finite in float32; a bool, an array of integers or a list is none."""
    error = TypeError if any(value is wrong for wrong in TYPES) else GeometryError
    refused(conv2d_quantized, error, [name], **quantized(**{name: value}))


def quantized(**arguments):
    """Arguments of `conv2d_quantized`, right but for those given."""
    right = {
        "input": X,
        "input_scale": 1.0,
        "input_zero_point": 0,
        "weight": W,
        "weight_scale": 1.0,
        "weight_zero_point": 0,
        "output_scale": 1.0,
        "output_zero_point": 0,
    }
    return {**right, **arguments}
