"""Layers: torch's printing, shapes and distribution; the call is the operator's; there and back again; the pictures."""

import math
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats
import torch
from common import FLOATS, MODES, same_bits
from hypothesis import example, given
from hypothesis import strategies as st

from refconv import BackendUnavailable, Case, GeometryError, assert_close, conv2d, nn
from refconv.nn import plots
from refconv.ops.transposed import conv_transpose2d

ATTRIBUTES = (
    "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "transposed", "output_padding",
    "groups", "padding_mode",
)  # fmt: skip
SIGNIFICANCE = 1e-3  # of the tests of distributions, whose seeds are fixed

# Torch says these of layers that it makes and runs all the same.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Initializing zero-element tensors is a no-op"),
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths"),
]


def one_or_pair(numbers, alone=True):
    """An int, a pair as tuple or list, or (as torch takes it, but for the kernel) a sequence of one."""
    return st.one_of(numbers, st.tuples(numbers, numbers), st.lists(numbers, min_size=1 if alone else 2, max_size=2))


@st.composite
def arguments(draw, least_channels=0):
    """Keyword arguments that torch's constructor takes, each left out at times."""
    n_groups = draw(st.integers(1, 3))
    padding = draw(st.one_of(one_or_pair(st.integers(0, 3)), st.sampled_from(("same", "valid"))))
    optional = {
        "stride": st.sampled_from((1, (1, 1), [1])) if padding == "same" else one_or_pair(st.integers(1, 3)),
        "padding": st.just(padding),
        "dilation": one_or_pair(st.integers(1, 3)),
        "bias": st.booleans(),
        "padding_mode": st.sampled_from(MODES),
    }
    drawn = draw(st.fixed_dictionaries({}, optional=optional))
    return drawn | {
        "in_channels": n_groups * draw(st.integers(least_channels, 3)),
        "out_channels": n_groups * draw(st.integers(1, 3)),
        "kernel_size": draw(one_or_pair(st.integers(1, 4), alone=False)),
        **({"groups": n_groups} if n_groups > 1 or draw(st.booleans()) else {}),
    }


@st.composite
def transposed_arguments(draw):
    """The same for ConvTranspose2d."""
    n_groups = draw(st.integers(1, 3))
    steps = {"stride": one_or_pair(st.integers(1, 3)), "dilation": one_or_pair(st.integers(1, 3))}
    drawn = draw(st.fixed_dictionaries({}, optional=steps))
    pairs = [np.broadcast_to(drawn.get(name, 1), 2) for name in steps]
    least = int(np.max(pairs, axis=0).min())  # of both axes, so that one number may stand for both
    rest = {
        "padding": one_or_pair(st.integers(0, 3)),
        "output_padding": one_or_pair(st.integers(0, least - 1)),
        "bias": st.booleans(),
        "padding_mode": st.just("zeros"),
    }
    drawn |= draw(st.fixed_dictionaries({}, optional=rest))
    return drawn | {
        "in_channels": n_groups * draw(st.integers(1, 3)),
        "out_channels": n_groups * draw(st.integers(1, 3)),
        "kernel_size": draw(one_or_pair(st.integers(1, 4), alone=False)),
        **({"groups": n_groups} if n_groups > 1 or draw(st.booleans()) else {}),
    }


def is_sequence_of_one(value):
    """What torch's layers take for the width or the height alone in modes other than zeros."""
    return hasattr(value, "__len__") and len(value) == 1


