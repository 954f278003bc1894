"""Compiled code: C functions by Numba, kept on disk from process to process.

Numba's own cache would serve stale code when a helper in another file changes (https://github.com/numba/numba/issues/1833)
and may mix up files when several processes write to it (https://github.com/numba/numba/issues/4807). Here a file's name
is a digest of all that its code depends on: our code, the versions, the processor and the function's own key. It is
written whole or not at all, and a damaged one is compiled anew. Knows Numba's compiler; not what is compiled.
"""

import contextlib
import hashlib
import os
import pickle
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from numba import intp, njit, void
from numba.core import serialize
from numba.core.caching import _Cache
from numba.core.ccallback import CFunc
from numba.core.compiler import CompileResult
from numba.misc.appdirs import user_cache_dir

from refconv.engine.targets.jit.digest import digest

# Decorates functions that only compiled code calls, and that are compiled with it: wrappers for others would take
# half of the time to compile. (The options are missing in Numba's stubs.)
_COMPILED_WITH: Any = {"forceinline": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
inner = njit(error_model="numpy", **_COMPILED_WITH)


def cfunction(function: Callable[..., None], n_arguments: int, *key: object) -> Any:
    """`function` of `n_arguments` integers as a C function, from the cache if it is there.

    Parameters
    ----------
    key
        Names everything that `function` closes over: what distinguishes it besides its source.
    """
    compiled: Any = CFunc(function, ((intp,) * n_arguments, void), locals={}, options={"error_model": "numpy"})
    name = "-".join(map(str, (function.__name__, *key)))
    compiled._cache = _Files(name)  # noqa: SLF001 - there is no public way to another cache
    compiled.compile()
    return compiled


def entry_point(function: Callable[..., Any], signature: Any, *key: object) -> Any:
    """`function` of a Numba signature, arrays among it, to be called from Python, from the cache if it is there.

    It is what Numba's dispatcher calls after looking at the arguments: these must have the types of the signature.
    """
    dispatcher: Any = njit(error_model="numpy")(function)
    dispatcher._cache = _Files("-".join(map(str, (function.__name__, *key))))  # noqa: SLF001 - as above
    return dispatcher.compile(signature)


def folder() -> Path:
    """Where compiled code of this version is kept: under NUMBA_CACHE_DIR, if that is set, or in the user's cache."""
    base = os.environ.get("NUMBA_CACHE_DIR")
    return (Path(base) / "refconv" if base else Path(user_cache_dir("refconv", appauthor=False))) / DIGEST[:16]


class _Files(_Cache):
    """A cache as Numba wants it, for one function."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def cache_path(self) -> str:
        """The folder."""
        return str(folder())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled function, None if it is not there or damaged."""
        target_context.refresh()
        try:
            content = self._path(target_context.codegen()).read_bytes()
        except OSError:
            return None
        checksum, data = content[:32], content[32:]
        if hashlib.sha256(data).digest() != checksum:
            return None
        return CompileResult._rebuild(target_context, *pickle.loads(data))  # noqa: S301, SLF001 - our own file

    def save_overload(self, sig: Any, cres: Any) -> None:
        """Keep the compiled function, if there is a place to."""
        data = serialize.dumps(cres._reduce())  # noqa: SLF001 - Numba's way
        path = self._path(cres.codegen)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _whole(path) as file:
                file.write(hashlib.sha256(data).digest() + data)
        except OSError as error:
            _warn(str(path.parent), error.strerror or type(error).__name__)

    def _path(self, codegen: Any) -> Path:
        key = repr((self.name, DIGEST, *codegen.magic_tuple())).encode()
        return folder() / f"{self.name}-{hashlib.sha256(key).hexdigest()[:24]}.bin"

    def enable(self) -> None:
        """Always on."""

    def disable(self) -> None:
        """Always on."""

    def flush(self) -> None:
        """Nothing to do: a file never becomes stale, for its name is a digest of all that it depends on."""


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[Any]:
    """A file that other processes see whole or not at all."""
    file = tempfile.NamedTemporaryFile(dir=path.parent, delete=False)  # noqa: SIM115 - it is renamed
    try:
        with file:
            yield file
        Path(file.name).replace(path)
    except BaseException:
        Path(file.name).unlink(missing_ok=True)
        raise


# Made at import, of the code that is imported: files may be edited before anything is compiled.
DIGEST = digest()


@cache  # so that the warning comes once
def _warn(place: str, reason: str) -> None:
    warnings.warn(
        f"refconv can't keep compiled code in {place} ({reason}): each process compiles it anew. "
        "Set NUMBA_CACHE_DIR to a folder that can be written to.",
        RuntimeWarning,
        stacklevel=2,
    )
