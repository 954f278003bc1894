"""Error models: emulated arithmetic stays within their bounds, which are no looser than their formulas."""

import itertools
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from common import exact_sums
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels import arithmetic, implementations

from refconv import Case, ErrorModel, GeometryError, ops, strategies
from refconv.cases.fills import known, operands
from refconv.core.formats import part, parts, unit_roundoff
from refconv.judge.bounds.operands import FORMATS
from refconv.judge.bounds.rounding import smallest_normal
from refconv.judge.bounds.winograd import transforms

HALVES = ("float16", "bfloat16")
FLOAT32 = ("float32",)
BOTH = (*HALVES, "float32")
FEW = settings().max_examples // 5  # where many models are tried
HAIR = 1 + Fraction(1, 2**40)
direct = ErrorModel.direct


def exact_values(case):
    """Every output as a rational number, or a float where it is NaN or infinite."""
    g = case.geometry
    return exact_sums(g, case.input.reshape(g.batch, g.in_channels, *g.size), case.weight, case.bias)


def assert_within(case, out, model):
    """Every output within its bound; the very number where that is 0 or the exact value not finite."""
    bound = model.bound(case.sums, out.dtype)
    assert bound.shape == out.shape == case.expected().shape
    assert not np.isnan(bound).any()
    rows = zip(out.flat, case.expected().flat, exact_values(case).flat, bound.flat, strict=True)
    for actual, expected, exact, most in rows:
        if np.isinf(most):
            continue
        if most == 0 or not isinstance(exact, Fraction) or not np.isfinite(float(actual)):
            assert actual == expected or (actual != actual and expected != expected)
        else:
            assert abs(Fraction(float(actual)) - exact) <= Fraction(float(most))


def computed(run, case):
    """The output; of no images, which the emulations don't take, the oracle's."""
    return run(case) if case.expected().size else case.expected()


# --- emulations ------------------------------------------------------------------------------------------------------


def random_order(case):
    """float32 products, added in an order that has no system."""
    order = np.random.default_rng(7).permutation(case.geometry.terms)
    return implementations.by_products(lambda terms: terms[..., order].cumsum(axis=-1, dtype="float32")[..., -1])(case)


def sound(name):
    return implementations.narrowed(implementations.SOUND[name].run)


truncated = partial(implementations.tf32, truncate=True)
DIRECT = {
    "sequential": (sound("sequential, no FMA"), direct(), BOTH),
    "reversed": (sound("reversed"), direct(), BOTH),
    "pairwise": (sound("pairwise"), direct(), BOTH),
    "no order": (implementations.narrowed(random_order), direct(), BOTH),
    "matrix product": (sound("im2col and sgemm"), direct(), BOTH),
    "fused": (lambda case: case.expected("float32"), direct(), BOTH),
    "float64": (lambda case: case.expected("float64"), direct("float64"), (*BOTH, "float64")),
    "float16": (partial(arithmetic.in_accumulator, dtype="float16"), direct("float16"), ("float16",)),
    "float16 backwards": (
        partial(arithmetic.in_accumulator, dtype="float16", backwards=True),
        direct("float16"),
        ("float16",),
    ),
    "bfloat16": (partial(arithmetic.in_accumulator, dtype="bfloat16"), direct("bfloat16"), ("bfloat16",)),
    "float8": (
        partial(arithmetic.in_accumulator, dtype="float8_e4m3fn"),
        direct("float8_e4m3fn"),
        ("float8_e4m3fn",),
    ),
    "bias after rounding": (implementations.bias_after_rounding, direct(bias_after_rounding=True), BOTH),
    "flush to zero": (arithmetic.flushing, direct(flush_to_zero=True), BOTH),
    "flush to zero, exact": (arithmetic.flushing, direct(flush_to_zero=True, bias_after_rounding=True), FLOAT32),
    "TF32": (implementations.of_operands(implementations.tf32), ErrorModel.tf32(), FLOAT32),
    "TF32, sequential": (
        implementations.of_operands(implementations.tf32, implementations.sequential),
        ErrorModel.tf32(),
        FLOAT32,
    ),
    "TF32 truncated": (implementations.of_operands(truncated), ErrorModel.tf32("truncate"), FLOAT32),
    "bfloat16 operands": (
        implementations.of_operands(implementations.bfloat16),
        direct("float32", "bfloat16"),
        FLOAT32,
    ),
    "split in two": (arithmetic.split_in_two, ErrorModel.bf16x3(), FLOAT32),
    "V100": (partial(implementations.tensor_core, block=4, fraction_bits=23), ErrorModel.tensor_core("V100"), HALVES),
    "A100": (partial(implementations.tensor_core, block=8, fraction_bits=24), ErrorModel.tensor_core("A100"), HALVES),
    "A100, TF32": (
        implementations.of_operands(truncated, partial(implementations.tensor_core, block=4, fraction_bits=24)),
        ErrorModel.tensor_core("A100", "tf32_truncated"),
        FLOAT32,
    ),
    "few bits": (
        partial(implementations.tensor_core, block=32, fraction_bits=13),
        ErrorModel.tensor_core(block=32, fraction_bits=13),
        ("float8_e4m3fn", "float8_e5m2"),
    ),
}
FFTS = {
    "FFT, power of two": implementations.narrowed(implementations.fft),
    "FFT, any size": arithmetic.fft_of_any_size,
}
TILES = [(2, 3), (4, 3), (6, 3), (2, 5), (3, 2)]


