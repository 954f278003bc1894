"""The command line: what it prints, where, and with which exit code."""

import json
import re
import signal
import subprocess
import sys
import time

import pytest
from paths import ROOT
from rich.console import Console
from typer.testing import CliRunner

import refconv
from refconv import __main__ as entry
from refconv.cli import app, options
from refconv.engine import targets
from refconv.verification import prosecution, sections

GOOD, WRONG = (f"{ROOT}/examples/{name}_kernel.py:conv2d" for name in ("im2col", "wrong"))


@pytest.fixture
def generated_only(monkeypatch):
    """A campaign without the fixed sections, nor the diagnosis of what fails: most of the time, and not looked at."""
    monkeypatch.setattr(sections, "FIXED", {})
    monkeypatch.setattr(prosecution.Prosecution, "_diagnosis", lambda *_: None)


def call(*arguments):
    """Run a command in this process."""
    return CliRunner().invoke(app.app, arguments, prog_name="refconv")


def words(text):
    """Text without line breaks and frames."""
    return " ".join(text.replace("│", " ").split())


def test_a_sound_kernel():
    result = call("verify", GOOD, "--dtype", "float64", "--cases", "100")
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines() if "passed" in line]
    assert [row[:-3] for row in rows[1:]] == [
        ["generated", "cases", "float64", "100", "0"],
        ["documentation", "examples", "float64", "3", "0"],
        ["handwritten", "digits", "float64", "40", "0"],
    ]
    assert "generated cases by class: " in result.stdout
    assert result.stdout.splitlines()[0].endswith("passed, 143 cases judged")
    assert "generated cases, float64: 100 of 100" in result.stderr


@pytest.mark.usefixtures("generated_only")
def test_each_property_is_shown_once():
    result = call("verify", WRONG, "--dtype", "float32", "--dtype", "float64", "--cases", "100")
    assert result.exit_code == 1
    assert result.stdout.count("This program shows it:") == 1


@pytest.mark.usefixtures("generated_only")
def test_json(tmp_path):
    path = tmp_path / "report.json"
    assert call("verify", GOOD, "--cases", "20", "--json", str(path)).exit_code == 0
    assert json.loads(path.read_text())["n_cases"] == 20


@pytest.mark.usefixtures("generated_only")
def test_seed(tmp_path):
    coverage = []
    for seed in ("1", "1", "2"):
        path = tmp_path / "report.json"
        call("verify", GOOD, "--cases", "50", "--seed", seed, "--json", str(path))
        coverage.append(json.loads(path.read_text())["coverage"])
    assert coverage[0] == coverage[1] != coverage[2]


@pytest.mark.usefixtures("generated_only")
def test_quick_is_a_prefix_and_says_what_it_leaves_out():
    result = call("verify", WRONG, "--quick")
    assert result.exit_code == 1
    assert "FAILED, 100 cases judged" in words(result.stdout)
    assert "the first 100 of 1000 cases; left out: later ones" in words(result.stdout)
    assert "generated cases, float32: values fails: wrong: conv2d(" in words(result.stderr)


@pytest.mark.usefixtures("generated_only")
def test_what_is_raised_is_told_at_once(tmp_path):
    (tmp_path / "raises.py").write_text("def conv2d(*arguments):\n    raise ValueError('never')\n")
    result = call("verify", f"{tmp_path}/raises.py:conv2d", "--quick", "--op", "conv_transpose2d")
    assert "generated cases, float32: returns fails: ValueError: never" in words(result.stderr)
    assert words(result.stdout).endswith("left out: later ones")


def test_an_expected_failure_of_unknown_cause(tmp_path):
    path = tmp_path / "expected.txt"
    path.write_text("conv2d/float32/values/bad luck  # it happens")
    result = call("verify", GOOD, "--expected-failures", str(path))
    assert result.exit_code == 2
    assert "line 1: cause 'bad luck' must be one of" in words(result.stderr)


@pytest.mark.usefixtures("generated_only")
def test_torch_arrays_by_default_for_torch():
    assert call("verify", "torch.nn.functional:conv2d", "--cases", "20").exit_code == 0
    result = call("verify", "torch.nn.functional:conv2d", "--cases", "20", "--arrays", "numpy")
    assert result.exit_code == 2  # no call could be meant so
    assert "TypeError" in result.output
    assert "--arrays torch" in result.output


