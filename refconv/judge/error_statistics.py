"""Suspicion: errors that are small enough, one by one, but can't come from the accumulator that is claimed.

Rounding to nearest is too high as often as too low: if the roundings of a sum are mean-independent, its error grows
with the square root of its length, and the errors of many sums cancel. Knows the sums behind the outputs, error models
and the distribution of significands; not what was convolved, and nothing of verdicts.

The rules are those of TOSA's conformance test for dot products (its reference model, `verify_dot_product.cc`): a limit
for every element, one for the sum of the errors, one for the sum of their squares. The limits are Higham and Mary's
probabilistic bound ("A new approach to probabilistic rounding error analysis", SIAM J. Sci. Comput. 41 (2019)).
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from refconv.core import formats
from refconv.judge.bounds import ErrorModel, Sums

# What the constants are made of, and how far sound kernels stay below them, is measured by tests/calibration.py.
PER_ELEMENT = 2.0  # standard deviations of a sum of n roundings, each at its largest: sqrt(n) u S
SUM = 8.0  # standard deviations of the sum of all errors
SQUARES = 1.5  # mean square of the errors in units of the predicted variance, over infinitely many elements ...
FEW_ELEMENTS = 30.0  # ... and so many times that, divided by the root of their number, more over few

# Beyond it a sum of positive terms stagnates: additions no longer round at random.
LARGEST_UNITS = 2.0**-4

# Underflow is no relative error, and has a sign.
NEGLIGIBLE = 2.0**-4


@dataclass(frozen=True)
class Statistic:
    """A number that is found in the errors, and the largest that a sound implementation may have.

    Attributes
    ----------
    name : str
        What it is.
    value, limit : float
        In the units that the name says; more than the limit is suspicious.
    """

    name: str
    value: float
    limit: float

    @property
    def ok(self) -> bool:
        """Whether the value is within its limit."""
        return self.value <= self.limit

    def __str__(self) -> str:
        return f"{self.name} {self.value:.3g}, limit {self.limit:.3g}"


def statistics(
    errors: np.ndarray, sums: Sums, model: ErrorModel, out: npt.DTypeLike, *, random_signs: bool
) -> tuple[Statistic, ...]:
    """The four statistics of the errors of an output; none where the assumption does not hold.

    Parameters
    ----------
    errors : ndarray of float64
        actual - e, in the shape of `sums.value`; NaN or infinite where there is nothing to compare.
    sums, model, out
        The sums behind the outputs, the claim, and the output's format.
    random_signs : bool
        Whether the terms' signs are random: then partial sums are no larger than the sum or its terms' L2 norm, else
        they may be as large as S.

    Examples
    --------
    >>> from refconv.judge.case import Case
    >>> draw = np.random.default_rng(0).standard_normal
    >>> case = Case(input=draw((1, 64, 9, 9)).astype("float32"), weight=draw((4, 64, 3, 3)).astype("float32"))
    >>> errors = case.expected() * 1.0005 - case.sums.value
    >>> found = statistics(errors, case.sums, ErrorModel.direct("float32"), "float32", random_signs=True)
    >>> print(found[-1])
    mean square of the errors 1.88e+05, limit 4.71
    """
    n, u = sums.terms, formats.unit_roundoff(model.accumulator)
    if not model.statistical or n * u > LARGEST_UNITS:
        return ()
    size = np.maximum(np.abs(sums.value), sums.squares) if random_signs else sums.absolute
    rounding = formats.unit_roundoff(out) * np.abs(sums.value) + sums.value_error
    underflow = n * formats.underflow_unit(model.accumulator) + formats.underflow_unit(out)
    scale = u * np.minimum(sums.absolute, sums.squares)  # the latter is not quite 0 where all terms are
    usable = underflow < NEGLIGIBLE * scale
    for each in (errors, sums.value, sums.absolute, sums.squares):
        usable &= np.isfinite(each)
    if not usable.any():
        return ()
    errors, value, size, rounding = (each[usable] for each in (errors, sums.value, size, rounding))
    absolute, squares = sums.absolute[usable], sums.squares[usable]
    operands = model.unit - u  # the operands' own rounding, if any
    limit = min(n, PER_ELEMENT * math.sqrt(n) + 4) * model.unit * absolute + rounding
    # Two operands are rounded, and each error is uniform between -operands / 2 and operands / 2 at its largest.
    deviation = np.hypot(math.sqrt(n / 3) * u * size, rounding / math.sqrt(3))
    deviation = np.hypot(deviation, operands * squares / math.sqrt(6))
    # Outputs that repeat one another err alike. And where operands are rounded, all outputs of a filter share the
    # errors of its weights, all of a place those of its inputs: then they are worth no more than one.
    _, repeats = np.unique(value, return_counts=True)
    independent = errors.size**2 / float(np.square(repeats.astype(float)).sum())
    if operands >= u:
        independent = min(independent, sums.independent)
    independent = math.sqrt(independent)
    relative = errors / deviation
    mean = SUM / independent
    if sums.bias is not None:
        # A sum is a multiple of its unit in the last place: to all sums of a binade, adding the same number errs alike.
        mean += float((u * size / deviation).mean())
    few = SQUARES * (1 + FEW_ELEMENTS / independent)
    return (
        Statistic("largest error", float((np.abs(errors) / limit).max()), 1.0),
        Statistic("mean error", abs(float(relative.mean())), mean),
        Statistic("mean error away from zero", abs(float((relative * np.sign(value)).mean())), mean),
        Statistic("mean square of the errors", float(np.square(relative).mean()), few),
    )


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
    """Whether significands of so many digits are different ones, ending in any bits; of the bits of float64."""
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
    """Number of different values among so many that are drawn from so many."""
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
        number = np.arange(along.shape[1])
        bits = [number >> bit & 1 for bit in range((along.shape[1] - 1).bit_length())]
        halves = along @ (1 - 2.0 * np.array([0 * number, *bits])).T
        if (np.square(halves).sum(axis=0) > MOST_UNEVEN**2 * norms).any():
            return False
    return True


MOST_UNEVEN = 3.0
