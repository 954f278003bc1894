"""Convolution by fast Fourier transforms, and what it may get wrong.

Knows the operands behind the sums of a call; not the output's format. Bounds are norm-wise, over whole images.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from refconv.core.formats import unit_roundoff
from refconv.core.geometry import Geometry
from refconv.core.padding import pad
from refconv.judge.bounds.algorithm import ANYTHING, Estimate, Unrounded
from refconv.judge.bounds.flush import NOTHING, Flush
from refconv.judge.bounds.rounding import OUTWARDS, exact_sum, growth, lost, smallest_normal
from refconv.judge.bounds.sums import Sums

RADICES = (2, 3, 5, 7)


def stage_error(u: float) -> float:
    """Largest relative error that a transform gains, in the Euclidean norm, where its size doubles.

    A stage of radix p multiplies by twiddle factors (4u: 3u for a complex product, u for the factor) and adds p terms
    with factors of their own, (p + 3) u for each, which is sqrt(p) (p + 3) u in the norm. The stage makes the size p
    times as large: log2(p) doublings. Of the radices that are in use the worst is taken.
    """
    return max((math.sqrt(p) * (p + 3) + 4) / math.log2(p) for p in RADICES) * OUTWARDS * u


@dataclass(frozen=True)
class FFT(Unrounded):
    """Transforms of image and filter, their products added over the channels, transformed back, and scaled.

    Of sizes that powers of 2, 3, 5 and 7 make, at most the double of the next power of two.
    """

    accumulator: np.dtype

    statistical = False
    unit = 0.0
    forward_only = True
    limits: ClassVar[Mapping[str, int]] = ANYTHING

    def estimate(self, sums: Sums, flush: Flush = NOTHING) -> Estimate:
        """Forward errors by Cauchy and Schwarz, those of the way back by the norm of the outputs.

        With norms of an image's and a filter's channel c, of transforms with relative error f and N elements, and with
        the error k of the products and their sum over C channels:
        sum over c of |x|_2 [((1 + f)^2 (1 + k) - 1) |w|_2 + f (1 + f) (1 + k) (|w|_1 + f sqrt(N) |w|_2)].
        """
        u, channels = unit_roundoff(self.accumulator), sums.geometry.in_channels // sums.geometry.groups
        doublings = _doublings(sums.geometry)
        size = 2.0**doublings
        f = growth(doublings, stage_error(u))
        k = growth(channels + 4, u)  # a complex product has 3
        x, (w, absolute) = _norms(sums.x, sums.geometry), _filter_norms(sums.w)
        weights = ((1 + f) ** 2 * (1 + k) - 1) * w + f * (1 + f) * (1 + k) * (absolute + f * math.sqrt(size) * w)
        # What underflow loses: 8 operations in every element of every stage, amplified by the stages after it.
        once = 16 * (doublings + 1) * lost(1, self.accumulator, flush_to_zero=flush.sums)
        lost_x, lost_w, lost_b = (
            once + flushed * smallest_normal(dtype)
            for flushed, dtype in zip(flush.of_operands(sums.call.op), sums.dtypes, strict=True)
        )
        constant = lost_x * math.sqrt(size) * w.sum(axis=1) + lost_b + channels * once
        error = sums.over_channels(x, OUTWARDS * (weights + lost_w * math.sqrt(size))) + sums.of_filters(constant)
        # Scaling the outputs and adding the bias are two roundings more.
        error = (1 + u) ** 2 * error + 2 * u * (1 + u) * sums.absolute
        peak = np.maximum(size * sums.over_channels(x, w), sums.of_filters(absolute.max(axis=1, initial=0)))
        peak = np.maximum(peak, math.sqrt(size) * sums.over_channels(x, np.ones(w.shape))) + sums.bias_magnitude
        spatial = tuple(range(2, sums.x.ndim))  # NaN and infinity reach all outputs of the image's group
        special = np.asarray(sums.x_special.any(axis=spatial))
        return Estimate(OUTWARDS * error, OUTWARDS * peak, sums.reached(special, sums.w_special))

    def exact(self, sums: Sums) -> np.ndarray:
        """Nowhere: roots of unity are rounded."""
        return np.zeros(sums.value.shape, bool)

    def __str__(self) -> str:
        return "fft" if self.accumulator == np.float32 else f"fft:{self.accumulator}"


def _doublings(geometry: Geometry) -> int:
    """Binary logarithm of the largest size of the transforms, over all axes: twice the next power of two along each."""
    return sum(math.ceil(math.log2(axis.padded + axis.extent - 1)) + 1 for axis in geometry.axes)


def _norms(x: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Upper bounds on the Euclidean norms of the padded channels, (N, C_in)."""
    padded = pad(x, geometry.padding, geometry.padding_mode)
    return _euclidean(padded.reshape(*padded.shape[:2], math.prod(geometry.padded_size)))


def _filter_norms(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Upper bounds on the filters' Euclidean norms and sums of magnitudes, (C_out, C_in // groups)."""
    taps = w.reshape(*w.shape[:2], math.prod(w.shape[2:]))
    return _euclidean(taps), exact_sum(taps.shape[2], taps.sum(axis=2))


def _euclidean(magnitudes: np.ndarray) -> np.ndarray:
    """Upper bounds on Euclidean norms along the last axis, scaled lest squares overflow or underflow."""
    largest = magnitudes.max(axis=2, keepdims=True, initial=0)
    scaled = np.divide(magnitudes, largest, out=np.zeros(magnitudes.shape), where=largest > 0)
    norms: np.ndarray = OUTWARDS * largest[..., 0] * np.sqrt(exact_sum(scaled.shape[2], np.square(scaled).sum(axis=2)))
    return norms
