"""The page: a report as one HTML file, for a colleague who has nothing but a browser.

Made from the report's JSON, so that a saved file can be shown too; comparisons, which JSON lacks, come beside it for
the error maps. The template does the layout, this module the numbers and pictures; jinja2 and matplotlib are imported
when a page is made. Knows the JSON of a report; not how it came about.
"""

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Any

from refconv.core.version import __version__
from refconv.judge.comparison import Comparison
from refconv.verification.report.text import as_text

# Pixels: side of a square of the matrix; room left of, above and right of it, for the names of the factors.
CELL, LEFT, ABOVE, RIGHT = 18, 180, 160, 80


def page(
    content: Mapping[str, Any],
    environment: Mapping[str, str],
    comparisons: Sequence[Comparison | None] = (),
    not_covered: tuple[Sequence[Any], Sequence[Any]] = ((), ()),
) -> str:
    """The HTML of a report, complete: no other file, no network, no script.

    Parameters
    ----------
    content
        What `Report.as_dict` returns, or what a file that `Report.to_json` wrote holds.
    environment
        Versions and machine, in the order in which they are shown.
    comparisons
        One for each failure, in the same order; without comparisons there are no error maps.
    not_covered
        The pairs that the candidate refuses, and the others that were not covered.

    Raises
    ------
    ModuleNotFoundError
        If jinja2 or matplotlib is not installed.
    """
    try:
        import jinja2
        import matplotlib as mpl  # noqa: F401 - so that a missing one is reported before the work, not after
    except ModuleNotFoundError as error:
        missing = f"an HTML report needs {error.name}: pip install 'refconv[report]'"
        raise ModuleNotFoundError(missing, name=error.name) from error
    jinja = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    jinja.filters |= {"number": "{:,}".format, "figure": _figure, "duration": _duration, "as_text": as_text}
    template = jinja.from_string(resources.files(__package__).joinpath("page.html.jinja").read_text(encoding="utf-8"))
    failures = _failures(content)
    return template.render(
        report=content,
        dtypes=_dtypes(content),
        verdict=_verdict(content, failures),
        failures=[_Shown(f"failure-{number}", failure, *_picture(comparison), getattr(comparison, "description", ""))
                  for number, (failure, comparison) in enumerate(_paired(failures, comparisons), 1)],
        properties=_properties(content, failures),
        matrix=_matrix(content["interactions"]),
        not_covered=not_covered,
        most=max(content["coverage"].values(), default=1),
        environment=environment,
        version=__version__,
        now=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )  # fmt: skip


def _dtypes(content: Mapping[str, Any]) -> list[str]:
    """The dtypes, each once."""
    return list(dict.fromkeys(result["dtype"] for result in content["results"]))


