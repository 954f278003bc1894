"""What several test modules share."""

import numpy as np

from refconv import conv2d
from refconv.core.formats import EXACT
from refconv.engine import lowering, targets
from refconv.ops.family import OPERATORS

PLANAR = tuple(op for op, row in OPERATORS.items() if row.axes == 2)
# Where all operators would take too long: those of two axes, and of each other number of axes one that is like each
# array of a convolution.
SOME = (*PLANAR, "conv1d", "conv_transpose1d", "conv3d_weight", "conv_transpose3d_input", "conv3d_input")
FLOATS = ("float32", "float64")
ALL = (*FLOATS, "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
MODES = ("zeros", "reflect", "replicate", "circular")


def call(case, **options):
    """`conv2d` with a case's arguments."""
    return conv2d(*case.arguments(), padding_mode=case.padding_mode, **options)


def exact_sums(g, x, w, b):
    """All outputs of a forward convolution as rational numbers, or floats where they are NaN or infinity; flat."""
    correlation = lowering.forward(g, x, w, b, EXACT, np.empty(g.output_shape))
    index = tuple(axis.reshape(-1) for axis in np.indices(correlation.out.shape))
    return targets.choose("cpu").sums(correlation, index)


def same_bits(left, right):
    """Equality of dtype, shape and bits; NaN payloads and signs of zero count."""
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()


# What torch's functions take beside what `strategies.cases` draws by default.
AS_TORCH = {"string_padding": True, "unbatched": True}
