"""Flushing to zero: which subnormal numbers of a convolution may become zero, all or some of them.

Knows the roles of an operator's arrays; not what is lost.
"""

from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Self

from refconv.core.checks import choice, is_sequence


class Lost(NamedTuple):
    """For each operand of a call, whether its subnormal numbers may become zero."""

    x: bool
    w: bool
    bias: bool


@dataclass(frozen=True)
class Flush:
    """What may become zero where it is subnormal.

    Parameters
    ----------
    inputs
        The input, and the gradient of the output.
    weights
        The weight, and the bias.
    sums
        Products and partial sums, subnormal in the accumulator's format.
    results
        What is stored, subnormal in the format that it is stored in.
    """

    inputs: bool = False
    weights: bool = False
    sums: bool = False
    results: bool = False

    @classmethod
    def of(cls, value: Any) -> Self:
        """What an argument `flush_to_zero` says.

        >>> Flush.of("inputs+weights") == Flush.of(("weights", "inputs")) == Flush(inputs=True, weights=True)
        True
        """
        if isinstance(value, bool):
            return cls(value, value, value, value)
        names = value.split("+") if isinstance(value, str) else value
        if not is_sequence(names) or not names:
            raise TypeError(f"flush_to_zero={value!r}: must be True, False, or of {', '.join(map(repr, NAMES))}")
        return cls(**{choice("flush_to_zero", name, NAMES): True for name in names})

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in NAMES)

    def __str__(self) -> str:
        return "+".join(name for name in NAMES if getattr(self, name))

    @property
    def everything(self) -> bool:
        """Whether all of it may become zero."""
        return all(getattr(self, name) for name in NAMES)

    def of_operands(self, op: str) -> Lost:
        """For each operand of an operator whether it is concerned: of a weight's gradient both arrays are inputs."""
        return Lost(self.inputs, self.inputs if op.endswith("_weight") else self.weights, self.weights)


NAMES = tuple(field.name for field in fields(Flush))
NOTHING = Flush()
