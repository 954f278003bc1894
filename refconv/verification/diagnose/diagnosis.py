"""Diagnosis: which known mistake a failing candidate makes; failing that, when and where it is wrong.

Knows mutants, error models, conditions and positions; not how the cases came about, and not the candidate but through
one function that calls it once more.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias, TypeVar

import numpy as np

from refconv.cases.recipe import Recipe
from refconv.core import formats
from refconv.core.errors import GeometryError
from refconv.judge.bounds import ErrorModel
from refconv.judge.case import Case
from refconv.mutants import Mutant
from refconv.mutants import all as all_mutants
from refconv.verification.candidate.candidate import Candidate, Unsupported
from refconv.verification.diagnose import regions
from refconv.verification.diagnose.altered_calls import Alteration, alterations
from refconv.verification.diagnose.conditions import Levels, conditions, shared
from refconv.verification.examine import property_names

LIKELY = 16  # mutants that are compared closely, not a time: the same cases get the same diagnosis
FIRST, FAILING, PASSING = 4, 24, 80  # cases that all mutants are tried on, and those that fit them
CRASH = "crash"  # the fault of a candidate that ended its process, or did not end: no mutant does that
LARGEST = 300_000  # multiplications of a case that mutants are tried on, if there are smaller ones
CLAIM = 0.9  # of the wrong outputs that a mutant must predict for the candidate to behave like it
LARGELY, AKIN = 0.75, 0.2  # to be like it in part: more than rules say, or if these say nothing
FEW, BESIDES = 3, 0.25  # failing cases; passing ones, for each of them, that a mutant must be wrong on to be gated
LEANING = 0.3  # of the passing cases that lack a condition that the class is guessed by
BY_CHANCE = 1e-3  # a probability that does not count
ASIDE = 0.1  # of the passing cases that it may be wrong on without a reason

Call = Callable[[Case, Recipe], np.ndarray | None]
Suspect: TypeAlias = Mutant | Alteration
_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Evidence:
    """One case that the candidate was given.

    Attributes
    ----------
    recipe, case
        What it was given.
    actual : ndarray or None
        What it returned, as (N, C, H, W); None if nothing.
    failed : bool
        Whether that was wrong.
    fault : str
        Which property does not hold: "values", "deterministic", "returns", ...
    """

    recipe: Recipe
    case: Case
    actual: np.ndarray | None
    failed: bool
    fault: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """What a candidate seems to do.

    Attributes
    ----------
    kind : str
        Class of the bug, as of `refconv.mutants`; empty if nothing is typical of one.
    mutant : str
        Name of the mutant that behaves the same; or empty.
    text : str
        What to print.
    matches, compared : int
        Wrong outputs that the mutant predicts, and those compared.
    conditions : tuple of str
        What all failing cases share and (almost) all passing ones lack.
    positions : tuple of str
        Where outputs are wrong, and how.
    """

    kind: str
    mutant: str
    text: str
    matches: int = 0
    compared: int = 0
    conditions: tuple[str, ...] = ()
    positions: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.text


def diagnose(
    evidence: Sequence[Evidence],
    op: str,
    call: Call,
    *,
    mutants: Iterable[Mutant] | None = None,
    levels: Levels | None = None,
) -> Diagnosis:
    """Say what a failing candidate seems to do.

    Parameters
    ----------
    evidence : sequence of Evidence
        Failing and passing cases, the more the better.
    op : str
        The operator.
    call : callable
        Calls the candidate once more: `call(case, recipe)`, None if it raises.
    mutants : iterable of Mutant, optional
        What to compare with; all of the operator.
    levels : callable, optional
        Factors and levels of a recipe, for the conditions.

    Examples
    --------
    >>> from refconv.core.geometry import convolution
    >>> recipes = [
    ...     Recipe(convolution((1, 2, 7, 7), (2, 2, 3, 3), None, 1, 0, d, 1, "zeros"), 0) for d in (1, (2, 1), (1, 3))
    ... ]
    >>> def square(case, recipe):
    ...     *rest, dilation, groups = case.arguments()
    ...     return refconv.conv2d(*rest, dilation[0], groups)
    >>> import refconv
    >>> evidence = [
    ...     Evidence(each, each.case(), actual := square(each.case(), each), not each.case().check(actual).ok)
    ...     for each in recipes
    ... ]
    >>> diagnose(evidence, "conv2d", square).kind
    'axis_mixup'
    """
    failing = [_Failing(each) for each in evidence if each.failed]
    # A result without elements is right whatever a kernel does.
    passing = [each for each in evidence if not each.failed and each.actual is not None and each.actual.size]
    if not failing:
        return Diagnosis("", "", "nothing failed")
    failing.sort(key=lambda each: each.rank)
    fault = failing[0].evidence.fault
    if all(each.right for each in _spread(failing, FAILING)):
        return Diagnosis(FAULTS.get(fault, ""), "", f"a single call is right; what does not hold is {fault!r}")
    found = _Findings(op, failing, passing, _repeatable(failing, call), levels)
    stale = _stale(failing, call) if found.repeatable else ""
    if stale:
        return found.diagnosis(
            "state_race", f"a call with another {stale} gives the same as before: it keeps the first"
        )
    kind = next((kind for kind, holds in RULES if holds(found)), "")
    suspects: list[Suspect] = [each for each in (all_mutants() if mutants is None else mutants) if found.may_be(each)]
    if not found.raised:  # an alteration raises where there is no such call: that explains nothing
        suspects += alterations()
    matches = _matches(suspects, found, kind) if found.repeatable else []
    sure = next((each for each in matches if each.share >= CLAIM and each.explains(found)), None)
    if sure:
        return _like(sure, found)
    model = _sound_under(failing)
    if model:
        return found.diagnosis("accum_dtype", f"sound under {model}: computes as that model says")
    partly = next((each for each in matches if each.share >= LARGELY and each.unlike <= ASIDE), None)
    if not kind and not partly and matches:
        partly = matches[0]
    return _like(partly, found) if partly else found.diagnosis(kind, "like none of the known mistakes")


# --- what is known of a failing case


class _Failing:
    """A failing case: what had to come, and where what came is wrong."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence, self.case, self.recipe = evidence, evidence.case, evidence.recipe
        self.actual = evidence.actual
        self.key = self.case, self.recipe
        self.exact = self.recipe.fill in ("integers", "positions")
        self.size = _multiplications(self.case)
        self.rank = (not self.exact, self.size > LARGEST, abs(self.size - 2000))

    @cached_property
    def standard(self) -> tuple[np.ndarray, np.ndarray]:
        """What had to come, and how far from it an output may lie."""
        found = self.case.standard()
        return found.expected, found.bound

    @cached_property
    def misshapen(self) -> bool:
        """Whether shape or dtype are wrong."""
        expected = self.standard[0]
        return self.actual is not None and (self.actual.shape, self.actual.dtype) != (expected.shape, expected.dtype)

    @cached_property
    def wrong(self) -> np.ndarray:
        """Which elements of what came are wrong."""
        if self.actual is None:
            return np.ones(1, bool)
        if self.misshapen:
            return np.ones(self.actual.shape, bool)
        return ~(self.case.check(self.actual).ratio <= 1)

    @property
    def right(self) -> bool:
        """Whether the numbers are right, and something else is wrong."""
        return self.actual is not None and self.case.check(self.actual).ok

    @property
    def nonzero(self) -> bool:
        """Whether a wrong element is not 0."""
        return self.actual is None or bool(self.actual[self.wrong].any())

    def agreement(self, predicted: np.ndarray | None) -> tuple[int, int, int]:
        """Wrong elements that a mutant predicts, their number, and those that it alone gets wrong."""
        number = int(self.wrong.sum())
        if self.actual is None or predicted is None:
            same = self.actual is None and predicted is None and self.evidence.fault != CRASH
            return number * same, number, 0
        if predicted.shape != self.actual.shape or predicted.dtype != self.actual.dtype:
            return 0, number, 1
        if self.misshapen:
            return int(_close(predicted, self.actual, None).sum()), number, 0
        expected, bound = self.standard
        strays = ~_close(predicted, expected, bound)
        equal = _close(predicted, self.actual, None if self.exact else bound) & strays
        return int((equal & self.wrong).sum()), number, int((strays & ~self.wrong).sum())

    @cached_property
    def view(self) -> regions.Wrong | None:
        """For naming positions; None if there is nothing to look at."""
        if self.actual is None or self.misshapen:
            return None
        arrays = [self.wrong, self.actual, self.standard[0]]
        mask, actual, expected = (each[None] if each.ndim == 3 else each for each in arrays)
        bias = getattr(self.case, "bias", None)
        return regions.Wrong(self.case.op, self.case.geometry, mask, actual, expected, bias)


