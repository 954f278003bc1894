"""The judge's second thoughts: statistics, tolerances, samples, receptive fields, figures."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from kernels.implementations import FAULTS, bfloat16, by_products, im2col, of_operands, tf32

import refconv
from refconv import Case, ErrorModel, GeometryError, assert_close, strategies
from refconv.cases.fills import operands
from refconv.cases.networks import layers
from refconv.cli import tolerance
from refconv.core.formats import parts
from refconv.judge import randomness, tolerances
from refconv.judge.reference import Reference

DIRECT = ErrorModel.direct("float32")
FILLS = ("normal", "uniform", "positive")
LENGTHS = {27: 3, 144: 16, 576: 64, 1152: 128, 4608: 512}


def made(fill, channels, *, outputs=8, size=8, seed=0):
    x, w, _ = operands(fill, (1, channels, size, size), (outputs, channels, 3, 3), seed=seed)
    return Case(input=x, weight=w, padding=1)


@pytest.mark.parametrize("n", LENGTHS)
def test_dishonest_implementations_are_rejected(n):
    """Claimed as float32, each is seen on one of three fills at the latest."""
    cases = [made(fill, LENGTHS[n]) for fill in FILLS]
    for name, fault in FAULTS.items():
        verdicts = [case.check(fault(case, im2col)).verdict for case in cases]
        assert {"suspicious", "wrong"} & set(verdicts), f"{name}: {verdicts}"


def test_honest_about_it():
    """TF32 passes as what it is; what is less than that does not."""
    case = made("normal", 64)
    out = of_operands(tf32)(case)
    assert case.check(out).verdict == "wrong"
    assert case.check(out, ErrorModel.tf32()).verdict == "within bound"
    worse = of_operands(bfloat16)(case)
    assert not case.check(worse, ErrorModel.tf32()).ok
    assert case.check(worse, ErrorModel.direct("float32", "bfloat16")).ok


ORDERS = {
    "sequential": lambda terms: terms.cumsum(axis=-1, dtype=terms.dtype)[..., -1],
    "reversed": lambda terms: terms[..., ::-1].cumsum(axis=-1, dtype=terms.dtype)[..., -1],
    "one image row after the other": lambda terms: np.add.reduce(
        [terms[..., lane::3].cumsum(axis=-1, dtype=terms.dtype)[..., -1] for lane in range(3)]
    ),
    "interleaved": lambda terms: np.add.reduce(
        [terms[..., lane::8].sum(axis=-1, dtype=terms.dtype) for lane in range(8)]
    ),
}


@pytest.mark.parametrize("fill", [*FILLS, "constant", "integers", "positions"])
@pytest.mark.parametrize("order", ORDERS)
def test_sound_sums_are_not_suspicious(fill, order):
    """In whatever order, but one that depends on the values; and where all errors go the same way: on constant data."""
    for channels in (1, 3, 64):
        case = made("normal" if fill == "constant" else fill, channels)
        if fill == "constant":
            x, w = np.full_like(case.input, 0.1), np.full_like(case.weight, 0.1)
            case = Case(input=x, weight=w, padding=1)
        assert case.check(by_products(ORDERS[order])(case)).ok


@given(strategies.cases(dtypes=("float32",), string_padding=False, max_multiplications=50_000))
def test_torch_is_not_suspicious(case):
    x, w, b, *options = case.arguments()
    assume(case.expected().size and x.size)
    tensors = [None if each is None else torch.tensor(each) for each in (x, w, b)]
    comparison = case.check(torch.nn.functional.conv2d(*tensors, *options))
    assert comparison.ok, str(comparison)


def test_where_a_sequential_sum_would_be_rejected_without_cause():
    """On constant data a sound sum has an error far beyond the statistical limit: then it is not applied."""
    x, w = np.full((1, 512, 3, 3), 0.1, "float32"), np.full((1, 512, 3, 3), 0.1, "float32")
    case = Case(input=x, weight=w)
    out = ORDERS["sequential"]((x * w).reshape(1, -1)).reshape(1, 1, 1, 1)
    comparison = case.check(out)
    assert comparison.verdict == "within bound"
    assert comparison.statistics == ()
    assert abs(comparison.bias) > 4 * np.sqrt(4608) + 4


def test_suspicion_says_why_and_can_be_allowed():
    case = made("normal", 64)
    out = np.float32(1.00002) * case.expected()
    comparison = case.check(out)
    assert comparison.verdict == "suspicious"
    assert not comparison.ok
    assert "but at most" in str(comparison)
    assert case.check(out, allow_suspicious=True).ok
    assert case.check(out, allow_suspicious=True).verdict == "suspicious"
    with pytest.raises(AssertionError, match="suspicious"):
        assert_close(out, case)
    assert_close(out, case, allow_suspicious=True)
    assert_close(out, case, ErrorModel.tf32())


def test_no_statistics_without_the_assumption():
    """Truncation has a mean, transforms have no terms, and long sums in narrow formats stagnate."""
    case = made("normal", 16)
    out = np.nextafter(case.expected(), np.float32(9))
    assert len(case.check(out).statistics) == 4
    for model in (
        "tf32:truncate",
        "winograd:4,3",
        "fft",
        "tensor_core:A100",
        "direct:float16",
        "direct:float32,flush_to_zero",
    ):
        assert case.check(out, ErrorModel.parse(model)).statistics == ()


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.full(1000, 0.1), False),
        (np.arange(1, 1000.0), False),
        (np.arange(1, 1000) / 64, False),
        (0.1 * (1 + 1e-6 * np.random.default_rng(0).standard_normal(1000)), False),
        (np.repeat(np.random.default_rng(0).standard_normal(500), 2), False),
        (np.append(np.random.default_rng(0).standard_normal(1000), 1e30 * np.ones(20)), False),
        (np.append(np.random.default_rng(0).standard_normal(1000), np.finfo("float32").max), False),
        (np.random.default_rng(0).standard_normal(1000), True),
        (np.random.default_rng(0).random(1000, "float32"), True),
        (np.zeros(10), False),
        (np.empty(0), False),
    ],
    ids=[
        "constant",
        "integers",
        "fractions",
        "nearly constant",
        "repeated",
        "the largest repeated",
        "the largest of all",
        "normal",
        "uniform",
        "zeros",
        "empty",
    ],
)
def test_random_significands(array, expected):
    assert randomness.random_significands(array.astype("float32")) == expected


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn"])
def test_random_significands_of_narrow_formats(dtype):
    """Of which there are so few that random ones repeat."""
    random = np.random.default_rng(0).standard_normal(1000).astype(dtype)
    assert randomness.random_significands(random)
    for other in (np.full(1000, 0.1), np.arange(1, 1000) % 16, np.repeat(random[:5], 100)):
        assert not randomness.random_significands(other.astype(dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_outputs_without_terms_say_nothing(dtype):
    """Those that lie in the padding altogether."""
    x, w, _ = operands("normal", (1, 4, 1, 1), (1, 4, 1, 1), dtype=dtype)
    case = Case(input=x, weight=w, padding=(0, 2))
    out = np.where(case.expected() == 0, 0, np.nextafter(case.expected(), x.dtype.type(9)))
    with np.errstate(all="raise"):
        comparison = case.check(out)
    assert comparison.verdict == "within bound"
    assert all(np.isfinite(each.value) for each in comparison.statistics)


def test_random_signs():
    """Whatever half of a filter is larger than the other."""
    white = np.random.default_rng(0).standard_normal((8, 16, 3, 3))
    assert randomness.random_signs(white)
    assert not randomness.random_signs(np.abs(white))
    for half in (np.arange(16) < 8, np.arange(16) % 2 < 1):
        assert not randomness.random_signs(np.abs(white) * np.where(half, 1, -1)[:, None, None])


# --- vacuous --------------------------------------------------------------------------------------------------------


def test_vacuous():
    """Where zeros would pass, or a tap less; and where there is nothing."""
    assert not made("normal", 16).check(made("normal", 16).expected()).vacuous
    wide = made("normal", 512)
    half = ErrorModel.direct("float16")
    assert wide.check(wide.expected(), half).vacuous
    assert "vacuous" in str(wide.check(wide.expected(), half))
    assert wide.check(np.zeros_like(wide.expected()), half).ok
    x, w = np.zeros((1, 1, 2, 2), "float32"), np.ones((1, 1, 1, 1), "float32")
    zero = Case(input=x, weight=w)
    assert zero.check(zero.expected()).vacuous
    empty = Case(input=np.ones((0, 1, 2, 2), "float32"), weight=w)
    assert empty.check(empty.expected()).vacuous
    nan = Case(input=np.full((1, 1, 2, 2), np.nan, "float32"), weight=w)
    assert not nan.check(nan.expected()).vacuous


# --- where and how far ----------------------------------------------------------------------------------------------


@given(
    strategies.cases(
        dtypes=("float32",),
        fills=("normal",),
        padding_modes=("zeros", "reflect", "replicate", "circular"),
        max_multiplications=2000,
    ),
    st.data(),
)
@settings(max_examples=60)
def test_receptive_field(case, data):
    """What is outside of it changes nothing, and all that is inside changes the output."""
    out = case.expected("float32")
    assume(out.size)
    index = tuple(data.draw(st.integers(0, size - 1)) for size in out.shape)
    wrong = out.copy()
    wrong[index] += 1 + abs(wrong[index])
    field = case.check(wrong).receptive_field
    inside = np.zeros(case.input.shape, bool)
    inside[field.index] = True
    x, *rest = case.arguments()
    for changed, reached in ((np.where(inside, x, x + 1), False), (np.where(inside, np.nan, x), True)):
        other = refconv.conv2d(changed.astype("float32"), *rest, padding_mode=case.padding_mode, precision="float32")
        assert (other[index].tobytes() == out[index].tobytes()) == (not (reached and inside.any()))


def test_the_receptive_field_in_words():
    case = Case(input=np.ones((2, 4, 5, 5), "float32"), weight=np.ones((4, 2, 3, 3), "float32"), padding=1, groups=2)
    wrong = case.expected()
    wrong[1, 3, 0, 4] = 0
    comparison = case.check(wrong)
    assert (
        str(comparison.receptive_field)
        == "input[1, 2:4, 0:2, 3:5]; 5 of the kernel's 9 taps lie in the padding (zeros)"
    )
    assert str(comparison.receptive_field) in str(comparison)


def test_bias_and_spread():
    """In units of u S, exactly."""
    x = np.array([1.5, 2.5, 3.5, 0.1], "float32").reshape(1, 1, 1, 4)
    case = Case(input=x, weight=np.full((1, 1, 1, 1), 1.1, "float32"))
    out = np.nextafter(case.expected(), np.float32(9))
    error = (out.astype(float) - 1.0 * x.astype(float) * float(np.float32(1.1))) / (
        x.astype(float) * float(np.float32(1.1))
    )
    comparison = case.check(out)
    assert comparison.bias == pytest.approx(error.mean() * 2**24, rel=2**-30)
    assert comparison.spread == pytest.approx(np.sqrt((error**2).mean()) * 2**24, rel=2**-30)
    assert comparison.median_ulp == comparison.max_ulp == 1


def test_the_text_is_short():
    for comparison in (made("normal", 16).check(made("positive", 16).expected()), made("normal", 4).check(np.zeros(3))):
        assert len(str(comparison).splitlines()) <= 10


@pytest.mark.parametrize("dtype", ["float32", "float16", "complex64", "int8"])
@pytest.mark.parametrize("spoilt", [np.nan, 100, None])
def test_plot(dtype, spoilt):
    """A map of the worst channel, marked where it is worst, and a histogram."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    x, w, _ = operands("integers", (2, 3, 6, 7), (4, 3, 3, 3), dtype=dtype)
    case = Case(input=x, weight=w)
    out = case.expected()
    if spoilt is not None:
        out[1, 2, 3, 4] = 77 if dtype == "int8" else spoilt
    comparison = case.check(out)
    figure = comparison.plot()
    FigureCanvasAgg(figure).draw()
    image, histogram = figure.axes[:2]
    assert comparison.verdict in figure.get_suptitle()
    assert histogram.patches
    if spoilt is not None:
        assert image.get_title() == "output[1, 2]"
        assert image.lines[0].get_xydata().tolist() == [[4, 3]]


