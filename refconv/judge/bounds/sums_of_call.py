"""The sums of a call, of floats or of complex numbers: what error models look at.

Knows the operators; nothing of error models.
"""

from dataclasses import dataclass, replace

import numpy as np

from refconv.arrays.interop import Operands
from refconv.core import formats
from refconv.core.operators import CONV, kind_of
from refconv.judge.bounds.rounding import OUTWARDS, direct_sum, exact_sum, rounded
from refconv.judge.bounds.sums import Sums
from refconv.ops.family import Call


def sums_of(
    call: Call,
    operands: tuple[np.ndarray, np.ndarray | None, np.ndarray | None],
    value: np.ndarray,
    special: np.ndarray,
    *,
    exact: bool = False,
) -> Sums:
    """The sums behind the outputs of a call.

    Parameters
    ----------
    call : Call
        Operator and geometry.
    operands : tuple of ndarray
        The first array, with or without a batch axis, the second and the bias, or None: floats or complex numbers.
    value, special : ndarray
        The oracle's output in float64 or complex128, and NaN and infinity where they must come out.
    exact : bool
        Whether `value` is the exact value rounded once, not the sum in float64.

    Examples
    --------
    >>> from refconv.core.geometry import convolution
    >>> x, w = np.ones((1, 2, 1, 1)), np.full((1, 2, 1, 1), -3.0)
    >>> call = Call("conv2d", convolution(x.shape, w.shape, None, 1, 0, 1, 1, "zeros"))
    >>> sums = sums_of(call, (x, w, None), call.apply(x, w), np.zeros(()))
    >>> sums.terms, sums.absolute.round(6).item(), sums.squares.round(6).item()
    (2, 6.0, 4.242641)
    """
    x, second, bias = operands
    dtypes = [formats.part(np.dtype("float64") if operand is None else operand.dtype) for operand in operands]
    w = np.ones(()) if second is None else _with_batch(second, call)
    x = _with_batch(x, call)
    is_complex = value.dtype in formats.COMPLEX
    doubled = is_complex and kind_of(call.op) == CONV  # computed as one real convolution of twice the channels
    if doubled:
        x, w, bias = _real(x, w, bias, call.geometry.groups)
    value, special = formats.parts(value), formats.parts(special)
    real = _Real(call, value.shape, is_complex)
    if doubled:
        geometry = replace(call.geometry, in_channels=x.shape[1], out_channels=len(w))
        real = replace(real, call=replace(call, geometry=geometry))
    arrays = [x, w] if bias is None else [x, w, bias]
    magnitudes = _magnitude(x), _magnitude(w), None if bias is None else _magnitude(bias)
    products = real.call.products * (1 + (is_complex and not doubled))
    terms = products + (bias is not None)
    with np.errstate(all="ignore"):
        absolute = exact_sum(terms, real.correlate(*magnitudes))
        value_error = rounded(np.zeros(()), value, "float64") if exact else direct_sum(terms, absolute, "float64")
    return Sums(
        value=value,
        value_error=value_error,
        absolute=absolute,
        special=special,
        call=real.call,
        products=products,
        x=magnitudes[0],
        w=magnitudes[1],
        bias=magnitudes[2],
        x_special=~np.isfinite(x),
        w_special=~np.isfinite(w),
        dtypes=(dtypes[0], dtypes[1], dtypes[2]),
        integral=all(map(_is_integral, arrays if is_complex else magnitudes)),
        run=call.run,
        correlate=real.correlate,
        arrange=real.arrange,
        is_complex=is_complex,
        doubled=doubled,
    )


@dataclass(frozen=True)
class _Real:
    """The real call that stands for a call, and how its outputs lie in the outputs of the call."""

    call: Call
    shape: tuple[int, ...]
    is_complex: bool

    def correlate(self, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
        return self.arrange(self.call.apply(x, w, bias))

    def arrange(self, outputs: np.ndarray) -> np.ndarray:
        """As `formats.parts` has them: of complex outputs the parts side by side along the last axis."""
        if self.is_complex and kind_of(self.call.op) == CONV:
            g = self.call.geometry
            channels = g.output_shape[1] // (2 * g.groups)
            outputs = np.moveaxis(outputs.reshape(g.batch, g.groups, 2, channels, *g.output_size), 2, -1)
        elif self.is_complex:  # magnitudes stand for both parts
            outputs = np.repeat(outputs, 2, axis=-1)
        return outputs.reshape(self.shape)


def _with_batch(array: np.ndarray, call: Call) -> np.ndarray:
    """A single image with a batch axis; a weight has two axes beside the spatial ones already."""
    return array[None] if array.ndim == len(call.geometry.size) + 1 else array


def _real(x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, groups: int) -> Operands:
    """Operands, without signs, of a convolution of twice as many real channels: in each group real parts come first."""
    images = x.reshape(len(x), groups, 1, x.shape[1] // groups, *x.shape[2:])
    images = np.concatenate([images.real, images.imag], axis=2)
    filters = w.reshape(groups, 1, len(w) // groups, *w.shape[1:])
    real, imaginary = filters.real, filters.imag
    filters = np.concatenate(
        [np.concatenate([real, imaginary], axis=3), np.concatenate([imaginary, real], axis=3)], axis=1
    )
    if bias is not None:
        by_group = bias.reshape(groups, 1, len(bias) // groups)
        bias = np.concatenate([by_group.real, by_group.imag], axis=1).reshape(2 * len(bias))
    return (
        images.reshape(len(x), 2 * x.shape[1], *x.shape[2:]),
        filters.reshape(2 * len(w), 2 * w.shape[1], *w.shape[2:]),
        bias,
    )


def _is_integral(array: np.ndarray | None) -> bool:
    """Whether all finite numbers, of complex ones both parts, are integers."""
    if array is None:
        return True
    magnitudes = _magnitude(formats.parts(array))
    return bool((magnitudes == np.rint(magnitudes)).all())


def _magnitude(array: np.ndarray) -> np.ndarray:
    """Magnitudes in float64, for complex numbers the sum of both parts'; 0 for NaN and infinity."""
    if array.dtype in formats.COMPLEX:
        both: np.ndarray = OUTWARDS * (_magnitude(array.real) + _magnitude(array.imag))
        return both
    with np.errstate(invalid="ignore"):  # signalling NaNs
        wide = np.abs(array.astype(np.float64))
    finite: np.ndarray = np.where(np.isfinite(wide), wide, 0)
    return finite
