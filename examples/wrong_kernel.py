"""A deliberately wrong conv2d: its shortcut for 1x1 kernels forgets the stride.

The mistake is a real one (https://github.com/tensorflow/tensorflow/issues/1868), and no test without a strided 1x1
kernel sees it. `refconv verify examples/wrong_kernel.py:conv2d` does, and prints the smallest case that shows it.
"""

import numpy as np


def conv2d(input, weight, bias, stride, padding, dilation, groups):
    """2-D convolution with the arguments of torch.nn.functional.conv2d, one tap of the kernel after the other."""
    out_channels, group_channels, *kernel = weight.shape
    extent = [step * (taps - 1) + 1 for taps, step in zip(kernel, dilation, strict=True)]
    padded = np.pad(input, [(0, 0), (0, 0), *((amount, amount) for amount in padding)])
    rows = (padded.shape[2] - extent[0]) // stride[0] + 1
    columns = (padded.shape[3] - extent[1]) // stride[1] + 1
    out = np.zeros((len(input), out_channels, rows, columns), input.dtype)
    for k in range(out_channels):
        first = k // (out_channels // groups) * group_channels
        channels = padded[:, first : first + group_channels]
        if kernel == [1, 1]:
            taps = channels[:, :, :rows, :columns]  # the mistake: these are the outputs of stride 1
            out[:, k] = np.einsum("nchw,c->nhw", taps, weight[k, :, 0, 0])
            continue
        for r in range(kernel[0]):
            for s in range(kernel[1]):
                taps = channels[:, :, r * dilation[0] :: stride[0], s * dilation[1] :: stride[1]]
                out[:, k] += np.einsum("nchw,c->nhw", taps[:, :, :rows, :columns], weight[k, :, r, s])
    return out if bias is None else out + bias[:, None, None]
