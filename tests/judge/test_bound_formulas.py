"""Error bounds against their formulas in rational numbers, and against one another."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from bounded import BOTH, FEW, HAIR, TILES, cases, direct, tiled
from common import AS_TORCH, exact_sums
from hypothesis import given, settings
from kernels.winograd import WINOGRAD

from refconv import Case, ErrorModel, ops, strategies
from refconv.core.formats import part, parts, unit_roundoff
from refconv.judge.bounds.operands import FORMATS
from refconv.judge.bounds.rounding import smallest_normal
from refconv.judge.bounds.winograd import transforms

# --- formulas --------------------------------------------------------------------------------------------------------


def half_of_least(dtype):
    """Of the smallest subnormal number."""
    return Fraction(smallest_normal(dtype)) * Fraction(unit_roundoff(dtype))


def formula(sums, at, model, out):
    """The bound of a direct sum as a rational number, as docs/numerics.md has it, over operands that are normal."""
    u, operands = Fraction(unit_roundoff(model.accumulator)), FORMATS[model.algorithm.inputs]
    absolute, magnitude, oracle = (
        Fraction(float(sum_[at])) for sum_ in (sums.absolute, sums.magnitude, sums.value_error)
    )
    if model.flush_to_zero:
        lost, least = 2 * Fraction(smallest_normal(model.accumulator)), Fraction(smallest_normal(out))
    else:
        lost, least = half_of_least(model.accumulator), half_of_least(out)
    n, t = operands.copies * sums.terms, Fraction(operands.x.unit)
    if operands.copies == 1:
        error = n * u * (1 + t) ** 2 * absolute + (2 * t + t**2) * absolute + n * lost
    else:
        lacking = t**2 * ((1 + t) ** 2 + 2 + t**2) * absolute
        error = n * u * ((1 + t) ** 2 * (1 + 2 * t) * absolute + lacking) + lacking + n * lost
    if model.output.bias_after_rounding and sums.bias is not None:
        before = min(magnitude + Fraction(float(sums.bias_magnitude[at])), absolute)
        error = (1 + Fraction(unit_roundoff(out))) * error + max(Fraction(unit_roundoff(out)) * before, least)
    return (1 + Fraction(unit_roundoff(out))) * error + max(Fraction(unit_roundoff(out)) * magnitude, least) + oracle


FORMULAS = [
    *(direct(accumulator) for accumulator in ("float16", "bfloat16", "float32", "float64")),
    direct(flush_to_zero=True),
    direct(bias_after_rounding=True),
    ErrorModel.tf32(),
    ErrorModel.tf32("truncate"),
    ErrorModel.tf32(flush_to_zero=True, bias_after_rounding=True),
    direct("float32", "bfloat16"),
    ErrorModel.bf16x3(),
]


@pytest.mark.parametrize("model", FORMULAS, ids=str)
@settings(max_examples=FEW)
@given(
    case=strategies.cases(
        dtypes=("float32", "float64"), fills=("normal", "positive"), max_multiplications=2000, **AS_TORCH
    )
)
def test_bounds_are_their_formulas_rounded_outwards(model, case):
    """Never below, and above by a hair only."""
    bound = model.bound(case.sums, case.input.dtype)
    for at in np.ndindex(bound.shape):
        wanted = formula(case.sums, at, model, case.input.dtype)
        hair = 8 * case.sums.terms * half_of_least("float64")  # no double is smaller
        assert wanted <= Fraction(float(bound[at])) <= wanted * HAIR + hair


@given(cases(BOTH))
def test_sums_are_rounded_outwards(case):
    """S and Q are not below their exact values, nor above them by more than a hair."""
    sums, g = case.sums, case.geometry
    largest = Fraction(float(sums.x.max(initial=0))) * Fraction(float(sums.w.max(initial=0)))
    largest += Fraction(float(sums.bias_magnitude.max(initial=0)))
    for power, rounded_up in ((1, sums.absolute), (2, sums.squares)):
        # Powers are exact in float64.
        operands = [None if array is None else array**power for array in (sums.x, sums.w, sums.bias)]
        for above, exact in zip(rounded_up.flat, exact_sums(g, *operands), strict=True):
            most = exact * HAIR**2 + Fraction(sums.terms, 2**1000) * max(1, largest**power)
            assert exact <= Fraction(float(above)) ** power <= most


@given(
    strategies.cases(dtypes=("complex64", "complex128"), asymmetric_padding=True, max_multiplications=600, **AS_TORCH)
)
def test_parts_of_complex_sums(case):
    """The magnitudes of each part's products, each beside the other."""
    sums, g = case.sums, case.geometry
    x, w = np.abs(parts(case.input)), np.abs(parts(case.weight))
    (x0, x1), (w0, w1) = ((array[..., ::2], array[..., 1::2]) for array in (x, w))
    options = (g.stride, g.padding, g.dilation, g.groups)

    def convolve(x, w, b=None):
        return ops.conv2d(x.astype(float), w.astype(float), b if b is None else b.astype(float), *options)

    b0, b1 = (None, None) if case.bias is None else (abs(case.bias.real), abs(case.bias.imag))
    real, imaginary = convolve(x0, w0, b0) + convolve(x1, w1), convolve(x0, w1, b1) + convolve(x1, w0)
    wanted = np.stack([real, imaginary], axis=-1).reshape(sums.value.shape)
    np.testing.assert_array_less(np.abs(sums.absolute - wanted), 2.0**-40 * wanted + 2.0**-1000)
    bound = case.bound(ErrorModel.fft())
    assert bound.dtype == "complex128"
    assert (parts(bound) == ErrorModel.fft().bound(sums, part(case.input.dtype))).all()


