"""torch.compile's convolution with ReLU: Inductor's kernels, and oneDNN's fused one for frozen weights."""

from functools import cache

import torch
from torch.nn import functional


@cache
def _compiled():
    """The function, made when it is first called: torch's compiler itself uses what torch deprecates."""
    import torch._dynamo

    torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = 10**6
    return torch.compile(_relu, dynamic=False)


def _relu(*arguments):
    return functional.relu(functional.conv2d(*arguments))


def relu(*arguments):
    """Compiled once for each geometry: some seconds."""
    with torch.no_grad():
        return _compiled()(*arguments)


class _Layer(torch.nn.Module):
    def __init__(self, weight, bias, *options):
        super().__init__()
        self.weight = torch.nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else torch.nn.Parameter(bias, requires_grad=False)
        self.options = options

    def forward(self, input):
        return functional.relu(functional.conv2d(input, self.weight, self.bias, *self.options))


def frozen_relu(input, *others):
    """With the weights as constants, which Inductor packs, and fuses with ReLU: compiled for each call."""
    import torch._dynamo
    import torch._inductor.config

    torch._dynamo.reset()
    with torch.no_grad(), torch._inductor.config.patch(freezing=True):
        return torch.compile(_Layer(*others).eval(), dynamic=False)(input)


for _function in (relu, frozen_relu):
    _function.epilogue, _function.arrays = "relu", "torch"
