"""Kinds of arrays: makes arrays of other libraries of arrays in NumPy's memory, and reads them back.

Knows NumPy, torch, CuPy, JAX and the device, each imported when an array of it is made; not what the arrays mean.
"""

import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np

from refconv.arrays.interop import to_numpy
from refconv.arrays.remote import near
from refconv.core.checks import choice
from refconv.core.errors import BackendUnavailable
from refconv.verification.candidate.arrangements import GUARD, Place

KINDS = ("numpy", "torch", "cupy", "numba", "jax")
# What torch says where there is no GPU.
NO_GPU = "Torch not compiled with CUDA enabled|Found no NVIDIA driver|No CUDA GPUs are available"
SIMULATOR = "NUMBA_ENABLE_CUDASIM"  # the environment variable that asks for Numba's simulator


@dataclass(frozen=True, eq=False)
class Handed:
    """An array as a candidate gets it.

    Attributes
    ----------
    array
        The array.
    place : Place
        The array in NumPy's memory that it was made of, and where its elements lie.
    memory
        All of the memory on another device, as an array of `kind`; None if the array is in the memory of `place`, or
        if its memory can't be seen.
    kind
        The kind of `memory`.
    """

    array: Any
    place: Place
    memory: Any = None
    kind: str = "numpy"

    @property
    def bytes(self) -> np.ndarray:
        """All bytes of the memory as they are now."""
        if self.memory is None:
            return self.place.bytes
        return on_host("memory", self.memory, self.kind).view(np.uint8)

    @property
    def view(self) -> np.ndarray:
        """The elements as they are now, even if the candidate changed the array's shape or strides."""
        meant = self.place.view
        return np.ndarray(meant.shape, meant.dtype, self.bytes, self.place.offset, meant.strides)


def check(kind: str) -> None:
    """Refuse a kind that is unknown, not installed, or without the device that it needs.

    Raises
    ------
    GeometryError, ModuleNotFoundError, BackendUnavailable
        The message says which kinds there are, or what is missing.
    """
    choice("arrays", kind, KINDS)
    if kind == "numba":
        try:
            _device().check()
        except BackendUnavailable as error:
            text = f"arrays='numba' needs a GPU, or {SIMULATOR}=1 in the environment for Numba's simulator: {error}"
            raise BackendUnavailable(text) from error
    elif importlib.util.find_spec(kind) is None:
        raise ModuleNotFoundError(f"arrays={kind!r}: {kind} is not installed", name=kind)


def simulated(kind: str) -> bool:
    """Whether kernels on such arrays run in Numba's simulator, as Python: a thousand times slower."""
    return kind == "numba" and bool(_device().SIMULATED)


def handed(place: Place, kind: str, device: str = "cpu") -> Handed:
    """An array of a kind, over the memory of `place` or a copy of it.

    Raises
    ------
    TypeError
        If that kind has no such dtype.
    ValueError
        If arrays of that kind can't lie in memory so.
    """
    if kind == "numpy":
        return Handed(place.view.view(), place)  # another view: a candidate may change its shape
    if kind == "torch":
        return _torch(place, device)
    return {"cupy": _cupy, "numba": _numba, "jax": _jax}[kind](place)


def unlike(result: Any, kind: str, device: str = "cpu") -> str:
    """How a result is unlike arrays of a kind (for torch, on a device), in words; empty if it is one."""
    if not isinstance(result, _type(kind)):
        return f"{kind} arrays went in, but what came back is of type {type(result).__module__}.{type(result).__name__}"
    if kind == "torch" and not _lies_on(result.device, device):
        return f"tensors on {device} went in, but what came back lies on {result.device}"
    return ""


def finish(result: Any, kind: str, device: str = "cpu") -> None:
    """Wait until the device has done all that was asked of it: only then are errors seen."""
    if kind == "torch" and device != "cpu":
        name, _, index = device.partition(":")  # without an index, the current device
        getattr(_module("torch"), name).synchronize(*[device] if index and name != "mps" else [])
    elif kind == "cupy":
        _module("cupy").cuda.Device().synchronize()
    elif kind == "numba":
        _numba_arrays().synchronize()
    elif kind == "jax" and hasattr(result, "block_until_ready"):
        result.block_until_ready()


