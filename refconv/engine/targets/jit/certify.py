"""Certified rounding: from a sum of two numbers and its error bound to a number of a format, or to a mark.

Knows LLVM, Numba and the bits of formats; not how sums came about (`exact.two_numbers` does).
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from refconv.engine.targets.jit import rounding
from refconv.engine.targets.jit.cfunctions import inner
from refconv.engine.targets.jit.extending import intrinsic

_EXPONENT = 0x7FF << 52
_DOUBLE, _INT64 = ir.DoubleType(), ir.IntType(64)
# `slack` counts units of this times the power of two that a sum's first number starts from.
UNIT = 2.0**-106


def _reinterpreted(source: Any, target: Any, llvm: Any) -> Any:
    @intrinsic
    def function(typing_context: Any, number: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
            return builder.bitcast(operands[0], llvm)

        return target(source), generate

    return function


bits_of = _reinterpreted(types.float64, types.int64, _INT64)
number_of = _reinterpreted(types.int64, types.float64, _DOUBLE)


two_sum = inner(rounding.two_sum)
_to_odd = inner(rounding.to_odd_by(bits_of, number_of))


def certified(nearest: Callable[..., Any], mark: np.unsignedinteger, is_double: bool) -> Any:
    """Function of the two numbers of a sum and its slack for the bits of the sum rounded to nearest, or `mark`.

    Parameters
    ----------
    nearest
        Function for compiled code from float64 to the bits of the nearest number of a format.
    mark
        Stands for a sum that is NaN or infinite, or whose bounds round to different numbers.
    is_double
        Whether the format is float64 itself.
    """

    @inner
    def round_(value, rest):
        total, left = two_sum(value, rest)
        return nearest(total if is_double else _to_odd(total, left))

    @inner
    def certify(high, low, slack):
        exponent = bits_of(high) & _EXPONENT
        power = number_of(exponent)
        value, rest = two_sum(high - 1.5 * power, low)
        # The last addend covers the rounding of `rest - spread` and `rest + spread`.
        spread = slack * (power * UNIT) + abs(rest) * 2.0**-52 if slack else 0.0
        below, above = round_(value, rest - spread), round_(value, rest + spread)
        # In a format without infinity, too large numbers of both signs become the same NaN.
        one_sided = 2 * spread <= abs(value)
        return below if below == above and one_sided and exponent != _EXPONENT else mark

    return certify