def _failures(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All failures, each with its section."""
    return [
        {**failure, "section": result["section"]} for result in content["results"] for failure in result["failures"]
    ]


def _paired(
    failures: Sequence[dict[str, Any]], comparisons: Sequence[Comparison | None]
) -> Iterator[tuple[dict[str, Any], Comparison | None]]:
    return zip(failures, comparisons or [None] * len(failures), strict=True)


def _verdict(content: Mapping[str, Any], failures: Sequence[dict[str, Any]]) -> str:
    expected = sum(bool(failure["expected"]) for failure in failures)
    if content["ok"]:
        return f"passed, but for {_count(expected, 'expected failure')}" if expected else "passed"
    failed = len(failures) - expected
    return _count(failed, "failure") if failed else "not enough judged"


def _figure(value: float | None) -> str:
    """Three digits; in a report read from JSON there is none where it was not finite.

    >>> _figure(0.12345), _figure(None)
    ('0.123', 'not finite')
    """
    if value is None:
        return "not finite"
    return f"{float(value):.3g}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _duration(seconds: float) -> str:
    """A time in seconds as a person says it.

    >>> _duration(3.21), _duration(75), _duration(7300)
    ('3.2 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@dataclass(frozen=True)
class _Shown:
    """A failure with its picture, or the reason why there is none."""

    anchor: str
    failure: Mapping[str, Any]
    picture: str
    no_picture: str
    pictured: str


def _picture(comparison: Comparison | None) -> tuple[str, str]:
    """The error map as the address of an image, and why there is none."""
    if comparison is None:
        return "", ""
    if comparison.actual.size == 1:
        return "", "the output has a single element"
    try:
        figure = comparison.plot()
    except ValueError as error:
        return "", str(error)
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(content.getvalue()).decode()}", ""


@dataclass(frozen=True)
class _Cell:
    """The outcome of a property in one dtype."""

    state: str
    text: str
    why: str = ""


def _properties(content: Mapping[str, Any], failures: Sequence[dict[str, Any]]) -> list[tuple[str, list[_Cell], str]]:
    """For each property: its name, a cell for each dtype, and why it was not checked in some of them."""
    results = content["results"]
    names = dict.fromkeys(name for result in results for name in result["properties"])
    names |= dict.fromkeys(failure["property"] for failure in failures)
    rows = []
    for name in names:
        cells = []
        for dtype in _dtypes(content):
            tallies = [r["properties"][name] for r in results if r["dtype"] == dtype and name in r["properties"]]
            of_cell = [failure for failure in failures if (failure["property"], failure["dtype"]) == (name, dtype)]
            cells.append(_cell(tallies, of_cell))
        rows.append((name, cells, "; ".join(dict.fromkeys(cell.why for cell in cells if cell.why))))
    return rows


def _cell(tallies: Sequence[Mapping[str, Any]], failures: Sequence[Mapping[str, Any]]) -> _Cell:
    """The outcome of a property in one dtype, over all sections."""
    checked, failed = (sum(tally[name] for tally in tallies) for name in ("checked", "failed"))
    if failures or failed:
        state = "expected" if failures and all(failure["expected"] for failure in failures) else "failed"
        return _Cell(state, state + (f" {failed:,} of {checked:,}" if failed else ""))
    if checked:
        return _Cell("passed", f"{checked:,}")
    return _Cell("skipped", "-", next((tally["skipped"] for tally in tallies if tally["skipped"]), "not counted"))


@dataclass(frozen=True)
class _Square:
    """A square of the matrix: two factors, and the share of their pairs of levels that is covered."""

    x: int
    y: int
    state: str
    text: str
    title: str


@dataclass(frozen=True)
class _Matrix:
    """The picture of which pairs are covered: half a matrix, because two factors have no order."""

    rows: list[tuple[int, str]]
    columns: list[tuple[int, str]]
    squares: list[_Square]
    width: int
    height: int


def _matrix(interactions: Mapping[str, Any] | None) -> _Matrix | None:
    if interactions is None:
        return None
    shares = {frozenset(share["factors"]): (share["covered"], share["possible"]) for share in interactions["shares"]}
    names = list(dict.fromkeys(name for share in interactions["shares"] for name in share["factors"]))
    if len(names) < 2:
        return None
    size = CELL * (len(names) - 1)
    return _Matrix(
        rows=[(ABOVE + CELL * row, name) for row, name in enumerate(names[1:])],
        columns=[(LEFT + CELL * column, name) for column, name in enumerate(names[:-1])],
        squares=list(_squares(names, shares)),
        width=LEFT + size + RIGHT,
        height=ABOVE + size,
    )


def _squares(names: list[str], shares: Mapping[frozenset[str], tuple[int, int]]) -> Iterator[_Square]:
    for row, first in enumerate(names[1:]):
        for column, second in enumerate(names[: row + 1]):
            done, possible = shares.get(frozenset((first, second)), (0, 0))
            title = f"{first} with {second}: {done:,} of {possible:,} pairs"
            state, text = _shade(done, possible)
            yield _Square(LEFT + CELL * column, ABOVE + CELL * row, state, text, title)


def _shade(done: int, possible: int) -> tuple[str, str]:
    """The state of a square, which is its style, and its text: the percentage, unless all pairs are covered."""
    if not possible:
        return "impossible", ""
    if done >= possible:
        return "full", ""
    percent = math.floor(100 * done / possible)
    return ("part" if percent >= 80 else "little"), str(percent)
