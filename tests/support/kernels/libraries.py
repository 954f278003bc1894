"""Convolutions by torch, JAX and onnxruntime, of a case."""

import numpy as np
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


def jax_as_tensorflow(input, weight, bias, stride, padding, dilation, groups):
    """lax.conv_general_dilated of NHWC with HWIO, both of which it has, of one dtype in and out: int8 wraps."""
    import jax

    sides = padding.removesuffix("_upper").upper() if isinstance(padding, str) else [(pad, pad) for pad in padding]
    result = jax.lax.conv_general_dilated(
        input, weight, stride, sides, None, dilation, ("NHWC", "HWIO", "NHWC"), feature_group_count=groups
    )
    return np.asarray(result if bias is None else result + bias)


def onnx_auto_pad(input, weight, bias, stride, padding, dilation, groups):
    """onnxruntime's Conv, which pads itself: SAME_UPPER, SAME_LOWER, VALID."""
    if any(step > taps for step, taps in zip(stride, weight.shape[2:], strict=True)):
        raise NotImplementedError("a stride above the kernel, where it drops elements: see docs/findings.md")
    names = {"strides": stride, "auto_pad": padding.upper(), "dilations": dilation, "group": groups}
    result = peers.onnx_conv(input, weight, **names)
    return result if bias is None else result + bias[:, None, None]


def onnx_quantized(*arguments):
    """onnxruntime's QLinearConv, of what it takes: one zero point for all channels, and few pairs of dtypes."""
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias, *options = arguments
    if x.ndim == 3 or np.unique(w_zero).size > 1 or not peers.onnx_multiplies(x.dtype.name, w.dtype.name):
        raise NotImplementedError
    if (x.dtype, w.dtype) == (np.int8, np.uint8):
        raise NotImplementedError
    names = dict(zip(("strides", "pads", "dilations", "group"), options, strict=True))
    names["pads"] = (*names["pads"], *names["pads"])
    points = x_scale, x_zero, w, w_scale, np.ravel(w_zero)[0], y_scale, y_zero
    return peers.onnx_qlinear_conv(x, *points, bias, **names)


@quiet
def onnx_conv2d(case):
    """onnxruntime's Conv, the bias added in float32."""
    g, low = case.geometry, lowered(case)
    images = case.input.reshape(g.batch, g.in_channels, *g.size)
    out = peers.onnx_conv(images, case.weight, **peers.onnx_conv2d_options(g))
    out = out if case.bias is None else out + case.bias[:, None, None]
    return out if low.batched else out[0]
