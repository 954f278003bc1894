"""Candidates under the claim of an epilogue: campaigns, the command line, pytest, strategies, programs and replay."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from kernels.epilogues import convolution
from typer.testing import CliRunner

import refconv
from refconv import mutants
from refconv.cli.app import app
from refconv.strategies import cases
from refconv.verification import mutation_score
from refconv.verification.candidate.loading import load
from refconv.verification.replay import again
from refconv.verification.report import saved_failures

SMALL = {
    "cases": 25, "largest": 5_000, "isolate": False, "examples": False, "supports": {"empty_batch": False},
    "shrink_seconds": 0.5,
}  # fmt: skip
ARCTAN = refconv.Epilogue(lambda x: 2 * np.arctan(x), error=4)


def residual_relu(input, weight, bias, stride, padding, dilation, groups, residual):
    """One that other processes find."""
    sums = refconv.conv2d(input, weight, bias, stride, padding, dilation, groups, precision="float32")
    return np.maximum(sums + residual, 0)


def without_relu(input, weight, bias, stride, padding, dilation, groups, residual):
    return refconv.conv2d(input, weight, bias, stride, padding, dilation, groups, precision="float32") + residual


def transposed(*arguments):
    *call, scale, shift = arguments
    sums = refconv.conv_transpose2d(*call, precision="float32")
    return sums * scale[:, None, None] + shift[:, None, None]


def verify(candidate, **options):
    return refconv.verify(candidate, **(SMALL | options))


def test_operands_come_last_and_before_an_output():
    assert verify(residual_relu, epilogue=("residual", "relu")).ok

    def writes(*arguments):
        *call, output = arguments
        output[...] = residual_relu(*call)

    assert verify(writes, epilogue="residual,relu", style="out").ok
    assert not verify(residual_relu, epilogue="residual").ok


def test_transposed_convolutions_have_epilogues_too():
    assert verify(transposed, op="conv_transpose2d", epilogue="scale").ok


def test_layouts_of_a_residual():
    def channels_last(input, weight, bias, stride, padding, dilation, groups, residual):
        arrays = np.moveaxis(input, -1, -3), weight, bias, stride, padding, dilation, groups
        return np.moveaxis(residual_relu(*arrays, np.moveaxis(residual, -1, -3)), -3, -1)

    supports = {"input_layout": "NHWC", "output_layout": "NHWC"}
    assert verify(channels_last, epilogue="residual,relu", supports=supports).ok


def test_what_a_candidate_says_of_itself_counts():
    kernel = convolution("scale", "silu", before=True)
    assert verify(kernel, dtypes=["float16"]).ok
    assert verify(kernel, dtypes=["float16"], rounded="before", out_dtype=None).ok


def test_functions_of_the_caller_are_found_by_their_name():
    def kernel(*arguments):
        return 2 * np.arctan(refconv.conv2d(*arguments, precision="float32"))

    assert verify(kernel, epilogue=[ARCTAN]).ok
    assert not verify(kernel, epilogue="tanh").ok


@settings(max_examples=20)
@given(cases(dtypes=["float32"], epilogue=("residual", "relu")))
def test_strategies_draw_operands(case):
    refconv.assert_close(residual_relu(*case.arguments()), case)


def test_strategies_refuse_what_can_not_be():
    with pytest.raises(refconv.GeometryError, match="epilogue='relu': conv2d_bias does not take it"):
        cases("conv2d_bias", epilogue="relu")


@pytest.fixture(scope="module")
def report():
    return refconv.verify(mutants.by_name("residual-of-first-image"), **SMALL | {"shrink_seconds": 5, "isolate": False})


def test_a_mistake_is_diagnosed(report):
    assert report.failures[0].diagnosis.kind == "epilogue"
    assert "residual of the first image" in str(report.failures[0].diagnosis)


def test_programs_show_the_fault(report):
    program = report.failures[0].snippet
    assert "epilogue='residual'" in program
    assert subprocess.run([sys.executable, "-c", program], check=False, capture_output=True).returncode == 1


def test_saved_failures_are_tried_again(report, tmp_path):
    report.to_json(tmp_path / "report.json")
    (saved, *_) = saved_failures.load(tmp_path / "report.json")
    assert saved.recipe.epilogue == "residual"
    for name, failed in (("residual-of-first-image", True), ("residual_relu", False)):
        target = f"refconv.mutants:{name}" if failed else f"{__file__}:without_relu"
        outcome = again(load(target, "numpy"), saved)
        assert outcome.failed == failed


KERNEL = """
import numpy as np, refconv
def kernel(*arguments):
    *call, residual = arguments
    return np.clip(refconv.conv2d(*call, precision="float32") + residual, 0, 6)
"""


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--epilogue", "residual,clip(0,6)"], 0),
        (["--epilogue", "residual,relu"], 1),
        (["--epilogue", "residual,clip(6,0)"], 2),
        (["--epilogue", "residual,swish"], 2),
        (["--epilogue", "relu", "--op", "conv2d_weight"], 2),
        (["--epilogue", "relu", "--dtype", "int8"], 2),
        (["--rounded", "before"], 2),
    ],
)
def test_command_line(tmp_path, monkeypatch, options, code):
    (tmp_path / "kernel_with_epilogue.py").write_text(KERNEL)
    monkeypatch.chdir(tmp_path)
    command = ["verify", "kernel_with_epilogue.py:kernel", "--cases", "25", "--no-isolate", "--no-examples"]
    command += ["--largest", "5000", "--shrink-seconds", "0.5"]

    assert CliRunner().invoke(app, [*command, *options]).exit_code == code


def test_tolerances_of_an_epilogue():
    command = ["tolerance", "--case", "1,4,6,6:4,4,3,3", "--epilogue"]
    assert CliRunner().invoke(app, [*command, "gelu"]).exit_code == 0
    assert CliRunner().invoke(app, [*command, "gelu", "--op", "conv2d_input"]).exit_code == 2
    tanh, bare = (
        refconv.Recipe.parse("1,64,6,6:4,64,3,3", fill="normal", epilogue=text).case().tolerances()
        for text in ("tanh", "")
    )
    assert tanh.atol < bare.atol


def test_no_layer_gets_operands():
    import torch

    with pytest.raises(ValueError, match="epilogue='residual': must have no operands: a layer gets none"):
        verify(torch.nn.Conv2d, epilogue="residual")


def test_given_cases_must_have_the_epilogue():
    case = refconv.Recipe.parse("1,1,3,3:1,1,2,2", epilogue="relu").case()
    with pytest.raises(ValueError, match="must have epilogue=''"):
        refconv.verify(refconv.conv2d, cases=[case])


def test_mutants_are_found():
    assert mutation_score.score_one("residual-of-next-image", 100, 0).found == "values"
