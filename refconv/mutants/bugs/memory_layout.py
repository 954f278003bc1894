"""Mutants that misread the memory of views: offsets, strides and row pitches.

Knows kernels and the registry.
"""

from collections.abc import Callable

import numpy as np

from refconv.mutants.kernels.forward import Array, KernelCall
from refconv.mutants.registry import ANY, mutant

KIND = "layout_stride"
VIEWS = {"views": True}
# The operators that have an operand, by its name.
OPERANDS = {
    "input": ("conv2d", "conv_transpose2d", "conv2d_weight", "conv2d_integer"),
    "weight": ("conv2d", "conv_transpose2d", "conv2d_input", "conv2d_integer"),
    "grad_output": ("conv2d_input", "conv2d_weight", "conv2d_bias"),
    "bias": ("conv2d", "conv_transpose2d"),
}
ENTRIES = {
    ("as-contiguous", "weight"): "RB085",
    ("batch-contiguous", "input"): "RB087",
    ("offset-twice", "weight"): "RB088",
    ("from-the-start", "weight"): "RB089",
}


def memory(array: Array) -> tuple[Array, int]:
    """All elements of the array that owns a view's memory, in memory order, and the index at which the view begins.

    >>> whole = np.arange(6)
    >>> memory(whole[4:])
    (array([0, 1, 2, 3, 4, 5]), 4)
    """
    owner = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    raw = owner.ravel(order="K").view(np.uint8)
    begin = array.__array_interface__["data"][0] - raw.__array_interface__["data"][0]
    if not 0 <= begin < raw.size:  # an owner with gaps, of which this is a copy
        return array.reshape(-1), 0
    shift = begin % array.itemsize
    count = (raw.size - shift) // array.itemsize
    return raw[shift : shift + count * array.itemsize].view(array.dtype), begin // array.itemsize


