"""The clock of calls: since when the candidate is at work, for another process to read whatever this one does.

Knows a file that two processes map; not who is called.
"""

import contextlib
import mmap
import os
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_TIME = struct.Struct("d")


class Clock:
    """When the first of the calls that are under way was begun, in memory that two processes share.

    Their time is `time.monotonic`, which is the machine's. Reading needs nothing of the process that is called: a call
    may hold its interpreter, or stop it.

    Parameters
    ----------
    path
        A file that another clock has made; if not given, one is made.

    Examples
    --------
    >>> here = Clock()
    >>> there = Clock(here.path)
    >>> with there.calling():
    ...     here.running() >= 0
    True
    >>> here.running() is None
    True
    >>> there.close(), here.close()
    (None, None)
    """

    def __init__(self, path: str = "") -> None:
        self.path, self._owner = path, not path
        if not path:
            descriptor, self.path = tempfile.mkstemp(prefix="refconv-clock-")
            os.write(descriptor, bytes(_TIME.size))
            os.close(descriptor)
        with Path(self.path).open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _TIME.size)
        self._calls, self._lock = 0, threading.Lock()

    @contextlib.contextmanager
    def calling(self) -> Iterator[None]:
        """Context of a call."""
        with self._lock:
            self._calls += 1
            if self._calls == 1:
                _TIME.pack_into(self._memory, 0, time.monotonic())
        try:
            yield
        finally:
            with self._lock:
                self._calls -= 1
                if not self._calls:
                    _TIME.pack_into(self._memory, 0, 0.0)

    def running(self) -> float | None:
        """For how many seconds a call is under way; None if there is none."""
        (start,) = _TIME.unpack_from(self._memory, 0)
        return max(0.0, time.monotonic() - start) if start else None

    def remove(self) -> None:
        """Remove the file, where systems allow that while it is mapped: nothing is left of it if this process dies."""
        if self._owner:
            with contextlib.suppress(PermissionError):
                Path(self.path).unlink(missing_ok=True)

    def close(self) -> None:
        """Forget the memory; who made the file removes it."""
        self._memory.close()
        self.remove()


SELDOM = 10.0  # seconds that pass at least before what is done between calls is done again

_clock: Clock | None = None  # of this process, if another one asks
_between: tuple[Callable[[], None], float] | None = None  # what is done between calls, and when it was done


def share(path: str) -> None:
    """Tell the process that has made this file when candidates are called in this one."""
    global _clock  # noqa: PLW0603 - one for each worker process, set once
    _clock = Clock(path)


def between(done: Callable[[], None]) -> None:
    """Do something before a call once in a while: whoever waits for the calls of a case lets each have its time."""
    global _between  # noqa: PLW0603 - one for each worker process
    _between = done, time.monotonic()


@contextlib.contextmanager
def calling() -> Iterator[None]:
    """Context of a call of the candidate."""
    if _between and time.monotonic() - _between[1] > SELDOM:
        _between[0]()
        between(_between[0])
    with _clock.calling() if _clock else contextlib.nullcontext():
        yield
