"""Replay: failures of an earlier report, tried again on a candidate.

Knows saved failures and processes that examine; not how the failures were found.
"""

from dataclasses import dataclass

from refconv.judge.bounds import Claim
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.claim_text import text_of
from refconv.verification.examine.in_process import Called, Spec
from refconv.verification.examine.isolated import Isolated
from refconv.verification.examine.model_runs import ModelRun
from refconv.verification.examine.wrong_arguments import Wrong
from refconv.verification.report.saved_failures import Saved


@dataclass(frozen=True)
class Again:
    """The outcome of a failure that was tried again; `failed` unless the property holds now."""

    verdict: str
    failed: bool
    text: str = ""


def again(candidate: Candidate, failure: Saved, model: Claim | None = None, limit: float = 20.0) -> Again:
    """Try a failure again, in a process of its own, for at most `limit` seconds; `model` replaces the saved one."""
    if not all(failure.arrange):
        return Again("not tried, for the functions that lay arrays out have no address", failed=False)
    if failure.recipe is None and failure.run is None:
        return Again("not tried, for no recipe makes it", failed=False)
    claim = failure.model if model is None else text_of(model)
    spec = Spec(candidate.target, candidate.arrays, candidate.style, candidate.op, claim, arrange=failure.arrange)
    worker = Isolated(spec, limit)
    try:
        examination = worker.examine(_called(failure), failure.property)
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


def _called(failure: Saved) -> Called:
    """What makes the call of a failure."""
    if failure.recipe is None:
        return ModelRun(failure.run or 0)
    return Wrong(failure.recipe, failure.way) if failure.way else failure.recipe
