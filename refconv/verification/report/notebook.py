"""Reports in notebooks: a few lines of HTML, in the notebook's own style. Knows the parts of a report that it shows."""

from html import escape
from typing import Any

from refconv.verification.report.text import summary

COLUMNS = ("section", "dtype", "n_cases", "n_unsupported", "verdict")


def shown(report: Any) -> str:
    """The verdict, a row for each section, and the failures, each with its program, to be unfolded."""
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(str(getattr(result, name)))}</td>" for name in COLUMNS) + "</tr>"
        for result in report.results
    )
    head = "".join(f"<th>{name.removeprefix('n_')}</th>" for name in COLUMNS)
    failures = "".join(
        f"<details><summary>{escape(summary(failure))}</summary>"
        f"<pre>{escape(str(failure))}</pre><pre>{escape(failure.snippet)}</pre></details>"
        for failure in report.failures
    )
    title = escape(f"{report.target or f'a {report.op}'}: {report.verdict}")
    return f"<p><b>{title}</b></p><table><tr>{head}</tr>{rows}</table>{failures}<p>{escape(report.reach)}</p>"
