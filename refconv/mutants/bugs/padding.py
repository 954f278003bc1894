"""Mutants that pad at the wrong side, or read something else where there is padding.

Knows kernels and the registry.
"""

from collections.abc import Callable

import numpy as np

from refconv.core.padding import ZERO
from refconv.mutants.bugs.bias_and_batch import touches_padding
from refconv.mutants.kernels.forward import Array, KernelCall
from refconv.mutants.registry import ANY, EVERY, SEVERAL, SPATIAL, mutant

SIDE, BOUNDARY = "pad_side", "pad_boundary"
ASYMMETRIC = {"asymmetric_padding": True}
CIRCULAR = {"padding_mode": ("zeros", "circular")}
READS_X = ("conv2d", "conv2d_weight", "conv2d_integer", "conv2d_quantized")
TILE = 4  # columns at each end that the border's path computes; the real kernel has 6


@mutant(kind=SIDE, op=EVERY, supports=ASYMMETRIC, summary="padding before and after swapped", axes=ANY)
def pads_swapped(c: KernelCall) -> None:
    """Top for bottom and left for right."""
    c.before, c.after = c.after, c.before


@mutant(
    kind=SIDE, op=EVERY, entry="RB060", supports=ASYMMETRIC, summary="the bottom padding added at the top", axes=SEVERAL
)
def bottom_for_top(c: KernelCall) -> None:
    """Only along the height."""
    c.before[-2] = c.after[-2]


@mutant(kind=SIDE, op=EVERY, supports=ASYMMETRIC, summary="the right padding added at the left", axes=ANY)
def right_for_left(c: KernelCall) -> None:
    """Only along the width."""
    c.before[-1] = c.after[-1]


@mutant(
    kind=SIDE,
    op=("conv2d", "conv2d_input", "conv2d_weight"),
    axes=ANY,
    when=lambda c: c.given_padding == "same",
    supports={"string_padding": True},
    summary='the extra padding of "same" before the input, not after it',
)
def same_extra_before(c: KernelCall) -> None:
    """As some frameworks have it (SAME_LOWER)."""
    c.before, c.after = c.after, c.before


@mutant(
    kind=SIDE,
    op=("conv2d_integer", "conv2d_quantized"),
    entry="RB062",
    when=lambda c: c.given_padding == "same",
    supports={"string_padding": True},
    summary='the extra padding of "same" before the input, not after it',
)
def same_extra_before_quantised(c: KernelCall) -> None:
    """Seen with even kernels only."""
    c.before, c.after = c.after, c.before


@mutant(kind=SIDE, op=EVERY, summary="all padding before the input", axes=ANY)
def all_padding_before(c: KernelCall) -> None:
    """The total on one side."""
    c.before = [before + after for before, after in zip(c.before, c.after, strict=True)]


@mutant(kind=SIDE, op=EVERY, summary="padding along the height only")
def only_rows_padded(c: KernelCall) -> None:
    """Left and right are forgotten."""
    c.before[1] = 0


@mutant(kind=SIDE, op=EVERY, summary="padding along the width only")
def only_columns_padded(c: KernelCall) -> None:
    """Top and bottom are forgotten."""
    c.before[0] = 0


@mutant(
    kind=SIDE, op=SPATIAL, when=lambda c: max(c.before) > 0, summary="padding larger by one before the input", axes=ANY
)
def one_too_many_before(c: KernelCall) -> None:
    """Where there is any."""
    c.before = [before + (before > 0) for before in c.before]


@mutant(
    kind=SIDE, op=SPATIAL, when=lambda c: max(c.before) > 0, summary="padding smaller by one before the input", axes=ANY
)
def one_too_few_before(c: KernelCall) -> None:
    """Where there is any."""
    c.before = [before - (before > 0) for before in c.before]


@mutant(kind=SIDE, op=SPATIAL, when=lambda c: max(c.before) > 1, summary="padding of at most 1", axes=ANY)
def padding_at_most_1(c: KernelCall) -> None:
    """Room for one row and one column."""
    c.before = [min(1, before) for before in c.before]


