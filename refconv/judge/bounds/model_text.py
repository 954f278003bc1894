"""The text of an error model, such as "tensor_core:A100,tf32,flush_to_zero": a name, then arguments.

Knows how such a text is written; not what its arguments mean, and no model.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

FLAGS = ("flush_to_zero", "bias_after_rounding")  # arguments that are written without "=True"


class Parts(NamedTuple):
    """What a text consists of."""

    name: str
    positional: list[Any]
    named: dict[str, Any]


def parts_of(text: str) -> Parts:
    """Name and arguments that a text consists of.

    >>> parts_of("direct:float16,operands=tf32,flush_to_zero")
    Parts(name='direct', positional=['float16'], named={'operands': 'tf32', 'flush_to_zero': True})
    """
    name, _, arguments = text.partition(":")
    parts = Parts(name, [], {})
    for argument in arguments.split(",") if arguments else ():
        key, equals, value = argument.strip().rpartition("=")
        if value in FLAGS and not equals:
            parts.named[value] = True
        elif equals:
            parts.named[key] = _value(value)
        else:
            parts.positional.append(_value(value))
    return parts


def with_flags(text: str, flags: Iterable[str]) -> str:
    """The text of an algorithm, with flags after its arguments.

    >>> with_flags("fft", ["flush_to_zero"]), with_flags("winograd:4,3", [])
    ('fft:flush_to_zero', 'winograd:4,3')
    """
    joined = ",".join(flags)
    return text + ("," if ":" in text else ":") + joined if joined else text


def _value(text: str) -> int | str:
    return int(text) if text.isdecimal() else text
