"""Arrays that lie on a GPU, of whatever library: read and written there, in order with the work on their stream.

Run on a GPU by `make gpu`. What stands in for one holds Numba's arrays only: there torch's and CuPy's are skipped.
"""

import ctypes
import gc
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
from common import same_bits
from family import DTYPES, FEWER, NARROW, OPERATORS, Arrays, axes_of, calls, modes_of, precisions_of, random_numbers
from hypothesis import given, settings
from hypothesis import strategies as st
from marks import sampled
from on_gpu import (  # noqa: F401 - a fixture
    EXAMPLES,
    INTERPRETED,
    MARKS,
    MISSING,
    SIMULATED,
    STOOD_IN_FOR,
    WORKSPACE,
    apart,
    buffers,
    device,
    libraries,
    numba_arrays,
    streams,
)

import refconv
from refconv.arrays import interop
from refconv.arrays.remote import near
from refconv.core.errors import BackendUnavailable
from refconv.core.geometry import convolution

pytestmark = [*MARKS, pytest.mark.skipif(SIMULATED, reason="the simulator's arrays have no addresses")]


# --- libraries -----------------------------------------------------------------------------------------------------


def on_device(array):
    """A copy in the device's memory: Numba's, which has no bits but NumPy's own."""
    copied = device.cuda.device_array(array.shape, array.dtype)
    if array.size:
        copied.copy_to_device(np.ascontiguousarray(array))
    return copied


class Numba:
    """How to put an array there and bring it back, and to write to one on a stream."""

    dtypes = tuple(
        dtype for dtype in DTYPES if dtype == "float16" or dtype not in NARROW
    )  # Numba can't copy the others

    def there(self, array):
        return on_device(array)

    def back(self, array):
        return array.copy_to_host()

    @contextmanager
    def stream(self):
        """A stream for which no work on the default one waits, nor it for that."""
        of_numba = import_module("numba.cuda.cudadrv.driver")
        handle = of_numba.driver.cuStreamCreate(of_numba.binding.CUstream_flags.CU_STREAM_NON_BLOCKING.value)
        try:
            yield streams.Stream(0, int(handle))
        finally:
            of_numba.driver.cuStreamDestroy(handle)

    def written(self, target, source, stream):
        """The target, with the source's numbers once the stream has come to that."""
        bound = target.bind(stream.numba())
        bound.copy_to_device(source)  # on that stream
        return bound


class Torch:
    dtypes = DTYPES

    def there(self, array):
        return interop.like(import_module("torch").empty(0), array).cuda()

    def back(self, array):
        return interop.to_numpy("array", array.cpu())

    @contextmanager
    def stream(self):
        torch = import_module("torch")
        with torch.cuda.stream(torch.cuda.Stream()):
            yield streams.Stream(0, torch.cuda.current_stream().cuda_stream)

    def written(self, target, source, _stream):
        return target.copy_(source)


class CuPy:
    dtypes = Numba.dtypes

    def there(self, array):
        return import_module("cupy").asarray(array)

    def back(self, array):
        return import_module("cupy").asnumpy(array)

    @contextmanager
    def stream(self):
        with import_module("cupy").cuda.Stream(non_blocking=True) as stream:
            yield streams.Stream(0, stream.ptr)

    def written(self, target, source, _stream):
        target[...] = source
        return target


def lacking(name):
    """Why a library's arrays can't be had, if they can't."""
    if STOOD_IN_FOR:
        return f"what stands in for a GPU holds no arrays of {name}'s"
    try:
        library = import_module(name)
    except ImportError as error:
        return f"no {name} ({error})"
    return "" if library.cuda.is_available() else f"the {name} that is installed can't use the GPU"


def needs(name):
    reason = MISSING or lacking(name)
    return pytest.mark.skipif(bool(reason), reason=reason)


LIBRARIES = pytest.mark.parametrize(
    "library",
    [Numba(), pytest.param(Torch(), marks=needs("torch")), pytest.param(CuPy(), marks=needs("cupy"))],
    ids=["Numba", "torch", "CuPy"],
)


class There(Arrays):
    """The same arrays, as a library's."""

    library = Numba()

    def arguments(self, op):
        put = self.library.there
        return tuple(
            put(argument) if isinstance(argument, np.ndarray) else argument for argument in super().arguments(op)
        )


