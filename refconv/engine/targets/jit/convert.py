"""Conversion: numbers of one format, some bytes apart, copied as numbers of another format.

Every pair of formats has a C function of its own, which kernels call by its address: kernels know no format but the
accumulator's, and a new format costs one small function. Knows LLVM, Numba and NumPy's dtypes; not who calls.

Numbers of formats narrower than float32 are loaded and stored as bits, and converted by arithmetic on the bits: not
every processor has instructions for these formats, and LLVM would call library functions. The arithmetic has no
branches, so that LLVM makes vectors of it. It neither reads nor makes subnormal numbers where a processor that takes
them for zeros would change the result.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
from functools import cache
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from llvmlite import ir
from numba import types
from numba.np.numpy_support import from_dtype

from refconv.core.formats import EXACT, number
from refconv.engine.targets.jit.certify import certified
from refconv.engine.targets.jit.cfunctions import cfunction, inner
from refconv.engine.targets.jit.extending import intrinsic
from refconv.engine.targets.jit.memory import load, load_record, store


class Steps(NamedTuple):
    """Bytes from a number of a block to the next along each axis: of the source, and of the target (`out_`)."""

    channel: int
    row: int
    column: int
    out_channel: int
    out_row: int
    out_column: int
    shift: int = 0  # a zero point: subtracted from integers of the source
    low: int = 0  # from the first number of a sum to the second
    slack: int = 0  # how far sums of two numbers may be off: see `exact/two_numbers.py`


@intrinsic
def canonical_nan(typing_context: Any, number: Any) -> Any:
    """The number; if it is NaN, the positive quiet one."""

    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        if isinstance(number, types.Integer):
            return operands[0]
        is_nan = builder.fcmp_unordered("uno", operands[0], operands[0])
        return builder.select(is_nan, context.get_constant(number, float("nan")), operands[0])

    return number(number), generate


@intrinsic
def identity(typing_context: Any, number: Any) -> Any:
    """The number itself."""
    return number(number), lambda context, builder, signature, operands: operands[0]


class _Format(NamedTuple):
    """A binary floating format, by its bits. Infinity, or NaN without infinity, comes after the largest number."""

    size: int  # in bits
    mantissa: int  # bits
    least: int  # exponent of the smallest normal number
    largest: int  # bits of the largest finite number
    nan: int  # bits of the positive quiet NaN

    @property
    def bias(self) -> int:
        """What is stored for the exponent 0."""
        return 1 - self.least


def _format(dtype: np.dtype) -> _Format:
    """The format of a dtype. Not by `core.formats`: constants of compiled code must be covered by the cache's key."""
    info: Any = ml_dtypes.finfo(dtype)
    largest, nan = (int(np.array(value, dtype).view(f"u{dtype.itemsize}")) for value in (info.max, np.nan))
    size = 8 * dtype.itemsize
    return _Format(size, int(info.nmant), int(info.minexp), largest, nan & 2 ** (size - 1) - 1)


_DOUBLE = np.dtype("float64")
_LLVM = {32: ir.FloatType(), 64: ir.DoubleType()}


def _widening(source: np.dtype, target: np.dtype) -> Any:
    """Function from the bits of a narrow number to the same number as float32 or float64."""
    narrow, wide = _format(source), _format(target)
    bits, floating = ir.IntType(wide.size), _LLVM[wide.size]
    rebias = wide.bias - narrow.bias

    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        code = builder.zext(operands[0], ir.IntType(32))
        magnitude = builder.and_(code, code.type(2 ** (narrow.size - 1) - 1))
        sign = builder.shl(builder.zext(builder.xor(code, magnitude), bits), bits(wide.size - narrow.size))
        # If both formats have the same range of exponents, these are the bits already.
        wide_bits = builder.shl(builder.zext(magnitude, bits), bits(wide.mantissa - narrow.mantissa))
        if rebias:
            normal = builder.add(wide_bits, bits(rebias << wide.mantissa))
            special = builder.or_(normal, bits(2 ** (wide.size - 1) - 2**wide.mantissa))
            unit = floating(2.0 ** (narrow.least - narrow.mantissa))
            small = builder.bitcast(builder.fmul(builder.sitofp(magnitude, floating), unit), bits)
            is_small = builder.icmp_signed("<", magnitude, code.type(2**narrow.mantissa))
            is_special = builder.icmp_signed(">", magnitude, code.type(narrow.largest))
            wide_bits = builder.select(is_small, small, builder.select(is_special, special, normal))
        return builder.bitcast(builder.or_(wide_bits, sign), floating)

    return _function(generate, _bits(source), target)


