"""Levels: the conditions that convolution kernels break under, as factors, and which of their levels a case has.

Levels are computed from the finished recipe, not from the numbers it was drawn from: fitting may have enlarged the
input. Knows recipes; not how they are chosen.
"""

import math
from functools import cache, lru_cache
from typing import Any

from refconv.cases import fills
from refconv.cases.recipe import (
    ARRANGEMENTS,
    ARRAYS,
    BIASED,
    LAYOUTS,
    MIXED,
    MODAL,
    OFFSETS,
    QUANTIZATIONS,
    QUANTIZED,
    Recipe,
)
from refconv.cases.supports import LETTERS
from refconv.cases.values import AT, OF_OUTPUT, OF_VECTORS, Values, output_padding, output_size, values_of
from refconv.core.checks import PADDING_NAMES
from refconv.core.formats import SUPPORTED
from refconv.core.operators import BIAS, axes_of, is_transposed, kind_of, like
from refconv.core.padding import MODES

# Sizes that are large in one respect and still cheap to compute: where an index, a counter or a buffer ends.
LARGE: dict[str, dict[str, Any]] = {
    "batch above 65536": {"batch": 65537},
    "output channels above 65536": {"outputs": 65537},
    "input channels above 65536": {"inputs": 65537},
    "groups above 256": {"groups": 300, "inputs": 2, "height": 3, "width": 3, "rows": 2, "columns": 2},
    "pixels above 65536": {"height": 257, "width": 259},
    "pixels above 262144": {"height": 513, "width": 513, "stride_h": 2, "stride_w": 2},
    "axis above 65536": {"height": 65537},
    "axis above 4096": {"height": 4099, "rows": 2, "inputs": 2, "outputs": 2},
    "axis above 2048": {"height": 2051, "rows": 3, "inputs": 2, "outputs": 2, "top": 1},
    "kernel axis from 256": {"rows": 258, "height": 260, "width": 3, "inputs": 2, "outputs": 2, "batch": 2},
    "kernel of 256 taps": {"rows": 17, "columns": 17, "height": 18, "width": 20, "inputs": 2, "batch": 2},
    "sums above 4096": {"inputs": 513, "rows": 3, "columns": 3, "height": 4, "width": 3, "outputs": 3},
    "sums above 16384": {"inputs": 2500, "rows": 4, "columns": 2, "height": 5, "width": 2, "outputs": 2},
    "sums above 65536": {"inputs": 7300, "rows": 3, "columns": 3, "height": 4, "width": 3, "outputs": 2},
    "kernel above 32768 taps": {"rows": 182, "columns": 181, "height": 183, "width": 182},
    "kernel of one row, sums above 1024": {"inputs": 130, "columns": 9, "width": 21, "outputs": 3},
    "pixels of many channels": {"inputs": 130, "outputs": 3, "height": 183, "width": 181},
}


def large(recipe: Recipe) -> tuple[str, ...]:
    """The names in `LARGE` of what is large about a recipe.

    >>> from refconv.cases.fitting import fitted
    >>> large(fitted("conv2d", Values(batch=65537)))
    ('batch above 65536',)
    """
    return large_of(recipe.op, values_of(recipe))


def large_of(op: str, v: Values) -> tuple[str, ...]:
    """As `large`, of the recipe's values."""
    sizes: tuple[Any, ...] = v[:_PADDING_AT]
    if max(sizes) < 17:  # by far the most recipes
        return ()
    axis, taps, pixels = max(v.depth, v.height, v.width), max(v.planes, v.rows, v.columns), v.depth * v.height * v.width
    kernel, result = v.planes * v.rows * v.columns, like(op)
    terms = (v.outputs if result == "input" else v.inputs) * kernel
    if result in ("weight", "bias"):
        terms = v.batch * math.prod(output_size(v))
    conditions = {
        "batch above 65536": v.batch > 2**16,
        "output channels above 65536": v.groups * v.outputs > 2**16,
        "input channels above 65536": v.groups * v.inputs > 2**16,
        "groups above 256": v.groups > 256,
        "pixels above 65536": 2**16 < pixels <= 2**18 and axis < 2**16,
        "pixels above 262144": pixels > 2**18,
        "axis above 65536": axis > 2**16,
        "axis above 4096": 2**12 < axis <= 2**16,
        "axis above 2048": 2**11 < axis <= 2**12,
        "kernel axis from 256": taps >= 256,
        "kernel of 256 taps": 2**15 >= kernel >= 256 > taps,
        "sums above 4096": 2**12 < terms <= 2**14,
        "sums above 16384": 2**14 < terms <= 2**16,
        "sums above 65536": terms > 2**16,
        "kernel above 32768 taps": kernel > 2**15,
        "kernel of one row, sums above 1024": min(v.rows, v.columns) == 1 < kernel and terms > 2**10,
        "pixels of many channels": pixels > 2**15 and v.inputs >= 2**7,
    }
    return tuple(name for name, holds in conditions.items() if holds)


