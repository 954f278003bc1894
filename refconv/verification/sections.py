"""Sections: the cases of one kind and dtype put to a candidate, what was counted, and what failed.

Knows plans, crews and the prosecution; not how a case is examined, nor how a failure is explained.
"""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from refconv.cases.plan import plan
from refconv.cases.recipe import Recipe
from refconv.verification.examine import property_names
from refconv.verification.examine.examiner import Examination, Finding
from refconv.verification.examine.worker import MOST_CRASHES
from refconv.verification.examine.wrong_arguments import wrongs
from refconv.verification.prosecution import EVIDENCE, Prosecution
from refconv.verification.real_layers import DataUnavailable, digit_layers, documentation_examples
from refconv.verification.report import coverage
from refconv.verification.report.results import Result, Tally
from refconv.verification.settings import Source
from refconv.verification.setup import Setup

GENERATED, EXAMPLES, DIGITS, MISUSE = (
    "generated cases", "documentation examples", "handwritten digits", "wrong arguments",
)  # fmt: skip
FIXED = {EXAMPLES: documentation_examples, DIGITS: digit_layers}

# A round of which no case is judged ends the section: this many at least have been tried then.
SMALLEST_ROUND = 100

# A candidate that refuses more than this, for each case asked for, is not asked further.
MOST_REFUSED = 20

# Cases that fail in one section until it is ended: more say nothing new.
MOST_FAILED = 200
MISUSED = 300  # recipes that calls with wrong arguments are made from
FRESH = 4  # cases that are tried as the first call of a process, to tell what is wrong from what remembers

# Properties that a candidate may violate only because of what it was called with before.
STATEFUL = {
    property_names.VALUES,
    property_names.LAYOUT,
    property_names.VIEWS,
    property_names.BATCH,
    property_names.GROUPS,
}


