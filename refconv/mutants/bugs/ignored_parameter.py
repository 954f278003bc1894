"""Mutants that ignore a parameter, everywhere or on one of their paths.

Knows kernels and the registry.
"""

from collections.abc import Callable

import numpy as np

from refconv.mutants.kernels.forward import Array, KernelCall
from refconv.mutants.registry import ANY, EVERY, SEVERAL, SPATIAL, mutant

MODES = ("zeros", "reflect", "replicate", "circular")
ALL_MODES = {"padding_mode": MODES}


def stride(c: KernelCall) -> None:
    """The window moves by one."""
    c.stride = c.every(1)


def dilation(c: KernelCall) -> None:
    """The taps lie side by side."""
    c.dilation = c.every(1)


def padding(c: KernelCall) -> None:
    """The first window begins at the first element."""
    c.before = c.every(0)


def groups(c: KernelCall) -> None:
    """All filters look at the first channels, as many as they have."""
    c.inputs = np.tile(np.arange(c.filter_size), (c.groups, 1))


ENTRIES = {
    (dilation, "conv2d"): "RB018",
    (dilation, "conv2d_input"): "RB018",
    (dilation, "conv2d_weight"): "RB018",
    (dilation, "conv_transpose2d"): "RB019",
    (stride, "conv2d"): "RB021",
}
PATHS: dict[str, tuple[str, Callable[[KernelCall], bool]]] = {
    "": ("", lambda c: True),
    "depthwise": (" in the depthwise path", lambda c: c.depthwise),
    "grouped": (" in the grouped path", lambda c: 1 < c.groups < c.in_channels),
    "dense": (" unless there are groups", lambda c: c.groups == 1),
}

for _ignored in (stride, dilation, padding, groups):
    for _path, (_words, _when) in PATHS.items():
        for _op in EVERY if _path in ("", "depthwise") else SPATIAL:
            if _ignored is groups and _path == "dense":
                continue
            mutant(
                kind="param_ignored",
                axes=ANY,
                name="-".join(filter(None, (_ignored.__name__, "ignored", _path))),
                op=_op,
                suffix=True,
                entry=ENTRIES.get((_ignored, _op), "") if not _path else "",
                summary=f"{_ignored.__name__} ignored{_words}",
                when=_when,
            )(_ignored)


@mutant(kind="param_ignored", op=("conv2d", "conv_transpose2d", "conv2d_quantized"), summary="bias ignored", axes=ANY)
def bias_ignored(c: KernelCall) -> None:
    """No bias is added."""
    c.b = None


def _register_axis(name: str, axis: int) -> None:
    def prepare(c: KernelCall) -> None:
        getattr(c, name)[axis] = 1

    of = {-3: "depth", -2: "height", -1: "width"}[axis]
    mutant(
        kind="param_ignored",
        name=f"{name}-of-{of}-ignored",
        op=SPATIAL,
        axes=(3,) if axis == -3 else SEVERAL,
        summary=f"the {name} of the {of} ignored",
    )(prepare)


for _name in ("stride", "dilation"):
    for _axis in (-3, -2, -1):
        _register_axis(_name, _axis)


for _mode in MODES:
    for _op in ("conv2d", "conv2d_input", "conv2d_weight"):

        def _other_mode(c: KernelCall, mode: str = _mode) -> None:
            c.mode = mode

        mutant(
            kind="param_ignored",
            axes=ANY,
            name=f"padding-mode-{_mode}-always" if _mode != "zeros" else "padding-mode-ignored",
            op=_op,
            suffix=True,
            summary="padding_mode ignored" if _mode == "zeros" else f"padding_mode {_mode!r} whichever is asked for",
            supports=ALL_MODES,
        )(_other_mode)


def _symmetric(c: KernelCall, axis: int) -> Array:
    size = c.size[axis]
    positions = c.positions(axis) % (2 * size)
    reflected: Array = np.minimum(positions, 2 * size - 1 - positions)
    return reflected


mutant(
    kind="pad_boundary",
    axes=ANY,
    name="reflection-repeats-the-edge",
    step="source",
    when=lambda c: c.mode == "reflect",
    summary="reflection with the edge repeated",
    supports=ALL_MODES,
)(_symmetric)


@mutant(
    kind="param_ignored",
    axes=ANY,
    entry="RB011",
    step="compute",
    when=lambda c: c.depthwise and max(c.dilation) > 1,
    summary="only the bias in the depthwise path with a dilation",
)
def depthwise_dilated_is_bias(c: KernelCall) -> Array:
    """Nothing is accumulated."""
    return np.zeros((c.batch, c.out_channels, *c.out_size), c.x.dtype)


@mutant(
    kind="param_ignored",
    axes=ANY,
    entry="RB013",
    step="source",
    when=lambda c: c.depthwise and c.dilation[-1] % 2 == 0,
    summary="every other tap reading what the one before it read, in the depthwise path with an even dilation",
)
def depthwise_texel_reused(c: KernelCall, axis: int) -> Array:
    """Columns are fetched in pairs."""
    elements = KernelCall.source(c, axis)
    if axis == c.axes - 1:
        elements[1::2] = elements[:-1:2]
    return elements


@mutant(
    kind="param_ignored",
    axes=ANY,
    entry="RB014",
    step="positions",
    when=lambda c: c.depthwise and c.dilation[-1] % 2 == 1 and c.dilation[-1] > 1,
    summary="odd columns read one too far to the left, in the depthwise path with an odd dilation",
)
def depthwise_packed_column(c: KernelCall, axis: int) -> Array:
    """Two columns lie in one word, and the wrong half is taken."""
    positions = KernelCall.positions(c, axis)
    return positions - positions % 2 if axis == c.axes - 1 else positions


@mutant(
    kind="param_ignored",
    axes=ANY,
    entry="RB016",
    op=SPATIAL,
    when=lambda c: c.depthwise and c.kernel == c.every(3),
    summary="dilation ignored in the depthwise path of 3x3 kernels",
)
def depthwise_3x3_undilated(c: KernelCall) -> None:
    """The path is chosen by the size of the kernel only."""
    c.dilation = c.every(1)


@mutant(
    kind="param_ignored",
    axes=ANY,
    entry="RB020",
    op=("conv2d_input", "conv2d_weight"),
    summary="stride and padding ignored",
)
def gradient_without_options(c: KernelCall) -> None:
    """The gradient is computed with the defaults."""
    c.stride, c.before = c.every(1), c.every(0)
