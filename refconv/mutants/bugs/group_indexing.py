"""Mutants that take the wrong channels or weights for a group.

Knows kernels and the registry.
"""

import functools
import math

import numpy as np

from refconv.mutants.kernels.forward import Array, KernelCall
from refconv.mutants.registry import ANY, EVERY, SPATIAL, mutant

KIND = "groups_indexing"


def interleaved(channels: int, groups: int) -> Array:
    """Channels dealt out to the groups one by one."""
    return np.arange(channels).reshape(channels // groups, groups).T


@mutant(
    kind=KIND,
    op=("conv2d", "conv_transpose2d", "conv2d_input", "conv2d_integer", "conv2d_quantized"),
    axes=ANY,
    summary="input channels dealt out to the groups one by one",
)
def groups_inputs_interleaved(c: KernelCall) -> None:
    """Channel i belongs to group i % groups."""
    c.inputs = interleaved(c.in_channels, c.groups)


@mutant(
    kind=KIND, op="conv2d_weight", entry="RB034", summary="input channels dealt out to the groups one by one", axes=ANY
)
def groups_inputs_interleaved_weight_gradient(c: KernelCall) -> None:
    """What repeating grad_output channel by channel comes to."""
    c.inputs = interleaved(c.in_channels, c.groups)


@mutant(
    kind=KIND,
    op=SPATIAL,
    axes=ANY,
    summary="output channels dealt out to the groups one by one",
    when=lambda c: not c.depthwise,
)
def groups_outputs_interleaved(c: KernelCall) -> None:
    """Channel k belongs to group k % groups."""
    c.outputs = interleaved(c.out_channels, c.groups)


@mutant(
    kind=KIND,
    op=EVERY,
    axes=ANY,
    entry="RB045",
    when=lambda c: c.depthwise,
    summary="filter k of a depthwise convolution applied to channel k % C_in",
)
def depthwise_multiplier_order(c: KernelCall) -> None:
    """Not to channel k // multiplier."""
    c.outputs = interleaved(c.out_channels, c.groups)


@mutant(
    kind=KIND,
    op=("conv2d", "conv_transpose2d", "conv2d_input", "conv2d_integer"),
    axes=ANY,
    summary="the weights of group 0 used for all groups",
)
def group_0_weights(c: KernelCall) -> None:
    """The offset of the group is forgotten."""
    c.w = np.tile(c.w[: c.multiplier], (c.groups, 1, *c.every(1)))


@mutant(
    kind=KIND,
    op=("conv2d_weight", "conv_transpose2d", "conv2d_input"),
    axes=ANY,
    summary="the output channels of group 0 used for all groups",
)
def group_0_outputs(c: KernelCall) -> None:
    """The offset of the group is forgotten."""
    c.y = np.tile(c.y[:, : c.multiplier], (1, c.groups, *c.every(1)))


@mutant(kind=KIND, op=SPATIAL, summary="the groups in reverse order", axes=ANY)
def groups_reversed(c: KernelCall) -> None:
    """The input channels of the last group go to the first."""
    c.inputs = np.arange(c.in_channels).reshape(c.groups, -1)[::-1]


@mutant(
    kind=KIND, op=SPATIAL, summary="each group reading the channels of the next", when=lambda c: c.groups > 1, axes=ANY
)
def groups_shifted(c: KernelCall) -> None:
    """One group too far."""
    c.inputs = np.roll(np.arange(c.in_channels).reshape(c.groups, -1), -1, axis=0)


@mutant(kind=KIND, summary="the offset of a group's inputs computed from its output channels", axes=ANY)
def groups_offset_by_outputs(c: KernelCall) -> None:
    """C_out // groups for C_in // groups."""
    first = np.arange(c.groups)[:, None] * c.multiplier
    c.inputs = (first + np.arange(c.filter_size)) % c.in_channels


@mutant(
    kind=KIND,
    op=("conv2d", "conv2d_input", "conv_transpose2d"),
    axes=ANY,
    when=lambda c: c.groups > 1,
    summary="each filter applied to the input channels of all groups",
)
def groups_all_channels(c: KernelCall) -> None:
    """As if there was one group, of filters repeated."""
    c.w, c.groups = np.tile(c.w, (1, c.groups, *c.every(1))), 1


@mutant(
    kind=KIND,
    op="conv2d_weight",
    axes=ANY,
    entry="RB035",
    when=lambda c: c.depthwise and max(c.stride) > 1,
    summary="the last taps of a gradient that the stride makes too large, in the depthwise path",
)
def weight_gradient_cropped_wrong(c: KernelCall) -> None:
    """Taps that the remainder adds are cropped at the wrong end."""
    for axis in range(c.axes):
        c.before[axis] -= c.remainder(axis) // c.dilation[axis] * c.dilation[axis]


in_int8 = functools.partial(
    mutant,
    kind=KIND,
    op=("conv2d", "conv2d_integer"),
    entry="RB037",
    dtypes=("int8",),
    when=lambda c: 1 < c.groups < c.in_channels and c.raw["weight"].dtype == np.int8,
)


@in_int8(summary="the last group's last input channel multiplied by the weights of the one before, in int8")
def groups_int8_last_channel(c: KernelCall) -> None:
    """An offset of one vector too little."""
    if c.filter_size > 1:
        c.w[-c.multiplier :, -1] = c.w[-c.multiplier :, -2]


@in_int8(summary="the last output channel computed with the weights of the one before, in int8")
def groups_int8_last_filter(c: KernelCall) -> None:
    """An offset of one filter too little."""
    if c.multiplier > 1:
        c.w[-1] = c.w[-2]


@mutant(
    kind=KIND,
    entry="RB038",
    when=lambda c: c.groups > 1 and math.prod(c.kernel) > 9,
    summary="filters C_in apart in memory, not C_in // groups, for kernels of more than 9 taps",
)
def groups_filter_stride(c: KernelCall) -> None:
    """The offset of a filter is that of a dense convolution."""
    K, taps = c.out_channels, c.filter_size * math.prod(c.kernel)
    flat = np.arange(K)[:, None] * taps * c.groups + np.arange(taps)
    c.w = c.w.reshape(-1)[flat % c.w.size].reshape(c.w.shape)


@mutant(
    kind=KIND,
    op="conv_transpose2d",
    axes=ANY,
    entry="RB040",
    when=lambda c: c.groups > 1,
    summary="the weight (C_in, C_out // groups) taken for (C_out, C_in // groups), if grouped",
)
def transposed_grouped_weight(c: KernelCall) -> None:
    """The weight is laid out as that of a convolution."""
    swapped = c.w.reshape(c.groups, c.filter_size, c.multiplier, *c.kernel).swapaxes(1, 2)
    c.w = swapped.reshape(c.w.shape)


@mutant(
    kind=KIND,
    op="conv_transpose2d",
    axes=ANY,
    entry="RB041",
    step="store",
    summary="a result of C_out // groups channels, those of the last group",
)
def transposed_overwritten_groups(c: KernelCall, sums: Array) -> Array:
    """Each group is written over the one before."""
    return KernelCall.store(c, sums[:, -c.filter_size :])


@mutant(
    kind=KIND,
    op="conv2d_weight",
    axes=ANY,
    entry="RB044",
    summary="a gradient of the dense shape (C_out, C_in, R, S) whatever the groups",
)
def weight_gradient_dense(c: KernelCall) -> None:
    """As if there was one group."""
    c.groups = 1
