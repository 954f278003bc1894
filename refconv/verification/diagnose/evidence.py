"""Evidence: the cases that a candidate failed and passed, with what it returned, and what can be seen in each.

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
from refconv.judge.case import Case
from refconv.verification.diagnose import regions

CRASH = "crash"  # the fault of a candidate that ended its process, or did not end: no mutant does that
LARGEST = 300_000  # multiplications of a case that mutants are tried on, if there are smaller ones
Call = Callable[[Case, Recipe], np.ndarray | None]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Evidence:
    """One case that the candidate was given.

    Attributes
    ----------
    recipe, case
        What it was given.
    actual : ndarray or None
        What it returned, as (N, C, H, W); None if nothing.
    failed : bool
        Whether that was wrong.
    fault : str
        Which property does not hold: "values", "deterministic", "returns", ...
    """

    recipe: Recipe
    case: Case
    actual: np.ndarray | None
    failed: bool
    fault: str = ""


class Failing:
    """A failing case: what had to come, and where what came is wrong."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence, self.case, self.recipe = evidence, evidence.case, evidence.recipe
        self.actual = evidence.actual
        self.key = self.case, self.recipe
        self.exact = self.recipe.fill in ("integers", "positions")
        self.size = multiplications(self.case)
        self.rank = (not self.exact, self.size > LARGEST, abs(self.size - 2000))

    @cached_property
    def standard(self) -> tuple[np.ndarray, np.ndarray]:
        """What had to come, and how far from it an output may lie."""
        found = self.case.standard()
        return found.expected, found.bound

    @cached_property
    def misshapen(self) -> bool:
        """Whether shape or dtype are wrong."""
        expected = self.standard[0]
        return self.actual is not None and (self.actual.shape, self.actual.dtype) != (expected.shape, expected.dtype)

    @cached_property
    def wrong(self) -> np.ndarray:
        """Which elements of what came are wrong."""
        if self.actual is None:
            return np.ones(1, bool)
        if self.misshapen:
            return np.ones(self.actual.shape, bool)
        return ~(self.case.check(self.actual).ratio <= 1)

    @property
    def right(self) -> bool:
        """Whether the numbers are right, and something else is wrong."""
        return self.actual is not None and self.case.check(self.actual).ok

    @property
    def nonzero(self) -> bool:
        """Whether a wrong element is not 0."""
        return self.actual is None or bool(self.actual[self.wrong].any())

    def agreement(self, predicted: np.ndarray | None) -> tuple[int, int, int]:
        """Wrong elements that a mutant predicts, their number, and those that it alone gets wrong."""
        number = int(self.wrong.sum())
        if self.actual is None or predicted is None:
            same = self.actual is None and predicted is None and self.evidence.fault != CRASH
            return number * same, number, 0
        if predicted.shape != self.actual.shape or predicted.dtype != self.actual.dtype:
            return 0, number, 1
        if self.misshapen:
            return int(close(predicted, self.actual, None).sum()), number, 0
        expected, bound = self.standard
        strays = ~close(predicted, expected, bound)
        equal = close(predicted, self.actual, None if self.exact else bound) & strays
        return int((equal & self.wrong).sum()), number, int((strays & ~self.wrong).sum())

    @cached_property
    def view(self) -> regions.Wrong | None:
        """For naming positions; None if there is nothing to look at."""
        if self.actual is None or self.misshapen:
            return None
        arrays = [self.wrong, self.actual, self.standard[0]]
        mask, actual, expected = (each[None] if each.ndim == 3 else each for each in arrays)
        bias = getattr(self.case, "bias", None)
        return regions.Wrong(self.case.op, self.case.geometry, mask, actual, expected, bias)


def close(left: np.ndarray, right: np.ndarray, bound: np.ndarray | None) -> np.ndarray:
    """Equality of numbers, NaN and NaN included; or a distance of twice the bound at most."""
    with np.errstate(all="ignore"):
        same: np.ndarray = (left == right) | ((left != left) & (right != right))
        if bound is None or left.dtype in formats.INTEGERS:
            return same
        wide = np.complex128 if left.dtype in formats.COMPLEX else np.float64
        same |= np.abs(left.astype(wide) - right.astype(wide)) <= 2 * np.abs(bound)
        return same


def multiplications(case: Case) -> int:
    """Multiplications of the forward convolution concerned."""
    g = case.geometry
    return math.prod(g.output_shape) * g.terms


def spread(cases: Sequence[T], number: int) -> Sequence[T]:
    """Some of them, from first to last."""
    if len(cases) <= number:
        return cases
    return [cases[round(each)] for each in np.linspace(0, len(cases) - 1, number)]
