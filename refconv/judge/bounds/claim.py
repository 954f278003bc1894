"""Claims: what a caller says of how a kernel computes, for all calls; and the error model that it means for one call.

A claim is an error model, the text of one, alternatives ("winograd:6,3|direct"), or a function of a case. Knows error
models, and of a case its operator, geometry and dtype.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from refconv.core.errors import GeometryError
from refconv.core.geometry import Geometry
from refconv.judge.bounds.algorithm import refusal
from refconv.judge.bounds.error_model import ErrorModel
from refconv.judge.bounds.model_text import BETWEEN


class NoAlternative(GeometryError):
    """None of the models that are claimed can be, of some call."""


class WrongFunction(TypeError):
    """A function of a case, of a caller's, that raises, or returns what can't be the case's model."""


Limits: TypeAlias = Mapping[str, int | tuple[int, ...]]


@dataclass(frozen=True)
class Alternatives:
    """The first of some models that can be, for each call.

    Examples
    --------
    >>> str(claimed("winograd:6,3 | direct"))
    'winograd:6,3|direct:float32'
    """

    models: tuple[ErrorModel, ...]

    def __str__(self) -> str:
        return BETWEEN.join(map(str, self.models))

    def limits(self, op: str = "conv2d", dtype: Any = None) -> Limits:
        """What calls one of the models can be meant for: the numbers that these options must have on both axes.

        Raises
        ------
        GeometryError
            If none knows anything of an operator or a dtype.

        Examples
        --------
        >>> claimed("winograd:6,3|winograd:4,5").limits()
        {'stride': (1,), 'dilation': (1,), 'kernel': (3, 5)}
        >>> claimed("winograd:6,3|direct").limits()
        {}
        """
        possible, refused = [], ""
        for model in self.models:
            try:
                possible.append(model.limits(op, dtype))
            except GeometryError as error:
                refused = str(error)
        if not possible:
            raise GeometryError(f"model={str(self)!r}: none of them can be: {refused}")
        shared = [name for name in possible[0] if all(name in limits for limits in possible)]
        return {name: tuple(dict.fromkeys(limits[name] for limits in possible)) for name in shared}

    def of(self, op: str, geometry: Geometry, dtype: np.dtype) -> ErrorModel:
        """The first model that can be, of one call.

        Raises
        ------
        NoAlternative
            If none can.
        """
        reasons = []
        for model in self.models:
            try:
                model.limits(op, dtype)
            except GeometryError as error:
                reasons.append(str(error))
                continue
            if model.supports(geometry):
                return model
            reasons.append(f"model={str(model)!r}: {refusal(model.algorithm, geometry)}")
        none = f"model={str(self)!r}: none of them can be, of a {op}: " * (len(reasons) > 1)
        raise NoAlternative(none + "; ".join(reasons))


@dataclass(frozen=True)
class ByCase:
    """A function of a case, whatever it returns.

    Parameters
    ----------
    function : callable
        Takes a case, returns a model or the text of one, alternatives included; None for the usual model.
    """

    function: Callable[[Any], Any]

    def __str__(self) -> str:
        return getattr(self.function, "__qualname__", "") or repr(self.function)

    def limits(self, op: str = "conv2d", dtype: Any = None) -> Limits:
        """None: what the function says of a call is known when it is called."""
        del op, dtype
        return {}


Claim: TypeAlias = ErrorModel | Alternatives | ByCase  # a claim that has been checked
Model: TypeAlias = Claim | str | Callable[[Any], Any]  # what a caller may give


def claimed(model: Model | None) -> Claim | None:
    """The claim that an argument `model` means, checked as far as that is possible without a case.

    Raises
    ------
    GeometryError
        For a text that is no model's.
    TypeError
        For what is no claim.

    Examples
    --------
    >>> claimed("tf32") == ErrorModel.tf32(), claimed(None)
    (True, None)
    """
    if model is None or isinstance(model, ErrorModel | Alternatives | ByCase):
        return model
    if isinstance(model, str):
        models = tuple(ErrorModel.parse(text.strip()) for text in model.split(BETWEEN))
        return models[0] if len(models) == 1 else Alternatives(models)
    if not isinstance(model, type) and callable(model):
        return ByCase(model)
    raise TypeError(f"model={model!r}: must be an ErrorModel, the text of one, or a function of a case")


def model_of(model: Model | None, case: Any) -> ErrorModel | None:
    """The error model that a claim means for a case; None where nothing is claimed.

    Raises
    ------
    NoAlternative
        If none of the alternatives can be, of such a call.
    TypeError
        For what is no claim, and for a function that raises or returns what can't be the case's model.
    """
    claim = claimed(model)
    if isinstance(claim, ByCase):
        return _by_case(claim, case)
    if isinstance(claim, Alternatives):
        return claim.of(case.op, case.geometry, case.unwritten.dtype)
    return claim


def _by_case(claim: ByCase, case: Any) -> ErrorModel | None:
    """What the function says of a case."""
    try:
        said = claim.function(case)
    except Exception as error:
        raise WrongFunction(f"model={claim}: raised {type(error).__name__}: {error}, for {case}") from error
    try:
        chosen = claimed(said)
        if isinstance(chosen, Alternatives):
            return chosen.of(case.op, case.geometry, case.unwritten.dtype)
        if isinstance(chosen, ErrorModel):
            return Alternatives((chosen,)).of(case.op, case.geometry, case.unwritten.dtype)
    except (GeometryError, TypeError) as error:
        raise WrongFunction(f"model={claim}: returned {said!r} for {case}: {error}") from error
    if chosen is not None:
        raise WrongFunction(f"model={claim}: returned {said!r} for {case}: must be a model or the text of one")
    return None
