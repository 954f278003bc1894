"""Candidates: the functions under test, what they are called with, and where they come from.

Knows how to find a function and which arrays it wants; not how it is judged.
"""

import importlib
import importlib.util
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from hashlib import sha256
from pathlib import Path
from typing import Any

from refconv.cases.recipe import OUTPUT, Recipe
from refconv.core.checks import choice
from refconv.judge.case import Case
from refconv.ops.family import OPERATORS
from refconv.verification.candidate import array_kinds
from refconv.verification.candidate.call import Arguments, Outcome, Unsupported, Way, call_function
from refconv.verification.candidate.native import LIBRARIES, Native

__all__ = ["ARRAYS", "MODULE_NAME", "STYLES", "Candidate", "Outcome", "TargetError", "Unsupported", "find", "load"]

ARRAYS = array_kinds.KINDS
STYLES = ("return", "out")
MOST_SIMULATED = 20_000  # products that a simulator computes in a second or so; three quarters of generated cases
MODULE_NAME = "refconv_candidate"  # under which a file is loaded: no file's own name can hide another module's


class TargetError(Exception):
    """A target that can't be loaded: the message says why and what to do."""


@dataclass(frozen=True)
class Candidate:
    """A function under test.

    Parameters
    ----------
    function
        Called positionally, as torch.nn.functional.conv2d is. An attribute `device` says where torch tensors are to be.
    arrays : {"numpy", "torch", "cupy", "numba", "jax"}
        The kind of arrays that it takes and returns.
    target
        Where it can be loaded from, `module:attribute`, `path/to/file.py:attribute` or `path/to/lib.so:symbol`; empty
        if from nowhere.
    style : {"return", "out"}
        Whether it returns its result, or writes it to an array that it gets as its last positional argument.
    op
        The operator that it claims to be.
    """

    function: Callable[..., Any]
    arrays: str = "numpy"
    target: str = ""
    style: str = "return"
    op: str = "conv2d"

    def __post_init__(self) -> None:
        array_kinds.check(self.arrays)
        choice("style", self.style, STYLES)
        choice("op", self.op, tuple(OPERATORS))
        if self.style == "out" and self.arrays == "jax":
            raise ValueError("style='out': jax arrays can't be written to")
        if not callable(self.function):
            raise TypeError(f"candidate={self.function!r}: must be callable")

    @property
    def identity(self) -> tuple[str, ...]:
        """All that tells it from others: of a file also what stands in it."""
        path = Path(self.target.rpartition(":")[0])
        content = sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        return self.target, self.op, self.arrays, self.style, content

    def arguments(self, case: Case) -> list[Any]:
        """The positional arguments of a call: fresh, writable copies of the arrays, of the candidate's kind."""
        return Arguments(case, self._way()).positional

    def call(self, case: Case, *, layout: str = "NCHW", memory: Iterable[tuple[str, str]] = ()) -> Outcome:
        """Call the function, and look at all that it did but the numbers.

        The result is a copy. Where elements of an output look as if they had not been written, there is a second call.

        Parameters
        ----------
        case : Case
            The call.
        layout : {"NCHW", "NHWC"}
            How images are handed over and come back; for "NHWC" there is a keyword `layout="NHWC"` too.
        memory : iterable of (str, str)
            Names of arrays and how each lies in memory, see `arrangements.arrange`; others are contiguous.
            What a candidate of the style "out" writes to is named "output".

        Raises
        ------
        Unsupported
            If the candidate raises NotImplementedError, or its kind of arrays has no such dtype.
        ValueError
            For arrays that can't lie so, or a name that no array has.

        Examples
        --------
        >>> import numpy as np
        >>> import refconv
        >>> case = Case(input=np.ones((1, 1, 2, 2)), weight=np.ones((1, 1, 1, 1)))
        >>> Candidate(refconv.conv2d).call(case, memory=[("input", "row_pitch")])
        Outcome(result=array([[[[1., 1.], [1., 1.]]]]), faults=())
        """
        return call_function(self.function, case, self._way(choice("layout", layout, ("NCHW", "NHWC")), memory))

    @property
    def device(self) -> str:
        """Where its torch tensors are to be."""
        return str(getattr(self.function, "device", "cpu")) if self.arrays == "torch" else "cpu"

    def is_stranded(self) -> bool:
        """Whether it has left its device so that this process can't use it any more."""
        return array_kinds.broken(self.arrays, self.device)

    def takes_too_long(self, case: Case) -> bool:
        """Whether its arrays are a simulator's, and the case is too large for that."""
        work = math.prod(case.geometry.output_shape) * case.geometry.terms
        return work > MOST_SIMULATED and array_kinds.simulated(self.arrays)

    def memory(self, recipe: Recipe) -> tuple[tuple[str, str], ...]:
        """The arrangements of a recipe that there are arrays for: a result may not be written to any."""
        return tuple(each for each in recipe.memory if self.style == "out" or each[0] != OUTPUT)

    def _way(self, layout: str = "NCHW", memory: Iterable[tuple[str, str]] = ()) -> Way:
        return Way(self.arrays, self.device, self.style, layout, dict(memory))


