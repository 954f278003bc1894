"""Files of KernelBench's form: convolutions are judged by their bound, other models against their own reference."""

import textwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import refconv
from refconv.cli.app import app
from refconv.verification.candidate.loading import TargetError, load
from refconv.verification.examine.model_runs import NO_BOUND, SUSPICIOUS, compared

HEAD = """
import torch
from torch import nn
from torch.nn import functional
"""
LIKE_CONV2D = """
class Model(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0,
                 dilation: int = 1, groups: int = 1, bias: bool = False):
        super().__init__()
        self.conv2d = nn.Conv2d(in_channels, out_channels, (kernel_size, kernel_size), stride=stride, padding=padding,
                                dilation=dilation, groups=groups, bias=bias)
    def forward(self, x):
        return self.conv2d(x)
class ModelNew(Model):
    def forward(self, x):
        c = self.conv2d
        return functional.conv2d(x, c.weight, c.bias, c.stride, c.padding, {dilation}, c.groups)
def get_inputs():
    return [torch.rand(3, 4, 20, 24)]
def get_init_inputs():
    return [4, 6, 3]
"""
OF_CLASSES = """
class Model(nn.Module):
    def __init__(self, num_classes=1000):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, kernel_size=5, stride=2, padding=2)
    def forward(self, x):
        return self.conv1(x)
class ModelNew(nn.Module):
    def __init__(self, num_classes=1000):
        super().__init__()
        self.conv1_weight = nn.Parameter(torch.randn(8, 3, 5, 5))
        self.conv1_bias = nn.Parameter(torch.randn(8))
    def forward(self, x):
        return functional.conv2d(x, self.conv1_weight, self.conv1_bias, 2, {padding})
def get_inputs():
    return [torch.rand(2, 3, 32, 32)]
def get_init_inputs():
    return [[], {{"num_classes": 10}}]
"""
FUSED = """
class Model(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size, bias_shape):
        super().__init__()
        self.conv, self.bias = nn.Conv2d(in_channels, out_channels, kernel_size), nn.Parameter(torch.randn(bias_shape))
    def forward(self, x):
        return torch.relu(self.conv(x)) + self.bias
class ModelNew(Model):
    def forward(self, x):
        return {result}
def get_inputs():
    return [torch.rand(4, 3, 16, 16)]
def get_init_inputs():
    return [3, 8, 3, (8, 1, 1)]
"""
TRANSPOSED = """
class ModelNew(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0):
        super().__init__()
        self.layer = nn.ConvTranspose2d(in_channels, out_channels, kernel_size, stride=stride, padding=padding)
    def forward(self, x):
        return self.layer(x)
def get_inputs():
    return [torch.rand(2, 4, 9, 9)]
def get_init_inputs():
    return [4, 6, 3, 2]
"""


ALONE = FUSED.partition("class ModelNew")[0].replace("class Model(", "class ModelNew(") + (
    "def get_inputs" + FUSED.partition("def get_inputs")[2]
)


@pytest.fixture
def file(tmp_path):
    """Write a file, and return its path."""

    def written(text, **values):
        path = tmp_path / "model_file.py"
        path.write_text(HEAD + textwrap.dedent(text.format(**values) if values or "{{" in text else text))
        return str(path)

    return written


def verify(path, **options):
    options = {"cases": 30, "largest": 1_000_000, "isolate": False, "examples": False, "shrink_seconds": 2} | options
    return refconv.verify(path, **options)


def test_a_convolution_is_judged_on_its_own_shapes_and_on_those_that_its_constructor_allows(file):
    report = verify(file(LIKE_CONV2D, dilation="c.dilation"))
    assert report.ok, report.failures
    assert [result.section for result in report.results] == ["generated cases", "own cases"]
    assert report.sizes["images"] > 3
    report = verify(file(LIKE_CONV2D, dilation="1"))
    assert not report.ok
    assert {failure.section for failure in report.failures} == {"generated cases"}  # its own shape has no dilation
    assert "dilation" in str(report.failures[0])


def test_a_constructor_of_other_arguments_leaves_its_own_geometry(file):
    report = verify(file(OF_CLASSES, padding=2))
    assert report.ok, report.failures
    assert report.sizes["kernel width"] == 5
    assert report.n_unsupported == 0
    assert not verify(file(OF_CLASSES, padding=1)).ok


def test_a_transposed_convolution_is_recognised(file):
    report = verify(file(TRANSPOSED))
    assert report.ok
    assert report.op == "conv_transpose2d"
    with pytest.raises(ValueError, match="op='conv2d_input': must be 'conv_transpose2d'"):
        verify(file(TRANSPOSED), op="conv2d_input")


@pytest.mark.parametrize(
    ("result", "fails"),
    [
        ("torch.relu(self.conv(x)).add_(self.bias)", ""),
        ("torch.relu(self.conv(x).bfloat16().float()) + self.bias", "values"),
        ("torch.relu(self.conv(x) + self.bias)", "values"),
        ("super().forward(x)[..., :-1]", "shape and dtype"),
        ("1 / (super().forward(x) * 0)", "values"),
        ("self.undefined", "returns"),
        ("super().forward(x) + 0 * x.add_(1).sum()", "inputs unmodified"),
        ("vars(self).setdefault('out', 0 * super().forward(x)).add_(super().forward(x))", "no stale state"),
        (
            "super().forward(x) + (self.__dict__.setdefault('seen', []).append(0) or len(self.seen) // 4)",
            "no stale state",
        ),
    ],
)
def test_a_model_without_a_bound_is_compared_with_its_reference(file, result, fails):
    report = verify(file(FUSED, result=result))
    assert report.ok == (not fails), report.failures
    assert not fails or fails in [failure.property for failure in report.failures]
    assert [result.section for result in report.results] == ["runs of the model"]
    assert any(NO_BOUND in note for note in report.notes)
    if fails:
        assert "ModelRun(seed=0)" in report.failures[0].snippet