@LIBRARIES
@given(st.data())
@settings(max_examples=max(1, EXAMPLES // 3))
def test_generated_calls(library, data):
    """They are read and written where they lie, and the result is one of them."""
    op, dtype, precision, geometry, seed = data.draw(calls(library.dtypes))
    expected = Arrays(geometry, seed, random_numbers(dtype)).call(op, precision=precision)
    given_there = There(geometry, seed, random_numbers(dtype))
    given_there.library = library
    actual = given_there.call(op, precision=precision)
    assert type(actual) is type(library.there(expected))
    assert same_bits(library.back(actual), expected)


@LIBRARIES
def test_views(library):
    """Arrays with steps are read as they lie."""
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype("float32") for shape in ((2, 3, 8, 9), (4, 3, 4, 5)))
    expected = refconv.conv2d(x[:, :, ::2, 1:], w[:, :, 1:, ::2])
    actual = refconv.conv2d(library.there(x)[:, :, ::2, 1:], library.there(w)[:, :, 1:, ::2])
    assert same_bits(library.back(actual), expected)


@cache
def idling():
    """A kernel that lets time pass."""

    @device.cuda.jit
    def idle(milliseconds):
        for _ in range(milliseconds):
            device.cuda.nanosleep(1_000_000)

    return idle


@LIBRARIES
def test_streams(library):
    """Numbers that come late, on another stream than the default one, are not read before they are there."""
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype("float32") for shape in ((2, 3, 8, 9), (4, 3, 4, 5)))
    truth, weight = library.there(x), library.there(w)
    with library.stream() as stream:
        for milliseconds in (0, 300):  # at first kernels are compiled and loaded, which may wait for the GPU
            target = library.there(np.zeros_like(x))
            numba_arrays.synchronize()
            import_module("refconv.engine.targets.cuda.launch").launch(idling(), 1, 1, stream, milliseconds)
            late = library.written(target, truth, stream)
            assert libraries.adopt("late", late).memory.stream == stream
            actual = refconv.conv2d(late, weight)
            assert libraries.adopt("found", actual).memory.stream == stream
            assert same_bits(library.back(actual), refconv.conv2d(x, w))


@pytest.mark.skipif(STOOD_IN_FOR, reason="what stands in for a GPU does one thing at a time")
def test_threads():
    """Each on a stream of its own and on the default one, all at once: none writes into another's memory."""
    rng = np.random.default_rng(0)
    operands = [[rng.standard_normal((2, 8, n, n)).astype("float32") for n in (size, 3)] for size in range(8, 16)]
    expected = [refconv.conv2d(x, w) for x, w in operands]
    library = Numba()

    def both_streams(which):
        x, w = (library.there(operand) for operand in operands[which % 8])
        numba_arrays.synchronize()
        with library.stream() as stream:
            alone = refconv.conv2d(x.bind(stream.numba()), w.bind(stream.numba()))
            numba_arrays.synchronize()
            return [alone.copy_to_host(), refconv.conv2d(x, w).copy_to_host()]

    with ThreadPoolExecutor(8) as threads:
        for which, results in enumerate(threads.map(both_streams, range(64))):
            assert all(same_bits(result, expected[which % 8]) for result in results)


class OnlyInterface:
    """An array with `__cuda_array_interface__` and nothing else."""

    def __init__(self, array):
        self.array, self.__cuda_array_interface__ = array, array.__cuda_array_interface__


@LIBRARIES
def test_interface_alone(library, monkeypatch):
    """The driver is asked which GPU an address is on; the result is Numba's."""
    if "ptxsim" in sys.modules:
        monkeypatch.setattr(libraries, "_gpu_of", lambda _: 0)  # there is no driver to ask
    x, w = np.arange(12.0).reshape(1, 1, 3, 4), np.ones((1, 1, 2, 2))
    given_x, given_w = OnlyInterface(library.there(x)), OnlyInterface(library.there(w))
    assert libraries._gpu_of(given_x) == 0
    assert same_bits(refconv.conv2d(given_x, given_w).copy_to_host(), refconv.conv2d(x, w))


