"""Every kind of array in, the same kind out, in any memory layout."""

import array_api_strict
import numpy as np
import pytest
import torch
from processes import run

from refconv import conv2d
from refconv.arrays.interop import like, to_numpy
from refconv.core.formats import COMPLEX, NARROW, SUPPORTED, rounded

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


@pytest.mark.parametrize("dtype", [*NARROW, *COMPLEX], ids=str)
def test_every_torch_dtype_there_and_back(dtype):
    """With strides, conjugated and negated views, and grad; the result as torch's own dtype."""
    wide = torch.tensor(X) if dtype not in COMPLEX else torch.complex(torch.tensor(X), torch.tensor(X[::-1].copy()))
    tensor = wide.to(getattr(torch, dtype.name))
    turned = tensor.transpose(1, 3)
    array = to_numpy("input", turned)
    assert array.dtype == dtype
    assert array.strides == tuple(dtype.itemsize * step for step in turned.stride())
    assert np.shares_memory(array, to_numpy("input", tensor))
    expected = rounded(np.asarray(wide), dtype)
    assert to_numpy("input", tensor).tobytes() == expected.tobytes()
    assert to_numpy("input", tensor.requires_grad_()).tobytes() == expected.tobytes()
    back = like(tensor, expected)
    assert back.dtype == tensor.dtype
    assert to_numpy("input", back).tobytes() == expected.tobytes()


def test_views_of_torch_that_are_not_yet_computed():
    """Conjugated, negated, both; of the narrow formats too."""
    numbers = torch.complex(torch.tensor(X), torch.tensor(W[0, 0, 0, 0]).expand(X.shape))
    for lazy in (numbers.conj(), torch._neg_view(numbers), torch._neg_view(numbers.conj()), numbers.conj().imag):
        assert to_numpy("input", lazy).tobytes() == lazy.clone().resolve_conj().resolve_neg().numpy().tobytes()
    narrow = torch.tensor(X).to(torch.bfloat16)
    assert np.array_equal(to_numpy("input", torch._neg_view(narrow)), -to_numpy("input", narrow))


@pytest.mark.parametrize("dtype", SUPPORTED, ids=str)
def test_big_endian_arrays(dtype):
    """Of every dtype that has a byte order; a view where there is nothing to turn."""
    numbers = np.arange(5).astype(dtype)
    turned = numbers.astype(dtype.newbyteorder(">"))
    array = to_numpy("input", turned)
    assert array.dtype == dtype
    assert array.dtype.isnative
    assert array.tobytes() == numbers.tobytes()
    assert to_numpy("input", numbers) is numbers


class LikeJAX:
    """An array whose DLPack NumPy can't read, and whose `__array__` is ml_dtypes'."""

    def __init__(self, array):
        self.array, self.dtype = np.asarray(array), np.asarray(array).dtype

    def __array__(self, dtype=None, copy=None):
        return self.array

    def __dlpack__(self, **options):
        raise BufferError("unsupported dtype")

    def __dlpack_device__(self):
        return (1, 0)

    def __array_namespace__(self):
        return type("Namespace", (), {"asarray": LikeJAX})


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_dtypes_that_dlpack_does_not_know(dtype):
    """By `__array__`, and back by the library's own asarray."""
    numbers = np.arange(5).astype(dtype)
    assert np.shares_memory(to_numpy("input", LikeJAX(numbers)), numbers)
    assert to_numpy("input", LikeJAX(numbers)).dtype == dtype
    assert like(LikeJAX(numbers), numbers).array is numbers


def test_a_library_that_has_another_format_of_the_same_ending_is_refused():
    """bfloat16 for float16, which its name ends in; float8_e4m3fn is not float8_e4m3."""
    for dtype, other in (("float16", "bfloat16"), ("float8_e4m3fn", "float8_e4m3")):
        kind = type("Kind", (), {"__array_namespace__": lambda self: self.namespace})
        array = kind()
        array.namespace = type(
            "Namespace", (), {"asarray": staticmethod(lambda result, other=other: result.astype(other))}
        )
        with pytest.raises(TypeError, match=f"{dtype}.*{other}"):
            like(array, np.ones(2, dtype))


def test_import_is_light():
    """Neither torch, hypothesis, matplotlib nor Numba; nothing global is changed."""
    heavy = ("torch", "hypothesis", "matplotlib", "numba", "typer", "rich", "scipy")
    program = f"import refconv, sys; print([name for name in {heavy} if name in sys.modules])"
    done = run(program)
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


class NeitherWay(HostileDLPack):
    __array__ = None


@pytest.mark.parametrize(
    "value",
    [
        Hostile([[1.0]]), Hostile(np.ma.masked_array(X, X > 0)),
        HostileDLPack(error=ValueError("no")), NeitherWay(error=BufferError("no")),
    ],
    ids=["a list for an array", "a mask that would be lost", "DLPack and array that fail", "DLPack alone that fails"],
)  # fmt: skip
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
