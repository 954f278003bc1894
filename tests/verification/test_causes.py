"""What one campaign tells of several faults, when it ends, and what its cases are limited to."""

import itertools
import pickle
import threading
import time
import warnings

import numpy as np
import pytest
from campaigns import verify
from marks import evidence

import refconv
from refconv.verification import drawing, real_layers, sections
from refconv.verification.report.expected_failures import CAUSES, Expected


def flushes_and_loses_a_row(input, weight, bias, stride, padding, dilation, groups):
    """Two mistakes: subnormal operands are taken for 0, and the last row of tall strided outputs is lost."""
    tiny = np.finfo(input.dtype).tiny
    input, weight = (np.where(np.abs(array) < tiny, 0, array).astype(array.dtype) for array in (input, weight))
    out = refconv.conv2d(input, weight, bias, stride, padding, dilation, groups)
    if stride[0] > 1 and out.shape[2] > 1:
        out[:, :, -1] = 0
    return out


def wrong_if_strided(input, weight, bias, stride, padding, dilation, groups):
    out = refconv.conv2d(input, weight, bias, stride, padding, dilation, groups)
    return out + 1 if stride[0] > 1 else out


def refuses_strides(input, weight, bias, stride, padding, dilation, groups):
    if stride[0] > 1:
        raise ValueError("no strides")
    return refconv.conv2d(input, weight, bias, stride, padding, dilation, groups)


def refuses_two_things(input, weight, bias, stride, padding, dilation, groups):
    if stride[0] > 1:
        raise ValueError("no strides")
    if dilation[0] > 1:
        raise TypeError("no dilations")
    return refconv.conv2d(input, weight, bias, stride, padding, dilation, groups)


def never_the_same(*arguments, calls=itertools.count()):  # noqa: B008 - one for all calls
    """Right, but the sign of each zero changes with every call."""
    out = refconv.conv2d(*arguments)
    return np.where(out == 0, np.float32(-0.0 if next(calls) % 2 else 0.0), out)


def warns(*arguments):
    warnings.warn("that it is slow", stacklevel=1)
    return refconv.conv2d(*arguments)


class Shared:
    """A kernel with one scratch buffer for all threads."""

    def __init__(self):
        self.scratch = None

    def __call__(self, *arguments):
        self.scratch = refconv.conv2d(*arguments)
        time.sleep(0.001)
        return self.scratch


class Slow:
    """A sound kernel that takes so many seconds for each product, and counts what it was given."""

    def __init__(self, seconds):
        self.seconds, self.products = seconds, []

    def __call__(self, input, weight, *rest):
        out = refconv.conv2d(input, weight, *rest)
        self.products.append(out.size * weight[0].size if len(weight) else 0)
        time.sleep(self.seconds * self.products[-1])
        return out


@pytest.mark.usefixtures("generated_only")
def test_flushed_subnormals_hide_no_wrong_rows():
    report = verify(flushes_and_loses_a_row, cases=300)
    values = [failure for failure in report.failures if failure.property == "values"]
    assert len(values) == 2
    rows, flushed = values
    assert rows.recipe.fill != "subnormal" == flushed.recipe.fill
    assert rows.recipe.geometry.stride[0] > 1
    assert "subnormal" in str(flushed.diagnosis)
    assert all(failure.n_cases >= 1 for failure in values)


@pytest.mark.usefixtures("generated_only")
def test_one_mistake_is_one_failure():
    (failure,) = verify(wrong_if_strided, cases=80).failures
    assert failure.n_cases > 10


@pytest.mark.usefixtures("generated_only")
@pytest.mark.parametrize("candidate", [wrong_if_strided, refuses_strides])
def test_what_ends_a_campaign_early_is_told(candidate):
    report = verify(candidate, cases=200, max_failures=5)
    assert not report.ok
    assert report.n_cases < 200
    assert f"ended early after 5 failures: {200 - report.n_cases} of 200 cases were not tried" in report.ended_early
    assert report.results[0].verdict == "failed, ended early"
    assert report.as_dict()["ended_early"] == report.ended_early
    assert verify(refconv.conv2d, cases=20).ended_early is None


