"""Alterations: calls of the correct operator with other arguments than a case has, or with another function behind it.

A mutant changes a step of a kernel; an alteration changes the arguments for the whole kernel, the size of its result
included, or the whole result. Knows cases; not who was judged.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np

from refconv.core import formats
from refconv.judge.case import Case

Change = Callable[[Case], dict[str, Any]]


@dataclass(frozen=True)
class Alteration:
    """A call with other arguments.

    Attributes
    ----------
    name, kind, summary, source
        As of a mutant.
    change : callable
        The fields of a case that are changed.
    finish : callable, optional
        What is done to the result.

    Examples
    --------
    >>> case = Case(input=np.ones((1, 1, 3, 3)), weight=np.ones((1, 1, 1, 1)), stride=(1, 2))
    >>> {alteration.name: alteration for alteration in alterations()}["stride-swapped-throughout"](case).shape
    (1, 1, 2, 3)
    """

    name: str
    kind: str
    summary: str
    change: Change
    source: str = ""
    finish: Callable[[np.ndarray], np.ndarray] | None = None

    def __call__(self, case: Case) -> np.ndarray:
        """What the operator returns for the altered arguments, or raises."""
        result = replace(case, **self.change(case)).expected()
        return result if self.finish is None else self.finish(result)


def alterations() -> tuple[Alteration, ...]:
    """All alterations; one whose argument a case does not have changes nothing in it."""
    return _ALTERATIONS


def _axes(name: str, way: Callable[[Any, Any], tuple[Any, Any]]) -> Change:
    """Change a parameter's values for height and width."""
    return lambda case: {name: way(*getattr(case.geometry, name))}


def _without(name: str, axes: Sequence[int], nothing: Any) -> Change:
    """Put a parameter's neutral value for some axes."""
    return lambda case: {
        name: tuple(nothing if axis in axes else value for axis, value in enumerate(getattr(case.geometry, name)))
    }


def _sides(way: Callable[[int, int], tuple[int, int]]) -> Change:
    """Change the padding before and after, for each axis."""
    return lambda case: {"padding": tuple(way(*sides) for sides in case.geometry.padding)}


def _groups_for_dilation(axis: int) -> Change:
    return lambda case: {"groups": case.geometry.dilation[axis], "dilation": (case.geometry.groups,) * 2}


def _reordered(case: Case) -> dict[str, Any]:
    return {"padding": tuple(zip(*case.geometry.padding, strict=True))}


_WAYS: dict[str, tuple[Callable[[Any, Any], tuple[Any, Any]], str]] = {
    "height-for-width": (lambda h, _: (h, h), "of the height used for the width"),
    "width-for-height": (lambda _, w: (w, w), "of the width used for the height"),
    "swapped": (lambda h, w: (w, h), "of height and width swapped"),
}


_PARTS: tuple[tuple[Sequence[int], str, str], ...] = (
    ((0, 1), "", ""),
    ((0,), "-of-height", " of the height"),
    ((1,), "-of-width", " of the width"),
)


def _by_axes() -> Iterator[Alteration]:
    """Height and width taken for each other, or ignored, for each parameter that has a value of both."""
    for name, nothing in (("stride", 1), ("dilation", 1), ("padding", (0, 0))):
        for way, (function, words) in _WAYS.items():
            summary = f"{name} {words}, in the size of the result too"
            yield Alteration(f"{name}-{way}-throughout", "axis_mixup", summary, _axes(name, function))
        for axes, suffix, words in _PARTS:
            summary = f"{name}{words} ignored, in the size of the result too"
            change = _without(name, axes, nothing)
            yield Alteration(f"{name}{suffix}-ignored-throughout", "param_ignored", summary, change)


