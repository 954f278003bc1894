"""Loading: from a target's name to the candidate, and from a function to where it can be loaded from.

Knows modules, files and shared libraries; not how a candidate is called.
"""

import importlib.util
import sys
from functools import reduce
from pathlib import Path
from typing import Any

from refconv.core.checks import choice
from refconv.ops.family import OPERATORS
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.candidate.native import LIBRARIES, Native

OTHER_NAME = "refconv_candidate"  # of a file whose own name would hide another module


class TargetError(Exception):
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
        If the target does not exist, can't be imported, or is not callable.
    GeometryError, ModuleNotFoundError, BackendUnavailable
        For a kind of arrays that is unknown, not installed, or needs a GPU.
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
    name = module_name(Path(place)) if place.endswith(".py") else place
    _loading.append(name)
    try:
        module = _file(Path(place), name) if place.endswith(".py") else _module(place)
    except _CameToVerify as ended:
        module = ended.args[0]
        if not _has(module, attribute):
            why = 'put its campaigns under `if __name__ == "__main__":`'
            raise TargetError(f"{place} begins a campaign before it defines {attribute}: {why}") from None
        sys.modules[name] = module
    finally:
        _loading.pop()
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
