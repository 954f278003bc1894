"""ConvTranspose2d: torch's printing, attributes and shapes; the call and its output size are torch's."""

import numpy as np
import pytest
import torch
from common import same_bits
from hypothesis import example, given
from hypothesis import strategies as st
from layers import alike, is_sequence_of_one, one_or_pair, transposed_arguments

from refconv import GeometryError, nn
from refconv.ops.transposed import conv_transpose2d

# Torch says these of layers that it makes and runs all the same.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Initializing zero-element tensors is a no-op"),
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths"),
]


@given(transposed_arguments())
@example({"in_channels": 16, "out_channels": 33, "kernel_size": 3, "stride": 2, "output_padding": 1})
@example({"in_channels": 2, "out_channels": 2, "kernel_size": 3, "stride": [2], "padding": (1,), "output_padding": [1]})
@example({"in_channels": 4, "out_channels": 6, "kernel_size": (3, 2), "dilation": 3, "output_padding": 2, "groups": 2})
@example({"in_channels": 1, "out_channels": 1, "kernel_size": 1, "padding": 7})  # larger inputs leave something
def test_transposed_printing_attributes_and_shapes_are_torchs(given_arguments):
    """Likewise; a constructor that refused what torch's takes would be noticed here too."""
    alike(nn.ConvTranspose2d(**given_arguments), torch.nn.ConvTranspose2d(**given_arguments))


def test_four_sided_padding_of_the_transposed_layer():
    layer = nn.ConvTranspose2d(1, 1, 2, padding=((1, 0), (0, 2)))
    assert repr(layer) == "ConvTranspose2d(1, 1, kernel_size=(2, 2), stride=(1, 1), padding=((1, 0), (0, 2)))"
    assert layer(np.ones((1, 3, 4), "float32")).shape == (1, 3, 3)
    assert layer(np.ones((1, 3, 4), "float32"), [3, 3]).shape == (1, 3, 3)
    with pytest.raises(GeometryError, match=r"padding=\(\(1, 0\), \(0, 2\)\)"):
        layer.to_torch()


@st.composite
def transposed_layers_and_inputs(draw):
    """A layer, and an input that it can take, of small integers in float64: their sums are exact in any order."""
    given_arguments = draw(
        transposed_arguments().filter(lambda keywords: not any(map(is_sequence_of_one, keywords.values())))
    )
    layer = nn.ConvTranspose2d(**given_arguments, dtype="float64")
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    layer.weight = rng.integers(-9, 10, layer.weight.shape).astype("float64")
    layer.bias = None if layer.bias is None else rng.integers(-9, 10, layer.bias.shape).astype("float64")
    batch = draw(st.sampled_from(((), (0,), (1,), (2,))))
    size = draw(st.tuples(*[st.integers(7, 10)] * 2))  # 7: the padding leaves something, without output padding too
    return layer, rng.integers(-9, 10, (*batch, layer.in_channels, *size)).astype("float64")


@given(transposed_layers_and_inputs())
def test_transposed_call_is_the_operator_and_torchs_layer(layer_and_input):
    """The same numbers to the last bit, for arrays and tensors."""
    layer, image = layer_and_input
    expected = conv_transpose2d(
        image, layer.weight, layer.bias, layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation
    )
    assert same_bits(layer(image), expected)
    out = layer(torch.from_numpy(image).requires_grad_())
    assert isinstance(out, torch.Tensor)
    assert same_bits(out.numpy(), expected)
    with torch.no_grad():
        assert np.array_equal(layer.to_torch()(torch.from_numpy(image)).numpy(), expected)


@given(transposed_layers_and_inputs(), st.data())
def test_output_size_is_torchs(layer_and_input, data):
    """Every size that torch's layer reaches, with or without the other axes; the others are refused by both."""
    layer, image = layer_and_input
    module = layer.to_torch()
    least = [
        (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1
        for size, stride, padding, dilation, kernel in zip(
            image.shape[-2:], layer.stride, layer.padding, layer.dilation, layer.kernel_size, strict=True
        )
    ]
    reached = [low + data.draw(st.integers(-1, step)) for low, step in zip(least, layer.stride, strict=True)]
    lead = data.draw(st.sampled_from([(), (*image.shape[:-3], layer.out_channels), (7,)]))
    try:
        with torch.no_grad():
            theirs = module(torch.from_numpy(image), [*lead, *reached]).numpy()
    except ValueError:
        with pytest.raises(GeometryError, match="output_size="):
            layer(image, [*lead, *reached])
    else:
        assert theirs.shape[-2:] == tuple(reached)
        assert np.array_equal(layer(image, (*lead, *reached)), theirs)


def test_output_size_of_a_sequence_of_one():
    """Where torch's layer fails with an IndexError: the number is meant for both axes, as in the call."""
    layer = nn.ConvTranspose2d(1, 1, 3, stride=[2], padding=(1,), dilation=[1])
    assert layer(np.ones((1, 6, 6), "float32"), (12, 11)).shape == (1, 12, 11)


@given(
    one_or_pair(st.integers(1, 3), alone=False),
    one_or_pair(st.integers(1, 3)),
    one_or_pair(st.integers(0, 9)),
    one_or_pair(st.integers(0, 3)),
    one_or_pair(st.integers(1, 3)),
    st.tuples(*[st.integers(0, 3)] * 3),
)
def test_transposed_constructor_refuses_what_torch_refuses(kernel, stride, padding, output_padding, dilation, channels):
    """What torch's constructor refuses, or its call for each input, but nothing that some input is right for."""
    in_channels, out_channels, groups = channels
    arguments = (in_channels, out_channels, kernel, stride, padding, output_padding, groups, True, dilation)
    image = np.ones((1, in_channels, 20, 20))
    try:
        theirs = torch.nn.ConvTranspose2d(*arguments, dtype=torch.float64)(torch.from_numpy(image)).shape
    except (RuntimeError, ValueError):
        with pytest.raises(GeometryError):
            nn.ConvTranspose2d(*arguments)
    else:
        assert nn.ConvTranspose2d(*arguments, dtype="float64")(image).shape == theirs
