"""Alterations: calls of the correct operator with other arguments than were given, all the way through.

A mutant changes a step of a kernel; an alteration changes what the whole kernel, the size of its result included, goes
by. Knows cases only.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

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

    Examples
    --------
    >>> case = Case(input=np.ones((1, 1, 3, 3)), weight=np.ones((1, 1, 1, 1)), stride=(1, 2))
    >>> {each.name: each for each in alterations()}["stride-swapped-throughout"](case).shape
    (1, 1, 2, 3)
    """

    name: str
    kind: str
    summary: str
    change: Change
    source: str = ""

    def __call__(self, case: Case) -> np.ndarray:
        """What the operator returns then. Raises what it raises."""
        return replace(case, **self.change(case)).expected()


def alterations() -> tuple[Alteration, ...]:
    """All of them; where a case has no such argument, they change nothing."""
    return _ALTERATIONS


def _axes(name: str, way: Callable[[Any, Any], tuple[Any, Any]]) -> Change:
    """The values of a parameter for height and width, changed."""
    return lambda case: {name: way(*getattr(case.geometry, name))}


def _without(name: str, axes: Sequence[int], nothing: Any) -> Change:
    """A parameter without effect on some axes."""
    return lambda case: {
        name: tuple(nothing if axis in axes else each for axis, each in enumerate(getattr(case.geometry, name)))
    }


def _sides(way: Callable[[int, int], tuple[int, int]]) -> Change:
    """The padding before and after, changed for each axis."""
    return lambda case: {"padding": tuple(way(*each) for each in case.geometry.padding)}


def _groups_for_dilation(axis: int) -> Change:
    return lambda case: {"groups": case.geometry.dilation[axis], "dilation": (case.geometry.groups,) * 2}


def _reordered(case: Case) -> dict[str, Any]:
    return {"padding": tuple(zip(*case.geometry.padding, strict=True))}


_WAYS: dict[str, tuple[Callable[[Any, Any], tuple[Any, Any]], str]] = {
    "height-for-width": (lambda h, _: (h, h), "of the height used for the width"),
    "width-for-height": (lambda _, w: (w, w), "of the width used for the height"),
    "swapped": (lambda h, w: (w, h), "of height and width swapped"),
}


def _made() -> Iterator[Alteration]:
    for name, nothing in (("stride", 1), ("dilation", 1), ("padding", (0, 0))):
        for way, (function, words) in _WAYS.items():
            yield Alteration(
                f"{name}-{way}-throughout",
                "axis_mixup",
                f"{name} {words}, in the size of the result too",
                _axes(name, function),
            )
        for axes, suffix, words in (
            ((0, 1), "", ""),
            ((0,), "-of-height", " of the height"),
            ((1,), "-of-width", " of the width"),
        ):
            yield Alteration(
                f"{name}{suffix}-ignored-throughout",
                "param_ignored",
                f"{name}{words} ignored, in the size of the result too",
                _without(name, axes, nothing),
            )
    yield Alteration("padding-by-sides", "axis_mixup", "four sides taken in another order", _reordered)
    yield Alteration("padding-before-only", "pad_side", "padding before the first only", _sides(lambda p, _: (p, 0)))
    yield Alteration("padding-after-only", "pad_side", "padding after the last only", _sides(lambda _, p: (0, p)))
    yield Alteration(
        "padding-before-twice", "pad_side", "the padding before the first on both sides", _sides(lambda p, _: (p, p))
    )
    yield Alteration(
        "padding-after-twice", "pad_side", "the padding after the last on both sides", _sides(lambda _, p: (p, p))
    )
    yield Alteration(
        "padding-halved",
        "pad_side",
        "the padding taken for that of both sides",
        _sides(lambda p, _: ((p + 1) // 2, p // 2)),
    )
    for axis, words in enumerate(("height", "width")):
        yield Alteration(
            f"groups-for-dilation-of-{words}",
            "axis_mixup",
            f"groups and dilation of the {words} taken for each other",
            _groups_for_dilation(axis),
        )
    yield Alteration(
        "stride-for-dilation",
        "param_ignored",
        "stride and dilation taken for each other",
        lambda case: {"stride": case.geometry.dilation, "dilation": case.geometry.stride},
    )


_ALTERATIONS = tuple(_made())