def test_nothing_to_plot():
    with pytest.raises(ValueError, match="shape"):
        made("normal", 4).check(np.zeros(3, "float32")).plot()


# --- padding that is skipped ----------------------------------------------------------------------------------------


def skipping(case):
    """Sums over the taps that lie inside, one after the other."""
    g = case.geometry
    out = np.zeros(case.expected().shape, case.expected().dtype)
    with np.errstate(all="ignore"):
        for index in np.ndindex(out.shape):
            n, k, p, q = index
            total = out.dtype.type(0 if case.bias is None else case.bias[k])
            first = k // (g.out_channels // g.groups) * case.weight.shape[1]
            for c, r, s in np.ndindex(case.weight.shape[1:]):
                row, column = (
                    place * step - before + tap * d
                    for place, step, (before, _), tap, d in zip(
                        (p, q), g.stride, g.padding, (r, s), g.dilation, strict=True
                    )
                )
                if 0 <= row < g.size[0] and 0 <= column < g.size[1]:
                    total += case.input[n, first + c, row, column] * case.weight[k, c, r, s]
            out[index] = total
    return out


@given(
    strategies.cases(dtypes=("float32",), fills=("normal", "integers"), string_padding=False, max_multiplications=800),
    st.data(),
)
@settings(max_examples=150)
def test_padded_taps_may_be_skipped(case, data):
    """Of operands with NaN, infinities and zeros the one and the other output are accepted, and nothing else."""
    assume(case.input.ndim == 4 and case.expected().size)
    seed = data.draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    arrays = {}
    for name, share in (("input", 0.1), ("weight", 0.3)):
        values = getattr(case, name).copy()
        where = random.random(values.shape) < share
        values[where] = random.choice([np.nan, np.inf, -np.inf, 0, -0.0], int(where.sum()))
        arrays[name] = values
    g = case.geometry
    case = Case(**arrays, bias=case.bias, stride=g.stride, padding=g.padding, dilation=g.dilation, groups=g.groups)
    out = skipping(case)
    comparison = case.check(out)
    assert comparison.verdict != "wrong", str(comparison)
    assert case.check(case.expected()).ok
    assert case.check(case.expected(), strict=True).ok
    differ = ~((out == case.expected()) | (np.isnan(out) & np.isnan(case.expected())))
    strict = case.check(out, strict=True)
    special = differ & ~(np.isfinite(out) & np.isfinite(case.expected()))
    assert (strict.verdict == "wrong") == bool(special.any())
    for index in itertools.islice(zip(*np.nonzero(np.isfinite(out)), strict=True), 3):
        wrong = out.copy()
        wrong[index] = np.nan
        assert case.check(wrong).ok == bool(np.isnan(case.expected()[index]) or np.isinf(case.bound()[index]))


