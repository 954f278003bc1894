"""What is given for a case: which fields an operator takes, and which results it may be asked for.

Knows operators and formats; not what is computed.
"""

from dataclasses import fields
from typing import Any

import numpy as np

from refconv.arrays.interop import to_numpy
from refconv.core import formats
from refconv.core.checks import choice
from refconv.core.errors import GeometryError
from refconv.engine.integers import OVERFLOWS
from refconv.judge import numbers
from refconv.ops import options
from refconv.ops.epilogue import FUSED, ROUNDED, operand_names, steps_of, takes_epilogue
from refconv.ops.family import OPERATORS
from refconv.ops.quantized import checked_bits
from refconv.ops.requantization import Rule, checked_rule, rule_name

OF_SUMS = ("out_dtype", "overflow")  # which a quantized operator's scales decide
OF_SCALES = ("requantize", "weight_bits")
CLAIMED = (*OF_SUMS, *OF_SCALES, *FUSED)  # what a candidate says of all its results
TAKEN = {
    name: frozenset({
        "op", *operator.parameters, *["padding_mode"] * operator.has_padding_mode,
        *(() if operator.is_quantized else OF_SUMS), *(OF_SCALES if "output_scale" in operator.parameters else ()),
        *((*FUSED, "operands") if takes_epilogue(name) else ()),
    })
    for name, operator in OPERATORS.items()
}  # fmt: skip
OPTIONAL = ("bias", "out_dtype")


def check_fields(case: Any) -> None:
    """Refuse what the operator does not take, and insist on what it must have."""
    taken = TAKEN[case.op]
    for field in fields(case):
        name, default, value = field.name, field.default, getattr(case, field.name)
        if name in taken:
            if value is None and name not in OPTIONAL:
                raise TypeError(f"{name}=None: must be given for {case.op}")
        elif value is not default and (type(value) is not type(default) or value != default):
            raise TypeError(f"{name}={value!r}: {case.op} does not take it")


def said_overflow(overflow: Any) -> str:
    """What becomes of results that do not fit; None is the usual way, as `refconv.verify` has it."""
    return "raise" if overflow is None else overflow


def result_name(operand: np.dtype, out_dtype: Any, overflow: str) -> str | None:
    """The name of the dtype that results are asked for in, None for the usual one.

    Raises
    ------
    TypeError, GeometryError
        For a dtype of another kind than the operands', and for an overflow that there can't be.

    Examples
    --------
    >>> result_name(np.dtype("int8"), np.int8, "wrap"), result_name(np.dtype("float16"), None, "saturate")
    ('int8', None)
    """
    dtype = formats.result_dtype(operand)
    if out_dtype is not None:
        dtype = options.checked_result(operand, formats.parse("out_dtype", out_dtype))
    allowed = OVERFLOWS if dtype in formats.INTEGERS else ("raise", "saturate")[: 1 + (dtype in formats.NARROW)]
    choice("overflow", overflow, OVERFLOWS)
    if overflow not in allowed:
        others = " or ".join(map(repr, allowed[1:]))
        must = f"be {others}" if others else "not be given"
        raise GeometryError(f"overflow={overflow!r}: must {must}, for {dtype} results")
    return None if out_dtype is None else dtype.name


def claimed_rule(op: str, requantize: Rule | None, weight_bits: int) -> tuple[Rule, int]:
    """What is claimed of requantization, as a recipe has it: empty, and 0, for the usual.

    Raises
    ------
    GeometryError, TypeError
        For a rule or a number of bits that there is not, and where the operator has none.

    Examples
    --------
    >>> claimed_rule("conv2d_quantized", "fixed", 8), claimed_rule("conv2d", None, 8)
    (('fixed', 0), ('', 0))
    """
    rule, bits = requantize or "float", checked_bits(weight_bits)
    said: tuple[Rule, int] = "" if checked_rule(rule) == "float" else rule, 0 if bits == 8 else bits
    if not TAKEN[op].issuperset(OF_SCALES):
        if requantize:
            shown = rule_name(rule) if callable(rule) else repr(rule)
            raise GeometryError(f"requantize={shown}: must not be given for {op}")
        if bits != 8:
            raise GeometryError(f"weight_bits={bits}: must not be given for {op}")
    return said


def said_rounded(rounded: Any) -> str:
    """When results are rounded; None is the usual way."""
    return "after" if rounded is None else choice("rounded", rounded, ROUNDED)


def check_fused(epilogue: str, rounded: str, dtype: np.dtype, overflow: str) -> None:
    """Refuse an epilogue of other numbers than real floats, and claims that need one.

    >>> check_fused("relu", "after", np.dtype("int8"), "raise")
    Traceback (most recent call last):
    refconv.GeometryError: epilogue='relu': must not be given for int8 results: only real floats have one
    """
    if epilogue and dtype not in formats.FLOATS:
        raise GeometryError(f"epilogue={epilogue!r}: must not be given for {dtype} results: only real floats have one")
    if rounded != "after" and not epilogue:
        raise GeometryError(f"rounded={rounded!r}: must be given with an epilogue")
    if rounded != "after" and overflow != "raise":
        raise GeometryError(f"rounded={rounded!r}: must not be given with overflow={overflow!r}")


def checked_operands(
    epilogue: str, operands: Any, shape: tuple[int, ...], axes: int, dtype: np.dtype
) -> tuple[np.ndarray, ...]:
    """The operands of an epilogue as arrays, if they go with an output of a shape, so many spatial axes and a dtype.

    Raises
    ------
    GeometryError, TypeError
        Naming the operand, and what it must be.

    Examples
    --------
    >>> checked_operands("residual", [np.ones((1, 2))], (1, 2, 3, 3), 2, np.dtype("float64"))
    Traceback (most recent call last):
    refconv.GeometryError: operands: residual has shape (1, 2): must have that of the output, (1, 2, 3, 3)
    """
    names = operand_names(steps_of(epilogue))
    if not isinstance(operands, tuple | list):
        raise TypeError(f"operands={operands!r}: must be a tuple of arrays")
    if len(operands) != len(names):
        wanted = f"({', '.join(names)})" if names else "empty"
        raise GeometryError(f"operands: {len(operands)} arrays: must be {wanted} for epilogue={epilogue!r}")
    allowed = (dtype, np.dtype("float32")) if dtype in formats.NARROW else (dtype,)
    channels = shape[len(shape) - 1 - axes : len(shape) - axes]
    arrays = tuple(numbers.frozen(to_numpy(name, one)) for name, one in zip(names, operands, strict=True))
    for name, array in zip(names, arrays, strict=True):
        if array.dtype not in allowed:
            raise TypeError(f"operands: {name} has dtype {array.dtype}: must be {' or '.join(map(str, allowed))}")
        if name.startswith("residual") and array.shape != shape:
            raise GeometryError(f"operands: {name} has shape {array.shape}: must have that of the output, {shape}")
        if not name.startswith("residual") and array.shape != channels:
            raise GeometryError(
                f"operands: {name} has shape {array.shape}: must have {channels}, a number for each output channel"
            )
    return arrays