@needs("torch")
def test_tensors_that_are_more_than_numbers():
    """Conjugated and negated lazily, with gradients, parameters, channels last: as torch's on the CPU."""
    torch = import_module("torch")
    rng = np.random.default_rng(0)
    x, w = (
        torch.from_numpy(rng.standard_normal((*shape, 2))).view(torch.complex128).squeeze(-1)
        for shape in ((2, 3, 6, 5), (4, 3, 2, 2))
    )
    assert x.conj().is_conj()
    assert x.conj().imag.is_neg()

    def asked(x, w):
        return [
            refconv.conv2d(x.conj(), w),
            refconv.conv2d(x.conj().imag, w.real),
            refconv.conv2d(x.real.detach().requires_grad_(), w.imag),
            refconv.conv2d(x, torch.nn.Parameter(w)),
            refconv.conv2d(x.to(memory_format=torch.channels_last), w),
        ]

    for actual, expected in zip(asked(x.cuda(), w.cuda()), asked(x, w), strict=True):
        assert type(actual) is type(x.cuda())
        assert (actual.device, actual.requires_grad) == (torch.device("cuda", 0), False)
        assert same_bits(actual.cpu().numpy(), expected.numpy())


# --- protocols, other GPUs and streams -----------------------------------------------------------------------------


class OnlyDLPack:
    """An array in the device's memory with DLPack and nothing else; `lent` are the streams that it was lent for.

    The structure is NumPy's own, of an array of the host with the same shape and strides, told to lie on the device.
    """

    def __init__(self, array, device=(2, 0), code=None):
        self.array, self.device, self.code, self.lent = array, device, code, []

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, *, stream, **options):
        self.lent.append(stream)
        nothing = np.empty(1, self.array.dtype)
        capsule = np.lib.stride_tricks.as_strided(nothing, self.array.shape, self.array.strides).__dlpack__()
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
        tensor = pointer(capsule, b"dltensor")  # data, device, number of axes, dtype's code, ...
        ctypes.c_void_p.from_address(tensor).value = self.array.__cuda_array_interface__["data"][0]
        (ctypes.c_int32 * 2).from_address(tensor + 8)[:] = self.device
        if self.code:
            ctypes.c_uint8.from_address(tensor + 20).value = self.code
        return capsule


@pytest.mark.parametrize("kind", [2, 13], ids=["device", "managed"])
def test_dlpack_alone(kind):
    """Read as it lies, when the numbers are ready for the default stream; the result is Numba's."""
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype("float32") for shape in ((2, 3, 8, 9), (4, 3, 4, 5)))
    expected = refconv.conv2d(x[:, :, ::2, 1:], w)
    given_x, given_w = OnlyDLPack(on_device(x)[:, :, ::2, 1:], (kind, 0)), OnlyDLPack(on_device(w), (kind, 0))
    actual = refconv.conv2d(given_x, given_w)
    assert same_bits(actual.copy_to_host(), expected)
    assert given_x.lent == given_w.lent == [1]  # the protocol's name for the legacy default stream
    exact = refconv.conv2d(x[:, :, ::2, 1:], w, precision="exact")
    assert same_bits(refconv.conv2d(given_x, given_w, precision="exact").copy_to_host(), exact)


def test_dtypes_of_dlpack():
    """bfloat16 has a code of its own; what the reader does not know is refused."""
    x, w = (np.arange(1, 1 + n).astype("bfloat16").reshape(1, 1, 1, n) for n in (7, 2))
    given_x, given_w = (OnlyDLPack(on_device(array.view("uint16")), code=4) for array in (x, w))
    actual = refconv.conv2d(given_x, given_w)
    assert actual.dtype == x.dtype
    assert same_bits(actual.view("uint16").copy_to_host().view(x.dtype), refconv.conv2d(x, w))
    float8 = OnlyDLPack(on_device(np.zeros((1, 1, 1, 7), "uint8")), code=10)
    with pytest.raises(TypeError, match=r"input of type OnlyDLPack can't be read through DLPack: .*dtype"):
        refconv.conv2d(float8, given_w)
    flags = OnlyDLPack(on_device(np.zeros((1, 1, 1, 7), "uint8")), code=6)
    with pytest.raises(TypeError, match="input has dtype bool: must be one of"):
        refconv.conv2d(flags, given_w)


class OfALibrary(OnlyDLPack):
    """One whose library has a namespace, and so can be given results."""

    def __array_namespace__(self):
        return self

    @staticmethod
    def from_dlpack(lent):
        return Received(lent)


class Received:
    """What it makes of them."""

    def __init__(self, lent):
        self.dtype = device.StridedMemoryView.from_dlpack(lent, stream_ptr=-1).dtype
        self.__dlpack__, self.__dlpack_device__ = lent.__dlpack__, lent.__dlpack_device__


