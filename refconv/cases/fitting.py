"""Fitting: any numbers at all become a valid recipe near them, within what a candidate takes; and simpler ones.

One record of raw numbers, `Values`, serves all who make cases: Hypothesis, which draws them, the planner, which chooses
them, and `smaller`, which shrinks them. Knows recipes and what is supported; neither Hypothesis nor who is judged.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from refconv.cases import fills
from refconv.cases.recipe import (  # fmt: skip
    ARRANGEMENTS,
    ARRAYS,
    BIASED,
    LAYOUTS,
    MIXED,
    MODAL,
    OUTPUT,
    QUANTISATIONS,
    QUANTISED,
    Recipe,
)
from refconv.cases.supports import DEPTHWISE, Supports
from refconv.core.checks import LARGEST, Padding
from refconv.core.formats import SUPPORTED, result_dtype
from refconv.core.geometry import Geometry
from refconv.core.padding import MODES, Sides

MAX_MULTIPLICATIONS = 100_000
ELEMENTS = 4  # the arrays together have at most so many times more elements
MOST_TERMS = 33_000  # of 8-bit numbers less any zero points, whose sums are to fit into int32

PADDINGS = ("symmetric", "four-sided", "same", "valid")
OF_VECTORS = ("contiguous", "offset", "broadcast", "negative", "unaligned", "interleaved")  # of what has one axis
OF_OUTPUT = tuple(each for each in ARRANGEMENTS if each != "broadcast")  # its elements share no memory
ONE_BYTE = frozenset(str(each) for each in SUPPORTED if each.itemsize == 1)
ANYTHING = Supports(
    padding_mode=MODES, layout=LAYOUTS, string_padding=True, asymmetric_padding=True, unbatched=True, out=True
)  # fmt: skip


class Values(NamedTuple):
    """The numbers that a recipe is made of, before they are made to fit each other; by default the simplest."""

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


class Rules:
    """What an operator and a candidate allow, looked up once."""

    def __init__(self, op: str, supports: Supports) -> None:
        self.op, self.supports = op, supports
        self.arrays = ARRAYS[op]
        self.transposed, self.pointwise = op == "conv_transpose2d", op == "conv2d_bias"
        self.quantised = op in QUANTISED
        self.bias = supports.bias and op in BIASED
        self.depthwise = supports.groups == DEPTHWISE
        self.groups = None if self.depthwise else supports.groups
        modes = tuple(mode for mode in supports.padding_mode if mode == "zeros" or op in MODAL)
        self.modes = modes or ("zeros",)
        strings = supports.string_padding and not self.transposed and not self.pointwise
        sides = supports.asymmetric_padding and not self.pointwise
        unit = supports.stride is None or 1 in supports.stride  # all that "same" goes with
        self.paddings = (
            "symmetric", *["four-sided"] * sides, *["same"] * (strings and unit), *["valid"] * strings,
        )  # fmt: skip
        self.unbatched = supports.unbatched and (supports.batch is None or 1 in supports.batch)
        self.restricted = any(
            each is not None
            for each in (self.groups, supports.batch, supports.kernel, supports.stride, supports.dilation)
        )


@lru_cache(maxsize=64)
def rules(op: str, supports: Supports) -> Rules:
    """The rules of an operator under what a candidate takes."""
    return Rules(op, supports)


def fitted(op: str, values: Values, supports: Supports = ANYTHING, limit: int = MAX_MULTIPLICATIONS) -> Recipe:
    """A valid recipe near the numbers: the input grows, or its padding, until the kernel fits.

    Then the largest number is halved until there are at most `limit` multiplications, which keeps what lies around a
    power of two close to one (or until nothing allowed is smaller). Every `values` gives a recipe.

    >>> found = fitted("conv2d", Values(rows=3, top=1, dilation_h=2))
    >>> found.geometry.size, found.padding
    ((1, 1), (2, 0))
    """
    return recipe_of(op, settled(rules(op, supports), values, limit))


def settled(rules: Rules, values: Values, limit: int = MAX_MULTIPLICATIONS) -> Values:
    """The numbers of the recipe: settled once more, they stay as they are."""
    values = _shaped(rules, _chosen(rules, values))
    while _too_large(rules, values, limit):
        less = _halved(rules, values)
        if less is None:
            break
        values = less
    return _laid_out(rules, values)


def recipe_of(op: str, v: Values) -> Recipe:
    """The recipe of settled numbers."""
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
        output_padding(v) if op == "conv_transpose2d" else (0, 0), v.layout,
        tuple((name, arrangement) for name, arrangement in arrangements if arrangement != "contiguous"),
        v.quantisation if op in QUANTISED else "",
    )  # fmt: skip


def values_of(recipe: Recipe) -> Values:
    """The numbers of a recipe: `fitted` makes it of them again, if it made it.

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
        g.batch, g.groups, g.in_channels // g.groups, g.out_channels // g.groups, height, width, rows, columns,
        top, left, bottom, right, stride_h, stride_w, dilation_h, dilation_w, extra_h, extra_w,
        None, padding, g.padding_mode, recipe.batched, recipe.bias, recipe.layout,
        first, second if len(names) > 1 else "contiguous", third, output,
        recipe.quantisation or "plain", recipe.dtype, recipe.fill, recipe.seed,
    )  # fmt: skip


