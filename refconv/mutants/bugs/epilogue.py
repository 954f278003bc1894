"""Mutants that do wrong what comes behind the sums: scale, residual and activation.

Each is a candidate under the claim of an epilogue, which it says of itself. Knows kernels and the registry.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from refconv.mutants.kernels.forward import Array, KernelCall
from refconv.mutants.registry import ANY, mutant
from refconv.ops.epilogue import Step, applied, steps_of

KIND = "epilogue"
OPS = ("conv2d", "conv_transpose2d")


def _register(epilogue: str, summary: str, source: str = "", **options: Any) -> Callable[[Any], Any]:
    """A mutant of each operator that may have an epilogue."""
    return mutant(kind=KIND, op=OPS, axes=ANY, epilogue=epilogue, summary=summary, source=source, **options)


@_register("relu", "the activation left out", "onnxruntime#28565", step="activate")
def activation_dropped(c: KernelCall, sums: Array) -> Array:
    """The path without an epilogue."""
    return sums


@_register("residual,relu", "the residual left out", "imedslab/pytorch_bn_fusion#2", step="activate")
def residual_dropped(c: KernelCall, sums: Array) -> Array:
    """The addition is forgotten."""
    wrong: Array = np.maximum(sums, 0)
    return wrong


@_register("leaky_relu(0.1)", "the activation applied twice", step="activate")
def activation_twice(c: KernelCall, sums: Array) -> Array:
    """In the kernel and behind it."""
    return applied(c.steps, applied(c.steps, sums, ()), ())


@_register("residual,relu", "the residual added twice", "yakhyo/darknet-pytorch#2", step="activate")
def residual_twice(c: KernelCall, sums: Array) -> Array:
    """In the kernel and behind it."""
    wrong: Array = np.maximum(sums + 2 * c.further[0], 0)
    return wrong


@_register("relu", "the activation before the bias is added", step="add_bias")
def activation_before_bias(c: KernelCall, sums: Array) -> Array:
    """The order of two steps; what comes later finds nothing left to do where the bias is positive."""
    c.steps = ()
    return KernelCall.add_bias(c, np.maximum(sums, 0))


@_register("scale", "the bias not multiplied by the scale", "Tencent/ncnn#1339", step="add_bias")
def scale_before_bias(c: KernelCall, sums: Array) -> Array:
    """The scale is folded into the weights alone."""
    scaled = applied(c.steps, sums, c.further)
    c.steps = ()
    return KernelCall.add_bias(c, scaled)


@_register("relu", "the activation on the channels of the first group only", step="activate")
def activation_of_first_group(c: KernelCall, sums: Array) -> Array:
    """The loop over groups ends behind the first one."""
    count = sums.shape[1] // c.groups
    return np.concatenate([np.maximum(sums[:, :count], 0), sums[:, count:]], axis=1)


@_register("leaky_relu(0.01)", "the slope taken for 0.1", "apache/tvm#1218", step="activate")
def slope_of_another(c: KernelCall, sums: Array) -> Array:
    """A number in the code in place of the parameter."""
    return applied(steps_of("leaky_relu(0.1)"), sums, ())


@_register("clip(-1,4)", "the lower limit taken for 0", step="activate")
def clip_from_zero(c: KernelCall, sums: Array) -> Array:
    """As of relu6."""
    wrong: Array = np.clip(sums, 0, 4)
    return wrong


@_register("residual", "the residual of the next image added", step="activate")
def residual_of_next_image(c: KernelCall, sums: Array) -> Array:
    """The wrong index."""
    wrong: Array = sums + np.roll(c.further[0], -1, axis=0)
    return wrong


@_register("residual", "the residual of the first image added to all", step="activate")
def residual_of_first_image(c: KernelCall, sums: Array) -> Array:
    """The offset of the image is forgotten."""
    wrong: Array = sums + c.further[0][:1]
    return wrong


@_register("residual", "the residual read as if it had channels last", "NVIDIA/TensorRT#4854", step="activate")
def residual_in_another_layout(c: KernelCall, sums: Array) -> Array:
    """Its strides are not looked at."""
    n, k, *size = sums.shape
    residual = c.further[0].reshape(n, *size, k)
    wrong: Array = sums + np.moveaxis(residual, -1, 1)
    return wrong


@_register("scale", "the shift added to sums that are not scaled", step="activate")
def shift_without_scale(c: KernelCall, sums: Array) -> Array:
    """Half of the step."""
    wrong: Array = sums + c.further[1]
    return wrong


@_register("scale", "the scale of the first channel taken for all", step="activate")
def scale_of_first_channel(c: KernelCall, sums: Array) -> Array:
    """One number where there are several."""
    wrong: Array = sums * c.further[0].reshape(-1)[0] + c.further[1]
    return wrong


@_register("scale,relu", "the activation before the scale", "pytorch/glow#5892", step="activate")
def activation_before_scale(c: KernelCall, sums: Array) -> Array:
    """The order of two steps."""
    return applied((Step("relu"), Step("scale")), sums, c.further)


@_register("gelu", "GELU approximated by way of tanh, where erf is asked for", step="activate")
def gelu_approximated(c: KernelCall, sums: Array) -> Array:
    """The other function of that name."""
    return applied(steps_of("gelu_tanh"), sums, ())


@_register("hardswish", "sigmoid in place of its piecewise linear approximation", step="activate")
def hardswish_smooth(c: KernelCall, sums: Array) -> Array:
    """The function that the step approximates."""
    return applied(steps_of("silu"), sums, ())
