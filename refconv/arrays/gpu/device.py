"""The GPU: the one place that imports numba.cuda. Its memory, its streams, and what is missing where it can't be used.

Knows numba-cuda and, by their objects, the libraries whose arrays may lie there; of refconv its errors and arrays in
other memories. Imported when the GPU is first asked for.
"""

import itertools
import math
import sys
import threading
import warnings
from collections.abc import Callable, Hashable, Sequence
from functools import cache, lru_cache, partial
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from refconv.arrays.remote import Distant, distant
from refconv.core.errors import BackendUnavailable
from refconv.core.formats import parse

INSTALL = "pip install 'refconv[cuda]', or use backend='cpu'"
LEAST_CAPABILITY = (7, 5)  # of CUDA 13's compiler
ALIGNMENT = 256  # bytes: a buffer's own
FREED_AT_ONCE = 2**24  # bytes; Numba frees less than that later, several buffers at a time
LEAST_CHARGED = 2**16  # bytes

# All are `Any`: numba-cuda is typed in part, and what types are found depends on whether it is installed.
try:
    cuda: Any = import_module("numba.cuda")
    SIMULATED = bool(import_module("numba.core.config").ENABLE_CUDASIM)  # Numba's simulator runs kernels as Python
    if not SIMULATED:  # what tiles and kernels are written with
        cgutils: Any = import_module("numba.cuda.cgutils")
        extending: Any = import_module("numba.cuda.extending")
        types: Any = import_module("numba.cuda.types")
        lower_constant: Any = import_module("numba.cuda.core.imputils").lower_constant
        register_model: Any = import_module("numba.cuda.models").register_model
        populate_array: Any = import_module("numba.cuda.np.arrayobj").populate_array
        typeof_impl: Any = import_module("numba.cuda.typing.typeof").typeof_impl
        # cuda-core's, which numba-cuda depends on: who reads and writes DLPack's structures.
        StridedMemoryView: Any = import_module("cuda.core.utils").StridedMemoryView
        _driver: Any = import_module("numba.cuda.cudadrv.driver")
        # What protocols between libraries call the default stream, Numba's 0.
        _DEFAULT_STREAM = 2 if import_module("numba.cuda.core.config").CUDA_PER_THREAD_DEFAULT_STREAM else 1
    from_dtype: Any = import_module("numba.cuda.np.numpy_support").from_dtype
    _Unknown: Any = import_module("numba.cuda.core.errors").NumbaNotImplementedError
    _PLACE, _NAME = ("simulator.cudadrv", "FakeCUDAArray") if SIMULATED else ("cudadrv", "DeviceNDArray")
    Array: Any = getattr(import_module(f"numba.cuda.{_PLACE}.devicearray"), _NAME)  # Numba's own
except (ImportError, AttributeError) as error:  # Numba brings a numba.cuda, which has not all of these
    raise BackendUnavailable(f"backend='cuda': numba-cuda is not installed ({error}): {INSTALL}") from error


def check() -> None:
    """Refuse to go on without a GPU that kernels can be compiled for.

    Raises
    ------
    BackendUnavailable
        Saying what is missing, and how to get it.
    """
    found = _missing() or _too_old(_current_device())
    if found:
        raise BackendUnavailable(f"backend='cuda': {found}")


@cache
def _missing() -> str:
    if SIMULATED:
        return ""
    try:
        found = cuda.is_available()
        reason = "" if found else str(cuda.cuda_error() or "no device").strip()
    except Exception as error:  # noqa: BLE001 - whatever a broken driver raises, it is not there
        found, reason = False, str(error)
    if not found:
        first = " ".join(reason.split())
        return f"no usable GPU ({first}); install NVIDIA's driver (https://www.nvidia.com/drivers) and {INSTALL}"
    driver, compiler = cuda.cudadrv.driver.get_version(), cuda.runtime.get_version()
    if driver[0] < compiler[0]:  # within a major version, older drivers run what newer compilers make
        return (
            f"the driver is for CUDA {_dotted(driver)}, the compiler of CUDA {_dotted(compiler)}: the driver must be "
            f"for CUDA {compiler[0]} or newer; install a newer one (https://www.nvidia.com/drivers), or, for CUDA 12, "
            "an older compiler: pip install 'numba-cuda[cu12]'"
        )
    return ""


