"""Layers of known networks: they are convolutions, each network has its own, and their data are normal."""

from cases import DENSE, DEPTHWISE

from refconv.cases import networks
from refconv.cli import bench
from refconv.core.geometry import convolution


def test_layers_are_convolutions():
    for layer in networks.layers():
        geometry = convolution(
            layer.input, layer.weight, None, layer.stride, layer.padding, layer.dilation, layer.groups, "zeros"
        )
        assert 0 not in geometry.output_shape


def test_networks_have_their_layers():
    assert set(bench.NETWORKS) < set(networks.networks())
    assert [layer for name in networks.networks() for layer in networks.layers(name)] == list(networks.layers())
    assert {layer.groups for layer in networks.layers("resnext50_32x4d")} == {1, 32}
    assert any(layer.groups == layer.input[1] > 1 for layer in networks.layers("mobilenet_v2"))


def test_a_layer_in_a_few_words():
    assert str(DENSE) == "4x6x6 -> 8, 3x3"
    assert str(DEPTHWISE) == "4x6x6 -> 4, 3x3 s2x1 d1x2 g4"


def test_data_are_normal():
    values = networks.layers("vgg16")[0].case("float32").input
    assert abs(values.mean()) < 0.02
    assert abs(values.std() - 1) < 0.02