def _close(left: np.ndarray, right: np.ndarray, bound: np.ndarray | None) -> np.ndarray:
    """Equality of numbers, NaN and NaN included; or a distance of twice the bound at most."""
    with np.errstate(all="ignore"):
        same: np.ndarray = (left == right) | ((left != left) & (right != right))
        if bound is None or left.dtype in formats.INTEGERS:
            return same
        wide = np.complex128 if left.dtype in formats.COMPLEX else np.float64
        same |= np.abs(left.astype(wide) - right.astype(wide)) <= 2 * np.abs(bound)
        return same


def _repeatable(failing: Sequence[_Failing], call: Call) -> bool:
    """Whether the candidate, called again, does the same."""
    for each in failing[:FIRST]:
        again = call(*each.key)
        if (again is None) != (each.actual is None):
            return False
        if again is None or each.actual is None:
            continue
        if again.shape != each.actual.shape or not _close(again, each.actual, None).all():
            return False
    return True


def _stale(failing: Sequence[_Failing], call: Call) -> str:
    """The operand that makes no difference, if there is one only: then the candidate keeps an earlier one."""
    ignored = []
    seeded = [each for each in failing if each.recipe.fill != "positions"]
    for each in seeded[:2]:
        again = call(*each.key)
        other = replace(each.recipe, seed=each.recipe.seed + 1).case()
        operands = list(each.case.arrays)[:2]
        if again is None or not again.size or len(operands) < 2:
            return ""
        for name in operands:
            changed = replace(each.case, **{name: getattr(other, name)})
            result = call(changed, each.recipe)
            if result is not None and result.shape == again.shape and _close(result, again, None).all():
                ignored.append(name)
    return ignored[0] if len(ignored) == min(2, len(seeded)) > 0 and len(set(ignored)) == 1 else ""


