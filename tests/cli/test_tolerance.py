"""`refconv tolerance`: the calls that it takes, samples of large ones, and what it says of default tolerances."""

import time

import pytest
import torch
from common import PLANAR
from typer.testing import CliRunner

from refconv import ErrorModel, GeometryError
from refconv.cases.recipe import QUANTIZED
from refconv.cli import tolerance
from refconv.cli.app import app

FLOATING = [op for op in PLANAR if op not in QUANTIZED]
LARGE = "1,128,224,224:128,128,32,32"  # 6e11 products


def output(*arguments):
    result = CliRunner().invoke(app, ["tolerance", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_torch_defaults_are_torchs():
    for dtype, pair in tolerance.TORCH_DEFAULTS.items():
        assert torch.testing._comparison.default_tolerances(getattr(torch, dtype)) == pair


def test_advice():
    """For a layer whose sums are long the default is too tight; torch itself may miss it, but not ours."""
    row = tolerance.advise(list(tolerance.of_network("resnet50"))[2])
    assert row.terms == 576
    assert not row.is_sample
    assert row.rejects > 0.5
    assert row.unseen == 0
    assert "576 terms" in row.tolerances.reason
    narrow = tolerance.Question(ErrorModel.direct("float16"))
    half = tolerance.advise(tolerance.parsed("1,512,7,7:8,512,3,3:padding=1", dtype="float16"), narrow)
    assert half.unseen == 1
    assert tolerance.advise(tolerance.parsed("1,4,7,7:8,4,3,3", dtype="float8_e5m2")).rejects is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1,2,3",
        "1,2,3,3:1,2,3",
        "1,2,3,3:1,2,9,9",
        "1,2,3,3:1,2,1,1:steps=2",
        "1,2,3,3:1,2,1,1:stride=x",
        "1,3,3,3:1,2,1,1",
    ],
)
def test_texts_that_are_no_calls(text):
    with pytest.raises(GeometryError):
        tolerance.parsed(text)


@pytest.mark.parametrize("op", FLOATING)
@pytest.mark.parametrize("options", ["", ":padding=1+0x2+1", ":padding=1,stride=2"])
def test_advice_is_that_of_the_case(op, options):
    """Whatever the operator and the padding."""
    if op == "conv_transpose2d":
        options = options.replace("1+0x2+1", "2x1").replace("stride=2", "stride=2,output_padding=1")
    call = tolerance.parsed(f"2,8,9,7:8,8,3,3{options}", op, "float16")
    row = tolerance.advise(call)
    case = call.recipe.case()
    assert row.tolerances == case.tolerances()
    assert row.n_sampled == row.outputs == case.unwritten.size
    assert row.terms == case.sums.terms


@pytest.mark.parametrize("op", FLOATING)
def test_samples_need_about_what_all_outputs_need(op):
    call = tolerance.parsed("4,16,20,20:16,16,3,3:padding=1,padding_mode=zeros", op)
    whole, part = (tolerance.advise(call, tolerance.Question(sample=sample)) for sample in (10**9, 200))
    assert not whole.is_sample
    assert part.is_sample == (op != "conv2d_bias")
    assert part.n_sampled >= min(200, whole.outputs)
    assert part.terms == whole.terms
    assert whole.tolerances.atol / 2 < part.tolerances.atol < whole.tolerances.atol * 2


@pytest.mark.parametrize("model", [None, ErrorModel.fft()])
def test_large_calls_are_sampled_within_the_time(model):
    start = time.perf_counter()
    row = tolerance.advise(tolerance.parsed(LARGE), tolerance.Question(model, seconds=6))
    assert time.perf_counter() - start < 30  # of processors that are shared
    assert row.outputs == 128 * 193**2
    assert row.is_sample
    assert row.n_sampled > 1000


def test_little_time_is_enough_for_a_sample():
    row = tolerance.advise(tolerance.parsed("1,64,56,56:256,64,3,3"), tolerance.Question(seconds=0))
    assert row.is_sample


