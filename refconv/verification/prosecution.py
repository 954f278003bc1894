"""The prosecution: a property that does not hold, shown on the smallest case, diagnosed, as a program that runs.

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
    """Makes a failure of what was found in a section.

    Parameters
    ----------
    setup
        What the campaign works with.
    section
        The section's name.
    passed
        Cases without any finding, for the diagnosis; None where there is to be none.
    """

    def __init__(self, setup: Setup, section: str, passed: Sequence[Source] | None) -> None:
        self.setup, self.section, self.passed = setup, section, passed
        self.one = setup.crew.one

    def failure(self, property_: str, findings: Sequence[tuple[Source, Finding]]) -> Failure:
        """The failure of one property, from all cases on which it does not hold."""
        candidate, settings = self.setup.candidate, self.setup.settings
        source, finding = min(findings, key=lambda pair: coverage.size(pair[0]))
        reliable = True
        if isinstance(source, Recipe):
            source, finding, reliable = self._shrunk(property_, source, finding)
        case: Any = source.misuse() if isinstance(source, Wrong) else source.case()
        recipe = source.recipe if isinstance(source, Wrong) else source
        deterministic = settings.supports.deterministic
        return Failure(
            property=property_,
            section=self.section,
            dtype=self.setup.dtype,
            case=case,
            comparison=finding.comparison,
            text=finding.text + "\n  (not every call with this case fails)" * (not reliable),
            snippet=program(candidate, source, property_, settings.model, deterministic=deterministic),
            example=example(source),
            diagnosis=self._diagnosis(property_, findings),
            recipe=recipe if isinstance(recipe, Recipe) else None,
            expected=settings.expected.reason(candidate.op, self.setup.dtype, property_),
        )

    def _shrunk(self, property_: str, recipe: Recipe, finding: Finding) -> tuple[Recipe, Finding, bool]:
        """The simplest recipe that still fails, with its finding, and whether it does so every time."""
        examine, supports = self.one.examine, self.setup.supports
        last: dict[Recipe, Finding] = {recipe: finding}

        def fails(simpler: Recipe) -> bool:
            found = examine(simpler, property_).lacks(property_)
            if found is not None:
                last[simpler] = found
            return found is not None

        with self.one.impatient() if finding.crash else nullcontext():
            smallest = shrink(recipe, fails, supports, crash=finding.crash)
            if finding.crash or not self.one.forget() or fails(smallest):
                again = fails(smallest)
                return smallest, last[smallest], again
            # It failed only after others: the case as it was found says more.
            again = fails(recipe)
            return recipe, last[recipe], again

    def _diagnosis(self, property_: str, findings: Sequence[tuple[Source, Finding]]) -> Diagnosis | None:
        if self.passed is None:
            return None
        call = self.one.call
        crash = any(finding.crash for _, finding in findings)  # then it is not called any more
        failing, passing = _spread([source for source, _ in findings], EVIDENCE[0]), _spread(self.passed, EVIDENCE[1])
        fault = "crash" if crash else property_
        evidence = [
            Evidence(source, source.case(), self._returned(source, True, crash), True, fault) for source in failing
        ]
        evidence += [Evidence(source, source.case(), self._returned(source, False, crash), False) for source in passing]
        return diagnose(evidence, self.setup.candidate.op, lambda _case, recipe: None if crash else call(recipe))

    def _returned(self, recipe: Recipe, bad: bool, crash: bool) -> Any:
        """What the candidate returned; where it must not be called again, what it must have."""
        if crash:
            return None if bad else recipe.case().expected()
        return self.one.call(recipe)


def _spread(sources: Sequence[Source], number: int) -> list[Source]:
    """So many of them, from the smallest to the largest: small ones say what is wrong, larger ones when."""
    ordered = sorted(sources, key=coverage.size)
    return ordered if len(ordered) <= number else [ordered[n * len(ordered) // number] for n in range(number)]
