"""Cases and layers that several test modules share. No test."""

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
