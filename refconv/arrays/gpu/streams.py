"""Streams of the current GPU, and its memory as work on a stream sees it.

Knows numba.cuda by `device`; no other library.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from refconv.arrays.gpu.device import cuda, current_device
from refconv.arrays.remote import Distant


class Stream(NamedTuple):
    """A stream of the current device."""

    device: int
    handle: int  # 0 for the default one

    def numba(self) -> Any:
        """Numba's object for the stream; handles 1 and 2 are CUDA's names for its two default streams."""
        named = (cuda.default_stream, cuda.legacy_default_stream, cuda.per_thread_default_stream)
        return named[self.handle]() if self.handle < len(named) else _external(self.handle)

    def wait(self) -> None:
        """Wait until all work on the stream is done."""
        self.numba().synchronize()


@lru_cache(maxsize=64)
def _external(handle: int) -> Any:
    return cuda.external_stream(handle)


class StreamMemory:
    """The device's memory, read and written in the order of a stream."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def read(self, address: int, size: int) -> np.ndarray:
        """Bytes from an address on, once all work on the stream is done."""
        data = np.empty(size, np.uint8)
        _bytes_at(address, size).copy_to_host(data, stream=self.stream.numba())
        self.stream.wait()
        return data

    def write(self, address: int, data: np.ndarray) -> None:
        """Copy bytes to an address."""
        _bytes_at(address, data.nbytes).copy_to_device(data, stream=self.stream.numba())
        self.stream.wait()


class _Bytes:
    """`__cuda_array_interface__` of bytes at an address, which someone else owns."""

    def __init__(self, address: int, size: int) -> None:
        self.__cuda_array_interface__ = {
            "data": (address, False), "shape": (size,), "strides": None, "typestr": "|u1", "version": 3,
        }  # fmt: skip


def _bytes_at(address: int, size: int) -> Any:
    return cuda.as_cuda_array(_Bytes(address, size), sync=False)


def current_stream() -> Stream:
    """The default stream of the current device."""
    return Stream(current_device(), 0)


def stream_of(*arrays: np.ndarray | None) -> Stream:
    """The stream for a call with these arrays: that of the first array on the device, after waiting for the others'."""
    memories = [array.memory for array in arrays if isinstance(array, Distant)]
    streams = [memory.stream for memory in memories if isinstance(memory, StreamMemory)] or [current_stream()]
    for other in {*streams} - {streams[0]}:
        other.wait()
    return streams[0]
