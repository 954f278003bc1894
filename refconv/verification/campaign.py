"""Campaigns: many cases put to one candidate, section by section, and what came of it.

Knows plans, examiners, shrinking, diagnosis and reports, and puts them together; not how any of them works.
"""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from refconv.cases.plan import plan
from refconv.cases.recipe import Recipe
from refconv.cases.shrink import shrink
from refconv.cases.supports import Supports
from refconv.core import formats
from refconv.core.checks import choice, integer
from refconv.judge.bounds import ErrorModel
from refconv.judge.case import Case
from refconv.verification.candidate.arrangements import possible
from refconv.verification.candidate.candidate import Candidate, find
from refconv.verification.diagnose.diagnosis import diagnose
from refconv.verification.diagnose.evidence import Evidence
from refconv.verification.diagnose.findings import Diagnosis
from refconv.verification.examine import property_names
from refconv.verification.examine.crew import Crew, crew
from refconv.verification.examine.examiner import Examination, Finding
from refconv.verification.examine.journal import Journal
from refconv.verification.examine.worker import MOST_CRASHES
from refconv.verification.examine.wrong_arguments import Wrong, wrongs
from refconv.verification.real_layers import DataUnavailable, digit_layers, documentation_examples
from refconv.verification.report import coverage
from refconv.verification.report.expected_failures import Expected
from refconv.verification.report.report import Failure, Report, Result, Tally
from refconv.verification.report.reproducer import example, program

GENERATED, EXAMPLES, DIGITS, MISUSE = (
    "generated cases", "documentation examples", "handwritten digits", "wrong arguments",
)  # fmt: skip
FIXED = {EXAMPLES: documentation_examples, DIGITS: digit_layers}

DEFAULT_DTYPES = {"conv2d_integer": ("uint8", "int8"), "conv2d_quantized": ("uint8", "int8")}

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

EVIDENCE = 40, 120  # failing and passing cases that the diagnosis may look at

LARGEST_SEED = 2**63 - 1

Progress = Callable[[str, int, int], None]
Source = Any  # a Recipe, a DigitLayer or a Wrong: what an examiner can look at


@dataclass(frozen=True)
class Settings:
    """What is asked of a campaign."""

    cases: int = 1000
    seconds: float | None = None
    seed: int = 0
    model: ErrorModel | None = None
    supports: Supports = field(default_factory=Supports)
    supported: Callable[[Case], bool] | None = None
    expected: Expected = field(default_factory=Expected)
    jobs: int = 1
    executor: Executor | None = None
    isolate: bool | None = None
    time_limit: float = 20.0
    resume: Path | None = None
    progress: Progress | None = None

    @property
    def identity(self) -> tuple[Any, ...]:
        """All that the cases and what is found of them depend on."""
        supported = None if self.supported is None else find(self.supported)
        return self.cases, self.seed, str(self.model), self.supports, supported