_SIDES: dict[str, tuple[str, Callable[[int, int], tuple[int, int]]]] = {
    "before-only": ("padding before the first only", lambda before, _: (before, 0)),
    "after-only": ("padding after the last only", lambda _, after: (0, after)),
    "before-twice": ("the padding before the first on both sides", lambda before, _: (before, before)),
    "after-twice": ("the padding after the last on both sides", lambda _, after: (after, after)),
    "halved": ("the padding taken for that of both sides", lambda before, _: ((before + 1) // 2, before // 2)),
}


def _by_sides() -> Iterator[Alteration]:
    """Sides of the padding taken for each other."""
    yield Alteration("padding-by-sides", "axis_mixup", "four sides taken in another order", _reordered)
    for name, (summary, way) in _SIDES.items():
        yield Alteration(f"padding-{name}", "pad_side", summary, _sides(way))


def _by_parameters() -> Iterator[Alteration]:
    """Parameters taken for each other."""
    for axis, words in enumerate(("height", "width")):
        summary = f"groups and dilation of the {words} taken for each other"
        yield Alteration(f"groups-for-dilation-of-{words}", "axis_mixup", summary, _groups_for_dilation(axis))
    yield Alteration(
        "stride-for-dilation",
        "param_ignored",
        "stride and dilation taken for each other",
        lambda case: {"stride": case.geometry.dilation, "dilation": case.geometry.stride},
    )


def _operands(case: Case, which: Sequence[int]) -> list[str]:
    """Names of the first or second array of the call, or of both, where these hold real numbers in floating point."""
    names = list(case.arrays)[:2]
    return [names[n] for n in which if n < len(names) and getattr(case, names[n]).dtype in formats.FLOATS]


def _rounded(narrow: str, which: Sequence[int]) -> Change:
    """Round operands to a narrower format."""
    dtype = formats.parse("dtype", narrow)

    def change(case: Case) -> dict[str, Any]:
        with np.errstate(all="ignore"):
            return {
                name: array.astype(dtype).astype(array.dtype)
                for name in _operands(case, which)
                if (array := getattr(case, name)).dtype.itemsize > dtype.itemsize
            }

    return change


def _flushed(which: Sequence[int]) -> Change:
    """Take subnormal numbers for zeros."""
    return lambda case: {name: _without_subnormals(getattr(case, name)) for name in _operands(case, which)}


def _without_subnormals(array: np.ndarray) -> np.ndarray:
    if array.dtype not in formats.FLOATS:
        return array
    small = np.abs(array.astype(np.float64)) < float(
        ml_dtypes.finfo(array.dtype).smallest_normal  # type: ignore[no-untyped-call]
    )
    return np.where(small, array.dtype.type(0), array)


def _clipped(low: float, high: float) -> Callable[[np.ndarray], np.ndarray]:
    """Clip a result; NaN stays."""

    def clip(result: np.ndarray) -> np.ndarray:
        if result.dtype in formats.COMPLEX:
            return result
        with np.errstate(all="ignore"):
            wide = result if result.dtype in formats.INTEGERS else result.astype(np.float64)
            return np.where(wide < low, low, np.where(wide > high, high, wide)).astype(result.dtype)

    return clip


def _of_arithmetic() -> Iterator[Alteration]:
    """Operands rounded or flushed, and functions applied to the result that nobody asked for."""
    for which, words in (((0,), "the first operand"), ((1,), "the second operand"), ((0, 1), "both operands")):
        name = words.replace(" ", "-")
        for narrow in ("float16", "bfloat16"):
            summary = f"{words} rounded to {narrow}"
            yield Alteration(f"{name}-in-{narrow}", "accum_dtype", summary, _rounded(narrow, which))
        summary = f"subnormal numbers of {words} taken for zeros"
        yield Alteration(f"{name}-flushed", "accum_dtype", summary, _flushed(which))
    nothing: Change = lambda _: {}  # noqa: E731
    summary = "subnormal results taken for zeros"
    yield Alteration("results-flushed", "accum_dtype", summary, nothing, finish=_without_subnormals)
    for name, high in (("relu", math.inf), ("relu6", 6.0)):
        summary = f"{name}, which nobody asked for, applied to the result"
        yield Alteration(name, "", summary, nothing, finish=_clipped(0.0, high))


_ALTERATIONS = (*_by_axes(), *_by_sides(), *_by_parameters(), *_of_arithmetic())
