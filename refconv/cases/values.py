"""Values: the raw numbers behind a recipe, one field each, and the rules that an operator and a candidate set them.

One record serves all who make cases: Hypothesis draws it, the plan chooses it, shrinking simplifies it. It has the
numbers of three spatial axes; an operator with fewer has the last ones, and the others stay as they are by default.
Knows recipes; not how numbers that contradict each other are fitted.
"""

from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from refconv.cases.geometry_text import FORWARD
from refconv.cases.recipe import ARRANGEMENTS, ARRAYS, BIASED, LAYOUTS, MODAL, OFFSETS, OUTPUT, QUANTIZED, Recipe
from refconv.cases.said import DEPTHWISE
from refconv.cases.supports import LETTERS, Supports
from refconv.core import layouts
from refconv.core.checks import PADDING_NAMES, STRIDED_SAME, Padding
from refconv.core.formats import SUPPORTED
from refconv.core.geometry import Geometry
from refconv.core.operators import BIAS, axes_of, is_transposed, kind_of
from refconv.core.padding import MODES, Sides
from refconv.ops.requantization import Rule

MOST_TERMS = 33_000  # so many products of 8-bit numbers, less any zero points, have a sum that fits into int32
PADDINGS = ("symmetric", "four-sided", *PADDING_NAMES)
# Arrangements of one axis.
OF_VECTORS = ("contiguous", *OFFSETS, "offset", "broadcast", "negative", "unaligned", "interleaved")
OF_OUTPUT = tuple(name for name in ARRANGEMENTS if name != "broadcast")  # its elements share no memory
ONE_BYTE = frozenset(str(dtype) for dtype in SUPPORTED if dtype.itemsize == 1)
ANYTHING = Supports(
    padding_mode=MODES, layout=LAYOUTS, string_padding=True, padding_names=PADDING_NAMES, asymmetric_padding=True,
    unbatched=True, out=True,
)  # fmt: skip


class Axis(NamedTuple):
    """Names of the values that belong to a spatial axis."""

    size: str
    taps: str  # of the kernel
    before: str  # padding
    after: str
    stride: str
    dilation: str
    extra: str


AXES = (
    Axis("depth", "planes", "front", "back", "stride_d", "dilation_d", "extra_d"),
    Axis("height", "rows", "top", "bottom", "stride_h", "dilation_h", "extra_h"),
    Axis("width", "columns", "left", "right", "stride_w", "dilation_w", "extra_w"),
)


class Values(NamedTuple):
    """The numbers that a recipe is made of, before they are fitted to each other; by default the simplest."""

    batch: int = 1
    groups: int = 1
    inputs: int = 1  # of a group
    outputs: int = 1  # of a group
    depth: int = 1
    height: int = 1
    width: int = 1
    planes: int = 1  # of the kernel
    rows: int = 1
    columns: int = 1
    front: int = 0
    top: int = 0
    left: int = 0
    back: int = 0  # used for four-sided padding only, and so are bottom and right
    bottom: int = 0
    right: int = 0
    stride_d: int = 1
    stride_h: int = 1
    stride_w: int = 1
    dilation_d: int = 1
    dilation_h: int = 1
    dilation_w: int = 1
    extra_d: int = 0  # strides by which output padding goes beyond what the size asks for
    extra_h: int = 0
    extra_w: int = 0
    depthwise: bool | None = None  # None: as it comes
    padding: str = "symmetric"
    mode: str = "zeros"
    batched: bool = True
    bias: bool = False
    layout: str = "NCHW"
    first: str = "contiguous"  # how the call's first array lies in memory
    second: str = "contiguous"
    third: str = "contiguous"  # the bias
    output: str = "contiguous"  # what the result is written to
    quantisation: str = "plain"
    dtype: str = "float32"
    fill: str = "integers"
    seed: int = 0
    layouts: str = ""  # that the candidate is made for; this and the following are the same in all of a campaign
    out_dtype: str = ""
    overflow: str = ""
    requantize: Rule = ""
    weight_bits: int = 0
    epilogue: str = ""
    rounded: str = ""


AT = tuple(tuple(map(Values._fields.index, axis)) for axis in AXES)
_DEFAULTS = Values()