def test_padded_taps_of_complex_numbers_may_be_skipped():
    w = np.array([1 + 2j, complex(np.inf, 1)], "complex64").reshape(1, 1, 1, 2)
    case = Case(input=np.full((1, 1, 1, 2), 1 - 1j, "complex64"), weight=w, padding=((0, 0), (0, 1)))
    out = case.expected()
    assert np.isnan(out[0, 0, 0, 1])
    out[0, 0, 0, 1] = (1 - 1j) * (1 + 2j)
    assert case.check(out).ok
    assert case.check(out, strict=True).n_wrong == 1
    out[0, 0, 0, 1] = 1
    assert case.check(out).n_wrong == 1


# --- tolerances -----------------------------------------------------------------------------------------------------


MODELS = st.sampled_from([None, *map(ErrorModel.parse, ("tf32", "direct:float16", "exact", "fft"))])
DTYPES = ("float16", "bfloat16", "float32", "float64", "complex64")


@given(strategies.cases(dtypes=DTYPES, max_multiplications=20_000), MODELS)
@settings(max_examples=150)
def test_tolerances_are_safe_and_tight(case, model):
    """What is as far off as the bound allows passes torch's comparison too; no smaller pair of two digits does it."""
    assume(case.expected().size)
    pair = case.tolerances(model)
    rtol, atol = pair
    assert (rtol, atol) == (pair.rtol, pair.atol)
    standard = case.standard(model)
    magnitude, most = tolerances.needed(standard)
    covered = np.isfinite(most)
    assert (most <= atol + rtol * magnitude)[covered].all()
    assert rtol >= 0
    assert atol >= 0
    least = best_pair(magnitude[covered], most[covered])
    mean = magnitude[covered].mean() if covered.any() else 0
    assert least * (1 - 2**-20) <= atol + rtol * mean <= least * 1.13 + most[covered].max(initial=0) * 2**-30
    if model is None and standard.expected.dtype != np.float64:
        expected, exact, bound = (parts(each) for each in (standard.expected, standard.exact, standard.bound))
        for sign in (-1, 1):
            out = np.where(bound > 0, exact + sign * bound, expected.astype(float))
            out = np.where(np.isfinite(bound), out, np.nan).view(standard.exact.dtype)
            good = np.isfinite(out) & np.isfinite(standard.expected.astype(standard.exact.dtype))
            given_, wanted = (
                torch.tensor(each[good].astype(standard.exact.dtype)) for each in (out, standard.expected)
            )
            torch.testing.assert_close(given_, wanted, rtol=rtol, atol=atol)


