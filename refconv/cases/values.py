"""Values: the raw numbers behind a recipe, one field each, and the rules that an operator and a candidate set them.

One record serves all who make cases: Hypothesis draws it, the plan chooses it, shrinking simplifies it. Knows recipes;
not how numbers that contradict each other are fitted.
"""

from functools import lru_cache
from typing import NamedTuple

from refconv.cases.geometry_text import FORWARD
from refconv.cases.recipe import ARRANGEMENTS, ARRAYS, BIASED, LAYOUTS, MODAL, OFFSETS, OUTPUT, QUANTIZED, Recipe
from refconv.cases.said import DEPTHWISE
from refconv.cases.supports import Supports
from refconv.core.checks import PADDING_NAMES, STRIDED_SAME, Padding
from refconv.core.formats import SUPPORTED
from refconv.core.geometry import Geometry
from refconv.core.padding import MODES, Sides

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


class Values(NamedTuple):
    """The numbers that a recipe is made of, before they are fitted to each other; by default the simplest."""

    batch: int = 1
    groups: int = 1
    inputs: int = 1  # of a group
    outputs: int = 1  # of a group
    height: int = 1
    width: int = 1
    rows: int = 1  # of the kernel
    columns: int = 1
    top: int = 0
    left: int = 0
    bottom: int = 0  # used for four-sided padding only, and so is right
    right: int = 0
    stride_h: int = 1
    stride_w: int = 1
    dilation_h: int = 1
    dilation_w: int = 1
    extra_h: int = 0  # strides by which output padding goes beyond what the size asks for
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
    layouts: str = ""  # that the candidate is made for; these five are the same in all cases of a campaign
    out_dtype: str = ""
    overflow: str = ""
    epilogue: str = ""
    rounded: str = ""


class Rules:
    """What an operator and a candidate allow, looked up once."""

    def __init__(self, op: str, supports: Supports) -> None:
        self.op, self.supports = op, supports
        self.arrays = ARRAYS[op]
        self.transposed, self.pointwise = op == "conv_transpose2d", op == "conv2d_bias"
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
        self.pads = supports.along("padding", 0), supports.along("padding", 1)
        self.kernel = supports.along("kernel", 0), supports.along("kernel", 1)
        self.stride = supports.along("stride", 0), supports.along("stride", 1)
        self.dilation = supports.along("dilation", 0), supports.along("dilation", 1)
        self.fitted_axes = supports.height or supports.width or any(self.pads)
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
        if self.op not in FORWARD:
            names = tuple(name for name in names if name not in STRIDED_SAME)
        strides = (self.supports.along("stride", axis) for axis in (0, 1))
        unit = all(stride is None or 1 in stride for stride in strides)  # "same" needs a stride of 1
        return tuple(name for name in names if name != "same" or unit)


@lru_cache(maxsize=64)
def rules(op: str, supports: Supports) -> Rules:
    """The rules of an operator under what a candidate takes."""
    return Rules(op, supports)


def recipe_of(op: str, v: Values) -> Recipe:
    """The recipe of settled values."""
    stride, dilation = (v.stride_h, v.stride_w), (v.dilation_h, v.dilation_w)
    sides = (v.top, v.bottom), (v.left, v.right)
    padding: Padding = v.padding
    if v.padding == "symmetric":
        padding = v.top, v.left
    elif v.padding == "four-sided":
        padding = sides
    geometry = Geometry(
        v.batch, v.groups * v.inputs, v.groups * v.outputs, (v.height, v.width), (v.rows, v.columns), stride, sides,
        dilation, v.groups, v.mode,
    )  # fmt: skip
    names = (*ARRAYS[op], *[""] * (2 - len(ARRAYS[op])), "bias", OUTPUT)
    arrangements = zip(names, (v.first, v.second, v.third, v.output), strict=True)
    return Recipe(
        geometry, padding, v.batched, v.bias, v.dtype, v.fill, v.seed, op,
        output_padding(v) if op == "conv_transpose2d" else (0, 0), v.layouts or v.layout,
        tuple((name, arrangement) for name, arrangement in arrangements if arrangement != "contiguous"),
        v.quantisation if op in QUANTIZED else "", v.out_dtype, v.overflow, v.epilogue, v.rounded,
    )  # fmt: skip


def values_of(recipe: Recipe) -> Values:
    """The values of a recipe: if `fitted` made the recipe, it makes the same one of these.

    >>> from refconv.cases.fitting import fitted
    >>> recipe = fitted("conv2d", Values(batch=2, rows=3, stride_w=2))
    >>> fitted("conv2d", values_of(recipe)) == recipe
    True
    """
    g, memory = recipe.geometry, dict(recipe.memory)
    (top, bottom), (left, right) = g.padding
    padding = recipe.padding if isinstance(recipe.padding, str) else _kind(g.padding)
    names = ARRAYS[recipe.op]
    first, second, third, output = (memory.get(name, "contiguous") for name in (names[0], names[-1], "bias", OUTPUT))
    (height, width), (rows, columns), (stride_h, stride_w), (dilation_h, dilation_w) = (
        g.size, g.kernel, g.stride, g.dilation,
    )  # fmt: skip
    extra_h, extra_w = recipe.output_padding[0] // stride_h, recipe.output_padding[1] // stride_w
    return Values(
        batch=g.batch, groups=g.groups, inputs=g.in_channels // g.groups, outputs=g.out_channels // g.groups,
        height=height, width=width, rows=rows, columns=columns, top=top, left=left, bottom=bottom, right=right,
        stride_h=stride_h, stride_w=stride_w, dilation_h=dilation_h, dilation_w=dilation_w,
        extra_h=extra_h, extra_w=extra_w, depthwise=None, padding=padding, mode=g.padding_mode,
        batched=recipe.batched, bias=recipe.bias, layout="NCHW" if recipe.layout not in LAYOUTS else recipe.layout,
        layouts="" if recipe.layout in LAYOUTS else recipe.layout, out_dtype=recipe.out_dtype, overflow=recipe.overflow,
        first=first, second=second if len(names) > 1 else "contiguous", third=third, output=output,
        quantisation=recipe.quantisation or "plain", dtype=recipe.dtype, fill=recipe.fill, seed=recipe.seed,
        epilogue=recipe.epilogue, rounded=recipe.rounded,
    )  # fmt: skip


def output_size(v: Values) -> tuple[int, int]:
    """Height and width of the forward convolution's output."""
    return (
        (v.height + v.top + v.bottom - v.dilation_h * (v.rows - 1) - 1) // v.stride_h + 1,
        (v.width + v.left + v.right - v.dilation_w * (v.columns - 1) - 1) // v.stride_w + 1,
    )


def output_padding(v: Values) -> tuple[int, int]:
    """Output padding of the transposed convolution whose result is height x width: the remainder, and whole strides."""
    return (
        (v.height + v.top + v.bottom - v.dilation_h * (v.rows - 1) - 1) % v.stride_h + v.extra_h * v.stride_h,
        (v.width + v.left + v.right - v.dilation_w * (v.columns - 1) - 1) % v.stride_w + v.extra_w * v.stride_w,
    )


def _kind(sides: Sides) -> str:
    return "symmetric" if all(before == after for before, after in sides) else "four-sided"
