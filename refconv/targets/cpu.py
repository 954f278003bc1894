"""Target "cpu": the nest compiled by Numba, its jobs shared among threads.

Knows Numba, the nest and threads. Kernels release the interpreter's lock and write to disjoint outputs in the canonical
order: neither the number of threads nor the way the jobs are cut can change a bit.
"""

# Numba refuses overloads whose annotations differ from their implementation's.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from functools import partial
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import (
    NativeValue,
    intrinsic,
    models,
    overload_attribute,
    overload_method,
    register_model,
    typeof_impl,
    unbox,
)

from refconv.correlation import Correlation, jobs, pack
from refconv.nest import correlate
from refconv.targets import threads

# Below this many multiplications (about 0.1 ms) waking a second thread costs more than it saves.
SERIAL_MULTIPLICATIONS = 100_000

kernel = njit(nogil=True, error_model="numpy")(correlate)


class ScalarType(types.Type):
    """Numba's type of a `Scalar`: the accumulator is part of the type, so the kernel is specialised by it."""

    def __init__(self, accumulator: types.Type) -> None:
        self.accumulator = accumulator
        super().__init__(name=f"Scalar({accumulator})")


class Scalar:
    """A tile of one output; a value with nothing in it but its type."""

    def __init__(self, accumulator: np.dtype) -> None:
        self.numba_type = ScalarType(types.float32 if accumulator == np.float32 else _WIDE[accumulator.kind])


_WIDE = {"f": types.float64, "i": types.int64}
register_model(ScalarType)(models.OpaqueModel)
typeof_impl.register(Scalar)(lambda value, context: value.numba_type)


@unbox(ScalarType)
def _unbox(typ: Any, value: Any, c: Any) -> NativeValue:
    return NativeValue(c.context.get_dummy_value())


@intrinsic
def _fused(typing_context: Any, x: Any, w: Any, total: Any) -> Any:
    """x * w + total, rounded once: LLVM's fma, or an integer multiply-add."""

    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        x, w, total = operands
        if isinstance(signature.return_type, types.Float):
            return builder.fma(x, w, total)
        return builder.add(builder.mul(x, w), total)

    return total(total, total, total), generate


fma: Any = _fused  # called from compiled code, where its first argument is not given


@overload_attribute(ScalarType, "columns", inline="always")
@overload_attribute(ScalarType, "channels", inline="always")
def _one(tile):
    return lambda tile: 1


@overload_method(ScalarType, "zero", inline="always")
def _zero(tile):
    accumulator = tile.accumulator
    return lambda tile: accumulator(0)


@overload_method(ScalarType, "bias", inline="always")
def _bias(tile, bias, group, k):
    return lambda tile, bias, group, k: bias[group, k]


@overload_method(ScalarType, "fma", inline="always")
def _fma(tile, block, x, x_at, x_step, w, w_at):
    return lambda tile, block, x, x_at, x_step, w, w_at: fma(x[x_at], w[w_at], block)


@overload_method(ScalarType, "add", inline="always")
def _add(tile, total, block):
    return lambda tile, total, block: total + block


@overload_method(ScalarType, "store", inline="always")
def _store(tile, total, out, n, group, k, row, column):
    if isinstance(tile.accumulator, types.Integer):

        def store(tile, total, out, n, group, k, row, column):
            out[n, group, k, row, column] = total
    else:

        def store(tile, total, out, n, group, k, row, column):
            out[n, group, k, row, column] = total if total == total else np.nan

    return store


_SCALARS = {np.dtype(name): Scalar(np.dtype(name)) for name in ("float32", "float64", "int64")}


def run(correlation: Correlation) -> None:
    """Fill `correlation.out`: in this thread if that is little work, else in as many as Numba is set to use."""
    packed = pack(correlation)
    n_jobs = jobs(packed)
    tile = _SCALARS[correlation.accumulator]
    if correlation.multiplications < SERIAL_MULTIPLICATIONS:
        kernel(tile, *packed, (0, n_jobs))
    else:
        threads.share(partial(kernel, tile, *packed), n_jobs)