def best_pair(x, y):
    """The smallest mean of atol + rtol x, by a linear program."""
    from scipy.optimize import linprog

    scale = y.max(initial=0)
    if not scale:
        return 0
    reach = x.max() or 1
    found = linprog(
        [1, x.mean() / reach],
        A_ub=-np.stack([np.ones_like(x), x / reach], axis=1),
        b_ub=-y / scale,
        bounds=[(0, None)] * 2,
    )
    assert found.success
    return found.fun * scale


def test_tolerances_of_integers():
    x, w, _ = operands("integers", (1, 2, 3, 3), (1, 2, 1, 1), dtype="int8")
    pair = Case(input=x, weight=w).tolerances()
    assert tuple(pair) == (0, 0)
    assert "equal" in pair.reason
    assert pickle.loads(pickle.dumps(pair)).reason == pair.reason  # noqa: S301 - our own


def test_where_nothing_cancels_there_is_no_atol():
    rtol, atol = made("positive", 64).tolerances()
    assert atol == 0
    assert 576 * 2**-24 < rtol < 577 * 2**-24 * 1.1


def test_tolerances_of_nothing():
    empty = Case(input=np.ones((0, 1, 2, 2), "float32"), weight=np.ones((1, 1, 1, 1), "float32"))
    assert tuple(empty.tolerances()) == (0, 0)


