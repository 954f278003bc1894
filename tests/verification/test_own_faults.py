"""What refconv itself does wrong costs no report: it is a line in it, and an exit code of its own."""

import json
from contextlib import contextmanager

import numpy as np
import pytest
from campaigns import verify
from common import PLANAR
from typer.testing import CliRunner

import refconv
from refconv.cli.app import app
from refconv.verification import drawing, prosecution, sections
from refconv.verification.examine.examiner import Examiner
from refconv.verification.report import report as report_module
from refconv.verification.settings import DEFAULT_DTYPES

pytestmark = pytest.mark.own_faults

PLACES = [
    (prosecution, "diagnose", "diagnosing"),
    (prosecution, "shrink", "making small"),
    (prosecution, "experiment", "trying variations"),
    (prosecution, "program", "writing a program"),
    (prosecution.causes, "families", "telling causes"),
    (sections.separation, "state", "telling stale state"),
    (sections.separation, "parts", "judging images and groups"),
]


def zeros(*arguments):
    return np.zeros_like(refconv.conv2d(*arguments))


def fails(*_arguments, **_keywords):
    raise IndexError("tuple index out of range")


@pytest.mark.parametrize(("place", "name", "doing"), PLACES)
def test_a_fault_of_ours_is_a_line_of_the_report(place, name, doing, monkeypatch):
    monkeypatch.setattr(place, name, fails)
    report = verify(zeros, cases=30, examples=False)
    assert not report.ok
    assert [failure.property for failure in report.failures] == ["values"]
    assert report.n_cases == 30
    (fault,) = report.faults
    assert f"refconv's own fault, {doing}" in fault
    assert "IndexError: tuple index out of range" in fault
    assert fault.endswith("please report it")


def test_a_fault_in_drawing_keeps_what_was_judged(monkeypatch):
    plan = drawing.plan

    def ends_early(*arguments):
        yield from list(plan(*arguments))[:10]
        raise IndexError

    monkeypatch.setattr(drawing, "plan", ends_early)
    report = verify(refconv.conv2d, cases=30, examples=False)
    assert (report.ok, len(report.faults)) == (False, 1)
    assert report.n_cases >= 10


@pytest.mark.parametrize("every", [1, 7])
def test_a_fault_in_judging_costs_the_case_alone(every, monkeypatch):
    examine = Examiner.examine

    def now_and_then(examiner, recipe, further=""):
        if recipe.seed % every == 0:
            raise IndexError
        return examine(examiner, recipe, further)

    monkeypatch.setattr(Examiner, "examine", now_and_then)
    report = verify(refconv.conv2d, cases=60, examples=False)
    assert not report.ok
    assert not report.failures
    assert len(report.faults) == 1
    assert "more times" in report.faults[0]
    assert report.n_cases == (0 if every == 1 else 60)
    assert every > 1 or "faults of refconv's own" in report.ended_early


@contextmanager
def kernel_in(folder, text):
    (folder / "kernel.py").write_text(text, encoding="utf-8")
    yield str(folder / "kernel.py") + ":conv2d"


@pytest.mark.parametrize(
    ("body", "broken", "code"),
    [
        ("", False, 0),
        ("y[...] = 0", False, 1),
        ("y[...] = 0", True, 3),
        ("raise TypeError('Conv() takes none')", True, 2),
    ],
)
def test_exit_codes_in_their_order(body, broken, code, tmp_path, monkeypatch):
    if broken:
        monkeypatch.setattr(prosecution, "diagnose", fails)
    text = f"import refconv\ndef conv2d(*call):\n    y = refconv.conv2d(*call)\n    {body}\n    return y\n"
    with kernel_in(tmp_path, text) as target:
        options = ["--cases", "40", "--no-examples", "--no-isolate", "--json", str(tmp_path / "report.json")]
        answer = CliRunner().invoke(app, ["verify", target, *options])
    assert answer.exit_code == code, answer.output
    if code == 3:
        assert "please report it" in answer.output
        assert json.loads((tmp_path / "report.json").read_text())["faults"]


def test_a_fault_after_the_campaign_has_its_exit_code_too(tmp_path, monkeypatch):
    monkeypatch.setattr(report_module.Report, "property_table", fails)
    path = tmp_path / "report.json"
    with kernel_in(tmp_path, "from refconv import conv2d\n") as target:
        options = ["--cases", "5", "--no-examples", "--no-isolate", "--json", str(path)]
        answer = CliRunner().invoke(app, ["verify", target, *options])
    assert answer.exit_code == 3
    assert json.loads(path.read_text())["n_cases"] == 5
    assert "IndexError" in answer.output


def of(op):
    return getattr(refconv, op)


WRONG = {
    "zeros": np.zeros_like,
    "another shape": lambda y: y[..., :-1],
    "nothing": lambda _: None,
    "reversed": lambda y: np.ascontiguousarray(y[..., ::-1]),
}  # fmt: skip


@pytest.mark.parametrize("op", PLANAR)
@pytest.mark.parametrize("wrong", WRONG)
def test_every_wrong_kernel_of_every_operator_gets_its_report(op, wrong):
    def kernel(*call, **keywords):
        with np.errstate(all="ignore"):
            return WRONG[wrong](np.array(of(op)(*call, **keywords)))

    dtypes = DEFAULT_DTYPES.get(op, ("float32",))[:1]
    report = verify(kernel, op, dtypes=dtypes, cases=8, examples=False, shrink_seconds=0.2)
    assert not report.faults
    assert report.failures
    assert all(failure.snippet for failure in report.failures)
