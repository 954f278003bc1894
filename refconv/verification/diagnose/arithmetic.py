"""Arithmetic: the operator as one computes it who rounds, flushes or clips where nobody asked for it.

Each function takes a case and returns what such a kernel would, or None where it would be no other. Knows cases and
formats; not who was judged.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np

from refconv.core import formats
from refconv.judge.case import Case

Compute: TypeAlias = Callable[[Case], np.ndarray | None]

# Sums that are computed product by product, or image by image, have at most so many: each takes a call.
MOST_PARTS = 128
# The operators whose sums of products run over all of a weight but one axis, and that axis.
OF_WEIGHT = {"conv2d": 0, "conv2d_input": 1, "conv_transpose2d": 1}
OF_IMAGES = ("conv2d_weight", "conv2d_bias")  # whose sums run over images
NARROW = ("float16", "bfloat16")


def functions() -> Iterator[tuple[str, str, Compute]]:
    """Each computation with a name, and what it does in words."""
    yield from _of_operands()
    yield from _of_sums()
    for name, words, function in _FINISHED:
        yield name, words, _finished(function)


def inexact(name: str) -> bool:
    """Whether a computation has functions that others compute to a few units in the last place only."""
    return name in _ACTIVATIONS


# Which arrays of the call, in words; the third is the bias.
_WHICH = (
    ((0,), "the first operand"), ((1,), "the second operand"), ((0, 1), "both operands"),
    ((0, 1, 2), "operands and bias"),
)  # fmt: skip


def _of_operands() -> Iterator[tuple[str, str, Compute]]:
    for which, words in _WHICH:
        name = words.replace(" ", "-")
        yield f"{name}-in-tf32", f"{words} rounded to TF32", _with_operands(_to_tf32, which)
        for narrow in NARROW:
            yield f"{name}-in-{narrow}", f"{words} rounded to {narrow}", _with_operands(_to(narrow), which)
        yield f"{name}-flushed", f"subnormal numbers of {words} taken for zeros", _with_operands(_flush, which)


def _of_sums() -> Iterator[tuple[str, str, Compute]]:
    for narrow in NARROW:
        words = f"products rounded to {narrow} before they are added"
        yield f"products-in-{narrow}", words, _products(narrow)
    yield "images-rounded", "each image's part rounded to the result's format before they are added", _by_images
    yield "bias-after-rounding", "the bias added to sums that are rounded already", _bias_after_rounding
    yield "results-truncated", "results rounded toward zero when they are stored", _truncated
    yield "sums-in-float32", "integers summed in float32", _finished(_through_float32)


def _operands(case: Case, which: Sequence[int]) -> list[str]:
    """Names of these arrays of the call, where they hold real numbers in floating point."""
    names = list(case.arrays)
    return [names[n] for n in which if n < len(names) and getattr(case, names[n]).dtype in formats.FLOATS]


def _with_operands(change: Callable[[np.ndarray], np.ndarray], which: Sequence[int]) -> Compute:
    def compute(case: Case) -> np.ndarray:
        with np.errstate(all="ignore"):
            changed: dict[str, Any] = {name: change(getattr(case, name)) for name in _operands(case, which)}
        return replace(case, **changed).expected()

    return compute


def _to(narrow: str) -> Callable[[np.ndarray], np.ndarray]:
    dtype = formats.parse("dtype", narrow)
    return lambda array: array.astype(dtype).astype(array.dtype) if array.dtype.itemsize > dtype.itemsize else array


def _to_tf32(array: np.ndarray) -> np.ndarray:
    """float32 numbers rounded to 11 significant bits."""
    if array.dtype != np.float32:
        return array
    bits = array.view(np.uint32)
    rounded: np.ndarray = ((bits + np.uint32(0xFFF) + ((bits >> 13) & 1)) & np.uint32(0xFFFFE000)).view(np.float32)
    return np.where(np.isfinite(array), rounded, array)


def _flush(array: np.ndarray) -> np.ndarray:
    if array.dtype not in formats.FLOATS:
        return array
    least = float(ml_dtypes.finfo(array.dtype).smallest_normal)  # type: ignore[no-untyped-call]
    return np.where(np.abs(array.astype(np.float64)) < least, array.dtype.type(0), array)


def _wide(case: Case, **changed: Any) -> Case:
    """The case in float64, where products of its numbers are exact."""
    arrays: dict[str, Any] = {name: getattr(case, name) for name in case.arrays} | changed
    wide: dict[str, Any] = {name: None if a is None else a.astype(np.float64) for name, a in arrays.items()}
    return replace(case, **wide)


def _real(case: Case) -> bool:
    """Whether all numbers are real, in a format that float64 has more than twice the bits of."""
    return all(array.dtype in formats.FLOATS and array.dtype != np.float64 for array in case.arrays.values())


def _products(narrow: str) -> Compute:
    """Sums of rounded products: of the operator with all weights but one of a filter set to 0."""
    dtype = formats.parse("dtype", narrow)

    def compute(case: Case) -> np.ndarray | None:
        if case.op not in OF_WEIGHT or not _real(case):
            return None
        weight, kept = case.weight, OF_WEIGHT[case.op]
        if weight.size > MOST_PARTS * max(1, weight.shape[kept]):
            return None
        places = np.ndindex(*weight.shape[:kept], 1, *weight.shape[kept + 1 :])
        total: Any = 0.0
        with np.errstate(all="ignore"):
            for place in places:
                at = (*place[:kept], slice(None), *place[kept + 1 :])
                single = np.zeros_like(weight)
                single[at] = weight[at]
                product = _wide(case, weight=single, bias=None).expected()
                total = total + product.astype(dtype).astype(np.float64)
            if case.bias is not None:
                total = total + case.bias.astype(np.float64)[:, None, None]
            result: np.ndarray = np.asarray(total).astype(case.unwritten.dtype)
        return result if result.shape == case.unwritten.shape else None

    return compute


def _by_images(case: Case) -> np.ndarray | None:
    if case.op not in OF_IMAGES or not _real(case) or not 1 < case.geometry.batch <= MOST_PARTS:
        return None
    images = [name for name in case.arrays if getattr(case, name).ndim == 4]
    total: Any = 0.0
    with np.errstate(all="ignore"):
        for n in range(case.geometry.batch):
            one = replace(case, **{name: getattr(case, name)[n : n + 1] for name in images})
            total = total + one.expected().astype(np.float64)
        result: np.ndarray = np.asarray(total).astype(case.unwritten.dtype)
    return result


def _bias_after_rounding(case: Case) -> np.ndarray | None:
    if case.bias is None or not _real(case):
        return None
    with np.errstate(all="ignore"):
        bare = replace(case, bias=None).expected().astype(np.float64)
        result: np.ndarray = (bare + case.bias.astype(np.float64)[:, None, None]).astype(case.unwritten.dtype)
    return result


def _truncated(case: Case) -> np.ndarray | None:
    if not _real(case):
        return None
    with np.errstate(all="ignore"):
        exact = _wide(case).expected()
        nearest = exact.astype(case.unwritten.dtype)
        above = np.abs(nearest.astype(np.float64)) > np.abs(exact)
    bits = nearest.view(f"u{nearest.itemsize}")
    truncated: np.ndarray = (bits - above.astype(bits.dtype)).view(nearest.dtype)  # the next number toward zero
    return truncated


def _through_float32(result: np.ndarray) -> np.ndarray:
    if result.dtype not in formats.INTEGERS:
        return result
    rounded: np.ndarray = result.astype(np.float32).astype(result.dtype)
    return rounded


def _finished(function: Callable[[np.ndarray], np.ndarray]) -> Compute:
    def compute(case: Case) -> np.ndarray | None:
        result = case.expected()
        if result.dtype in formats.COMPLEX:
            return None
        with np.errstate(all="ignore"):
            finished: np.ndarray = function(result)
        return finished

    return compute


def _in_float64(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """A function of floats; of integers only where it gives integers."""

    def finish(result: np.ndarray) -> np.ndarray:
        wide = result if result.dtype in formats.INTEGERS else result.astype(np.float64)
        finished: np.ndarray = function(wide).astype(result.dtype)
        return finished

    return finish


def _clipped(low: float, high: float) -> Callable[[np.ndarray], np.ndarray]:
    """Clip a result; NaN stays."""
    return _in_float64(lambda y: np.where(y < low, low, np.where(y > high, high, y)))


def _of_special(change: Callable[[np.ndarray, float], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Change NaN or infinities of a floating result; the function is given the largest number."""

    def finish(result: np.ndarray) -> np.ndarray:
        if result.dtype not in formats.FLOATS:
            return result
        changed: np.ndarray = change(result.astype(np.float64), formats.largest(result.dtype)).astype(result.dtype)
        return changed

    return finish


