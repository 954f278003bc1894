"""Conv2d: torch's printing, attributes and shapes; the call is the operator's, within the bound of torch's layer."""

import numpy as np
import pytest
import torch
from common import FLOATS, MODES, same_bits
from hypothesis import example, given
from hypothesis import strategies as st
from layers import alike, arguments, is_sequence_of_one

from refconv import Case, GeometryError, assert_close, conv2d, nn

# Torch says these of layers that it makes and runs all the same.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Initializing zero-element tensors is a no-op"),
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths"),
]


@st.composite
def layers_and_inputs(draw, least_channels=0):
    """A layer with an input that it can take, as float32 or float64."""
    given_arguments = draw(
        arguments(least_channels).filter(lambda keywords: not any(map(is_sequence_of_one, keywords.values())))
    )
    dtype = draw(st.sampled_from(FLOATS))
    seed = draw(st.integers(0, 2**32))
    layer = nn.Conv2d(**given_arguments, dtype=dtype, seed=seed)
    size = [
        dilation * (kernel - 1) + 4 + draw(st.integers(0, 4))  # 4: every mode can fill a padding of 3
        for kernel, dilation in zip(layer.kernel_size, layer.dilation, strict=True)
    ]
    batch = draw(st.sampled_from(((), (0,), (1,), (2,))))
    rng = np.random.default_rng(seed)
    return layer, rng.standard_normal((*batch, layer.in_channels, *size)).astype(dtype)


@given(arguments())
@example({"in_channels": 16, "out_channels": 33, "kernel_size": 3, "stride": 2})
@example({"in_channels": 16, "out_channels": 33, "kernel_size": (3, 5), "stride": (2, 1), "padding": (4, 2)})
@example({"in_channels": 2, "out_channels": 2, "kernel_size": 3, "stride": [2], "padding": (1,), "dilation": (2,)})
@example({"in_channels": 2, "out_channels": 2, "kernel_size": 3, "padding": (0,), "dilation": [1]})
@example({"in_channels": 0, "out_channels": 4, "kernel_size": (2, 1), "groups": 2, "padding": "valid", "bias": False})
def test_printing_attributes_and_shapes_are_torchs(given_arguments):
    """Whatever torch's constructor takes: the same text, attributes and parameter shapes."""
    alike(nn.Conv2d(**given_arguments), torch.nn.Conv2d(**given_arguments))


def test_arguments_come_in_torchs_order():
    """All of them by position."""
    positional = (4, 6, (3, 2), (2, 1), (1, 2), (1, 3), 2, False, "circular", "cpu")
    ours, theirs = nn.Conv2d(*positional, "float64"), torch.nn.Conv2d(*positional, torch.float64)
    assert repr(ours) == repr(theirs)
    assert ours.weight.dtype == "float64"
    positional = (4, 6, (3, 2), (2, 1), (1, 2), (1, 0), 2, False, (1, 3), "zeros", "cpu")
    ours, theirs = nn.ConvTranspose2d(*positional, "float64"), torch.nn.ConvTranspose2d(*positional, torch.float64)
    assert repr(ours) == repr(theirs)
    assert ours.weight.dtype == "float64"


def test_four_sided_padding():
    """Beyond torch: kept and printed as given, and as a pair where both sides are alike."""
    layer = nn.Conv2d(1, 1, 2, padding=((1, 0), (0, 2)))
    assert repr(layer) == "Conv2d(1, 1, kernel_size=(2, 2), stride=(1, 1), padding=((1, 0), (0, 2)))"
    assert layer(np.ones((1, 3, 4), "float32")).shape == (1, 3, 5)
    assert nn.Conv2d(1, 1, 2, padding=((1, 1), (2, 2))).padding == (1, 2)
    with pytest.raises(GeometryError, match=r"padding=\(\(1, 0\), \(0, 2\)\)"):
        layer.to_torch()


@given(layers_and_inputs(least_channels=1))  # without channels some padding modes are refused, as torch does
def test_call_is_the_operator(layer_and_input):
    """Bit for bit `refconv.conv2d`, and a torch tensor for a torch tensor."""
    layer, image = layer_and_input
    expected = conv2d(
        image, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups,
        padding_mode=layer.padding_mode,
    )  # fmt: skip
    assert same_bits(layer(image), expected)
    out = layer(torch.from_numpy(image).requires_grad_())
    assert isinstance(out, torch.Tensor)
    assert same_bits(out.numpy(), expected)


@given(layers_and_inputs(least_channels=1))  # without channels torch refuses to pad in modes other than zeros
def test_torch_layer_is_within_the_bound(layer_and_input):
    """The torch layer of the same parameters computes the same, padding modes included."""
    layer, image = layer_and_input
    case = Case(
        input=image, weight=layer.weight, bias=layer.bias, stride=layer.stride, padding=layer.padding,
        dilation=layer.dilation, groups=layer.groups, padding_mode=layer.padding_mode,
    )  # fmt: skip
    with torch.no_grad():
        theirs = layer.to_torch()(torch.from_numpy(image)).numpy()
    assert theirs.shape == layer(image).shape
    assert_close(theirs, case)


@pytest.mark.parametrize("arguments", [{"padding": "same", "dilation": (2,)}, {"padding": [1], "stride": (2,)}])
@pytest.mark.parametrize("mode", MODES)
def test_sequence_of_one_is_meant_for_both_axes(arguments, mode):
    """As torch.nn.functional.conv2d has it, in every mode."""
    image = np.random.default_rng(0).standard_normal((1, 2, 7, 8)).astype("float32")
    pairs = {name: value if isinstance(value, str) else 2 * tuple(value) for name, value in arguments.items()}
    layer, same = (nn.Conv2d(2, 3, 3, padding_mode=mode, seed=0, **keywords) for keywords in (arguments, pairs))
    assert same_bits(layer(image), same(image))


def test_parameters_may_be_replaced():
    """As in torch the attributes are what the call uses."""
    layer = nn.Conv2d(1, 1, 2)
    layer.weight, layer.bias = np.ones((1, 1, 2, 2), "int64"), None
    assert layer(np.ones((1, 3, 3), "int64")).tolist() == [[[4, 4], [4, 4]]]
    assert repr(layer) == "Conv2d(1, 1, kernel_size=(2, 2), stride=(1, 1), bias=False)"