_PADDING_AT = Values._fields.index("front")  # what stands before are sizes

# --- factors and their levels ----------------------------------------------------------------------------------------

_SIZE = ("1", "2", "2**n", "2**n - 1", "2**n + 1", "odd", "even")
_TAPS = ("1", "2", "3", "4", "5", "7", "other")
_REACH = ("shorter", "as long", "longer")
_STRIDE = ("1", "2", "3", "4", "5 or more")
_STEP = ("below", "equal", "above")
_DILATION = ("1", "2", "3", "4 or more", "idle")
_PADDING = ("0", "1", "2 or more", "kernel - 1", "kernel or more", "8 or more", "17 or more")
_REMAINDER = ("no stride", "0", "1", "2 or more")
_OUTPUT = ("1", "odd", "2n", "4n", "8n", "16n")
_CHANNELS = ("1", "2", "3", "4", "2**n", "2**n - 1", "2**n + 1", "other")
_EXTRA = ("0", "1", "2 or more", "stride or more")


def _but_for_offsets(arrangements: tuple[str, ...]) -> tuple[str, ...]:
    """The levels of a factor of memory: all that begin off a power of two are one."""
    return tuple(name for name in arrangements if name not in OFFSETS)


# The factors of depth, height and width, with their levels; an operator has those of its axes, the last ones.
_EXTRA_NAMES = ("output padding (d)", "output padding (h)", "output padding (w)")
OF_AXES: dict[tuple[str, str, str], tuple[str, ...]] = {
    ("depth", "height", "width"): _SIZE,
    ("kernel planes", "kernel rows", "kernel columns"): _TAPS,
    ("kernel's reach and depth", "kernel's reach and height", "kernel's reach and width"): _REACH,
    ("stride (d)", "stride (h)", "stride (w)"): _STRIDE,
    ("stride and kernel (d)", "stride and kernel (h)", "stride and kernel (w)"): _STEP,
    ("dilation (d)", "dilation (h)", "dilation (w)"): _DILATION,
    ("padding (d)", "padding (h)", "padding (w)"): _PADDING,
    ("remainder (d)", "remainder (h)", "remainder (w)"): _REMAINDER,
    ("output depth", "output height", "output width"): _OUTPUT,
    _EXTRA_NAMES: _EXTRA,
}
_BY_AXIS = tuple(zip(*OF_AXES, strict=True))  # names of the factors of each axis, in this order

# Every factor with its levels; `factors_of` says which of them an operator has.
FACTORS: dict[str, tuple[str, ...]] = {
    "batch": ("0", "1", "2", "odd", "even"),
    "batch and C_in": ("unequal", "equal"),
    "groups": ("1", "2", "3", "4", "5 or more"),
    "depthwise": ("no", "multiplier 1", "multiplier 2", "multiplier 3 or more"),
    "group's inputs and outputs": ("equal", "more inputs", "more outputs"),
    "C_in": _CHANNELS,
    "C_out": _CHANNELS,
    "C_in / groups": ("1", "2", "odd", "even", "4n"),
    **{name: levels for names, levels in OF_AXES.items() if names[-1] != _EXTRA_NAMES[-1] for name in names},
    "output pixels": ("1", "below 8", "8n", "8n + 1", "8n + 2 to 4", "8n + 5 to 7"),
    "padding": ("none", "symmetric", "one-sided", "four-sided", *PADDING_NAMES),
    "padding mode": (*MODES, "idle"),
    **dict.fromkeys(_EXTRA_NAMES, _EXTRA),
    "batched": ("yes", "no"),
    "bias": ("no", "yes"),
    "layout": LAYOUTS,
    "memory of input": _but_for_offsets(ARRANGEMENTS),
    "memory of weight": _but_for_offsets(ARRANGEMENTS),
    "memory of grad_output": _but_for_offsets(ARRANGEMENTS),
    "memory of bias": _but_for_offsets(OF_VECTORS),
    "memory of output": _but_for_offsets(OF_OUTPUT),
    "zero points": QUANTIZATIONS,
    "weight's dtype": ("same", "other"),
    "fill": fills.every(),
    "dtype": tuple(map(str, SUPPORTED)),
}