@st.composite
def layers_and_inputs(draw, least_channels=0):
    """A layer with an input that it can take, as float32 or float64."""
    given_arguments = draw(
        arguments(least_channels).filter(lambda each: not any(map(is_sequence_of_one, each.values())))
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


@given(transposed_arguments())
@example({"in_channels": 16, "out_channels": 33, "kernel_size": 3, "stride": 2, "output_padding": 1})
@example({"in_channels": 2, "out_channels": 2, "kernel_size": 3, "stride": [2], "padding": (1,), "output_padding": [1]})
@example({"in_channels": 4, "out_channels": 6, "kernel_size": (3, 2), "dilation": 3, "output_padding": 2, "groups": 2})
@example({"in_channels": 1, "out_channels": 1, "kernel_size": 1, "padding": 7})  # larger inputs leave something
def test_transposed_printing_attributes_and_shapes_are_torchs(given_arguments):
    """Likewise; a constructor that refused what torch's takes would be noticed here too."""
    alike(nn.ConvTranspose2d(**given_arguments), torch.nn.ConvTranspose2d(**given_arguments))


def alike(ours, theirs):
    """Text, attributes and parameter shapes of a layer and torch's."""
    assert repr(ours) == repr(theirs)
    for name in ATTRIBUTES:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.weight.shape == theirs.weight.shape
    assert (ours.bias is None) == (theirs.bias is None)
    assert ours.bias is None or ours.bias.shape == theirs.bias.shape


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


def test_four_sided_padding_of_the_transposed_layer():
    layer = nn.ConvTranspose2d(1, 1, 2, padding=((1, 0), (0, 2)))
    assert repr(layer) == "ConvTranspose2d(1, 1, kernel_size=(2, 2), stride=(1, 1), padding=((1, 0), (0, 2)))"
    assert layer(np.ones((1, 3, 4), "float32")).shape == (1, 3, 3)
    assert layer(np.ones((1, 3, 4), "float32"), [3, 3]).shape == (1, 3, 3)
    with pytest.raises(GeometryError, match=r"padding=\(\(1, 0\), \(0, 2\)\)"):
        layer.to_torch()


# Distribution


def bound_of(layer):
    """1 / sqrt(fan_in), as torch documents it: of a transposed layer it takes the output channels."""
    channels = layer.out_channels if layer.transposed else layer.in_channels
    return 1 / math.sqrt(channels // layer.groups * math.prod(layer.kernel_size))


@given(arguments(least_channels=1), st.sampled_from(FLOATS), st.integers(0, 2**32))
def test_parameters_lie_within_torchs_bound(given_arguments, dtype, seed):
    within_bound(nn.Conv2d(**given_arguments, dtype=dtype, seed=seed), dtype)


@given(transposed_arguments(), st.sampled_from(FLOATS), st.integers(0, 2**32))
def test_transposed_parameters_lie_within_torchs_bound(given_arguments, dtype, seed):
    within_bound(nn.ConvTranspose2d(**given_arguments, dtype=dtype, seed=seed), dtype)


def within_bound(layer, dtype):
    for values in (layer.weight, layer.bias):
        if values is not None:
            assert values.dtype == dtype
            assert abs(values).max() <= np.dtype(dtype).type(bound_of(layer))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("Conv2d", (64, 64, 3)),
        ("Conv2d", (256, 8192, (1, 2))),
        ("Conv2d", (32, 4096, (5, 1), 1, 0, 1, 4)),
        ("ConvTranspose2d", (16, 512, 3)),
        ("ConvTranspose2d", (32, 4096, (5, 1), 1, 0, 0, 4)),
    ],
)
def test_parameters_are_drawn_from_torchs_distribution(name, shape):
    """Kolmogorov-Smirnov against the documented uniform distribution, and against torch's own numbers."""
    torch.manual_seed(0)
    ours, theirs = getattr(nn, name)(*shape, seed=0), getattr(torch.nn, name)(*shape)
    bound = bound_of(ours)
    uniform = scipy.stats.uniform(-bound, 2 * bound)
    for mine, other in ((ours.weight, theirs.weight), (ours.bias, theirs.bias)):
        assert scipy.stats.kstest(mine.ravel(), uniform.cdf).pvalue > SIGNIFICANCE
        assert scipy.stats.ks_2samp(mine.ravel(), other.detach().numpy().ravel()).pvalue > SIGNIFICANCE


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_the_test_of_the_distribution_has_power(factor):
    """Numbers from a bound that is a tenth off would have been noticed."""
    layer = nn.Conv2d(64, 64, 3, seed=0)
    wrong = factor * bound_of(layer)
    assert scipy.stats.kstest(layer.weight.ravel(), scipy.stats.uniform(-wrong, 2 * wrong).cdf).pvalue < SIGNIFICANCE


def test_weight_and_bias_are_independent():
    """The bias is not the weight's first numbers once more, nor one image of filters the next one's."""
    layer = nn.Conv2d(1, 512, 1, seed=0)
    assert scipy.stats.pearsonr(layer.weight.ravel(), layer.bias).pvalue > SIGNIFICANCE
    assert np.unique(layer.weight).size > 500