def _narrowing(source: np.dtype, target: np.dtype) -> Any:
    """Function from float32 or float64 to the bits of the nearest narrow number, ties to even."""
    wide, narrow = _format(source), _format(target)
    bits = ir.IntType(wide.size)
    round_ = _rounded_bits if wide.least == narrow.least else _rounded_sum

    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        number = builder.bitcast(operands[0], bits)
        magnitude = builder.and_(number, bits(2 ** (wide.size - 1) - 1))
        rounded = round_(builder, magnitude, wide, narrow)
        rounded = _smaller(builder, rounded, bits(narrow.largest + 1))
        is_nan = builder.icmp_signed(">", magnitude, bits(wide.largest + 1))
        rounded = builder.select(is_nan, bits(narrow.nan), rounded)
        sign = builder.shl(builder.lshr(number, bits(wide.size - 1)), bits(narrow.size - 1))
        # A NaN gets no sign, also one that a too large number has become.
        signed = builder.icmp_signed("<", rounded, bits(narrow.nan))
        rounded = builder.or_(rounded, builder.select(signed, sign, bits(0)))
        return builder.trunc(rounded, ir.IntType(narrow.size))

    return _function(generate, source, _bits(target))


def _rounded_bits(builder: Any, magnitude: Any, wide: _Format, narrow: _Format) -> Any:
    """Bits of the nearest narrow number, if its format has the wide one's range of exponents; for NaN any bits."""
    bits, dropped = magnitude.type, wide.mantissa - narrow.mantissa
    odd = builder.and_(builder.lshr(magnitude, bits(dropped)), bits(1))
    half = builder.add(odd, bits(2 ** (dropped - 1) - 1))
    return builder.lshr(builder.add(magnitude, half), bits(dropped))


def _rounded_sum(builder: Any, magnitude: Any, wide: _Format, narrow: _Format) -> Any:
    """Bits of the nearest narrow number; above `narrow.largest` for numbers that are too large, infinity and NaN.

    To round, a power of two is added whose last place is worth as much as the narrow number's.
    """
    bits, floating, dropped = magnitude.type, _LLVM[wide.size], wide.mantissa - narrow.mantissa
    rebias = wide.bias - narrow.bias
    past = bits((narrow.largest >> narrow.mantissa) + 1 + rebias << wide.mantissa)  # the next power of two
    least = bits(1 + rebias << wide.mantissa)
    clipped = _smaller(builder, magnitude, past)
    larger = builder.select(builder.icmp_signed(">", clipped, least), clipped, least)
    exponent = builder.and_(larger, bits(2 ** (wide.size - 1) - 2**wide.mantissa))
    power = builder.add(exponent, bits(dropped << wide.mantissa))
    total = builder.fadd(builder.bitcast(clipped, floating), builder.bitcast(power, floating))
    significand = builder.sub(builder.bitcast(total, bits), power)
    return builder.add(builder.lshr(builder.sub(exponent, least), bits(dropped)), significand)


def _smaller(builder: Any, left: Any, right: Any) -> Any:
    return builder.select(builder.icmp_signed("<", left, right), left, right)


def _function(generate: Any, source: np.dtype, target: np.dtype) -> Any:
    """A function of one number for compiled code."""
    read, write = from_dtype(source), from_dtype(target)

    @intrinsic
    def function(typing_context: Any, number: Any) -> Any:
        return write(read), generate

    return function


def _is_narrow(dtype: np.dtype) -> bool:
    return dtype.kind not in "iu" and dtype.itemsize < 4


