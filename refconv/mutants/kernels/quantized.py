"""The correct kernels of quantized tensors: ONNX's ConvInteger and QLinearConv, as steps that a mutant replaces.

Knows the forward kernels; `refconv.ops.quantized` says what is computed, and in which order it is rounded.
"""

from typing import Any

import numpy as np

from refconv.mutants.kernels.forward import Array, Windowed
from refconv.ops.quantized import (
    combined_scale,
    eight_bit_array,
    quantized_dtype,
    scales_of,
    zero_point_of,
    zero_points_of,
)


class WithZeroPoints(Windowed):
    """A convolution of 8-bit tensors whose numbers count from a zero point: what both operators share.

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
        x, w = eight_bit_array("input", input), eight_bit_array("weight", weight)
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
        self.w, kept = self.w - self.w_zero.reshape(-1, 1, 1, 1), self.w
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
    scale : ndarray
        input_scale * weight_scale / output_scale in float32, 0-d or one for each output channel.
    y_zero : int
        The result's zero point.
    """

    op = "conv2d_quantized"

    # Thirteen parameters: QLinearConv has nine inputs and four attributes, and mutants are called as candidates are.
    def parse(  # noqa: PLR0913, PLR0917 - ONNX's arguments
        self, input: Any, input_scale: Any, input_zero_point: Any, weight: Any, weight_scale: Any,
        weight_zero_point: Any, output_scale: Any, output_zero_point: Any, bias: Any = None, stride: Any = 1,
        padding: Any = 0, dilation: Any = 1, groups: Any = 1,
    ) -> None:  # fmt: skip
        """Take the arguments over, and refuse what is impossible."""
        b = None if bias is None else np.asarray(bias)
        if b is not None and b.dtype != np.int32:
            raise TypeError(f"bias has dtype {b.dtype}: must be int32")
        options = (stride, padding, dilation, groups)
        self.quantized_operands(input, input_zero_point, weight, weight_zero_point, b, options)
        self.dtype = quantized_dtype(output_zero_point, self.raw["input"].dtype)
        self.y_zero = zero_point_of("output_zero_point", output_zero_point, self.dtype)
        scales = [
            scales_of("input_scale", input_scale, ()),
            scales_of("weight_scale", weight_scale, self.raw["weight"].shape[:1]),
            scales_of("output_scale", output_scale, ()),
        ]
        self.scale = combined_scale(*scales)

    def store(self, sums: Array) -> Array:
        """The sums times the scale, clamped, rounded, and the zero point added."""
        info = np.iinfo(self.dtype)
        scaled = sums.astype(np.int32).astype(np.float32) * self.scale.reshape(-1, 1, 1)
        limits = np.float32(info.min - self.y_zero), np.float32(info.max - self.y_zero)
        shifted = self.around(np.clip(scaled, *limits)) + np.float32(self.y_zero)
        return (shifted if self.batched else shifted[0]).astype(self.dtype)

    def around(self, scaled: Array) -> Array:
        """Floats rounded to integers, ties to even."""
        integers: Array = np.rint(scaled)
        return integers
