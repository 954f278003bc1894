"""Wrong arguments: calls that refconv refuses, as must a candidate that claims to.

Knows recipes, and how each of their arguments can be wrong; nothing of numbers.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from refconv.cases.recipe import Recipe
from refconv.judge.case import Case
from refconv.judge.given import TAKEN
from refconv.ops.family import OPERATORS
from refconv.verification.candidate.call import Unsupported
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.examine import examination, property_names

MOST_CALLS = 3  # calls for each way of being wrong
Fields = dict[str, Any]  # the arguments of a call, by name


def _with(name: str, change: Callable[[Any], Any]) -> Callable[[Fields], Fields]:
    return lambda call: {name: change(call[name])}


def _kernel_too_large(call: Fields) -> Fields:
    """One tap more along the first axis than the padded input has elements."""
    axes = _axes(call)
    size = call["input"].shape[-axes] if "input" in call else call["input_size"][-axes]
    taps, dilation = size + sum(call["padding"][0]) + 1, (1,) * axes
    if "weight" in call:
        weight = call["weight"]
        shape = (*weight.shape[:2], taps, *weight.shape[3:])
        return {"weight": np.ones(shape, weight.dtype), "dilation": dilation}
    return {"weight_size": (*call["weight_size"][:2], taps, *call["weight_size"][3:]), "dilation": dilation}


def _nothing_left(call: Fields) -> Fields:
    """So much cropping that a transposed convolution has no result."""
    _ = call["output_padding"]  # only a transposed convolution's padding takes away
    axes = _axes(call)
    size, taps = call["input"].shape[-axes], call["weight"].shape[-axes]
    whole = (size - 1) * call["stride"][0] + call["dilation"][0] * (taps - 1) + 1
    others = (before for before, _ in call["padding"][1:])
    return {"padding": (whole // 2 + 1, *others), "output_padding": (0,) * axes}


def _too_much_output_padding(call: Fields) -> Fields:
    return {"output_padding": (max(call["stride"][0], call["dilation"][0]), *call["output_padding"][1:])}


def _axes(call: Fields) -> int:
    """How many spatial axes there are, by the numbers for each."""
    return len(call["stride"])


def _with_channel(call: Fields) -> tuple[int, ...]:
    """The input size with one channel more."""
    axes, size = _axes(call), call["input_size"]
    return (*size[: -1 - axes], size[-1 - axes] + 1, *size[-axes:])


def _more(array: np.ndarray, axis: int) -> np.ndarray:
    """One element more along an axis."""
    return np.concatenate([array, array.take([0], axis)], axis)


# Ways of being wrong: each function takes the arguments of a right call, and returns those that change.
WAYS: Mapping[str, Callable[[Fields], Fields]] = {
    "stride 0": _with("stride", lambda stride: (0, *stride[1:])),
    "stride -1": _with("stride", lambda stride: (*stride[:-1], -1)),
    "dilation 0": _with("dilation", lambda dilation: (*dilation[:-1], 0)),
    "dilation -1": _with("dilation", lambda dilation: (-1, *dilation[1:])),
    "padding -1": _with("padding", lambda padding: (*(before for before, _ in padding[:-1]), -1)),
    "groups 0": _with("groups", lambda _: 0),
    "groups -1": _with("groups", lambda _: -1),
    "groups that do not divide the channels": _with("groups", lambda groups: 7 * groups + 6),
    "a kernel that is longer than the padded input": _kernel_too_large,
    "padding that leaves no result": _nothing_left,
    "output padding not below stride and dilation": _too_much_output_padding,
    "output padding -1": _with("output_padding", lambda extra: (*extra[:-1], -1)),
    "a stride with 'same'": lambda call: {"padding": "same", "stride": (2, *call["stride"][1:])},
    "a channel too many in the input": lambda call: {"input": _more(call["input"], -1 - _axes(call))},
    "a channel too many in the weight": _with("weight", lambda w: _more(w, 1)),
    "a bias too long": _with("bias", lambda b: _more(b, 0)),
    "an input without spatial axes": lambda call: {"input": call["input"][(..., *[0] * _axes(call))]},
    "a weight with an axis too few": _with("weight", lambda w: w[..., 0]),
    "a column too many in the output gradient": _with("grad_output", lambda y: _more(y, -1)),
    "an output gradient of one axis": _with("grad_output", lambda y: y.reshape(-1)),
    "an input size with a channel too many": lambda call: {"input_size": _with_channel(call)},
    "a weight size with a channel too many": _with("weight_size", lambda n: (n[0], n[1] + 1, *n[2:])),
    "a padding mode that there is not": lambda call: (
        {"padding_mode": "mirror"} if call["padding_mode"] != "zeros" else {}
    ),
}


@dataclass(frozen=True)
class Wrong:
    """A recipe for a call that is wrong in one way.

    Examples
    --------
    >>> from refconv.core.geometry import convolution
    >>> recipe = Recipe(convolution((1, 1, 2, 2), (1, 1, 1, 1), None, 1, 0, 1, 1, "zeros"), (0, 0))
    >>> Wrong(recipe, "stride 0").misuse()
    stride 0: conv2d(input=float32[1, 1, 2, 2], weight=float32[1, 1, 1, 1], bias=None, stride=(0, 1), ...
    """

    recipe: Recipe
    way: str

    def misuse(self) -> "Misuse | None":
        """The wrong call; None if a call of this recipe can't be wrong in this way."""
        return _made_wrong(self.recipe.case(), self.way)


@dataclass(frozen=True, eq=False)
class Misuse:
    """A call that refconv refuses; for a candidate, it has what a case has.

    Attributes
    ----------
    right : Case
        The call before it was made wrong.
    given : dict
        The wrong arguments, by name.
    way : str
        What is wrong.
    reason : str
        refconv's message.
    """

    right: Case
    given: Fields
    way: str
    reason: str

    @property
    def op(self) -> str:
        """The operator."""
        return self.right.op

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The tensors, by name."""
        return {name: self.given[name] for name in self.right.arrays}

    @property
    def unwritten(self) -> np.ndarray:
        """An output of the shape that the right call's has."""
        return self.right.unwritten

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the positional arguments."""
        return self.right.parameters

    def arguments(self) -> tuple[Any, ...]:
        """The positional arguments; operands of an epilogue as the right call has them."""
        return (*(self._plain(name) for name in OPERATORS[self.op].parameters), *self.right.operands)

    def keywords(self) -> dict[str, Any]:
        """The keyword arguments."""
        mode = self.given.get("padding_mode", "zeros")
        return {} if mode == "zeros" else {"padding_mode": mode}

    def _plain(self, name: str) -> Any:
        value = self.given.get(name)
        if name == "padding" and value is not None and all(map(_is_symmetric, value)):
            return tuple(before for before, _ in value)
        return value

    def __str__(self) -> str:
        text = ", ".join(f"{name}={_text(self._plain(name))}" for name in OPERATORS[self.op].parameters)
        return f"{self.way}: {self.op}({text})"

    __repr__ = __str__


def _is_symmetric(sides: Any) -> bool:
    return isinstance(sides, tuple) and sides[0] == sides[1]


def _text(value: Any) -> str:
    return f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) and value.ndim else repr(value)


def _made_wrong(case: Case, way: str) -> "Misuse | None":
    if not case.geometry.batch:
        return None  # libraries check little of a call with an empty batch
    call = {field.name: getattr(case, field.name) for field in fields(case)}
    call["padding"] = case.geometry.padding  # four-sided, even where the call says "same"
    named = isinstance(case.padding, str)
    call = {name: value for name, value in call.items() if name in TAKEN[case.op] - {"op"} and value is not None}
    try:
        changed = WAYS[way](call)
        if isinstance(changed.get("padding"), str) and not named:
            return None  # the candidate may take no names at all
    except (KeyError, IndexError):
        return None  # such a call has no such argument
    if not changed:
        return None
    wrong = call | changed
    try:
        Case(op=case.op, **wrong)
    except (ValueError, TypeError) as error:
        of_size = str(error).startswith("operands:")  # a call of another size, and right but for the epilogue
        return None if of_size else Misuse(case, wrong, way, str(error))
    return None


def wrongs(recipes: Iterator[Recipe]) -> list[Wrong]:
    """For each way of being wrong, calls made from the first `MOST_CALLS` recipes for which there are such calls."""
    by_way: dict[str, list[Wrong]] = {way: [] for way in WAYS}
    for recipe in recipes:
        if all(len(calls) >= MOST_CALLS for calls in by_way.values()):
            break
        case = recipe.case()  # once for all ways: making its arrays takes the most time
        for way, calls in by_way.items():
            if len(calls) < MOST_CALLS and _made_wrong(case, way) is not None:
                calls.append(Wrong(recipe, way))
    return [wrong for calls in by_way.values() for wrong in calls]


def examine(candidate: Candidate, wrong: Wrong) -> examination.Examination:
    """Whether a candidate refuses a call, with any exception."""
    misuse = wrong.misuse()
    if misuse is None:
        return examination.refused()
    try:
        outcome = candidate.call(misuse)  # type: ignore[arg-type]  # it looks like a case
    except Unsupported as refusal:
        return examination.refused(str(refusal))
    refused = any(name == property_names.RETURNS for name, _ in outcome.faults)
    text = f"{misuse}\n  must be refused, as refconv does: {misuse.reason}\n  but "
    text += "nothing was raised" if outcome.result is None else f"an array of shape {outcome.result.shape} came back"
    findings = () if refused else (examination.Finding(property_names.ERRORS, text),)
    return examination.Examination(True, (property_names.ERRORS,), findings)
