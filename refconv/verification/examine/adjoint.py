"""The adjoint: <f(x), y> and <x, f*(y)>, with f a candidate and f* the oracle's other direction, exactly in integers.

Knows cases and recipes; nothing of candidates but one result.
"""

from fractions import Fraction

import numpy as np

from refconv.cases.recipe import Recipe
from refconv.core.formats import FLOATS
from refconv.judge.case import Case
from refconv.ops import convolution, family, gradients


def applies(recipe: Recipe, case: Case) -> bool:
    """Whether all sums are of integers, without an offset that quantization would add."""
    if case.results:
        return False  # what is stored is no sum any more
    exact = (
        recipe.fill == "integers" and recipe.dtype in map(str, FLOATS) and not family.OPERATORS[case.op].is_quantized
    )
    return exact and all(array.size for array in case.arrays.values())


def sides(case: Case, result: np.ndarray, seed: int) -> tuple[Fraction, Fraction]:
    """Both sides, with random y; equal if the result is right."""
    y = np.random.default_rng(seed).integers(-3, 4, result.shape).astype(np.float64)
    bias = Fraction(0)
    if case.bias is not None:
        bias = _dot(y.sum(axis=tuple(axis for axis in range(y.ndim) if axis != y.ndim - 3)), case.bias)
    return _dot(result, y) - bias, _other_side(case, y)


def _other_side(case: Case, y: np.ndarray) -> Fraction:
    """<x, f*(y)>, x being the first array of the call."""
    g, weight = case.geometry, case.arrays.get("weight", np.zeros(0)).astype(float)
    where = (g.stride, g.padding, g.dilation, g.groups)
    if case.op == "conv2d":
        return _dot(
            case.input, gradients.conv2d_input(case.input.shape, weight, y, *where, padding_mode=g.padding_mode)
        )
    if case.op == "conv2d_bias":
        return _dot(case.grad_output, np.broadcast_to(y[:, None, None], case.grad_output.shape))
    if case.op == "conv2d_weight":
        first, second = (
            case.grad_output,
            convolution.conv2d(case.input.astype(float), y, None, *where, padding_mode=g.padding_mode),
        )
        return _dot(first, second)
    first = case.input if case.op == "conv_transpose2d" else case.grad_output
    forward = convolution.conv2d(y, weight, None, *where, padding_mode=g.padding_mode)
    # Output padding that reaches the stride makes the forward result longer: what is beyond the input is zero.
    return _dot(first, forward[..., : first.shape[-2], : first.shape[-1]])


def _dot(left: np.ndarray, right: np.ndarray) -> Fraction:
    """The sum of products, exactly."""
    with np.errstate(all="ignore"):
        products = left.astype(np.float64) * right.astype(np.float64)  # integers below 2**53
    if not np.isfinite(products).all():
        return Fraction(0)
    return (
        Fraction(int(products.sum()))
        if np.abs(products).sum() < 2.0**53
        else sum(map(Fraction, products.flat), Fraction(0))
    )
