"""Variants of the bug corpus: its mistakes made in another kernel, and on another path.

The base is `offset_tables`, not that of refconv.mutants; where the corpus has the height a variant has the
width, other gates, other sizes of blocks. `kind` is what a diagnosis should say. Sound kernels under a wrong model are
here too.
"""

# ruff: noqa: ARG001, ARG005 - hooks have the same parameters, whatever they look at

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

import ml_dtypes
import numpy as np
from numpy.lib.array_utils import byte_bounds
from offset_tables import Kernel

from refconv.core.checks import padding_sides, per_axis
from refconv.core.geometry import Geometry


@dataclass(frozen=True)
class Variant:
    """A wrong kernel and the class of its mistake."""

    entry: str
    kind: str
    op: str
    what: str
    function: Callable = field(repr=False)
    dtypes: tuple = ("float32",)
    supports: dict = field(default_factory=dict, hash=False)

    @property
    def name(self):
        return f"{self.entry} {self.what}"

    def __call__(self, *arguments, **keywords):
        return self.function(*arguments, **keywords)


VARIANTS = []
DTYPES = dict.fromkeys(("conv2d", "conv_transpose2d", "conv2d_input", "conv2d_weight"), ("float32",)) | dict.fromkeys(
    ("conv2d_integer", "conv2d_quantized"), ("int8", "uint8")
)


def add(entry, kind, op, what, function=None, *, dtypes=("float32",), supports=None, **hooks):
    function = function or getattr(Kernel(**hooks), op)
    VARIANTS.append(Variant(entry, kind, op, what, function, dtypes, supports or {}))


INTEGER = {"dtypes": ("int8",)}
STRINGS = {"supports": {"string_padding": True}}
SIDES = {"supports": {"asymmetric_padding": True}}
MODES = {"supports": {"padding_mode": ("zeros", "reflect", "replicate", "circular")}}


