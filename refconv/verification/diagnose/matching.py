"""Matching: which mutants are wrong on the same cases, in the same outputs, with the same numbers.

Knows evidence and mutants; not what is said of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from refconv.cases.recipe import Recipe
from refconv.core.errors import GeometryError
from refconv.judge.case import Case
from refconv.mutants import Mutant
from refconv.verification.candidate.call import Unsupported
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.diagnose.conditions import conditions
from refconv.verification.diagnose.evidence import LARGEST, Evidence, Failing, close, multiplications, spread
from refconv.verification.diagnose.findings import CLAIM, Findings, Suspect

LIKELY = 16  # mutants that are compared closely, not a time: the same cases get the same diagnosis
FIRST, FAILING, PASSING = 4, 24, 80  # cases that all mutants are tried on, and those that fit them

# Least share of the wrong outputs that a mutant must predict to be reported as "in part like" it: where a rule names
# another class, and where none does.
PARTLY, PARTLY_UNRULED = 0.75, 0.2
FEWEST_FAILING = 3  # failing cases from which a condition is inferred
CONTRADICTING = 0.25  # passing cases, for each failing one, on which a mutant must be wrong to be gated by a condition
ASIDE = 0.1  # of the passing cases that it may be wrong on without a reason


@dataclass(frozen=True)
class Match:
    """How well a mutant explains what failed, and what passed."""

    mutant: Suspect
    share: float  # of the wrong outputs that it predicts, the mean over cases
    matches: int = 0
    compared: int = 0
    whole: tuple[int, int] = (0, 0)  # failing cases of which it predicts all wrong outputs, and all
    strays: float = 0.0  # of the failing cases in which it is wrong where the candidate is right
    unlike: float = 0.0  # of the passing cases in which it is wrong
    gate: tuple[str, ...] = ()  # what tells these from the failing ones

    def explains(self, found: "Findings") -> bool:
        """Whether there is a reason for the candidate to be right where the mutant is not."""
        return self.unlike <= ASIDE or bool(self.gate) or (self.strays >= CLAIM and bool(found.regions))

    def key(self, kind: str) -> tuple[float, ...]:
        """The larger the better; of equals one of the class that rules say, then the shortest."""
        score = self.share - 0.3 * self.unlike - 0.1 * self.strays
        return round(score, 2), self.mutant.kind == kind, -len(self.mutant.summary)


def matches_of(mutants: Sequence[Suspect], found: "Findings", kind: str) -> list[Match]:
    """The mutants that explain something, the best first."""
    failing = [each for each in found.failing if each.wrong.any()]
    small = [each for each in failing if each.size <= LARGEST] or failing[:1]
    if not small:
        return []
    first = [_tried(each, spread(small, FIRST)) for each in mutants]
    likely = sorted((each for each in first if each.share >= PARTLY_UNRULED / 2), key=lambda each: -each.share)
    others = spread([each for each in found.passing if multiplications(each.case) <= LARGEST], PASSING)
    matches: list[Match] = []
    for each in likely[:LIKELY]:
        again = _tried(each.mutant, spread(small, FAILING))
        if again.share >= PARTLY_UNRULED:
            matches.append(_compared(again, found, others))
    return sorted(matches, key=lambda each: each.key(kind), reverse=True)


def _tried(mutant: Suspect, failing: Sequence[Failing]) -> Match:
    counts = [each.agreement(_run(mutant, *each.key)) for each in failing]
    shares = [matches / number for matches, number, _ in counts]
    return Match(
        mutant,
        share=float(np.mean(shares)),
        matches=sum(matches for matches, _, _ in counts),
        compared=sum(number for _, number, _ in counts),
        whole=(sum(matches == number for matches, number, _ in counts), len(counts)),
        strays=float(np.mean([strays > 0 for _, _, strays in counts])),
    )


def _compared(match: Match, found: "Findings", passing: Sequence[Evidence]) -> Match:
    """With what the mutant does on passing cases."""
    unlike = [each for each in passing if not _right(each.case, _run(match.mutant, each.case, each.recipe))]
    gate = conditions([each.key for each in found.failing], [(each.case, each.recipe) for each in unlike], found.levels)
    share = len(unlike) / max(1, len(passing))
    # A kernel that is right now and then by chance has no gate; and of one failing case or two anything may be one.
    seldom = len(found.failing) < FEWEST_FAILING or share * len(found.passing) < CONTRADICTING * len(found.failing)
    return replace(match, unlike=share, gate=() if seldom else gate)


def _right(case: Case, predicted: np.ndarray | None) -> bool:
    """Whether a mutant does the right thing."""
    if predicted is None:
        return False
    standard = case.standard()
    if (predicted.shape, predicted.dtype) != (standard.expected.shape, standard.expected.dtype):
        return False
    return bool(close(predicted, standard.expected, standard.bound).all())


def _run(suspect: Suspect, case: Case, recipe: Recipe) -> np.ndarray | None:
    """What a suspect returns, None if it raises."""
    if isinstance(suspect, Mutant):
        candidate = Candidate(suspect.function, style=suspect.style, op=suspect.op)
        try:
            return candidate.call(case, memory=candidate.memory(recipe)).result
        except Unsupported:
            return None
    try:
        return suspect(case)
    except (GeometryError, OverflowError):
        return None
