"""Convolutions by torch, JAX and onnxruntime, of a case."""

import peers
import torch
from kernels.lowered import lowered, quiet


def torch_conv2d(case, *, mkldnn=True, memory_format=torch.contiguous_format):
    """torch.nn.functional.conv2d."""
    x, w, b, *options = case.arguments()
    tensors = [None if array is None else torch.tensor(array) for array in (x, w, b)]
    if memory_format == torch.channels_last:
        tensors[:2] = (
            tensor.contiguous(memory_format=memory_format) if tensor.ndim == 4 else tensor for tensor in tensors[:2]
        )
    with torch.backends.mkldnn.flags(enabled=mkldnn):
        return torch.nn.functional.conv2d(*tensors, *options).numpy()


@quiet
def jax_conv2d(case):
    """lax.conv_general_dilated, the bias added in float32."""
    g, low = case.geometry, lowered(case)
    images = case.input.reshape(g.batch, g.in_channels, *g.size)
    out = peers.jax_conv(images, case.weight, g.stride, g.padding, g.dilation, g.groups)
    out = out if case.bias is None else out + case.bias[:, None, None]
    return out if low.batched else out[0]


@quiet
def onnx_conv2d(case):
    """onnxruntime's Conv, the bias added in float32."""
    g, low = case.geometry, lowered(case)
    images = case.input.reshape(g.batch, g.in_channels, *g.size)
    out = peers.onnx_conv(images, case.weight, **peers.onnx_conv2d_options(g))
    out = out if case.bias is None else out + case.bias[:, None, None]
    return out if low.batched else out[0]