def verify(  # noqa: PLR0913 - the contract's options
    candidate: Callable[..., Any],
    op: str = "conv2d",
    *,
    dtypes: Sequence[str] | None = None,
    cases: int = 1000,
    seconds: float | None = None,
    seed: int = 0,
    model: ErrorModel | None = None,
    arrays: str = "numpy",
    style: str = "return",
    supports: Mapping[str, Any] | Callable[[Case], bool] | None = None,
    expected_failures: str | Path | None = None,
    jobs: int = 1,
    executor: Executor | None = None,
    isolate: bool | None = None,
    time_limit: float = 20.0,
    resume: str | Path | None = None,
    progress: Progress | None = None,
) -> Report:
    """Put a candidate to the test: on generated cases and, a conv2d, on torch's examples and on real images.

    Parameters
    ----------
    candidate : callable
        Called as torch's function is, positionally: for a conv2d `candidate(input, weight, bias, stride, padding,
        dilation, groups)`, where the bias may be None, and stride, padding and dilation are pairs (h, w). It may raise
        NotImplementedError for what it does not support: such cases are counted, and count as nothing else.
    op : str
        The operator that the candidate claims to be: "conv2d", "conv_transpose2d", "conv2d_input", "conv2d_weight",
        "conv2d_bias", "conv2d_integer" or "conv2d_quantized".
    dtypes : sequence of str, optional
        Dtypes to test; float32 if not given, uint8 and int8 for the last two operators.
    cases : int
        Number of generated cases for each dtype.
    seconds : float, optional
        Time to spend on generated cases, of all dtypes together, however many cases that makes: then `cases` does not
        count.
    seed : int
        From 0 to 2**63 - 1; the same one gives the same cases, whatever examines them.
    model : ErrorModel, optional
        What the candidate says of how it computes; by default that it sums directly, in float32 or wider. Outputs that
        are suspicious under it count as failures.
    arrays : {"numpy", "torch", "cupy", "numba", "jax"}
        The kind of arrays that the candidate takes and returns. "numba" is Numba's device arrays, which without a GPU
        need the environment variable NUMBA_ENABLE_CUDASIM=1: Numba's simulator, for which large cases count as
        unsupported.
    style : {"return", "out"}
        Whether it returns its result, or writes it to an array that it gets as its last positional argument.
    supports : mapping or callable, optional
        What may be generated, see `refconv.Supports`; or a function of a case, True for what is supported. A
        method `supports` of the candidate does the same. All that torch's function takes, if not given.
    expected_failures : path, optional
        A file of failures that are known: they do not count. docs/verify.md has its form.
    jobs : int
        Number of processes.
    executor : concurrent.futures.Executor, optional
        Who runs the cases in its processes, which must be able to load the candidate: a ProcessPoolExecutor, or what
        dask.distributed's `Client.get_executor()` returns.
    isolate : bool, optional
        Whether the candidate runs in a process of its own, so that a crash or an endless loop is a failure like any
        other. By default, if it can be loaded there: a function that a module has, not one made in a function.
    time_limit : float
        Seconds that one case may take in such a process; ten times that for the first.
    resume : path, optional
        A file that what is done is written to; if it is there already, what stands in it is not done again.
    progress : callable, optional
        Called with a section's name, the number of cases done and the number of cases in all.

    Returns
    -------
    Report
        Its `ok` is the verdict; its `failures` hold the smallest case found for each property violated.

    Raises
    ------
    GeometryError, TypeError, ValueError
        For a wrong argument.
    BackendUnavailable, ModuleNotFoundError
        For a kind of arrays that there can't be here.

    Examples
    --------
    >>> import refconv
    >>> report = verify(refconv.conv2d, cases=20, isolate=False)
    >>> report.ok, report.failures
    (True, [])
    """
    found = Candidate(candidate, arrays, find(candidate), style, op)
    allowed, supported = limits(candidate, supports)
    settings = Settings(
        cases=integer("cases", cases, 1),
        seconds=seconds,
        seed=integer("seed", seed, 0, LARGEST_SEED),
        model=model,
        supports=allowed,
        supported=supported,
        expected=Expected() if expected_failures is None else Expected.read(expected_failures),
        jobs=integer("jobs", jobs, 1),
        executor=executor,
        isolate=isolate,
        time_limit=time_limit,
        resume=None if resume is None else Path(resume),
        progress=progress,
    )
    return run(found, settings, dtypes)


def run(candidate: Candidate, settings: Settings, dtypes: Sequence[str] | None = None) -> Report:
    """As `verify`, for a candidate of known origin."""
    start = time.monotonic()
    known = tuple(map(str, formats.SUPPORTED))
    wanted = DEFAULT_DTYPES.get(candidate.op, ("float32",)) if dtypes is None else dtypes
    if isinstance(wanted, str):
        raise TypeError(f"dtypes={wanted!r}: must be a sequence of names, not one")
    if not wanted:
        raise ValueError(f"dtypes={dtypes!r}: must name one at least of {', '.join(known)}")
    found = tuple(dict.fromkeys(choice("dtype", dtype, known) for dtype in wanted))
    if settings.seconds is not None and not isinstance(settings.seconds, int | float):
        raise TypeError(f"seconds={settings.seconds!r}: must be a number")
    if settings.seconds is not None and not settings.seconds > 0:
        raise ValueError(f"seconds={settings.seconds}: must be positive")
    if settings.resume is not None and not candidate.target:
        raise ValueError(f"resume={str(settings.resume)!r}: must not be given for what no module has at its top level")
    with (
        crew(candidate, settings) as hands,
        Journal(settings.resume, (*candidate.identity, settings.identity)) as log,
    ):
        sections = [
            section
            for dtype in found
            for section in _Campaign(candidate, settings, hands, log, dtype, len(found)).sections()
        ]
        results = tuple(section.result for section in sections)
        notes = [*hands.notes, *log.notes]
    covered = sum((section.classes for section in sections), Counter[str]())
    interactions = [section.interactions for section in sections if section.interactions is not None]
    report = Report(
        results,
        dict(covered.most_common()),
        interactions=sum(interactions[1:], interactions[0]) if interactions else None,
        notes=tuple(notes),
        op=candidate.op,
        target=candidate.target,
        seconds=time.monotonic() - start,
        seed=settings.seed,
        model="" if settings.model is None else str(settings.model),
        deterministic=settings.supports.deterministic,
    )
    checked = {
        (candidate.op, dtype, name): bool(tally.failed)
        for name, of_dtype in report.properties.items() for dtype, tally in of_dtype.items() if tally.checked
    }  # fmt: skip
    return replace(report, notes=(*notes, *settings.expected.unmatched(checked)))


