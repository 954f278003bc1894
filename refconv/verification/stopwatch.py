"""The stopwatch: how long failures may still be made small. Knows nothing else."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """What is left of the time that all failures together may take to be made small, and tried around."""

    def __init__(self, seconds: float) -> None:
        self.left = seconds

    @contextmanager
    def running(self) -> Iterator[None]:
        """Context whose time counts."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.left = max(0.0, self.left - (time.monotonic() - start))
