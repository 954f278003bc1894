"""Mutants that accumulate, or round, in too narrow a format, and that get special values wrong.

Knows kernels, formats and the registry.
"""

from collections.abc import Callable

import numpy as np

from refconv.core.formats import rounded
from refconv.core.padding import ZERO
from refconv.mutants.kernels.forward import Array, KernelCall
from refconv.mutants.registry import ANY, SPATIAL, mutant

KIND, SPECIAL = "accum_dtype", "nonfinite"
HALF = ("float16", "bfloat16")
INTEGER = ("conv2d", "conv2d_integer")


def _sequential(left: Array, right: Array, dtype: np.dtype) -> Array:
    """Products of matrices, the sums rounded to a dtype after each addition."""
    total = np.zeros((left.shape[0], left.shape[1], right.shape[2]))
    for term in range(left.shape[2]):
        total = rounded(total + left[:, :, term, None] * right[:, term, None, :], dtype).astype(np.float64)
    return total


def _register_accumulator(name: str, entry: str, summary: str, dtype: str, dtypes: tuple[str, ...]) -> None:
    def dot(c: KernelCall, left: Array, right: Array) -> Array:
        if c.dtype.kind not in "fV" or left.dtype.kind != "f":
            return KernelCall.dot(c, left, right)
        return _sequential(left, right, np.dtype(dtype) if dtype else c.dtype)

    mutant(kind=KIND, name=name, op=SPATIAL, axes=ANY, entry=entry, step="dot", dtypes=dtypes, summary=summary)(dot)


_register_accumulator("accumulated-as-the-input", "RB152", "sums accumulated in the input's dtype", "", HALF)
_register_accumulator("accumulated-in-float16", "", "sums accumulated in float16", "float16", ("float32", "bfloat16"))
_register_accumulator("accumulated-in-float32", "", "sums accumulated in float32", "float32", ("float64",))


def _truncated(bits: int) -> Callable[[Array], Array]:
    """Numbers in float32 without their last bits."""
    mask = np.uint32(2**32 - 2**bits)

    def cut(array: Array) -> Array:
        narrow = array.astype(np.float32)
        return np.where(np.isfinite(array), (narrow.view(np.uint32) & mask).view(np.float32), array)

    return cut


def _register_operands(name: str, summary: str, change: Callable[[Array], Array]) -> None:
    def prepare(c: KernelCall) -> None:
        for operand in ("x", "w", "y"):
            array = getattr(c, operand, None)
            if array is not None and array.dtype.kind == "f":
                setattr(c, operand, change(array).astype(np.float64))

    mutant(kind=KIND, name=f"operands-in-{name}", op=SPATIAL, axes=ANY, summary=f"operands {summary}")(prepare)


_register_operands("tf32", "cut off to 11 significant bits, as TF32 has", _truncated(13))
_register_operands("bfloat16", "cut off to 8 significant bits, as bfloat16 has", _truncated(16))
_register_operands("float16", "rounded to float16", lambda array: rounded(array, "float16"))


@mutant(
    kind=KIND,
    op="conv2d_bias",
    axes=ANY,
    step="compute",
    entry="RB152",
    dtypes=HALF,
    summary="sums accumulated in the input's dtype",
)
def bias_gradient_as_the_input(c: KernelCall) -> Array:
    """One addition after the other."""
    terms = c.y.swapaxes(0, 1).reshape(1, c.y.shape[1], c.y[:, 0].size)
    return _sequential(terms, np.ones((1, terms.shape[2], 1)), c.dtype)[0, :, 0]


# --- integers


def _register_integer(name: str, entry: str, summary: str, narrow: Callable[[KernelCall, Array], Array]) -> None:
    mutant(kind=KIND, name=name, op=INTEGER, entry=entry, step="finish", dtypes=("int8", "uint8"), summary=summary)(
        narrow
    )


