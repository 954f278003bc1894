"""Mutants that compute the wrong size.

Knows kernels and the registry.
"""

from refconv.mutants.kernels.forward import KernelCall
from refconv.mutants.registry import ANY, mutant

KIND = "shape_formula"
BOTH = ("conv2d", "conv_transpose2d")
STRINGS = {"string_padding": True}


def _set_sides(c: KernelCall, totals: list[tuple[int, int]]) -> None:
    c.before, c.after = ([sides[i] for sides in totals] for i in (0, 1))
    c.resize()


@mutant(
    kind=KIND,
    axes=ANY,
    entry="RB047",
    when=lambda c: c.given_padding == "same",
    supports=STRINGS,
    summary='padding "same" computed without the dilation',
)
def same_without_dilation(c: KernelCall) -> None:
    """(k - 1) // 2 for d * (k - 1) // 2."""
    _set_sides(c, [((k - 1) // 2, k // 2) for k in c.kernel])


@mutant(
    kind="pad_side",
    axes=ANY,
    entry="RB061",
    when=lambda c: c.given_padding == "same",
    supports=STRINGS,
    summary='padding "same" of d * ((k - 1) // 2) on both sides, too little for even kernels',
)
def same_of_odd_kernels(c: KernelCall) -> None:
    """As if every kernel was odd."""
    _set_sides(c, [(d * ((k - 1) // 2),) * 2 for d, k in zip(c.dilation, c.kernel, strict=True)])


@mutant(
    kind="pad_side",
    axes=ANY,
    when=lambda c: c.given_padding == "same",
    supports=STRINGS,
    summary='padding "same" of d * (k // 2) on both sides, too much for even kernels',
)
def same_too_large(c: KernelCall) -> None:
    """As if every kernel was odd."""
    _set_sides(c, [(d * (k // 2),) * 2 for d, k in zip(c.dilation, c.kernel, strict=True)])


@mutant(
    kind=KIND,
    axes=ANY,
    entry="RB048",
    when=lambda c: c.given_padding == "valid",
    supports=STRINGS,
    summary='the size of the result of "valid" computed without the dilation',
)
def valid_without_dilation(c: KernelCall) -> None:
    """(H - k) // s + 1."""
    c.out_size = [(size - k) // s + 1 for size, k, s in zip(c.size, c.kernel, c.stride, strict=True)]


@mutant(kind=KIND, op=BOTH, summary="the size of the result computed without the dilation", axes=ANY)
def size_without_dilation(c: KernelCall) -> None:
    """The kernel's extent is taken for its number of taps."""
    kept, c.dilation = c.dilation, c.every(1)
    c.resize()
    c.dilation = kept


@mutant(
    kind=KIND,
    op="conv_transpose2d",
    axes=ANY,
    entry="RB053",
    when=lambda c: max(c.output_padding) > 0,
    summary="the size wanted taken from a smallest size that leaves the dilation out, with output padding",
)
def output_size_without_dilation(c: KernelCall) -> None:
    """What resolves output_size drops the dilation."""
    size_without_dilation(c)


@mutant(
    kind=KIND,
    op="conv_transpose2d",
    entry="RB054",
    summary="output_padding ignored in the size of the result",
    axes=ANY,
)
def output_padding_ignored(c: KernelCall) -> None:
    """The formula lacks it."""
    c.output_padding = tuple(c.every(0))
    c.resize()


@mutant(kind=KIND, op=BOTH, summary="the size of the result computed with the padding once, not twice", axes=ANY)
def size_with_padding_once(c: KernelCall) -> None:
    """H + p for H + 2p."""
    kept, c.after = c.after, c.every(0)
    c.resize()
    c.after = kept


@mutant(kind=KIND, summary="the size of the result rounded up", axes=ANY)
def size_rounded_up(c: KernelCall) -> None:
    """As pooling has it with ceil_mode."""
    c.out_size = [size + (c.remainder(axis) > 0) for axis, size in enumerate(c.out_size)]


@mutant(kind=KIND, summary="the last output of each axis missing", axes=ANY)
def size_one_less(c: KernelCall) -> None:
    """No + 1 in the formula."""
    c.out_size = [size - 1 for size in c.out_size]


@mutant(kind=KIND, summary="the size of the result without padding H // stride", axes=ANY)
def size_by_stride(c: KernelCall) -> None:
    """As SAME has it, whatever the kernel and its padding."""
    c.out_size = [-(-size // s) for size, s in zip(c.size, c.stride, strict=True)]


@mutant(
    kind=KIND,
    op="conv_transpose2d",
    axes=ANY,
    summary="the size of the result computed from H * stride, not (H - 1) * stride",
)
def transposed_size_by_input(c: KernelCall) -> None:
    """H for H - 1."""
    c.resize()
    c.size = [size + s for size, s in zip(c.size, c.stride, strict=True)]
