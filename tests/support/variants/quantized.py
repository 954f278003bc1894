"""quant_padding: integers whose padding is not their zero point."""

import numpy as np
from offset_tables import Kernel

from refconv.core.checks import padding_sides
from variants.registry import corpus

VARIANTS, add = corpus()


def _pad_with_zero_point(function):
    """Integers less their zero point everywhere, the padding too."""

    def call(x, w, x_zero, w_zero, stride, padding, dilation, groups):
        sides = [(0, 0)] * (x.ndim - 2) + list(padding_sides(padding))
        return function(np.pad(x, sides), w, x_zero, w_zero, stride, (0, 0), dilation, groups)

    return call


add(
    "RB145",
    "quant_padding",
    "conv2d_integer",
    "padded with 0, not with the zero point",
    _pad_with_zero_point(Kernel().conv2d_integer),
    dtypes=("int8", "uint8"),
)


def _constant_correction(x, w, x_zero, w_zero, stride, padding, dilation, groups):
    zero = np.zeros((), x.dtype)
    sums = Kernel().conv2d_integer(x, w, zero, w_zero, stride, padding, dilation, groups)
    w_zero = np.asarray(w_zero, np.int64).reshape(-1, *([1] * 3 if np.ndim(w_zero) else []))
    correction = int(np.asarray(x_zero)) * (w.astype(np.int64) - w_zero).sum(axis=(1, 2, 3))
    return (sums - correction[:, None, None]).astype(np.int32)


add(
    "RB146",
    "quant_padding",
    "conv2d_integer",
    "zero point times the sum of all weights",
    _constant_correction,
    dtypes=("int8", "uint8"),
)


def _quantized_padding(  # noqa: PLR0917 - ONNX's arguments
    x, xs, xz, w, ws, wz, ys, yz, b, stride, padding, dilation, groups
):
    sides = [(0, 0)] * (x.ndim - 2) + list(padding_sides(padding))
    return Kernel().conv2d_quantized(np.pad(x, sides), xs, xz, w, ws, wz, ys, yz, b, stride, (0, 0), dilation, groups)


add(
    "RB144",
    "quant_padding",
    "conv2d_quantized",
    "padded with 0, not with the zero point",
    _quantized_padding,
    dtypes=("int8", "uint8"),
)
