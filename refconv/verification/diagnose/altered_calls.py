"""Alterations: calls of the correct operator with other arguments than a case has, or with another function behind it.

A mutant changes a step of a kernel; an alteration changes the arguments for the whole kernel, the size of its result
included, or the whole result. Knows cases; not who was judged.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refconv.core.operators import is_transposed
from refconv.judge.case import Case
from refconv.ops.family import OPERATORS
from refconv.ops.requantization import RULES
from refconv.verification.diagnose import arithmetic
from refconv.verification.diagnose.arithmetic import Compute

Change = Callable[[Case], dict[str, Any]]


@dataclass(frozen=True)
class Alteration:
    """A call with other arguments.

    Attributes
    ----------
    name, kind, summary, source
        As of a mutant.
    compute : callable
        What the altered operator returns for a case; None where it is no other.
    inexact : bool
        Whether others compute the same to a few units in the last place only.
    model : str
        The error model that is made for such kernels, with "{accumulator}" for its format; or empty.

    Examples
    --------
    >>> case = Case(input=np.ones((1, 1, 3, 3)), weight=np.ones((1, 1, 1, 1)), stride=(1, 2))
    >>> {alteration.name: alteration for alteration in alterations()}["stride-swapped-throughout"](case).shape
    (1, 1, 2, 3)
    """

    name: str
    kind: str
    summary: str
    compute: Compute
    source: str = ""
    inexact: bool = False
    model: str = ""

    def __call__(self, case: Case) -> np.ndarray:
        """What the operator returns for the altered arguments, or raises."""
        result = self.compute(case)
        return case.expected() if result is None else result


PLANAR = 2  # axes: only of two is one the other


def alterations() -> tuple[Alteration, ...]:
    """All alterations; one whose argument a case does not have changes nothing in it."""
    return _ALTERATIONS


def _called(change: Change) -> Compute:
    """The operator, with these fields of a case changed; None where there are none, or it does not take one of them."""

    def compute(case: Case) -> np.ndarray | None:
        changed = change(case)
        if not changed or not changed.keys() <= {*OPERATORS[case.op].parameters}:
            return None
        return replace(case, **changed).expected()

    return compute


def _axes(name: str, way: Callable[[Any, Any], tuple[Any, Any]], first: int, second: int) -> Change:
    """Change a parameter's values for two axes, which are counted from the last one; nothing where there is no first.

    With the depth, height and width are no longer the only two: what exchanges them leaves the depth alone.
    """

    def change(case: Case) -> dict[str, Any]:
        values = list(getattr(case.geometry, name))
        if len(values) < -first:
            return {}
        values[first], values[second] = way(values[first], values[second])
        return {name: tuple(values)}

    return change


def _without(name: str, axes: Sequence[int], nothing: Any) -> Change:
    """Put a parameter's neutral value for some axes."""
    return lambda case: {
        name: tuple(nothing if axis in axes else n for axis, n in enumerate(getattr(case.geometry, name), -case.axes))
    }


def _sides(way: Callable[[int, int], tuple[int, int]]) -> Change:
    """Change the padding before and after, for each axis."""
    return lambda case: {"padding": tuple(way(*sides) for sides in case.geometry.padding)}


def _groups_for_dilation(axis: int) -> Change:
    def change(case: Case) -> dict[str, Any]:
        dilation = case.geometry.dilation[axis:][:1]
        return {"groups": dilation[0], "dilation": (case.geometry.groups,) * case.axes} if dilation else {}

    return change


def _reordered(case: Case) -> dict[str, Any]:
    return {"padding": tuple(zip(*case.geometry.padding, strict=True))} if case.axes == PLANAR else {}


# Two axes taken for each other: their names and places, from the last axis on.
_TWO = (("height", "width", -2, -1), ("depth", "height", -3, -2), ("depth", "width", -3, -1))


def _ways(first: str, second: str) -> dict[str, tuple[Callable[[Any, Any], tuple[Any, Any]], str]]:
    """In how many ways two axes are taken for each other, each in words."""
    swapped = "swapped" if "depth" not in (first, second) else f"{first}-and-{second}-swapped"
    return {
        f"{first}-for-{second}": (lambda a, _: (a, a), f"of the {first} used for the {second}"),
        f"{second}-for-{first}": (lambda _, b: (b, b), f"of the {second} used for the {first}"),
        swapped: (lambda a, b: (b, a), f"of {first} and {second} swapped"),
    }


