"""A case as matrices of float32 products: what emulated kernels are made of."""

from functools import lru_cache

import numpy as np

from refconv.core.formats import rounded


class Lowered:
    """The operands as float32 matrices, one pair for each group: a row of n terms for each output position and filter.

    Attributes
    ----------
    columns : (groups, N * P * Q, n)
    filters : (groups, C_out / groups, n)
    bias : (groups, C_out / groups, 1) or None
    """

    def __init__(self, case):
        g = self.geometry = case.geometry
        self.batched = case.input.ndim == 4
        images = case.input.astype("float32").reshape(g.batch, g.in_channels, *g.size)
        self.columns = self._columns(images)
        self.filters = case.weight.astype("float32").reshape(g.groups, -1, g.terms)
        self.bias = None if case.bias is None else case.bias.astype("float32").reshape(g.groups, -1, 1)

    def _columns(self, images):
        g = self.geometry
        padded = np.pad(images, ((0, 0), (0, 0), *g.padding))
        extents = [d * (k - 1) + 1 for d, k in zip(g.dilation, g.kernel, strict=True)]
        windows = np.lib.stride_tricks.sliding_window_view(padded, extents, axis=(2, 3))
        steps = (slice(None, None, step) for step in (*g.stride, *g.dilation))
        windows = windows[(slice(None), slice(None), *steps)]
        windows = windows.reshape(g.batch, g.groups, g.in_channels // g.groups, *windows.shape[2:]).transpose(
            1, 0, 3, 4, 2, 5, 6
        )
        return windows.reshape(g.groups, -1, g.terms)

    def inside(self):
        """Which elements of the columns are none of the padding."""
        g = self.geometry
        return self._columns(np.ones((g.batch, g.in_channels, *g.size), "float32")) != 0

    def products(self):
        """(groups, C_out / groups, N * P * Q, n), rounded to float32."""
        return self.filters[:, :, None] * self.columns[:, None]

    def added(self, sums):
        """Sums with the bias added in float32."""
        return sums if self.bias is None else sums + self.bias

    def image(self, sums):
        """The output tensor of sums (groups, C_out / groups, N * P * Q)."""
        g = self.geometry
        out = sums.reshape(g.out_channels, g.batch, *g.output_size).swapaxes(0, 1)
        return np.ascontiguousarray(out if self.batched else out[0])


@lru_cache(maxsize=1)
def lowered(case):
    return Lowered(case)


def quiet(function):
    """Without NumPy's warnings of what special values lead to."""

    def run(*arguments, **options):
        with np.errstate(all="ignore"):
            return function(*arguments, **options)

    return run


def by_products(add):
    """A convolution by a function that adds up products along the last axis; the bias last."""

    @quiet
    def run(case):
        low = lowered(case)
        return low.image(low.added(add(low.products())))

    return run


def narrowed(run):
    """The result of a convolution in float32, rounded to the case's dtype."""
    return lambda case: rounded(run(case), case.input.dtype)
