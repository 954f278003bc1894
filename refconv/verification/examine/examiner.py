"""Examiner: checks on one case all that can be wrong about a candidate, each property under its own name.

Knows candidates, cases and recipes; not where these come from, and nothing of processes or reports.
"""

import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, TypeAlias

import numpy as np

from refconv.cases.fitting import fitted, size_of
from refconv.cases.recipe import Recipe
from refconv.cases.supports import Supports
from refconv.cases.values import ANYTHING, values_of
from refconv.core import formats
from refconv.core.operators import CONV, kind_of
from refconv.judge.bounds import Claim, model_of
from refconv.judge.case import Case
from refconv.judge.comparison import Comparison
from refconv.ops import family
from refconv.verification.candidate.arrangements import OTHER
from refconv.verification.candidate.call import Outcome, Unsupported
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.examine import adjoint, parts
from refconv.verification.examine.examination import Examination, Finding, refused
from refconv.verification.examine.property_names import (  # fmt: skip
    ADJOINT,
    BATCH,
    BATCH_INVARIANT,
    CLAIMED,
    DETERMINISTIC,
    GROUPS,
    INPUTS,
    KIND,
    LAYOUT,
    OUTSIDE,
    RETURNS,
    STALE,
    THREADS,
    VALUES,
    VIEWS,
    WRITTEN,
)
from refconv.verification.faults import WrongUse, described

MANY, LONG = 2**16, 2**22  # outputs, and products, of more than which a sample is judged
LEAST_SAMPLED, MOST_SAMPLED = 100, 2000
GATHERED = 2**18  # terms of all sums of a sample, as far as that is possible
OUTSIDE_READ = "it reads outside its arrays: what lies around them, or between their elements, reached the result"
ROUNDS = 4  # in which two threads call the candidate at the same time
TURNS = 8  # each further property is checked in one case of so many, of those that allow it


