"""Arrays of other libraries on the GPU: read where they lie, on their streams, and made anew for results.

Knows torch, CuPy, Numba and DLPack by their objects; imports none of them.
"""

import sys
from functools import partial
from typing import Any

import numpy as np

from refconv.arrays.gpu.buffers import allocated, with_room
from refconv.arrays.gpu.device import DEFAULT_STREAM, SIMULATED, Array, StridedMemoryView, check, current_device, driver
from refconv.arrays.gpu.streams import Stream, StreamMemory, stream_of
from refconv.arrays.remote import Distant, distant
from refconv.core.errors import BackendUnavailable
from refconv.core.formats import parse


def adopt(name: str, array: Any) -> Distant:
    """A library's array in the device's memory as a `Distant` one, to be read where it lies.

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
    current = current_device()
    library = _library(array)
    stream = library.stream(array)
    if stream.device != current:
        raise BackendUnavailable(
            f"{name} lies on GPU {stream.device}, and GPU {current} is the current one: must be there too; copy it, or "
            f"make its GPU current (torch.cuda.device, cupy.cuda.Device, numba.cuda.select_device)"
        )
    return library.adopt(name, array, stream)


def new(array: Any, shape: tuple[int, ...], dtype: np.dtype) -> Distant:
    """A new array of the same kind as `array`, on the same device."""
    return adopt("the result", _library(array).new(array, shape, dtype))


class _Interface:
    """Any array with `__cuda_array_interface__`; new ones are Numba's."""

    def stream(self, array: Any) -> Stream:
        """The stream on which the array's numbers are ready."""
        return Stream(_gpu_of(array), int(array.__cuda_array_interface__.get("stream") or 0))

    def adopt(self, name: str, array: Any, stream: Stream) -> Distant:
        """The array, to be read by work on a stream."""
        interface = array.__cuda_array_interface__
        if interface.get("mask") is not None:
            raise TypeError(f"{name} has a mask: must be an array without one, it would be lost")
        dtype = getattr(array, "dtype", None)  # the interface knows no bfloat16
        kind = dtype if isinstance(dtype, np.dtype) else np.dtype(interface["typestr"])
        # Numba's own arrays give no strides in the interface if they are contiguous but for strides of 0.
        strides = array.strides if isinstance(array, Array) else interface.get("strides")
        return distant(int(interface["data"][0]), tuple(interface["shape"]), strides, kind, StreamMemory(stream), array)

    def new(self, array: Any, shape: tuple[int, ...], dtype: np.dtype) -> Any:
        """A new array of the same kind, on the same device and stream."""
        stream, result = self.stream(array), allocated(shape, dtype)
        return result.bind(stream.numba()) if stream.handle else result


def _gpu_of(array: Any) -> int:
    """The GPU that an array lies on, which `__cuda_array_interface__` does not tell."""
    if isinstance(array, Array):
        return int(array.gpu_data.context.device.id)
    address = int(array.__cuda_array_interface__["data"][0])
    if not address:  # no elements
        return current_device()
    attribute = driver.binding.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    return int(driver.driver.cuPointerGetAttribute(attribute, driver.binding.CUdeviceptr(address)))


class _DLPack(_Interface):
    """Any array with DLPack: its library makes its numbers ready for our stream, the default one."""

    def stream(self, array: Any) -> Stream:
        return Stream(int(array.__dlpack_device__()[1]), 0)

    def adopt(self, name: str, array: Any, stream: Stream) -> Distant:
        try:
            view = StridedMemoryView.from_dlpack(array, stream_ptr=stream.handle or DEFAULT_STREAM)
            dtype = view.dtype
        except (BufferError, RuntimeError, TypeError, ValueError) as error:  # a dtype that is not known, for instance
            raise TypeError(f"{name} of type {type(array).__name__} can't be read through DLPack: {error}") from error
        strides = None if view.strides is None else tuple(step * dtype.itemsize for step in view.strides)
        return distant(view.ptr, tuple(view.shape), strides, dtype, StreamMemory(stream), view)


class _CuPy(_Interface):
    def stream(self, array: Any) -> Stream:
        return Stream(int(array.device.id), int(sys.modules["cupy"].cuda.get_current_stream().ptr))

    def new(self, _array: Any, shape: tuple[int, ...], dtype: np.dtype) -> Any:
        return with_room(partial(sys.modules["cupy"].empty, shape, dtype))


class _Torch(_Interface):
    def stream(self, array: Any) -> Stream:
        return Stream(int(array.device.index), int(sys.modules["torch"].cuda.current_stream(array.device).cuda_stream))

    def adopt(self, name: str, array: Any, stream: Stream) -> Distant:
        dtype = parse(name, array.dtype)
        strides = tuple(step * dtype.itemsize for step in array.stride())
        return distant(array.data_ptr(), tuple(array.shape), strides, dtype, StreamMemory(stream), array)

    def new(self, _array: Any, shape: tuple[int, ...], dtype: np.dtype) -> Any:
        torch = sys.modules["torch"]
        make = partial(torch.empty, shape, dtype=getattr(torch, dtype.name), device=_array.device)
        return with_room(make, torch.cuda.OutOfMemoryError)


def _library(array: Any) -> _Interface:
    """The way to ask an array's library for streams, views and new arrays."""
    for name, kind, library in (("torch", "Tensor", _Torch), ("cupy", "ndarray", _CuPy)):
        module = sys.modules.get(name)
        if module is not None and isinstance(array, getattr(module, kind)):
            return library()
    return _DLPack() if hasattr(array, "__dlpack_device__") else _Interface()


def handed_over(name: str, array: Any, result: Distant) -> Any:
    """A result as the kind of array that `array` is; as Numba's if that kind has no `__array_namespace__`.

    Raises
    ------
    TypeError
        For a dtype that DLPack's writer does not know.
    """
    owner = result.owner if result.owner.shape == result.shape else result.owner.reshape(result.shape)
    if isinstance(owner, type(array)) or not hasattr(array, "__array_namespace__"):
        return owner
    stream_of(result).wait()  # the library may read the result on any stream
    try:
        view = StridedMemoryView.from_cuda_array_interface(owner, stream_ptr=-1)
        return array.__array_namespace__().from_dlpack(view)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise TypeError(
            f"{name} of type {type(array).__name__}: its library can't be given a {result.dtype} result through DLPack "
            f"({error}); out_dtype must be another"
        ) from error
