"""Lowering: every operator as correlations over views.

Knows geometry and what a correlation is; not who computes it, and nothing of the caller's kinds of arrays.
All shapes are batched; P stands for the sizes of the convolution's output, R for those of the kernel.
"""

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from refconv.core.geometry import Geometry
from refconv.engine.correlation import Correlation


def forward(
    g: Geometry, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, accumulator: np.dtype, out: np.ndarray
) -> Correlation:
    """conv of x (N, C_in, *size) with w (C_out, C_in // groups, *R) into out (N, C_out, *P), as one correlation."""
    split = (g.groups, g.out_channels // g.groups)  # splitting an axis leaves a view, whatever the strides
    return Correlation(
        x.reshape(g.batch, g.groups, g.in_channels // g.groups, *g.size),
        w.reshape(*split, *w.shape[1:]),
        None if bias is None else bias.reshape(split),
        out.reshape(g.batch, *split, *g.output_size),
        g.stride,
        g.dilation,
        g.padding,
        g.padding_mode,
        accumulator,
    )


def input_gradient(
    g: Geometry, grad: np.ndarray, w: np.ndarray, bias: np.ndarray | None, accumulator: np.dtype, out: np.ndarray
) -> Iterator[Correlation]:
    """The gradient of x from that of the output, (N, C_out, *P), into out (N, C_in, *size), residue by residue.

    Padding is of zeros, and has no gradient. With a bias, (C_in,), this is a transposed convolution.
    An element of the input meets the taps r with r * dilation = i + before (modulo stride) only. So each residue of the
    stride is a correlation of stride 1 with every k-th tap of the kernel, in reverse order.
    """
    split = (g.groups, g.in_channels // g.groups)
    grad = grad.reshape(g.batch, g.groups, g.out_channels // g.groups, *grad.shape[2:])
    w = w.reshape(g.groups, g.out_channels // g.groups, *w.shape[1:]).swapaxes(1, 2)
    bias = None if bias is None else bias.reshape(split)
    out = out.reshape(g.batch, *split, *g.size)
    along = [_residues(g, axis, size) for axis, size in enumerate(grad.shape[3:])]
    if any(len(residues) < min(g.stride[axis], g.size[axis]) for axis, residues in enumerate(along)):
        yield _without_terms(grad, w, bias, out, accumulator)  # of all elements; those that meet a tap come later
    for axes in itertools.product(*along):
        yield Correlation(
            grad,
            w[(slice(None),) * 3 + tuple(residue.taps for residue in axes)],
            bias,
            out[(slice(None),) * 3 + tuple(residue.outputs for residue in axes)],
            (1,) * len(axes),
            tuple(-residue.dilation for residue in axes),
            tuple(residue.padding for residue in axes),
            "zeros",
            accumulator,
        )


def _without_terms(
    x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, out: np.ndarray, accumulator: np.dtype
) -> Correlation:
    """A correlation over no channels: its outputs are the bias, or zeros."""
    sizes = zip(x.shape[3:], out.shape[3:], strict=True)
    unit = (1,) * (out.ndim - 3)
    w = w[(slice(None), slice(None), slice(0), *(slice(1) for _ in unit))]
    padding = tuple((0, outputs - size) for size, outputs in sizes)
    return Correlation(x[:, :, :0], w, bias, out, unit, unit, padding, "zeros", accumulator)


class _Residue(NamedTuple):
    """Along an axis: the elements of the input of one residue modulo the stride, and the taps that they meet."""

    outputs: slice  # of the input's gradient
    taps: slice
    dilation: int
    padding: tuple[int, int]


def _residues(g: Geometry, axis: int, grad_size: int) -> list[_Residue]:
    """Residues with elements and taps: by tap m, element first + j * stride meets gradient j + shift - m * d."""
    stride, dilation, kernel, before = g.stride[axis], g.dilation[axis], g.kernel[axis], g.padding[axis][0]
    step = stride // math.gcd(stride, dilation)
    residues = []
    for tap in range(min(step, kernel)):
        first = (tap * dilation - before) % stride
        count = len(range(first, g.size[axis], stride))
        if count:
            between = dilation * step // stride
            reach = (len(range(tap, kernel, step)) - 1) * between
            shift = (first + before - tap * dilation) // stride
            padding = (reach - shift, count + shift - grad_size)
            residues.append(_Residue(slice(first, None, stride), slice(tap, None, step), between, padding))
    return residues


def weight_gradient(
    g: Geometry, x: np.ndarray, grad: np.ndarray, accumulator: np.dtype, out: np.ndarray
) -> Correlation:
    """The gradient of w from x and that of the output, (N, C_out, *P), into out (C_out, C_in // groups, *R).

    The output's gradient is the kernel; stride and dilation, images and channels change places. The input channels of a
    group become the last axis, along which the kernel has one tap: so neighboring outputs multiply the same gradient.
    """
    inputs, outputs = g.in_channels // g.groups, g.out_channels // g.groups
    x = np.moveaxis(x.reshape(g.batch, g.groups, inputs, *g.size), 0, 2)[None]  # (1, groups, channels, N, *size)
    grad = np.moveaxis(grad.reshape(g.batch, g.groups, outputs, *grad.shape[2:]), 0, 2)  # (groups, channels, N, *P)
    out = out.reshape(1, g.groups, outputs, inputs, *g.kernel)
    last = int(inputs > 1)  # how many axes are appended: none for one channel
    return Correlation(
        np.moveaxis(x, 2, -1) if last else x[:, :, 0],
        grad[..., None] if last else grad,
        None,
        np.moveaxis(out, 3, -1) if last else out[:, :, :, 0],
        (*g.dilation, *(1,) * last),
        (*g.stride, *(1,) * last),
        (*g.padding, *((0, 0),) * last),
        g.padding_mode,
        accumulator,
    )


def bias_gradient(grad: np.ndarray, accumulator: np.dtype, out: np.ndarray) -> Correlation:
    """The sums of grad, (N, C_out, *P), over all but the channels, into out (C_out,): correlations with ones."""
    batch, channels, *size = grad.shape
    axes = len(size)
    x = np.moveaxis(grad, 1, -1)[None, None]  # (1, 1, N, *P, C_out)
    ones = np.broadcast_to(np.ones((), grad.dtype), (1, 1, batch, *size, 1))
    unit = (1,) * (axes + 1)
    return Correlation(
        x, ones, None, out.reshape(1, 1, 1, *(1,) * axes, channels), unit, unit, ((0, 0),) * (axes + 1), "zeros",
        accumulator,
    )  # fmt: skip


def parts(c: Correlation, conjugate: str = "") -> Iterator[Correlation]:
    """A correlation of complex numbers as two of real ones, for the real and the imaginary part of the output.

    Real and imaginary parts become the first axis, with two taps: in a sum, for each channel, the products with all
    real parts of x come before those with the imaginary ones. `conjugate` names the operand to conjugate, "x" or "w".
    """
    for real in (True, False):
        first, second = (c.w.real, -c.w.imag) if real else (c.w.imag, c.w.real)
        if conjugate == "w":  # of which the imaginary part has the other sign
            first, second = (first, -second) if real else (-first, second)
        elif conjugate == "x":
            second = -second
        yield Correlation(
            np.moveaxis(_two_parts(c.x), -1, 3),
            np.stack([first, second], axis=3),
            None if c.bias is None else c.bias.real if real else c.bias.imag,
            (c.out.real if real else c.out.imag)[:, :, :, None],
            (1, *c.stride),
            (1, *c.dilation),
            ((0, 0), *c.padding),
            c.padding_mode,
            c.accumulator,
        )


def _two_parts(x: np.ndarray) -> np.ndarray:
    """View with one more axis, of length 2: real and imaginary part."""
    return np.lib.stride_tricks.as_strided(
        x.real, (*x.shape, 2), (*x.strides, x.real.itemsize), subok=True, writeable=False
    )
