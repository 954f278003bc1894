"""Arrays of any kind in, the same kind out: NumPy, torch, and whatever speaks DLPack or `__array__`.

Knows array libraries by their objects only: none but NumPy is imported here unless the caller's array came from it.
"""

import sys
from functools import cache
from typing import Any, TypeAlias

import numpy as np

from refconv.arrays.remote import Distant
from refconv.core.errors import BackendUnavailable
from refconv.core.formats import NARROW, SUPPORTED

_DLPACK_CPU, _DLPACK_CUDA = 1, (2, 13)  # kDLCPU; kDLCUDA and kDLCUDAManaged

Operands: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray | None]  # input, weight, and bias, if there is one


def to_numpy(name: str, array: Any) -> np.ndarray:
    """A NumPy view of `array` in native byte order (a copy where there is none), never to be written to.

    For an array on the GPU the view is a `Distant` one.

    Raises
    ------
    TypeError
        For anything that is no array of a supported dtype: lists, scalars, masked arrays, bool, object, strings.
    BackendUnavailable
        For an array that lies on a device that is not usable.
    """
    view = array if type(array) is np.ndarray else _foreign(name, array)
    if not view.dtype.isnative:
        view = view.astype(view.dtype.newbyteorder("="))
    if view.dtype not in SUPPORTED:
        raise TypeError(_unsupported(name, view.dtype))
    return view


