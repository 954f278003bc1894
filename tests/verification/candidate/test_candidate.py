"""Candidates: what they are called with, and all that a call does wrong, whatever the numbers are."""

import ctypes
import dataclasses
import pickle
import re
import shutil
import subprocess
import sys
import types
import warnings
from functools import cache

import jax
import numpy as np
import pytest
import torch
from common import same_bits
from hypothesis import example, given
from hypothesis import strategies as st
from paths import EXAMPLES

import refconv
from refconv.cases.fills import operands
from refconv.core import formats
from refconv.ops.family import OPERATORS
from refconv.verification.candidate import array_kinds, native
from refconv.verification.candidate import call as one_call
from refconv.verification.candidate.arrangements import ARRANGEMENTS, OTHER, poison, possible
from refconv.verification.candidate.call import Unsupported
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.candidate.loading import TargetError, load

C_EXAMPLES = EXAMPLES / "c"
FLOATS = [str(dtype) for dtype in formats.FLOATS]


def a_case(dtype="float32", *, batched=True, broadcast=(), fill="integers"):
    """A case of which no two sizes are equal."""
    x, w, b = operands(fill, (2, 4, 7, 6), (6, 2, 3, 2), bias=True, dtype=dtype, seed=1)
    for name, array in zip("xwb", (x, w, b), strict=True):
        if name in broadcast:
            array[:] = array[:1]
    options = {"stride": (2, 1), "padding": (0, 1), "dilation": (1, 2), "groups": 2}
    return refconv.Case(input=x if batched else x[0], weight=w, bias=b, **options)


def of(op, *arguments):
    """A case of any operator, with the arguments of its call."""
    return refconv.Case(op=op, **dict(zip(OPERATORS[op].parameters, arguments, strict=False)))


def faults(function, case=None, **options):
    """The properties that a call of a candidate violates."""
    call = {name: options.pop(name) for name in ("memory", "layout") if name in options}
    return dict(Candidate(function, **options).call(case or a_case(), **call).faults)