def strided(flat: Array, begin: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    """Elements of `flat` read from `begin` on by strides, counted in elements; reading past the end begins anew."""
    index = np.full((1,) * len(shape), begin)
    for axis, (size, step) in enumerate(zip(shape, strides, strict=True)):
        index = index + np.arange(size).reshape(-1, *(1,) * (len(shape) - axis - 1)) * step
    strided_elements: Array = flat[index % flat.size]
    return strided_elements


def c_order(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a contiguous array, in elements."""
    return tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))


def elements(array: Array) -> tuple[int, ...]:
    """The strides of an array, in elements."""
    return tuple(step // array.itemsize for step in array.strides)


def as_contiguous(array: Array) -> Array:
    """An array of the same shape, read in C order from where the view begins."""
    return strided(*memory(array), array.shape, c_order(array.shape))


def _from_the_start(array: Array) -> Array:
    return strided(memory(array)[0], 0, array.shape, c_order(array.shape))


def _offset_ignored(array: Array) -> Array:
    return strided(memory(array)[0], 0, array.shape, elements(array))


def _offset_twice(array: Array) -> Array:
    return np.roll(array.reshape(-1), -memory(array)[1]).reshape(array.shape)


def _with_stride(array: Array, axis: int, step: int) -> Array:
    steps = list(elements(array))
    steps[axis] = step
    return strided(*memory(array), array.shape, tuple(steps))


def _batch_contiguous(array: Array) -> Array:
    return _with_stride(array, 0, int(np.prod(array.shape[1:]))) if array.ndim == 4 else array


def _pitch_ignored(array: Array) -> Array:
    return _with_stride(array, -2, array.shape[-1] * elements(array)[-1])


def _columns_adjacent(array: Array) -> Array:
    return _with_stride(array, -1, 1)


def _absolute(array: Array) -> Array:
    return strided(*memory(array), array.shape, tuple(map(abs, elements(array))))


def _broadcast_ignored(array: Array) -> Array:
    steps = zip(elements(array), c_order(array.shape), strict=True)
    return strided(*memory(array), array.shape, tuple(step or full for step, full in steps))


def _aligned(array: Array) -> Array:
    flat, begin = memory(array)
    beyond = array.__array_interface__["data"][0] % 16 // array.itemsize
    return strided(flat, begin - beyond, array.shape, elements(array))


IMAGES = ("input", "grad_output")
PIXELS = (*IMAGES, "weight")
MISTAKES: tuple[tuple[str, str, tuple[str, ...], Callable[[Array], Array]], ...] = (
    ("as-contiguous", "read as if it was contiguous, from where it begins", (*PIXELS, "bias"), as_contiguous),
    ("from-the-start", "read as if it was contiguous, from the start of its memory", (*PIXELS, "bias"),
     _from_the_start),
    ("offset-ignored", "read by its strides from the start of its memory", (*PIXELS, "bias"), _offset_ignored),
    ("offset-twice", "copied, and the copy read at the offset that the original has", PIXELS, _offset_twice),
    ("batch-contiguous", "read by its strides, but for the batch, whose stride is taken for C * H * W", IMAGES,
     _batch_contiguous),
    ("pitch-ignored", "read as if one row followed the other", PIXELS, _pitch_ignored),
    ("columns-adjacent", "read as if the elements of a row lay side by side", PIXELS, _columns_adjacent),
    ("negative-strides-positive", "read by the absolute values of its strides", PIXELS, _absolute),
    ("broadcast-ignored", "read as if no stride was 0", PIXELS, _broadcast_ignored),
    ("address-rounded-down", "read from an address rounded down to 16 bytes", PIXELS, _aligned),
)  # fmt: skip


OF_FOUR_AXES = {"batch-contiguous", "pitch-ignored"}  # mistakes in the index of an image's row, or of an image


def _register(mistake: str, summary: str, operand: str, read: Callable[[Array], Array]) -> None:
    def load(c: KernelCall, name: str, array: Array) -> Array:
        return read(array) if name == operand and array.size else array

    for op in OPERANDS[operand]:
        mutant(
            kind=KIND,
            name=f"{operand.replace('_', '-')}-{mistake}",
            op=op,
            suffix=True,
            axes=(2,) if mistake in OF_FOUR_AXES else ANY,
            entry=ENTRIES.get((mistake, operand), ""),
            step="load",
            supports=VIEWS,
            summary=f"{operand} {summary}",
        )(load)


for _mistake, _summary, _operands, _read in MISTAKES:
    for _operand in _operands:
        _register(_mistake, _summary, _operand, _read)


@mutant(
    kind=KIND,
    op=("conv2d", "conv2d_integer"),
    entry="RB091",
    step="load",
    supports=VIEWS,
    summary="input and weight read as if they were contiguous",
)
def both_as_contiguous(c: KernelCall, name: str, array: Array) -> Array:
    """Strides are not looked at."""
    return as_contiguous(array) if name in PIXELS and array.size else array


@mutant(
    kind=KIND,
    op="conv2d_input",
    entry="RB090",
    step="load",
    supports=VIEWS,
    summary="a weight with its channels transposed read as if it was contiguous, if they are as many",
)
def square_weight_as_contiguous(c: KernelCall, name: str, array: Array) -> Array:
    """The shape gives nothing away."""
    return as_contiguous(array) if name == "weight" and array.shape[0] == array.shape[1] else array


def channels_last(array: Array) -> bool:
    """Whether the memory of an array is in the order NHWC, and not in the order NCHW too."""
    return array.ndim == 4 and not array.flags.c_contiguous and array.transpose(0, 2, 3, 1).flags.c_contiguous


def written_channels_last(c: KernelCall, sums: Array) -> Array:
    """The sums in the order NHWC, in a buffer in the order NCHW."""
    return np.ascontiguousarray(sums.transpose(0, 2, 3, 1)).reshape(sums.shape)


mutant(
    kind=KIND,
    name="gradient-written-channels-last",
    op="conv2d_input",
    entry="RB086",
    step="finish",
    supports=VIEWS,
    when=lambda c: channels_last(c.raw["grad_output"]),
    summary="the result written in the order NHWC if grad_output is stored so",
)(written_channels_last)
mutant(
    kind=KIND,
    name="result-written-channels-last",
    op=("conv2d", "conv_transpose2d"),
    step="finish",
    supports=VIEWS,
    when=lambda c: channels_last(c.raw["input"]),
    summary="the result written in the order NHWC if the input is stored so",
)(written_channels_last)


@mutant(
    kind=KIND,
    op=("conv2d", "conv_transpose2d"),
    entry="RB093",
    step="deliver",
    style="out",
    supports=VIEWS,
    summary="the result written to out as if it was contiguous",
)
def out_as_contiguous(c: KernelCall, result: Array, out: Array) -> None:
    """The pitch of its rows is not looked at."""
    flat, begin = memory(out)
    room = flat[begin : begin + out.size]
    room[...] = result.reshape(-1)[: room.size]


@mutant(
    kind=KIND, style="out", step="deliver", supports=VIEWS, summary="the result written to the start of out's memory"
)
def out_offset_ignored(c: KernelCall, result: Array, out: Array) -> None:
    """Its offset is not looked at."""
    flat, _ = memory(out)
    flat[: out.size] = result.reshape(-1)[: flat.size]
