"""The geometry of a convolution: stride, padding, dilation, groups, normalised and validated, and the sizes.

Knows shapes only: no array, no dtype, no kernel. Every message about a wrong shape or size is written here.
What torch refuses is refused, what torch accepts is accepted (https://pytorch.org/docs/stable/generated/torch.nn.Conv2d.html);
four-sided padding goes beyond it.
"""

import math
import operator
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any, TypeAlias

from refconv.errors import GeometryError
from refconv.padding import MODES, Sides

Pair: TypeAlias = int | Sequence[int]
Padding: TypeAlias = int | str | Sequence[int] | Sequence[Sequence[int]]

LARGEST = 2**31 - 1  # no axis, and no step along one, is longer: indices and their products stay within 64 bits


@dataclass(frozen=True)
class Geometry:
    """Everything about a convolution but its numbers. Sizes are per spatial axis, (h, w) for two of them."""

    batch: int
    in_channels: int
    out_channels: int
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Sides
    dilation: tuple[int, ...]
    groups: int
    padding_mode: str

    @cached_property
    def padded_size(self) -> tuple[int, ...]:
        """Size of the padded input along each spatial axis."""
        return tuple(before + size + after for size, (before, after) in zip(self.size, self.padding, strict=True))

    @cached_property
    def output_size(self) -> tuple[int, ...]:
        """Size of the output along each spatial axis."""
        return tuple(
            (size - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, dilation in zip(
                self.padded_size, self.kernel, self.stride, self.dilation, strict=True
            )
        )

    @cached_property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the batched output."""
        # As torch has it: without input channels there are no output channels, whatever the weight says.
        return (self.batch, self.out_channels if self.in_channels else 0, *self.output_size)

    @cached_property
    def terms(self) -> int:
        """Products in the sum of one output element."""
        return self.in_channels // self.groups * math.prod(self.kernel)


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
    if not _is_sequence(value):
        return (integer(name, value, minimum),) * axes
    if len(value) not in (1, axes):
        raise GeometryError(f"{name}={value!r}: must be an integer or {axes} of them, not {len(value)}")
    numbers = tuple(integer(name, each, minimum) for each in value)
    return numbers * axes if len(numbers) == 1 else numbers


def padding_sides(padding: Any, axes: int = 2) -> str | Sides:
    """`"same"` and `"valid"` as they stand, any other form as (before, after) for each spatial axis."""
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise GeometryError(f"padding={padding!r}: a string must be 'same' or 'valid'")
        return padding
    if _is_sequence(padding) and any(map(_is_sequence, padding)):
        if len(padding) != axes or not all(_is_sequence(side) and len(side) == 2 for side in padding):
            raise GeometryError(f"padding={padding!r}: four-sided padding must be ((top, bottom), (left, right))")
        return tuple((integer("padding", before, 0), integer("padding", after, 0)) for before, after in padding)
    return tuple((amount, amount) for amount in per_axis("padding", padding, 0, axes))


def choice(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """`value` if it is one of the strings allowed, else an error naming them."""
    if not isinstance(value, str) or value not in allowed:
        raise GeometryError(f"{name}={value!r}: must be one of {', '.join(map(repr, allowed))}")
    return value


def check_channels(in_channels: int, out_channels: int, groups: int) -> None:
    """Refuse channels that `groups` does not divide."""
    for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
        if channels % groups:
            raise GeometryError(f"groups={groups}: must divide {name}={channels}")


def convolution(
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    bias_shape: tuple[int, ...] | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    padding_mode: Any,
) -> Geometry:
    """Geometry of a forward convolution over a *batched* input; refuses what no convolution can be.

    Parameters
    ----------
    input_shape, weight_shape, bias_shape
        (N, C_in, H, W), (C_out, C_in // groups, R, S) and (C_out,) or None.
    stride, padding, dilation, groups, padding_mode
        As `refconv.conv2d` takes them.

    Raises
    ------
    GeometryError, TypeError
        Naming the argument, its value and what it must be.

    Examples
    --------
    >>> convolution((20, 16, 50, 100), (33, 16, 3, 5), None, (2, 1), (4, 2), (3, 1), 1, "zeros").output_size
    (26, 100)
    """
    options = (stride, padding, dilation, groups, padding_mode)
    normalised = _remembered if all(map(_is_plain, options)) else _normalised
    return _convolution(input_shape, weight_shape, bias_shape, *normalised(len(weight_shape) - 2, *options))


def _is_plain(value: Any) -> bool:
    """Whether all that equals it means the same: True equals 1, and a pair of them a pair of ones."""
    return type(value) in (int, str) or (type(value) is tuple and all(type(each) is int for each in value))


def _normalised(
    axes: int, stride: Any, padding: Any, dilation: Any, groups: Any, padding_mode: Any
) -> tuple[tuple[int, ...], str | Sides, tuple[int, ...], int, str]:
    return (
        per_axis("stride", stride, 1, axes),
        padding_sides(padding, axes),
        per_axis("dilation", dilation, 1, axes),
        integer("groups", groups, 1),
        choice("padding_mode", padding_mode, MODES),
    )


_remembered = lru_cache(maxsize=4096)(_normalised)


@lru_cache(maxsize=4096)  # arguments are normalised before: 1 and True would be one key
def _convolution(
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    bias_shape: tuple[int, ...] | None,
    stride: tuple[int, ...],
    padding: str | Sides,
    dilation: tuple[int, ...],
    groups: int,
    padding_mode: str,
) -> Geometry:
    batch, in_channels, *size = input_shape
    out_channels, _, *kernel = weight_shape
    _check_shapes(input_shape, weight_shape, bias_shape, groups)
    geometry = Geometry(
        batch, in_channels, out_channels, tuple(size), tuple(kernel), stride,
        _sides(padding, tuple(kernel), stride, dilation), dilation, groups, padding_mode,
    )  # fmt: skip
    _check_padding(geometry)
    _check_kernel(geometry)
    _check_memory(geometry)
    return geometry


def _check_shapes(
    input_shape: tuple[int, ...], weight_shape: tuple[int, ...], bias_shape: tuple[int, ...] | None, groups: int
) -> None:
    in_channels, (out_channels, group_channels, *kernel) = input_shape[1], weight_shape
    if 0 in (out_channels, *kernel):
        raise GeometryError(f"weight of shape {weight_shape}: output channels and kernel must not be empty")
    check_channels(in_channels, out_channels, groups)
    if group_channels * groups != in_channels:
        raise GeometryError(
            f"weight of shape {weight_shape}: with groups={groups} and input of shape {input_shape} "
            f"its second axis must be in_channels // groups = {in_channels // groups}"
        )
    if bias_shape is not None and bias_shape != (out_channels,):
        raise GeometryError(f"bias of shape {bias_shape}: must be ({out_channels},), one for each output channel")
    if 0 in input_shape[2:] and 0 not in input_shape[:2]:
        raise GeometryError(f"input of shape {input_shape}: only batch and channels may be empty")


def _sides(padding: str | Sides, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> Sides:
    """Padding in numbers: "same" puts the odd element after, as torch does."""
    if not isinstance(padding, str):
        return padding
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if any(step != 1 for step in stride):
        raise GeometryError(f"padding='same' with stride={stride}: the stride must be 1")
    totals = (d * (k - 1) for k, d in zip(kernel, dilation, strict=True))
    return tuple((total // 2, total - total // 2) for total in totals)


def _check_padding(geometry: Geometry) -> None:
    """The modes' limits, as torch has them: each element is reflected or wrapped around at most once."""
    mode = geometry.padding_mode
    if mode == "zeros":
        return
    if mode != "circular" and 0 in (geometry.in_channels, *geometry.size):
        raise GeometryError(
            f"padding_mode={mode!r}: input of {geometry.in_channels} channels of size {geometry.size} must not be empty"
        )
    for size, sides in zip(geometry.size, geometry.padding, strict=True):
        largest = {"reflect": size - 1, "circular": size}.get(mode, LARGEST)
        if max(sides) > largest:
            raise GeometryError(
                f"padding={geometry.padding} with padding_mode={mode!r}: "
                f"must be at most {largest} along an axis of size {size}"
            )


def _check_kernel(geometry: Geometry) -> None:
    for kernel, dilation, padded in zip(geometry.kernel, geometry.dilation, geometry.padded_size, strict=True):
        if dilation * (kernel - 1) + 1 > padded:
            raise GeometryError(
                f"weight with kernel {geometry.kernel} and dilation={geometry.dilation}: "
                f"must fit into the padded input of size {geometry.padded_size}"
            )


def _check_memory(geometry: Geometry) -> None:
    """Refuse a padding that is a slip of the pen before anything tries to allocate it."""
    batch, *output = geometry.output_shape
    images = max(1, batch)  # an array that is too large for memory can't be made, though it be empty
    elements = images * max(geometry.in_channels * math.prod(geometry.padded_size), math.prod(output))
    if any(map(any, geometry.padding)) and 8 * elements > _physical_memory():
        raise GeometryError(
            f"padding={geometry.padding}: padded input and output must fit into memory "
            f"({8 * elements / 2**30:.3g} GiB needed, {_physical_memory() / 2**30:.3g} GiB here)"
        )


@cache
def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # no sysconf, or not these names: not a POSIX system
        return 2**40


def _index(value: Any) -> int:
    """`operator.index`, but for a bool and an array that holds one, which Python and torch take for integers."""
    of_bool = isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool")
    if of_bool or getattr(value, "ndim", 0) > 0:  # an array of one element is no number either
        raise TypeError
    return operator.index(value)


def _is_sequence(value: Any) -> bool:
    """Whether `value` is a list, or an array with axes."""
    if isinstance(value, Sequence):
        return not isinstance(value, (str, bytes, bytearray))
    return getattr(value, "ndim", 0) > 0
