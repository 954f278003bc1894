"""Campaigns: sound kernels pass; each kind of fault is found, named, shrunk, and shown by a program that runs."""

import json
import random
import runpy
import sys
import warnings

import numpy as np
import pytest
import torch
from campaigns import verify
from common import ALL
from processes import written

import refconv
from refconv.cases.recipe import Recipe
from refconv.verification.report.reproducer import MAX_LINES


def ignores_dilation(input, weight, bias, stride, padding, dilation, groups):
    """Right as long as the dilation is 1; else of the right shape."""
    out = refconv.conv2d(input, weight, bias, stride, padding, dilation, groups)
    return out if dilation == (1, 1) else np.zeros_like(out)


def adds_the_first_bias(input, weight, bias, *rest):
    """Adds the first channel's bias to all channels."""
    return refconv.conv2d(input, weight, None if bias is None else np.full_like(bias, bias[0]), *rest)


def accumulates_in_half(input, weight, bias, *rest):
    """Rounds its operands to float16 first."""
    narrow = (
        None if operand is None else operand.astype("float16").astype(operand.dtype)
        for operand in (input, weight, bias)
    )
    return refconv.conv2d(*narrow, *rest)


def crashes_on_groups(input, weight, bias, stride, padding, dilation, groups):
    """Has no case for groups."""
    return refconv.conv2d(input, weight, bias, stride, padding, dilation, {1: 1}[groups])


def scales_its_input(input, *rest):
    """Returns the right thing, but leaves another input behind."""
    out = refconv.conv2d(input, *rest)
    input *= 2
    return out


def reshapes_its_input(input, *rest):
    """Returns the right thing, but leaves another shape behind."""
    out = refconv.conv2d(input, *rest)
    input.shape = (*input.shape, 1)
    return out


def writes(*arguments):
    """Writes the result, however what it is written to lies in memory."""
    arguments[-1][...] = refconv.conv2d(*arguments[:-1])


def writes_densely(*arguments):
    """Writes from the first element on as if there were nothing between the others."""
    result, out = refconv.conv2d(*arguments[:-1]), arguments[-1]
    np.lib.stride_tricks.as_strided(out, (out.size,), (out.itemsize,))[:] = result.ravel()


def returns_a_list(*arguments):
    """Returns a list."""
    return refconv.conv2d(*arguments).tolist()


def returns_a_tensor(*arguments):
    """Returns a tensor for NumPy arrays."""
    return torch.from_numpy(refconv.conv2d(*arguments))


def widens(*arguments):
    """Returns float64."""
    return refconv.conv2d(*arguments).astype("float64")


def returns_booleans(*arguments):
    """Returns a dtype that refconv does not know."""
    return refconv.conv2d(*arguments) > 0


def forgets_unbatched(input, *rest):
    """Returns a batch for a single image."""
    out = refconv.conv2d(input, *rest)
    return out[None] if input.ndim == 3 else out


def exits(*_):
    """Ends the process, and says that all is well."""
    sys.exit(0)


# Candidate, the property it violates, largest number of elements that input, weight and bias of a minimal case have.
WRONG = [
    (ignores_dilation, "values", 2),
    (adds_the_first_bias, "values", 5),
    (accumulates_in_half, "values", 2),
    (crashes_on_groups, "returns", 4),
    (scales_its_input, "inputs unmodified", 2),
    (reshapes_its_input, "inputs unmodified", 2),
    (returns_a_list, "kind of array", 2),
    (returns_a_tensor, "kind of array", 2),
    (widens, "shape and dtype", 2),
    (returns_booleans, "shape and dtype", 2),
    (exits, "returns", 2),
]


@pytest.mark.usefixtures("generated_only")
def test_the_oracle_passes_in_every_dtype():
    report = verify(refconv.conv2d, dtypes=ALL, cases=50)
    assert report.ok
    assert report.failures == []
    assert [(result.n_cases, result.max_bound_ratio <= 1) for result in report.results] == [(50, True)] * len(ALL)


def test_torch_passes_every_section():
    report = verify(torch.nn.functional.conv2d, dtypes=("float32", "float64"), cases=100, arrays="torch")
    assert report.ok
    assert report.n_unsupported == 0
    sections = [(result.section, result.n_cases, result.verdict) for result in report.results]
    assert sections == 2 * [
        ("generated cases", 100, "passed"),
        ("documentation examples", 3, "passed"),
        ("handwritten digits", 40, "passed"),
    ]
    assert 0 < max(result.max_bound_ratio for result in report.results) < 1
    assert report.coverage["padding"] > 100


