"""`comparison.diagnosis`: what one wrong output of a case tells of the mistake behind it."""

import subprocess
import sys

import numpy as np
import pytest
from common import SOME
from hypothesis import given
from hypothesis import strategies as st

import refconv
from refconv import mutants
from refconv.cases.plan import plan
from refconv.cases.supports import Supports
from refconv.ops.family import OPERATORS
from refconv.strategies import cases
from refconv.verification.candidate.call import Unsupported
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.diagnose import single_case

LAYER = refconv.Recipe.parse("2,4,9,7:6,4,3,3:stride=1x2,padding=1x2", bias=True, fill="normal", seed=3).case()


def conv2d(case, **changes):
    arguments = {name: getattr(case, name) for name in ("input", "weight", "bias", "stride", "padding", "dilation")}
    return refconv.conv2d(**arguments | changes)


MISTAKES = {
    "bias ignored": lambda case: conv2d(case, bias=None),
    "the kernel flipped": lambda case: conv2d(case, weight=case.weight[..., ::-1, ::-1]),
    "transposed": lambda case: conv2d(case, weight=np.swapaxes(case.weight, 2, 3)),
    "stride of height and width swapped": lambda case: conv2d(case, stride=case.stride[::-1]),
    "relu": lambda case: np.maximum(case.expected(), 0),
    "padding of the height used for the width": lambda case: conv2d(case, padding=(1, 1)),
    "operands rounded to float16": lambda case: conv2d(
        case, **{name: getattr(case, name).astype("float16").astype("float32") for name in ("input", "weight")}
    ),
}  # fmt: skip


@pytest.mark.parametrize("said", MISTAKES)
def test_a_mistake_is_named(said):
    assert said in str(LAYER.check(MISTAKES[said](LAYER)).diagnosis)


def test_what_is_like_no_mistake_is_told_by_its_place():
    actual = np.array(LAYER.expected())
    actual[1, 2:4, :, 3] += 7
    diagnosis = LAYER.check(actual).diagnosis
    assert (diagnosis.mutant, "like none of the known mistakes" in diagnosis.text) == ("", True)
    assert "between: images 1 to 1 of 2, channels 2 to 3 of 6, columns 3 to 3 of 5" in diagnosis.text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (np.s_[:, 3], "but only there: channels 3 to 3 of 6"),
        (np.s_[1], "but only there: images 1 to 1 of 2"),
    ],
)
def test_a_mistake_that_is_made_in_a_part_is_said_to_be_made_there(wrong, said):
    actual = np.array(LAYER.expected())
    actual[wrong] = MISTAKES["the kernel flipped"](LAYER)[wrong]
    diagnosis = LAYER.check(actual).diagnosis
    assert "the kernel flipped" in diagnosis.text
    assert said in diagnosis.text


def test_a_region_of_which_most_is_right_is_not_named():
    actual = np.array(LAYER.expected())
    actual[..., 1] = 0
    assert "every second" not in LAYER.check(actual).diagnosis.text
    one = np.array(LAYER.expected())
    one[1, 4, 2, 3] += 1
    assert LAYER.check(one).diagnosis.positions == ()


def test_what_is_suspicious_is_given_no_model():
    case = refconv.Recipe.parse("1,64,12,12:16,64,3,3:padding=1", fill="normal").case()
    comparison = case.check(case.expected() * np.float32(1.00001))
    assert comparison.verdict == "suspicious"
    assert (comparison.diagnosis.model, comparison.diagnosis.kind) == ("", "accum_dtype")


def test_padded_taps_that_must_be_multiplied():
    """Judged strictly, taps in the padding that are left out are wrong: the diagnosis is about the same outputs."""
    weight = np.array(LAYER.weight)
    weight[:, :, 0, 0] = np.inf
    case = refconv.Case(input=LAYER.input, weight=weight, padding=1)
    g = case.geometry
    skipped = refconv.conv2d(case.input, np.nan_to_num(weight, posinf=0), padding=1)
    inner = refconv.conv2d(case.input, weight)
    skipped[:, :, 1:-1, 1:-1] = inner
    assert g.padding == ((1, 1), (1, 1))
    comparison = case.check(skipped, strict=True)
    assert not comparison.ok
    assert "a single call is right" not in comparison.diagnosis.text


