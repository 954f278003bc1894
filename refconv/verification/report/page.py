"""The page: a report as one HTML file, for a colleague who has nothing but a browser.

Knows reports and how they are shown. The template does the layout, this module the numbers and pictures; jinja2 and
matplotlib are imported when a page is made.
"""

import base64
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources

from refconv.core.version import __version__
from refconv.judge.comparison import Comparison
from refconv.verification.report.report import Failure, Interactions, Report, as_text

# Pixels of the matrix: its squares, and the room for the names of the factors, beside it and slanting above.
CELL, LEFT, ABOVE, RIGHT = 18, 180, 160, 80


def page(report: Report, environment: Mapping[str, str]) -> str:
    """The HTML of a report, complete: no other file, no network, no script.

    Parameters
    ----------
    report
        What is shown.
    environment
        Versions and machine, in the order in which they are shown.

    Raises
    ------
    ModuleNotFoundError
        If jinja2 or matplotlib is not installed.
    """
    try:
        import jinja2
        import matplotlib as mpl  # noqa: F401 - what is missing is said before the work, not after
    except ModuleNotFoundError as error:
        missing = f"an HTML report needs {error.name}: pip install 'refconv[report]'"
        raise ModuleNotFoundError(missing, name=error.name) from error
    jinja = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    jinja.filters |= {"number": "{:,}".format, "figure": "{:.3g}".format, "duration": _duration, "as_text": as_text}
    template = jinja.from_string(resources.files(__package__).joinpath("page.html.jinja").read_text(encoding="utf-8"))
    return template.render(
        report=report,
        verdict=_verdict(report),
        failures=[_Shown(f"failure-{number}", each, *_picture(each.comparison))
                  for number, each in enumerate(report.failures, 1)],
        properties=_properties(report),
        matrix=_matrix(report.interactions),
        most=max(report.coverage.values(), default=1),
        environment=environment,
        version=__version__,
        now=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )  # fmt: skip


def _verdict(report: Report) -> str:
    expected = sum(bool(failure.expected) for failure in report.failures)
    if report.ok:
        return f"passed, but for {_count(expected, 'expected failure')}" if expected else "passed"
    failed = len(report.failures) - expected
    return _count(failed, "failure") if failed else "not enough judged"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _duration(seconds: float) -> str:
    """As one says it.

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
    failure: Failure
    picture: str
    no_picture: str


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
    """What came of a property in one dtype."""

    state: str
    text: str
    why: str = ""


def _properties(report: Report) -> list[tuple[str, list[_Cell], str]]:
    """For each property a cell for each dtype, and why it was not checked in some."""
    tallies = report.properties
    names = dict.fromkeys([*tallies, *(failure.property for failure in report.failures)])
    found = []
    for name in names:
        cells = [_cell(report, name, dtype) for dtype in report.dtypes]
        found.append((name, cells, "; ".join(dict.fromkeys(cell.why for cell in cells if cell.why))))
    return found


def _cell(report: Report, name: str, dtype: str) -> _Cell:
    tally = report.properties.get(name, {}).get(dtype)
    failures = [each for each in report.failures if (each.property, each.dtype) == (name, dtype)]
    if failures or (tally and tally.failed):
        expected = bool(failures) and all(failure.expected for failure in failures)
        counts = f" {tally.failed:,} of {tally.checked:,}" if tally and tally.failed else ""
        return _Cell("expected" if expected else "failed", f"{'expected' if expected else 'failed'}{counts}")
    if tally and tally.checked:
        return _Cell("passed", f"{tally.checked:,}")
    return _Cell("skipped", "-", (tally and tally.skipped) or "not counted")


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
    """The picture of which pairs are covered: half a matrix, for the order of two factors means nothing."""

    rows: list[tuple[int, str]]
    columns: list[tuple[int, str]]
    squares: list[_Square]
    width: int
    height: int


def _matrix(interactions: Interactions | None) -> _Matrix | None:
    if interactions is None:
        return None
    shares = {frozenset(factors): share for factors, share in interactions.shares().items()}
    names = list(dict.fromkeys(name for factors in interactions.shares() for name in factors))
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
    """How a square looks, and the percentage that it shows unless all is covered."""
    if not possible:
        return "impossible", ""
    if done >= possible:
        return "full", ""
    percent = math.floor(100 * done / possible)
    return ("part" if percent >= 80 else "little"), str(percent)
