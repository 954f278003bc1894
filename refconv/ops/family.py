"""Table of the operators that are judged: arguments, the two arrays multiplied, geometry.

Knows how each operator is called, and how it is computed again with other numbers; nothing of bounds and verdicts.

Why one table: judge, generators, mutants and candidates are written against its rows, so that how an operator is called
is said in one place. Every operator is a sum of products of two arrays and perhaps a bias: what differs fits in a row.

What a row holds: the positional arguments in the order of the call, the two arrays whose elements are multiplied, the
function from the arguments to the forward convolution concerned, and whether there is a padding mode. The rest follows
(`operands`, `has_bias`, `is_quantized`). A kind of operator has a row for each number of axes: `core/operators.py` says
which. `Call` is a call without its numbers; bounds compute it again with others.

How to add an operator: write its public function beside this file and export it from `refconv.ops`; add a row here
and, unless it is quantized, a branch in each method of `Call`; lower it to the nest in engine/lowering.py; write a
correct kernel in mutants/kernels, the root of its mutants; say in cases/recipe.py which shapes its tensors have.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from refconv import ops
from refconv.arrays import interop
from refconv.core import checks, geometry, transposed_geometry
from refconv.core.checks import check_batched, check_weight
from refconv.core.geometry import Geometry
from refconv.core.operators import (
    BIAS,
    CONV,
    INPUT,
    INTEGER,
    QUANTIZED,
    TRANSPOSED,
    TRANSPOSED_INPUT,
    TRANSPOSED_WEIGHT,
    WEIGHT,
    like,
    named,
)
from refconv.core.padding import index_map, most_folded
from refconv.ops import convolution, gradients

AXES = (1, 2, 3)  # numbers of spatial axes; quantized operators have two
_OPTIONS = ("stride", "padding", "dilation", "groups")
_TRANSPOSED_OPTIONS = ("stride", "padding", "output_padding", "groups", "dilation")
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
    axes : int
        How many spatial axes there are.
    has_padding_mode : bool
        Whether it takes the keyword `padding_mode`.
    """

    parameters: tuple[str, ...]
    first: str
    second: str
    geometry: Callable[[Any], Geometry]
    axes: int
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


def _forward_geometry(axes: int, f: Any) -> Geometry:
    options = f.stride, f.padding, f.dilation, f.groups, f.padding_mode
    return convolution.geometry_of(f.input, f.weight, f.bias, *options, axes=axes)


def _batched(name: str, array: np.ndarray, axes: int, channels: str = "C_in") -> tuple[int, ...]:
    """Shape of an array with a batch axis."""
    return array.shape if check_batched(name, array.shape, axes, channels=channels) else (1, *array.shape)


def _transposed_options(f: Any) -> tuple[Any, ...]:
    return f.stride, f.padding, f.output_padding, f.dilation, f.groups


def _transposed_geometry(axes: int, f: Any) -> Geometry:
    check_weight("weight", f.weight.shape, axes, transposed=True)
    bias = None if f.bias is None else f.bias.shape
    x = _batched("input", f.input, axes)
    return transposed_geometry.transposed(x, f.weight.shape, bias, *_transposed_options(f))


def _input_gradient_geometry(axes: int, f: Any, *, transposed: bool = False) -> Geometry:
    check_weight("weight", f.weight.shape, axes, transposed=transposed)
    grad = _batched("grad_output", f.grad_output, axes, "C_out")
    size = checks.sizes("input_size", f.input_size, axes, batched=f.grad_output.ndim == axes + 2)
    if transposed:
        return transposed_geometry.input_gradient(size, f.weight.shape, grad, *_transposed_options(f))
    return geometry.input_gradient(
        size, f.weight.shape, grad, f.stride, f.padding, f.dilation, f.groups, f.padding_mode
    )


def _weight_gradient_geometry(axes: int, f: Any, *, transposed: bool = False) -> Geometry:
    x, grad = _batched("input", f.input, axes), _batched("grad_output", f.grad_output, axes, "C_out")
    size = checks.sizes("weight_size", f.weight_size, axes)
    if transposed:
        return transposed_geometry.weight_gradient(x, size, grad, *_transposed_options(f))
    return geometry.weight_gradient(x, size, grad, f.stride, f.padding, f.dilation, f.groups, f.padding_mode)


def _bias_gradient_geometry(axes: int, f: Any) -> Geometry:
    """That of a convolution of filters of one tap, whose output has the shape of the gradient."""
    batch, channels, *size = _batched("grad_output", f.grad_output, axes, "C_out")
    unit = (1,) * axes
    return Geometry(
        batch, channels, channels, tuple(size), unit, unit, ((0, 0),) * axes, unit, max(1, channels), "zeros"
    )


