"""Targets: functions by name or file, their names found again, and how their attributes say to call them."""

import pytest
import torch
from candidates import a_case

import refconv
from refconv.verification.candidate.loading import TargetError, find, load


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
