"""`refconv bench TARGET --asv DIR`: the suite that it writes runs under asv, and measures what it says."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from paths import ROOT
from typer.testing import CliRunner

import refconv
from refconv.cases import networks
from refconv.cli import asv_suite
from refconv.cli.app import app
from refconv.verification import load

pytest.importorskip("asv", reason="asv is not installed")

KERNEL = (ROOT / "examples" / "im2col_kernel.py").read_text()
LAYERS = networks.layers("mobilenet_v2")[-1:]


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A git repository with a kernel in a file, and in a module of a folder that is not the root."""
    (tmp_path / "src" / "package").mkdir(parents=True)
    (tmp_path / "src" / "package" / "__init__.py").touch()
    (tmp_path / "src" / "package" / "kernels.py").write_text(KERNEL)
    (tmp_path / "kernel.py").write_text(KERNEL)
    (tmp_path / "wrong.py").write_text(KERNEL.replace("return out if bias", "return 2 * out if bias"))
    (tmp_path / "refusing.py").write_text("def conv2d(*arguments):\n    raise NotImplementedError('not here')\n")
    for command in ("init --quiet", "add ."):
        subprocess.run(f"git {command}".split(), cwd=tmp_path, check=True)
    (tmp_path / "new.py").write_text(KERNEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "src"))
    yield tmp_path
    sys.modules.pop("package.kernels", None)
    sys.modules.pop("package", None)


def asv(folder, *arguments):
    """What asv prints, and its exit code."""
    path = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(folder)}
    machine = [str(Path(sys.executable).parent / "asv"), "machine", "--yes"]
    subprocess.run(machine, cwd=folder, env=path, check=True, capture_output=True)
    command = [machine[0], arguments[0], "-E", f"existing:{sys.executable}", *arguments[1:]]
    done = subprocess.run(command, cwd=folder, env=path, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr, done.returncode


def measured(folder):
    """The figures of one pass over the suite."""
    return asv(folder, "run", "--quick", "--dry-run", "--show-stderr", "-b", "track_error")


@pytest.mark.parametrize("target", ["kernel.py:conv2d", "package.kernels:conv2d"])
def test_suite_measures_the_kernel(repository, target):
    folder = repository / "suite"
    written = asv_suite.write(folder, load(target), LAYERS, ["float32"])
    assert all(path.is_file() for path in written)
    output, code = measured(folder)
    assert code == 0, output
    assert "failed" not in output
    for layer in LAYERS:
        assert re.search(rf"{re.escape(layer.name)}\s+0\.\d+", output)


def test_wrong_kernel_is_a_benchmark_that_fails_and_a_refusing_one_is_skipped(repository):
    for target, expected in (("wrong.py:conv2d", "outside the error bound"), ("refusing.py:conv2d", "n/a")):
        folder = repository / target.partition(".")[0]
        asv_suite.write(folder, load(target), LAYERS, ["float32"])
        output, code = measured(folder)
        assert expected in output
        assert code == (2 if target.startswith("wrong") else 0)


def test_configuration_names_the_repository_and_what_is_installed(repository):
    folder = repository / "deep" / "suite"
    candidate = load("kernel.py:conv2d")
    asv_suite.write(folder, candidate, LAYERS, ["float64"])
    text = re.sub(r"^\s*//.*$", "", (folder / "asv.conf.json").read_text(), flags=re.MULTILINE)
    configuration = json.loads(text)
    assert (folder / configuration["repo"]).resolve() == repository
    assert not any("{build_dir}" in command and "install" in command for command in configuration["install_command"])
    assert "refconv[verify,bench]" in configuration["install_command"][-1]
    (repository / "pyproject.toml").touch()
    asv_suite.write(repository / "other", candidate, LAYERS, ["float64"])
    assert "pip install {build_dir}" in (repository / "other" / "asv.conf.json").read_text()


def test_every_step_of_the_installation_is_pythons(repository):
    """asv looks commands up in the environment alone: there is no make, and no cp."""
    (repository / "lib.c").write_text("int conv2d(void) { return 0; }\n")
    compiler = shutil.which("gcc") or pytest.skip("no gcc")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", "lib.so", "lib.c"], cwd=repository, check=True)
    asv_suite.write(repository / "suite", load("lib.so:conv2d"), LAYERS, ["float32"])
    text = re.sub(r"^\s*//.*$", "", (repository / "suite" / "asv.conf.json").read_text(), flags=re.MULTILINE)
    commands = json.loads(text)["install_command"]
    assert all(re.match(r"in-dir=\{env_dir\}(/checkout)? python ", command) for command in commands)
    (make,) = (command for command in commands if "make" in command)
    (repository / "Makefile").write_text("lib.so:\n\techo made > made\n")
    (repository / "lib.so").unlink()
    _, *words = shlex.split(make)
    subprocess.run([sys.executable, *words[1:]], cwd=repository, check=True)
    assert (repository / "made").is_file()


@pytest.mark.parametrize(
    ("address", "requirement"),
    [
        ('{"url": "https://a/b.git", "vcs_info": {"vcs": "git", "commit_id": "12ab"}}', " @ git+https://a/b.git@12ab"),
        ('{"url": "file:///a/b", "dir_info": {"editable": true}}', " @ file:///a/b"),
        (None, f"=={refconv.__version__}"),
    ],
)
def test_the_suite_installs_the_refconv_that_wrote_it(monkeypatch, address, requirement):
    monkeypatch.setattr(metadata, "version", lambda _: "2.13.0+cpu")
    distribution = metadata.PathDistribution(Path())
    monkeypatch.setattr(metadata, "distribution", lambda _: distribution)
    monkeypatch.setattr(metadata.PathDistribution, "read_text", lambda *_: address)
    assert asv_suite._requirements() == [f"refconv[verify,bench]{requirement}", "torch==2.13.0"]


def test_command_writes_a_suite_and_says_how_to_run_it(repository):
    answer = CliRunner().invoke(app, ["bench", "kernel.py:conv2d", "--network", "mobilenet_v2", "--asv", "suite"])
    assert answer.exit_code == 0, answer.output
    assert "asv run" in answer.output
    assert "refconv dashboard" in answer.output
    assert (repository / "suite" / "benchmarks" / "kernel.py").read_text().count("mobilenet_v2 ") == len(
        networks.layers("mobilenet_v2")
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--asv", "suite"], "needs a TARGET"),
        (["kernel.py:conv2d", "--precision", "float32", "--asv", "suite"], "does not go with --precision"),
        (["kernel.py:conv2d", "--asv", "src"], "a new or an empty folder"),
        (["kernel.py:conv2d", "--asv", "kernel.py"], "a new or an empty folder"),
        (["math:hypot", "--asv", "suite"], "asv measures commits"),
        (["new.py:conv2d", "--asv", "suite"], "added with `git add`"),
        (["torch.nn.functional:conv2d", "--asv", "suite"], "must be in a git repository"),
    ],
)
def test_what_can_not_be_followed_is_refused(repository, arguments, message):
    answer = CliRunner().invoke(app, ["bench", *arguments])
    assert answer.exit_code == 2
    assert message in re.sub(r"[\s│]+", " ", answer.output)
    assert not (repository / "suite").exists()
