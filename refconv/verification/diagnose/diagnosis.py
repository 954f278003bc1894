"""Diagnosis: which known mistake a failing candidate makes; if none, when and where it is wrong.

Knows mutants, error models, conditions and positions; not how the cases came about. The candidate is called once more
through one function, and not known otherwise.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np

from refconv.cases.recipe import Recipe
from refconv.core import formats
from refconv.core.errors import GeometryError
from refconv.judge.bounds import ErrorModel, model_of
from refconv.judge.comparison import Comparison
from refconv.mutants import all as all_mutants
from refconv.verification.diagnose.altered_calls import alterations
from refconv.verification.diagnose.evidence import Caller, Evidence, Failing, close, spread
from refconv.verification.diagnose.findings import CLAIM, Diagnosis, Findings, Suspect
from refconv.verification.diagnose.matching import (
    ASIDE,
    FAILING,
    FIRST,
    MOSTLY,
    NEARLY,
    PARTLY,
    Match,
    confirms,
    matches_of,
    predicts,
    told_apart,
)
from refconv.verification.diagnose.rules import FAULTS, OF_REGIONS, RULES, TOGETHER, gated
from refconv.verification.examine.property_names import STALE


def diagnose(
    evidence: Sequence[Evidence],
    op: str,
    call: Caller | None,
    *,
    suspects: Iterable[Suspect] | None = None,
    models: Sequence[str] | None = None,
    experiments: Sequence[Evidence] = (),
    others: Sequence[tuple[Recipe, bool]] = (),
    told: Collection[str] = (),
) -> Diagnosis:
    """Say which mistake a failing candidate seems to make.

    Parameters
    ----------
    evidence : sequence of Evidence
        Failing and passing cases, the more the better.
    op : str
        The operator.
    call : callable or None
        Calls the candidate once more: `call(case, recipe)`, None if it raises. None if it can't be called any more.
    suspects : iterable of Mutant or Alteration, optional
        The mistakes to compare with; all mutants of the operator, and all alterations, if not given.
    models : sequence of str, optional
        The error models that may admit the results, "{accumulator}" for the usual one; all that are known if not given.
    experiments : sequence of Evidence, optional
        Cases around the smallest failing one, that one first: what is said must hold of it, and conditions of all.
    others : sequence of (Recipe, bool), optional
        Further cases of which nothing is known but whether they failed, for the conditions.
    told : collection of str
        Mistakes of other failures of the candidate: of several that explain this one as well such a one is named.

    Examples
    --------
    >>> from refconv.cases.recipe import Recipe
    >>> from refconv.core.geometry import convolution
    >>> recipes = [
    ...     Recipe(convolution((1, 2, 7, 7), (2, 2, 3, 3), None, 1, 0, d, 1, "zeros"), 0) for d in (1, (2, 1), (1, 3))
    ... ]
    >>> def square(case, recipe):
    ...     *rest, dilation, groups = case.arguments()
    ...     return refconv.conv2d(*rest, dilation[0], groups)
    >>> import refconv
    >>> evidence = [
    ...     Evidence(recipe, case := recipe.case(), actual := square(case, recipe), not case.check(actual).ok)
    ...     for recipe in recipes
    ... ]
    >>> diagnose(evidence, "conv2d", square).kind
    'axis_mixup'
    """
    failing = [Failing(item) for item in evidence if item.failed]
    # A result without elements is right whatever a kernel does.
    passing = [item for item in evidence if not item.failed and item.actual is not None and item.actual.size]
    if not failing:
        return Diagnosis("", "", "nothing failed")
    failing.sort(key=lambda case: case.rank)
    fault = failing[0].evidence.fault
    if fault == STALE or all(case.right for case in spread(failing, FAILING)):
        right = TOGETHER.get(fault, "a single call is right")
        return Diagnosis(FAULTS.get(fault, ""), "", f"{right}; what does not hold is {fault!r}")
    repeatable = call is None or _repeatable(failing, call)
    findings = Findings(op, failing, passing, repeatable, experiments, others)
    stale = _stale(failing, call) if call is not None and repeatable else ""
    if stale:
        return findings.diagnosis(
            "state_race", f"a call with another {stale} gives the same as before: it keeps the first"
        )
    kind = next((kind for kind, holds in RULES if holds(findings)), "")
    compared: Iterable[Suspect] = [*all_mutants(), *alterations()] if suspects is None else suspects
    possible = [suspect for suspect in compared if findings.may_be(suspect)]
    matches = matches_of(possible, findings, kind) if findings.repeatable else []
    shares = {match: predicts(match.mutant, findings.around) for match in matches}
    matches = sorted((match for match in matches if shares[match] >= MOSTLY), key=lambda match: -shares[match])
    sure = [match for match in matches if match.explains(findings) and match.share >= CLAIM and match.is_nearly_all]
    sure = [match for match in sure if confirms(match.mutant, findings)]
    if sure:
        alike = told_apart(sure, findings, call)
        return _like(next((match for match in alike if match.mutant.name in told), alike[0]), findings)
    models = (*MODELS, *TRANSFORMS) if models is None else models
    model = _sound_under(findings, models) if fault not in FAULTS else ""  # numbers of a single call are right there
    if model:
        return replace(findings.diagnosis("accum_dtype", _option(model)), model=model)
    partly = next((match for match in matches if match.share >= PARTLY and match.unlike <= ASIDE), None)
    if partly or (not kind and matches):
        kind = (partly or matches[0]).mutant.kind
    return findings.diagnosis(kind, "like none of the known mistakes")


def _repeatable(failing: Sequence[Failing], call: Caller) -> bool:
    """Whether the candidate, called again, returns the same."""
    for case in failing[:FIRST]:
        again = call(*case.key)
        if (again is None) != (case.actual is None):
            return False
        if again is None or case.actual is None:
            continue
        if again.shape != case.actual.shape or not close(again, case.actual, None).all():
            return False
    return True


def _stale(failing: Sequence[Failing], call: Caller) -> str:
    """The one operand that makes no difference to the result: the candidate keeps an earlier one. Empty if none."""
    ignored = []
    seeded = [item for item in failing if item.recipe.fill != "positions"]
    for item in seeded[:2]:
        again = call(*item.key)
        other = item.recipe.reseeded(item.recipe.seed + 1).case()
        operands = list(item.case.arrays)[:2]
        if again is None or not again.size or len(operands) < 2:
            return ""
        for name in operands:
            changed = replace(item.case, **{name: getattr(other, name)})
            result = call(changed, item.recipe)
            if result is not None and result.shape == again.shape and close(result, again, None).all():
                ignored.append(name)
    return ignored[0] if len(ignored) == min(2, len(seeded)) > 0 and len(set(ignored)) == 1 else ""


ADMITTED = 60  # failing cases that a model must admit
MODELS = (
    "direct:{accumulator},flush_to_zero", "direct:{accumulator}", "bf16x3", "tf32", "tf32:truncate",
    "direct:{accumulator},float16", "direct:{accumulator},bfloat16", "direct:float16", "direct:bfloat16",
)  # fmt: skip
# Transforms come last: their bounds admit much that has another reason.
TRANSFORMS = ("winograd:2,3", "winograd:4,3", "winograd:6,3", "winograd:2,5", "winograd:4,5", "fft")
# Formats of operands, by the models' words; they say nothing of a dtype all of whose numbers they have.
OPERANDS = {"tf32": ("float16", "bfloat16"), "float16": ("float16",), "bfloat16": ("bfloat16",),
            "bf16x3": ("float16", "bfloat16")}  # fmt: skip


def _sound_under(findings: Findings, models: Sequence[str]) -> str:
    """The tightest error model under which no failing case fails; that which sums in the operands' dtype first."""
    failing = findings.judged
    if any(case.actual is None or case.misshapen for case in failing):
        return ""
    if any(case.actual is not None and case.actual.dtype in formats.INTEGERS for case in failing):
        return ""
    chosen = spread(failing, ADMITTED)
    dtype = failing[0].recipe.dtype
    claimed = str(model_of(failing[0].evidence.model, failing[0].case) or ErrorModel.inferred(np.dtype(dtype)))
    fitting = {
        name: (name not in TRANSFORMS, name == f"direct:{dtype}", tightness)
        for name in dict.fromkeys(_of_dtype(model, dtype) for model in models)
        if not _changes_nothing(name, dtype) and name != claimed
        if (tightness := _admits(ErrorModel.parse(name), chosen))
    }
    return max(fitting, key=fitting.__getitem__, default="")