@mutant(
    kind=SIDE,
    axes=ANY,
    entry="RB063",
    when=lambda c: c.mode == "circular",
    supports=CIRCULAR,
    summary="circular padding taken for the total of both sides",
)
def circular_padding_halved(c: KernelCall) -> None:
    """(p + 1) // 2 before, p // 2 after."""
    c.before, c.after = [(p + 1) // 2 for p in c.before], [p // 2 for p in c.before]
    c.resize()


@mutant(
    kind=SIDE,
    axes=ANY,
    entry="RB064",
    when=lambda c: c.mode == "circular",
    supports=ASYMMETRIC | CIRCULAR,
    summary="nothing before the input where the circular padding after it is 0",
)
def circular_slice_empty(c: KernelCall) -> None:
    """x[-(before + after) : -after] has no elements then."""
    c.before = [before if after else 0 for before, after in zip(c.before, c.after, strict=True)]
    c.resize()


# --- what is read outside

MODES: tuple[tuple[str, str], ...] = (
    ("replicate", "the nearest element of the input read where there is padding"),
    ("circular", "the input read anew from its other end where there is padding"),
    ("reflect", "the input mirrored where there is padding"),
)


def _register_mode(mode: str, summary: str) -> None:
    def prepare(c: KernelCall) -> None:
        c.mode = mode

    mutant(
        kind=BOUNDARY,
        name=f"padding-read-{mode}",
        op=EVERY,
        axes=ANY,
        when=lambda c: c.mode == "zeros",
        summary=summary,
    )(prepare)


for _row in MODES:
    _register_mode(*_row)


def unguarded(c: KernelCall, gathered: Array, where: Array | bool = True) -> Array:
    """What was gathered, with the memory before and after a row in place of padding; `where`, (S, Q), limits it."""
    rows, positions = c.source(0), c.positions(1)
    outside = (c.source(1) == ZERO) & where
    if not outside.any() or not c.x.size:
        return gathered
    N, C, H, W = c.x.shape
    images = (np.arange(N)[:, None] * C + np.arange(C)) * H
    index = (images[:, :, None, None] + rows)[..., None, None] * W + positions
    memory = c.x.reshape(-1)[index % c.x.size]
    return np.where((rows != ZERO)[:, :, None, None] & outside, memory, gathered)


def _register_unguarded(
    name: str,
    entry: str,
    summary: str,
    where: Callable[[KernelCall, Array], Array | bool],
    when: Callable[[KernelCall], bool],
) -> None:
    def gather(c: KernelCall) -> Array:
        c.x = c.x - c.outside  # zero points: the kernel subtracts them from what it reads
        kept, c.outside = c.outside, 0
        gathered = unguarded(c, KernelCall.gather(c), where(c, c.positions(1)))
        c.x, c.outside = c.x + kept, kept
        return gathered

    mutant(kind=BOUNDARY, name=name, op=READS_X, entry=entry, step="gather", summary=summary, when=when)(gather)


def _inner(c: KernelCall, positions: Array) -> Array:
    columns = np.arange(c.out_size[1])
    return (columns >= TILE) & (columns < c.out_size[1] - TILE)


for _name, _entry, _summary, _where, _when in (
    ("neighbouring-row", "", "the neighbouring row read left and right of the input",
     lambda c, p: True, lambda c: c.mode == "zeros"),
    ("neighbouring-row-left", "", "the end of the row before read left of the input",
     lambda c, p: p < 0, lambda c: c.mode == "zeros"),
    ("neighbouring-row-right", "", "the beginning of the next row read right of the input",
     lambda c, p: p >= c.size[1], lambda c: c.mode == "zeros"),
    ("inner-columns-unguarded", "RB066", f"neighbouring rows read by all but {TILE} outputs at each end (really 6)",
     _inner, lambda c: c.mode == "zeros"),
    ("full-vector-loads", "RB069", "the next row read right of the input in the depthwise path with stride 2",
     lambda c, p: p >= c.size[1], lambda c: c.mode == "zeros" and c.depthwise and c.stride[1] == 2),
    ("even-kernel-border", "RB070", "one column too far read at the right edge by even kernels",
     lambda c, p: p == c.size[1], lambda c: c.mode == "zeros" and c.kernel[1] % 2 == 0),
):  # fmt: skip
    _register_unguarded(_name, _entry, _summary, _where, _when)


@mutant(
    kind=BOUNDARY,
    op=("conv2d", "conv2d_integer", "conv2d_quantized"),
    entry="RB068",
    step="finish",
    when=lambda c: c.depthwise and any(c.out_size[i] < 2 * c.before[i] for i in (0, 1)),
    summary="what lies in the border of both ends added twice, in the depthwise path of small outputs",
)
def borders_overlap(c: KernelCall, sums: Array) -> Array:
    """Both ends of an axis are treated separately."""
    for axis in (0, 1):
        pad, size = c.before[axis], c.out_size[axis]
        twice = slice(max(0, size - pad), min(pad, size))
        sums[(..., twice, slice(None)) if axis == 0 else (..., twice)] *= 2
    return sums


@mutant(
    kind=BOUNDARY,
    op=("conv2d", "conv2d_integer", "conv2d_quantized"),
    axes=ANY,
    step="finish",
    summary="a result of 0 wherever a window reaches into the padding",
)
def border_left_out(c: KernelCall, sums: Array) -> Array:
    """The path of the border is missing."""
    return np.where(touches_padding(c), 0, sums)


@mutant(
    kind=BOUNDARY, op=READS_X, step="source", summary="the last row and column of the input taken for padding", axes=ANY
)
def last_element_taken_for_padding(c: KernelCall, axis: int) -> Array:
    """An upper bound one too low."""
    elements = KernelCall.source(c, axis)
    return np.where(elements == c.size[axis] - 1, ZERO, elements)


@mutant(
    kind=BOUNDARY,
    op=READS_X,
    axes=ANY,
    step="source",
    when=lambda c: max(c.before) > 0,
    summary="the first row and column of the input taken for padding where there is any",
)
def first_element_taken_for_padding(c: KernelCall, axis: int) -> Array:
    """A lower bound one too high."""
    elements = KernelCall.source(c, axis)
    return np.where(elements == 0, ZERO, elements) if c.before[axis] else elements
