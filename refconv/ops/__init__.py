"""The operators that users call: convolutions, transposed ones, gradients, quantized ones.

Public names only. Knows how a call is checked, lowered to the nest and handed back; nothing of judging. `family.py`,
which is not public, holds the table of the operators that are judged, and a note on how to add one.
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
