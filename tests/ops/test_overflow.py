"""Sums of integers that do not fit, and of floats past the largest number."""

import ml_dtypes
import numpy as np
import pytest
from common import same_bits
from family import (
    INTEGERS,
    OPERATORS,
    Arrays,
    axes_of,
    random_numbers,
)
from hypothesis import example, given
from hypothesis import strategies as st

import refconv
from refconv.core.geometry import convolution

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


@given(sums())
def test_wrapped_sums_are_those_of_python(operands):
    """Modulo 2**64 by both backends, though no partial sum need fit."""
    dtype, *numbers = operands
    x, w = (np.array(values, dtype).reshape(1, -1, 1, 1) for values in numbers)
    results = [refconv.conv2d(x, w, overflow="wrap", backend=backend) for backend in ("python", "cpu")]
    bits = 8 * results[0].itemsize
    total = sum(int(left) * int(right) for left, right in zip(*numbers, strict=True))
    assert same_bits(*results)
    assert (results[0].item() - total) % 2**bits == 0


def test_an_overflowing_bias_is_named_where_it_is_the_output():
    """And no element that meets a tap, whose value is another."""
    x, w, bias = np.full((1, 1, 2), -100, "int16"), np.ones((1, 1, 1), "int16"), np.array([200], "int16")
    assert refconv.conv_transpose1d(x, w, bias, 2).tolist() == [[[100, 200, 100]]]
    with pytest.raises(OverflowError, match=r"no tap .* bias, 200: .* int8 "):
        refconv.conv_transpose1d(x, w, bias, 2, out_dtype="int8")
    assert refconv.conv_transpose1d(x, w, bias, 2, out_dtype="int8", overflow="saturate").tolist() == [
        [[100, 127, 100]]
    ]
