"""Causes: failing cases of one property apart by what may be behind them, so that one does not hide another.

Knows findings, recipes and conditions; not how a failure is made of them.
"""

import re
from collections import Counter
from collections.abc import Sequence

from refconv.cases.recipe import Recipe
from refconv.verification.diagnose.conditions import meets
from refconv.verification.diagnose.findings import Diagnosis
from refconv.verification.examine.examination import Finding
from refconv.verification.examine.property_names import RETURNS
from refconv.verification.report.expected_failures import CRASH, EXCEPTION
from refconv.verification.report.results import Failure
from refconv.verification.settings import Source

MOST = 5  # causes of a property that are shown; other failing cases are counted
ORDINARY = "ordinary numbers"
UNUSUAL = {"special": "NaN, infinities, -0", "subnormal": "subnormal numbers", "wide": "the whole range of exponents"}

REFUSALS = tuple(f"{EXCEPTION} {error}" for error in ("AssertionError", "ValueError"))

Failing = Sequence[tuple[Source, Finding]]


def family(source: Source, finding: Finding) -> str:
    """What is known of a failing case before any diagnosis: how it fails, or which numbers it has."""
    if finding.crash:
        return CRASH
    if finding.property == RETURNS:
        raised = re.findall(r"^(\w[\w.]*(?:Error|Exception|Exit|Interrupt))\b", finding.text, flags=re.MULTILINE)
        return f"{EXCEPTION} {raised[-1]}" if raised else EXCEPTION
    return UNUSUAL.get(getattr(source, "fill", ""), ORDINARY)


def families(findings: Failing) -> list[list[tuple[Source, Finding]]]:
    """The findings by family: ordinary numbers first, for what they show is no matter of numbers."""
    apart: dict[str, list[tuple[Source, Finding]]] = {}
    for source, finding in findings:
        apart.setdefault(family(source, finding), []).append((source, finding))
    return [apart[name] for name in sorted(apart, key=lambda name: (name in UNUSUAL.values(), name))]


def refusals(findings: Failing) -> list[Recipe]:
    """The recipes of calls that the candidate may not have meant to take: all findings are errors of value."""
    meant = all(family(*pair) in REFUSALS for pair in findings)
    return [source for source, _ in findings if meant and isinstance(source, Recipe)]


def usual_fill(findings: Failing) -> str:
    """The fill that most of the failing cases with ordinary numbers have."""
    fills = Counter(
        source.fill
        for source, finding in findings
        if isinstance(source, Recipe) and family(source, finding) == ORDINARY
    )
    return fills.most_common(1)[0][0] if fills else "integers"


def same(failure: Failure, other: Failure) -> bool:
    """Whether two failures of a property are the same mistake: made small the same case, or diagnosed so."""
    mine, its = failure.diagnosis, other.diagnosis
    diagnosed = mine is not None and its is not None and bool(mine.mutant) and mine.mutant == its.mutant
    return diagnosed or (failure.recipe is not None and failure.recipe == other.recipe)


def unexplained(findings: Failing, diagnosis: Diagnosis | None) -> list[tuple[Source, Finding]]:
    """The findings of which the conditions of a diagnosis do not hold; none if there are no conditions.

    Conditions that hold of no finding say nothing: then none is left either.
    """
    if diagnosis is None or not diagnosis.conditions:
        return []
    left = [
        (source, finding)
        for source, finding in findings
        if isinstance(source, Recipe) and not meets(source, diagnosis.conditions)
    ]
    return left if len(left) < len(findings) else []


def cause(finding: Finding, diagnosis: Diagnosis | None) -> str:
    """The cause's name: how the candidate ended, or the class of bugs that a diagnosis names; empty if unknown."""
    if finding.crash:
        return CRASH
    if finding.property == RETURNS:
        return EXCEPTION
    return "" if diagnosis is None else diagnosis.kind
