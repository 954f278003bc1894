"""The sums behind the outputs of a call, as far as a bound may depend on them.

Knows magnitudes of operands, and how to sum other non-negative ones in their place; not how errors follow from sums.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from refconv.core import formats
from refconv.core.geometry import Geometry
from refconv.core.operators import CONV, kind_of
from refconv.judge.bounds.rounding import exact_sum, smallest_normal
from refconv.ops.family import Call

Correlate: TypeAlias = Callable[[np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]


@dataclass(frozen=True, eq=False, kw_only=True)
class Sums:
    """What an error model may look at. All arrays are float64; those of the outputs have the shape of `value`.

    Complex numbers are there as real ones: of each output the real part and the imaginary part side by side, as
    `refconv.core.formats.parts` has them, and each of them the sum of twice as many real products.

    Parameters
    ----------
    value : ndarray
        e, the exact value as the oracle has it in float64; NaN and infinity stand for themselves.
    value_error : ndarray
        Bound on the oracle's own error.
    absolute : ndarray
        S, the sums of the terms' absolute values, not below their exact values.
    special : ndarray
        NaN and infinity where the operands make them come out, whatever the finite numbers are; elsewhere any number.
    call : Call
        Operator and geometry; its arrays are `x` and `w`.
    products : int
        Largest number of real products in a sum.
    x, w, bias : ndarray
        Magnitudes of the operands, with a batch axis where they have one: for a conv2d (N, C_in, H, W),
        (C_out, C_in // groups, R, S) and (C_out,) or None. What is not finite counts as 0. Where an operator adds up
        one array's elements only, w is the number 1.
    x_special, w_special : ndarray
        Where x and w are not finite.
    dtypes : tuple of dtype
        The operands' formats.
    integral : bool
        Whether all finite operands are integers, of complex numbers both parts.
    run : int
        Number of products that follow one another without a gap: those of one tap of the kernel.
    correlate : callable
        The oracle: computes the sums in float64 for other operands of these shapes, none negative.
    arrange : callable
        Brings an array of the shape of a batched output into the shape of `value`.
    is_complex : bool
        Whether the operands are complex numbers.
    doubled : bool
        Whether `call` is a real call of twice as many channels; else magnitudes of complex numbers are those of both
        parts together, and stand for both parts of the outputs.
    """

    value: np.ndarray
    value_error: np.ndarray
    absolute: np.ndarray
    special: np.ndarray
    call: Call
    products: int
    x: np.ndarray
    w: np.ndarray
    bias: np.ndarray | None
    x_special: np.ndarray
    w_special: np.ndarray
    dtypes: tuple[np.dtype, np.dtype, np.dtype]
    integral: bool
    run: int
    correlate: Correlate
    arrange: Callable[[np.ndarray], np.ndarray]
    is_complex: bool = False
    doubled: bool = False

    @property
    def geometry(self) -> Geometry:
        """That of the forward convolution concerned."""
        return self.call.geometry

    @property
    def terms(self) -> int:
        """n, the number of real products in a sum, the bias counted as one."""
        return self.products + (self.bias is not None)

    def of(self, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
        """Upper bound on the sums for other operands, none negative."""
        with np.errstate(all="ignore"):
            return exact_sum(self.terms, self.correlate(x, w, bias))

    def over_channels(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Upper bound on the sums of x[n, c, p, q] w[k, c], or x[n, c] w[k, c], over the channels c of a group.

        For a conv2d only.
        """
        g = self.geometry
        size = g.output_size if x.ndim > 2 else (1,) * len(g.size)
        filters, channels = g.out_channels // g.groups, g.in_channels // g.groups
        x = x.reshape(g.batch, g.groups, channels, math.prod(size))
        sums = (w.reshape(g.groups, filters, channels) @ x).reshape(g.batch, g.out_channels, *size)
        return self.arrange(np.broadcast_to(exact_sum(channels, sums[:, : g.output_shape[1]]), g.output_shape))

    def of_filters(self, values: np.ndarray) -> np.ndarray:
        """One number for each filter, (C_out,), spread over all outputs of the filter."""
        shape = self.call.shape
        spread = values[: shape[1]].reshape(-1, *(1 for _ in self.geometry.size))
        return self.arrange(np.broadcast_to(spread, shape))

    def touched(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Outputs with a term of which a marked element of x or w is a factor; or more, where w meets padding."""
        filters = None
        if not x.any() and not w.any():
            return np.zeros((), bool)
        if kind_of(self.call.op) == CONV:
            # All outputs of the filter: padding meets its elements too.
            filters = w.reshape(len(w), -1).any(axis=1).astype(float)
        elif w.any():
            return np.ones(self.value.shape, bool)
        touched: np.ndarray = self.correlate(x.astype(float), np.ones(w.shape), filters) > 0
        return touched

    @cached_property
    def independent(self) -> int:
        """Number of different elements of x, or of w if fewer, whose rounding errors the outputs can have."""
        shape = self.call.shape
        if len(shape) == 1:
            return shape[0]
        channels = shape[self.call.like != "weight"]
        return min(channels, math.prod(shape) // max(1, channels))

    def reached(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Outputs that depend on a marked x[n, c, p, q] or x[n, c] of their group, or a marked w of their filter."""
        if not x.any() and not w.any():
            return np.zeros((), bool)
        marks = self.over_channels(x.astype(float), np.ones(w.shape[:2]))
        reached: np.ndarray = (marks > 0.5) | (self.of_filters(w.reshape(len(w), -1).any(axis=1).astype(float)) > 0)
        return reached

    @cached_property
    def squares(self) -> np.ndarray:
        """Q, the roots of the sums of the terms' squares, not below their exact values."""
        x_scale = _scale(self.x)
        scale = max(x_scale * _scale(self.w), _scale(self.bias_magnitude))  # no square is to overflow
        with np.errstate(all="ignore"):
            bias = None if self.bias is None else np.square(self.bias / scale)
            squares = self.of(np.square(self.x / x_scale), np.square(self.w * (x_scale / scale)), bias)
            roots: np.ndarray = scale * np.sqrt(squares)
        return roots

    @cached_property
    def bias_magnitude(self) -> np.ndarray:
        """|bias| for each output, or 0."""
        return np.zeros(self.value.shape) if self.bias is None else self.of_filters(self.bias)

    @cached_property
    def certain(self) -> np.ndarray:
        """Where `value` is the exact value: sums of integers that float64 adds without rounding."""
        certain: np.ndarray = self.integral & (self.absolute < 1 / formats.unit_roundoff("float64"))
        return certain

    @cached_property
    def modulus(self) -> np.ndarray:
        """Of complex operands, sums of (|a| + |b|)(|c| + |d|) over products of a + ib and c + id, for both parts."""
        if not self.doubled:
            return self.absolute
        both = self.absolute[..., ::2] + self.absolute[..., 1::2]
        return np.repeat(both, 2, axis=-1)

    @cached_property
    def magnitude(self) -> np.ndarray:
        """Upper bound on |e|."""
        magnitude: np.ndarray = np.abs(self.value) + self.value_error
        return magnitude

    def at_the_edge(self, error: np.ndarray, out: npt.DTypeLike) -> np.ndarray:
        """Where a sum that is wrong by as much may be the largest number of the format, or overflow."""
        most = formats.largest(out)
        past = np.abs(self.value) - self.value_error - error > most * (1 + 2 * formats.unit_roundoff(out))
        edge: np.ndarray = ~(self.magnitude + error < most) & ~past & np.isfinite(self.special)
        return edge


def _scale(magnitudes: np.ndarray) -> float:
    """The power of two at or below the largest number, but no less than the smallest normal one."""
    largest = float(magnitudes.max(initial=smallest_normal("float64")))
    return math.ldexp(1.0, math.frexp(largest)[1] - 1)