def cases(dtypes, **limits):
    """Small ones, of every fill."""
    fills = sorted(set.union(*(set(known(dtype)) for dtype in dtypes)))
    return strategies.cases(dtypes=dtypes, fills=fills, asymmetric_padding=True, max_multiplications=600, **limits)


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


@st.composite
def tiled(draw, tiles=tuple(TILES)):
    """Cases for Winograd's algorithm, with the sizes of its tiles."""
    m, r = draw(st.sampled_from(tiles))
    dtype = draw(st.sampled_from(BOTH))
    groups, inputs, outputs = (draw(st.integers(1, 3)) for _ in range(3))
    size = [draw(st.integers(r, 3 * m)) if 3 * m > r else r for _ in range(2)]
    padding = draw(st.integers(0, 2))
    shapes = (1, groups * inputs, *size), (groups * outputs, inputs, r, r)
    fill, seed = draw(st.sampled_from(known(dtype))), draw(st.integers(0, 2**32 - 1))
    x, w, b = operands(fill, *shapes, bias=draw(st.booleans()), dtype=dtype, seed=seed)
    return Case(input=x, weight=w, bias=b, padding=padding, groups=groups), m, r


@given(tiled(), st.data())
def test_winograd_stays_within_its_bounds(drawn, data):
    """Wherever tiles begin, whatever factors stand in which matrix; NaN and infinity reach no output that is judged."""
    case, m, r = drawn
    factors = data.draw(st.lists(st.sampled_from([1, 2, 3, 1 / 6, -24]), min_size=m + r - 1, max_size=m + r - 1))
    out = arithmetic.winograd(case, m, r, factors=factors, shift=data.draw(st.integers(0, m - 1)))
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
    lost = abs(float(arithmetic.in_accumulator(case, "float16").item()) - 9000)
    assert 0.1 < lost / case.bound(direct("float16")).item() <= 1


@pytest.mark.parametrize("scale", [2.0**-149, 2.0**-140, 2.0**-126, 2.0**-75, 1.0, 2.0**60, 2.0**126])
@pytest.mark.parametrize("name", [name for name in DIRECT if "float32" in DIRECT[name][2]])
def test_all_over_the_range(name, scale):
    """From numbers that are subnormal, and products that are, to such as overflow; and cancelling ones."""
    run, model, _ = DIRECT[name]
    rng = np.random.default_rng(3)
    with np.errstate(all="ignore"):
        x = (rng.standard_normal((1, 30, 2, 3)) * scale).astype("float32")
        w = rng.standard_normal((2, 30, 1, 1)).astype("float32")
        for other in (1.0, scale, 1 / scale):
            case = Case(input=x, weight=(w * np.float64(other)).astype("float32"), bias=(x[0, :2, 0, 0] / 8))
            assert_within(case, run(case), model)
            twice = Case(input=np.concatenate([x, -x], axis=1), weight=np.concatenate([case.weight] * 2, axis=1))
            assert_within(twice, run(twice), model)


@pytest.mark.parametrize("name", FFTS)
@pytest.mark.parametrize("spike", [1.0, 1e12])
def test_fourier_transforms_of_a_spike(name, spike):
    """Every output feels it, as the bound says, and small ones are all wrong."""
    x = np.random.default_rng(0).standard_normal((1, 4, 40, 30)).astype("float32")
    x[0, 0, 20, 15] = spike
    case = Case(input=x, weight=np.random.default_rng(1).standard_normal((2, 4, 5, 5)).astype("float32"), padding=2)
    assert_within(case, FFTS[name](case), ErrorModel.fft())
    assert (case.bound(ErrorModel.fft()) > 2.0**-24 * spike).all()


