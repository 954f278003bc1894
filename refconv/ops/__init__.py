"""The public operators, and one table of them.

Public names only.
"""

from refconv.ops.convolution import conv1d, conv2d, conv3d
from refconv.ops.gradients import conv2d_bias, conv2d_input, conv2d_weight
from refconv.ops.quantized import conv2d_integer, conv2d_quantized
from refconv.ops.transposed import conv_transpose1d, conv_transpose2d, conv_transpose3d

__all__ = [
    "conv1d",
    "conv2d",
    "conv2d_bias",
    "conv2d_input",
    "conv2d_integer",
    "conv2d_quantized",
    "conv2d_weight",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
]
