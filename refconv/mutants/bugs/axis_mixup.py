"""Mutants that take one axis' parameter for the other's.

Knows kernels and the registry.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from refconv.core.checks import per_axis
from refconv.core.padding import ZERO
from refconv.mutants.kernels.backward import Transposed
from refconv.mutants.kernels.forward import Array, KernelCall
from refconv.mutants.registry import EVERY, SEVERAL, mutant

FORWARD = "conv2d"
Way = Callable[[list[Any]], list[Any]]
WAYS: dict[str, tuple[Way, str, tuple[int, ...]]] = {
    "height-for-width": (lambda along: [*along[:-1], along[-2]], "of the height used for the width", SEVERAL),
    "width-for-height": (
        lambda along: [*along[:-2], along[-1], along[-1]], "of the width used for the height", SEVERAL
    ),
    "swapped": (lambda along: [*along[:-2], along[-1], along[-2]], "of height and width swapped", SEVERAL),
    "depth-for-all": (lambda along: along[:1] * 3, "of the depth used for height and width", (3,)),
    "reversed": (lambda along: along[::-1], "of depth and width swapped", (3,)),
}  # fmt: skip
ENTRIES = {
    "dilation-height-for-width": "RB002",
    "size-by-dilation-height-for-width": "RB002",
    "size-by-kernel-height-for-width": "RB002",  # what is left when only the dilation is put right
    "stride-swapped": "RB005",
    "dilation-swapped": "RB005",
}


def _parameter(names: tuple[str, ...], way: Way) -> Callable[[KernelCall], None]:
    def prepare(c: KernelCall) -> None:
        for name in names:
            setattr(c, name, way(list(getattr(c, name))))

    return prepare


def _extent(way: Way) -> Callable[[KernelCall], None]:
    """Loop over a wrong number of taps, through the right weights' memory."""

    def prepare(c: KernelCall) -> None:
        R, S = c.kernel
        c.kernel = way([R, S])
        rows, columns = (range(size) for size in c.kernel)
        step = columns.stop if c.kernel == [S, R] else S
        flat = [(r * step + s) % (R * S) for r in rows for s in columns]
        c.w = c.w.reshape(*c.w.shape[:2], R * S)[..., flat].reshape(*c.w.shape[:2], *c.kernel)

    return prepare


def _size(names: tuple[str, ...], way: Way) -> Callable[[KernelCall], None]:
    """Compute only the size of the result from the wrong parameters."""

    def prepare(c: KernelCall) -> None:
        kept = {name: getattr(c, name) for name in names}
        _parameter(names, way)(c)
        c.resize()
        for name, value in kept.items():
            setattr(c, name, value)

    return prepare


for _way, (_function, _words, _axes) in WAYS.items():
    for _name, _attributes in (("stride", ("stride",)), ("dilation", ("dilation",)), ("padding", ("before", "after"))):
        mutant(
            kind="axis_mixup",
            name=f"{_name}-{_way}",
            op=EVERY,
            axes=_axes,
            entry=ENTRIES.get(f"{_name}-{_way}", ""),
            summary=f"{_name} {_words}",
        )(_parameter(_attributes, _function))
        mutant(
            kind="axis_mixup",
            name=f"size-by-{_name}-{_way}",
            axes=_axes,
            op=(FORWARD, "conv_transpose2d"),
            entry=ENTRIES.get(f"size-by-{_name}-{_way}", ""),
            summary=f"{_name} {_words}, in the size of the result only",
        )(_size(_attributes, _function))
    if 2 in _axes:
        mutant(
            kind="axis_mixup",
            name=f"kernel-{_way}",
            op=(FORWARD, "conv_transpose2d", "conv2d_input", "conv2d_integer", "conv2d_quantized"),
            summary=f"extent of the kernel {_words}",
        )(_extent(_function))
    mutant(
        kind="axis_mixup",
        name=f"size-by-kernel-{_way}",
        axes=_axes,
        op=(FORWARD, "conv_transpose2d"),
        entry=ENTRIES.get(f"size-by-kernel-{_way}", ""),
        summary=f"extent of the kernel {_words}, in the size of the result only",
    )(_size(("kernel",), _function))