def size(c, axis, *, kernel=None, stride=None, dilation=None, total=None):
    """An output size by a formula that takes something else than it should."""
    k, s, d = (c.kernel[axis] if kernel is None else kernel, stride or c.stride[axis], dilation or c.dilation[axis])
    p = c.total[axis] if total is None else total
    return max(0, (c.size[axis] + p - d * (k - 1) - 1) // s + 1)


def when(condition, change):
    """A hook that changes only some calls."""
    return lambda c, *rest: change(c, *rest) if condition(c) else (rest[0] if rest else c)


def setting(**changes):
    """A hook that changes the call's parameters, each computed from the call."""
    return lambda c: c.but(**{name: value(c) for name, value in changes.items()})


def strided(c):
    return max(c.stride) > 1


def dilated(c):
    return max(c.dilation) > 1


def grouped(c):
    return c.groups > 1


def same(c):
    return isinstance(c.padding, str) and c.padding == "same"


# --- one axis' parameters for the other's

add(
    "RB001",
    "axis_mixup",
    "conv2d",
    "height of the output from kernel, stride and dilation of the width",
    out=lambda c, out: (size(c, 0, kernel=c.kernel[1], stride=c.stride[1], dilation=c.dilation[1]), out[1]),
)
add(
    "RB002",
    "axis_mixup",
    "conv2d",
    "dilation of the width for both, when reading",
    read=setting(dilation=lambda c: (c.dilation[1],) * 2),
)
add(
    "RB002",
    "axis_mixup",
    "conv2d",
    "height of the output from the width's dilation",
    out=lambda c, out: (size(c, 0, dilation=c.dilation[1]), out[1]),
)
add(
    "RB005", "axis_mixup", "conv2d", "dilations swapped when reading", read=setting(dilation=lambda c: c.dilation[::-1])
)
add(
    "RB005",
    "axis_mixup",
    "conv2d",
    "stride of the width for both, when reading",
    read=setting(stride=lambda c: (c.stride[1],) * 2),
)
add("RB007", "axis_mixup", "conv2d", "paddings swapped", shape=setting(pads=lambda c: c.pads[::-1]))
add("RB007", "axis_mixup", "conv2d", "padding of the height for both", shape=setting(pads=lambda c: (c.pads[0],) * 2))
add(
    "RB008",
    "axis_mixup",
    "conv2d",
    "four sides as (top, left), (bottom, right)",
    shape=setting(pads=lambda c: tuple(zip(*c.pads, strict=True))),
    **SIDES,
)


def _groups_and_dilation(x, w, b, stride, padding, output_padding, groups, dilation):
    swapped = dilation[1], (groups, groups)
    return Kernel().conv_transpose2d(x, w, b, stride, padding, output_padding, *swapped)


add(
    "RB010",
    "axis_mixup",
    "conv_transpose2d",
    "dilation of the width for the groups, and the other way round",
    _groups_and_dilation,
)
add(
    "RB010",
    "axis_mixup",
    "conv_transpose2d",
    "strides swapped when scattering",
    read=setting(stride=lambda c: c.stride[::-1]),
)

# --- parameters that do not count

add(
    "RB011",
    "param_ignored",
    "conv2d",
    "nothing but the bias where grouped and dilated",
    result=when(
        lambda c: grouped(c) and dilated(c),
        lambda c, out, a: out * 0 + (0 if a["bias"] is None else a["bias"][:, None, None]),
    ),
)


def _rows_in_pairs(c, t):
    rows = t.rows.copy()
    rows[:, 1::2] = rows[:, 0 : 2 * (rows.shape[1] // 2) : 2]
    return t._replace(rows=rows)


add(
    "RB013",
    "param_ignored",
    "conv2d",
    "depthwise, even dilation of rows: every second row is the one before",
    tables=when(lambda c: c.depthwise and c.dilation[0] % 2 == 0, _rows_in_pairs),
)
add(
    "RB014",
    "param_ignored",
    "conv2d",
    "depthwise, dilation 3: as if it were 2",
    read=when(
        lambda c: c.depthwise and 3 in c.dilation,
        setting(dilation=lambda c: tuple(2 if d == 3 else d for d in c.dilation)),
    ),
)
add(
    "RB016",
    "param_ignored",
    "conv2d",
    "dilation ignored where depthwise",
    read=when(lambda c: c.depthwise, setting(dilation=lambda c: (1, 1))),
)
add(
    "RB018",
    "param_ignored",
    "conv2d",
    "dilation of the height ignored",
    read=setting(dilation=lambda c: (1, c.dilation[1])),
)
add("RB018", "param_ignored", "conv2d", "dilation ignored, the size too", shape=setting(dilation=lambda c: (1, 1)))
add(
    "RB019",
    "param_ignored",
    "conv_transpose2d",
    "dilation of the width ignored when scattering",
    read=setting(dilation=lambda c: (c.dilation[0], 1)),
)
add("RB020", "param_ignored", "conv2d_input", "padding ignored", read=setting(pads=lambda c: ((0, 0), (0, 0))))
add("RB020", "param_ignored", "conv2d_weight", "stride ignored", read=setting(stride=lambda c: (1, 1)))
add(
    "RB021",
    "param_ignored",
    "conv2d",
    "stride of the width ignored when reading",
    read=setting(stride=lambda c: (c.stride[0], 1)),
)
add("RB021", "param_ignored", "conv2d", "padding ignored when reading", read=setting(pads=lambda c: ((0, 0), (0, 0))))
add("RB021", "param_ignored", "conv2d", "padding mode ignored", read=setting(mode=lambda c: "zeros"), **MODES)

# --- fast paths taken where they must not be

add(
    "RB024",
    "fastpath_gate",
    "conv2d",
    "1x1: stride of the height ignored",
    read=when(lambda c: c.kernel == (1, 1), setting(stride=lambda c: (1, c.stride[1]))),
)
add(
    "RB024",
    "fastpath_gate",
    "conv2d",
    "1x1: padding ignored",
    read=when(lambda c: c.kernel == (1, 1), setting(pads=lambda c: ((0, 0), (0, 0)))),
)
add(
    "RB024",
    "fastpath_gate",
    "conv2d",
    "3x3 without stride: dilation ignored",
    read=when(lambda c: c.kernel == (3, 3) and c.stride == (1, 1), setting(dilation=lambda c: (1, 1))),
)
add(
    "RB025",
    "fastpath_gate",
    "conv2d_input",
    "1x1: stride ignored",
    read=when(lambda c: c.kernel == (1, 1), setting(stride=lambda c: (1, 1))),
)


def _first_group(c, t):
    return t._replace(channels=t.channels % (c.channels // c.groups))


add(
    "RB026",
    "fastpath_gate",
    "conv2d_weight",
    "groups ignored where there is a stride",
    tables=when(lambda c: grouped(c) and strided(c), _first_group),
)


def _last_group(c, t):
    inputs = c.channels // c.groups
    return t._replace(channels=t.channels % inputs + c.channels - inputs)


def _one_phase(c, out, _):
    rows = (np.arange(c.size[0]) + c.pads[0][0]) % c.stride[0] == 0
    return np.where(rows[:, None], out, 0)


add(
    "RB027",
    "fastpath_gate",
    "conv2d_input",
    "only the first phase of the rows, where the stride is above the dilation",
    result=when(lambda c: c.groups == 1 and c.stride[0] > c.dilation[0], _one_phase),
)


def _no_kernel(c):
    if c.dtype.itemsize < 4 and c.kernel == (3, 3):
        raise RuntimeError("no such kernel")
    return c


add(
    "RB032",
    "fastpath_gate",
    "conv2d",
    "3x3 in a narrow format: there is no kernel",
    shape=_no_kernel,
    dtypes=("float32", "bfloat16", "float16"),
)

# --- groups


def _other_group(c, t):
    return t._replace(channels=(t.channels + c.channels // c.groups) % c.channels)


def _filters_turned(c, out, _):
    return np.roll(out, 1, axis=0) if c.groups > 1 else out


def _weights_of_neighbour(c, a):
    w = a["weight"].copy()
    per = c.filters // c.groups
    if 1 < c.groups < c.channels and per > 1:
        w[-per] = w[-per + 1]
    return {**a, "weight": w}


def _whole_stride(c, a):
    w = a["weight"]
    if c.groups > 1 and w[0, 0].size > 4:
        start = np.arange(len(w)) * c.channels * w[0, 0].size
        index = (start[:, None] + np.arange(w[0].size)) % w.size
        w = w.reshape(-1)[index].reshape(w.shape)
    return {**a, "weight": w}


add("RB034", "groups_indexing", "conv2d_weight", "the next group's input", tables=when(grouped, _other_group))
add("RB034", "groups_indexing", "conv2d", "the next group's input", tables=when(grouped, _other_group))
add("RB035", "groups_indexing", "conv2d_weight", "filters one too far, where grouped", result=_filters_turned)
add(
    "RB037",
    "groups_indexing",
    "conv2d",
    "int8: first channel of the last group by the next one's weights",
    operands=_weights_of_neighbour,
    **INTEGER,
)
add(
    "RB038",
    "groups_indexing",
    "conv2d",
    "grouped, kernels of more than 4: weights of a group lie C_in apart",
    operands=_whole_stride,
)
add("RB038", "groups_indexing", "conv2d", "every group reads the last group's input", tables=_last_group)
add(
    "RB040",
    "groups_indexing",
    "conv_transpose2d",
    "channels of a transposed weight interleaved, where grouped",
    tables=when(
        grouped,
        lambda c, t: t._replace(
            channels=t.channels % (c.channels // c.groups) * c.groups + t.channels // (c.channels // c.groups)
        ),
    ),
)
add("RB041", "groups_indexing", "conv_transpose2d", "every group writes to the last one's channels", tables=_last_group)
add(
    "RB044",
    "groups_indexing",
    "conv2d_weight",
    "as many channels as the input has, whatever the groups",
    result=lambda c, out, _: np.tile(out, (1, c.groups, 1, 1)),
)
add(
    "RB045",
    "groups_indexing",
    "conv2d",
    "a multiplier: output channel k takes input channel k mod C, transposed order",
    tables=when(
        lambda c: c.depthwise and c.filters > c.channels,
        lambda c, t: t._replace(channels=(np.arange(c.filters) % c.channels)[::-1, None]),
    ),
)

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

# --- tails of tiles


def _tail_pixel(block):
    def change(c, out, _):
        flat = out.reshape(*out.shape[:2], out.shape[2] * out.shape[3]).copy()
        first = flat.shape[2] // block * block
        if 0 < first < flat.shape[2]:
            flat[..., first] = flat[..., first - 1]
        return flat.reshape(out.shape)

    return change


def _tail(axis, block, value=0):
    """A tail that is not computed."""

    def change(c, out, _):
        out = out.copy()
        last = out.shape[axis] // block * block
        np.moveaxis(out, axis, 0)[last:] = value
        return out

    return change


def _tail_of_blocks(c, a):
    w = a["weight"].copy()
    first = len(w) // 8 * 8
    if first:
        w[first:] = w[first - 8 : len(w) - 8]
    return {**a, "weight": w}


def _coarse_tail(c, out, _):
    out = out.copy()
    last = out.shape[1] // 8 * 8
    out[:, last:] = out[:, last:].astype(ml_dtypes.float8_e4m3fn).astype(out.dtype)
    return out


add("RB071", "tile_tail", "conv2d", "first pixel after the blocks of 4 is the one before it", result=_tail_pixel(4))
add(
    "RB072",
    "tile_tail",
    "conv2d",
    "3x3: rows beyond the blocks of 4 missing",
    result=when(lambda c: c.kernel == (3, 3), _tail(2, 4)),
)
add(
    "RB074",
    "tile_tail",
    "conv2d_input",
    "columns beyond the blocks of 8 missing, with a stride",
    result=when(strided, _tail(3, 8)),
)
add("RB076", "tile_tail", "conv2d", "odd height: the last row missing", result=_tail(2, 2))
add("RB078", "tile_tail", "conv2d", "channels beyond the blocks of 8 in a coarse format", result=_coarse_tail)
add(
    "RB080",
    "tile_tail",
    "conv2d",
    "channels beyond the blocks of 8 by the last block's weights",
    operands=_tail_of_blocks,
)
add("RB080", "tile_tail", "conv2d", "channels beyond the blocks of 4 missing", result=_tail(1, 4))
add("RB076", "tile_tail", "conv2d", "columns beyond the blocks of 16 missing", result=_tail(3, 16))

# --- memory


def memory(array):
    """The memory around an array, flat, and where in it the array begins."""
    whole = array
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    low, high = byte_bounds(whole)
    around = SimpleNamespace(
        __array_interface__={"shape": (high - low,), "typestr": "|u1", "data": (low, True), "version": 3}
    )
    return np.asarray(around), array.__array_interface__["data"][0] - low


def reread(array, strides, offset=0):
    """The array as if it had other strides in elements; round and round in the memory that there is."""
    around, start = memory(array)
    index = sum(
        np.arange(n).reshape([-1 if a == i else 1 for i in range(array.ndim)]) * s
        for a, (n, s) in enumerate(zip(array.shape, strides, strict=True))
    )
    places = (start + offset + index * array.itemsize)[..., None] + np.arange(array.itemsize)
    return np.ascontiguousarray(around[places % len(around)]).view(array.dtype)[..., 0] if array.size else array


def c_strides(shape):
    return tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))


def as_c_order(*names):
    return lambda c, a: {
        name: reread(each, c_strides(each.shape)) if name in names and each is not None else each
        for name, each in a.items()
    }


def _wrong_stride(name, axis):
    def change(c, a):
        array = a[name]
        strides = [s // array.itemsize for s in array.strides]
        strides[axis] = c_strides(array.shape)[axis]
        return {**a, name: reread(array, strides)}

    return change


def _offset_twice(c, a):
    w = a["weight"]
    flat = np.roll(np.ascontiguousarray(w).reshape(-1), -(memory(w)[1] // w.itemsize))
    return {**a, "weight": flat.reshape(w.shape)}


add("RB085", "layout_stride", "conv2d", "the input read as C-ordered", operands=as_c_order("input"))
add("RB085", "layout_stride", "conv2d", "the bias read as dense", operands=as_c_order("bias"))
add("RB086", "layout_stride", "conv2d_input", "the gradient read as C-ordered", operands=as_c_order("grad_output"))
add("RB087", "layout_stride", "conv2d", "channels of the input lie H W apart", operands=_wrong_stride("input", 1))
add("RB088", "layout_stride", "conv2d", "a copy of the weight, read from the original's offset", operands=_offset_twice)
add("RB089", "layout_stride", "conv2d", "rows of the weight lie S apart", operands=_wrong_stride("weight", 2))
add("RB090", "layout_stride", "conv2d_weight", "the input read as C-ordered", operands=as_c_order("input"))
add("RB091", "layout_stride", "conv2d", "the weight read as C-ordered", operands=as_c_order("weight"))

# --- geometry of the transposed convolution and of gradients

add(
    "RB095",
    "transposed_geometry",
    "conv_transpose2d",
    "output padding at the top",
    result=lambda c, out, a: np.roll(out, c.output_padding[0], axis=2),
)
add(
    "RB097",
    "transposed_geometry",
    "conv_transpose2d",
    "one row too few cropped, where grouped",
    read=when(grouped, setting(pads=lambda c: ((max(0, c.pads[0][0] - 1), c.pads[0][1]), c.pads[1]))),
)
add(
    "RB098",
    "transposed_geometry",
    "conv_transpose2d",
    "output padding counted in strides",
    result=lambda c, out, a: np.pad(out, ((0, 0), (0, 0), (0, c.output_padding[0] * (c.stride[0] - 1)), (0, 0))),
)
add(
    "RB099",
    "transposed_geometry",
    "conv_transpose2d",
    "nothing in the columns that the output padding adds",
    result=lambda c, out, a: np.where(np.arange(c.size[1]) < c.size[1] - c.output_padding[1], out, 0),
)
add(
    "RB103",
    "bwd_geometry",
    "conv2d_input",
    "k - 1 - p for d (k - 1) - p, in the height",
    read=setting(pads=lambda c: ((c.pads[0][0] - (c.dilation[0] - 1) * (c.kernel[0] - 1),) * 2, c.pads[1])),
)


def _cropped(c, most):
    kept = [
        n - max(0, (n + p - d * (k - 1) - 1) % s - most)
        for n, p, d, k, s in zip(c.size, c.total, c.dilation, c.kernel, c.stride, strict=True)
    ]
    return tuple(map(max, kept, (0, 0)))


add(
    "RB104",
    "bwd_geometry",
    "conv2d_input",
    "one row of the remainder at most",
    result=lambda c, out, _: out[:, :, : _cropped(c, 1)[0]],
)
add(
    "RB107",
    "bwd_geometry",
    "conv2d_input",
    "columns that no window covers missing",
    result=lambda c, out, _: out[..., : _cropped(c, 0)[1]],
)
add(
    "RB108",
    "bwd_geometry",
    "conv2d_weight",
    "stride and dilation exchanged",
    read=setting(stride=lambda c: c.dilation, dilation=lambda c: c.stride),
)

# --- orientation, bias, batch


def _flipped(*axes):
    return lambda c, a: {**a, "weight": np.flip(a["weight"], axes)}


add("RB109", "kernel_orientation", "conv2d", "kernel upside down", operands=_flipped(2))
add(
    "RB109",
    "kernel_orientation",
    "conv2d",
    "kernel transposed where square",
    operands=when(lambda c: c.kernel[0] == c.kernel[1], lambda c, a: {**a, "weight": a["weight"].swapaxes(2, 3)}),
)
add("RB109", "kernel_orientation", "conv2d_input", "kernel turned round", operands=_flipped(2, 3))
add(
    "RB111",
    "kernel_orientation",
    "conv2d",
    "grouped: input channels of a filter in reverse",
    operands=when(grouped, _flipped(1, 2, 3)),
)


def _biased(index):
    """Another channel's bias, at an index computed from the call."""

    def change(c, a):
        b = a["bias"]
        return a if b is None or not len(b) else {**a, "bias": b[index(c, np.arange(len(b))) % len(b)]}

    return change


def _bias_by_image(c, out, a):
    b = a["bias"]
    if b is None or not len(b):
        return out
    other = b[(np.arange(c.batch) + 1) % len(b)]
    return out - b[:, None, None] + other[:, None, None, None]


add(
    "RB113",
    "bias_handling",
    "conv2d",
    "grouped: every group has the last one's bias",
    operands=_biased(lambda c, k: k % (c.filters // c.groups) - c.filters // c.groups),
)
add("RB113", "bias_handling", "conv_transpose2d", "bias of the next channel", operands=_biased(lambda c, k: k + 1))
add("RB114", "bias_handling", "conv2d", "bias by the image, from 1", result=_bias_by_image)
add("RB114", "param_ignored", "conv2d", "bias forgotten", operands=lambda c, a: {**a, "bias": None})
add("RB115", "bias_handling", "conv2d", "bias in reverse", operands=_biased(lambda c, k: -1 - k))
add(
    "RB115",
    "bias_handling",
    "conv2d",
    "bias added twice",
    result=lambda c, out, a: out + (0 if a["bias"] is None else a["bias"][:, None, None]),
)


def _images_mixed(c, out, _):
    n, k = out.shape[:2]
    return out.reshape(n * k, *out.shape[2:])[np.arange(n * k).reshape(n, k).T.reshape(-1)].reshape(out.shape)


add("RB119", "batch_reduction", "conv2d", "images and channels mixed", result=_images_mixed)
add(
    "RB119",
    "batch_reduction",
    "conv2d",
    "the first image for all",
    result=lambda c, out, _: np.repeat(out[:1], len(out), 0),
)
add(
    "RB120",
    "batch_reduction",
    "conv2d",
    "W = 1: images in reverse",
    result=when(lambda c: c.size[1] == 1, lambda c, out, _: out[::-1]),
)
add(
    "RB120",
    "batch_reduction",
    "conv2d_weight",
    "only the first image counts",
    operands=lambda c, a: {**a, "grad_output": np.concatenate([a["grad_output"][:1], a["grad_output"][1:] * 0])},
)

# --- degenerate sizes


def _garbage(c, out, _):
    return np.random.default_rng().standard_normal(out.shape)


def _lenient(change):
    """Validation that lets something pass."""

    def geometry(x, w, bias, stride, padding, dilation, groups, mode):
        fields = change(
            {
                "stride": per_axis("stride", stride, 1),
                "dilation": per_axis("dilation", dilation, 0),
                "padding": padding_sides(padding),
            }
        )
        return Geometry(
            x.shape[0], x.shape[1], w.shape[0], x.shape[2:], w.shape[2:], groups=groups, padding_mode=mode, **fields
        )

    return geometry


add(
    "RB122",
    "degenerate",
    "conv2d_weight",
    "without images: whatever was there",
    result=when(lambda c: c.batch == 0, _garbage),
)
add(
    "RB123",
    "degenerate",
    "conv2d_weight",
    "without columns: whatever was there",
    result=when(lambda c: 0 in c.size, _garbage),
)
add(
    "RB124",
    "degenerate",
    "conv2d",
    "without images: one image of zeros",
    function=None,
    result=when(lambda c: c.batch == 0, lambda c, out, _: np.zeros((1, *out.shape[1:]))),
)
add(
    "RB128",
    "degenerate",
    "conv2d",
    "an output of one pixel: zero",
    result=when(lambda c: c.out == (1, 1), lambda c, out, _: out * 0),
)

# --- large sizes


def _first_images(limit):
    def change(c, out, _):
        out = out.copy()
        out[limit:] = 0
        return out

    return change


def _wrapped_channels(c, out, _):
    k = out.shape[1]
    return out[:, np.arange(k) % 2**16]


add("RB139", "large_index", "conv2d", "images beyond 65535 missing", result=_first_images(2**16 - 1))
add("RB139", "large_index", "conv2d", "channels modulo 65536", result=_wrapped_channels)
add(
    "RB138",
    "large_index",
    "conv2d_weight",
    "images beyond 65535 do not count",
    operands=lambda c, a: {
        **a,
        "grad_output": np.where(np.arange(c.batch)[:, None, None, None] < 2**16 - 1, a["grad_output"], 0),
    },
)
add(
    "RB141",
    "large_index",
    "conv2d",
    "taps from 256 on do not count",
    operands=lambda c, a: {
        **a,
        "weight": np.where(np.arange(np.prod(c.kernel)).reshape(c.kernel) < 256, a["weight"], 0),
    },
)
add(
    "RB143",
    "large_index",
    "conv2d",
    "pixels beyond 65536 missing",
    result=lambda c, out, _: np.where(np.arange(np.prod(c.out)).reshape(c.out) < 2**16, out, 0),
)

# --- quantised


def _pad_with_zero_point(function):
    """Integers less their zero point everywhere, the padding too."""

    def call(x, w, x_zero, w_zero, stride, padding, dilation, groups):
        sides = [(0, 0)] * (x.ndim - 2) + list(padding_sides(padding))
        return function(np.pad(x, sides), w, x_zero, w_zero, stride, (0, 0), dilation, groups)

    return call


add(
    "RB145",
    "quant_padding",
    "conv2d_integer",
    "padded with 0, not with the zero point",
    _pad_with_zero_point(Kernel().conv2d_integer),
    dtypes=("int8", "uint8"),
)


def _constant_correction(x, w, x_zero, w_zero, stride, padding, dilation, groups):
    zero = np.zeros((), x.dtype)
    sums = Kernel().conv2d_integer(x, w, zero, w_zero, stride, padding, dilation, groups)
    w_zero = np.asarray(w_zero, np.int64).reshape(-1, *([1] * 3 if np.ndim(w_zero) else []))
    correction = int(np.asarray(x_zero)) * (w.astype(np.int64) - w_zero).sum(axis=(1, 2, 3))
    return (sums - correction[:, None, None]).astype(np.int32)


add(
    "RB146",
    "quant_padding",
    "conv2d_integer",
    "zero point times the sum of all weights",
    _constant_correction,
    dtypes=("int8", "uint8"),
)


def _quantized_padding(  # noqa: PLR0917 - ONNX's arguments
    x, xs, xz, w, ws, wz, ys, yz, b, stride, padding, dilation, groups
):
    sides = [(0, 0)] * (x.ndim - 2) + list(padding_sides(padding))
    return Kernel().conv2d_quantized(np.pad(x, sides), xs, xz, w, ws, wz, ys, yz, b, stride, (0, 0), dilation, groups)


add(
    "RB144",
    "quant_padding",
    "conv2d_quantized",
    "padded with 0, not with the zero point",
    _quantized_padding,
    dtypes=("int8", "uint8"),
)

# --- accumulators, and sound kernels under a wrong model


def _wraps(bits):
    return lambda c, out, _: (out + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


add("RB153", "accum_dtype", "conv2d", "int8: sums wrap at 16 bits", result=_wraps(16), **INTEGER)
add(
    "RB150",
    "accum_dtype",
    "conv2d",
    "int8: sums saturate at 16 bits",
    result=lambda c, out, _: np.clip(out, -(2**15), 2**15 - 1),
    **INTEGER,
)


def _rounded_operands(dtype):
    return lambda c, a: {
        name: each if name == "bias" or each is None else each.astype(dtype).astype(each.dtype)
        for name, each in a.items()
    }


def _tf32(c, a):
    def rounded(each):
        bits = each.view(np.uint32)
        kept = (bits + 0xFFF + ((bits >> 13) & 1)) & 0xFFFFE000
        return np.where(np.isfinite(each), kept.view(np.float32), each)

    return {n: each if n == "bias" or each is None else rounded(np.ascontiguousarray(each)) for n, each in a.items()}


def _summed_in(dtype):
    """Sums one term after the other in a narrow format."""
    from offset_tables import gather, tables

    def change(c, out, a):
        patches, w = gather(a["input"], tables(c)), a["weight"]
        acc = np.zeros(out.shape, dtype)
        for j, r, s in np.ndindex(w.shape[1:]):
            acc = (acc + patches[:, :, j, :, :, r, s] * w[:, j, r, s, None, None]).astype(dtype)
        return acc.astype(out.dtype) + (0 if a["bias"] is None else a["bias"][:, None, None])

    return change


def _flushing(c, out, _):
    return np.where(np.abs(out) < np.finfo(np.float32).tiny, 0, out)


add("RB152", "accum_dtype", "conv2d", "float16: sums in float16", result=_summed_in(np.float16), dtypes=("float16",))
add("RB152", "accum_dtype", "conv2d", "float32: sums in bfloat16", result=_summed_in(ml_dtypes.bfloat16))
add("model", "accum_dtype", "conv2d", "operands in tf32", operands=_tf32)
add("model", "accum_dtype", "conv2d", "operands in bfloat16", operands=_rounded_operands(ml_dtypes.bfloat16))
add("model", "accum_dtype", "conv2d", "float16 sums of float32", result=_summed_in(np.float16))
add("model", "accum_dtype", "conv2d", "float64 summed in float32", result=_summed_in(np.float32), dtypes=("float64",))
add("model", "accum_dtype", "conv2d", "subnormal outputs flushed", result=_flushing)

# --- NaN and infinity


def _nan_spreads(c, out, a):
    bad = ~np.isfinite(a["input"]).all(axis=1)  # (N, H, W)
    if not bad.any():
        return out
    return np.where(bad.any(axis=(1, 2))[:, None, None, None], np.nan, out)


def _nan_lanes(c, out, a):
    bad = ~np.isfinite(a["input"]).all(axis=(1, 2, 3))
    leaks = c.channels % 4 != 0
    return np.where(bad[:, None, None, None] & leaks, np.nan, out)


SPECIAL = {"supports": {"fills": ("special", "integers", "normal")}}
add("RB156", "nonfinite", "conv2d", "one that is not finite makes the whole image NaN", result=_nan_spreads, **SPECIAL)
add("RB155", "nonfinite", "conv2d", "NaN leaks where channels are no multiple of 4", result=_nan_lanes, **SPECIAL)
add(
    "RB156",
    "nonfinite",
    "conv2d",
    "NaN taken for 0",
    operands=lambda c, a: {**a, "input": np.nan_to_num(a["input"], nan=0, posinf=np.inf, neginf=-np.inf)},
    **SPECIAL,
)

# --- state


def _race(c, out, _):
    random = np.random.default_rng()
    return np.where(random.random(out.shape) < 0.2, out * random.random(), out)


add("RB159", "state_race", "conv2d", "now and then a partial sum", result=_race)
add("RB158", "state_race", "conv2d_weight", "now and then a partial sum", result=_race)


def _stale():
    packed = {}

    def change(c, a):
        key = a["weight"].shape
        return {**a, "weight": packed.setdefault(key, a["weight"].copy())}

    return change


add("RB160", "state_race", "conv2d", "weights packed once for each shape", operands=_stale())
