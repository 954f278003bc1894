"""The whole family: exactly equal to torch and JAX on integers, adjoint to each other, and the same on every backend.

On small integers every sum is exact whatever its order, so equality is asked for, never closeness. On other numbers the
operators are compared with themselves (layouts, views, backends) or with a wider type, bit for bit.
"""

import dataclasses
from fractions import Fraction

import ml_dtypes
import numpy as np
import peers
import pytest
import torch
from common import MODES, same_bits
from family import (
    CONVOLUTIONS,
    DTYPES,
    FLOATS,
    GRADIENTS,
    INTEGERS,
    NARROW,
    OPERATORS,
    PRECISIONS,
    SEEDS,
    TRANSPOSED,
    Arrays,
    axes_of,
    complex_integers,
    random_numbers,
    small_geometries,
    small_integers,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

import refconv
from refconv import strategies
from refconv.core.formats import round_fraction
from refconv.core.geometry import convolution

FEW = settings(max_examples=max(15, settings().max_examples // 10))  # JAX compiles for every geometry, some 0.1 s


# --- torch ---------------------------------------------------------------------------------------------------------


@given(small_geometries(modes=MODES), SEEDS, st.booleans())
def test_gradients_equal_torch(geometry, seed, batched):
    """Through all padding modes, for strides that do not divide the size, empty batches and single images."""
    arrays = Arrays(geometry, seed, small_integers, batched=batched)
    theirs = torch_gradients(arrays)
    for op, expected in zip(GRADIENTS, theirs, strict=True):
        assert_equal(arrays.call(op), expected)


def torch_gradients(arrays):
    g = arrays.geometry
    return peers.torch_gradients(
        arrays.input, arrays.weight, arrays.grad, g.stride, g.padding, g.dilation, g.groups, g.padding_mode
    )


def assert_equal(actual, expected):
    """The same numbers, dtype and shape; +0 and -0 are the same number."""
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    assert np.array_equal(actual, expected)


@given(small_geometries(asymmetric=False), SEEDS)
def test_gradients_equal_torch_nn_grad(geometry, seed):
    """torch's own functions of these names."""
    arrays = Arrays(geometry, seed, small_integers)
    assert_equal(arrays.call("conv2d_input"), peers.torch_conv2d_input(*arrays.arguments("conv2d_input")))
    assert_equal(arrays.call("conv2d_weight"), peers.torch_conv2d_weight(*arrays.arguments("conv2d_weight")))


@given(strategies.geometries(padding_modes=MODES, asymmetric_padding=True), SEEDS)
def test_larger_gradients_equal_torch(geometry, seed):
    """Channels and images around the widths of vectors, tiles and blocks; depthwise ones."""
    arrays = Arrays(geometry, seed, small_integers)
    theirs = torch_gradients(arrays)
    for op, expected in zip(GRADIENTS, theirs, strict=True):
        assert_equal(arrays.call(op), expected)


@given(small_geometries(), SEEDS)
def test_gradients_of_complex_numbers_equal_torch(geometry, seed):
    """torch's convention: the gradient is the adjoint, so it holds the conjugates."""
    arrays = Arrays(geometry, seed, complex_integers)
    for op, expected in zip(GRADIENTS, torch_gradients(arrays), strict=True):
        assert_equal(arrays.call(op), expected)


@given(st.sampled_from(MODES), st.sampled_from(["same", "valid"]), st.integers(1, 3), st.integers(1, 2), SEEDS)
def test_string_padding_of_gradients(mode, padding, taps, dilation, seed):
    """As the same padding in numbers."""
    kernel, size = (taps, 4 - taps), (6, 7)
    geometry = convolution((2, 2, *size), (4, 1, *kernel), None, 1, padding, dilation, 2, mode)
    arrays = Arrays(geometry, seed, small_integers)
    for op in ("conv2d_input", "conv2d_weight"):
        first, second, third, stride, _, *rest = arrays.arguments(op)
        actual = getattr(refconv, op)(first, second, third, stride, padding, *rest, padding_mode=mode)
        assert same_bits(actual, arrays.call(op))


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_convolutions_equal_torch(axes):
    """conv1d, conv2d and conv3d, bias and padding modes included."""

    @given(small_geometries(axes, MODES), SEEDS, st.booleans(), st.sampled_from([small_integers, complex_integers]))
    def check(geometry, seed, batched, fill):
        arrays = Arrays(geometry, seed, fill, batched=batched)
        g = geometry
        expected = peers.torch_conv(
            arrays.input, arrays.weight, arrays.bias, g.stride, g.padding, g.dilation, g.groups, g.padding_mode
        )
        assert_equal(arrays.call(f"conv{axes}d"), expected)

    check()


@st.composite
def transposed_calls(draw, axes, asymmetric=False):
    """Arguments of a transposed convolution after its arrays, with every output padding that is allowed."""
    groups, inputs, outputs = (draw(st.integers(1, 3)) for _ in range(3))
    along = [draw(_transposed_axes(asymmetric)) for _ in range(axes)]
    size, kernel, stride, padding, extra, dilation = zip(*along, strict=True)
    batch = draw(st.sampled_from([1, 2, 0]))
    shapes = ((batch, groups * inputs, *size), (groups * inputs, outputs, *kernel), (groups * outputs,))
    return shapes, (stride, padding, extra, groups, dilation)


@st.composite
def _transposed_axes(draw, asymmetric):
    size, kernel, stride, dilation = (draw(st.integers(1, most)) for most in (5, 3, 4, 3))
    extra = draw(st.integers(0, max(stride, dilation) - 1))
    full = (size - 1) * stride + dilation * (kernel - 1) + 1 + extra
    if asymmetric:
        before = draw(st.integers(0, min(3, full - 1)))
        padding = (before, draw(st.integers(0, min(3, full - 1 - before))))
    else:
        padding = draw(st.integers(0, min(3, (full - 1) // 2)))
    return size, kernel, stride, padding, extra, dilation


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_transposed_convolutions_equal_torch(axes):
    """Every output padding that torch allows (past the stride, too), empty batches, single images, complex numbers."""

    @given(transposed_calls(axes), SEEDS, st.booleans(), st.booleans(), st.sampled_from([False, True]))
    def check(call, seed, batched, with_bias, is_complex):
        shapes, options = call
        rng = np.random.default_rng(seed)
        x, w, b = ((complex_integers if is_complex else small_integers)(rng, shape) for shape in shapes)
        x = x if batched or len(x) != 1 else x[0]
        arguments = (x, w, b if with_bias else None, *options)
        assert_equal(getattr(refconv, f"conv_transpose{axes}d")(*arguments), peers.torch_conv_transpose(*arguments))

    check()


@given(small_geometries(), SEEDS)
def test_float16_equals_onnxruntime(geometry, seed):
    """Integers that are small enough are exact in float16 too."""
    arrays = Arrays(geometry, seed, lambda rng, shape: rng.integers(-3, 4, shape).astype("float16"))
    arrays.bias[:] = 0
    theirs = peers.onnx_conv(arrays.input, arrays.weight, **peers.onnx_conv2d_options(geometry))
    assert_equal(arrays.call("conv2d"), theirs)


# --- JAX -----------------------------------------------------------------------------------------------------------


@FEW
@given(small_geometries(), SEEDS)
def test_gradients_equal_jax(geometry, seed):
    """Four-sided padding, where torch can only pad first: the input's gradient is a convolution of the dilated one."""
    arrays = Arrays(geometry, seed, small_integers)
    g = geometry
    sides = [side if isinstance(side, tuple) else (side, side) for side in arrays.padding]
    expected = peers.jax_conv_transpose(
        arrays.grad, arrays.weight, g.stride, sides, arrays.output_padding, g.groups, g.dilation
    )
    assert_equal(arrays.call("conv2d_input"), expected)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_asymmetric_transposed_convolutions_equal_jax(axes):
    """What torch can't: more padding on one side of an axis."""

    @FEW
    @given(transposed_calls(axes, asymmetric=True), SEEDS)
    def check(call, seed):
        shapes, (stride, padding, extra, groups, dilation) = call
        rng = np.random.default_rng(seed)
        x, w, b = (small_integers(rng, shape) for shape in shapes)
        actual = getattr(refconv, f"conv_transpose{axes}d")(x, w, b, stride, padding, extra, groups, dilation)
        expected = peers.jax_conv_transpose(x, w, stride, padding, extra, groups, dilation)
        assert_equal(actual, expected + b.reshape(-1, *(1,) * axes))

    check()


@FEW
@given(small_geometries(), SEEDS)
def test_four_sided_padding_equals_jax(geometry, seed):
    arrays = Arrays(geometry, seed, small_integers)
    g = geometry
    expected = peers.jax_conv(arrays.input, arrays.weight, g.stride, g.padding, g.dilation, g.groups)
    assert_equal(arrays.call("conv2d"), expected + arrays.bias[:, None, None])


# --- algebra -------------------------------------------------------------------------------------------------------


@given(small_geometries(modes=MODES), SEEDS)
def test_adjoint_identities(geometry, seed):
    """<conv(x, w), y> = <x, conv2d_input(w, y)> = <w, conv2d_weight(x, y)>, exactly, and the bias sums y."""
    arrays = Arrays(geometry, seed, small_integers)
    arrays.bias[:] = 0
    inner = np.vdot(arrays.call("conv2d"), arrays.grad)
    assert np.vdot(arrays.input, arrays.call("conv2d_input")) == inner
    assert np.vdot(arrays.weight, arrays.call("conv2d_weight")) == inner
    assert np.array_equal(arrays.call("conv2d_bias"), arrays.grad.sum((0, 2, 3)))


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_transposed_is_adjoint(axes):
    """<conv(x, w), y> = <x, conv_transpose(y, w)>, exactly."""

    @given(small_geometries(axes), SEEDS)
    def check(geometry, seed):
        arrays = Arrays(geometry, seed, small_integers)
        arrays.bias[:] = arrays.input_bias[:] = 0
        transposed = arrays.call(f"conv_transpose{axes}d")
        assert transposed.shape == arrays.input.shape
        assert np.vdot(arrays.call(f"conv{axes}d"), arrays.grad) == np.vdot(arrays.input, transposed)

    check()


@given(small_geometries(), st.sampled_from(("float32", "float64", *NARROW)), SEEDS)
def test_transposed_is_the_input_gradient(geometry, dtype, seed):
    """To the bit, for there is one canonical order for both."""
    arrays = Arrays(geometry, seed, random_numbers(dtype))
    arrays.input_bias[:] = 0
    assert same_bits(arrays.call("conv_transpose2d"), arrays.call("conv2d_input"))


@given(small_geometries(1), SEEDS)
def test_fewer_axes_are_axes_of_length_one(geometry, seed):
    """conv1d and conv2d are conv3d with axes of length 1 in front, to the bit; transposed ones, too."""
    narrow = Arrays(geometry, seed, random_numbers("float64"))
    for axes in (2, 3):
        wide = Arrays(with_axes_of_length_one(geometry, axes), seed, random_numbers("float64"))
        for op in ("conv", "conv_transpose"):
            expected = narrow.call(f"{op}1d")
            assert same_bits(wide.call(f"{op}{axes}d").reshape(expected.shape), expected)


def with_axes_of_length_one(geometry, axes):
    more = axes - len(geometry.size)
    return dataclasses.replace(
        geometry,
        **{name: (1,) * more + getattr(geometry, name) for name in ("size", "kernel", "stride", "dilation")},
        padding=((0, 0),) * more + geometry.padding,
    )


# --- the same bits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", OPERATORS)
def test_python_and_cpu_give_the_same_bits(op, dtype):
    """Plain Python, which is slow, on tiny arrays."""

    @settings(max_examples=4)
    @given(small_geometries(axes_of(op), MODES if op not in TRANSPOSED else ("zeros",), tiny=True), SEEDS)
    def check(geometry, seed):
        arrays = Arrays(geometry, seed, random_numbers(dtype))
        for precision in PRECISIONS:
            options = {"precision": precision}
            assert same_bits(arrays.call(op, backend="python", **options), arrays.call(op, backend="cpu", **options))

    check()


@given(small_geometries(modes=MODES), st.sampled_from(DTYPES), SEEDS, st.booleans(), st.sampled_from(PRECISIONS))
def test_channels_last_gives_the_same_bits(geometry, dtype, seed, batched, precision):
    """NHWC images and OHWI weights: the transposed results of NCHW and OIHW."""
    arrays = Arrays(geometry, seed, random_numbers(dtype), batched=batched)
    last = Arrays(geometry, seed, random_numbers(dtype), batched=batched)
    last.input, last.grad = (np.ascontiguousarray(np.moveaxis(each, -3, -1)) for each in (arrays.input, arrays.grad))
    last.weight = np.ascontiguousarray(np.moveaxis(arrays.weight, 1, -1))
    ops = ("conv2d", *GRADIENTS, *(["conv_transpose2d"] if geometry.padding_mode == "zeros" else []))
    for op in ops:
        expected = arrays.call(op, precision=precision)
        options = {"precision": precision} | ({} if op == "conv2d_bias" else {"weight_layout": "OHWI"})
        if op == "conv2d_weight":
            expected = np.moveaxis(expected, 1, -1)
        elif op != "conv2d_bias":
            expected = np.moveaxis(expected, -3, -1)
        actual = np.ascontiguousarray(last.call(op, layout="NHWC", **options))
        assert same_bits(actual, np.ascontiguousarray(expected)), op


@given(small_geometries(modes=MODES), st.sampled_from(DTYPES), SEEDS, st.sampled_from(PRECISIONS))
def test_any_strides_give_the_same_bits(geometry, dtype, seed, precision):
    """Reversed, stepping, transposed and unaligned views, and arrays that may not be written to."""
    arrays = Arrays(geometry, seed, random_numbers(dtype))
    viewed = Arrays(geometry, seed, random_numbers(dtype))
    viewed.input, viewed.weight = reversed_view(arrays.input), transposed_view(arrays.weight)
    viewed.grad, viewed.bias = unaligned(arrays.grad), reversed_view(arrays.bias)
    ops = ("conv2d", *GRADIENTS, *(["conv_transpose2d"] if geometry.padding_mode == "zeros" else []))
    for op in ops:
        calls = (each.call(op, precision=precision) for each in (viewed, arrays))
        assert same_bits(*map(np.ascontiguousarray, calls)), op


def reversed_view(array):
    return np.repeat(array[..., ::-1], 2, axis=-1)[..., ::2][..., ::-1]


def transposed_view(array):
    return np.ascontiguousarray(array.T).T


def unaligned(array):
    buffer = bytearray(array.nbytes + 1)
    view = np.ndarray(array.shape, array.dtype, buffer, offset=1)
    view[...] = array
    view.flags.writeable = False
    return view


@pytest.mark.parametrize("op", ["conv2d", "conv_transpose2d", *GRADIENTS])
def test_stride_zero_gives_the_same_bits(op):
    """One number broadcast to a whole array."""
    geometry = convolution((2, 4, 5, 6), (6, 2, 2, 3), None, 2, 1, 1, 2, "zeros")
    arrays = Arrays(geometry, 0, lambda _, shape: np.broadcast_to(np.float32(0.3), shape))
    copied = Arrays(geometry, 0, lambda _, shape: np.full(shape, np.float32(0.3)))
    assert same_bits(arrays.call(op), copied.call(op))


@pytest.mark.parametrize("op", OPERATORS)
def test_torch_tensors(op):
    """torch in, torch out, the same bits, sizes as torch.Size."""
    geometry = convolution(
        (2, 4, *(5, 6, 4)[: axes_of(op)]), (6, 2, *(2, 3, 1)[: axes_of(op)]), None, 2, 1, 1, 2, "zeros"
    )
    arrays = Arrays(geometry, 0, random_numbers("float32"))
    arguments = [torch.tensor(each) if isinstance(each, np.ndarray) else each for each in arrays.arguments(op)]
    arguments = [torch.Size(each) if isinstance(each, tuple) and len(each) == 4 else each for each in arguments]
    actual = getattr(refconv, op)(*arguments)
    assert isinstance(actual, torch.Tensor)
    assert same_bits(actual.numpy(), arrays.call(op))


# --- dtypes --------------------------------------------------------------------------------------------------------


@given(small_geometries(modes=MODES), st.sampled_from(["float32", *NARROW]), st.sampled_from(FLOATS), SEEDS)
def test_out_dtype_is_the_unrounded_result_rounded_once(geometry, dtype, out_dtype, seed):
    """The same sums as those of float64 inputs, whatever they are rounded to."""
    arrays = Arrays(geometry, seed, random_numbers(dtype))
    wide = Arrays(geometry, seed, lambda rng, shape: random_numbers(dtype)(rng, shape).astype("float64"))
    ops = ("conv2d", *GRADIENTS, *(["conv_transpose2d"] if geometry.padding_mode == "zeros" else []))
    for op in ops:
        unrounded = wide.call(op)
        assert_equal(arrays.call(op, out_dtype="float64"), unrounded)
        assert_equal(arrays.call(op, out_dtype=out_dtype), rounded(unrounded, out_dtype))
        assert_equal(arrays.call(op), rounded(unrounded, dtype))


def rounded(array, dtype):
    """Each number rounded once, by exact arithmetic."""
    values = [round_fraction(Fraction(value), dtype) for value in array.ravel().tolist()]
    return np.array(values, np.dtype(dtype)).reshape(array.shape)


@given(small_geometries(), st.permutations(["float8_e4m3fn", "float8_e5m2"]), SEEDS)
def test_mixed_float8(geometry, dtypes, seed):
    """The result has the input's dtype; the numbers are those of the same values in float64."""
    arrays = Arrays(geometry, seed, random_numbers(dtypes[0]))
    arrays.weight = arrays.weight.astype(np.dtype(dtypes[1]))
    arrays.bias = arrays.bias.astype("float32")
    wide = Arrays(geometry, seed, small_integers)
    for name in ("input", "weight", "bias"):
        setattr(wide, name, getattr(arrays, name).astype("float64"))
    unrounded = wide.call("conv2d")
    assert_equal(arrays.call("conv2d", out_dtype="float64"), unrounded)
    assert_equal(arrays.call("conv2d"), rounded(unrounded, dtypes[0]))


@given(small_geometries(), st.permutations(["uint8", "int8"]), SEEDS)
def test_mixed_integers(geometry, dtypes, seed):
    """int32, exactly."""
    arrays = Arrays(geometry, seed, small_integers)
    limits = (np.iinfo(dtype) for dtype in dtypes)
    rng = np.random.default_rng(seed)
    x, w = (
        rng.integers(limit.min, limit.max, array.shape, limit.dtype, endpoint=True)
        for limit, array in zip(limits, (arrays.input, arrays.weight), strict=True)
    )
    options = arrays.arguments("conv2d")[3:]
    actual = refconv.conv2d(x, w, None, *options)
    assert actual.dtype == np.int32
    assert np.array_equal(actual, refconv.conv2d(x.astype("float64"), w.astype("float64"), None, *options))


@given(small_geometries(), st.sampled_from(NARROW), SEEDS)
def test_float32_bias_for_narrow_inputs(geometry, dtype, seed):
    """It enters the sum as it is, not rounded to the input's dtype first."""
    arrays = Arrays(geometry, seed, random_numbers(dtype))
    rng = np.random.default_rng(seed)
    arrays.bias, arrays.input_bias = (
        rng.standard_normal(each.shape).astype("float32") for each in (arrays.bias, arrays.input_bias)
    )
    wide = Arrays(geometry, seed, small_integers)
    for name in ("input", "weight", "bias", "grad", "input_bias"):
        setattr(wide, name, getattr(arrays, name).astype("float64"))
    for op in ("conv2d", "conv_transpose2d"):
        assert_equal(arrays.call(op), rounded(wide.call(op), dtype))


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_result_dtypes(op, dtype):
    """Floats and complex numbers keep their dtype, integers are widened, the same for every operator."""
    axes = axes_of(op)
    geometry = convolution((1, 1, *(2,) * axes), (1, 1, *(1,) * axes), None, 1, 0, 1, 1, "zeros")
    wide = {"uint64": "uint64", "int32": "int64", "uint32": "int64", "int64": "int64"}
    expected = dtype if dtype not in INTEGERS else wide.get(dtype, "int32")
    assert Arrays(geometry, 0, random_numbers(dtype)).call(op).dtype == np.dtype(expected)


# --- integers that do not fit --------------------------------------------------------------------------------------

ONE_SUM = {  # each operator as the sum over x * w
    "conv2d": lambda x, w, **options: refconv.conv2d(x[None, :, None, None], w[None, :, None, None], **options),
    "conv_transpose2d": lambda x, w, **options: refconv.conv_transpose2d(
        x[None, :, None, None], w[:, None, None, None], **options
    ),
    "conv2d_input": lambda x, w, **options: refconv.conv2d_input(
        (1, 1, 1, 1), w[:, None, None, None], x[None, :, None, None], **options
    ),
    "conv2d_weight": lambda x, w, **options: refconv.conv2d_weight(
        x[None, None, None], (1, 1, 1, 1), w[None, None, None], **options
    ),
    "conv1d": lambda x, w, **options: refconv.conv1d(x[None, None], w[None, None], **options),
}


@st.composite
def sums(draw):
    """Two lists of integers of a dtype, of any magnitude."""
    dtype = draw(st.sampled_from(INTEGERS))
    info = np.iinfo(dtype)
    bits = draw(st.integers(0, 63))
    number = st.integers(int(info.min) >> bits, int(info.max) >> bits)
    pairs = draw(st.lists(st.tuples(number, number), min_size=1, max_size=5))
    return dtype, *zip(*pairs, strict=True)


@example(("int8", (-128,) * 2, (-128,) * 2), "int16")  # 2**15: one more than fits
@example(("int64", (2**62, 2**62), (2, 1)), "int64")
@example(("uint64", (2**64 - 1,) * 5, (2**64 - 1,) * 5), "uint64")
@example(("int64", (-(2**63),) * 5, (2**63 - 1,) * 5), "uint8")
@given(sums(), st.sampled_from((None, *INTEGERS)))
def test_overflow(operands, out_dtype):
    """Python's integers say what is to come out; by default a result that does not fit raises."""
    dtype, x, w = operands
    exact = sum(left * right for left, right in zip(x, w, strict=True))
    default = {"uint64": "uint64", "int32": "int64", "uint32": "int64", "int64": "int64"}.get(dtype, "int32")
    result = np.dtype(out_dtype or default)
    info = np.iinfo(result)
    low, high = int(info.min), int(info.max)
    wanted = {"wrap": (exact - low) % (high - low + 1) + low, "saturate": min(max(exact, low), high)}
    arrays = np.array(x, dtype), np.array(w, dtype)
    for name, operator in ONE_SUM.items():
        for overflow, value in wanted.items():
            out = operator(*arrays, out_dtype=out_dtype, overflow=overflow)
            assert (out.dtype, out.item()) == (result, value), (name, overflow)
        if low <= exact <= high:
            assert operator(*arrays, out_dtype=out_dtype).item() == exact, name
        else:
            with pytest.raises(OverflowError, match=f"does not fit into {result}"):
                operator(*arrays, out_dtype=out_dtype, overflow="raise")


def test_overflow_of_a_bias_gradient():
    """A sum without a product."""
    grad = np.full((1, 1, 1, 2), 2**63 - 1)
    assert refconv.conv2d_bias(grad, overflow="saturate").item() == 2**63 - 1
    assert refconv.conv2d_bias(grad, overflow="wrap").item() == -2
    with pytest.raises(OverflowError, match="does not fit into int64"):
        refconv.conv2d_bias(grad)


@pytest.mark.parametrize("op", OPERATORS)
def test_overflow_is_one_of_three(op):
    axes = axes_of(op)
    geometry = convolution((1, 1, *(2,) * axes), (1, 1, *(1,) * axes), None, 1, 0, 1, 1, "zeros")
    with pytest.raises(refconv.GeometryError, match=r"overflow='clip'.*'saturate'"):
        Arrays(geometry, 0, random_numbers("int8")).call(op, overflow="clip")


@pytest.mark.parametrize("dtype", [np.dtype(ml_dtypes.bfloat16), np.dtype("float32"), np.dtype("float64")], ids=str)
def test_sums_past_the_largest_number_become_infinite(dtype):
    """As IEEE 754 has it, in gradients too; nothing warns."""
    largest = ml_dtypes.finfo(dtype).max
    x, w = np.full((1, 2, 1, 1), largest, dtype), np.ones((1, 2, 1, 1), dtype)
    assert np.isinf(refconv.conv2d(x, w).astype("float64")).all()
    assert np.isinf(refconv.conv2d_bias(x.reshape(2, 1, 1, 1)).astype("float64")).all()
    assert np.isinf(refconv.conv_transpose2d(x, w.reshape(2, 1, 1, 1)).astype("float64")).all()


# --- what a review found -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "kernel", "stride"), [((1, 1), (1, 1), 3000), ((2, 2), (1, 1), 1000), ((2, 3), (3, 2), 500)]
)
def test_large_strides_take_no_longer_than_their_results(shape, kernel, stride):
    """Only residues that have elements and taps are correlations of their own."""
    x, w = np.full((1, 1, *shape), 2.0), np.full((1, 1, *kernel), 3.0)
    out = refconv.conv_transpose2d(x, w, np.array([1.0]), stride)
    theirs = torch.nn.functional.conv_transpose2d(
        torch.tensor(x), torch.tensor(w), torch.tensor([1.0]).double(), stride
    )
    assert np.array_equal(out, theirs.numpy())
    size = tuple(n + 5 for n in shape)
    gradient = np.ones((1, 1, 1, 1))
    found = refconv.conv2d_input((1, 1, *size), w, gradient, stride)
    expected = np.zeros((1, 1, *size))
    expected[..., : kernel[0], : kernel[1]] = 3
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("backend", ["cpu", "python"])
def test_gradients_of_nothing(backend):
    """Sums over no elements are zeros; without input channels there is no weight."""
    for shape in ((1, 2, 0, 5), (2, 2, 4, 0), (0, 2, 3, 3)):
        assert same_bits(refconv.conv2d_bias(np.ones(shape), backend=backend), np.zeros(2))
    x, gradient = np.ones((1, 0, 5, 5)), np.ones((1, 0, 3, 3))
    assert refconv.conv2d_weight(x, (2, 0, 3, 3), gradient, backend=backend).shape == (2, 0, 3, 3)


@pytest.mark.parametrize("backend", ["cpu", "python"])
def test_numpys_error_state_has_no_say(backend):
    """Overflow while a gradient is folded, and a signalling NaN that is converted."""
    signalling = np.array([0x7FA00000], "uint32").view("float32")
    ones, nan = np.ones((1, 1, 1, 1), "float32"), signalling.reshape(1, 1, 1, 1)
    with np.errstate(all="raise"):
        huge = np.full((1, 1, 4, 4), 1.7e308 / 2)
        options = {"padding": 1, "padding_mode": "reflect", "backend": backend}
        assert np.isinf(refconv.conv2d_input((1, 1, 3, 3), np.ones((1, 1, 2, 2)), huge, **options)).any()
        for arguments in ((ones, ones, signalling), (nan, ones), (ones, nan)):
            assert np.isnan(refconv.conv2d(*arguments, backend=backend)).all()


def test_messages_name_the_sizes_that_were_given():
    """And not arrays that the operator does not have."""
    x, w = np.ones((1, 2, 5, 5)), np.ones((2, 2, 3, 3))
    for size in ((2, 2, 0, 3), (2, 3, 3, 3), (2, 2, 9, 3)):
        with pytest.raises(refconv.GeometryError, match=r"^weight_size"):
            refconv.conv2d_weight(x, size, np.ones((1, 2, 3, 3)))
    with pytest.raises(refconv.GeometryError, match=r"^input_size"):
        refconv.conv2d_input((2, 2, 0, 3), w, np.ones((2, 2, 3, 3)))


def test_results_that_a_library_cannot_hold_are_refused_before_anything_is_computed():
    """JAX without x64: int64 results."""
    jax_numpy = pytest.importorskip("jax.numpy")
    ones = jax_numpy.ones((1, 1, 3, 3), "int32")
    with pytest.raises(TypeError, match=r"grad_output of type .*int64 .*out_dtype"):
        refconv.conv2d_bias(ones)
    assert refconv.conv2d_bias(ones, out_dtype="int32").item() == 9


@given(sums())
def test_wrapped_sums_are_those_of_python(operands):
    """Modulo 2**64 by both backends, though no partial sum need fit."""
    dtype, *numbers = operands
    x, w = (np.array(each, dtype).reshape(1, -1, 1, 1) for each in numbers)
    found = [refconv.conv2d(x, w, overflow="wrap", backend=each) for each in ("python", "cpu")]
    bits = 8 * found[0].itemsize
    total = sum(int(left) * int(right) for left, right in zip(*numbers, strict=True))
    assert same_bits(*found)
    assert (found[0].item() - total) % 2**bits == 0


@pytest.mark.parametrize("dtype", ["float32", "complex64", "int64"])
@pytest.mark.parametrize("op", ["conv2d", "conv2d_input", "conv2d_weight", "conv2d_bias", "conv_transpose2d"])
def test_python_and_cpu_give_the_same_bits_for_long_sums(op, dtype):
    """Of more than one block of 256 terms."""
    geometry = convolution((7, 66, 7, 8), (66, 66, 2, 2), None, (2, 1), 0, 1, 1, "zeros")
    if op in ("conv2d_weight", "conv2d_bias"):  # whose sums run over images and outputs
        geometry = dataclasses.replace(geometry, in_channels=1, out_channels=2)
    else:  # over channels; few outputs, for Python is slow
        geometry = dataclasses.replace(geometry, batch=1, size=(2, 3), out_channels=66 if "2d_" in op else 1)
        geometry = dataclasses.replace(geometry, in_channels=1 if op != "conv2d" else 66)
    arrays = Arrays(geometry, 0, random_numbers(dtype))
    assert same_bits(arrays.call(op, backend="python"), arrays.call(op, backend="cpu"))


def test_an_overflowing_bias_is_named_where_it_is_the_output():
    """And no element that meets a tap, whose value is another."""
    x, w, bias = np.full((1, 1, 2), -100, "int16"), np.ones((1, 1, 1), "int16"), np.array([200], "int16")
    assert refconv.conv_transpose1d(x, w, bias, 2).tolist() == [[[100, 200, 100]]]
    with pytest.raises(OverflowError, match=r"no tap .* bias, 200: .* int8 "):
        refconv.conv_transpose1d(x, w, bias, 2, out_dtype="int8")
    assert refconv.conv_transpose1d(x, w, bias, 2, out_dtype="int8", overflow="saturate").tolist() == [
        [[100, 127, 100]]
    ]


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.fixture
def nothing_computed(monkeypatch):
    """No target may be asked to compute."""

    def run(correlation):
        raise AssertionError(f"asked to compute {correlation}")

    for target in ("cpu", "python"):
        monkeypatch.setattr(f"refconv.engine.targets.{target}.run", run)


BAD_OPTIONS = [
    ("precision", "exactly"),
    ("precision", None),
    ("overflow", "ignore"),
    ("layout", "CHWN"),
    ("layout", 1),
    ("out_dtype", "float128"),
    ("out_dtype", "int8"),
    ("out_dtype", bool),
    ("out_dtype", []),
    ("backend", "tpu"),
]


@pytest.mark.usefixtures("nothing_computed")
@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize(("option", "value"), BAD_OPTIONS)
def test_bad_options(op, option, value):
    """Named, with the value and what it must be, by one error and not by a chain of them."""
    arrays = plain_arrays(op)
    with pytest.raises((refconv.GeometryError, TypeError), match=f"^{option}=.*must be") as caught:
        arrays.call(op, **{option: value})
    assert caught.value.__context__ is None


def plain_arrays(op, dtype="float32"):
    axes = axes_of(op)
    shapes = (2, 4, *(6,) * axes), (4, 2, *(3,) * axes)
    return Arrays(convolution(*shapes, None, 1, 0, 1, 2, "zeros"), 0, random_numbers(dtype))


@pytest.mark.usefixtures("nothing_computed")
@pytest.mark.parametrize("op", OPERATORS)
def test_unknown_options(op):
    """As for any Python function."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'paddingmode'"):
        plain_arrays(op).call(op, paddingmode="zeros")


@pytest.mark.usefixtures("nothing_computed")
@pytest.mark.parametrize("op", [*CONVOLUTIONS, *TRANSPOSED, "conv2d_input", "conv2d_weight"])
@pytest.mark.parametrize("other", ["float64", "int32", "complex64", "bfloat16"])
def test_mixed_dtypes(op, other):
    """Floats with integers, and floats of other widths."""
    arrays = plain_arrays(op)
    name = "grad" if op == "conv2d_weight" else "weight"
    setattr(arrays, name, getattr(arrays, name).real.astype(np.dtype(other)))
    with pytest.raises(TypeError, match=f"has dtype {other}: must be that of .*float32"):
        arrays.call(op)


@pytest.mark.usefixtures("nothing_computed")
@pytest.mark.parametrize("op", ["conv2d_input", "conv2d_weight"])
@pytest.mark.parametrize("change", [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, -1)])
def test_sizes_that_contradict_the_gradient(op, change):
    """Of the output."""
    arrays = plain_arrays(op)
    arrays.grad = np.ones([n + more for n, more in zip(arrays.grad.shape, change, strict=True)], "float32")
    with pytest.raises(refconv.GeometryError, match=r"grad_output of shape .* must be"):
        arrays.call(op)


@pytest.mark.usefixtures("nothing_computed")
@pytest.mark.parametrize("op", TRANSPOSED)
@pytest.mark.parametrize("output_padding", [1, 2, -1, "1", (1, 1, 1, 1)], ids=repr)
def test_impossible_output_padding(op, output_padding):
    """Not smaller than stride and dilation, negative, or for no axis."""
    arrays = plain_arrays(op)
    x, w, bias = arrays.arguments(op)[:3]
    with pytest.raises((refconv.GeometryError, TypeError), match=r"^output_padding="):
        getattr(refconv, op)(x, w, bias, output_padding=output_padding, groups=2)


@pytest.mark.usefixtures("nothing_computed")
def test_shapes_in_messages_say_in_which_order_they_are():
    """Where the caller's is another."""
    with pytest.raises(refconv.GeometryError, match=r"\(1, 3, 4, 4\).*channels before the spatial axes"):
        refconv.conv2d(np.ones((1, 4, 4, 3)), np.ones((3, 2, 1, 1)), layout="NHWC")
