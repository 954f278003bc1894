"""Numba's own arrays on the GPU, with the layout of an array of the host; for candidates that take them.

Knows numba.cuda by `device`, and buffers; no candidate.
"""

from typing import Any

import numpy as np

from refconv.arrays.gpu.buffers import address_of
from refconv.arrays.gpu.device import SIMULATED, Array, UnknownDtype, cuda, from_dtype


class _Lying:
    """`__cuda_array_interface__` of a view into `owner`: shape and strides of `meant`, `offset` bytes in."""

    def __init__(self, owner: Any, offset: int, meant: np.ndarray) -> None:
        self.owner = owner  # kept alive as long as the arrays made from this object
        self.__cuda_array_interface__ = {
            "data": (address_of(owner) + offset, False), "shape": meant.shape, "strides": meant.strides,
            "typestr": f"|V{meant.itemsize}", "version": 3,
        }  # fmt: skip


def lay(memory: np.ndarray, offset: int, meant: np.ndarray) -> tuple[Any, Any]:
    """A copy of `memory` on the device, and Numba's array over it that lies there as `meant` does in `memory`.

    Raises
    ------
    TypeError
        If Numba has no such dtype.
    """
    try:
        from_dtype(meant.dtype)
    except UnknownDtype as error:
        raise TypeError(f"Numba has no {meant.dtype}") from error
    copy = cuda.to_device(memory)
    if SIMULATED:
        return copy, Array(np.ndarray(meant.shape, meant.dtype, copy._ary, offset, meant.strides))  # noqa: SLF001
    view = cuda.as_cuda_array(_Lying(copy, offset, meant), sync=False)
    return copy, Array(meant.shape, meant.strides, meant.dtype, gpu_data=view.gpu_data)


def unwrapped(array: Any) -> Any:
    """Numba's array itself; in the simulator the NumPy array inside, which supports every dtype."""
    return array._ary if SIMULATED else array  # noqa: SLF001 - the simulator's way


def synchronize() -> None:
    """Wait until all work on all streams is done."""
    cuda.synchronize()