# What goes in.


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("name", ARRANGEMENTS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float8_e5m2", "int8", "complex64"])
def test_arrays_lie_as_asked_for_and_the_result_is_the_same(kind, name, dtype):
    case = a_case(dtype, broadcast="xwb" if name == "broadcast" else "")
    where = [each for each in ("input", "weight", "bias") if possible(name, kind, dtype, getattr(case, each).ndim)]
    seen = []

    def candidate(*arguments):
        seen.append([each.strides if kind == "numpy" else each.stride() for each in arguments[:3]])
        return refconv.conv2d(*arguments)

    memory = [(each, name) for each in where]
    outcome = Candidate(candidate, kind).call(case, memory=memory)
    assert outcome.faults == ()
    assert same_bits(outcome.result, case.expected())
    plain = Candidate(candidate, kind).call(case)
    assert plain.faults == ()
    if where and name not in ("contiguous", "offset", "unaligned"):
        assert seen[0] != seen[1]


@pytest.mark.parametrize("dtype", [*FLOATS, "complex128", "int16", "uint8"])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("style", ["return", "out"])
def test_every_dtype(dtype, kind, style):
    def candidate(*arguments):
        if style == "return":
            return refconv.conv2d(*arguments)
        arguments[-1][...] = refconv.conv2d(*arguments[:-1])
        return None

    case = a_case(dtype)
    outcome = Candidate(candidate, kind, style=style).call(case)
    assert outcome.faults == ()
    assert same_bits(outcome.result, case.expected())


READ_WRONG = [name for name in ARRANGEMENTS if name not in ("contiguous", "offset", "unaligned")]


@pytest.mark.parametrize("name", READ_WRONG)
@pytest.mark.parametrize("operand", ["input", "weight"])
def test_who_takes_memory_for_contiguous_is_seen(name, operand):
    def candidate(*arguments):
        read = list(arguments)
        index = ["input", "weight"].index(operand)
        read[index] = np.lib.stride_tricks.as_strided(
            read[index], strides=np.empty(read[index].shape, read[index].dtype).strides
        )
        return refconv.conv2d(*read)

    case = a_case(broadcast="xw" if name == "broadcast" else "")
    right = Candidate(candidate).call(case)
    assert same_bits(right.result, case.expected())
    outcome = Candidate(candidate).call(case, memory=[(operand, name)])
    assert outcome.faults == ()
    assert not case.check(outcome.result).ok


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("style", ["return", "out"])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_channels_last(batched, style, kind):
    def candidate(input, weight, bias, stride, padding, dilation, groups, *out, layout):
        assert layout == "NHWC"
        assert tuple(input.shape) == (2, 7, 6, 4)[not batched :]
        assert weight.shape == (6, 2, 3, 2)
        found = refconv.conv2d(input, weight, bias, stride, padding, dilation, groups, layout=layout)
        if not out:
            return found
        out[0][...] = found
        return out[0]

    case = a_case(batched=batched)
    outcome = Candidate(candidate, kind, style=style).call(case, layout="NHWC", memory=[("input", "row_pitch")])
    assert outcome.faults == ()
    assert same_bits(outcome.result, case.expected())


def test_channels_last_of_gradients():
    x, w, _ = operands("integers", (2, 4, 7, 6), (6, 4, 3, 2))
    grad = refconv.conv2d(x, w)
    options = ((1, 1), (0, 0), (1, 1), 1)
    for case in (
        of("conv2d_input", x.shape, w, grad, *options),
        of("conv2d_input", x.shape[1:], w, grad[0], *options),
        of("conv2d_weight", x, w.shape, grad, *options),
        of("conv2d_bias", grad),
    ):
        for style in ("return", "out"):
            function = getattr(refconv, case.op) if style == "return" else writes(of=getattr(refconv, case.op))
            outcome = Candidate(function, op=case.op, style=style).call(case, layout="NHWC")
            assert outcome.faults == ()
            assert same_bits(outcome.result, case.expected())


def test_keywords_are_handed_over():
    case = dataclasses.replace(a_case(), padding_mode="reflect")
    outcome = Candidate(refconv.conv2d).call(case)
    assert outcome.faults == ()
    assert same_bits(outcome.result, case.expected())
    assert not same_bits(outcome.result, a_case().expected())


def test_scalars_are_handed_over():
    def candidate(*arguments):
        assert all(isinstance(each, torch.Tensor) for each in arguments[:9] if each is not None)
        return refconv.conv2d_quantized(*arguments)

    scale, zero = np.float32(0.5), np.int8(3)
    x, w = np.ones((1, 2, 3, 3), "int8"), np.ones((2, 2, 1, 1), "int8")
    given = x, scale, zero, w, np.full(2, scale), np.zeros(2, "int8"), scale, zero
    case = of("conv2d_quantized", *given)
    outcome = Candidate(candidate, "torch").call(case)
    assert outcome.faults == ()
    assert same_bits(outcome.result, case.expected())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": [("bias2", "offset")]}, "memory of 'bias2'"),
        ({"memory": [("output", "offset")]}, "memory of 'output'"),
        ({"memory": [("input", "sideways")]}, "memory='sideways'"),
        ({"memory": [("input", "broadcast")]}, "memory='broadcast'"),
        ({"layout": "CHWN"}, "layout='CHWN'"),
        ({"memory": [("input", "negative")], "arrays": "torch"}, "negative strides"),
        ({"memory": [("input", "offset")], "arrays": "jax"}, "jax"),
        ({"arrays": "tinygrad"}, "arrays='tinygrad'"),
        ({"style": "inplace"}, "style='inplace'"),
        ({"op": "conv9d"}, "op='conv9d'"),
        ({"style": "out", "arrays": "jax"}, "jax arrays can't be written to"),
        ({"style": "out", "memory": [("output", "broadcast")]}, "memory of 'output'"),
    ],
)
def test_wrong_arguments(options, message):
    if options.get("arrays") == "jax" and "memory" in options:
        options = {**options, "memory": [("input", "row_pitch")]}
    with pytest.raises(ValueError, match=message):
        faults(refconv.conv2d, **options)


# What comes back, and what is left behind.


def returning(value):
    return lambda *_: value


def raising(error):
    def candidate(*_):
        raise error

    return candidate


def changes_its_bias(*arguments):
    arguments[2][0] += 1
    return refconv.conv2d(*arguments)


def writes_behind_its_input(input, *rest):
    out = refconv.conv2d(input, *rest)
    beyond(input)[input.size] = 7
    return out


def takes_another_shape(input, *rest):
    out = refconv.conv2d(input, *rest)
    input.shape = (*input.shape, 1)
    return out


def beyond(array, count=None):
    """The memory from an array's first element on, and before it."""
    address = array.ctypes.data
    count = count or array.size + 8
    return np.frombuffer((ctypes.c_char * (count * array.itemsize)).from_address(address), array.dtype)


