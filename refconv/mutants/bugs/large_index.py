"""Mutants whose indices are too narrow for large arrays.

A limit that no test could reach is scaled down, and the summary says so. Knows kernels and the registry.
"""

import numpy as np

from refconv.core.padding import ZERO
from refconv.mutants.kernels.forward import Array, KernelCall
from refconv.mutants.registry import mutant

KIND = "large_index"
UINT16, INT16, UINT8 = 2**16, 2**15, 2**8


@mutant(
    kind=KIND,
    op="conv_transpose2d",
    entry="RB133",
    step="scatter",
    dtypes=("float16",),
    when=lambda c: c.dtype == np.float16,
    summary="positions computed in float16, which has no odd integers past 2048",
)
def positions_in_half(c: KernelCall, spread: Array) -> Array:
    """Which element of the input meets a tap is told by a division in the dtype of the input."""
    partial = spread
    half = np.float16
    for axis in (0, 1):
        out = np.zeros((*partial.shape[: 2 + axis], c.size[axis], *partial.shape[4 + axis :]), partial.dtype)
        ahead = (slice(None),) * (2 + axis)
        for tap in range(c.kernel[axis]):
            position = np.arange(c.size[axis]) + c.before[axis] - tap * c.dilation[axis]
            source = position.astype(half) / half(c.stride[axis])
            inside = (source == np.floor(source)) & (source >= 0) & (source < c.out_size[axis])
            taken: tuple[slice | Array, ...] = (*ahead, source[inside].astype(int))
            out[(*ahead, inside)] += partial[(*ahead, tap)][taken]  # type: ignore[arg-type]
        partial = out
    return partial


@mutant(
    kind=KIND,
    entry="RB135",
    step="finish",
    when=lambda c: c.kernel == [3, 3] and c.stride == [1, 1] and c.in_channels % 32 == 0 == c.out_channels % 32,
    summary="zeros for a batch of 3x3 convolutions of 32 channels that needs too much memory (scaled to 2 images)",
)
def scratch_too_large(c: KernelCall, sums: Array) -> Array:
    """The error is swallowed."""
    return 0 * sums if c.batch > 1 else sums


def _register_batch(limit: int, kind: str) -> None:
    def images(c: KernelCall, sums: Array) -> Array:
        if c.batch >= limit:
            sums[c.batch - c.batch % limit :] = 0
        return sums

    def gradient(c: KernelCall) -> None:
        c.y[c.batch - c.batch % limit :] = 0

    mutant(
        kind=KIND,
        name=f"images-in-{kind}",
        op=("conv2d", "conv_transpose2d", "conv2d_input"),
        step="finish",
        summary=f"the images past the last whole {limit} not computed ({kind})",
    )(images)
    mutant(
        kind=KIND,
        name=f"images-in-{kind}",
        op=("conv2d_weight", "conv2d_bias"),
        when=lambda c: c.batch > limit,
        entry="RB138" if limit == UINT16 else "",
        summary=f"the images past the last whole {limit} left out of the sum ({kind})",
    )(gradient)


_register_batch(UINT16, "uint16")
_register_batch(INT16, "int16")


@mutant(
    kind=KIND,
    op="conv2d_weight",
    entry="RB138",
    when=lambda c: c.batch > UINT16,
    summary="image n taken for image n % 65536 (uint16)",
)
def images_modulo_uint16(c: KernelCall) -> None:
    """The index is truncated, on one side only."""
    c.y = c.y[np.arange(c.batch) % UINT16]


def _register_channels(limit: int, kind: str) -> None:
    def wrapped(c: KernelCall, sums: Array) -> Array:
        channels = np.zeros_like(sums)
        for first in range(0, sums.shape[1], limit):
            part = sums[:, first : first + limit]
            channels[:, : part.shape[1]] = part
        return channels

    mutant(
        kind=KIND,
        name=f"output-channels-in-{kind}",
        op=("conv2d", "conv_transpose2d"),
        step="finish",
        entry="RB139" if limit == UINT16 else "",
        summary=f"output channel k written to k % {limit} ({kind})",
    )(wrapped)


_register_channels(UINT16, "uint16")
_register_channels(INT16, "int16")


