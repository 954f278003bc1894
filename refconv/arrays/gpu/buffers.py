"""Buffers in the GPU's memory: allocated, cut into parts, kept from call to call, and given back when room is short.

Knows streams; not what is put into a buffer.
"""

import itertools
import math
import threading
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from refconv.arrays.gpu.device import SIMULATED, cuda, current_device, driver
from refconv.arrays.gpu.streams import Stream

ALIGNMENT = 256  # bytes: a buffer's own
FREED_AT_ONCE = 2**24  # bytes; Numba frees less than that later, several buffers at a time
LEAST_CHARGED = 2**16  # bytes


class Buffer:
    """Memory of the device."""

    def __init__(self, n_bytes: int) -> None:
        self.array = allocated((max(n_bytes, 1),), np.dtype("uint8"))
        self.n_bytes = n_bytes
        self.address = address_of(self.array)

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


def allocated(shape: tuple[int, ...], dtype: np.dtype) -> Any:
    """A new array of Numba's.

    Raises
    ------
    OutOfMemory
        Where the device has no room for it.
    """
    return with_room(partial(_made, shape, dtype))


def with_room(make: Callable[[], Any], *errors: type[Exception]) -> Any:
    """What is made in the device's memory: if it has no room, where something was that is kept for other calls."""
    full: tuple[type[Exception], ...] = (MemoryError, *errors)
    try:
        return make()
    except full:
        pass  # what an error's traceback refers to is gone from here on
    _KEPT.release(current_device())
    return make()


def _made(shape: tuple[int, ...], dtype: np.dtype) -> Any:
    if SIMULATED:
        return cuda.device_array(shape, dtype)
    full = driver.binding.CUresult.CUDA_ERROR_OUT_OF_MEMORY
    try:
        return cuda.device_array(shape, dtype)
    except (MemoryError, driver.CudaAPIError) as error:  # a pool's, or the driver's
        if getattr(error, "code", full) != full:
            raise
        raise OutOfMemory(
            f"backend='cuda': the GPU has no room for {math.prod(shape) * dtype.itemsize:,} bytes more: free some "
            "(torch.cuda.empty_cache() gives back what torch keeps), or use backend='cpu', with arrays of the host"
        ) from error


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
    if is_pooled():
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


def is_pooled() -> bool:
    """Whether what is given back may be lent again before work in it is done: in RMM's pool; cuMemFree waits."""
    return not SIMULATED and type(cuda.current_context().memory_manager) is not driver.NumbaCUDAMemoryManager


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


def address_of(array: Any) -> int:
    """Where the memory of an array of Numba's begins."""
    if SIMULATED:
        return int(array._ary.ctypes.data)  # noqa: SLF001 - the simulator's way
    return int(array.device_ctypes_pointer.value or 0)
