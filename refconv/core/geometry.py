"""The geometry of a convolution: stride, padding, dilation, groups, normalised and validated, and the sizes.

Knows shapes only: no array, no dtype, no kernel. Every message about a wrong shape or size is written here.
What torch refuses is refused, what torch accepts is accepted (https://pytorch.org/docs/stable/generated/torch.nn.Conv2d.html);
four-sided padding goes beyond it. All is for one, two or three spatial axes: as many as the weight has beyond two.

A gradient has the geometry of the convolution that it is a gradient of, and a transposed convolution is one.
"""

import math
import operator
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any, TypeAlias

from refconv.core.errors import GeometryError
from refconv.core.padding import MODES, Sides

Pair: TypeAlias = int | Sequence[int]
Padding: TypeAlias = int | str | Sequence[int] | Sequence[Sequence[int]]

LARGEST = 2**31 - 1  # no axis, and no step along one, is longer: indices and their products stay within 64 bits


INPUT_AXES = {1: "L", 2: "H, W", 3: "D, H, W"}  # the letters of the spatial axes, by their number
KERNEL_AXES = {1: "S", 2: "R, S", 3: "Q, R, S"}
SIDED = {1: "two-sided", 2: "four-sided", 3: "six-sided"}
SIDES = {
    1: "((before, after),)",
    2: "((top, bottom), (left, right))",
    3: "((front, back), (top, bottom), (left, right))",
}


@dataclass(frozen=True)
class Geometry:
    """Everything about a forward convolution but its numbers. Sizes are per spatial axis, (h, w) for two of them."""

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
    return integer_sides(padding, axes)


def integer_sides(padding: Any, axes: int = 2) -> Sides:
    """Padding in integers as (before, after) for each spatial axis; strings are refused."""
    if isinstance(padding, str):  # as torch does for a transposed convolution
        raise GeometryError(f"padding={padding!r}: must be an integer, {axes} of them or {SIDES[axes]}, not a string")
    if _is_sequence(padding) and any(map(_is_sequence, padding)):
        if len(padding) != axes or not all(_is_sequence(side) and len(side) == 2 for side in padding):
            raise GeometryError(f"padding={padding!r}: {SIDED[axes]} padding must be {SIDES[axes]}")
        return tuple((integer("padding", before, 0), integer("padding", after, 0)) for before, after in padding)
    return tuple((amount, amount) for amount in per_axis("padding", padding, 0, axes))


def sizes(name: str, value: Any, axes: int, *, batched: bool = True) -> tuple[int, ...]:
    """Shape of an array with `axes` spatial axes that the caller wants, from any sequence of integers, with a batch."""
    length = axes + 1 + batched
    if not _is_sequence(value):
        raise TypeError(f"{name}={value!r}: must be a sequence of {length} integers, not {type(value).__name__}")
    if len(value) != length:
        raise GeometryError(f"{name}={value!r}: must be {length} integers, not {len(value)}")
    found = tuple(integer(name, each, 0) for each in value)
    return found if batched else (1, *found)


