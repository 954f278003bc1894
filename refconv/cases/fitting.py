"""Fitting: any numbers at all become a valid recipe near them, within what a candidate takes.

Knows values, recipes and what is supported; neither Hypothesis nor who is judged.
"""

import itertools
import math
from typing import Any

import numpy as np

from refconv.cases import fills
from refconv.cases.numbers import Numbers, at_least_near, multiple_near, near, nearest
from refconv.cases.recipe import MIXED, OFFSETS, QUANTIZATIONS, Recipe
from refconv.cases.supports import Supports
from refconv.cases.values import (
    ANYTHING,
    AXES,
    MOST_TERMS,
    OF_VECTORS,
    ONE_BYTE,
    Rules,
    Values,
    output_size,
    recipe_of,
    rules,
)
from refconv.core.checks import LARGEST, PADDING_NAMES, STRIDED_SAME
from refconv.core.formats import result_dtype
from refconv.core.geometry import same_sides
from refconv.ops.quantized import INT16

MAX_MULTIPLICATIONS = 100_000
_IN_NUMBERS = ("symmetric", "four-sided")
ELEMENTS = 4  # all arrays together have at most so many elements for each multiplication of the limit


def fitted(op: str, values: Values, supports: Supports = ANYTHING, limit: int = MAX_MULTIPLICATIONS) -> Recipe:
    """A valid recipe near the values: the input grows, or its padding, until the kernel fits.

    Then the largest number is halved until there are at most `limit` multiplications, which keeps what lies around a
    power of two close to one (or until nothing allowed is smaller). All values give a recipe.

    >>> recipe = fitted("conv2d", Values(rows=3, top=1, dilation_h=2))
    >>> recipe.geometry.size, recipe.padding
    ((1, 1), (2, 0))
    """
    return recipe_of(op, settled(rules(op, supports), values, limit))


def settled(rules: Rules, values: Values, limit: int = MAX_MULTIPLICATIONS) -> Values:
    """The values of the recipe that `fitted` makes; settling them once more changes nothing."""
    if rules.absent_of is not None and rules.absent_of(values) != rules.absent_values:
        values = values._replace(**rules.absent)
    if rules.shapes:
        return _laid_out(rules, _own(rules, _chosen(rules, values)))
    values = _shaped(rules, _chosen(rules, values))
    tried = set()
    while _too_large(rules, values, limit):
        smaller = _halved(rules, values)
        if smaller is None or smaller in tried:  # what the candidate takes may be no smaller, but other
            break
        tried.add(values)
        values = smaller
    return _laid_out(rules, values)


_BATCH, _GROUPS, _PADDING = map(Values._fields.index, ("batch", "groups", "padding"))
_POINTWISE: dict[str, Any] = {"groups": 1, "inputs": 1, "padding": "symmetric"} | {
    name: getattr(Values(), name)
    for axis in AXES
    for name in axis[1:6]  # all but the size, and the output padding
}
_OF_SHAPE = Values._fields[: Values._fields.index("bias")]  # what a shape of the candidate's own decides
_SIZES = _OF_SHAPE[: _OF_SHAPE.index("depthwise")]


def _own(rules: Rules, v: Values) -> Values:
    """The values, with the shape among the candidate's own that is nearest, size by size."""

    def distance(shape: Values) -> float:
        return sum(abs(math.log2((1 + getattr(shape, name)) / (1 + max(0, getattr(v, name))))) for name in _SIZES)

    shape = min(rules.shapes, key=distance)
    return v._replace(**{name: getattr(shape, name) for name in _OF_SHAPE})


def _chosen(rules: Rules, v: Values) -> Values:
    """The values, with an allowed option in place of each that is not."""
    supports = rules.supports
    changed: dict[str, Any] = dict(rules.of_every_call)
    if v.mode not in rules.modes:
        changed["mode"] = rules.modes[0]
    if v.padding not in rules.paddings:
        changed["padding"] = rules.paddings[0]
    if v.layout not in supports.layout:
        changed["layout"] = supports.layout[0]
    if v.bias and not rules.bias:
        changed["bias"] = False
    if not (v.batched or rules.unbatched):
        changed["batched"] = True
    if v.fill not in fills.known(v.dtype) or not supports.has(v.fill):
        changed["fill"] = "integers"
    return v._replace(**changed) if changed else v


