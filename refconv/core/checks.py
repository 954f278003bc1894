"""Checks of arguments: integers, choices, one number for each spatial axis, shapes. Each error names the argument.

Knows numbers, strings and sequences; no convolution as a whole. What torch refuses is refused, what it accepts is
accepted.
"""

import operator
from collections.abc import Sequence
from typing import Any, TypeAlias

from refconv.core.errors import GeometryError
from refconv.core.padding import Sides

Pair: TypeAlias = int | Sequence[int]
Padding: TypeAlias = int | str | Sequence[int] | Sequence[Sequence[int]]
LARGEST = 2**31 - 1  # no axis, and no step along one, is longer: indices and their products stay within 64 bits
# torch's two, and ONNX's auto_pad, which goes with any stride (https://onnx.ai/onnx/operators/onnx__Conv.html); that of
# TensorFlow and others, "SAME", is "same_upper".
STRIDED_SAME = ("same_upper", "same_lower")
PADDING_NAMES = ("same", "valid", *STRIDED_SAME)
INPUT_AXES = {1: "L", 2: "H, W", 3: "D, H, W"}  # the letters of the spatial axes, by their number
KERNEL_AXES = {1: "S", 2: "R, S", 3: "Q, R, S"}
SIDED = {1: "two-sided", 2: "four-sided", 3: "six-sided"}
SIDES = {
    1: "((before, after),)",
    2: "((top, bottom), (left, right))",
    3: "((front, back), (top, bottom), (left, right))",
}


def integer(name: str, value: Any, minimum: int, maximum: int = LARGEST) -> int:
    """`value` as an int: any integer type but bool, from `minimum` to `maximum`; else an error naming the argument."""
    try:
        number = value if type(value) is int else _index(value)
    except TypeError:
        raise TypeError(f"{name}={value!r}: must be an integer, not {type(value).__name__}") from None
    if not minimum <= number <= maximum:
        raise GeometryError(f"{name}={value!r}: must be at least {minimum} and at most {maximum}")
    return number


def per_axis(name: str, value: Any, minimum: int, axes: int = 2) -> tuple[int, ...]:
    """One int per spatial axis, from an int or a sequence of one (the same for all) or `axes` of them, as in torch."""
    if type(value) is int:
        return (integer(name, value, minimum),) * axes
    if not is_sequence(value):
        return (integer(name, value, minimum),) * axes
    if len(value) not in (1, axes):
        raise GeometryError(f"{name}={value!r}: must be an integer or {axes} of them, not {len(value)}")
    numbers = tuple(integer(name, entry, minimum) for entry in value)
    return numbers * axes if len(numbers) == 1 else numbers


def padding_sides(padding: Any, axes: int = 2) -> str | Sides:
    """A name as it stands, any other form as (before, after) for each spatial axis."""
    if isinstance(padding, str):
        if padding not in PADDING_NAMES:
            raise GeometryError(f"padding={padding!r}: a string must be one of {', '.join(map(repr, PADDING_NAMES))}")
        return padding
    return integer_sides(padding, axes)


def integer_sides(padding: Any, axes: int = 2) -> Sides:
    """Padding in integers as (before, after) for each spatial axis; strings are refused."""
    if isinstance(padding, str):  # as torch does for a transposed convolution
        raise GeometryError(f"padding={padding!r}: must be an integer, {axes} of them or {SIDES[axes]}, not a string")
    if is_sequence(padding) and any(map(is_sequence, padding)):
        if len(padding) != axes or not all(is_sequence(side) and len(side) == 2 for side in padding):
            raise GeometryError(f"padding={padding!r}: {SIDED[axes]} padding must be {SIDES[axes]}")
        return tuple((integer("padding", before, 0), integer("padding", after, 0)) for before, after in padding)
    return tuple((amount, amount) for amount in per_axis("padding", padding, 0, axes))


def sizes(name: str, value: Any, axes: int, *, batched: bool = True) -> tuple[int, ...]:
    """The shape that a caller asks for: batch (1 is put before if not `batched`), channels and `axes` spatial axes."""
    length = axes + 1 + batched
    if not is_sequence(value):
        raise TypeError(f"{name}={value!r}: must be a sequence of {length} integers, not {type(value).__name__}")
    if len(value) != length:
        raise GeometryError(f"{name}={value!r}: must be {length} integers, not {len(value)}")
    shape = tuple(integer(name, entry, 0) for entry in value)
    return shape if batched else (1, *shape)


def choice(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """`value` if it is one of the strings allowed, else an error naming them."""
    if not isinstance(value, str) or value not in allowed:
        raise GeometryError(f"{name}={value!r}: must be one of {', '.join(map(repr, allowed))}")
    return value


def check_weight(name: str, shape: tuple[int, ...], axes: int, *, transposed: bool = False) -> None:
    """Refuse a weight without exactly `axes` spatial axes.

    >>> check_weight("weight", (6, 4, 3), 2)
    Traceback (most recent call last):
    refconv.GeometryError: weight of shape (6, 4, 3): must have 4 axes (C_out, C_in // groups, R, S)
    """
    channels = "C_in, C_out // groups" if transposed else "C_out, C_in // groups"
    if len(shape) != axes + 2:
        raise GeometryError(f"{name} of shape {shape}: must have {axes + 2} axes ({channels}, {KERNEL_AXES[axes]})")


def check_batched(name: str, shape: tuple[int, ...], axes: int, *, channels: str = "C_in") -> bool:
    """Whether an input with `axes` spatial axes has a batch axis; refuse what is neither with nor without.

    >>> check_batched("input", (2, 4, 5, 6), 2), check_batched("input", (4, 5, 6), 2)
    (True, False)
    """
    if len(shape) not in (axes + 1, axes + 2):
        raise GeometryError(
            f"{name} of shape {shape}: must have {axes + 2} axes (N, {channels}, {INPUT_AXES[axes]}), "
            f"or {axes + 1} without the batch"
        )
    return len(shape) == axes + 2


def check_channels(in_channels: int, out_channels: int, groups: int) -> None:
    """Refuse channels that `groups` does not divide."""
    for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
        if channels % groups:
            raise GeometryError(f"groups={groups}: must divide {name}={channels}")


def is_plain(value: Any) -> bool:
    """Whether `value` may be a key of a cache: an int, a string or a tuple of ints; not a bool, for True equals 1."""
    return type(value) in (int, str) or (type(value) is tuple and all(type(entry) is int for entry in value))


def _index(value: Any) -> int:
    """`operator.index`, but for a bool and an array that holds one, which Python and torch take for integers."""
    of_bool = isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool")
    if of_bool or getattr(value, "ndim", 0) > 0:  # an array of one element is no number either
        raise TypeError
    return operator.index(value)


def is_sequence(value: Any) -> bool:
    """Whether `value` is a list, or an array with axes."""
    if isinstance(value, Sequence):
        return not isinstance(value, (str, bytes, bytearray))
    return getattr(value, "ndim", 0) > 0
