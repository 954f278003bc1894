"""Padding modes as index maps: which input element stands at each position of the padded input.

Knows one axis at a time and nothing of convolutions. Limits of the modes are checked by `geometry`.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

Sides: TypeAlias = tuple[tuple[int, int], ...]  # (before, after) for each spatial axis

MODES = ("zeros", "reflect", "replicate", "circular")
ZERO = -1  # in an index map: no element of the input, a zero


def index_map(size: int, before: int, after: int, mode: str) -> np.ndarray:
    """Index into an axis of `size` elements for each position of the padded axis, `ZERO` where padding is zero.

    As torch.nn.functional.pad defines the modes (https://pytorch.org/docs/stable/generated/torch.nn.functional.pad.html).

    >>> [index_map(3, 2, 1, mode).tolist() for mode in MODES]
    [[-1, -1, 0, 1, 2, -1], [2, 1, 0, 1, 2, 1], [0, 0, 0, 1, 2, 2], [1, 2, 0, 1, 2, 0]]
    """
    return element(np.arange(-before, size + after), size, mode)


def element(position: np.ndarray, size: int, mode: str) -> np.ndarray:
    """As `index_map`, for any positions; position 0 is that of the first element of the axis."""
    if mode == "zeros":
        return np.where((position >= 0) & (position < size), position, ZERO)
    if mode == "reflect":
        return np.asarray(size - 1 - abs(size - 1 - abs(position)))
    if mode == "replicate":
        return np.asarray(np.clip(position, 0, size - 1))
    return np.asarray(position % size)


def pad(array: np.ndarray, padding: Sides, mode: str) -> np.ndarray:
    """`array` with its last axes padded; negative padding crops.

    >>> pad(np.ones((1, 2)), ((0, 0), (1, -1)), "zeros")
    array([[0., 1.]])
    """
    for axis, (before, after) in enumerate(padding, array.ndim - len(padding)):
        index = index_map(array.shape[axis], before, after, mode)
        array = np.take(array, np.maximum(index, 0), axis)
        array[(..., index == ZERO, *[slice(None)] * (array.ndim - 1 - axis))] = 0
    return array


def fold(padded: np.ndarray, indices: Sequence[np.ndarray], size: tuple[int, ...]) -> np.ndarray:
    """For each element of an array, the sum of the padded array's values at all positions where the element stands.

    This is the gradient of padding. `indices` are the index maps of the last axes, `size` the lengths of these axes
    before padding. Values are added in ascending order of their positions.

    >>> fold(np.array([1.0, 2.0, 4.0, 8.0]), [index_map(2, 1, 1, "replicate")], (2,))
    array([ 3., 12.])
    """
    out = np.empty((*padded.shape[: padded.ndim - len(size)], *size), padded.dtype)
    for number, ranks in enumerate(itertools.product(*map(_ranked, indices))):
        elements, positions = (_everywhere(*axes) for axes in zip(*ranks, strict=True))
        if number == 0:
            out[elements] = padded[positions]
        else:
            with np.errstate(all="ignore"):
                out[elements] += padded[positions]
    return out


def _everywhere(*axes: np.ndarray) -> Any:
    """The index of all combinations of these indices along the last axes."""
    return (..., *np.ix_(*axes))


def most_folded(indices: Sequence[np.ndarray]) -> int:
    """Most values that `fold` adds up for one element."""
    return math.prod(len(_ranked(index)) for index in indices)


def _ranked(index: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Elements and their positions: of each element the first position; then of those that have one the second; ..."""
    order = np.argsort(index, kind="stable")
    elements = index[order]
    rank = np.arange(len(order)) - np.searchsorted(elements, elements)
    return [(elements[rank == n], order[rank == n]) for n in range(int(rank.max()) + 1)]
