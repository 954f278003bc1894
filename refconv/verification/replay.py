"""Replay: failures of an earlier report, tried again on a candidate.

Knows saved failures and processes that examine; not how the failures were found.
"""

from dataclasses import dataclass

from refconv.judge.bounds import ErrorModel
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.examine.in_process import Spec
from refconv.verification.examine.isolated import Isolated
from refconv.verification.examine.wrong_arguments import Wrong
from refconv.verification.report.saved_failures import Saved


@dataclass(frozen=True)
class Again:
    """The outcome of a failure that was tried again; `failed` unless the property holds now."""

    verdict: str
    failed: bool
    text: str = ""


def again(candidate: Candidate, failure: Saved, model: ErrorModel | None = None, limit: float = 20.0) -> Again:
    """Try a failure again, in a process of its own, for at most `limit` seconds; `model` replaces the saved one."""
    if failure.recipe is None:
        return Again("not tried, for no recipe makes it", failed=False)
    claim = failure.model or None if model is None else str(model)
    spec = Spec(candidate.target, candidate.arrays, candidate.style, candidate.op, claim)
    worker = Isolated(spec, limit)
    try:
        case = Wrong(failure.recipe, failure.way) if failure.way else failure.recipe
        examination = worker.examine(case, failure.property)
    finally:
        worker.close()
    if not examination.supported:
        return Again("not supported any more", failed=False)
    finding = examination.lacks(failure.property) or next(iter(examination.findings), None)
    if finding is not None:
        other = "" if finding.property == failure.property else f", but in {finding.property!r}"
        return Again("FAILS" + other, failed=True, text=finding.text)
    if failure.property not in examination.checked:
        return Again("not tried, for there is no such thing about this candidate", failed=False)
    return Again("passes", failed=False)
