"""Convolutions with a fault, each made of a sound one."""

from dataclasses import replace
from functools import partial

import numpy as np
from kernels.complex_products import by_parts
from kernels.lowered import lowered, quiet
from kernels.narrow import cut
from kernels.operands import bfloat16, tf32, with_operands
from kernels.sums import running

from refconv.core.formats import rounded


def _cut(values):
    return cut(values, "float32").astype(float)


@by_parts
def truncating(case):
    """Every sum is cut off to float32, toward zero; products are exact."""
    low = lowered(case)
    total = np.zeros((*low.filters.shape[:2], low.columns.shape[1]))
    for term in range(low.columns.shape[-1]):
        total = _cut(total + low.filters[:, :, None, term].astype(float) * low.columns[:, None, :, term])
    total = total if low.bias is None else _cut(total + low.bias)
    return low.image(rounded(total, case.input.dtype))


@by_parts
@quiet
def float16_sums(case):
    """Products and sums rounded to float16."""
    low = lowered(case)
    terms = low.products().astype("float16")
    if low.bias is not None:
        terms = np.concatenate([terms, np.broadcast_to(low.bias[..., None], (*terms.shape[:3], 1))], axis=-1)
    return low.image(running(terms.astype("float16")).astype(case.input.dtype))


def dropped_tap(case, run):
    """The last tap of the last channel forgotten, in every filter."""
    weight = case.weight.copy()
    weight[:, -1, -1, -1] = 0
    return run(replace(case, weight=weight))


def scaled(case, run):
    out = run(case)
    return (out * np.float64(1.0005)).astype(out.dtype)


def replaced(value, case, run):
    """One element, in the middle, is another number."""
    out = run(case).copy()
    out.reshape(-1)[out.size // 2] = value
    return out


FAULTS = {
    "TF32 operands, rounded": lambda case, run: run(with_operands(tf32, case)),
    "TF32 operands, truncated": lambda case, run: run(with_operands(partial(tf32, truncate=True), case)),
    "bfloat16 operands": lambda case, run: run(with_operands(bfloat16, case)),
    "float16 accumulation": lambda case, _: float16_sums(case),
    "truncating accumulation": lambda case, _: truncating(case),
    "one tap dropped": dropped_tap,
    "scaled by 1.0005": quiet(scaled),
    "one element unwritten": partial(replaced, 0),
    "one NaN": partial(replaced, np.nan),
}
