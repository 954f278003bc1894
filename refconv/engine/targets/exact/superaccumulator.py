"""The superaccumulator: sums of products of any float64, without any rounding, as one long integer each.

Kulisch's: "Computer Arithmetic and Validity" (2nd ed. 2013), chapter 8. A sum is an integer number of 2**-2148, the
last place of the smallest product, in limbs of 32 bits, which are stored in 64 bits, so that carries can wait. Knows
Numba and memory; of correlations only how to gather the terms of some outputs; not why they are asked for.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

from refconv.core.padding import ZERO, element
from refconv.engine.correlation import Correlation
from refconv.engine.targets.jit.cfunctions import cfunction, inner
from refconv.engine.targets.jit.memory import load, store

LAST_PLACE = -2148
LIMBS = 134  # 2 * 2098 bits of products, 63 for their number, and a sign
NAN, POSITIVE, NEGATIVE = LIMBS, LIMBS + 1, LIMBS + 2  # after the limbs: how many terms were NaN, +inf, -inf
STATE = LIMBS + 3
MOST_TERMS = 2**18  # most terms gathered at a time, and most limbs of their sums

_MASK, _HALF = np.uint64(2**32 - 1), np.uint64(32)
_FRACTION, _IMPLICIT = np.uint64(2**52 - 1), np.uint64(2**52)


def rounded(c: Correlation, index: tuple[np.ndarray, ...]) -> np.ndarray:
    """The sums of the outputs at some indices, rounded once to the output's dtype."""
    dtype = c.out.dtype
    info: Any = ml_dtypes.finfo(dtype)
    too_large = np.inf if dtype != ml_dtypes.float8_e4m3fn else np.nan
    limits = np.array([float(info.max), too_large])
    values = np.empty(len(index[0]))
    for chosen, states in _states(c, index):
        out = np.empty(len(states))
        least = int(info.minexp) - int(info.nmant)
        rounding().ctypes(
            states.ctypes.data, out.ctypes.data, len(states), int(info.nmant) + 1, least, limits.ctypes.data
        )
        values[chosen] = out
    with np.errstate(all="ignore"):
        return values.astype(dtype)


def sums(c: Correlation, index: tuple[np.ndarray, ...]) -> np.ndarray:
    """The exact sums of the outputs at some indices, as `Fraction`s, or floats where they are NaN or infinity."""
    values = np.empty(len(index[0]), object)
    for chosen, states in _states(c, index):
        values[chosen] = [_fraction(state) for state in states]
    return values


def _fraction(state: np.ndarray) -> Any:
    if state[LIMBS:].any():
        value = np.nan if state[NAN] or (state[POSITIVE] and state[NEGATIVE]) else np.inf
        return -value if state[NEGATIVE] else value
    total = sum(limb << (32 * i) for i, limb in enumerate(state[:LIMBS].tolist()) if limb)
    return Fraction(total) * Fraction(2) ** LAST_PLACE