def test_same_seed_same_parameters():
    first, second, other = (nn.Conv2d(3, 4, 3, seed=seed) for seed in (7, 7, 8))
    assert same_bits(first.weight, second.weight)
    assert same_bits(first.bias, second.bias)
    assert not same_bits(first.weight, other.weight)
    assert not same_bits(nn.Conv2d(3, 4, 3).weight, nn.Conv2d(3, 4, 3).weight)


def test_seed_is_left_to_a_generator():
    """A generator is drawn from: two layers of one are different, and the global random state is left alone."""
    rng = np.random.default_rng(7)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = nn.Conv2d(3, 4, 3, seed=rng), nn.Conv2d(3, 4, 3, seed=rng)
    assert same_bits(first.weight, nn.Conv2d(3, 4, 3, seed=7).weight)
    assert not same_bits(first.weight, second.weight)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (None, "float32"),
        ("float64", "float64"),
        (np.float32, "float32"),
        (np.dtype("float64"), "float64"),
        (float, "float64"),
        (torch.float32, "float32"),
        (torch.float64, "float64"),
    ],
)
def test_dtype_by_any_name(dtype, expected):
    layer = nn.Conv2d(1, 2, 3, dtype=dtype)
    assert layer.weight.dtype == layer.bias.dtype == expected


# Call


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
    layer, same = (nn.Conv2d(2, 3, 3, padding_mode=mode, seed=0, **each) for each in (arguments, pairs))
    assert same_bits(layer(image), same(image))


def test_parameters_may_be_replaced():
    """As in torch the attributes are what the call uses."""
    layer = nn.Conv2d(1, 1, 2)
    layer.weight, layer.bias = np.ones((1, 1, 2, 2), "int64"), None
    assert layer(np.ones((1, 3, 3), "int64")).tolist() == [[[4, 4], [4, 4]]]
    assert repr(layer) == "Conv2d(1, 1, kernel_size=(2, 2), stride=(1, 1), bias=False)"


# Call of the transposed layer


@st.composite
def transposed_layers_and_inputs(draw):
    """A layer, and an input that it can take, of small integers in float64: their sums are exact in any order."""
    given_arguments = draw(transposed_arguments().filter(lambda each: not any(map(is_sequence_of_one, each.values()))))
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


# Torch and back


@given(arguments(), st.sampled_from(FLOATS), st.integers(0, 2**32))
def test_to_torch_and_back_keeps_every_bit(given_arguments, dtype, seed):
    there_and_back(nn.Conv2d(**given_arguments, dtype=dtype, seed=seed))


@given(transposed_arguments(), st.sampled_from(FLOATS), st.integers(0, 2**32))
def test_transposed_to_torch_and_back_keeps_every_bit(given_arguments, dtype, seed):
    there_and_back(nn.ConvTranspose2d(**given_arguments, dtype=dtype, seed=seed))


def there_and_back(layer):
    """torch's layer and the one made of it have the same text and bits; torch's random state stays as it is."""
    state = torch.random.get_rng_state()
    module = layer.to_torch()
    back = type(layer).from_torch(module)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert repr(back) == repr(module) == repr(layer)
    assert (module.bias is None) == (back.bias is None) == (layer.bias is None)
    for name, theirs in module.named_parameters():
        assert theirs.requires_grad
        assert isinstance(theirs, torch.nn.Parameter)
        assert same_bits(theirs.detach().numpy(), getattr(layer, name))
        assert same_bits(getattr(back, name), getattr(layer, name))


def test_a_subclass_is_torchs_layer_too():
    """Whatever its own name."""

    class Mine(nn.Conv2d):
        pass

    module = Mine(2, 3, 1, seed=0).to_torch()
    assert type(module) is torch.nn.Conv2d
    assert type(Mine.from_torch(module)) is Mine


def test_copies_share_no_memory():
    """Training the one does not change the other."""
    module = torch.nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)
    layer = nn.Conv2d.from_torch(module)
    kept = layer.weight.copy(), layer.bias.copy()
    with torch.no_grad():
        module.weight += 1
        module.bias += 1
    assert same_bits(layer.weight, kept[0])
    assert same_bits(layer.bias, kept[1])
    other = layer.to_torch()
    layer.weight += 1
    layer.bias += 1
    assert same_bits(other.weight.detach().numpy(), kept[0])
    assert same_bits(other.bias.detach().numpy(), kept[1])


