"""Results: one section's counts, its failures, and how often each property was checked.

Knows comparisons; not how results are shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from refconv.cases.recipe import Recipe
from refconv.judge.comparison import Comparison
from refconv.verification.report.text import summary

if TYPE_CHECKING:
    from refconv.verification.diagnose.findings import Diagnosis


class FailedCall(Protocol):
    """The call that a failure is about: a case, or a call that must be refused."""

    def __str__(self) -> str:
        """The call, in one line."""

    def arguments(self) -> tuple[Any, ...]:
        """Its positional arguments."""


class Interactions(Protocol):
    """Which combinations of factor levels the judged cases cover."""

    @property
    def pairs(self) -> tuple[int, int]:
        """Numbers of pairs covered, and of pairs possible."""

    @property
    def triples(self) -> tuple[int, int]:
        """Numbers of triples covered, and of triples possible at most."""

    def missing_pairs(self) -> Sequence[Any]:
        """The pairs that are possible, but were not covered."""

    def refused_pairs(self) -> Sequence[Any]:
        """The missing pairs that were tried, but only in cases that the candidate does not support."""

    def as_dict(self) -> dict[str, Any]:
        """The interactions as the JSON report has them."""


@dataclass(frozen=True)
class Tally:
    """How often a property was checked.

    Parameters
    ----------
    checked, failed : int
        Cases on which the property was checked, and those of them on which it does not hold.
    skipped : str
        Why the property was not checked at all; empty if it was.

    Examples
    --------
    >>> Tally(20, 1) + Tally(30) + Tally(skipped="not claimed")
    Tally(checked=50, failed=1, skipped='')
    """

    checked: int = 0
    failed: int = 0
    skipped: str = ""

    def __add__(self, other: "Tally") -> "Tally":
        checked = self.checked + other.checked
        return Tally(checked, self.failed + other.failed, "" if checked else self.skipped or other.skipped)


@dataclass(frozen=True, eq=False, repr=False)
class Failure:
    """One property that the candidate violates, on the smallest case found.

    Attributes
    ----------
    property : str
        What does not hold: "returns", "inputs unmodified", "values", ...
    section, dtype : str
        Where in the campaign it was found.
    case : Case
        The call; for the property "errors" one that must be refused.
    comparison : Comparison or None
        The judge's findings, where there was an output to compare.
    text : str
        What is wrong: the comparison, or the candidate's traceback.
    snippet : str
        A Python program that shows the fault.
    example : str
        The same as a line for a Hypothesis test: `@example(...)`.
    diagnosis : Diagnosis or None
        What the candidate behaves like.
    recipe : Recipe or None
        How the case is made, unless it is a fixed one.
    expected : str
        The reason for which it was expected to fail; empty if it was not.
    cause : str
        What is behind it: "crash", "exception", or a class of bugs as of `refconv.mutants`; empty if unknown.
    n_cases : int
        How many of the cases tried failed by this cause.
    pictured : Comparison or None
        What an error map shows: of a case as it was met, where the smallest one has few outputs.
    """

    property: str
    section: str
    dtype: str
    case: FailedCall
    comparison: Comparison | None
    text: str
    snippet: str
    example: str = ""
    diagnosis: "Diagnosis | None" = None
    recipe: Recipe | None = None
    expected: str = ""
    cause: str = ""
    n_cases: int = 1
    pictured: Comparison | None = None

    def __repr__(self) -> str:
        return f"<Failure of {summary(self)}>"

    def __str__(self) -> str:
        lines = [f"{self.section}, {self.dtype}: {self.property}"]
        lines += [f"expected: {self.expected}"] if self.expected else []
        # The text of a comparison begins with the case.
        lines += [self.text] if self.comparison else [str(self.case), self.text]
        lines += [str(self.diagnosis)] if self.diagnosis else []
        return "\n".join(lines)


@dataclass(frozen=True)
class Result:
    """One section of a campaign, for one dtype.

    Attributes
    ----------
    section, dtype : str
        What was judged.
    n_cases, n_unsupported : int
        Cases judged, and cases that the candidate refused.
    max_bound_ratio : float
        Largest error in units of its bound, of results that are not the oracle's own to the last bit.
    max_ulp : int
        Largest distance from the oracle in units in the last place.
    failures : tuple of Failure
        One for each property and cause.
    skipped : str
        Why the section was not run; empty if it was.
    tallies : dict of str to Tally
        How often each property was checked.
    ended_early : str
        Why the section ended before its last case; empty if it did not.
    n_asked : int or None
        How many cases were asked for; None if that is no number.
    """

    section: str
    dtype: str
    n_cases: int = 0
    n_unsupported: int = 0
    max_bound_ratio: float = 0.0
    max_ulp: int = 0
    failures: tuple[Failure, ...] = ()
    skipped: str = ""
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    ended_early: str = ""
    n_asked: int | None = None

    @property
    def verdict(self) -> str:
        """One or two words."""
        if self.failures:
            verdict = "expected" if all(failure.expected for failure in self.failures) else "failed"
            return verdict + ", ended early" * bool(self.ended_early)
        if self.skipped:
            return "skipped"
        return "passed" if self.n_cases else "nothing judged"
