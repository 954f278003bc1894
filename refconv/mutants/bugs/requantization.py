"""Mutants of requantization: multipliers, shifts and roundings of the rules in integers; wide biases, narrow weights.

Knows kernels and the registry. Each claims the rule that it gets wrong.
"""

from typing import Any

import numpy as np

from refconv.mutants.kernels.forward import Array
from refconv.mutants.kernels.quantized import Quantized
from refconv.mutants.registry import mutant
from refconv.ops import requantization

KIND = "requantization"
OF_FIXED: dict[str, Any] = {"kind": KIND, "op": "conv2d_quantized", "requantize": "fixed"}
OF_DOUBLE: dict[str, Any] = {"kind": KIND, "op": "conv2d_quantized", "requantize": "fixed-double"}
OF_WIDE: dict[str, Any] = {
    "kind": KIND, "op": "conv2d_quantized", "requantize": "fixed-16", "dtypes": ("int16",),
    "when": lambda c: c.raw["input"].dtype == np.int16,
}  # fmt: skip


@mutant(**OF_FIXED, summary="shifts one too long")
def shift_too_long(c: Quantized) -> None:
    """The exponent of a significand from 1 to 2, not from 1/2 to 1."""
    c.exponent = c.exponent - 1


@mutant(**OF_FIXED, step="shifted", summary="products shifted without half a step, which rounds down")
def shifted_without_half(_: Quantized, sums: Array, multiplier: Array, shift: Array) -> Array:
    """A shift to the right alone."""
    result: Array = (sums * multiplier) >> shift
    return result


@mutant(**OF_FIXED, step="shifted", summary="products cut off toward zero by a division, not shifted")
def divided_as_in_c(_: Quantized, sums: Array, multiplier: Array, shift: Array) -> Array:
    """C's division."""
    products = sums * multiplier
    result: Array = np.sign(products) * (np.abs(products) >> shift)
    return result


@mutant(**OF_FIXED, step="shifted", summary="ties rounded to even after the multiplication, not up")
def ties_of_products_to_even(_: Quantized, sums: Array, multiplier: Array, shift: Array) -> Array:
    """As floats are rounded."""
    products, half = sums * multiplier, np.int64(1) << (shift - 1)
    rounded: Array = (products + half) >> shift
    rounded -= ((products & (2 * half - 1)) == half) * (rounded & 1)
    return rounded


@mutant(**OF_FIXED, step="integers", summary="two roundings, not one: fixed-double")
def rounded_twice(c: Quantized, sums: Array) -> Array:
    """The other build of the same library."""
    c.rule = "fixed-double"
    return Quantized.integers(c, sums)


@mutant(**OF_FIXED, step="normalize", summary="a multiplier of 2**31 not halved: in int32 it is negative")
def multiplier_not_halved(c: Quantized, scale: Array) -> None:
    """The significand is rounded up to 1."""
    significand, exponent = np.frexp(scale)
    c.significand = np.floor(significand * 2.0**31 + 0.5).astype(np.int64).astype(np.int32).astype(np.int64)
    c.exponent = exponent.astype(np.int64)


@mutant(**OF_FIXED, step="normalize", summary="the effective scale computed in float32, not in float64")
def effective_scale_in_float(c: Quantized, scale: Array) -> None:
    """A float on the way."""
    Quantized.normalize(c, scale.astype(np.float32).astype(np.float64))


@mutant(**OF_FIXED, step="normalize", summary="multipliers of 15 bits, not of 31")
def multiplier_of_15_bits(c: Quantized, scale: Array) -> None:
    """As for sums in int64."""
    Quantized.normalize(c, scale)
    c.significand = requantization.reduced(c.significand) << 16


@mutant(**OF_FIXED, summary="the first channel's multiplier and shift used for all channels")
def first_multiplier(c: Quantized) -> None:
    """One for each channel is not foreseen."""
    c.significand, c.exponent = c.significand.reshape(-1)[:1], c.exponent.reshape(-1)[:1]