# --- formulas --------------------------------------------------------------------------------------------------------


def half_of_least(dtype):
    """Of the smallest subnormal number."""
    return Fraction(smallest_normal(dtype)) * Fraction(unit_roundoff(dtype))


def formula(sums, at, model, out):
    """The bound of a direct sum as a rational number, as docs/numerics.md has it, over operands that are normal."""
    u, operands = Fraction(unit_roundoff(model.accumulator)), FORMATS[model.algorithm.operands]
    absolute, magnitude, oracle = (
        Fraction(float(each[at])) for each in (sums.absolute, sums.magnitude, sums.value_error)
    )
    if model.flush_to_zero:
        lost, least = 2 * Fraction(smallest_normal(model.accumulator)), Fraction(smallest_normal(out))
    else:
        lost, least = half_of_least(model.accumulator), half_of_least(out)
    n, t = operands.copies * sums.terms, Fraction(operands.unit)
    if operands.copies == 1:
        error = n * u * (1 + t) ** 2 * absolute + (2 * t + t**2) * absolute + n * lost
    else:
        lacking = t**2 * ((1 + t) ** 2 + 2 + t**2) * absolute
        error = n * u * ((1 + t) ** 2 * (1 + 2 * t) * absolute + lacking) + lacking + n * lost
    if model.bias_after_rounding and sums.bias is not None:
        before = min(magnitude + Fraction(float(sums.bias_magnitude[at])), absolute)
        error = (1 + Fraction(unit_roundoff(out))) * error + max(Fraction(unit_roundoff(out)) * before, least)
    return (1 + Fraction(unit_roundoff(out))) * error + max(Fraction(unit_roundoff(out)) * magnitude, least) + oracle


