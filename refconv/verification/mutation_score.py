"""Scoring: known wrong kernels put to the test, to measure the test.

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
from refconv.mutants import Mutant
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.examine.in_process import Here, examiner
from refconv.verification.examine.wrong_arguments import Wrong, wrongs

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Row:
    """How one mutant was found.

    Attributes
    ----------
    name, kind, op, source : str
        The mutant's.
    found : str
        The property that it violates first; empty if it was not found.
    cases : int
        Cases until then.
    seconds : float
        Time until then.
    """

    name: str
    kind: str
    op: str
    source: str
    found: str
    cases: int
    seconds: float


def score(
    wanted: Sequence[Mutant],
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
        For each, of all its dtypes together.
    seed
        Another one gives other cases.
    jobs
        Number of processes; as many as there are processors if not given.
    progress
        Called with a label and how many are done of how many.

    Examples
    --------
    >>> (row,) = score([mutants.all()[0]], cases=200, jobs=1)
    >>> row.found
    'values'
    """
    rows: dict[str, Row] = {}
    workers = min(jobs or os.cpu_count() or 1, len(wanted))
    if workers <= 1:
        for each in wanted:
            rows[each.name] = one(each.name, cases, seed)
            if progress:
                progress("mutants", len(rows), len(wanted))
        return list(rows.values())
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for future in as_completed([pool.submit(one, each.name, cases, seed) for each in wanted]):
            rows[future.result().name] = future.result()
            if progress:
                progress("mutants", len(rows), len(wanted))
    return [rows[each.name] for each in wanted]


def one(name: str, cases: int, seed: int) -> Row:
    """Put one mutant to the test."""
    mutant = mutants.by_name(name)
    supports = replace(Supports.parse(mutant.supports), out=mutant.style == "out")
    candidate = Candidate(mutant, op=mutant.op, style=mutant.style)
    here = Here(examiner(candidate, None, supports.deterministic))
    start = time.perf_counter()
    number, found = 0, ""
    for source in _sources(mutant.op, mutant.dtypes, supports, cases, seed):
        number += 1
        findings = here.examine(source).findings
        if findings:
            found = findings[0].property
            break
    return Row(name, mutant.kind, mutant.op, mutant.source, found, number, time.perf_counter() - start)


def _sources(op: str, dtypes: tuple[str, ...], supports: Supports, cases: int, seed: int) -> Iterator[Recipe | Wrong]:
    """What a campaign puts to a candidate: the calls that must be refused first, then cases of all dtypes in turn."""
    if supports.errors:
        yield from _wrongs(op, dtypes[0], supports, seed)
    each = -(-cases // len(dtypes))
    for found in zip(*(_planned(op, dtype, supports, each, seed) for dtype in dtypes), strict=True):
        yield from found


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
    found = Table("mutant", "class", "operator", "violates", box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for title in ("cases", "seconds"):
        found.add_column(title, justify="right")
    found.add_column("as in")
    for row in rows:
        found.add_row(
            row.name, row.kind, row.op, row.found or "NOT FOUND", str(row.cases), f"{row.seconds:.1f}", row.source
        )
    return found


def summary(rows: Sequence[Row]) -> list[str]:
    """What it comes to: in all, and for each class."""
    found = [row for row in rows if row.found]
    lines = [f"found: {len(found)} of {len(rows)} ({len(found) / max(1, len(rows)):.1%})"]
    if found:
        cases, seconds = sorted(row.cases for row in found), [row.seconds for row in rows]
        lines.append(
            f"cases until found: median {cases[len(cases) // 2]}, most {cases[-1]}; seconds: most {max(seconds):.1f}"
        )
    every, seen = Counter(row.kind for row in rows), Counter(row.kind for row in found)
    lines.append("by class: " + ", ".join(f"{kind} {seen[kind]} of {count}" for kind, count in sorted(every.items())))
    return lines


def as_json(rows: Sequence[Row]) -> str:
    """The rows for programs."""
    content: list[dict[str, Any]] = [asdict(row) for row in rows]
    return json.dumps(content, indent=2) + "\n"