@pytest.mark.usefixtures("generated_only")
def test_what_is_expected_does_not_end_a_campaign(tmp_path):
    path = tmp_path / "expected.txt"
    path.write_text("conv2d/float32/returns/exception  # no strides yet")
    report = verify(refuses_strides, cases=60, max_failures=5, expected_failures=path)
    assert report.ok
    assert report.n_cases == 60
    assert report.ended_early is None
    assert [failure.cause for failure in report.failures] == ["exception"]
    path.write_text("conv2d/float32/returns/crash  # another cause")
    report = verify(refuses_strides, cases=60, expected_failures=path)
    assert not report.ok
    assert any("expected to fail, but passes" in note for note in report.notes)


@evidence
@pytest.mark.usefixtures("generated_only")
def test_an_expected_cause_hides_no_other_for_want_of_time(tmp_path):
    options = {"cases": 150, "shrink_seconds": 0.001}
    (first,) = verify(flushes_and_loses_a_row, **options).failures
    path = tmp_path / "expected.txt"
    path.write_text(f"conv2d/float32/values/{first.cause or 'unknown'}  # known")
    report = verify(flushes_and_loses_a_row, expected_failures=path, **options)
    assert not report.ok
    assert [bool(failure.expected) for failure in report.failures] == [True, False]


@pytest.mark.usefixtures("generated_only")
def test_different_exceptions_are_different_causes():
    report = verify(refuses_two_things, cases=150)
    assert {failure.text.partition("\n  if these calls")[0].splitlines()[-1] for failure in report.failures} == {
        "TypeError: no dilations",
        "ValueError: no strides",
    }


@pytest.mark.usefixtures("generated_only")
def test_only_what_was_raised_is_an_exception():
    report = verify(never_the_same, cases=100, supports={"deterministic": True})
    (failure,) = (failure for failure in report.failures if failure.property == "deterministic")
    assert failure.cause == "state_race"


def test_an_unknown_cause_is_refused():
    with pytest.raises(ValueError, match="line 1: cause 'bad luck' must be one of crash, exception, unknown, "):
        Expected.parse("conv2d/float32/values/bad luck  # it happens")
    assert {"crash", "exception", "accum_dtype", "tile_tail"} <= set(CAUSES)


@pytest.mark.usefixtures("generated_only")
def test_making_failures_small_takes_no_longer_than_it_may():
    start = time.monotonic()
    report = verify(wrong_if_strided, cases=60, shrink_seconds=0.01)
    (failure,) = report.failures
    assert not failure.comparison.ok
    assert time.monotonic() - start < 30


@pytest.mark.usefixtures("generated_only")
def test_sets_repeat_geometries_with_other_numbers():
    seen = []

    def notes(input, weight, *rest):
        seen.append((input.shape, weight.shape, rest[1:]))
        return refconv.conv2d(input, weight, *rest)

    assert verify(notes, cases=40, sets=10).n_cases == 40
    assert len(set(map(str, seen))) < 12


def test_no_examples_and_largest():
    report = verify(refconv.conv2d, cases=20, examples=False)
    assert [result.section for result in report.results] == [sections.GENERATED]
    slow = Slow(0)
    report = verify(slow, cases=60, largest=500)
    assert report.ok
    assert max(slow.products) <= 500
    assert all(result.n_cases or result.skipped for result in report.results)


@evidence
@pytest.mark.usefixtures("generated_only")
def test_no_case_is_larger_where_none_can_be_smaller():
    slow = Slow(0)
    report = verify(slow, cases=20, largest=5, supports={"kernel": 7})
    assert max(slow.products, default=0) <= 5
    assert any("what the candidate supports has no smaller ones" in note for note in report.notes)


@pytest.mark.usefixtures("generated_only")
def test_wide_cases_of_a_slow_candidate_are_left_out_and_that_is_said():
    slow = Slow(2e-6)
    report = verify(slow, cases=80)
    assert report.ok
    assert report.n_cases == 80
    assert max(slow.products) <= sections.NARROW
    assert any("products were left out" in note for note in report.notes)
    quick = Slow(0)
    assert not verify(quick, cases=80).notes
    assert max(quick.products) > sections.NARROW


