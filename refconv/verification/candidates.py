"""Candidates: the functions under test, what they are called with, and where they come from.

Knows how to find a function and which arrays it wants; not how it is judged.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from refconv.case import Case
from refconv.geometry import choice

ARRAYS = ("numpy", "torch")
MODULE_NAME = "refconv_candidate"  # under which a file is loaded: no file's own name can hide another module's


class TargetError(Exception):
    """A target that can't be loaded: the message says why and what to do."""


@dataclass(frozen=True)
class Candidate:
    """A function under test.

    Parameters
    ----------
    function
        Called positionally, as torch.nn.functional.conv2d is.
    arrays : {"numpy", "torch"}
        The kind of arrays that it takes and returns.
    target
        Where it can be loaded from, `module:attribute` or `path/to/file.py:attribute`; empty if from nowhere.
    """

    function: Callable[..., Any]
    arrays: str
    target: str

    def __post_init__(self) -> None:
        choice("arrays", self.arrays, ARRAYS)
        if importlib.util.find_spec(self.arrays) is None:
            raise ModuleNotFoundError(f"arrays={self.arrays!r}: {self.arrays} is not installed", name=self.arrays)
        if not callable(self.function):
            raise TypeError(f"candidate={self.function!r}: must be callable")

    def arguments(self, case: Case) -> list[Any]:
        """The arguments of a call: fresh, writable copies of the arrays, of the candidate's kind."""
        return [self._array(each) if isinstance(each, np.ndarray) else each for each in case.arguments()]

    def returns(self, result: Any) -> bool:
        """Whether a result is of the candidate's kind of arrays."""
        return isinstance(result, np.ndarray if self.arrays == "numpy" else _torch().Tensor)

    def _array(self, array: np.ndarray) -> Any:
        return array.copy() if self.arrays == "numpy" else _torch().tensor(array)


def load(target: str, arrays: str | None = None) -> Candidate:
    """The candidate of a target, as the command line takes it.

    Unless `arrays` says otherwise, torch tensors go to what comes from torch or has an attribute `arrays = "torch"`,
    NumPy arrays to all others.

    Raises
    ------
    TargetError
        If there is no such thing, it can't be imported, or it is not callable.
    GeometryError, ModuleNotFoundError
        For a kind of arrays that there is not, or that is not installed.
    """
    place, colon, attribute = target.rpartition(":")
    if not colon or not place or not attribute:
        raise TargetError(f"{target!r}: must be module:attribute or path/to/file.py:attribute")
    module = _file(Path(place)) if place.endswith(".py") else _module(place)
    try:
        function = reduce(getattr, attribute.split("."), module)
    except AttributeError:
        public = ", ".join(name for name in vars(module) if callable(getattr(module, name)) and name[0] != "_")
        raise TargetError(f"{target!r}: {place} has no {attribute}; it has {public or 'nothing to call'}") from None
    if not callable(function):
        raise TargetError(f"{target!r}: must be callable, not {type(function).__name__}")
    default = "torch" if place.partition(".")[0] == "torch" else "numpy"
    return Candidate(function, arrays or str(getattr(function, "arrays", default)), target)


def find(function: Any) -> str:
    """The target that `load` would find a function by, empty if there is none: a lambda, a function in a function.

    >>> import math
    >>> find(math.sqrt), find(lambda: 0)
    ('math:sqrt', '')
    """
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    # Builtins of torch have a class in their qualified name through which they can't be reached.
    for name in (getattr(function, "__qualname__", ""), getattr(function, "__name__", "")):
        try:
            if module and reduce(getattr, name.split("."), module) is function:
                place = getattr(module, "__file__", "") if module.__name__ == "__main__" else module.__name__
                return f"{place}:{name}" if place else ""
        except AttributeError:
            pass
    return ""


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _import_error(name, error) from error
        raise TargetError(f"no module {error.name!r}: install it, or give path/to/file.py:attribute") from error
    except (Exception, SystemExit) as error:
        raise _import_error(name, error) from error


def _file(path: Path) -> Any:
    if not path.is_file():
        raise TargetError(f"no file {path} (looked in {Path.cwd()})")
    sys.path.insert(0, str(path.parent))  # as for a script: its neighbours can be imported
    spec = importlib.util.spec_from_file_location(MODULE_NAME, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"{path}: must be a Python file")
    module = sys.modules[MODULE_NAME] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _import_error(str(path), error) from error
    return module


def _import_error(place: str, error: BaseException) -> TargetError:
    return TargetError(f"importing {place} raised {type(error).__name__}: {error}")


def _torch() -> Any:
    import torch

    return torch