@pytest.mark.parametrize(
    ("candidate", "violated", "text"),
    [
        (raising(RuntimeError("no")), "returns", "RuntimeError: no"),
        (raising(SystemExit(0)), "returns", "SystemExit: 0"),
        (changes_its_bias, "inputs unmodified", "argument bias"),
        (writes_behind_its_input, "inputs unmodified", "around its argument input"),
        (takes_another_shape, "inputs unmodified", "argument input"),
        (returning([1.0]), "kind of array", "builtins.list"),
        (returning(torch.ones(1)), "kind of array", "torch.Tensor"),
        (returning(np.ones(1, bool)), "shape and dtype", "bool"),
    ],
)
def test_faults(candidate, violated, text):
    outcome = Candidate(candidate).call(a_case())
    ((found, why),) = outcome.faults
    assert found == violated
    assert text in why
    assert one_call.__file__ not in why
    assert (outcome.result is None) == (violated != "inputs unmodified")


def test_a_tensor_that_became_another_is_seen():
    def candidate(input, *rest):
        out = refconv.conv2d(input, *rest)
        input.set_(torch.zeros_like(input))
        return out

    assert list(faults(candidate, arrays="torch")) == ["inputs unmodified"]


def test_what_is_no_fault():
    def warns(*arguments):
        warnings.warn("slow", stacklevel=2)
        return refconv.conv2d(*arguments)

    assert faults(warns) == {}  # pytest turns warnings into errors
    with pytest.raises(Unsupported, match="groups"):
        faults(raising(NotImplementedError("groups")))
    with pytest.raises(KeyboardInterrupt):
        faults(raising(KeyboardInterrupt()))


def test_results_are_copies():
    kept = np.ones((1, 1, 1, 1), "float32")
    candidate = Candidate(returning(kept))
    first = candidate.call(a_case()).result
    kept[...] = 2
    assert first == 1
    assert candidate.call(a_case()).result == 2


# What is written.


def writes(then=lambda _: None, of=refconv.conv2d):
    """A function that writes its output, and something else after that."""

    def candidate(*arguments, **keywords):
        *given, out = arguments
        out[...] = of(*given, **keywords)
        return then(out)

    return candidate


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("name", [each for each in ARRANGEMENTS if each != "broadcast"])
def test_results_without_elements(kind, name):
    case = refconv.Case(input=np.ones((0, 32, 15, 40), "float32"), weight=np.ones((32, 32, 1, 1), "float32"))
    if possible(name, kind, "float32"):
        assert faults(lambda *_: None, case, arrays=kind, style="out", memory=[("output", name)]) == {}


@given(
    name=st.sampled_from([each for each in ARRANGEMENTS if each != "broadcast"]),
    dtype=st.sampled_from(formats.SUPPORTED),
    left=st.integers(0, 95),
)
@example(name="row_pitch", dtype=np.dtype("int8"), left=95)
def test_one_element_that_was_not_written(name, dtype, left):
    if not possible(name, "numpy", formats.result_dtype(dtype)):
        name = "contiguous"
    values = operands("integers", (1, 4, 3, 8), (4, 4, 1, 1), dtype=str(dtype))
    case = refconv.Case(input=values[0], weight=values[1])
    index = np.unravel_index(left, case.unwritten.shape)

    def forgets(*arguments):
        *given, out = arguments
        held = out[index].copy()
        out[...] = refconv.conv2d(*given)
        out[index] = held

    assert faults(writes(), case, style="out", memory=[("output", name)]) == {}
    found = faults(forgets, case, style="out", memory=[("output", name)])
    assert list(found) == ["every output written"]
    assert f"1 of 96 elements were not written, the first at {tuple(map(int, index))}" in found["every output written"]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "bfloat16", "complex64"])
@pytest.mark.parametrize("byte", ["poison", "other"])
def test_values_that_look_like_poison_are_no_fault(dtype, byte):
    case = a_case(dtype)
    out_dtype = case.unwritten.dtype
    value = np.full(out_dtype.itemsize, poison(out_dtype) if byte == "poison" else OTHER, np.uint8).view(out_dtype)[0]

    def candidate(*arguments):
        arguments[-1][...] = value

    assert faults(candidate, case, style="out") == {}


def test_who_adds_to_the_output_has_written_it():
    def candidate(*arguments):
        *given, out = arguments
        out += refconv.conv2d(*given)

    outcome = Candidate(candidate, style="out").call(a_case())
    assert outcome.faults == ()
    assert not a_case().check(outcome.result).ok


