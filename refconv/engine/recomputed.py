"""Redone: how many exact sums were computed a second time, for whoever asks.

Knows nothing of sums.
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
        Of these, how many were computed by the superaccumulator, for their rounding was not certain otherwise.
    """

    sums: int = 0
    redone: int = 0


_counts: ContextVar[tuple[Redone, ...]] = ContextVar("counts", default=())


@contextmanager
def count_redone() -> Iterator[Redone]:
    """Count the exact sums that are computed in a `with` block, by this thread, and those computed a second time.

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
    """Tell those who count."""
    for each in _counts.get():
        each.sums += sums
        each.redone += redone
