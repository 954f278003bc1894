"""Mutants of quantized convolutions: zero points, scales and the rounding to 8 bits.

Knows kernels and the registry.
"""

from typing import Any

import numpy as np

from refconv.mutants.kernels.forward import Array, Forward
from refconv.mutants.kernels.quantized import Quantized, WithZeroPoints
from refconv.mutants.registry import mutant

KIND = "quant_padding"
BOTH = ("conv2d_integer", "conv2d_quantized")


@mutant(kind=KIND, op=BOTH, entry="RB145", summary="padding with 0, not with the zero point")
def padding_of_zero(c: WithZeroPoints) -> None:
    """np.pad."""
    c.outside = 0


@mutant(
    kind="pad_side",
    op="conv2d_quantized",
    entry="RB062",
    when=lambda c: c.given_padding == "same",
    supports={"string_padding": True},
    summary='padding "same" with 0, not with the zero point',
)
def same_padding_of_zero(c: WithZeroPoints) -> None:
    """On the path of "same" only."""
    c.outside = 0


@mutant(
    kind=KIND,
    op=BOTH,
    entry="RB146",
    step="windows",
    summary="zero point times the sum of all weights subtracted, although padded taps are left out",
)
def correction_everywhere(c: WithZeroPoints) -> Array:
    """The sum of the weights is folded into the bias."""
    c.outside = 0
    return Forward.windows(c)


@mutant(
    kind=KIND,
    op=("conv2d", *BOTH),
    entry="RB144",
    dtypes=("int8",),
    when=lambda c: c.raw["input"].dtype == np.int8,
    summary="signed inputs shifted by 128, and the padding not",
)
def shifted_without_padding(c: Forward) -> None:
    """0 is padded to unsigned numbers, of which 128 stands for 0."""
    c.outside = -128


@mutant(kind=KIND, op=BOTH, summary="the input's zero point ignored")
def input_zero_point_ignored(c: WithZeroPoints) -> None:
    """Taken for 0."""
    c.x_zero = c.outside = 0


@mutant(kind=KIND, op=BOTH, summary="the weight's zero point ignored")
def weight_zero_point_ignored(c: WithZeroPoints) -> None:
    """Taken for 0."""
    c.w_zero = np.zeros_like(c.w_zero)


@mutant(kind=KIND, op=BOTH, summary="the weight's first zero point used for all channels")
def first_weight_zero_point(c: WithZeroPoints) -> None:
    """One for each channel is not foreseen."""
    c.w_zero = c.w_zero.reshape(-1)[:1]


@mutant(
    kind=KIND,
    op=BOTH,
    summary="the zero points of input and weight used for each other",
    when=lambda c: c.w_zero.ndim == 0,
)
def zero_points_swapped(c: WithZeroPoints) -> None:
    """In the other order."""
    w_zero = int(c.w_zero)
    c.w_zero, c.x_zero = np.asarray(c.x_zero), w_zero
    c.outside = c.x_zero


@mutant(kind=KIND, op=BOTH, summary="zero points added, not subtracted")
def zero_point_added(c: WithZeroPoints) -> None:
    """The wrong sign."""
    c.x_zero = c.outside = -c.x_zero


@mutant(
    kind=KIND,
    op=BOTH,
    summary="zero points past 127 taken for negative ones",
    when=lambda c: c.raw["input"].dtype == np.uint8,
    dtypes=("uint8",),
)
def zero_point_signed(c: WithZeroPoints) -> None:
    """The same bits in int8."""
    c.x_zero = c.outside = int(np.asarray(c.x_zero).astype(np.int8))


@mutant(kind=KIND, op="conv2d_quantized", summary="the weight's first scale used for all channels")
def first_weight_scale(c: Quantized) -> None:
    """One for each channel is not foreseen."""
    c.scale, c.significand, c.exponent = (part.reshape(-1)[:1] for part in (c.scale, c.significand, c.exponent))


