"""Sections: the cases of one kind and dtype put to a candidate, what was counted, and what failed.

Knows plans, crews and the prosecution; not how a case is examined, nor how a failure is explained.
"""

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from refconv.cases.huge import Huge, huge_cases
from refconv.cases.layers import NARROW
from refconv.cases.own import GivenCase, listed, shapes_within
from refconv.cases.own import drawn as own_recipes
from refconv.cases.recipe import Recipe
from refconv.core.errors import GeometryError
from refconv.verification import causes, drawing, separation
from refconv.verification.candidate.kernelbench import Unbounded
from refconv.verification.drawing import affordable, recipes
from refconv.verification.examine import property_names
from refconv.verification.examine.examination import Examination, Finding
from refconv.verification.examine.model_runs import NO_BOUND, ModelRun
from refconv.verification.examine.worker import MOST_CRASHES
from refconv.verification.examine.wrong_arguments import wrongs
from refconv.verification.faults import of_caller
from refconv.verification.memory import available
from refconv.verification.prosecution import EVIDENCE, Prosecution
from refconv.verification.real_layers import DataUnavailable, digit_layers, documentation_examples
from refconv.verification.report import coverage
from refconv.verification.report.results import Failure, Result, Tally
from refconv.verification.settings import Source
from refconv.verification.setup import Setup
from refconv.verification.wrong_use import Watch

GENERATED, OWN, HUGE, EXAMPLES, DIGITS, MISUSE, RUNS = (
    "generated cases", "own cases", "huge cases", "documentation examples", "handwritten digits", "wrong arguments",
    "runs of the model",
)  # fmt: skip
FIXED = {EXAMPLES: documentation_examples, DIGITS: digit_layers}

SMALLEST_ROUND = 100  # cases tried at least in a further round: one in which no case is judged ends the section
MOST_REFUSED = 20  # cases refused, for each case asked for, that end the section
MOST_FAILED = 200  # failures that end the section, if no other number is asked for: more say nothing new
MEASURED = 50  # cases by which the candidate is measured, before any that is wide
MOST_FAULTS = 20  # faults of refconv's own that end the section
FIXED_SECONDS = 10.0  # that one of the fixed cases may take
MOST_REFUSALS, LONGEST_REFUSAL = 3, 80  # of the candidate's words for cases that it does not take, and letters
MISUSED = 300  # recipes that calls with wrong arguments are made from
RUNS_OF_MODEL = 10  # of a model that is no convolution alone: its inputs are large, and none is made for it
OF_OWN = 4  # cases of each shape that a candidate's file names
KILLED = "exit status -9"


