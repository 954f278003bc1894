"""accum_dtype: narrow accumulators, and sound kernels under a wrong model."""

import ml_dtypes
import numpy as np
from offset_tables import gather, tables

from variants.registry import INTEGER, corpus

VARIANTS, add = corpus()


def _wraps(bits):
    return lambda c, out, _: (out + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


add("RB153", "accum_dtype", "conv2d", "int8: sums wrap at 16 bits", result=_wraps(16), **INTEGER)
add(
    "RB150",
    "accum_dtype",
    "conv2d",
    "int8: sums saturate at 16 bits",
    result=lambda c, out, _: np.clip(out, -(2**15), 2**15 - 1),
    **INTEGER,
)


def _rounded_operands(dtype):
    return lambda c, a: {
        name: array if name == "bias" or array is None else array.astype(dtype).astype(array.dtype)
        for name, array in a.items()
    }


def _tf32(c, a):
    def rounded(values):
        bits = values.view(np.uint32)
        kept = (bits + 0xFFF + ((bits >> 13) & 1)) & 0xFFFFE000
        return np.where(np.isfinite(values), kept.view(np.float32), values)

    return {
        n: array if n == "bias" or array is None else rounded(np.ascontiguousarray(array)) for n, array in a.items()
    }


def _summed_in(dtype):
    """Sums one term after the other in a narrow format."""

    def change(c, out, a):
        patches, w = gather(a["input"], tables(c)), a["weight"]
        acc = np.zeros(out.shape, dtype)
        for j, r, s in np.ndindex(w.shape[1:]):
            acc = (acc + patches[:, :, j, :, :, r, s] * w[:, j, r, s, None, None]).astype(dtype)
        return acc.astype(out.dtype) + (0 if a["bias"] is None else a["bias"][:, None, None])

    return change


def _flushing(c, out, _):
    return np.where(np.abs(out) < np.finfo(np.float32).tiny, 0, out)


add("RB152", "accum_dtype", "conv2d", "float16: sums in float16", result=_summed_in(np.float16), dtypes=("float16",))
add("RB152", "accum_dtype", "conv2d", "float32: sums in bfloat16", result=_summed_in(ml_dtypes.bfloat16))
add("model", "accum_dtype", "conv2d", "operands in tf32", operands=_tf32)
add("model", "accum_dtype", "conv2d", "operands in bfloat16", operands=_rounded_operands(ml_dtypes.bfloat16))
add("model", "accum_dtype", "conv2d", "float16 sums of float32", result=_summed_in(np.float16))
add("model", "accum_dtype", "conv2d", "float64 summed in float32", result=_summed_in(np.float32), dtypes=("float64",))
add("model", "accum_dtype", "conv2d", "subnormal outputs flushed", result=_flushing)
