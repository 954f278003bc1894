"""Threads: pieces of one job, run by as many threads as Numba is set to use. Knows no kernel.

A pool of Python threads that run kernels without the interpreter's lock, not Numba's `prange`: measured, it costs some
30 microseconds more a call, and it alone keeps all of: the process survives a fork (Numba's OpenMP layer kills the child),
calls from several threads at once (the workqueue layer aborts), torch's number of threads stays as it is (loading the
OpenMP layer resets it), and importing changes no global setting.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numba
from numba.np.ufunc import parallel

PIECES_PER_THREAD = 4  # a thread that finishes early takes another piece


def count() -> int:
    """Number of threads to use: what `numba.set_num_threads` says, else NUMBA_NUM_THREADS, else the CPUs we may run on."""
    # Asking Numba for its number starts its threads (and may reset torch's): only ask if they run anyway.
    return int(numba.get_num_threads() if parallel._is_initialized else numba.config.NUMBA_NUM_THREADS)


def share(call: Callable[[tuple[int, int]], None], jobs: int) -> None:
    """Run `call((first, last))` over ranges that make up `0 <= job < jobs`, in parallel; wait until all are done."""
    n_threads = min(count(), jobs)
    if n_threads < 2:
        return call((0, jobs))
    pieces = min(jobs, n_threads * PIECES_PER_THREAD)
    cuts = [jobs * piece // pieces for piece in range(pieces + 1)]
    for _ in _pool(os.getpid(), n_threads).map(call, zip(cuts, cuts[1:])):
        pass
    return None


@lru_cache(maxsize=4)
def _pool(process: int, n_threads: int) -> ThreadPoolExecutor:
    """The pool of this process: a forked child has no threads, so it must not use its parent's."""
    return ThreadPoolExecutor(n_threads, thread_name_prefix="refconv")
