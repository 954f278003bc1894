"""Error bounds: emulated arithmetic stays within them, on every fill and on adversarial operands."""

from functools import partial

import numpy as np
import pytest
from bounded import BOTH, FLOAT32, HALVES, assert_within, assert_within_over_the_range, cases, computed, direct, tiled
from hypothesis import given
from hypothesis import strategies as st
from kernels.fft import fft, fft_of_any_size
from kernels.flushing import flushing_everything
from kernels.implementations import SOUND
from kernels.lowered import by_products, narrowed
from kernels.operands import bfloat16, of_operands, split_in_two, tf32
from kernels.sums import bias_after_rounding, in_accumulator, sequential
from kernels.tensor_core import tensor_core
from kernels.winograd import winograd_by_points

from refconv import Case, ErrorModel

# --- emulations ------------------------------------------------------------------------------------------------------


def random_order(case):
    """float32 products, added in an order that has no system."""
    order = np.random.default_rng(7).permutation(case.geometry.terms)
    return by_products(lambda terms: terms[..., order].cumsum(axis=-1, dtype="float32")[..., -1])(case)


def sound(name):
    return narrowed(SOUND[name].run)


truncated = partial(tf32, truncate=True)
DIRECT = {
    "sequential": (sound("sequential, no FMA"), direct(), BOTH),
    "reversed": (sound("reversed"), direct(), BOTH),
    "pairwise": (sound("pairwise"), direct(), BOTH),
    "no order": (narrowed(random_order), direct(), BOTH),
    "matrix product": (sound("im2col and sgemm"), direct(), BOTH),
    "fused": (lambda case: case.expected("float32"), direct(), BOTH),
    "float64": (lambda case: case.expected("float64"), direct("float64"), (*BOTH, "float64")),
    "float16": (partial(in_accumulator, dtype="float16"), direct("float16"), ("float16",)),
    "float16 backwards": (
        partial(in_accumulator, dtype="float16", backwards=True),
        direct("float16"),
        ("float16",),
    ),
    "bfloat16": (partial(in_accumulator, dtype="bfloat16"), direct("bfloat16"), ("bfloat16",)),
    "float8": (
        partial(in_accumulator, dtype="float8_e4m3fn"),
        direct("float8_e4m3fn"),
        ("float8_e4m3fn",),
    ),
    "bias after rounding": (bias_after_rounding, direct(bias_after_rounding=True), BOTH),
    "flush to zero": (flushing_everything, direct(flush_to_zero=True), BOTH),
    "flush to zero, exact": (flushing_everything, direct(flush_to_zero=True, bias_after_rounding=True), FLOAT32),
    "TF32": (of_operands(tf32), ErrorModel.tf32(), FLOAT32),
    "TF32, sequential": (
        of_operands(tf32, sequential),
        ErrorModel.tf32(),
        FLOAT32,
    ),
    "TF32 truncated": (of_operands(truncated), ErrorModel.tf32("truncate"), FLOAT32),
    "bfloat16 operands": (
        of_operands(bfloat16),
        direct("float32", "bfloat16"),
        FLOAT32,
    ),
    "split in two": (split_in_two, ErrorModel.bf16x3(), FLOAT32),
    "V100": (partial(tensor_core, block=4, fraction_bits=23), ErrorModel.tensor_core("V100"), HALVES),
    "A100": (partial(tensor_core, block=8, fraction_bits=24), ErrorModel.tensor_core("A100"), HALVES),
    "A100, TF32": (
        of_operands(truncated, partial(tensor_core, block=4, fraction_bits=24)),
        ErrorModel.tensor_core("A100", "tf32_truncated"),
        FLOAT32,
    ),
    "few bits": (
        partial(tensor_core, block=32, fraction_bits=13),
        ErrorModel.tensor_core(block=32, fraction_bits=13),
        ("float8_e4m3fn", "float8_e5m2"),
    ),
}
FFTS = {
    "FFT, power of two": narrowed(fft),
    "FFT, any size": fft_of_any_size,
}


