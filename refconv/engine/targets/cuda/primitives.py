"""Memory as kernels see it: numbers at addresses; and arithmetic whose every bit is defined here.

Addresses, not arrays, cross from Python into kernels: an array's type would have one compiled for each dtype and
layout, and an index that may be negative takes as long as the load. Knows whether there is a GPU or Numba's simulator;
not what is stored where.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from typing import Any, NamedTuple

import numpy as np

from refconv.arrays.gpu.device import SIMULATED, cuda

if SIMULATED:
    from refconv.engine.targets.cuda import simulated as primitives
else:
    from refconv.engine.targets.cuda import intrinsics as primitives  # type: ignore[no-redef]

Tile = primitives.Tile
from_dtype = primitives.from_dtype
load, store, table = primitives.load, primitives.store, primitives.table
put, take, copy_vector = primitives.put, primitives.take, primitives.copy_vector
product = primitives.product
bits_of_float, float_of = primitives.bits_of_float, primitives.float_of
bits_of_double, double_of = primitives.bits_of_double, primitives.double_of

VECTOR_BYTES = 16  # that one instruction loads at most


class Staged(NamedTuple):
    """Numbers in shared memory, in rows; a thread reads from the same place of every row."""

    array: Any
    start: Any  # of the thread's numbers in the first row; of 32 bits
    row: int  # numbers in a row


# Decorates functions that only compiled code calls, and that become part of it; the simulator calls them as Python.
inner: Any = (lambda function: function) if SIMULATED else cuda.jit(device=True, forceinline=True)


class Divisor(NamedTuple):
    """A divisor of numbers below 2**31, as a factor and a shift: a processor's own division is a long subroutine.

    Granlund and Montgomery, "Division by invariant integers using multiplication", PLDI 1994, theorem 4.2.
    """

    value: Any  # 32 bits, and so is the shift
    magic: Any  # 2**(31 + shift) / value, rounded up
    shift: Any  # 2**shift is value or the next power of two


def divisor(value: int) -> Divisor:
    """The divisor of a positive value below 2**31.

    >>> by = divisor(7)
    >>> [n * int(by.magic) >> 31 + int(by.shift) for n in (6, 7, 2**31 - 1)] == [0, 1, (2**31 - 1) // 7]
    True
    """
    shift = (value - 1).bit_length()
    return Divisor(np.int32(value), np.int64(-(-(2 ** (31 + shift)) // value)), np.int32(shift))


@inner
def divided(number, by):
    """Quotient and remainder of a number of 32 bits that is not negative."""
    quotient = np.int32((np.uint64(number) * np.uint64(by.magic) >> np.uint64(31)) >> np.uint64(by.shift))
    return quotient, np.int32(number - quotient * by.value)