class _Subclass(torch.nn.Conv2d):
    """Might compute anything."""


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (torch.nn.ConvTranspose2d(1, 1, 3), "torch.nn.modules.conv.ConvTranspose2d"),
        (torch.nn.Conv1d(1, 1, 3), "torch.nn.modules.conv.Conv1d"),
        (torch.nn.Conv3d(1, 1, 3), "torch.nn.modules.conv.Conv3d"),
        (_Subclass(1, 1, 3), "_Subclass"),
        (nn.Conv2d(1, 1, 3), "refconv.nn.layers.Conv2d"),
        (torch.ones(1, 1, 3, 3), "torch.Tensor"),
        (None, "NoneType"),
        (torch.nn.Conv2d, "type"),
        (torch.nn.Conv2d(1, 1, 3, dtype=torch.complex64), "complex64"),
    ],
)
def test_from_torch_refuses_other_things(module, words):
    with pytest.raises(TypeError, match="module") as info:
        nn.Conv2d.from_torch(module)
    assert words in str(info.value)


@pytest.mark.parametrize(
    "module", [torch.nn.Conv2d(1, 1, 3), torch.nn.ConvTranspose1d(1, 1, 3), torch.nn.LazyConvTranspose2d(1, 3)]
)
def test_transposed_from_torch_refuses_other_things(module):
    with pytest.raises(TypeError, match=rf"module is a .*{type(module).__name__}: must be a torch.nn.ConvTranspose2d"):
        nn.ConvTranspose2d.from_torch(module)


def test_from_torch_refuses_other_devices():
    with pytest.raises(BackendUnavailable, match=r"module\.weight.*meta"):
        nn.Conv2d.from_torch(torch.nn.Conv2d(1, 1, 3, device="meta"))


# Devices and optional modules


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_cpu(device):
    layer = nn.Conv2d(1, 2, 3, device=device)
    assert layer.to(device) is layer


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda", 0)])
def test_no_cuda(device):
    with pytest.raises(BackendUnavailable, match="cuda"):
        nn.Conv2d(1, 2, 3, device=device)
    layer = nn.Conv2d(1, 2, 3)
    with pytest.raises(BackendUnavailable, match="cuda"):
        layer.to(device)


@pytest.mark.parametrize("device", ["gpu", "", "CPU", 0, torch.float32, torch.device("meta")])
def test_no_such_device(device):
    with pytest.raises(GeometryError, match="device="):
        nn.Conv2d(1, 2, 3, device=device)
    with pytest.raises(GeometryError, match="device="):
        nn.Conv2d(1, 2, 3).to(device)


@pytest.mark.parametrize(("module", "method"), [("torch", "to_torch"), ("matplotlib.figure", "plot_weights")])
def test_missing_module_says_what_to_install(module, method, monkeypatch):
    layer = nn.Conv2d(1, 2, 3)
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    package = module.partition(".")[0]
    with pytest.raises(ModuleNotFoundError, match=rf"{method}\(\) needs {package}: pip install {package}"):
        getattr(layer, method)()