def test_torch_defaults_are_torchs():
    for dtype, pair in tolerance.TORCH_DEFAULTS.items():
        assert torch.testing._comparison.default_tolerances(getattr(torch, dtype)) == pair


def test_advice():
    """For a layer whose sums are long the default is too tight; torch itself may miss it, but not ours."""
    row = tolerance.advise(layers("resnet50")[2], "float32")
    assert row.terms == 576
    assert row.rejects > 0.5
    assert row.unseen == 0
    assert "576 terms" in row.tolerances.reason
    half = tolerance.advise(tolerance.parsed("1,512,7,7:8,512,3,3:padding=1"), "float16", ErrorModel.direct("float16"))
    assert half.unseen == 1
    assert tolerance.advise(tolerance.parsed("1,4,7,7:8,4,3,3"), "float8_e5m2").rejects is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1,2,3",
        "1,2,3,3:1,2,3",
        "1,2,3,3:1,2,9,9",
        "1,2,3,3:1,2,1,1:steps=2",
        "1,2,3,3:1,2,1,1:stride=x",
        "1,3,3,3:1,2,1,1",
    ],
)
def test_texts_that_are_no_layers(text):
    with pytest.raises(GeometryError):
        tolerance.parsed(text)


# --- samples --------------------------------------------------------------------------------------------------------


