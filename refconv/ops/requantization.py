"""Requantization: the rules by which exact sums of integers become integers in steps of the output's scale.

Knows arrays of sums, scales and zero points; not what was summed.

Six rules have names (`conv2d_quantized` says where each comes from). A rule of the caller's is a function of the sums
of a channel, in int64, and the channel's index; it returns int64, the zero point added. Whatever comes out of a rule is
clamped to what the result's dtype holds.

No number on the way wraps. Where a number of an implementation would not fit (gemmlowp's shift to the left, the int32
that TFLite and TOSA scale to), its authors assert that there is no such call; here it is clamped, as the result is.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from refconv.core.errors import GeometryError

RULES = ("float", "float-away", "fixed", "fixed-double", "fixed-double-up", "fixed-16")
TWICE = ("fixed-double", "fixed-double-up")  # whose sums are of 32 bits
Rule: TypeAlias = str | Callable[[np.ndarray, int], np.ndarray]
SMALLEST, LARGEST = -31, 30  # exponents of multipliers
PRODUCTS = 2**62  # up to this magnitude a product and half a step are a number of int64
INT32 = np.iinfo(np.int32)


class Scales(NamedTuple):
    """The scales of a call in float32, that of the weight perhaps one for each output channel."""

    input: np.ndarray
    weight: np.ndarray
    output: np.ndarray

    def single(self) -> np.ndarray:
        """input * weight / output in float32, from left to right; 0 if it is too small for float32.

        Raises
        ------
        GeometryError
            If it is infinite.
        """
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            scale = np.asarray(self.input * self.weight / self.output)
        if not np.isfinite(scale).all():
            raise GeometryError(
                f"input_scale={self.input}, weight_scale={self.weight}, output_scale={self.output}: "
                "input_scale * weight_scale / output_scale must be finite in float32"
            )
        return scale

    def double(self) -> np.ndarray:
        """The same in float64, which holds the product exactly."""
        return np.asarray(np.float64(self.input) * np.float64(self.weight) / np.float64(self.output))


def checked_rule(rule: Any) -> Rule:
    """The name of a rule, or a function; what is neither is refused.

    >>> checked_rule("fixed")
    'fixed'
    """
    if callable(rule) or (isinstance(rule, str) and rule in RULES):
        return rule  # type: ignore[no-any-return]  # a function's type says nothing of what it takes
    raise GeometryError(f"requantize={rule!r}: must be one of {', '.join(map(repr, RULES))}, or a function")


def rule_name(rule: Rule) -> str:
    """The rule as a person reads it: of a function its name."""
    return rule if isinstance(rule, str) else f"{rule.__module__}:{getattr(rule, '__qualname__', type(rule).__name__)}"


def away(scaled: np.ndarray) -> np.ndarray:
    """Floats rounded to integers, ties away from zero: C's round.

    >>> away(np.float32([-2.5, -0.49999997, 0.5, 1.5]))
    array([-3., -0.,  1.,  2.], dtype=float32)
    """
    whole = np.trunc(scaled)
    with np.errstate(invalid="ignore"):  # of infinity
        up = np.abs(scaled - whole) >= 0.5  # exact: the bits behind the point
    rounded: np.ndarray = np.where(up, whole + np.sign(scaled), whole)
    return rounded


def multiplier_of(scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scales as multiplier * 2**(exponent - 31), as TFLite's QuantizeMultiplier has it. Both are int64.

    The multiplier is the significand of frexp, rounded, ties away from zero, to 31 bits; 2**31 is halved, and the
    exponent raised. Exponents below -31 make 0 of the multiplier; above 30 both are the largest that there are.

    >>> multiplier_of(np.array([0.75, 1 - 2.0**-40, 2.0**-40]))
    (array([1610612736, 1073741824,          0]), array([0, 1, 0]))
    """
    significand, exponent = np.frexp(scale)
    multiplier = np.floor(significand * 2.0**31 + 0.5).astype(np.int64)  # 53 bits: the sum is exact
    carried = multiplier == 2**31
    exponent = exponent.astype(np.int64) + carried
    multiplier = np.where(carried, 2**30, multiplier)
    multiplier = np.where(exponent > LARGEST, INT32.max, np.where(exponent < SMALLEST, 0, multiplier))
    return multiplier, np.where(exponent < SMALLEST, 0, np.minimum(exponent, LARGEST))


def reduced(multiplier: np.ndarray) -> np.ndarray:
    """Multipliers rounded to 15 bits, as TFLite and CMSIS-NN have them for sums in int64.

    >>> reduced(np.array([2**31 - 1, 2**30, 2**30 + 2**15]))
    array([32767, 16384, 16385])
    """
    return np.where(multiplier < 0x7FFF0000, (multiplier + 2**15) >> 16, 0x7FFF)


