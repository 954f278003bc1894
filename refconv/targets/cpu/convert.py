"""Conversion: numbers of one format, some bytes apart, copied as another's.

Each pair of formats is a C function of its own, which kernels call by its address: they know no format but the
accumulator's, and a new format costs one small function. Knows Numba and NumPy's dtypes.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from functools import cache
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from refconv.targets.cpu.compiled import cfunction
from refconv.targets.cpu.job import Steps
from refconv.targets.cpu.memory import load, load_record, store


@intrinsic
def _canonical_nan(typing_context: Any, number: Any) -> Any:
    """A number, a NaN as the positive quiet one."""

    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        if isinstance(number, types.Integer):
            return operands[0]
        is_nan = builder.fcmp_unordered("uno", operands[0], operands[0])
        return builder.select(is_nan, context.get_constant(number, float("nan")), operands[0])

    return number(number), generate


@intrinsic
def _identity(typing_context: Any, number: Any) -> Any:
    """A number."""
    return number(number), lambda context, builder, signature, operands: operands[0]


# Called from compiled code, where an intrinsic's first argument is not given.
canonical_nan: Any = _canonical_nan
identity: Any = _identity


@cache
def converter(source: np.dtype, target: np.dtype, result: bool = False) -> Any:
    """A compiled `convert(start, out, steps, channels, rows, columns)` of a block of numbers.

    `start` and `out` are addresses of numbers, `steps` that of `Steps`. Rounds to nearest, ties to even, once; in a
    result, a NaN becomes the positive quiet one.
    """
    finish = canonical_nan if result else identity
    read, write = source.type, target.type
    size, out_size = source.itemsize, target.itemsize

    # Six integers come in registers: more would come over the stack, which takes as long as a short row.
    def convert(start, out, steps, channels, rows, columns):
        s = load_record(Steps, steps)
        for c in range(channels):
            for r in range(rows):
                x, y = start + c * s.channel + r * s.row, out + c * s.out_channel + r * s.out_row
                # The same loop thrice, for LLVM makes vectors of it where the steps are constants.
                if s.column == size and s.out_column == out_size:
                    for i in range(columns):
                        store(write, y, i, out_size, write(finish(load(read, x, i, size))))
                elif s.column == 2 * size and s.out_column == out_size:
                    for i in range(columns):
                        store(write, y, i, out_size, write(finish(load(read, x, i, 2 * size))))
                else:
                    for i in range(columns):
                        store(write, y, i, s.out_column, write(finish(load(read, x, i, s.column))))

    return cfunction(convert, 6, source, target, *["result"] * result)
