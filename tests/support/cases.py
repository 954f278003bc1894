"""Cases and layers that several test modules share. No test."""

import numpy as np

from refconv import Case
from refconv.cases.fills import operands
from refconv.cases.networks import Layer

# Layers that take no time.
PAIRS = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
DENSE = Layer("small", "dense", (1, 4, 6, 6), (8, 4, 3, 3), **PAIRS, groups=1)
DEPTHWISE = Layer("other", "depthwise", (1, 4, 6, 6), (4, 1, 3, 3), (2, 1), (1, 0), (1, 2), groups=4)


def case_of(fill, channels, *, outputs=8, size=8, seed=0):
    """A padded 3x3 convolution of one square image."""
    x, w, _ = operands(fill, (1, channels, size, size), (outputs, channels, 3, 3), seed=seed)
    return Case(input=x, weight=w, padding=1)


def skipping(case):
    """Sums over the taps that lie inside, one after the other."""
    g = case.geometry
    out = np.zeros(case.expected().shape, case.expected().dtype)
    with np.errstate(all="ignore"):
        for index in np.ndindex(out.shape):
            n, k, p, q = index
            total = out.dtype.type(0 if case.bias is None else case.bias[k])
            first = k // (g.out_channels // g.groups) * case.weight.shape[1]
            for c, r, s in np.ndindex(case.weight.shape[1:]):
                row, column = (
                    place * step - before + tap * d
                    for place, step, (before, _), tap, d in zip(
                        (p, q), g.stride, g.padding, (r, s), g.dilation, strict=True
                    )
                )
                if 0 <= row < g.size[0] and 0 <= column < g.size[1]:
                    total += case.input[n, first + c, row, column] * case.weight[k, c, r, s]
            out[index] = total
    return out