@pytest.mark.parametrize(("candidate", "violated", "size"), WRONG, ids=lambda value: getattr(value, "__name__", None))
@pytest.mark.usefixtures("generated_only")
def test_every_fault_is_found_and_shrunk(tmp_path, candidate, violated, size):
    report = verify(candidate, cases=300)
    assert not report.ok
    assert violated != "values" or report.results[0].max_bound_ratio > 1
    (failure,) = report.failures
    assert failure.property == violated
    assert failure.case.input.size + failure.case.weight.size <= size
    assert (failure.comparison is not None) is (
        violated in ("values", "shape and dtype") and candidate is not returns_booleans
    )
    assert failure.comparison is None or not failure.comparison.ok
    assert len(failure.snippet.splitlines()) <= MAX_LINES
    with pytest.raises((AssertionError, KeyError, TypeError, SystemExit)):
        runpy.run_path(written(failure.snippet, tmp_path))


@pytest.mark.usefixtures("generated_only")
def test_what_is_written_to_may_be_a_view_like_any_other():
    """Planned, counted as covered, and shrunk to the only thing that matters."""
    small = {"large": False}
    report = verify(writes, style="out", cases=100, supports=small)
    assert report.ok
    covered, possible = report.interactions.shares()["memory of input", "memory of output"]
    assert 0 < covered <= possible == 13 * 12
    failures = {
        failure.property: failure
        for failure in verify(writes_densely, style="out", cases=100, supports=small, shrink_seconds=5).failures
    }
    assert {name for name, _ in failures["views"].recipe.memory} == {"output"}


@pytest.mark.usefixtures("generated_only")
@pytest.mark.parametrize("candidate", [writes, writes_densely])
def test_what_is_written_to_is_contiguous_if_no_views_are_taken(candidate):
    report = verify(candidate, style="out", cases=100, supports={"views": False})
    assert report.ok
    assert report.n_unsupported == 0


@pytest.mark.usefixtures("generated_only")
def test_different_faults_are_reported_apart():
    def two_faults(input, weight, bias, stride, padding, dilation, groups):
        if stride != (1, 1):
            raise RuntimeError("no stride")
        return ignores_dilation(input, weight, bias, stride, padding, dilation, groups)

    report = verify(two_faults, cases=300)
    failures = {failure.property: failure for failure in report.failures}
    assert set(failures) == {"returns", "values"}
    assert "RuntimeError: no stride" in failures["returns"].text
    assert "test_verify.py" in failures["returns"].text
    assert "judgement.py" not in failures["returns"].text


@pytest.mark.usefixtures("generated_only")
def test_unsupported_is_counted_and_never_passed():
    def supports_nothing(*_):
        raise NotImplementedError

    report = verify(supports_nothing, cases=20)
    assert not report.ok
    assert report.n_cases == 0
    assert report.n_unsupported >= 20
    assert report.failures == []
    assert report.results[0].verdict == "nothing judged"


@pytest.mark.usefixtures("generated_only")
def test_as_many_cases_as_asked_for_are_judged():
    def supports_depthwise_only(input, weight, bias, stride, padding, dilation, groups):
        if weight.shape[1] != 1:
            raise NotImplementedError
        return refconv.conv2d(input, weight, bias, stride, padding, dilation, groups)

    report = verify(supports_depthwise_only, cases=200)
    assert report.ok
    assert report.n_cases >= 200
    assert report.n_unsupported > 50
    assert sum(report.coverage[name] for name in ("batch 0", "batch 1", "batch above 1")) == report.n_cases


@pytest.mark.usefixtures("generated_only")
def test_every_dtype_must_be_judged():
    def float32_only(input, *rest):
        if input.dtype != np.float32:
            raise NotImplementedError
        return refconv.conv2d(input, *rest)

    assert verify(float32_only, cases=20).ok
    assert not verify(float32_only, cases=20, dtypes=("float32", "float64")).ok


@pytest.mark.usefixtures("generated_only")
def test_a_candidate_that_fails_now_and_then():
    calls = iter(range(10**6))

    def unreliable(*arguments):
        out = refconv.conv2d(*arguments)
        return out + 1 if 30 <= next(calls) < 40 else out

    failures = verify(unreliable, cases=100).failures
    assert failures
    assert all("not every call with this case fails" in failure.text for failure in failures)