def output_size(v: Values) -> tuple[int, int]:
    """Of the forward convolution."""
    return (
        (v.height + v.top + v.bottom - v.dilation_h * (v.rows - 1) - 1) // v.stride_h + 1,
        (v.width + v.left + v.right - v.dilation_w * (v.columns - 1) - 1) // v.stride_w + 1,
    )


def output_padding(v: Values) -> tuple[int, int]:
    """Of the transposed convolution whose result has the size: what the stride leaves over, and whole strides."""
    return (
        (v.height + v.top + v.bottom - v.dilation_h * (v.rows - 1) - 1) % v.stride_h + v.extra_h * v.stride_h,
        (v.width + v.left + v.right - v.dilation_w * (v.columns - 1) - 1) % v.stride_w + v.extra_w * v.stride_w,
    )


def _kind(sides: Sides) -> str:
    return "symmetric" if all(before == after for before, after in sides) else "four-sided"


def _chosen(rules: Rules, v: Values) -> Values:
    """The numbers with names that are allowed only."""
    supports = rules.supports
    changed: dict[str, Any] = {}
    if v.mode not in rules.modes:
        changed["mode"] = rules.modes[0]
    if v.padding not in rules.paddings:
        changed["padding"] = "symmetric"
    if v.layout not in supports.layout:
        changed["layout"] = supports.layout[0]
    if v.bias and not rules.bias:
        changed["bias"] = False
    if not (v.batched or rules.unbatched):
        changed["batched"] = True
    if v.fill not in fills.known(v.dtype):
        changed["fill"] = "integers"
    return v._replace(**changed) if changed else v


def _shaped(rules: Rules, v: Values) -> Values:
    """A valid geometry near the numbers, however large."""
    if rules.pointwise:
        v = v._replace(
            groups=1, inputs=1, rows=1, columns=1, top=0, left=0, bottom=0, right=0, stride_h=1, stride_w=1,
            dilation_h=1, dilation_w=1, padding="symmetric",
        )  # fmt: skip
    elif rules.restricted:
        v = _allowed(rules.supports, rules.groups, v)
    batch = v.batch if v.batched else 1
    batch = max(batch, 0 if rules.supports.empty_batch else 1)
    if rules.supports.batch is not None:
        batch = _nearest(batch, rules.supports.batch)
    groups, inputs, outputs = _channels(rules, v)
    rows, columns = max(1, v.rows), max(1, v.columns)
    stride_h, stride_w = (1, 1) if v.padding == "same" else (v.stride_h, v.stride_w)
    height, top, bottom = _axis(v.height, rows, v.dilation_h, (v.top, v.bottom), v.padding, v.mode)
    width, left, right = _axis(v.width, columns, v.dilation_w, (v.left, v.right), v.padding, v.mode)
    padding = v.padding
    if padding == "four-sided" and top == bottom and left == right:
        padding = "symmetric"
    extra_h = extra_w = 0
    if rules.transposed:
        extra_h = _extra(v.extra_h, height + top + bottom, rows, stride_h, v.dilation_h)
        extra_w = _extra(v.extra_w, width + left + right, columns, stride_w, v.dilation_w)
    return Values(
        batch, groups, inputs, outputs, height, width, rows, columns, top, left, bottom, right,
        stride_h, stride_w, v.dilation_h, v.dilation_w, extra_h, extra_w, v.depthwise, padding, *v[20:],
    )  # fmt: skip


