"""The text of an error model, such as "tensor_core:A100,tf32,flush_to_zero": a name, then arguments.

Knows how such a text is written; not what its arguments mean, and of models their names only.
"""

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

from refconv.core.checks import choice
from refconv.core.errors import GeometryError
from refconv.judge.bounds.model_hint import meant

KINDS = ("direct", "tf32", "bf16x3", "tensor_core", "winograd", "complex3", "fft", "exact")
FLAGS = ("flush_to_zero", "bias_after_rounding")  # arguments that may be written without a value: True
BETWEEN = "|"  # alternatives


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
    parts = Parts(name.strip(), [], {})
    for argument in arguments.split(",") if arguments else ():
        key, equals, value = map(str.strip, argument.rpartition("="))
        if (key or value) in parts.named:
            raise GeometryError(f"model={text!r}: {key or value} is given twice")
        if value in FLAGS and not equals:
            parts.named[value] = True
        elif equals:
            parts.named[key] = _value(value)
        else:
            parts.positional.append(_value(value))
    return parts


def parsed(models: Any, text: str) -> Any:
    """The model of a text, made by what `models` has under the name that the text begins with.

    Raises
    ------
    GeometryError
        For a name or arguments that no model has; a text that is nearly a model's is told which.
    """
    try:
        return _called(models, text)
    except GeometryError as error:
        if BETWEEN in text:
            raise GeometryError(f"model={text!r}: must be one model; alternatives are claimed as text") from None
        near = meant(text, KINDS, lambda candidate: _usual(models, candidate))
        raise GeometryError(f"{error}; did you mean {near!r}?" if near else str(error)) from None


def _called(models: Any, text: str) -> Any:
    kind, positional, named = parts_of(text)
    make = getattr(models, choice("model", kind, KINDS))
    try:
        inspect.signature(make).bind(*positional, **named)
        return make(*positional, **named)
    except (TypeError, GeometryError) as error:
        raise GeometryError(f"model={text!r}: {error}") from None


def _usual(models: Any, text: str) -> str | None:
    """The usual form of a model's text; None for another text."""
    try:
        return str(_called(models, text))
    except GeometryError:
        return None


def with_arguments(text: str, arguments: Mapping[str, str]) -> str:
    """The text of an algorithm, with further arguments after its own; those without a value are flags.

    >>> with_arguments("fft", {"results": "bfloat16", "flush_to_zero": ""}), with_arguments("winograd:4,3", {})
    ('fft:results=bfloat16,flush_to_zero', 'winograd:4,3')
    """
    joined = ",".join(f"{name}={value}" if value else name for name, value in arguments.items())
    return text + ("," if ":" in text else ":") + joined if joined else text


def _value(text: str) -> int | str:
    return int(text) if text.isdecimal() else text
