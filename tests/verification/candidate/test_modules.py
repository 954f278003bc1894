"""Classes and objects like torch.nn.Conv2d: built for each case, given weight and bias, and judged as functions are."""

from functools import partial

import numpy as np
import pytest
import torch
from campaigns import verify
from marks import evidence
from torch import nn
from torch.nn import functional

import refconv
from refconv.verification.candidate.loading import candidate_of


class Wrapped(nn.Module):
    """The usual way: a convolution inside, whose parameters a kernel uses."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)

    def forward(self, x):
        return self.conv(x)


class WithoutDilation(Wrapped):
    def forward(self, x):
        conv = self.conv
        return functional.conv2d(x, conv.weight, conv.bias, conv.stride, conv.padding, 1, conv.groups)


class Ints(nn.Module):
    """One number for both axes, no dilation, no groups, no bias, a parameter of another name."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0):
        super().__init__()
        self.filters = nn.Parameter(torch.zeros(out_channels, in_channels, kernel_size, kernel_size))
        self.stride, self.padding = stride, padding

    def forward(self, x):
        return functional.conv2d(x, self.filters, None, self.stride, self.padding)


class Depthwise(nn.Module):
    def __init__(self, in_channels: int, kernel_size: int, stride: int = 1, padding: int = 0, bias: bool = True):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, in_channels, kernel_size, stride, padding, groups=in_channels, bias=bias)

    def forward(self, x):
        return self.conv(x)


class Plain:
    """No module of torch: NumPy arrays, and attributes that are set."""

    def __init__(self, in_channels, out_channels, kernel_size, **options):  # noqa: ARG002 - as Conv2d
        self.options = {name: value for name, value in options.items() if name != "bias"}
        self.weight, self.bias = np.zeros((out_channels, in_channels)), np.zeros(out_channels)

    def __call__(self, x):
        return refconv.conv2d(x, self.weight, self.bias, **self.options)


class Tuples(nn.Module):
    """Takes apart what torch takes whole."""

    def __init__(self, in_channels, out_channels, kernel_size):
        super().__init__()
        rows, columns = kernel_size
        self.weight = nn.Parameter(torch.zeros(out_channels, in_channels, rows, columns))

    def forward(self, x):
        return functional.conv2d(x, self.weight)


class UnsaidInts(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(out_channels, in_channels, kernel_size, kernel_size))

    def forward(self, x):
        return functional.conv2d(x, self.weight)


class Flat(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(out_channels, in_channels * kernel_size[0] * kernel_size[1]))

    def forward(self, x):
        return x


class Normed(Wrapped):
    def __init__(self, in_channels, out_channels, kernel_size):
        super().__init__(in_channels, out_channels, kernel_size)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x):
        return self.norm(self.conv(x))


class Reparametrized(Wrapped):
    def __init__(self, in_channels, out_channels, kernel_size):
        super().__init__(in_channels, out_channels, kernel_size)
        nn.utils.parametrizations.weight_norm(self.conv)


class Function(nn.Module):
    """A module that is called with all arguments, as torch's function is."""

    def forward(self, input, weight, bias, stride, padding, dilation, groups):
        return functional.conv2d(input, weight, bias, stride, padding, dilation, groups)


class Counted(nn.Module):
    def __init__(self, classes):  # noqa: ARG002 - no argument of Conv2d
        super().__init__()

    def forward(self, x):
        return x


class Silent:
    def __init__(self, in_channels, out_channels, kernel_size):
        pass


class Broken(Wrapped):
    def __init__(self, in_channels, out_channels, kernel_size):  # noqa: ARG002 - as Conv2d
        raise RuntimeError("no device")


pytestmark = pytest.mark.usefixtures("generated_only")
SOUND = (
    nn.Conv2d, Wrapped, Ints, Depthwise, Plain, refconv.nn.Conv2d, Function(), f"{__name__}:Wrapped",
    nn.Conv2d(4, 6, (3, 2), padding=(1, 0), bias=False), nn.Sequential(nn.Conv2d(4, 8, 3, 2, groups=2)),
    Tuples, UnsaidInts, partial(nn.Conv2d, bias=False, stride=2), partial(functional.conv2d),
    nn.Conv2d(2, 2, 3, padding="same", padding_mode="circular"), refconv.nn.Conv2d(3, 2, 2, stride=2),
)  # fmt: skip


@pytest.mark.parametrize(
    "candidate",
    [pytest.param(layer, marks=[evidence] * (number % 2), id=str(number)) for number, layer in enumerate(SOUND)],
)
def test_sound_layers_pass(candidate):
    report = verify(candidate, cases=20, largest=10_000)
    assert report.ok, report.failures
    assert report.n_unsupported <= 20, "claims follow from the constructor: little is refused"


