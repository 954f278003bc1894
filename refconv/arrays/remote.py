"""Arrays in another memory, as a subclass of NumPy's: views cost nothing, operations on the numbers copy them first.

So shapes, strides and views are those of any NumPy array; only code that computes in the other memory needs its
addresses. Knows NumPy; of the other memory only how to copy.
"""

from typing import Any, Protocol

import numpy as np


class Memory(Protocol):
    """The memory that an array lies in."""

    def read(self, address: int, size: int) -> np.ndarray:
        """Bytes from an address on, copied to this memory."""

    def write(self, address: int, data: np.ndarray) -> None:
        """Copy bytes to an address."""


class Distant(np.ndarray):
    """An array in another memory.

    Attributes
    ----------
    memory
        That memory.
    owner
        Keeps the memory alive: the library's array that this array, or the one that it is a view of, was made from.
    """

    memory: Memory
    owner: Any

    def __array_finalize__(self, other: Any) -> None:
        self.memory, self.owner = getattr(other, "memory", None), getattr(other, "owner", None)  # type: ignore[assignment]

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """The ufunc's result for copies of the operands."""
        out = options.pop("out", ())
        result = getattr(ufunc, method)(*map(near, inputs), **options)
        for target in out:
            target[...] = result
        return out[0] if out else result

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        """The function's result: for a function in `_VIEWS` a view, for any other computed from copies."""
        if function in _VIEWS:
            return super().__array_function__(function, types, arguments, options)
        return function(*map(_all_near, arguments), **{name: _all_near(option) for name, option in options.items()})

    def __getitem__(self, index: Any) -> Any:
        """A view for slices and integers; for any other index a copy of the elements."""
        if all(isinstance(part, (slice, type(None), type(Ellipsis), int)) for part in _tuple(index)):
            return super().__getitem__((*_tuple(index), Ellipsis) if Ellipsis not in _tuple(index) else index)
        return near(self)[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        start, size = _span(self)
        if size:
            data = self.memory.read(start, size)
            _as_view(self, data, start)[index] = near(value)
            self.memory.write(start, data)

    def reshape(self, *shape: Any, **options: Any) -> Any:
        """A view, or a copy if no view has that shape."""
        view = self.view()
        try:
            view.shape = shape[0] if len(shape) == 1 else shape
        except AttributeError:
            return near(self).reshape(*shape, **options)
        return view

    def __repr__(self) -> str:
        return f"<array elsewhere, {self.shape} of {self.dtype}>"

    __str__ = __repr__


def _copying(name: str) -> Any:
    """A method that reads numbers: it calls the same method of a copy."""

    def method(self: Distant, *arguments: Any, **options: Any) -> Any:
        return getattr(near(self), name)(*arguments, **options)

    method.__name__ = name
    return method


for _name in (
    "astype", "copy", "tolist", "item", "min", "max", "sum", "any", "all", "tobytes", "flatten", "ravel", "take",
    "nonzero", "argmax", "__bool__", "__float__", "__int__", "__iter__",
):  # fmt: skip
    setattr(Distant, _name, _copying(_name))

_VIEWS = {np.moveaxis, np.transpose, np.swapaxes, np.reshape, np.broadcast_to, np.shape, np.ndim, np.expand_dims}


def distant(
    address: int, shape: tuple[int, ...], strides: tuple[int, ...] | None, dtype: np.dtype, memory: Any, owner: Any
) -> Distant:
    """An array at an address of another memory."""

    class Interface:
        __array_interface__ = {  # noqa: RUF012 - NumPy's
            "data": (address or 1, False), "shape": shape, "strides": strides, "typestr": f"|V{dtype.itemsize}",
            "version": 3,
        }  # fmt: skip

    array = np.asarray(Interface()).view(dtype).view(Distant)
    array.memory, array.owner = memory, owner
    return array


def near(value: Any) -> Any:
    """A copy in this memory of an array in another one; anything else as it is."""
    if not isinstance(value, Distant):
        return value
    start, size = _span(value)
    if not size:
        return np.empty(value.shape, value.dtype)
    return _as_view(value, value.memory.read(start, size), start).copy()


def _all_near(value: Any) -> Any:
    return type(value)(map(_all_near, value)) if type(value) in (list, tuple) else near(value)


def _tuple(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


def _span(array: np.ndarray) -> tuple[int, int]:
    """The lowest address of an array's elements, and the bytes from there to the end of the highest element."""
    if not array.size:
        return 0, 0
    reaches = [(size - 1) * step for size, step in zip(array.shape, array.strides, strict=True)]
    start = array.__array_interface__["data"][0] + sum(min(reach, 0) for reach in reaches)
    return start, sum(map(abs, reaches)) + array.itemsize


def _as_view(array: np.ndarray, data: np.ndarray, start: int) -> np.ndarray:
    """The array over `data`, a copy of the bytes of its span, which starts at address `start`."""
    offset = array.__array_interface__["data"][0] - start
    return np.ndarray(array.shape, array.dtype, data.data, offset, array.strides)
