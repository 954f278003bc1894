"""Evaluation of correlations into an array of floats, of complex numbers (part by part) or of exact integers.

Knows lowering, integers and targets; nothing of the caller's arguments.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from refconv.engine import integers, lowering
from refconv.engine.correlation import Correlation


class Arithmetic(NamedTuple):
    """How sums are computed: by which target, in which accumulator, into which dtype."""

    target: Any
    accumulator: np.dtype  # of the parts of complex numbers; for integers it is chosen later
    dtype: np.dtype  # of the result
    overflow: str


def evaluate(
    arithmetic: Arithmetic, correlations: Iterable[Correlation], result: np.ndarray, conjugate: str = ""
) -> None:
    """Fill `result`, which is not empty: the outputs of the correlations are views of it."""
    kind = arithmetic.dtype.kind
    for correlation in correlations:
        if kind in "iu":
            integers.correlate(correlation, arithmetic.target, integers.Fit(arithmetic.overflow, result))
        elif kind == "c":
            for real in lowering.parts(correlation, conjugate):
                arithmetic.target.run(real)
        else:
            arithmetic.target.run(correlation)