@mutant(
    kind="axis_mixup",
    entry="RB001",
    summary="the width of the result computed with kernel, stride and dilation of the height",
)
def width_by_the_height(c: KernelCall) -> None:
    """The height's kernel, stride and dilation in the width of the result."""
    _size(("kernel", "stride", "dilation"), WAYS["height-for-width"][0])(c)


@mutant(
    kind="axis_mixup",
    entry="RB002",
    summary="the width of the result computed with kernel and dilation of the height",
)
def width_by_kernel_and_dilation_of_height(c: KernelCall) -> None:
    """The height's kernel and dilation in the width of the result."""
    _size(("kernel", "dilation"), WAYS["height-for-width"][0])(c)


@mutant(
    kind="axis_mixup",
    entry="RB007",
    summary='the pads that "same" comes to swapped between height and width',
    when=lambda c: c.given_padding == "same",
    supports={"string_padding": True},
)
def same_padding_swapped(c: KernelCall) -> None:
    """Pads per axis returned in the wrong order."""
    c.before.reverse()
    c.after.reverse()


@mutant(
    kind="axis_mixup",
    op=EVERY,
    entry="RB008",
    summary="pads (top, bottom, left, right) taken for (top, left, bottom, right)",
    supports={"asymmetric_padding": True},
)
def pads_in_another_order(c: KernelCall) -> None:
    """Bottom for left, and left for bottom."""
    c.before[1], c.after[0] = c.after[0], c.before[1]


@mutant(
    kind="axis_mixup",
    op="conv_transpose2d",
    entry="RB010",
    step="parse",
    summary="groups and dilation taken for each other",
)
def groups_and_dilation_swapped(c: Transposed, *arguments: Any) -> None:
    """The entry point of the transposed operator has them in the other order."""
    input, weight, bias, stride, padding, output_padding, groups, dilation = arguments
    Transposed.parse(
        c, input, weight, bias, stride, padding, output_padding, per_axis("dilation", dilation, 1)[0], groups
    )


@mutant(kind="axis_mixup", op=EVERY, entry="RB005", summary="stride and dilation of height and width swapped")
def stride_and_dilation_swapped(c: KernelCall) -> None:
    """Both in the other order, while the size of the result is right."""
    c.stride.reverse()
    c.dilation.reverse()


def _image(c: KernelCall) -> str:
    """The name of the operand that is an image."""
    return "x" if hasattr(c, "x") else "y"


@mutant(
    kind="axis_mixup", op=EVERY, summary="an image read as if height and width were swapped in its memory", axes=SEVERAL
)
def image_transposed(c: KernelCall) -> None:
    """(N, C, W, H)."""
    *lead, H, W = getattr(c, _image(c)).shape
    setattr(c, _image(c), getattr(c, _image(c)).reshape(*lead, W, H).swapaxes(-2, -1))


@mutant(
    kind="axis_mixup", op=EVERY, summary="an image read as if its rows were as long as its columns are", axes=SEVERAL
)
def pitch_by_height(c: KernelCall) -> None:
    """Row r begins at r * H, not at r * W."""
    array = getattr(c, _image(c))
    *lead, H, W = array.shape
    index = (np.arange(H)[:, None] * H + np.arange(W)) % (H * W)
    setattr(c, _image(c), array.reshape(*lead, H * W)[..., index])


@mutant(
    kind="axis_mixup", op=EVERY, step="finish", summary="the result written with height and width swapped", axes=SEVERAL
)
def result_transposed(c: KernelCall, sums: Array) -> Array:
    """In memory, while its shape is right."""
    return np.ascontiguousarray(sums.swapaxes(-2, -1)).reshape(sums.shape)


@mutant(kind="axis_mixup", op=EVERY, step="source", summary="columns past the height taken for padding")
def columns_bounded_by_height(c: KernelCall, axis: int) -> Array:
    """The bound of the other axis."""
    elements = KernelCall.source(c, axis)
    return np.where(elements >= c.size[0], ZERO, elements)


@mutant(kind="axis_mixup", op=EVERY, step="source", summary="rows past the width taken for padding")
def rows_bounded_by_width(c: KernelCall, axis: int) -> Array:
    """The bound of the other axis."""
    elements = KernelCall.source(c, axis)
    return np.where(elements >= c.size[1], ZERO, elements)
