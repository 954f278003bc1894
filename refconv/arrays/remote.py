"""Arrays in another memory, seen as NumPy sees its own: views cost nothing, whatever asks for the numbers copies them.

So shapes, strides and views are worked out as for any array, and only who computes in that memory has to know where it
is. Knows NumPy; of the other memory only how to copy.
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
        What the memory is kept by: the library's array that this one, or what it is a view of, was made from.
    """

    memory: Memory
    owner: Any

    def __array_finalize__(self, other: Any) -> None:
        self.memory, self.owner = getattr(other, "memory", None), getattr(other, "owner", None)  # type: ignore[assignment]

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """The result, of copies of the operands."""
        out = options.pop("out", ())
        found = getattr(ufunc, method)(*map(near, inputs), **options)
        for each in out:
            each[...] = found
        return out[0] if out else found

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        """The view, if it is one; else the result for copies."""
        if function in _VIEWS:
            return super().__array_function__(function, types, arguments, options)
        return function(*map(_all_near, arguments), **{name: _all_near(each) for name, each in options.items()})

    def __getitem__(self, index: Any) -> Any:
        """A view, or copies of elements."""
        if all(isinstance(each, (slice, type(None), type(Ellipsis), int)) for each in _tuple(index)):
            return super().__getitem__((*_tuple(index), Ellipsis) if Ellipsis not in _tuple(index) else index)
        return near(self)[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        start, size = _span(self)
        if size:
            data = self.memory.read(start, size)
            _as_view(self, data, start)[index] = near(value)
            self.memory.write(start, data)

    def reshape(self, *shape: Any, **options: Any) -> Any:
        """A view, or a copy where there is none."""
        found = self.view()
        try:
            found.shape = shape[0] if len(shape) == 1 else shape
        except AttributeError:
            return near(self).reshape(*shape, **options)
        return found

    def __repr__(self) -> str:
        return f"<array elsewhere, {self.shape} of {self.dtype}>"

    __str__ = __repr__


def _copying(name: str) -> Any:
    """A method that looks at numbers: that of a copy."""

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

    found = np.asarray(Interface()).view(dtype).view(Distant)
    found.memory, found.owner = memory, owner
    return found


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
    """Where the elements of an array begin, and how many bytes there are from there to the end of the last one."""
    if not array.size:
        return 0, 0
    reaches = [(size - 1) * step for size, step in zip(array.shape, array.strides, strict=True)]
    start = array.__array_interface__["data"][0] + sum(min(each, 0) for each in reaches)
    return start, sum(map(abs, reaches)) + array.itemsize


def _as_view(array: np.ndarray, data: np.ndarray, start: int) -> np.ndarray:
    """The array that a copy of its span holds."""
    offset = array.__array_interface__["data"][0] - start
    return np.ndarray(array.shape, array.dtype, data.data, offset, array.strides)
