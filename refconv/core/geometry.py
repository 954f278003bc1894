"""The geometry of a convolution: stride, padding, dilation, groups, normalized and validated, and the sizes.

Knows shapes only: no array, no dtype, no kernel. Every message about a wrong shape or size is written here.
What torch refuses is refused, what torch accepts is accepted (https://pytorch.org/docs/stable/generated/torch.nn.Conv2d.html);
four-sided padding goes beyond it. All is for one, two or three spatial axes: as many as the weight has beyond two.

A gradient has the geometry of the convolution that it is a gradient of, and a transposed convolution is one.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any, NamedTuple

from refconv.core.checks import (
    LARGEST,
    STRIDED_SAME,
    check_channels,
    choice,
    integer,
    is_plain,
    padding_sides,
    per_axis,
    sizes,
)
from refconv.core.errors import GeometryError
from refconv.core.padding import MODES, Sides


class Axis(NamedTuple):
    """A forward convolution along one spatial axis."""

    size: int
    kernel: int
    stride: int
    padding: tuple[int, int]
    dilation: int

    @property
    def padded(self) -> int:
        """Size of the padded input."""
        return self.size + sum(self.padding)

    @property
    def extent(self) -> int:
        """Length of the dilated kernel."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def output(self) -> int:
        """Size of the output."""
        return (self.padded - self.extent) // self.stride + 1

    @property
    def left_over(self) -> int:
        """Elements of the padded input that the last step of the stride does not reach."""
        return (self.padded - self.extent) % self.stride


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
    def axes(self) -> tuple[Axis, ...]:
        """The convolution along each spatial axis."""
        numbers = zip(self.size, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple(Axis(*along) for along in numbers)

    @cached_property
    def padded_size(self) -> tuple[int, ...]:
        """Size of the padded input along each spatial axis."""
        return tuple(axis.padded for axis in self.axes)

    @cached_property
    def output_size(self) -> tuple[int, ...]:
        """Size of the output along each spatial axis."""
        return tuple(axis.output for axis in self.axes)

    @cached_property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the batched output."""
        # As torch has it: without input channels there are no output channels, whatever the weight says.
        return (self.batch, self.out_channels if self.in_channels else 0, *self.output_size)

    @cached_property
    def terms(self) -> int:
        """Products in the sum of one output element."""
        return self.in_channels // self.groups * math.prod(self.kernel)

    @cached_property
    def products(self) -> int:
        """Products in the sums of all output elements."""
        return math.prod(self.output_shape) * self.terms


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
    normalize = _remembered if all(map(is_plain, options)) else _normalized
    return _convolution(input_shape, weight_shape, bias_shape, *normalize(len(weight_shape) - 2, *options))


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
    _check_named(padding)
    shape = sizes("input_size", input_size, len(weight_shape) - 2)
    with named("input of shape", "input_size"):
        geometry = convolution(shape, weight_shape, None, stride, padding, dilation, groups, padding_mode)
    _check_gradient(geometry, grad_shape)
    check_result("input_size", shape)
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
    _check_named(padding)
    shape = sizes("weight_size", weight_size, len(input_shape) - 2)
    with named("weight of shape", "weight_size"), named("weight with kernel", "weight_size with kernel"):
        geometry = convolution(input_shape, shape, None, stride, padding, dilation, groups, padding_mode)
    _check_gradient(geometry, grad_shape)
    check_result("weight_size", shape)
    return geometry


def _normalized(
    axes: int, stride: Any, padding: Any, dilation: Any, groups: Any, padding_mode: Any
) -> tuple[tuple[int, ...], str | Sides, tuple[int, ...], int, str]:
    return (
        per_axis("stride", stride, 1, axes),
        padding_sides(padding, axes),
        per_axis("dilation", dilation, 1, axes),
        integer("groups", groups, 1),
        choice("padding_mode", padding_mode, MODES),
    )


_remembered = lru_cache(maxsize=4096)(_normalized)


@lru_cache(maxsize=4096)  # arguments are normalized before: 1 and True would be one key
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
        _sides(padding, tuple(size), tuple(kernel), stride, dilation), dilation, groups, padding_mode,
    )  # fmt: skip
    _check_padding(geometry)
    _check_kernel(geometry)
    _check_memory(geometry)
    return geometry


@contextmanager
def named(array: str, argument: str) -> Iterator[None]:
    """Errors name `argument`, which gives the shape of an array, instead of `array`, which the caller does not have."""
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


def _sides(
    padding: str | Sides,
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Sides:
    """Padding in numbers; of an odd total, "same" puts the extra element after, as torch does."""
    if not isinstance(padding, str):
        return padding
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding in STRIDED_SAME:
        along = zip(size, kernel, stride, dilation, strict=True)
        return tuple(same_sides(padding, *numbers) for numbers in along)
    if any(step != 1 for step in stride):
        raise GeometryError(f"padding='same' with stride={stride}: the stride must be 1")
    totals = (d * (k - 1) for k, d in zip(kernel, dilation, strict=True))
    return tuple((total // 2, total - total // 2) for total in totals)


def same_sides(padding: str, size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Padding along an axis by which the output has ceil(size / stride) elements; an odd one comes last, or first.

    References
    ----------
    auto_pad of https://onnx.ai/onnx/operators/onnx__Conv.html, with the effective kernel of a dilation.

    Examples
    --------
    >>> same_sides("same_upper", 6, 3, 2, 1), same_sides("same_lower", 6, 3, 2, 1), same_sides("same_upper", 5, 1, 3, 1)
    ((0, 1), (1, 0), (0, 0))
    """
    total = max(0, (-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size)
    less, more = total // 2, total - total // 2
    return (less, more) if padding == "same_upper" else (more, less)


def _check_named(padding: Any) -> None:
    """Refuse what only a forward convolution may have."""
    if isinstance(padding, str) and padding in STRIDED_SAME:
        raise GeometryError(f"padding={padding!r}: must not be given for a gradient: give its numbers")


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
    if any(axis.extent > axis.padded for axis in geometry.axes):
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


def check_result(arguments: str, shape: tuple[int, ...]) -> None:
    """Refuse a result larger than memory: its size comes from numbers alone, in which a slip of the pen is easy."""
    _check_fits(f"{arguments}: a result of shape {shape}", math.prod(max(1, length) for length in shape))


def _check_fits(what: str, elements: int) -> None:
    needed, installed = 8 * elements, _physical_memory()
    if needed > installed:
        raise GeometryError(
            f"{what} must fit into memory ({needed / 2**30:.3g} GiB needed, {installed / 2**30:.3g} GiB here)"
        )


@cache
def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # no sysconf, or not these names: not a POSIX system
        return 2**40
