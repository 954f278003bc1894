"""Samples and checksums of outputs too large to be computed whole."""

import numpy as np
import pytest
from kernels.sums import inner_taps

import refconv
from refconv import Case, ErrorModel, GeometryError
from refconv.cases.fills import operands
from refconv.judge.reference import Reference


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
    other = inner_taps(case)
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
