"""Counts the exact sums that fell back to the superaccumulator (`refconv.count_redone`).

Knows counts only; nothing of sums.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class Redone:
    """Counts of what was computed with `precision="exact"`.

    Attributes
    ----------
    sums : int
        Sums rounded, two for a complex number; of a gradient under a padding mode some are rounded twice.
    redone : int
        How many of the sums the superaccumulator computed, because the rounding of sums of two numbers was not certain.
    """

    sums: int = 0
    redone: int = 0


_counts: ContextVar[tuple[Redone, ...]] = ContextVar("counts", default=())


@contextmanager
def count_redone() -> Iterator[Redone]:
    """Count the exact sums that this thread computes in a `with` block, and those computed a second time.

    Examples
    --------
    >>> import numpy as np
    >>> from refconv import conv2d
    >>> with count_redone() as count:
    ...     _ = conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)), precision="exact")
    >>> count
    Redone(sums=4, redone=0)
    """
    count = Redone()
    token = _counts.set((*_counts.get(), count))
    try:
        yield count
    finally:
        _counts.reset(token)


def report(sums: int, redone: int) -> None:
    """Add to all counts whose `with` block this thread is in."""
    for count in _counts.get():
        count.sums += sums
        count.redone += redone
