"""What is given for a case: which fields an operator takes, and which results it may be asked for.

Knows operators and formats; not what is computed.
"""

from dataclasses import fields
from typing import Any

import numpy as np

from refconv.core import formats
from refconv.core.checks import choice
from refconv.core.errors import GeometryError
from refconv.engine.integers import OVERFLOWS
from refconv.ops import options
from refconv.ops.family import OPERATORS
from refconv.ops.quantized import checked_bits
from refconv.ops.requantization import Rule, checked_rule, rule_name

OF_SUMS = ("out_dtype", "overflow")  # which a quantized operator's scales decide
OF_SCALES = ("requantize", "weight_bits")
RESULTS = (*OF_SUMS, *OF_SCALES)
TAKEN = {
    name: frozenset({
        "op", *operator.parameters, *["padding_mode"] * operator.has_padding_mode,
        *(() if operator.is_quantized else OF_SUMS), *(OF_SCALES if "output_scale" in operator.parameters else ()),
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
