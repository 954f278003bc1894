"""Separation: which property a failing case really violates, where the one that was looked at may not be to blame.

Knows findings and who examines once more; not how a failure is made of them.
"""

from collections import Counter
from collections.abc import Callable

from refconv.cases.recipe import Recipe
from refconv.verification.diagnose.evidence import spread
from refconv.verification.examine import property_names
from refconv.verification.examine.examination import Finding
from refconv.verification.examine.parts import one_group, one_image
from refconv.verification.report import coverage
from refconv.verification.settings import Source
from refconv.verification.setup import Setup

FRESH = 4  # failing cases that are tried as the first call of a process
MORE = 12  # further ones, if all of these are right then
Failed = dict[str, list[tuple[Source, Finding]]]

# Properties that a candidate may violate only because of what it was called with before.
STATEFUL = {
    property_names.VALUES,
    property_names.LAYOUT,
    property_names.VIEWS,
    property_names.BATCH,
    property_names.GROUPS,
}

# What makes a recipe that of one of its images, or of one of its groups.
ALONE: dict[str, Callable[[Recipe], Recipe]] = {
    property_names.BATCH: one_image,
    property_names.GROUPS: one_group,
}


def state(setup: Setup, failed: Failed, checked: Counter[str]) -> None:
    """Report cases that fail only after other calls under the property `STALE`: the state is wrong, not a value."""
    examiner, stale = setup.crew.single_examiner, property_names.STALE
    for property_ in sorted(STATEFUL & failed.keys()):
        findings = sorted(failed[property_], key=lambda pair: coverage.size(pair[0]))
        stateful = []
        for source, finding in findings[:FRESH]:
            if finding.crash or not examiner.forget() or examiner.examine(source, property_).lacks(property_):
                break
            stateful.append((source, finding))
        if not stateful:
            continue
        kept = findings[len(stateful) :]
        if len(stateful) == min(FRESH, len(findings)):  # of the others those that fail by themselves
            kept = [
                (source, finding)
                for source, finding in spread(kept, MORE)
                if finding.crash or (examiner.forget() and examiner.examine(source, property_).lacks(property_))
            ]
        failed[property_] = kept
        if not kept:
            del failed[property_]
        source, finding = stateful[0]
        text = f"right as the first call of a process; wrong after others ({property_}):\n{finding.text}"
        failed.setdefault(stale, [(source, Finding(stale, text, finding.comparison))])
        checked[stale] = max(1, checked[stale])


def parts(setup: Setup, failed: Failed) -> None:
    """Report an image or a group that is wrong by itself as wrong values, whatever it was called as a part of.

    If those that were called alone are right, and the candidate keeps a state, what was called before makes it wrong.
    """
    for property_, alone in ALONE.items():
        findings = sorted(failed.get(property_, []), key=lambda pair: coverage.size(pair[0]))
        left: list[tuple[Source, Finding]] = []
        wrong_alone: list[tuple[Source, Finding]] = []
        is_right_alone = False
        for number, (source, finding) in enumerate(findings):
            part = alone(source) if isinstance(source, Recipe) else None
            wrong = None
            if part is not None and setup.supports.allows(part) and (number < FRESH or wrong_alone):
                if number < FRESH:  # as the first call of a process, if that can be, nothing before it is to blame
                    setup.crew.single_examiner.forget()
                wrong = setup.crew.single_examiner.examine(part).lacks(property_names.VALUES)
                is_right_alone |= wrong is None
            if part is None or wrong is None:
                left.append((source, finding))
            else:
                wrong_alone.append((part, wrong))
        if wrong_alone:
            failed.setdefault(property_names.VALUES, []).extend(wrong_alone)
        if findings:
            is_state = property_names.STALE in failed and is_right_alone and not wrong_alone
            failed[property_] = [] if is_state else left
            if not failed[property_]:
                del failed[property_]
