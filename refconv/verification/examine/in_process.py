"""Examining in this process, which a crash of the candidate would end; and what any other process needs for it.

Knows examiners and calls that must be refused; not which cases there are.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

from refconv.cases.huge import Huge
from refconv.cases.recipe import Recipe
from refconv.cases.supports import Supports
from refconv.cases.values import ANYTHING
from refconv.judge.bounds import Claim, Model, claimed
from refconv.judge.bounds.claim import NoAlternative, WrongFunction
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.candidate.loading import load
from refconv.verification.claim_text import claim_of
from refconv.verification.examine import huge_cases, model_runs, wrong_arguments
from refconv.verification.examine.examination import Examination, Finding, refused
from refconv.verification.examine.examiner import Examiner
from refconv.verification.examine.property_names import BATCH, BATCH_INVARIANT, GROUPS, RETURNS
from refconv.verification.faults import WrongUse, described

Called: TypeAlias = Recipe | wrong_arguments.Wrong | Huge | model_runs.ModelRun  # what makes a call to be examined


@dataclass(frozen=True)
class Spec:
    """All that a process must know to examine a candidate."""

    target: str
    arrays: str
    style: str
    op: str
    model: str = ""  # the text of the claim
    claims: tuple[str, ...] = ()
    supported: str = ""  # target of the function of a case that says whether it is supported
    threads: int = 0  # that refconv may use in the process; 0 for as many as it likes
    repeats: bool = False  # whether the candidate is to see few geometries
    allowed: Supports = ANYTHING  # what else it may be called with, for a part of a case, say
    arrange: tuple[str, ...] = ()  # targets of the functions that lay arrays out

    def examiner(self) -> Examiner:
        """The examiner, its candidate loaded.

        Raises
        ------
        TargetError
            If it can't be loaded here.
        """
        candidate = load(self.target, self.arrays, op=self.op, style=self.style)
        if self.arrange:
            there, back = (load(target, "numpy").function for target in self.arrange)
            candidate = replace(candidate, arrange=(there, back))
        supported = load(self.supported, "numpy").function if self.supported else None
        return examiner(
            candidate, claim_of(self.model), self.claims, supported, repeats=self.repeats, allowed=self.allowed
        )


def examiner(
    candidate: Candidate,
    model: Claim | None,
    claims: tuple[str, ...] = (),
    supports: Any = None,
    *,
    repeats: bool = False,
    allowed: Supports = ANYTHING,
) -> Examiner:
    """The examiner of a candidate; without `supports`, the candidate's own method of this name counts."""
    own = getattr(candidate.function, "supports", None)
    supported = supports or (own if callable(own) else None)
    return Examiner(candidate, model, claims, supported, repeats, allowed)


class Examines(Protocol):
    """Examines cases: in this process (`Here`), or in another one (`Isolated`)."""

    def examine(self, recipe: Called, further: str = "") -> Examination:
        """Examine one case, and one property more if it is named: see `Examiner.examine`."""

    def examine_all(self, recipes: Sequence[Called]) -> Iterator[Examination]:
        """Examine many cases, in order."""

    def call(self, recipe: Recipe) -> Any:
        """The candidate's result, None if there is none."""

    def impatient(self) -> contextlib.AbstractContextManager[None]:
        """Context for shrinking a crash or an endless loop: the time limit of a case, if it has one, is lowered."""

    def forget(self) -> bool:
        """Make the candidate forget what it was called with; whether that is possible."""

    def close(self) -> None:
        """End the process that was started for it, if there is one."""


class Here:
    """Examines in this process: a crash of the candidate ends it."""

    def __init__(self, examiner: Examiner) -> None:
        self.examiner = examiner

    def examine(self, recipe: Called, further: str = "") -> Examination:
        """Examine one case, and one property more if it is named: see `Examiner.examine`."""
        candidate = self.examiner.candidate
        try:
            if isinstance(recipe, wrong_arguments.Wrong):
                examination = wrong_arguments.examine(candidate, recipe)
            elif isinstance(recipe, model_runs.ModelRun):
                examination = model_runs.examine(candidate.function, recipe)
            elif isinstance(recipe, Huge):
                examination = huge_cases.examine(self.examiner, recipe)
            else:
                examination = self.examiner.examine(recipe, further)
        except WrongUse:
            raise
        except WrongFunction as error:
            raise WrongUse(str(error)) from error
        except NoAlternative as error:
            return refused(str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the other cases are judged
            if not candidate.is_stranded():
                return Examination(supported=False, fault=described(error))
            text = f"the device can't be used any more: {type(error).__name__}: {error}"
            return Examination(True, (RETURNS,), (Finding(RETURNS, text, crash=True),))
        if examination.findings and candidate.is_stranded():
            crashes = tuple(replace(finding, crash=True) for finding in examination.findings)
            examination = replace(examination, findings=crashes)
        return examination

    def examine_all(self, recipes: Sequence[Called]) -> Iterator[Examination]:
        """Examine many cases, in order."""
        return map(self.examine, recipes)

    def call(self, recipe: Recipe) -> Any:
        """The candidate's result, None if there is none."""
        return self.examiner.call(recipe, recipe.case())

    def impatient(self) -> contextlib.AbstractContextManager[None]:
        """Context without effect: this process can't interrupt itself, so it has no time limit."""
        return contextlib.nullcontext()

    def forget(self) -> bool:
        """Always False: this process can't be reset; only `Isolated` can."""
        return False

    def close(self) -> None:
        """Do nothing: no process was started."""


def examine(
    candidate: Candidate,
    recipe: Called,
    property_: str,
    model: Model | None = None,
    *,
    deterministic: bool = False,
) -> Finding | None:
    """The finding about one property of a candidate on one case, in this process; None if the property holds.

    With `deterministic`, in programs of 0.1.0, an image or a group must have the same bits alone and with others.

    Examples
    --------
    >>> import refconv
    >>> from refconv.core.geometry import convolution
    >>> recipe = Recipe(convolution((2, 1, 3, 3), (1, 1, 2, 2), None, 1, 0, 1, 1, "zeros"), (0, 0))
    >>> examine(Candidate(refconv.conv2d), recipe, "batch") is None
    True
    """
    here = Here(examiner(candidate, claimed(model)))
    names = [property_, *[BATCH_INVARIANT] * (deterministic and property_ in (BATCH, GROUPS))]
    examinations = [(name, here.examine(recipe, name)) for name in names]
    for _, examination in examinations:
        if examination.fault:
            raise RuntimeError(f"refconv's own fault: {examination.fault}; please report it")
    findings = (examination.lacks(name) for name, examination in examinations)
    return next((finding for finding in findings if finding is not None), None)