@pytest.mark.parametrize("name", DIRECT)
@given(st.data())
def test_sums_stay_within_their_bounds(name, data):
    """Of every fill."""
    run, model, dtypes = DIRECT[name]
    case = data.draw(cases(dtypes))
    assert_within(case, computed(run, case), model)


@pytest.mark.parametrize("name", FFTS)
@given(cases(BOTH))
def test_fourier_transforms_stay_within_their_bounds(name, case):
    """Of every fill, stride and dilation."""
    assert_within(case, computed(FFTS[name], case), ErrorModel.fft())


@given(tiled(), st.data())
def test_winograd_stays_within_its_bounds(drawn, data):
    """Wherever tiles begin, whatever factors stand in which matrix; NaN and infinity reach no output that is judged."""
    case, m, r = drawn
    factors = data.draw(st.lists(st.sampled_from([1, 2, 3, 1 / 6, -24]), min_size=m + r - 1, max_size=m + r - 1))
    out = winograd_by_points(case, m, r, factors=factors, shift=data.draw(st.integers(0, m - 1)))
    assert_within(case, out, ErrorModel.winograd(m, r))


# --- adversarial data ------------------------------------------------------------------------------------------------


def long_sum(terms, dtype="float32", bias=False):
    """One output of so many equal products, of which every partial sum is rounded the same way."""
    shape, value = (1, terms, 1, 1), 1 + 3 * 2.0**-7
    return Case(
        input=np.full(shape, value, dtype),
        weight=np.full(shape, 1 - 2.0**-7, dtype),
        bias=np.full(1, value, dtype) if bias else None,
    )


@pytest.mark.parametrize("name", [name for name in DIRECT if DIRECT[name][2] != ("float8_e4m3fn",)])
@pytest.mark.parametrize("terms", [1, 577, 4608])
def test_long_sums_of_equal_terms(name, terms):
    """As bad as rounding gets."""
    run, model, dtypes = DIRECT[name]
    for bias in (False, True):
        case = long_sum(terms, dtypes[0], bias)
        assert_within(case, run(case), model)


def test_a_sequential_sum_uses_a_large_part_of_its_bound():
    """The bound is no fantasy: equal terms, once they stand still, lose all of themselves."""
    case = Case(input=np.full((1, 9000, 1, 1), 1.0, "float16"), weight=np.full((1, 9000, 1, 1), 1.0, "float16"))
    lost = abs(float(in_accumulator(case, "float16").item()) - 9000)
    assert 0.1 < lost / case.bound(direct("float16")).item() <= 1


@pytest.mark.parametrize("scale", [2.0**-149, 2.0**-140, 2.0**-126, 2.0**-75, 1.0, 2.0**60, 2.0**126])
@pytest.mark.parametrize("name", [name for name in DIRECT if "float32" in DIRECT[name][2]])
def test_all_over_the_range(name, scale):
    """From numbers that are subnormal, and products that are, to such as overflow; and cancelling ones."""
    run, model, _ = DIRECT[name]
    assert_within_over_the_range(run, model, scale)


@pytest.mark.parametrize("name", FFTS)
@pytest.mark.parametrize("spike", [1.0, 1e12])
def test_fourier_transforms_of_a_spike(name, spike):
    """Every output feels it, as the bound says, and small ones are all wrong."""
    x = np.random.default_rng(0).standard_normal((1, 4, 40, 30)).astype("float32")
    x[0, 0, 20, 15] = spike
    case = Case(input=x, weight=np.random.default_rng(1).standard_normal((2, 4, 5, 5)).astype("float32"), padding=2)
    assert_within(case, FFTS[name](case), ErrorModel.fft())
    assert (case.bound(ErrorModel.fft()) > 2.0**-24 * spike).all()