def test_what_was_skipped_is_said(monkeypatch):
    monkeypatch.setattr(sections, "FIXED", {sections.DIGITS: refconv.verification.real_layers.digit_layers})
    monkeypatch.setattr("refconv.verification.real_layers.find_spec", lambda _: None)
    monkeypatch.setattr("refconv.verification.real_layers._scikit_learn", lambda: None)
    monkeypatch.setattr(
        "refconv.verification.real_layers.digit_images", refconv.verification.real_layers.digit_images.__wrapped__
    )
    result = call("verify", GOOD, "--cases", "20")
    assert result.exit_code == 0
    assert "handwritten digits, float32: skipped: no digits: install scikit-learn" in words(result.stdout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verify"], "Missing argument 'TARGET'"),
        (["verify", "conv2d"], "must be module:attribute or path/to/file.py:attribute"),
        (["verify", "nowhere:conv2d"], "no module 'nowhere': install it"),
        (["verify", "nowhere.py:conv2d"], "no file nowhere.py"),
        (["verify", WRONG, "--dtype", "float31"], "'float31': must be one of float32"),
        (["verify", WRONG, "--cases", "0"], "--cases"),
        (["verify", WRONG, "--cases", "3000000000"], "--cases"),
        (["verify", WRONG, "--seed", "-1"], "--seed"),
        (["verify", WRONG, "--seed", str(2**63)], "--seed"),
        (["verify", WRONG, "--arrays", "lists"], "arrays='lists': must be one of 'numpy', 'torch'"),
        (["verify", WRONG, "--json", "no/such/folder/report.json"], "no folder"),
        (["verify", WRONG, "--quick", "--cases", "5"], "must not be given beside --cases 5"),
        (["verify", WRONG, "--sets", "0"], "--sets"),
        (["verify", WRONG, "--largest", "0"], "--largest"),
        (["verify", WRONG, "--shrink-seconds", "0"], "--shrink-seconds"),
        (["verify", WRONG, "--max-failures", "0"], "--max-failures"),
        (["prove"], "No such command 'prove'"),
    ],
)
def test_wrong_usage(arguments, message):
    result = call(*arguments)
    assert result.exit_code == 2
    assert message in words(result.stderr)
    assert "Traceback" not in result.stderr


def test_numbas_arrays_without_a_gpu():
    """What is missing is said, and what does without: no traceback."""
    try:
        targets.choose("cuda")
    except refconv.BackendUnavailable:
        result = call("verify", f"{ROOT}/examples/cuda_kernel.py:conv2d")
        assert result.exit_code == 2
        assert "arrays='numba' needs a GPU, or NUMBA_ENABLE_CUDASIM=1" in words(result.stderr)
        assert "Traceback" not in result.stderr
    else:
        pytest.skip("there is a GPU")


@pytest.mark.usefixtures("generated_only")
def test_large_seeds():
    """Of 64 bits, as random number generators make them."""
    assert call("verify", GOOD, "--cases", "5", "--seed", str(2**63 - 1)).exit_code == 0


def test_version():
    result = call("--version")
    assert result.exit_code == 0
    assert result.stdout == f"refconv {refconv.__version__}\n"


def test_help_names_what_there_is():
    result = call("--help")
    assert result.exit_code == 0
    assert "verify" in result.stdout
    assert "--dtype" in call("verify", "--help").stdout


def test_without_the_extra(monkeypatch, capsys):
    monkeypatch.setattr(entry, "find_spec", lambda name: None if name == "typer" else name)
    with pytest.raises(SystemExit) as raised:
        entry.main()
    assert raised.value.code == 2
    assert "pip install 'refconv[verify]'" in capsys.readouterr().err


def test_bars_on_a_terminal():
    console = Console(force_terminal=True, width=100, record=True)
    with options.progress_bar(console) as progress, console.capture() as captured:
        progress("generated cases, float32", 1, 2)
        progress("generated cases, float32", 2, 2)
    assert "generated cases, float32" in captured.get()
    assert "\x1b" in captured.get()


@pytest.mark.parametrize("supports", ["{", "[]", '{"strings": true}', '{"unbatched": 1}'])
def test_wrong_supports(supports):
    result = call("verify", GOOD, "--supports", supports)
    assert result.exit_code == 2
    assert "--supports" in result.stderr


TF32 = """
import numpy as np
import refconv

def tf32(values):
    return (np.array(values).view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)

def conv2d(x, w, *rest):
    return refconv.conv2d(tf32(x), tf32(w), *rest)
"""


@pytest.mark.usefixtures("generated_only")
def test_verify_under_a_model(tmp_path):
    """TF32 is wrong as float32 and right as TF32; the program that shows the fault names the model."""
    file = tmp_path / "candidate.py"
    file.write_text(TF32)
    target = f"{file}:conv2d"
    assert call("verify", target, "--cases", "100", "--model", "tf32:truncate").exit_code == 0
    assert call("verify", target, "--cases", "100").exit_code == 1
    result = call("verify", target, "--cases", "100", "--model", "direct:float64")
    assert result.exit_code == 1
    assert "refconv.ErrorModel.parse('direct:float64'))" in result.stdout
    result = call("verify", target, "--model", "tf31")
    assert result.exit_code == 2
    assert "model='tf31'" in words(result.stderr)