def _bits(dtype: np.dtype) -> np.dtype:
    """The dtype that numbers are loaded and stored as: unsigned integers for narrow formats."""
    return np.dtype(f"u{dtype.itemsize}") if _is_narrow(dtype) else dtype


def _change(source: np.dtype, target: np.dtype, result: bool) -> Any:
    """Function from a number as it is loaded, and a shift, to the number to be stored."""
    write = target.type
    if _is_narrow(source):
        widen = _widening(source, target)
        return inner(lambda number, shift: widen(number))
    if _is_narrow(target):
        narrow = _narrowing(source, target)
        return inner(lambda number, shift: narrow(number))
    if source.kind in "iu" and source != np.uint64 and not result:
        # A shift is a number of the source's type, so that 32 bits hold differences of short ones: faster to convert.
        exact = np.int32 if source.itemsize < 4 else np.int64
        return inner(lambda number, shift: write(exact(np.int64(number) - shift)))
    finish = canonical_nan if result else identity
    return inner(lambda number, shift: write(finish(number)))


def _converted(source: np.dtype, target: np.dtype, result: bool) -> Any:
    """Function from an address, an index, a step in bytes and `Steps` to the number to be stored."""
    change, read = _change(source, target, result), _bits(source).type
    return inner(lambda x, i, step, s: change(load(read, x, i, step), s.shift))


def _certified(target: np.dtype) -> Any:
    """As `_converted`, from sums of two numbers."""
    bits = np.dtype(f"u{target.itemsize}").type
    nearest = _narrowing(_DOUBLE, target) if target.itemsize < 4 else _wide_bits(target)
    certify = certified(nearest, bits(mark(target)), target == _DOUBLE)
    return inner(
        lambda x, i, step, s: certify(load(np.float64, x, i, step), load(np.float64, x + s.low, i, step), s.slack)
    )


def _wide_bits(target: np.dtype) -> Any:
    """Function from float64 to the bits of the nearest float32, or its own."""

    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        nearest = operands[0] if target == _DOUBLE else builder.fptrunc(operands[0], ir.FloatType())
        return builder.bitcast(nearest, ir.IntType(8 * target.itemsize))

    return _function(generate, _DOUBLE, np.dtype(f"u{target.itemsize}"))


@cache
def mark(dtype: np.dtype) -> int:
    """The bits that stand for a sum whose rounding is not certain: a negative NaN, which no result is."""
    narrow = _format(dtype)
    return narrow.nan | 1 << (narrow.size - 1)


@cache
def converter(source: np.dtype, target: np.dtype, result: bool = False) -> Any:
    """A compiled `convert(start, out, steps, channels, rows, columns)` of a block of numbers.

    `start` and `out` are addresses of numbers, `steps` that of `Steps`. Rounds to nearest, ties to even, once; in a
    result, a NaN becomes the positive quiet one. Formats narrower than float32 are converted to float32 or float64, and
    from these in a result. Sums of two numbers are rounded where that is certain, else they become `mark`.
    """
    element = _certified(target) if source is EXACT else _converted(source, target, result)
    write = (np.dtype(f"u{target.itemsize}") if source is EXACT else _bits(target)).type
    size, out_size = number(source).itemsize, target.itemsize

    # Six integers are passed in registers: more would go over the stack, which takes as long as a short row.
    def convert(start, out, steps, channels, rows, columns):
        s = load_record(Steps, steps)
        for c in range(channels):
            for r in range(rows):
                x, y = start + c * s.channel + r * s.row, out + c * s.out_channel + r * s.out_row
                # The same loop three times: LLVM makes vectors of a loop only if its steps are constants.
                if s.column == size and s.out_column == out_size:
                    for i in range(columns):
                        store(write, y, i, out_size, element(x, i, size, s))
                elif s.column == 2 * size and s.out_column == out_size:
                    for i in range(columns):
                        store(write, y, i, out_size, element(x, i, 2 * size, s))
                else:
                    for i in range(columns):
                        store(write, y, i, s.out_column, element(x, i, s.column, s))

    return cfunction(convert, 6, "exact" if source is EXACT else source, target, *["result"] * result)
