"""Sums before they are stored: by how much they may be wrong, and where anything goes.

Knows algorithms and what becomes of sums; not what is computed of them then.
"""

from typing import NamedTuple

import numpy as np

from refconv.core.errors import GeometryError
from refconv.core.formats import largest
from refconv.judge.bounds.algorithm import Algorithm, refusal
from refconv.judge.bounds.output import Output
from refconv.judge.bounds.sums import Sums


class Unrounded(NamedTuple):
    """What an algorithm makes of sums."""

    error: np.ndarray  # largest error
    free: np.ndarray  # where NaN and infinity spread, or an operand is not representable
    overflow: np.ndarray  # where a partial sum may overflow
    exact: np.ndarray  # where no sum is rounded


def unrounded(algorithm: Algorithm, output: Output, sums: Sums, name: str) -> Unrounded:
    """The error of the sums of a call.

    Raises
    ------
    GeometryError
        If the algorithm can't compute such a convolution, by the name of the model.
    """
    if why := refusal(algorithm, sums.geometry):
        raise GeometryError(f"model={name!r}: {why}")
    error, peak, free = algorithm.estimate(sums, output.flush)
    exact = algorithm.exact(sums)
    overflow = ~(peak + error < largest(algorithm.accumulator))
    error = np.where(exact & sums.certain, 0, error)  # small integers, if not all are representable
    return Unrounded(error, free, overflow, exact)
