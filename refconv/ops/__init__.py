"""The operators that users call: convolutions, transposed ones, gradients, quantized ones.

Public names only. Knows how a call is checked, lowered to the nest and handed back; nothing of judging. `family.py`,
which is not public, holds the table of the operators that are judged, and a note on how to add one.
"""

from refconv.ops.bias_gradients import conv1d_bias, conv2d_bias, conv3d_bias
from refconv.ops.convolution import conv1d, conv2d, conv3d
from refconv.ops.gradients import (
    conv1d_input,
    conv1d_weight,
    conv2d_input,
    conv2d_weight,
    conv3d_input,
    conv3d_weight,
)
from refconv.ops.quantized import conv2d_integer, conv2d_quantized
from refconv.ops.transposed import conv_transpose1d, conv_transpose2d, conv_transpose3d
from refconv.ops.transposed_gradients import (
    conv_transpose1d_input,
    conv_transpose1d_weight,
    conv_transpose2d_input,
    conv_transpose2d_weight,
    conv_transpose3d_input,
    conv_transpose3d_weight,
)

__all__ = [
    "conv1d",
    "conv1d_bias",
    "conv1d_input",
    "conv1d_weight",
    "conv2d",
    "conv2d_bias",
    "conv2d_input",
    "conv2d_integer",
    "conv2d_quantized",
    "conv2d_weight",
    "conv3d",
    "conv3d_bias",
    "conv3d_input",
    "conv3d_weight",
    "conv_transpose1d",
    "conv_transpose1d_input",
    "conv_transpose1d_weight",
    "conv_transpose2d",
    "conv_transpose2d_input",
    "conv_transpose2d_weight",
    "conv_transpose3d",
    "conv_transpose3d_input",
    "conv_transpose3d_weight",
]