# --- mutants


@dataclass(frozen=True)
class _Match:
    """How well a mutant explains what failed, and what passed."""

    mutant: Suspect
    share: float  # of the wrong outputs that it predicts, the mean over cases
    matches: int = 0
    compared: int = 0
    whole: tuple[int, int] = (0, 0)  # failing cases of which it predicts all wrong outputs, and all
    strays: float = 0.0  # of the failing cases in which it is wrong where the candidate is right
    unlike: float = 0.0  # of the passing cases in which it is wrong
    gate: tuple[str, ...] = ()  # what tells these from the failing ones

    def explains(self, found: "_Findings") -> bool:
        """Whether there is a reason for the candidate to be right where the mutant is not."""
        return self.unlike <= ASIDE or bool(self.gate) or (self.strays >= CLAIM and bool(found.regions))

    def key(self, kind: str) -> tuple[float, ...]:
        """The larger the better; of equals one of the class that rules say, then the shortest."""
        score = self.share - 0.3 * self.unlike - 0.1 * self.strays
        return round(score, 2), self.mutant.kind == kind, -len(self.mutant.summary)


def _matches(mutants: Sequence[Suspect], found: "_Findings", kind: str) -> list[_Match]:
    """The mutants that explain something, the best first."""
    failing = [each for each in found.failing if each.wrong.any()]
    small = [each for each in failing if each.size <= LARGEST] or failing[:1]
    if not small:
        return []
    first = [_tried(each, _spread(small, FIRST)) for each in mutants]
    likely = sorted((each for each in first if each.share >= AKIN / 2), key=lambda each: -each.share)
    others = _spread([each for each in found.passing if _multiplications(each.case) <= LARGEST], PASSING)
    matches: list[_Match] = []
    for each in likely[:LIKELY]:
        again = _tried(each.mutant, _spread(small, FAILING))
        if again.share >= AKIN:
            matches.append(_compared(again, found, others))
    return sorted(matches, key=lambda each: each.key(kind), reverse=True)


