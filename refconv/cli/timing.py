"""Timing: calls that take turns, under conditions that are the same for all of them and for every process.

Knows threads and the C library's memory; not what is timed.
"""

import ctypes
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from refconv.engine.targets.cpu import threads

LEAST_ROUNDS = 7
# Seconds of rest after a candidate's turn. Threads of its own may wait busily for more work, OpenBLAS's for some 80 ms,
# and the next call of another library then takes three to ten times as long.
REST = 0.15
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h

Contender = Callable[..., Any]  # a function that is timed


def keep_memory() -> None:
    """Let freed memory stay with this process, where its C library is glibc.

    glibc gives freed arrays back to the system or keeps them, as it happens. A call that gets new pages each time takes
    up to five times as long: a depthwise layer of torch's 1,500 µs or 330 µs, from process to process.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def same_threads(n_threads: int | None) -> Iterator[None]:
    """refconv and torch use so many threads (None: as many as refconv would); afterwards as many as before."""
    import numba
    import torch

    ours, theirs = threads.count(), torch.get_num_threads()
    try:
        # Numba first: starting its threads may change torch's number.
        if n_threads not in (None, ours):
            numba.set_num_threads(n_threads)
        torch.set_num_threads(threads.count())
        yield
    finally:
        if n_threads not in (None, ours):
            numba.set_num_threads(ours)
        torch.set_num_threads(theirs)


def in_turns(
    ours: Contender,
    peers: Sequence[Contender],
    seconds: float,
    rest: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[list[float], int]:
    """Median times in seconds, ours first, and in how many rounds: they take turns, so that load meets all alike.

    Ours goes before each peer, for a call is faster after one of its own library, whose threads are then still awake.

    Parameters
    ----------
    ours, peers : callables without parameters
        The functions to time; each is called once before, to warm up.
    seconds : float
        Least time to spend; there are at least `LEAST_ROUNDS` rounds, too.
    rest : float
        Seconds to wait before each round, for threads that the last peer left busy; then ours is called untimed once.
    clock : callable
        Returns the time in seconds.

    Examples
    --------
    >>> (ours, theirs), rounds = in_turns(lambda: sum(range(9)), [lambda: sum(range(10**5))], seconds=0.0)
    >>> ours < theirs, rounds
    (True, 7)
    """
    for call in (ours, *peers):
        call()
    times: list[list[float]] = [[] for _ in (ours, *peers)]
    end = clock() + seconds
    while len(times[1]) < LEAST_ROUNDS or clock() < end:
        if rest:
            time.sleep(rest)
            ours()
        for peer, taken in zip(peers, times[1:], strict=True):
            for call, into in ((ours, times[0]), (peer, taken)):
                start = clock()
                call()
                into.append(clock() - start)
    return [statistics.median(taken) for taken in times], len(times[1])
