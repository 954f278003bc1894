"""Corners: the calls that libraries have kernels of their own for, special values there, and the smallest convolutions.

Knows values and spaces; not which other cases a plan has, nor their order.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from refconv.cases.space import Space
from refconv.cases.values import Values, for_axes

SIDE = 9  # rows and columns of images, where nothing else is said
DEPTH = 4  # and planes

# Where NaN, infinities, subnormal numbers and -0 go other ways.
CLASSES: tuple[dict[str, Any], ...] = (
    {"outputs": 4},  # 1x1 without padding, of one channel
    {"inputs": 8, "outputs": 8},  # 1x1 as a matrix product
    {"groups": 4, "rows": 3, "columns": 3, "top": 1, "left": 1},  # depthwise 3x3
    {"inputs": 3, "outputs": 8, "rows": 4, "columns": 4, "stride_h": 4, "stride_w": 4, "height": 12, "width": 16},
    {"inputs": 4},  # 1x1 to one channel
    {"inputs": 4, "outputs": 4, "columns": 3, "left": 1, "height": 1, "width": 33},  # one row
    {"inputs": 4, "outputs": 4, "rows": 3, "columns": 3, "top": 1, "left": 1},  # dense 3x3
    {"inputs": 4, "outputs": 8, "stride_h": 2, "stride_w": 2},  # 1x1 with a stride
    {"inputs": 4, "outputs": 4, "rows": 3, "top": 1, "height": 33, "width": 1},  # one column
    {"groups": 4},  # depthwise 1x1
)
# And further ones that are chosen by a condition on sizes.
FURTHER: tuple[dict[str, Any], ...] = (
    {"inputs": 4, "outputs": 6, "rows": 5, "columns": 5, "height": 5, "width": 5},  # a filter as large as its image
    {"inputs": 8, "outputs": 6, "rows": 3, "columns": 3, "top": 1, "left": 1, "height": 1, "width": 1},  # one pixel
    {"inputs": 6, "outputs": 4, "rows": 3, "columns": 3, "top": 1, "left": 1, "height": 3, "width": 3},
    {"inputs": 4, "outputs": 8, "top": 1, "left": 1},  # 1x1 with padding
    {"inputs": 8, "outputs": 8, "rows": 3, "columns": 3, "top": 1, "left": 1, "height": 14, "width": 11},  # Winograd
    {"inputs": 3, "outputs": 16, "rows": 3, "columns": 3, "top": 1, "left": 1, "stride_h": 2, "stride_w": 2},
    {"groups": 8, "rows": 3, "columns": 3, "top": 2, "left": 2, "dilation_h": 2, "dilation_w": 2},
    {"groups": 8, "rows": 3, "columns": 3, "top": 1, "left": 1, "stride_h": 2, "stride_w": 2},
    {"groups": 2, "inputs": 4, "outputs": 4, "rows": 3, "columns": 3, "top": 1, "left": 1, "stride_h": 2},
    {"groups": 4, "inputs": 2, "outputs": 3},  # 1x1 in groups
    {"inputs": 4, "outputs": 8, "rows": 2, "columns": 2, "stride_h": 2, "stride_w": 2},
    {"inputs": 4, "outputs": 4, "rows": 3, "columns": 3, "top": 2, "left": 2, "dilation_h": 2, "dilation_w": 2},
    {"inputs": 4, "outputs": 4, "rows": 5, "columns": 5, "top": 2, "left": 2},
)

# Kernels as large as their image: one channel, one filter, one output, several terms.
SMALLEST = ((1, 2), (2, 1), (2, 2), (1, 3), (3, 1), (3, 3), (2, 3), (3, 2), (4, 4), (5, 5), (1, 7), (7, 1))


def corners(axes: int = 2) -> Iterator[Values]:
    """Each class with numbers that show most, then special values and the smallest convolutions by turns."""
    plain = Values(batch=2, **for_axes(axes, {"height": SIDE, "width": SIDE}))
    if axes > 2:
        plain = plain._replace(depth=DEPTH)
    for number, shape in enumerate(CLASSES + FURTHER):
        yield plain._replace(**for_axes(axes, shape), bias=number % 2 > 0)
    special = [
        plain._replace(**for_axes(axes, shape), fill=fill, bias=bias)
        for fill, bias, shape in itertools.product(("special", "subnormal"), (False, True), CLASSES)
    ]
    kernels = ({"rows": rows, "columns": columns, "height": rows, "width": columns} for rows, columns in SMALLEST)
    smallest = [Values(**for_axes(axes, kernel)) for kernel in kernels]
    for pair in itertools.zip_longest(special, smallest):
        yield from (v for v in pair if v is not None)


class Corners:
    """The corners in turn, with other numbers each time, and with the dtype and layout of chance."""

    def __init__(self, space: Space, rng: np.random.Generator) -> None:
        self.space, self.rng = space, rng
        self._all = itertools.cycle(list(corners(len(space.rules.axes))))

    def next(self) -> Values:
        """The next one."""
        free = {name: self.space.draw(self.rng, name) for name in ("layout", "dtype")}
        return self.space.settled(next(self._all)._replace(**free))
