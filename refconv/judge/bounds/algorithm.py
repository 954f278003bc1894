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
from refconv.judge.bounds.flush import NOTHING, Flush
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
    def operand_deviation(self) -> float:
        """Standard deviation of the error that rounding the operands makes in one product, relative to ``|x w|``."""

    @property
    def forward_only(self) -> bool:
        """Whether its errors are known of convolutions only, not of gradients and transposed convolutions."""

    @property
    def planar_only(self) -> bool:
        """Whether its errors are known of two spatial axes only."""

    @property
    def complex_only(self) -> bool:
        """Whether it multiplies complex numbers, and no others."""

    def least(self, dtype: np.dtype) -> float:
        """Operands of a format that are smaller lose more than a relative error by their own rounding; or 0."""

    def operand_loss(self, sums: Sums) -> np.ndarray:
        """What the sums lose by operands that are so small, at most."""

    @property
    def limits(self) -> Mapping[str, int]:
        """What it can compute only: the numbers that these options must have on both axes."""

    def estimate(self, sums: Sums, flush: Flush = NOTHING) -> Estimate:
        """Error and size of the sums before they are rounded to the output's format."""

    def exact(self, sums: Sums) -> np.ndarray:
        """Where nothing is rounded but the exact value, once."""


class Unrounded:
    """What an algorithm says of the rounding of its operands if there is none, or none that is counted apart."""

    complex_only = False
    planar_only = False

    @property
    def operand_deviation(self) -> float:
        """0: products are exact, or what they lack is counted otherwise."""
        return 0.0

    def least(self, _dtype: np.dtype) -> float:
        """0: no operand loses anything."""
        return 0.0

    def operand_loss(self, _sums: Sums) -> np.ndarray:
        """0, too."""
        return np.zeros(())


def accumulator_dtype(accumulator: npt.DTypeLike) -> np.dtype:
    """The floating format in which an algorithm accumulates; others are refused."""
    return floating("accumulator", accumulator)


def floating(name: str, value: npt.DTypeLike) -> np.dtype:
    """The floating format that an argument names; others are refused."""
    dtype = formats.parse(name, value)
    if dtype not in formats.FLOATS:
        raise TypeError(f"{name}={value!r}: must be a floating format")
    return dtype


def dtype_refusal(algorithm: Algorithm, dtype: npt.DTypeLike) -> str:
    """Why an algorithm can't compute outputs of a dtype, or nothing."""
    impossible = algorithm.complex_only and np.dtype(dtype) not in formats.COMPLEX
    return f"the dtype must be complex, not {np.dtype(dtype)}" if impossible else ""


def refusal(algorithm: Algorithm, geometry: Geometry) -> str:
    """Why an algorithm can't compute such a convolution, or nothing."""
    for name, required in algorithm.limits.items():
        sizes = getattr(geometry, name)
        if any(size != required for size in sizes):
            return f"{name} {sizes}: must be {(required,) * len(sizes)}"
    return ""