_register_integer(
    "integers-accumulated-as-the-input",
    "RB153",
    "sums accumulated, and wrapped, in the input's dtype",
    lambda c, sums: sums.astype(c.raw["input"].dtype).astype(np.int64),
)
_register_integer(
    "integers-accumulated-in-int16",
    "",
    "sums accumulated, and wrapped, in int16",
    lambda c, sums: sums.astype(np.int16).astype(np.int64),
)
_register_integer(
    "integers-saturated-at-int16", "", "sums saturated at 16 bits", lambda c, sums: np.clip(sums, -(2**15), 2**15 - 1)
)
_register_integer(
    "integers-saturated-as-the-input",
    "",
    "sums saturated at the limits of the input's dtype",
    lambda c, sums: np.clip(sums, *_limits(c.raw["input"].dtype)),
)
_register_integer(
    "integers-as-float16",
    "",
    "sums rounded to float16, past 2048 to even numbers",
    lambda c, sums: np.clip(sums.astype(np.float16), -65504, 65504).astype(np.int64),
)


def _limits(dtype: np.dtype) -> tuple[int, int]:
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


@mutant(kind=KIND, dtypes=("int32",), step="dot", summary="integers accumulated in float32")
def integers_in_float32(c: KernelCall, left: Array, right: Array) -> Array:
    """Exact up to 2**24 only."""
    products: Array = (left.astype(np.float32) @ right.astype(np.float32)).astype(np.int64)
    return products


@mutant(
    kind=KIND,
    op=(*INTEGER, "conv2d_quantized"),
    entry="RB150",
    step="dot",
    dtypes=("int8", "uint8"),
    summary="sums of two neighbouring products saturated at 16 bits",
)
def pairs_saturated(c: KernelCall, left: Array, right: Array) -> Array:
    """VPMADDUBSW."""
    total = np.zeros((left.shape[0], left.shape[1], right.shape[2]), np.int64)
    for term in range(0, left.shape[2], 2):
        pair = left[:, :, term : term + 2] @ right[:, term : term + 2]
        total += np.clip(pair, -(2**15), 2**15 - 1)
    return total


def _register_sign(argument: str, operand: str) -> None:
    """The same bits in the other 8-bit dtype."""

    def prepare(c: KernelCall) -> None:
        other = np.int8 if c.raw[argument].dtype == np.uint8 else np.uint8
        setattr(c, operand, getattr(c, operand).astype(other).astype(np.int64))

    mutant(
        kind=KIND,
        name=f"{argument}-of-another-sign",
        op=(*INTEGER, "conv2d_quantized"),
        dtypes=("int8", "uint8"),
        summary=f"unsigned 8-bit {argument}s taken for signed ones, and the other way round",
    )(prepare)


_register_sign("input", "x")
_register_sign("weight", "w")


# --- infinity and NaN


@mutant(
    kind=SPECIAL,
    entry="RB155",
    step="finish",
    when=lambda c: c.in_channels % 4 != 0 and c.kernel != [1, 1],
    summary="channels filled up to a multiple of 4 with others, of weight 0, so that NaN and infinity leak",
)
def lanes_times_zero(c: KernelCall, sums: Array) -> Array:
    """What comes next in memory lies in the lanes: the beginning of the next image."""
    lanes = -c.in_channels % 4
    flat = np.roll(c.x, -1, axis=0)
    kept, c.x = c.x, flat[:, np.arange(lanes) % c.in_channels]
    leaked = 0 * c.gather().sum(axis=(1, 2, 4))
    c.x = kept
    result: Array = sums + leaked[:, None]
    return result


@mutant(
    kind=SPECIAL,
    op=("conv2d", "conv2d_weight"),
    entry="RB156",
    step="gather",
    summary="windows taken by a product with zeros and ones, so that NaN and infinity spread over the image",
)
def windows_by_one_hot(c: KernelCall) -> Array:
    """im2col as a matrix product: 0 * infinity is NaN."""
    result: Array = KernelCall.gather(c) + (0 * c.x).sum(axis=(2, 3))[:, :, None, None, None, None]
    return result


