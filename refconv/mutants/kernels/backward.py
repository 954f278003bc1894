"""The correct kernels of the transposed convolution and of the gradients, as steps that a mutant replaces.

Knows the forward kernels, geometries and formats.
"""

from typing import Any

import numpy as np

from refconv.core import checks, formats, geometry, transposed_geometry
from refconv.core.errors import GeometryError
from refconv.core.geometry import Geometry
from refconv.mutants.kernels.forward import Array, KernelCall, placed
from refconv.ops import options


class Transposed(KernelCall):
    """conv_transpose2d(input, weight, bias, stride, padding, output_padding, groups, dilation)."""

    op = "conv_transpose2d"

    def parse(
        self, input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
        groups: Any = 1, dilation: Any = 1,
    ) -> None:  # fmt: skip
        """Take the arguments over, and refuse what is impossible."""
        y, w = np.asarray(input), np.asarray(weight)
        b = None if bias is None else np.asarray(bias)
        options.common_dtype(y, w, b)
        checks.check_weight("weight", w.shape, self.axes, transposed=True)
        batched = checks.check_batched("input", y.shape, self.axes)
        shapes = y.shape if batched else (1, *y.shape), w.shape, None if b is None else b.shape
        g = self.check(*shapes, stride, padding, output_padding, dilation, groups)
        self.adopt(g, y.dtype, padding, batched=batched)
        self.shape = (g.batch, g.in_channels, *g.size)
        self.output_padding = checks.per_axis("output_padding", output_padding, 0, self.axes)
        self.y, self.w = self.take("input", y, batched=batched), self.take("weight", w)
        self.out_size = list(self.y.shape[2:])
        self.b = None if b is None else self.take("bias", b)

    def check(self, *shapes_and_options: Any) -> Geometry:
        """The geometry of a call that is possible."""
        return transposed_geometry.transposed(*shapes_and_options)

    def resize(self) -> None:
        """Compute the size of the result from the parameters."""
        self.size = [
            max(
                0,
                (self.out_size[i] - 1) * self.stride[i] - self.before[i] - self.after[i] + self.extent(i)
                + self.output_padding[i],
            )
            for i in range(self.axes)
        ]  # fmt: skip

    def compute(self) -> Array:
        """The sums, without bias."""
        return self.scatter(self.spread())


class InputGradient(KernelCall):
    """conv2d_input(input_size, weight, grad_output, stride, padding, dilation, groups)."""

    op = "conv2d_input"

    def parse(
        self, input_size: Any, weight: Any, grad_output: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: Any = 1,
    ) -> None:  # fmt: skip
        """Take the arguments over, and refuse what is impossible."""
        w, y = np.asarray(weight), np.asarray(grad_output)
        options.common_dtype(y, w, None)
        checks.check_weight("weight", w.shape, self.axes)
        batched = checks.check_batched("grad_output", y.shape, self.axes, channels="C_out")
        size = checks.sizes("input_size", input_size, self.axes, batched=batched)
        shapes = size, w.shape, y.shape if batched else (1, *y.shape)
        g = geometry.input_gradient(*shapes, stride, padding, dilation, groups, self.mode)
        self.adopt(g, y.dtype, padding, batched=batched)
        self.shape = size
        self.w, self.y = self.take("weight", w).conj(), self.take("grad_output", y, batched=batched)

    def compute(self) -> Array:
        """The sums."""
        return self.scatter(self.spread())


class WeightGradient(KernelCall):
    """conv2d_weight(input, weight_size, grad_output, stride, padding, dilation, groups)."""

    op = "conv2d_weight"

    def parse(
        self, input: Any, weight_size: Any, grad_output: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: Any = 1,
    ) -> None:  # fmt: skip
        """Take the arguments over, and refuse what is impossible."""
        x, y = np.asarray(input), np.asarray(grad_output)
        options.common_dtype(x, y, None)
        batched = checks.check_batched("input", x.shape, self.axes)
        if checks.check_batched("grad_output", y.shape, self.axes, channels="C_out") != batched:
            raise GeometryError(f"grad_output of shape {y.shape}: must have a batch axis if the input has one")
        shapes = [array.shape if batched else (1, *array.shape) for array in (x, y)]
        g = geometry.weight_gradient(shapes[0], weight_size, shapes[1], stride, padding, dilation, groups, self.mode)
        self.adopt(g, x.dtype, padding, batched=batched)
        self.shape = (g.out_channels, g.in_channels // g.groups, *g.kernel)
        self.batched = True  # no batch axis to be taken off the result
        self.x = self.take("input", x, batched=batched).conj()
        self.y = self.take("grad_output", y, batched=batched)

    def compute(self) -> Array:
        """The sums: (C_out, C_in // groups, R, S)."""
        sums = self.dot(self.pixels().swapaxes(1, 2), self.windows())
        gradient = sums.reshape(self.out_channels, self.filter_size, *self.kernel)
        return gradient if self.outputs is None else placed(gradient, self.outputs, 0)


class BiasGradient(KernelCall):
    """conv2d_bias(grad_output)."""

    op = "conv2d_bias"

    def parse(self, grad_output: Any) -> None:
        """Take the arguments over, and refuse what is impossible."""
        y = np.asarray(grad_output)
        batched = checks.check_batched("grad_output", y.shape, self.axes, channels="C_out")
        self.dtype, self.batched = formats.result_dtype(y.dtype), True
        self.y = self.take("grad_output", y, batched=batched)
        self.batch, self.out_channels, *self.out_size = self.y.shape
        self.shape = (self.out_channels,)

    def compute(self) -> Array:
        """The sums: (C_out,)."""
        sums: Array = self.y.sum(axis=(0, *range(2, self.y.ndim)))
        return sums
