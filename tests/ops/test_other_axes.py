"""Convolutions of one, two and three axes: on small integers exactly those of torch, JAX and onnxruntime."""

import dataclasses

import peers
import pytest
from common import MODES, same_bits
from family import (
    FEW,
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
from refconv.core.checks import STRIDED_SAME


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


@given(small_geometries(), SEEDS)
def test_float16_equals_onnxruntime(geometry, seed):
    """Integers that are small enough are exact in float16 too."""
    arrays = Arrays(geometry, seed, lambda rng, shape: rng.integers(-3, 4, shape).astype("float16"))
    arrays.bias[:] = 0
    theirs = peers.onnx_conv(arrays.input, arrays.weight, **peers.onnx_conv2d_options(geometry))
    assert_equal(arrays.call("conv2d"), theirs)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("name", STRIDED_SAME)
def test_padding_by_the_stride_equals_onnxruntime(name, axes):
    """ceil(size / stride) outputs; an odd padding has its extra element last, or first. Gradients have numbers only."""

    @given(small_geometries(axes), SEEDS)
    def check(geometry, seed):
        arrays = Arrays(geometry, seed, lambda rng, shape: rng.integers(-3, 4, shape).astype("float32"))
        g = geometry
        options = {"stride": g.stride, "dilation": g.dilation, "groups": g.groups}
        result = getattr(refconv, f"conv{axes}d")(arrays.input, arrays.weight, padding=name, **options)
        assert result.shape[2:] == tuple(-(-size // step) for size, step in zip(g.size, g.stride, strict=True))
        attributes = {"strides": g.stride, "dilations": g.dilation, "group": g.groups, "auto_pad": name.upper()}
        reach = ((-(-axis.size // axis.stride) - 1) * axis.stride + axis.kernel - axis.size for axis in g.axes)
        # It refuses dilations, and leaves elements out where a stride beyond the kernel asks for no padding.
        if set(g.dilation) == {1} and min(reach) >= 0:
            assert_equal(result, peers.onnx_conv(arrays.input, arrays.weight, **attributes))
        if axes == 2:
            with pytest.raises(refconv.GeometryError, match="must not be given for a gradient"):
                refconv.conv2d_input(arrays.input.shape, arrays.weight, result, padding=name, **options)

    check()


@FEW
@given(small_geometries(), SEEDS)
def test_four_sided_padding_equals_jax(geometry, seed):
    arrays = Arrays(geometry, seed, small_integers)
    g = geometry
    expected = peers.jax_conv(arrays.input, arrays.weight, g.stride, g.padding, g.dilation, g.groups)
    assert_equal(arrays.call("conv2d"), expected + arrays.bias[:, None, None])


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
