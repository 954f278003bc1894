"""`refconv info`: versions and machine, and what to do about what is missing."""

import os
from importlib.metadata import PackageNotFoundError

import numpy as np
from paths import ROOT
from processes import python, run

import refconv
from refconv.cli import environment


def test_info_as_a_user_runs_it():
    done = python("-m", "refconv", "info", cwd=ROOT)
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == ["refconv", "python", *environment.PACKAGES, "processor", "threads", "cache", "load", "GPU"]
    assert f"on {os.cpu_count()} processors" in done.stdout


def test_info_imports_no_torch():
    program = "import sys; from refconv.cli import environment as e; e.environment(); sys.exit('torch' in sys.modules)"
    run(program, cwd=ROOT)


def test_info_says_how_to_get_what_is_not_there(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(environment, "version", missing)
    described = environment.environment()
    assert described["torch"] == "not installed: pip install 'refconv[bench]'"
    assert described["numba-cuda"] == "not installed: pip install 'refconv[cuda]'"
    assert described["numba"] == "not installed, but needed"


def test_info_is_honest_about_the_gpu():
    try:
        refconv.conv2d(np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1)), backend="cuda")
        expected = "used for arrays that live there"
    except refconv.BackendUnavailable as error:
        expected = f"not used: {error}"
    assert environment.environment()["GPU"] == expected
