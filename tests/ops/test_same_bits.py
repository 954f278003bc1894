"""One result for every backend, layout, view and kind of array, bit for bit."""

import dataclasses

import numpy as np
import pytest
import torch
from common import MODES, same_bits
from family import (
    DTYPES,
    OPERATORS,
    PRECISIONS,
    SEEDS,
    Arrays,
    axes_of,
    modes_of,
    ops_of,
    random_numbers,
    small_geometries,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import refconv
from refconv.core.geometry import convolution
from refconv.core.layouts import LAYOUTS, WEIGHT_LAYOUTS
from refconv.core.operators import like


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", OPERATORS)
def test_python_and_cpu_give_the_same_bits(op, dtype):
    """Plain Python, which is slow, on tiny arrays."""

    @settings(max_examples=4)
    @given(small_geometries(axes_of(op), modes_of(op), tiny=True), SEEDS)
    def check(geometry, seed):
        arrays = Arrays(geometry, seed, random_numbers(dtype))
        for precision in PRECISIONS:
            options = {"precision": precision}
            assert same_bits(arrays.call(op, backend="python", **options), arrays.call(op, backend="cpu", **options))

    check()


ANY_GEOMETRY = st.sampled_from((2, 2, 1, 3)).flatmap(lambda axes: small_geometries(axes, modes=MODES))


@given(ANY_GEOMETRY, st.sampled_from(DTYPES), SEEDS, st.booleans(), st.sampled_from(PRECISIONS))
def test_channels_last_gives_the_same_bits(geometry, dtype, seed, batched, precision):
    """NHWC images and OHWI weights: the transposed results of NCHW and OIHW; of other numbers of axes likewise."""
    axes = len(geometry.size)
    arrays = Arrays(geometry, seed, random_numbers(dtype), batched=batched)
    last = Arrays(geometry, seed, random_numbers(dtype), batched=batched)
    for name in ("input", "grad"):
        setattr(last, name, np.ascontiguousarray(np.moveaxis(getattr(arrays, name), -1 - axes, -1)))
    last.weight = np.ascontiguousarray(np.moveaxis(arrays.weight, 1, -1))
    for op in ops_of(geometry):
        expected = arrays.call(op, precision=precision)
        options = {"precision": precision} | ({} if like(op) == "bias" else {"weight_layout": WEIGHT_LAYOUTS[axes][1]})
        if like(op) == "weight":
            expected = np.moveaxis(expected, 1, -1)
        elif like(op) != "bias":
            expected = np.moveaxis(expected, -1 - axes, -1)
        actual = np.ascontiguousarray(last.call(op, layout=LAYOUTS[axes][1], **options))
        assert same_bits(actual, np.ascontiguousarray(expected)), op


@given(ANY_GEOMETRY, st.sampled_from(DTYPES), SEEDS, st.sampled_from(PRECISIONS))
def test_any_strides_give_the_same_bits(geometry, dtype, seed, precision):
    """Reversed, stepping, transposed and unaligned views, and arrays that may not be written to."""
    arrays = Arrays(geometry, seed, random_numbers(dtype))
    viewed = Arrays(geometry, seed, random_numbers(dtype))
    viewed.input, viewed.weight = reversed_view(arrays.input), transposed_view(arrays.weight)
    viewed.grad, viewed.bias = unaligned(arrays.grad), reversed_view(arrays.bias)
    for op in ops_of(geometry):
        calls = (operands.call(op, precision=precision) for operands in (viewed, arrays))
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


@pytest.mark.parametrize("op", OPERATORS)
def test_stride_zero_gives_the_same_bits(op):
    """One number broadcast to a whole array."""
    size, kernel = (5, 6, 4)[: axes_of(op)], (2, 3, 1)[: axes_of(op)]
    geometry = convolution((2, 4, *size), (6, 2, *kernel), None, 2, 1, 1, 2, "zeros")
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
    arguments = [
        torch.tensor(argument) if isinstance(argument, np.ndarray) else argument for argument in arrays.arguments(op)
    ]
    arguments = [
        torch.Size(argument) if isinstance(argument, tuple) and len(argument) == axes_of(op) + 2 else argument
        for argument in arguments
    ]
    actual = getattr(refconv, op)(*arguments)
    assert isinstance(actual, torch.Tensor)
    assert same_bits(actual.numpy(), arrays.call(op))


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
