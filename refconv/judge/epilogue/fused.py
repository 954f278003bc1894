"""Fused: a convolution with an epilogue, as its sums, steps and operands; what must come out, and what else may.

Knows sums, steps and formats; not how an output is compared, and nothing of cases.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np

from refconv.core import formats
from refconv.judge import numbers
from refconv.judge.bounds import ErrorModel, Sums
from refconv.judge.bounds.direct import Exact
from refconv.judge.bounds.output import PLAIN
from refconv.judge.bounds.rounding import OUTWARDS
from refconv.judge.bounds.rounding import rounded as rounding_error
from refconv.judge.epilogue import truth
from refconv.judge.epilogue.admissible import Arithmetic
from refconv.judge.epilogue.enclosures import FACTOR, Interval, image
from refconv.judge.epilogue.passage import USUAL, Passed, Special, through
from refconv.ops.activations import CLAMPS
from refconv.ops.epilogue import Step, applied, with_operands

CLOSE = 2.0**-21  # ULP of the result: as wide may an interval be whose middle is rounded, in place of the truth
DOUBLE = np.dtype("float64")


class Judged(NamedTuple):
    """What outputs are judged by, as `Standard` has it."""

    expected: np.ndarray
    exact: np.ndarray
    bound: np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class Fused:
    """The sums of a call, and what becomes of them.

    Parameters
    ----------
    steps : sequence of Step
        The epilogue.
    operands : sequence of ndarray
        Its operands in float64, which spread over the outputs as NumPy does it.
    before : bool
        Whether sums are rounded to the dtype of the results first.
    dtype : dtype
        Of the results.
    saturates : bool
        Whether the largest number stands for what is larger.
    value, error, special : ndarray
        The sums in float64, by how much these are wrong, and NaN and infinity where they must come out.
    rounded : callable
        The sums rounded once to the dtype of the results.
    exact_sums : callable, optional
        The sums of some flat indices as rational numbers; without it what float64 can't decide is rounded as it is.
    """

    steps: Sequence[Step]
    operands: Sequence[np.ndarray]
    before: bool
    dtype: np.dtype
    saturates: bool
    value: np.ndarray
    error: np.ndarray
    special: np.ndarray
    rounded: Callable[[], np.ndarray]
    exact_sums: Callable[[np.ndarray], list[Any]] | None = None

    def of(self, sums: Sums) -> Self:
        """The same epilogue of other sums, whose exact values are not asked for."""
        return replace(
            self, value=sums.value, error=np.broadcast_to(sums.value_error, sums.value.shape), special=sums.special,
            rounded=lambda: formats.rounded(sums.value, self.dtype), exact_sums=None,
        )  # fmt: skip

    @property
    def expected(self) -> np.ndarray:
        """What must come out: the exact sums through the epilogue, rounded once."""
        return self._truth[0]

    @property
    def ends(self) -> Interval:
        """What encloses the values before they are rounded."""
        return self._truth[1]

    def values(self, sums: np.ndarray) -> np.ndarray:
        """What the epilogue makes of other sums, in float64."""
        with np.errstate(all="ignore"):
            return applied(self.steps, sums, self.operands)

    def of_precision(self, sums: np.ndarray) -> np.ndarray:
        """The outputs for sums that were computed in float64 or float32: the epilogue in float64, one rounding."""
        if self.before:
            sums = formats.rounded(sums, self.dtype).astype(np.float64)
        values = self.values(sums)
        rounded = formats.rounded(values, self.dtype)
        return numbers.saturated(rounded, values) if self.saturates else rounded

    @cached_property
    def _pairs(self) -> list[tuple[Step, tuple[Any, ...]]]:
        """The steps with their operands; a scale as two steps, of which either may overflow."""
        pairs: list[tuple[Step, tuple[Any, ...]]] = []
        for step, operands in with_operands(self.steps, self.operands):
            if step.name == "scale":
                pairs += [(Step(FACTOR), operands[:1]), (Step("residual"), operands[1:])]
            else:
                pairs.append((step, operands))
        return pairs

    @cached_property
    def _truth(self) -> tuple[np.ndarray, Interval]:
        """The outputs, and what encloses their values."""
        start, special = self._start()
        passed = through(self._pairs, start, special, image)
        expected = self._rounded_once(passed)
        uncertain = self._uncertain(passed)
        low, high = (np.array(end) for end in passed.ends)
        if self.exact_sums is not None and uncertain.any():
            index = np.flatnonzero(uncertain)
            exact = self._exactly(index, start.low if self._starts_rounded else None)
            expected.reshape(-1)[index] = formats.round_fractions(exact, self.dtype)
            around = Interval.around(formats.round_fractions(exact, DOUBLE), 0.0)
            around = around.widened(2 * formats.unit_roundoff(DOUBLE) * around.magnitude)
            low.reshape(-1)[index], high.reshape(-1)[index] = around
        ends = Interval(low, high)
        if not self.before and self._starts_rounded and self.exact_sums is not None:
            ends = through(self._pairs, Interval.around(self.value, self.error), special, image).ends
        return (numbers.saturated(expected, ends.middle) if self.saturates else expected), ends

    @property
    def _starts_rounded(self) -> bool:
        """Whether the sums may be rounded first: clips commute with rounding, which is monotone."""
        return self.before or all(step.name in CLAMPS for step in self.steps)

    def _start(self) -> tuple[Interval, np.ndarray]:
        """What encloses the sums, and where they are NaN or infinite."""
        if self._starts_rounded:
            sums = self.rounded().astype(np.float64)
            return Interval(sums, sums), ~np.isfinite(sums)
        special = np.broadcast_to(~np.isfinite(self.special), self.value.shape)
        return Interval.around(self.value, self.error), special

    def _rounded_once(self, passed: Passed) -> np.ndarray:
        return np.array(formats.rounded(passed.ends.middle, self.dtype))

    def _uncertain(self, passed: Passed) -> np.ndarray:
        """Where the rounded value is not known: neither are both ends rounded alike, nor are they close."""
        low, high = (formats.rounded(end, self.dtype) for end in passed.ends)
        with np.errstate(all="ignore"):
            alike = low == high
            if not all(map(truth.is_rational, self.steps)):
                wide = np.abs(passed.ends.middle)
                ulp = np.maximum(formats.unit_roundoff(self.dtype) * wide, 2 * formats.underflow_unit(self.dtype))
                alike |= passed.ends.high - passed.ends.low <= CLOSE * ulp
        sure: np.ndarray = (alike & ~passed.free) | passed.special
        return ~sure

    def _exactly(self, index: np.ndarray, sums: np.ndarray | None) -> np.ndarray:
        """The values of some outputs as rational numbers."""
        assert self.exact_sums is not None  # noqa: S101 - asked only where there are
        chosen = self.exact_sums(index) if sums is None else list(map(Fraction, sums.reshape(-1)[index].tolist()))
        pairs = [
            (step, [np.broadcast_to(operand, self.value.shape).reshape(-1)[index] for operand in operands])
            for step, operands in self._pairs
        ]
        values = np.empty(len(index), object)
        for place, value in enumerate(chosen):
            for step, operands in pairs:
                value = truth.value(step, value, tuple(operand[place] for operand in operands))  # noqa: PLW2901
            values[place] = value
        return values

    # What else may come out.

    def judged(self, model: ErrorModel, sums: Sums, rules: Special = USUAL) -> Judged:
        """What a kernel may return that computes sums as the model says.

        Parameters
        ----------
        model, sums
            How sums are computed, and those of the call.
        rules
            What is made of NaN and infinity.

        Raises
        ------
        GeometryError
            As `ErrorModel.bound` does.
        """
        with np.errstate(all="ignore"):
            passed = self._passed(model, sums, rules)
            low, high = passed.ends
            saturated = passed.ends
            if self.saturates:
                most = formats.largest(self.dtype)
                saturated = Interval(*(np.clip(end, -most, most) for end in (low, high)))
            alone = (saturated.low == saturated.high) | (passed.special & ~np.isfinite(low))
            expected = self.expected
            if rules != USUAL:
                other = through(self._pairs, self._start()[0], passed.special, image, rules)
                expected = np.where(passed.special, formats.rounded(other.ends.middle, self.dtype), expected)
            once = model.output == PLAIN and isinstance(model.algorithm, Exact)
            if once:
                alone = alone | np.isfinite(low)
            else:  # stored in a narrower format, the one number that comes out may be another one
                other = alone & np.isfinite(saturated.low) & (expected.astype(np.float64) != saturated.low)
                expected = np.where(other, formats.rounded(saturated.low, self.dtype), expected)
            exact = np.where(np.isfinite(saturated.low) & np.isfinite(saturated.high), saturated.middle, low)
            bound = OUTWARDS * np.maximum(saturated.high - exact, exact - saturated.low)
            bound = np.where(alone, 0.0, np.where(np.isnan(bound), np.inf, bound))
        if once:
            exact = np.where(np.isfinite(exact), self.ends.middle, exact)
            return Judged(expected, exact, bound)
        return Judged(expected, exact, np.where(passed.free, np.inf, bound))

    def bound(self, standard: Any) -> np.ndarray:
        """The largest admissible distance from the value that is enclosed, as a standard has what is admissible."""
        with np.errstate(all="ignore"):
            far = np.maximum(standard.exact + standard.bound - self.ends.low, self.ends.high - standard.exact)
            far = np.maximum(far, self.ends.high - (standard.exact - standard.bound))
            once = np.maximum(np.abs(standard.expected.astype(np.float64) - self.ends.low), far)
        special = ~np.isfinite(standard.exact) & ~np.isposinf(standard.bound)
        return np.where(np.isposinf(standard.bound), np.inf, np.where(special, 0.0, OUTWARDS * once))

    def _passed(self, model: ErrorModel, sums: Sums, rules: Special) -> Passed:
        """Intervals of what may be stored, by the model."""
        output, out = model.output, self.dtype
        path, nearest = output.path(out), output.store == "nearest"
        made = model.unrounded(sums, out)
        error, free = output.biased(made.error, sums, path)
        error = OUTWARDS * (error + np.where(made.exact & sums.certain, 0.0, sums.value_error))
        free = free | made.free | (made.overflow & ~made.exact)
        special = np.broadcast_to(~np.isfinite(sums.special), sums.value.shape)
        start = Interval.around(np.where(special, sums.special, sums.value), np.where(special, 0.0, error))
        start = Interval(*(np.where(special, sums.value, end) for end in start))
        plain = Arithmetic(model.accumulator, (), bool(output.flush))
        if self.before:
            start = self._stored(start, path, plain, nearest=nearest)
            infinite = (start.low == start.high) & np.isinf(start.low)
            free = free | (~special & ~infinite & ~(np.isfinite(start.low) & np.isfinite(start.high)))
            special = special | infinite
        arithmetic = replace(plain, stored=path if self.before else ())
        passed = through(self._pairs, start, special, arithmetic.step, rules)
        ends = self._stored(passed.ends, path, plain, nearest=nearest)
        free = (free & ~np.isnan(np.where(special, sums.special, 0.0))) | passed.free
        if not self.saturates:  # at the largest number some round up to infinity
            unsure = ~passed.special & (np.isfinite(ends.low) != np.isfinite(ends.high))
            free = free | unsure | (~passed.special & np.isinf(ends.low) & (ends.low != ends.high))
        return Passed(ends, passed.special, free)

    @staticmethod
    def _stored(x: Interval, path: Sequence[np.dtype], arithmetic: Arithmetic, *, nearest: bool) -> Interval:
        """Values as they are stored: rounded to each format, one after the other."""
        for dtype in path:
            if nearest:
                x = arithmetic.rounded(x, dtype)
            else:
                x = x.widened(rounding_error(np.zeros(()), x.magnitude, dtype, truncated=True))
        return x

    def unchanged(self, model: ErrorModel, sums: Sums) -> np.ndarray:
        """Where the epilogue leaves a sum as it is, whatever the model admits: only there do errors show the sum's.

        So it is between the limits of clips; a scale, a residual and a function leave nothing as it is.
        """
        if self.before or not all(step.name in CLAMPS for step in self.steps):
            return np.zeros(sums.value.shape, bool)
        error = model.unrounded(sums, self.dtype).error + sums.value_error
        start = Interval.around(sums.value, error)
        ends = through(self._pairs, start, np.zeros(sums.value.shape, bool), image).ends
        same: np.ndarray = (start.low == ends.low) & (start.high == ends.high)
        return same

    def missing(self, product: np.ndarray) -> np.ndarray:
        """By how much an output changes where a product of this size is missing from its sum."""
        with np.errstate(all="ignore"):
            here = self.values(self.value)
            change = [np.abs(self.values(self.value + sign * product) - here) for sign in (-1, 1)]
        return np.where(np.isfinite(change[0] + change[1]), np.minimum(*change), 0.0)