class Section:
    """A section while it runs: what was judged so far, and what failed."""

    def __init__(self, setup: Setup, name: str, interactions: coverage.Interactions | None = None) -> None:
        self.setup, self.name, self.interactions = setup, name, interactions
        self.n_cases = self.n_unsupported = self.max_ulp = self.crashed = 0
        self.max_bound_ratio = 0.0
        self.classes: Counter[str] = Counter()
        self.checked: Counter[str] = Counter()
        self.failed: dict[str, list[tuple[Source, Finding]]] = {}
        self.passed: list[Source] = []
        self.skipped = ""

    def generate(self, recipes: Callable[[int, int], Iterator[Recipe]]) -> None:
        """Judge generated cases until there are enough, or time is up.

        The candidate may refuse cases: then there are more rounds, until one brings nothing.
        """
        settings = self.setup.settings
        seconds = self.setup.seconds
        end = None if seconds is None else time.monotonic() + seconds
        for round_ in itertools.count():
            before = self.n_cases
            wanted = settings.cases if end or not round_ else max(settings.cases - before, SMALLEST_ROUND)
            self._all(recipes(round_, wanted), settings.cases, end)
            if end is None:
                enough = self.n_cases >= settings.cases or self.n_unsupported >= MOST_REFUSED * settings.cases
            else:
                enough = time.monotonic() >= end
            if self._ended() or enough or self.n_cases == before:
                break

    def go_through(self, sources: Sequence[Source]) -> None:
        """Judge given cases."""
        self._all(iter(sources), len(sources), None)

    def _all(self, sources: Iterator[Source], total: int, end: float | None) -> None:
        key = f"{self.name}, {self.setup.dtype}"
        for source, found in self.setup.crew.examine(
            sources, self.setup.journal.of(key, self.n_cases + self.n_unsupported)
        ):
            self._note(source, found)
            if self.setup.settings.progress:
                self.setup.settings.progress(key, min(self.n_cases, total), total)
            enough = self.n_cases >= total if end is None else time.monotonic() >= end
            if self._ended() or enough:
                return

    def _ended(self) -> bool:
        return self.crashed >= MOST_CRASHES or sum(map(len, self.failed.values())) >= MOST_FAILED

    def _note(self, source: Source, found: Examination) -> None:
        generated = self.interactions
        if not found.supported:
            self.n_unsupported += 1
            if generated is not None:
                generated.add_unsupported(source)
            return
        self.n_cases += 1
        self.checked.update(found.checked)
        self.max_ulp = max(self.max_ulp, found.max_ulp)
        self.max_bound_ratio = max(self.max_bound_ratio, found.max_bound_ratio)
        for finding in found.findings:
            self.failed.setdefault(finding.property, []).append((source, finding))
            self.crashed += finding.crash
        if not found.findings and len(self.passed) < 10 * EVIDENCE[1]:
            self.passed.append(source)
        if generated is not None and property_names.VALUES in found.checked:
            generated.add(source)
        if generated is not None:
            self.classes.update(coverage.classes(source))

    @property
    def result(self) -> Result:
        """What came of it, each failure as small as it gets."""
        deterministic = self.setup.settings.supports.deterministic
        self._separate_state()
        prosecution = Prosecution(self.setup, self.name, None if self.interactions is None else self.passed)
        tallies = {}
        for name in property_names.PROPERTIES:
            reason = "" if self.checked[name] else self._why_not(name, deterministic)
            tallies[name] = Tally(self.checked[name], len(self.failed.get(name, [])), reason)
        return Result(
            self.name,
            self.setup.dtype,
            self.n_cases,
            self.n_unsupported,
            self.max_bound_ratio,
            self.max_ulp,
            tuple(prosecution.failure(name, findings) for name, findings in self.failed.items()),
            self.skipped,
            tallies,
        )

    def _why_not(self, name: str, deterministic: bool) -> str:
        if (name == property_names.DETERMINISTIC and not deterministic) or (
            name == property_names.ERRORS and not self.setup.settings.supports.errors
        ):
            return "not claimed"
        style = self.setup.candidate.style
        if name == property_names.KIND and style == "out":
            return "nothing is returned"
        if name in (property_names.WRITTEN, property_names.OUTSIDE) and style != "out":
            return "it takes no out="
        return "no such case was judged"

    def _separate_state(self) -> None:
        """What fails only after other calls is no wrong value: it is the state that is wrong."""
        one, stale = self.setup.crew.one, property_names.STALE
        for property_ in sorted(STATEFUL & self.failed.keys()):
            found = sorted(self.failed[property_], key=lambda each: coverage.size(each[0]))
            stateful = []
            for source, finding in found[:FRESH]:
                if finding.crash or not one.forget() or one.examine(source, property_).lacks(property_):
                    break
                stateful.append((source, finding))
            if not stateful:
                continue
            kept = [] if len(stateful) == min(FRESH, len(found)) else found[len(stateful) :]
            self.failed[property_] = kept
            if not kept:
                del self.failed[property_]
            source, finding = stateful[0]
            text = f"right as the first call of a process; wrong after others ({property_}):\n{finding.text}"
            self.failed.setdefault(stale, [(source, Finding(stale, text, finding.comparison))])
            self.checked[stale] = max(1, self.checked[stale])


def sections(setup: Setup) -> Iterator[Section]:
    """All sections of one dtype, each gone through."""
    candidate, supports = setup.candidate, setup.supports
    generated = Section(setup, GENERATED, coverage.Interactions(candidate.op, (setup.dtype,), supports))
    generated.generate(lambda round_, cases: _recipes(setup, round_, cases))
    yield generated
    if supports.errors:
        misuse = Section(setup, MISUSE)
        misuse.go_through(wrongs(_recipes(setup, 0, MISUSED)))
        if not misuse.n_cases:
            misuse.skipped = "there is no such call that it takes"
        yield misuse
    for name, sources in FIXED.items() if candidate.op == "conv2d" else ():
        fixed = Section(setup, name)
        try:
            fixed.go_through([each for each in sources(setup.dtype, setup.settings.seed) if supports.allows(each)])
            if not fixed.n_cases:
                fixed.skipped = "the candidate takes none of them"
        except DataUnavailable as reason:
            fixed.skipped = str(reason)
        yield fixed


def _recipes(setup: Setup, round_: int, cases: int) -> Iterator[Recipe]:
    """The plan of a round: the first one's seed is the campaign's."""
    seed = setup.settings.seed
    if round_:  # sums would make two seeds share cases
        seed = int(np.random.SeedSequence([seed, round_]).generate_state(1, np.uint64)[0])
    return plan(setup.candidate.op, [setup.dtype], setup.supports, cases, seed)