def _shaped(rules: Rules, v: Values) -> Values:
    """A valid geometry near the values, however large."""
    if rules.pointwise:
        v = v._replace(**_POINTWISE)
    elif rules.restricted:
        v = _allowed(rules, v)
    if rules.supports.square:
        v = _squared(rules, v)
    batch = _batch(rules, v)
    groups, inputs, outputs = _channels(rules, v)
    if rules.fitted_channels:
        groups, inputs, outputs = _channels_within(rules, v, groups, inputs, outputs)
    if rules.fitted_axes:
        v = _within(rules, v)
    given: tuple[Any, ...] = v
    numbers = list(given)
    numbers[_BATCH], numbers[_GROUPS : _GROUPS + 3] = batch, (groups, inputs, outputs)
    symmetric = True
    for size, taps, before, after, stride, dilation, extra in rules.at:
        kernel = max(1, given[taps])
        step = 1 if v.padding == "same" else given[stride]
        along = _axis(given[size], kernel, (step, given[dilation]), (given[before], given[after]), v.padding, v.mode)
        numbers[taps], numbers[stride], numbers[extra] = kernel, step, 0
        numbers[size], numbers[before], numbers[after] = along
        symmetric = symmetric and along[1] == along[2]
    if rules.square_padding and v.padding in _IN_NUMBERS:
        symmetric = _equally_padded(rules, numbers, v.mode) or symmetric
    if rules.transposed:
        _with_output_padding(rules, numbers, v)
    numbers[_PADDING] = "symmetric" if v.padding == "four-sided" and symmetric else v.padding
    return Values._make(numbers)


def _equally_padded(rules: Rules, numbers: list[Any], mode: str) -> bool:
    """Pad all sides by the largest padding of one, where they differ; whether they did."""
    pads = [numbers[side] for _, _, before, after, *_ in rules.at for side in (before, after)]
    if pads[::2] == pads[:1] * len(rules.at) and pads[1::2] == pads[1:2] * len(rules.at):
        return False
    for size, taps, before, after, stride, dilation, _ in rules.at:
        steps = numbers[stride], numbers[dilation]
        numbers[size], numbers[before], numbers[after] = _axis(
            numbers[size], numbers[taps], steps, (max(pads),) * 2, "symmetric", mode
        )
    return True


def _with_output_padding(rules: Rules, numbers: list[Any], v: tuple[Any, ...]) -> None:
    """Lengthen sizes until the output padding is one that is said, and add whole strides where there may be some."""
    said = rules.supports.output_padding or (None,) * len(rules.at)
    for (size, taps, before, after, stride, dilation, extra), remainder in zip(rules.at, said, strict=True):
        step, reach = numbers[stride], numbers[dilation] * (numbers[taps] - 1) + 1
        pads = numbers[before] + numbers[after]
        numbers[size] = _lengthened(numbers[size], numbers[size] + pads - reach, step, remainder)
        numbers[extra] = _extra(v[extra], numbers[size] + pads, numbers[taps], step, numbers[dilation])


def _batch(rules: Rules, v: Values) -> int:
    """The number of images."""
    batch = max(v.batch if v.batched else 1, 0 if rules.supports.empty_batch else 1)
    return batch if rules.supports.batch is None else nearest(batch, rules.supports.batch)


def _squared(rules: Rules, v: Values) -> Values:
    """The values, with one number for all axes of what is the same for all."""
    fields = (("kernel", "taps"), ("stride", "stride"), ("dilation", "dilation"), ("padding", "before"),
              ("padding", "after"))  # fmt: skip
    first, *others = rules.axes
    changed: dict[str, Any] = {}
    for name, field in fields:
        if name in rules.supports.square:
            changed |= {getattr(axis, field): getattr(v, getattr(first, field)) for axis in others}
    return v._replace(**changed) if changed else v


