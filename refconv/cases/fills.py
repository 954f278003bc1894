"""Fills: what the tensors of a case are filled with, from a seed.

Knows NumPy and formats; shapes but not what they mean, and no generator of cases.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import ml_dtypes
import numpy as np

from refconv.arrays.interop import Operands
from refconv.core.checks import choice
from refconv.core.formats import COMPLEX, FLOATS, NARROW, part, result_dtype, rounded, underflow_unit, unit_roundoff

Shape: TypeAlias = tuple[int, ...]
_Fill: TypeAlias = Callable[[np.random.Generator, Sequence[Shape], np.dtype, int], list[np.ndarray]]
_ElementFill: TypeAlias = Callable[[np.random.Generator, Shape, np.dtype, int], np.ndarray]

# Large enough that two products are seldom the same by chance, small enough to read.
LARGEST_INTEGER = 16


def operands(
    fill: str, input_shape: Shape, weight_shape: Shape, *, bias: bool = False, dtype: str = "float32", seed: int = 0
) -> Operands:
    """Input, weight and bias (or None) of a convolution; the same for the same arguments.

    Parameters
    ----------
    fill : str
        One of the fills below. Integer dtypes have `extreme`, and `integers` as large as the result's dtype allows.
        In complex numbers each part is an element of its own.
    input_shape, weight_shape : tuple of int
        (N, C_in, H, W) and (C_out, C_in // groups, R, S).
    bias : bool
        Whether there is a bias, of shape (C_out,).
    dtype : str
        Any supported dtype.
    seed : int
        From 0.

    Raises
    ------
    ValueError
        For a fill that the dtype, or so many terms or elements, do not allow.

    Notes
    -----
    The fills that are drawn by default (`names`):

    integers
        Without 0, so small that every sum of products is exact in the accumulator, in any order. Formats narrower than
        float32 have few integers: where even sums of ones would be too large, most weights are 0.
    normal, uniform, positive
        The normal distribution; the uniform ones over (-1, 1) and (0, 1].
    positions
        1, 2, 3, ... in the order of the elements; in narrow formats anew from 1 after the last integer.

    Those that must be named (`known`):

    constant
        One number in all of the input, one in all weights, one in the bias: every addition may be wrong the same way.
    one_hot
        A single 1, the rest 0, in the input or in the weights; the other tensor is normal.
    wide
        Products range from the smallest normal number to where a sum of them would overflow.
    cancelling
        An almost constant input, and filters whose elements add up to almost 0: the sums are far smaller than their
        terms, but where padding cuts a filter short.
    subnormal
        Subnormal numbers and zeros in the input or in the weights, and in the bias; the other tensor is uniform.
    special
        Normal, but about one number in as many as a sum has terms (in 8 at least) is NaN, infinite, -0 or the largest.
    extreme
        Of integers only: the dtype's largest number, in a quarter of the elements its smallest, so that sums grow;
        smaller ones where a sum would not fit the result's dtype.

    Examples
    --------
    >>> operands("positions", (1, 1, 2, 2), (1, 1, 1, 2))[:2]
    (array([[[[1., 2.], [3., 4.]]]], dtype=float32), array([[[[1., 2.]]]], dtype=float32))
    """
    shapes = [input_shape, weight_shape, weight_shape[:1]][: 2 + bias]
    terms = math.prod(weight_shape[1:]) + bias
    x, w, *b = tensors(fill, shapes, (dtype, dtype), terms=terms, seed=seed)
    return x, w, b[0] if bias else None


def tensors(
    fill: str, shapes: Sequence[Shape], dtypes: tuple[str, str], *, terms: int, seed: int = 0, kept: int = 0
) -> list[np.ndarray]:
    """As `operands`, for any operator: the two factors of its products, and what is added to a sum of them.

    Parameters
    ----------
    fill, seed
        As `operands` takes them.
    shapes : two or three tuples of int
        The second one has four axes.
    dtypes : pair of str
        Of the first and the second tensor, different only if both are 8-bit integers. The third has the first one's.
    terms : int
        How many numbers a sum has at most, with what is added to it.
    kept : {0, 1}
        The axis of the second tensor that a sum does *not* go over: 0 of a forward convolution's weight, 1 of the
        same weight in the gradient of its input.

    Examples
    --------
    The gradient of a weight sums over batch, rows and columns of the output's gradient, (N, C_out, P, Q):

    >>> x, grad = tensors("integers", [(9, 1, 4, 4), (9, 2, 4, 4)], ("float16", "float16"), terms=144, kept=1)
    >>> int(abs(x).max()), int(abs(grad).max())
    (3, 3)
    """
    first, second = map(np.dtype, dtypes)
    shapes = list(shapes)
    shapes[1] = _swapped(shapes[1], kept)
    make = _FILLS[choice("fill", fill, known(dtypes[0]))]
    random = np.random.default_rng(seed)
    x, w, *b = _drawn(make, random, first, shapes, terms)
    if second != first:
        w = make(random, shapes[1:2], second, terms)[0]
    if fill == "integers" and first in NARROW and terms > _integers_of(first):
        # One less than may be: the judge takes a sum for exact below it only.
        most = _integers_of(first) - 1 - len(b)
        summed = math.prod(shapes[1][1:])
        _thin_out(np.random.default_rng(seed), w, min(most, most * summed // (terms - len(b))))
    return [x, np.ascontiguousarray(w.swapaxes(0, kept)), *b]


def _swapped(shape: Shape, kept: int) -> Shape:
    """The shape with the axis that a sum does not go over first, as `operands` has it."""
    return (shape[kept], *(length for axis, length in enumerate(shape) if axis != kept))


def names(dtype: str) -> tuple[str, ...]:
    """Fills that are drawn by default, of those that a dtype allows; the simplest first.

    >>> names("int8")
    ('integers',)
    """
    return tuple(fill for fill in known(dtype) if fill in _DEFAULT)


def known(dtype: str) -> tuple[str, ...]:
    """Fills that a dtype allows, the default ones first.

    >>> known("float32")[len(names("float32")) :]
    ('constant', 'one_hot', 'wide', 'cancelling', 'subnormal', 'special')
    """
    return _OF_FLOATS if part(np.dtype(dtype)) in FLOATS else _OF_INTEGERS


def every() -> tuple[str, ...]:
    """Fills that some dtype allows."""
    return tuple(_FILLS)


def _drawn(
    fill: _Fill, random: np.random.Generator, dtype: np.dtype, shapes: Sequence[Shape], terms: int
) -> list[np.ndarray]:
    if dtype not in COMPLEX:
        return fill(random, shapes, dtype, terms)
    # Each part of a product is two products.
    drawn = fill(random, [(*shape, 2) for shape in shapes], part(dtype), 2 * terms)
    return [parts.view(dtype)[..., 0] for parts in drawn]


def _integers_of(dtype: np.dtype) -> int:
    """How many integers, 1, 2, 3, ... without a gap, are numbers of a floating format."""
    return round(1 / unit_roundoff(dtype))


def _thin_out(random: np.random.Generator, weight: np.ndarray, most: int) -> None:
    """Leave at most `most` weights of each filter, at random places; the others become 0."""
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
    largest = min(most, math.isqrt(exact // max(terms, 1)))
    if largest == 0 and dtype in NARROW:
        largest = 1
    if largest == 0:
        raise ValueError(f"fill 'integers': sums of {terms} terms cannot be exact in {dtype}")
    if dtype.kind == "u":
        return random.integers(1, largest, shape, endpoint=True, dtype=np.uint64).astype(dtype)
    values = random.integers(1, 2 * largest, shape, endpoint=True, dtype=np.int64)
    return rounded(np.where(values > largest, largest - values, values), dtype)


def _extreme(random: np.random.Generator, shape: Shape, dtype: np.dtype, terms: int) -> np.ndarray:
    info = np.iinfo(dtype)
    largest = math.isqrt(int(np.iinfo(result_dtype(dtype)).max) // max(terms, 1))
    low, high = (int(min(max(limit, -largest), largest)) for limit in (info.min, info.max))
    numbers: np.ndarray = np.where(random.random(shape) < 1 / 4, dtype.type(low), dtype.type(high))
    return numbers


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


def _separately(fill: _ElementFill) -> _Fill:
    """Fill every tensor by itself."""
    return lambda random, shapes, dtype, terms: [fill(random, shape, dtype, terms) for shape in shapes]


def _normal_range(dtype: np.dtype) -> tuple[float, float]:
    """Smallest and largest normal number."""
    info = ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
    return float(info.smallest_normal), float(info.max)


def _constant(random: np.random.Generator, shape: Shape, dtype: np.dtype, _terms: int) -> np.ndarray:
    return np.full(shape, rounded(random.uniform(0.5, 1, 1), dtype))


def _one_hot(random: np.random.Generator, shapes: Sequence[Shape], dtype: np.dtype, terms: int) -> list[np.ndarray]:
    tensors = [_normal(random, shape, dtype, terms) for shape in shapes]
    hot = tensors[random.integers(2)].reshape(-1)
    hot[:] = 0
    if hot.size:
        hot[random.integers(hot.size)] = 1
    return tensors


def _wide(random: np.random.Generator, shapes: Sequence[Shape], dtype: np.dtype, terms: int) -> list[np.ndarray]:
    smallest, largest = map(math.log2, _normal_range(dtype))
    largest = max(smallest, largest - 1 - math.log2(max(terms, 1)))
    tensors = []
    for number, shape in enumerate(shapes):
        share = 1 if number == 2 else 1 / 2  # a product has two factors, the bias is a term by itself
        magnitudes = np.exp2(random.uniform(share * smallest, share * largest, shape))
        tensors.append(rounded(random.choice([-1.0, 1.0], shape) * magnitudes, dtype))
    return tensors


def _cancelling(random: np.random.Generator, shapes: Sequence[Shape], dtype: np.dtype, _terms: int) -> list[np.ndarray]:
    small = math.sqrt(unit_roundoff(dtype))
    x, w, *b = (random.standard_normal(shape) for shape in shapes)
    w -= w.mean(axis=tuple(range(1, w.ndim)), keepdims=True) if w.size else 0
    x = random.uniform(0.5, 1) * (1 + small * x)
    return [rounded(tensor, dtype) for tensor in (x, w, *(small * bias for bias in b))]


def _subnormal(random: np.random.Generator, shapes: Sequence[Shape], dtype: np.dtype, _terms: int) -> list[np.ndarray]:
    smallest, _ = _normal_range(dtype)
    normal = random.integers(2)
    return [
        rounded(random.uniform(-1, 1, shape) * (1 if number == normal else smallest), dtype)
        for number, shape in enumerate(shapes)
    ]


def _special(random: np.random.Generator, shape: Shape, dtype: np.dtype, terms: int) -> np.ndarray:
    _, largest = _normal_range(dtype)
    values = random.standard_normal(shape)
    replaced = random.random(shape) * max(terms, 8) < 1
    values[replaced] = random.choice([np.nan, np.inf, -np.inf, -0.0, largest, -largest], int(replaced.sum()))
    return rounded(values, dtype)


_DEFAULT = ("integers", "normal", "uniform", "positive", "positions")
_FILLS: dict[str, _Fill] = {
    "integers": _separately(_integers),
    "normal": _separately(_normal),
    "uniform": _separately(_uniform),
    "positive": _separately(_positive),
    "positions": _separately(_positions),
    "constant": _separately(_constant),
    "one_hot": _one_hot,
    "wide": _wide,
    "cancelling": _cancelling,
    "subnormal": _subnormal,
    "special": _separately(_special),
    "extreme": _separately(_extreme),
}
_OF_INTEGERS = ("integers", "extreme")
_OF_FLOATS = tuple(fill for fill in _FILLS if fill != "extreme")