def _rows(axes: int) -> dict[str, Operator]:
    """The operators of floats and complex numbers with so many spatial axes, by kind."""
    forward, input_gradient, weight_gradient = (
        partial(function, axes) for function in (_forward_geometry, _input_gradient_geometry, _weight_gradient_geometry)
    )
    to_input, to_weight = ("input_size", "weight", "grad_output"), ("input", "weight_size", "grad_output")
    return {
        CONV: Operator(("input", "weight", "bias", *_OPTIONS), "input", "weight", forward, axes, True),
        TRANSPOSED: Operator(
            ("input", "weight", "bias", *_TRANSPOSED_OPTIONS), "input", "weight", partial(_transposed_geometry, axes),
            axes,
        ),
        INPUT: Operator((*to_input, *_OPTIONS), "grad_output", "weight", input_gradient, axes, True),
        WEIGHT: Operator((*to_weight, *_OPTIONS), "input", "grad_output", weight_gradient, axes, True),
        BIAS: Operator(("grad_output",), "grad_output", "", partial(_bias_gradient_geometry, axes), axes),
        TRANSPOSED_INPUT: Operator(
            (*to_input, *_TRANSPOSED_OPTIONS), "grad_output", "weight", partial(input_gradient, transposed=True), axes
        ),
        TRANSPOSED_WEIGHT: Operator(
            (*to_weight, *_TRANSPOSED_OPTIONS), "grad_output", "input", partial(weight_gradient, transposed=True), axes
        ),
    }  # fmt: skip


_PARAMETERS_OF_QUANTIZED = {
    INTEGER: ("input", "weight", "input_zero_point", "weight_zero_point", *_OPTIONS),
    QUANTIZED: (
        "input", "input_scale", "input_zero_point", "weight", "weight_scale", "weight_zero_point",
        "output_scale", "output_zero_point", "bias", *_OPTIONS,
    ),
}  # fmt: skip
OPERATORS: dict[str, Operator] = {named(kind, axes): row for axes in (2, 1, 3) for kind, row in _rows(axes).items()} | {
    named(kind, 2): Operator(parameters, "input", "weight", partial(_forward_geometry, 2), 2)
    for kind, parameters in _PARAMETERS_OF_QUANTIZED.items()
}


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
    output_padding: int | tuple[int, ...] = 0

    @cached_property
    def like(self) -> str:
        """Which array of the geometry's convolution the result is like: "output", "input", "weight" or "bias"."""
        return like(self.op)

    def apply(self, first: np.ndarray, second: np.ndarray | None, bias: np.ndarray | None = None) -> np.ndarray:
        """The result for other arrays of these shapes, with or without the batch axis.

        `conv2d_bias` has no second array: in its place stands a number to multiply the sums by, or None.
        """
        g, axes = self.geometry, len(self.geometry.size)
        batched = first.ndim == axes + 2
        out: np.ndarray
        if self.like == "output":
            conjugate = "" if self.op == named(CONV, axes) else "w"
            out = convolution.convolve(g, first, second, bias, conjugate=conjugate)  # type: ignore[arg-type]  # it has
            return out
        if self.like == "bias":
            out = getattr(ops, self.op)(first)
            return out if second is None else out * second
        if self.op == named(TRANSPOSED, axes):
            options = (g.stride, g.padding, self.output_padding, g.groups, g.dilation)
            out = getattr(ops, self.op)(first, second, bias, *options)
            return out
        if self.like == "input":
            size = (g.batch, g.in_channels, *g.size)[not batched :]
            forward = (g.stride, g.padding, g.dilation, g.groups)
            out = getattr(ops, self.op)(size, second, first, *forward, padding_mode=g.padding_mode)
            return out
        taken = interop.take("input", input=first, grad_output=second)
        pair = tuple(array if batched else array[None] for array in taken.arrays)
        checked = convolution.checked_options(g)
        arithmetic = checked.arithmetic(taken, input=pair[0], grad_output=pair[1])
        conjugate = "x" if self.op == named(WEIGHT, axes) else "w"
        out = gradients.weight_sums(checked, taken, arithmetic, g, pair, conjugate=conjugate)
        return out

    @cached_property
    def products(self) -> int:
        """Largest number of products in the sum of one output."""
        g = self.geometry
        if self.like == "output":
            return g.terms
        if self.like in ("weight", "bias"):
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
        if self.like == "output":
            return g.in_channels // g.groups
        return g.out_channels // g.groups if self.like == "input" else self.products

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of the output, with a batch axis where it has one."""
        g = self.geometry
        if self.like == "output":
            return g.output_shape
        if self.like == "input":
            return (g.batch, g.in_channels, *g.size)
        channels = (g.out_channels,)
        return channels if self.like == "bias" else (*channels, g.in_channels // g.groups, *g.kernel)

    @property
    def meets_zeros(self) -> bool:
        """Whether zeros that are no elements of the first array are multiplied by elements of the second."""
        g = self.geometry
        if self.like in ("output", "weight"):
            return g.padding_mode == "zeros" and any(side > 0 for sides in g.padding for side in sides)
        return self.like != "bias"  # the border of zeros that a gradient is lowered to


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
