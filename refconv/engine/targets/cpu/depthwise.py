"""Depthwise problems with channels side by side: as many of them as a vector has lanes are one channel of vectors.

So an output and its taps have the same place in all lanes, whatever the stride and however small the image: no sums are
computed in between. The nest, layouts and plans are those of other problems, whose numbers are vectors here. Knows
correlations and problems.
"""

from collections.abc import Iterator

import numpy as np

from refconv.engine.correlation import Correlation
from refconv.engine.targets.cpu.schedule import Problem, cheapest, registers, with_rows

LEAST_PRODUCTS = 2**14  # multiplications; below this, nothing is faster than the compiled plan of a small problem


def lanes_of(c: Correlation) -> int:
    """How many channels may lie side by side; 0 if that can't be."""
    one_to_one = c.x.shape[2] == c.w.shape[1] == 1 and len(c.stride) <= 2
    dtype = c.accumulator
    if not one_to_one or not dtype == c.x.dtype == c.w.dtype == c.out.dtype or dtype.kind != "f":
        return 0
    lanes = registers()[0] // dtype.itemsize
    return lanes if c.x.shape[1] >= lanes and c.out.size * c.w[0].size >= LEAST_PRODUCTS else 0


def whole(c: Correlation, lanes: int) -> Iterator[Correlation]:
    """The same correlation as one of a multiple of so many groups and, if there are others, one of these."""
    groups = c.x.shape[1]
    for part in (slice(0, groups // lanes * lanes), slice(groups // lanes * lanes, groups)):
        if part.start < part.stop:
            bias = None if c.bias is None else c.bias[part]
            yield c._replace(x=c.x[:, part], w=c.w[part], bias=bias, out=c.out[:, part])


def placed(p: Problem, lanes: int) -> Problem:
    """The problem, or the same with channels side by side if that takes less time."""
    return min(p, side_by_side(p, lanes), key=lambda problem: cheapest(with_rows(problem)).cycles)


def side_by_side(p: Problem, lanes: int) -> Problem:
    """The same problem with vectors of channels in place of numbers; its groups are a multiple of `lanes`."""
    image, group, _, *axes = p.x_strides
    out_image, out_group, _, *out_axes = p.out_strides
    w = p.w_strides or _contiguous((p.groups, 1, 1, *p.kernel), p.w_dtype.itemsize)
    return p._replace(
        groups=p.groups // lanes,
        x_strides=(image, lanes * group, group, *axes),
        w_strides=(lanes * w[0], w[0], w[0], *w[3:]),
        out_strides=(out_image, lanes * out_group, out_group, *out_axes),
        accumulator=vector_of(p.accumulator),
    )


def vector_of(dtype: np.dtype) -> np.dtype:
    """A vector of numbers, as long as the processor's, as a number of its own."""
    return np.dtype((dtype, (registers()[0] // dtype.itemsize,)))


def _contiguous(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    strides = [itemsize]
    for size in reversed(shape[1:]):
        strides.append(strides[-1] * size)
    return tuple(reversed(strides))
