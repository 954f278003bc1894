"""The prosecution: makes a failure (smallest case, diagnosis, program that shows it) of a property that does not hold.

Knows shrinking, diagnosis and reproducers, and puts them together; not how any of them works.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from refconv.cases.recipe import Recipe
from refconv.cases.shrink import shrink
from refconv.verification.diagnose.diagnosis import diagnose
from refconv.verification.diagnose.evidence import Evidence
from refconv.verification.diagnose.findings import Diagnosis
from refconv.verification.examine.examiner import Finding
from refconv.verification.examine.wrong_arguments import Wrong
from refconv.verification.report import coverage
from refconv.verification.report.reproducer import example, program
from refconv.verification.report.results import Failure
from refconv.verification.settings import Source
from refconv.verification.setup import Setup

EVIDENCE = 40, 120  # failing and passing cases that the diagnosis may look at


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
    """

    def __init__(self, setup: Setup, section: str, passed: Sequence[Source] | None) -> None:
        self.setup, self.section, self.passed = setup, section, passed
        self.examiner = setup.crew.single_examiner

    def failure(self, property_: str, findings: Sequence[tuple[Source, Finding]]) -> Failure:
        """The failure of one property, from all cases on which it does not hold."""
        candidate, settings = self.setup.candidate, self.setup.settings
        source, finding = min(findings, key=lambda pair: coverage.size(pair[0]))
        reliable = True
        if isinstance(source, Recipe):
            source, finding, reliable = self._shrunk(property_, source, finding)
        case: Any = source.misuse() if isinstance(source, Wrong) else source.case()
        recipe = source.recipe if isinstance(source, Wrong) else source
        return Failure(
            property=property_,
            section=self.section,
            dtype=self.setup.dtype,
            case=case,
            comparison=finding.comparison,
            text=finding.text + "\n  (not every call with this case fails)" * (not reliable),
            snippet=program(candidate, source, property_, settings.model),
            example=example(source),
            diagnosis=self._diagnosis(property_, findings),
            recipe=recipe if isinstance(recipe, Recipe) else None,
            expected=settings.expected.reason(candidate.op, self.setup.dtype, property_),
        )

    def _shrunk(self, property_: str, recipe: Recipe, finding: Finding) -> tuple[Recipe, Finding, bool]:
        """The simplest recipe that still fails, with its finding, and whether it does so every time."""
        examine, supports = self.examiner.examine, self.setup.supports
        last: dict[Recipe, Finding] = {recipe: finding}

        def fails(simpler: Recipe) -> bool:
            its_finding = examine(simpler, property_).lacks(property_)
            if its_finding is not None:
                last[simpler] = its_finding
            return its_finding is not None

        with self.examiner.impatient() if finding.crash else nullcontext():
            smallest = shrink(recipe, fails, supports, crash=finding.crash)
            if finding.crash or not self.examiner.forget() or fails(smallest):
                again = fails(smallest)
                return smallest, last[smallest], again
            # As the first call of a process it does not fail. Then the case that failed in the campaign says more.
            again = fails(recipe)
            return recipe, last[recipe], again

    def _diagnosis(self, property_: str, findings: Sequence[tuple[Source, Finding]]) -> Diagnosis | None:
        if self.passed is None:
            return None
        call = self.examiner.call
        crash = any(finding.crash for _, finding in findings)  # then the candidate is not called any more
        failing, passing = _spread([source for source, _ in findings], EVIDENCE[0]), _spread(self.passed, EVIDENCE[1])
        fault = "crash" if crash else property_
        evidence = [
            Evidence(source, source.case(), self._returned(source, True, crash), True, fault) for source in failing
        ]
        evidence += [Evidence(source, source.case(), self._returned(source, False, crash), False) for source in passing]
        return diagnose(evidence, self.setup.candidate.op, lambda _case, recipe: None if crash else call(recipe))

    def _returned(self, recipe: Recipe, bad: bool, crash: bool) -> Any:
        """The candidate's result; after a crash, when it must not be called, None for a bad case, else the oracle's."""
        if crash:
            return None if bad else recipe.case().expected()
        return self.examiner.call(recipe)


def _spread(sources: Sequence[Source], number: int) -> list[Source]:
    """At most `number` of them, from the smallest to the largest: small ones say what is wrong, larger ones when."""
    ordered = sorted(sources, key=coverage.size)
    return ordered if len(ordered) <= number else [ordered[n * len(ordered) // number] for n in range(number)]
