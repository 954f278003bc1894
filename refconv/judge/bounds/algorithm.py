"""What an error model asks of an algorithm, and what the algorithm answers.

Knows the sums of a call; no algorithm in particular, and not the output's format.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from refconv.core import formats
from refconv.core.geometry import Geometry
from refconv.judge.bounds.sums import Sums


class Estimate(NamedTuple):
    """How wrong and how large the sums of a call may be, before they are rounded to the output's format."""

    error: np.ndarray  # largest error of a sum
    peak: np.ndarray  # no number on the way to the sum is larger, but for its error
    free: np.ndarray  # where anything may come of it, whatever the numbers are


ANYTHING: Mapping[str, int] = MappingProxyType({})  # the limits of an algorithm that computes every convolution


class Algorithm(Protocol):
    """A way to compute the sums of a call."""

    @property
    def accumulator(self) -> np.dtype:
        """Format of its sums."""

    @property
    def statistical(self) -> bool:
        """Whether its errors have mean 0 where significands are random."""

    @property
    def unit(self) -> float:
        """Largest error of one product and its addition, relative to ``|x w|``, but for terms of higher order; or 0."""

    @property
    def forward_only(self) -> bool:
        """Whether its errors are known of a conv2d only, not of gradients and transposed convolutions."""

    @property
    def limits(self) -> Mapping[str, int]:
        """What it can compute only: the numbers that these options must have on both axes."""

    def estimate(self, sums: Sums, *, flush_to_zero: bool) -> Estimate:
        """Error and size of the sums before they are rounded to the output's format."""

    def exact(self, sums: Sums) -> np.ndarray:
        """Where nothing is rounded but the exact value, once."""


def accumulator_dtype(accumulator: npt.DTypeLike) -> np.dtype:
    """The floating format in which an algorithm accumulates; others are refused."""
    dtype = formats.parse("accumulator", accumulator)
    if dtype not in formats.FLOATS:
        raise TypeError(f"accumulator={accumulator!r}: must be a floating format")
    return dtype


def refusal(algorithm: Algorithm, geometry: Geometry) -> str:
    """Why an algorithm can't compute such a convolution, or nothing."""
    for name, required in algorithm.limits.items():
        sizes = getattr(geometry, name)
        if any(size != required for size in sizes):
            return f"{name} {sizes}: must be {(required,) * len(sizes)}"
    return ""