def _of_dtype(model: str, dtype: str) -> str:
    """The model with the accumulator that is usual for a dtype."""
    return model.format(accumulator="float64" if dtype in ("float64", "complex128") else "float32")


def _changes_nothing(model: str, dtype: str) -> bool:
    """Whether the operands' format has all numbers of the dtype: then it explains nothing."""
    name, _, arguments = model.partition(":")
    operands = name if name in OPERANDS else arguments.partition(",")[2]
    narrower = dtype.startswith("float8") and operands in OPERANDS
    return dtype in OPERANDS.get(operands, ()) or narrower


def _admits(model: ErrorModel, failing: Sequence[Failing]) -> float:
    """How much of its bound the errors take, in the mean of the cases, if a model admits (almost) all; else 0."""
    comparisons = [_under(model, case) for case in failing]
    accepted = [comparison for comparison in comparisons if comparison is not None and comparison.ok]
    if len(accepted) < NEARLY * len(comparisons):  # in narrow formats numbers may overflow
        return 0.0
    # A bound under which small numbers may become zero is vacuous for them; then the wrong elements must be zero.
    flushed = model.flush_to_zero and not any(case.nonzero for case in failing)
    telling = [comparison.max_bound_ratio for comparison in accepted if not comparison.vacuous]
    if not flushed and 2 * len(telling) < len(comparisons):
        return 0.0
    return 1.0 if flushed else float(np.mean(telling))


