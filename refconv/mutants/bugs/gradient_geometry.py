"""Mutants of gradients and of the transposed convolution whose geometry is wrong.

Knows kernels and the registry.
"""

import math

import numpy as np

from refconv.mutants.kernels.forward import Array, KernelCall
from refconv.mutants.registry import ANY, mutant

TRANSPOSED, BACKWARD = "transposed_geometry", "bwd_geometry"
SCATTERING = ("conv_transpose2d", "conv2d_input")
GRADIENTS = ("conv2d_input", "conv2d_weight")


@mutant(
    kind=TRANSPOSED,
    op="conv_transpose2d",
    axes=ANY,
    entry="RB095",
    summary="output_padding added before the result, not after it",
)
def output_padding_before(c: KernelCall) -> None:
    """The zero-inserted input is padded on the wrong side."""
    c.before = [before - extra for before, extra in zip(c.before, c.output_padding, strict=True)]


@mutant(
    kind=TRANSPOSED,
    op="conv_transpose2d",
    axes=ANY,
    entry="RB097",
    when=lambda c: c.depthwise and max(c.before) > 0,
    summary="one row and column too few cropped in the depthwise path",
)
def depthwise_crop_too_small(c: KernelCall) -> None:
    """p - 1 for p."""
    c.before = [max(0, before - 1) for before in c.before]


@mutant(
    kind=TRANSPOSED,
    op="conv_transpose2d",
    axes=ANY,
    entry="RB098",
    summary="rows of zeros appended to the input for output_padding, and the excess cropped at the top",
)
def output_padding_of_the_input(c: KernelCall) -> None:
    """So many rows of the input are more of the result."""
    c.before = [
        before + extra * (step - 1) for before, extra, step in zip(c.before, c.output_padding, c.stride, strict=True)
    ]


def _without_tail(sums: Array, tails: tuple[int, ...]) -> Array:
    """The sums with 0 in the last rows and columns, as many as `tails` says for each axis."""
    for axis, tail in enumerate(tails, 2):
        np.moveaxis(sums, axis, 0)[max(0, sums.shape[axis] - tail) :] = 0
    return sums


@mutant(
    kind=TRANSPOSED,
    op="conv_transpose2d",
    axes=ANY,
    entry="RB099",
    step="finish",
    summary="nothing added in the rows and columns that output_padding adds",
)
def output_padding_left_zero(c: KernelCall, sums: Array) -> Array:
    """They are allocated, but the loop ends before them."""
    return _without_tail(sums, c.output_padding)


@mutant(
    kind=TRANSPOSED,
    op="conv2d_input",
    axes=ANY,
    entry="RB099",
    step="finish",
    summary="nothing added in the rows and columns that the stride leaves over",
)
def remainder_left_zero(c: KernelCall, sums: Array) -> Array:
    """The result of the transposed convolution without output padding, filled up with zeros."""
    return _without_tail(sums, tuple(c.remainder(axis) for axis in range(c.axes)))


@mutant(
    kind=TRANSPOSED,
    op="conv_transpose2d",
    axes=ANY,
    step="add_bias",
    summary="no bias in the rows and columns that output_padding adds",
)
def output_padding_without_bias(c: KernelCall, sums: Array) -> Array:
    """They are filled with zeros last."""
    return _without_tail(KernelCall.add_bias(c, sums), c.output_padding)


@mutant(kind=TRANSPOSED, op="conv_transpose2d", summary="output_padding on both sides of the result", axes=ANY)
def output_padding_twice(c: KernelCall) -> None:
    """It is taken for a padding."""
    c.output_padding = tuple(2 * extra for extra in c.output_padding)
    c.resize()


@mutant(kind="axis_mixup", op="conv_transpose2d", summary="output_padding of height and width swapped")
def output_padding_swapped(c: KernelCall) -> None:
    """In the other order."""
    c.output_padding = c.output_padding[::-1]
    c.resize()


@mutant(kind=TRANSPOSED, op=SCATTERING, summary="stride and dilation used for each other", axes=ANY)
def stride_and_dilation_exchanged(c: KernelCall) -> None:
    """The input is dilated by the dilation, the kernel by the stride."""
    c.stride, c.dilation = c.dilation, c.stride


