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
        """Parts of these sizes in bytes, one after the other."""
        *starts, _ = itertools.accumulate(map(aligned, sizes), initial=0)
        return [Part(self, start, size) for start, size in zip(starts, sizes, strict=True)]


class Part(NamedTuple):
    """Some bytes of a buffer."""

    buffer: Buffer
    start: int
    size: int

    @property
    def address(self) -> int:
        """The address of its first byte."""
        return self.buffer.address + self.start

    def write(self, array: np.ndarray, stream: Stream) -> None:
        """Copy an array of the host to this part."""
        dense = np.ascontiguousarray(array)
        if dense.nbytes:
            data = dense.reshape(-1).view(np.uint8)
            self.buffer.array[self.start : self.start + data.size].copy_to_device(data, stream=stream.numba())

    def read(self, array: np.ndarray, stream: Stream) -> None:
        """Fill an array of the host from this part, once all work on the stream is done."""
        if array.size:
            dense = np.empty(array.shape, array.dtype)
            data = dense.reshape(-1).view(np.uint8)
            self.buffer.array[self.start : self.start + data.size].copy_to_host(data, stream=stream.numba())
            stream.wait()
            array[...] = dense


def aligned(n_bytes: int) -> int:
    """The number of bytes rounded up to where the next part may begin."""
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
    """What `make` returns; if the device has no room, once more after the buffers kept for other calls are freed."""
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
    """A name for the thread, never used again. Part of the key: a stream's handle may mean another stream elsewhere."""

    def __init__(self) -> None:
        self.name = object()


class _Entry(NamedTuple):
    """A buffer that is kept."""

    buffer: Buffer
    facts: Any  # what `make` told of its contents, see `tables`
    charge: int  # bytes it counts for, at least LEAST_CHARGED: so the number of small buffers is limited too


class _Kept:
    """The buffers kept by all threads, by thread, stream and use, with facts about their contents."""

    def __init__(self) -> None:
        self._of: dict[tuple[object, Stream, Hashable], _Entry] = {}  # in the order of their last use
        self._charged = 0
        self._lock = threading.RLock()
        self._thread = _Thread()

    def get(self, use: Hashable, stream: Stream) -> _Entry | None:
        """The buffer that this thread keeps on a stream for a use, if there is one."""
        key = (self._thread.name, stream, use)
        with self._lock:
            entry = self._of.pop(key, None)
            if entry is not None:
                self._of[key] = entry
            return entry

    def put(self, use: Hashable, stream: Stream, buffer: Buffer | None, facts: Any = None) -> None:
        """Keep another buffer, or none, for a use of this thread on a stream; the one kept before is freed."""
        key = (self._thread.name, stream, use)
        with self._lock:
            replaced = self._taken([key] if key in self._of else [])
            if buffer is not None:
                self._of[key] = _Entry(buffer, facts, max(buffer.n_bytes, LEAST_CHARGED))
                self._charged += self._of[key].charge
        _give_back(replaced)

    def settle(self, most: int, sparing: Hashable) -> None:
        """Free the least recently used buffers until `most` bytes are kept; those of use `sparing` are not freed."""
        if self._charged <= most:
            return
        unwanted = []
        with self._lock:
            for key, charge in [(key, entry.charge) for key, entry in reversed(self._of.items())]:
                if charge <= most:
                    most -= charge
                elif key[2] != sparing:
                    unwanted.append(key)
            buffers = self._taken(unwanted)
        _give_back(buffers)

    def release(self, device: int) -> None:
        """Free all buffers of a device."""
        with self._lock:
            buffers = self._taken([key for key in self._of if key[1].device == device])
        _give_back(buffers, at_once=True)

    def _taken(self, keys: list[tuple[object, Stream, Hashable]]) -> list[Buffer]:
        """Remove the buffers of these keys. The caller frees them without the lock: freeing waits for the device."""
        entries = [self._of.pop(key) for key in keys]
        self._charged -= sum(entry.charge for entry in entries)
        return [entry.buffer for entry in entries]


def _give_back(buffers: list[Buffer], *, at_once: bool = False) -> None:
    """Free buffers, the last references to them; large ones at once, where Numba's manager would free several later."""
    if SIMULATED or not (buffers or at_once):
        return
    at_once = at_once or sum(buffer.n_bytes for buffer in buffers) >= FREED_AT_ONCE
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
    """Whether freed memory may be lent again before work in it is done: so in RMM's pool, while cuMemFree waits."""
    return not SIMULATED and type(cuda.current_context().memory_manager) is not driver.NumbaCUDAMemoryManager


def workspace(n_bytes: int, stream: Stream) -> Buffer:
    """Memory that the calls of a thread on a stream use one after the other, as the stream orders their work."""
    entry = _KEPT.get(_WORKSPACE, stream)
    if entry is not None and entry.buffer.n_bytes >= n_bytes:
        return entry.buffer
    del entry
    _KEPT.put(_WORKSPACE, stream, None)  # freed before the larger one is allocated
    buffer = Buffer(n_bytes)
    _KEPT.put(_WORKSPACE, stream, buffer)
    return buffer


def tables(use: Hashable, stream: Stream, make: Callable[[], tuple[np.ndarray, Any]]) -> tuple[Buffer, Any]:
    """A copy on the device of the data that `make` returns for a use, and the facts returned with it: made once."""
    entry = _KEPT.get(use, stream)
    if entry is not None:
        return entry.buffer, entry.facts
    data, facts = make()
    memory = Buffer(data.nbytes)
    memory.parts([data.nbytes])[0].write(data, stream)
    _KEPT.put(use, stream, memory, facts)
    return memory, facts


def settle(most: int, *, workspaces: bool = True) -> None:
    """Keep at most `most` bytes for later calls; without `workspaces`, between pieces of a call, keep all of these."""
    _KEPT.settle(most, None if workspaces else _WORKSPACE)


def address_of(array: Any) -> int:
    """The address of the memory of an array of Numba's."""
    if SIMULATED:
        return int(array._ary.ctypes.data)  # noqa: SLF001 - the simulator's way
    return int(array.device_ctypes_pointer.value or 0)
