"""Geometries as text, short enough for a command line or a line of a test: shapes, and the options that are not usual.

Knows geometries; no tensors, no recipes.
"""

import re
from typing import Any

from refconv.core.checks import PADDING_NAMES, STRIDED_SAME, Padding
from refconv.core.errors import GeometryError
from refconv.core.geometry import Geometry, convolution
from refconv.core.operators import CONV, INTEGER, QUANTIZED, axes_of, is_transposed, kind_of
from refconv.core.transposed_geometry import transposed

FORM = "N,C,H,W:K,C/groups,R,S[:stride=2,padding=1x0,dilation=1]"
FORMS = {1: "N,C,L:K,C/groups,S[:stride=2]", 2: FORM, 3: "N,C,D,H,W:K,C/groups,Q,R,S[:stride=2,padding=1x0x0]"}
FORWARD = (CONV, INTEGER, QUANTIZED)  # kinds of operators whose padding may depend on the stride
USUAL: dict[str, Any] = {"stride": 1, "padding": 0, "dilation": 1, "output_padding": 0}  # along each axis
OPTIONS = (*USUAL, "groups", "padding_mode")
NUMBERS = re.compile(r"[0-9]+(x[0-9]+)*")
SIDES = re.compile(r"[0-9]+\+[0-9]+(x[0-9]+\+[0-9]+)*")  # top + bottom x left + right

Parsed = tuple[Geometry, Padding, tuple[int, ...]]


def parsed(text: str, op: str = "conv2d") -> Parsed:
    """The geometry of a text, the padding as a call has it, and the output padding.

    Parameters
    ----------
    text : str
        The shapes of input and weight, of a gradient those of the convolution that it belongs to, and options: numbers
        (`2`) or one for each axis (`2x1`); padding also by sides (`1+0x2+2`: top, bottom, left, right), `same` or
        `valid`; `groups`, where the shapes do not say it; `padding_mode`; `output_padding`.
    op : str
        The operator.

    Raises
    ------
    GeometryError
        For a text of another form, and for shapes and options of no convolution.

    Examples
    --------
    >>> geometry, padding, _ = parsed("1,64,56,56:128,64,3,3:stride=2,padding=1x0")
    >>> geometry.output_size, padding
    ((28, 27), (1, 0))
    """
    axes = axes_of(op)
    if not isinstance(text, str):
        raise TypeError(f"case={text!r}: must be a text like {FORMS[axes]}")
    shapes, options = text.split(":")[:2], text.split(":")[2:]
    form = re.compile(rf"[0-9]+(,[0-9]+){{{axes + 1}}}")
    if len(shapes) < 2 or len(options) > 1 or not all(map(form.fullmatch, shapes)):
        raise GeometryError(f"case={text!r}: must be like {FORMS[axes]}, for {op}")
    x, w = (tuple(map(int, shape.split(","))) for shape in shapes)
    values = _usual(axes)
    given: set[str] = set()
    for option in options[0].split(",") if options and options[0] else ():
        name = option.partition("=")[0]
        if name in given:
            raise GeometryError(f"case={text!r}: {name} must be given once")
        given.add(name)
        values[name] = _value(text, option, axes)
    implied = 1 if is_transposed(op) or not w[1] else max(1, x[1] // w[1])
    groups = implied if values["groups"] is None else values["groups"]
    try:
        return _geometry(x, w, values, groups, op), values["padding"], values["output_padding"]
    except GeometryError as error:
        raise GeometryError(f"case={text!r}: {error}") from None


def _geometry(x: tuple[int, ...], w: tuple[int, ...], values: dict[str, Any], groups: int, op: str) -> Geometry:
    stride, padding, dilation = values["stride"], values["padding"], values["dilation"]
    if is_transposed(op):
        return transposed(x, w, None, stride, padding, values["output_padding"], dilation, groups)
    if isinstance(padding, str) and padding in STRIDED_SAME and kind_of(op) not in FORWARD:
        raise GeometryError(f"padding={padding}: must not be given for {op}: give its numbers")
    if any(values["output_padding"]):
        raise GeometryError(f"output_padding must not be given for {op}")
    return convolution(x, w, None, stride, padding, dilation, groups, values["padding_mode"])


def written(
    x: tuple[int, ...],
    w: tuple[int, ...],
    geometry: Geometry,
    padding: Padding,
    output_padding: tuple[int, ...] = (0, 0),
    op: str = "conv2d",
) -> str:
    """The text of which `parsed` makes a geometry with these shapes and options.

    >>> geometry, padding, _ = parsed(text := "2,4,8,8:6,2,3,3:padding=1x0,dilation=2")
    >>> written((2, 4, 8, 8), (6, 2, 3, 3), geometry, padding) == text
    True
    """
    implied = 1 if is_transposed(op) or not w[1] else max(1, x[1] // w[1])
    usual = _usual(len(geometry.size))
    values: dict[str, Any] = {
        "stride": geometry.stride,
        "padding": padding if isinstance(padding, str) else geometry.padding,
        "dilation": geometry.dilation,
        "output_padding": output_padding,
        "groups": None if geometry.groups == implied else geometry.groups,
        "padding_mode": geometry.padding_mode,
    }
    texts = {name: _text(value) for name, value in values.items() if value is not None}
    options = [f"{name}={text}" for name, text in texts.items() if text != _text(usual[name])]
    shapes = ":".join(",".join(map(str, shape)) for shape in (x, w))
    return f"{shapes}:{','.join(options)}" if options else shapes


def _usual(axes: int) -> dict[str, Any]:
    """The options that are not said, for so many axes."""
    return {name: (number,) * axes for name, number in USUAL.items()} | {"groups": None, "padding_mode": "zeros"}


def _value(text: str, option: str, axes: int) -> Any:
    """The value of an option, as the operator takes it."""
    name, _, value = option.partition("=")
    if name == "padding_mode" or (name == "padding" and value in PADDING_NAMES):
        return value
    if name == "padding" and SIDES.fullmatch(value) and value.count("+") == axes:
        return tuple(tuple(map(int, sides.split("+"))) for sides in value.split("x"))
    if name == "groups" and re.fullmatch(r"[0-9]+", value):
        return int(value)
    numbers = tuple(map(int, value.split("x"))) if NUMBERS.fullmatch(value) else ()
    if name not in OPTIONS or name == "groups" or len(numbers) not in (1, axes):
        several = ("", " or HxW", " or DxHxW")[axes - 1]
        raise GeometryError(f"case={text!r}: {option!r} must be one of {', '.join(OPTIONS)} with a number{several}")
    return numbers * axes if len(numbers) == 1 else numbers


def _text(value: Any) -> str:
    """A value as the text has it; sides that are equal as one number."""
    if not isinstance(value, tuple):
        return str(value)
    if any(isinstance(sides, tuple) for sides in value):
        if any(before != after for before, after in value):
            return "x".join(f"{before}+{after}" for before, after in value)
        return _text(tuple(before for before, _ in value))
    return str(value[0]) if len(set(value)) == 1 else "x".join(map(str, value))
