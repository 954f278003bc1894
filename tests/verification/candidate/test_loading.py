"""Targets: functions by name or file, their names found again, and how their attributes say to call them."""

import subprocess
import sys

import pytest
import torch
from candidates import a_case

import refconv
from refconv.verification.candidate.loading import OTHER_NAME, TargetError, find, load


def test_attributes_say_how_a_function_is_called(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "def conv2d(*_): pass\nconv2d.style = 'out'\nconv2d.arrays = 'torch'\n"
        "class Layer:\n    arrays = 'jax'\n    def supports(self, case): return True\n"
        "    def __call__(self, *_): return 3\n"
        "layer = Layer()\n"
    )
    candidate = load(f"{path}:conv2d", op="conv2d_bias")
    assert (candidate.arrays, candidate.style, candidate.op) == ("torch", "out", "conv2d_bias")
    candidate = load(f"{path}:layer")
    assert (candidate.arrays, candidate.style) == ("jax", "return")
    assert list(dict(candidate.call(a_case()).faults)) == ["kind of array"]
    assert load("refconv:conv2d", style="out").style == "out"


@pytest.mark.parametrize(
    ("function", "target"),
    [
        (refconv.conv2d, "refconv.ops.convolution:conv2d"),
        (torch.nn.functional.conv2d, "torch:conv2d"),
        (refconv.Case.check, "refconv.judge.case:Case.check"),
        (lambda: 0, ""),
        (3, ""),
    ],
)
def test_functions_are_found(function, target):
    assert find(function) == target
    if target:
        assert load(target).function is function


def test_arrays_follow_the_target(tmp_path):
    assert load("torch.nn.functional:conv2d").arrays == "torch"
    assert load("refconv:conv2d").arrays == "numpy"
    assert load("refconv:conv2d", "torch").arrays == "torch"
    (tmp_path / "mine.py").write_text("import neighbour\ndef conv2d(*_): pass\nconv2d.arrays = 'torch'")
    (tmp_path / "neighbour.py").write_text("")
    assert load(f"{tmp_path}/mine.py:conv2d").arrays == "torch"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("conv2d", "must be module:attribute or path/to/file.py:attribute"),
        (":conv2d", "must be module:attribute"),
        ("refconv:", "must be module:attribute"),
        ("no_such_module:conv2d", "no module 'no_such_module'"),
        ("refconv.no_such:conv2d", "no module 'refconv.no_such'"),
        ("no/such/file.py:conv2d", "no file no/such/file.py"),
        ("refconv:conv9d", "refconv has no conv9d; it has .*conv2d"),
        ("math:pi", "must be callable, not float"),
    ],
)
def test_targets_that_cannot_be_loaded(target, message):
    with pytest.raises(TargetError, match=message):
        load(target)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 / 0", "raised ZeroDivisionError: division by zero"),
        ("import no_such_module", "raised ModuleNotFoundError: No module named 'no_such_module'"),
        ("def conv2d(:", "raised SyntaxError"),
        ("raise SystemExit(0)", "raised SystemExit: 0"),
    ],
)
def test_targets_that_fail_to_load(tmp_path, source, message):
    path = tmp_path / "mine.py"
    path.write_text(source)
    with pytest.raises(TargetError, match=message):
        load(f"{path}:conv2d")


UNGUARDED = """
import pathlib
import refconv

runs = pathlib.Path(__file__).with_suffix(".runs")
runs.write_text(runs.read_text() + "+" if runs.exists() else "+")


def conv2d(*arguments):
    return refconv.conv2d(*arguments)


report = refconv.verify(conv2d, cases=20, examples=False, jobs=2)
print(report.ok, report.notes)
ended = True


def defined_later(*arguments):
    return refconv.conv2d(*arguments)


print(refconv.verify(defined_later, cases=20, examples=False).notes)
"""


def test_a_script_without_a_guard_is_loaded_up_to_its_campaign(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(UNGUARDED)
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    first, second = result.stdout.splitlines()
    assert first == "True ()"
    assert "begins a campaign before it defines defined_later: put its campaigns under `if __name__" in second
    # The script itself, one worker that tries cases alone, one for each job that is needed, and the second campaign's.
    assert (tmp_path / "unguarded.runs").read_text() in ("+" * 4, "+" * 5)
    assert not hasattr(sys.modules[load(f"{script}:conv2d").function.__module__], "ended")


def test_a_file_is_loaded_under_its_own_name(tmp_path, monkeypatch):
    """Compiled functions that are kept on disk are found again by what imports the file."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_kernels.py").write_text(
        "import numba\n@numba.njit(cache=True)\ndef inner(x): return x + 1\ndef conv2d(x, *_): return inner(x)\n"
    )
    assert load(f"{tmp_path}/my_kernels.py:conv2d").function(1) == 2
    program = "import my_kernels; print(my_kernels.conv2d(1), my_kernels.inner.stats.cache_hits.values())"
    plain = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert plain.stdout == "2 dict_values([1])\n"


@pytest.mark.parametrize("name", ["json", "typer", "not-a-name"])
def test_a_file_hides_no_module(name, tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys, "path", list(sys.path)
    )  # workers that are started later would take the file for the module
    (tmp_path / f"{name}.py").write_text("def conv2d(*_): pass")
    before = sys.modules.get(name)
    assert load(f"{tmp_path}/{name}.py:conv2d").function.__module__ == OTHER_NAME
    assert sys.modules.get(name) is before