def choice(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """`value` if it is one of the strings allowed, else an error naming them."""
    if not isinstance(value, str) or value not in allowed:
        raise GeometryError(f"{name}={value!r}: must be one of {', '.join(map(repr, allowed))}")
    return value


def check_weight(name: str, shape: tuple[int, ...], axes: int, *, transposed: bool = False) -> None:
    """Refuse a weight that has not `axes` spatial axes.

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

    For one, two or three spatial axes: as many as the weight has.

    Parameters
    ----------
    input_shape, weight_shape, bias_shape
        (N, C_in, H, W), (C_out, C_in // groups, R, S) and (C_out,) or None; other numbers of axes likewise.
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


def transposed(
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    bias_shape: tuple[int, ...] | None,
    stride: Any,
    padding: Any,
    output_padding: Any,
    dilation: Any,
    groups: Any,
) -> Geometry:
    """Geometry of the forward convolution whose input gradient a transposed convolution of a *batched* input is.

    Its `size`, `batch` and `in_channels` are those of the result; its `output_size` is the size of the input, or more
    where `output_padding` reaches the stride (all beyond the input counts as zero).

    Parameters
    ----------
    input_shape, weight_shape, bias_shape
        (N, C_in, H, W), (C_in, C_out // groups, R, S) and (C_out,) or None; other numbers of axes likewise.
    stride, padding, output_padding, dilation, groups
        As `refconv.conv_transpose2d` takes them.

    Raises
    ------
    GeometryError, TypeError
        Naming the argument, its value and what it must be.

    References
    ----------
    https://pytorch.org/docs/stable/generated/torch.nn.ConvTranspose2d.html

    Examples
    --------
    >>> forward = transposed((20, 16, 50, 100), (16, 33, 3, 5), None, (2, 1), (4, 2), (1, 0), (3, 1), 1)
    >>> forward.batch, forward.in_channels, forward.size
    (20, 33, (98, 100))
    >>> forward.output_shape
    (20, 16, 50, 100)
    """
    options = (stride, padding, output_padding, dilation, groups)
    normalised = _remembered_transposed if all(map(_is_plain, options)) else _normalised_transposed
    return _transposed(input_shape, weight_shape, bias_shape, *normalised(len(weight_shape) - 2, *options))


def input_gradient(
    input_size: Any,
    weight_shape: tuple[int, ...],
    grad_shape: tuple[int, ...],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    padding_mode: Any,
) -> Geometry:
    """Geometry of the forward convolution whose gradient with respect to its input is wanted; all shapes *batched*.

    Raises
    ------
    GeometryError, TypeError
        As `convolution` does, and for a `grad_shape` that is not the shape of its output.

    Examples
    --------
    A stride need not divide the size; 6 and 7 have the same output.

    >>> input_gradient((1, 1, 6, 7), (1, 1, 2, 2), (1, 1, 3, 3), 2, 0, 1, 1, "zeros").size
    (6, 7)
    """
    shape = sizes("input_size", input_size, len(weight_shape) - 2)
    with _named("input of shape", "input_size"):
        geometry = convolution(shape, weight_shape, None, stride, padding, dilation, groups, padding_mode)
    _check_gradient(geometry, grad_shape)
    _check_result("input_size", shape)
    return geometry


def weight_gradient(
    input_shape: tuple[int, ...],
    weight_size: Any,
    grad_shape: tuple[int, ...],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    padding_mode: Any,
) -> Geometry:
    """Geometry of the forward convolution whose gradient with respect to its weight is wanted; all shapes *batched*.

    Raises
    ------
    GeometryError, TypeError
        As `convolution` does, and for a `grad_shape` that is not the shape of its output.

    Examples
    --------
    >>> weight_gradient((1, 1, 6, 7), [1, 1, 2, 2], (1, 1, 3, 3), 2, 0, 1, 1, "zeros").kernel
    (2, 2)
    """
    shape = sizes("weight_size", weight_size, len(input_shape) - 2)
    with _named("weight of shape", "weight_size"), _named("weight with kernel", "weight_size with kernel"):
        geometry = convolution(input_shape, shape, None, stride, padding, dilation, groups, padding_mode)
    _check_gradient(geometry, grad_shape)
    _check_result("weight_size", shape)
    return geometry


def output_padding_for(
    output_size: Any,
    input_shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: Sides,
    dilation: tuple[int, ...],
) -> tuple[int, ...]:
    """The output padding that gives a transposed convolution's result the size wanted, as torch's layers choose it.

    `output_size` is one number for each spatial axis, or a whole shape, of which torch reads these only.

    >>> output_padding_for((12, 13), (16, 6, 6), (3, 3), (2, 2), ((1, 1), (0, 0)), (1, 1))
    (1, 0)
    """
    axes = len(kernel)
    lead = 2 if check_batched("input", input_shape, axes) else 1
    if not _is_sequence(output_size):
        kind = type(output_size).__name__
        raise TypeError(f"output_size={output_size!r}: must be a sequence of {axes} integers, not {kind}")
    if len(output_size) not in (axes, axes + lead):
        raise GeometryError(
            f"output_size={output_size!r}: must be {axes} integers, or {axes + lead} "
            f"for an input of shape {input_shape}, not {len(output_size)}"
        )
    wanted = tuple(integer("output_size", each, 0) for each in output_size[-axes:])
    least = _transposed_size(input_shape[lead:], kernel, stride, padding, (0,) * axes, dilation)
    most = tuple(size + step - 1 for size, step in zip(least, stride, strict=True))
    if not all(low <= size <= high for low, size, high in zip(least, wanted, most, strict=True)):
        raise GeometryError(
            f"output_size={output_size!r}: must be from {least} to {most} for an input of shape {input_shape}"
        )
    return tuple(size - low for size, low in zip(wanted, least, strict=True))


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


def _normalised_transposed(
    axes: int, stride: Any, padding: Any, output_padding: Any, dilation: Any, groups: Any
) -> tuple[tuple[int, ...], Sides, tuple[int, ...], tuple[int, ...], int]:
    return (
        per_axis("stride", stride, 1, axes),
        integer_sides(padding, axes),
        per_axis("output_padding", output_padding, 0, axes),
        per_axis("dilation", dilation, 1, axes),
        integer("groups", groups, 1),
    )


_remembered_transposed = lru_cache(maxsize=4096)(_normalised_transposed)


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


@lru_cache(maxsize=4096)
def _transposed(
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    bias_shape: tuple[int, ...] | None,
    stride: tuple[int, ...],
    padding: Sides,
    output_padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> Geometry:
    batch, _, *input_size = input_shape
    in_channels, group_channels, *kernel = weight_shape
    _check_transposed_shapes(input_shape, weight_shape, bias_shape, groups)
    size = _transposed_size(tuple(input_size), tuple(kernel), stride, padding, output_padding, dilation)
    # For an empty batch torch asks neither for a small output padding nor for a result with elements.
    if batch and any(extra >= max(steps) for extra, *steps in zip(output_padding, stride, dilation, strict=True)):
        raise GeometryError(
            f"output_padding={output_padding}: must be smaller than stride={stride} or dilation={dilation} on each axis"
        )
    if min(size) < (1 if batch else 0):
        raise GeometryError(
            f"padding={padding} for input of shape {input_shape} and weight of shape {weight_shape}: "
            f"must not take all from the result, of size {size}"
        )
    _check_result(
        f"stride={stride}, dilation={dilation}, output_padding={output_padding}",
        (batch, group_channels * groups, *size),
    )
    return Geometry(
        batch, group_channels * groups, in_channels, size, tuple(kernel), stride, padding, dilation, groups, "zeros"
    )


def _transposed_size(
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: Sides,
    output_padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[int, ...]:
    """Size of a transposed convolution's result: the smallest one that the convolution takes to `size`, and more."""
    axes = zip(size, kernel, stride, padding, output_padding, dilation, strict=True)
    return tuple((s - 1) * step - sum(sides) + d * (k - 1) + extra + 1 for s, k, step, sides, extra, d in axes)


def _check_transposed_shapes(
    input_shape: tuple[int, ...], weight_shape: tuple[int, ...], bias_shape: tuple[int, ...] | None, groups: int
) -> None:
    in_channels, group_channels = weight_shape[:2]
    if 0 in weight_shape:  # of input channels too: torch has no sum of nothing here
        raise GeometryError(f"weight of shape {weight_shape}: channels and kernel must not be empty")
    if input_shape[1] != in_channels:
        raise GeometryError(
            f"weight of shape {weight_shape}: with input of shape {input_shape} "
            f"its first axis must be in_channels = {input_shape[1]}"
        )
    check_channels(in_channels, group_channels * groups, groups)
    if bias_shape is not None and bias_shape != (group_channels * groups,):
        raise GeometryError(
            f"bias of shape {bias_shape}: must be ({group_channels * groups},), one for each output channel"
        )
    if 0 in input_shape[2:] and input_shape[0]:
        raise GeometryError(f"input of shape {input_shape}: only the batch may be empty")


@contextmanager
def _named(array: str, argument: str) -> Iterator[None]:
    """Errors about an array that is none here: about the argument that says its shape."""
    try:
        yield
    except GeometryError as error:
        raise GeometryError(str(error).replace(array, argument)) from None


def _check_gradient(geometry: Geometry, grad_shape: tuple[int, ...]) -> None:
    if grad_shape != geometry.output_shape:
        raise GeometryError(
            f"grad_output of shape {grad_shape}: must be the shape of the convolution's output, {geometry.output_shape}"
        )


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
    if any(map(any, geometry.padding)):
        _check_fits(f"padding={geometry.padding}: padded input and output", elements)


def _check_result(arguments: str, shape: tuple[int, ...]) -> None:
    """Refuse a result that only a slip of the pen can ask for: no argument of its size is there."""
    _check_fits(f"{arguments}: a result of shape {shape}", math.prod(max(1, length) for length in shape))


def _check_fits(what: str, elements: int) -> None:
    needed, here = 8 * elements, _physical_memory()
    if needed > here:
        raise GeometryError(
            f"{what} must fit into memory ({needed / 2**30:.3g} GiB needed, {here / 2**30:.3g} GiB here)"
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
