"""Integers are exact, whatever their size: against Python's own, with an error where the result does not fit."""

import numpy as np
import pytest
from common import ALL
from hypothesis import example, given
from hypothesis import strategies as st

from refconv import conv2d

INTEGERS = ALL[2:]


def python_sum(x, w, b):
    """The one output of a convolution as wide as its input."""
    return int(b) + sum(int(left) * int(right) for left, right in zip(x.flat, w.flat, strict=True))


@given(st.sampled_from(INTEGERS), st.integers(1, 5), st.randoms(use_true_random=False))
def test_whole_range(dtype, terms, random):
    """Numbers of every magnitude; results past the output type raise, and only they."""
    info = np.iinfo(dtype)

    def number():
        return random.randint(info.min >> (shift := random.randrange(64)), info.max >> shift)

    x, w = (np.array([number() for _ in range(terms)], dtype).reshape(1, terms, 1, 1) for _ in range(2))
    b = np.array([number()], dtype)
    check(x, w, b)


def check(x, w, b):
    """conv2d gives the sum, or raises where it does not fit."""
    expected = python_sum(x, w, b[0])
    out = np.iinfo(result_dtype(x.dtype))
    if out.min <= expected <= out.max:
        assert conv2d(x, w, b).item() == expected
    else:
        with pytest.raises(OverflowError, match=r"does not fit into " + str(np.dtype(out.dtype))):
            conv2d(x, w, b)


def result_dtype(dtype):
    """As documented."""
    return "uint64" if dtype == np.uint64 else "int32" if dtype.itemsize < 4 else "int64"


@pytest.mark.parametrize("dtype", INTEGERS)
def test_extremes(dtype):
    """The ends of each range: the largest sums, sums that cancel on the way, and sums that just fit."""
    info = np.iinfo(dtype)
    for values in ([info.max] * 4, [info.min] * 4, [info.max, info.min] * 2, [info.max, 1, 0, 0]):
        for weights in ([1, 1, 1, 1], [info.max] * 4, [info.min] * 4, [info.max, info.max, info.min, 1]):
            x, w = (np.array(v, dtype).reshape(1, 4, 1, 1) for v in (values, weights))
            for bias in (0, info.max, info.min):
                check(x, w, np.array([bias], dtype))


@example(0)
@example(1)
@given(st.integers(0, 2**63 - 1))
def test_sums_that_cancel_past_64_bits(value):
    """value * 2**62 - value * 2**62 + 1: no partial sum fits, the result does."""
    x = np.array([2**62, 2**62, 1]).reshape(1, 3, 1, 1)
    w = np.array([value, -value, 1]).reshape(1, 3, 1, 1)
    assert conv2d(x, w).item() == 1


def test_overflow_names_the_element():
    """The first that does not fit."""
    x = np.array([1, 2**40, 2**62]).reshape(1, 1, 1, 3)
    with pytest.raises(OverflowError, match=r"output \(0, 0, 0, 2\) is 9223372036854775808: .* int64"):
        conv2d(x, np.full((1, 1, 1, 1), 2))


def test_negative_results_do_not_fit_uint64_but_unsigned_inputs_have_none():
    """uint64 stays exact above 2**63."""
    x = np.array([2**64 - 1, 1], np.uint64).reshape(1, 2, 1, 1)
    w = np.array([1, 0], np.uint64).reshape(1, 2, 1, 1)
    assert conv2d(x, w).item() == 2**64 - 1