def test_results_of_a_library(monkeypatch):
    """By its `from_dlpack`; what can't be written as DLPack is refused before anything is computed."""

    class Writer:  # cuda-core's asks the driver about addresses, which nothing but a driver stands in for
        from_dlpack = device.StridedMemoryView.from_dlpack

        @staticmethod
        def from_cuda_array_interface(array, stream_ptr):
            assert stream_ptr == -1
            if array.dtype == "bfloat16":
                raise BufferError("Unsupported dtype for DLPack export: bfloat16")
            return OnlyDLPack(array)

    if "ptxsim" in sys.modules:
        monkeypatch.setattr(libraries, "StridedMemoryView", Writer)
    x, w = np.arange(12.0).reshape(1, 3, 4), np.ones((1, 1, 2, 2))
    given_x = OfALibrary(on_device(x))
    actual = refconv.conv2d(given_x, on_device(w))
    assert type(actual) is Received
    assert same_bits(near(libraries.adopt("found", actual)), refconv.conv2d(x, w))
    narrow_x, narrow_w = (OfALibrary(on_device(np.zeros((1, 1, 1, 1), "uint16")), code=4) for _ in range(2))
    with pytest.raises(TypeError, match=r"can't be given a bfloat16 result through DLPack .*out_dtype must be another"):
        refconv.conv2d(narrow_x, narrow_w)
    assert refconv.conv2d(narrow_x, narrow_w, out_dtype="float32").dtype == "float32"


@pytest.mark.parametrize("adopted", [OnlyDLPack, None], ids=["DLPack", "CUDA array interface"])
def test_another_gpu(adopted, monkeypatch):
    """Arrays of one that is not the current one are refused, with what to do."""
    array = on_device(np.ones((1, 1, 2, 2)))
    given = adopted(array, (2, 1)) if adopted else array
    if not adopted:  # the interface names no device: the driver is asked
        monkeypatch.setattr(libraries, "_gpu_of", lambda _: 1)
    with pytest.raises(BackendUnavailable, match=r"input lies on GPU 1, and GPU 0 is the current one: .*cuda\.Device"):
        refconv.conv2d(given, array)


def test_other_streams():
    """What was begun on another stream than the result's is waited for."""
    x, w = np.ones((1, 1, 2, 2)), np.ones((1, 1, 1, 1))
    waited = []

    class Counted(streams.Stream):
        def wait(self):
            waited.append(self)

    given_x, given_w = libraries.adopt("x", on_device(x)), libraries.adopt("w", on_device(w))
    given_w.memory = streams.StreamMemory(Counted(0, 7))
    assert streams.stream_of(given_x, None, x, given_w) == streams.Stream(0, 0)
    assert waited == [(0, 7)]


def test_mixed_devices():
    """Neither is copied silently."""
    x, w = np.ones((1, 1, 2, 2)), np.ones((1, 1, 1, 1))
    with pytest.raises(TypeError, match="weight lies on the CPU and input on the GPU: must be on the same device"):
        refconv.conv2d(on_device(x), w)
    with pytest.raises(BackendUnavailable, match=r"backend='cpu'.*must be 'cuda' or 'auto' for arrays on the GPU"):
        refconv.conv2d(on_device(x), on_device(w), backend="cpu")


def test_quantised():
    """Zero points are subtracted on the device."""
    rng = np.random.default_rng(0)
    x, w = rng.integers(0, 255, (2, 3, 5, 5), "uint8"), rng.integers(-128, 127, (4, 3, 3, 3), "int8")
    expected = refconv.conv2d_integer(x, w, 7, 3)
    actual = refconv.conv2d_integer(on_device(x), on_device(w), 7, 3)
    assert same_bits(actual.copy_to_host(), expected)
    scales = (0.5, 7, w, 0.25, 3, 9.0, 11)
    expected = refconv.conv2d_quantized(x, *scales)
    actual = refconv.conv2d_quantized(on_device(x), *scales[:2], on_device(w), *scales[3:])
    assert same_bits(actual.copy_to_host(), expected)


def test_layers():
    """Parameters follow the input; a layer that was moved computes the host's arrays there."""
    layer = refconv.nn.Conv2d(2, 3, 3, seed=0)
    x = np.random.default_rng(0).standard_normal((1, 2, 5, 5)).astype("float32")
    expected = layer(x)
    assert same_bits(layer(on_device(x)).copy_to_host(), expected)
    assert same_bits(layer.to("cuda")(x), expected)


