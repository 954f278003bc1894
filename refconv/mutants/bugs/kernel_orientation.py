"""Mutants that read the weight, or write its gradient, in another order; and arrays in the order of another layout.

Knows kernels and the registry.
"""

from collections.abc import Callable

import numpy as np

from refconv.mutants.kernels.forward import Array, KernelCall
from refconv.mutants.registry import mutant

WITH_WEIGHT = ("conv2d", "conv_transpose2d", "conv2d_input", "conv2d_integer", "conv2d_quantized")
GRADIENT = "conv2d_weight"


def _transposed_kernel(w: Array) -> Array:
    K, C, R, S = w.shape
    return w.reshape(K, C, S, R).swapaxes(2, 3)


def _transposed_channels(w: Array) -> Array:
    K, C, R, S = w.shape
    return w.reshape(C, K, R, S).swapaxes(0, 1)


def _last_channels(w: Array) -> Array:
    K, C, R, S = w.shape
    return w.reshape(K, R, S, C).transpose(0, 3, 1, 2)


def _first_kernel(w: Array) -> Array:
    K, C, R, S = w.shape
    return w.reshape(R, S, C, K).transpose(3, 2, 0, 1)


ORDERS: tuple[tuple[str, str, str, str, Callable[[Array], Array]], ...] = (
    ("flipped", "kernel_orientation", "RB109", "the kernel flipped", lambda w: w[..., ::-1, ::-1]),
    ("rows-flipped", "kernel_orientation", "", "the rows of the kernel flipped", lambda w: w[..., ::-1, :]),
    ("columns-flipped", "kernel_orientation", "", "the columns of the kernel flipped", lambda w: w[..., ::-1]),
    ("transposed", "kernel_orientation", "", "the kernel transposed in memory, (S, R)", _transposed_kernel),
    ("channels-transposed", "kernel_orientation", "", "the weight's channels transposed in memory",
     _transposed_channels),
    ("filters-reversed", "kernel_orientation", "", "the filters in reverse order", lambda w: w[::-1]),
    ("channels-reversed", "kernel_orientation", "", "the weight's input channels in reverse order",
     lambda w: w[:, ::-1]),
    ("ohwi", "layout_stride", "", "the weight's memory taken for (C_out, R, S, C_in // groups)", _last_channels),
    ("hwio", "layout_stride", "", "the weight's memory taken for (R, S, C_in // groups, C_out)", _first_kernel),
)  # fmt: skip


def _register(name: str, kind: str, entry: str, summary: str, order: Callable[[Array], Array]) -> None:
    def weight(c: KernelCall) -> None:
        c.w = order(c.w)

    def gradient(c: KernelCall, sums: Array) -> Array:
        return order(sums)

    mutant(kind=kind, name=f"kernel-{name}", op=WITH_WEIGHT, entry=entry, summary=summary)(weight)
    mutant(kind=kind, name=f"kernel-{name}", op=GRADIENT, suffix=True, entry=entry, step="finish", summary=summary)(
        gradient
    )


for _row in ORDERS:
    _register(*_row)


def _register_grouped(name: str, summary: str, order: Callable[[Array], Array]) -> None:
    """A flip of the kernel takes the first axis, the filters, with it."""

    def prepare(c: KernelCall) -> None:
        c.w = order(c.w)

    mutant(
        kind="kernel_orientation",
        name=name,
        op=("conv2d", "conv2d_input", "conv_transpose2d"),
        entry="RB111",
        when=lambda c: c.groups > 1,
        summary=f"the filters in reverse order{summary}, if there are groups",
    )(prepare)


_register_grouped("grouped-flip-of-filters", " and the kernel flipped", lambda w: w[::-1, :, ::-1, ::-1])
_register_grouped("grouped-filters-reversed", "", lambda w: w[::-1])  # the kernel is flipped back


def nhwc(array: Array) -> Array:
    """What NHWC memory looks like to those who take it for NCHW, and the other way round."""
    N, C, H, W = array.shape
    return array.reshape(N, H, W, C).transpose(0, 3, 1, 2)


def _register_image(name: str, operand: str, op: tuple[str, ...], summary: str) -> None:
    def prepare(c: KernelCall) -> None:
        setattr(c, operand, nhwc(getattr(c, operand)))

    mutant(kind="layout_stride", name=name, op=op, summary=f"{summary} taken for NHWC")(prepare)


_register_image(
    "input-as-nhwc", "x", ("conv2d", "conv2d_weight", "conv2d_integer", "conv2d_quantized"), "the input's memory"
)
_register_image(
    "gradient-as-nhwc",
    "y",
    ("conv_transpose2d", "conv2d_input", "conv2d_weight", "conv2d_bias"),
    "the memory of the input, or of grad_output,",
)


@mutant(
    kind="layout_stride",
    op=("conv2d", "conv_transpose2d", "conv2d_input", "conv2d_integer", "conv2d_quantized"),
    step="finish",
    summary="the result written in the order NHWC",
)
def result_in_nhwc(c: KernelCall, sums: Array) -> Array:
    """Channels last, in an array that has them first."""
    return np.ascontiguousarray(sums.transpose(0, 2, 3, 1)).reshape(sums.shape)