@given(
    name=st.sampled_from([each for each in ARRANGEMENTS if each != "broadcast"]),
    where=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
)
def test_one_bit_outside_the_output(name, where, bit):
    def candidate(*arguments):
        *given, out = arguments
        out[...] = refconv.conv2d(*given)
        memory = out
        while memory.base is not None:
            memory = memory.base
        inside = np.zeros(memory.nbytes, bool)
        offset = out.ctypes.data - memory.ctypes.data
        np.ndarray((*out.shape, out.itemsize), bool, inside, offset, (*out.strides, 1))[...] = True
        (outside,) = np.nonzero(~inside)
        memory.view(np.uint8)[outside[int(where * len(outside))]] ^= 1 << bit

    found = faults(candidate, style="out", memory=[("output", name)])
    assert list(found) == ["nothing outside written"]
    assert re.search(r": 1 (before|behind|between)", found["nothing outside written"])


def test_where_it_was_written_is_said():
    def candidate(*arguments):
        *given, out = arguments
        out[...] = refconv.conv2d(*given)
        around = beyond(out, 400)
        around[[5, 8, 330]] = 1  # rows are 6 long and 9 apart

    case = a_case()
    assert case.unwritten.shape == (2, 6, 3, 6)
    found = faults(candidate, case, style="out", memory=[("output", "row_pitch")])
    assert found["nothing outside written"].endswith(": 1 between its elements, 1 behind it")


def test_dense_rows_in_an_output_with_a_pitch():
    """NVIDIA/cutlass#1323."""

    def candidate(*arguments):
        *given, out = arguments
        beyond(out)[: out.size] = refconv.conv2d(*given).reshape(-1)

    assert faults(candidate, style="out") == {}
    assert set(faults(candidate, style="out", memory=[("output", "row_pitch")])) == {
        "nothing outside written",
        "every output written",
    }


def test_what_a_writer_returns():
    assert faults(writes(lambda out: out), style="out") == {}
    found = faults(writes(lambda out: out.copy()), style="out")
    assert list(found) == ["kind of array"]
    assert "numpy.ndarray" in found["kind of array"]
    assert list(faults(writes(lambda _: 0), style="out")) == ["kind of array"]


def test_a_second_call_that_fails():
    count = iter(range(2))

    def candidate(*_):
        if next(count):
            raise ZeroDivisionError

    found = faults(candidate, style="out")
    assert list(found) == ["returns"]
    assert "the same call again: " in found["returns"]


def test_torch_writes_too():
    def candidate(*arguments):
        *given, out = arguments
        torch.add(torch.nn.functional.conv2d(*given), 0, out=out)
        return out

    for name in ("contiguous", "row_pitch", "channels_last", "interleaved"):
        assert faults(candidate, arrays="torch", style="out", memory=[("output", name)]) == {}


# Other libraries.


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
        assert [each.storage_offset() for each in arguments[:3]] == [0, 0, 0]
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
        found = torch.nn.functional.conv2d(*given)
        if style == "return":
            return found
        arguments[-1][...] = found
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
        arguments = [each.host if isinstance(each, OnDevice) else each for each in arguments]
        if style == "return":
            return cupy.asarray(refconv.conv2d(*arguments))
        arguments[-1][...] = refconv.conv2d(*arguments[:-1])
        return None

    where = [(each, name) for each in ("input", "weight", "output")[: 2 + (style == "out")]]
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
        found = str(error)
    else:
        pytest.skip("there is a GPU")
    assert found.startswith("arrays='numba' needs a GPU, or NUMBA_ENABLE_CUDASIM=1 in the environment")
    assert "pip install 'refconv[cuda]'" in found


def test_the_device_with_an_index(monkeypatch):
    """Of several GPUs the one that was asked for is waited for, and what lies on another one is not on it."""
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *device: waited.append(device))
    array_kinds.finish(None, "torch", "cuda:1")
    array_kinds.finish(None, "torch", "cuda")
    assert waited == [("cuda:1",), ()]
    one, two = torch.device("cuda:1"), torch.device("cuda:2")
    found = [array_kinds._lies_on(one, name) for name in ("cuda:1", "cuda", "cuda:2", "cpu")]
    assert found == [True, True, False, False]
    assert not array_kinds._lies_on(two, "cuda:1")
    assert array_kinds._lies_on(torch.device("cpu"), "cpu:0")