def _nearest(value: int, allowed: tuple[int, ...]) -> int:
    """The largest one allowed that is not above the value, or the smallest."""
    return max((each for each in allowed if each <= value), default=allowed[0])


def _allowed(supports: Supports, groups: object, v: Values) -> Values:
    """The numbers with those only that a candidate takes."""
    changed: dict[str, Any] = {}
    for names, allowed in (
        (("groups",), groups),
        (("rows", "columns"), supports.kernel),
        (("stride_h", "stride_w"), supports.stride),
        (("dilation_h", "dilation_w"), supports.dilation),
    ):
        if isinstance(allowed, tuple):
            changed |= {name: _nearest(getattr(v, name), allowed) for name in names}
    return v._replace(**changed)


def _channels(rules: Rules, v: Values) -> tuple[int, int, int]:
    """Groups, and the input and output channels of each."""
    groups, inputs, outputs = max(1, v.groups), max(1, v.inputs), max(1, v.outputs)
    if rules.depthwise or v.depthwise:
        if inputs > 1:
            groups, inputs = inputs if rules.groups is None else groups, 1
        if outputs > 3:
            outputs = 1 + (outputs - 1) % 3
    elif v.depthwise is False and groups > 1:
        inputs = max(2, inputs)
    return groups, inputs, outputs


