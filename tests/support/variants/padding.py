"""shape_formula, pad_side, pad_boundary: sizes of outputs, sides of the padding, and taps that meet it."""

import numpy as np

from variants.registry import MODES, SIDES, STRINGS, corpus, same, setting, size, when

VARIANTS, add = corpus()


# --- shapes


def _same_pads(c):
    return c.but(pads=tuple(((k - 1) // 2, (k - 1) - (k - 1) // 2) for k in c.kernel)) if same(c) else c


add("RB047", "shape_formula", "conv2d", "'same' without the dilation", shape=_same_pads, **STRINGS)
add(
    "RB048",
    "shape_formula",
    "conv2d",
    "without padding the height has no dilation",
    out=when(lambda c: c.total == (0, 0), lambda c, out: (size(c, 0, dilation=1), out[1])),
)
add(
    "RB049",
    "shape_formula",
    "conv2d",
    "padding counted once in the size",
    out=lambda c, _: tuple(size(c, axis, total=c.pads[axis][0]) for axis in range(2)),
)
add(
    "RB049",
    "shape_formula",
    "conv2d",
    "width rounded up",
    out=lambda c, out: (
        out[0],
        -(-(c.size[1] + c.total[1] - c.dilation[1] * (c.kernel[1] - 1) - 1) // c.stride[1]) + 1,
    ),
)
add(
    "RB053",
    "shape_formula",
    "conv_transpose2d",
    "dilation missing in the height",
    result=lambda c, out, _: out[:, :, : max(0, c.size[0] - (c.dilation[0] - 1) * (c.kernel[0] - 1))],
)
add(
    "RB054",
    "shape_formula",
    "conv_transpose2d",
    "output padding of the height forgotten",
    result=lambda c, out, _: out[:, :, : c.size[0] - c.output_padding[0]],
)


# --- sides of the padding


def _sides_swapped(*axes):
    return lambda c: c.but(pads=tuple(p[::-1] if axis in axes else p for axis, p in enumerate(c.pads)))


def _less_for_even(c):
    return c.but(pads=tuple(((k - 1) // 2 * d, (k - 1) // 2 * d) for k, d in zip(c.kernel, c.dilation, strict=True)))


add("RB056", "pad_side", "conv2d", "left and right exchanged", read=_sides_swapped(1), **SIDES)
add("RB060", "pad_side", "conv2d_input", "right padding for the left one", read=_sides_swapped(1), **SIDES)
add(
    "RB061", "pad_side", "conv2d", "'same', even kernels: a column too few", shape=when(same, _less_for_even), **STRINGS
)
add("RB062", "pad_side", "conv2d", "'same': the odd one at the top", read=when(same, _sides_swapped(0)), **STRINGS)
add(
    "RB063",
    "pad_side",
    "conv2d",
    "reflect: the padding is both sides' total",
    shape=when(lambda c: c.mode == "reflect", setting(pads=lambda c: tuple(((b + 1) // 2, b // 2) for b, _ in c.pads))),
    **MODES,
)
add(
    "RB064",
    "pad_side",
    "conv2d",
    "replicate, one side without padding: neither is padded",
    shape=when(lambda c: c.mode == "replicate", setting(pads=lambda c: tuple((0, 0) if 0 in p else p for p in c.pads))),
    supports={**MODES["supports"], **SIDES["supports"]},
)
add(
    "RB062",
    "pad_side",
    "conv2d",
    "all padding at the bottom",
    read=setting(pads=lambda c: ((0, c.total[0]), c.pads[1])),
)


# --- where the receptive field meets the padding


def _unguarded(c, t):
    raw = np.arange(c.out[0])[:, None] * c.stride[0] - c.pads[0][0] + np.arange(c.kernel[0]) * c.dilation[0]
    inner = (np.arange(c.out[0]) >= 3) & (np.arange(c.out[0]) < c.out[0] - 3)
    return t._replace(rows=np.where(inner[:, None], raw % max(1, c.size[0]), t.rows))


def _next_row(c, t):
    raw = np.arange(c.out[1])[:, None] * c.stride[1] - c.pads[1][0] + np.arange(c.kernel[1]) * c.dilation[1]
    return t._replace(columns=np.where(raw >= c.size[1], raw % max(1, c.size[1]), t.columns))


def _small(c):
    if c.out[0] < max(c.pads[0]):
        raise IndexError("border")
    return c


def _bottom_tap(c, t):
    rows = t.rows.copy()
    if c.kernel[0] % 2 == 0 and len(rows):
        rows[-1, -1] = -1
    return t._replace(rows=rows)


add(
    "RB066",
    "pad_boundary",
    "conv2d",
    "only three rows at each edge are guarded",
    tables=when(lambda c: c.mode == "zeros", _unguarded),
)
add("RB068", "pad_boundary", "conv2d", "an output lower than the padding: crashes", read=_small)
add("RB069", "pad_boundary", "conv2d", "beyond the right edge the row starts anew", tables=_next_row)
add("RB070", "pad_boundary", "conv2d", "even kernels: the last row lacks its last tap", tables=_bottom_tap)
add(
    "RB069",
    "pad_boundary",
    "conv2d",
    "the left padding repeats the first column",
    tables=lambda c, t: t._replace(
        columns=np.where((t.columns < 0) & (np.arange(c.out[1])[:, None] * c.stride[1] < c.pads[1][0]), 0, t.columns)
    ),
)
