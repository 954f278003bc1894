"""The functions of `intrinsics` and `tile` for Numba's simulator, which runs kernels as Python to find wrong indices.

The simulator's own fused multiply-add rounds twice; this one is the processor's. Knows Numba, and the memory of this
process, which is the simulator's device.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

import ctypes
from typing import Any

import numpy as np
from numba import cfunc, types

from refconv.engine.targets.jit import arithmetic, memory
from refconv.engine.targets.jit.extending import intrinsic


@intrinsic
def fused(typing_context: Any, x: Any, w: Any, total: Any) -> Any:
    """x * w + total, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        return arithmetic.fused(builder, *operands)

    return total(x, w, total), generate


def _fma(number: str) -> Any:
    """A compiled `fma(x, w, total, out, count)` of numbers at addresses."""
    type_, size = np.dtype(number).type, np.dtype(number).itemsize

    def fma(x, w, total, out, count):
        for i in range(count):
            factors = memory.load(type_, x, i, size), memory.load(type_, w, i, size)
            memory.store(type_, out, i, size, fused(*factors, memory.load(type_, total, i, size)))

    return cfunc(types.void(*(types.intp,) * 5))(fma)


# Compiled at import: the simulator's threads, hundreds at once, would otherwise each compile their own.
_FMA = {number: _fma(number) for number in ("float32", "float64")}


def _multiplied(x: np.ndarray, w: np.ndarray, total: np.ndarray) -> np.ndarray:
    """x * w + total, rounded once."""
    if total.dtype.kind == "i":
        with np.errstate(over="ignore"):
            wrapped: np.ndarray = x * w + total
            return wrapped
    out = np.empty_like(total)
    arrays = [np.ascontiguousarray(operand) for operand in (*np.broadcast_arrays(x, w), total)]
    _FMA[total.dtype.name].ctypes(*(array.ctypes.data for array in (*arrays, out)), total.size)
    return out


def from_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype itself: the simulator's arrays take NumPy's dtypes."""
    return dtype


def _at(dtype: Any, base: Any, index: Any, count: int = 1) -> np.ndarray:
    size = np.dtype(dtype).itemsize
    memory_: Any = (ctypes.c_char * (size * count)).from_address(int(base) + int(index) * size)
    numbers: np.ndarray = np.frombuffer(memory_, dtype)
    return numbers


def load(dtype: Any, base: Any, index: Any) -> Any:
    """The number that lies `index` numbers after an address."""
    return _at(dtype, base, index)[0]


def store(dtype: Any, base: Any, index: Any, value: Any) -> None:
    """Store a number `index` numbers after an address."""
    _at(dtype, base, index)[0] = value


def table(base: Any, size: Any) -> np.ndarray:
    """An array of integers at an address."""
    return _at(np.int64, base, 0, int(size))


def put(array: np.ndarray, index: Any, value: Any) -> None:
    """Store a number in an array, at an index that is not negative."""
    if index < 0:
        raise IndexError(index)
    array[index] = value


def take(array: np.ndarray, index: Any) -> Any:
    """The number at an index of an array, which is not negative."""
    if index < 0:
        raise IndexError(index)
    return array[index]


def copy_vector(array: np.ndarray, index: Any, base: Any, at: Any) -> None:
    """Copy 16 bytes."""
    for i in range(16 // array.dtype.itemsize):
        put(array, index + i, load(array.dtype, base, at + i))


def product(left: Any, right: Any) -> Any:
    """left * right, float64."""
    return np.float64(left) * np.float64(right)


def bits_of_float(value: Any) -> Any:
    """The bits of a float32."""
    return np.float32(value).view(np.int32)


def float_of(bits: Any) -> Any:
    """The float32 of some bits."""
    return np.int32(np.int64(bits) & 0xFFFFFFFF if bits < 2**31 else np.int64(bits) - 2**32).view(np.float32)


def bits_of_double(value: Any) -> Any:
    """The bits of a float64."""
    return np.float64(value).view(np.int64)


def double_of(bits: Any) -> Any:
    """The float64 of some bits."""
    return np.int64(bits).view(np.float64)


class Tile:
    """See `tile.Tile`; sums are arrays, their first axis the numbers of a sum."""

    def __init__(self, number: np.dtype, channels: int, positions: int, numbers: int = 1) -> None:
        self.type, self.channels, self.positions, self.numbers = number.type, channels, positions, numbers
        self.shape = (numbers, channels, positions)

    def start(self, total: np.ndarray) -> np.ndarray:
        return np.zeros_like(total) if self.numbers == 1 else total.copy()

    def bias(self, bias: tuple[int], k: int) -> np.ndarray:
        loaded = [load(self.type, bias[0], i) for i in range(self.channels * self.numbers)]
        values = np.array(loaded).reshape(self.channels, self.numbers).T[:, :, None]
        return np.broadcast_to(values, self.shape).copy()

    def _loaded(self, source: Any, at: int, count: int) -> list[Any]:
        if hasattr(source, "array"):
            first = source.start + at * source.row
            return [take(source.array, first + i) for i in range(count)]
        return [load(self.type, source[i], at) for i in range(count)]

    def fma(self, block: np.ndarray, x: Any, x_at: int, w: Any, w_at: int, terms: int) -> np.ndarray:
        inputs = np.array(self._loaded(x, x_at, self.positions), self.type)[None]
        weights = np.array(self._loaded(w, w_at, self.channels), self.type)[:, None]
        first = _multiplied(inputs, weights, block[0])
        if self.numbers == 1:
            return first[None]
        return np.stack([first, block[1] + _multiplied(inputs, weights, block[0] - first)])

    def add(self, total: np.ndarray, block: np.ndarray) -> np.ndarray:
        if self.numbers == 1:
            added: np.ndarray = total + block
            return added
        high = block[0] + block[1]
        return np.stack([high, block[1] - (high - block[0])])

    def load(self, sums: Any, part: int, k: int, i: int) -> np.ndarray:
        return np.array(sums[part]).reshape(self.shape)

    def store(self, total: np.ndarray, sums: Any, part: int, k: int, i: int) -> None:
        sums[part][:] = total.reshape(-1)