def for_axes(axes: int, changes: dict[str, Any], *, spread: bool = True) -> dict[str, Any]:
    """What changes of a convolution over height and width mean with another number of axes.

    With one axis, its value is the larger of the two. With three, depth changes as height does where both change, if
    changes are to be spread.

    >>> for_axes(1, {"rows": 3, "height": 33, "width": 1}), for_axes(3, {"rows": 3, "columns": 3})
    ({'width': 33, 'columns': 3}, {'rows': 3, 'columns': 3, 'planes': 3})
    """
    if axes == len(AXES) - 1:
        return changes
    of_depth, of_height, of_width = AXES
    changed = dict(changes)
    for depth, height, width in zip(of_depth, of_height, of_width, strict=True):
        if axes == 1 and height in changed:
            value = changed.pop(height)
            other = changed.get(width, value)
            changed[width] = other if isinstance(other, str) else max(value, other)
        elif axes > 1 and spread and height in changed and width in changed:
            changed[depth] = changed[height]
    return {name: _RENAMED.get(value, value) for name, value in changed.items()} if axes == 1 else changed


# Of one axis, what stands for another value of the same record.
_RENAMED = dict(zip(AXES[1], AXES[2], strict=True))


class Rules:
    """What an operator and a candidate allow, looked up once."""

    def __init__(self, op: str, supports: Supports) -> None:
        self.op, self.supports = op, supports
        self.arrays = ARRAYS[op]
        axes = axes_of(op)
        self.axes = AXES[-axes:]
        self.transposed, self.pointwise = is_transposed(op), kind_of(op) == BIAS
        self.quantized = op in QUANTIZED
        self.bias = supports.bias and op in BIASED
        self.depthwise = supports.groups == DEPTHWISE
        self.groups = None if isinstance(supports.groups, str) else supports.groups
        modes = tuple(mode for mode in supports.padding_mode if mode == "zeros" or op in MODAL)
        self.modes = modes or ("zeros",)
        numeric = supports.numeric_padding or self.transposed or self.pointwise
        sides = supports.asymmetric_padding and not self.pointwise
        in_numbers = ("symmetric", *["four-sided"] * sides) if numeric else ()
        self.paddings = (*in_numbers, *self._padding_names()) or ("symmetric",)  # campaigns refuse what is impossible
        self.pads, self.kernel, self.stride, self.dilation = (
            tuple(supports.along(name, letter) for letter in LETTERS[-axes:])
            for name in ("padding", "kernel", "stride", "dilation")
        )
        self.at = AT[-axes:]  # the same as indices
        absent = [index for of in AT[:-axes] for index in of]  # values of axes that the operator has not
        self.absent: dict[str, Any] = {Values._fields[index]: _DEFAULTS[index] for index in absent}
        self.absent_of = itemgetter(*absent) if absent else None
        self.absent_values = tuple(self.absent.values())
        of_fields = zip(("taps", "stride", "dilation"), (self.kernel, self.stride, self.dilation), strict=True)
        along = ((field, *pair) for field, numbers in of_fields for pair in zip(self.axes, numbers, strict=True))
        self.along = {getattr(axis, field): allowed for field, axis, allowed in along}
        self.sizes = tuple(getattr(supports, axis.size) for axis in self.axes)
        self.fitted_axes = any(self.sizes) or any(self.pads)
        # Of the forward convolution that a geometry describes.
        self.channels = (supports.channels, supports.filters)[:: -1 if self.transposed else 1]
        self.fitted_channels = any(self.channels)
        self.of_every_call = {{"layout": "layouts"}.get(name, name): value for name, value in supports.of_calls.items()}
        self.square_padding = "padding" in supports.square
        self.unbatched = supports.unbatched and (supports.batch is None or 1 in supports.batch)
        self.shapes = tuple(map(values_of, supports.shapes or ()))
        self.restricted = any(
            allowed is not None for allowed in (self.groups, supports.batch, *self.kernel, *self.stride, *self.dilation)
        )

    def _padding_names(self) -> tuple[str, ...]:
        """The texts that the padding may be."""
        if self.transposed or self.pointwise:
            return ()
        of_torch = ("same", "valid") if self.supports.string_padding else ()
        names = tuple(name for name in PADDING_NAMES if name in (*of_torch, *self.supports.padding_names))
        if kind_of(self.op) not in FORWARD:
            names = tuple(name for name in names if name not in STRIDED_SAME)
        strides = (self.supports.along("stride", letter) for letter in LETTERS[-axes_of(self.op) :])
        unit = all(stride is None or 1 in stride for stride in strides)  # "same" needs a stride of 1
        return tuple(name for name in names if name != "same" or unit)


@lru_cache(maxsize=64)
def rules(op: str, supports: Supports) -> Rules:
    """The rules of an operator under what a candidate takes."""
    return Rules(op, supports)


