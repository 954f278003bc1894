"""Fills: what the tensors of a case are filled with, from a seed.

Knows NumPy and formats; shapes but not what they mean, and no generator of cases.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from refconv.formats import FLOATS, result_dtype, unit_roundoff
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
        For an integer dtype the first only, as large as the result's dtype allows.
    input_shape, weight_shape : tuple of int
        (N, C_in, H, W) and (C_out, C_in // groups, R, S).
    bias : bool
        Whether there is one, of shape (C_out,).
    dtype : str
        A float or integer dtype.
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
    draw = _FILLS[choice("fill", fill, names(dtype))]
    random = np.random.default_rng(seed)
    terms = math.prod(weight_shape[1:]) + bias
    x, w = (draw(random, shape, type_, terms) for shape in (input_shape, weight_shape))
    return x, w, draw(random, weight_shape[:1], type_, terms) if bias else None


def names(dtype: str) -> tuple[str, ...]:
    """Fills that a dtype allows, the simplest first.

    >>> names("int8")
    ('integers',)
    """
    return tuple(_FILLS) if np.dtype(dtype) in FLOATS else ("integers",)


def _integers(random: np.random.Generator, shape: Shape, dtype: np.dtype, terms: int) -> np.ndarray:
    # All sums up to `exact` are: terms * largest**2 must not exceed it.
    if dtype in FLOATS:
        exact, most = round(1 / unit_roundoff(dtype)), LARGEST_INTEGER
    else:
        exact, most = int(np.iinfo(result_dtype(dtype)).max), int(np.iinfo(dtype).max)
    largest = min(most, math.isqrt(exact // terms)) if terms else most
    if largest == 0:
        raise ValueError(f"fill 'integers': sums of {terms} terms cannot be exact in {dtype}")
    if dtype.kind == "u":
        return random.integers(1, largest, shape, endpoint=True, dtype=np.uint64).astype(dtype)
    values = random.integers(1, 2 * largest, shape, endpoint=True, dtype=np.int64)
    return np.where(values > largest, largest - values, values).astype(dtype)


def _normal(random: np.random.Generator, shape: Shape, dtype: np.dtype, _terms: int) -> np.ndarray:
    return random.standard_normal(shape).astype(dtype)


def _uniform(random: np.random.Generator, shape: Shape, dtype: np.dtype, _terms: int) -> np.ndarray:
    return random.uniform(-1, 1, shape).astype(dtype)


def _positive(random: np.random.Generator, shape: Shape, dtype: np.dtype, _terms: int) -> np.ndarray:
    return (1 - random.random(shape)).astype(dtype)


def _positions(_random: np.random.Generator, shape: Shape, dtype: np.dtype, _terms: int) -> np.ndarray:
    size = math.prod(shape)
    if size > 1 / unit_roundoff(dtype):
        raise ValueError(f"fill 'positions': {dtype} has no {size} consecutive integers")
    return np.arange(1, size + 1, dtype=dtype).reshape(shape)


_FILLS: dict[str, _Fill] = {
    "integers": _integers,
    "normal": _normal,
    "uniform": _uniform,
    "positive": _positive,
    "positions": _positions,
}
