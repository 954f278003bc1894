"""Truth: what an epilogue makes of an exact sum, as a rational number: exactly, or to 50 digits where that can't be.

Knows steps and rational numbers; no arrays, no formats. Functions are computed by `decimal` in 60 digits: exp is
correctly rounded there, and what the formulas cancel is a few digits of these.
"""

import decimal
import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np

from refconv.judge.epilogue.enclosures import FACTOR
from refconv.ops.epilogue import Step

DIGITS = 60
CONTEXT = decimal.Context(
    prec=DIGITS, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN, traps=[decimal.InvalidOperation, decimal.DivisionByZero]
)
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803483")
CUBIC = Decimal("0.044715")  # as `refconv.ops.activations` has it
LEAST = -1200  # decimal exponent of what is kept of numbers that are closer to 0
NEAR = 3  # from here on erfc is a continued fraction, before it a series
TERMS = 320  # of that fraction: at `NEAR` the last one adds less than 1e-60
SMALL = Decimal("1e-9")  # below it tanh is its series


def value(step: Step, x: Fraction, operands: tuple[Any, ...] = ()) -> Fraction:
    """What a step makes of a number; operands as numbers.

    >>> value(Step("hardswish"), Fraction(-3, 2)), value(Step("residual"), Fraction(1, 3), (0.5,))
    (Fraction(-3, 8), Fraction(5, 6))
    >>> abs(float(value(Step("gelu"), Fraction(-1))) + 0.158655253931457) < 1e-15
    True
    """
    if step.name in _RATIONAL:
        return _RATIONAL[step.name](x, *map(_fraction, (*operands, *step.numbers)))
    if step.custom is not None:
        return Fraction(float(step.value(np.array([float(x)]))[0]))
    with decimal.localcontext(CONTEXT):
        return _rational(_FUNCTIONS[step.name](Decimal(x.numerator) / Decimal(x.denominator)))


def _fraction(number: Any) -> Any:
    """A number as a rational one; infinity, which a clip may have, as it is."""
    return Fraction(float(number)) if math.isfinite(number) else number


def _clipped(x: Fraction, low: Any, high: Any) -> Fraction:
    clip: Fraction = min(max(x, low), high)
    return clip


_RATIONAL: Mapping[str, Callable[..., Fraction]] = MappingProxyType(
    {
        FACTOR: lambda x, factor: x * factor,
        "residual": lambda x, residual: x + residual,
        "relu": lambda x: max(x, Fraction(0)),
        "relu6": lambda x: _clipped(x, Fraction(0), Fraction(6)),
        "clip": _clipped,
        "leaky_relu": lambda x, slope: x if x >= 0 else slope * x,
        "hardswish": lambda x: x * _clipped(x + 3, Fraction(0), Fraction(6)) / 6,
    }
)


def is_rational(step: Step) -> bool:
    """Whether a step makes rational numbers of rational numbers, so that the value is exact."""
    return step.name in _RATIONAL or step.name == "scale"


def _rational(x: Decimal) -> Fraction:
    """The number; one that is smaller than any format's as one that still is."""
    if x and x.adjusted() < LEAST:
        return Fraction(1 if x > 0 else -1, 10**-LEAST)
    return Fraction(x)


def _sigmoid(x: Decimal) -> Decimal:
    small = (-abs(x)).exp()
    return (small if x < 0 else 1) / (1 + small)


def _tanh(x: Decimal) -> Decimal:
    if abs(x) < SMALL:  # the next term is less than 1e-60 of the first
        square = x * x
        return x * (1 - square / 3 + 2 * square * square / 15 - 17 * square**3 / 315 + 62 * square**4 / 2835)
    small = (-2 * abs(x)).exp()
    return ((1 - small) / (1 + small)).copy_sign(x)


def _erf(x: Decimal) -> Decimal:
    """2 exp(-x^2) / sqrt(pi) times the sum of (2 x^2)^n x / (1 3 ... (2 n + 1)), of which all terms have one sign."""
    term = total = x
    n = 0
    while abs(term) > abs(total) * Decimal(10) ** -DIGITS:
        n += 1
        term *= 2 * x * x / (2 * n + 1)
        total += term
    return 2 * (-x * x).exp() / PI.sqrt() * total


def _erfc(x: Decimal) -> Decimal:
    """1 - erf(x): beyond `NEAR` as a continued fraction (DLMF 7.9.1)."""
    if x < 0:
        return 2 - _erfc(-x)
    if x < NEAR:
        return 1 - _erf(x)
    fraction = x
    for n in range(TERMS, 0, -1):
        fraction = x + n / (2 * fraction)
    return (-x * x).exp() / (PI.sqrt() * fraction)


def _gelu_tanh(x: Decimal) -> Decimal:
    return x * _sigmoid((8 / PI).sqrt() * (x + CUBIC * x**3))


_FUNCTIONS: Mapping[str, Callable[[Decimal], Decimal]] = MappingProxyType(
    {
        "sigmoid": _sigmoid,
        "tanh": _tanh,
        "silu": lambda x: x * _sigmoid(x),
        "gelu": lambda x: x * _erfc(-x / Decimal(2).sqrt()) / 2,
        "gelu_tanh": _gelu_tanh,
    }
)