@pytest.mark.usefixtures("generated_only")
def test_warnings_are_no_verdict():
    def warns(*arguments):
        warnings.warn("slow", stacklevel=2)
        return refconv.conv2d(*arguments)

    assert verify(warns, cases=20).ok  # pytest turns warnings into errors


@pytest.mark.own_faults
@pytest.mark.usefixtures("generated_only")
def test_a_fault_of_refconv_is_not_the_candidates(monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(Recipe, "case", broken)
    report = verify(refconv.conv2d, cases=20)
    assert (report.ok, report.failures) == (False, [])
    assert "ZeroDivisionError" in report.faults[0]


@pytest.mark.usefixtures("generated_only")
def test_same_seed_same_cases():
    def calls(seed):
        seen = []

        def record(input, weight, *rest):
            seen.append((input.shape, weight.shape, input.tobytes()))
            return refconv.conv2d(input, weight, *rest)

        assert verify(record, cases=50, seed=seed).ok
        return seen

    calls(0)  # imports everything: Hypothesis draws from the constants of modules
    first, again, other = calls(1), calls(1), calls(2)
    assert first == again
    assert first != other


@pytest.mark.usefixtures("digits_only")
def test_nothing_global_changes():
    def state():
        numpys = str(np.random.get_state())  # noqa: NPY002 - the global state is what must not change
        return torch.get_num_threads(), torch.get_rng_state().tolist(), random.getstate(), numpys

    before = state()
    verify(torch.nn.functional.conv2d, cases=20, arrays="torch")
    assert state() == before


@pytest.mark.usefixtures("digits_only")
def test_progress_is_reported():
    seen = []
    verify(refconv.conv2d, cases=20, progress=lambda *call: seen.append(call))
    assert ("generated cases, float32", 20, 20) in seen
    assert seen[-1] == ("handwritten digits, float32", 40, 40)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"op": "conv9d"}, "op='conv9d'"),
        ({"dtypes": ("float8",)}, "dtype='float8'"),
        ({"dtypes": ()}, "dtypes="),
        ({"cases": 0}, "cases=0"),
        ({"seed": -1}, "seed=-1"),
        ({"arrays": "tinygrad"}, "arrays='tinygrad'"),
        ({"style": "in"}, "style='in'"),
        ({"jobs": 0}, "jobs=0"),
        ({"seconds": 0}, "seconds=0"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        verify(refconv.conv2d, **options)


def test_what_is_not_callable():
    with pytest.raises(TypeError, match="candidate=3"):
        verify(3)


@pytest.mark.usefixtures("generated_only")
def test_report_as_json(tmp_path):
    path = tmp_path / "report.json"
    report = verify(ignores_dilation, cases=100)
    report.to_json(path)
    content = json.loads(path.read_text())
    assert content["ok"] is False
    assert content["n_cases"] == report.n_cases
    assert content["coverage"] == report.coverage
    (result,) = content["results"]
    assert result["verdict"] == "failed"
    assert result["failures"][0]["snippet"] == report.failures[0].snippet


@pytest.mark.usefixtures("generated_only")
def test_a_candidate_gets_pairs_and_batches_unless_it_takes_more():
    seen = set()

    def watches(input, weight, bias, stride, padding, dilation, groups):
        seen.add((type(padding), input.ndim))
        return refconv.conv2d(input, weight, bias, stride, padding, dilation, groups)

    assert verify(watches, cases=100).ok
    assert seen == {(tuple, 4)}
    assert verify(watches, cases=200, supports={"string_padding": True, "unbatched": True}).ok
    assert seen == {(tuple, 4), (tuple, 3), (str, 4), (str, 3)}


@pytest.mark.usefixtures("generated_only")
def test_unbatched_inputs_find_what_forgets_them():
    assert verify(forgets_unbatched, cases=100).ok
    (failure,) = verify(forgets_unbatched, cases=100, supports={"unbatched": True}).failures
    assert failure.property == "shape and dtype"
    assert failure.case.input.shape == (1, 1, 1)


def test_supports_is_checked():
    with pytest.raises(refconv.GeometryError, match="supports='strings'"):
        verify(refconv.conv2d, supports={"strings": True})
    with pytest.raises(TypeError, match=r"supports\['unbatched'\]=1"):
        verify(refconv.conv2d, supports={"unbatched": 1})