# The factors of a bias gradient: those of its shapes, and those that are no matter of shapes.
_OF_OUTPUT = ("batch", "C_out", "output depth", "output height", "output width", "output pixels")
_NO_SHAPE = ("batched", "bias", "layout", "fill", "dtype", "zero points", "weight's dtype")


@cache
def factors_of(op: str) -> tuple[str, ...]:
    """The factors of an operator."""
    left_out = {"memory of input", "memory of weight", "memory of grad_output"} - {f"memory of {x}" for x in ARRAYS[op]}
    if op not in BIASED:
        left_out |= {"bias", "memory of bias"}
    if op not in MODAL:
        left_out |= {"padding mode"}
    if not is_transposed(op):
        left_out |= set(_EXTRA_NAMES)
    if op not in QUANTIZED:
        left_out |= {"zero points", "weight's dtype"}
    if is_transposed(op):
        left_out |= {f"remainder ({letter})" for letter in LETTERS}  # the remainder is its output padding
    left_out |= {name for names in _BY_AXIS[: -axes_of(op)] for name in names}
    if kind_of(op) == BIAS:
        kept = (*_OF_OUTPUT, *_NO_SHAPE)
        left_out |= {name for name in FACTORS if name not in kept and not name.startswith("memory")}
    return tuple(name for name in FACTORS if name not in left_out)


def levels(recipe: Recipe) -> dict[str, str]:
    """The level of each factor of the finished recipe, and under "large" what is large about it.

    Examples
    --------
    >>> from refconv.cases.fitting import fitted
    >>> of_factor = levels(fitted("conv2d", Values(rows=3, stride_h=2, height=6, groups=2)))
    >>> of_factor["remainder (h)"], of_factor["groups"], of_factor["stride (w)"], of_factor["large"]
    ('1', '2', '1', 'no')
    """
    v = values_of(recipe)
    of_factor = levels_of(recipe.op, v)
    large_names = ", ".join(large_of(recipe.op, v)) or "no"
    return {factor: of_factor[factor] for factor in factors_of(recipe.op)} | {"large": large_names}


def levels_of(op: str, v: Values) -> dict[str, str]:
    """The level of every factor, also of factors that the operator does not have."""
    in_channels = v.groups * v.inputs
    first_array, last_array = ARRAYS[op][0], ARRAYS[op][-1]
    levels = {
        "batch": _batch(v.batch),
        "batch and C_in": "equal" if v.batch == in_channels else "unequal",
        "groups": _count(v.groups, 5),
        "depthwise": "no" if v.inputs > 1 or v.groups == 1 else _MULTIPLIER[min(v.outputs, 3)],
        "group's inputs and outputs": _BALANCE[(v.inputs > v.outputs) + 2 * (v.inputs < v.outputs)],
        "C_in": _channels(in_channels),
        "C_out": _channels(v.groups * v.outputs),
        "C_in / groups": _vector(v.inputs),
        "batched": "yes" if v.batched else "no",
        "bias": "yes" if v.bias else "no",
        "layout": v.layout,
        f"memory of {first_array}": _level(v.first),
        f"memory of {last_array}": _level(v.second if last_array != first_array else v.first),
        "memory of bias": _level(v.third),
        "memory of output": _level(v.output),
        "fill": v.fill,
        "dtype": v.dtype,
    }
    axes = axes_of(op)
    levels |= _window_levels(v, axes)
    if is_transposed(op):
        extras = zip(_EXTRA_NAMES, output_padding(v), (v.stride_d, v.stride_h, v.stride_w), strict=True)
        levels |= {name: _extra(extra, stride) for name, extra, stride in extras}
    elif op in QUANTIZED:
        levels["zero points"] = v.quantisation.removesuffix(MIXED)
        levels["weight's dtype"] = "other" if v.quantisation.endswith(MIXED) else "same"
    return levels