@mutant(kind=TRANSPOSED, op=SCATTERING, summary="padding p taken for k - 1 - p", axes=ANY)
def padding_complemented(c: KernelCall) -> None:
    """The padding of the equivalent convolution."""
    c.before = [c.extent(axis) - 1 - before for axis, before in enumerate(c.before)]


@mutant(kind=TRANSPOSED, op=SCATTERING, summary="nothing cropped from the result for the padding", axes=ANY)
def not_cropped(c: KernelCall) -> None:
    """It begins where the padding does."""
    c.size = [size + b + a for size, b, a in zip(c.size, c.before, c.after, strict=True)]
    c.before = c.every(0)


@mutant(
    kind=TRANSPOSED,
    op=SCATTERING,
    axes=ANY,
    step="spread",
    summary="the input spread by a stride larger by one",
    when=lambda c: max(c.stride) > 1,
)
def zeros_inserted_too_many(c: KernelCall) -> Array:
    """s zeros between two elements, not s - 1."""
    c.stride = [step + (step > 1) for step in c.stride]
    return KernelCall.spread(c)


@mutant(
    kind=BACKWARD,
    op=SCATTERING,
    axes=ANY,
    entry="RB103",
    when=lambda c: max(c.dilation) > 1,
    summary="a full padding of k - 1 - p, not dilation * (k - 1) - p",
)
def full_padding_without_dilation(c: KernelCall) -> None:
    """The kernel's extent is taken for its number of taps."""
    c.before = [before + c.extent(axis) - c.kernel[axis] for axis, before in enumerate(c.before)]


@mutant(
    kind=BACKWARD,
    op="conv2d_input",
    axes=ANY,
    entry="RB104",
    summary="at most one row and column of those that the stride leaves over",
)
def output_padding_at_most_1(c: KernelCall) -> None:
    """min(remainder, 1) for the remainder."""
    c.size = [size - max(0, c.remainder(axis) - 1) for axis, size in enumerate(c.size)]


@mutant(
    kind=BACKWARD,
    op="conv2d_input",
    axes=ANY,
    entry="RB107",
    summary="a gradient without the rows and columns that the stride leaves over",
)
def remainder_dropped(c: KernelCall) -> None:
    """Its size is (P - 1) * s + k - 2p, whatever the input's."""
    c.size = [size - c.remainder(axis) for axis, size in enumerate(c.size)]


@mutant(
    kind=BACKWARD,
    op="conv2d_input",
    axes=ANY,
    step="finish",
    summary="a gradient whose rows and columns that the stride leaves over repeat the last ones",
)
def remainder_repeated(c: KernelCall, sums: Array) -> Array:
    """What was in memory before."""
    for axis in range(c.axes):
        left = c.remainder(axis)
        moved = np.moveaxis(sums, 2 + axis, 0)
        if 0 < left < len(moved):
            moved[-left:] = moved[-left - 1]
    return sums


@mutant(kind=BACKWARD, op="conv2d_weight", entry="RB108", summary="stride and dilation used for each other", axes=ANY)
def roles_of_stride_and_dilation(c: KernelCall) -> None:
    """In the gradient they change their roles; here they do not."""
    c.stride, c.dilation = c.dilation, c.stride


@mutant(kind=BACKWARD, op="conv2d_weight", summary="the taps counted from the end that the remainder is at", axes=ANY)
def taps_from_the_end(c: KernelCall) -> None:
    """The gradient is larger by the remainder, and cropped at the wrong end."""
    c.before = [before - c.remainder(axis) for axis, before in enumerate(c.before)]


@mutant(
    kind=BACKWARD,
    op=GRADIENTS,
    axes=ANY,
    step="finish",
    summary="a gradient divided by the number of its terms",
    when=lambda c: c.out_size != c.every(1),
)
def gradient_averaged(c: KernelCall, sums: Array) -> Array:
    """A mean for a sum."""
    return sums / math.prod(c.out_size)