class Memory:
    """What is allocated on the device, and at most was; there are `most` bytes."""

    def __init__(self, monkeypatch):
        self.of, self.allocated, self.peak, self.most = {}, 0, 0, math.inf
        self.driver = device.driver.driver
        self.real = self.driver.cuMemAlloc, self.driver.cuMemFree
        monkeypatch.setattr(self.driver, "cuMemAlloc", self.allocate)
        monkeypatch.setattr(self.driver, "cuMemFree", self.free)

    @property
    def bytes(self):
        return sum(self.of.values())

    def restart(self):
        gc.collect()  # Numba's compiler keeps frames that refer to each other
        buffers._KEPT.release(0)
        self.peak = self.bytes

    def allocate(self, size):
        if self.bytes + size > self.most:
            code = device.driver.binding.CUresult.CUDA_ERROR_OUT_OF_MEMORY
            raise device.driver.CudaAPIError(code, "out of memory")
        pointer = self.real[0](size)
        self.of[int(pointer)] = size
        self.allocated += 1
        self.peak = max(self.peak, self.bytes)
        return pointer

    def free(self, pointer):
        self.of.pop(int(pointer), None)
        self.real[1](pointer)


@pytest.fixture
def memory(monkeypatch):
    """The device's memory, with nothing of ours in it."""
    monkeypatch.setattr(buffers, "workspace", WORKSPACE)
    allocated = Memory(monkeypatch)
    allocated.restart()
    yield allocated
    buffers._KEPT.release(0)


@pytest.mark.parametrize("put", [np.asarray, on_device], ids=["host", "device"])
def test_memory_stays_the_same(put, memory):
    """Calls allocate nothing but their results: the workspace and the tables are there."""
    x, w = (put(np.ones(shape, "float32")) for shape in ((1, 1, 64, 64), (1, 1, 1, 1)))
    refconv.conv2d(x, w, backend="cuda")
    for _ in range(12):
        allocated = memory.allocated
        refconv.conv2d(x, w, backend="cuda")
        assert memory.allocated - allocated == (0 if put is np.asarray else 1)


@pytest.mark.parametrize("put", [np.asarray, on_device], ids=["host", "device"])
@pytest.mark.parametrize("op", ["conv2d", "conv2d_input", "conv2d_weight"])
def test_memory_is_bounded(op, put, memory, monkeypatch):
    """By the budget, besides arrays of the device and what is kept; and what is not kept is given back."""
    of_target = import_module("refconv.engine.targets.cuda.execute")
    monkeypatch.setattr(buffers, "FREED_AT_ONCE", 0)
    monkeypatch.setattr(of_target, "BUDGET", 2**14)
    monkeypatch.setattr(of_target, "MOST_KEPT", 0)
    geometry = convolution((4, 4, 5, 6), (8, 4, 3, 3), None, 1, 1, 1, 1, "zeros")
    arrays_there = There(geometry, 0, random_numbers("float32"))
    arrays_there.library = SimpleNamespace(there=put)
    expected = Arrays(geometry, 0, random_numbers("float32")).call(op, backend="cpu")
    operands = sum(array.nbytes for array in (arrays_there.input, arrays_there.weight, arrays_there.grad))
    arrays_there.call(op, backend="cuda")
    memory.restart()  # without what compiling leaves
    actual = arrays_there.call(op, backend="cuda")
    if put is np.asarray:
        assert memory.bytes == 0
        assert memory.peak <= of_target.BUDGET
    else:
        assert memory.bytes <= operands + actual.nbytes  # Numba may not have freed them yet
        assert memory.peak <= of_target.BUDGET + operands + actual.nbytes
        actual = actual.copy_to_host()
    assert same_bits(actual, expected)


def test_what_is_kept(memory, monkeypatch):
    """As much as may be, of what was used last; a thread and a stream have their own; nothing if there is no room."""
    monkeypatch.setattr(buffers, "FREED_AT_ONCE", 0)
    monkeypatch.setattr(buffers, "LEAST_CHARGED", 0)
    first, second, third = (streams.Stream(0, handle) for handle in (0, 7, 8))
    kept = [buffers.workspace(1000, stream).address for stream in (first, second, third)]
    assert len({*kept}) == 3
    assert buffers.workspace(900, first).address == kept[0]
    with ThreadPoolExecutor(1) as another:
        assert another.submit(lambda: buffers.workspace(900, first).address).result() not in kept
    assert buffers.workspace(1500, second).n_bytes == 1500
    assert memory.bytes == 1000 + 900 + 1000 + 1500
    buffers.settle(1500 + 900)
    assert memory.bytes == 1500 + 900
    memory.most = 2500
    assert buffers.workspace(2000, third).n_bytes == 2000
    assert memory.bytes == 2000
    buffers.settle(1999, workspaces=False)
    assert memory.bytes == 2000
    buffers.settle(1999)
    assert memory.bytes == 0
    tables = partial(buffers.tables, "a use", first, lambda: (np.zeros(500, "uint8"), "known"))
    assert tables()[1] == "known"
    assert tables()[0] is tables()[0]
    monkeypatch.setattr(buffers, "LEAST_CHARGED", 10000)  # few small ones
    buffers.tables("another use", first, lambda: (np.zeros(400, "uint8"), None))
    buffers.settle(10400)
    assert memory.bytes == 400


