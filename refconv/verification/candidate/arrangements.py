"""Arrangements: equal arrays that lie in memory differently, as views do, with poison around them.

Knows shapes, strides and dtypes; not what an array means, who reads it, and no array library but NumPy.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from refconv.cases.recipe import OFFSETS
from refconv.core import formats
from refconv.core.checks import choice

Shape: TypeAlias = tuple[int, ...]
_Cut: TypeAlias = Callable[[np.ndarray], np.ndarray]

GUARD = 4096  # bytes of poison on both sides: more than a vector or a row, and no other alignment than the memory's
ALIGNED = 128  # bytes: what is said to lie off a power of two lies right by no more than that
# Odd numbers of elements: a kernel that assumes a vector's alignment is wrong.
START, PITCH, SLICES = 3, 3, 3

# Bytes of poison. All ones is a NaN in every floating format; as an integer it would be -1, which is no large number.
_NAN, _LARGE = 0xFF, 0x7F
# The other kind of poison. In no format it is NaN, or so large that adding to it leaves it as it was: an output that a
# kernel adds to does not look untouched.
OTHER = 0x3F


@dataclass(frozen=True, eq=False)
class Place:
    """An array in memory of its own.

    Attributes
    ----------
    memory : ndarray
        All of the memory, as one axis: of the array's dtype, or bytes if that is not aligned.
    view : ndarray
        The array; all other bytes of the memory are poison.
    """

    memory: np.ndarray
    view: np.ndarray

    @property
    def offset(self) -> int:
        """Bytes from the beginning of the memory to the first element; 0 if there is none."""
        return int(_address(self.view) - _address(self.memory)) if self.view.size else 0

    @property
    def bytes(self) -> np.ndarray:
        """All of the memory."""
        return self.memory.view(np.uint8)

    @cached_property
    def inside(self) -> np.ndarray:
        """For each byte of the memory, whether it belongs to the array."""
        inside = np.zeros(self.memory.nbytes, bool)
        shape, strides = (*self.view.shape, self.view.itemsize), (*self.view.strides, 1)
        np.ndarray(shape, bool, inside, self.offset, strides)[...] = True
        return inside


def arrange(array: np.ndarray, name: str, axes: int = 2) -> np.ndarray:
    """An array of equal shape, dtype and bits, which lies in memory as `name` says, with poison around it.

    Poison is NaN, or a large integer: a kernel that reads the memory in another way than the strides say shows it.

    Parameters
    ----------
    array : ndarray
        Of any layout.
    name : str
        One of those below.
    axes : int
        How many spatial axes there are: the last ones, after that of the channels.

    Raises
    ------
    ValueError
        For an unknown name, and for an arrangement that this array can't have.

    Notes
    -----
    contiguous
        In C order.
    offset
        In C order, from an element on that is not the first in memory.
    offset_4, offset_8, offset_16, offset_32, offset_64
        In C order, so many bytes behind a multiple of 128. Not for numbers of more bytes.
    channel_chunk
        As `x.chunk(2, dim=1)[1]`: the second half of the channels of an array with twice as many.
    channels_last
        The axis of the channels is the last one in memory.
    channels_last_chunk
        As `x[:, :c]` of an array whose channels are the last axis in memory: there are more of them for each pixel.
    channels_last_pitch
        Channels last, and rows that lie farther apart than they are long.
    transposed
        As `w.transpose(0, 1)`: two axes are swapped in memory. The first two, or if one of them is of length 1 the last
        two, or other two.
    broadcast
        Strides of 0 along all axes of which the values allow it, see `broadcastable`.
    negative
        As `x[::-1, ::-1, ::-1, ::-1]`.
    unaligned
        One byte behind an aligned address. Not for numbers of one byte.
    row_pitch
        Rows lie farther apart than they are long.
    w_slice
        As `weight5d[:, :, 1]`.
    interleaved
        As the real part of complex numbers: every stride is twice as large.

    Examples
    --------
    >>> x = np.arange(6, dtype="int8").reshape(1, 2, 3)
    >>> for name in "contiguous", "channels_last", "row_pitch", "negative":
    ...     print(name, arrange(x, name).strides)
    contiguous (6, 3, 1)
    channels_last (1, 3, 1)
    row_pitch (12, 6, 1)
    negative (-6, -3, -1)
    """
    return place(array, name, axes=axes).view


def place(array: np.ndarray, name: str = "contiguous", fill: int | None = None, *, axes: int = 2) -> Place:
    """As `arrange`, together with the memory that the array lies in, whose other bytes are `fill` if it is given."""
    fixed = _constant_axes(array) if name == "broadcast" else ()
    if name == "broadcast" and not fixed:
        raise ValueError("memory='broadcast': the values must be the same all along an axis")
    placed = reserve(array.shape, array.dtype, name, poison(array.dtype) if fill is None else fill, fixed, axes)
    placed.view[...] = array
    return placed


def reserve(shape: Shape, dtype: np.dtype, name: str, poison: int, fixed: Sequence[int] = (), axes: int = 2) -> Place:
    """Memory full of poison, and a view of it.

    Parameters
    ----------
    shape, dtype, name
        Shape, dtype and arrangement of the view.
    poison : int
        Value of every byte.
    fixed : sequence of int
        The axes along which a broadcast view has only one element.
    axes : int
        How many spatial axes there are.
    """
    choice("memory", name, ARRANGEMENTS)
    if len(shape) < _fewest(name, axes):
        raise ValueError(f"memory={name!r}: an array of shape {shape} has too few axes")
    if name == "unaligned" and dtype.itemsize == 1:
        raise ValueError(f"memory='unaligned': {dtype} has one byte, which lies right everywhere")
    if OFFSETS.get(name, 0) % dtype.itemsize:
        raise ValueError(f"memory={name!r}: numbers of {dtype} have {dtype.itemsize} bytes")
    outer, cut = _broadcast(shape, fixed) if name == "broadcast" else _ARRANGEMENTS[name][1](shape, axes)
    elements = math.prod(outer)
    # A kernel that reads as many elements from the first one on, whatever the strides, reads poison and nothing else.
    behind = GUARD + (0 if name == "contiguous" else math.prod(shape) * dtype.itemsize)
    first = (GUARD + OFFSETS.get(name, 0)) // dtype.itemsize
    memory = _aligned(first + elements + -(-behind // dtype.itemsize) + (name == "unaligned"), dtype)
    memory.view(np.uint8)[:] = poison
    shifted = memory
    if name == "unaligned":
        memory = memory.view(np.uint8)
        shifted = memory[1 : 1 - dtype.itemsize].view(dtype)
    return Place(memory, cut(shifted[first : first + elements].reshape(outer)))


def _aligned(elements: int, dtype: np.dtype) -> np.ndarray:
    """Memory that begins at a multiple of `ALIGNED` bytes."""
    memory = np.empty(elements * dtype.itemsize + ALIGNED, np.uint8)
    start = -_address(memory) % ALIGNED
    return memory[start : start + elements * dtype.itemsize].view(dtype)


def outline(shape: Shape, dtype: npt.DTypeLike, name: str, axes: int = 2) -> tuple[np.ndarray, int]:
    """An array that lies as `name` says but for strides of 0, whatever its numbers, and its alignment.

    The alignment is the largest power of two, up to `ALIGNED`, of which the first element's address is a multiple.

    >>> outline((2, 3), "float32", "offset_16")[1], outline((2, 3), "float32", "offset")[1]
    (16, 4)
    """
    outer, cut = _ARRANGEMENTS[name][1](shape, axes)
    memory = np.empty(outer, dtype)
    view = cut(memory)
    before = _address(view) - _address(memory) if view.size else 0
    return view, math.gcd(before + OFFSETS.get(name, name == "unaligned"), ALIGNED)


def possible(name: str, kind: str, dtype: npt.DTypeLike, ndim: int = 4, axes: int = 2) -> bool:
    """Whether a kind of arrays ("numpy", "torch", "cupy", "numba", "jax") can lie so.

    >>> possible("negative", "numpy", "int8"), possible("negative", "torch", "int8")
    (True, False)
    """
    choice("memory", name, ARRANGEMENTS)
    size = np.dtype(dtype).itemsize
    if ndim < _fewest(name, axes) or (name == "unaligned" and size == 1) or OFFSETS.get(name, 0) % size:
        return False
    # torch knows strides in elements, and none below 0, which Numba can't copy; JAX arrays have no strides.
    return {
        "numpy": True,
        "torch": name not in ("negative", "unaligned"),
        "cupy": name != "unaligned",
        "numba": name not in ("negative", "unaligned"),
        "jax": name == "contiguous",
    }[kind]


def broadcastable(array: np.ndarray) -> bool:
    """Whether the values allow a stride of 0: along some axis they are all the same, or its length is 1.

    >>> broadcastable(np.array([[1, 2], [1, 2]])), broadcastable(np.array([[1, 2], [3, 4]]))
    (True, False)
    """
    return bool(_constant_axes(array))


def poison(dtype: np.dtype) -> int:
    """The byte that makes a NaN when repeated, or a large integer.

    >>> np.full(4, poison(np.dtype("float32")), "uint8").view("float32")
    array([nan], dtype=float32)
    """
    return _LARGE if dtype in formats.INTEGERS else _NAN


def bits(array: np.ndarray) -> np.ndarray:
    """The bytes of each element, along a last axis."""
    dense = np.ascontiguousarray(array).reshape(array.shape)  # an array without axes would get one
    return dense[..., None].view(np.uint8)


def _constant_axes(array: np.ndarray) -> tuple[int, ...]:
    element_bytes = bits(array)
    return tuple(
        axis
        for axis, length in enumerate(array.shape)
        if length == 1 or (length > 1 and bool((element_bytes == element_bytes.take([0], axis)).all()))
    )


def _contiguous(shape: Shape, _axes: int) -> tuple[Shape, _Cut]:
    return shape, lambda outer: outer


def _offset(shape: Shape, _axes: int) -> tuple[Shape, _Cut]:
    return (START + math.prod(shape),), lambda outer: outer[START:].reshape(shape)


def _channel_chunk(shape: Shape, axes: int) -> tuple[Shape, _Cut]:
    axis, channels = _channel_axis(shape, axes), shape[_channel_axis(shape, axes)]
    outer = (*shape[:axis], 2 * channels, *shape[axis + 1 :])
    return outer, lambda outer: outer[(slice(None),) * axis + (slice(channels, None),)]


def _channels_last(shape: Shape, axes: int) -> tuple[Shape, _Cut]:
    axis = _channel_axis(shape, axes)
    outer = (*shape[:axis], *shape[axis + 1 :], shape[axis])
    return outer, lambda outer: np.moveaxis(outer, -1, axis)


def _channels_last_chunk(shape: Shape, axes: int) -> tuple[Shape, _Cut]:
    axis, channels = _channel_axis(shape, axes), shape[_channel_axis(shape, axes)]
    outer = (*shape[:axis], *shape[axis + 1 :], 2 * channels)
    return outer, lambda outer: np.moveaxis(outer[..., :channels], -1, axis)


def _channels_last_pitch(shape: Shape, axes: int) -> tuple[Shape, _Cut]:
    axis = _channel_axis(shape, axes)
    outer = (*shape[:axis], *shape[axis + 1 : -1], shape[-1] + PITCH, shape[axis])
    return outer, lambda outer: np.moveaxis(outer[..., :-PITCH, :], -1, axis)


def _channel_axis(shape: Shape, axes: int) -> int:
    """The axis before the spatial ones, with a batch or without; the only axis of a bias."""
    return max(0, len(shape) - axes - 1)


def _fewest(name: str, axes: int) -> int:
    """The fewest axes that an array must have, to lie so."""
    return axes + 1 if name.startswith("channels_last") else _ARRANGEMENTS[name][0]


def _transposed(shape: Shape, _axes: int) -> tuple[Shape, _Cut]:
    last = len(shape) - 1
    pairs = [(0, 1), (last - 1, last), *((left, right) for right in range(last + 1) for left in range(right))]
    left, right = next((pair for pair in pairs if min(shape[pair[0]], shape[pair[1]]) > 1), (0, 1))
    outer = list(shape)
    outer[left], outer[right] = shape[right], shape[left]
    return tuple(outer), lambda outer: outer.swapaxes(left, right)


def _broadcast(shape: Shape, fixed: Sequence[int]) -> tuple[Shape, _Cut]:
    outer = tuple(1 if axis in fixed else length for axis, length in enumerate(shape))

    def cut(outer: np.ndarray) -> np.ndarray:
        strides = tuple(0 if axis in fixed else step for axis, step in enumerate(outer.strides))
        # Not np.broadcast_to: what a candidate gets can be written to. Nor as_strided: it does not know ml_dtypes.
        return np.ndarray(shape, outer.dtype, outer.reshape(-1).view(np.uint8), 0, strides)

    return outer, cut


def _negative(shape: Shape, _axes: int) -> tuple[Shape, _Cut]:
    return shape, lambda outer: outer[(slice(None, None, -1),) * len(shape)]


def _row_pitch(shape: Shape, _axes: int) -> tuple[Shape, _Cut]:
    return (*shape[:-1], shape[-1] + PITCH), lambda outer: outer[..., :-PITCH]


def _w_slice(shape: Shape, _axes: int) -> tuple[Shape, _Cut]:
    return (*shape[:2], SLICES, *shape[2:]), lambda outer: outer[(slice(None),) * min(2, len(shape)) + (1,)]


def _interleaved(shape: Shape, _axes: int) -> tuple[Shape, _Cut]:
    return (*shape, 2), lambda outer: outer[..., 0]


# For each name: the fewest axes; and a function from the view's shape and the number of spatial axes to the shape of an
# array in C order, and the cut that makes the view of that array.
_ARRANGEMENTS: dict[str, tuple[int, Callable[[Shape, int], tuple[Shape, _Cut]]]] = {
    "contiguous": (0, _contiguous),
    **dict.fromkeys(reversed(OFFSETS), (0, _contiguous)),
    "offset": (0, _offset),
    "channel_chunk": (1, _channel_chunk),
    "channels_last": (2, _channels_last),
    "channels_last_chunk": (2, _channels_last_chunk),
    "channels_last_pitch": (2, _channels_last_pitch),
    "transposed": (2, _transposed),
    "broadcast": (1, _contiguous),  # see `_broadcast`: it depends on the values
    "negative": (1, _negative),
    "unaligned": (0, _contiguous),
    "row_pitch": (1, _row_pitch),
    "w_slice": (1, _w_slice),
    "interleaved": (1, _interleaved),
}
ARRANGEMENTS = tuple(_ARRANGEMENTS)


def _address(array: np.ndarray) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