@mutant(
    kind=SPECIAL,
    op=("conv2d", "conv2d_weight"),
    step="gather",
    summary="padding by a factor of 0 for the nearest element, so that NaN and infinity leak into it",
    when=lambda c: c.mode == "zeros",
)
def padding_by_mask(c: KernelCall) -> Array:
    """A clamped index and a mask."""
    gathered = KernelCall.gather(c)
    c.mode = "replicate"
    nearest = KernelCall.gather(c)
    c.mode = "zeros"
    rows, columns = ((c.source(axis) != ZERO).astype(float) for axis in (0, 1))
    return np.where(np.isfinite(nearest), gathered, nearest * (rows[:, :, None, None] * columns))


def _finite(c: KernelCall, change: Callable[[Array], Array]) -> None:
    for operand in ("x", "w", "y"):
        if hasattr(c, operand):
            setattr(c, operand, change(getattr(c, operand)))


@mutant(kind=SPECIAL, op=SPATIAL, summary="NaN in the operands taken for 0", axes=ANY)
def nan_swallowed(c: KernelCall) -> None:
    """A maximum, or a clamp, that drops it."""
    _finite(c, lambda array: np.where(np.isnan(array), 0, array))


@mutant(kind=SPECIAL, op=SPATIAL, step="finish", summary="NaN in the result replaced by 0", axes=ANY)
def nan_result_swallowed(c: KernelCall, sums: Array) -> Array:
    """A maximum, or a clamp, that drops it."""
    return np.where(np.isnan(sums), 0, sums)


@mutant(kind=SPECIAL, op=SPATIAL, summary="infinity in the operands taken for the largest finite number", axes=ANY)
def infinity_clamped(c: KernelCall) -> None:
    """-ffinite-math-only."""
    largest = float(np.finfo(np.float32).max)
    _finite(c, lambda array: np.where(np.isinf(array), np.copysign(largest, array), array))


@mutant(
    kind=SPECIAL,
    op=SPATIAL,
    axes=ANY,
    step="finish",
    summary="infinity in the result replaced by the largest finite number",
    dtypes=("float32", "float16"),
)
def result_saturated(c: KernelCall, sums: Array) -> Array:
    """Saturating arithmetic."""
    largest = float(np.finfo(c.dtype).max) if c.dtype.kind == "f" else np.inf
    return np.where(np.isnan(sums), sums, np.clip(sums, -largest, largest))


def _register_skipping(name: str, summary: str, of_left: bool) -> None:
    def dot(c: KernelCall, left: Array, right: Array) -> Array:
        if np.isfinite(left).all() and np.isfinite(right).all():
            return KernelCall.dot(c, left, right)
        terms = left[:, :, :, None] * right[:, None]
        zero = (left == 0)[:, :, :, None] if of_left else (right == 0)[:, None]
        sums: Array = np.where(zero, 0, terms).sum(axis=2)
        return sums

    mutant(kind=SPECIAL, name=name, axes=ANY, step="dot", summary=summary)(dot)


_register_skipping("zero-weights-skipped", "weights of 0 left out, even where they meet infinity or NaN", of_left=False)
_register_skipping("zero-inputs-skipped", "inputs of 0 left out, even where they meet infinity or NaN", of_left=True)


@mutant(
    kind=SPECIAL,
    op=("conv2d", "conv_transpose2d", "conv2d_input"),
    axes=ANY,
    step="finish",
    summary="a whole image of NaN where one of its outputs is",
)
def nan_spreads_over_channel(c: KernelCall, sums: Array) -> Array:
    """A transform of the image: all depends on all."""
    result: Array = sums + 0 * sums.sum(axis=tuple(range(2, sums.ndim)), keepdims=True)
    return result