class Section:
    """A section while it runs: counts of the cases judged so far, and the findings about those that failed.

    Parameters
    ----------
    setup
        What the sections of one dtype share.
    name
        The section's name, one of the four above.
    interactions
        Counts the combinations of factor levels, of generated cases; None in the other sections.
    """

    def __init__(self, setup: Setup, name: str, interactions: coverage.Interactions | None = None) -> None:
        self.setup, self.name, self.interactions = setup, name, interactions
        self.n_cases = self.n_unsupported = self.max_ulp = self.total = 0
        self.asked: int | None = None
        self.crashed = self.unexpected = self.left_out = self.n_faults = 0
        self.watch = Watch(setup.candidate, setup.supports, setup.crew.single_examiner.examine)
        self.largest = setup.settings.largest or math.inf
        self.max_bound_ratio = 0.0
        self.classes: Counter[str] = Counter()
        self.sizes: Counter[str] = Counter()  # the largest of each kind that were judged
        self.refusals: Counter[str] = Counter()
        self.times: list[tuple[int, float]] = []  # products and seconds of generated cases
        self.checked: Counter[str] = Counter()
        self.failed: dict[str, list[tuple[Source, Finding]]] = {}
        self.passed: list[Source] = []
        self.skipped = ""
        self.further_notes: list[str] = []

    def generate(self, recipes: Callable[[int, int], Iterator[Recipe]]) -> None:
        """Judge generated cases until there are enough, or time is up.

        The candidate may refuse cases: then there are further rounds, until one in which no case is judged.
        """
        settings = self.setup.settings
        seconds = self.setup.seconds
        self.asked = settings.cases if seconds is None else None
        end = None if seconds is None else time.monotonic() + seconds
        for round_ in itertools.count():
            before = self.n_cases
            tried = settings.cases if end or not round_ else max(settings.cases - before, SMALLEST_ROUND)
            stream = recipes(round_, tried)
            if not round_:
                stream = self._measured(stream, end)
            if not self._ended():
                self._judge(filter(self._is_affordable, stream), settings.cases, end)
            if end is None:
                enough = self.n_cases >= settings.cases or self.n_unsupported >= MOST_REFUSED * settings.cases
            else:
                enough = time.monotonic() >= end
            if self._ended() or enough or self.n_cases == before:
                break

    def _measured(self, recipes: Iterator[Recipe], end: float | None) -> Iterator[Recipe]:
        """Judge the first cases but for wide ones, to see how fast the candidate is; what is left of the recipes."""
        first = list(itertools.islice(recipes, MEASURED * self.setup.settings.sets))
        narrow = [recipe for recipe in first if recipe.geometry.products <= NARROW]
        self._judge(filter(self._is_affordable, narrow), self.setup.settings.cases, end)
        if self.setup.settings.largest is None:
            self.largest = affordable(self.times)
        return itertools.chain((recipe for recipe in first if recipe.geometry.products > NARROW), recipes)

    def _is_affordable(self, recipe: Recipe) -> bool:
        is_affordable = recipe.geometry.products <= self.largest
        self.left_out += not is_affordable
        return bool(is_affordable)

    @property
    def notes(self) -> list[str]:
        """What the reader should know of the cases."""
        notes = [f"{self.name}, {self.setup.dtype}: {note}" for note in self.further_notes]
        if self.n_unsupported > self.n_cases:
            told = "; ".join(f"{times} times: {words}" for words, times in self.refusals.most_common(MOST_REFUSALS))
            notes.append(f"{self.name}, {self.setup.dtype}: refused {self.n_unsupported} cases, {told}")
        if not self.left_out:
            return notes
        left_out = f"{self.left_out} cases of more than {self.largest:,.0f} products were left out"
        why = "the candidate would take longer for them than for all others (largest= sets another limit)"
        if self.interactions is None:
            why = f"largest= says so, or one of them would take the candidate more than {FIXED_SECONDS:g} s"
        elif self.setup.settings.largest is not None:
            why = "what the candidate supports has no smaller ones"
        return [*notes, f"{self.name}, {self.setup.dtype}: {left_out}: {why}"]

    def go_through_huge(self, largest: float) -> None:
        """Judge the huge cases that memory and the candidate's speed allow, and note which are left out."""
        memory = self.setup.settings.memory or 0
        taken = []
        for huge in huge_cases(self.setup.dtype, self.setup.settings.seed):
            if huge.bytes > memory:
                self.further_notes.append(f"left out for want of memory ({memory / 2**30:.1f} GiB): {huge}")
            elif huge.geometry.products > largest:
                self.further_notes.append(f"left out, for it has more than {largest:,.0f} products: {huge}")
            elif self.setup.supports.allows(huge):
                taken.append(huge)
        self.go_through(taken)
        if not self.n_cases and not self.n_faults:
            self.skipped = "the candidate takes none of them"
        for name, findings in self.failed.items():
            self.failed[name] = [(source, _explained(source, finding)) for source, finding in findings]

    def go_through_fixed(self, layers_of: Callable[[str, int], Sequence[Source]], largest: float) -> None:
        """Judge the fixed cases that the candidate takes, and is not too slow for."""
        setup, self.largest = self.setup, largest
        try:
            layers = list(map(setup.supports.of_every_call, layers_of(setup.dtype, setup.settings.seed)))
        except DataUnavailable as reason:
            self.skipped = str(reason)
            return
        self.go_through([layer for layer in layers if setup.supports.allows(layer) and self._is_affordable(layer)])
        if not self.n_cases and not self.n_faults:
            limit = "" if largest == math.inf else f", or none has at most {largest:,} products"
            self.skipped = f"the candidate takes none of them{limit}"

    def go_through_own(self) -> None:
        """Judge the cases that the caller gave, and others of the same shapes."""
        setup, settings = self.setup, self.setup.settings
        given = [
            setup.supports.of_every_call(entry.call) if entry.made else entry.called_as(setup.supports)
            for entry in settings.own
            if isinstance(entry, GivenCase) and entry.dtype == setup.dtype
        ]
        sources = [*given, *own_recipes(setup.candidate.op, setup.dtype, setup.supports, settings.cases, settings.seed)]
        self.asked = len(sources)
        self.go_through(sources)

    def go_through(self, sources: Sequence[Source]) -> None:
        """Judge each of the cases."""
        self._judge(iter(sources), len(sources), None)

    def _judge(self, sources: Iterator[Source], total: int, end: float | None) -> None:
        key, self.total = f"{self.name}, {self.setup.dtype}", total
        journal = self.setup.journal.of(key, self.n_cases + self.n_unsupported + self.n_faults)
        for source, examination in self.setup.crew.examine(sources, journal):
            self._note(source, examination)
            if self.interactions is not None and examination.supported:
                self.times.append((source.geometry.products, examination.seconds))
            if self.setup.settings.progress and (examination.supported or examination.fault):
                failed = ", ".join(f"{name} {len(findings)}" for name, findings in self.failed.items())
                label = f"{key}; failed: {failed}" if failed else key
                with of_caller():
                    self.setup.settings.progress(label, min(self.n_cases, total), total)
            enough = self.n_cases >= total if end is None else time.monotonic() >= end
            if self._ended() or enough:
                break
        self.watch.settle()

    def _ended(self) -> bool:
        most = self.setup.settings.max_failures or MOST_FAILED
        return self.crashed >= MOST_CRASHES or self.unexpected >= most or self.n_faults >= MOST_FAULTS

    def _note(self, source: Source, examination: Examination) -> None:
        interactions = self.interactions
        if examination.fault:
            self.n_faults += 1
            self.setup.faults.note(f"judging {source}", examination.fault)
            return
        if not examination.supported:
            self.n_unsupported += 1
            words = " ".join(examination.refusal.split())[:LONGEST_REFUSAL]
            self.refusals[words or "no reason given"] += 1
            if interactions is not None:
                interactions.add_unsupported(source)
            return
        self.watch.look(source, examination)
        self.n_cases += 1
        self.sizes |= Counter(coverage.extent(source))
        self.checked.update(examination.checked)
        self.max_ulp = max(self.max_ulp, examination.max_ulp)
        self.max_bound_ratio = max(self.max_bound_ratio, examination.max_bound_ratio)
        for finding in examination.findings:
            if finding.property not in self.failed:
                lines = finding.text.strip().splitlines() or [""]
                line = lines[-1] if lines[0].startswith("Traceback") else lines[0]  # which says what was raised
                self._tell(f"{finding.property} fails: {line.strip()}")
            self.failed.setdefault(finding.property, []).append((source, finding))
            cause = causes.cause(finding, None)
            known = self.setup.settings.expected.may_be(
                self.setup.candidate.op, self.setup.dtype, finding.property, cause
            )
            self.unexpected += not known
            self.crashed += finding.crash and not known
        if not examination.findings and len(self.passed) < 10 * EVIDENCE[1]:
            self.passed.append(source)
        if interactions is not None and property_names.VALUES in examination.checked:
            interactions.add(source)
        if interactions is not None:
            self.classes.update(coverage.classes(source))

    def _tell(self, line: str) -> None:
        if self.setup.settings.tell:
            with of_caller():
                self.setup.settings.tell(f"{self.name}, {self.setup.dtype}: {line}")

    @property
    def result(self) -> Result:
        """The section's result, with the smallest case found for each failure."""
        faults = self.setup.faults
        with faults.noted(f"telling stale state from wrong values in {self.name}"):
            separation.state(self.setup, self.failed, self.checked)
        with faults.noted(f"judging images and groups by themselves in {self.name}"):
            separation.parts(self.setup, self.failed)
        wrong = [
            source for name, findings in self.failed.items() if name != property_names.RETURNS for source, _ in findings
        ]
        passed = None if self.name in (MISUSE, HUGE, RUNS) else self.passed
        prosecution = Prosecution(self.setup, self.name, passed, [*self.passed, *wrong])
        tallies = {}
        for name in property_names.PROPERTIES:
            reason = "" if self.checked[name] else self._why_not(name)
            tallies[name] = Tally(self.checked[name], len(self.failed.get(name, [])), reason)
        return Result(
            self.name,
            self.setup.dtype,
            self.n_cases,
            self.n_unsupported,
            self.max_bound_ratio,
            self.max_ulp,
            tuple(self._failures(prosecution)),
            self.skipped,
            tallies,
            self._why_ended(),
            self.asked,
        )

    def _failures(self, prosecution: Prosecution) -> Iterator[Failure]:
        """The failures of all properties, with progress: each may take seconds."""
        for done, (name, findings) in enumerate(self.failed.items(), 1):
            made: list[Failure] = []
            faults = self.setup.faults
            if name not in self.setup.told:
                self._tell(f"{name}: made small, and its cause looked for ({self.setup.stopwatch.left:.0f} s at most)")
            with faults.noted(f"telling causes of {name!r} in {self.name} apart"):
                prosecution.failures(name, findings, made)
            if not made:
                with faults.noted(f"telling what fails {name!r} in {self.name}"):
                    made.append(prosecution.bare(name, findings))
            if any(not failure.expected for failure in made):
                self.setup.told.add(name)
            yield from made
            if self.setup.settings.progress:
                label = f"{self.name}, {self.setup.dtype}: failures made small"
                with of_caller():
                    self.setup.settings.progress(label, done, len(self.failed))

    def _why_ended(self) -> str:
        """Why the section ended before its last case, with how many it did not try; empty if it did not."""
        generated = self.interactions is not None  # then a refused case is replaced by another
        left = self.total - self.n_cases - self.n_faults - (0 if generated else self.n_unsupported)
        why = f"{self.crashed} crashes" if self.crashed >= MOST_CRASHES else f"{self.unexpected} failures"
        why = f"{self.n_faults} faults of refconv's own" if self.n_faults >= MOST_FAULTS else why
        if not self._ended():
            return ""
        if generated and self.setup.seconds is not None:
            return f"ended early after {why}, before its time was up"
        return f"ended early after {why}: {left} of {self.total} cases were not tried" if left > 0 else ""

    def _why_not(self, name: str) -> str:
        """Why a property was not checked."""
        if name in property_names.CLAIMED and name not in self.setup.settings.claims:
            return "not claimed"
        style = self.setup.candidate.style
        if name == property_names.KIND and style == "out":
            return "nothing is returned"
        if name in (property_names.WRITTEN, property_names.OUTSIDE) and style != "out":
            return "it takes no out="
        return "no such case was judged"


