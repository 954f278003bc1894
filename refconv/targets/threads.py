"""Threads: pieces of one job, run by as many threads as Numba is set to use. Knows no kernel.

A pool of Python threads that run kernels without the interpreter's lock, not Numba's `prange`: a call costs some 30
microseconds more, and it keeps all of: a forked child works (Numba's OpenMP layer kills it), several threads may call
at once (the workqueue layer aborts), torch's number of threads stays as it is (loading the OpenMP layer resets it), no
global setting changes.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise

import numba
from numba.np.ufunc import parallel

PIECES_PER_THREAD = 4  # a thread that finishes early takes another piece


def count() -> int:
    """Number of threads to use: that of `numba.set_num_threads`, else NUMBA_NUM_THREADS (by default the CPUs)."""
    # Asking Numba for its number starts its threads (and may reset torch's): only ask if they run anyway.
    running = parallel._is_initialized  # noqa: SLF001 - there is no public way to ask
    return int(numba.get_num_threads() if running else numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


def share(call: Callable[[tuple[int, int]], None], jobs: int) -> None:
    """Run `call((first, last))` over ranges that make up `0 <= job < jobs`, in parallel; wait until all are done."""
    n_threads = min(count(), jobs)
    if n_threads < 2:
        return call((0, jobs))
    pieces = min(jobs, n_threads * PIECES_PER_THREAD)
    cuts = [jobs * piece // pieces for piece in range(pieces + 1)]
    for _ in _pool(os.getpid(), n_threads).map(call, pairwise(cuts)):
        pass
    return None


@lru_cache(maxsize=4)
def _pool(process: int, n_threads: int) -> ThreadPoolExecutor:
    """The pool of this process: a forked child has no threads, so it must not use its parent's."""
    return ThreadPoolExecutor(n_threads, thread_name_prefix="refconv")
