"""A conv2d by im2col and a matrix product: a kernel such as refconv is made for, and a sound one.

Try it: `refconv verify examples/im2col_kernel.py:conv2d --dtype float32 --dtype float64`.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def conv2d(input, weight, bias, stride, padding, dilation, groups):
    """2-D convolution with the arguments of torch.nn.functional.conv2d, all given."""
    kernel = weight.shape[2:]
    extent = [step * (taps - 1) + 1 for taps, step in zip(kernel, dilation, strict=True)]
    (top, left), (height, width) = padding, input.shape[2:]
    padded = np.zeros((*input.shape[:2], height + 2 * top, width + 2 * left), input.dtype)
    padded[:, :, top : top + height, left : left + width] = input
    windows = sliding_window_view(padded, extent, axis=(2, 3))
    windows = windows[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    batch, channels, rows, columns = windows.shape[:4]
    terms = weight[0].size
    patches = windows.reshape(batch, groups, channels // groups, rows * columns, *kernel)
    patches = patches.transpose(0, 1, 2, 4, 5, 3).reshape(batch, groups, terms, rows * columns)
    # (groups, C_out // groups, terms) times (N, groups, terms, P * Q)
    out = weight.reshape(groups, -1, terms) @ patches
    out = out.reshape(batch, len(weight), rows, columns)
    return out if bias is None else out + bias[:, None, None]
