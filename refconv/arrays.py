"""Arrays of any kind in, the same kind out: NumPy, torch, and whatever speaks DLPack or `__array__`.

Knows array libraries by their objects only: none but NumPy is imported here unless the caller's array came from it.
"""

import sys
from functools import cache
from typing import Any

import numpy as np

from refconv.errors import BackendUnavailable
from refconv.formats import SUPPORTED


def to_numpy(name: str, array: Any) -> np.ndarray:
    """A NumPy view of `array` in native byte order (a copy where there is none), never to be written to.

    Raises
    ------
    TypeError
        For anything that is no array of a supported dtype: lists, scalars, masked arrays, bool, object, strings.
    BackendUnavailable
        For an array that lies on another device.
    """
    found = array if type(array) is np.ndarray else _foreign(name, array)
    if not found.dtype.isnative:
        found = found.astype(found.dtype.newbyteorder("="))
    if found.dtype not in SUPPORTED:
        supported = ", ".join(map(str, SUPPORTED))
        raise TypeError(f"{name} has dtype {found.dtype}: must be one of {supported}")
    return found


def like(array: Any, result: np.ndarray) -> Any:
    """`result` as the kind of array that `array` is.

    Raises
    ------
    TypeError
        If that kind cannot hold the result's dtype (JAX without x64, for instance).
    """
    if type(array) is np.ndarray:
        return result
    if _is_torch(array):
        return sys.modules["torch"].from_numpy(result)
    if isinstance(array, np.ndarray) or not hasattr(array, "__array_namespace__"):
        return result
    converted = array.__array_namespace__().asarray(result)
    if not str(converted.dtype).endswith(result.dtype.name):
        raise TypeError(
            f"input of type {type(array).__name__}: its library turned a {result.dtype} result into {converted.dtype}"
        )
    return converted


def _foreign(name: str, array: Any) -> np.ndarray:
    if isinstance(array, type):
        raise TypeError(f"{name} is the class {array.__name__}: must be an array")
    if _is_torch(array):
        return _from_torch(name, array)
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array: its mask would be lost; pass .filled(value) or .data")
    if isinstance(array, np.ndarray):
        return array.view(np.ndarray)
    if hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__"):
        if array.__dlpack_device__()[0] != 1:  # kDLCPU
            raise BackendUnavailable(f"{name} lies on DLPack device {array.__dlpack_device__()}: must be on the CPU")
        try:
            return np.from_dlpack(array)
        except (BufferError, RuntimeError, ValueError) as error:  # a dtype that NumPy does not know, for instance
            raise TypeError(f"{name} of type {type(array).__name__} can't be read through DLPack: {error}") from error
    if hasattr(array, "__array__") and not isinstance(array, np.generic):
        try:
            found = np.asanyarray(array)
        except ValueError as error:
            raise TypeError(
                f"{name} of type {type(array).__name__} has an __array__ that makes none: {error}"
            ) from error
        return _foreign(name, found)  # it may be masked
    raise TypeError(f"{name} is of type {type(array).__name__}: must be an array (NumPy, torch, DLPack or __array__)")


def _is_torch(array: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def _from_torch(name: str, tensor: Any) -> np.ndarray:
    if not tensor.is_cpu:
        raise BackendUnavailable(f"{name} lies on device {str(tensor.device)!r}: must be on the CPU")
    if tensor.layout is not sys.modules["torch"].strided:
        raise TypeError(f"{name} has layout {tensor.layout}: must be torch.strided (a dense tensor)")
    if not _torch_supports(tensor.dtype):
        raise TypeError(f"{name} has dtype {tensor.dtype}: must be one of {', '.join(map(str, SUPPORTED))}")
    if tensor.requires_grad:
        tensor = tensor.detach()
    try:
        found: np.ndarray = (tensor.resolve_neg() if tensor.is_neg() else tensor).numpy()
    except RuntimeError as error:  # fake and functional tensors have no numbers
        raise TypeError(f"{name} is a tensor without numbers of its own: {error}") from error
    return found


@cache
def _torch_supports(dtype: Any) -> bool:
    return str(dtype).removeprefix("torch.") in map(str, SUPPORTED)
