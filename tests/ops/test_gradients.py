"""Gradients: on small integers exactly torch's and JAX's, and adjoint to the convolution."""

import numpy as np
import peers
import pytest
from common import MODES, same_bits
from family import (
    FEW,
    SEEDS,
    Arrays,
    assert_equal,
    complex_integers,
    small_geometries,
    small_integers,
)
from hypothesis import given
from hypothesis import strategies as st

import refconv
from refconv import strategies
from refconv.core.geometry import convolution

GRADIENTS = {axes: [f"conv{axes}d_{of}" for of in ("input", "weight", "bias")] for axes in (1, 2, 3)}
FILLS = st.sampled_from([small_integers, complex_integers])


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_gradients_equal_torch(axes):
    """Through all padding modes, for strides that do not divide the size, empty batches and single images."""

    @given(small_geometries(axes, modes=MODES), SEEDS, st.booleans())
    def check(geometry, seed, batched):
        arrays = Arrays(geometry, seed, small_integers, batched=batched)
        for op, expected in zip(GRADIENTS[axes], torch_gradients(arrays), strict=True):
            assert_equal(arrays.call(op), expected)

    check()


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_gradients_of_transposed_convolutions_equal_torch(axes):
    """Output padding beyond the stride too, single images and complex numbers, of which torch takes conjugates."""

    @given(
        small_geometries(axes, asymmetric=False), SEEDS, FILLS, st.lists(st.booleans(), min_size=axes, max_size=axes)
    )
    def check(geometry, seed, fill, beyond):
        arrays = Arrays(geometry, seed, fill, batched=seed % 2 > 0)
        x, w, bias, stride, padding, extra, groups, dilation = arrays.arguments(f"conv_transpose{axes}d")
        longer = [part + step * more for part, step, more in zip(extra, stride, beyond, strict=True)]
        allowed = [min(part, max(steps) - 1) for part, *steps in zip(longer, stride, dilation, strict=True)]
        options = (stride, padding, tuple(allowed), groups, dilation)
        grad = fill(np.random.default_rng(seed), peers.torch_conv_transpose(x, w, bias, *options).shape)
        of_input, of_weight = peers.torch_transposed_gradients(x, w, grad, *options)
        assert_equal(getattr(refconv, f"conv_transpose{axes}d_input")(x.shape, w, grad, *options), of_input)
        assert_equal(getattr(refconv, f"conv_transpose{axes}d_weight")(x, w.shape, grad, *options), of_weight)

    check()


def torch_gradients(arrays):
    g = arrays.geometry
    return peers.torch_gradients(
        arrays.input, arrays.weight, arrays.grad, g.stride, g.padding, g.dilation, g.groups, g.padding_mode
    )


@given(small_geometries(asymmetric=False), SEEDS)
def test_gradients_equal_torch_nn_grad(geometry, seed):
    """torch's own functions of these names."""
    arrays = Arrays(geometry, seed, small_integers)
    assert_equal(arrays.call("conv2d_input"), peers.torch_conv2d_input(*arrays.arguments("conv2d_input")))
    assert_equal(arrays.call("conv2d_weight"), peers.torch_conv2d_weight(*arrays.arguments("conv2d_weight")))


@given(strategies.geometries(padding_modes=MODES, asymmetric_padding=True, string_padding=True), SEEDS)
def test_larger_gradients_equal_torch(geometry, seed):
    """Channels and images around the widths of vectors, tiles and blocks; depthwise ones."""
    arrays = Arrays(geometry, seed, small_integers)
    for op, expected in zip(GRADIENTS[2], torch_gradients(arrays), strict=True):
        assert_equal(arrays.call(op), expected)


@given(small_geometries(), SEEDS)
def test_gradients_of_complex_numbers_equal_torch(geometry, seed):
    """torch's convention: the gradient is the adjoint, so it holds the conjugates."""
    arrays = Arrays(geometry, seed, complex_integers)
    for op, expected in zip(GRADIENTS[2], torch_gradients(arrays), strict=True):
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


@given(small_geometries(modes=MODES), SEEDS)
def test_adjoint_identities(geometry, seed):
    """<conv(x, w), y> = <x, conv2d_input(w, y)> = <w, conv2d_weight(x, y)>, exactly, and the bias sums y."""
    arrays = Arrays(geometry, seed, small_integers)
    arrays.bias[:] = 0
    inner = np.vdot(arrays.call("conv2d"), arrays.grad)
    assert np.vdot(arrays.input, arrays.call("conv2d_input")) == inner
    assert np.vdot(arrays.weight, arrays.call("conv2d_weight")) == inner
    assert np.array_equal(arrays.call("conv2d_bias"), arrays.grad.sum((0, 2, 3)))


@pytest.mark.parametrize("backend", ["cpu", "python"])
def test_gradients_of_nothing(backend):
    """Sums over no elements are zeros; without input channels there is no weight."""
    for shape in ((1, 2, 0, 5), (2, 2, 4, 0), (0, 2, 3, 3)):
        assert same_bits(refconv.conv2d_bias(np.ones(shape), backend=backend), np.zeros(2))
    x, gradient = np.ones((1, 0, 5, 5)), np.ones((1, 0, 3, 3))
    assert refconv.conv2d_weight(x, (2, 0, 3, 3), gradient, backend=backend).shape == (2, 0, 3, 3)
