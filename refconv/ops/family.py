"""Table of the seven operators that are judged: arguments, the two arrays multiplied, geometry.

Knows how each operator is called, and how it is computed again with other numbers; nothing of bounds and verdicts.

Why one table: judge, generators, mutants and candidates are written against its rows, so that how an operator is called
is said in one place. Every operator is a sum of products of two arrays and perhaps a bias: what differs fits in a row.

What a row holds: the positional arguments in the order of the call, the two arrays whose elements are multiplied, the
function from the arguments to the forward convolution concerned, and whether there is a padding mode. The rest follows
(`operands`, `has_bias`, `is_quantized`). `Call` is a call without its numbers; bounds compute it again with others.

How to add an operator: write its public function beside this file and export it from `refconv.ops`; add a row here
and, unless it is quantized, a branch in each method of `Call`; lower it to the nest in engine/lowering.py; write a
correct kernel in mutants/kernels, the root of its mutants; say in cases/recipe.py which shapes its tensors have.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from refconv import ops
from refconv.core import checks, geometry, transposed_geometry
from refconv.core.checks import check_batched, check_weight
from refconv.core.geometry import Geometry
from refconv.core.padding import index_map, most_folded
from refconv.ops import convolution

_OPTIONS = ("stride", "padding", "dilation", "groups")
_NO_OPERANDS = (*_OPTIONS, "output_padding", "input_size", "weight_size")


@dataclass(frozen=True)
class Operator:
    """What is particular to one operator.

    Attributes
    ----------
    parameters : tuple of str
        Its positional arguments, in the order of the call.
    first, second : str
        Names of the arrays whose elements are multiplied. The first decides the result's dtype and number of axes; the
        second is empty for a sum of one array's elements.
    geometry : callable
        Takes an object whose attributes are the call's arguments, by name; returns the geometry of the forward
        convolution concerned, or raises an error that names the wrong argument.
    has_padding_mode : bool
        Whether it takes the keyword `padding_mode`.
    """

    parameters: tuple[str, ...]
    first: str
    second: str
    geometry: Callable[[Any], Geometry]
    has_padding_mode: bool = False

    @property
    def operands(self) -> tuple[str, ...]:
        """Its arrays, and the numbers that may be arrays, in the order of the call."""
        return tuple(name for name in self.parameters if name not in _NO_OPERANDS)

    @property
    def has_bias(self) -> bool:
        """Whether a bias may be added to its sums."""
        return "bias" in self.parameters

    @property
    def is_quantized(self) -> bool:
        """Whether its integers stand around zero points."""
        return "input_zero_point" in self.parameters


def _forward_geometry(f: Any) -> Geometry:
    return convolution.geometry_of(f.input, f.weight, f.bias, f.stride, f.padding, f.dilation, f.groups, f.padding_mode)


def _batched(name: str, array: np.ndarray, channels: str = "C_in") -> tuple[int, ...]:
    """Shape of an array with a batch axis."""
    return array.shape if check_batched(name, array.shape, 2, channels=channels) else (1, *array.shape)


def _transposed_geometry(f: Any) -> Geometry:
    check_weight("weight", f.weight.shape, 2, transposed=True)
    return transposed_geometry.transposed(
        _batched("input", f.input), f.weight.shape, None if f.bias is None else f.bias.shape,
        f.stride, f.padding, f.output_padding, f.dilation, f.groups,
    )  # fmt: skip


def _input_gradient_geometry(f: Any) -> Geometry:
    check_weight("weight", f.weight.shape, 2)
    grad = _batched("grad_output", f.grad_output, "C_out")
    size = checks.sizes("input_size", f.input_size, 2, batched=f.grad_output.ndim == 4)
    return geometry.input_gradient(
        size, f.weight.shape, grad, f.stride, f.padding, f.dilation, f.groups, f.padding_mode
    )


def _weight_gradient_geometry(f: Any) -> Geometry:
    x, grad = _batched("input", f.input), _batched("grad_output", f.grad_output, "C_out")
    size = checks.sizes("weight_size", f.weight_size, 2)
    return geometry.weight_gradient(x, size, grad, f.stride, f.padding, f.dilation, f.groups, f.padding_mode)


def _bias_gradient_geometry(f: Any) -> Geometry:
    """That of a convolution of 1x1 filters, whose output has the shape of the gradient."""
    batch, channels, *size = _batched("grad_output", f.grad_output, "C_out")
    return Geometry(
        batch, channels, channels, tuple(size), (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), max(1, channels), "zeros"
    )


OPERATORS: dict[str, Operator] = {
    "conv2d": Operator(("input", "weight", "bias", *_OPTIONS), "input", "weight", _forward_geometry, True),
    "conv_transpose2d": Operator(
        ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"),
        "input", "weight", _transposed_geometry,
    ),
    "conv2d_input": Operator(
        ("input_size", "weight", "grad_output", *_OPTIONS), "grad_output", "weight", _input_gradient_geometry, True
    ),
    "conv2d_weight": Operator(
        ("input", "weight_size", "grad_output", *_OPTIONS), "input", "grad_output", _weight_gradient_geometry, True
    ),
    "conv2d_bias": Operator(("grad_output",), "grad_output", "", _bias_gradient_geometry),
    "conv2d_integer": Operator(
        ("input", "weight", "input_zero_point", "weight_zero_point", *_OPTIONS), "input", "weight", _forward_geometry
    ),
    "conv2d_quantized": Operator(
        (
            "input", "input_scale", "input_zero_point", "weight", "weight_scale", "weight_zero_point",
            "output_scale", "output_zero_point", "bias", *_OPTIONS,
        ),
        "input", "weight", _forward_geometry,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Call:
    """A call without its numbers, to be computed again with others.

    Parameters
    ----------
    op : str
        The operator, one of those that multiply and add: not `conv2d_integer` or `conv2d_quantized`.
    geometry : Geometry
        That of the forward convolution concerned.
    output_padding : tuple of int
        Of a transposed convolution.

    Examples
    --------
    >>> from refconv.core.geometry import convolution
    >>> call = Call("conv2d_weight", convolution((2, 1, 3, 3), (1, 1, 2, 2), None, 1, 0, 1, 1, "zeros"))
    >>> call.products, call.shape
    (8, (1, 1, 2, 2))
    """

    op: str
    geometry: Geometry
    output_padding: tuple[int, ...] = (0, 0)

    def apply(self, first: np.ndarray, second: np.ndarray | None, bias: np.ndarray | None = None) -> np.ndarray:
        """The result for other arrays of these shapes, with or without the batch axis.

        `conv2d_bias` has no second array: in its place stands a number to multiply the sums by, or None.
        """
        g = self.geometry
        out: np.ndarray
        if self.op == "conv2d":
            out = convolution.convolve(g, first, second, bias)  # type: ignore[arg-type]  # it has a second array
            return out
        if self.op == "conv2d_bias":
            out = ops.conv2d_bias(first)
            return out if second is None else out * second
        if self.op == "conv_transpose2d":
            out = ops.conv_transpose2d(
                first, second, bias, g.stride, g.padding, self.output_padding, g.groups, g.dilation
            )
            return out
        options = (g.stride, g.padding, g.dilation, g.groups)
        if self.op == "conv2d_input":
            size = (g.batch, g.in_channels, *g.size)[4 - first.ndim :]
            out = ops.conv2d_input(size, second, first, *options, padding_mode=g.padding_mode)
            return out
        size = (g.out_channels, g.in_channels // g.groups, *g.kernel)
        out = ops.conv2d_weight(first, size, second, *options, padding_mode=g.padding_mode)
        return out

    @cached_property
    def products(self) -> int:
        """Largest number of products in the sum of one output."""
        g = self.geometry
        if self.op == "conv2d":
            return g.terms
        if self.op in ("conv2d_weight", "conv2d_bias"):
            return g.batch * math.prod(g.output_size)
        # Of the taps along an axis, those of one residue of the stride meet an element.
        taps = math.prod(
            -(-kernel // (stride // math.gcd(stride, dilation)))
            for kernel, stride, dilation in zip(g.kernel, g.stride, g.dilation, strict=True)
        )
        folded = 1
        if g.padding_mode != "zeros" and min(g.size):
            folded = most_folded([index_map(n, *p, g.padding_mode) for n, p in zip(g.size, g.padding, strict=True)])
        return g.out_channels // g.groups * taps * folded

    @cached_property
    def run(self) -> int:
        """Number of products that follow one another without a gap: those of one tap of the kernel."""
        g = self.geometry
        if self.op == "conv2d":
            return g.in_channels // g.groups
        return g.out_channels // g.groups if self.op in ("conv2d_input", "conv_transpose2d") else self.products

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of the output, with a batch axis where it has one."""
        g = self.geometry
        if self.op == "conv2d":
            return g.output_shape
        if self.op in ("conv2d_input", "conv_transpose2d"):
            return (g.batch, g.in_channels, *g.size)
        channels = (g.out_channels,)
        return channels if self.op == "conv2d_bias" else (*channels, g.in_channels // g.groups, *g.kernel)

    @property
    def meets_zeros(self) -> bool:
        """Whether zeros that are no elements of the first array are multiplied by elements of the second."""
        g = self.geometry
        if self.op in ("conv2d", "conv2d_weight"):
            return g.padding_mode == "zeros" and any(side > 0 for sides in g.padding for side in sides)
        return self.op != "conv2d_bias"  # the border of zeros that a gradient is lowered to


def compute(
    op: str,
    arguments: tuple[Any, ...],
    padding_mode: str,
    precision: str,
    out_dtype: np.dtype | None = None,
    overflow: str = "raise",
    **options: Any,
) -> np.ndarray:
    """The oracle's result of a call as it stands; `options` are those that its operator alone has."""
    if not OPERATORS[op].is_quantized:
        options |= {"precision": precision, "out_dtype": out_dtype, "overflow": overflow}
    if OPERATORS[op].has_padding_mode:
        options["padding_mode"] = padding_mode
    result: np.ndarray = getattr(ops, op)(*arguments, **options)
    return result
