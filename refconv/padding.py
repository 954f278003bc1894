"""Padding modes as index maps: which input element stands at each position of the padded input.

Knows one axis at a time and nothing of convolutions. Limits of the modes are checked by `geometry`.
"""

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
    position = np.arange(-before, size + after)
    if mode == "zeros":
        return np.where((position >= 0) & (position < size), position, ZERO)
    if mode == "reflect":
        return size - 1 - abs(size - 1 - abs(position))
    if mode == "replicate":
        return np.clip(position, 0, size - 1)
    return position % size


def pad(array: np.ndarray, padding: Sides, mode: str, dtype: np.dtype) -> np.ndarray:
    """Contiguous copy of `array` in `dtype`, its last axes padded; the array itself where that changes nothing.

    >>> pad(np.ones((1, 2)), ((0, 0), (1, 0)), "zeros", np.dtype("float32"))
    array([[0., 1., 1.]], dtype=float32)
    """
    if not any(map(any, padding)):
        return np.ascontiguousarray(array, dtype)
    lead = array.ndim - len(padding)
    if mode == "zeros":
        padded_size, inside = _inside(array.shape[lead:], padding)
        padded = np.zeros(array.shape[:lead] + padded_size, dtype)
        padded[inside] = array
        return padded
    maps: tuple[Any, ...] = np.ix_(
        *(index_map(size, *sides, mode) for size, sides in zip(array.shape[lead:], padding, strict=True))
    )
    return np.ascontiguousarray(array[(..., *maps)], dtype)


def _inside(size: tuple[int, ...], padding: Sides) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    """Size with padding, and where in it the unpadded array lies."""
    padded = tuple(before + length + after for length, (before, after) in zip(size, padding, strict=True))
    return padded, (..., *(slice(before, before + length) for length, (before, _) in zip(size, padding, strict=True)))
