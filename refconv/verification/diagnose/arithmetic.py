"""Arithmetic: the operator as one computes it who rounds, flushes or clips where nobody asked for it.

Each function takes a case and returns what such a kernel would, or None where it would be no other. Knows cases and
formats; not who was judged.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import ml_dtypes
import numpy as np

from refconv.core import formats
from refconv.core.operators import CONV, INPUT, TRANSPOSED, TRANSPOSED_INPUT, kind_of, like
from refconv.judge.case import Case

Compute: TypeAlias = Callable[[Case], np.ndarray | None]

# Sums that are computed product by product, or image by image, have at most so many: each takes a call.
MOST_PARTS = 128
# The kinds of operators whose sums of products run over all of a weight but one axis, and that axis.
OF_WEIGHT = {CONV: 0, TRANSPOSED_INPUT: 0, INPUT: 1, TRANSPOSED: 1}
OF_IMAGES = ("weight", "bias")  # what results are like whose sums run over images
NARROW = ("float16", "bfloat16")
FLUSHES = "direct:{accumulator},flush_to_zero"


class Function(NamedTuple):
    """A computation, with what is to be said of it.

    Attributes
    ----------
    name, summary, kind
        As of a mutant.
    compute
        The computation.
    model
        The error model that is made for such kernels, with "{accumulator}" for its format; or empty.
    inexact
        Whether others compute the same to a few units in the last place only.
    """

    name: str
    summary: str
    compute: Compute
    kind: str = "accum_dtype"
    model: str = ""
    inexact: bool = False


def functions() -> Iterator[Function]:
    """All of them."""
    for which, words in _WHICH:
        name = words.replace(" ", "-")
        yield Function(f"{name}-in-tf32", f"{words} rounded to TF32", _with_operands(_to_tf32, which), model="tf32")
        for narrow in NARROW:
            rounded = _with_operands(_to(narrow), which)
            model = f"direct:{{accumulator}},{narrow}"
            yield Function(f"{name}-in-{narrow}", f"{words} rounded to {narrow}", rounded, model=model)
        summary = f"subnormal numbers of {words} taken for zeros"
        yield Function(f"{name}-flushed", summary, _with_operands(_flush, which), model=FLUSHES)
    yield Function("results-flushed", "subnormal results taken for zeros", _finished(_flush), model=FLUSHES)
    yield from _of_sums()
    for name, words, function in _CLIPPED:
        yield Function(name, words, _finished(function), kind="")
    for name, (words, function) in _ACTIVATIONS.items():
        summary = f"{words}, which nobody asked for, applied to the result"
        yield Function(name, summary, _finished(_of_floats(function)), kind="", inexact=True)
    for name, words, change in _SPECIAL:
        yield Function(name, words, _finished(_of_special(change)), kind="nonfinite")


# Which arrays of the call, in words; the third is the bias.
_WHICH = (
    ((0,), "the first operand"), ((1,), "the second operand"), ((0, 1), "both operands"),
    ((0, 1, 2), "operands and bias"),
)  # fmt: skip


def _of_sums() -> Iterator[Function]:
    for narrow in NARROW:
        words = f"products rounded to {narrow} before they are added"
        yield Function(f"products-in-{narrow}", words, _products(narrow))
    words = "each image's part rounded to the result's format before they are added"
    yield Function("images-rounded", words, _by_images)
    words = "the bias added to sums that are rounded already"
    model = "direct:{accumulator},bias_after_rounding"
    yield Function("bias-after-rounding", words, _bias_after_rounding, model=model)
    yield Function("results-truncated", "results rounded toward zero when they are stored", _truncated)
    yield Function("sums-in-float32", "integers summed in float32", _finished(_through_float32))


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
    """Whether all numbers are real, in a format that float64 has more than twice the bits of, and results are sums."""
    return not case.epilogue and all(
        array.dtype in formats.FLOATS and array.dtype != np.float64 for array in case.arrays.values()
    )


def _products(narrow: str) -> Compute:
    """Sums of rounded products: of the operator with all weights but one of a filter set to 0."""
    dtype = formats.parse("dtype", narrow)

    def compute(case: Case) -> np.ndarray | None:
        kind = kind_of(case.op)
        if kind not in OF_WEIGHT or not _real(case):
            return None
        weight, kept = case.weight, OF_WEIGHT[kind]
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
                total = total + _spread_bias(case)
            result: np.ndarray = np.asarray(total).astype(case.unwritten.dtype)
        return result if result.shape == case.unwritten.shape else None

    return compute


def _spread_bias(case: Case) -> np.ndarray:
    """The bias in float64, one for all outputs of a channel."""
    return case.bias.astype(np.float64).reshape(-1, *(1 for _ in range(case.axes)))  # type: ignore[union-attr]  # it has


def _by_images(case: Case) -> np.ndarray | None:
    if like(case.op) not in OF_IMAGES or not _real(case) or not 1 < case.geometry.batch <= MOST_PARTS:
        return None
    images = [name for name in case.arrays if getattr(case, name).ndim == case.axes + 2]
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
        result: np.ndarray = (bare + _spread_bias(case)).astype(case.unwritten.dtype)
    return result


def _truncated(case: Case) -> np.ndarray | None:
    if not _real(case):
        return None
    with np.errstate(all="ignore"):
        exact = _wide(case).expected()
        largest = formats.largest(case.unwritten.dtype)
        exact = np.where(np.isfinite(exact), np.clip(exact, -largest, largest), exact)
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


def _of_floats(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """A function of floating results; integers stay."""
    return _of_special(lambda result, _: function(result))


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
_CLIPPED: tuple[tuple[str, str, Callable[[np.ndarray], np.ndarray]], ...] = (
    ("relu", "relu, which nobody asked for, applied to the result", _clipped(0.0, math.inf)),
    ("relu6", "relu6, which nobody asked for, applied to the result", _clipped(0.0, 6.0)),
    ("clip6", "the result clipped to [-6, 6], which nobody asked for", _clipped(-6.0, 6.0)),
    ("absolute", "the absolute value in place of the result", _in_float64(np.abs)),
)
_SPECIAL: tuple[tuple[str, str, Callable[[np.ndarray, float], np.ndarray]], ...] = (
    ("nan-to-zero", "NaN turned into 0", lambda y, _: np.where(np.isnan(y), 0.0, y)),
    ("nan-to-lowest", "NaN turned into the lowest number", lambda y, most: np.where(np.isnan(y), -most, y)),
    ("nan-to-minus-infinity", "NaN turned into -inf", lambda y, _: np.where(np.isnan(y), -np.inf, y)),
    ("infinity-clamped", "infinities turned into the largest numbers", lambda y, most: np.clip(y, -most, most)),
    ("infinity-to-nan", "infinities turned into NaN", lambda y, _: np.where(np.isinf(y), np.nan, y)),
)