def _multiplications(case: Case) -> int:
    g = case.geometry
    return math.prod(g.output_shape) * g.terms


def _spread(cases: Sequence[_T], number: int) -> Sequence[_T]:
    """Some of them, from first to last."""
    if len(cases) <= number:
        return cases
    return [cases[round(each)] for each in np.linspace(0, len(cases) - 1, number)]


def _tried(mutant: Suspect, failing: Sequence[_Failing]) -> _Match:
    counts = [each.agreement(_run(mutant, *each.key)) for each in failing]
    shares = [matches / number for matches, number, _ in counts]
    return _Match(
        mutant,
        share=float(np.mean(shares)),
        matches=sum(matches for matches, _, _ in counts),
        compared=sum(number for _, number, _ in counts),
        whole=(sum(matches == number for matches, number, _ in counts), len(counts)),
        strays=float(np.mean([strays > 0 for _, _, strays in counts])),
    )


def _compared(match: _Match, found: "_Findings", passing: Sequence[Evidence]) -> _Match:
    """With what the mutant does on passing cases."""
    unlike = [each for each in passing if not _right(each.case, _run(match.mutant, each.case, each.recipe))]
    gate = conditions([each.key for each in found.failing], [(each.case, each.recipe) for each in unlike], found.levels)
    share = len(unlike) / max(1, len(passing))
    # A kernel that is right now and then by chance has no gate; and of one failing case or two anything may be one.
    seldom = len(found.failing) < FEW or share * len(found.passing) < BESIDES * len(found.failing)
    return replace(match, unlike=share, gate=() if seldom else gate)


def _right(case: Case, predicted: np.ndarray | None) -> bool:
    """Whether a mutant does the right thing."""
    if predicted is None:
        return False
    standard = case.standard()
    if (predicted.shape, predicted.dtype) != (standard.expected.shape, standard.expected.dtype):
        return False
    return bool(_close(predicted, standard.expected, standard.bound).all())


def _run(suspect: Suspect, case: Case, recipe: Recipe) -> np.ndarray | None:
    """What a suspect returns, None if it raises."""
    if isinstance(suspect, Mutant):
        candidate = Candidate(suspect.function, style=suspect.style, op=suspect.op)
        try:
            return candidate.call(case, memory=candidate.memory(recipe)).result
        except Unsupported:
            return None
    try:
        return suspect(case)
    except (GeometryError, OverflowError):
        return None


# --- error models

MODELS = (
    "direct:float32,flush_to_zero", "direct:float32", "bf16x3", "tf32", "tf32:truncate", "direct:float32,float16",
    "direct:float32,bfloat16", "direct:float16", "direct:bfloat16", "winograd:2,3", "winograd:4,3", "fft",
)  # fmt: skip


def _sound_under(failing: Sequence[_Failing]) -> str:
    """An error model under which no failing case fails, if there is one."""
    if any(each.actual is None or each.misshapen for each in failing):
        return ""
    if any(each.actual is not None and each.actual.dtype in formats.INTEGERS for each in failing):
        return ""
    for name in MODELS:
        model = ErrorModel.parse(name)
        verdicts = [_accepts(model, each) for each in _spread(failing, FAILING)]
        accepted = sum(map(bool, verdicts)) >= CLAIM * len(verdicts)  # in narrow formats numbers may overflow
        # A bound that lets numbers become zero is vacuous where they are small; then they have to be zero.
        flushed = model.flush_to_zero and not any(each.nonzero for each in failing)
        if accepted and (flushed or 2 * verdicts.count("within bound") >= len(verdicts)):
            return name
    return ""