def limits(
    candidate: Any, supports: Mapping[str, Any] | Callable[[Case], bool] | None
) -> tuple[Supports, Callable[[Case], bool] | None]:
    """What may be generated, and a function that says of a case whether it is supported.

    An attribute `supports` of the candidate says either; what is named besides counts more.
    """
    own = getattr(candidate, "supports", None)
    named = [each for each in (own, supports) if isinstance(each, Mapping)]
    parsed = Supports.parse({name: value for each in named for name, value in each.items()})
    if supports is not None and not callable(supports) and not isinstance(supports, Mapping):
        raise TypeError(f"supports={supports!r}: must be a mapping, or a function of a case")
    return parsed, next((each for each in (supports, own) if callable(each)), None)


class _Campaign:
    """One dtype of a campaign."""

    def __init__(
        self, candidate: Candidate, settings: Settings, hands: Crew, log: Journal, dtype: str, dtypes: int
    ) -> None:
        self.candidate, self.settings, self.hands, self.log, self.dtype = candidate, settings, hands, log, dtype
        self.seconds = None if settings.seconds is None else settings.seconds / dtypes
        # Of any dtype: the result may be of another one than the operands.
        can = [each for each in settings.supports.views if possible(each, candidate.arrays, "float64")]
        self.supports = replace(settings.supports, views=tuple(can), out=candidate.style == "out")

    def sections(self) -> Iterator["_Section"]:
        """All sections, each gone through."""
        supports = self.supports
        generated = _Section(self, GENERATED, coverage.Interactions(self.candidate.op, (self.dtype,), supports))
        generated.generate(self._recipes)
        yield generated
        if supports.errors:
            misuse = _Section(self, MISUSE)
            misuse.go_through(wrongs(self._recipes(0, MISUSED)))
            if not misuse.n_cases:
                misuse.skipped = "there is no such call that it takes"
            yield misuse
        for name, sources in FIXED.items() if self.candidate.op == "conv2d" else ():
            fixed = _Section(self, name)
            try:
                allowed = [each for each in sources(self.dtype, self.settings.seed) if supports.allows(each)]
                fixed.go_through(allowed)
                if not fixed.n_cases:
                    fixed.skipped = "the candidate takes none of them"
            except DataUnavailable as reason:
                fixed.skipped = str(reason)
            yield fixed

    def _recipes(self, round_: int, cases: int | None = None) -> Iterator[Recipe]:
        settings = self.settings
        seed = settings.seed
        if round_:  # sums would make two seeds share cases
            seed = int(np.random.SeedSequence([seed, round_]).generate_state(1, np.uint64)[0])
        return plan(self.candidate.op, [self.dtype], self.supports, cases or settings.cases, seed)