def _window_levels(v: Values, axes: int) -> dict[str, str]:
    """The levels of what a window meets along each axis: input, kernel, stride, dilation, padding and output."""
    outputs, padded = output_size(v), False
    levels: dict[str, str] = {}
    numbers: tuple[Any, ...] = v
    for number in range(len(AT) - axes, len(AT)):
        size, taps, before, after, stride, dilation = (numbers[at] for at in AT[number][:6])
        reach, pad = dilation * (taps - 1) + 1, max(before, after)
        padded = padded or pad > 0
        of_axis = (
            _size(size), _taps(taps), _compared(_REACH, reach, size), _count(stride, 5),
            _compared(_STEP, stride, taps), "idle" if taps == 1 < dilation else _count(dilation, 4),
            _padding(pad, taps), _remainder(stride, size + before + after - reach), _output(outputs[number]),
        )  # fmt: skip
        levels.update(zip(_BY_AXIS[number], of_axis, strict=False))
    return levels | {
        "output pixels": _pixels(math.prod(outputs)),
        "padding": _sides(v),
        "padding mode": v.mode if v.mode == "zeros" or padded else "idle",
    }


_MULTIPLIER = ("no", *FACTORS["depthwise"][1:])
_BALANCE = FACTORS["group's inputs and outputs"]


def _level(arrangement: str) -> str:
    return "offset" if arrangement in OFFSETS else arrangement


@lru_cache(maxsize=4096)
def _batch(batch: int) -> str:
    return str(batch) if batch < 3 else "odd" if batch % 2 else "even"


@lru_cache(maxsize=4096)
def _count(number: int, last: int) -> str:
    return str(number) if number < last else f"{last} or more"


@lru_cache(maxsize=4096)
def _near(number: int) -> str:
    """Which neighbor of a power of two a number is, or a power itself; empty if neither."""
    for step, name in ((0, "2**n"), (1, "2**n - 1"), (-1, "2**n + 1")):
        if (number + step).bit_count() == 1:
            return name
    return ""


@lru_cache(maxsize=4096)
def _size(size: int) -> str:
    return str(size) if size < 3 else _near(size) or ("odd" if size % 2 else "even")


@lru_cache(maxsize=4096)
def _channels(channels: int) -> str:
    return str(channels) if channels < 5 else _near(channels) or "other"


@lru_cache(maxsize=4096)
def _vector(channels: int) -> str:
    if channels < 3:
        return str(channels)
    return "odd" if channels % 2 else "even" if channels % 4 else "4n"


@lru_cache(maxsize=4096)
def _taps(taps: int) -> str:
    return str(taps) if str(taps) in _TAPS else "other"


def _compared(names: tuple[str, ...], left: int, right: int) -> str:
    return names[(left >= right) + (left > right)]


@lru_cache(maxsize=4096)
def _padding(pad: int, taps: int) -> str:
    for least in (17, 8):
        if pad >= least:
            return f"{least} or more"
    if pad == 0:
        return "0"
    if pad >= taps:
        return "kernel or more"
    if pad == 1:
        return "1"
    return "kernel - 1" if pad == taps - 1 else "2 or more"


@lru_cache(maxsize=4096)
def _remainder(stride: int, room: int) -> str:
    if stride == 1:
        return "no stride"
    return _REMAINDER[1 + min(room % stride, 2)]


@lru_cache(maxsize=4096)
def _output(size: int) -> str:
    if size == 1 or size % 2:
        return "1" if size == 1 else "odd"
    return f"{min(size & -size, 16)}n"


@lru_cache(maxsize=4096)
def _pixels(pixels: int) -> str:
    if pixels < 8:
        return "1" if pixels == 1 else "below 8"
    over = pixels % 8
    return ("8n", "8n + 1")[over] if over < 2 else "8n + 2 to 4" if over < 5 else "8n + 5 to 7"


def _sides(v: Values) -> str:
    if v.padding == "symmetric":
        return "symmetric" if v.top or v.left or v.front else "none"
    if v.padding != "four-sided":
        return v.padding
    sides = ((v.front, v.back), (v.top, v.bottom), (v.left, v.right))
    one_sided = any(before != after and 0 in (before, after) for before, after in sides)
    return "one-sided" if one_sided else "four-sided"


def _extra(extra: int, stride: int) -> str:
    return "stride or more" if extra >= stride else _count(extra, 2)