def _accepts(model: ErrorModel, failing: _Failing) -> str:
    """The verdict under a model, if it is a good one; "vacuous" where it says nothing."""
    try:
        comparison = failing.case.check(failing.actual, model)
    except GeometryError:  # no such convolution under this model
        return ""
    return ("vacuous" if comparison.vacuous else "within bound") if comparison.ok else ""


# --- what is typical of a class


class _Findings:
    """Everything that is known but for mutants: what rules look at."""

    def __init__(
        self,
        op: str,
        failing: Sequence[_Failing],
        passing: Sequence[Evidence],
        repeatable: bool,
        levels: Levels | None,
    ) -> None:
        self.op, self.failing, self.passing, self.repeatable, self.levels = op, failing, passing, repeatable, levels

    @cached_property
    def conditions(self) -> tuple[str, ...]:
        """What failing cases share and passing ones lack."""
        return conditions(
            [each.key for each in self.failing], [(each.case, each.recipe) for each in self.passing], self.levels
        )

    def may_be(self, mutant: Mutant) -> bool:
        """Whether a mutant is one of the operator, and of the formats that failed."""
        dtypes = {each.recipe.dtype for each in self.failing}
        if mutant.op != self.op or (mutant.style == "out" and not self.written):
            return False
        return mutant.kind != "accum_dtype" or mutant.dtypes == ("float32",) or dtypes <= {*mutant.dtypes}

    @property
    def written(self) -> bool:
        """Whether the candidate writes to an array that it is given."""
        return any("written" in each.evidence.fault or "output" in dict(each.recipe.memory) for each in self.failing)

    @cached_property
    def leaning(self) -> tuple[str, ...]:
        """As `conditions`, but what fewer passing cases lack will do."""
        passing = [(each.case, each.recipe) for each in self.passing]
        return conditions([each.key for each in self.failing], passing, lacking=LEANING)

    @cached_property
    def shared(self) -> frozenset[str]:
        """All that the failing cases share."""
        return shared([each.key for each in self.failing])

    @cached_property
    def lie_so(self) -> bool:
        """Whether all failing cases have the same array not contiguous, and that can't be by chance."""
        if self.conditions:
            return False
        for name in (each for each in self.shared if each.endswith("not contiguous")):
            often = sum(name in shared([(each.case, each.recipe)]) for each in self.passing) / max(1, len(self.passing))
            if often ** len(self.failing) < BY_CHANCE:
                return True
        return False

    @cached_property
    def views(self) -> list[regions.Wrong]:
        """The outputs that have the right shape."""
        return [each.view for each in self.failing if each.view is not None]

    @cached_property
    def regions(self) -> tuple[str, ...]:
        """Where they are wrong."""
        return regions.regions(self.views) if len(self.views) == len(self.failing) else ()

    @cached_property
    def values(self) -> tuple[str, ...]:
        """What is the matter with the values, in (almost) all cases."""
        views = [each.view for each in self.failing if each.exact and each.view is not None] or self.views
        views = [each for each in views if each.mask.any() and each.mask.size <= LARGEST]
        found = Counter(name for each in views for name in regions.values(each))
        return tuple(name for name, times in found.items() if times >= CLAIM * len(views))

    @cached_property
    def sizes(self) -> tuple[str, ...]:
        """What is the matter with wrong shapes."""
        shapes = [
            regions.Shapes(each.actual.shape, each.standard[0].shape, each.case.geometry)
            for each in self.failing
            if each.actual is not None
        ]
        return regions.sizes(shapes, self.op)

    @property
    def raised(self) -> bool:
        """Whether nothing came of any failing case."""
        return all(each.actual is None for each in self.failing)

    @cached_property
    def positions(self) -> tuple[str, ...]:
        """Where and how outputs are wrong, in words."""
        return (*self.regions[:2], *self.values, *self.sizes)

    def when(self, *starts: str) -> bool:
        """Whether one of these is among the conditions."""
        return any(each.startswith(starts) for each in self.conditions)

    def where(self, *starts: str) -> bool:
        """Whether one of these is among the regions."""
        return any(each.startswith(starts) for each in self.regions[:2])

    def diagnosis(self, kind: str, text: str) -> Diagnosis:
        """A diagnosis with conditions and positions."""
        parts = [text]
        if not self.repeatable:
            parts.append("called again it gives another result")
        if self.raised:
            parts.append("raises")
        if self.conditions:
            parts.append("when: " + " and ".join(self.conditions))
        if self.positions:
            parts.append("wrong: " + "; ".join(self.positions))
        return Diagnosis(kind, "", "\n  ".join(parts), conditions=self.conditions, positions=self.positions)


