"""A direct conv2d as a kernel of numba-cuda, which writes to the array that it gets: a sound one.

Try it: `refconv verify examples/cuda_kernel.py:conv2d --dtype float32 --dtype float64`. Without a GPU set
NUMBA_ENABLE_CUDASIM=1, and Numba's simulator runs the kernel as Python; a hundred cases are enough then.
"""

import numpy as np
from numba import cuda

THREADS, MOST_BLOCKS = 64, 4096


@cuda.jit
def correlate(input, weight, bias, stride, padding, dilation, groups, out):
    """One output after the other; a thread takes every gridsize-th, so that no size reaches a limit of the launch."""
    _, group_channels, rows, columns = weight.shape
    _, channels, height, width = out.shape
    for index in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        q, rest = index % width, index // width
        p, rest = rest % height, rest // height
        k, n = rest % channels, rest // channels
        first = k // (channels // groups) * group_channels
        total = np.float64(bias[k])
        for c in range(group_channels):
            for r in range(rows):
                h = p * stride[0] + r * dilation[0] - padding[0]
                for s in range(columns):
                    w = q * stride[1] + s * dilation[1] - padding[1]
                    if 0 <= h < input.shape[2] and 0 <= w < input.shape[3]:
                        total += np.float64(input[n, first + c, h, w]) * np.float64(weight[k, c, r, s])
        out[n, k, p, q] = total


def conv2d(input, weight, bias, stride, padding, dilation, groups, out):
    """2-D convolution with the arguments of torch.nn.functional.conv2d, all given, on Numba's device arrays."""
    if out.dtype not in (np.float32, np.float64):
        raise NotImplementedError(f"{out.dtype}: sums of float64 are for float32 and float64")
    if bias is None:
        bias = cuda.to_device(np.zeros(weight.shape[0], weight.dtype))
    if out.size:
        blocks = min(-(-out.size // THREADS), MOST_BLOCKS)
        correlate[blocks, THREADS](input, weight, bias, stride, padding, dilation, groups, out)


conv2d.arrays, conv2d.style = "numba", "out"