def _axis(
    size: int, taps: int, dilation: int, wanted: tuple[int, int], padding: str, mode: str
) -> tuple[int, int, int]:
    """Size, and padding before and after, along an axis."""
    extent = dilation * (taps - 1) + 1
    size = max(1, size)
    if padding == "valid":
        return max(size, extent), 0, 0
    if padding == "same":  # extent // 2 is the larger of its two sides
        least = {"reflect": extent // 2 + 1, "circular": max(1, extent // 2)}.get(mode, 1)
        return max(size, least), (extent - 1) // 2, extent // 2
    largest = LARGEST
    if mode == "reflect":
        size = max(size, (extent + 4) // 3)
        largest = size - 1
    elif mode == "circular":
        size = max(size, (extent + 2) // 3)
        largest = size
    missing, (before, after) = max(0, extent - size), wanted
    if padding == "symmetric":
        before = min(max(before, -(-missing // 2)), largest)
        return size, before, before
    before = min(max(before, missing - largest), largest)
    return size, before, min(max(after, missing - before), largest)


def _extra(wanted: int, padded: int, taps: int, stride: int, dilation: int) -> int:
    """How many strides output padding may go beyond what is left over: it stays below the dilation."""
    if not wanted:
        return 0
    steps, left_over = divmod(padded - dilation * (taps - 1) - 1, stride)
    return max(0, min(wanted, steps, (dilation - 1 - left_over) // stride))


# In the order in which the equally large are halved: the batch last, for it may not become 0.
_HALVED = tuple(Values._fields.index(name) for name in (
    "bottom", "right", "top", "left", "height", "width", "rows", "columns", "inputs", "outputs", "groups", "batch",
))  # fmt: skip
_SIMPLEST: Any = Values()


def _too_large(rules: Rules, v: Values, limit: int) -> bool:
    rows, columns = output_size(v)
    weight = v.groups * v.outputs * v.inputs * v.rows * v.columns
    output = v.batch * rows * columns
    if output * weight > limit or (rules.quantised and v.inputs * v.rows * v.columns > MOST_TERMS):
        return True
    arrays = weight + v.groups * (v.batch * v.inputs * v.height * v.width + v.outputs * output)
    return arrays > ELEMENTS * limit


def size_of(v: Values) -> int:
    """Number of multiplications, or so many elements that `settled` counts as much."""
    rows, columns = output_size(v)
    weight = v.groups * v.outputs * v.inputs * v.rows * v.columns
    output = v.batch * rows * columns
    arrays = weight + v.groups * (v.batch * v.inputs * v.height * v.width + v.outputs * output)
    return max(output * weight, -(-arrays // ELEMENTS))


def _halved(rules: Rules, v: Values) -> Values | None:
    """The numbers with the largest halved of those for which it makes a difference; None if there is none."""
    numbers: list[Any] = list(v)
    for at in sorted(_HALVED, key=numbers.__getitem__, reverse=True):
        if numbers[at] > _SIMPLEST[at]:
            found = _shaped(rules, Values._make((*numbers[:at], numbers[at] // 2, *numbers[at + 1 :])))
            if found != v:
                return found
    return None


def _laid_out(rules: Rules, v: Values) -> Values:
    """Arrangements that are allowed and make a difference only, and zero points where there are any."""
    if v.first == v.second == v.third == v.output == "contiguous" and not rules.quantised:
        return v if v.quantisation == "plain" else v._replace(quantisation="plain")
    channels = {"input": v.groups * (v.outputs if rules.transposed else v.inputs), "grad_output": v.groups * v.outputs}
    found = []
    for name, arrangement in zip(rules.arrays, (v.first, v.second), strict=False):
        length = v.groups * v.outputs if name == "weight" else v.batch if v.batched else channels[name]
        found.append(_arrangement(rules, arrangement, length, v.dtype))
    found += ["contiguous"] * (2 - len(found))
    length = v.groups * (v.inputs if rules.transposed else v.outputs)
    third = v.third if v.bias and v.third in OF_VECTORS else "contiguous"
    output = v.output if rules.supports.out and (not rules.pointwise or v.output in OF_VECTORS) else "contiguous"
    result = v.dtype if rules.op == "conv2d_quantized" else str(result_dtype(np.dtype(v.dtype)))
    return v._replace(
        first=found[0],
        second=found[1],
        third=_arrangement(rules, third, length, v.dtype),
        output=_arrangement(rules, output, 0, result),
        quantisation=v.quantisation if rules.quantised and _known(v.quantisation) else "plain",
    )


def _known(quantisation: str) -> bool:
    return quantisation.removesuffix(MIXED) in QUANTISATIONS


def _arrangement(rules: Rules, name: str, length: int, dtype: str) -> str:
    """The arrangement, if it is allowed and differs from contiguous for an array of such a first axis and dtype."""
    alike = (name == "broadcast" and length < 2) or (name == "unaligned" and dtype in ONE_BYTE)
    return name if name in rules.supports.views and not alike else "contiguous"


# --- simpler ones ----------------------------------------------------------------------------------------------------

# What has names, with its values from the simplest on, and what is a number, in the order that `rank` compares them in:
# fewer options before smaller kernels before smaller inputs.
_NAMED: dict[str, tuple[Any, ...]] = {
    "quantisation": tuple(each + mixed for mixed in ("", MIXED) for each in QUANTISATIONS),
    "padding": PADDINGS,
    "mode": MODES,
    "layout": LAYOUTS,
    "batched": (True, False),
    "bias": (False, True),
    "first": ARRANGEMENTS,
    "second": ARRANGEMENTS,
    "third": ARRANGEMENTS,
    "output": OF_OUTPUT,
    "fill": ("integers", "positions", *(each for each in fills.every() if each not in ("integers", "positions"))),
}
_NUMBERS = (
    "extra_h", "extra_w", "groups", "stride_h", "stride_w", "dilation_h", "dilation_w", "rows", "columns",
    "top", "left", "bottom", "right", "inputs", "outputs", "batch", "height", "width",
)  # fmt: skip


def rank(recipe: Recipe) -> tuple[int, ...]:
    """How complicated a recipe is: tuples of numbers from 0 on, compared in order, so that no descent is endless."""
    v = values_of(recipe)
    named = tuple(allowed.index(getattr(v, name)) for name, allowed in _NAMED.items())
    numbers = tuple(abs(getattr(v, name) - getattr(_SIMPLEST, name)) for name in _NUMBERS)
    return (sum(map(bool, named)), sum(map(bool, numbers[:7])), sum(named), *_sums(numbers), v.seed)


def _sums(numbers: tuple[int, ...]) -> tuple[int, ...]:
    """Options, kernel, padding, channels and batch, size; each both axes together, then the first, so that ties end."""
    parts = numbers[:7], numbers[7:9], numbers[9:13], numbers[13:16], numbers[16:]
    return (*map(sum, parts), *(each for part in parts for each in part))


def smaller(recipe: Recipe, supports: Supports = ANYTHING) -> Iterator[Recipe]:
    """Simpler valid recipes of the same operator and dtype, the boldest first; each lower by `rank`.

    Examples
    --------
    >>> recipe = fitted("conv2d", Values(batch=3, rows=2, stride_h=2, height=9))
    >>> simplest = next(smaller(recipe)).geometry
    >>> simplest.batch, simplest.kernel, simplest.stride, simplest.size
    (1, (1, 1), (1, 1), (1, 1))
    """
    v, here = values_of(recipe), rank(recipe)
    limit = max(MAX_MULTIPLICATIONS, size_of(v))
    seen = {recipe}
    for changes in _simplifications(v):
        found = fitted(recipe.op, v._replace(**changes), supports, limit)
        if found not in seen and rank(found) < here:
            seen.add(found)
            yield found


def _simplifications(v: Values) -> Iterator[dict[str, Any]]:
    """Changes to the numbers: all to the simplest, all but one, whole parts, each by itself, halves, steps."""
    plain = {name: allowed[0] for name, allowed in _NAMED.items()}
    simple = {name: getattr(_SIMPLEST, name) for name in _NUMBERS}
    options = {name: simple[name] for name in _NUMBERS[:7]}
    simplest = plain | simple
    yield simplest
    # Most faults need one thing only: then this is all, where a step for each of the others may cost a process each.
    kept = [name for name in simplest if getattr(v, name) != simplest[name]]
    yield from ({name: simplest[name] for name in simplest if name != one} for one in kept)
    yield simple
    yield plain | options
    yield options
    yield plain
    yield {name: simple[name] for name in ("inputs", "outputs", "groups", "batch")}
    yield {name: simple[name] for name in ("top", "left", "bottom", "right", "height", "width")}
    for name, allowed in _NAMED.items():
        for value in allowed[: allowed.index(getattr(v, name))]:
            yield {name: value}
    for name in _NUMBERS:
        yield {name: simple[name]}
    above = {name: getattr(v, name) for name in _NUMBERS if getattr(v, name) > simple[name]}
    yield from ({name: (number + simple[name]) // 2} for name, number in above.items())
    yield from ({name: number - 1} for name, number in above.items())
    yield from _steps(v)
    yield {"seed": 0}
    yield {"seed": v.seed // 2}


def _steps(v: Values) -> Iterator[dict[str, Any]]:
    """Several numbers at once, so that what holds them together stays: remainders, equal axes, reach."""
    # An input as long as the kernel's reach, in place of the padding that it would need.
    reach_h, reach_w = v.dilation_h * (v.rows - 1) + 1, v.dilation_w * (v.columns - 1) + 1
    for height in (reach_h, v.height + v.top + v.bottom):
        yield {"top": 0, "bottom": 0, "height": height}
    for width in (reach_w, v.width + v.left + v.right):
        yield {"left": 0, "right": 0, "width": width}
    yield {"height": v.height - v.stride_h}
    yield {"width": v.width - v.stride_w}
    yield {"rows": v.rows - 1, "height": v.height - v.dilation_h}
    yield {"columns": v.columns - 1, "width": v.width - v.dilation_w}
    for pair in (("rows", "columns"), ("stride_h", "stride_w"), ("dilation_h", "dilation_w"), ("height", "width"),
                 ("inputs", "outputs"), ("top", "bottom"), ("left", "right"), ("top", "left")):  # fmt: skip
        yield {name: max(getattr(v, name) - 1, getattr(_SIMPLEST, name)) for name in pair}
    # Transposing the axes often leaves a failure of one of them as it is.
    yield {"groups": 1, "inputs": v.groups * v.inputs, "outputs": v.groups * v.outputs}
