"""The correct kernels of quantized tensors: ONNX's ConvInteger and QLinearConv, as steps that a mutant replaces.

Knows the forward kernels; `refconv.ops.quantized` says what is computed, and in which order it is rounded.
"""

from typing import Any

import numpy as np

from refconv.arrays.interop import to_numpy
from refconv.mutants.kernels.forward import Array, Windowed
from refconv.ops import requantization
from refconv.ops.quantized import check_operands, quantized_dtype, scales_of, zero_point_of, zero_points_of
from refconv.ops.requantization import Scales


class WithZeroPoints(Windowed):
    """A convolution of tensors whose numbers count from a zero point: what both operators share.

    Attributes
    ----------
    x_zero : int
        The input's zero point, which padding consists of.
    w_zero : ndarray
        The weight's, 0-d or one for each output channel.
    """

    def quantized_operands(
        self, input: Any, input_zero_point: Any, weight: Any, weight_zero_point: Any, bias: Any, options: Any
    ) -> None:
        """Take the operands and their zero points over."""
        x, w = to_numpy("input", input), to_numpy("weight", weight)
        check_operands(x, w, bias)
        self.x_zero = zero_point_of("input_zero_point", input_zero_point, x.dtype)
        zeros = zero_points_of("weight_zero_point", weight_zero_point, w)
        self.w_zero = zeros.astype(np.int64)
        self.outside = self.x_zero
        self.operands(x, w, bias, options)
        self.dtype = np.dtype("int32")

    def gather(self) -> Array:
        """What each tap reads for each output, less the zero point: 0 in the padding."""
        return super().gather() - self.x_zero

    def filters(self) -> Array:
        """The weights less their zero points, as a matrix for each group."""
        self.w, kept = self.w - self.w_zero.reshape(-1, 1, *self.every(1)), self.w
        filters = super().filters()
        self.w = kept
        return filters


class Integer(WithZeroPoints):
    """conv2d_integer(input, weight, input_zero_point, weight_zero_point, stride, padding, dilation, groups)."""

    op = "conv2d_integer"

    def parse(
        self, input: Any, weight: Any, input_zero_point: Any = 0, weight_zero_point: Any = 0, stride: Any = 1,
        padding: Any = 0, dilation: Any = 1, groups: Any = 1,
    ) -> None:  # fmt: skip
        """Take the arguments over, and refuse what is impossible."""
        self.quantized_operands(
            input, input_zero_point, weight, weight_zero_point, None, (stride, padding, dilation, groups)
        )


class Quantized(WithZeroPoints):
    """conv2d_quantized(input, input_scale, input_zero_point, weight, ...), as `refconv.conv2d_quantized` has them.

    Attributes
    ----------
    rule : str
        The rule by which sums become results; that of the class, unless the call names another.
    scale : ndarray
        input_scale * weight_scale / output_scale in float32, 0-d or one for each output channel.
    significand, exponent : ndarray
        The same in integers.
    y_zero : int
        The result's zero point.
    """

    op = "conv2d_quantized"
    rule: str = "float"

    # Thirteen parameters: QLinearConv has nine inputs and four attributes, and mutants are called as candidates are.
    def parse(  # noqa: PLR0913, PLR0917 - ONNX's arguments
        self, input: Any, input_scale: Any, input_zero_point: Any, weight: Any, weight_scale: Any,
        weight_zero_point: Any, output_scale: Any, output_zero_point: Any, bias: Any = None, stride: Any = 1,
        padding: Any = 0, dilation: Any = 1, groups: Any = 1, *, requantize: str = "",
    ) -> None:  # fmt: skip
        """Take the arguments over, and refuse what is impossible."""
        self.rule = requantize or self.rule
        b = None if bias is None else np.asarray(bias)
        options = (stride, padding, dilation, groups)
        self.quantized_operands(input, input_zero_point, weight, weight_zero_point, b, options)
        self.dtype = quantized_dtype(output_zero_point, self.raw["input"].dtype)
        self.y_zero = zero_point_of("output_zero_point", output_zero_point, self.dtype)
        self.scales = Scales(
            scales_of("input_scale", input_scale, ()),
            scales_of("weight_scale", weight_scale, self.raw["weight"].shape[:1]),
            scales_of("output_scale", output_scale, ()),
        )
        self.scale = self.scales.single()
        self.normalize(self.scales.double())

    def normalize(self, scale: Array) -> None:
        """Make integers of the scale."""
        self.significand, self.exponent = requantization.multiplier_of(scale)

    def store(self, sums: Array) -> Array:
        """The results, clamped to what their dtype holds."""
        values = self.floats(sums) if self.rule.startswith("float") else self.integers(sums) + self.y_zero
        result = self.clamped(values)
        return result if self.batched else result[0]

    def clamped(self, values: Array) -> Array:
        """Values in the result's dtype."""
        info = np.iinfo(self.dtype)
        result: Array = np.clip(values, info.min, info.max).astype(self.dtype)
        return result

    def floats(self, sums: Array) -> Array:
        """The sums times the scale, rounded, and the zero point added."""
        scaled = sums.astype(np.float32) * self.behind(self.scale)
        return self.around(scaled) + np.float32(self.y_zero)

    def around(self, scaled: Array) -> Array:
        """Floats rounded to integers, ties to even, or away from zero."""
        integers: Array = np.rint(scaled) if self.rule == "float" else requantization.away(scaled)
        return integers

    def integers(self, sums: Array) -> Array:
        """The sums times significand * 2**(exponent - 31), rounded."""
        multiplier, exponent = self.behind(self.significand), self.behind(self.exponent)
        if self.rule == "fixed":
            return self.shifted(sums, multiplier, 31 - exponent)
        if self.rule == "fixed-16":
            return self.shifted(sums, self.reduced(multiplier), 15 - exponent)
        return self.divided(self.high(sums << np.maximum(exponent, 0), multiplier), np.maximum(-exponent, 0))

    def shifted(self, sums: Array, multiplier: Array, shift: Array) -> Array:
        """Products, with half a step added and shifted to the right."""
        return requantization.shifted(sums, multiplier, shift)

    def reduced(self, multiplier: Array) -> Array:
        """Multipliers of 15 bits."""
        return requantization.reduced(multiplier)

    def high(self, sums: Array, multiplier: Array) -> Array:
        """The high half of doubled products."""
        return requantization.doubling_high(sums, multiplier)

    def divided(self, numbers: Array, exponent: Array) -> Array:
        """Numbers divided by a power of two."""
        up = self.rule == "fixed-double-up"
        return (requantization.divided_up if up else requantization.divided)(numbers, exponent)
