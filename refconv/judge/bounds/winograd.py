"""Winograd's minimal filtering: its transforms as rational matrices, and what they may get wrong.

Knows the operands behind the sums of a call; not the output's format. Bounds hold for tiles that lie anywhere.
"""

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from refconv.core.checks import integer
from refconv.core.errors import GeometryError
from refconv.core.formats import largest, underflow_unit, unit_roundoff
from refconv.core.padding import pad
from refconv.judge.bounds.algorithm import Estimate, Unrounded, accumulator_dtype, floating
from refconv.judge.bounds.flush import NOTHING, Flush
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
def transforms(m: int, r: int, points: tuple[Fraction, ...] = ()) -> Transforms:
    """Matrices of F(m, r) by the method of Toom and Cook, over some points and infinity.

    Scaled as G has it that the weights alone are divided; customary ones differ by factors that move from one matrix to
    another, which no bound below depends on.

    Parameters
    ----------
    m, r : int
        Numbers of outputs and of weights.
    points : tuple of Fraction
        m + r - 2 numbers, all different; 0, 1, -1, 2, -2, 1/2, ... if there are none.

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
    if not points and size > len(POINTS) + 1:
        raise GeometryError(f"m={m}: m + r - 1 must be at most {len(POINTS) + 1}, with r={r}")
    points = points or POINTS[: size - 1]
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


def points_of(points: Any, m: int, r: int) -> tuple[Fraction, ...]:
    """The points that an argument names, as rational numbers; none if they are the customary ones, in any order.

    Parameters
    ----------
    points : sequence of numbers or str, str, or None
        Numbers as they are, floats too; texts such as "-1/2" and "0.1", or all in one text, "0;1;-1" or "0,1,-1".
    m, r : int
        Numbers of outputs and of weights.

    Raises
    ------
    GeometryError, TypeError
        If they are not m + r - 2 finite numbers, all different, of which no transform overflows float64.

    Examples
    --------
    >>> points_of("0;1;-1;1/2", 4, 2), points_of((1, 0, -1), 2, 3)
    ((Fraction(0, 1), Fraction(1, 1), Fraction(-1, 1), Fraction(1, 2)), ())
    """
    size = integer("m", m, 2) + integer("r", r, 2) - 2
    if points is None:
        return ()
    wanted = f"must be {size} different finite numbers for m={m}, r={r}; infinity is implied, as the last point"
    try:
        rational = tuple(map(_rational, points.replace(";", ",").split(",") if isinstance(points, str) else points))
    except TypeError:
        raise TypeError(f"points={points!r}: {wanted}") from None
    except (ValueError, OverflowError, ZeroDivisionError) as error:
        raise GeometryError(f"points={points!r}: {wanted} ({error})") from None
    if len(rational) != size or len(set(rational)) != size:
        raise GeometryError(f"points={points!r}: {wanted}")
    if set(rational) == set(POINTS[:size]):
        return ()
    try:
        for matrix in transforms(m, r, rational):
            np.array(matrix, float)
    except OverflowError:
        raise GeometryError(f"points={points!r}: their transforms must not overflow float64") from None
    return rational


def _check_constants(name: str, dtype: np.dtype, rows: Sequence[Sequence[Fraction]]) -> None:
    """Refuse a format in which a constant of a transform would overflow, or lose more than a rounding."""
    constants = [abs(float(constant)) for row in rows for constant in row if constant]
    if not smallest_normal(dtype) <= min(constants) <= max(constants) <= largest(dtype):
        numbers = f"from {min(constants):.3g} to {max(constants):.3g}"
        raise GeometryError(f"{name}={str(dtype)!r}: must have all constants of the transforms, {numbers}")


def _rational(point: Any) -> Fraction:
    """One point: a text, or a number of any kind."""
    if isinstance(point, bool) or not isinstance(point, str | numbers.Number | np.number):
        raise TypeError(f"{point!r} is no number")
    return Fraction(point) if isinstance(point, str | Fraction | int) else Fraction(float(point))  # type: ignore[arg-type]


def _text(points: Sequence[Fraction]) -> str:
    return ";".join(map(str, points))


@dataclass(frozen=True)
class Winograd(Unrounded):
    """F(m x m, r x r): transforms of tiles and filters, their products added over the channels, transformed back."""

    accumulator: np.dtype
    m: int
    r: int
    points: tuple[Fraction, ...] = ()
    transforms: np.dtype | None = None

    statistical = False
    unit = 0.0
    forward_only = True
    planar_only = True

    @classmethod
    def of(cls, m: int, r: int, accumulator: npt.DTypeLike, points: Any, narrow: npt.DTypeLike | None) -> Self:
        """The algorithm over some points, its transforms in some format.

        Raises
        ------
        GeometryError, TypeError
            For m and r without customary transforms, points that can't be, formats that are no floating ones, and
            transforms in a wider format than that of the sums.
        """
        rational, dtype = points_of(points, m, r), accumulator_dtype(accumulator)
        kept = dtype if narrow is None else floating("transforms", narrow)
        if unit_roundoff(kept) < unit_roundoff(dtype):
            raise GeometryError(f"transforms={narrow!r}: must have no more significant bits than accumulator={dtype}")
        back, *first = transforms(m, r, rational)
        _check_constants("accumulator", dtype, back)
        _check_constants(
            "accumulator" if narrow is None else "transforms", kept, [row for rows in first for row in rows]
        )
        return cls(dtype, m, r, rational, None if kept == dtype else kept)

    @property
    def limits(self) -> Mapping[str, int]:
        """What it can compute only."""
        return {"stride": 1, "dilation": 1, "kernel": self.r}

    def estimate(self, sums: Sums, flush: Flush = NOTHING) -> Estimate:
        """Error by depth: the largest number of roundings that a path from a product to an output meets.

        A sum of k products on the way has k roundings, one more for those of its constants, and one for a factor taken
        out of it. So the error is at most (1 + u)^depth - 1 times
        |A^T| [sum over c of (|G| |w| |G^T|) * (|B^T| |x| |B|)] |A|, whatever factors are moved between the matrices. x
        is the largest magnitude in all the tiles that an output may lie in.

        With `transforms` those of input and weight, on two paths that meet in a product, are computed and kept in that
        format, of unit v: [(1 + v)^a (1 + u)^b - 1], one more rounding for each operand, the sums over channels and the
        transform back in the accumulator. Overflow is predicted for the customary scaling (see `transforms`).
        """
        a, b, g = self._norms()
        t, channels = self.m + self.r - 1, sums.geometry.in_channels // sums.geometry.groups
        relative = self._relative(channels)
        x, w = self._neighborhood(sums, sums.x), self._amplified(sums.w)
        most = sums.w.max(axis=(2, 3), initial=0)

        once = lost(1, self.accumulator, flush_to_zero=flush.sums)
        lost_x, lost_w, lost_b = self._lost(sums, flush)
        weights = relative * w + (1 + relative) * (a * b) ** 2 * lost_w
        constant = (a * g) ** 2 * lost_x * most.sum(axis=1) + a * a * channels * (lost_w * lost_x + once)
        constant = (1 + relative) * (constant + t * once * (1 + a) + once + lost_b)

        amplified = sums.over_channels(x, w) + sums.bias_magnitude
        error = sums.over_channels(x, weights) + relative * sums.bias_magnitude
        error = OUTWARDS * (error + sums.of_filters(constant))
        special = self._neighborhood(sums, sums.x_special.astype(float))  # NaN and infinity reach whole tiles
        free = sums.reached(special, sums.w_special)
        if self.transforms is None:
            peak = np.maximum(amplified, sums.of_filters(g * g * most.max(axis=1, initial=0)))
            peak = np.maximum(peak, b * b * sums.over_channels(x, np.ones(w.shape)))
            return Estimate(error, OUTWARDS * peak, free)
        limit = largest(self.transforms) / (1 + self._relative(0)) / OUTWARDS
        large = max(1, b * b) * x + lost_x >= limit, max(1, g * g) * sums.w + lost_w >= limit
        return Estimate(error, OUTWARDS * amplified, free | sums.reached(*large))

    def _relative(self, channels: int) -> float:
        """Largest relative error of a sum over so many channels, by the number of roundings on the way."""
        t, u = self.m + self.r - 1, unit_roundoff(self.accumulator)
        before, after = 2 * (self.r + 2) + 2 * (t + 2), 2 * (t + 2) + channels + 2
        if self.transforms is None:
            return growth(before + after, u)
        first, second = growth(before + 2, unit_roundoff(self.transforms)), growth(after, u)
        return OUTWARDS * (first + second + first * second)

    def _lost(self, sums: Sums, flush: Flush) -> tuple[float, float, float]:
        """What underflow may take from an element of a transformed tile, of a transformed filter, and from the bias."""
        _, b, g = self._norms()
        narrow = self.transforms or self.accumulator
        once = lost(1, narrow, flush_to_zero=flush.sums)
        cast, least = (0.0, 0.0) if self.transforms is None else (underflow_unit(narrow), smallest_normal(narrow))
        flushed, normal = flush.of_operands(sums.call.op), [smallest_normal(dtype) for dtype in sums.dtypes]
        x, w = flushed.x * max(normal[0], least) + cast, flushed.w * max(normal[1], least) + cast
        t = self.m + self.r - 1
        lost_x, lost_w = t * once * (1 + b) + x * b * b, self.r * once * (1 + g) + w * g * g
        return lost_x, lost_w, flushed.bias * normal[2]

    def exact(self, sums: Sums) -> np.ndarray:
        """Nowhere: the transforms divide."""
        return np.zeros(sums.value.shape, bool)

    def __str__(self) -> str:
        accumulator = "" if self.accumulator == np.float32 else f",{self.accumulator}"
        points = f",points={_text(self.points)}" if self.points else ""
        narrow = "" if self.transforms is None else f",transforms={self.transforms}"
        return f"winograd:{self.m},{self.r}{accumulator}{points}{narrow}"

    def _matrices(self) -> list[np.ndarray]:
        """Magnitudes of A^T, G and B^T."""
        return [np.abs(np.array(matrix, float)) for matrix in transforms(self.m, self.r, self.points)]

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