def shifted(sums: np.ndarray, multiplier: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """sums * multiplier / 2**shift, rounded once, ties up; shifts are 1 or more.

    >>> shifted(np.array([3, -3, 5]), np.array(2**30), np.array(31))
    array([ 2, -1,  3])
    """
    largest = max(int(sums.max(initial=0)), -int(sums.min(initial=0)))
    if largest * int(multiplier.max(initial=0)) > PRODUCTS:
        sums = sums.astype(object)  # Python's integers
    rounded: np.ndarray = (sums * multiplier + (np.int64(1) << (shift - 1))) >> shift
    return rounded


def doubling_high(sums: np.ndarray, multiplier: np.ndarray) -> np.ndarray:
    """gemmlowp's SaturatingRoundingDoublingHighMul: sums * multiplier / 2**31, both of 32 bits, rounded, ties up."""
    high: np.ndarray = (sums * multiplier + 2**30) >> 31
    return high


def divided(numbers: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """gemmlowp's RoundingDivideByPOT: numbers / 2**exponent, rounded, ties away from zero.

    >>> divided(np.array([-3, -1, 1, 3]), np.array(1))
    array([-2, -1,  1,  2])
    """
    mask = (np.int64(1) << exponent) - 1
    quotients: np.ndarray = (numbers >> exponent) + ((numbers & mask) > (mask >> 1) + (numbers < 0))
    return quotients


def divided_up(numbers: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """numbers / 2**exponent, rounded, ties up.

    >>> divided_up(np.array([-3, -1, 1, 3]), np.array(1))
    array([-1,  0,  1,  2])
    """
    quotients: np.ndarray = (numbers + ((np.int64(1) << exponent) >> 1)) >> exponent
    return quotients


def moved_left(sums: np.ndarray, bits: np.ndarray, least: int, most: int) -> np.ndarray:
    """sums * 2**bits, clamped; bits are 31 at most."""
    numbers: np.ndarray = np.clip(np.clip(sums, least, most) << bits, least, most)
    return numbers


def fixed(sums: np.ndarray, multiplier: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """The rule "fixed", without the zero point."""
    return shifted(sums, multiplier, 31 - exponent)


def fixed_double(sums: np.ndarray, multiplier: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """The rule "fixed-double", without the zero point."""
    operands = moved_left(sums, np.maximum(exponent, 0), INT32.min, INT32.max)
    return divided(doubling_high(operands, multiplier), np.maximum(-exponent, 0))


def fixed_double_up(sums: np.ndarray, multiplier: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """The rule "fixed-double-up", without the zero point."""
    operands = moved_left(sums, np.maximum(exponent, 0), INT32.min, INT32.max)
    return divided_up(doubling_high(operands, multiplier), np.maximum(-exponent, 0))


def fixed_16(sums: np.ndarray, multiplier: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """The rule "fixed-16", without the zero point."""
    beyond = np.maximum(exponent - 14, 0)  # bits to the left, of which TFLite allows none
    operands = np.where(beyond > 0, moved_left(sums, beyond, -(2**46), 2**46), sums)
    return shifted(operands, reduced(multiplier), np.maximum(15 - exponent, 1))


INTEGER_RULES = {
    "fixed": fixed,
    "fixed-double": fixed_double,
    "fixed-double-up": fixed_double_up,
    "fixed-16": fixed_16,
}


class Requantization:
    """A rule with the scales and the zero point of a call."""

    def __init__(self, rule: Rule, scales: Scales, zero_point: int, channels: tuple[int, ...]) -> None:
        """`channels` are the groups, and the output channels of each."""
        self.rule, self.zero_point = rule, zero_point
        self.channels = np.arange(math.prod(channels)).reshape(channels)
        parts: tuple[np.ndarray, ...] = ()
        if isinstance(rule, str):
            parts = multiplier_of(scales.double()) if rule in INTEGER_RULES else (scales.single(),)
        self.parts = [np.broadcast_to(part, self.channels.size).reshape(channels) for part in parts]

    def store(self, sums: np.ndarray, index: Any, out: np.ndarray) -> None:
        """Store the results of sums, (N, groups, channels of a group, P, Q), of the groups and channels of `index`."""
        values = self._by_function(sums, index) if not isinstance(self.rule, str) else self._by_name(sums, index)
        info = np.iinfo(out.dtype)
        out[...] = np.clip(values, info.min, info.max)

    def _by_name(self, sums: np.ndarray, index: Any) -> np.ndarray:
        """The values that a rule with a name has, the zero point added."""
        parts = [part[index][..., None, None] for part in self.parts]
        if self.rule in INTEGER_RULES:
            return INTEGER_RULES[str(self.rule)](sums.astype(np.int64), *parts) + self.zero_point
        with np.errstate(over="ignore"):  # an infinite product is clamped like any other
            scaled = sums.astype(np.float32) * parts[0]
        rounded = np.rint(scaled, out=scaled) if self.rule == "float" else away(scaled)
        rounded += np.float32(self.zero_point)  # exact but for what is clamped
        return rounded

    def _by_function(self, sums: np.ndarray, index: Any) -> np.ndarray:
        """The values that a function returns, channel by channel."""
        values = np.empty(sums.shape, np.int64)
        for place, channel in np.ndenumerate(self.channels[index]):
            at = (slice(None), *place)
            values[at] = self._checked(sums[at].astype(np.int64), int(channel))
        return values

    def _checked(self, sums: np.ndarray, channel: int) -> np.ndarray:
        """What the function returns for the sums of a channel; other than int64 of their shape is refused."""
        returned = self.rule(sums, channel)  # type: ignore[operator]  # it is a function
        name = f"requantize={rule_name(self.rule)}"
        if not isinstance(returned, np.ndarray | np.generic):
            raise TypeError(f"{name}: must return an array of int64, not {type(returned).__name__}")
        if returned.dtype != np.int64:
            raise TypeError(f"{name}: must return int64, not {returned.dtype}")
        if returned.shape != sums.shape:
            raise GeometryError(f"{name}: must return an array of the sums' shape {sums.shape}, not {returned.shape}")
        return np.asarray(returned)
