"""A second base for wrong kernels: tables of offsets, gathered (forward, weight gradient) or scattered.

Slow and plain NumPy. It shares with refconv the validation of arguments only, and nothing with refconv.mutants. Each
step can be replaced: that is how the variants of the package `variants` go wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from refconv.core import checks, transposed_geometry
from refconv.core import geometry as g
from refconv.core.formats import COMPLEX, INTEGERS, result_dtype
from refconv.core.padding import element


@dataclass(frozen=True)
class Call:
    """The forward convolution concerned, as the kernel sees it: what a variant changes, it changes here."""

    op: str
    batch: int
    channels: int
    filters: int
    size: tuple
    kernel: tuple
    stride: tuple
    pads: tuple  # ((top, bottom), (left, right))
    dilation: tuple
    groups: int
    mode: str
    out: tuple
    output_padding: tuple = (0, 0)
    padding: Any = None  # as the call has it
    dtype: Any = None

    def but(self, **changes):
        return replace(self, **changes)

    @property
    def depthwise(self):
        return self.groups == self.channels > 1

    @property
    def total(self):
        """Padding along each axis."""
        return tuple(map(sum, self.pads))

    def formula(self):
        """The output's size."""
        return tuple(
            (n + p - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(self.size, self.total, self.dilation, self.kernel, self.stride, strict=True)
        )


class Tables(NamedTuple):
    """Where each tap of each output lies."""

    rows: np.ndarray  # (OH, R): row of the input, -1 for a zero
    columns: np.ndarray  # (OW, S)
    channels: np.ndarray  # (K, J): channel of the input


def tables(c):
    axes = []
    for axis in range(2):
        step, dilation, (before, _), size = c.stride[axis], c.dilation[axis], c.pads[axis], c.size[axis]
        outputs, taps = np.arange(c.out[axis]), np.arange(c.kernel[axis])
        position = outputs[:, None] * step - before + taps * dilation
        axes.append(element(position, size, c.mode) if size else np.full(position.shape, -1))
    inputs, outputs = c.channels // c.groups, max(1, c.filters // c.groups)
    channels = (np.arange(c.filters) // outputs * inputs)[:, None] + np.arange(inputs)
    return Tables(*axes, channels)


def _same(value, *_):
    return value


def _second(_, value, *__):
    return value


@dataclass(frozen=True)
class Kernel:
    """A kernel of the family; by default every one of its operators is right.

    shape(call) comes before the output's size is computed, read(call) after it; tables(call, tables),
    operands(call, arrays) and result(call, out, arrays) change what their name says. `arrays` is a dict; the result is
    still in the accumulator's format, (N, C, H, W) or (C_out, C_in, R, S).
    """

    shape: Callable = _same
    out: Callable = _second
    read: Callable = _same
    tables: Callable = _second
    operands: Callable = _second
    result: Callable = _second
    validate: Callable | None = None
    arrays = "numpy"

    def _call(self, op, geometry, **more):
        c = Call(
            op,
            geometry.batch,
            geometry.in_channels,
            geometry.out_channels,
            geometry.size,
            geometry.kernel,
            geometry.stride,
            geometry.padding,
            geometry.dilation,
            geometry.groups,
            geometry.padding_mode,
            geometry.output_size,
            **more,
        )
        changed = self.shape(c)
        c = changed if changed is c else changed.but(out=changed.formula())
        return self.read(c.but(out=self.out(c, c.out)))

    def conv2d(self, input, weight, bias, stride, padding, dilation, groups, padding_mode="zeros"):
        x = input if input.ndim == 4 else input[None]
        geometry = self._geometry(x, weight, bias, stride, padding, dilation, groups, padding_mode)
        c = self._call("conv2d", geometry, padding=padding, dtype=input.dtype)
        out = self._forward(c, {"input": x, "weight": weight, "bias": bias})
        return out if input.ndim == 4 else out[0]

    def _geometry(self, x, w, bias, *options):
        if self.validate:
            return self.validate(x, w, bias, *options)
        return g.convolution(x.shape, w.shape, None if bias is None else bias.shape, *options)

    def _forward(self, c, arrays, dtype=None):
        dtype = dtype or result_dtype(arrays["input"].dtype)
        arrays = self._wide(c, arrays)
        with np.errstate(all="ignore"):
            t = self.tables(c, tables(c))
            out = np.einsum("nkjabrs,kjrs->nkab", gather(arrays["input"], t), arrays["weight"])
            if arrays["bias"] is not None:
                out = out + arrays["bias"][:, None, None]
            return _narrow(self.result(c, out, arrays), dtype)

    def conv_transpose2d(self, input, weight, bias, stride, padding, output_padding, groups, dilation):
        dy = input if input.ndim == 4 else input[None]
        geometry = transposed_geometry.transposed(
            dy.shape,
            weight.shape,
            None if bias is None else bias.shape,
            stride,
            padding,
            output_padding,
            dilation,
            groups,
        )
        c = self._call(
            "conv_transpose2d",
            geometry,
            output_padding=checks.per_axis("output_padding", output_padding, 0),
            padding=padding,
            dtype=input.dtype,
        )
        # The outputs of the forward convolution that the output padding adds get no gradient.
        c = c.but(out=tuple(map(min, c.out, dy.shape[2:])))
        out = self._scatter(c, {"grad_output": dy, "weight": weight, "bias": bias})
        return out if input.ndim == 4 else out[0]

    def conv2d_input(self, input_size, weight, grad_output, stride, padding, dilation, groups, padding_mode="zeros"):
        batched = grad_output.ndim == 4
        dy = grad_output if batched else grad_output[None]
        size = tuple(input_size) if batched else (1, *input_size)
        geometry = g.input_gradient(size, weight.shape, dy.shape, stride, padding, dilation, groups, padding_mode)
        c = self._call("conv2d_input", geometry, padding=padding, dtype=dy.dtype)
        out = self._scatter(c, {"grad_output": dy, "weight": weight, "bias": None})
        return out if batched else out[0]

    def _scatter(self, c, arrays):
        dtype = result_dtype(arrays["weight"].dtype)
        arrays = self._wide(c, arrays)
        with np.errstate(all="ignore"):
            t = self.tables(c, tables(c))
            out = scatter(arrays["grad_output"], arrays["weight"], t, c)
            if arrays["bias"] is not None:
                out = out + arrays["bias"][:, None, None]
            return _narrow(self.result(c, out, arrays), dtype)

    def conv2d_weight(self, input, weight_size, grad_output, stride, padding, dilation, groups, padding_mode="zeros"):
        x, dy = (image if image.ndim == 4 else image[None] for image in (input, grad_output))
        geometry = g.weight_gradient(
            x.shape, tuple(weight_size), dy.shape, stride, padding, dilation, groups, padding_mode
        )
        c = self._call("conv2d_weight", geometry, padding=padding, dtype=x.dtype)
        arrays = self._wide(c, {"input": x, "grad_output": dy})
        with np.errstate(all="ignore"):
            t = self.tables(c, tables(c))
            out = np.einsum("nkjabrs,nkab->kjrs", gather(arrays["input"], t), arrays["grad_output"])
            return _narrow(self.result(c, out, arrays), result_dtype(x.dtype))

    def conv2d_integer(self, input, weight, input_zero_point, weight_zero_point, stride, padding, dilation, groups):
        x = input if input.ndim == 4 else input[None]
        geometry = self._geometry(x, weight, None, stride, padding, dilation, groups, "zeros")
        c = self._call("conv2d_integer", geometry, padding=padding, dtype=input.dtype)
        out = self._forward(c, _shifted(x, input_zero_point, weight, weight_zero_point, None), np.dtype(np.int32))
        return out if input.ndim == 4 else out[0]

    def conv2d_quantized(  # noqa: PLR0917 - ONNX's arguments
        self,
        input,
        input_scale,
        input_zero_point,
        weight,
        weight_scale,
        weight_zero_point,
        output_scale,
        output_zero_point,
        bias,
        stride,
        padding,
        dilation,
        groups,
    ):
        x = input if input.ndim == 4 else input[None]
        geometry = self._geometry(x, weight, bias, stride, padding, dilation, groups, "zeros")
        c = self._call("conv2d_quantized", geometry, padding=padding, dtype=input.dtype)
        arrays = _shifted(x, input_zero_point, weight, weight_zero_point, bias)
        dtype = getattr(output_zero_point, "dtype", input.dtype)
        sums = self._forward(c, arrays, np.dtype(np.int32)).astype(np.float32)
        scale = np.float32(input_scale) * np.asarray(weight_scale, np.float32) / np.float32(output_scale)
        zero, info = int(np.asarray(output_zero_point)), np.iinfo(dtype)
        scaled = sums * np.broadcast_to(scale.reshape(-1), weight.shape[:1])[:, None, None]
        out = (np.rint(np.clip(scaled, info.min - zero, info.max - zero)) + zero).astype(dtype)
        return out if input.ndim == 4 else out[0]

    def _wide(self, c, arrays):
        """What the kernel reads, in the accumulator's format."""
        arrays = self.operands(c, arrays)
        return {name: array if array is None else widened(array) for name, array in arrays.items()}


def widened(array):
    if array.dtype in INTEGERS:
        return array.astype(np.int64)
    return array.astype(np.complex128 if array.dtype in COMPLEX else np.float64)


def _narrow(out, dtype):
    return np.ascontiguousarray(out).astype(dtype)


def _shifted(x, x_zero, w, w_zero, bias):
    """Integers less their zero points, which padding stands for."""
    zeros = np.asarray(w_zero, np.int64).reshape(-1, *([1] * 3 if np.ndim(w_zero) else []))
    return {
        "input": x.astype(np.int64) - np.asarray(x_zero, np.int64),
        "weight": w.astype(np.int64) - zeros,
        "bias": bias,
    }


def spatial(t, width, nowhere):
    """(OH, OW, R, S): flat offset into an image of that width, `nowhere` for zeros."""
    rows, columns = t.rows[:, None, :, None], t.columns[None, :, None, :]
    return np.where((rows < 0) | (columns < 0), nowhere, rows * width + columns)


def gather(x, t):
    """(N, K, J, OH, OW, R, S): what each tap of each output reads."""
    n, channels, height, width = x.shape
    flat = np.concatenate([x.reshape(n, channels, height * width), np.zeros((n, channels, 1), x.dtype)], axis=2)
    return flat[:, t.channels][..., spatial(t, width, height * width)]


def scatter(dy, w, t, c):
    """(N, C, H, W): every product added where its tap lies."""
    height, width = c.size
    flat = np.zeros((dy.shape[0], c.channels, height * width + 1), dy.dtype)
    where = spatial(t, width, height * width)
    products = w[None, :, :, None, None] * dy[:, :, None, : len(t.rows), : len(t.columns), None, None]
    index = np.arange(dy.shape[0])[(..., *[None] * 6)], t.channels[None, :, :, None, None, None, None], where
    np.add.at(flat, index, products)
    return flat[..., :-1].reshape(*flat.shape[:2], height, width)