def large(dtype="float32", fill="normal", **options):
    x, w, b = operands(fill, (2, 8, 24, 20), (16, 8 // options.get("groups", 1), 3, 3), bias=True, dtype=dtype)
    return Case(input=x, weight=w, bias=b, padding=1, **options)


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "complex64", "int8", "int64"])
@pytest.mark.parametrize("groups", [1, 4])
def test_samples_of_sound_outputs_pass(dtype, groups):
    case = large(dtype, "integers" if dtype.startswith("int") else "normal", groups=groups)
    for options in ({"precision": "float32"}, {}) if dtype in ("float32", "float16") else ({},):
        out = refconv.conv2d(*case.arguments(), **options)
        comparison = case.check(out, sample=50)
        assert comparison.verdict == "within bound", str(comparison)
        assert "0.61 for 1 %" in str(comparison)
        assert comparison.actual.shape == (50,)


@pytest.mark.parametrize("dtype", ["float32", "float16", "complex64", "int8"])
def test_checksums_see_what_the_sample_does_not(dtype):
    """A single wrong element, NaN or infinity, and channels exchanged."""
    case = large(dtype, "integers" if dtype == "int8" else "normal")
    good = case.expected()
    for seed, value in enumerate((1000, np.nan, np.inf) if dtype != "int8" else (1000,)):
        wrong = good.copy()
        wrong[1, 5, 7, 9] = value
        comparison = case.check(wrong, sample=2, seed=seed)
        assert comparison.verdict == "wrong"
        assert "output[1, :, 7, 9]" in comparison.problem
    if dtype == "float32":
        size = float(str(case.check(good, sample=2)).partition("a single error of ")[2].split()[0])
        wrong = good.copy()
        wrong[1, 5, 7, 9] += 2 * size
        assert case.check(wrong, sample=2).problem
    assert sum(not case.check(good[:, ::-1], sample=1, seed=seed).ok for seed in range(10)) == 10


def test_samples_see_what_checksums_do_not():
    """Errors that cancel in the sum over channels: the sample finds them in proportion to their share."""
    case = large()
    wrong = case.expected()
    signs = np.random.default_rng(3)
    wrong += signs.choice([-1, 1], wrong.shape).astype("float32") * np.float32(1e-3)
    comparison = case.check(wrong, sample=20)
    assert comparison.n_wrong > 10
    assert wrong[comparison.worst] == comparison.actual[np.argmax(comparison.ratio)]
    assert comparison.receptive_field is not None


def test_samples_are_suspicious_too():
    case = large()
    out = np.float32(1.000003) * case.expected()
    assert case.check(out, sample=400).verdict == "suspicious"