@pytest.mark.usefixtures("generated_only")
def test_calls_from_two_threads_if_claimed():
    report = verify(Shared(), cases=60, supports={"threads": True})
    assert {failure.property for failure in report.failures} == {"threads"}
    assert verify(Shared(), cases=20).ok
    report = verify(refconv.conv2d, cases=60, supports={"threads": True})
    assert report.ok
    assert report.properties["threads"]["float32"].checked
    assert threading.active_count() < 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        assert verify(warns, cases=60, supports={"threads": True}).ok
        assert warnings.filters == before


@pytest.mark.usefixtures("generated_only")
def test_the_same_weights_with_another_image():
    """A kernel that knows its image again by shape alone."""
    kept = {}

    def keeps_images(input, weight, *rest):
        key = input.shape, weight.tobytes()
        return refconv.conv2d(kept.setdefault(key, input), weight, *rest)

    report = verify(keeps_images, cases=200)
    assert "no stale state" in {failure.property for failure in report.failures}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sets": 0}, "sets=0: must be at least 1"),
        ({"sets": 1.5}, "sets=1.5: must be an integer"),
        ({"largest": 0}, "largest=0: must be at least 1"),
        ({"largest": "1G"}, "largest='1G': must be an integer"),
        ({"shrink_seconds": 0}, "shrink_seconds=0: must be positive"),
        ({"shrink_seconds": None}, "shrink_seconds=None: must be a number"),
        ({"shrink_seconds": "1"}, "shrink_seconds='1': must be a number"),
        ({"shrink_seconds": float("nan")}, "shrink_seconds=nan: must be positive"),
        ({"max_failures": -1}, "max_failures=-1: must be at least 1"),
        ({"examples": "no"}, "examples='no': must be True or False"),
    ],
)
def test_limits_that_are_none_are_refused(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        verify(refconv.conv2d, **options)


def test_products_are_those_of_the_sums():
    recipe = next(iter(drawing.plan("conv2d", ["float32"], refconv.Supports(), 1)))
    case = recipe.case()
    assert recipe.geometry.products == case.expected().size * case.weight[0].size


def test_causes_of_a_later_section_are_told_apart_and_diagnosed(monkeypatch):
    """They are not made small once more, where an earlier section has failures of the same property."""

    def raises(input, weight, bias, stride, padding, dilation, groups):
        if dilation[0] > 1 and input.shape[2:] != (28, 28):
            raise ValueError("dilated")
        if input.shape[2:] == (28, 28) and weight.shape[0] in (20, 3):
            raise ValueError("wide") if weight.shape[0] == 20 else OverflowError("narrow")
        return refconv.conv2d(input, weight, bias, stride, padding, dilation, groups)

    some = {sections.DIGITS: lambda dtype, seed: real_layers.digit_layers(dtype, seed)[::9]}
    monkeypatch.setattr(sections, "FIXED", some)
    report = verify(raises, cases=60, shrink_seconds=2)
    digits = [failure for failure in report.failures if failure.section == "handwritten digits"]
    assert {failure.text.strip().splitlines()[-1] for failure in digits} == {
        "ValueError: wide",
        "OverflowError: narrow",
    }
    assert all(failure.diagnosis for failure in digits)


def test_a_report_of_wrong_values_can_be_pickled():
    report = verify(lambda *call: refconv.conv2d(*call) + 1, cases=20, examples=False, shrink_seconds=1)
    (failure,) = pickle.loads(pickle.dumps(report.failures))  # noqa: S301
    assert failure.comparison.diagnosis == failure.diagnosis


def test_a_state_takes_no_blame_for_groups_that_were_not_called_alone():
    """One group is not what the candidate is said to take: so nothing shows that it would be right by itself."""
    kept = {}

    def keeps_weights_and_is_wrong_for_one_group(input, weight, bias, stride, padding, dilation, groups):
        key = (input.shape, weight.shape, stride, padding, dilation, groups)
        weight = kept.setdefault(key, weight.copy()) if groups > 1 else weight
        out = refconv.conv2d(input, weight, bias, stride, padding, dilation, groups)
        return out if groups > 1 else out + 1

    report = verify(
        keeps_weights_and_is_wrong_for_one_group, cases=200, examples=False, shrink_seconds=2,
        supports={"groups": [2, 3], "large": False},
    )  # fmt: skip
    assert {"groups", "no stale state"} <= {failure.property for failure in report.failures}
