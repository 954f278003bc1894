"""Words and figures of a report, for the terminal and the page alike. Knows nothing else."""

import math
from collections.abc import Iterable
from typing import Any

MOST_NAMED = 5  # pairs that the terminal names; the page names all


def as_text(combination: Iterable[Any]) -> str:
    """Factor levels as a person reads them.

    >>> as_text([("stride", "2"), ("dilation h", "3")]), as_text(["stride=2", "padding=1"])
    ('stride 2, dilation h 3', 'stride=2, padding=1')
    """
    return ", ".join(level if isinstance(level, str) else " ".join(map(str, level)) for level in combination)


def summary(failure: Any) -> str:
    """A failure in a line: the property, the dtype, how many cases, and what it looks like."""
    many = f"{failure.n_cases} case{'s' * (failure.n_cases != 1)}"
    said = str(failure.diagnosis or failure.text).strip().splitlines() or [""]
    lines = said[-1:] if said[0].startswith("Traceback") else said
    return f"{failure.property} of {failure.dtype} ({many}: {' '.join(line.strip() for line in lines[:2])})"


def progress_line(label: str, done: int, total: int) -> str:
    """A line of progress for a terminal that can't draw bars, at each quarter; empty in between.

    >>> progress_line("generated cases; failed: values 3", 50, 200), progress_line("generated cases", 51, 200)
    ('generated cases: 50 of 200; failed: values 3', '')
    """
    if done != total and (not done or done % max(1, total // 4)):
        return ""
    name, _, failed = label.partition(";")
    return f"{name}: {done} of {total}{failed and f';{failed}'}"


def percent(done: int, possible: int) -> str:
    """The share in per cent, rounded down: 100 % means all.

    >>> percent(1999, 2000), percent(5, 5), percent(0, 0)
    ('99%', '100%', '100%')
    """
    return f"{math.floor(100 * done / possible) if possible else 100}%"