def test_single_errors_are_suspicious_long_before_they_are_wrong():
    case = large()
    good = case.expected()
    text = str(case.check(good, sample=2))
    wrong, suspicious = (float(text.partition(before)[2].split()[0]) for before in ("error of ", "wrong, of "))
    assert suspicious < wrong / 2
    bad = good.copy()
    bad[1, 5, 12, 9] += 1.2 * suspicious
    assert case.check(bad, sample=2).verdict == "suspicious"
    assert not case.check(bad, sample=2).ok


def test_samples_with_special_values():
    """What must not be finite is not; skipped padding is accepted, unless strictly."""
    case = large()
    x, w = case.input.copy(), case.weight.copy()
    x[1, 3, 4, 5], w[7, 2, 0, 0] = np.nan, np.inf
    case = Case(input=x, weight=w, bias=case.bias, padding=1)
    good = case.expected()
    assert case.check(good, sample=3000).ok
    assert "could not be judged" in str(case.check(good, sample=3000))
    other = skipping(case)
    assert case.check(other, sample=10_000).ok
    assert not case.check(other, sample=10_000, strict=True).ok
    wrong = good.copy()
    wrong[0, 0, 0, 0] = np.inf
    assert case.check(wrong, sample=2).problem


def test_samples_need_bounds_of_single_elements():
    case = large()
    for name in ("fft", "winograd:2,3"):
        with pytest.raises(GeometryError, match="whole image"):
            case.check(case.expected(), ErrorModel.parse(name), sample=5)
    for name in ("exact", "tf32", "direct:float16,flush_to_zero", "tensor_core:A100"):
        assert case.check(case.expected(), ErrorModel.parse(name), sample=50).ok
    with pytest.raises(GeometryError, match="sample=0"):
        case.check(case.expected(), sample=0)
    assert case.check(case.expected()[0], sample=5).problem.startswith("shape")
    assert case.check(case.expected(), sample=10**6).verdict == "identical"  # then all are judged


def test_checksums_do_not_call_the_oracle(monkeypatch):
    """The outputs are not computed."""
    case = large()
    out = case.expected()
    fresh = large()
    whole = Reference.__dict__["_expected"].func
    wanted = property(lambda case: pytest.fail("all outputs") if case is fresh else whole(case))
    monkeypatch.setattr(Reference, "_expected", wanted)
    assert fresh.check(out, sample=10).ok


# --- outputs made to slip through -----------------------------------------------------------------------------------


class Friendly(np.ndarray):
    """Equal to everything."""

    def __eq__(self, other):
        return np.ones(self.shape, bool)

    __hash__ = None

    def __array_ufunc__(self, *_arguments, **_options):
        return np.ones(self.shape, bool)


class Fickle:
    """An array that is right when it is looked at again."""

    def __init__(self, first, then):
        self.answers = [first, then]

    def __array__(self, dtype=None, copy=None):
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def test_arrays_with_a_mind_of_their_own():
    case = made("normal", 3)
    zeros = np.zeros_like(case.expected())
    assert case.check(zeros.view(Friendly)).verdict == "wrong"
    assert case.check(Fickle(zeros, case.expected())).verdict == "wrong"
    shared = case.expected()
    comparison = case.check(shared)
    shared[:] = 0
    assert comparison.actual.any()


def test_infinity_is_not_the_largest_number():
    largest = np.finfo("float32").max
    x, w = np.array([[[[np.inf, 1]]]], "float32"), np.ones((1, 1, 1, 1), "float32")
    case = Case(input=x, weight=w)
    for value in (largest, -np.inf, np.nan):
        assert case.check(np.array([[[[value, 1]]]], "float32")).n_wrong == 1
    case = Case(input=np.full_like(x, 2e38), weight=1.1 * w)
    for value in (largest, np.inf):
        assert case.check(np.full_like(x, value)).n_wrong == 2


