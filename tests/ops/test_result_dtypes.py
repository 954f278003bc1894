"""Dtypes of results: inferred, asked for, and rounded once."""

from fractions import Fraction

import numpy as np
import pytest
from common import MODES
from family import (
    DTYPES,
    FLOATS,
    INTEGERS,
    NARROW,
    OPERATORS,
    SEEDS,
    Arrays,
    assert_equal,
    axes_of,
    ops_of,
    random_numbers,
    small_geometries,
    small_integers,
)
from hypothesis import given
from hypothesis import strategies as st

import refconv
from refconv.core.formats import round_fraction
from refconv.core.geometry import convolution


@given(small_geometries(modes=MODES), st.sampled_from(["float32", *NARROW]), st.sampled_from(FLOATS), SEEDS)
def test_out_dtype_is_the_unrounded_result_rounded_once(geometry, dtype, out_dtype, seed):
    """The same sums as those of float64 inputs, whatever they are rounded to."""
    arrays = Arrays(geometry, seed, random_numbers(dtype))
    wide = Arrays(geometry, seed, lambda rng, shape: random_numbers(dtype)(rng, shape).astype("float64"))
    for op in ops_of(geometry):
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
        rng.standard_normal(bias.shape).astype("float32") for bias in (arrays.bias, arrays.input_bias)
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
