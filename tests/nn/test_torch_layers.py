"""To torch's layer and back, devices, and modules that only some methods need."""

import sys

import pytest
import torch
from common import FLOATS, same_bits
from hypothesis import given
from hypothesis import strategies as st
from layers import arguments, transposed_arguments
from processes import run

from refconv import BackendUnavailable, GeometryError, nn

# Torch says these of layers that it makes and runs all the same.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Initializing zero-element tensors is a no-op"),
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths"),
]


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
        (nn.Conv2d(1, 1, 3), "refconv.nn.Conv2d"),
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
    run(program)