def _allowed(rules: Rules, v: Values) -> Values:
    """The values, with groups, kernel, stride and dilation near them that the candidate takes."""
    changed: dict[str, Any] = {
        name: nearest(getattr(v, name), allowed)
        for name, allowed in (("groups", rules.groups), *rules.along.items())
        if allowed is not None
    }
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
    size: int, taps: int, steps: tuple[int, int], pads: tuple[int, int], padding: str, mode: str
) -> tuple[int, int, int]:
    """Size, and padding before and after, along an axis; `steps` are stride and dilation."""
    stride, dilation = steps
    extent = dilation * (taps - 1) + 1
    size = max(1, size)
    if padding == "valid":
        return max(size, extent), 0, 0
    if padding == "same":  # extent // 2 is the larger of its two sides
        least = {"reflect": extent // 2 + 1, "circular": max(1, extent // 2)}.get(mode, 1)
        return max(size, least), (extent - 1) // 2, extent // 2
    if padding != "symmetric" and padding in STRIDED_SAME:  # in this order, for it is asked a million times
        if mode != "zeros":  # at most the reach of the kernel is padded, so that modes have what they fill with
            size = max(size, extent + 1)
        return size, *same_sides(padding, size, taps, stride, dilation)
    largest = LARGEST
    if mode == "reflect":
        size = max(size, (extent + 4) // 3)
        largest = size - 1
    elif mode == "circular":
        size = max(size, (extent + 2) // 3)
        largest = size
    missing, (before, after) = max(0, extent - size), pads
    if padding == "symmetric":
        before = min(max(before, -(-missing // 2)), largest)
        return size, before, before
    before = min(max(before, missing - largest), largest)
    return size, before, min(max(after, missing - before), largest)


def _channels_within(rules: Rules, v: Values, groups: int, inputs: int, outputs: int) -> tuple[int, int, int]:
    """Groups, and the channels of each, so that all channels and all filters are as many as the candidate takes."""
    channels, filters = rules.channels
    if rules.depthwise or v.depthwise:
        divisors = (n for number in filters or () for n in range(number, 0, -1) if number % n == 0) if isinstance(
            filters, tuple) else ()  # fmt: skip
        for number in itertools.chain(near(groups * inputs, channels), divisors):
            many = multiple_near(number, number * outputs, filters)
            if many is not None and _in(number, channels) and _in(number, rules.groups):
                return number, 1, many // number
    for number in near(groups, rules.groups) if rules.groups is not None else range(groups, 0, -1):
        some, many = (
            multiple_near(number, number * of_group, allowed)
            for of_group, allowed in ((inputs, channels), (outputs, filters))
        )
        if some is not None and many is not None:
            return number, some // number, many // number
    return groups, inputs, outputs


def _in(number: int, allowed: Numbers | None) -> bool:
    return allowed is None or number in allowed


def _within(rules: Rules, v: Values) -> Values:
    """The values, with sizes, padding, kernel and dilation that the candidate takes together, near them."""
    for number, axis in enumerate(rules.axes):
        stride = 1 if v.padding == "same" else getattr(v, axis.stride)
        options = itertools.product(
            near(max(1, getattr(v, axis.taps)), rules.kernel[number]),
            near(getattr(v, axis.dilation), rules.dilation[number]),
            near(getattr(v, axis.before), rules.pads[number], 0),
            near(getattr(v, axis.after), rules.pads[number], 0) if v.padding == "four-sided" else [None],
        )
        for taps, dilation, before, after in options:
            both = before, before if after is None else after
            along = taps, (stride, dilation), both, v.padding, v.mode
            length = at_least_near(max(1, getattr(v, axis.size)), _least(*along), rules.sizes[number])
            if length is not None:
                changed: dict[str, Any] = {axis.size: length, axis.taps: taps, axis.dilation: dilation}
                sides = zip((axis.before, axis.after), _axis(length, *along)[1:], strict=True)
                v = v._replace(**changed | dict(sides))
                break
    return v


def _least(taps: int, steps: tuple[int, int], pads: tuple[int, int], padding: str, mode: str) -> int:
    """The smallest size with which an axis of a convolution has this padding."""
    if padding in PADDING_NAMES:
        return _axis(1, taps, steps, pads, padding, mode)[0]
    modes = {"reflect": max(pads) + 1, "circular": max(pads)}
    return max(1, steps[1] * (taps - 1) + 1 - sum(pads), modes.get(mode, 1))


def _lengthened(size: int, room: int, stride: int, remainder: int | None) -> int:
    """The size, or the next one with which the window leaves so many elements over, if that is said."""
    return size if remainder is None else size + (remainder - room) % stride


def _extra(strides: int, padded: int, taps: int, stride: int, dilation: int) -> int:
    """Whole strides, at most `strides`, that output padding may have beyond the remainder and stay below the dilation.

    `padded` is the size of the input with its padding.
    """
    if not strides:
        return 0
    steps, left_over = divmod(padded - dilation * (taps - 1) - 1, stride)
    return max(0, min(strides, steps, (dilation - 1 - left_over) // stride))


# Of equally large numbers the first of these is halved: the batch last, for it may not become 0.
_HALVED = tuple(Values._fields.index(name) for name in (
    "back", "bottom", "right", "front", "top", "left", "depth", "height", "width", "planes", "rows", "columns",
    "inputs", "outputs", "groups", "batch",
))  # fmt: skip
SIMPLEST: Any = Values()


def _too_large(rules: Rules, v: Values, limit: int) -> bool:
    return size_of(v) > limit or (rules.quantized and v.inputs * v.rows * v.columns > MOST_TERMS)  # two axes


def size_of(v: Values) -> int:
    """What `settled` limits: multiplications, or the elements of all arrays divided by `ELEMENTS` if these are more."""
    planes, rows, columns = output_size(v)
    weight = v.groups * v.outputs * v.inputs * v.planes * v.rows * v.columns
    output = v.batch * planes * rows * columns
    arrays = weight + v.groups * (v.batch * v.inputs * v.depth * v.height * v.width + v.outputs * output)
    return max(output * weight, -(-arrays // ELEMENTS))


def _halved(rules: Rules, v: Values) -> Values | None:
    """The values with one number halved, the largest for which that makes a difference; None if there is none."""
    numbers: list[Any] = list(v)
    for at in sorted(_HALVED, key=numbers.__getitem__, reverse=True):
        if numbers[at] > SIMPLEST[at]:
            smaller = _shaped(rules, Values._make((*numbers[:at], numbers[at] // 2, *numbers[at + 1 :])))
            if smaller != v:
                return smaller
    return None


def _laid_out(rules: Rules, v: Values) -> Values:
    """The values, contiguous unless an arrangement is allowed and differs, without zero points unless there are any."""
    if v.first == v.second == v.third == v.output == "contiguous" and not rules.quantized:
        return v if v.quantisation == "plain" else v._replace(quantisation="plain")
    fewer, more = (v.outputs, v.inputs) if rules.transposed else (v.inputs, v.outputs)
    channels = {"input": v.groups * fewer, "grad_output": v.groups * more}
    arrangements = []
    of_weight, of_bias = ("int8", "int64") if rules.quantized and v.dtype == str(INT16) else (v.dtype, v.dtype)
    for name, arrangement in zip(rules.arrays, (v.first, v.second), strict=False):
        length = v.groups * v.outputs if name == "weight" else v.batch if v.batched else channels[name]
        arrangements.append(_arrangement(rules, arrangement, length, of_weight if name == "weight" else v.dtype))
    arrangements += ["contiguous"] * (2 - len(arrangements))
    length = v.groups * (v.inputs if rules.transposed else v.outputs)
    third = v.third if v.bias and v.third in OF_VECTORS else "contiguous"
    output = v.output if rules.supports.out and (not rules.pointwise or v.output in OF_VECTORS) else "contiguous"
    result = v.dtype if rules.op == "conv2d_quantized" else str(result_dtype(np.dtype(v.dtype)))
    return v._replace(
        first=arrangements[0],
        second=arrangements[1],
        third=_arrangement(rules, third, length, of_bias),
        output=_arrangement(rules, output, 0, result),
        quantisation=_quantization(v) if rules.quantized else "plain",
    )


def _quantization(v: Values) -> str:
    """The kind of zero points and scales, with the weight's dtype, if there are such; near them if not."""
    kind, mixed = v.quantisation.removesuffix(MIXED), v.quantisation.endswith(MIXED)
    if kind not in QUANTIZATIONS:
        return "plain"
    if v.dtype == str(INT16):  # without zero points: kinds differ in scales alone
        return kind if kind in ("plain", "extreme") else "per_channel"
    return kind + MIXED * (v.dtype == "uint8" if v.weight_bits == 4 else mixed)


def _arrangement(rules: Rules, name: str, length: int, dtype: str) -> str:
    """The arrangement, if it is allowed and differs from contiguous for a first axis of this length and this dtype."""
    alike = (name == "broadcast" and length < 2) or (name == "unaligned" and dtype in ONE_BYTE)
    alike |= OFFSETS.get(name, 0) % np.dtype(dtype).itemsize > 0
    return name if name in rules.supports.views and not alike else "contiguous"
