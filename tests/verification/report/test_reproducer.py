"""Programs that reproduce a failure: they run, are short, and hold the case to the last bit."""

import runpy

import numpy as np
import pytest
from campaigns import verify
from paths import EXAMPLES
from processes import run_file, written

import refconv
from refconv.cases.recipe import Recipe
from refconv.verification import campaign, real_layers
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.candidate.loading import load
from refconv.verification.report.reproducer import MAX_LINES, program
from refconv.verification.settings import Settings


@pytest.mark.usefixtures("generated_only")
def test_the_program_shows_that_a_candidate_ends_the_program(tmp_path):
    kernel = tmp_path / "kernel.py"
    kernel.write_text("import sys\n\ndef conv2d(*_):\n    sys.exit(0)\n")
    settings = Settings(cases=5, isolate=False)
    (failure,) = campaign.run(load(f"{kernel}:conv2d"), settings, ["float32"]).failures
    done = run_file(failure.snippet, tmp_path, cwd=EXAMPLES.parent)
    assert done.returncode == 1
    assert "AssertionError: the candidate ended the program: SystemExit(0)" in done.stderr


@pytest.mark.usefixtures("generated_only")
def test_the_program_shows_the_fault(tmp_path):
    candidate = load(str(EXAMPLES / "wrong_kernel.py") + ":conv2d")
    report = campaign.run(candidate, Settings(cases=300, isolate=False), ["float32"])
    (failure,) = report.failures
    assert failure.case.geometry.kernel == (1, 1)
    assert failure.case.input.size <= 3
    done = run_file(failure.snippet, tmp_path, cwd=EXAMPLES.parent)
    assert done.returncode == 1
    assert "AssertionError: wrong: conv2d(" in done.stderr
    corrected = failure.snippet.replace("wrong_kernel", "im2col_kernel")
    assert run_file(corrected, tmp_path, cwd=EXAMPLES.parent).returncode == 0


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_a_large_case_is_made_anew(tmp_path, batched, dtype):
    geometry = refconv.core.geometry.convolution((1, 3, 20, 20), (2, 3, 3, 3), None, 1, "same", 1, 1, "zeros")
    recipe = Recipe(geometry, "same", batched=batched, bias=True, dtype=dtype, fill="integers", seed=7)
    check_program(recipe, "torch", tmp_path)


@pytest.mark.parametrize("fill", ["integers", "normal", "positions"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (0, 1, 2, 2), (2, 1, 2, 2)])
def test_a_small_case_is_written_out(tmp_path, fill, dtype, shape):
    geometry = refconv.core.geometry.convolution(shape, (1, 1, 1, 2), None, 1, ((0, 1), (0, 0)), 1, 1, "zeros")
    recipe = Recipe(geometry, ((0, 1), (0, 0)), dtype=dtype, fill=fill, seed=3)
    assert "operands" not in check_program(recipe, "numpy", tmp_path)


@pytest.mark.parametrize("source", real_layers.digit_layers("float32", 0)[::19])
def test_digits_are_made_anew(tmp_path, source):
    check_program(source, "numpy", tmp_path)


@pytest.mark.parametrize("property_", ["returns", "inputs unmodified", "kind of array", "shape and dtype", "values"])
def test_programs_are_short(property_):
    candidate = load(str(EXAMPLES / "wrong_kernel.py") + ":conv2d", "torch")
    for elements in range(1, 60):
        geometry = refconv.core.geometry.convolution((1, 1, 1, elements), (1, 1, 1, 1), None, 1, 0, 1, 1, "zeros")
        recipe = Recipe(geometry, 0, batched=False, bias=True, fill="normal", dtype="float64", seed=2**32 - 1)
        text = program(candidate, recipe, property_)
        assert len(text.splitlines()) <= MAX_LINES


def test_special_values_are_written_out(tmp_path):
    class Special:
        memory, layout = (), "NCHW"

        def case(self):
            values = np.array([[[[np.nan, np.inf, -np.inf, -0.0, 1e-45]]]], "float32")
            return refconv.Case(input=values, weight=np.ones((1, 1, 1, 1), "float32"))

    check_program(Special(), "numpy", tmp_path)


def check_program(source, arrays, folder):
    """A program's case is the case it was made of, to the last bit; and it passes for the oracle."""
    case = source.case()
    text = program(Candidate(refconv.conv2d, arrays, "refconv:conv2d"), source, "values")
    assert len(text.splitlines()) <= MAX_LINES
    assert max(map(len, text.splitlines())) <= 120
    scope = runpy.run_path(written(text, folder))
    for name in ("input", "weight", "bias"):
        shown, meant = getattr(scope["case"], name), getattr(case, name)
        if meant is None:
            assert shown is None
        else:
            assert (shown.dtype, shown.shape, shown.tobytes()) == (meant.dtype, meant.shape, meant.tobytes())
    assert scope["case"].arguments()[3:] == case.arguments()[3:]
    return text


@pytest.mark.usefixtures("generated_only")
def test_a_program_for_what_cannot_be_imported_says_so():
    (failure,) = verify(lambda *arguments: refconv.conv2d(*arguments) + 1, cases=20).failures
    assert "put the candidate here" in failure.snippet