@pytest.mark.filterwarnings("error")
@given(cases(dtypes=("complex64", "float16"), fills=("special", "wide")))
def test_nothing_is_warned_of(case):
    comparison = case.check(np.zeros_like(case.unwritten))
    if not comparison.ok:
        assert comparison.diagnosis.text


def test_an_output_that_is_ok_has_no_diagnosis():
    assert LAYER.check(LAYER.expected()).diagnosis is None


def test_no_array_has_no_diagnosis():
    assert LAYER.check([1, 2]).diagnosis is None


def test_what_the_claimed_model_admits_is_no_mistake():
    """Under TF32's bound the wrong outputs are those without bias, not those that are rounded."""
    rounded = MISTAKES["operands rounded to float16"](LAYER)
    tf32 = refconv.ErrorModel.tf32()
    assert LAYER.check(rounded, tf32).diagnosis is None
    bare = rounded - LAYER.bias[:, None, None]
    assert "bias ignored" in str(LAYER.check(bare, tf32).diagnosis)


def test_the_output_is_kept_as_it_was_judged():
    actual = MISTAKES["bias ignored"](LAYER)
    comparison = LAYER.check(actual)
    actual[:] = 0
    assert "bias ignored" in str(comparison.diagnosis)


@pytest.mark.parametrize("sample", [None, 50])
def test_of_a_large_layer_a_part_is_compared(sample, monkeypatch):
    monkeypatch.setattr(single_case, "MOST", 2**16)
    case = refconv.Recipe.parse("2,8,24,24:16,8,3,3:padding=1", bias=True, fill="normal").case()
    diagnosis = case.check(conv2d(case, bias=None), sample=sample).diagnosis
    assert diagnosis.text == (
        "behaves like bias ignored: 576 of 576 wrong outputs equal\n"
        "  (compared with it: [1, 1, 24, 24] of [2, 16, 24, 24] outputs)"
    )
    tail = np.array(case.expected())
    tail[..., 16:] = 0
    assert "columns beyond the last whole block" in case.check(tail, sample=sample).diagnosis.text


@pytest.mark.parametrize("op", SOME)
def test_every_mutant_gets_an_answer(op):
    """Whatever it computes: on the first case that it gets wrong."""
    dtype = "int8" if OPERATORS[op].is_quantized else "float32"
    generated = [(recipe, recipe.case()) for recipe in plan(op, [dtype], Supports(), 40)]
    some = [mutant for mutant in mutants.all() if (mutant.op, mutant.style) == (op, "return") and not mutant.supports]
    for mutant in some[:: max(1, len(some) // 12)]:
        candidate = Candidate(mutant, op=op)
        for recipe, case in generated:
            try:
                actual = candidate.call(case).result
            except Unsupported:
                continue
            if actual is None or recipe.geometry.products > 10**5:
                continue
            comparison = case.check(actual)
            if not comparison.ok:
                assert comparison.diagnosis.text
                break


@given(cases(dtypes=("float32", "float16", "int32", "complex64")), st.sampled_from([0, 1, np.nan]))
def test_constants_are_no_known_mistake(case, constant):
    """As zeros are: the numbers of such an output say nothing."""
    if not np.isfinite(constant) and case.unwritten.dtype.kind == "i":
        constant = 1
    comparison = case.check(np.full_like(case.unwritten, constant))
    if not comparison.ok:
        assert comparison.diagnosis.mutant == ""


def test_the_judge_loads_nothing_above_it():
    program = (
        "import sys, numpy as np, refconv\n"
        "case = refconv.Case(input=np.ones((1, 1, 2, 2)), weight=np.ones((1, 1, 1, 1)))\n"
        "comparison = case.check(np.zeros((1, 1, 2, 2)))\n"
        "assert not any(name.startswith('refconv.verification') for name in sys.modules)\n"
        "assert comparison.diagnosis.text and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