def _under(model: ErrorModel, failing: Failing) -> Comparison | None:
    """The judgement under a model; None if there is no such convolution."""
    try:
        return failing.case.check(failing.actual, model)
    except GeometryError:
        return None


def _option(model: str) -> str:
    return f"within the bound of {model} in these cases: --model {model}, if it is meant to compute so"


def _like(match: Match, findings: Findings) -> Diagnosis:
    """A candidate that behaves like a mutant, always or on some paths."""
    mutant = match.mutant
    source = f" (as in {mutant.source})" if mutant.source else ""
    equal = f"{match.matches} of {match.compared} wrong outputs equal"
    lines = [f"behaves like {mutant.summary}{source}: {equal}"]
    kind = mutant.kind
    if match.gate:
        lines.append("but only when: " + " and ".join(match.gate))
        kind = gated(mutant, match.gate)
    elif match.unlike > ASIDE and match.strays >= CLAIM:
        lines.append("but only: " + findings.regions[0])
        kind = next((name for name, holds in RULES if name in OF_REGIONS and holds(findings)), kind)
    if mutant.name.startswith("requantize-") and match.matches == match.compared and not match.gate:
        lines.append(f"right under {mutant.summary} in these cases: claim that, if it is meant to compute so")
    model = _of_dtype(getattr(mutant, "model", ""), findings.judged[0].recipe.dtype)
    if model and _admits(ErrorModel.parse(model), spread(findings.judged, FAILING)):
        lines.append(_option(model))
    else:
        model = ""
    return Diagnosis(
        kind,
        mutant.name,
        "\n  ".join(lines),
        match.matches,
        match.compared,
        findings.conditions,
        findings.positions,
        match.gate,
        model,
    )
