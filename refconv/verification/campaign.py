"""Campaigns: many cases put to one candidate, section by section, and what came of it.

Knows Hypothesis, which generates cases and shrinks a failing one to a minimal one.
"""

import contextlib
import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis.errors import Flaky
from hypothesis.strategies import SearchStrategy

from refconv import formats
from refconv.bounds import ErrorModel
from refconv.case import OPERATORS, Case
from refconv.compare import Comparison
from refconv.geometry import choice, integer
from refconv.recipes import Recipe
from refconv.strategies import recipes
from refconv.verification import coverage
from refconv.verification.candidates import Candidate, find
from refconv.verification.judgement import Fault, Unsupported, judge
from refconv.verification.layers import DataUnavailable, Source, digit_layers, documentation_examples
from refconv.verification.program import program
from refconv.verification.report import Failure, Report, Result

GENERATED, EXAMPLES, DIGITS = "generated cases", "documentation examples", "handwritten digits"
FIXED = {EXAMPLES: documentation_examples, DIGITS: digit_layers}

# A round of generated cases of which none is judged ends the section: this many cases at least have been tried then.
SMALLEST_ROUND = 100

# What the contract lets be generated only for a candidate that is said to take it.
SUPPORTS = ("string_padding", "unbatched")

# A candidate that refuses more than this, for each case asked for, is not asked further.
MOST_REFUSED = 20

LARGEST_SEED = 2**63 - 1

Progress = Callable[[str, int, int], None]


def verify(  # noqa: PLR0913 - the contract's options
    candidate: Callable[..., Any],
    op: str = "conv2d",
    *,
    dtypes: Sequence[str] = ("float32",),
    cases: int = 1000,
    seed: int = 0,
    arrays: str = "numpy",
    supports: Mapping[str, bool] | None = None,
    model: ErrorModel | None = None,
    progress: Progress | None = None,
) -> Report:
    """Put a candidate to the test: on generated cases, on torch's documentation examples, and on real images.

    Parameters
    ----------
    candidate : callable
        Called as torch.nn.functional.conv2d is, positionally: `candidate(input, weight, bias, stride, padding,
        dilation, groups)`, where the bias may be None, and stride, padding and dilation are pairs (h, w). It may raise
        NotImplementedError for what it does not support: such cases are counted, and count as nothing else.
    op : {"conv2d"}
        The operator that the candidate claims to be.
    dtypes : sequence of str
        Dtypes to test, float or integer.
    cases : int
        Number of generated cases for each dtype.
    seed : int
        From 0 to 2**63 - 1; another seed gives other cases. The same one gives the same, except that Hypothesis also
        draws from the constants that it finds in the source of the modules under test.
    arrays : {"numpy", "torch"}
        The kind of arrays that the candidate takes and returns.
    supports : mapping of str to bool, optional
        What may be generated besides: `{"string_padding": True}` for "same" and "valid", `{"unbatched": True}` for
        inputs (C_in, H, W).
    model : ErrorModel, optional
        What the candidate says of how it computes; by default that it sums directly, in float32 or wider. Outputs that
        are suspicious under it count as failures.
    progress : callable, optional
        Called with a section's name, the number of cases done and the number of cases in all.

    Returns
    -------
    Report
        Its `ok` is the verdict; its `failures` hold the smallest case found for each property violated.

    Raises
    ------
    GeometryError, TypeError
        For a wrong argument.

    Examples
    --------
    >>> import refconv
    >>> report = verify(refconv.conv2d, cases=20)
    >>> report.ok, report.failures
    (True, [])
    """
    found = Candidate(candidate, arrays, find(candidate))
    return run(found, op, dtypes=dtypes, cases=cases, seed=seed, supports=supports, model=model, progress=progress)


def run(
    candidate: Candidate,
    op: str,
    *,
    dtypes: Sequence[str],
    cases: int,
    seed: int,
    supports: Mapping[str, bool] | None = None,
    model: ErrorModel | None = None,
    progress: Progress | None = None,
) -> Report:
    """As `verify`, for a candidate of known origin."""
    choice("op", op, OPERATORS)
    integer("cases", cases, 1)
    integer("seed", seed, 0, LARGEST_SEED)
    limits = checked(supports or {})
    names = tuple(map(str, formats.SUPPORTED))
    if not dtypes:
        raise ValueError(f"dtypes={dtypes!r}: must name one at least of {', '.join(names)}")
    results = []
    covered: Counter[str] = Counter()
    for dtype in dict.fromkeys(choice("dtype", dtype, names) for dtype in dtypes):
        generated = _Section(candidate, GENERATED, dtype, model, progress)
        strategy = recipes(op, dtypes=[dtype], unbatched=limits["unbatched"], string_padding=limits["string_padding"])
        generated.generate(strategy, cases, seed)
        covered += generated.covered
        results.append(generated.result())
        for section, sources in FIXED.items():
            fixed = _Section(candidate, section, dtype, model, progress)
            try:
                fixed.go_through(sources(dtype, seed))
            except DataUnavailable as reason:
                fixed.skipped = str(reason)
            results.append(fixed.result())
    return Report(tuple(results), dict(covered.most_common()))


