"""Transposition: numbers of channels, which lie apart, copied as vectors with the channels side by side; and back.

What `jit/convert.py` is for numbers, for such vectors: a C function of the same arguments. Knows LLVM; not who calls.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.np.numpy_support import from_dtype

from refconv.engine.targets.jit.cfunctions import cfunction
from refconv.engine.targets.jit.convert import Steps, canonical_nan
from refconv.engine.targets.jit.extending import intrinsic
from refconv.engine.targets.jit.memory import load, load_record, store

_I1, _I32, _I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
_LLVM = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}


def _vector(number: Any, lanes: int) -> Any:
    return ir.VectorType(_LLVM[number], lanes)


def _mask(builder: Any, lanes: int, count: Any) -> Any:
    """Which lanes are below a count."""
    numbers = ir.Constant(ir.VectorType(_I32, lanes), list(range(lanes)))
    undefined = ir.Constant(ir.VectorType(_I32, lanes), ir.Undefined)
    first = builder.insert_element(undefined, builder.trunc(count, _I32), _I32(0))
    counts = builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes))
    return builder.icmp_signed("<", numbers, counts)


def _masked(builder: Any, vector: Any, number: Any, kind: str, arguments: list[Any]) -> Any:
    name = f"llvm.masked.{kind}.v{vector.count}f{number.bitwidth}.p0"
    result = vector if kind == "load" else ir.VoidType()
    function = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), arguments)


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """As many vectors as they have lanes, the other way round: by perfect shuffles, one for each power of two."""
    lanes = len(rows)
    low, high = ([i // 2 + i % 2 * lanes + half for i in range(lanes)] for half in (0, lanes // 2))
    for _ in range(lanes.bit_length() - 1):
        pairs = zip(rows[: lanes // 2], rows[lanes // 2 :], strict=True)
        rows = [
            builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(_I32, lanes), which))
            for first, second in pairs
            for which in (low, high)
        ]
    return rows


def _pointer(builder: Any, base: Any, step: Any, index: int, kind: Any) -> Any:
    return builder.inttoptr(builder.add(base, builder.mul(step, _I64(index))), kind.as_pointer())


def _row(builder: Any, vector: Any, number: Any, x: Any, every: int, count: Any) -> Any:
    """`count` numbers of a channel as a vector: neighbors, or every second one."""
    lanes, size = vector.count, number.bitwidth // 8
    align, zeros = _I32(size), ir.Constant(vector, None)
    parts = []
    for part in range(every):
        rest = builder.sub(builder.mul(count, _I64(every)), _I64(every - 1 + part * lanes))
        at = builder.inttoptr(builder.add(x, _I64(part * lanes * size)), vector.as_pointer())
        parts.append(_masked(builder, vector, number, "load", [at, align, _mask(builder, lanes, rest), zeros]))
    which = ir.Constant(ir.VectorType(_I32, lanes), list(range(0, every * lanes, every)))
    return builder.shuffle_vector(parts[0], parts[-1], which)


def _gathering(number: Any, lanes: int, every: int) -> Any:
    """gather(x, step, out, count): `count` numbers of each channel, the channels `step` apart, as vectors at `out`."""
    vector = _vector(number, lanes)

    @intrinsic
    def gather(typing_context: Any, x: Any, step: Any, out: Any, count: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
            x, step, out, count = operands
            channels = (builder.add(x, builder.mul(step, _I64(i))) for i in range(lanes))
            rows = [_row(builder, vector, number, channel, every, count) for channel in channels]
            size = _I64(lanes * number.bitwidth // 8)
            for i, column in enumerate(_transposed(builder, rows)):
                with builder.if_then(builder.icmp_signed("<", _I64(i), count)):
                    builder.store(column, _pointer(builder, out, size, i, vector), align=number.bitwidth // 8)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64, types.int64), generate

    return gather


def _scattering(number: Any, lanes: int) -> Any:
    """scatter(x, out, step, count): `count` vectors at `x`, as neighboring numbers of each channel, `step` apart."""
    vector = _vector(number, lanes)

    @intrinsic
    def scatter(typing_context: Any, x: Any, out: Any, step: Any, count: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
            x, out, step, count = operands
            mask, align = _mask(builder, lanes, count), _I32(number.bitwidth // 8)
            size = _I64(lanes * number.bitwidth // 8)
            nan = ir.Constant(vector, [float("nan")] * lanes)
            # In place of vectors past the last one, which may lie outside of the sums, the last one is read again.
            last = builder.sub(count, _I64(1))
            rows = []
            for i in range(lanes):
                index = builder.select(builder.icmp_signed("<", _I64(i), count), _I64(i), last)
                at = builder.inttoptr(builder.add(x, builder.mul(size, index)), vector.as_pointer())
                row = builder.load(at, align=number.bitwidth // 8)
                rows.append(builder.select(builder.fcmp_unordered("uno", row, row), nan, row))
            for i, channel in enumerate(_transposed(builder, rows)):
                _masked(
                    builder, vector, number, "store", [channel, _pointer(builder, out, step, i, vector), align, mask]
                )
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64, types.int64), generate

    return scatter


@cache
def gatherer(dtype: np.dtype, lanes: int) -> Any:
    """A compiled `convert(start, out, steps, channels, rows, columns)` into vectors of `lanes` channels side by side.

    `steps.channel` is the step from one of these channels to the next; `channels` is 1.
    """
    number, size = dtype.type, dtype.itemsize
    gather, gather_second = (_gathering(from_dtype(dtype), lanes, every) for every in (1, 2))

    def gathered(start, out, steps, channels, rows, columns):
        s = load_record(Steps, steps)
        for r in range(channels * rows):
            x, y = start + r * s.row, out + r * s.out_row
            if s.column == size:
                for i in range(0, columns, lanes):
                    gather(x + i * size, s.channel, y + i * lanes * size, min(columns - i, lanes))
            elif s.column == 2 * size:
                for i in range(0, columns, lanes):
                    gather_second(x + 2 * i * size, s.channel, y + i * lanes * size, min(columns - i, lanes))
            else:
                for i in range(columns):
                    for k in range(lanes):
                        element = load(number, x + i * s.column, k, s.channel)
                        store(number, y + i * lanes * size, k, size, element)

    return cfunction(gathered, 6, dtype, lanes)


@cache
def scatterer(dtype: np.dtype, lanes: int) -> Any:
    """The same from vectors of sums to results; `steps.out_channel` is from one of these channels to the next."""
    number, size = dtype.type, dtype.itemsize
    scatter = _scattering(from_dtype(dtype), lanes)

    def scattered(start, out, steps, channels, rows, columns):
        s = load_record(Steps, steps)
        for r in range(channels * rows):
            x, y = start + r * s.row, out + r * s.out_row
            if s.out_column == size:
                for i in range(0, columns, lanes):
                    scatter(x + i * lanes * size, y + i * size, s.out_channel, min(columns - i, lanes))
            else:
                for i in range(columns):
                    for k in range(lanes):
                        element = canonical_nan(load(number, x + i * lanes * size, k, size))
                        store(number, y + i * s.out_column, k, s.out_channel, element)

    return cfunction(scattered, 6, dtype, lanes)
