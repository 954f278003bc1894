"""Winograd's minimal filtering: its transforms as rational matrices, and what they may get wrong.

Knows the operands behind the sums of a call; not the output's format. Bounds hold for tiles that lie anywhere.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import NamedTuple

import numpy as np

from refconv.core.checks import integer
from refconv.core.errors import GeometryError
from refconv.core.formats import unit_roundoff
from refconv.core.padding import pad
from refconv.judge.bounds.algorithm import Estimate
from refconv.judge.bounds.rounding import OUTWARDS, growth, lost, smallest_normal
from refconv.judge.bounds.sums import Sums

# In the order in which implementations take them (Lavin and Gray 2016; Barabasz et al. 2020); infinity comes last.
POINTS = tuple(map(Fraction, ("0", "1", "-1", "2", "-2", "1/2", "-1/2", "4", "-4", "1/4", "-1/4")))


class Transforms(NamedTuple):
    """y = A^T [(G w) * (B^T x)]: m outputs of a correlation with r weights, from m + r - 1 inputs."""

    output: list[list[Fraction]]  # A^T, m by m + r - 1
    weight: list[list[Fraction]]  # G, m + r - 1 by r
    input: list[list[Fraction]]  # B^T


@cache
def transforms(m: int, r: int) -> Transforms:
    """Matrices of F(m, r) by the method of Toom and Cook, over the points 0, 1, -1, 2, -2, 1/2, ... and infinity.

    Scaled as G has it that the weights alone are divided; customary ones differ by factors that move from one matrix to
    another, which no bound below depends on.

    Parameters
    ----------
    m, r : int
        Numbers of outputs and of weights.

    Raises
    ------
    GeometryError
        If m + r - 1 is more than the number of points.

    References
    ----------
    Winograd, "Arithmetic Complexity of Computations", SIAM 1980; Lavin and Gray, "Fast algorithms for convolutional
    neural networks", CVPR 2016.

    Examples
    --------
    >>> [list(map(str, row)) for row in transforms(2, 3).weight]
    [['-1', '0', '0'], ['1/2', '1/2', '1/2'], ['1/2', '-1/2', '1/2'], ['0', '0', '1']]
    """
    size = integer("m", m, 2) + integer("r", r, 2) - 1
    if size > len(POINTS) + 1:
        raise GeometryError(f"m={m}: m + r - 1 must be at most {len(POINTS) + 1}, with r={r}")
    points = POINTS[: size - 1]
    others = [[other for other in points if other != point] for point in points]
    divisors = [math.prod(point - other for other in rest) for point, rest in zip(points, others, strict=True)]
    infinity = Fraction(1)
    output = [[point**i for point in points] + [infinity * (i == m - 1)] for i in range(m)]
    weight = [[point**k / divisor for k in range(r)] for point, divisor in zip(points, divisors, strict=True)]
    weight.append([infinity * (k == r - 1) for k in range(r)])
    return Transforms(output, weight, [*([*_polynomial(rest), Fraction(0)] for rest in others), _polynomial(points)])


def _polynomial(roots: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients of the product of all (X - root), ascending."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *coefficients]
        coefficients = [a - root * b for a, b in zip(shifted, [*coefficients, Fraction(0)], strict=True)]
    return coefficients


@dataclass(frozen=True)
class Winograd:
    """F(m x m, r x r): transforms of tiles and filters, their products added over the channels, transformed back."""

    accumulator: np.dtype
    m: int
    r: int

    statistical = False
    unit = 0.0
    forward_only = True

    def __post_init__(self) -> None:
        transforms(self.m, self.r)

    @property
    def limits(self) -> Mapping[str, int]:
        """What it can compute only."""
        return {"stride": 1, "dilation": 1, "kernel": self.r}

    def estimate(self, sums: Sums, *, flush_to_zero: bool = False) -> Estimate:
        """Error by depth: the largest number of roundings that a path from a product to an output meets.

        A sum of k products on the way has k roundings, one more for those of its constants, and one for a factor taken
        out of it. So the error is at most (1 + u)^depth - 1 times
        |A^T| [sum over c of (|G| |w| |G^T|) * (|B^T| |x| |B|)] |A|, whatever factors are moved between the matrices. x
        is the largest magnitude in all the tiles that an output may lie in.
        """
        a, b, g = self._norms()
        t, channels = self.m + self.r - 1, sums.geometry.in_channels // sums.geometry.groups
        depth = 2 * (self.r + 2) + 4 * (t + 2) + channels + 2
        relative = growth(depth, unit_roundoff(self.accumulator))
        x, w = self._neighborhood(sums, sums.x), self._amplified(sums.w)
        largest = sums.w.max(axis=(2, 3), initial=0)

        once = lost(1, self.accumulator, flush_to_zero=flush_to_zero)
        flushed = [flush_to_zero * smallest_normal(dtype) for dtype in sums.dtypes]
        lost_x, lost_w = t * once * (1 + b) + flushed[0] * b * b, self.r * once * (1 + g) + flushed[1] * g * g
        weights = relative * w + (1 + relative) * (a * b) ** 2 * lost_w
        constant = (a * g) ** 2 * lost_x * largest.sum(axis=1) + a * a * channels * (lost_w * lost_x + once)
        constant = (1 + relative) * (constant + t * once * (1 + a) + once + flushed[2])

        amplified = sums.over_channels(x, w) + sums.bias_magnitude
        error = sums.over_channels(x, weights) + relative * sums.bias_magnitude
        error = OUTWARDS * (error + sums.of_filters(constant))
        peak = np.maximum(amplified, sums.of_filters(g * g * largest.max(axis=1, initial=0)))
        peak = np.maximum(peak, b * b * sums.over_channels(x, np.ones(w.shape)))
        special = self._neighborhood(sums, sums.x_special.astype(float))  # NaN and infinity reach whole tiles
        return Estimate(error, OUTWARDS * peak, sums.reached(special, sums.w_special))

    def exact(self, sums: Sums) -> np.ndarray:
        """Nowhere: the transforms divide."""
        return np.zeros(sums.value.shape, bool)

    def __str__(self) -> str:
        accumulator = "" if self.accumulator == np.float32 else f",{self.accumulator}"
        return f"winograd:{self.m},{self.r}{accumulator}"

    def _matrices(self) -> list[np.ndarray]:
        """Magnitudes of A^T, G and B^T."""
        return [np.abs(np.array(matrix, float)) for matrix in transforms(self.m, self.r)]

    def _norms(self) -> list[float]:
        """The largest absolute row sums of A^T, B^T and G."""
        output, weight, tile = (float(matrix.sum(axis=1).max()) for matrix in self._matrices())
        return [output, tile, weight]

    def _amplified(self, w: np.ndarray) -> np.ndarray:
        """|A^T| [(|G| |w| |G^T|) * (|B^T| 1 |B|)] |A|, its largest element for each filter and channel."""
        output, weight, tile = self._matrices()
        along = OUTWARDS * (output * tile.sum(axis=1)) @ weight
        spread = np.einsum("ir,kcrs,js->kcij", along, w, along)
        largest: np.ndarray = OUTWARDS * spread.max(axis=(2, 3), initial=0)
        return largest

    def _neighborhood(self, sums: Sums, x: np.ndarray) -> np.ndarray:
        """For each output, the largest of x in all tiles of the input that the output may be computed from."""
        g = sums.geometry
        more = ((self.m - 1, self.m - 1),) * len(g.size)
        largest = pad(pad(x, g.padding, g.padding_mode), more, "zeros")
        for axis in range(2, largest.ndim):
            largest = np.lib.stride_tricks.sliding_window_view(largest, 2 * self.m + self.r - 2, axis=axis).max(axis=-1)
        return largest
