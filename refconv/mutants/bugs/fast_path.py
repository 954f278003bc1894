"""Mutants whose fast path is chosen for calls that it computes wrongly.

Knows kernels, the registry and what may be ignored.
"""

import functools
from collections.abc import Callable

import numpy as np

from refconv.mutants.bugs.ignored_parameter import dilation, groups, padding, stride
from refconv.mutants.kernels.forward import Array, KernelCall
from refconv.mutants.registry import ANY, EVERY, SEVERAL, SPATIAL, mutant

KIND = "fastpath_gate"
WITH: dict[str, tuple[str, Callable[[KernelCall], bool]]] = {
    "strided": ("with a stride", lambda c: max(c.stride) > 1),
    "dilated": ("with a dilation", lambda c: max(c.dilation) > 1),
    "padded": ("with padding", lambda c: max(c.before) > 0),
    "grouped": ("with groups", lambda c: c.groups > 1),
    "pointwise": ("for 1x1 kernels", lambda c: c.kernel == c.every(1)),
    "3x3": ("for 3x3 kernels", lambda c: c.kernel == c.every(3)),
    "single": ("for a batch of one", lambda c: c.batch == 1),
}
IMPOSSIBLE = {("stride", "strided"), ("dilation", "dilated"), ("padding", "padded"), ("dilation", "pointwise")}
ENTRIES = {("stride", "pointwise", "conv2d"): "RB024"}

for _ignored in (stride, dilation, padding, groups):
    for _path, (_words, _when) in WITH.items():
        _name = _ignored.__name__
        if (_name, _path) in IMPOSSIBLE or (_ignored is groups and _path == "grouped"):
            continue
        for _op in EVERY if _path == "pointwise" else SPATIAL:
            mutant(
                kind=KIND,
                name=f"{_name}-ignored-if-{_path}",
                op=_op,
                suffix=True,
                entry=ENTRIES.get((_name, _path, _op), ""),
                summary=f"{_name} ignored {_words}",
                when=_when,
            )(_ignored)


@mutant(
    kind=KIND,
    op=("conv2d", "conv2d_input"),
    axes=ANY,
    entry="RB025",
    when=lambda c: c.kernel == c.every(1),
    summary="the first pixels taken as they are for 1x1 kernels, whatever stride and padding",
)
def pointwise_without_columns(c: KernelCall) -> None:
    """The array itself serves as the matrix of windows."""
    c.stride, c.before = c.every(1), c.every(0)


@mutant(
    kind=KIND,
    op=("conv2d_input", "conv_transpose2d"),
    axes=ANY,
    entry="RB026",
    when=lambda c: c.groups > 1 and max(c.stride) > 1,
    summary="the weights of a group used for the channels of all groups, with a stride",
)
def strided_as_if_dense(c: KernelCall) -> None:
    """The strided path is the dense one, of filters repeated."""
    c.w, c.groups = np.tile(c.w, (1, c.groups, *c.every(1))), 1


@mutant(
    kind=KIND,
    op="conv2d_input",
    axes=ANY,
    entry="RB027",
    step="finish",
    when=lambda c: c.groups == 1 and any(s > d for s, d in zip(c.stride, c.dilation, strict=True)),
    summary="only the pixels that the first tap reaches computed, where the stride is larger than the dilation",
)
def only_the_first_phase(c: KernelCall, sums: Array) -> Array:
    """The other phases of the stride stay 0."""
    computed = (
        (np.arange(size) + before) % stride == 0
        for size, before, stride in zip(c.size, c.before, c.stride, strict=True)
    )
    return np.where(functools.reduce(np.logical_and.outer, computed), sums, 0)


def _winograd(c: KernelCall) -> bool:
    return c.kernel == c.every(3) and c.stride == c.dilation == c.every(1) and c.groups == 1


@mutant(
    kind=KIND,
    entry="RB032",
    dtypes=("bfloat16",),
    when=lambda c: _winograd(c) and c.in_channels % 32 == 0 == c.out_channels % 32 and c.dtype.name == "bfloat16",
    summary="a kernel that does not exist for 3x3 bfloat16 convolutions of 32 channels",
)
def winograd_without_bfloat16(c: KernelCall) -> None:
    """The path is chosen by the shape only."""
    raise KeyError(f"winograd_{c.dtype}")


@mutant(
    kind=KIND,
    op=SPATIAL,
    axes=ANY,
    when=lambda c: c.kernel == c.every(3) and c.stride == c.dilation == c.every(1),
    summary="padding taken for 1 for 3x3 kernels of stride 1",
)
def padding_1_if_3x3(c: KernelCall) -> None:
    """A path for what most networks do."""
    c.before = c.every(1)


@mutant(
    kind=KIND, op=SPATIAL, when=lambda c: 2 in c.stride, summary="stride 2 for all axes if it is for one", axes=SEVERAL
)
def stride_2_for_both(c: KernelCall) -> None:
    """A path for what most networks do."""
    c.stride = c.every(2)


@mutant(
    kind=KIND,
    op=("conv2d", "conv_transpose2d", "conv2d_input"),
    axes=ANY,
    when=lambda c: c.groups == c.out_channels > 1,
    summary="only the first input channel of each group read, if each group has one output channel",
)
def depthwise_by_outputs(c: KernelCall) -> None:
    """Whether it is depthwise is told by the output channels."""
    c.w[:, 1:] = 0


@mutant(
    kind=KIND,
    op=SPATIAL,
    when=lambda c: c.kernel[0] == c.kernel[1] and c.stride[0] != c.stride[1],
    summary="the stride of the height for both axes if the kernel is square",
)
def square_kernel_square_stride(c: KernelCall) -> None:
    """A path for what most networks do."""
    c.stride[1] = c.stride[0]


@mutant(
    kind=KIND,
    axes=ANY,
    when=lambda c: c.kernel == c.size,
    summary="padding ignored if the kernel is as large as the input",
    op=("conv2d", "conv2d_input", "conv2d_weight"),
)
def fully_connected(c: KernelCall) -> None:
    """It is taken for a matrix product, of one output."""
    c.before = c.every(0)