@pytest.mark.parametrize("op", sampled(FEWER if INTERPRETED else OPERATORS, every=2 if INTERPRETED else 1))
def test_pieces(op, monkeypatch):
    """Read and written where arrays lie, with the bits of the whole; and each asks for the memory it was to need."""
    of_target, turn = import_module("refconv.engine.targets.cuda.execute"), OPERATORS.index(op)
    run, workspace, asked = of_target._run_piece, buffers.workspace, []

    def noted(n_bytes, stream):
        asked.append(n_bytes)
        return workspace(n_bytes, stream)

    def run_piece(c):
        needed = of_target._needed(c, c.out.shape) - of_target.extent(c, c.out.shape).table_bytes
        run(c)
        assert needed - buffers.ALIGNMENT * len(of_target._Memory._fields) <= asked[-1] <= needed

    monkeypatch.setattr(buffers, "workspace", noted)
    monkeypatch.setattr(of_target, "_run_piece", run_piece)
    monkeypatch.setattr(of_target, "BUDGET", 2**12)
    dtype = Numba.dtypes[turn % len(Numba.dtypes)]
    axes = axes_of(op)
    shapes = (2, 4, *((5,) * axes if axes > 1 else (50,))), (8, 2, *(2,) * axes)
    geometry = convolution(*shapes, None, (2, 1, 1)[:axes], 1, 1, 2, modes_of(op)[-1])
    precision = precisions_of(dtype)[turn % len(precisions_of(dtype))]
    expected = Arrays(geometry, turn, random_numbers(dtype)).call(op, precision=precision)
    actual = There(geometry, turn, random_numbers(dtype)).call(op, precision=precision)
    assert same_bits(actual.copy_to_host(), expected)
    assert len(asked) > 1


@pytest.mark.parametrize("op", ["conv2d", "conv2d_input", "conv2d_weight"])
def test_no_memory_left(op, memory):
    """The device has less than the budget: work is split by that, too, and what one output lacks is said."""
    geometry = convolution((2, 4, 5, 5), (4, 4, 3, 3), None, 1, 1, 1, 1, "zeros")
    arrays = Arrays(geometry, 0, random_numbers("float32"))
    expected = arrays.call(op, backend="cpu")
    memory.most = 0
    with pytest.raises(MemoryError, match=r"backend='cuda': the GPU has no room for [\d,]+ bytes more: free some"):
        arrays.call(op, backend="cuda")
    memory.most = 2**13
    assert same_bits(arrays.call(op, backend="cuda"), expected)


def test_memory_of_a_pool(monkeypatch):
    """What may be lent to others as soon as it is given back is kept until all work is done."""
    x, w = (on_device(np.ones((1, 1, 2, 2), "float32")) for _ in range(2))
    waited = []

    def wait(stream):
        waited.append(stream)

    monkeypatch.setattr(streams.Stream, "wait", wait)
    refconv.conv2d(x, w)
    assert not waited
    context = device.cuda.current_context()
    pool = type("Pool", (type(context.memory_manager),), {})(context=context)
    monkeypatch.setattr(context, "memory_manager", pool)
    refconv.conv2d(x, w)
    assert len(waited) == 1

    def memalloc(_size):
        raise MemoryError("std::bad_alloc")

    monkeypatch.setattr(pool, "memalloc", memalloc)
    with pytest.raises(buffers.OutOfMemory, match="the GPU has no room"):
        refconv.conv2d(x, w)


def test_operands_are_not_written_to():
    x, w = np.ones((1, 2, 4, 4), "float32"), np.ones((2, 2, 3, 3), "float32")
    given_x, given_w = on_device(x), on_device(w)
    refconv.conv2d(given_x, given_w, precision="exact")
    assert same_bits(given_x.copy_to_host(), x)
    assert same_bits(given_w.copy_to_host(), w)