@pytest.mark.parametrize(
    "candidate",
    [nn.ConvTranspose2d, refconv.nn.ConvTranspose2d, nn.ConvTranspose2d(4, 6, 3, (2, 1), output_padding=(1, 0))],
    ids=range(3),
)
def test_transposed_layers_pass(candidate):
    report = verify(candidate, "conv_transpose2d", cases=15, largest=10_000)
    assert report.ok, report.failures
    assert report.n_unsupported < 5


def test_what_a_constructor_takes_is_all_that_is_claimed():
    claims = candidate_of(Ints, "").function.supports
    assert claims == {"dilation": 1, "groups": 1, "bias": False, "square": ["kernel", "stride", "padding"]}
    assert candidate_of(UnsaidInts, "").function.supports["square"] == ["kernel"]
    assert "square" not in candidate_of(Tuples, "").function.supports
    assert candidate_of(Depthwise, "").function.supports["groups"] == "depthwise"
    claims = candidate_of(nn.Conv2d(4, 6, (3, 2), padding="same"), "").function.supports
    assert (claims["channels"], claims["filters"], claims["kernel_w"], claims["padding"]) == (4, 6, 2, "same")


def test_a_wrong_layer_fails_and_its_program_shows_it():
    report = verify(WithoutDilation, cases=60, largest=10_000, shrink_seconds=2)
    assert not report.ok
    assert all("dilation" in str(failure.diagnosis) for failure in report.failures)
    assert f"load({__name__ + ':WithoutDilation'!r}, 'torch'" in report.failures[0].snippet


def test_a_layer_with_other_weights_is_wrong():
    """The numbers of the case are used, not those that the layer was built with."""

    class Packed(nn.Conv2d):
        def __init__(self, in_channels, out_channels, kernel_size, stride=1, bias=True):
            super().__init__(in_channels, out_channels, kernel_size, stride, bias=bias)
            self.packed = self.weight.detach().clone()

        def forward(self, x):
            return functional.conv2d(x, self.packed, self.bias, self.stride)

    assert not verify(Packed, cases=10, largest=10_000, shrink_seconds=0.1).ok


@pytest.mark.parametrize(
    ("candidate", "op", "said"),
    [
        (
            Counted,
            "conv2d",
            "Counted is a class whose constructor takes classes: must take what torch.nn.Conv2d's does",
        ),
        (Silent, "conv2d", "Silent is a class without forward or __call__: wrap it in a function: def conv2d"),
        (Broken, "conv2d", "Broken: building one raised RuntimeError: no device"),
        (nn.Conv2d, "conv2d_input", "Conv2d is a class: must be a function for op='conv2d_input'"),
        (nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)), "conv2d", "has 2 parts like torch.nn.Conv2d"),
        (nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU()), "conv2d", "holds ReLU too: must be a convolution alone"),
        (Flat, "conv2d", r"has the parameters weight \(6, 36\): must have one of shape \(6, 4, 3, 3\), its weight"),
        (Normed, "conv2d", r"has parameters besides weight and bias \(norm.weight, norm.bias\)"),
        (Reparametrized, "conv2d", "has parameters besides weight and bias"),
        (nn.LazyConv2d, "conv2d", "LazyConv2d"),
        (nn.LazyConv2d(3, 3), "conv2d", "LazyConv2d is lazy, and has no parameters yet"),
        (nn.Conv1d(1, 1, 1), "conv2d", r"Conv1d has a weight of shape \(1, 1, 1\): must have 4 axes"),
        (nn.Conv1d, "conv3d", "Conv1d builds a weight of 3 axes: must have 5 axes, for op='conv3d'"),
        (nn.Conv1d, "conv2d", "Conv1d builds a weight of 3 axes: must have 4 axes"),
        (nn.ConvTranspose3d, "conv_transpose1d", "ConvTranspose3d builds a weight of 5 axes: must have 3 axes"),
        (nn.Module, "conv2d", "Module is a class without forward or __call__"),
        (nn.ReLU(), "conv2d", "has 0 parts like torch.nn.Conv2d: must have one, or wrap it"),
        (nn.Conv2d(1, 1, 1), "conv2d_weight", "takes images alone: must be a function"),
    ],
)
def test_what_is_no_layer_is_refused_with_a_sentence(candidate, op, said):
    with pytest.raises(TypeError, match=said):
        verify(candidate, op, cases=5)


@pytest.mark.parametrize("claim", [{"input_layout": "NHWC"}, {"layout": "NHWC"}])
def test_a_layer_gets_images_in_torchs_layout(claim):
    with pytest.raises(ValueError, match="must name no layout"):
        verify(nn.Conv2d, cases=5, supports=claim)


def test_a_path_or_name_that_is_none_is_refused():
    with pytest.raises(ValueError, match="must be module:attribute"):
        verify("torch.nn.Conv2d", cases=5)
