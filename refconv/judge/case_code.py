"""Cases in words and as code: the arguments of a case, its arrays by shape, or written out to the last bit.

Knows the names of arguments; not what they are for.
"""

import re
from typing import Any, Protocol

import numpy as np

from refconv.core.formats import COMPLEX, parts
from refconv.ops.family import OPERATORS
from refconv.ops.requantization import rule_name

ARRAYS = ("input", "weight", "bias", "grad_output")
QUANTIZATION = tuple(f"{array}_{kind}" for array in ("input", "weight", "output") for kind in ("scale", "zero_point"))
MOST_WRITTEN = 550  # characters of arrays that are written out: five lines


class Called(Protocol):
    """A call of an operator with its arrays: what a case is."""

    @property
    def op(self) -> str:
        """The operator."""

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The tensors of the call, by name."""

    @property
    def results(self) -> dict[str, Any]:
        """Dtype and overflow of its results, where they are not the usual ones."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of its positional arguments."""

    @property
    def operands(self) -> tuple[np.ndarray, ...]:
        """The operands of its epilogue, which come last."""

    def arguments(self) -> tuple[Any, ...]:
        """Its positional arguments."""

    def keywords(self) -> dict[str, Any]:
        """Its keywords."""


def call_text(case: Called) -> str:
    """The call, in a line."""
    arguments = zip(case.parameters, case.arguments(), strict=True)
    mode = [
        f"{name}={rule_name(value) if callable(value) else repr(value)}"
        for name, value in (case.keywords() | case.results).items()
    ]
    return f"{case.op}({', '.join([*(f'{name}={_short(value)}' for name, value in arguments), *mode])})"


def _short(value: Any) -> str:
    """Dtype and shape of an array, any other argument as it is."""
    return f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) and value.ndim else repr(value)


def tensors(case: Called) -> dict[str, np.ndarray]:
    """The tensors of the call and the operands of its epilogue, by name."""
    names = case.parameters[len(OPERATORS[case.op].parameters) :]
    return case.arrays | dict(zip(names, case.operands, strict=True))


def literal_case(case: Called) -> str:
    """Code of the case, `refconv.Case(...)`; empty if its arrays are too large to be written out."""
    arrays = tensors(case)
    if sum(array.size for array in arrays.values()) > MOST_WRITTEN:
        return ""
    literals = {name: literal(array) for name, array in arrays.items()}
    if sum(map(len, literals.values())) > MOST_WRITTEN:
        return ""
    arguments = arguments_code(case, literals)
    return f"refconv.Case({', '.join(f'{name}={text}' for name, text in arguments.items())})"


def literal(value: Any) -> str:
    """An array, or a number, as code."""
    if isinstance(value, np.generic):
        return f"np.{value.dtype.name}({value!s})"
    if not isinstance(value, np.ndarray):
        return repr(value)
    if not value.size:
        return f"np.zeros({value.shape}, {value.dtype.name!r})"
    if value.dtype in COMPLEX:  # Python has no complex literal with an infinite or a negative zero part
        return f"{literal(parts(value))}.view({value.dtype.name!r}).reshape({value.shape})"
    numbers = re.sub(r"\b(nan|inf)\b", r"np.\1", repr(value.tolist()))  # repr of a float is exact
    return f"np.array({numbers}, {value.dtype.name!r})"


def arguments_code(case: Called, arrays: dict[str, str]) -> dict[str, str]:
    """The arguments of `Case`, as text."""
    texts = {"op": repr(case.op)} if case.op != "conv2d" else {}
    own = OPERATORS[case.op].parameters
    if operands := [arrays[name] for name in case.parameters[len(own) :]]:
        texts["operands"] = f"({', '.join(operands)},)"
    for name, value in zip(own, case.arguments()[: len(own)], strict=True):
        if name in ARRAYS:
            texts |= {name: arrays[name]} if name in arrays else {}
        else:
            texts[name] = literal(value) if name in QUANTIZATION else repr(value)
    return texts | {name: claim_code(value) for name, value in (case.keywords() | case.results).items()}


def claim_code(value: Any) -> str:
    """A keyword as code: a function, which only its author can write, is `...`."""
    return "..." if callable(value) else repr(value)
