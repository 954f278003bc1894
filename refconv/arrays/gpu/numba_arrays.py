"""Numba's own arrays on the GPU: laid out as an array of the host is, and unwrapped; for candidates that take them.

Knows numba.cuda by `device`, and buffers.
"""

from typing import Any

import numpy as np

from refconv.arrays.gpu.buffers import address_of
from refconv.arrays.gpu.device import SIMULATED, Array, UnknownDtype, cuda, from_dtype


class _Lying:
    """Memory that Numba is to see as an array that lies as `meant` does, at an offset in the `owner`'s."""

    def __init__(self, owner: Any, offset: int, meant: np.ndarray) -> None:
        self.owner = owner  # not freed before what is made of this
        self.__cuda_array_interface__ = {
            "data": (address_of(owner) + offset, False), "shape": meant.shape, "strides": meant.strides,
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
    except UnknownDtype as error:
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