def broken(kind: str, device: str = "cpu") -> bool:
    """Whether this process can't use the device any more, as after an access to memory that is not there."""
    try:
        finish(None, kind, device)
    except Exception:  # noqa: BLE001 - each library has its own
        return True
    return False


def on_host(name: str, result: Any, kind: str) -> np.ndarray:
    """A result in NumPy's memory; raises as `to_numpy` does."""
    if kind == "cupy":
        result = result.get()
    elif kind == "jax":
        result = np.asarray(result)  # from whatever device
    elif kind == "numba":
        result = _numba_arrays().unwrapped(result)
    elif kind == "torch" and not result.is_cpu:
        result = result.detach().cpu()
    array: np.ndarray = near(to_numpy(name, result))
    return array


def _lies_on(torch_device: Any, device: str) -> bool:
    """Whether a torch.device has this name; "cpu" with any index is the same device."""
    name, _, index = device.partition(":")
    return torch_device.type == name and (name == "cpu" or not index or torch_device.index == int(index))


def _torch(place: Place, device: str) -> Handed:
    torch = _module("torch")
    view, size, offset = place.view, place.view.itemsize, place.offset - GUARD
    if not view.size:  # the address of an empty array says nothing
        offset = 0
    if any(step % size or step < 0 for step in view.strides) or offset % size:
        raise ValueError("torch has no tensors with negative strides, or between elements")
    dtype = getattr(torch, view.dtype.name, None)
    if dtype is None:
        raise TypeError(f"torch has no {view.dtype}")
    # The storage begins behind the poison, so that a contiguous tensor has no storage offset.
    if device == "cpu":
        there, storage = None, torch.from_numpy(place.bytes[GUARD:])
    else:
        there = torch.from_numpy(place.bytes).to(device)
        storage = torch.from_dlpack(there[GUARD:])
    strides = [step // size for step in view.strides]
    return Handed(torch.as_strided(storage.view(dtype), view.shape, strides, offset // size), place, there, "torch")


def _cupy(place: Place) -> Handed:
    cupy = _module("cupy")
    view = place.view
    if place.offset % view.itemsize:
        raise ValueError("cupy has no unaligned arrays")
    try:
        memory = cupy.asarray(place.memory)
    except ValueError as error:  # a dtype of ml_dtypes
        raise TypeError(f"cupy: {error}") from error
    cupy.cuda.Device().synchronize()  # end the copy: the candidate may run on a stream of its own
    array = cupy.ndarray(view.shape, view.dtype, memory.data + place.offset, view.strides)
    return Handed(array, place, memory, "cupy")


def _numba(place: Place) -> Handed:
    view = place.view
    if place.offset % view.itemsize or any(step < 0 for step in view.strides):
        raise ValueError("numba has no unaligned arrays, and can't copy those with negative strides")
    memory, array = _numba_arrays().lay(place.bytes, place.offset, view)
    return Handed(array, place, memory, "numba")


def _jax(place: Place) -> Handed:
    if not place.view.flags.c_contiguous:
        raise ValueError("jax arrays are contiguous")
    array = _module("jax.numpy").array(place.view)  # a copy: `asarray` may share memory
    if array.dtype != place.view.dtype:
        raise TypeError(f"jax has turned {place.view.dtype} into {array.dtype}: it has that type with x64 enabled")
    return Handed(array, place)


def _type(kind: str) -> Any:
    if kind == "numpy":
        return np.ndarray
    if kind == "numba":
        return _device().Array
    name = {"torch": "Tensor", "cupy": "ndarray", "jax": "Array"}[kind]
    return getattr(_module(kind), name)


def _module(name: str) -> Any:
    return importlib.import_module(name)


def _device() -> Any:
    return _module("refconv.arrays.gpu.device")  # which loads numba.cuda


def _numba_arrays() -> Any:
    return _module("refconv.arrays.gpu.numba_arrays")
