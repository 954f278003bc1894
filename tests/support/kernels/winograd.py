"""Convolutions by minimal filtering (Winograd's algorithm): published matrices, and refconv's own."""

from fractions import Fraction
from functools import partial

import numpy as np
from kernels.lowered import lowered, narrowed, quiet

from refconv.judge.bounds.winograd import transforms

# Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016, section 4.
WINOGRAD = {
    2: (
        [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
        [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
        [[1, 1, 1, 0], [0, 1, -1, -1]],
    ),
    4: (
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ],
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ],
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    ),
}


def winograd(m, case):
    """F(m x m, 3 x 3) in float32, tiles from the upper left corner on."""
    return by_tiles(case, WINOGRAD[m])


@quiet
def by_tiles(case, matrices, shift=0, narrow="float32"):
    """Minimal filtering in float32, by the matrices of input, weights and output; tiles begin `shift` before these.

    The transforms of input and weights are computed and kept in the format `narrow`.
    """
    g, low = case.geometry, lowered(case)
    data, taps, inverse = (np.array(m, dtype) for m, dtype in zip(matrices, (narrow, narrow, "float32"), strict=True))
    (m, t), (P, Q) = inverse.shape, g.output_size
    images = case.input.astype("float32").reshape(g.batch, g.in_channels, *g.size)
    rows, columns = (-(-(size + shift) // m) for size in (P, Q))
    ends = [
        (shift, tiles * m + t - m - shift - size) for tiles, size in zip((rows, columns), g.padded_size, strict=True)
    ]
    padded = np.pad(np.pad(images, ((0, 0), (0, 0), *g.padding)), ((0, 0), (0, 0), *ends))
    tiles = np.lib.stride_tricks.sliding_window_view(padded, (t, t), axis=(2, 3))[:, :, ::m, ::m]
    u = (
        (taps @ case.weight.astype(narrow) @ taps.T)
        .astype("float32")
        .reshape(g.groups, -1, g.in_channels // g.groups, t * t)
    )
    v = (data @ tiles.astype(narrow) @ data.T).astype("float32").reshape(g.batch, g.groups, -1, rows * columns, t * t)
    products = np.matmul(u.transpose(3, 0, 1, 2)[:, None], v.transpose(4, 0, 1, 2, 3))  # (t^2, N, groups, K/g, tiles)
    sums = np.moveaxis(products, 0, -1).reshape(g.batch, g.out_channels, rows, columns, t, t)
    out = (inverse @ sums @ inverse.T).swapaxes(3, 4).reshape(g.batch, g.out_channels, rows * m, columns * m)
    out = out[:, :, shift : shift + P, shift : shift + Q]
    out = out if case.bias is None else out + case.bias.astype("float32")[:, None, None]
    return np.ascontiguousarray(out if low.batched else out[0])


def six_by_six(points=(), **options):
    """F(6 x 6, 3 x 3) over some points."""
    rational = tuple(map(Fraction, points))
    return lambda case: winograd_by_points(case, 6, 3, points=rational, **options)


def winograd_supports(case):
    g = case.geometry
    return g.kernel == (3, 3) and g.stride == g.dilation == (1, 1)


def winograd_by_points(case, m, r, *, points=(), factors=None, shift=0, narrow="float32"):
    """F(m x m, r x r) by refconv's own matrices; `factors`, one for each point, go from B to G."""
    factors = np.ones((m + r - 1, 1)) if factors is None else np.array(factors, float)[:, None]
    inverse, taps, data = (np.array(matrix, float) for matrix in transforms(m, r, points))
    matrices = data / factors, taps * factors, inverse
    return narrowed(partial(by_tiles, matrices=matrices, shift=shift, narrow=narrow))(case)