def _normal_distribution(y: np.ndarray) -> np.ndarray:
    error_function: np.ndarray = np.vectorize(math.erf, otypes=[float])(y / math.sqrt(2))
    return 0.5 * (1 + error_function)


_ACTIVATIONS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "gelu": ("GELU", lambda y: y * _normal_distribution(y)),
    "gelu-tanh": ("GELU (by tanh)", lambda y: 0.5 * y * (1 + np.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3)))),
    "silu": ("SiLU", lambda y: y / (1 + np.exp(-y))),
    "sigmoid": ("the sigmoid", lambda y: 1 / (1 + np.exp(-y))),
    "tanh": ("tanh", np.tanh),
    "hardswish": ("hardswish", lambda y: y * np.clip(y + 3, 0, 6) / 6),
    "leaky-relu": ("leaky ReLU (0.01)", lambda y: np.where(y < 0, 0.01 * y, y)),
}
_FINISHED: tuple[tuple[str, str, Callable[[np.ndarray], np.ndarray]], ...] = (
    ("results-flushed", "subnormal results taken for zeros", _flush),
    ("relu", "relu, which nobody asked for, applied to the result", _clipped(0.0, math.inf)),
    ("relu6", "relu6, which nobody asked for, applied to the result", _clipped(0.0, 6.0)),
    ("clip6", "the result clipped to [-6, 6], which nobody asked for", _clipped(-6.0, 6.0)),
    ("absolute", "the absolute value in place of the result", _in_float64(np.abs)),
    *(
        (name, f"{words}, which nobody asked for, applied to the result", _of_special(lambda y, _, f=function: f(y)))  # type: ignore[misc]
        for name, (words, function) in _ACTIVATIONS.items()
    ),
    ("nan-to-zero", "NaN turned into 0", _of_special(lambda y, _: np.where(np.isnan(y), 0.0, y))),
    ("nan-to-lowest", "NaN turned into the lowest number", _of_special(lambda y, m: np.where(np.isnan(y), -m, y))),
    ("nan-to-minus-infinity", "NaN turned into -inf", _of_special(lambda y, _: np.where(np.isnan(y), -np.inf, y))),
    ("infinity-clamped", "infinities turned into the largest numbers", _of_special(lambda y, m: np.clip(y, -m, m))),
    ("infinity-to-nan", "infinities turned into NaN", _of_special(lambda y, _: np.where(np.isinf(y), np.nan, y))),
)
