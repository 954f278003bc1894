"""torch's conv2d, without the calls for which torch 2.13 uses memory that is not its own.

On processors with AVX-512 the CPU library of torch does so for channels-last images, if columns are skipped and the
input or the output is one column wide: rows come back wrong, or the process crashes. `make verify` uses this file:
`refconv verify examples/torch_conv2d.py:conv2d`.
"""

import torch

import refconv


def conv2d(*arguments):
    """torch.nn.functional.conv2d."""
    return torch.nn.functional.conv2d(*arguments)


def supports(case: refconv.Case) -> bool:
    """Whether the call is one of those that torch gets right."""
    geometry = case.geometry
    return geometry.stride[1] == 1 or min(geometry.size[1], geometry.output_size[1]) > 1


conv2d.arrays = "torch"
conv2d.supports = supports