def test_optional_modules_are_imported_by_their_methods_only():
    """Nothing but a picture loads matplotlib (and never its pyplot), nothing but `to_torch` loads torch."""
    program = """
import sys
from refconv import nn
layer = nn.Conv2d(1, 2, 3)
try:
    nn.Conv2d.from_torch(layer)
except TypeError:
    pass
assert not {"torch", "matplotlib", "numba"} & set(sys.modules)
layer.plot_weights()
assert not {"torch", "matplotlib.pyplot"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


# Pictures


def panels_of(figure):
    """(filter, channel) and image of each panel in order, and the colour bars."""
    panels = [axes for axes in figure.axes if axes.get_title()]
    bars = [axes for axes in figure.axes if not axes.get_title()]
    return panels, bars


@pytest.mark.parametrize("shape", [(1, 20, 5), (3, 8, 3), (4, 6, (1, 7), 1, 0, 1, 2), (1, 1, 1)])
def test_picture_shows_every_weight(shape):
    """A panel for each filter and channel, holding exactly its weights; a colour bar and one scale for each filter."""
    layer = nn.Conv2d(*shape, seed=0)
    figure = layer.plot_weights()
    panels, bars = panels_of(figure)
    assert len(panels) == math.prod(layer.weight.shape[:2])
    assert len(bars) == layer.out_channels
    for panel, (k, c) in zip(panels, np.ndindex(layer.weight.shape[:2]), strict=True):
        assert panel.get_title() == f"filter {k}, channel {c}"
        (image,) = panel.images
        assert np.array_equal(image.get_array(), layer.weight[k, c])
        largest = float(abs(layer.weight[k]).max())
        assert image.get_clim() == (-largest, largest)
        if c == layer.weight.shape[1] - 1:
            assert image.colorbar.ax is bars[k]
    assert figure.get_suptitle() == repr(layer)


def test_picture_of_a_transposed_layer():
    """A filter for each input channel, as the weight lies."""
    layer = nn.ConvTranspose2d(2, 9, 3, groups=1, seed=0)
    panels, bars = panels_of(layer.plot_weights())
    assert (len(panels), len(bars)) == (18, 2)
    assert np.array_equal(panels[-1].images[0].get_array(), layer.weight[1, 8])


def test_picture_can_be_drawn(tmp_path):
    """Rendered without a display; no two axes overlap, none leaves the page."""
    figure = nn.Conv2d(2, 5, 3, seed=0).plot_weights()
    figure.savefig(tmp_path / "weights.png")
    assert (tmp_path / "weights.png").read_bytes().startswith(b"\x89PNG")
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    for i, box in enumerate(boxes):
        assert figure.bbox.count_contains(box.corners()) == 4
        assert box.count_overlaps(boxes[:i]) == 0


def test_picture_of_many_says_what_is_left_out():
    """16 channels and 256 panels at most; never silently."""
    figure = nn.Conv2d(20, 33, 1).plot_weights()
    panels, bars = panels_of(figure)
    assert (len(panels), len(bars)) == (plots.MAX_PANELS, plots.MAX_PANELS // plots.MAX_CHANNELS)
    assert panels[-1].get_title() == "filter 15, channel 15"
    assert "16 of 33 filters and 16 of 20 channels: choose with filters=, channels=" in figure.get_suptitle()


def test_picture_of_the_chosen():
    """In the order asked for, even if there are many."""
    layer = nn.Conv2d(20, 33, 1, seed=0)
    figure = layer.plot_weights(filters=[32, 0], channels=range(19, -1, -1))
    panels, bars = panels_of(figure)
    assert len(bars) == 2
    expected = [f"filter {k}, channel {c}" for k in (32, 0) for c in range(19, -1, -1)]
    assert [panel.get_title() for panel in panels] == expected
    assert panels[0].images[0].get_array().item() == layer.weight[32, 19].item()
    assert "2 of 33 filters and 20 of 20 channels" in figure.get_suptitle()


@pytest.mark.parametrize(
    ("values", "largest"),
    [([0, 0], 1), ([np.nan, 2], 2), ([np.inf, -3], 3), ([-np.inf, np.nan], 1), ([1e-42, 0], 1e-42)],
)
def test_picture_of_special_values(values, largest, tmp_path):
    """Drawn without a warning; the scale is that of the finite weights."""
    layer = nn.Conv2d(1, 1, (1, 2))
    layer.weight = np.array(values, "float32").reshape(1, 1, 1, 2)
    figure = layer.plot_weights()
    figure.savefig(tmp_path / "weights.png")
    assert figure.axes[0].images[0].get_clim()[1] == np.float32(largest)


@pytest.mark.parametrize(
    ("chosen", "error", "words"),
    [
        ({"filters": [2]}, GeometryError, r"filters=\[2\].*below 2"),
        ({"filters": [-1]}, GeometryError, "filters=-1.*at least 0"),
        ({"filters": []}, GeometryError, r"filters=\[\].*at least one"),
        ({"filters": 1}, TypeError, "filters=1.*sequence"),
        ({"filters": [True]}, TypeError, "filters=True.*integer"),
        ({"filters": "0"}, TypeError, "filters='0'.*integer"),
        ({"channels": (0, 3)}, GeometryError, r"channels=\(0, 3\).*below 3"),
        ({"channels": [0.0]}, TypeError, r"channels=0\.0.*integer"),
    ],
)
def test_picture_of_what_is_not_there(chosen, error, words):
    with pytest.raises(error, match=words):
        nn.Conv2d(3, 2, 3).plot_weights(**chosen)


def test_picture_of_nothing():
    with pytest.raises(GeometryError, match="channels"):
        nn.Conv2d(0, 2, 3).plot_weights()


# Bad input

GOOD = {"in_channels": 4, "out_channels": 6, "kernel_size": 3}
WRONG = [
    ({"in_channels": -1}, GeometryError, "in_channels=-1.*at least 0"),
    ({"in_channels": 4.0}, TypeError, r"in_channels=4\.0.*integer"),
    ({"in_channels": True}, TypeError, "in_channels=True.*integer"),
    ({"in_channels": (4,)}, TypeError, r"in_channels=\(4,\).*integer"),
    ({"in_channels": 2**31}, GeometryError, "in_channels=2147483648.*at most"),
    ({"out_channels": 0}, GeometryError, "out_channels=0.*at least 1"),
    ({"out_channels": None}, TypeError, "out_channels=None.*integer"),
    ({"kernel_size": 0}, GeometryError, "kernel_size=0.*at least 1"),
    ({"kernel_size": (3, -1)}, GeometryError, "kernel_size=-1.*at least 1"),
    ({"kernel_size": (3, 3, 3)}, GeometryError, r"kernel_size=\(3, 3, 3\).*2 of them"),
    ({"kernel_size": (3,)}, GeometryError, r"kernel_size=\(3,\).*2 of them"),
    ({"kernel_size": ()}, GeometryError, r"kernel_size=\(\).*2 of them"),
    ({"kernel_size": math.nan}, TypeError, "kernel_size=nan.*integer"),
    ({"kernel_size": "3"}, TypeError, "kernel_size='3'.*integer"),
    ({"stride": 0}, GeometryError, "stride=0.*at least 1"),
    ({"stride": (1, 2, 3)}, GeometryError, r"stride=\(1, 2, 3\).*2 of them"),
    ({"stride": 1.5}, TypeError, r"stride=1\.5.*integer"),
    ({"padding": -1}, GeometryError, "padding=-1.*at least 0"),
    ({"padding": 2**31}, GeometryError, "padding=2147483648.*at most"),
    ({"padding": "SAME"}, GeometryError, "padding='SAME'.*'same' or 'valid'"),
    ({"padding": "same", "stride": (1, 2)}, GeometryError, r"padding='same'.*stride=\(1, 2\).*must be 1"),
    ({"padding": "same", "stride": [2]}, GeometryError, r"padding='same'.*stride=\(2, 2\).*must be 1"),
    ({"padding": ((1, 1), (1, -1))}, GeometryError, "padding=-1.*at least 0"),
    ({"padding": (1, 1, 1, 1)}, GeometryError, r"padding=\(1, 1, 1, 1\).*2 of them"),
    ({"padding": None}, TypeError, "padding=None.*integer"),
    ({"dilation": 0}, GeometryError, "dilation=0.*at least 1"),
    ({"dilation": False}, TypeError, "dilation=False.*integer"),
    ({"groups": 0}, GeometryError, "groups=0.*at least 1"),
    ({"groups": -2}, GeometryError, "groups=-2.*at least 1"),
    ({"groups": 3}, GeometryError, "groups=3.*in_channels=4"),
    ({"groups": 4}, GeometryError, "groups=4.*out_channels=6"),
    ({"groups": (2,)}, TypeError, r"groups=\(2,\).*integer"),
    ({"bias": None}, TypeError, "bias=None.*True or False"),
    ({"bias": 1}, TypeError, "bias=1.*True or False"),
    ({"bias": np.ones(6)}, TypeError, "bias=.*True or False"),
    ({"padding_mode": "constant"}, GeometryError, "padding_mode='constant'.*'reflect'"),
    ({"padding_mode": None}, GeometryError, "padding_mode=None.*'reflect'"),
    ({"dtype": "complex64"}, TypeError, "dtype='complex64'.*float32"),
    ({"dtype": "i4,,"}, TypeError, "dtype='i4,,'.*float32"),
    ({"dtype": ">f4"}, TypeError, "dtype='>f4'.*float32"),
    ({"dtype": int}, TypeError, "dtype=.*int.*float32"),
    ({"dtype": torch.complex64}, TypeError, r"dtype=torch\.complex64.*float32"),
    ({"dtype": np.ones(2)}, TypeError, "dtype=.*float32"),
    ({"seed": -1}, ValueError, "seed=-1.*non-negative"),
    ({"seed": 0.5}, TypeError, r"seed=0\.5.*integer"),
    ({"seed": "zero"}, TypeError, "seed='zero'.*integer"),
]


@pytest.mark.parametrize(("wrong", "error", "words"), WRONG, ids=[str(wrong)[1:-1] for wrong, *_ in WRONG])
def test_wrong_argument_is_refused(wrong, error, words):
    """At construction, by an error that names the argument, its value and what it must be."""
    nn.Conv2d(**GOOD)
    with pytest.raises(error, match=words) as info:
        nn.Conv2d(**GOOD | wrong)
    assert info.type in {error, GeometryError}


@pytest.mark.parametrize(
    ("image", "error", "words"),
    [
        (np.ones((1, 5, 8, 8), "float32"), GeometryError, r"weight of shape \(6, 4, 3, 3\)"),
        (np.ones((1, 4, 8, 8)), TypeError, "float32.*float64"),
        (np.ones((4, 8), "float32"), GeometryError, r"input of shape \(4, 8\)"),
        (np.ones((1, 4, 2, 8), "float32"), GeometryError, r"kernel \(3, 3\)"),
        ([[1.0]], TypeError, "input is of type list"),
    ],
)
def test_call_refuses_what_the_operator_refuses(image, error, words):
    with pytest.raises(error, match=words):
        nn.Conv2d(**GOOD)(image)


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"in_channels": 0}, GeometryError, "in_channels=0.*at least 1"),
        ({"out_channels": 0}, GeometryError, "out_channels=0.*at least 1"),
        ({"kernel_size": (3,)}, GeometryError, r"kernel_size=\(3,\).*2 of them"),
        ({"stride": 0}, GeometryError, "stride=0.*at least 1"),
        ({"padding": "same"}, GeometryError, "padding='same'.*not a string"),
        ({"padding": -1}, GeometryError, "padding=-1.*at least 0"),
        ({"output_padding": 1}, GeometryError, r"output_padding=\(1, 1\).*smaller than stride=\(1, 1\)"),
        ({"output_padding": (0, 3), "stride": (9, 2)}, GeometryError, r"output_padding=\(0, 3\).*smaller"),
        ({"output_padding": -1}, GeometryError, "output_padding=-1.*at least 0"),
        ({"output_padding": None}, TypeError, "output_padding=None.*integer"),
        ({"output_padding": (0, 0, 0)}, GeometryError, r"output_padding=\(0, 0, 0\).*2 of them"),
        ({"groups": 3}, GeometryError, "groups=3.*in_channels=4"),
        ({"groups": 4}, GeometryError, "groups=4.*out_channels=6"),
        ({"padding_mode": "reflect"}, GeometryError, "padding_mode='reflect'.*'zeros'"),
        ({"padding_mode": None}, GeometryError, "padding_mode=None.*'zeros'"),
        ({"bias": None}, TypeError, "bias=None.*True or False"),
        ({"dtype": "int32"}, TypeError, "dtype='int32'.*float32"),
        ({"seed": -1}, ValueError, "seed=-1.*non-negative"),
    ],
)
def test_wrong_argument_of_the_transposed_layer_is_refused(wrong, error, words):
    """At construction, by an error that names the argument, its value and what it must be."""
    nn.ConvTranspose2d(**GOOD)
    with pytest.raises(error, match=words) as info:
        nn.ConvTranspose2d(**GOOD | wrong)
    assert info.type in {error, GeometryError}


@pytest.mark.parametrize(
    ("image", "size", "error", "words"),
    [
        (np.ones((1, 5, 8, 8), "float32"), None, GeometryError, r"weight of shape \(4, 6, 3, 3\)"),
        (np.ones((1, 4, 8, 8)), None, TypeError, "float32.*float64"),
        (np.ones((4, 8), "float32"), None, GeometryError, r"input of shape \(4, 8\)"),
        (np.ones((4, 8), "float32"), (10, 10), GeometryError, r"input of shape \(4, 8\)"),
        ([[1.0]], (10, 10), TypeError, "input is of type list"),
        (np.ones((1, 4, 8, 8), "float32"), 10, TypeError, "output_size=10.*sequence"),
        (np.ones((1, 4, 8, 8), "float32"), (10, 11), GeometryError, r"output_size=\(10, 11\).*\(10, 10\)"),
    ],
)
def test_transposed_call_refuses_what_the_operator_refuses(image, size, error, words):
    with pytest.raises(error, match=words):
        nn.ConvTranspose2d(**GOOD)(image, size)