def sections(setup: Setup) -> Iterator[Section]:
    """All sections of one dtype; the cases of each have been judged when it is yielded."""
    candidate, supports = setup.candidate, setup.supports
    if isinstance(candidate.function, Unbounded):
        runs = Section(setup, RUNS)
        with setup.faults.noted(f"going through {RUNS}"):
            runs.go_through([ModelRun(setup.settings.seed + number) for number in range(RUNS_OF_MODEL)])
        runs.further_notes.append(NO_BOUND)
        yield runs
        return
    if setup.settings.own:
        section = Section(setup, OWN)
        with setup.faults.noted(f"going through {OWN}"):
            section.go_through_own()
        yield section
        if supports.errors:
            yield _misused(setup, own_recipes(candidate.op, setup.dtype, supports, MISUSED, setup.settings.seed))
        return
    generated = Section(setup, GENERATED, coverage.Interactions(candidate.op, (setup.dtype,), supports))
    with setup.faults.noted(f"going through {GENERATED}"):
        generated.generate(lambda round_, cases: recipes(setup, round_, cases))
    yield generated
    if setup.settings.huge:
        huge = Section(setup, HUGE)
        with setup.faults.noted(f"going through {HUGE}"):
            huge.go_through_huge(generated.largest)
        yield huge
    if supports.errors:
        yield _misused(setup, recipes(setup, 0, MISUSED))
    if candidate.shapes:
        own = Section(setup, OWN)
        with setup.faults.noted(f"going through {OWN}"):
            own.go_through_fixed(partial(_of_own_shapes, setup), setup.settings.largest or math.inf)
        yield own
    for name, sources in FIXED.items() if candidate.op == "conv2d" and setup.settings.examples else ():
        fixed = Section(setup, name)
        with setup.faults.noted(f"going through {name}"):
            fixed.go_through_fixed(sources, setup.settings.largest or drawing.within(FIXED_SECONDS, generated.times))
        yield fixed


