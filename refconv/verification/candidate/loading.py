"""Loading: from a target's name to the candidate, and from a function to where it can be loaded from.

Knows modules, files and shared libraries; not how a candidate is called.
"""

import importlib.util
import sys
from functools import partial, reduce
from pathlib import Path
from typing import Any

from refconv.core.checks import choice
from refconv.ops.family import OPERATORS
from refconv.verification.candidate import kernelbench
from refconv.verification.candidate.call import Arrange
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.candidate.modules import as_function
from refconv.verification.candidate.native import LIBRARIES, Native
from refconv.verification.candidate.parameters import NoLayer, is_torch

OTHER_NAME = "refconv_candidate"  # of a file whose own name would hide another module


class TargetError(ValueError):
    """A target that can't be loaded: the message says why and what to do."""


class _CameToVerify(BaseException):
    """A script that is loaded for its candidate came to its own campaign; no Exception, which scripts may catch.

    Its argument is the module, as far as it was loaded.
    """


_loading: list[str] = []  # names of the modules that are being loaded


def end_loading() -> None:
    """End the script that is being loaded here, if any, where it begins a campaign: its candidate is defined by then.

    So a script without `if __name__ == "__main__":` is not run again, with all that it goes on to do, by each process
    that loads a function of it.
    """
    if _loading:
        raise _CameToVerify(sys.modules.get(_loading[-1]))


def candidate_of(
    function: Any,
    target: str,
    arrays: str | None = None,
    op: str = "conv2d",
    style: str = "return",
    arrange: Arrange | None = None,
) -> Candidate:
    """The candidate of what is called, with what it says of itself where the arguments say nothing.

    Parameters
    ----------
    function
        A function, or what `modules.as_function` takes.
    target
        Where it can be loaded from.
    arrays, op, style, arrange
        As `Candidate` has them; None for what the function's attributes say, or torch for what comes from torch.
    """
    inner = function.func if isinstance(function, partial) else function
    of_torch = is_torch(inner) or str(getattr(inner, "__module__", "")).partition(".")[0] == "torch"
    file = kernelbench.file_of(function)
    if file is not None and file.convolution is not None:
        if op not in ("conv2d", file.op):
            raise NoLayer(f"op={op!r}: must be {file.op!r}, which {function.__name__} is")
        op = file.op
    called = as_function(function, op) if file is None else file.function()
    shapes = () if file is None or file.convolution is None else file.shapes
    if style == "return":
        style = str(getattr(called, "style", style))
    arrays = arrays or str(getattr(called, "arrays", "torch" if of_torch else "numpy"))
    return Candidate(called, arrays, target, style, op, arrange or getattr(function, "arrange", None), shapes)


def load(
    target: str, arrays: str | None = None, abi: str | None = None, op: str = "conv2d", style: str = "return"
) -> Candidate:
    """The candidate of a target, as the command line takes it.

    Unless `arrays` says otherwise, torch tensors go to what comes from torch or has an attribute `arrays = "torch"`,
    NumPy arrays to all others. Likewise an attribute `style = "out"` says that a function writes its result.

    Parameters
    ----------
    target : str
        `module:attribute`, `path/to/file.py:attribute`, or `path/to/lib.so:symbol` of a shared library; of a file of
        KernelBench's form `path/to/file.py` is enough.
    arrays, op, style
        As `Candidate` has them.
    abi : {"c"}, optional
        How a shared library is called, see `native`.

    Raises
    ------
    TargetError
        If the target does not exist, can't be imported, or is not callable.
    GeometryError, ModuleNotFoundError, BackendUnavailable
        For a kind of arrays that is unknown, not installed, or needs a GPU.
    """
    if target.endswith(".py") and Path(target).is_file():
        return _of_file(target, arrays, op, style)
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
    module = _imported(place, attribute)
    try:
        function = reduce(getattr, attribute.split("."), module)
    except AttributeError:
        raise TargetError(f"{target!r}: {place} has no {attribute}; it has {_public(module)}") from None
    if not callable(function):
        raise TargetError(f"{target!r}: must be callable, not {type(function).__name__}")
    if arrays is None and place.partition(".")[0] == "torch" and not hasattr(function, "arrays"):
        arrays = "torch"  # its builtins name no module
    try:
        return candidate_of(function, target, arrays, op, style)
    except NoLayer as error:
        raise TargetError(str(error)) from error


def targets_of(candidate: Candidate) -> tuple[str, ...]:
    """Where the functions can be loaded from that lay arrays out; none that the candidate's own attribute names."""
    if candidate.arrange is None or getattr(candidate.function, "arrange", None) is not None:
        return ()
    return tuple(map(find, candidate.arrange))


def _of_file(target: str, arrays: str | None, op: str, style: str) -> Candidate:
    """The candidate of a file alone: of KernelBench's form, the class that it is about."""
    module = _imported(target, "")
    attribute = kernelbench.named(module)
    if not attribute:
        lacks = (
            "" if hasattr(module, kernelbench.INPUTS) else f"; a file of KernelBench's form has {kernelbench.INPUTS}"
        )
        raise TargetError(f"{target!r}: must be followed by :attribute; it has {_public(module)}{lacks}")
    return load(f"{target}:{attribute}", arrays, None, op, style)


def _public(module: Any) -> str:
    """The names of what can be called in a module."""
    public = (name for name in vars(module) if callable(getattr(module, name)) and name[0] != "_")
    return ", ".join(public) or "nothing to call"


def _imported(place: str, attribute: str) -> Any:
    """The module of a name or file, as far as it must run to define an attribute."""
    name = module_name(Path(place)) if place.endswith(".py") else place
    _loading.append(name)
    try:
        return _file(Path(place), name) if place.endswith(".py") else _module(place)
    except _CameToVerify as ended:
        module = ended.args[0]
        if attribute and not _has(module, attribute):
            why = 'put its campaigns under `if __name__ == "__main__":`'
            raise TargetError(f"{place} begins a campaign before it defines {attribute}: {why}") from None
        sys.modules[name] = module
        return module
    finally:
        _loading.pop()


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


def module_name(path: Path) -> str:
    """The name that a file is loaded under: its own, which compiled functions that are kept on disk go by.

    >>> module_name(Path("numpy.py"))
    'refconv_candidate'
    """
    name = path.stem
    try:
        known = importlib.util.find_spec(name) if name.isidentifier() else None
    except ValueError:  # a module without a spec, such as __main__
        return OTHER_NAME
    same = known is not None and known.origin is not None and Path(known.origin).resolve() == path.resolve()
    return name if name.isidentifier() and (known is None or same) else OTHER_NAME


def _has(module: Any, attribute: str) -> bool:
    try:
        reduce(getattr, attribute.split("."), module)
    except AttributeError:
        return False
    return True


def _file(path: Path, name: str) -> Any:
    _check_file(path)
    sys.path.insert(0, str(path.parent))  # as for a script: its neighbors can be imported
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"{path}: must be a Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]  # half of it is of no use to whoever imports it later
        raise _import_error(str(path), error) from error
    return module


def _import_error(place: str, error: BaseException) -> TargetError:
    return TargetError(f"importing {place} raised {type(error).__name__}: {error}")