def _like(match: _Match, found: _Findings) -> Diagnosis:
    """A candidate that behaves like a mutant, always or on some paths."""
    mutant = match.mutant
    source = f" (as in {mutant.source})" if mutant.source else ""
    often = match.share >= CLAIM
    equal = f"{match.matches} of {match.compared} wrong outputs equal"
    if not often:
        equal += f", in {match.whole[0]} of {match.whole[1]} failing cases all of them"
    lines = [f"behaves {'like' if often else 'in part like'} {mutant.summary}{source}: {equal}"]
    kind = mutant.kind
    if match.gate:
        lines.append("but only when: " + " and ".join(match.gate))
        kind = _gated(mutant, match.gate)
    elif match.unlike > ASIDE and match.strays >= CLAIM:
        lines.append("but only: " + found.regions[0])
        kind = next((name for name, holds in RULES if name in OF_REGIONS and holds(found)), kind)
    return Diagnosis(
        kind,
        mutant.name,
        "\n  ".join(lines),
        match.matches,
        match.compared,
        match.gate or found.conditions,
        found.positions,
    )


# Under which conditions a mistake is one of another class, and of which classes it may be for that; all if empty.
GATES: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("degenerate", ("output of one pixel", "no images"), ()),
    ("layout_stride", ("input not", "weight not", "grad_output not", "layout"), ()),
    ("nonfinite", ("NaN or infinity",), ()),
    ("large_index", ("an axis of 65536", "more than 65535"), ()),
    ("pad_side", ("padding mode", "unequal sides", "padding on one side", "padding 'same'"), ("param_ignored",)),
    (
        "fastpath_gate",
        (
            "dilation",
            "even dilation",
            "stride",
            "1x1",
            "3x3",
            "kernel 1",
            "even kernel",
            "narrow",
            "8-bit",
            "channels a",
        ),
        ("param_ignored", "axis_mixup", "groups_indexing"),
    ),
)


def _gated(mutant: Suspect, gate: tuple[str, ...]) -> str:
    """The class of a mistake that is made under a condition only."""
    if mutant.name.startswith("bias"):
        return "bias_handling"
    for kind, conditions_, kinds in GATES:
        if any(each.startswith(conditions_) for each in gate) and (not kinds or mutant.kind in kinds):
            return kind
    return mutant.kind


OF_REGIONS = ("tile_tail", "pad_boundary", "large_index")

# What it is if single calls are right, by the property that does not hold.
FAULTS = {
    property_names.STALE: "state_race",
    property_names.DETERMINISTIC: "state_race",
    property_names.INPUTS: "state_race",
    property_names.VIEWS: "layout_stride",
    property_names.OUTSIDE: "layout_stride",
    property_names.BATCH: "batch_reduction",
    property_names.GROUPS: "groups_indexing",
    property_names.ERRORS: "degenerate",
}

