"""Threads: one C function, called by as many threads as Numba is set to use. Knows C functions; no kernel.

The threads are those of an OpenMP runtime: torch's where torch is loaded, else the system's. Sharing torch's is what
makes calls that take turns with torch's fast: after each of its calls, torch's threads wait busily for the next, and
other threads would have to wait for the processors. The runtime is called, not configured: its settings and torch's
number of threads stay as they are. Without such a runtime, and in a forked child, where OpenMP does not work, a pool of
Python threads does the same, but takes longer to wake (docs/design.md has the measurements).
"""

import contextlib
import ctypes
import math
import os
import sys
import time
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
from numba.np.ufunc import parallel

from refconv.engine.targets import forked

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

AWAKE_SECONDS = 0.005  # by default, OpenMP's threads wait busily for longer than this before they sleep

_latest = [-math.inf]  # when threads were last used here


def count() -> int:
    """Number of threads to use: that of `numba.set_num_threads`, else NUMBA_NUM_THREADS (by default the CPUs)."""
    # Asking Numba for its number starts its threads (and may reset torch's number): ask only if they run anyway.
    running = parallel._is_initialized  # noqa: SLF001 - there is no public way to ask
    return int(numba.get_num_threads() if running else numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


def share(function: Any, argument: int, n_threads: int, kept: Any) -> None:
    """Call `function(argument)` in this thread and, at once, in up to `n_threads - 1` others.

    Each call must return only when all the work is done: the others may come too late to find any, or not at all.

    Parameters
    ----------
    function
        A Numba C function of an address.
    kept
        Objects whose memory the function uses: kept alive until the last of the calls has returned.
    """
    if n_threads < 2:
        function.ctypes(argument)
        return
    parallel_call = openmp()
    if parallel_call is not None:
        parallel_call(function.address, argument, n_threads, 0)
    else:
        with contextlib.suppress(RuntimeError):  # as the program ends, a pool takes no calls: this thread does all
            pool = _pool(os.getpid(), n_threads - 1)
            for _ in range(1, n_threads):
                pool.submit(_call, function, argument, kept)
        function.ctypes(argument)
    _latest[0] = time.monotonic()


def openmp() -> Any:
    """OpenMP's function to call a function in several threads, None where the pool does better.

    The pool does better without an OpenMP runtime, in a forked child, and after a pause: the runtime returns when its
    last thread does, and the system may take milliseconds to wake a thread. Torch's threads are taken to be awake, for
    that can't be known.
    """
    if forked():
        return None
    torchs = _torch() is not None
    return _gomp_parallel(torchs) if torchs or time.monotonic() - _latest[0] < AWAKE_SECONDS else None


def runtime() -> str:
    """Whose threads are used, in words."""
    torchs = _torch() is not None
    parallel_call = None if forked() else _gomp_parallel(torchs)
    if parallel_call is None:
        return "of a pool of Python's"
    return (
        "of torch's OpenMP runtime"
        if torchs and parallel_call is not _gomp_parallel(False)
        else "of the system's OpenMP"
    )


def _call(function: Any, argument: int, _kept: Any) -> None:
    function.ctypes(argument)


def _torch() -> Any:
    return sys.modules.get("torch")  # None also where an import of it is blocked


@cache
def _gomp_parallel(torchs: bool) -> Any:
    """GOMP_parallel(function, argument, threads, flags) of the runtime, None if there is none.

    LLVM's and Intel's runtimes have GNU's entry point too (https://gcc.gnu.org/onlinedocs/libgomp/).
    """
    library = Path(_torch().__file__ or "").parent / "lib" / "libtorch_cpu.so" if torchs else "libgomp.so.1"
    try:
        function = ctypes.CDLL(str(library)).GOMP_parallel  # in the library, or in what it is linked to
    except (OSError, AttributeError):
        return _gomp_parallel(False) if torchs else None
    function.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    function.restype = None
    return function


@lru_cache(maxsize=4)
def _pool(process: int, n_threads: int) -> "ThreadPoolExecutor":
    """The pool of this process: a forked child has no threads, so it must not use its parent's."""
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(n_threads, thread_name_prefix="refconv")
