"""The fills that must be named: each is what its name says, in every floating format, of every size."""

import numpy as np
import pytest
from family import COMPLEX, FLOATS, INTEGERS
from hypothesis import given
from hypothesis import strategies as st

from refconv import Case, ops
from refconv.cases.fills import known, names, operands, tensors
from refconv.core.formats import parts

EXTREME = known("float32")[len(names("float32")) :]
SHAPES = (2, 8, 6, 6), (4, 8, 3, 3)


def drawn(fill, dtype="float32", seed=0):
    """Input, weight and bias as float64, the parts of complex numbers side by side."""
    return [parts(array).astype(float) for array in operands(fill, *SHAPES, bias=True, dtype=dtype, seed=seed)]


@given(
    st.sampled_from(EXTREME),
    st.sampled_from(FLOATS + COMPLEX),
    st.tuples(*[st.integers(0, 3)] * 4),
    st.booleans(),
    st.integers(0, 99),
)
def test_all_shapes_and_formats(fill, dtype, sizes, bias, seed):
    """Right shapes and dtypes, empty tensors included; finite but where the fill is to be special."""
    batch, outputs, channels, taps = sizes
    shapes = (batch, channels, 4, 5), (outputs, channels, taps, 2)
    x, w, b = operands(fill, *shapes, bias=bias, dtype=dtype, seed=seed)
    assert (x.shape, w.shape) == shapes
    assert (b is not None) is bias
    for array in (x, w, *([b] if bias else [])):
        assert array.dtype == dtype
        assert fill == "special" or np.isfinite(parts(array).astype(float)).all()


def test_default_fills_are_the_first_of_the_known():
    assert names("bfloat16") == known("bfloat16")[:5]
    assert names("int32") == known("int32")[:1] == ("integers",)


@pytest.mark.parametrize("dtype", FLOATS + COMPLEX)
def test_constant(dtype):
    assert all(len(np.unique(array)) == 1 for array in drawn("constant", dtype))


@pytest.mark.parametrize("dtype", FLOATS + COMPLEX)
def test_one_hot(dtype):
    """In the input for some seeds, in the weights for others."""
    nonzero = {tuple(np.count_nonzero(array) for array in drawn("one_hot", dtype, seed)[:2]) for seed in range(9)}
    assert {1 in counts for counts in nonzero} == {True}
    assert {counts.index(1) for counts in nonzero} == {0, 1}


def test_wide():
    """Products from the smallest normal numbers to the largest finite sums."""
    x, w, b = drawn("wide")
    products = np.abs(np.multiply.outer(x, w))
    assert np.log2(products.min()) < -120
    assert np.log2(products.max()) > 110
    assert np.isfinite(ops.conv2d(*operands("wide", *SHAPES, bias=True))).all()
    assert np.ptp(np.log2(np.abs(b))) > 20


def test_cancelling():
    """S is far larger than e, except with a single term."""
    x, w, b = operands("cancelling", *SHAPES, bias=True)
    value = ops.conv2d(x, w, b, out_dtype="float64")
    absolute = ops.conv2d(abs(x), abs(w), abs(b), out_dtype="float64")
    assert (absolute > 500 * np.abs(value)).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_subnormal(dtype):
    """One of the tensors and the bias, and never a normal number in them."""
    import ml_dtypes

    smallest = float(ml_dtypes.finfo(dtype).smallest_normal)
    for seed in range(5):
        x, w, b = drawn("subnormal", dtype, seed)
        assert [bool((np.abs(array) <= smallest).all()) for array in (x, w)].count(True) == 1
        assert (np.abs(b) <= smallest).all()
        assert any(array.any() for array in (x, w))


def test_special():
    """All kinds of them in the operands, and neither in all outputs nor in none."""
    x, w, b = operands("special", (4, 8, 16, 16), (8, 8, 3, 3), bias=True)
    assert np.isnan(x).any()
    assert np.isposinf(x).any()
    assert np.isneginf(x).any()
    assert (np.signbit(x) & (x == 0)).any()
    assert (np.abs(x) == np.finfo("float32").max).any()
    expected = Case(input=x, weight=w, bias=b).expected()
    assert 0 < np.count_nonzero(np.isfinite(expected)) < expected.size


@pytest.mark.parametrize("dtype", INTEGERS)
def test_extreme_integers(dtype):
    """The two ends of the dtype, or of what lets every sum fit the result's."""
    x, w, b = operands("extreme", *SHAPES, bias=True, dtype=dtype)
    info = np.iinfo(dtype)
    for array in (x, w):
        assert len(np.unique(array)) == 2
        assert int(array.max()) > info.max // 4 or np.dtype(dtype).itemsize > 1
    if np.dtype(dtype).itemsize == 1:
        assert {int(x.min()), int(x.max())} == {info.min, info.max}
    assert Case(input=x, weight=w, bias=b).expected().size  # or it raises


@pytest.mark.parametrize("fill", known("float16"))
@given(st.tuples(*[st.integers(1, 4)] * 4), st.integers(1, 9))
def test_sums_over_other_axes(fill, sizes, batch):
    """The tensor whose second axis is kept has the shape asked for, and is as the fill says along the others."""
    shapes = [(batch, 1, 2, 3), (batch, *sizes[1:])]
    terms = batch * sizes[2] * sizes[3]
    x, grad = tensors(fill, shapes, ("float16", "float16"), terms=terms, seed=1, kept=1)
    assert [x.shape, grad.shape] == shapes
    assert grad.flags.c_contiguous
    if fill == "integers":
        sums = np.abs(grad.astype(float)).sum((0, 2, 3)) * np.abs(x.astype(float)).max()
        assert (sums <= 1 / np.finfo("float16").epsneg).all()


def test_two_dtypes_of_eight_bits():
    x, w = tensors("integers", SHAPES, ("int8", "uint8"), terms=72, seed=3)
    assert (x.dtype, w.dtype) == (np.int8, np.uint8)
    assert x.min() < 0
    assert w.max() > 127