@mutant(kind=KIND, op="conv2d_quantized", summary="the scale of the result multiplied by, not divided by", step="parse")
def output_scale_inverted(c: Quantized, *arguments: Any, **keywords: Any) -> None:
    """The wrong way round."""
    Quantized.parse(c, *arguments, **keywords)
    scale = np.float32(arguments[6])
    c.scale = (c.scale * scale * scale).astype(np.float32)
    c.normalize(c.scale.astype(np.float64))


@mutant(kind=KIND, op="conv2d_quantized", step="parse", summary="the result's zero point ignored")
def output_zero_point_ignored(c: Quantized, *arguments: Any, **keywords: Any) -> None:
    """Taken for 0."""
    Quantized.parse(c, *arguments, **keywords)
    c.y_zero = 0


@mutant(kind=KIND, op="conv2d_quantized", step="add_bias", summary="the bias multiplied by the scale of the weight")
def bias_scaled(c: Quantized, sums: Array) -> Array:
    """As if it was in steps of the result."""
    return (
        sums if c.b is None else sums + np.rint(c.b / np.maximum(c.scale, 2.0**-20))[..., None, None].astype(np.int64)
    )


@mutant(
    kind=KIND,
    op="conv2d_quantized",
    step="around",
    requantize="float",
    summary="ties rounded away from zero, not to even",
)
def ties_away(c: Quantized, scaled: Array) -> Array:
    """C's round."""
    result: Array = np.copysign(np.floor(np.abs(scaled) + np.float32(0.5)), scaled)
    return result


@mutant(
    kind=KIND,
    op="conv2d_quantized",
    step="around",
    requantize="float",
    summary="ties rounded up, not to even",
)
def ties_up(c: Quantized, scaled: Array) -> Array:
    """floor(x + 0.5)."""
    return np.floor(scaled + np.float32(0.5))


@mutant(
    kind=KIND,
    op="conv2d_quantized",
    step="around",
    requantize="float",
    summary="products cut off toward zero, not rounded",
)
def cut_off(c: Quantized, scaled: Array) -> Array:
    """A cast in C."""
    result: Array = np.trunc(scaled)
    return result


@mutant(
    kind=KIND,
    op="conv2d_quantized",
    step="around",
    requantize="float",
    summary="products rounded down, not to nearest",
)
def rounded_down(c: Quantized, scaled: Array) -> Array:
    """A shift to the right."""
    result: Array = np.floor(scaled)
    return result


@mutant(
    kind=KIND,
    op="conv2d_quantized",
    step="around",
    when=lambda c: c.y_zero % 2 != 0,
    requantize="float",
    summary="ties rounded to even after the zero point is added, not before",
)
def rounded_with_zero_point(c: Quantized, scaled: Array) -> Array:
    """As ONNX's reference evaluator has it."""
    zero = np.float32(c.y_zero)
    return np.rint(scaled + zero) - zero


@mutant(kind=KIND, op="conv2d_quantized", step="clamped", summary="results that do not fit wrapped, not saturated")
def not_saturated(c: Quantized, values: Array) -> Array:
    """A cast without a clamp."""
    result: Array = np.clip(values, -(2.0**60), 2.0**60).astype(np.int64).astype(c.dtype)
    return result


@mutant(kind=KIND, op="conv2d_quantized", step="clamped", summary="results saturated before the zero point is added")
def saturated_too_early(c: Quantized, values: Array) -> Array:
    """The limits are those of the dtype."""
    info = np.iinfo(c.dtype)
    result: Array = (np.clip(values - c.y_zero, info.min, info.max).astype(np.int64) + c.y_zero).astype(c.dtype)
    return result


@mutant(
    kind=KIND,
    op="conv2d_quantized",
    step="store",
    when=lambda c: c.dtype == np.int8,
    dtypes=("int8",),
    summary="results saturated at -127, not at -128",
)
def symmetric_limits(c: Quantized, sums: Array) -> Array:
    """A symmetric range, of weights, for results."""
    result: Array = np.maximum(Quantized.store(c, sums), np.int8(-127))
    return result


@mutant(kind=KIND, op="conv2d_quantized", step="store", summary="negative results replaced by the zero point")
def rectified(c: Quantized, sums: Array) -> Array:
    """A fused ReLU that nobody asked for."""
    return Quantized.store(c, np.maximum(sums, 0))
