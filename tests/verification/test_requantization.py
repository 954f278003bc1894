"""Candidates under claims of requantization: each rule's kernel is right under its own rule and found under others."""

import json
import runpy

import numpy as np
import pytest
from hypothesis import given, settings
from kernels.libraries import onnx_quantized
from kernels.requantized import exact_sums, kernel
from paths import ROOT
from typer.testing import CliRunner

import refconv
from refconv import mutants, strategies
from refconv.cases import own
from refconv.cases.recipe import Recipe
from refconv.cases.supports import Supports
from refconv.cli.app import app
from refconv.judge.given import claimed_rule
from refconv.ops.requantization import RULES
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.examine import in_process
from refconv.verification.report.saved_failures import load

OP = "conv2d_quantized"
SHARED = ROOT.parent / "shared" / "cases" / "false_alarm_tflite.py"
SHAPES = ["2,4,6,5:6,2,3,2:groups=2,padding=1", "1,1,4,4:5,1,1,1", "1,9,3,3:3,9,3,3:stride=2,padding=1"]
in_fixed, in_float = kernel("fixed"), kernel("float")


def recipes(dtype, number=45, **claims):
    """Calls of a few shapes, with all kinds of scales and zero points."""
    shapes = own.shapes_of(own.listed(SHAPES, OP))
    return list(own.drawn(OP, dtype, Supports(shapes=shapes, **claims), number, 0))


def verify(candidate, **options):
    brief = {"dtypes": ["int8"], "cases": SHAPES, "isolate": False, "shrink_seconds": 1.0}
    return refconv.verify(candidate, OP, **brief | options)


def alike(function, case):
    return case.is_expected(function(*case.arguments()))


@pytest.mark.parametrize(("dtype", "bits"), [("int8", 0), ("uint8", 0), ("int8", 4), ("uint8", 4), ("int16", 0)])
def test_each_kernel_is_right_under_its_rule_alone(dtype, bits):
    """And under each other rule it is wrong in some of 45 cases."""
    for rule in RULES:
        cases = [recipe.case() for recipe in recipes(dtype, requantize=rule, weight_bits=bits)]
        for other in RULES:
            if dtype == "int16" and "double" in other and "double" not in rule:
                continue  # whose 32 bits do not hold such sums
            right = [alike(kernel(other), case) for case in cases]
            assert all(right) == (rule == other), (rule, other)


CLAIMING = [mutant for mutant in mutants.all() if mutant.kind == "requantization"]


@pytest.mark.parametrize("mutant", CLAIMING, ids=lambda mutant: mutant.name)
def test_mutants_of_rules_are_found(mutant):
    """As `refconv mutants --score` finds them, in other cases."""
    rule, bits = claimed_rule(OP, mutant.requantize, mutant.weight_bits or 8)
    here = in_process.Here(in_process.examiner(Candidate(mutant, op=OP), None))
    tried = recipes(mutant.dtypes[0], 400, requantize=rule, weight_bits=bits)
    assert any(here.examine(recipe).findings for recipe in tried)


def test_the_base_of_mutants_follows_any_rule():
    base = mutants.base(OP)
    for rule in RULES:
        for recipe in recipes("int8", 30, requantize=rule):
            assert alike(lambda *call, rule=rule: base(*call, requantize=rule), recipe.case())


def test_a_mutant_brings_its_claim():
    (failure,) = verify(mutants.by_name("shift-too-long")).failures
    assert failure.case.requantize == "fixed"
    assert failure.diagnosis.mutant == "shift-too-long"


@settings(max_examples=20)
@given(strategies.cases(OP, dtypes=["int8", "uint8", "int16"], requantize="fixed", weight_bits=4))
def test_strategies_have_the_claims(case):
    assert (case.requantize, case.weight_bits) == ("fixed", 4)
    assert np.abs(case.weight + 0.5).max(initial=0) <= 7.5


@pytest.mark.parametrize(("rule", "other"), [("float", "fixed"), ("fixed-double", "fixed-double-up")])
def test_a_diagnosis_names_the_rule_that_would_be_right(rule, other):
    (failure,) = verify(kernel(other), requantize=rule).failures
    assert f"right under requantize={other!r}" in str(failure.diagnosis)


def test_onnxruntime_is_right():
    claims = {"views": False, "empty_batch": False}
    assert verify(onnx_quantized, dtypes=["int8", "uint8"], requantize="float", supports=claims).ok


@pytest.mark.skipif(not SHARED.exists(), reason=f"the case is not here: {SHARED}")
def test_the_shared_case_ends_well():
    runpy.run_path(str(SHARED), run_name="__main__")


