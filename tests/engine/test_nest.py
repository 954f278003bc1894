"""The loop nest: the formula, the nest run by Python and the nest compiled agree; the same bits for any threads."""

from fractions import Fraction

import numba
import numpy as np
import pytest
from common import ALL, AS_TORCH, FLOATS, MODES, call, same_bits
from hypothesis import example, given
from hypothesis import strategies as st

from refconv import Case, conv2d, strategies
from refconv.core.formats import round_fraction
from refconv.engine.nest import BLOCK
from refconv.engine.targets.python import fma


def canonical_sum(x_terms, w_terms, bias, accumulator):
    """The canonical order, written down once more from the documentation and in exact arithmetic."""
    total = Fraction(float(bias))
    for first in range(0, len(x_terms), 256):
        block = Fraction(0)
        for x, w in zip(x_terms[first : first + 256], w_terms[first : first + 256], strict=True):
            block = Fraction(float(round_fraction(Fraction(float(x)) * Fraction(float(w)) + block, accumulator)))
        total = Fraction(float(round_fraction(total + block, accumulator)))
    return total


TIERS = [("float32", "float32"), ("float32", "float64"), ("float64", "float64")]


@pytest.mark.parametrize("terms", [1, 255, 256, 257, 600])
@pytest.mark.parametrize(("dtype", "precision"), TIERS)
def test_compiled_sum_is_the_canonical_one(terms, dtype, precision):
    """Formula and order of additions as documented, across the boundaries of the blocks."""
    rng = np.random.default_rng(terms)
    x, w = (rng.standard_normal(terms).astype(dtype) for _ in range(2))
    bias = rng.standard_normal(1).astype(dtype)
    out = conv2d(x.reshape(1, terms, 1, 1), w.reshape(1, terms, 1, 1), bias, precision=precision)
    expected = round_fraction(canonical_sum(x, w, bias[0], precision), dtype)
    assert out.item() == expected.item()


def test_terms_ascend_in_channel_row_column():
    """The order within a sum, made visible: 2**53 swallows a 1 added before it is taken away again, not after."""
    weight = np.ones((1, 2, 2, 2))
    for first, second, third in [((0, 0, 0), (0, 0, 1), (0, 1, 0)), ((0, 1, 1), (1, 0, 0), (1, 0, 1))]:
        image = np.zeros((1, 2, 2, 2))
        image[0][first], image[0][second], image[0][third] = 2.0**53, 1, -(2.0**53)
        assert conv2d(image, weight).item() == 0
        image[0][second], image[0][third] = -(2.0**53), 1
        assert conv2d(image, weight).item() == 1


def test_block_length():
    """Blocks are 256 terms whatever happens: changing that changes results that users have stored."""
    assert BLOCK == 256


@given(strategies.cases(dtypes=ALL, padding_modes=MODES, asymmetric_padding=True, max_multiplications=2000, **AS_TORCH))
def test_python_and_compiled_agree_to_the_bit(case):
    """The nest run by Python, in exact rational arithmetic rounded once, and the same nest compiled."""
    assert same_bits(call(case, backend="python"), call(case))


@given(strategies.cases(max_multiplications=2000, **AS_TORCH))
def test_python_and_compiled_agree_to_the_bit_in_float32(case):
    """The speed tier likewise."""
    assert same_bits(call(case, backend="python", precision="float32"), call(case, precision="float32"))


SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.5, 5e-324, 1e-45, 3e38, 1.7e308]


@given(st.data(), st.sampled_from(FLOATS), st.sampled_from((*FLOATS, "exact")))
def test_python_and_compiled_agree_on_special_values(data, dtype, precision):
    """Infinities, NaN (stored as the positive quiet one), signed zeros, subnormals, overflow."""
    if precision == "float32" < dtype:
        precision = dtype
    values = st.lists(st.sampled_from(SPECIAL), min_size=8, max_size=8)
    with np.errstate(over="ignore"):
        x, w = (np.array(data.draw(values)).astype(dtype).reshape(1, 2, 2, 2) for _ in range(2))
        b = np.array(data.draw(values)[:1]).astype(dtype)
    case = Case(input=x, weight=w, bias=b, padding=1)
    assert same_bits(call(case, backend="python", precision=precision), call(case, precision=precision))


@pytest.mark.parametrize(
    ("dtype", "precision"), [("float32", "float32"), *((a, b) for a in FLOATS for b in ("float64", "exact"))]
)
def test_threads_batches_and_memory_change_no_bit(dtype, precision):
    """Large enough to be shared among threads: one or two, image by image, contiguous or not, it is the same."""
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(s).astype(dtype) for s in ((3, 40, 17, 19), (24, 20, 3, 3), (24,)))
    options = {"stride": (1, 2), "padding": 1, "groups": 2, "precision": precision}
    together = conv2d(x, w, b, **options)
    before = numba.get_num_threads()
    try:
        for threads in range(1, before + 1):
            numba.set_num_threads(threads)
            assert same_bits(conv2d(x, w, b, **options), together)
    finally:
        numba.set_num_threads(before)
    assert same_bits(np.concatenate([conv2d(x[n : n + 1], w, b, **options) for n in range(len(x))]), together)
    scattered = (np.repeat(array[..., ::-1], 2, axis=-1)[..., ::-2] for array in (x, w, b))
    assert same_bits(conv2d(*scattered, **options), together)


@pytest.mark.parametrize("total", [np.inf, -np.inf])
def test_pythons_fma_adds_a_finite_product_to_infinity(total):
    """The product alone would overflow, and infinity minus infinity is NaN."""
    assert fma(np.float64(-1.5), np.float64(1.7e308), np.float64(total)) == total


FINITE32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(FINITE32, FINITE32, FINITE32)
@example(1 + 2**-23, 1 - 2**-23, -1.0)  # unfused: 0
@example(2.0**-149, 0.5, -0.0)  # underflows to +0 or -0 by IEEE's rules
@example(2.0**127, 2.0, -(2.0**127))  # the product alone overflows
def test_pythons_fma_is_rounded_once(x, w, total):
    """No float32 is nearer to the exact sum than the result."""
    exact = Fraction(x) * Fraction(w) + Fraction(total)
    result = fma(np.float32(x), np.float32(w), np.float32(total))
    if not np.isfinite(result):
        assert abs(exact) >= Fraction(2) ** 128 - Fraction(2) ** 103
        return
    error = abs(Fraction(float(result)) - exact)
    with np.errstate(over="ignore"):
        neighbours = np.nextafter(result, np.float32([-np.inf, np.inf]))
    for neighbour in neighbours:
        if np.isfinite(neighbour):
            assert error <= abs(Fraction(float(neighbour)) - exact)