# --- Winograd's matrices ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("m", "r"), [*TILES, (2, 2), (4, 5), (8, 3), (10, 3), (7, 4)])
def test_transforms_are_correlations(m, r):
    """Exactly, for any numbers: for all products of one input and one weight."""
    output, weight, data = transforms(m, r)
    for i, k, j in np.ndindex(m, r, m + r - 1):
        total = sum(output[i][point] * weight[point][k] * data[point][j] for point in range(m + r - 1))
        assert total == (j == i + k)


@pytest.mark.parametrize("m", [2, 4])
def test_transforms_are_the_published_ones(m):
    """Lavin and Gray's, but for factors that move between matrices: the product for each point is the same."""
    data, weight, output = WINOGRAD[m]
    published = [
        [[Fraction(value).limit_denominator(24) for value in row] for row in matrix]
        for matrix in (output, weight, data)
    ]
    for point, i, k, j in np.ndindex(m + 2, m, 3, m + 2):
        ours, theirs = (a[i][point] * b[point][k] * c[point][j] for a, b, c in (transforms(m, 3), published))
        assert ours == theirs


# --- what models allow -----------------------------------------------------------------------------------------------


LESS_AND_MORE = [
    (ErrorModel.exact(), direct("float64")),
    (direct("float64"), direct()),
    (direct(), direct("bfloat16")),
    (direct(), direct(flush_to_zero=True)),
    (direct(), direct(bias_after_rounding=True)),
    (direct(bias_after_rounding=True), direct(flush_to_zero=True, bias_after_rounding=True)),
    (direct(), ErrorModel.bf16x3()),
    (ErrorModel.tf32(), ErrorModel.tf32(flush_to_zero=True)),
    (ErrorModel.tf32("truncate"), direct("float32", "bfloat16")),
    (ErrorModel.tensor_core("H100"), ErrorModel.tensor_core("A100")),
    (ErrorModel.tensor_core("A100"), ErrorModel.tensor_core("T4")),
    (ErrorModel.tensor_core("T4"), ErrorModel.tensor_core("V100")),
    (ErrorModel.tensor_core("V100"), ErrorModel.tensor_core(block=1, fraction_bits=13)),
    (ErrorModel.tensor_core("A100", "tf32"), ErrorModel.tensor_core("A100", "tf32_truncated")),
    (ErrorModel.fft("float64"), ErrorModel.fft()),
    (ErrorModel.fft(), ErrorModel.fft(flush_to_zero=True)),
    (direct(), ErrorModel.fft()),
]


@pytest.mark.parametrize(("less", "more"), LESS_AND_MORE, ids=str)
@settings(max_examples=FEW)
@given(case=strategies.cases(dtypes=BOTH, max_multiplications=600, **AS_TORCH))
def test_more_freedom_is_a_larger_bound(less, more, case):
    """Everywhere, where numbers are normal and sums are rounded."""
    smaller, larger = (model.bound(case.sums, case.input.dtype) for model in (less, more))
    usable = np.isfinite(larger) & ~((larger == 0) & case.sums.integral)
    assert (smaller[usable] <= larger[usable]).all()


@given(tiled(((2, 3),)))
def test_winograd_allows_more_than_a_direct_sum(drawn):
    """And larger tiles more than smaller ones."""
    case, _, _ = drawn
    bounds = [
        model.bound(case.sums, case.input.dtype)
        for model in (direct(), ErrorModel.winograd(2, 3), ErrorModel.winograd(4, 3), ErrorModel.winograd(6, 3))
    ]
    for smaller, larger in itertools.pairwise(bounds):
        assert (smaller <= larger).all()


def test_exact_sums_of_integers_leave_no_room():
    """Below 1 / u under a direct model; under TF32 if the operands are TF32; nowhere under a transform."""
    case = Case(input=np.full((1, 3, 4, 4), 1025.0, "float32"), weight=np.full((2, 3, 3, 3), 2.0, "float32"))
    for model in (direct(), direct("float64"), ErrorModel.exact(), ErrorModel.tf32()):
        assert not model.bound(case.sums, "float32").any(), model
    others = direct("float16"), direct("float32", "bfloat16"), ErrorModel.bf16x3(), ErrorModel.fft()
    for model in (*others, ErrorModel.winograd(2, 3)):
        assert model.bound(case.sums, "float32").all(), model
    odd = Case(input=np.full((1, 3, 4, 4), 2049.0, "float32"), weight=case.weight)
    assert not direct().bound(odd.sums, "float32").any()
    assert ErrorModel.tf32().bound(odd.sums, "float32").all()
    few_bits = Case(input=np.full((1, 3, 4, 4), 1024.0, "float32"), weight=case.weight)  # sums of 55,296
    assert not ErrorModel.tensor_core(block=4, fraction_bits=15).bound(few_bits.sums, "float32").any()
    assert ErrorModel.tensor_core(block=4, fraction_bits=14).bound(few_bits.sums, "float32").all()


def test_a_bias_after_rounding_is_exact_only_if_the_output_holds_the_sum():
    """Of float16 both numbers must be below 2,048."""
    x, w, b = np.full((1, 2, 1, 1), 40, "float16"), np.full((1, 2, 1, 1), 30, "float16"), np.ones(1, "float16")
    model = direct(bias_after_rounding=True)
    case = Case(input=x, weight=w, bias=b)
    assert case.sums.absolute.item() > 2048
    assert model.bound(case.sums, "float16").all()
    assert not model.bound(Case(input=x, weight=w).sums, "float16").any()
    assert not model.bound(Case(input=x / 2, weight=w, bias=b).sums, "float16").any()
