"""The prosecution: makes a failure (smallest case, diagnosis, program that shows it) of a property that does not hold.

Knows shrinking, diagnosis and reproducers, and puts them together; not how any of them works.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from refconv.cases.fills import known
from refconv.cases.huge import Huge
from refconv.cases.recipe import Recipe
from refconv.cases.shrink import shrink
from refconv.cases.variations import roomy, variations
from refconv.core.layouts import IMAGES
from refconv.judge.comparison import Comparison
from refconv.verification import causes
from refconv.verification.candidate.native import ReturnCode
from refconv.verification.claims import leaving_out
from refconv.verification.diagnose import single_case
from refconv.verification.diagnose.conditions import conditions, experiment
from refconv.verification.diagnose.diagnosis import diagnose
from refconv.verification.diagnose.evidence import Evidence, spread
from refconv.verification.diagnose.findings import Diagnosis
from refconv.verification.examine.examination import Finding
from refconv.verification.examine.property_names import VALUES
from refconv.verification.examine.wrong_arguments import Wrong
from refconv.verification.report import coverage
from refconv.verification.report.reproducer import example, program
from refconv.verification.report.results import Failure
from refconv.verification.settings import Source
from refconv.verification.setup import Setup

ERROR_OF_ITS_OWN = f"{ReturnCode.__name__}:"  # in the text of what was raised
EVIDENCE = 40, 120  # failing and passing cases that the diagnosis may look at
LOOKED_AT = 2**19  # most products of such a case: known mistakes are slow kernels
LARGER = 6, 2**23  # larger failing cases that confirm what smaller ones say, and their most products
AROUND = 24  # failing experiments of which the results are looked at
RESEEDED = 6  # other numbers with which the smallest failing case is tried again
USUAL = ("integers", "normal", "positions", "uniform")
BY_CHANCE = 0.02  # what is less probable is no chance
PICTURED = 16  # fewest outputs of which a map of errors shows anything
SAME = 4  # cases with unusual numbers that are tried with usual ones
VARYING = 400  # most calls in experiments around the smallest failing case; with another limit load would tell
PATIENCE = 3  # they take a third of the time that is left, at most


@dataclass
class _Experiments:
    """Cases around a failing one, and whether they fail in the same way."""

    failing: dict[Recipe, Finding] = field(default_factory=dict)
    passing: list[Recipe] = field(default_factory=list)
    smallest: Recipe | None = None


class Prosecution:
    """Makes failures of the findings of a section.

    Parameters
    ----------
    setup
        What the sections of one dtype share.
    section
        The section's name.
    passed
        Cases without any finding, for the diagnosis; None where there is to be no diagnosis.
    returned
        Cases of which a result came back, right or wrong.
    """

    def __init__(
        self, setup: Setup, section: str, passed: Sequence[Source] | None, returned: Sequence[Source] = ()
    ) -> None:
        self.setup, self.section, self.passed, self.returned = setup, section, passed, returned
        self.examiner, self.stopwatch = setup.crew.single_examiner, setup.stopwatch
        self.mistakes: set[str] = set()  # that failures were told to be

    def failures(self, property_: str, findings: Sequence[tuple[Source, Finding]], made: list[Failure]) -> None:
        """Append the failures of one property to those made: the smallest of each cause, `causes.MOST` at most.

        As long as all of them are expected there are more, however long that takes: the next one may not be.
        """
        usual = causes.usual_fill(findings)
        for of_family in causes.families(findings):
            left = list(of_family)
            unusual = causes.family(*left[0]) in causes.UNUSUAL.values()
            if made and unusual and self._same_with(usual, property_, left):
                made[0] = replace(made[0], n_cases=made[0].n_cases + len(left))
                continue
            for earlier, failure in enumerate(made):  # what one accounts for would blur what is said of others
                if rest := causes.unexplained(left, failure.diagnosis):
                    made[earlier] = replace(failure, n_cases=failure.n_cases + len(left) - len(rest))
                    left = rest
            while left and (
                (len(made) < causes.MOST and self.stopwatch.left) or all(failure.expected for failure in made)
            ):
                failure = self._failure(property_, left)
                rest = causes.unexplained(left, failure.diagnosis)
                n_cases = len(left) - len(rest)
                number = next((n for n, other in enumerate(made) if causes.same(failure, other)), None)
                if number is None:
                    made.append(replace(failure, n_cases=n_cases))
                else:
                    made[number] = replace(made[number], n_cases=made[number].n_cases + n_cases)
                left = rest

    def _same_with(self, fill: str, property_: str, findings: Sequence[tuple[Source, Finding]]) -> bool:
        """Whether cases with unusual numbers fail with usual ones as well: then these are not the cause."""
        smallest = sorted(findings, key=lambda pair: coverage.size(pair[0]))[:SAME]
        recipes = [source for source, _ in smallest if isinstance(source, Recipe) and source.fill in causes.UNUSUAL]
        usual = (self.examiner.examine(replace(recipe, fill=fill), property_) for recipe in recipes)
        return bool(recipes) and all(examination.lacks(property_) is not None for examination in usual)

    def _failure(self, property_: str, findings: Sequence[tuple[Source, Finding]]) -> Failure:
        """The failure of one cause, from cases on which the property does not hold."""
        source, finding = min(findings, key=lambda pair: coverage.size(pair[0]))
        reliable, experiments, diagnosis = True, _Experiments(), None
        if isinstance(source, Recipe) and property_ not in self.setup.told:
            with self._noted("making small", property_, source), self.stopwatch.running():
                source, finding, reliable = self._shrunk(property_, source, finding, experiments)
            if self.passed is not None and reliable and not finding.crash:
                with self._noted("trying variations of", property_, source), self.stopwatch.running():
                    self._vary(property_, source, experiments)
        if ERROR_OF_ITS_OWN not in finding.text:  # what a kernel's own code means is not to be guessed
            with self._noted("diagnosing", property_, source):
                diagnosis = self._diagnosis(property_, findings, experiments)
        self.mistakes |= {diagnosis.mutant} if diagnosis and diagnosis.mutant else set()
        if refused := causes.refusals(findings):
            with self._noted("looking for what leaves out", property_, source):
                taken = [source for source in self.returned if isinstance(source, Recipe)]
                if claim := leaving_out(refused, taken, self.setup.settings.supports):
                    said = f"  if these calls are not meant to be taken: --supports '{claim}'"
                    finding = replace(finding, text=f"{finding.text}\n{said}")
        failure = self._told(property_, source, finding, diagnosis, reliable=reliable)
        return replace(failure, pictured=_pictured(finding, findings))

    def bare(self, property_: str, findings: Sequence[tuple[Source, Finding]]) -> Failure:
        """The failure as it was met: neither made small, nor diagnosed."""
        source, finding = min(findings, key=lambda pair: coverage.size(pair[0]))
        failure = self._told(property_, source, finding, None)
        return replace(failure, n_cases=len(findings), pictured=finding.comparison)

    def _noted(self, doing: str, property_: str, source: Source) -> AbstractContextManager[None]:
        """Context in which a fault of refconv's own is noted and costs nothing but what is done in it."""
        return self.setup.faults.noted(f"{doing} a case that fails {property_!r}: {source}")

    def _told(
        self, property_: str, source: Source, finding: Finding, diagnosis: Diagnosis | None, *, reliable: bool = True
    ) -> Failure:
        candidate, settings = self.setup.candidate, self.setup.settings
        snippet = line = ""
        with self._noted("writing a program for", property_, source):
            snippet, line = program(candidate, source, property_, settings.model), example(source, property_)
        case: Any = source
        if not isinstance(source, Huge):  # which would take its memory here, too
            case = source.misuse() if isinstance(source, Wrong) else source.case()
        recipe = source.recipe if isinstance(source, Wrong) else source
        layout = getattr(recipe, "layout", IMAGES[2])
        usual = IMAGES[len(layout.partition(",")[0]) - 2]
        handed = (
            f"\n  (arrays were handed over in {layout}; shapes and indices are {usual}'s)" if layout != usual else ""
        )
        return Failure(
            property=property_,
            section=self.section,
            dtype=self.setup.dtype,
            case=case,
            comparison=finding.comparison and replace(finding.comparison, diagnose=partial(_kept, diagnosis)),
            text=finding.text + handed + "\n  (not every call with this case fails)" * (not reliable),
            snippet=snippet,
            example=line,
            diagnosis=diagnosis,
            recipe=recipe if isinstance(recipe, Recipe) else None,
            cause=(cause := causes.cause(finding, diagnosis)),
            expected=settings.expected.reason(candidate.op, self.setup.dtype, property_, cause),
        )

    def _shrunk(
        self, property_: str, recipe: Recipe, finding: Finding, experiments: _Experiments
    ) -> tuple[Recipe, Finding, bool]:
        """The simplest recipe that still fails, with its finding, and whether it does so every time."""
        supports = self.setup.supports
        last = experiments.failing
        last[recipe] = finding

        def fails(simpler: Recipe) -> bool:
            return bool(self._fails(property_, simpler, experiments))

        with self.examiner.impatient() if finding.crash else nullcontext():
            smallest = shrink(recipe, fails, supports, crash=finding.crash, seconds=self.stopwatch.left)
        # As the first call of a process, or with its whole time, it may not fail.
        if finding.crash or not self.examiner.forget() or fails(smallest):
            again = fails(smallest)
            if again or not finding.crash:
                return smallest, last[smallest], again
        # Then the case that failed in the campaign says more.
        again = fails(recipe)
        return recipe, last[recipe], again

    def _fails(self, property_: str, recipe: Recipe, experiments: _Experiments) -> bool | None:
        """Whether a case fails in the same way, None if the candidate refuses it; else the experiment is noted."""
        examination = self.examiner.examine(recipe, property_)
        finding = examination.lacks(property_)
        if finding is not None:
            experiments.failing[recipe] = finding
        elif not examination.supported or examination.findings:
            if examination.fault:
                self.setup.faults.note(f"judging {recipe}", examination.fault)
            return None
        else:
            experiments.passing.append(recipe)
        return finding is not None

    def _vary(self, property_: str, smallest: Recipe, experiments: _Experiments) -> None:
        """Change one thing at a time about the smallest failing case."""
        experiments.smallest = smallest
        supports = self.setup.supports
        fails = self._repeated(property_, smallest, experiments)
        for base in (smallest, roomy(smallest, fails, supports)):
            for _ in experiment(list(experiments.failing), list(variations(base, supports)), fails):
                pass

    def _repeated(self, property_: str, smallest: Recipe, experiments: _Experiments) -> Callable[[Recipe], bool | None]:
        """Whether a case fails, with any of several numbers if the smallest one fails with some of them only.

        Nothing is known of it once there were so many calls, or the time is over.
        """
        calls, end = itertools.count(), time.monotonic() + self.stopwatch.left / PATIENCE

        def once(recipe: Recipe, more: int) -> bool | None:
            fill = USUAL[more % len(USUAL)] if more and recipe.fill in USUAL else recipe.fill
            other = replace(recipe, seed=recipe.seed + more, fill=fill if fill in known(recipe.dtype) else recipe.fill)
            over = next(calls) >= VARYING or time.monotonic() > end
            return None if over else self._fails(property_, other, _Experiments(experiments.failing))

        share = sum(once(smallest, more) is True for more in range(1, RESEEDED + 1)) / RESEEDED
        attempts = next((n for n in range(1, RESEEDED) if (1 - share) ** n <= BY_CHANCE), RESEEDED)

        def fails(recipe: Recipe) -> bool | None:
            outcomes = (once(recipe, more) for more in range(attempts))
            outcome = next((outcome for outcome in outcomes if outcome is not False), False)
            if outcome is False:
                experiments.passing.append(recipe)
            return outcome

        return fails

    def _diagnosis(
        self, property_: str, findings: Sequence[tuple[Source, Finding]], experiments: _Experiments
    ) -> Diagnosis | None:
        if self.passed is None:
            return None
        smallest, finding = min(findings, key=lambda pair: coverage.size(pair[0]))
        if property_ == VALUES and finding.comparison and smallest.geometry.products > single_case.MOST:
            return self._of_large(smallest, findings)
        call = self.examiner.call
        crash = any(finding.crash for _, finding in findings)  # then the candidate is not called any more
        sources = [source for source, _ in findings]
        larger = [source for source in sources if LOOKED_AT < source.geometry.products <= LARGER[1]]
        few = spread(sorted(larger, key=coverage.size), LARGER[0])
        failing = list(dict.fromkeys((*_spread(sources, EVIDENCE[0]), *few)))
        passing = _spread(self.passed, EVIDENCE[1])
        fault, model = "crash" if crash else property_, self.setup.settings.model
        evidence = [
            Evidence(source, source.case(), self._returned(source, bad, crash), bad, fault, model)
            for sources, bad in ((failing, True), (passing, False))
            for source in sources
        ]
        looked_at = {*failing, *passing}
        every = [(source, True) for source, _ in findings] + [(source, False) for source in self.passed]
        others = [(source, bad) for source, bad in every if isinstance(source, Recipe) and source not in looked_at]
        around = [] if crash or experiments.smallest is None else self._around(experiments.smallest, experiments, fault)
        return diagnose(
            evidence,
            self.setup.candidate.op,
            lambda _case, recipe: None if crash else call(recipe),
            experiments=around,
            others=others,
            told=self.mistakes,
        )

    def _of_large(self, smallest: Source, findings: Sequence[tuple[Source, Finding]]) -> Diagnosis | None:
        """The diagnosis where all failing cases are large: of the smallest one, and what all of them share."""
        case, actual = smallest.case(), self.examiner.call(smallest)
        comparison = None if actual is None else case.check(actual, self.setup.settings.model)
        if comparison is None or comparison.ok:
            return None
        made = single_case.diagnosis(case, actual, comparison, self.setup.settings.model)
        failing = [source for source, _ in findings if isinstance(source, Recipe)]
        shared = conditions(failing, [source for source in self.passed or () if isinstance(source, Recipe)])
        when = f"\n  when: {' and '.join(shared)}" * bool(shared)
        return replace(made, text=made.text + when, conditions=shared)

    def _around(self, smallest: Recipe, experiments: _Experiments, fault: str) -> list[Evidence]:
        """The smallest failing case with the candidate's result, then all others that were tried on the way to it."""
        model = self.setup.settings.model
        around = [Evidence(smallest, smallest.case(), self._returned(smallest, True, False), True, fault, model)]
        others = [(recipe, True) for recipe in experiments.failing if recipe != smallest]
        others += [(recipe, False) for recipe in dict.fromkeys(experiments.passing)]
        called = set(_spread([recipe for recipe, failed in others if failed], AROUND))
        return around + [
            Evidence(recipe, recipe.case(), actual, bad, fault, model)
            for recipe, bad in others
            for actual in [self._returned(recipe, True, False) if recipe in called else None]
        ]

    def _returned(self, recipe: Recipe, bad: bool, crash: bool) -> Any:
        """The candidate's result; after a crash, when it must not be called, None for a bad case, else the oracle's."""
        if crash:
            return None if bad else recipe.case().expected()
        return self.examiner.call(recipe)


def _kept(diagnosis: Diagnosis | None) -> Diagnosis | None:
    """The diagnosis that a failure's comparison has: that of all cases, not of one. A comparison can be pickled."""
    return diagnosis


def _pictured(finding: Finding, findings: Sequence[tuple[Source, Finding]]) -> Comparison | None:
    """The comparison to be drawn: of the case made small, or of the smallest one that was met with outputs enough."""
    if finding.comparison is None or finding.comparison.actual.size >= PICTURED:
        return finding.comparison
    met = (one.comparison for _, one in sorted(findings, key=lambda pair: coverage.size(pair[0])))
    larger = (one for one in met if one is not None and one.actual.size >= PICTURED and one.ratio.size)
    return next(larger, finding.comparison)


def _spread(sources: Sequence[Source], number: int) -> list[Source]:
    """At most `number` of them, from the smallest to the largest: small ones say what is wrong, larger ones when."""
    ordered = sorted(sources, key=coverage.size)
    ordered = [source for source in ordered if source.geometry.products <= LOOKED_AT] or ordered[:SAME]
    return ordered if len(ordered) <= number else [ordered[n * len(ordered) // number] for n in range(number)]