def test_tolerance():
    result = call("tolerance", "--network", "resnet50", "--case", "1,8,9,9:4,8,3,3:padding=1", "--dtype", "float16")
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith((" resnet50", " case"))]
    assert len(rows) == 24
    assert rows[0][:3] == ["case", "1,8,9,9:4,8,3,3:padding=1", "72"]
    assert "Why, for" in result.stdout
    assert "dropped tap" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--case", "1,2,3"], "case='1,2,3'"),
        (["--dtype", "float12"], "float12"),
        (["--dtype", "int8"], "integers must be equal"),
        (["--network", "nonet"], "nonet"),
        (["--model", "winograd:4,3"], "model='winograd:4,3'"),
        (["--op", "conv"], "'conv': must be one of conv2d"),
        (["--op", "conv2d_weight", "--model", "fft"], "not of a conv2d_weight"),
        (["--op", "conv2d_integer", "--model", "fft"], "--model: must not be given for conv2d_integer"),
        (["--op", "conv2d_quantized", "--dtype", "float32"], "'float32': must be int8 or uint8 for conv2d_quantized"),
        (["--op", "conv2d_input", "--case", "1,2,9,9:2,2,3,3:output_padding=1"], "output_padding must not be given"),
        (["--case", "1,1,200000,200000:1,1,199999,199999"], "what is free"),
        (["--sample", "0"], "--sample"),
        (["--sample", "9", "--seconds", "1"], "--sample: must not be given beside --seconds 1"),
        (["--seconds", "-1"], "--seconds"),
        (["--error", "much"], "--error"),
        (["--error", "-1"], "'--error': -1: must be a finite number, not below 0"),
        (["--error", "nan"], "'--error': nan: must be"),
        (["--error", "1", "--scale", "0"], "'--scale': 0: must be a finite number above 0"),
        (["--scale", "2"], "--scale: says how large the operands were"),
    ],
)
def test_wrong_usage_of_tolerance(arguments, said):
    result = call("tolerance", *arguments)
    assert result.exit_code == 2
    assert said in words(result.stderr)


@pytest.mark.usefixtures("generated_only")
def test_the_answer_comes_first(tmp_path):
    """Verdict, failures, tables, coverage in three lines at most; what that leaves out is in files."""
    pairs = tmp_path / "pairs.json"
    result = call("verify", WRONG, "--cases", "100", "--no-isolate", "--pairs", str(pairs))
    lines = [line.strip() for line in result.stdout.splitlines()]
    wanted = ("FAILED, 100 cases judged", "FAILED generated cases", "This program shows it:", "section ", "property ",
              "generated cases by class:", "pairs ", "pairs not covered:")  # fmt: skip
    places = [next(n for n, line in enumerate(lines) if begun in line) for begun in wanted]
    assert places == sorted(places)
    assert lines[0] == lines[-1]
    assert places[-1] == len(lines) - 3
    assert lines[-2].startswith("The largest sizes judged: images ")
    missing = json.loads(pairs.read_text())
    assert f"pairs not covered: {len(missing['others']):,} others" in result.stdout


@pytest.mark.usefixtures("generated_only")
def test_progress_says_what_failed():
    result = call("verify", WRONG, "--cases", "100", "--no-isolate")
    assert re.search(r"generated cases, float32: 100 of 100; failed: values \d+", result.stderr)


def test_exit_first_ends_after_one_failure():
    result = call("verify", WRONG, "-x", "--no-isolate", "--dtype", "float32", "--dtype", "float64")
    assert result.exit_code == 1
    assert "ended early after 1 failures" in words(result.stdout)
    assert "what would come later was not begun" in words(result.stdout)
    assert "handwritten digits" not in result.stdout
    assert "float64" not in result.stdout


def test_asked_to_end(tmp_path):
    """SIGTERM has an exit code of its own, and no process of the campaign is left."""
    (tmp_path / "slow.py").write_text("import time\ndef conv2d(*call):\n    time.sleep(60)\n")
    command = [sys.executable, "-m", "refconv", "verify", "slow.py:conv2d"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(5)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 143
    assert "refconv: interrupted" in said


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ([], 0, "passed, 30 cases judged"),
        (["--supports", '{"kernel": [3, 5], "stride": 1}'], 0, "passed, 30 cases judged"),
        (["--supports", '{"kernel": 5}'], 2, "supports['kernel']=(5,): must be 3 or more numbers, for model="),
        (["--op", "conv2d_input"], 2, "its errors are known of a conv2d only, not of a conv2d_input"),
    ],
)
@pytest.mark.usefixtures("generated_only")
def test_a_model_is_given_what_it_can_bound(options, code, said):
    result = call("verify", GOOD, "--cases", "30", "--no-isolate", "--model", "winograd:2,3", *options)
    assert result.exit_code == code
    assert said in words(result.stdout + result.stderr)
