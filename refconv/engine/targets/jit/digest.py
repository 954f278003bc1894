"""The digest of all that compiled code is made from: it names the folder that compiled code is kept in.

Compiled functions come from the modules that import `cfunctions`, the only door to the compiler, and from the modules
that those import: helpers, tiles, constants, the nest. The imports are read from the modules' code, so that no module
can be forgotten. Knows modules as code objects; not what they compute.
"""

import hashlib
import pkgutil
import sys
import types
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any

import llvmlite
import ml_dtypes
import numba
import numpy as np

TARGETS = "refconv.engine.targets"
BELOW = {
    f"{package}.{module.name}"
    for package in ("refconv.core", "refconv.engine")
    for module in pkgutil.iter_modules(sys.modules[package].__path__)
    if not module.ispkg
}
DOOR = f"{TARGETS}.jit.cfunctions"
PLAIN = (types.FunctionType, bool, int, float, complex, str, bytes, tuple, frozenset, np.dtype)


def digest() -> str:
    """A digest of the code of `sources()`, and of the versions of what compiles it."""
    versions = (sys.version, *(library.__version__ for library in (numba, llvmlite, np, ml_dtypes)))
    return hashlib.sha256(repr((versions, sorted(sources().items()))).encode()).hexdigest()


def sources() -> dict[str, Any]:
    """The modules that compiled code may come from, and what their code does: the same in every process.

    A target's modules are read from disk, for they are being imported now. Others may have been imported long ago, and
    their files edited since, so that their functions in memory are read.
    """
    codes = dict(_modules(TARGETS, sys.modules[TARGETS].__path__))
    reached: dict[str, Any] = {}
    waiting = [DOOR, *(name for name, code in codes.items() if DOOR in _imported(code))]
    while waiting:
        name = waiting.pop()
        if name in codes and name not in reached:
            reached[name] = _stable(codes[name])
            waiting += _imported(codes[name])
        elif name in BELOW:
            reached[name] = _loaded(import_module(name))
    return reached


def _modules(package: str, path: Iterable[str]) -> Iterator[tuple[str, types.CodeType]]:
    """All modules below a package with their code. None is imported: those of `cuda` would load numba.cuda."""
    for info in pkgutil.iter_modules(path, f"{package}."):
        spec: Any = info.module_finder.find_spec(info.name, None)
        yield info.name, spec.loader.get_code(info.name)
        if info.ispkg:
            yield from _modules(info.name, spec.submodule_search_locations)


def _imported(code: types.CodeType) -> set[str]:
    """Names of refconv's modules that code imports anywhere; some of the names are no modules."""
    names = set(_names(code))
    packages = {name for name in names if name.startswith("refconv.")}
    return packages | {f"{package}.{name}" for package in packages for name in names}


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _loaded(module: types.ModuleType) -> list[Any]:
    """The functions and the constants of a module that is loaded; of cached functions what they wrap."""
    members = sorted(
        (name, getattr(value, "__wrapped__", value)) for name, value in vars(module).items() if name[:2] != "__"
    )
    return [(name, _stable(value)) for name, value in members if isinstance(value, PLAIN)]


def _stable(value: Any) -> Any:
    """A constant in a form that is the same in every process: a code object without addresses and places in files."""
    if isinstance(value, types.FunctionType):
        return (
            _stable(value.__code__),
            _stable(value.__defaults__),
            _stable(tuple((value.__kwdefaults__ or {}).items())),
        )
    if isinstance(value, types.CodeType):
        return value.co_code, value.co_names, value.co_varnames, [_stable(constant) for constant in value.co_consts]
    if isinstance(value, tuple):
        return [_stable(element) for element in value]
    if isinstance(value, frozenset):
        return sorted(map(_stable, value), key=repr)
    return value
