"""Model runs: a model that no bound is known of, compared with its reference in float32 and in float64.

Knows results as arrays; not what the model computes.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from refconv.core import formats
from refconv.judge.standard import same_values
from refconv.verification.candidate.array_kinds import NO_GPU
from refconv.verification.examine.examination import Examination, Finding, refused
from refconv.verification.examine.property_names import INPUTS, LAYOUT, RETURNS, STALE, VALUES
from refconv.verification.faults import WrongUse

SUSPICIOUS = 8.0  # times the error of the reference in float32: more can't be told from a wrong result
NO_BOUND = "there is no bound of the errors of such a model: they are multiples of those of Model in float32"


@dataclass(frozen=True)
class ModelRun:
    """One run of a model, on inputs and parameters of a seed."""

    seed: int

    def __str__(self) -> str:
        return f"get_init_inputs and get_inputs after torch.manual_seed({self.seed})"

    def case(self) -> "ModelRun":
        """Itself: what a failure shows."""
        return self

    def arguments(self) -> tuple[Any, ...]:
        """None that could be shown: the model's file makes them."""
        return ()


def examine(model: Any, run: ModelRun) -> Examination:
    """The examination of a run of a model, which is an `Unbounded`."""
    try:
        results = model.results(run.seed)
    except WrongUse:
        raise
    except Exception as error:
        if re.search(NO_GPU, str(error)):
            raise WrongUse(f"the model needs a GPU, and torch has none here: {error}") from error
        return Examination(True, (RETURNS,), (Finding(RETURNS, f"{type(error).__name__}: {error}"),))
    (actual, *later), single, double = results.calls, results.single, results.double
    if not np.isfinite(double).any():
        return refused("Model gives no finite number in float64: there is nothing to compare with")
    if (actual.shape, actual.dtype) != (single.shape, single.dtype):
        text = f"shape {actual.shape} and dtype {actual.dtype}: must be {single.shape} and {single.dtype}, as of Model"
        return Examination(True, (RETURNS, LAYOUT), (Finding(LAYOUT, text),))
    ratio, text = compared(actual, single, double)
    findings = [Finding(VALUES, text)] if not ratio <= SUSPICIOUS else []
    findings += [Finding(INPUTS, "the model has changed its inputs")] if results.changed else []
    for number, result in enumerate(later if not findings else (), 2):
        again, told = compared(result, single, double) if result.shape == single.shape else (np.inf, "another shape")
        if not again <= SUSPICIOUS:
            findings.append(Finding(STALE, f"right once, but call {number} on the same inputs: {told}"))
            break
    return Examination(True, (RETURNS, INPUTS, LAYOUT, VALUES, STALE), tuple(findings), max_bound_ratio=ratio)


def compared(actual: np.ndarray, single: np.ndarray, double: np.ndarray) -> tuple[float, str]:
    """The largest error as a multiple of the reference's in float32, and what is to be said of it.

    The reference counts as wrong by half a unit in the last place of its largest result at least.

    >>> compared(np.float32([1.5, 1]), np.float32([1.25, 1]), np.array([1.0, 1]))[0]
    2.0
    """
    if not actual.size:
        return 0.0, "no elements"
    with np.errstate(all="ignore"):
        finite = np.isfinite(double)
        special = ~finite & same_values(single.astype(np.float64), double)  # NaN and infinity that must come out
        if not same_values(actual, single)[special].all():
            return np.inf, "wrong: other numbers where Model gives NaN or infinity"
        if not (np.isfinite(actual) == np.isfinite(single))[finite].all():
            return np.inf, "wrong: NaN or infinity where Model in float32 has numbers, or the other way round"
        shown = finite & np.isfinite(actual)
        wide = np.where(shown, double, 0)
        errors, usual = (np.abs(np.where(shown, result, 0) - wide) for result in (actual, single))
    least = formats.unit_roundoff("float32") * float(np.abs(wide).max(initial=0))
    yardstick = max(float(usual.max(initial=0)), least)
    worst = tuple(map(int, np.unravel_index(int(errors.argmax()), errors.shape)))
    ratio = float(errors[worst]) / yardstick if yardstick else (np.inf if errors[worst] else 0.0)
    text = (
        f"suspicious: the largest error, {errors[worst]:.3g} at {worst}, is {ratio:.3g} times the largest of Model in "
        f"float32, {yardstick:.3g}; above {SUSPICIOUS:g} counts\n"
        f"  actual {actual[worst]!s}, Model in float32 {single[worst]!s}, in float64 {double[worst]!s}\n  {NO_BOUND}"
    )
    return ratio, text
