"""The arithmetic of a tile's sums, in LLVM: the same instructions on every target.

Knows LLVM; of a tile how many sums it has, and whether a sum is one number or two; not its shape, nor where it lies.
"""

from typing import Any, Protocol

from llvmlite import ir
from numba.core import cgutils


class Sums(Protocol):
    """A tile: its sums are the values of an LLVM array; of sums of two numbers, the second numbers come last."""

    numbers: int  # of a sum

    @property
    def sums(self) -> int:
        """How many sums, or vectors of sums, the tile has."""


def fused(builder: Any, x: Any, w: Any, total: Any) -> Any:
    """x * w + total of numbers or vectors, rounded once."""
    element = _element(total)
    if isinstance(element, ir.IntType):
        return builder.add(builder.mul(x, w), total)
    lanes = "" if element is total.type else f"v{total.type.count}"
    name = f"llvm.fma.{lanes}f{32 if isinstance(element, ir.FloatType) else 64}"
    signature = ir.FunctionType(total.type, [total.type] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, name), [x, w, total])


def with_product(builder: Any, tile: Sums, block: Any, at: int, x: Any, w: Any) -> Any:
    """The sums of a block, with x * w added to the one at `at`."""
    total = builder.extract_value(block, at)
    if tile.numbers == 1:
        return builder.insert_value(block, fused(builder, x, w, total), at)
    low = builder.extract_value(block, tile.sums + at)
    total, low = _two_products(builder, x, w, total, low)
    return builder.insert_value(builder.insert_value(block, low, tile.sums + at), total, at)


def with_block(builder: Any, tile: Sums, total: Any, block: Any) -> Any:
    """The totals, with the sums of a block added; a block of sums of two numbers has the totals in it already."""
    if tile.numbers == 2:
        return _handed_over(builder, tile, block)
    for at in range(tile.sums):
        sums = builder.extract_value(total, at), builder.extract_value(block, at)
        add = builder.add if isinstance(_element(sums[0]), ir.IntType) else builder.fadd
        total = builder.insert_value(total, add(*sums), at)
    return total


def _element(value: Any) -> Any:
    """LLVM's type of a number, or of the numbers of a vector."""
    return value.type.element if isinstance(value.type, ir.VectorType) else value.type


def _two_products(builder: Any, x: Any, w: Any, high: Any, low: Any) -> tuple[Any, Any]:
    """high + low + x * w: the bits of the product below the last place of high go to low.

    If `high` starts as in `exact.two_numbers`, only `low` and what is added to it are rounded.
    """
    moved = fused(builder, x, w, high)
    taken = builder.fsub(moved, high)
    return moved, builder.fadd(low, fused(builder, x, w, _negated(builder, taken)))


def _negated(builder: Any, value: Any) -> Any:
    """The value subtracted from -0: NVVM has no negation, and for other targets LLVM turns this into one."""
    zero = [-0.0] * value.type.count if isinstance(value.type, ir.VectorType) else -0.0
    return builder.fsub(ir.Constant(value.type, zero), value)


def _handed_over(builder: Any, tile: Sums, sums: Any) -> Any:
    """The same sums: bits of the second numbers that are large enough go to the first numbers. Nothing is rounded."""
    for at in range(tile.sums):
        high, low = builder.extract_value(sums, at), builder.extract_value(sums, tile.sums + at)
        total = builder.fadd(high, low)
        sums = builder.insert_value(sums, total, at)
        rest = builder.fsub(low, builder.fsub(total, high))
        sums = builder.insert_value(sums, rest, tile.sums + at)
    return sums
