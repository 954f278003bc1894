"""The gradient under a padding mode: the padded input's gradient, unrounded, folded onto the input, and rounded once.

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

MOST_ELEMENTS = 2**19  # of a padded gradient that are kept unrounded at a time; or one row, if a row has more


def fold_gradient(
    arithmetic: Arithmetic, g: Geometry, grad: np.ndarray, w: np.ndarray, out: np.ndarray, result: np.ndarray
) -> None:
    """Fill `out`, a view of `result`, with the input's gradient under a padding mode, some images and rows at once."""
    if arithmetic.accumulator is formats.EXACT:
        _fold_exactly(arithmetic, g, grad, w, out, result)
        return
    indices = [index_map(size, *sides, g.padding_mode) for size, sides in zip(g.size, g.padding, strict=True)]
    multiplicity = most_folded(indices)
    axis = g.size.index(max(g.size))
    line = g.in_channels * math.prod(g.padded_size) // g.padded_size[axis]
    # Only the numbers tell whether wide integers need to be Python's.
    most = integers.MOST_OBJECTS if grad.dtype.kind in "iu" and grad.itemsize > 2 else MOST_ELEMENTS
    images_at_once = max(1, most // (line * g.padded_size[axis]))
    rows_at_once = max(1, min(g.size[axis], most // line))
    for first, start in itertools.product(range(0, g.batch, images_at_once), range(0, g.size[axis], rows_at_once)):
        part = replace(g, batch=min(images_at_once, g.batch - first))
        index = indices[axis]
        selected = (index >= start) & (index < start + rows_at_once)
        gradients = grad[first : first + images_at_once]
        values = [_unrounded(arithmetic, part, gradients, w, axis, rows, multiplicity) for rows in _runs(selected)]
        local_indices = [*indices[:axis], index[selected] - start, *indices[axis + 1 :]]
        size = (*g.size[:axis], min(rows_at_once, g.size[axis] - start), *g.size[axis + 1 :])
        folded = fold(values[0] if len(values) == 1 else np.concatenate(values, axis=2 + axis), local_indices, size)
        images, rows = slice(first, first + images_at_once), slice(start, start + rows_at_once)
        view = out[(images, *(slice(None),) * (1 + axis), rows)]
        if arithmetic.dtype in formats.INTEGERS:
            integers.Fit(arithmetic.overflow, result).store(folded, view)
        else:
            view[...] = formats.rounded(folded, arithmetic.dtype)


def _fold_exactly(
    arithmetic: Arithmetic, g: Geometry, grad: np.ndarray, w: np.ndarray, out: np.ndarray, result: np.ndarray
) -> None:
    """As `fold_gradient`, correctly rounded: first as if padding were zeros, then anew the elements that it repeats."""
    zeros = replace(g, padding_mode="zeros")
    evaluate(
        arithmetic, lowering.input_gradient(zeros, grad, w, None, arithmetic.accumulator, out), result, conjugate="w"
    )
    indices = [index_map(size, *sides, g.padding_mode) for size, sides in zip(g.size, g.padding, strict=True)]
    multiplicity: np.ndarray = functools.reduce(np.maximum, np.ix_(*(np.bincount(index)[index] for index in indices)))
    # For each position of the padded input, the element that stands there, if it stands at other positions too.
    elements = np.ravel_multi_index(np.ix_(np.arange(g.in_channels), *indices), out.shape[1:])
    stands_for = np.where(multiplicity > 1, elements, -1)
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
    """For each part of complex numbers: the exact folded sum of an image's repeated elements, by their flat index."""
    # In place of outputs, the flat index of the element that each stands for: correlations have views of their own.
    places = np.empty((1, *stands_for.shape), np.complex128 if arithmetic.dtype.kind == "c" else np.float64)
    for values in _parts(places):
        values[...] = stands_for
    folded: list[dict[int, Any]] = [{} for _ in _parts(places)]
    for correlation in lowering.input_gradient(padded, grad, w, None, arithmetic.accumulator, places):
        correlations = lowering.parts(correlation, conjugate="w") if len(folded) > 1 else [correlation]
        for part, sums in zip(correlations, folded, strict=True):
            index = np.nonzero(part.out >= 0)
            for element, value in zip(part.out[index].tolist(), arithmetic.target.sums(part, index), strict=True):
                sums[int(element)] = formats.added(sums.get(int(element), Fraction(0)), value)
    return folded


def _runs(selected: np.ndarray) -> list[slice]:
    """The runs of neighboring positions that are selected."""
    edges = np.flatnonzero(np.diff(selected, prepend=False, append=False))
    return [slice(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def _unrounded(
    arithmetic: Arithmetic, g: Geometry, grad: np.ndarray, w: np.ndarray, axis: int, rows: slice, multiplicity: int
) -> np.ndarray:
    """Some rows along `axis` of the padded input's gradient, unrounded.

    Integers are of a type that holds sums of `multiplicity` of them.
    """
    # As if these rows were the input, and the rows around them its padding.
    padding = [(0, 0)] * len(g.size)
    padding[axis] = (rows.start, g.padded_size[axis] - rows.stop)
    size = (*g.padded_size[:axis], rows.stop - rows.start, *g.padded_size[axis + 1 :])
    g = replace(g, size=size, padding=tuple(padding), padding_mode="zeros")

    def lowered(dtype: Any) -> tuple[np.ndarray, list[Correlation]]:
        values = np.empty((g.batch, g.in_channels, *g.size), dtype)
        return values, list(lowering.input_gradient(g, grad, w, None, arithmetic.accumulator, values))

    if arithmetic.dtype in formats.INTEGERS:
        limit = np.iinfo(np.int64).max // multiplicity
        values, correlations = lowered(np.int64)
        largest = max(integers.bound(correlation, limit) for correlation in correlations)
        if largest > limit:
            values, correlations = lowered(object)
        for correlation in correlations:
            integers.exact(correlation, largest, arithmetic.target)
        return values
    values, correlations = lowered(
        np.result_type(arithmetic.accumulator, np.complex64) if arithmetic.dtype.kind == "c" else arithmetic.accumulator
    )
    evaluate(arithmetic, correlations, values, conjugate="w")
    return values