def attributed(*arguments):
    return in_fixed(*arguments)


attributed.requantize, attributed.weight_bits = "fixed", 4


def test_attributes_of_the_candidate_claim_the_same():
    assert verify(attributed, dtypes=["int8", "uint8"]).ok
    assert not verify(attributed, requantize="float").ok


def halved(sums, channel):
    """A rule that needs no scales."""
    return np.clip((sums >> 8) + channel % 3, -20, 20)


def by_halved(*arguments):
    x, _, x_zero, w, _, w_zero, _, y_zero, bias, *options = arguments
    batched = x.ndim == 4
    sums = exact_sums(x if batched else x[None], x_zero, w, w_zero, bias, options)
    values = np.clip((sums >> 8) + np.arange(len(w))[:, None, None] % 3, -20, 20)
    result = np.clip(values, np.iinfo(y_zero.dtype).min, np.iinfo(y_zero.dtype).max).astype(y_zero.dtype)
    return result if batched else result[0]


def test_a_rule_may_be_a_function(tmp_path):
    report = verify(by_halved, requantize=halved, isolate=None)
    assert report.ok
    assert "a rule that is a function is called here" in report.notes[0]
    report = verify(in_fixed, requantize=halved)
    assert "requantize=..." in report.failures[0].snippet
    report.to_json(tmp_path / "report.json")
    (failure,) = load(tmp_path / "report.json")
    assert failure.recipe is None
    assert f"requantize={__name__}:halved" in failure.case


def test_programs_and_saved_failures_make_the_claim_too(tmp_path):
    report = verify(in_float, requantize="fixed", weight_bits=4)
    (failure,) = report.failures
    assert "requantize='fixed', weight_bits=4" in repr(failure.recipe)
    program = failure.snippet.replace("candidate = ...", f"from {__name__} import in_fixed as candidate")
    assert "requantize='fixed'" in program
    exec(compile(program, "program", "exec"), {})  # noqa: S102 - a program of ours
    with pytest.raises(AssertionError, match="wrong: conv2d_quantized"):
        exec(compile(program.replace("in_fixed", "in_float"), "program", "exec"), {})  # noqa: S102
    report.to_json(tmp_path / "report.json")
    (saved,) = load(tmp_path / "report.json")
    assert saved.recipe == failure.recipe
    assert Recipe.from_dict(json.loads(json.dumps(saved.recipe.as_dict()))) == saved.recipe


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"op": "conv2d", "requantize": "fixed"}, "requantize='fixed': must not be given for conv2d"),
        ({"op": "conv2d_integer", "weight_bits": 4}, "weight_bits=4: must not be given for conv2d_integer"),
        ({"op": OP, "requantize": "fixd"}, "requantize='fixd': must be one of"),
        ({"op": OP, "weight_bits": 3}, "weight_bits=3: must be 4 or 8"),
        ({"op": OP, "requantize": lambda sums, _: sums + 0.5}, "must return int64, not float64"),
        ({"op": OP, "requantize": lambda sums, _: sums[0]}, "must return an array of the sums' shape"),
        ({"op": OP, "requantize": lambda *_: 1 // 0}, "<lambda>: integer division or modulo by zero"),
        ({"op": "conv2d_integer", "dtypes": ["int16"]}, "dtype='int16': must be one of 'int8', 'uint8'"),
        ({"op": OP, "dtypes": ["int32"]}, "dtype='int32': must be one of 'int8', 'uint8', 'int16'"),
    ],
    ids=range(9),
)
def test_claims_that_can_not_be_are_refused(options, said):
    called = []
    with pytest.raises((ValueError, TypeError)) as raised:
        refconv.verify(lambda *arguments: called.append(arguments), **options, cases=5)
    assert said in str(raised.value)
    assert not called


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--op", OP, "--dtype", "int8", "--requantize", "fixed"], 0),
        (["--op", OP, "--dtype", "int8"], 1),
        (["--op", OP, "--requantize", "fixd"], 2),
        (["--op", OP, "--weight-bits", "5"], 2),
        (["--op", "conv2d", "--requantize", "fixed"], 2),
        (["--op", "conv2d_integer", "--weight-bits", "4"], 2),
    ],
    ids=str,
)
def test_the_command_says_the_same(options, code):
    command = ["verify", f"{__name__}:in_fixed", "--no-isolate", "--case", SHAPES[0], "--sets", "12", *options]
    outcome = CliRunner().invoke(app, command)
    assert outcome.exit_code == code, outcome.output
