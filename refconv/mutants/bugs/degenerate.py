"""Mutants that are wrong for empty or one-element arrays, or that accept impossible arguments.

Knows kernels and the registry.
"""

import re
from typing import Any

import numpy as np

from refconv.core.errors import GeometryError
from refconv.mutants.kernels.forward import Array, KernelCall
from refconv.mutants.registry import ANY, SPATIAL, mutant

KIND = "degenerate"
LAST: dict[str, Array] = {}  # result of the last call, by operator


@mutant(
    kind=KIND,
    op=("conv2d_weight", "conv2d_bias"),
    axes=ANY,
    entry="RB122",
    step="finish",
    when=lambda c: c.batch == 0,
    summary="a gradient that nobody wrote, for an empty batch",
)
def gradient_of_nothing(c: KernelCall, sums: Array) -> Array:
    """Memory that nobody wrote: any number, here 12345."""
    return sums + 12345


@mutant(kind=KIND, op=SPATIAL[:3], entry="RB122", step="empty", summary="an IndexError for an empty batch", axes=ANY)
def empty_batch_raises(c: KernelCall) -> Array:
    """The first image is looked at, whether there is one or not."""
    raise IndexError(f"index 0 is out of bounds for axis 0 with size {c.batch}")


@mutant(
    kind=KIND,
    op=("conv2d_weight", "conv2d_bias"),
    axes=ANY,
    step="run",
    when=lambda c: c.batch == 0,
    summary="an IndexError for an empty batch",
)
def empty_batch_raises_in_gradient(c: KernelCall) -> Array:
    """The first image is looked at, whether there is one or not."""
    return empty_batch_raises(c)


@mutant(
    kind=KIND,
    op=SPATIAL[:3],
    entry="RB124",
    step="run",
    summary="the result of the last call for an empty batch",
    axes=ANY,
)
def last_result_for_empty_batch(c: KernelCall) -> Array:
    """The buffer is returned without a look at the batch."""
    result = KernelCall.run(c)
    if c.batch == 0:
        return LAST.get(c.op, result)
    LAST[c.op] = result
    return result


@mutant(kind=KIND, op=SPATIAL[:3], step="empty", summary="one image in the result of an empty batch", axes=ANY)
def empty_batch_of_one(c: KernelCall) -> Array:
    """max(1, N)."""
    return np.zeros((1, *c.shape[1:]) if c.batched else c.shape[1:], c.dtype)


@mutant(
    kind=KIND,
    op=("conv2d", "conv_transpose2d", "conv2d_input"),
    when=lambda c: c.out_size == c.every(1) != c.size,
    summary="only the first row of the kernel multiplied where there is a single window",
)
def single_window(c: KernelCall) -> None:
    """A path for global windows, which ends too early."""
    c.w[..., 1:, :] = 0


@mutant(
    kind=KIND,
    op=SPATIAL,
    axes=ANY,
    when=lambda c: c.size == c.every(1),
    summary="the first tap multiplied for an input of one pixel, whichever meets it",
)
def single_pixel(c: KernelCall) -> None:
    """A path for 1x1 images, which takes the kernel for 1x1."""
    c.before = c.every(0)


# --- impossible arguments: the bug is that nothing is raised; which result comes out does not matter

FORWARD = ("conv2d", "conv2d_input", "conv2d_weight")
# Name, entry, what is not checked, operators, and a pattern of the error message of a kernel that does check it.
UNCHECKED: tuple[tuple[str, str, str, tuple[str, ...], str], ...] = (
    ("kernel-too-large", "RB128", "that the kernel fits into the padded input", FORWARD, "must fit into the padded"),
    ("empty-result", "RB129", "that the result has elements", ("conv_transpose2d",), "must not take all from the"),
    ("output-padding", "RB130", "that output_padding is smaller than stride or dilation", ("conv_transpose2d",),
     "must be smaller than stride"),
    ("dilation", "RB132", "that the dilation is above 0", SPATIAL, "^dilation=.*must be at least 1"),
    ("stride", "", "that the stride is above 0", SPATIAL, "^stride=.*must be at least 1"),
    ("negative-padding", "", "that the padding is not negative", SPATIAL, "^padding=.*must be at least 0"),
    ("groups", "", "that the groups divide the channels", SPATIAL, "^groups=.*must"),
    ("channels", "", "that the weight has the input's channels", SPATIAL, "its (first|second) axis must be"),
    ("bias", "", "that there is one bias for each channel", ("conv2d", "conv_transpose2d"), "^bias of shape"),
    ("grad-output", "", "that grad_output has the shape of the output", ("conv2d_input", "conv2d_weight"),
     "must be the shape of the convolution's output"),
    ("same-stride", "", 'that the stride is 1 if the padding is "same"', ("conv2d",), "the stride must be 1"),
)  # fmt: skip


def _register(name: str, entry: str, summary: str, op: tuple[str, ...], pattern: str) -> None:
    class Unchecked(KernelCall):
        refused = False

        def parse(self, *arguments: Any, **keywords: Any) -> None:
            try:
                super().parse(*arguments, **keywords)
            except GeometryError as error:
                if not re.search(pattern, str(error)):
                    raise
                self.refused = True

        def run(self) -> Array:
            return np.zeros((1, 1, *self.every(1)), np.float32) if self.refused else super().run()

    mutant(
        kind=KIND,
        name=f"unchecked-{name}",
        op=op,
        axes=ANY,
        entry=entry,
        summary=f"nobody checking {summary}",
        supports={"errors": True} | ({"string_padding": True} if name == "same-stride" else {}),
    )(Unchecked)


for _row in UNCHECKED:
    _register(*_row)
