"""Mutants that go wrong at the tail of a block: the last pixels, channels, taps or images.

Knows kernels and the registry.
"""

import math
from typing import Any

import numpy as np

from refconv.mutants.kernels.forward import Array, KernelCall
from refconv.mutants.registry import ANY, EVERY, SEVERAL, SPATIAL, mutant

KIND = "tile_tail"
IMAGES = ("conv2d", "conv_transpose2d", "conv2d_input", "conv2d_integer", "conv2d_quantized")


def _tail(size: int, block: int) -> slice:
    return slice(size // block * block, size)


def _register_unwritten(
    what: str, axis: int, block: int, op: tuple[str, ...], entry: str = "", axes: tuple[int, ...] = ANY
) -> None:
    def zero(c: KernelCall, sums: Array) -> Array:
        moved = np.moveaxis(sums, axis, 0)
        tail = _tail(len(moved), block)
        if tail.start or block == 2:
            moved[tail] = 0
        return sums

    def stale(c: KernelCall, sums: Array) -> Array:
        moved = np.moveaxis(sums, axis, 0)
        tail = _tail(len(moved), block)
        if tail.start:
            moved[tail] = moved[tail.start - block : tail.stop - block]
        return sums

    mutant(
        kind=KIND,
        name=f"tail-of-{what}-by-{block}-not-written",
        op=op,
        axes=axes,
        entry=entry,
        step="finish",
        summary=f"the {what} past the last whole block of {block} not computed",
    )(zero)
    mutant(
        kind=KIND,
        name=f"tail-of-{what}-by-{block}-stale",
        op=tuple(name for name in op if name in SPATIAL),
        axes=axes,
        step="finish",
        summary=f"the {what} past the last whole block of {block} taken from the block before",
    )(stale)


for _block in (2, 4, 8, 16):
    _register_unwritten("columns", -1, _block, IMAGES, "RB076" if _block == 2 else "")
for _block in (2, 4):
    _register_unwritten("rows", -2, _block, IMAGES, axes=SEVERAL)
for _block in (4, 8, 16):
    _register_unwritten("channels", 1, _block, IMAGES)
    _register_unwritten("filters", 0, _block, ("conv2d_weight",))


READING = ("conv2d", "conv2d_integer", "conv2d_quantized")


def _register_unread(what: str, block: int) -> None:
    """Terms of the sum past the last whole block of input channels (of a group), taps or columns of taps left out."""

    def prepare(c: KernelCall) -> None:
        tail = _tail(_size(c, what), block)
        if what == "taps":
            c.w.reshape(*c.w.shape[:2], -1)[..., tail] = 0
        elif what == "columns of the kernel":
            c.w[..., tail] = 0
        else:
            c.w[:, tail] = 0

    mutant(
        kind=KIND,
        name=f"tail-of-{what.replace(' ', '-')}-by-{block}-not-read",
        op=READING,
        axes=SEVERAL if what == "columns of the kernel" else ANY,
        when=lambda c: _size(c, what) > block,
        summary=f"{what} past the last whole block of {block} left out of the sum",
    )(prepare)


def _size(c: KernelCall, what: str) -> int:
    _, C, *taps = c.w.shape
    sizes: dict[str, int] = {"taps": math.prod(taps), "columns of the kernel": taps[-1], "input channels": C}
    return sizes[what]


for _block in (2, 4, 8):
    _register_unread("input channels", _block)
for _block in (2, 4):
    _register_unread("taps", _block)
_register_unread("columns of the kernel", 2)


def _pixels(sums: Array) -> Array:
    """(N, C, P * Q)."""
    return np.ascontiguousarray(sums).reshape(*sums.shape[:2], math.prod(sums.shape[2:]))


@mutant(
    kind=KIND,
    op=IMAGES,
    axes=ANY,
    entry="RB071",
    step="finish",
    summary="the first pixel past the last whole block of 8 that of the one before it",
)
def first_pixel_of_tail_stale(c: KernelCall, sums: Array) -> Array:
    """The accumulator is not cleared between the loops."""
    pixels = _pixels(sums)
    tail = _tail(pixels.shape[2], 8)
    if 0 < tail.start < tail.stop:
        pixels[..., tail.start] = pixels[..., tail.start - 1]
    return pixels.reshape(sums.shape)


@mutant(
    kind=KIND,
    op=IMAGES,
    axes=ANY,
    step="finish",
    summary="the first pixel past the last whole block of 8 added to that of the one before it",
)
def first_pixel_of_tail_added(c: KernelCall, sums: Array) -> Array:
    """The accumulator is not cleared between the loops."""
    pixels = _pixels(sums)
    tail = _tail(pixels.shape[2], 8)
    if 0 < tail.start < tail.stop:
        pixels[..., tail.start] += pixels[..., tail.start - 1]
    return pixels.reshape(sums.shape)


@mutant(kind=KIND, op=IMAGES, step="finish", summary="the pixels past the last whole block of 4 not computed", axes=ANY)
def tail_of_pixels_not_written(c: KernelCall, sums: Array) -> Array:
    """The loop over single pixels is missing."""
    pixels = _pixels(sums)
    pixels[..., _tail(pixels.shape[2], 4)] = 0
    return pixels.reshape(sums.shape)


@mutant(
    kind=KIND,
    entry="RB072",
    step="finish",
    when=lambda c: c.kernel == [3, 3] and c.stride == c.dilation == [1, 1] and c.groups == 1,
    summary="only 4 of a tail of 5 to 7 tiles written, for 3x3 kernels in 2x2 tiles, 8 at a time",
)
def winograd_tail_of_tiles(c: KernelCall, sums: Array) -> Array:
    """The tail is written by vectors of 4."""
    rows, columns = (np.arange(size) // 2 for size in c.out_size)
    tile = rows[:, None] * -(-c.out_size[1] // 2) + columns
    tiles = tile.max() + 1
    return np.where((tiles % 8 > 4) & (tile >= tiles // 8 * 8 + 4), 0, sums)


@mutant(
    kind=KIND,
    op="conv2d_input",
    entry="RB074",
    step="compute",
    when=lambda c: c.stride[1] > 1 and c.in_channels > 16 and c.size[1] < 17,
    summary="the stride's phase ignored in rows shorter than a block of 16, for more than 16 channels",
)
def short_rows_without_phase(c: KernelCall) -> Array:
    """All that is left is a tail, whose path has no phases."""
    c.stride[1] = 1
    return c.scatter(c.spread())


@mutant(
    kind=KIND,
    entry="RB078",
    step="finish",
    dtypes=("bfloat16", "float16"),
    when=lambda c: c.out_channels % 16 > 0,
    summary="the channels past the last whole block of 16 rounded to a common exponent that is too large",
)
def block_exponent_of_garbage(c: KernelCall, sums: Array) -> Array:
    """Lanes that hold no channel take part in the largest exponent of a block (scaled to 7 bits below it)."""
    tail = sums[:, _tail(c.out_channels, 16)]
    garbage = 16 * np.abs(tail[np.isfinite(tail)]).max(initial=0)
    if garbage:
        quantum = 2.0 ** (np.ceil(np.log2(garbage)) - 7)
        tail[...] = np.rint(tail / quantum) * quantum
    return sums


@mutant(
    kind=KIND,
    op=("conv2d", "conv_transpose2d", "conv2d_input", "conv2d_integer"),
    axes=ANY,
    entry="RB080",
    when=lambda c: c.depthwise and len(c.w) > 4,
    summary="the weights of the last whole block of 4 used for the channels past it, in the depthwise path",
)
def depthwise_tail_weights(c: KernelCall) -> None:
    """The pointer is not moved on."""
    tail = _tail(len(c.w), 4)
    c.w[tail] = c.w[tail.start - 4 : tail.stop - 4]


@mutant(
    kind=KIND,
    op=SPATIAL,
    axes=ANY,
    when=lambda c: c.depthwise,
    summary="the channels past the last whole block of 4 not computed in the depthwise path",
)
def depthwise_tail_not_written(c: KernelCall) -> None:
    """The loop over single channels is missing."""
    if hasattr(c, "y"):
        c.y[:, _tail(c.in_channels, 4).start * c.multiplier :] = 0
    else:
        c.x[:, _tail(c.in_channels, 4)] = 0


@mutant(
    kind=KIND,
    op=("conv2d_weight", "conv2d_bias"),
    summary="the last column of grad_output left out if it is odd",
    axes=ANY,
)
def gradient_without_odd_column(c: KernelCall) -> None:
    """Columns are read in pairs."""
    c.y[..., _tail(c.y.shape[-1], 2)] = 0


@mutant(
    kind=KIND,
    op=("conv2d_weight", "conv2d_bias"),
    axes=ANY,
    summary="the pixels of grad_output past the last whole block of 8 left out",
)
def gradient_without_tail_of_pixels(c: KernelCall) -> None:
    """The loop over single pixels is missing."""
    pixels = math.prod(c.y.shape[2:])
    c.y.reshape(*c.y.shape[:2], pixels)[..., _tail(pixels, 8)] = 0


@mutant(
    kind=KIND, op="conv2d_bias", summary="the sums of channels past the last whole block of 8 not computed", axes=ANY
)
def bias_gradient_without_tail_of_channels(c: KernelCall) -> None:
    """The loop over single channels is missing."""
    c.y[:, _tail(c.y.shape[1], 8)] = 0


def _register_last(what: str, last: tuple[Any, ...], axes: tuple[int, ...] = ANY) -> None:
    """The loop ends one too early."""

    def finish(c: KernelCall, sums: Array) -> Array:
        sums[last] = 0
        return sums

    mutant(
        kind=KIND,
        name=f"last-{what}-not-written",
        op=EVERY,
        axes=axes,
        step="finish",
        summary=f"the last {what} of the result not computed",
    )(finish)


_register_last("plane", np.s_[..., -1:, :, :], (3,))
_register_last("row", np.s_[..., -1:, :], SEVERAL)
_register_last("column", np.s_[..., -1:])
_register_last("channel", np.s_[:, -1:])


@mutant(kind=KIND, style="out", step="deliver", summary="the last column not written if the width is odd, to out")
def out_odd_column_not_written(c: KernelCall, result: Array, out: Array) -> None:
    """Columns are written in pairs."""
    tail = _tail(out.shape[-1], 2)
    out[..., : tail.start] = result[..., : tail.start]


@mutant(kind=KIND, style="out", step="deliver", summary="whole vectors of 4 written at the end of out")
def out_written_past_its_end(c: KernelCall, result: Array, out: Array) -> None:
    """A tail is written as if it was whole."""
    out[...] = result
    owner = out if out.base is None else out.base
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    end = out.__array_interface__["data"][0] + out.nbytes - owner.__array_interface__["data"][0]
    if owner.flags.c_contiguous and out.flags.c_contiguous and out.size % 4:
        memory = owner.reshape(-1).view(np.uint8)
        memory[end : end + (-out.size % 4) * out.itemsize] = 0
