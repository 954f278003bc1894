"""Fills: what the tensors of a case are filled with, from a seed.

Knows NumPy and formats; shapes but not what they mean, and no generator of cases.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np

from refconv.formats import COMPLEX, FLOATS, NARROW, part, result_dtype, rounded, underflow_unit, unit_roundoff
from refconv.geometry import choice

Operands: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray | None]
Shape: TypeAlias = tuple[int, ...]
_Fill: TypeAlias = Callable[[np.random.Generator, Shape, np.dtype, int], np.ndarray]

# Large enough that two products are seldom the same by chance, small enough to read.
LARGEST_INTEGER = 16


def operands(
    fill: str, input_shape: Shape, weight_shape: Shape, *, bias: bool = False, dtype: str = "float32", seed: int = 0
) -> Operands:
    """Input, weight and bias (or None) of a convolution; the same for the same arguments.

    Parameters
    ----------
    fill : {"integers", "normal", "uniform", "positive", "positions"}
        Integers without 0, so small that every sum of products is exact in the accumulator, in any order; the normal
        distribution; the uniform ones over (-1, 1) and (0, 1]; or 1, 2, 3, ... in the order of the elements.
        For an integer dtype the first only, as large as the result's dtype allows. Formats narrower than float32 have
        few integers: where even sums of ones would be too large, most weights are 0, and positions start anew at 1
        after the last integer. In complex numbers each part is an element of its own.
    input_shape, weight_shape : tuple of int
        (N, C_in, H, W) and (C_out, C_in // groups, R, S).
    bias : bool
        Whether there is one, of shape (C_out,).
    dtype : str
        Any supported dtype.
    seed : int
        From 0.

    Raises
    ------
    ValueError
        For a fill that the dtype, or so many terms or elements, do not allow.

    Examples
    --------
    >>> operands("positions", (1, 1, 2, 2), (1, 1, 1, 2))[:2]
    (array([[[[1., 2.], [3., 4.]]]], dtype=float32), array([[[[1., 2.]]]], dtype=float32))
    """
    type_ = np.dtype(dtype)
    draw = partial(_drawn, _FILLS[choice("fill", fill, names(dtype))], np.random.default_rng(seed), type_)
    terms = math.prod(weight_shape[1:]) + bias
    x, w = (draw(shape, terms) for shape in (input_shape, weight_shape))
    if fill == "integers" and type_ in NARROW and terms > _integers_of(type_):
        # One less than may be: the judge takes a sum for exact below it only.
        _thin_out(np.random.default_rng(seed), w, _integers_of(type_) - 1 - bias)
    return x, w, draw(weight_shape[:1], terms) if bias else None


def names(dtype: str) -> tuple[str, ...]:
    """Fills that a dtype allows, the simplest first.

    >>> names("int8")
    ('integers',)
    """
    return tuple(_FILLS) if part(np.dtype(dtype)) in FLOATS else ("integers",)


def _drawn(fill: _Fill, random: np.random.Generator, dtype: np.dtype, shape: Shape, terms: int) -> np.ndarray:
    if dtype not in COMPLEX:
        return fill(random, shape, dtype, terms)
    # Each part of a product is two products.
    return fill(random, (*shape, 2), part(dtype), 2 * terms).view(dtype)[..., 0]


def _integers_of(dtype: np.dtype) -> int:
    """So many integers from 1 on are numbers of a floating format."""
    return round(1 / unit_roundoff(dtype))


def _thin_out(random: np.random.Generator, weight: np.ndarray, most: int) -> None:
    """Leave at most so many weights of each filter, anywhere; the others become 0."""
    filters = weight.reshape(len(weight), -1)
    kept = np.tile(np.arange(filters.shape[1]) < most, (len(filters), 1))
    filters[~random.permuted(kept, axis=1)] = 0


def _integers(random: np.random.Generator, shape: Shape, dtype: np.dtype, terms: int) -> np.ndarray:
    # All sums up to `exact` are: terms * largest**2 must not exceed it.
    if dtype in FLOATS:
        exact = _integers_of(dtype)
        most = min(LARGEST_INTEGER, exact)
    else:
        exact, most = int(np.iinfo(result_dtype(dtype)).max), int(np.iinfo(dtype).max)
    largest = min(most, math.isqrt(exact // terms)) if terms else most
    if largest == 0 and dtype in NARROW:
        largest = 1
    if largest == 0:
        raise ValueError(f"fill 'integers': sums of {terms} terms cannot be exact in {dtype}")
    if dtype.kind == "u":
        return random.integers(1, largest, shape, endpoint=True, dtype=np.uint64).astype(dtype)
    values = random.integers(1, 2 * largest, shape, endpoint=True, dtype=np.int64)
    return rounded(np.where(values > largest, largest - values, values), dtype)


def _normal(random: np.random.Generator, shape: Shape, dtype: np.dtype, _terms: int) -> np.ndarray:
    return rounded(random.standard_normal(shape), dtype)


def _uniform(random: np.random.Generator, shape: Shape, dtype: np.dtype, _terms: int) -> np.ndarray:
    return rounded(random.uniform(-1, 1, shape), dtype)


def _positive(random: np.random.Generator, shape: Shape, dtype: np.dtype, _terms: int) -> np.ndarray:
    return rounded(np.maximum(1 - random.random(shape), 2 * underflow_unit(dtype)), dtype)  # not 0 in any format


def _positions(_random: np.random.Generator, shape: Shape, dtype: np.dtype, _terms: int) -> np.ndarray:
    size = math.prod(shape)
    last = _integers_of(dtype)
    if size > last and dtype not in NARROW:
        raise ValueError(f"fill 'positions': {dtype} has no {size} consecutive integers")
    return rounded(np.arange(size) % last + 1, dtype).reshape(shape)


_FILLS: dict[str, _Fill] = {
    "integers": _integers,
    "normal": _normal,
    "uniform": _uniform,
    "positive": _positive,
    "positions": _positions,
}
