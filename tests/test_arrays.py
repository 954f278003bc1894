"""Every kind of array in, the same kind out, in any memory layout."""

import subprocess
import sys

import array_api_strict
import numpy as np
import pytest
import torch

from refconv import conv2d
from refconv.arrays import like

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 4, 6, 5)).astype("float32")
W = RNG.standard_normal((6, 2, 3, 2)).astype("float32")
B = RNG.standard_normal(6).astype("float32")
EXPECTED = conv2d(X, W, B, groups=2)


class OnlyArray:
    """Something with `__array__` and nothing else."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


class OnlyDLPack(OnlyArray):
    """Something with DLPack and nothing else."""

    __array__ = None

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def negative(array):
    return array[::-1, :, ::-1].copy()[::-1, :, ::-1]


def unaligned(array):
    memory = np.empty(array.nbytes + 1, np.uint8)
    view = memory[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    assert not view.flags.aligned
    return view


LAYOUTS = {
    "fortran": np.asfortranarray,
    "channels last": lambda a: np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    "every second": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "negative strides": negative,
    "offset": lambda a: np.concatenate([a, a])[len(a) :],
    "unaligned": unaligned,
    "big endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "subclass": lambda a: a.view(type("Sub", (np.ndarray,), {})),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layouts(layout):
    """Where the numbers lie changes nothing; the result is native and contiguous."""
    out = conv2d(LAYOUTS[layout](X), LAYOUTS[layout](W), B, groups=2)
    assert out.dtype.isnative
    assert out.tobytes() == EXPECTED.tobytes()


def test_broadcast_arrays():
    """Zero strides."""
    x, w = np.broadcast_to(X[:1, :1], X.shape), np.broadcast_to(W[:1], W.shape)
    assert conv2d(x, w, B, groups=2).tobytes() == conv2d(x.copy(), w.copy(), B, groups=2).tobytes()


def torch_variants():
    x, w = torch.tensor(X), torch.tensor(W)
    yield "plain", x, w
    yield "channels_last", x.to(memory_format=torch.channels_last), w.to(memory_format=torch.channels_last)
    yield "requires grad", x.clone().requires_grad_(), torch.nn.Parameter(w)
    yield "non-contiguous", x.repeat_interleave(2, -1)[..., ::2], w.transpose(2, 3).contiguous().transpose(2, 3)
    yield "negated view", torch._neg_view(-x), w


@pytest.mark.parametrize("variant", list(torch_variants()), ids=lambda variant: variant[0])
def test_torch_tensors(variant):
    """A tensor in, a detached tensor of the same bits out."""
    _, x, w = variant
    out = conv2d(x, w, torch.tensor(B), groups=2)
    assert isinstance(out, torch.Tensor)
    assert not out.requires_grad
    assert out.numpy().tobytes() == EXPECTED.tobytes()


def test_array_api_library():
    """Any other array library that speaks DLPack and the array API standard gets its own kind back."""
    x, w, b = map(array_api_strict.asarray, (X, W, B))
    out = conv2d(x, w, b, groups=2)
    assert type(out) is type(x)
    assert np.from_dlpack(out).tobytes() == EXPECTED.tobytes()


@pytest.mark.parametrize("kind", [OnlyArray, OnlyDLPack])
def test_protocols_alone_give_numpy(kind):
    """What cannot be made from an array again comes back as NumPy's."""
    out = conv2d(kind(X), kind(W), kind(B), groups=2)
    assert type(out) is np.ndarray
    assert out.tobytes() == EXPECTED.tobytes()


def test_kinds_may_mix_and_the_input_decides():
    """Weights of a NumPy layer over a torch input."""
    assert isinstance(conv2d(torch.tensor(X), W, B, groups=2), torch.Tensor)
    assert isinstance(conv2d(X, torch.tensor(W), B, groups=2), np.ndarray)


def test_a_library_that_narrows_the_result_is_refused():
    """As JAX without x64 would: float64 in, float32 out."""

    class Narrow:
        def __array_namespace__(self):
            return type("Namespace", (), {"asarray": lambda array: array.astype("float32")})

    with pytest.raises(TypeError, match=r"Narrow.*float64.*float32"):
        like(Narrow(), np.ones(2))


def test_import_is_light():
    """Neither torch, hypothesis, matplotlib nor Numba; nothing global is changed."""
    heavy = ("torch", "hypothesis", "matplotlib", "numba", "typer", "rich", "scipy")
    program = f"import refconv, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class Hostile:
    """An object whose protocols misbehave."""

    def __init__(self, array=None, error=None):
        self.array, self.error = array, error

    def __array__(self, dtype=None, copy=None):
        return self.array

    def __dlpack_device__(self):
        return (1, 0)


class HostileDLPack(Hostile):
    def __dlpack__(self, **_):
        raise self.error


@pytest.mark.parametrize(
    "value",
    [Hostile([[1.0]]), Hostile(np.ma.masked_array(X, X > 0)), HostileDLPack(error=ValueError("no"))],
    ids=["a list for an array", "a mask that would be lost", "DLPack that fails"],
)
def test_what_only_claims_to_be_an_array_is_refused(value):
    """With the name of the argument, whatever the object's own error is."""
    with pytest.raises(TypeError, match="input "):
        conv2d(value, W)


def test_results_do_not_depend_on_earlier_calls():
    """NumPy's two unsigned 64-bit dtypes are equal and yet two, and torch knows one; metadata stay with their array."""
    ones = np.ones((1, 1, 3, 3))
    conv2d(ones.astype(np.ulonglong), ones.astype(np.ulonglong))
    tensor = torch.ones(1, 1, 3, 3).to(torch.uint64)
    assert conv2d(tensor, tensor).item() == 9
    marked = np.dtype("float32", metadata={"marked": True})
    assert conv2d(ones.astype(marked), ones.astype(marked)).dtype.metadata is None
    assert conv2d(ones.astype("float32"), ones.astype("float32")).dtype.metadata is None