FORMULAS = [
    *(direct(each) for each in ("float16", "bfloat16", "float32", "float64")),
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
@given(case=strategies.cases(dtypes=("float32", "float64"), fills=("normal", "positive"), max_multiplications=2000))
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
    for power, found in ((1, sums.absolute), (2, sums.squares)):
        operands = [None if each is None else each**power for each in (sums.x, sums.w, sums.bias)]  # exact in float64
        for one, wanted in zip(found.flat, exact_sums(g, *operands), strict=True):
            above = wanted * HAIR**2 + Fraction(sums.terms, 2**1000) * max(1, largest**power)
            assert wanted <= Fraction(float(one)) ** power <= above


@given(strategies.cases(dtypes=("complex64", "complex128"), asymmetric_padding=True, max_multiplications=600))
def test_parts_of_complex_sums(case):
    """The magnitudes of each part's products, each beside the other."""
    sums, g = case.sums, case.geometry
    x, w = np.abs(parts(case.input)), np.abs(parts(case.weight))
    (x0, x1), (w0, w1) = ((each[..., ::2], each[..., 1::2]) for each in (x, w))
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
    data, weight, output = implementations.WINOGRAD[m]
    published = [
        [[Fraction(value).limit_denominator(24) for value in row] for row in each] for each in (output, weight, data)
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
@given(case=strategies.cases(dtypes=BOTH, max_multiplications=600))
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


# --- where anything goes ---------------------------------------------------------------------------------------------


def one(x, w, dtype="float32", bias=None):
    """A 1x1 convolution of so many channels."""
    shape = (1, len(x), 1, 1)
    return Case(
        input=np.array(x, dtype).reshape(shape),
        weight=np.array(w, dtype).reshape(shape),
        bias=None if bias is None else np.array([bias], dtype),
    )


FREE = {
    "sums overflow": (one([3e38, 3e38], [1, -1]), direct()),
    "a narrow accumulator does": (one([60000, 60000], [1, -1], "float16"), direct("float16")),
    "double sums do": (one([1e308, 1e308], [1, 1], "float64"), direct("float64")),
    "an operand becomes infinite": (one([3.4028e38], [2.0**-100]), ErrorModel.tf32()),
    "a weight becomes infinite": (one([2.0**-100], [3.4028e38]), ErrorModel.bf16x3()),
    "rounding may just make infinity": (one([65504, 15.5], [1, 1], "float16"), direct()),
    "the sum without its bias": (
        one([60000, 60000], [1.1, 1.1], "float16", -60000),
        direct(bias_after_rounding=True),
    ),
    "the finite sum beside an infinity": (one([np.inf, 3e38, 3e38], [1, 1, 1]), direct()),
    "infinity, of which nothing is left": (one([np.inf], [1.5]), ErrorModel.bf16x3()),
    "a transform": (one([3e38], [1.5]), ErrorModel.fft()),
}
JUDGED = {
    "a wide accumulator": (one([3e38, 3e38], [1, -1]), direct("float64")),
    "smaller numbers": (one([1e38, 1e38], [1, -1]), direct()),
    "a wider accumulator than the output": (one([60000, 60000], [1, -1], "float16"), direct()),
    "operands as they are": (one([3.4028e38], [2.0**-100]), direct()),
    "truncated operands": (one([3.4028e38], [2.0**-100]), ErrorModel.tf32("truncate")),
    "infinity for certain": (one([65504, 65504], [1, 1], "float16"), direct()),
    "a bias that takes back": (one([60000, 60000], [1, 1], "float16", -60000), direct()),
    "infinity": (one([np.inf], [1.5]), direct()),
    "infinity in doubles": (one([np.inf], [1.5], "float64"), direct("float64")),
    "an infinite bias": (one([1.5], [1.5], bias=np.inf), direct(bias_after_rounding=True)),
    "NaN": (one([np.nan, 3e38, 3e38], [1, 1, 1]), direct()),
    "NaN, split": (one([np.nan, np.inf], [1, 1]), ErrorModel.bf16x3()),
    "a transform of smaller numbers": (one([1e30], [1.5]), ErrorModel.fft()),
}


@pytest.mark.parametrize("name", [*FREE, *JUDGED])
def test_where_anything_goes(name):
    """Where a sum or an operand may overflow, and only there."""
    case, model = (FREE | JUDGED)[name]
    assert np.isinf(model.bound(case.sums, case.input.dtype)).item() == (name in FREE)


def test_infinity_and_nan_spread_over_tiles_and_images():
    """Free is what the emulations spoil; what is beyond is judged."""
    x = np.random.default_rng(0).standard_normal((2, 4, 16, 16)).astype("float32")
    w = np.random.default_rng(1).standard_normal((4, 2, 3, 3)).astype("float32")
    x[0, 3, 8, 9] = np.nan
    case = Case(input=x, weight=w, groups=2, padding=1)
    assert np.isinf(case.bound()).sum() == 0
    free = np.isinf(case.bound(ErrorModel.winograd(4, 3)))
    assert not free[1].any() and not free[0, :2].any()  # noqa: PT018 - another image, another group
    rows, columns = np.nonzero(free[0, 2])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 12, 5, 13)  # 5 rows on, 4 back
    for shift in range(4):
        assert free[np.isnan(arithmetic.winograd(case, 4, 3, shift=shift))].all()
    assert np.isinf(case.bound(ErrorModel.fft())[0, 2:]).all()
    assert np.isinf(case.bound(ErrorModel.fft())).sum() == 2 * 16 * 16
    w[1, 0, 1, 1] = np.inf
    case = Case(input=np.abs(x[1:]) + 1, weight=w, groups=2, padding=1)
    for model in (ErrorModel.winograd(2, 3), ErrorModel.fft()):
        free = np.isinf(case.bound(model))
        assert free[:, 1].all()
        assert free.sum() == 16 * 16


# --- names and errors ------------------------------------------------------------------------------------------------

TEXTS = {
    "direct:float32": direct(),
    "direct:float16": direct("float16"),
    "direct:float32,bfloat16": direct("float32", "bfloat16"),
    "direct:float64,tf32": direct("float64", "tf32"),
    "direct:float32,flush_to_zero": direct(flush_to_zero=True),
    "tf32": ErrorModel.tf32(),
    "tf32:truncate": ErrorModel.tf32("truncate"),
    "tf32:flush_to_zero,bias_after_rounding": ErrorModel.tf32(flush_to_zero=True, bias_after_rounding=True),
    "bf16x3": ErrorModel.bf16x3(),
    "tensor_core:A100": ErrorModel.tensor_core(),
    "tensor_core:H100,tf32": ErrorModel.tensor_core("H100", "tf32"),
    "tensor_core:V100,accumulator=float16": ErrorModel.tensor_core("V100", accumulator="float16"),
    "tensor_core:block=8,fraction_bits=13,operands=tf32": ErrorModel.tensor_core(
        operands="tf32", block=8, fraction_bits=13
    ),
    "winograd:2,3": ErrorModel.winograd(2, 3),
    "winograd:4,3,float64,bias_after_rounding": ErrorModel.winograd(4, 3, "float64", bias_after_rounding=True),
    "fft": ErrorModel.fft(),
    "fft:float64": ErrorModel.fft("float64"),
    "fft:flush_to_zero": ErrorModel.fft(flush_to_zero=True),
    "exact": ErrorModel.exact(),
}


@pytest.mark.parametrize("text", TEXTS)
def test_texts_and_models(text):
    """Each is the other's."""
    assert str(TEXTS[text]) == text
    assert ErrorModel.parse(text) == TEXTS[text]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "model=''"),
        ("tf64", "model='tf64': must be one of 'direct', 'tf32'"),
        ("inferred:float32", "model='inferred'"),
        ("direct:int8", "model='direct:int8': accumulator='int8': must be a floating format"),
        ("direct:float31", "accumulator='float31'"),
        ("direct:float32,tf33", "operands='tf33'"),
        ("direct:float32,tf32,3", "too many positional arguments"),
        ("direct:float32,", "operands=''"),
        ("tf32:up", "rounding='up'"),
        ("bf16x3:1", "too many positional arguments"),
        ("tensor_core:P100", "gpu='P100': must be one of 'V100'"),
        ("tensor_core:A100,block=8,fraction_bits=23", "gpu='A100': must not be given with block=8"),
        ("tensor_core:block=8", "fraction_bits=None"),
        ("tensor_core:block=0,fraction_bits=23", "block=0"),
        ("winograd:2", "missing a required argument: 'r'"),
        ("winograd:2,x", "r='x'"),
        ("winograd:1,3", "m=1"),
        ("winograd:11,3", "m=11: m + r - 1 must be at most 12"),
        ("fft:sized=3", "unexpected keyword argument 'sized'"),
        ("exact:now", "too many positional arguments"),
    ],
)
def test_texts_of_no_model(text, message):
    """The error says what is wrong with which argument."""
    with pytest.raises(GeometryError) as error:
        ErrorModel.parse(text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": (1, 2)}, "model='winograd:2,3': stride (1, 2): must be (1, 1)"),
        ({"dilation": 2}, "model='winograd:2,3': dilation (2, 2): must be (1, 1)"),
    ],
)
def test_winograd_refuses_what_it_cannot_compute(options, message):
    """By its name, and `supports` says so before."""
    x, w = np.ones((1, 1, 9, 9), "float32"), np.ones((1, 1, 3, 3), "float32")
    case, model = Case(input=x, weight=w, **options), ErrorModel.winograd(2, 3)
    assert not model.supports(case.geometry)
    assert ErrorModel.fft().supports(case.geometry)
    with pytest.raises(GeometryError) as error:
        case.bound(model)
    assert str(error.value) == message
    with pytest.raises(GeometryError, match=r"kernel \(3, 3\): must be \(5, 5\)"):
        Case(input=x, weight=w).bound(ErrorModel.winograd(2, 5))


