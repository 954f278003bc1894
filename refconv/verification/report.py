"""Reports: what a campaign found, for programs and for people.

Knows results; not how they were obtained.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from refconv.case import Case
from refconv.compare import Comparison


@dataclass(frozen=True, eq=False)
class Failure:
    """One property that the candidate violates, on the smallest case found.

    Attributes
    ----------
    property : str
        What does not hold: "returns", "inputs unmodified", "kind of array", "shape and dtype" or "values".
    section, dtype : str
        Where in the campaign it was found.
    case : Case
        The call.
    comparison : Comparison or None
        The judge's findings, where there was an output to compare.
    text : str
        What is wrong: the comparison, or the candidate's traceback.
    snippet : str
        A Python program that shows the fault.
    """

    property: str
    section: str
    dtype: str
    case: Case
    comparison: Comparison | None
    text: str
    snippet: str

    def __str__(self) -> str:
        where = f"{self.section}, {self.dtype}: {self.property}"
        # The text of a comparison begins with the case.
        return "\n".join([where, self.text] if self.comparison else [where, str(self.case), self.text])


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
        Largest error in units of its bound.
    max_ulp : int
        Largest distance from the oracle in units in the last place.
    failures : tuple of Failure
        At most one for each property.
    skipped : str
        Why the section was not run; empty if it was.
    """

    section: str
    dtype: str
    n_cases: int = 0
    n_unsupported: int = 0
    max_bound_ratio: float = 0.0
    max_ulp: int = 0
    failures: tuple[Failure, ...] = ()
    skipped: str = ""

    @property
    def verdict(self) -> str:
        """One or two words."""
        if self.failures:
            return "failed"
        if self.skipped:
            return "skipped"
        return "passed" if self.n_cases else "nothing judged"


@dataclass(frozen=True)
class Report:
    """What a campaign found.

    Attributes
    ----------
    results : tuple of Result
        One for each section and dtype.
    coverage : dict of str to int
        For each class of geometry, the number of generated cases that were judged.
    """

    results: tuple[Result, ...]
    coverage: dict[str, int]

    @property
    def ok(self) -> bool:
        """Whether nothing failed, and something was judged in every section that was not skipped."""
        return not self.failures and all(result.n_cases or result.skipped for result in self.results)

    @property
    def n_cases(self) -> int:
        """Number of cases judged."""
        return sum(result.n_cases for result in self.results)

    @property
    def n_unsupported(self) -> int:
        """Number of cases that the candidate refused with NotImplementedError."""
        return sum(result.n_unsupported for result in self.results)

    @property
    def failures(self) -> list[Failure]:
        """All failures."""
        return [failure for result in self.results for failure in result.failures]

    def to_json(self, path: str | Path) -> None:
        """Write the report to a file."""
        content = {
            "ok": self.ok,
            "n_cases": self.n_cases,
            "n_unsupported": self.n_unsupported,
            "results": [_plain(result) for result in self.results],
            "coverage": self.coverage,
        }
        Path(path).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def table(self) -> Table:
        """The results as a table for the terminal."""
        # As narrow as it gets: 80 columns hold it.
        table = Table("section", "dtype", box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
        for title in ("cases", "unsupported", "error/bound", "max ULP"):
            table.add_column(title, justify="right")
        table.add_column("result")
        for result in self.results:
            figures = (f"{result.max_bound_ratio:.3g}", str(result.max_ulp)) if result.n_cases else ("", "")
            table.add_row(
                result.section, result.dtype, str(result.n_cases), str(result.n_unsupported), *figures, result.verdict
            )
        return table


def _plain(result: Result) -> dict[str, Any]:
    """A result as JSON has it."""
    fields = {name: getattr(result, name) for name in ("section", "dtype", "n_cases", "n_unsupported", "max_ulp")}
    failures = [
        {
            "property": failure.property,
            "case": str(failure.case),
            "text": failure.text,
            "snippet": failure.snippet,
        }
        for failure in result.failures
    ]
    # JSON has no infinity.
    ratio = str(result.max_bound_ratio) if result.max_bound_ratio == float("inf") else result.max_bound_ratio
    return {
        **fields,
        "max_bound_ratio": ratio,
        "verdict": result.verdict,
        "skipped": result.skipped,
        "failures": failures,
    }
