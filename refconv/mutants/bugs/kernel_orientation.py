"""Mutants that read the weight, or write its gradient, in another order; and arrays in the order of another layout.

Knows kernels and the registry.
"""

import functools
from collections.abc import Callable

import numpy as np

from refconv.mutants.kernels.forward import Array, KernelCall
from refconv.mutants.registry import ANY, SEVERAL, mutant

WITH_WEIGHT = ("conv2d", "conv_transpose2d", "conv2d_input", "conv2d_integer", "conv2d_quantized")
GRADIENT = "conv2d_weight"


def _transposed_kernel(w: Array) -> Array:
    *lead, R, S = w.shape
    return w.reshape(*lead, S, R).swapaxes(-2, -1)


def _transposed_channels(w: Array) -> Array:
    K, C, *taps = w.shape
    return w.reshape(C, K, *taps).swapaxes(0, 1)


def _last_channels(w: Array) -> Array:
    K, C, *taps = w.shape
    return np.moveaxis(w.reshape(K, *taps, C), -1, 1)


def _first_kernel(w: Array) -> Array:
    K, C, *taps = w.shape
    return np.moveaxis(w.reshape(*taps, C, K), (-1, -2), (0, 1))


def _flipped(w: Array) -> Array:
    return np.flip(w, tuple(range(2, w.ndim)))


ORDERS: tuple[tuple[str, str, str, str, tuple[int, ...], Callable[[Array], Array]], ...] = (
    ("flipped", "kernel_orientation", "RB109", "the kernel flipped", ANY, _flipped),
    ("rows-flipped", "kernel_orientation", "", "the rows of the kernel flipped", SEVERAL, lambda w: w[..., ::-1, :]),
    ("columns-flipped", "kernel_orientation", "", "the columns of the kernel flipped", SEVERAL, lambda w: w[..., ::-1]),
    ("planes-flipped", "kernel_orientation", "", "the planes of the kernel flipped", (3,), lambda w: w[:, :, ::-1]),
    ("transposed", "kernel_orientation", "", "the kernel transposed in memory, (S, R)", SEVERAL, _transposed_kernel),
    ("channels-transposed", "kernel_orientation", "", "the weight's channels transposed in memory", ANY,
     _transposed_channels),
    ("filters-reversed", "kernel_orientation", "", "the filters in reverse order", ANY, lambda w: w[::-1]),
    ("channels-reversed", "kernel_orientation", "", "the weight's input channels in reverse order", ANY,
     lambda w: w[:, ::-1]),
    ("ohwi", "layout_stride", "", "the weight's memory taken for (C_out, R, S, C_in // groups)", ANY, _last_channels),
    ("hwio", "layout_stride", "", "the weight's memory taken for (R, S, C_in // groups, C_out)", ANY, _first_kernel),
)  # fmt: skip


def _register(
    name: str, kind: str, entry: str, summary: str, axes: tuple[int, ...], order: Callable[[Array], Array]
) -> None:
    def weight(c: KernelCall) -> None:
        c.w = order(c.w)

    def gradient(c: KernelCall, sums: Array) -> Array:
        return order(sums)

    mistake = functools.partial(mutant, kind=kind, name=f"kernel-{name}", entry=entry, summary=summary, axes=axes)
    mistake(op=WITH_WEIGHT)(weight)
    mistake(op=GRADIENT, suffix=True, step="finish")(gradient)


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
        axes=ANY,
        when=lambda c: c.groups > 1,
        summary=f"the filters in reverse order{summary}, if there are groups",
    )(prepare)


_register_grouped("grouped-flip-of-filters", " and the kernel flipped", lambda w: _flipped(w[::-1]))
_register_grouped("grouped-filters-reversed", "", lambda w: w[::-1])  # the kernel is flipped back


def nhwc(array: Array) -> Array:
    """What NHWC memory looks like to those who take it for NCHW, and the other way round."""
    N, C, *size = array.shape
    return np.moveaxis(array.reshape(N, *size, C), -1, 1)


def _register_image(name: str, operand: str, op: tuple[str, ...], summary: str) -> None:
    def prepare(c: KernelCall) -> None:
        setattr(c, operand, nhwc(getattr(c, operand)))

    mutant(kind="layout_stride", name=name, op=op, axes=ANY, summary=f"{summary} taken for NHWC")(prepare)


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
    axes=ANY,
    step="finish",
    summary="the result written in the order NHWC",
)
def result_in_nhwc(c: KernelCall, sums: Array) -> Array:
    """Channels last, in an array that has them first."""
    return np.ascontiguousarray(np.moveaxis(sums, 1, -1)).reshape(sums.shape)