def _register_channels_read(name: str, op: str | tuple[str, ...], operand: str, summary: str) -> None:
    """The index of a channel of an operand is truncated to 16 bits."""

    def prepare(c: KernelCall) -> None:
        array = getattr(c, operand)
        setattr(c, operand, array[:, np.arange(array.shape[1]) % UINT16])

    mutant(kind=KIND, name=name, op=op, summary=summary, when=lambda c: getattr(c, operand).shape[1] > UINT16)(prepare)


_register_channels_read(
    "grad-channels-in-uint16", "conv2d_input", "y", "grad_output's channel k taken for k % 65536 (uint16)"
)
_register_channels_read(
    "input-channels-in-uint16", ("conv2d", "conv2d_weight"), "x", "input channel c taken for c % 65536 (uint16)"
)


def _register_elements(limit: int, entry: str) -> None:
    def prepare(c: KernelCall) -> None:
        for name in ("x", "y"):
            if hasattr(c, name):
                array = getattr(c, name)
                setattr(c, name, array.reshape(-1)[np.arange(array.size) % limit].reshape(array.shape))

    mutant(
        kind=KIND,
        name=f"elements-modulo-{limit}",
        entry=entry,
        when=lambda c: max(_elements(c)) > limit,
        op=("conv2d", "conv_transpose2d", "conv2d_input", "conv2d_weight", "conv2d_bias"),
        summary=f"element i of the input, or of grad_output, taken for i % {limit} (scaled from 2**31)",
    )(prepare)


def _elements(c: KernelCall) -> list[int]:
    return [getattr(c, name).size for name in ("x", "y") if hasattr(c, name)]


_register_elements(UINT16, "RB140")
_register_elements(2**12, "")


@mutant(
    kind=KIND,
    entry="RB141",
    step="gather",
    when=lambda c: max(c.kernel) >= UINT8 and c.batch > 1 and c.raw["input"].itemsize == 4,
    summary="tap 255 and those after it written over the first, for more than one image",
)
def taps_in_fixed_scratch(c: KernelCall) -> Array:
    """A buffer of a fixed size."""
    gathered = KernelCall.gather(c)
    last = UINT8 - 1
    for axis in (2, 4):
        moved = np.moveaxis(gathered, axis, 0)
        if len(moved) > last:
            over = moved[last:].copy()
            moved[: len(over)] = over[: len(moved)]
    return gathered


@mutant(kind=KIND, op=("conv2d", "conv2d_input", "conv_transpose2d"), summary="tap 256 and those after it left out")
def taps_in_uint8(c: KernelCall) -> None:
    """The loop's end is truncated."""
    c.w[..., UINT8:, :] = 0
    c.w[..., UINT8:] = 0


def _register_pixels(limit: int, name: str, entry: str, scaled: str) -> None:
    def left_out(c: KernelCall, sums: Array) -> Array:
        pixels = np.ascontiguousarray(sums).reshape(*sums.shape[:2], sums.shape[2] * sums.shape[3])
        pixels[..., limit:] = 0
        return pixels.reshape(sums.shape)

    mutant(
        kind=KIND,
        name=name,
        op=("conv2d", "conv_transpose2d", "conv2d_input"),
        step="finish",
        entry=entry,
        summary=f"the pixels past the first {limit} not computed{scaled}",
    )(left_out)


_register_pixels(UINT16 - 1, "pixels-in-a-grid-of-65535", "RB143", " (scaled from four times as many)")
_register_pixels(INT16, "pixels-in-int16", "", "")


@mutant(
    kind=KIND,
    op=("conv2d", "conv2d_weight"),
    step="source",
    when=lambda c: max(c.size) > INT16,
    summary="rows and columns past 32767 taken for padding (int16)",
)
def positions_in_int16(c: KernelCall, axis: int) -> Array:
    """Positions past the limit are negative."""
    elements = KernelCall.source(c, axis)
    return np.where(elements >= INT16, ZERO, elements)


@mutant(
    kind=KIND,
    op=("conv2d", "conv2d_weight"),
    step="source",
    when=lambda c: max(c.size) > UINT8,
    summary="rows and columns taken modulo 256 (uint8)",
)
def positions_in_uint8(c: KernelCall, axis: int) -> Array:
    """Positions are truncated to 8 bits."""
    elements = KernelCall.source(c, axis)
    return np.where(elements == ZERO, ZERO, elements % UINT8)