def _of_own_shapes(setup: Setup, dtype: str, seed: int) -> list[Recipe]:
    """A few cases of each shape that the candidate's file names, if memory holds it."""
    op, shapes = setup.candidate.op, setup.candidate.shapes
    try:
        within = shapes_within(listed(shapes, op), available())
        supports = replace(setup.supports, largest=None).of_shapes(within)
    except GeometryError as why:
        raise DataUnavailable(str(why)) from why
    return list(own_recipes(op, dtype, supports, OF_OWN * len(shapes), seed))


def _misused(setup: Setup, sound: Iterator[Recipe]) -> Section:
    """The section of calls that must be refused, each made of a sound one."""
    misuse = Section(setup, MISUSE)
    with setup.faults.noted(f"going through {MISUSE}"):
        misuse.go_through(wrongs(sound))
    if not misuse.n_cases and not misuse.n_faults:
        misuse.skipped = "there is no such call that it takes"
    return misuse


def _explained(huge: Huge, finding: Finding) -> Finding:
    """The finding, with the memory that the case takes if the process was killed, as systems do where memory ends."""
    if not (finding.crash and KILLED in finding.text):
        return finding
    text = (
        f"{finding.text}\n  killed, as where memory runs out; the call's own arrays, and a copy of the largest: {huge}"
    )
    return replace(finding, text=text)
