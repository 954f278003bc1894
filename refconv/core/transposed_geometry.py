"""The geometry of a transposed convolution: that of the forward convolution whose input gradient it is.

Knows the checks of arguments and the forward geometry; no array, no dtype, no kernel.
"""

from dataclasses import replace
from functools import lru_cache
from typing import Any

from refconv.core.checks import check_batched, check_channels, integer, integer_sides, is_plain, is_sequence, per_axis
from refconv.core.errors import GeometryError
from refconv.core.geometry import Geometry, check_result, named
from refconv.core.padding import Sides


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
    normalize = _remembered_transposed if all(map(is_plain, options)) else _normalized_transposed
    return _transposed(input_shape, weight_shape, bias_shape, *normalize(len(weight_shape) - 2, *options))


def input_gradient(
    input_size: tuple[int, ...],
    weight_shape: tuple[int, ...],
    grad_shape: tuple[int, ...],
    *options: Any,
) -> Geometry:
    """Geometry of the convolution that takes a transposed one's output gradient to its input's; all shapes *batched*.

    `options` are stride, padding, output_padding, dilation and groups. Where the output padding reaches the stride, the
    padding after an axis is less than what is given, and may be negative: what lies beyond the input does not exist.

    Raises
    ------
    GeometryError, TypeError
        As `transposed` does, and for a `grad_shape` that is not the shape of its output.

    Examples
    --------
    >>> input_gradient((1, 1, 2, 2), (1, 1, 2, 2), (1, 1, 4, 5), 2, 0, (0, 1), 1, 1).output_size
    (2, 2)
    """
    with named("input of shape", "input_size"):
        geometry = transposed(input_size, weight_shape, None, *options)
    check_result("input_size", input_size)
    return _meeting(geometry, input_size, grad_shape)


def weight_gradient(
    input_shape: tuple[int, ...],
    weight_size: tuple[int, ...],
    grad_shape: tuple[int, ...],
    *options: Any,
) -> Geometry:
    """Geometry of the convolution whose weight's gradient that of a transposed one is, as `input_gradient` has it.

    Examples
    --------
    >>> weight_gradient((1, 1, 2, 2), (1, 1, 2, 2), (1, 1, 4, 5), 2, 0, (0, 1), 1, 1).kernel
    (2, 2)
    """
    with named("weight of shape", "weight_size"):
        geometry = transposed(input_shape, weight_size, None, *options)
    check_result("weight_size", weight_size)
    return _meeting(geometry, input_shape, grad_shape)


def _meeting(geometry: Geometry, input_shape: tuple[int, ...], grad_shape: tuple[int, ...]) -> Geometry:
    """The geometry with so little padding that its output has the input's size, for a gradient of the right shape."""
    shape = (geometry.batch, geometry.in_channels, *geometry.size)
    if grad_shape != shape:
        raise GeometryError(
            f"grad_output of shape {grad_shape}: must be the shape of the transposed convolution's output, {shape}"
        )
    axes = zip(geometry.padding, geometry.stride, geometry.output_size, input_shape[2:], strict=True)
    padding = tuple((before, after - (size - length) * step) for (before, after), step, size, length in axes)
    return geometry if padding == geometry.padding else replace(geometry, padding=padding)


def output_padding_for(
    output_size: Any,
    input_shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: Sides,
    dilation: tuple[int, ...],
) -> tuple[int, ...]:
    """The output padding that gives the result of a transposed convolution this size, as torch's layers choose it.

    `output_size` is one number for each spatial axis, or a whole shape, of which only the spatial axes are read.

    >>> output_padding_for((12, 13), (16, 6, 6), (3, 3), (2, 2), ((1, 1), (0, 0)), (1, 1))
    (1, 0)
    """
    axes = len(kernel)
    lead = 2 if check_batched("input", input_shape, axes) else 1
    if not is_sequence(output_size):
        kind = type(output_size).__name__
        raise TypeError(f"output_size={output_size!r}: must be a sequence of {axes} integers, not {kind}")
    if len(output_size) not in (axes, axes + lead):
        raise GeometryError(
            f"output_size={output_size!r}: must be {axes} integers, or {axes + lead} "
            f"for an input of shape {input_shape}, not {len(output_size)}"
        )
    sizes = tuple(integer("output_size", entry, 0) for entry in output_size[-axes:])
    least = _transposed_size(input_shape[lead:], kernel, stride, padding, (0,) * axes, dilation)
    most = tuple(size + step - 1 for size, step in zip(least, stride, strict=True))
    if not all(low <= size <= high for low, size, high in zip(least, sizes, most, strict=True)):
        raise GeometryError(
            f"output_size={output_size!r}: must be from {least} to {most} for an input of shape {input_shape}"
        )
    return tuple(size - low for size, low in zip(sizes, least, strict=True))


def _normalized_transposed(
    axes: int, stride: Any, padding: Any, output_padding: Any, dilation: Any, groups: Any
) -> tuple[tuple[int, ...], Sides, tuple[int, ...], tuple[int, ...], int]:
    return (
        per_axis("stride", stride, 1, axes),
        integer_sides(padding, axes),
        per_axis("output_padding", output_padding, 0, axes),
        per_axis("dilation", dilation, 1, axes),
        integer("groups", groups, 1),
    )


_remembered_transposed = lru_cache(maxsize=4096)(_normalized_transposed)


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
    check_result(
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
    """Size of the result: the least that the forward convolution takes to `size`, plus the output padding."""
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
