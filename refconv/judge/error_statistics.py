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

# How far sound kernels stay below the limits that these constants make is measured by tests/evidence/calibration.py.
PER_ELEMENT = 2.0  # standard deviations of a sum of n roundings, each at its largest: sqrt(n) u S
SUM = 8.0  # standard deviations of the sum of all errors
SQUARES = 1.5  # mean square of the errors in units of the predicted variance, over infinitely many elements
FEW_ELEMENTS = 30.0  # over n elements, the limit on the mean square is 1 + FEW_ELEMENTS / sqrt(n) times as large

# Largest n u: beyond it a sum of positive terms stagnates, and additions no longer round at random.
LARGEST_UNITS = 2.0**-4

# Largest share of underflow in the errors that are looked at: it is no relative error, and has a sign.
NEGLIGIBLE = 2.0**-4


@dataclass(frozen=True)
class Statistic:
    """A number computed from the errors of an output, and its limit for a sound implementation.

    Attributes
    ----------
    name : str
        What the number is.
    value, limit : float
        In the same units; a value above the limit is suspicious.
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
    >>> *_, mean_square = statistics(errors, case.sums, ErrorModel.direct("float32"), "float32", random_signs=True)
    >>> print(mean_square)
    mean square of the errors 1.88e+05, limit 4.71
    """
    n, u = sums.terms, formats.unit_roundoff(model.accumulator)
    if not model.statistical or n * u > LARGEST_UNITS:
        return ()
    out = model.output.coarsest(out)
    size = np.maximum(np.abs(sums.value), sums.squares) if random_signs else sums.absolute
    rounding = formats.unit_roundoff(out) * np.abs(sums.value) + sums.value_error
    underflow = n * formats.underflow_unit(model.accumulator) + formats.underflow_unit(out)
    scale = u * np.minimum(sums.absolute, sums.squares)  # the latter is not quite 0 where all terms are
    usable = (underflow < NEGLIGIBLE * scale) & (model.algorithm.operand_loss(sums) < NEGLIGIBLE * scale)
    for array in (errors, sums.value, sums.absolute, sums.squares):
        usable &= np.isfinite(array)
    if not usable.any():
        return ()
    errors, value, size, rounding = (array[usable] for array in (errors, sums.value, size, rounding))
    absolute, squares = sums.absolute[usable], sums.squares[usable]
    operands = model.unit - u  # the operands' own rounding, if any
    limit = min(n, PER_ELEMENT * math.sqrt(n) + 4) * model.unit * absolute + rounding
    deviation = np.hypot(math.sqrt(n / 3) * u * size, rounding / math.sqrt(3))
    deviation = np.hypot(deviation, model.algorithm.operand_deviation * squares)
    # Outputs that repeat one another err alike. And where operands are rounded, all outputs of a filter share the
    # errors of its weights, all outputs of a place the errors of its inputs: then they count as one.
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


def certainly_unsuspicious(errors: np.ndarray, sums: Sums, model: ErrorModel, out: npt.DTypeLike) -> bool:
    """Whether no statistic can be beyond its limit, by what takes little time; arguments as of `statistics`.

    The terms' root mean square is not below S / sqrt(n), and there are no more independent errors than outputs. With
    these in place of what they bound, each error is no smaller in units of its deviation, and limits are no larger.
    How much larger differs from error to error, so that of the means the parts of either sign are looked at.
    """
    n, u = sums.terms, formats.unit_roundoff(model.accumulator)
    usable = np.isfinite(errors)
    if not model.statistical or n * u > LARGEST_UNITS or not usable.any():
        return True  # there are no statistics
    if not usable.all() or model.unit != u or model.algorithm.operand_deviation:
        return False
    out = model.output.coarsest(out)
    least = sums.absolute / math.sqrt(n)
    value = np.abs(sums.value)
    rounding = formats.unit_roundoff(out) * value + sums.value_error
    underflow = n * formats.underflow_unit(model.accumulator) + formats.underflow_unit(out)
    if not (underflow < NEGLIGIBLE * u * least).all():
        return False  # which errors count would have to be found out
    limit = min(n, PER_ELEMENT * math.sqrt(n) + 4) * model.unit * sums.absolute + rounding
    magnitude = np.abs(errors)
    if (magnitude > limit).any():
        return False
    relative = errors / np.hypot(math.sqrt(n / 3) * u * np.maximum(value, least), rounding / math.sqrt(3))
    mean, signed = SUM / math.sqrt(errors.size), (relative, relative * np.sign(sums.value))
    return bool(
        all(max(values[values > 0].sum(), -values[values < 0].sum()) <= mean * errors.size for values in signed)
        and np.square(relative).mean() <= SQUARES * (1 + FEW_ELEMENTS / math.sqrt(errors.size))
    )
