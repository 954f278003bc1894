"""Mutation score: how many of the known wrong kernels the generated cases find, and after how many cases.

Knows mutants, plans and examiners; not what is reported of a candidate.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from multiprocessing import get_context
from typing import Any

from rich import box
from rich.table import Table

from refconv import mutants
from refconv.cases.plan import plan
from refconv.cases.recipe import Recipe
from refconv.cases.supports import Supports
from refconv.core.operators import axes_of
from refconv.judge.given import claimed_rule
from refconv.mutants import Mutant
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.examine.in_process import Here, examiner
from refconv.verification.examine.property_names import claims_of
from refconv.verification.examine.wrong_arguments import Wrong, wrongs

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Row:
    """Whether one mutant was found, and when.

    Attributes
    ----------
    name, kind, op, source : str
        The mutant's.
    found : str
        The property of the first finding; empty if there was none.
    cases : int
        Cases until the mutant was found; all if it was not.
    seconds : float
        Time for these cases.
    """

    name: str
    kind: str
    op: str
    source: str
    found: str
    cases: int
    seconds: float


def score(
    tested: Sequence[Mutant],
    cases: int = 1000,
    seed: int = 0,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> list[Row]:
    """Put mutants to the test, each until it is found.

    Parameters
    ----------
    wanted
        The mutants.
    cases
        Cases for each mutant, of all its dtypes together.
    seed
        Another seed gives other cases.
    jobs
        Number of processes; as many as there are processors if not given.
    progress
        Called with a label, the number of mutants done and the number of all.

    Examples
    --------
    >>> (row,) = score([mutants.all()[0]], cases=200, jobs=1)
    >>> row.found
    'values'
    """
    rows: dict[str, Row] = {}
    workers = min(jobs or os.cpu_count() or 1, len(tested))
    if workers <= 1:
        for mutant in tested:
            rows[mutant.name] = score_one(mutant.name, cases, seed)
            if progress:
                progress("mutants", len(rows), len(tested))
        return list(rows.values())
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for future in as_completed([pool.submit(score_one, mutant.name, cases, seed) for mutant in tested]):
            rows[future.result().name] = future.result()
            if progress:
                progress("mutants", len(rows), len(tested))
    return [rows[mutant.name] for mutant in tested]


def score_one(name: str, cases: int, seed: int) -> Row:
    """Put one mutant to the test, until it is found."""
    mutant = mutants.by_name(name)
    rule, bits = claimed_rule(mutant.op, mutant.requantize, mutant.weight_bits or 8)
    claims = Supports.parse(mutant.supports, axes_of(mutant.op))
    said: dict[str, Any] = {"requantize": rule, "weight_bits": bits, "epilogue": mutant.epilogue}
    supports = replace(claims, out=mutant.style == "out", **said)
    candidate = Candidate(mutant, op=mutant.op, style=mutant.style)
    here = Here(examiner(candidate, None, claims_of(supports)))
    start = time.perf_counter()
    number, violated = 0, ""
    for source in _sources(mutant.op, mutant.dtypes, supports, cases, seed):
        number += 1
        findings = here.examine(source).findings
        if findings:
            violated = findings[0].property
            break
    return Row(name, mutant.kind, mutant.op, mutant.source, violated, number, time.perf_counter() - start)


def _sources(op: str, dtypes: tuple[str, ...], supports: Supports, cases: int, seed: int) -> Iterator[Recipe | Wrong]:
    """What a campaign examines: the calls that must be refused first, then cases of all dtypes in turn."""
    if supports.errors:
        yield from _wrongs(op, dtypes[0], supports, seed)
    cases_of_dtype = -(-cases // len(dtypes))
    for turn in zip(*(_planned(op, dtype, supports, cases_of_dtype, seed) for dtype in dtypes), strict=True):
        yield from turn


@lru_cache(maxsize=8)
def _wrongs(op: str, dtype: str, supports: Supports, seed: int) -> list[Wrong]:
    return wrongs(plan(op, [dtype], supports, 300, seed))


@lru_cache(maxsize=64)
def _planned(op: str, dtype: str, supports: Supports, cases: int, seed: int) -> "_Remembered":
    return _Remembered(plan(op, [dtype], supports, cases, seed))


class _Remembered:
    """An iterable that makes each element once: planning takes as long as judging."""

    def __init__(self, elements: Iterator[Recipe]) -> None:
        self._made: list[Recipe] = []
        self._rest = elements

    def __iter__(self) -> Iterator[Recipe]:
        number = 0
        while True:
            if number == len(self._made):
                try:
                    self._made.append(next(self._rest))
                except StopIteration:
                    return
            yield self._made[number]
            number += 1


def table(rows: Sequence[Row]) -> Table:
    """The rows as a table for the terminal."""
    shown = Table("mutant", "class", "operator", "violates", box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for title in ("cases", "seconds"):
        shown.add_column(title, justify="right")
    shown.add_column("as in")
    for row in rows:
        shown.add_row(
            row.name, row.kind, row.op, row.found or "NOT FOUND", str(row.cases), f"{row.seconds:.1f}", row.source
        )
    return shown


def summary(rows: Sequence[Row]) -> list[str]:
    """How many mutants were found, in all and of each class."""
    caught = [row for row in rows if row.found]
    lines = [f"found: {len(caught)} of {len(rows)} ({len(caught) / max(1, len(rows)):.1%})"]
    if caught:
        cases, seconds = sorted(row.cases for row in caught), [row.seconds for row in rows]
        lines.append(
            f"cases until found: median {cases[len(cases) // 2]}, most {cases[-1]}; seconds: most {max(seconds):.1f}"
        )
    every, seen = Counter(row.kind for row in rows), Counter(row.kind for row in caught)
    lines.append("by class: " + ", ".join(f"{kind} {seen[kind]} of {count}" for kind, count in sorted(every.items())))
    return lines


def as_json(rows: Sequence[Row]) -> str:
    """The rows for programs."""
    content: list[dict[str, Any]] = [asdict(row) for row in rows]
    return json.dumps(content, indent=2) + "\n"
