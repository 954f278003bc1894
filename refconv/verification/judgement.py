"""Judgement: one call of a candidate, and everything that can be wrong about it, each under its own name.

Knows candidates and cases; not where cases come from, and nothing of Hypothesis.
"""

import traceback
import warnings
from typing import Any

import numpy as np

from refconv.arrays import to_numpy
from refconv.bounds import ErrorModel
from refconv.case import Case
from refconv.compare import Comparison
from refconv.errors import BackendUnavailable
from refconv.verification.candidates import Candidate

RETURNS = "returns"
INPUTS = "inputs unmodified"
KIND = "kind of array"
LAYOUT = "shape and dtype"
VALUES = "values"


class Unsupported(Exception):
    """The candidate says that it does not do this case."""


class Fault(Exception):
    """A property that does not hold.

    Each is raised on a line of its own: by that Hypothesis tells them apart, and shrinks each by itself.
    """

    def __init__(self, property_: str, text: str, comparison: Comparison | None = None) -> None:
        super().__init__(f"{property_}: {text}")
        self.property = property_
        self.text = text
        self.comparison = comparison


def judge(candidate: Candidate, case: Case, model: ErrorModel | None = None) -> Comparison:
    """Call the candidate and compare under the error model that it claims; its verdict is good if this returns.

    Raises
    ------
    Fault
        Naming the first property that does not hold.
    Unsupported
        If the candidate raises NotImplementedError.
    """
    arguments = candidate.arguments(case)
    try:
        result = _call(candidate, arguments)
    except NotImplementedError as error:
        raise Unsupported from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, pytest's outcomes: whatever it is, it is no result
        raise Fault(RETURNS, _traceback(error)) from error
    for name, argument in zip(("input", "weight", "bias"), arguments, strict=False):
        given = getattr(case, name)
        if given is not None and not _same(given, argument):
            raise Fault(INPUTS, f"the candidate has changed its argument {name}")
    if not candidate.returns(result):
        kind = f"{type(result).__module__}.{type(result).__name__}"
        raise Fault(KIND, f"{candidate.arrays} arrays went in, but what came back is of type {kind}")
    try:
        actual = to_numpy("result", result)
    except (TypeError, BackendUnavailable) as error:
        raise Fault(LAYOUT, str(error)) from error
    comparison = case.check(actual, model)
    if comparison.problem:
        raise Fault(LAYOUT, str(comparison), comparison)
    if not comparison.ok:
        raise Fault(VALUES, str(comparison), comparison)
    return comparison


def _same(given: np.ndarray, argument: Any) -> bool:
    """Whether an argument still has the shape, dtype and bits that it was given."""
    try:
        left = to_numpy("argument", argument)
    except (TypeError, BackendUnavailable):  # it has become something else
        return False
    return (given.shape, given.dtype) == (left.shape, left.dtype) and given.tobytes() == left.tobytes()


def _call(candidate: Candidate, arguments: list[Any]) -> Any:
    # A warning is no verdict, and must not become one where the caller turns warnings into errors.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return candidate.function(*arguments)


def _traceback(error: BaseException) -> str:
    """The traceback from the candidate on; what lies above it is refconv's own."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames)).rstrip()
