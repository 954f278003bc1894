"""Said: what callers say of a candidate, checked and brought into the form that `Supports` has, and back.

Knows names, numbers and layouts; not what they are applied to.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from refconv.cases.numbers import Multiples, Numbers
from refconv.cases.recipe import ARRANGEMENTS, LAYOUTS
from refconv.core import layouts
from refconv.core.checks import PADDING_NAMES, choice, integer, per_axis
from refconv.core.errors import GeometryError
from refconv.core.padding import MODES

DEPTHWISE = "depthwise"
SQUARE = ("kernel", "stride", "padding", "dilation")  # what may be said to be the same for both axes
FIXED_LAYOUTS = ("input_layout", "weight_layout", "output_layout")
_LEAST = {"groups": 1, "batch": 0, "channels": 1, "filters": 1, "depth": 1, "height": 1, "width": 1} | {
    f"{name}{axis}": least
    for name, least in (("stride", 1), ("dilation", 1), ("kernel", 1), ("padding", 0))
    for axis in ("", "_d", "_h", "_w")
}
_NAMES = {"square": SQUARE, "padding_mode": MODES, "layout": LAYOUTS, "views": ARRANGEMENTS}
_WHOLE = {"views": (ARRANGEMENTS, ARRANGEMENTS[:1]), "square": (SQUARE, ())}  # what True and False stand for
IN_NUMBERS, PAIR = "numbers", "output_padding"
_OF_MULTIPLES = ("multiple_of", "at_least")


def parsed(name: str, value: Any, axes: int = 2) -> Any:
    """The value of a claim for so many spatial axes, as `Supports` has it; that of padding is `parsed_padding`'s."""
    label = f"supports[{name!r}]"
    if name == "groups" and isinstance(value, str):
        return choice(label, value, (DEPTHWISE,))
    if name in _LEAST:
        return _parsed_numbers(label, value, _LEAST[name])
    if name in _WHOLE and isinstance(value, bool):
        return _WHOLE[name][not value]
    if name in _NAMES:
        allowed, named = _NAMES[name], layouts.LAYOUTS[axes] if name == "layout" else _NAMES[name]
        chosen = [choice(label, option, named) for option in _several(label, value)]
        if name == "views":
            chosen.append(ARRANGEMENTS[0])  # every candidate takes contiguous arrays
        return tuple(option for option, as_said in zip(allowed, named, strict=True) if as_said in chosen)
    if name == PAIR or name in FIXED_LAYOUTS:
        return _layout_or_pair(name, label, value, axes)
    if not isinstance(value, bool):
        raise TypeError(f"{label}={value!r}: must be True or False")
    return value


def _layout_or_pair(name: str, label: str, value: Any, axes: int) -> Any:
    if name == PAIR:
        return per_axis(label, value, 0, axes)
    return layouts.checked(label, value, (layouts.WEIGHTS if name == "weight_layout" else layouts.IMAGES)[axes])


def from_layouts(given: Mapping[str, Any], claims: Mapping[str, Any]) -> dict[str, Any]:
    """What follows from the layouts that a candidate is made for; contradictory claims are refused."""
    fixed = next((name for name in FIXED_LAYOUTS if name in given), None)
    if fixed and "layout" in given:
        raise GeometryError(f"supports['layout']={given['layout']!r}: must not be given beside {fixed}")
    if given.get("weight_layout") not in layouts.DEPTHWISE.values():
        return {}
    if claims.get("groups", DEPTHWISE) != DEPTHWISE:
        raise GeometryError(
            f"supports['groups']={given['groups']!r}: must be {DEPTHWISE!r} "
            f"for weight_layout={given['weight_layout']!r}"
        )
    return {"groups": DEPTHWISE}


def _parsed_numbers(label: str, value: Any, least: int) -> Numbers:
    """A number, several, or a mapping with `multiple_of` and `at_least`."""
    if not isinstance(value, Mapping):
        return tuple(sorted({integer(label, number, least) for number in _several(label, value)}))
    for name in value:
        choice(label, name, _OF_MULTIPLES)
    of = integer(f"{label}['multiple_of']", value.get("multiple_of", 1), 1)
    return Multiples(of, integer(f"{label}['at_least']", value.get("at_least", least), least))


def parsed_padding(value: Any) -> dict[str, Any]:
    """What the claim says of padding in numbers, and of padding in words."""
    label = "supports['padding']"
    if isinstance(value, Mapping):
        return {"padding": _parsed_numbers(label, value, 0)}
    entries = _several(label, value)
    words = [choice(label, entry, (IN_NUMBERS, *PADDING_NAMES)) for entry in entries if isinstance(entry, str)]
    numbers = [entry for entry in entries if not isinstance(entry, str)]
    return {
        "padding": _parsed_numbers(label, numbers, 0) if numbers else None,
        "padding_names": tuple(name for name in PADDING_NAMES if name in words),
        "numeric_padding": bool(numbers) or IN_NUMBERS in words,
    }


def _several(label: str, value: Any) -> list[Any]:
    """One value or several, as a list."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        return [value]
    if isinstance(value, Mapping):
        raise TypeError(f"{label}={value!r}: must be one value or a list of them, not a mapping")
    values = list(value)
    if not values:
        raise ValueError(f"{label}={value!r}: must name one at least")
    return values


def said_value(name: str, value: Any) -> Any:
    """The value of a claim as a caller says it."""
    if isinstance(value, Multiples):
        return {"multiple_of": value.multiple_of} | (
            {"at_least": value.at_least} if value.at_least > _LEAST.get(name, 1) else {}
        )
    if name == "views":
        return list(value) if len(value) > 1 else False
    if name == "square" and value == SQUARE:
        return True
    if name == PAIR:
        return list(value)
    return value[0] if isinstance(value, tuple) and len(value) == 1 else value