class _Section:
    """A section while it runs: what was judged so far, and what failed."""

    def __init__(self, campaign: _Campaign, name: str, interactions: coverage.Interactions | None = None) -> None:
        self.campaign, self.name, self.interactions = campaign, name, interactions
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
        settings = self.campaign.settings
        seconds = self.campaign.seconds
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
        key = f"{self.name}, {self.campaign.dtype}"
        for source, found in self.campaign.hands.examine(
            sources, self.campaign.log.of(key, self.n_cases + self.n_unsupported)
        ):
            self._note(source, found)
            if self.campaign.settings.progress:
                self.campaign.settings.progress(key, min(self.n_cases, total), total)
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
        campaign = self.campaign
        deterministic = campaign.settings.supports.deterministic
        self._separate_state()
        tallies = {}
        for name in property_names.PROPERTIES:
            reason = "" if self.checked[name] else self._why_not(name, deterministic)
            tallies[name] = Tally(self.checked[name], len(self.failed.get(name, [])), reason)
        return Result(
            self.name,
            campaign.dtype,
            self.n_cases,
            self.n_unsupported,
            self.max_bound_ratio,
            self.max_ulp,
            tuple(self._failure(name, found) for name, found in self.failed.items()),
            self.skipped,
            tallies,
        )

    def _why_not(self, name: str, deterministic: bool) -> str:
        if (name == property_names.DETERMINISTIC and not deterministic) or (
            name == property_names.ERRORS and not self.campaign.settings.supports.errors
        ):
            return "not claimed"
        style = self.campaign.candidate.style
        if name == property_names.KIND and style == "out":
            return "nothing is returned"
        if name in (property_names.WRITTEN, property_names.OUTSIDE) and style != "out":
            return "it takes no out="
        return "no such case was judged"

    def _failure(self, property_: str, found: Sequence[tuple[Source, Finding]]) -> Failure:
        campaign = self.campaign
        source, finding = min(found, key=lambda each: coverage.size(each[0]))
        reliable = True
        if isinstance(source, Recipe):
            source, finding, reliable = self._shrunk(property_, source, finding)
        text = finding.text + "\n  (not every call with this case fails)" * (not reliable)
        settings = campaign.settings
        case: Any = source.misuse() if isinstance(source, Wrong) else source.case()
        recipe = source.recipe if isinstance(source, Wrong) else source
        return Failure(
            property_,
            self.name,
            campaign.dtype,
            case,
            finding.comparison,
            text,
            program(
                campaign.candidate, source, property_, settings.model, deterministic=settings.supports.deterministic
            ),
            example(source),
            self._diagnosis(property_, found),
            recipe if isinstance(recipe, Recipe) else None,
            settings.expected.reason(campaign.candidate.op, campaign.dtype, property_),
        )

    def _shrunk(self, property_: str, recipe: Recipe, finding: Finding) -> tuple[Recipe, Finding, bool]:
        """The simplest recipe that still fails, with its finding, and whether it does so every time."""
        examine, supports = self.campaign.hands.one.examine, self.campaign.supports
        last: dict[Recipe, Finding] = {recipe: finding}

        def fails(simpler: Recipe) -> bool:
            found = examine(simpler, property_).lacks(property_)
            if found is not None:
                last[simpler] = found
            return found is not None

        with self.campaign.hands.one.impatient() if finding.crash else nullcontext():
            smallest = shrink(recipe, fails, supports, crash=finding.crash)
            if finding.crash or not self.campaign.hands.one.forget() or fails(smallest):
                again = fails(smallest)
                return smallest, last[smallest], again
            # It failed only after others: the case as it was found says more.
            again = fails(recipe)
            return recipe, last[recipe], again

    def _diagnosis(self, property_: str, found: Sequence[tuple[Source, Finding]]) -> Diagnosis | None:
        if self.interactions is None:
            return None
        call = self.campaign.hands.one.call
        crash = any(finding.crash for _, finding in found)  # then it is not called any more
        failing, passing = _spread([source for source, _ in found], EVIDENCE[0]), _spread(self.passed, EVIDENCE[1])
        fault = "crash" if crash else property_
        evidence = [Evidence(each, each.case(), self._returned(each, True, crash), True, fault) for each in failing]
        evidence += [Evidence(each, each.case(), self._returned(each, False, crash), False) for each in passing]
        return diagnose(evidence, self.campaign.candidate.op, lambda _case, recipe: None if crash else call(recipe))

    def _returned(self, recipe: Recipe, bad: bool, crash: bool) -> Any:
        """What the candidate returned; where it must not be called again, what it must have."""
        if crash:
            return None if bad else recipe.case().expected()
        return self.campaign.hands.one.call(recipe)

    def _separate_state(self) -> None:
        """What fails only after other calls is no wrong value: it is the state that is wrong."""
        one, stale = self.campaign.hands.one, property_names.STALE
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


def _spread(sources: Sequence[Source], number: int) -> list[Source]:
    """So many of them, from the smallest to the largest: small ones say what is wrong, larger ones when."""
    ordered = sorted(sources, key=coverage.size)
    return ordered if len(ordered) <= number else [ordered[n * len(ordered) // number] for n in range(number)]