def checked(supports: Mapping[str, Any]) -> dict[str, bool]:
    """What a candidate is said to take, all names and values looked at; False for what is not named."""
    if not isinstance(supports, Mapping):
        raise TypeError(f"supports={supports!r}: must be a mapping of names to True or False")
    for name, value in supports.items():
        choice("supports", name, SUPPORTS)
        if not isinstance(value, bool):
            raise TypeError(f"supports[{name!r}]={value!r}: must be True or False")
    return {name: bool(supports.get(name)) for name in SUPPORTS}


class _Section:
    """A section while it runs: what was judged so far, and what failed."""

    def __init__(
        self, candidate: Candidate, name: str, dtype: str, model: ErrorModel | None, progress: Progress | None
    ) -> None:
        self.candidate, self.name, self.dtype, self.model, self.progress = candidate, name, dtype, model, progress
        self.n_cases = self.n_unsupported = self.max_ulp = 0
        self.max_bound_ratio = 0.0
        self.covered: Counter[str] = Counter()
        self.faults: dict[str, tuple[Fault, Source]] = {}  # the last one of each property
        self.unreliable = False
        self.skipped = ""

    def generate(self, sources: SearchStrategy[Recipe], cases: int, seed: int) -> None:
        """Judge generated cases until there are enough; shrink what fails.

        Hypothesis may end a round early, and the candidate may refuse cases: rounds go on until one brings nothing.
        """
        for round_ in itertools.count():
            before = self.n_cases

            @hypothesis.seed(f"{seed} {self.dtype} {round_}")
            @settings(_SETTINGS, max_examples=max(cases - before, SMALLEST_ROUND))
            @hypothesis.given(sources)
            def candidate_is_right(source: Recipe) -> None:
                if self.n_cases < cases or self.faults:
                    self._judge(source, cases)

            self._round(candidate_is_right)
            refused = self.n_unsupported >= MOST_REFUSED * cases
            if self.faults or self.n_cases >= cases or self.n_cases == before or refused:
                return

    def _round(self, candidate_is_right: Callable[[], None]) -> None:
        try:
            candidate_is_right()
        except* Flaky:
            self.unreliable = True
        except* Fault:
            pass  # noted when it was raised; last of all Hypothesis has run the minimal case of each

    def go_through(self, sources: Sequence[Source]) -> None:
        """Judge given cases, up to the first that fails."""
        with contextlib.suppress(Fault):
            for source in sources:
                self._judge(source, len(sources))

    def _judge(self, source: Source, total: int) -> None:
        """Judge one case. A fault is noted and raised; after the first, Hypothesis shrinks and nothing is counted."""
        case, counting = source.case(), not self.faults
        try:
            comparison = judge(self.candidate, case, self.model)
        except Unsupported:
            self.n_unsupported += counting
            return
        except Fault as fault:
            self.faults[fault.property] = fault, source
            if counting:
                self._count(case, fault.comparison, total)
            raise
        if counting:
            self._count(case, comparison, total)

    def _count(self, case: Case, comparison: Comparison | None, total: int) -> None:
        self.n_cases += 1
        self.covered.update(coverage.classes(case))
        if comparison:
            self.max_ulp = max(self.max_ulp, comparison.max_ulp)
            self.max_bound_ratio = max(self.max_bound_ratio, comparison.max_bound_ratio)
        if self.progress:
            self.progress(f"{self.name}, {self.dtype}", min(self.n_cases, total), total)

    def result(self) -> Result:
        """What came of it."""
        return Result(
            self.name,
            self.dtype,
            self.n_cases,
            self.n_unsupported,
            self.max_bound_ratio,
            self.max_ulp,
            tuple(self._failure(fault, source) for fault, source in self.faults.values()),
            self.skipped,
        )

    def _failure(self, fault: Fault, source: Source) -> Failure:
        case = source.case()
        text = fault.text + "\n  (not every call with this case fails)" * self.unreliable
        snippet = program(self.candidate, case, source, fault.property, self.model)
        return Failure(fault.property, self.name, self.dtype, case, fault.comparison, text, snippet)


_SETTINGS = settings(
    settings.get_profile("default"),  # not the caller's profile: the same seed is to give the same cases everywhere
    database=None,
    deadline=None,
    derandomize=False,
    phases=(Phase.generate, Phase.shrink),
    verbosity=Verbosity.quiet,
    # A candidate may be slow, and `verify` may be called from a property test.
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.nested_given),
)
