"""Matching: which mutants are wrong on the same cases as the candidate, in the same outputs, with the same numbers.

Knows evidence and mutants; not how a match is reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from refconv.cases import fills
from refconv.cases.recipe import Recipe
from refconv.core.errors import GeometryError
from refconv.judge.case import Case
from refconv.mutants import Mutant
from refconv.verification.candidate.call import Unsupported
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.diagnose.conditions import conditions
from refconv.verification.diagnose.evidence import LARGEST, Caller, Evidence, Failing, close, spread, work
from refconv.verification.diagnose.findings import CLAIM, Findings, Suspect

HANDY = 2**14  # most work of a case that is tried with unusual numbers, whose exact sums are slow
LARGER = 2**23  # most work of a case that is to confirm a match
CONFIRMING = 6  # such cases
FIRST = 4  # failing cases that all mutants are tried on
LIKELY = 16  # mutants that are tried on more; a number, not a time limit: the same cases get the same diagnosis
FAILING, PASSING = 24, 80  # failing and passing cases that these are tried on

UNUSUAL = ("wide", "subnormal", "special")  # numbers that tell formats apart
NEARLY = 0.95  # share of the wrong outputs that a mistake gives in experiments; the rest may be right by chance
MOSTLY = 0.8  # share of the experiments whose wrong outputs it must give; in others there may be a second mistake
PARTLY = 0.75  # least share of the wrong outputs that a mutant predicts whose class is taken before that of a rule
PARTLY_UNRULED = 0.2  # the same, where no rule holds
FEWEST_FAILING = 3  # fewest failing cases to infer a condition from
CONTRADICTING = 0.25  # fewest passing cases, per failing one, that a mutant is wrong on if it is made under a condition
ASIDE = 0.1  # share of the passing cases that a mutant may be wrong on without a condition
CHANGED = 0.05  # share of the right outputs that it may get wrong where it is made


@dataclass(frozen=True)
class Match:
    """How well a mutant explains what failed, and what passed."""

    mutant: Suspect
    share: float  # share of the wrong outputs that the mutant predicts, the mean over the failing cases
    matches: int = 0  # wrong outputs that it predicts
    compared: int = 0  # wrong outputs
    strays: float = 0.0  # share of the failing cases in which it is wrong where the candidate is right
    changed: float = 0.0  # share of the right outputs of these that it gets wrong
    unlike: float = 0.0  # share of the passing cases in which it is wrong
    gate: tuple[str, ...] = ()  # condition under which the candidate is like it: failing cases meet it, these don't
    contradicted: bool = False  # whether it is wrong in experiments that passed

    @property
    def is_nearly_all(self) -> bool:
        """Whether it predicts nearly all wrong outputs of all cases together."""
        return self.matches >= NEARLY * self.compared

    def explains(self, findings: "Findings") -> bool:
        """Whether there is a reason for the candidate to be right where the mutant is not."""
        if not self.gate and self.strays >= CLAIM and findings.regions:
            return True
        return self.changed <= CHANGED and (bool(self.gate) or (self.unlike <= ASIDE and not self.contradicted))

    def key(self, kind: str) -> tuple[float, ...]:
        """To sort by, the largest is the best; of equals what has all, is of the rules' class, is short."""
        score = self.share - 0.3 * self.unlike - 0.1 * self.strays
        return round(score, 2), self.matches == self.compared, self.mutant.kind == kind, -len(self.mutant.summary)


def matches_of(mutants: Sequence[Suspect], findings: "Findings", kind: str) -> list[Match]:
    """Matches of the mutants that predict some of the wrong outputs, the best first."""
    failing = [case for case in findings.judged if case.wrong.any()]
    small = [case for case in failing if case.size <= LARGEST] or sorted(failing, key=lambda case: case.size)[:1]
    if not small:
        return []
    first = [_tried(mutant, spread(small, FIRST)) for mutant in mutants]
    likely = sorted((match for match in first if match.share >= PARTLY_UNRULED / 2), key=lambda match: -match.share)
    others = spread([item for item in findings.passing if work(item.case.geometry) <= LARGEST], PASSING)
    matches: list[Match] = []
    for match in likely[:LIKELY]:
        again = _tried(match.mutant, spread(small, FAILING))
        if again.share >= PARTLY_UNRULED:
            matches.append(_compared(again, findings, others))
    return sorted(matches, key=lambda match: match.key(kind), reverse=True)


