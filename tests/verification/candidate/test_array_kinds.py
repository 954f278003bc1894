"""Arrays of JAX, torch on other devices and CuPy: handed over, waited for and read back."""

import dataclasses
import sys
import types

import jax
import numpy as np
import pytest
import torch
from candidates import a_case, faults, returning, writes
from common import same_bits

import refconv
from refconv.core import formats
from refconv.verification.candidate import array_kinds
from refconv.verification.candidate.arrangements import ARRANGEMENTS
from refconv.verification.candidate.call import Unsupported
from refconv.verification.candidate.candidate import Candidate


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_jax(dtype):
    def candidate(*arguments):
        assert isinstance(arguments[0], jax.Array)
        return refconv.conv2d(*arguments)

    case = a_case(dtype)
    outcome = Candidate(candidate, "jax").call(case)
    assert outcome.faults == ()
    assert same_bits(outcome.result, case.expected())


def test_jax_without_x64_has_no_float64():
    assert not jax.config.read("jax_enable_x64")
    with pytest.raises(Unsupported, match="x64"):
        Candidate(refconv.conv2d, "jax").call(a_case("float64"))


def test_an_array_of_jax_that_was_deleted():
    def candidate(input, *rest):
        out = refconv.conv2d(input, *rest)
        input.delete()
        return out

    assert list(faults(candidate, arrays="jax")) == ["inputs unmodified"]


def test_torch_on_another_device():
    """That of the CPU under another name, which goes the way of other devices."""

    def candidate(*arguments):
        assert [tensor.storage_offset() for tensor in arguments[:3]] == [0, 0, 0]
        return torch.nn.functional.conv2d(*arguments)

    candidate.device = "cpu:0"
    case = a_case()
    outcome = Candidate(candidate, "torch").call(case)
    assert outcome.faults == ()
    assert same_bits(outcome.result, case.expected())
    outcome = Candidate(candidate, "torch").call(case, memory=[("weight", "channels_last")])
    assert outcome.faults == ()
    candidate = writes()
    candidate.device = "cpu:0"
    assert faults(candidate, arrays="torch", style="out", memory=[("output", "row_pitch")]) == {}


def test_tensors_from_another_device():
    candidate = returning(torch.ones(1, device="meta"))
    assert list(faults(candidate, arrays="torch")) == ["kind of array"]
    assert "lies on meta" in faults(candidate, arrays="torch")["kind of array"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("style", ["return", "out"])
def test_torch_on_a_gpu(style):
    def candidate(*arguments):
        given = arguments[:7]
        result = torch.nn.functional.conv2d(*given)
        if style == "return":
            return result
        arguments[-1][...] = result
        return None

    candidate.device = "cuda"
    case = a_case()
    for name in ("contiguous", "channels_last", "row_pitch"):
        outcome = Candidate(candidate, "torch", style=style).call(case, memory=[("input", name), ("weight", name)])
        assert outcome.faults == ()
        assert case.check(outcome.result, refconv.ErrorModel.tf32()).ok


class OnDevice:
    """An array such as CuPy's, of which the elements can be had by `get` only."""

    def __init__(self, shape, dtype, pointer, strides):
        self.host = np.ndarray(shape, dtype, pointer.memory, pointer.offset, strides)

    @property
    def data(self):
        return Pointer(self.host)

    def get(self):
        return self.host.copy()


@dataclasses.dataclass
class Pointer:
    memory: np.ndarray
    offset: int = 0

    def __add__(self, offset):
        return Pointer(self.memory, self.offset + offset)


@pytest.fixture
def cupy(monkeypatch):
    """A stand-in for CuPy."""

    def asarray(array):
        if array.dtype == formats.NARROW[1]:
            raise ValueError("Unsupported dtype bfloat16")
        return OnDevice(array.shape, array.dtype, Pointer(array.copy()), array.strides)

    module = types.ModuleType("cupy")
    module.__spec__ = types.SimpleNamespace()
    module.asarray, module.ndarray, module.synchronized = asarray, OnDevice, []
    device = types.SimpleNamespace(synchronize=lambda: module.synchronized.append(1))
    module.cuda = types.SimpleNamespace(Device=lambda: device)
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


@pytest.mark.parametrize("name", [name for name in ARRANGEMENTS if name not in ("broadcast", "unaligned")])
@pytest.mark.parametrize("style", ["return", "out"])
def test_cupy(cupy, name, style):
    def candidate(*arguments):
        arguments = [argument.host if isinstance(argument, OnDevice) else argument for argument in arguments]
        if style == "return":
            return cupy.asarray(refconv.conv2d(*arguments))
        arguments[-1][...] = refconv.conv2d(*arguments[:-1])
        return None

    where = [(array, name) for array in ("input", "weight", "output")[: 2 + (style == "out")]]
    case = a_case()
    outcome = Candidate(candidate, "cupy", style=style).call(case, memory=where)
    assert outcome.faults == ()
    assert same_bits(outcome.result, case.expected())
    assert cupy.synchronized


def test_faults_on_a_device(cupy):
    def candidate(*arguments):
        arguments[0].host[...] = 0
        arguments[-1].data.memory.base[0] = 0

    assert set(faults(candidate, arrays="cupy", style="out")) == {
        "inputs unmodified",
        "nothing outside written",
        "every output written",
    }
    assert list(faults(refconv.nn.Conv2d, arrays="cupy")) == ["returns"]
    assert list(faults(returning(np.ones(1)), arrays="cupy")) == ["kind of array"]
    with pytest.raises(Unsupported, match="bfloat16"):
        faults(returning(cupy), a_case("bfloat16"), arrays="cupy")


def test_numbas_arrays_need_a_gpu_or_the_simulator():
    """What comes of them is in test_gpu_candidates."""
    try:
        Candidate(refconv.conv2d, "numba")
    except refconv.BackendUnavailable as error:
        message = str(error)
    else:
        pytest.skip("there is a GPU")
    assert message.startswith("arrays='numba' needs a GPU, or NUMBA_ENABLE_CUDASIM=1 in the environment")
    assert "pip install 'refconv[cuda]'" in message


def test_the_device_with_an_index(monkeypatch):
    """Of several GPUs the one that was asked for is waited for, and what lies on another one is not on it."""
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *device: waited.append(device))
    array_kinds.finish(None, "torch", "cuda:1")
    array_kinds.finish(None, "torch", "cuda")
    assert waited == [("cuda:1",), ()]
    one, two = torch.device("cuda:1"), torch.device("cuda:2")
    lies_there = [array_kinds._lies_on(one, name) for name in ("cuda:1", "cuda", "cuda:2", "cpu")]
    assert lies_there == [True, True, False, False]
    assert not array_kinds._lies_on(two, "cuda:1")
    assert array_kinds._lies_on(torch.device("cpu"), "cpu:0")


def test_what_is_not_installed():
    with pytest.raises(ModuleNotFoundError, match="arrays='cupy': cupy is not installed"):
        Candidate(refconv.conv2d, "cupy")