@mutant(**OF_FIXED, summary="the first channel's shift used for all channels")
def first_shift(c: Quantized) -> None:
    """Multipliers are loaded for each channel, shifts are not."""
    c.exponent = c.exponent.reshape(-1)[:1]


@mutant(**OF_FIXED, step="store", summary="the zero point added before the multiplication")
def zero_point_multiplied(c: Quantized, sums: Array) -> Array:
    """To the sums."""
    zero, c.y_zero = c.y_zero, 0
    return Quantized.store(c, sums + zero)


@mutant(**OF_FIXED, step="integers", summary="scales of 1 or more applied without their shift to the left")
def left_shift_dropped(c: Quantized, sums: Array) -> Array:
    """Multipliers are taken to be smaller than 1."""
    c.exponent = np.minimum(c.exponent, 0)
    return Quantized.integers(c, sums)


@mutant(**OF_DOUBLE, step="integers", summary="one rounding, not two: fixed")
def rounded_once(c: Quantized, sums: Array) -> Array:
    """The other build of the same library."""
    c.rule = "fixed"
    return Quantized.integers(c, sums)


@mutant(**OF_DOUBLE, step="divided", summary="ties of the division rounded up, not away from zero")
def division_ties_up(_: Quantized, numbers: Array, exponent: Array) -> Array:
    """Half a step, and a shift."""
    return requantization.divided_up(numbers, exponent)


@mutant(**OF_DOUBLE, step="high", summary="high halves cut off, not rounded")
def high_half_cut_off(_: Quantized, sums: Array, multiplier: Array) -> Array:
    """SQDMULH for SQRDMULH."""
    result: Array = (sums * multiplier) >> 31
    return result


@mutant(
    kind=KIND,
    op="conv2d_quantized",
    requantize="float-away",
    step="around",
    summary="negative ties rounded up, positive ones away from zero",
)
def negative_ties_up(_: Quantized, scaled: Array) -> Array:
    """floor(x + 0.5), in float64 lest the sum is rounded."""
    return np.floor(scaled.astype(np.float64) + 0.5)


@mutant(**OF_WIDE, summary="biases of 64 bits cut off to 32")
def bias_of_32_bits(c: Quantized) -> None:
    """A bias of int64 read as one of int32."""
    c.b = None if c.b is None else c.b.astype(np.int32).astype(np.int64)


@mutant(**OF_WIDE, step="add_bias", summary="sums of 64 bits wrapped in 32")
def sums_of_32_bits(c: Quantized, sums: Array) -> Array:
    """An accumulator for products of 8 bits."""
    return Quantized.add_bias(c, sums).astype(np.int32).astype(np.int64)


@mutant(**OF_WIDE, step="reduced", summary="multipliers cut off to 15 bits, not rounded")
def multiplier_cut_off(_: Quantized, multiplier: Array) -> Array:
    """The high half."""
    return multiplier >> 16


@mutant(
    kind=KIND,
    op="conv2d_quantized",
    dtypes=("int8", "uint8"),
    weight_bits=4,
    summary="weights of 4 bits read without their sign",
)
def sign_of_4_bits_lost(c: Quantized) -> None:
    """-1 is 15."""
    c.w = c.w & 15


@mutant(
    kind=KIND,
    op="conv2d_quantized",
    dtypes=("int8", "uint8"),
    weight_bits=4,
    summary="each second weight of 4 bits one too small after a negative one",
)
def borrow_between_4_bits(c: Quantized) -> None:
    """Two weights of a byte have their sign restored together, and the lower one borrows from the higher one."""
    flat = c.w.reshape(-1).copy()
    pairs = flat[: len(flat) // 2 * 2].reshape(-1, 2)
    pairs[:, 1] = (pairs[:, 1] - (pairs[:, 0] < 0) + 8) % 16 - 8
    c.w = flat.reshape(c.w.shape)