_PARTS: tuple[tuple[Sequence[int], str, str], ...] = (
    ((-3, -2, -1), "", ""),
    ((-3,), "-of-depth", " of the depth"),
    ((-2,), "-of-height", " of the height"),
    ((-1,), "-of-width", " of the width"),
)


def _by_axes() -> Iterator[Alteration]:
    """Axes taken for each other, or ignored, for each parameter that has a value of several."""
    for name, nothing in (("stride", 1), ("dilation", 1), ("padding", (0, 0))):
        for *names, first, second in _TWO:
            for way, (function, words) in _ways(*names).items():
                summary, change = f"{name} {words}, in the size of the result too", _axes(name, function, first, second)
                yield Alteration(f"{name}-{way}-throughout", "axis_mixup", summary, _called(change))
        for axes, suffix, words in _PARTS:
            summary = f"{name}{words} ignored, in the size of the result too"
            change = _without(name, axes, nothing)
            yield Alteration(f"{name}{suffix}-ignored-throughout", "param_ignored", summary, _called(change))


_SIDES: dict[str, tuple[str, Callable[[int, int], tuple[int, int]]]] = {
    "before-only": ("padding before the first only", lambda before, _: (before, 0)),
    "after-only": ("padding after the last only", lambda _, after: (0, after)),
    "before-twice": ("the padding before the first on both sides", lambda before, _: (before, before)),
    "after-twice": ("the padding after the last on both sides", lambda _, after: (after, after)),
    "halved": ("the padding taken for that of both sides", lambda before, _: ((before + 1) // 2, before // 2)),
}


def _by_sides() -> Iterator[Alteration]:
    """Sides of the padding taken for each other."""
    yield Alteration("padding-by-sides", "axis_mixup", "four sides taken in another order", _called(_reordered))
    for name, (summary, way) in _SIDES.items():
        yield Alteration(f"padding-{name}", "pad_side", summary, _called(_sides(way)))


def _by_parameters() -> Iterator[Alteration]:
    """Parameters taken for each other."""
    for axis, words in ((-2, "height"), (-1, "width")):
        summary = f"groups and dilation of the {words} taken for each other"
        yield Alteration(f"groups-for-dilation-of-{words}", "axis_mixup", summary, _called(_groups_for_dilation(axis)))
    yield Alteration(
        "stride-for-dilation",
        "param_ignored",
        "stride and dilation taken for each other",
        _called(lambda case: {"stride": case.geometry.dilation, "dilation": case.geometry.stride}),
    )


def _of_output_padding() -> Iterator[Alteration]:
    """Output padding of a transposed convolution that is ignored along an axis."""
    for axes, suffix, words in _PARTS:

        def change(case: Case, axes: Sequence[int] = axes) -> dict[str, Any]:
            if not is_transposed(case.op):
                return {}
            given = enumerate(case.call.output_padding, -case.axes)  # type: ignore[arg-type]  # a case has a tuple
            return {"output_padding": tuple(0 if axis in axes else extra for axis, extra in given)}

        summary = f"output padding{words} ignored"
        yield Alteration(f"output-padding{suffix}-ignored", "transposed_geometry", summary, _called(change))


def _of_rules() -> Iterator[Alteration]:
    """Sums of a quantized convolution that are rescaled by another rule."""
    for rule in RULES:

        def compute(case: Case, rule: str = rule) -> np.ndarray | None:
            known = "output_scale" in OPERATORS[case.op].parameters and case.requantize != rule
            return replace(case, requantize=rule).expected() if known else None

        yield Alteration(f"requantize-{rule}", "requantization", f"requantize={rule!r}", compute)


def _of_arithmetic() -> Iterator[Alteration]:
    for function in arithmetic.functions():
        yield Alteration(**function._asdict())


_ALTERATIONS = (*_by_axes(), *_by_sides(), *_by_parameters(), *_of_output_padding(), *_of_rules(), *_of_arithmetic())