def told_apart(matches: Sequence[Match], findings: "Findings", call: Caller | None) -> list[Match]:
    """Of mistakes that explain the failing cases equally well those that also explain them with unusual numbers."""
    alike = [match for match in matches if match.key("")[:2] >= matches[0].key("")[:2]]
    if len(alike) < 2 or call is None:  # of what can't be told apart the simplest
        return sorted(alike, key=lambda match: len(match.mutant.summary))[:1]
    handy = [case for case in findings.failing if case.size <= HANDY] or [min(findings.failing, key=lambda c: c.size)]
    base = max(handy, key=lambda case: (case.recipe.bias, case.size))
    for fill in UNUSUAL if base.recipe.fill in fills.every() else ():
        if fill in fills.known(base.recipe.dtype):
            recipe = replace(base.recipe, fill=fill)
            case = recipe.case()
            tried = Failing(Evidence(recipe, case, call(case, recipe), failed=True, model=base.evidence.model))
            if tried.actual is not None and not tried.misshapen and tried.wrong.any():
                alike = [match for match in alike if predicts(match.mutant, [tried]) == 1] or alike
    return alike


def predicts(mutant: Suspect, cases: Sequence[Failing]) -> float:
    """In what share of cases a mutant has all wrong outputs, of real numbers nearly all; 0 if not in the first one."""
    tried = [*cases[:1], *(case for case in cases[1:] if case.size <= LARGER)]
    counts = ((case, *agreement(mutant, case)[:2]) for case in tried)
    whole = [matches >= (1 if case.exact else NEARLY) * number for case, matches, number in counts]
    return sum(whole) / len(whole) if whole and whole[0] else float(not whole)


def confirms(mutant: Suspect, findings: "Findings") -> bool:
    """Whether a mutant also has the wrong outputs of larger failing cases, and few others."""
    larger = [case for case in findings.failing if LARGEST < case.size <= LARGER and case.wrong.any()]
    match = _tried(mutant, spread(sorted(larger, key=lambda case: case.size), CONFIRMING)) if larger else None
    return match is None or (match.is_nearly_all and (match.changed <= CHANGED or bool(findings.regions)))


def agreement(suspect: Suspect, case: Failing) -> tuple[int, int, int]:
    """As `Failing.agreement`, of what a suspect returns."""
    return case.agreement(run(suspect, *case.key), inexact=getattr(suspect, "inexact", False))


def _tried(mutant: Suspect, failing: Sequence[Failing]) -> Match:
    counts = [agreement(mutant, case) for case in failing]
    shares = [matches / number for matches, number, _ in counts]
    return Match(
        mutant,
        share=float(np.mean(shares)),
        matches=sum(matches for matches, _, _ in counts),
        compared=sum(number for _, number, _ in counts),
        strays=float(np.mean([strays > 0 for *_, strays in counts])),
        changed=sum(strays for *_, strays in counts) / max(1, sum(case.n_right for case in failing)),
    )


def _compared(match: Match, findings: "Findings", passing: Sequence[Evidence]) -> Match:
    """The match, completed by what the mutant does on passing cases."""
    unlike = [item for item in passing if not _right(item, run(match.mutant, item.case, item.recipe))]
    tried = [item for item in findings.experiments if work(item.case.geometry) <= LARGER]
    failing = [case.recipe for case in findings.failing] + [item.recipe for item in tried if item.failed]
    sound = spread([item for item in tried if not item.failed], PASSING)
    gated = [item for item in sound if not _right(item, run(match.mutant, item.case, item.recipe))]
    wrong_there = [item.recipe for item in unlike], [item.recipe for item in gated]
    gate = findings.conditions if gated and findings.conditions else conditions(failing, *wrong_there)
    share = len(unlike) / max(1, len(passing))
    # A kernel that is right now and then by chance has no gate; and one failing case or two have too much in common.
    contradicting = share * len(findings.passing) + len(gated)
    seldom = len(failing) < FEWEST_FAILING or contradicting < CONTRADICTING * len(findings.failing)
    return replace(match, unlike=share, gate=() if seldom else gate, contradicted=bool(gated))


def _right(item: Evidence, predicted: np.ndarray | None) -> bool:
    """Whether a mutant's result is right."""
    if predicted is None:
        return False
    standard = item.case.standard(item.model)
    if (predicted.shape, predicted.dtype) != (standard.expected.shape, standard.expected.dtype):
        return False
    return bool(close(predicted, standard.expected, standard.bound).all())


def run(suspect: Suspect, case: Case, recipe: Recipe) -> np.ndarray | None:
    """What a suspect returns, None if it raises."""
    if isinstance(suspect, Mutant):
        function: Any = suspect.under(case.epilogue)
        if not suspect.requantize and isinstance(case.requantize, str) and case.requantize != "float":
            function = partial(function, requantize=case.requantize)
        candidate = Candidate(function, style=suspect.style, op=suspect.op)
        try:
            return candidate.call(case, memory=candidate.memory(recipe)).result
        except Unsupported:
            return None
    try:
        return suspect(case)
    except (GeometryError, OverflowError):
        return None