@cache
def _too_old(_gpu: int) -> str:
    """Of the current GPU, which is this one."""
    if SIMULATED:
        return ""
    capability = cuda.get_current_device().compute_capability
    if tuple(capability) < LEAST_CAPABILITY:
        return (
            f"the GPU has compute capability {_dotted(capability)}: must be at least {_dotted(LEAST_CAPABILITY)}; "
            "use another GPU, or backend='cpu'"
        )
    return ""


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


# --- memory and streams ---------------------------------------------------------------------------------------------


class Stream(NamedTuple):
    """A stream of the current device."""

    device: int
    handle: int  # 0 for the default one

    def numba(self) -> Any:
        """As Numba has it; 1 and 2 are CUDA's names for the two default ones."""
        named = (cuda.default_stream, cuda.legacy_default_stream, cuda.per_thread_default_stream)
        return named[self.handle]() if self.handle < len(named) else _external(self.handle)

    def wait(self) -> None:
        """Until all that was put on it is done."""
        self.numba().synchronize()


@lru_cache(maxsize=64)
def _external(handle: int) -> Any:
    return cuda.external_stream(handle)


class _Memory:
    """The device's memory, as somebody sees it whose work is on a stream."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def read(self, address: int, size: int) -> np.ndarray:
        """Bytes from an address on, when all that is on the stream is done."""
        found = np.empty(size, np.uint8)
        _bytes_at(address, size).copy_to_host(found, stream=self.stream.numba())
        self.stream.wait()
        return found

    def write(self, address: int, data: np.ndarray) -> None:
        """Copy bytes to an address."""
        _bytes_at(address, data.nbytes).copy_to_device(data, stream=self.stream.numba())
        self.stream.wait()


class _Bytes:
    """Memory of somebody else's, for Numba."""

    def __init__(self, address: int, size: int) -> None:
        self.__cuda_array_interface__ = {
            "data": (address, False), "shape": (size,), "strides": None, "typestr": "|u1", "version": 3,
        }  # fmt: skip


def _bytes_at(address: int, size: int) -> Any:
    return cuda.as_cuda_array(_Bytes(address, size), sync=False)


def current_stream() -> Stream:
    """The default stream of the current device."""
    return Stream(_current_device(), 0)


def _current_device() -> int:
    return 0 if SIMULATED else int(cuda.get_current_device().id)


class Buffer:
    """Memory of the device."""

    def __init__(self, n_bytes: int) -> None:
        self.array = _allocated((max(n_bytes, 1),), np.dtype("uint8"))
        self.n_bytes = n_bytes
        self.address = _address(self.array)

    def parts(self, sizes: Sequence[int]) -> list["Part"]:
        """One after the other, of so many bytes each."""
        *starts, _ = itertools.accumulate(map(aligned, sizes), initial=0)
        return [Part(self, start, size) for start, size in zip(starts, sizes, strict=True)]


class Part(NamedTuple):
    """Some bytes of a buffer."""

    buffer: Buffer
    start: int
    size: int

    @property
    def address(self) -> int:
        """Where it begins."""
        return self.buffer.address + self.start

    def write(self, array: np.ndarray, stream: Stream) -> None:
        """Copy an array of the host there."""
        dense = np.ascontiguousarray(array)
        if dense.nbytes:
            data = dense.reshape(-1).view(np.uint8)
            self.buffer.array[self.start : self.start + data.size].copy_to_device(data, stream=stream.numba())

    def read(self, array: np.ndarray, stream: Stream) -> None:
        """Copy an array from there to the host, when all that is on the stream is done."""
        if array.size:
            dense = np.empty(array.shape, array.dtype)
            data = dense.reshape(-1).view(np.uint8)
            self.buffer.array[self.start : self.start + data.size].copy_to_host(data, stream=stream.numba())
            stream.wait()
            array[...] = dense


