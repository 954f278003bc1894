"""Statistics of all errors together: what is less accurate than it claims is suspicious, sound sums are not."""

import itertools
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from cases import case_of
from hypothesis import assume, given
from kernels.faults import FAULTS
from kernels.lowered import by_products
from kernels.operands import bfloat16, of_operands, tf32
from kernels.sums import im2col

from refconv import Case, ErrorModel, assert_close, strategies
from refconv.cases.fills import operands
from refconv.judge import error_statistics

FILLS = ("normal", "uniform", "positive")
LENGTHS = {27: 3, 144: 16, 576: 64, 1152: 128, 4608: 512}


@pytest.mark.parametrize("n", LENGTHS)
def test_dishonest_implementations_are_rejected(n):
    """Claimed as float32, each is seen on one of three fills at the latest."""
    cases = [case_of(fill, LENGTHS[n]) for fill in FILLS]
    for name, fault in FAULTS.items():
        verdicts = [case.check(fault(case, im2col)).verdict for case in cases]
        assert {"suspicious", "wrong"} & set(verdicts), f"{name}: {verdicts}"


def test_honest_about_it():
    """TF32 passes as what it is; what is less than that does not."""
    case = case_of("normal", 64)
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
        case = case_of("normal" if fill == "constant" else fill, channels)
        if fill == "constant":
            x, w = np.full_like(case.input, 0.1), np.full_like(case.weight, 0.1)
            case = Case(input=x, weight=w, padding=1)
        assert case.check(by_products(ORDERS[order])(case)).ok


@given(strategies.cases(dtypes=("float32",), string_padding=False, max_multiplications=50_000, unbatched=True))
def test_torch_is_not_suspicious(case):
    x, w, b, *options = case.arguments()
    assume(case.expected().size and x.size)
    tensors = [None if array is None else torch.tensor(array) for array in (x, w, b)]
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
    case = case_of("normal", 64)
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
    case = case_of("normal", 16)
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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_outputs_without_terms_say_nothing(dtype):
    """Those that lie in the padding altogether."""
    x, w, _ = operands("normal", (1, 4, 1, 1), (1, 4, 1, 1), dtype=dtype)
    case = Case(input=x, weight=w, padding=(0, 2))
    out = np.where(case.expected() == 0, 0, np.nextafter(case.expected(), x.dtype.type(9)))
    with np.errstate(all="raise"):
        comparison = case.check(out)
    assert comparison.verdict == "within bound"
    assert all(np.isfinite(statistic.value) for statistic in comparison.statistics)


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


def test_statistics_that_are_not_computed_would_have_been_kept():
    """Also where means cancel only because each error is looked at in a smaller unit than its own."""
    rng = np.random.default_rng(0)
    model = ErrorModel.direct("float32")
    looked_at = 0
    for n, size in itertools.product((1, 9, 300), (0.01, 0.2, 1.0)):
        x = rng.uniform(0.1, 1, (4, n, 6, 6)).astype("float32")
        signs = np.where(np.arange(8)[:, None] % 2, 1, rng.choice([-1, 1], (8, n)))  # of every other filter one only
        w = (rng.uniform(0.1, 1, (8, n)) * signs).astype("float32").reshape(8, n, 1, 1)
        sums = Case(input=x, weight=w).sums
        unit = size * 2.0**-24 * sums.absolute
        for errors in (unit * rng.choice([-1, 1], unit.shape), unit, unit * np.sign(sums.value)):
            if error_statistics.certainly_unsuspicious(errors, sums, model, "float32"):
                looked_at += 1
                for random_signs in (False, True):
                    computed = error_statistics.statistics(errors, sums, model, "float32", random_signs=random_signs)
                    assert all(statistic.ok for statistic in computed)
    assert looked_at >= 6


def test_comparisons_are_pickled_with_what_is_read_later():
    rng = np.random.default_rng(0)
    case = Case(**{name: rng.standard_normal((2, 3, 4, 4)).astype("float32") for name in ("input", "weight")})
    comparison = case.check(case.expected() * np.float32(1 + 2**-22))
    again = pickle.loads(pickle.dumps(replace(comparison, diagnose=None)))  # noqa: S301 - its own
    names = ("verdict", "max_ulp", "median_ulp", "bias", "spread", "vacuous", "n_free", "statistics", "description")
    assert [getattr(again, name) for name in names] == [getattr(comparison, name) for name in names]
    assert str(again) == str(comparison)
    assert len(pickle.dumps(again)) < 25 * comparison.actual.size + 5000