# What is typical of a class; the first that holds counts.
RULES: tuple[tuple[str, Callable[[_Findings], bool]], ...] = (
    ("degenerate", lambda f: f.when("no images", "an empty axis", "output of one pixel") or f.shared >= {"no images"}),
    ("state_race", lambda f: not f.repeatable and not f.where("last", "rows beyond", "columns beyond")),
    ("large_index", lambda f: f.when("an axis of", "more than 65535", "more than 255")),
    ("layout_stride", lambda f: f.when("layout") or any("not contiguous" in c for c in f.conditions) or f.lie_so),
    ("nonfinite", lambda f: "NaN or infinity" in f.shared),
    ("quant_padding", lambda f: f.op in ("conv2d_integer", "conv2d_quantized") and f.when("padding", "zero points")),
    ("bias_handling", lambda f: f.when("bias") or "the bias is missing or another channel's" in f.values),
    ("axis_mixup", lambda f: any("other axis" in each for each in f.sizes)),
    ("groups_indexing", lambda f: bool(f.sizes) and f.when("groups", "depthwise", "grouped")),
    ("shape_formula", lambda f: bool(f.sizes) and f.when("padding 'same'") and f.when("dilation", "even dilation")),
    ("pad_side", lambda f: f.when("unequal sides", "padding 'same'", "padding mode", "padding on one side")),
    ("shape_formula", lambda f: bool(f.sizes) and f.op not in ("conv_transpose2d", "conv2d_input", "conv2d_weight")),
    ("shape_formula", lambda f: f.op == "conv_transpose2d" and any(": without" in each for each in f.sizes)),
    ("transposed_geometry", lambda f: bool(f.sizes) and f.op == "conv_transpose2d"),
    ("bwd_geometry", lambda f: bool(f.sizes)),
    ("quant_padding", lambda f: f.where("where") and "8-bit integers" in f.shared),
    ("pad_boundary", lambda f: f.where("where") or f.when("output smaller")),
    ("pad_boundary", lambda f: f.where("last row", "last column") and "even kernel" in f.shared),
    ("fastpath_gate", lambda f: f.where("rows off", "columns off")),
    ("batch_reduction", lambda f: f.where("images after") or f.when("more than one image")),
    ("batch_reduction", lambda f: "the right values in other places" in f.values and "more than one image" in f.shared),
    ("groups_indexing", lambda f: f.where("groups after", "last group") and "groups > 1" in f.shared),
    ("tile_tail", lambda f: f.when("channels no", "channels of a group no", "filters no", "taps no")),
    ("tile_tail", lambda f: f.where("last", "rows beyond", "columns beyond", "channels beyond", "pixels beyond")),
    ("transposed_geometry", lambda f: f.op == "conv_transpose2d" and f.when("output padding", "padding")),
    ("bwd_geometry", lambda f: f.when("dilation", "even dilation") and f.op in ("conv2d_input", "conv2d_weight")),
    ("param_ignored", lambda f: f.when("dilation", "even dilation")),
    ("groups_indexing", lambda f: f.when("groups", "depthwise", "grouped")),
    ("groups_indexing", lambda f: "the right values in other places" in f.values and "groups > 1" in f.shared),
    ("accum_dtype", lambda f: any(each.startswith("off by multiples") for each in f.values)),
    ("accum_dtype", lambda f: not any(each.wrong.any() for each in f.failing)),
    ("axis_mixup", lambda f: f.when("unequal")),
    ("fastpath_gate", lambda f: f.when("1x1", "3x3", "narrow")),
    ("pad_boundary", lambda f: f.when("padding")),
    ("param_ignored", lambda f: f.when("stride")),
    ("accum_dtype", lambda f: f.when("a long sum", "real numbers", "8-bit")),
    ("axis_mixup", lambda f: any(each.startswith("unequal") for each in f.leaning)),
    ("kernel_orientation", lambda f: any(each.startswith("kernel longer") for each in (*f.conditions, *f.leaning))),
)
