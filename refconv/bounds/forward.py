"""The sums of a forward convolution, of floats or of complex numbers.

Knows this operator only; nothing of error models.
"""

from dataclasses import dataclass, replace

import numpy as np

from refconv import formats, ops
from refconv.arrays import Operands
from refconv.bounds.rounding import direct_sum, exact_sum, rounded
from refconv.bounds.sums import Sums
from refconv.geometry import Geometry


def convolution_sums(
    geometry: Geometry,
    operands: Operands,
    value: np.ndarray,
    special: np.ndarray,
    *,
    exact: bool = False,
) -> Sums:
    """The sums behind the outputs of a conv2d.

    Parameters
    ----------
    geometry : Geometry
        Of the call.
    operands : tuple of ndarray
        Input, with or without a batch axis, weight, and bias or None: floats or complex numbers.
    value, special : ndarray
        The oracle's output in float64 or complex128, and NaN and infinity where they must come out.
    exact : bool
        Whether `value` is the exact value rounded once, not the sum in float64.

    Examples
    --------
    >>> from refconv.geometry import convolution
    >>> x, w = np.ones((1, 2, 1, 1)), np.full((1, 2, 1, 1), -3.0)
    >>> g = convolution(x.shape, w.shape, None, 1, 0, 1, 1, "zeros")
    >>> sums = convolution_sums(g, (x, w, None), ops.conv2d(x, w), np.zeros(()))
    >>> sums.terms, sums.absolute.round(6).item(), sums.squares.round(6).item()
    (2, 6.0, 4.242641)
    """
    x, w, bias = operands
    dtypes = [formats.part(np.dtype("float64") if each is None else each.dtype) for each in operands]
    x = x.reshape(geometry.batch, geometry.in_channels, *geometry.size)
    is_complex = value.dtype in formats.COMPLEX
    if is_complex:
        x, w, bias = _real(x, w, bias, geometry.groups)
    value, special = formats.parts(value), formats.parts(special)
    real = replace(geometry, in_channels=x.shape[1], out_channels=w.shape[0])
    call = _Call(real, value.shape, is_complex)
    magnitudes = _magnitude(x), _magnitude(w), None if bias is None else _magnitude(bias)
    terms = real.terms + (bias is not None)
    with np.errstate(all="ignore"):
        absolute = exact_sum(terms, call.correlate(*magnitudes))
        value_error = rounded(np.zeros(()), value, "float64") if exact else direct_sum(terms, absolute, "float64")
    return Sums(
        value=value,
        value_error=value_error,
        absolute=absolute,
        special=special,
        geometry=real,
        x=magnitudes[0],
        w=magnitudes[1],
        bias=magnitudes[2],
        x_special=~np.isfinite(x),
        w_special=~np.isfinite(w),
        dtypes=(dtypes[0], dtypes[1], dtypes[2]),
        run=geometry.in_channels // geometry.groups,
        correlate=call.correlate,
        arrange=call.arrange,
    )


@dataclass(frozen=True)
class _Call:
    """The real convolution behind a call, and how its outputs lie in the call's."""

    geometry: Geometry
    shape: tuple[int, ...]
    is_complex: bool

    def correlate(self, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
        return self.arrange(ops.convolve(self.geometry, x, w, bias))

    def arrange(self, outputs: np.ndarray) -> np.ndarray:
        """As `formats.parts` has them: of complex outputs the parts side by side along the last axis."""
        g = self.geometry
        if self.is_complex:
            each = g.output_shape[1] // (2 * g.groups)
            outputs = np.moveaxis(outputs.reshape(g.batch, g.groups, 2, each, *g.output_size), 2, -1)
        return outputs.reshape(self.shape)


def _real(x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, groups: int) -> Operands:
    """Operands of a convolution of twice as many real channels, but for signs: in each group real parts come first."""
    images = x.reshape(len(x), groups, 1, x.shape[1] // groups, *x.shape[2:])
    images = np.concatenate([images.real, images.imag], axis=2)
    filters = w.reshape(groups, 1, len(w) // groups, *w.shape[1:])
    real, imaginary = filters.real, filters.imag
    filters = np.concatenate(
        [np.concatenate([real, imaginary], axis=3), np.concatenate([imaginary, real], axis=3)], axis=1
    )
    if bias is not None:
        each = bias.reshape(groups, 1, len(bias) // groups)
        bias = np.concatenate([each.real, each.imag], axis=1).reshape(2 * len(bias))
    return (
        images.reshape(len(x), 2 * x.shape[1], *x.shape[2:]),
        filters.reshape(2 * len(w), 2 * w.shape[1], *w.shape[2:]),
        bias,
    )


def _magnitude(array: np.ndarray) -> np.ndarray:
    """As float64; NaN and infinity are 0."""
    with np.errstate(invalid="ignore"):  # signalling NaNs
        wide: np.ndarray = np.abs(array.astype(np.float64))
    wide[~np.isfinite(wide)] = 0
    return wide