def test_wrong_kinds_of_numbers():
    case = made("normal", 3)
    for dtype in ("float64", "float16", "complex64", "int32"):
        assert case.check(case.expected().astype(dtype)).problem.startswith("dtype")
    with pytest.raises(TypeError, match="model='tf32'"):
        case.check(case.expected(), "tf32")


def test_units_are_the_accumulators():
    case = made("normal", 3)
    out = np.nextafter(case.expected(), np.float32(9))
    assert case.check(out).bias == pytest.approx(case.check(out, ErrorModel.direct("float64")).bias * 2.0**-29)


# What a reviewer found


def test_sums_that_overflow_the_output_have_no_checksum():
    """Infinities that must come out are no fault of theirs."""
    rng = np.random.default_rng(0)
    x, w = (100 * rng.standard_normal(shape) for shape in ((1, 64, 9, 9), (8, 64, 3, 3)))
    case = Case(input=x.astype("float16"), weight=w.astype("float16"))
    assert np.isinf(case.expected()).any()
    comparison = case.check(case.expected(), sample=50)
    assert comparison.ok, str(comparison)


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_checksums_see_channels_that_have_changed_places(dtype):
    """Whatever their signs."""
    x, w, _ = operands("integers" if dtype == "int32" else "normal", (1, 8, 20, 20), (16, 8, 3, 3), dtype=dtype)
    case = Case(input=x % 100 if dtype == "int32" else x, weight=w % 100 if dtype == "int32" else w)
    swapped = case.expected()
    swapped[:, [5, 6]] = swapped[:, [6, 5]]
    assert not any(case.check(swapped, sample=1, seed=seed).ok for seed in range(10))


def test_all_filters_at_one_place_share_the_errors_of_its_input():
    """TF32 operands, positive, one pixel: the mean of the errors is not that of independent ones."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        x, w = rng.random((1, 512, 1, 1), "float32"), rng.random((1000, 512, 1, 1), "float32")
        out = tf32(w)[:, :, 0, 0].astype(float) @ tf32(x)[0, :, 0, 0].astype(float)
        comparison = Case(input=x, weight=w).check(out.astype("float32").reshape(1, 1000, 1, 1), ErrorModel.tf32())
        assert comparison.ok, str(comparison)


def test_outputs_that_repeat_count_once():
    """Under replicated padding far beyond the image whole rows of outputs are alike."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x, w = (rng.standard_normal(shape).astype("float32") for shape in ((1, 8, 16, 16), (4, 8, 3, 3)))
        padded = torch.nn.functional.pad(torch.from_numpy(x), (50,) * 4, mode="replicate")
        out = torch.nn.functional.conv2d(padded, torch.from_numpy(w)).numpy()
        comparison = Case(input=x, weight=w, padding=50, padding_mode="replicate").check(out)
        assert comparison.ok, str(comparison)


def test_sums_of_a_binade_share_the_rounding_of_the_bias():
    """One product of each output and one bias for all: the mean of the errors is that of adding the bias."""
    for seed in range(20):
        x, w, b = operands("normal", (1, 1, 1, 5000), (1, 1, 1, 1), bias=True, seed=seed)
        comparison = Case(input=x, weight=w, bias=b).check(x * w + b)
        assert comparison.ok, str(comparison)


def test_no_statistics_of_what_is_not_finite():
    """Sums near the largest float64: their squares are infinite."""
    x, w, _ = operands("special", (1, 5, 15, 16), (1, 5, 3, 5), bias=False, dtype="float64", seed=739878688)
    case = Case(input=x, weight=w)
    comparison = case.check(torch.nn.functional.conv2d(torch.tensor(x), torch.tensor(w)).numpy())
    assert comparison.ok, str(comparison)


def test_bounds_do_not_warn():
    """Whatever the caller's settings are."""
    x, w = np.full((1, 1, 1, 2), 1e-200 + 1e-200j), np.full((1, 1, 1, 1), 1e-200 + 0j)
    with np.errstate(all="raise"):
        Case(input=x, weight=w).bound()
