"""Whether operands look random: only of random operands is it known how the errors of many sums are spread.

Knows the distribution of significands and signs; no errors, no verdicts.
"""

import math

import numpy as np

from refconv.core import formats


def random_significands(operand: np.ndarray) -> bool:
    """Whether an operand's numbers look drawn from a smooth distribution: different ones, ending in any bits.

    Never for constant, integer or repeated numbers. The distribution of the leading bits may be any that is spread
    over a factor of 2. The largest numbers are looked at by themselves too: they make the sums.

    >>> random_significands(np.random.default_rng(0).uniform(size=100)), random_significands(np.arange(100.0))
    (True, False)
    """
    bits = operand.astype(np.float64).ravel().view(np.int64) & ~SIGN
    bits = bits[(bits >= LEAST) & (bits < INFINITE)]  # neither 0 nor a float64 that is subnormal
    magnitudes = bits.view(np.float64)
    if (magnitudes == np.rint(magnitudes)).all():
        return False
    largest = bits[bits >= bits.max() - TOP * LEAST]
    digits = -round(math.log2(formats.unit_roundoff(operand.dtype)))
    return _look_random(bits, digits) and (largest.size == bits.size or _look_random(largest, digits))


def _look_random(bits: np.ndarray, digits: int) -> bool:
    """Whether significands of `digits` bits are different ones, ending in any bits; `bits` are those of float64."""
    significands = (bits & LEAST - 1 | LEAST) >> 53 - digits  # the leading bit is 1
    count = significands.size
    other = significands + (significands & 1)
    alike = np.bitwise_count((other & -other) - 1)  # bits at the end
    leading = significands >> max(0, digits - 1 - LEADING)
    return bool(
        _distinct(significands) >= DISTINCT * _expected_distinct(count, 2.0 ** (digits - 1))
        and np.count_nonzero(np.bincount(leading))
        >= DISTINCT / 2 * _expected_distinct(count, 2.0 ** min(digits - 1, LEADING))
        and alike.mean() <= TRAILING + 4 * math.sqrt(2 / count)
    )


SIGN, LEAST, INFINITE = np.int64(-(2**63)), np.int64(2**52), np.int64(0x7FF << 52)  # bits of float64
TOP = 4  # binades: the largest numbers are those within so many of the largest of all
LEADING = 6  # bits after the first
DISTINCT = 0.85  # of the number of values that as many random ones have
TRAILING = 4.0  # bits alike at the end of a significand: 2 if it is random, 3 if it is a multiple of 2**-24 in (0, 1)


def _distinct(values: np.ndarray) -> int:
    """Number of different values; by sorting, which takes a tenth of the time of NumPy's `unique`."""
    ordered = np.sort(values)
    return int(np.count_nonzero(ordered[1:] != ordered[:-1])) + bool(values.size)


def _expected_distinct(count: int, cells: float) -> float:
    """Expected number of different values among `count` that are drawn from `cells` equally likely ones."""
    return -cells * math.expm1(-count / cells)


def random_signs(weight: np.ndarray) -> bool:
    """Whether the signs of filters (C_out, ...) look random: no half of a filter's elements outweighs the other.

    Halves by every bit of an element's index along each axis are looked at, so that it does not matter which elements
    an implementation adds up first. If two of them differ by more than three times as much, in the mean square over the
    filters, as they would by chance, the signs are not random.

    >>> draw = np.random.default_rng(0).uniform
    >>> random_signs(draw(-1, 1, (4, 64))), random_signs(draw(0, 1, (4, 64)))
    (True, False)
    """
    filters = np.where(np.isfinite(weight), weight, 0).astype(np.float64)
    filters = filters / (np.abs(filters).max(initial=0) or 1)
    norms = np.square(filters).sum()
    for axis in range(1, filters.ndim):
        along = np.moveaxis(filters, axis, -1)
        along = along.reshape(len(along), -1, along.shape[-1]).sum(axis=1)
        indices = np.arange(along.shape[1])
        bits = [indices >> bit & 1 for bit in range((along.shape[1] - 1).bit_length())]
        halves = along @ (1 - 2.0 * np.array([0 * indices, *bits])).T
        if (np.square(halves).sum(axis=0) > MOST_UNEVEN**2 * norms).any():
            return False
    return True


MOST_UNEVEN = 3.0
