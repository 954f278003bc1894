"""Kinds of arrays: what lies in NumPy's memory as an array of another library, and what such an array holds.

Knows NumPy, torch, CuPy and JAX, each imported when an array of it is made; not what the arrays mean.
"""

import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np

from refconv.arrays import to_numpy
from refconv.geometry import choice
from refconv.verification.memory import GUARD, Place

KINDS = ("numpy", "torch", "cupy", "jax")


@dataclass(frozen=True, eq=False)
class Handed:
    """An array as a candidate gets it.

    Attributes
    ----------
    array
        The array.
    place : Place
        What it was made of, and where its elements lie.
    memory
        The memory on another device, of the array's kind; None where it is that of `place`, or where there is none.
    """

    array: Any
    place: Place
    memory: Any = None

    @property
    def bytes(self) -> np.ndarray:
        """All bytes of the memory as they are now."""
        if self.memory is None:
            return self.place.bytes
        on_host = self.memory.get() if hasattr(self.memory, "get") else to_numpy("memory", self.memory.cpu())
        found: np.ndarray = on_host.view(np.uint8)
        return found

    @property
    def view(self) -> np.ndarray:
        """The elements as they are now, whatever has become of the array."""
        meant = self.place.view
        return np.ndarray(meant.shape, meant.dtype, self.bytes, self.place.offset, meant.strides)


def check(kind: str) -> None:
    """Refuse a kind that there is not, or that is not installed."""
    choice("arrays", kind, KINDS)
    if importlib.util.find_spec(kind) is None:
        raise ModuleNotFoundError(f"arrays={kind!r}: {kind} is not installed", name=kind)


def handed(place: Place, kind: str, device: str = "cpu") -> Handed:
    """An array of a kind, over the memory of `place` or a copy of it.

    Raises
    ------
    TypeError
        If that kind has no such dtype.
    ValueError
        If it can't lie in memory so.
    """
    if kind == "numpy":
        return Handed(place.view.view(), place)  # another view: a candidate may change its shape
    if kind == "torch":
        return _torch(place, device)
    return _cupy(place) if kind == "cupy" else _jax(place)


def unlike(result: Any, kind: str, device: str = "cpu") -> str:
    """What a result is instead of an array of a kind (on a device, for torch); empty if it is one."""
    if not isinstance(result, _type(kind)):
        return f"{kind} arrays went in, but what came back is of type {type(result).__module__}.{type(result).__name__}"
    if kind == "torch" and result.device.type != device.partition(":")[0]:
        return f"tensors on {device} went in, but what came back lies on {result.device}"
    return ""


def finish(result: Any, kind: str, device: str = "cpu") -> None:
    """Wait until what was begun is done: only then its errors are seen."""
    if kind == "torch" and device != "cpu":
        getattr(_module("torch"), device.partition(":")[0]).synchronize()
    elif kind == "cupy":
        _module("cupy").cuda.Device().synchronize()
    elif kind == "jax" and hasattr(result, "block_until_ready"):
        result.block_until_ready()


def on_host(name: str, result: Any, kind: str) -> np.ndarray:
    """A result in NumPy's memory; raises as `to_numpy` does."""
    if kind == "cupy":
        result = result.get()
    elif kind == "jax":
        result = np.asarray(result)  # from whatever device
    elif kind == "torch" and not result.is_cpu:
        result = result.detach().cpu()
    return to_numpy(name, result)


def _torch(place: Place, device: str) -> Handed:
    torch = _module("torch")
    view, size, offset = place.view, place.view.itemsize, place.offset - GUARD
    if not view.size:  # its address says nothing
        offset = 0
    if any(step % size or step < 0 for step in view.strides) or offset % size:
        raise ValueError("torch has no tensors with negative strides, or between elements")
    dtype = getattr(torch, view.dtype.name, None)
    if dtype is None:
        raise TypeError(f"torch has no {view.dtype}")
    # A storage that begins behind the poison: what is contiguous is to have no offset.
    if device == "cpu":
        there, storage = None, torch.from_numpy(place.bytes[GUARD:])
    else:
        there = torch.from_numpy(place.bytes).to(device)
        storage = torch.from_dlpack(there[GUARD:])
    strides = [step // size for step in view.strides]
    return Handed(torch.as_strided(storage.view(dtype), view.shape, strides, offset // size), place, there)


def _cupy(place: Place) -> Handed:
    cupy = _module("cupy")
    view = place.view
    if place.offset % view.itemsize:
        raise ValueError("cupy has no unaligned arrays")
    try:
        memory = cupy.asarray(place.memory)
    except ValueError as error:  # a dtype of ml_dtypes
        raise TypeError(f"cupy: {error}") from error
    return Handed(cupy.ndarray(view.shape, view.dtype, memory.data + place.offset, view.strides), place, memory)


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
    name = {"torch": "Tensor", "cupy": "ndarray", "jax": "Array"}[kind]
    return getattr(_module(kind), name)


def _module(name: str) -> Any:
    return importlib.import_module(name)
