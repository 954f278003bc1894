"""Damages: what a wrong fast path does to a right result, kinds among them that no mutant of the corpus has.

A damaged candidate is right unless a call meets a gate of `selector_gates`. Knows conv2d's arguments and results in
NumPy; not who judges them.
"""

# ruff: noqa: ARG001, ARG005 - every damage is given a call and its result

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from selector_gates import CONDITIONS, NAMES

import refconv
from refconv.cases.values import Values

TESTS = [test for conditions in CONDITIONS.values() for test in conditions.values()]
Call = tuple[Any, ...]  # input, weight, bias, stride, padding, dilation, groups
Damage = Callable[[Call, np.ndarray], np.ndarray]


def values_of_call(call: Call) -> Values:
    """The values of a call, as far as gates ask for them."""
    x, w, bias, stride, padding, dilation, groups = call
    (n, _, height, width), (outputs, inputs, rows, columns) = x.shape, w.shape
    contiguous = x.flags.c_contiguous
    last = not contiguous and x.transpose(0, 2, 3, 1).flags.c_contiguous
    return Values(
        batch=n, groups=groups, inputs=inputs, outputs=outputs // groups, height=height, width=width, rows=rows,
        columns=columns, top=padding[0], bottom=padding[0], left=padding[1], right=padding[1], stride_h=stride[0],
        stride_w=stride[1], dilation_h=dilation[0], dilation_w=dilation[1], bias=bias is not None,
        first="contiguous" if contiguous else "channels_last" if last else "transposed",
    )  # fmt: skip


def right(call: Call) -> np.ndarray:
    return refconv.conv2d(*call)


def _at(index: Any, of: Any = None, *, factor: float = 0.0) -> Damage:
    """Elements multiplied, or taken from elsewhere in the result."""

    def damage(call, y):
        if of is None:
            y[index] = y[index] * y.dtype.type(factor) if factor else 0
        elif y[of].size:
            y[index] = y[of]
        return y

    return damage


def _of_weight(change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    return lambda call, y: right((call[0], np.ascontiguousarray(change(call[1].copy())), *call[2:]))


def _of_input(change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    return lambda call, y: right((np.ascontiguousarray(change(call[0].copy())), *call[1:]))


def _of_bias(change: Callable[[np.ndarray], np.ndarray | None]) -> Damage:
    return lambda call, y: y if call[2] is None else right((*call[:2], change(call[2]), *call[3:]))


def _scaled(at: Any, factor: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array):
        array[at] = array[at] * array.dtype.type(factor) if factor else 0
        return array

    return change


def _finished(function: Callable[[np.ndarray], np.ndarray]) -> Damage:
    def damage(call, y):
        with np.errstate(all="ignore"):
            return function(y.astype(np.float64)).astype(y.dtype)

    return damage


def _pairs(y):
    even = y.shape[1] // 2 * 2
    y[:, :even] = y[:, :even].reshape(len(y), -1, 2, *y.shape[2:])[:, :, ::-1].reshape(len(y), even, *y.shape[2:])
    return y


def _through(narrow: Any) -> Damage:
    """Each operand in a narrower format."""
    return lambda call, y: right((*(a.astype(narrow).astype(a.dtype) for a in call[:2]), *call[2:]))


def _partial(call: Call, y: np.ndarray) -> np.ndarray:
    """Sums rounded to bfloat16 after every eighth of the channels."""
    x, w, bias, *rest, groups = call
    total, each = 0.0, max(1, w.shape[1] // 8)
    with np.errstate(all="ignore"):
        for first in range(0, w.shape[1], each):
            kept = np.zeros_like(w)
            kept[:, first : first + each] = w[:, first : first + each]
            part = total + right((x, kept, None, *rest, groups)).astype(np.float32)
            total = part.astype(ml_dtypes.bfloat16).astype(np.float32)
        shift = 0 if bias is None else bias.astype(np.float32)[:, None, None]
        return (total + shift).astype(y.dtype)


def _gelu(y):
    return 0.5 * y * (1 + np.tanh(0.7978845608 * (y + 0.044715 * y**3)))


def _rolled(axis: int) -> Damage:
    return lambda call, y: np.roll(y, 1, axis)


# The name says what is wrong. Those of `UNKNOWN` are like no mutant's and no altered call's.
DAMAGES: dict[str, Damage] = {
    "last column zero": _at(np.s_[..., -1]),
    "last row from the one above": _at(np.s_[..., -1:, :], np.s_[..., -2:-1, :]),
    "last filter zero": _at(np.s_[:, -1]),
    "filters from 16 on from the first": _at(np.s_[:, 16:], np.s_[:, :1]),
    "images after the first from the first": _at(np.s_[1:], np.s_[:1]),
    "last channel not summed": _of_weight(_scaled(np.s_[:, -1], 0)),
    "last tap not summed": _of_weight(_scaled(np.s_[..., -1, -1], 0)),
    "kernel flipped": _of_weight(lambda w: w[..., ::-1, ::-1]),
    "kernel transposed": _of_weight(lambda w: w.swapaxes(2, 3) if w.shape[2] == w.shape[3] else w),
    "last column of the input not read": _of_input(_scaled(np.s_[..., -1], 0)),
    "bias missing": _of_bias(lambda _: None),
    "bias of the filter before": _of_bias(lambda bias: np.roll(bias, 1)),
    "operands in bfloat16": _through(ml_dtypes.bfloat16),
    "relu": _finished(lambda y: np.maximum(y, 0)),
    "clipped at 6": _finished(lambda y: np.clip(y, -6, 6)),
    "filters in pairs exchanged": lambda call, y: _pairs(y),
    "columns moved by one": _rolled(3),
    "rows moved by one": _rolled(2),
    "first tap twice": _of_weight(_scaled(np.s_[..., 0, 0], 2)),
    "first channel twice": _of_weight(_scaled(np.s_[:, 0], 2)),
    "every third column zero": _at(np.s_[..., ::3]),
    "top left pixel negative": _at(np.s_[..., 0, 0], factor=-1),
    "bias twice": _of_bias(lambda bias: bias + bias),
    "sums rounded to bfloat16 now and then": _partial,
    "a factor of 1.125": _finished(lambda y: y * 1.125),
    "an offset of 1/4": _finished(lambda y: y + 0.25),
    "gelu": _finished(_gelu),
    "absolute value": _finished(np.abs),
    "upper half of the rows from the lower": lambda call, y: np.concatenate(
        (y[..., (y.shape[2] + 1) // 2 :, :], y[..., y.shape[2] // 2 :, :]), axis=2
    ),
    "channels after the 32nd not summed": _of_weight(_scaled(np.s_[:, 32:], 0)),
}  # fmt: skip
UNKNOWN = tuple(DAMAGES)[15:]


@dataclass(frozen=True)
class Damaged:
    """A candidate that is right but for what meets all conditions of a gate."""

    gate: tuple[int, ...]
    damage: str

    @property
    def conditions(self) -> Sequence[str]:
        """The gate, in words."""
        return [NAMES[number] for number in self.gate]

    def meets(self, v: Values) -> bool:
        """Whether values meet the gate."""
        return all(TESTS[number](v) for number in self.gate)

    def __call__(self, *call: Any) -> np.ndarray:
        """conv2d."""
        y = right(call)
        if not y.size or not call[0].size or not self.meets(values_of_call(call)):
            return y
        return DAMAGES[self.damage](call, y.copy())
