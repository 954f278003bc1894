"""Passage of intervals through the steps of an epilogue, and what may become of NaN and infinity on the way.

Knows steps and intervals; not who computes them.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from refconv.judge.epilogue.enclosures import FACTOR, Interval
from refconv.ops.activations import CLAMPS
from refconv.ops.epilogue import Step

Pairs: TypeAlias = Sequence[tuple[Step, tuple[np.ndarray, ...]]]
Apply: TypeAlias = Callable[[Step, Interval, tuple[np.ndarray, ...]], Interval]


class Special(NamedTuple):
    """What is made of NaN and infinity.

    Attributes
    ----------
    nan : {"nan", "low", "high"}
        NaN in a step that clips: it stays (torch), or becomes a limit: the lower one of fmin(fmax(x, low), high), the
        upper one of fmax(fmin(x, high), low), for fmin and fmax of a number and NaN are the number (IEEE 754-2008,
        5.3.1: minNum and maxNum).
    infinity : {"limit", "nan"}
        An infinity in a function: its limit, or NaN, as infinity times 0 is.
    """

    nan: str = "nan"
    infinity: str = "limit"


USUAL = Special()


def others(steps: Sequence[Step], *, strict: bool) -> Iterator[Special]:
    """What else is accepted of NaN and infinity; `strict` takes only torch's NaN before a clip."""
    clips, functions = (any(belongs(step) for step in steps) for belongs in (_clips, _is_function))
    nans = ("nan", *(("low", "high") if clips and not strict else ()))
    for nan, infinity in itertools.product(nans, ("limit", *["nan"] * functions)):
        if (nan, infinity) != USUAL:
            yield Special(nan, infinity)


def _clips(step: Step) -> bool:
    return step.name in CLAMPS


def _is_function(step: Step) -> bool:
    return not step.operands and step.name != FACTOR and not _clips(step)


class Passed(NamedTuple):
    """Intervals behind an epilogue."""

    ends: Interval
    special: np.ndarray  # where NaN or an infinity was put in
    free: np.ndarray  # where numbers may have become infinite on the way, or NaN


def through(pairs: Pairs, start: Interval, special: np.ndarray, apply: Apply, rules: Special = USUAL) -> Passed:
    """What becomes of intervals, step by step, where a step is done by `apply`.

    Parameters
    ----------
    pairs
        Steps with their operands.
    start
        The sums.
    special
        Where a sum is NaN or infinite for sure: there both ends are.
    apply
        Does a step; ends that become infinite where none was put in are what may overflow.
    rules
        What is made of NaN and infinity.
    """
    x, free = start, np.zeros(start.low.shape, bool)
    with np.errstate(all="ignore"):
        for step, operands in pairs:
            y = apply(step, x, operands)
            for operand in operands:
                special = special | ~np.isfinite(operand)
                if step.name == FACTOR:  # times infinity: the sign decides, or NaN for 0
                    free = free | (np.isinf(operand) & (x.low <= 0) & (x.high >= 0) & (x.low != x.high))
            x = _with_special(step, x, y, special, rules)
            free = free | (~special & ~(np.isfinite(x.low) & np.isfinite(x.high)))
    return Passed(x, np.broadcast_to(special, x.low.shape), free)


def _with_special(step: Step, x: Interval, y: Interval, special: np.ndarray, rules: Special) -> Interval:
    """The values of a step, as the rules have those of NaN and infinity."""
    if _clips(step) and rules.nan != "nan":
        limits: dict[str, Any] = {"relu": (0.0, 0.0), "relu6": (0.0, 6.0)}
        chosen = limits.get(step.name, step.numbers)[rules.nan == "high"]
        was_nan = special & np.isnan(x.low)
        return Interval(np.where(was_nan, chosen, y.low), np.where(was_nan, chosen, y.high))
    if _is_function(step) and rules.infinity == "nan":
        was_infinite = special & np.isinf(x.low)
        return Interval(np.where(was_infinite, np.nan, y.low), np.where(was_infinite, np.nan, y.high))
    return y