class Taken:
    """The arrays of a call as NumPy sees them, and the kind of array that its result is to be. See `take`.

    Attributes
    ----------
    arrays : list of (ndarray or None)
        In the order in which `take` got them; each as `to_numpy` has it.
    on_gpu : bool
        Whether they lie on the GPU.
    """

    __slots__ = ("_kind", "_name", "arrays", "on_gpu")

    def __init__(self, name: str, kind: Any, arrays: list[Any], on_gpu: bool) -> None:
        self._name, self._kind, self.arrays, self.on_gpu = name, kind, arrays, on_gpu

    def check_result(self, dtype: np.dtype) -> None:
        """Refuse a kind of array that can't hold results of `dtype`, before anything is computed.

        Raises
        ------
        TypeError
            For JAX without x64 and a result of 64 bits, for instance.
        """
        if type(self._kind) is np.ndarray:
            return
        if not self.on_gpu:
            self.give_back(np.empty(0, dtype))
        elif hasattr(self._kind, "__array_namespace__"):
            self.give_back(self.new((1,), dtype))

    def new(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An array for a result: where the arrays lie, and on the GPU of the kind that the result is to be."""
        return _new_on_gpu(self._kind, shape, dtype) if self.on_gpu else np.empty(shape, dtype)

    def give_back(self, result: np.ndarray) -> Any:
        """The result as the kind of array that it is to be."""
        return like(self._kind, result, self._name)


def take(kind: str, /, **arrays: Any) -> Taken:
    """All arrays of a call at once, by the names of its arguments; only `bias` may be None.

    Parameters
    ----------
    kind
        The name of the array of whose kind the result is to be.
    **arrays
        The arrays.

    Raises
    ------
    TypeError, BackendUnavailable
        As `to_numpy` does; TypeError, too, if some of the arrays lie on the GPU and others do not.

    Examples
    --------
    >>> taken = take("input", input=np.ones(2), bias=None)
    >>> taken.arrays, taken.on_gpu
    ([array([1., 1.]), None], False)
    """
    read = [None if array is None and name == "bias" else to_numpy(name, array) for name, array in arrays.items()]
    on_gpu = Distant in map(type, read)
    if on_gpu:
        for name, array in zip(arrays, read, strict=True):
            if array is not None and type(array) is not Distant:
                there = next(other for other, view in zip(arrays, read, strict=True) if type(view) is Distant)
                raise TypeError(f"{name} lies on the CPU and {there} on the GPU: must be on the same device")
    return Taken(kind, arrays[kind], read, on_gpu)


def beside(array: Any, values: np.ndarray) -> Any:
    """`values`; if `array` lies on the GPU, a copy of them there, of the same kind of array."""
    if not _on_gpu(array):
        return values
    copy = _new_on_gpu(array, values.shape, values.dtype)
    copy[...] = values
    return copy.owner


def like(array: Any, result: np.ndarray, name: str = "input") -> Any:
    """`result` as the kind of array that `array` is.

    Raises
    ------
    TypeError
        If that kind cannot hold the result's dtype (JAX without x64, for instance).
    """
    if type(array) is np.ndarray:
        return result
    if isinstance(result, Distant):
        from refconv.arrays.gpu import libraries

        converted = libraries.handed_over(name, array, result)
    elif _is_torch(array):
        return _to_torch(result)
    elif isinstance(array, np.ndarray) or not hasattr(array, "__array_namespace__"):
        return result
    else:
        converted = array.__array_namespace__().asarray(result)
    if str(converted.dtype).rpartition(".")[2] != result.dtype.name:  # its dtypes are named as NumPy's, maybe after it
        raise TypeError(
            f"{name} of type {type(array).__name__}: its library turned a {result.dtype} result into "
            f"{converted.dtype}; it must have that type (JAX has it with x64 enabled), or out_dtype be another"
        )
    return converted


def _foreign(name: str, array: Any) -> np.ndarray:
    if isinstance(array, type):
        raise TypeError(f"{name} is the class {array.__name__}: must be an array")
    if _is_torch(array):
        return _from_torch(name, array)
    if _on_gpu(array):
        return _adopted(name, array)
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array: its mask would be lost; pass .filled(value) or .data")
    if isinstance(array, np.ndarray):
        return array.view(np.ndarray)
    if hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__"):
        read = _through_dlpack(name, array)
        if read is not None:
            return read
    if hasattr(array, "__array__") and not isinstance(array, np.generic):
        try:
            converted = np.asanyarray(array)
        except ValueError as error:
            raise TypeError(
                f"{name} of type {type(array).__name__} has an __array__ that makes none: {error}"
            ) from error
        return _foreign(name, converted)  # it may be masked
    raise TypeError(f"{name} is of type {type(array).__name__}: must be an array (NumPy, torch, DLPack or __array__)")


def _through_dlpack(name: str, array: Any) -> np.ndarray | None:
    """The array as NumPy's; None if DLPack fails but `__array__` may work, as it does for JAX's bfloat16 and float8."""
    if array.__dlpack_device__()[0] != _DLPACK_CPU:
        raise BackendUnavailable(
            f"{name} lies on DLPack device {tuple(map(int, array.__dlpack_device__()))}: must be on the CPU (1) or on "
            "a GPU of NVIDIA's (2 or 13); copy it"
        )
    try:
        return np.from_dlpack(array)
    except (BufferError, RuntimeError, ValueError) as error:  # a dtype that NumPy does not know, for instance
        if getattr(array, "__array__", None) is None:
            raise TypeError(f"{name} of type {type(array).__name__} can't be read through DLPack: {error}") from error
    return None


def _on_gpu(array: Any) -> bool:
    """Whether an array lies in the memory of a GPU of NVIDIA's."""
    if _is_torch(array):
        return bool(array.is_cuda)
    if isinstance(array, (np.ndarray, type)):
        return False
    lent = hasattr(array, "__dlpack_device__") and array.__dlpack_device__()[0] in _DLPACK_CUDA
    return lent or hasattr(array, "__cuda_array_interface__")


def _adopted(name: str, array: Any) -> Distant:
    from refconv.arrays.gpu import libraries

    return libraries.adopt(name, array)


def _new_on_gpu(array: Any, shape: tuple[int, ...], dtype: np.dtype) -> Distant:
    from refconv.arrays.gpu import libraries

    return libraries.new(array, shape, dtype)


def _is_torch(array: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def _from_torch(name: str, tensor: Any) -> np.ndarray:
    if not tensor.is_cpu and not tensor.is_cuda:
        raise BackendUnavailable(f"{name} lies on device {str(tensor.device)!r}: must be on the CPU or 'cuda'")
    if tensor.layout is not sys.modules["torch"].strided:
        raise TypeError(f"{name} has layout {tensor.layout}: must be torch.strided (a dense tensor)")
    if not _torch_supports(tensor.dtype):
        raise TypeError(_unsupported(name, tensor.dtype))
    if tensor.requires_grad:
        tensor = tensor.detach()
    try:
        return _adopted(name, _resolved(tensor)) if tensor.is_cuda else _torch_to_numpy(tensor)
    except BackendUnavailable:
        raise
    except RuntimeError as error:  # fake and functional tensors have no numbers
        raise TypeError(f"{name} is a tensor without numbers of its own: {error}") from error


def _resolved(tensor: Any) -> Any:
    """The tensor, or a copy if torch has put off negating or conjugating its numbers."""
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
    return tensor.resolve_conj() if tensor.is_conj() else tensor


def _torch_to_numpy(tensor: Any) -> np.ndarray:
    tensor = _resolved(tensor)
    narrow = _narrow(tensor.dtype)
    if narrow is None:
        plain: np.ndarray = tensor.numpy()
        return plain
    # As bits: torch hands over bfloat16 and float8 no other way. Strides in elements stay the same.
    bits: np.ndarray = tensor.view(getattr(sys.modules["torch"], _bits(narrow))).numpy()
    return bits.view(narrow)


def _to_torch(result: np.ndarray) -> Any:
    torch = sys.modules["torch"]
    dtype = getattr(torch, result.dtype.name)
    if _narrow(dtype) is None:
        return torch.from_numpy(result)
    return torch.from_numpy(result.view(_bits(result.dtype))).view(dtype)


@cache
def _narrow(torch_dtype: Any) -> np.dtype | None:
    """NumPy's dtype for a narrow dtype of torch's, whose numbers go to NumPy as bits; None for other dtypes."""
    return next((dtype for dtype in NARROW if str(torch_dtype) == f"torch.{dtype.name}"), None)


def _bits(dtype: np.dtype) -> str:
    return f"uint{8 * dtype.itemsize}"


@cache
def _torch_supports(dtype: Any) -> bool:
    return str(dtype).removeprefix("torch.") in map(str, SUPPORTED)


def _unsupported(name: str, dtype: Any) -> str:
    return f"{name} has dtype {dtype}: must be one of {', '.join(map(str, SUPPORTED))}"
