"""Of a reference: the epilogue of its call as sums and steps, and the standards that outputs are judged by then.

Knows what a reference has; not how outputs are compared.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from refconv.core.operators import axes_of
from refconv.judge import given
from refconv.judge.bounds import ErrorModel, Sums
from refconv.judge.epilogue.fused import Fused
from refconv.judge.epilogue.passage import USUAL, Special, others
from refconv.judge.standard import Standard
from refconv.ops.epilogue import Step, arranged, operand_names, steps_of, takes_epilogue, text_of
from refconv.ops.exact_sums import exact_sums
from refconv.ops.family import OPERATORS


@dataclass(frozen=True, eq=False, kw_only=True)
class WithEpilogue:
    """The part of a reference that is about what is done with its sums; fields are documented at `Case`.

    Where `self` is anything, it is a reference, whose file imports this one.
    """

    epilogue: Any = ""
    operands: Any = ()
    rounded: str = "after"

    def _keep_epilogue(self: Any) -> None:
        """Keep the epilogue as a text."""
        self._keep("epilogue", text_of(self.epilogue))
        self._keep("rounded", given.said_rounded(self.rounded))

    def _keep_operands(self: Any) -> None:
        """Keep copies of the operands, if the operator has an epilogue."""
        if takes_epilogue(self.op):
            given.check_fused(self.epilogue, self.rounded, self._dtype, self.overflow)
            shape, axes = self.unwritten.shape, len(self.geometry.size)
            self._keep("operands", given.checked_operands(self.epilogue, self.operands, shape, axes, self._dtype))

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The steps of the epilogue."""
        return steps_of(self.epilogue)

    @property
    def axes(self: Any) -> int:
        """How many spatial axes the operator has."""
        return axes_of(self.op)

    @property
    def parameters(self: Any) -> tuple[str, ...]:
        """The names of the positional arguments: those of the operator, then the operands of the epilogue."""
        return (*OPERATORS[self.op].parameters, *operand_names(self.steps))

    @cached_property
    def _fused(self: Any) -> Fused | None:
        """The sums with the epilogue, if there is one."""
        if not self.epilogue:
            return None
        return Fused(
            steps=self.steps,
            operands=arranged(operand_names(self.steps), self.operands, len(self.geometry.size)),
            before=self.rounded == "before",
            dtype=self._dtype,
            saturates=self._saturates,
            value=self.sums.value,
            error=np.where(self.sums.certain, 0.0, self.sums.value_error),
            special=self.sums.special,
            rounded=lambda: self._rounded,
            exact_sums=partial(exact_sums, self.call, self._operands),
        )


def standard_of(fused: Fused, sums: Sums, model: ErrorModel, rules: Special = USUAL) -> Standard:
    """What outputs are judged by. Their errors are no sums of roundings: none is counted in units of u S."""
    judged, terms = fused.judged(model, sums, rules), max(1, sums.terms)
    return Standard(
        **judged._asdict(),
        unit=np.zeros(judged.exact.shape),
        mean=fused.missing(sums.absolute / terms),
        typical=lambda: fused.missing(sums.squares / terms**0.5),
        model=str(model),
    )


def alternatives(
    fused: Fused, further: Iterable[Sums], sums: Sums, model: ErrorModel, *, strict: bool
) -> Iterator[Standard]:
    """What outputs are judged by also: NaN and infinity made of otherwise, and other sums."""
    rules = list(others(fused.steps, strict=strict))
    yield from (standard_of(fused, sums, model, one) for one in rules if _has_special(fused))
    for other in further:
        yield from (standard_of(fused.of(other), other, model, one) for one in (USUAL, *rules))


def _has_special(fused: Fused) -> bool:
    """Whether there is NaN or an infinity anywhere; of sums rounded before, one may be made there."""
    arrays = (fused.special, *fused.operands, *([fused.rounded()] if fused.before else []))
    return not all(np.isfinite(array).all() for array in arrays)
