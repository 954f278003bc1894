"""Reports: the results of a campaign, for programs (JSON) and for people (tables; the page is made in `page`).

Knows results; not how they were obtained.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from refconv.core.version import __version__
from refconv.verification.report import notebook
from refconv.verification.report.results import Failure, Interactions, Result, Tally
from refconv.verification.report.text import MOST_NAMED, as_text, percent, summary


@dataclass(frozen=True, repr=False)
class Report:
    """The results of a campaign.

    Attributes
    ----------
    results : tuple of Result
        One for each section and dtype.
    coverage : dict of str to int
        For each class of geometry, the number of generated cases that were judged.
    sizes : dict of str to int
        The largest number of images, channels, ... of the cases judged.
    interactions : Interactions or None
        Which pairs and triples of factor levels these cases cover.
    notes : tuple of str
        What the reader should know of how the cases were examined.
    faults : tuple of str
        What refconv itself did wrong: the report lacks what they cost.
    op, target : str
        The operator, and where the candidate is loaded from; empty if from nowhere.
    seconds : float
        How long the campaign took.
    seed : int
        The seed of the generated cases.
    model : str
        The error model that the candidate was judged by; empty if that follows from the dtypes.
    arrange : tuple of str
        Where the functions that lay arrays out are loaded from; empty if there are none.
    deterministic : bool
        Whether the candidate claims that the same call gives the same bits.
    """

    results: tuple[Result, ...]
    coverage: dict[str, int]
    sizes: dict[str, int] = field(default_factory=dict)
    interactions: Interactions | None = None
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    op: str = "conv2d"
    target: str = ""
    seconds: float = 0.0
    seed: int = 0
    model: str = ""
    arrange: tuple[str, ...] = ()
    deterministic: bool = False

    def __str__(self) -> str:
        failed = [failure for failure in self.failures if not failure.expected]
        told = "; ".join(map(summary, failed[:MOST_NAMED])) + f" and {len(failed) - MOST_NAMED} more" * (
            len(failed) > MOST_NAMED
        )
        parts = [f"{self.target or f'a {self.op}'}: {self.verdict} in {self.seconds:.1f} s, seed {self.seed}"]
        parts += [f"what fails: {told}"] if failed else []
        return ". ".join([*parts, *self.faults, self.reach])

    def __repr__(self) -> str:
        return f"<Report of {self.target or f'a {self.op}'}: {self.verdict}>"

    def _repr_html_(self) -> str:
        """The report in a notebook: verdict, results and failures; `to_html` has all."""
        return notebook.shown(self)

    @property
    def verdict(self) -> str:
        """Whether it passed, how many cases were judged, and why it ended early if it did."""
        ended = f"; {self.ended_early}" if self.ended_early else ""
        return f"{'passed' if self.ok else 'FAILED'}, {self.judged}{ended}"

    @property
    def reach(self) -> str:
        """How far the cases went, and what goes further, in a sentence or two."""
        sizes = ", ".join(f"{name} {size:,}" for name, size in self.sizes.items())
        further = "Another seed tries other conjunctions of options"
        if self.op == "conv2d":
            further += "; arrays of more than 2**31 bytes come with `huge`"
        return f"The largest sizes judged: {sizes or 'none'}. {further}."

    @property
    def ok(self) -> bool:
        """Whether nothing failed but what was expected to, and something was judged in every section not skipped.

        Where refconv had a fault of its own nothing is known for sure.
        """
        if self.faults or not self.n_cases or not all(failure.expected for failure in self.failures):
            return False
        return all(result.n_cases or result.skipped for result in self.results)

    @property
    def n_cases(self) -> int:
        """Number of cases judged."""
        return sum(result.n_cases for result in self.results)

    @property
    def judged(self) -> str:
        """How many cases were judged, of how many asked for if these were more, in words."""
        lacking = sum(max(0, result.n_asked - result.n_cases) for result in self.results if result.n_asked)
        of_all = f" of {self.n_cases + lacking}" if lacking else ""
        return f"{self.n_cases}{of_all} cases judged"

    @property
    def n_unsupported(self) -> int:
        """Number of cases that the candidate refused with NotImplementedError."""
        return sum(result.n_unsupported for result in self.results)

    @property
    def failures(self) -> list[Failure]:
        """All failures, expected ones included."""
        return [failure for result in self.results for failure in result.failures]

    @property
    def ended_early(self) -> str | None:
        """Why the campaign ended before its last case, section by section; None if it did not."""
        ended = [
            f"{result.section}, {result.dtype}: {result.ended_early}" for result in self.results if result.ended_early
        ]
        return "; ".join(ended) or None

    @property
    def dtypes(self) -> list[str]:
        """The dtypes, each once."""
        return list(dict.fromkeys(result.dtype for result in self.results))

    @property
    def properties(self) -> dict[str, dict[str, Tally]]:
        """For each property and dtype how often it was checked, over all sections."""
        tallies: dict[str, dict[str, Tally]] = {}
        for result in self.results:
            for name, tally in result.tallies.items():
                of_dtype = tallies.setdefault(name, {})
                of_dtype[result.dtype] = of_dtype.get(result.dtype, Tally()) + tally
        return tallies

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON has it, but for infinities and NaN: there they are null, with a flag beside them."""
        return {
            "refconv": __version__,
            "ok": self.ok,
            **{name: getattr(self, name) for name in ("op", "target", "seed", "model", "deterministic", "seconds")},
            **{name: getattr(self, name) for name in ("n_cases", "n_unsupported", "notes", "faults", "arrange")},
            **{name: getattr(self, name) for name in ("coverage", "sizes", "reach")},
            "ended_early": self.ended_early,
            "results": [_result(result) for result in self.results],
            "interactions": self.interactions and self.interactions.as_dict(),
        }

    def to_json(self, path: str | Path) -> None:
        """Write the report to a file, for programs; `refconv replay` reads its failures."""
        content = self.as_dict()
        Path(path).write_text(json.dumps(_finite(content), indent=2, allow_nan=False) + "\n", encoding="utf-8")

    def pairs_to_json(self, path: str | Path) -> None:
        """Write the pairs of factor levels that were not covered to a file: those refused, and the others."""
        refused, others = ([as_text(pair) for pair in pairs] for pairs in self.not_covered)
        content = {"refused": refused, "others": others}
        Path(path).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def to_html(self, path: str | Path, environment: Mapping[str, str] | None = None) -> None:
        """Write the report to a file, for people: one page that needs nothing else.

        Parameters
        ----------
        path
            The file.
        environment : mapping of str to str, optional
            Versions and machine, what `refconv info` prints, for instance, to be shown at the end.

        Raises
        ------
        ModuleNotFoundError
            If jinja2 or matplotlib is not installed.
        """
        from refconv.verification.report.page import page

        comparisons = [failure.pictured or failure.comparison for failure in self.failures]
        Path(path).write_text(page(self.as_dict(), environment or {}, comparisons, self.not_covered), encoding="utf-8")

    def table(self) -> Table:
        """The results as a table for the terminal."""
        # As narrow as it gets: 80 columns hold it.
        table = Table("section", "dtype", box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
        for title in ("cases", "unsupported", "error/bound", "max ULP"):
            table.add_column(title, justify="right")
        table.add_column("result")
        for result in self.results:
            ulp = str(result.max_ulp) if result.max_ulp < 10**8 else f"{result.max_ulp:.2g}"
            figures = (f"{result.max_bound_ratio:.3g}", ulp) if result.n_cases else ("", "")
            table.add_row(
                result.section, result.dtype, str(result.n_cases), str(result.n_unsupported), *figures, result.verdict
            )
        return table

    def property_table(self) -> Table:
        """The properties as a table for the terminal: all dtypes together, those that failed by name."""
        table = Table("property", box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
        for title in ("checked", "failed"):
            table.add_column(title, justify="right")
        table.add_column(" ")
        for name, of_dtype in self.properties.items():
            total = sum(of_dtype.values(), Tally())
            failed = [dtype for dtype, tally in of_dtype.items() if tally.failed]
            remark = ", ".join(failed) or (f"not checked: {total.skipped}" if total.skipped else "")
            counts = (str(total.checked), str(total.failed or "")) if total.checked else ("", "")
            table.add_row(name, *counts, remark)
        return table

    def coverage_lines(self) -> list[str]:
        """What the judged generated cases cover, in three lines at most: classes, pairs and triples, pairs missing."""
        named = [f"{name} {count:,}" for name, count in self.coverage.items()]
        lines = [f"generated cases by class: {_some(named, ', ')}"] if named else []
        if self.interactions is None:
            return lines
        (done, possible), (triples, at_most) = self.interactions.pairs, self.interactions.triples
        pairs = f"pairs {done:,} of {possible:,} ({percent(done, possible)})"
        lines.append(f"{pairs}, triples {triples:,} of at most {at_most:,} ({percent(triples, at_most)})")
        missing = [
            f"{len(listed):,} {which} ({_some(list(map(as_text, listed)), '; ')})"
            for listed, which in zip(self.not_covered, ("that the candidate refuses", "others"), strict=True)
            if listed
        ]
        return [*lines, f"pairs not covered: {', '.join(missing)}"] if missing else lines

    @property
    def not_covered(self) -> tuple[list[Any], list[Any]]:
        """The pairs that are possible and were not covered: those that the candidate refuses, and the others."""
        if self.interactions is None:
            return [], []
        refused = list(self.interactions.refused_pairs())
        excluded = set(map(tuple, refused))
        return refused, [pair for pair in self.interactions.missing_pairs() if tuple(pair) not in excluded]


def _result(result: Result) -> dict[str, Any]:
    """A result as JSON has it."""
    names = ("section", "dtype", "n_cases", "n_unsupported", "max_bound_ratio", "max_ulp", "verdict", "skipped",
             "ended_early")  # fmt: skip
    return {
        **{name: getattr(result, name) for name in names},
        "properties": {
            name: {"checked": tally.checked, "failed": tally.failed, "skipped": tally.skipped}
            for name, tally in result.tallies.items()
        },
        "failures": [_failure(failure) for failure in result.failures],
    }


def _failure(failure: Failure) -> dict[str, Any]:
    """A failure as JSON has it."""
    return {
        **{
            name: getattr(failure, name)
            for name in ("property", "dtype", "text", "snippet", "example", "expected", "cause", "n_cases")
        },
        "case": str(failure.case),
        "diagnosis": failure.diagnosis
        and {"text": str(failure.diagnosis), "kind": failure.diagnosis.kind, "mutant": failure.diagnosis.mutant},
        "recipe": failure.recipe and failure.recipe.as_dict(),
        "way": getattr(failure.case, "way", ""),  # of being wrong, for a call that must be refused
        "run": getattr(failure.case, "seed", None) if failure.recipe is None else None,  # of a model that its file runs
    }


def _some(texts: list[str], separator: str) -> str:
    """The first of the texts, and how many more there are."""
    more = f" and {len(texts) - MOST_NAMED:,} more" if len(texts) > MOST_NAMED else ""
    return separator.join(texts[:MOST_NAMED]) + more


def _finite(value: Any) -> Any:
    """The same value, but null for infinities and NaN, which JSON has not: then `NAME_not_finite` says which it is."""
    if isinstance(value, Mapping):
        flags = {f"{name}_not_finite": str(item) for name, item in value.items() if _is_not_finite(item)}
        return {name: _finite(item) for name, item in value.items()} | flags
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if _is_not_finite(value) else value


def _is_not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
