"""Launching kernels: operands on the device or to be copied there, results, and the launch on a stream.

Knows the GPU's memory and streams; no kernel.
"""

import math
import warnings
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from refconv.arrays.gpu.buffers import Part, is_pooled
from refconv.arrays.gpu.device import SIMULATED, StridedMemoryView
from refconv.arrays.gpu.streams import Stream, StreamMemory
from refconv.arrays.remote import Distant


class Operand(NamedTuple):
    """An array of the device, or one of the host that is to be copied to the device, each element once."""

    array: np.ndarray
    strides: tuple[int, ...]  # on the device
    n_bytes: int  # of the copy; 0 for an array of the device

    def at(self, place: Part) -> int:
        """The address of an array of the device; else that of `place`, where its copy goes."""
        return int(self.array.__array_interface__["data"][0]) if isinstance(self.array, Distant) else place.address

    def put(self, place: Part, stream: Stream) -> int:
        """The same address, after an array of the host is copied there."""
        if not isinstance(self.array, Distant):
            place.write(self.array, stream)
        return self.at(place)


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
    """Wait for the stream where others may write to an operand's memory before the work on the stream is done.

    The library that lent an array by DLPack may once it is given back; so may the owner of an array on another stream.
    Memory managers other than Numba's own (RMM's pool) may lend our buffers again as soon as they are freed.
    """
    if is_pooled():
        stream.wait()
    for memory, owner in ((array.memory, array.owner) for array in arrays if isinstance(array, Distant)):
        if isinstance(memory, StreamMemory) and (memory.stream != stream or isinstance(owner, StridedMemoryView)):
            stream.wait()


def _dense_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis + 1 :]) * itemsize for axis in range(len(shape)))


def launch(kernel: Any, grid: int | tuple[int, int], threads: int, stream: Stream, job: Any) -> None:
    """Put a kernel on a stream."""
    _configured(kernel, grid, threads, stream)(_typed(job) if SIMULATED else job)


def _typed(job: Any) -> Any:
    """The job with Python's integers as int64: the type that Numba compiles them as."""
    if isinstance(job, tuple):
        return type(job)(*map(_typed, job))
    return np.int64(job) if isinstance(job, int) else job


@lru_cache(maxsize=4096)
def _configured(kernel: Any, grid: int | tuple[int, int], threads: int, stream: Stream) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a grid is small: so is the problem, then
        return kernel[grid, threads, stream.numba()]