def _states(c: Correlation, index: tuple[np.ndarray, ...]) -> Iterator[tuple[slice, np.ndarray]]:
    """The states of the outputs at some indices, some outputs at a time: which of the indices, and their states."""
    channels, taps = c.w.shape[2], math.prod(c.w.shape[3:])
    at_a_time = max(1, MOST_TERMS // max(STATE, channels * taps))
    channels_at_once = max(1, MOST_TERMS // max(1, taps))
    for start in range(0, len(index[0]), at_a_time):
        chosen = slice(start, start + at_a_time)
        outputs = tuple(along[chosen] for along in index)
        states = np.zeros((len(outputs[0]), STATE), np.int64)
        for first in range(0, channels, channels_at_once):
            _add(states, *_terms(c, outputs, slice(first, first + channels_at_once)))
        if c.bias is not None:
            bias = c.bias[outputs[1], outputs[2]].astype(np.float64)[:, None]
            _add(states, bias, np.ones_like(bias))
        yield chosen, states


def _add(states: np.ndarray, x: np.ndarray, w: np.ndarray) -> None:
    accumulate().ctypes(x.ctypes.data, w.ctypes.data, states.ctypes.data, *x.shape)


def _terms(c: Correlation, index: tuple[np.ndarray, ...], channels: slice) -> tuple[np.ndarray, np.ndarray]:
    """The factors x and w of the terms over some channels, for the outputs at some indices: (outputs, terms) each."""
    n, g, k, *place = index
    axes = len(place)
    at: list[np.ndarray] = []
    missing = np.zeros((1,) * (axes + 2), bool)
    for axis, output in enumerate(place):
        taps, dilation = c.w.shape[3 + axis], c.dilation[axis]
        first = output * c.stride[axis] - c.padding[axis][0] - min(0, (taps - 1) * dilation)
        met = element(np.add.outer(first, np.arange(taps) * dilation), c.x.shape[3 + axis], c.padding_mode)
        met = met.reshape(len(n), 1, *(taps if other == axis else 1 for other in range(axes)))
        missing = missing | (met == ZERO)
        at.append(np.maximum(met, 0))
    column = (-1, *(1,) * (axes + 1))
    chosen = np.arange(c.w.shape[2])[channels].reshape(1, -1, *(1,) * axes)
    x = c.x[(n.reshape(column), g.reshape(column), chosen, *at)]
    with np.errstate(invalid="ignore"):  # signalling NaNs
        x = np.where(missing, 0.0, x.astype(np.float64))
        w = c.w[:, :, channels][g, k].astype(np.float64)
    return tuple(np.ascontiguousarray(factors.reshape(len(n), -1)) for factors in (x, w))  # type: ignore[return-value]


@inner
def _add_limb(state, limb, value, negative):
    number = np.int64(value)
    store(np.int64, state, limb, 8, load(np.int64, state, limb, 8) + (-number if negative else number))


@inner
def _count(state, product):
    """Count a term that is NaN or infinite."""
    place = NAN if product != product else POSITIVE if product > 0 else NEGATIVE
    store(np.int64, state, place, 8, load(np.int64, state, place, 8) + 1)


@inner
def _add_product(state, x, w):
    """Add the product of two float64 numbers, given by their bits."""
    x_exponent, w_exponent = (x >> np.uint64(52)) & np.uint64(2047), (w >> np.uint64(52)) & np.uint64(2047)
    x_significand = (x & _FRACTION) | (_IMPLICIT if x_exponent else np.uint64(0))
    w_significand = (w & _FRACTION) | (_IMPLICIT if w_exponent else np.uint64(0))
    negative = (x ^ w) >> np.uint64(63) != 0
    place = max(np.int64(x_exponent), np.int64(1)) + max(np.int64(w_exponent), np.int64(1)) - 2
    limb, shift = place >> 5, np.uint64(place & 31)
    # Both in digits of 32 bits; x is shifted, so that its lowest digit begins where a limb does.
    x0, x1 = (x_significand << shift) & _MASK, (x_significand >> (_HALF - shift)) & _MASK
    x2 = (x_significand >> np.uint64(1)) >> (np.uint64(63) - shift)
    w0, w1 = w_significand & _MASK, w_significand >> _HALF
    a, b, c, d, e, f = x0 * w0, x0 * w1, x1 * w0, x1 * w1, x2 * w0, x2 * w1
    _add_limb(state, limb, a & _MASK, negative)
    _add_limb(state, limb + 1, (a >> _HALF) + (b & _MASK) + (c & _MASK), negative)
    _add_limb(state, limb + 2, (b >> _HALF) + (c >> _HALF) + (d & _MASK) + (e & _MASK), negative)
    _add_limb(state, limb + 3, (d >> _HALF) + (e >> _HALF) + (f & _MASK), negative)
    _add_limb(state, limb + 4, f >> _HALF, negative)


@inner
def _carry(state):
    """Bring all limbs but the last between 0 and 2**32."""
    for i in range(LIMBS - 1):
        limb = load(np.int64, state, i, 8)
        store(np.int64, state, i, 8, limb & 0xFFFFFFFF)
        store(np.int64, state, i + 1, 8, load(np.int64, state, i + 1, 8) + (limb >> 32))


@cache
def accumulate() -> Any:
    """A compiled `accumulate(x, w, states, rows, terms)` that adds the sum of products of each row to the row's state.

    With fewer than 2**28 terms at a time, no limb overflows before its carry.
    """

    def accumulate_(x, w, states, rows, terms):
        for row in range(rows):
            state = states + row * 8 * STATE
            for t in range(row * terms, (row + 1) * terms):
                left, right = load(np.float64, x, t, 8), load(np.float64, w, t, 8)
                if abs(left) < np.inf and abs(right) < np.inf:
                    if left == 0 or right == 0:
                        continue
                    _add_product(state, load(np.uint64, x, t, 8), load(np.uint64, w, t, 8))
                else:
                    _count(state, left * right)
            _carry(state)

    return cfunction(accumulate_, 5)


@inner
def _bit_length(number):
    length = 0
    while number:
        number >>= 1
        length += 1
    return length


@inner
def _negate(state):
    for i in range(LIMBS):
        store(np.int64, state, i, 8, -load(np.int64, state, i, 8))
    _carry(state)


@inner
def _bits_from(state, place, count):
    """`count` bits of a sum, at most 53, from bit `place` on."""
    bits = np.int64(0)
    for i in range(count):
        at = place + i
        bits |= ((load(np.int64, state, at >> 5, 8) >> (at & 31)) & 1) << i
    return bits


@inner
def _any_below(state, place):
    """Whether any bit below bit `place` is 1."""
    for i in range(place >> 5):
        if load(np.int64, state, i, 8):
            return True
    return load(np.int64, state, place >> 5, 8) & ((np.int64(1) << (place & 31)) - 1) != 0


@inner
def _magnitude(state, digits, least):
    """A positive sum rounded to at most `digits` bits, of which the last is worth 2**least or more."""
    top = LIMBS - 1
    while top >= 0 and load(np.int64, state, top, 8) == 0:
        top -= 1
    if top < 0:
        return 0.0
    bits = 32 * top + _bit_length(load(np.int64, state, top, 8))
    place = max(bits - digits, least - LAST_PLACE)  # of the last bit of the result
    number = _bits_from(state, place, max(bits - place, 0))
    half = _bits_from(state, place - 1, 1)
    if half and (number & 1 or _any_below(state, place - 1)):
        number += 1
    return math.ldexp(float(number), place + LAST_PLACE)


@cache
def rounding() -> Any:
    """A compiled `rounding(states, out, rows, digits, least, limits)` from carried states to numbers, as float64.

    Numbers are of a format of `digits` binary digits whose smallest subnormal number is 2**least; `limits` are its
    largest number and what comes after it. The states of negative sums are overwritten.
    """

    def rounding_(states, out, rows, digits, least, limits):
        largest, too_large = load(np.float64, limits, 0, 8), load(np.float64, limits, 1, 8)
        for row in range(rows):
            state = states + row * 8 * STATE
            infinite = load(np.int64, state, POSITIVE, 8), load(np.int64, state, NEGATIVE, 8)
            if load(np.int64, state, NAN, 8) or (infinite[0] and infinite[1]):
                value = np.nan
            elif infinite[0] or infinite[1]:
                value = -too_large if infinite[1] else too_large
            else:
                negative = load(np.int64, state, LIMBS - 1, 8) < 0
                if negative:
                    _negate(state)
                value = _magnitude(state, digits, least)
                value = too_large if value > largest else value
                value = -value if negative else value
            store(np.float64, out, row, 8, np.nan if value != value else value)

    return cfunction(rounding_, 6)