def recipe_of(op: str, v: Values) -> Recipe:
    """The recipe of settled values."""
    axes = axes_of(op)
    size, kernel, before, after, stride, dilation, _ = zip(*([v[at] for at in of] for of in AT[-axes:]), strict=True)
    sides = tuple(zip(before, after, strict=True))
    padding: Padding = v.padding
    if v.padding == "symmetric":
        padding = before
    elif v.padding == "four-sided":
        padding = sides
    geometry = Geometry(
        v.batch, v.groups * v.inputs, v.groups * v.outputs, size, kernel, stride, sides, dilation, v.groups, v.mode
    )
    names = (*ARRAYS[op], *[""] * (2 - len(ARRAYS[op])), "bias", OUTPUT)
    arrangements = zip(names, (v.first, v.second, v.third, v.output), strict=True)
    return Recipe(
        geometry, padding, v.batched, v.bias, v.dtype, v.fill, v.seed, op,
        output_padding(v)[-axes:] if is_transposed(op) else (0,) * axes,
        v.layouts or layouts.LAYOUTS[axes][LAYOUTS.index(v.layout)],
        tuple((name, arrangement) for name, arrangement in arrangements if arrangement != "contiguous"),
        v.quantisation if op in QUANTIZED else "", v.out_dtype, v.overflow, v.requantize, v.weight_bits, v.epilogue,
        v.rounded,
    )  # fmt: skip


def values_of(recipe: Recipe) -> Values:
    """The values of a recipe: if `fitted` made the recipe, it makes the same one of these.

    >>> from refconv.cases.fitting import fitted
    >>> recipe = fitted("conv2d", Values(batch=2, rows=3, stride_w=2))
    >>> fitted("conv2d", values_of(recipe)) == recipe
    True
    """
    g, memory = recipe.geometry, dict(recipe.memory)
    padding = recipe.padding if isinstance(recipe.padding, str) else _kind(g.padding)
    names = ARRAYS[recipe.op]
    first, second, third, output = (memory.get(name, "contiguous") for name in (names[0], names[-1], "bias", OUTPUT))
    usual = layouts.LAYOUTS[len(g.size)]
    strides_beyond = [extra // step for extra, step in zip(recipe.output_padding, g.stride, strict=True)]
    before, after = zip(*g.padding, strict=True)
    columns = zip(g.size, g.kernel, before, after, g.stride, g.dilation, strides_beyond, strict=True)
    along = {
        name: number
        for axis, numbers in zip(AXES[-len(g.size) :], columns, strict=True)
        for name, number in zip(axis, numbers, strict=True)
    }
    return Values(
        batch=g.batch, groups=g.groups, inputs=g.in_channels // g.groups, outputs=g.out_channels // g.groups,
        **along, depthwise=None, padding=padding, mode=g.padding_mode, batched=recipe.batched, bias=recipe.bias,
        layout=LAYOUTS[usual.index(recipe.layout)] if recipe.layout in usual else LAYOUTS[0],
        layouts="" if recipe.layout in usual else recipe.layout, out_dtype=recipe.out_dtype, overflow=recipe.overflow,
        first=first, second=second if len(names) > 1 else "contiguous", third=third, output=output,
        quantisation=recipe.quantisation or "plain", dtype=recipe.dtype, fill=recipe.fill, seed=recipe.seed,
        requantize=recipe.requantize, weight_bits=recipe.weight_bits,
        epilogue=recipe.epilogue, rounded=recipe.rounded,
    )  # fmt: skip


def output_size(v: Values) -> tuple[int, int, int]:
    """Size of the forward convolution's output along three axes: 1 along those that an operator has not."""
    return (
        (v.depth + v.front + v.back - v.dilation_d * (v.planes - 1) - 1) // v.stride_d + 1,
        (v.height + v.top + v.bottom - v.dilation_h * (v.rows - 1) - 1) // v.stride_h + 1,
        (v.width + v.left + v.right - v.dilation_w * (v.columns - 1) - 1) // v.stride_w + 1,
    )


def output_padding(v: Values) -> tuple[int, ...]:
    """Output padding of the transposed convolution whose result has this size: the remainder, and whole strides."""
    numbers: tuple[Any, ...] = v
    return tuple(
        (size + before + after - dilation * (taps - 1) - 1) % stride + extra * stride
        for size, taps, before, after, stride, dilation, extra in ([numbers[at] for at in of] for of in AT)
    )


def _kind(sides: Sides) -> str:
    return "symmetric" if all(before == after for before, after in sides) else "four-sided"
