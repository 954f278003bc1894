"""The adjoint: <f(x), y> and <x, f*(y)>, with f a candidate and f* the oracle's other direction, exactly in integers.

Knows cases and recipes; nothing of candidates but one result.
"""

from fractions import Fraction
from typing import Any

import numpy as np

from refconv import ops
from refconv.cases.recipe import Recipe
from refconv.core.formats import FLOATS
from refconv.core.operators import (
    BIAS,
    CONV,
    INPUT,
    TRANSPOSED,
    TRANSPOSED_INPUT,
    TRANSPOSED_WEIGHT,
    WEIGHT,
    is_transposed,
    kind_of,
    named,
)
from refconv.judge.case import Case
from refconv.ops import family


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
        channels = y.ndim - case.axes - 1
        bias = _dot(y.sum(axis=tuple(axis for axis in range(y.ndim) if axis != channels)), case.bias)
    return _dot(result, y) - bias, _other_side(case, y)


def _other_side(case: Case, y: np.ndarray) -> Fraction:
    """<x, f*(y)>, x being the first array of the call."""
    g, kind, first = case.geometry, kind_of(case.op), case.arrays[family.OPERATORS[case.op].first]
    if kind == BIAS:
        spread = y.reshape(-1, *(1 for _ in range(case.axes)))
        return _dot(first, np.broadcast_to(spread, first.shape))

    def other(kind: str, *arguments: Any) -> np.ndarray:
        options: dict[str, Any] = {}
        where: tuple[Any, ...]
        if is_transposed(case.op):
            where = (g.stride, case.padding, case.output_padding, g.groups, g.dilation)
        else:
            where = (g.stride, g.padding, g.dilation, g.groups)
            options["padding_mode"] = g.padding_mode
        result: np.ndarray = getattr(ops, named(kind, case.axes))(*arguments, *where, **options)
        return result

    forward = TRANSPOSED if is_transposed(case.op) else CONV
    if kind in (WEIGHT, TRANSPOSED_WEIGHT):
        return _dot(case.grad_output, other(forward, case.input.astype(float), y, None))
    weight = case.weight.astype(float)
    if kind in (CONV, TRANSPOSED):
        gradient = INPUT if kind == CONV else TRANSPOSED_INPUT
        return _dot(first, other(gradient, first.shape, weight, y))
    return _dot(first, other(forward, y, weight, None))


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