def test_what_is_not_installed():
    with pytest.raises(ModuleNotFoundError, match="arrays='cupy': cupy is not installed"):
        Candidate(refconv.conv2d, "cupy")


# The C ABI.

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc to compile the examples with")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A function that makes a shared library of an example, as its comment says."""
    folder = tmp_path_factory.mktemp("libraries")

    @cache
    def make(source, *flags):
        (line,) = re.findall(r"^ \*     (gcc .*)$", (C_EXAMPLES / f"{source}.c").read_text(), re.MULTILINE)
        library = str(folder / f"{source}{''.join(flags)}.so")
        command = [library if word == f"lib{source}.so" else word for word in line.split()]
        assert library in command
        subprocess.run([*command, "-Wall", "-Wextra", "-Werror", *flags], cwd=C_EXAMPLES.parents[1], check=True)
        return library

    return make


GEOMETRIES = [
    {},
    {"stride": (2, 1)},
    {"padding": (2, 1)},
    {"padding": ((0, 1), (2, 0))},
    {"padding": "same"},
    {"dilation": (1, 2), "padding": (1, 2)},
    {"groups": 2},
    {"groups": 2, "stride": (1, 3), "dilation": (2, 1), "padding": (2, 2)},
]


@needs_gcc
@pytest.mark.parametrize("options", GEOMETRIES, ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(2, 4, 7, 6), (4, 7, 6), (0, 4, 7, 6)])
def test_a_convolution_in_c(compiled, options, bias, shape):
    candidate = load(f"{compiled('conv2d')}:conv2d_f32")
    assert (candidate.arrays, candidate.style, candidate.function.supports) == ("numpy", "out", {"views": False})
    weight = (6, 4 // options.get("groups", 1), 3, 2)
    x, w, b = operands("normal", (shape if len(shape) == 4 else (1, *shape)), weight, bias=bias)
    case = refconv.Case(input=x.reshape(shape), weight=w, bias=b, **options)
    outcome = candidate.call(case)
    assert outcome.faults == ()
    assert case.check(outcome.result).ok


@needs_gcc
@pytest.mark.parametrize(
    ("bug", "options", "violated", "right"),
    [
        (1, {"dilation": (2, 1)}, [], False),
        (1, {"dilation": (2, 2)}, [], True),
        (2, {}, ["every output written"], False),
        (2, {"dilation": (2, 2)}, [], True),
        (3, {}, ["nothing outside written"], True),  # the next row, or nobody, overwrites what was too much
    ],
)
def test_mistakes_in_c_are_seen(compiled, bug, options, violated, right):
    case = refconv.Case(input=np.ones((1, 1, 6, 6), "float32"), weight=np.ones((1, 1, 2, 2), "float32"), **options)
    outcome = load(f"{compiled('conv2d', f'-DBUG={bug}')}:conv2d_f32").call(case)
    assert [name for name, _ in outcome.faults] == violated
    assert case.check(outcome.result).ok == right


@needs_gcc
def test_the_other_operators_in_c(compiled):
    x, w, b = operands("integers", (2, 4, 7, 6), (6, 2, 3, 2), bias=True)
    options = (2, 1), (0, 1), (1, 2), 2
    grad = refconv.conv2d(x, w, None, *options)
    grad[...] = np.arange(grad.size).reshape(grad.shape) % 7 - 3
    transposed = (2, 1), (1, 0), (1, 0), 2, (1, 2)
    x8, w8 = x.astype("int8"), w.astype("int8")
    zeros = np.int8(3), np.arange(6, dtype="int8")
    # Powers of two: no product of scales is rounded.
    half, quarters = np.float32(0.5), np.array([0.25, 0.5, 1, 2, 0.125, 0.25], "float32")
    quantized = x8, half, zeros[0], w8, quarters, zeros[1], half, np.int8(-5)
    called = {
        "conv2d_input_f32": ("conv2d_input", x.shape, w, grad, *options),
        "conv2d_weight_f32": ("conv2d_weight", x, w.shape, grad, *options),
        "conv2d_bias_f32": ("conv2d_bias", grad),
        "conv_transpose2d_f32": ("conv_transpose2d", grad, w, b[:4], *transposed),
        "conv2d_integer_s8": ("conv2d_integer", x8, w8, *zeros, *options),
        "conv2d_quantized_s8": ("conv2d_quantized", *quantized, b.astype("int32"), *options),
    }
    plain = {
        "conv2d_integer_s8": ("conv2d_integer", x8, w8, 3, -2, *options),
        "conv2d_quantized_s8": ("conv2d_quantized", x8, 0.5, 3, w8, 0.25, -2, 2.0, 7, None, *options),
    }
    for symbol, (op, *arguments) in [*called.items(), *plain.items()]:
        case = of(op, *arguments)
        outcome = load(f"{compiled('family')}:{symbol}", op=op).call(case)
        assert outcome.faults == ()
        assert same_bits(outcome.result, case.expected()), symbol


SOURCE = """
#include "refconv.h"
int unsupported(const refconv_conv2d *g) { return g->groups == 2 ? REFCONV_UNSUPPORTED : REFCONV_DONE; }
int fails(void) { return 7; }
"""


@needs_gcc
def test_what_a_function_in_c_returns(tmp_path):
    (tmp_path / "a.c").write_text(SOURCE)
    command = ["gcc", "-shared", "-fPIC", "-I", str(native.HEADER.parent), "-o", "a.so", "a.c"]
    subprocess.run(command, cwd=tmp_path, check=True)
    with pytest.raises(Unsupported, match="unsupported returned 1"):
        load(f"{tmp_path}/a.so:unsupported").call(a_case())
    (fault,) = load(f"{tmp_path}/a.so:fails").call(a_case()).faults
    assert fault[0] == "returns"
    assert "RuntimeError: fails returned 7" in fault[1]


@needs_gcc
def test_what_the_c_abi_does_not_have(compiled):
    candidate = load(f"{compiled('conv2d')}:conv2d_f32")
    for options in ({"memory": [("input", "row_pitch")]}, {"memory": [("output", "row_pitch")]}, {"layout": "NHWC"}):
        with pytest.raises(Unsupported, match="the C ABI has"):
            candidate.call(a_case(), **options)


@needs_gcc
def test_functions_in_c_go_to_other_processes(compiled):
    candidate = pickle.loads(pickle.dumps(load(f"{compiled('conv2d')}:conv2d_f32")))  # noqa: S301 - our own
    assert candidate.call(a_case()).faults == ()


@needs_gcc
def test_libraries_that_cannot_be_loaded(compiled, tmp_path):
    library = compiled("conv2d")
    broken = tmp_path / "broken.so"
    broken.write_text("no library")
    for target, options, message in (
        (f"{library}:conv9d", {}, "no symbol conv9d"),
        (f"{library}:conv2d_f32", {"arrays": "torch"}, "arrays='torch'"),
        ("no/such.so:conv2d", {}, "no file no/such.so"),
        (f"{broken}:conv2d", {}, "loading .*broken.so failed"),
        ("kernel.py:conv2d", {"abi": "c"}, "the C ABI is for shared libraries"),
        ("torch:conv2d", {"abi": "c"}, "the C ABI is for shared libraries"),
    ):
        with pytest.raises(TargetError, match=message):
            load(target, **options)
    with pytest.raises(ValueError, match="abi='rust'"):
        load("torch:conv2d", abi="rust")
    with pytest.raises(ValueError, match="op='conv9d'"):
        load(f"{library}:conv2d_f32", op="conv9d")


def test_the_header_says_what_is_passed():
    header = native.HEADER.read_text()
    (struct,) = re.findall(r"typedef struct \{(.*?)\} refconv_conv2d;", header, re.DOTALL)
    fields = re.findall(r"\w+", re.sub(r"/\*.*?\*/|int64_t", "", struct))
    assert tuple(fields) == native.FIELDS
    for op in OPERATORS:
        assert f" *   {op} " in header
    assert f"REFCONV_DONE {native.DONE}\n" in header
    assert f"REFCONV_UNSUPPORTED {native.UNSUPPORTED}\n" in header


# Where candidates come from.


def test_attributes_say_how_a_function_is_called(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "def conv2d(*_): pass\nconv2d.style = 'out'\nconv2d.arrays = 'torch'\n"
        "class Layer:\n    arrays = 'jax'\n    def supports(self, case): return True\n"
        "    def __call__(self, *_): return 3\n"
        "layer = Layer()\n"
    )
    found = load(f"{path}:conv2d", op="conv2d_bias")
    assert (found.arrays, found.style, found.op) == ("torch", "out", "conv2d_bias")
    found = load(f"{path}:layer")
    assert (found.arrays, found.style) == ("jax", "return")
    assert list(dict(found.call(a_case()).faults)) == ["kind of array"]
    assert load("refconv:conv2d", style="out").style == "out"
