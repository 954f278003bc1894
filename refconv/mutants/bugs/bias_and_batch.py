"""Mutants that add the bias wrongly, or that confuse the images of a batch.

Knows kernels and the registry.
"""

import functools
import math
from collections.abc import Callable

import numpy as np

from refconv.core.padding import ZERO
from refconv.mutants.kernels.forward import Array, KernelCall
from refconv.mutants.registry import ANY, EVERY, SEVERAL, SPATIAL, mutant

KIND = "bias_handling"
BATCH = "batch_reduction"
BIASED = ("conv2d", "conv_transpose2d", "conv2d_quantized")

# Name, entry, summary, and which element of the bias is added to channel k of K, with m channels in a group.
ELEMENTS: tuple[tuple[str, str, str, Callable[[Array, int, int], Array]], ...] = (
    ("by-channel-of-group", "RB113", "the bias of the first group used for all groups", lambda k, K, m: k % m),
    ("by-group-offset", "RB115", "the bias of a group looked for at group * C_out, the last one where there is none",
     lambda k, K, m: np.minimum(k // m * K + k % m, K - 1)),
    ("by-group", "", "one bias for each group, the first ones", lambda k, K, m: k // m),
    ("first-only", "", "the first bias added to all channels", lambda k, K, m: 0 * k),
    ("next-channel", "", "the bias of the next channel added", lambda k, K, m: (k + 1) % K),
    ("reversed", "", "the bias in reverse order", lambda k, K, m: K - 1 - k),
    ("by-blocks-of-4", "", "the bias of the first of four channels added to all four", lambda k, K, m: k // 4 * 4),
)  # fmt: skip


def _register(name: str, entry: str, summary: str, element: Callable[[Array, int, int], Array]) -> None:
    def prepare(c: KernelCall) -> None:
        if c.b is not None:
            K = len(c.b)
            c.b = c.b[element(np.arange(K), K, K // c.groups)]

    mutant(kind=KIND, name=f"bias-{name}", op=BIASED, axes=ANY, entry=entry, summary=summary)(prepare)


for _row in ELEMENTS:
    _register(*_row)


@mutant(
    kind=KIND,
    op=BIASED,
    entry="RB114",
    step="add_bias",
    summary="the bias of channel n added to all of image n",
    axes=ANY,
)
def bias_by_image(c: KernelCall, sums: Array) -> Array:
    """The wrong index."""
    return sums if c.b is None else sums + c.behind(c.b[np.arange(len(sums)) % len(c.b)])[:, None]


@mutant(kind=KIND, op=BIASED, step="add_bias", summary="the bias added to the first image only", axes=ANY)
def bias_of_first_image(c: KernelCall, sums: Array) -> Array:
    """The index of the image is forgotten."""
    if c.b is not None:
        sums[0] += c.behind(c.b)
    return sums


@mutant(kind=KIND, op=BIASED, summary="the bias subtracted", axes=ANY)
def bias_subtracted(c: KernelCall) -> None:
    """The wrong sign."""
    c.b = None if c.b is None else -c.b


@mutant(kind=KIND, op=BIASED, summary="the bias added twice", axes=ANY)
def bias_twice(c: KernelCall) -> None:
    """Once to begin with, and once at the end."""
    c.b = None if c.b is None else 2 * c.b


@mutant(kind=KIND, op=BIASED, summary="the bias added once for each group", axes=ANY)
def bias_for_each_group(c: KernelCall) -> None:
    """In the loop over groups."""
    c.b = None if c.b is None else c.groups * c.b


@mutant(kind=KIND, op=BIASED, summary="the bias added once for each row of the kernel", axes=SEVERAL)
def bias_for_each_row(c: KernelCall) -> None:
    """In the loop over rows."""
    c.b = None if c.b is None else c.kernel[0] * c.b


@mutant(kind=KIND, op=BIASED, summary="the bias added once for every four input channels of a group", axes=ANY)
def bias_for_each_block(c: KernelCall) -> None:
    """In the loop over blocks of input channels."""
    channels = c.multiplier if c.op == "conv_transpose2d" else c.filter_size
    c.b = None if c.b is None else -(-channels // 4) * c.b


def _forgotten(c: KernelCall) -> None:
    c.b = None


PATHS: tuple[tuple[str, str, Callable[[KernelCall], bool]], ...] = (
    ("depthwise", "in the depthwise path", lambda c: c.depthwise),
    ("pointwise", "for 1x1 kernels", lambda c: c.kernel == c.every(1)),
    ("grouped", "if there are groups", lambda c: c.groups > 1),
)
for _path, _words, _when in PATHS:
    mutant(
        kind=KIND, name=f"bias-ignored-if-{_path}", op=BIASED, axes=ANY, when=_when, summary=f"no bias added {_words}"
    )(_forgotten)


def touches_padding(c: KernelCall) -> Array:
    """Which outputs of an image reach into the padding."""
    along = ((c.source(axis) == ZERO).any(axis=0) for axis in range(c.axes))
    return functools.reduce(np.logical_or.outer, along)


@mutant(
    kind=KIND,
    op=("conv2d", "conv2d_quantized"),
    axes=ANY,
    step="add_bias",
    summary="no bias added where the window reaches into the padding",
)
def bias_not_at_border(c: KernelCall, sums: Array) -> Array:
    """The path of the border forgets it."""
    return sums if c.b is None else np.where(touches_padding(c), sums, sums + c.behind(c.b))


@mutant(
    kind=KIND,
    op=("conv2d", "conv2d_quantized"),
    axes=ANY,
    step="add_bias",
    summary="the bias added only where the window reaches into the padding",
)
def bias_at_border_only(c: KernelCall, sums: Array) -> Array:
    """Only the path of the border adds it."""
    return sums if c.b is None else np.where(touches_padding(c), sums + c.behind(c.b), sums)


@mutant(
    kind=BATCH,
    op=EVERY[:3] + EVERY[4:],
    axes=ANY,
    entry="RB119",
    step="finish",
    summary="the result computed as (C_out, N, P, Q) and reshaped, not transposed",
)
def batch_not_transposed(c: KernelCall, sums: Array) -> Array:
    """A matrix product has the channels first."""
    return np.ascontiguousarray(sums.swapaxes(0, 1)).reshape(sums.shape)


@mutant(
    kind=BATCH,
    op=("conv2d", "conv_transpose2d"),
    entry="RB120",
    step="finish",
    when=lambda c: c.size[0] == c.out_size[0] == 1,
    summary="only the first image computed if the height is 1",
)
def batch_lost_if_height_1(c: KernelCall, sums: Array) -> Array:
    """The batch is taken from another axis of an array of one row."""
    sums[1:] = 0
    return sums


@mutant(
    kind=BATCH,
    op=("conv2d", "conv_transpose2d"),
    axes=ANY,
    entry="RB120",
    when=lambda c: not c.batched,
    step="store",
    summary="a result with a batch axis for an input without",
    supports={"unbatched": True},
)
def unbatched_becomes_batched(c: KernelCall, sums: Array) -> Array:
    """The axis that was added is not taken off."""
    return KernelCall.store(c, sums)[None]


@mutant(kind=BATCH, op=SPATIAL, summary="the first image read for all", axes=ANY)
def first_image_for_all(c: KernelCall) -> None:
    """The offset of the image is forgotten."""
    for name in ("x", "y"):
        if hasattr(c, name):
            array = getattr(c, name)
            setattr(c, name, np.broadcast_to(array[:1], array.shape).copy())


@mutant(
    kind=BATCH,
    op=(*EVERY[:3], "conv2d_integer"),
    axes=ANY,
    step="finish",
    summary="the last image not computed if their number is odd and above 1",
)
def odd_image_left_out(c: KernelCall, sums: Array) -> Array:
    """Images are computed in pairs."""
    if len(sums) > 1:
        sums[len(sums) // 2 * 2 :] = 0
    return sums


@mutant(kind=BATCH, op=("conv2d_weight", "conv2d_bias"), summary="the gradient of the last image only", axes=ANY)
def last_image_only(c: KernelCall) -> None:
    """Written over, not added up."""
    c.y[:-1] = 0


@mutant(kind=BATCH, op=("conv2d_weight", "conv2d_bias"), summary="the gradient of the first image only", axes=ANY)
def first_image_only(c: KernelCall) -> None:
    """The loop over images is missing."""
    c.y[1:] = 0


@mutant(
    kind=BATCH,
    op=("conv2d_weight", "conv2d_bias"),
    axes=ANY,
    step="finish",
    summary="the mean over the images, not the sum",
    when=lambda c: c.batch > 1,
)
def mean_over_images(c: KernelCall, sums: Array) -> Array:
    """Loss functions do that, not gradients."""
    return sums / c.batch


@mutant(kind=BATCH, op="conv2d_bias", step="finish", summary="the mean over the pixels, not the sum", axes=ANY)
def mean_over_pixels(c: KernelCall, sums: Array) -> Array:
    """A mean for a sum."""
    return sums / max(1, math.prod(c.out_size))


@mutant(kind=BATCH, op="conv2d_bias", summary="the last row left out", axes=SEVERAL)
def bias_gradient_without_last_row(c: KernelCall) -> None:
    """The loop ends one too early."""
    c.y[:, :, -1] = 0


@mutant(kind=BATCH, op="conv2d_bias", summary="the last column left out, if the width is odd", axes=ANY)
def bias_gradient_without_odd_column(c: KernelCall) -> None:
    """Columns are added in pairs."""
    c.y[..., c.y.shape[-1] // 2 * 2 :] = 0


@mutant(kind=BATCH, op="conv2d_bias", summary="the first row added only", axes=ANY)
def bias_gradient_of_first_row(c: KernelCall) -> None:
    """One axis too few is summed over."""
    c.y[:, :, 1:] = 0
