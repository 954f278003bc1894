"""Campaigns under a claim that is no model: alternatives, texts and functions of a case, in any process."""

import json
from functools import partial

import claims_of_kernels
import pytest
from campaigns import verify
from marks import evidence
from paths import ROOT
from typer.testing import CliRunner

import refconv
from refconv.cli.app import app
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.candidate.loading import find
from refconv.verification.faults import WrongUse
from refconv.verification.replay import again
from refconv.verification.report import saved_failures

TARGET = f"{ROOT}/tests/support/claims_of_kernels.py:operands_in_bfloat16"
KERNEL = claims_of_kernels.operands_in_bfloat16


@pytest.mark.parametrize("isolate", [None, False])
@pytest.mark.parametrize(
    "model", [claims_of_kernels.by_kernel, "winograd:6,3|direct:float32,bfloat16"], ids=["function", "text"]
)
def test_a_claim_of_each_case_is_met(model, isolate):
    """In a process of its own and in this one; the report says what was claimed."""
    report = verify(KERNEL, cases=80, model=model, isolate=isolate, examples=False)
    assert report.ok, report.failures
    assert report.n_unsupported == 0
    of_function = f"function {find(claims_of_kernels.by_kernel)}"
    assert report.model == (model if isinstance(model, str) else of_function)


@pytest.mark.parametrize("isolate", [None, pytest.param(False, marks=evidence)])
def test_a_claim_of_each_case_is_not_met(isolate, tmp_path):
    """What fails says the model of its case, as its program does; it fails again, under the same function."""
    report = verify(KERNEL, cases=60, model=claims_of_kernels.direct_everywhere, isolate=isolate, examples=False)
    failure = report.failures[0]
    assert "of direct:float32" in failure.text
    assert "refconv.ErrorModel.parse('direct:float32')" in failure.snippet
    assert failure.diagnosis.model == "direct:float32,bfloat16"
    report.to_json(tmp_path / "report.json")
    saved = saved_failures.load(tmp_path / "report.json")[0]
    candidate = Candidate(KERNEL, "numpy", find(KERNEL))
    assert again(candidate, saved).failed
    assert not again(candidate, saved, refconv.ErrorModel.direct("float32", "bfloat16")).failed


def test_a_program_names_the_alternatives():
    report = verify(KERNEL, cases=60, model="winograd:4,5|direct", examples=False)
    assert ", 'winograd:4,5|direct:float32')" in report.failures[0].snippet


def test_what_no_alternative_can_be_is_not_supported():
    """Kernels of 3x5: nothing is generated but what each axis alone can be, and what remains is refused."""
    report = verify(refconv.conv2d, cases=40, model="winograd:2,3|winograd:2,5", examples=False)
    assert report.ok, report.failures
    assert not report.faults
    assert 0 < report.n_unsupported < 40


@pytest.mark.parametrize("isolate", [None, False])
def test_a_function_that_raises_is_wrong_use(isolate):
    """It is the caller's: nothing is reported of the candidate."""
    with pytest.raises(WrongUse, match=r"model=raises_for_groups: raised LookupError: no such groups, for conv2d"):
        verify(refconv.conv2d, cases=40, model=claims_of_kernels.raises_for_groups, isolate=isolate, examples=False)


def test_a_function_of_no_module_is_called_here():
    model = partial(claims_of_kernels.by_kernel)
    report = verify(KERNEL, cases=20, model=model, isolate=None, examples=False)
    assert report.ok
    assert "another process can't load what no module has at its top level" in report.notes[0]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("complex3", "model='complex3': the dtype must be complex, not float32"),
        ("direct:float32,results=float64", "results='float64': must have no more significant bits than the output's"),
        ("winograd:6,3,points=0;1", "points='0;1': must be 7 different finite numbers"),
        ("direct,flush_to_zero", "did you mean 'direct:float32,flush_to_zero'?"),
        ("complex3|direct:float32,results=float64", "none of them can be"),
        ("winograd:6,3|", "model=''"),
    ],
)
def test_what_can_not_be_is_refused_before_anything_runs(model, said):
    """In Python and on the command line, with exit code 2."""
    called = []
    with pytest.raises(ValueError) as error:  # noqa: PT011 - `said` has it
        verify(lambda *arguments: called.append(arguments), cases=20, model=model)
    assert said in str(error.value)
    assert not called
    result = CliRunner().invoke(app, ["verify", TARGET, "--model", model])
    assert result.exit_code == 2
    assert said.split("; ")[0][:30] in " ".join(result.stderr.replace("│", " ").split())


def test_the_command_line_takes_alternatives(tmp_path):
    options = ["--model", "winograd:6,3|direct:float32,bfloat16", "--cases", "40", "--no-examples"]
    path = tmp_path / "report.json"
    assert CliRunner().invoke(app, ["verify", TARGET, *options, "--json", str(path)]).exit_code == 0
    assert json.loads(path.read_text())["model"] == "winograd:6,3|direct:float32,bfloat16"
    case = ["tolerance", "--case", "1,8,8,8:8,8,3,3:stride=2"]
    either, direct = (
        CliRunner().invoke(app, [*case, "--model", model]).stdout for model in ("winograd:6,3|direct", "direct")
    )
    assert either == direct