def test_a_run_is_another_for_every_seed(file):
    model = load(file(FUSED, result="super().forward(x)")).function
    first, again, other = (model.results(seed) for seed in (0, 0, 1))
    assert all(np.array_equal(*pair) for pair in zip(first.calls, again.calls, strict=True))
    assert not np.array_equal(first.single, other.single)
    assert first.double.dtype == np.float64


@given(st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=5), st.floats(0, 4), st.integers(0, 2**32 - 1))
def test_the_ratio_is_that_of_the_largest_errors(values, times, seed):
    double = np.array(values, np.float64)
    noise = np.random.default_rng(seed).uniform(-1, 1, double.shape) * 2.0**-10
    single, actual = (double + noise).astype(np.float32), (double + times * noise).astype(np.float32)
    ratio, _ = compared(actual, single, double)
    errors = [np.abs(result.astype(np.float64) - double).max() for result in (actual, single)]
    least = 2.0**-24 * np.abs(double).max()
    assert ratio == errors[0] / max(errors[1], least) if max(errors[1], least) else ratio in (0, np.inf)


def test_infinity_must_come_out_where_the_model_has_it():
    infinite = np.float32([1, -np.inf, 2])
    assert compared(np.float32([1, 0, 2]), infinite, infinite.astype(float))[0] > SUSPICIOUS
    assert compared(infinite, infinite, infinite.astype(float))[0] == 0


def test_nan_is_no_rounding():
    ones = np.ones(3)
    broken = np.float32([1, np.nan, 1])
    assert compared(broken, np.float32(ones), ones)[0] > SUSPICIOUS
    assert compared(broken, broken, np.array([1, np.nan, 1]))[0] == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def conv2d(x):\n    return x\n", "must be followed by :attribute; it has conv2d"),
        (
            FUSED.replace("get_inputs", "get_images").replace("{result}", "x"),
            "KernelBench's form has get_inputs",
        ),
        (FUSED.replace("get_init_inputs", "get_arguments").replace("{result}", "x"), "building Model raised TypeError"),
        (LIKE_CONV2D.replace("[4, 6, 3]", "[4]").replace("{dilation}", "1"), "building Model raised TypeError"),
        (LIKE_CONV2D.replace("torch.rand", "torch.random").replace("{dilation}", "1"), "get_inputs raised"),
        (ALONE, "ModelNew is a class whose constructor takes .*bias_shape"),
    ],
)
def test_other_files_are_refused_before_anything_runs(file, text, said):
    with pytest.raises(TargetError, match=said):
        load(file(text))


@pytest.mark.parametrize(
    "asked", [{"op": "conv2d_input"}, {"model": "tf32"}, {"supports": {"batch": 2}}, {"out_dtype": "float16"},
              {"dtypes": ["float64"]}, {"cases": ["1,1,1,1:1,1,1,1"]}, {"huge": True}], ids=str
)  # fmt: skip
def test_what_can_not_be_asked_of_such_a_model_is_refused(file, asked):
    options = {"cases": 5, "isolate": False, "examples": False} | asked
    (name,) = asked
    with pytest.raises(ValueError, match=f"{name}=.*: must not be given: ModelNew is no convolution alone"):
        refconv.verify(file(FUSED, result="super().forward(x)"), **options)


def test_a_reference_that_raises_is_no_fault_of_the_model(file):
    with pytest.raises(TypeError, match="Model itself raised RuntimeError"):
        verify(file(FUSED.replace("{result}", "super().forward(x)").replace("torch.rand(4, 3,", "torch.rand(4, 5,")))


def test_several_results_are_refused(file):
    with pytest.raises(TypeError, match="Model returns a tuple: must return one tensor"):
        verify(file(FUSED.replace("{result}", "x").replace("torch.relu(self.conv(x)) + self.bias", "x, x")))


def test_what_needs_a_gpu_is_told(file):
    text = "self.undefined if torch.cuda.is_available() else self.raised()"
    raises = "    def raised(self):\n        raise AssertionError('Torch not compiled with CUDA enabled')\n"
    with pytest.raises(TypeError, match="the model needs a GPU, and torch has none here"):
        verify(file(FUSED.replace("{result}", text).replace("def get_inputs", raises + "def get_inputs")))


def test_a_reference_without_numbers_says_nothing(file):
    report = verify(file(FUSED.replace("{result}", "super().forward(x)").replace("torch.relu(", "torch.log(-3 - 0 * ")))
    assert not report.ok
    assert report.n_cases == 0


def test_a_failure_can_be_replayed(file, tmp_path):
    path = file(FUSED, result="self.undefined")
    saved = str(tmp_path / "report.json")
    runner = CliRunner()
    assert runner.invoke(app, ["verify", path, "--no-isolate", "--json", saved]).exit_code == 1
    outcome = runner.invoke(app, ["replay", saved, path])
    assert outcome.exit_code == 1
    assert "1 of 1 failures are left" in outcome.output
    file(FUSED, result="super().forward(x)")
    assert runner.invoke(app, ["replay", saved, path]).exit_code == 0


def test_the_command_takes_the_file(file):
    outcome = CliRunner().invoke(app, ["verify", file(FUSED, result="super().forward(x)"), "--no-isolate"])
    assert outcome.exit_code == 0, outcome.output
    assert "passed, 10 cases judged" in outcome.output
    assert "there is no bound" in outcome.output
