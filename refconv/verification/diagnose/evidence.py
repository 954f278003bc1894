"""Evidence: the cases that a candidate failed and passed, with its results, and which of their elements are wrong.

Knows cases and comparisons; no mutant, no rule.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from refconv.cases.recipe import Recipe
from refconv.core import formats
from refconv.core.geometry import Geometry
from refconv.judge.bounds import Model
from refconv.judge.case import Case
from refconv.judge.comparison import Comparison
from refconv.verification.diagnose import regions

CRASH = "crash"  # the fault of a candidate that ended its process, or did not return: no mutant does that
LARGEST = 300_000  # most work of a case that mutants are tried on, unless all cases have more
GATHERED = 8  # numbers gathered in the time of a multiplication
UNITS = 32  # unit roundoffs by which two implementations of one function may differ
Caller = Callable[[Case, Recipe], np.ndarray | None]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Evidence:
    """One case that the candidate was given.

    Attributes
    ----------
    recipe, case
        The case, and the recipe that makes it.
    actual : ndarray or None
        The candidate's result, as (N, C, H, W); None if there was none.
    failed : bool
        Whether a property does not hold.
    fault : str
        That property: "values", "deterministic", "returns", ...
    model : ErrorModel, str, callable or None
        By which the candidate is judged; None for the direct one.
    strict : bool
        Whether padded taps must be multiplied, as `Case.check` has it.
    """

    recipe: Recipe
    case: Case
    actual: np.ndarray | None
    failed: bool
    fault: str = ""
    model: Model | None = None
    strict: bool = False


class Failing:
    """A failing case: the expected result, and which elements of the candidate's are wrong."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence, self.case, self.recipe = evidence, evidence.case, evidence.recipe
        self.actual = evidence.actual
        self.key = self.case, self.recipe
        self.exact = self.recipe.fill in ("integers", "positions")
        self.size = work(self.case.geometry)
        self.rank = (not self.exact, self.size > LARGEST, abs(self.size - 2000))

    @cached_property
    def standard(self) -> tuple[np.ndarray, np.ndarray]:
        """The expected result, and how far from it an element may lie."""
        standard = self.case.standard(self.evidence.model)
        return standard.expected, standard.bound

    @cached_property
    def misshapen(self) -> bool:
        """Whether shape or dtype are wrong."""
        expected = self.standard[0]
        return self.actual is not None and (self.actual.shape, self.actual.dtype) != (expected.shape, expected.dtype)

    @cached_property
    def wrong(self) -> np.ndarray:
        """Which elements of the candidate's result are wrong."""
        if self.actual is None:
            return np.ones(1, bool)
        if self.misshapen:
            return np.ones(self.actual.shape, bool)
        return ~(self._checked(self.actual).ratio <= 1)

    @property
    def n_right(self) -> int:
        """How many elements are right."""
        return int((~self.wrong).sum())

    @property
    def right(self) -> bool:
        """Whether the numbers are right, and something else is wrong."""
        return self.actual is not None and self._checked(self.actual).ok

    def _checked(self, actual: np.ndarray) -> Comparison:
        return self.case.check(actual, self.evidence.model, strict=self.evidence.strict)

    @property
    def nonzero(self) -> bool:
        """Whether any wrong element is not 0."""
        return self.actual is None or bool(self.actual[self.wrong].any())

    def agreement(self, predicted: np.ndarray | None, *, inexact: bool = False) -> tuple[int, int, int]:
        """Wrong elements that a mutant predicts, their number, and right ones that it alone gets wrong."""
        number = int(self.wrong.sum())
        if self.actual is None or predicted is None:
            same = self.actual is None and predicted is None and self.evidence.fault != CRASH
            return number * same, number, 0
        if predicted.shape != self.actual.shape or predicted.dtype != self.actual.dtype:
            return 0, number, 1
        if self.misshapen:
            return int(close(predicted, self.actual, None).sum()), number, 0
        with np.errstate(all="ignore"):  # bounds and what is predicted may be infinite
            return self._agreement(predicted, self.actual, inexact=inexact)

    def _agreement(self, predicted: np.ndarray, actual: np.ndarray, *, inexact: bool) -> tuple[int, int, int]:
        """The same, of a prediction of the right shape and dtype."""
        expected, bound = self.standard
        strays = ~close(predicted, expected, bound / 2)
        tolerance = None if self.exact else bound
        if inexact and expected.dtype in formats.FLOATS:
            tolerance = bound + UNITS * formats.unit_roundoff(expected.dtype) * np.abs(predicted.astype(np.float64))
        # What is off by little more than the bound proves a mistake only where it gives the same bits.
        equal = (close(predicted, actual, tolerance) & strays) | close(predicted, actual, None)
        # A mistake may be made, and cost less than the bound.
        strays &= ~self.wrong & ~close(predicted, actual, bound / 2)
        return int((equal & self.wrong).sum()), int(self.wrong.sum()), int(strays.sum())

    @cached_property
    def view(self) -> regions.Wrong | None:
        """The wrong elements, for `regions` to name; None if there is no result of the right shape and dtype."""
        if self.actual is None or self.misshapen:
            return None
        arrays = [self.wrong, self.actual, self.standard[0]]
        mask, actual, expected = (array[None] if array.ndim == self.case.axes + 1 else array for array in arrays)
        bias = getattr(self.case, "bias", None)
        return regions.Wrong(self.case.op, self.case.geometry, mask, actual, expected, bias)


def work(geometry: Geometry) -> int:
    """Multiplications of a case, or a part of what a mutant with a stride of 1 gathers, if that is more."""
    images = geometry.batch * geometry.in_channels * math.prod(axis.size + sum(axis.padding) for axis in geometry.axes)
    return max(geometry.products, images * math.prod(geometry.kernel) // GATHERED)


def close(left: np.ndarray, right: np.ndarray, bound: np.ndarray | None) -> np.ndarray:
    """Which elements are equal (NaN and NaN are) or, if there is a bound, at most twice the bound apart."""
    with np.errstate(all="ignore"):
        same: np.ndarray = (left == right) | ((left != left) & (right != right))
        if bound is None or left.dtype in formats.INTEGERS:
            return same
        wide = np.complex128 if left.dtype in formats.COMPLEX else np.float64
        same |= np.abs(left.astype(wide) - right.astype(wide)) <= 2 * np.abs(bound)
        return same


def spread(cases: Sequence[T], number: int) -> Sequence[T]:
    """At most `number` of the cases, evenly from the first to the last."""
    if len(cases) <= number:
        return cases
    return [cases[round(position)] for position in np.linspace(0, len(cases) - 1, number)]