def aligned(n_bytes: int) -> int:
    """So many bytes, and what is left free up to where the next part may begin."""
    return -(-n_bytes // ALIGNMENT) * ALIGNMENT


class OutOfMemory(MemoryError):
    """The device has no room."""


def _allocated(shape: tuple[int, ...], dtype: np.dtype) -> Any:
    """A new array of Numba's.

    Raises
    ------
    OutOfMemory
        Where the device has no room for it.
    """
    return _with_room(partial(_made, shape, dtype))


def _with_room(make: Callable[[], Any], *errors: type[Exception]) -> Any:
    """What is made in the device's memory: if it has no room, where something was that is kept for other calls."""
    full: tuple[type[Exception], ...] = (MemoryError, *errors)
    try:
        return make()
    except full:
        pass  # what an error's traceback refers to is gone from here on
    _KEPT.release(_current_device())
    return make()


def _made(shape: tuple[int, ...], dtype: np.dtype) -> Any:
    if SIMULATED:
        return cuda.device_array(shape, dtype)
    full = _driver.binding.CUresult.CUDA_ERROR_OUT_OF_MEMORY
    try:
        return cuda.device_array(shape, dtype)
    except (MemoryError, _driver.CudaAPIError) as error:  # a pool's, or the driver's
        if getattr(error, "code", full) != full:
            raise
        raise OutOfMemory(
            f"backend='cuda': the GPU has no room for {math.prod(shape) * dtype.itemsize:,} bytes more: free some "
            "(torch.cuda.empty_cache() gives back what torch keeps), or use backend='cpu', with arrays of the host"
        ) from error


# --- memory that stays from call to call ----------------------------------------------------------------------------


class _Thread(threading.local):
    """Its name, which no other thread has after it; a stream's number may mean another stream in another thread."""

    def __init__(self) -> None:
        self.name = object()


class _Entry(NamedTuple):
    """A buffer that is kept."""

    buffer: Buffer
    known: Any
    charge: int  # what it counts for: small ones as more than they have, for there are not to be too many of them


class _Kept:
    """Buffers by thread, stream and use, of all threads, with what is known of their contents."""

    def __init__(self) -> None:
        self._of: dict[tuple[object, Stream, Hashable], _Entry] = {}  # the last used is the last
        self._charged = 0
        self._lock = threading.RLock()
        self._thread = _Thread()

    def get(self, use: Hashable, stream: Stream) -> _Entry | None:
        """What this thread has on a stream for a use."""
        key = (self._thread.name, stream, use)
        with self._lock:
            found = self._of.pop(key, None)
            if found is not None:
                self._of[key] = found
            return found

    def put(self, use: Hashable, stream: Stream, buffer: Buffer | None, known: Any = None) -> None:
        """Another one, or none, in its place."""
        key = (self._thread.name, stream, use)
        with self._lock:
            before = self._taken([key] if key in self._of else [])
            if buffer is not None:
                self._of[key] = _Entry(buffer, known, max(buffer.n_bytes, LEAST_CHARGED))
                self._charged += self._of[key].charge
        _give_back(before)

    def settle(self, most: int, sparing: Hashable) -> None:
        """Give back what is more than so many bytes in all, but for a use: what has been used last stays if it fits."""
        if self._charged <= most:
            return
        unwanted = []
        with self._lock:
            for key, charge in [(key, each.charge) for key, each in reversed(self._of.items())]:
                if charge <= most:
                    most -= charge
                elif key[2] != sparing:
                    unwanted.append(key)
            found = self._taken(unwanted)
        _give_back(found)

    def release(self, device: int) -> None:
        """Give back all that is on a device."""
        with self._lock:
            found = self._taken([key for key in self._of if key[1].device == device])
        _give_back(found, at_once=True)

    def _taken(self, keys: list[tuple[object, Stream, Hashable]]) -> list[Buffer]:
        """No more among what is kept. They are given back without the lock: that waits for the device."""
        found = [self._of.pop(key) for key in keys]
        self._charged -= sum(each.charge for each in found)
        return [each.buffer for each in found]


def _give_back(buffers: list[Buffer], *, at_once: bool = False) -> None:
    """Let go of buffers, and free them at once where Numba's manager would free several later, if they are large."""
    if SIMULATED or not (buffers or at_once):
        return
    at_once = at_once or sum(each.n_bytes for each in buffers) >= FREED_AT_ONCE
    if _pooled():
        cuda.synchronize()
        buffers.clear()
        return
    buffers.clear()
    if at_once:
        with _FREEING:
            cuda.current_context().memory_manager.deallocations.clear()


_FREEING = threading.Lock()
_KEPT = _Kept()
_WORKSPACE = "workspace"


def _pooled() -> bool:
    """Whether what is given back may be lent again before work in it is done: in RMM's pool; cuMemFree waits."""
    return not SIMULATED and type(cuda.current_context().memory_manager) is not _driver.NumbaCUDAMemoryManager


def workspace(n_bytes: int, stream: Stream) -> Buffer:
    """Memory that the calls of a thread on a stream use one after the other, as the stream orders their work."""
    found = _KEPT.get(_WORKSPACE, stream)
    if found is not None and found.buffer.n_bytes >= n_bytes:
        return found.buffer
    del found
    _KEPT.put(_WORKSPACE, stream, None)
    made = Buffer(n_bytes)
    _KEPT.put(_WORKSPACE, stream, made)
    return made


def tables(use: Hashable, stream: Stream, make: Callable[[], tuple[np.ndarray, Any]]) -> tuple[Buffer, Any]:
    """A copy on the device of what `make` makes for a use, and what it tells of it: made once, as long as it stays."""
    found = _KEPT.get(use, stream)
    if found is not None:
        return found.buffer, found.known
    data, known = make()
    memory = Buffer(data.nbytes)
    memory.parts([data.nbytes])[0].write(data, stream)
    _KEPT.put(use, stream, memory, known)
    return memory, known


def settle(most: int, *, workspaces: bool = True) -> None:
    """Keep at most so many bytes for later calls; of workspaces, or all of them: between the pieces of a call."""
    _KEPT.settle(most, None if workspaces else _WORKSPACE)


def _address(array: Any) -> int:
    if SIMULATED:
        return int(array._ary.ctypes.data)  # noqa: SLF001 - the simulator's way
    return int(array.device_ctypes_pointer.value or 0)


# --- Numba's arrays ------------------------------------------------------------------------------------------------


class _Lying:
    """Memory that Numba is to see as an array that lies as `meant` does, at an offset in the `owner`'s."""

    def __init__(self, owner: Any, offset: int, meant: np.ndarray) -> None:
        self.owner = owner  # not freed before what is made of this
        self.__cuda_array_interface__ = {
            "data": (_address(owner) + offset, False), "shape": meant.shape, "strides": meant.strides,
            "typestr": f"|V{meant.itemsize}", "version": 3,
        }  # fmt: skip


def lay(memory: np.ndarray, offset: int, meant: np.ndarray) -> tuple[Any, Any]:
    """A copy of some bytes in the device's memory, and Numba's array in it that is as `meant` is in `memory`.

    Raises
    ------
    TypeError
        If Numba has no such dtype.
    """
    try:
        from_dtype(meant.dtype)
    except _Unknown as error:
        raise TypeError(f"Numba has no {meant.dtype}") from error
    there = cuda.to_device(memory)
    if SIMULATED:
        return there, Array(np.ndarray(meant.shape, meant.dtype, there._ary, offset, meant.strides))  # noqa: SLF001
    found = cuda.as_cuda_array(_Lying(there, offset, meant), sync=False)
    return there, Array(meant.shape, meant.strides, meant.dtype, gpu_data=found.gpu_data)


def unwrapped(array: Any) -> Any:
    """Numba's array, or NumPy's that the simulator has put into one: only itself knows every dtype."""
    return array._ary if SIMULATED else array  # noqa: SLF001 - the simulator's way


def synchronize() -> None:
    """Wait until all is done that was put on any stream."""
    cuda.synchronize()


# --- other libraries' arrays ---------------------------------------------------------------------------------------


def adopt(name: str, array: Any) -> Distant:
    """The array of a library that lies in the device's memory, to be read there.

    Raises
    ------
    BackendUnavailable
        Without a usable GPU, or for an array on another than the current one.
    TypeError
        For an array with a mask, or of a dtype that can't be told.
    """
    check()
    if SIMULATED:
        raise BackendUnavailable(f"{name} lies on a GPU, and Numba's simulator has none: unset NUMBA_ENABLE_CUDASIM")
    current = _current_device()
    library = _library(array)
    stream = library.stream(array)
    if stream.device != current:
        raise BackendUnavailable(
            f"{name} lies on GPU {stream.device}, and GPU {current} is the current one: must be there too; copy it, or "
            f"make its GPU current (torch.cuda.device, cupy.cuda.Device, numba.cuda.select_device)"
        )
    return library.adopt(name, array, stream)


def new(array: Any, shape: tuple[int, ...], dtype: np.dtype) -> Distant:
    """A new array of the kind of another one, on the same device."""
    return adopt("the result", _library(array).new(array, shape, dtype))


class _Interface:
    """Any array with `__cuda_array_interface__`; new ones are Numba's."""

    def stream(self, array: Any) -> Stream:
        """The stream on which the array's numbers are ready."""
        return Stream(_gpu_of(array), int(array.__cuda_array_interface__.get("stream") or 0))

    def adopt(self, name: str, array: Any, stream: Stream) -> Distant:
        """The array, to be read by work on a stream."""
        found = array.__cuda_array_interface__
        if found.get("mask") is not None:
            raise TypeError(f"{name} has a mask: must be an array without one, it would be lost")
        dtype = getattr(array, "dtype", None)  # the interface knows no bfloat16
        kind = dtype if isinstance(dtype, np.dtype) else np.dtype(found["typestr"])
        # Numba's own tell no strides where those other than 0 are as of a contiguous array.
        strides = array.strides if isinstance(array, Array) else found.get("strides")
        return distant(int(found["data"][0]), tuple(found["shape"]), strides, kind, _Memory(stream), array)

    def new(self, array: Any, shape: tuple[int, ...], dtype: np.dtype) -> Any:
        """A new array of its kind, on its device and stream."""
        stream, found = self.stream(array), _allocated(shape, dtype)
        return found.bind(stream.numba()) if stream.handle else found


def _gpu_of(array: Any) -> int:
    """The GPU that an array lies on, which `__cuda_array_interface__` does not tell."""
    if isinstance(array, Array):
        return int(array.gpu_data.context.device.id)
    address = int(array.__cuda_array_interface__["data"][0])
    if not address:  # no elements
        return _current_device()
    attribute = _driver.binding.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    return int(_driver.driver.cuPointerGetAttribute(attribute, _driver.binding.CUdeviceptr(address)))


class _DLPack(_Interface):
    """Any array with DLPack: its library makes its numbers ready for our stream, the default one."""

    def stream(self, array: Any) -> Stream:
        return Stream(int(array.__dlpack_device__()[1]), 0)

    def adopt(self, name: str, array: Any, stream: Stream) -> Distant:
        try:
            view = StridedMemoryView.from_dlpack(array, stream_ptr=stream.handle or _DEFAULT_STREAM)
            dtype = view.dtype
        except (BufferError, RuntimeError, TypeError, ValueError) as error:  # a dtype that is not known, for instance
            raise TypeError(f"{name} of type {type(array).__name__} can't be read through DLPack: {error}") from error
        strides = None if view.strides is None else tuple(step * dtype.itemsize for step in view.strides)
        return distant(view.ptr, tuple(view.shape), strides, dtype, _Memory(stream), view)


class _CuPy(_Interface):
    def stream(self, array: Any) -> Stream:
        return Stream(int(array.device.id), int(sys.modules["cupy"].cuda.get_current_stream().ptr))

    def new(self, _array: Any, shape: tuple[int, ...], dtype: np.dtype) -> Any:
        return _with_room(partial(sys.modules["cupy"].empty, shape, dtype))


class _Torch(_Interface):
    def stream(self, array: Any) -> Stream:
        return Stream(int(array.device.index), int(sys.modules["torch"].cuda.current_stream(array.device).cuda_stream))

    def adopt(self, name: str, array: Any, stream: Stream) -> Distant:
        dtype = parse(name, array.dtype)
        strides = tuple(step * dtype.itemsize for step in array.stride())
        return distant(array.data_ptr(), tuple(array.shape), strides, dtype, _Memory(stream), array)

    def new(self, _array: Any, shape: tuple[int, ...], dtype: np.dtype) -> Any:
        torch = sys.modules["torch"]
        make = partial(torch.empty, shape, dtype=getattr(torch, dtype.name), device=_array.device)
        return _with_room(make, torch.cuda.OutOfMemoryError)


def _library(array: Any) -> _Interface:
    """How to ask an array's library."""
    for name, kind, library in (("torch", "Tensor", _Torch), ("cupy", "ndarray", _CuPy)):
        module = sys.modules.get(name)
        if module is not None and isinstance(array, getattr(module, kind)):
            return library()
    return _DLPack() if hasattr(array, "__dlpack_device__") else _Interface()


def handed_over(name: str, array: Any, result: Distant) -> Any:
    """A result as the kind that `array` is, or as it was made (Numba's) where that has no namespace to make it by.

    Raises
    ------
    TypeError
        For a dtype that DLPack's writer does not know.
    """
    found = result.owner if result.owner.shape == result.shape else result.owner.reshape(result.shape)
    if isinstance(found, type(array)) or not hasattr(array, "__array_namespace__"):
        return found
    stream_of(result).wait()  # whoever reads it may be on any stream
    try:
        view = StridedMemoryView.from_cuda_array_interface(found, stream_ptr=-1)
        return array.__array_namespace__().from_dlpack(view)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise TypeError(
            f"{name} of type {type(array).__name__}: its library can't be given a {result.dtype} result through DLPack "
            f"({error}); out_dtype must be another"
        ) from error


# --- operands and results -------------------------------------------------------------------------------------------


class Operand(NamedTuple):
    """An array of the device, or one of the host that is to be copied there, each element once."""

    array: np.ndarray
    strides: tuple[int, ...]  # on the device
    n_bytes: int  # of the copy; 0 for what lies there

    def at(self, place: Part) -> int:
        """The address of what lies there; else that of the place for it."""
        return int(self.array.__array_interface__["data"][0]) if isinstance(self.array, Distant) else place.address

    def put(self, place: Part, stream: Stream) -> int:
        """The same, with its numbers there."""
        if not isinstance(self.array, Distant):
            place.write(self.array, stream)
        return self.at(place)


def stream_of(*arrays: np.ndarray | None) -> Stream:
    """The stream of a call with these arrays: the first one's on the device, when all are done on the others'."""
    memories = [each.memory for each in arrays if isinstance(each, Distant)]
    streams = [memory.stream for memory in memories if isinstance(memory, _Memory)] or [current_stream()]
    for other in {*streams} - {streams[0]}:
        other.wait()
    return streams[0]


def operand(array: np.ndarray) -> Operand:
    """An array to be read."""
    if isinstance(array, Distant):
        return Operand(array, array.strides, 0)
    once = array[tuple(slice(0, 1) if step == 0 else slice(None) for step in array.strides)]
    steps = _dense_strides(once.shape, array.itemsize)
    strides = tuple(0 if step == 0 else new for step, new in zip(array.strides, steps, strict=True))
    return Operand(once, strides, once.nbytes)


def result(array: np.ndarray) -> Operand:
    """An array to be written to."""
    if isinstance(array, Distant):
        return Operand(array, array.strides, 0)
    return Operand(array, _dense_strides(array.shape, array.itemsize), array.nbytes)


def keep(stream: Stream, *arrays: np.ndarray | None) -> None:
    """Wait for the stream where others may use an operand's memory again before its work is done.

    Whoever gave it by DLPack may once it is given back, and who has it on another stream. Memory managers other than
    Numba's own (RMM's pool) may lend our buffers again as soon as they are given back.
    """
    if _pooled():
        stream.wait()
    for memory, owner in ((each.memory, each.owner) for each in arrays if isinstance(each, Distant)):
        if isinstance(memory, _Memory) and (memory.stream != stream or isinstance(owner, StridedMemoryView)):
            stream.wait()


def _dense_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis + 1 :]) * itemsize for axis in range(len(shape)))


def launch(kernel: Any, grid: int | tuple[int, int], threads: int, stream: Stream, job: Any) -> None:
    """Put a kernel on a stream."""
    _configured(kernel, grid, threads, stream)(_typed(job) if SIMULATED else job)


def _typed(job: Any) -> Any:
    """With integers of 64 bits, as which Numba compiles Python's."""
    if isinstance(job, tuple):
        return type(job)(*map(_typed, job))
    return np.int64(job) if isinstance(job, int) else job


@lru_cache(maxsize=4096)
def _configured(kernel: Any, grid: int | tuple[int, int], threads: int, stream: Stream) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a grid is small: so is the problem, then
        return kernel[grid, threads, stream.numba()]