def load(
    target: str, arrays: str | None = None, abi: str | None = None, op: str = "conv2d", style: str = "return"
) -> Candidate:
    """The candidate of a target, as the command line takes it.

    Unless `arrays` says otherwise, torch tensors go to what comes from torch or has an attribute `arrays = "torch"`,
    NumPy arrays to all others. Likewise an attribute `style = "out"` says that a function writes its result.

    Parameters
    ----------
    target : str
        `module:attribute`, `path/to/file.py:attribute`, or `path/to/lib.so:symbol` of a shared library.
    arrays, op, style
        As `Candidate` has them.
    abi : {"c"}, optional
        How a shared library is called, see `native`.

    Raises
    ------
    TargetError
        If there is no such thing, it can't be imported, or it is not callable.
    GeometryError, ModuleNotFoundError, BackendUnavailable
        For a kind of arrays that there is not, that is not installed, or that needs a GPU.
    """
    place, colon, attribute = target.rpartition(":")
    if not colon or not place or not attribute:
        raise TargetError(
            f"{target!r}: must be module:attribute or path/to/file.py:attribute, or path/to/lib.so:symbol"
        )
    if place.endswith(LIBRARIES):
        return _native(Path(place), attribute, target, arrays, op)
    if abi is not None:
        choice("abi", abi, ("c",))
        raise TargetError(f"{target!r}: the C ABI is for shared libraries, path/to/lib.so:symbol")
    module = _file(Path(place)) if place.endswith(".py") else _module(place)
    try:
        function = reduce(getattr, attribute.split("."), module)
    except AttributeError:
        public = ", ".join(name for name in vars(module) if callable(getattr(module, name)) and name[0] != "_")
        raise TargetError(f"{target!r}: {place} has no {attribute}; it has {public or 'nothing to call'}") from None
    if not callable(function):
        raise TargetError(f"{target!r}: must be callable, not {type(function).__name__}")
    default = "torch" if place.partition(".")[0] == "torch" else "numpy"
    if style == "return":
        style = str(getattr(function, "style", style))
    return Candidate(function, arrays or str(getattr(function, "arrays", default)), target, style, op)


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


def _native(path: Path, symbol: str, target: str, arrays: str | None, op: str) -> Candidate:
    if arrays not in (None, "numpy"):
        raise TargetError(f"{target!r}: a C function takes memory, not arrays={arrays!r}")
    _check_file(path)
    try:
        function = Native(str(path.absolute()), symbol, choice("op", op, tuple(OPERATORS)))
    except OSError as error:
        raise TargetError(f"loading {path} failed: {error}") from error
    except AttributeError as error:
        raise TargetError(f'{target!r}: no symbol {symbol}; C++ names it so if it is declared extern "C"') from error
    return Candidate(function, "numpy", target, "out", op)


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise TargetError(f"no file {path} (looked in {Path.cwd()})")


def _file(path: Path) -> Any:
    _check_file(path)
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