def test_samples_grow_up_to_all_outputs(monkeypatch):
    """Or up to so many as fit into memory."""
    monkeypatch.setattr(tolerance, "FIRST", 2**12)
    call = tolerance.parsed("1,8,30,30:64,8,3,3")
    assert tolerance.advise(call, tolerance.Question(seconds=60)) == tolerance.advise(
        call, tolerance.Question(sample=10**9)
    )
    monkeypatch.setattr(tolerance, "MOST", 10_000)
    row = tolerance.advise(call, tolerance.Question(seconds=60))
    assert 5000 < row.n_sampled < row.outputs


def test_samples_are_told():
    said = output("--case", "1,16,40,40:16,16,3,3", "--case", "1,1,3,3:1,1,3,3", "--sample", "100")
    large, small = [line.split() for line in said.splitlines() if line.startswith(" case")]
    assert large[4:6] == ["of", "23,104"]
    assert 100 <= int(large[3]) < 1000
    assert small[3] == "all"
    assert "of the sample" in said
    assert "sample" not in output("--case", "1,1,3,3:1,1,3,3")


@pytest.mark.parametrize("op", QUANTIZED)
def test_integers_must_be_equal(op):
    said = output("--op", op, "--case", "1,4,9,9:4,4,3,3:padding=same_upper,stride=2", "--error", "1", "--error", "0")
    assert "0.0e+00 0.0e+00" in said
    assert "1: sums of integers are exact: outputs must be equal, and are not." in said
    assert "0: sums of integers are exact: outputs must be equal.\n" in said


@pytest.mark.parametrize("op", PLANAR)
def test_networks_of_every_operator(op):
    said = output("--op", op, "--network", "resnet50", "--sample", "100")
    assert len([line for line in said.splitlines() if line.startswith(" resnet50")]) == 23


def test_errors_are_read():
    """An error is admitted, or belongs to a wider model; of other operands the same share of the bound."""
    shape = ("--case", "1,64,28,28:64,64,3,3:padding=1")
    said = output(*shape, "--error", "1e-3", "--error", "0.3", "--error", "1e6")
    lines = said.splitlines()
    assert [line.split()[:2] for line in lines if "largest error of" in line] == [
        ["0.001", "is"], ["0.3", "is"], ["1e+06", "is"],
    ]  # fmt: skip
    assert "the model admits it." in said
    assert "and within that of TF32 operands (tf32)." in said
    assert "the result is wrong." in said
    scaled = output(*shape, "--error", "0.03", "--scale", "0.1")
    (line,) = (line for line in lines if line.startswith("0.3 is"))
    assert line.replace("0.3 is", "0.03 is") in scaled
    assert "deviation 0.1." in scaled
    both = output(*shape, *shape[:1], "1,1,3,3:1,1,3,3", "--error", "0.3")
    assert "case 1,1,3,3:1,1,3,3: 0.3 is " in both


def test_errors_of_cropped_images_are_not_laid_to_transforms_of_whole_images():
    call = tolerance.parsed("1,4,96,96:4,4,3,3")
    models = {
        sample: tolerance.advise(call, tolerance.Question(sample=sample, errors=(0.1,))).readings[0]
        for sample in (50, 10**9)
    }
    assert "tf32" in models[50] or "bfloat16" in models[50]
    assert "winograd" not in models[50]


def test_results_may_have_another_dtype():
    wide = tolerance.advise(tolerance.parsed("1,8,9,7:8,8,3,3", dtype="float16", out_dtype="float32"))
    assert wide.tolerances.atol < tolerance.advise(tolerance.parsed("1,8,9,7:8,8,3,3", dtype="float16")).tolerances.atol
    assert "torch's 1.3e-06" in output("--case", "1,8,9,7:8,8,3,3", "--dtype", "float16", "--out-dtype", "float32")
    for options in (["int8"], ["int8", "--op", "conv2d_integer"], ["float12"]):
        command = ["tolerance", "--case", "1,8,9,7:8,8,3,3", "--out-dtype", *options]
        assert CliRunner().invoke(app, command).exit_code == 2


def test_alternatives_are_those_of_each_call():
    text = output("--case", "1,8,9,7:8,8,3,3", "--case", "1,8,9,7:8,8,1,1", "--model", "winograd:4,3|direct")
    assert "winograd:4,3" in text