@dataclass(frozen=True, eq=False)
class Examiner:
    """Puts cases to a candidate, in this process.

    Parameters
    ----------
    candidate
        The candidate.
    model
        How the candidate claims to compute.
    claims
        The properties that the candidate claims, of those that must be claimed to be checked.
    supports
        Says of a case whether the candidate takes it; None if it takes all.
    repeats
        Whether the candidate is to see few geometries: then no other one is made up.
    allowed
        What the candidate may be called with besides the recipes: with a part of a case, say.
    """

    candidate: Candidate
    model: Claim | None = None
    claims: tuple[str, ...] = ()
    supports: Callable[[Case], bool] | None = None
    repeats: bool = False
    allowed: Supports = ANYTHING

    def examine(self, recipe: Recipe, further: str = "") -> Examination:
        """Check all properties that one call shows, and one more: `further`, or one that the recipe's seed chooses."""
        case = recipe.case()
        if self.candidate.takes_too_long(case):
            return refused("too large for a simulator")
        if not self.is_supported(case):
            return refused("its supports says so")
        try:
            return self._examine(recipe, case, further)
        except Unsupported as refusal:
            return refused(str(refusal))

    def is_supported(self, case: Case) -> bool:
        """What the caller's function says of a case; True without one."""
        try:
            return self.supports is None or bool(self.supports(case))
        except Exception as error:
            raise WrongUse(f"supports raised {described(error)}, for {case}") from error

    def _examine(self, recipe: Recipe, case: Case, further: str) -> Examination:
        start = time.perf_counter()
        outcome = self.candidate.call(case, layout=recipe.layout, memory=self.candidate.memory(recipe))
        seconds = time.perf_counter() - start
        checked = [RETURNS, INPUTS]
        findings = [Finding(*fault) for fault in outcome.faults]
        if self.candidate.style == "out":
            checked += [WRITTEN, OUTSIDE]
        else:
            checked.append(KIND)
        if outcome.result is None:
            return Examination(
                True, tuple(dict.fromkeys([RETURNS, *(finding.property for finding in findings)])), tuple(findings)
            )
        comparison = self.judged(case, outcome.result)
        checked += [LAYOUT, VALUES]
        if comparison and not comparison.ok and not any(finding.property == WRITTEN for finding in findings):
            findings.append(self._wrong(recipe, case, outcome.result, comparison))
        if self.candidate.memory(recipe):
            checked.append(VIEWS)
        if not findings:
            for property_ in self._further(recipe, case, further):
                if property_ == ADJOINT and comparison and comparison.verdict != "identical":
                    continue  # the algorithm may round integers: then the adjoint's sums need not be equal
                checked.append(property_)
                findings += _CHECKS[property_](self, recipe, case, outcome)
        checked += [finding.property for finding in findings]
        figures = (comparison.max_ulp, comparison.max_bound_ratio) if comparison and comparison.worst else (0, 0.0)
        return Examination(True, tuple(dict.fromkeys(checked)), tuple(findings), *figures, seconds)

    def judged(self, case: Case, result: np.ndarray) -> Comparison | None:
        """The judge's verdict, of many outputs on a sample; None on the oracle's own output, which needs none."""
        sample = self._sample(case)
        if sample is None and case.is_expected(result):
            return None
        return replace(case.check(result, self.model, sample=sample), diagnose=None)  # which would keep the case

    def _sample(self, case: Case) -> int | None:
        """How many outputs are judged one by one; None for all.

        All, if there are few, or if exact sums ask for equality. Not every model allows a sample to be judged.
        """
        model, few = model_of(self.model, case), case.unwritten.size <= MANY or case.geometry.products <= LONG
        one_by_one = kind_of(case.op) != CONV or case.results.keys() - {"out_dtype"} or case.adds_exactly
        if few or one_by_one or (model is not None and not model.unit > 0):
            return None
        return min(MOST_SAMPLED, max(LEAST_SAMPLED, GATHERED // case.geometry.terms))

    def accepts(self, case: Case, result: np.ndarray) -> bool:
        """Whether a result is right."""
        comparison = self.judged(case, result)
        return comparison is None or comparison.ok

    def _wrong(self, recipe: Recipe, case: Case, result: np.ndarray, comparison: Comparison) -> Finding:
        """The finding about a wrong result: its shape or dtype, or its values, or only its values for these views."""
        if (result.shape, result.dtype) != (case.unwritten.shape, case.unwritten.dtype):
            return Finding(LAYOUT, str(comparison), comparison)
        memory = self.candidate.memory(recipe)
        text = f"{comparison}\n  {OUTSIDE_READ}" if self._reads_outside(recipe, case, result) else str(comparison)
        if memory and not self._fails(recipe, case, memory=()):
            where = ", ".join(f"{name} {how}" for name, how in memory)
            return Finding(VIEWS, f"right for contiguous arrays, but for these views ({where}):\n{text}", comparison)
        return Finding(VALUES, text, comparison)

    def _reads_outside(self, recipe: Recipe, case: Case, result: np.ndarray) -> bool:
        """Whether what lies around the arrays reaches the result: then other bytes there, and they alone, change it."""
        if result.dtype not in formats.INTEGERS and np.isfinite(formats.parts(result)).all():
            return False  # poison is NaN

        def again(around: int | None) -> np.ndarray | None:
            memory = self.candidate.memory(recipe)
            try:
                return self.candidate.call(case, layout=recipe.layout, memory=memory, around=around).result
            except Unsupported:  # now and then
                return None

        # Twice each: what changes from call to call is no sign.
        other, same, another, once_more = again(OTHER), again(None), again(OTHER), again(None)
        if other is None or same is None or another is None or once_more is None:
            return False
        steady = _same_bits(result, same) and _same_bits(same, once_more) and _same_bits(other, another)
        return steady and not _same_bits(same, other)

    def _fails(self, recipe: Recipe, case: Case, memory: tuple[tuple[str, str], ...]) -> bool:
        try:
            outcome = self.candidate.call(case, layout=recipe.layout, memory=memory)
        except Unsupported:
            return True
        return outcome.result is None or not self.accepts(case, outcome.result)

    def _further(self, recipe: Recipe, case: Case, further: str) -> list[str]:
        """The further property to check, if there is one that applies: no or one name."""
        # Not every property for every case: a second call doubles the time, and so do the adjoint's sums.
        if further:
            names = [further] if further in _CHECKS else []
        else:
            names = [name for name in tuple(_CHECKS)[recipe.seed % TURNS :][:1] if self.is_checked(name)]
        return [name for name in names if _APPLIES[name](recipe, case) and self._takes_parts(name, recipe)]

    def _takes_parts(self, property_: str, recipe: Recipe) -> bool:
        """Whether the candidate takes one of the parts that the property is about, if it is about parts."""
        if property_ not in _PARTS or not isinstance(recipe, Recipe):  # a given case is not taken apart
            return property_ not in _PARTS
        return any(self.takes_part(recipe, one(recipe)) for _, one in _PARTS[property_])

    def takes_part(self, recipe: Recipe, part: Recipe) -> bool:
        """Whether a part is one, and allowed: one image or group is asked for whatever is said of their numbers."""
        return part.geometry != recipe.geometry and replace(self.allowed, batch=None, groups=None).allows(part)

    def is_checked(self, property_: str) -> bool:
        """Whether a property is checked unasked: always, or because the candidate claims it."""
        return property_ not in CLAIMED or property_ in self.claims

    def call(self, recipe: Recipe, case: Case) -> np.ndarray | None:
        """The candidate's result, None if there is none."""
        return self.candidate.call(case, layout=recipe.layout, memory=self.candidate.memory(recipe)).result


# --- the further properties: each takes another call of the candidate

Check: TypeAlias = Callable[[Examiner, Recipe, Case, Outcome], list[Finding]]


def _deterministic(by: Examiner, recipe: Recipe, case: Case, outcome: Outcome) -> list[Finding]:
    result, again = _result(outcome), by.call(recipe, case)
    if again is not None and _same_bits(result, again):
        return []
    text = (
        "the second call returned nothing" if again is None else f"{_different(result, again)} differ in a second call"
    )
    return [Finding(DETERMINISTIC, text)]


def _forgets(by: Examiner, recipe: Recipe, case: Case, outcome: Outcome) -> list[Finding]:
    """More calls, right after the case's own: the same again, other numbers in one operand, the same after others."""
    operator = family.OPERATORS[case.op]
    changed = operator.second if recipe.seed // TURNS % 2 == 0 else operator.first
    followed = [(case, "made again")]
    if changed and getattr(case, changed).size:
        other = replace(case, **{changed: getattr(recipe.reseeded(recipe.seed ^ 1).case(), changed)})
        followed.append((other, f"with other numbers in {changed}, of the same shape"))
    faults = (_forgotten(by, recipe, case, outcome, *following) for following in followed)
    return next(filter(None, faults), None) or _after_others(by, recipe, case)


def _after_others(by: Examiner, recipe: Recipe, case: Case) -> list[Finding]:
    """The same call after one with another size, all arrays contiguous: what is kept for a size or a layout shows."""
    if by.repeats or not isinstance(recipe, Recipe):  # a layer over a real image has its size
        return []
    v = values_of(replace(recipe, memory=()))
    smaller = v._replace(height=max(1, v.height - 1), width=max(1, v.width - 2))  # of three axes, the last two
    other = fitted(recipe.op, smaller, limit=size_of(v))
    other_case = other.case()
    if other.geometry == recipe.geometry or not (by.allowed.allows(other) and by.is_supported(other_case)):
        return []
    try:
        by.call(other, other_case)
    except Unsupported:
        return []
    result = by.call(recipe, case)
    comparison = None if result is None else by.judged(case, result)
    if result is not None and (comparison is None or comparison.ok):
        return []
    told = "nothing comes back" if comparison is None else f"it is wrong\n{comparison}"
    return [Finding(STALE, f"right once, but the call made again after one with another size: {told}", comparison)]


def _forgotten(by: Examiner, recipe: Recipe, case: Case, outcome: Outcome, following: Case, what: str) -> list[Finding]:
    """What one more call, after the case's own, shows of what the candidate keeps."""
    result = by.call(recipe, following)
    if result is None:
        return [Finding(STALE, f"right once, but the call {what}: nothing comes back")]
    if outcome.held is not None and not _same_bits(outcome.held, _result(outcome)):
        return [Finding(STALE, "what the call before has returned was changed by this one")]
    comparison = by.judged(following, result)
    if comparison is None or comparison.ok:
        return []
    how = "it is wrong"
    if following is not case and by.accepts(case, result):
        how = "the result is still that of the numbers before"
    elif following is not case:
        again = by.call(recipe, following)
        if again is None or not by.accepts(following, again):
            return []  # wrong whatever was called before: other cases will show that
        how = "it is wrong, and right when made again"
    return [Finding(STALE, f"right once, but the call {what}: {how}\n{comparison}", comparison)]


def _in_threads(by: Examiner, recipe: Recipe, case: Case, _outcome: Outcome) -> list[Finding]:
    """The call from two threads at the same time, with other numbers in one of them, a few times."""
    calls = [(recipe, case), (other := recipe.reseeded(recipe.seed ^ 1), other.case())]
    begun = threading.Barrier(len(calls))

    def together(call: tuple[Recipe, Case]) -> np.ndarray | None:
        begun.wait()
        return by.call(*call)

    for _ in range(ROUNDS):
        # The filters are the process's: a call that restores them must not restore them for the other.
        with warnings.catch_warnings(), ThreadPoolExecutor(len(calls)) as pool:
            warnings.simplefilter("ignore")
            results = list(pool.map(together, calls))
        for (_, called), result in zip(calls, results, strict=True):
            if result is None:
                return [Finding(THREADS, "right alone, but called from two threads: nothing comes back")]
            comparison = by.judged(called, result)
            if comparison is not None and not comparison.ok:
                return [Finding(THREADS, f"right alone, but called from two threads:\n{comparison}", comparison)]
    return []


PartsOf: TypeAlias = Callable[[Recipe, Case, np.ndarray], Iterator[Any]]
_IMAGES: tuple[PartsOf, Callable[[Recipe], Recipe]] = (parts.images_of, parts.one_image)
_ONE_BY_ONE: tuple[PartsOf, Callable[[Recipe], Recipe]] = (parts.groups_of, parts.one_group)
_PARTS = {BATCH: (_IMAGES,), GROUPS: (_ONE_BY_ONE,), BATCH_INVARIANT: (_IMAGES, _ONE_BY_ONE)}


def _check_of_parts(property_: str) -> Check:
    """The check of a property of all parts that the candidate takes: their first fault, if there is one."""

    def check(by: Examiner, recipe: Recipe, case: Case, outcome: Outcome) -> list[Finding]:
        taken = (of for of, alone in _PARTS[property_] if by.takes_part(recipe, alone(recipe)))
        for which, part, whole in chain.from_iterable(of(recipe, case, _result(outcome)) for of in taken):
            fault = _part(by, property_, which, recipe, part, whole)
            if fault:
                return [fault]
        return []

    return check


def _result(outcome: Outcome) -> np.ndarray:
    assert outcome.result is not None  # noqa: S101 - only what came back is looked at further
    return outcome.result


def _part(by: Examiner, property_: str, which: str, recipe: Recipe, part: Case, whole: np.ndarray) -> Finding | None:
    """Judge a part by itself, if the candidate takes it, or by the bits that it has in the whole."""
    if not by.is_supported(part):
        return None
    alone = by.candidate.call(part, layout=recipe.layout).result
    if alone is None:
        return Finding(property_, f"{which}: nothing comes back")
    if _same_bits(alone, whole):  # the whole was judged already
        return None
    if property_ == BATCH_INVARIANT:
        return Finding(property_, f"{which}: {_different(alone, whole)} differ from those together")
    comparison = by.judged(part, alone)
    if comparison is None or comparison.ok:
        return None
    return Finding(property_, f"right together, but {which}:\n{comparison}", comparison)


def _adjoint(_by: Examiner, recipe: Recipe, case: Case, outcome: Outcome) -> list[Finding]:
    left, right = adjoint.sides(case, _result(outcome), recipe.seed)
    if left == right:
        return []
    return [Finding(ADJOINT, f"<f(x), y> = {left}, but <x, f*(y)> = {right}: they must be equal")]


def _same_bits(left: np.ndarray, right: np.ndarray) -> bool:
    return (left.shape, left.dtype) == (right.shape, right.dtype) and left.tobytes() == right.tobytes()


def _different(left: np.ndarray, right: np.ndarray) -> str:
    if (left.shape, left.dtype) != (right.shape, right.dtype):
        return "shape and dtype"
    left_bytes, right_bytes = (
        np.ascontiguousarray(array).view(np.uint8).reshape(array.size, -1) for array in (left, right)
    )
    return f"{int((left_bytes != right_bytes).any(axis=1).sum())} of {left.size} elements"


def _has_output(_recipe: Recipe, case: Case) -> bool:
    return bool(case.unwritten.size)


_CHECKS: Mapping[str, Check] = {
    DETERMINISTIC: _deterministic,
    STALE: _forgets,
    BATCH: _check_of_parts(BATCH),
    GROUPS: _check_of_parts(GROUPS),
    ADJOINT: _adjoint,
    BATCH_INVARIANT: _check_of_parts(BATCH_INVARIANT),
    THREADS: _in_threads,
}
_APPLIES: Mapping[str, Callable[[Recipe, Case], bool]] = {
    DETERMINISTIC: lambda _recipe, _case: True,
    STALE: _has_output,
    BATCH: parts.has_images,
    GROUPS: parts.has_groups,
    ADJOINT: adjoint.applies,
    BATCH_INVARIANT: lambda recipe, case: parts.has_images(recipe, case) or parts.has_groups(recipe, case),
    THREADS: _has_output,
}
