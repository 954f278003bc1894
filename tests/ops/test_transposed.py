"""Transposed convolutions: on small integers exactly torch's and JAX's, and adjoint to the convolution."""

import numpy as np
import peers
import pytest
import torch
from common import same_bits
from family import (
    FEW,
    NARROW,
    SEEDS,
    Arrays,
    assert_equal,
    complex_integers,
    random_numbers,
    small_geometries,
    small_integers,
)
from hypothesis import given
from hypothesis import strategies as st

import refconv


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
    actual = refconv.conv2d_input((1, 1, *size), w, gradient, stride)
    expected = np.zeros((1, 1, *size))
    expected[..., : kernel[0], : kernel[1]] = 3
    assert np.array_equal(actual, expected)