def test_which_models_statistics_may_judge():
    """Those of roundings to nearest, unless something else happens on the way."""
    judged = [direct(), direct("float16"), ErrorModel.tf32(), ErrorModel.bf16x3(), direct("float32", "bfloat16")]
    assert all(model.statistical for model in judged)
    others = [
        ErrorModel.tf32("truncate"),
        ErrorModel.tensor_core("A100"),
        ErrorModel.winograd(2, 3),
        ErrorModel.fft(),
        ErrorModel.exact(),
        direct(flush_to_zero=True),
        direct(bias_after_rounding=True),
    ]
    assert not any(model.statistical for model in others)
    assert direct().unit == 2.0**-24 < ErrorModel.bf16x3().unit < ErrorModel.tf32().unit
    assert ErrorModel.fft().unit == 0


@pytest.mark.parametrize(
    ("dtype", "accumulator"),
    [
        ("float8_e5m2", "float32"),
        ("bfloat16", "float32"),
        ("float32", "float32"),
        ("float64", "float64"),
        ("complex64", "float32"),
        ("complex128", "float64"),
    ],
)
def test_a_direct_sum_is_inferred(dtype, accumulator):
    """In float32, or wider if the operands are."""
    assert ErrorModel.inferred(dtype) == direct(accumulator)
