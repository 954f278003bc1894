"""The gradient under a padding mode: that of the padded input, unrounded, folded back, and rounded once.

Knows lowering, integers and targets; nothing of the caller's arguments.
"""

import functools
import itertools
import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from refconv.core import formats
from refconv.core.geometry import Geometry
from refconv.core.padding import fold, index_map, most_folded
from refconv.engine import integers, lowering, recomputed
from refconv.engine.correlation import Correlation
from refconv.engine.evaluate import Arithmetic, evaluate

MOST_ELEMENTS = 2**19  # of padded gradients, which are kept unrounded, or those of a row


def fold_gradient(
    arithmetic: Arithmetic, g: Geometry, grad: np.ndarray, w: np.ndarray, out: np.ndarray, result: np.ndarray
) -> None:
    """The gradient under a padding mode: that of the padded input, unrounded, folded, then rounded."""
    if arithmetic.accumulator is formats.EXACT:
        _fold_exactly(arithmetic, g, grad, w, out, result)
        return
    indices = [index_map(size, *sides, g.padding_mode) for size, sides in zip(g.size, g.padding, strict=True)]
    times = most_folded(indices)
    axis = g.size.index(max(g.size))
    line = g.in_channels * math.prod(g.padded_size) // g.padded_size[axis]
    # Only the numbers tell whether wide integers need to be Python's.
    most = integers.MOST_OBJECTS if grad.dtype.kind in "iu" and grad.itemsize > 2 else MOST_ELEMENTS
    some = max(1, most // (line * g.padded_size[axis]))
    lines = max(1, min(g.size[axis], most // line))
    for first, start in itertools.product(range(0, g.batch, some), range(0, g.size[axis], lines)):
        part = replace(g, batch=min(some, g.batch - first))
        index = indices[axis]
        wanted = (index >= start) & (index < start + lines)
        gradients = grad[first : first + some]
        values = [_unrounded(arithmetic, part, gradients, w, axis, each, times) for each in _runs(wanted)]
        here = [*indices[:axis], index[wanted] - start, *indices[axis + 1 :]]
        size = (*g.size[:axis], min(lines, g.size[axis] - start), *g.size[axis + 1 :])
        folded = fold(values[0] if len(values) == 1 else np.concatenate(values, axis=2 + axis), here, size)
        view = out[(slice(first, first + some), *(slice(None),) * (1 + axis), slice(start, start + lines))]
        if arithmetic.dtype in formats.INTEGERS:
            integers.Fit(arithmetic.overflow, result).store(folded, view)
        else:
            view[...] = formats.rounded(folded, arithmetic.dtype)


def _fold_exactly(
    arithmetic: Arithmetic, g: Geometry, grad: np.ndarray, w: np.ndarray, out: np.ndarray, result: np.ndarray
) -> None:
    """The same, correctly rounded: first as if all padding were zeros, then the elements that padding stands for."""
    zeros = replace(g, padding_mode="zeros")
    evaluate(
        arithmetic, lowering.input_gradient(zeros, grad, w, None, arithmetic.accumulator, out), result, conjugate="w"
    )
    indices = [index_map(size, *sides, g.padding_mode) for size, sides in zip(g.size, g.padding, strict=True)]
    times: np.ndarray = functools.reduce(np.maximum, np.ix_(*(np.bincount(each)[each] for each in indices)))
    # Of each folded place in the padded input, the element that it stands for.
    elements = np.ravel_multi_index(np.ix_(np.arange(g.in_channels), *indices), out.shape[1:])
    stands_for = np.where(times > 1, elements, -1)
    padded = replace(zeros, batch=1, size=g.padded_size, padding=((0, 0),) * len(g.size))
    for n in range(g.batch):
        for values, sums in zip(
            _parts(out[n]), _folded(arithmetic, padded, grad[n : n + 1], w, stands_for), strict=True
        ):
            place = np.unravel_index(list(sums), values.shape)
            values[place] = formats.round_fractions(np.array([*sums.values()], object), values.dtype)
            recomputed.report(len(sums), len(sums))  # counted by the first pass, too


def _parts(array: np.ndarray) -> tuple[np.ndarray, ...]:
    return (array.real, array.imag) if array.dtype.kind == "c" else (array,)


def _folded(
    arithmetic: Arithmetic, padded: Geometry, grad: np.ndarray, w: np.ndarray, stands_for: np.ndarray
) -> list[dict[int, Any]]:
    """Of an image, the sums of all that stands for the same element, by element; for each part of complex numbers."""
    # Numbers in the place of outputs: each correlation has a view of those that are its own.
    places = np.empty((1, *stands_for.shape), np.complex128 if arithmetic.dtype.kind == "c" else np.float64)
    for values in _parts(places):
        values[...] = stands_for
    found: list[dict[int, Any]] = [{} for _ in _parts(places)]
    for each in lowering.input_gradient(padded, grad, w, None, arithmetic.accumulator, places):
        correlations = lowering.parts(each, conjugate="w") if len(found) > 1 else [each]
        for part, sums in zip(correlations, found, strict=True):
            index = np.nonzero(part.out >= 0)
            for element, value in zip(part.out[index].tolist(), arithmetic.target.sums(part, index), strict=True):
                sums[int(element)] = formats.added(sums.get(int(element), Fraction(0)), value)
    return found


def _runs(wanted: np.ndarray) -> list[slice]:
    """From where to where there are elements that are wanted."""
    edges = np.flatnonzero(np.diff(wanted, prepend=False, append=False))
    return [slice(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def _unrounded(
    arithmetic: Arithmetic, g: Geometry, grad: np.ndarray, w: np.ndarray, axis: int, lines: slice, most: int
) -> np.ndarray:
    """Some lines of the padded input's gradient, unrounded; integers in a type that holds sums of `most` of them."""
    # As if these lines were the input, and all around them its padding.
    padding = [(0, 0)] * len(g.size)
    padding[axis] = (lines.start, g.padded_size[axis] - lines.stop)
    size = (*g.padded_size[:axis], lines.stop - lines.start, *g.padded_size[axis + 1 :])
    g = replace(g, size=size, padding=tuple(padding), padding_mode="zeros")

    def lowered(dtype: Any) -> tuple[np.ndarray, list[Correlation]]:
        values = np.empty((g.batch, g.in_channels, *g.size), dtype)
        return values, list(lowering.input_gradient(g, grad, w, None, arithmetic.accumulator, values))

    if arithmetic.dtype in formats.INTEGERS:
        limit = np.iinfo(np.int64).max // most
        values, correlations = lowered(np.int64)
        largest = max(integers.bound(each, limit) for each in correlations)
        if largest > limit:
            values, correlations = lowered(object)
        for each in correlations:
            integers.exact(each, largest, arithmetic.target)
        return values
    values, correlations = lowered(
        np.result_type(arithmetic.accumulator, np.complex64) if arithmetic.dtype.kind == "c" else arithmetic.accumulator
    )
    evaluate(arithmetic, correlations, values, conjugate="w")
    return values
