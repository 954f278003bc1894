"""The witnesses: the same operators by torch, onnxruntime and JAX, NumPy arrays in and out. No test, no judgement.

JAX and onnxruntime are imported when first asked, for they take their time.
"""

from functools import cache, lru_cache

import numpy as np
import torch

functional = torch.nn.functional
CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


def torch_conv(x, w, b=None, stride=1, padding=(), dilation=1, groups=1, mode="zeros"):
    """torch's convolution of 1 to 3 axes. `padding` is ((before, after), ...), one pair for each axis."""
    tensors = [None if array is None else torch.tensor(array) for array in (x, w, b)]
    return _padded_conv(*tensors, stride, padding, dilation, groups, mode).numpy()


def torch_gradients(x, w, grad, stride=1, padding=(), dilation=1, groups=1, mode="zeros"):
    """Gradients of the input, the weight and the bias by torch's autograd, through its padding."""
    x, w = (torch.tensor(array, requires_grad=True) for array in (x, w))
    b = torch.zeros(len(w), dtype=x.dtype, requires_grad=True)
    out = _padded_conv(x, w, b, stride, padding, dilation, groups, mode)
    return [gradient.numpy() for gradient in torch.autograd.grad(out, (x, w, b), torch.tensor(grad))]


def _padded_conv(x, w, b, stride, padding, dilation, groups, mode):
    if any(map(any, padding)):
        sides = [side for pair in reversed(padding) for side in pair]
        x = functional.pad(x, sides, mode="constant" if mode == "zeros" else mode)
    return CONVOLUTIONS[w.ndim - 2](x, w, b, stride, 0, dilation, groups)


def torch_conv2d_input(input_size, w, grad, stride, padding, dilation, groups):
    """torch.nn.grad.conv2d_input."""
    return torch.nn.grad.conv2d_input(
        input_size, torch.tensor(w), torch.tensor(grad), stride, padding, dilation, groups
    ).numpy()


def torch_conv2d_weight(x, weight_size, grad, stride, padding, dilation, groups):
    """torch.nn.grad.conv2d_weight."""
    return torch.nn.grad.conv2d_weight(
        torch.tensor(x), weight_size, torch.tensor(grad), stride, padding, dilation, groups
    ).numpy()


def torch_conv_transpose(x, w, b=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """torch's transposed convolution of 1 to 3 axes."""
    x, w, b = (None if array is None else torch.tensor(array) for array in (x, w, b))
    return TRANSPOSED[w.ndim - 2](x, w, b, stride, padding, output_padding, groups, dilation).numpy()


def torch_transposed_gradients(x, w, grad, *options):
    """Gradients of the input and the weight of torch's transposed convolution, by its autograd."""
    x, w = (torch.tensor(array, requires_grad=True) for array in (x, w))
    out = TRANSPOSED[w.ndim - 2](x, w, None, *options)
    return [gradient.numpy() for gradient in torch.autograd.grad(out, (x, w), torch.tensor(grad))]


def jax_conv(x, w, stride, padding, dilation, groups, lhs_dilation=None):
    """lax.conv_general_dilated in 64 bits: batched, any number of axes; each (before, after) may be negative."""
    import jax

    with jax.enable_x64(True):
        return np.asarray(
            jax.lax.conv_general_dilated(
                x, w, stride, padding, lhs_dilation, dilation, feature_group_count=groups
            )
        )  # fmt: skip


def jax_conv_transpose(x, w, stride, padding, output_padding, groups, dilation):
    """A transposed convolution as JAX's convolution of the dilated input with the flipped kernel."""
    taps = w.shape[2:]
    flipped = w.reshape(groups, -1, *w.shape[1:]).swapaxes(1, 2)  # each group: (C_out, C_in)
    flipped = flipped.reshape(-1, flipped.shape[2], *taps)[(..., *(slice(None, None, -1) for _ in taps))]
    sides = [
        (d * (k - 1) - before, d * (k - 1) - after + extra)
        for d, k, (before, after), extra in zip(dilation, taps, padding, output_padding, strict=True)
    ]
    return jax_conv(x, flipped, (1,) * len(taps), sides, dilation, groups, lhs_dilation=stride)


def onnx_conv(x, w, **attributes):
    """onnxruntime's Conv; attributes as ONNX names them."""
    return _run("Conv", {"x": x, "w": w}, x.dtype.name, attributes)


def onnx_conv_integer(x, w, x_zero, w_zero, **attributes):
    """onnxruntime's ConvInteger; zero points are scalars."""
    feeds = {"x": x, "w": w, "x_zero": np.asarray(x_zero, x.dtype), "w_zero": np.asarray(w_zero, w.dtype)}
    return _run("ConvInteger", feeds, "int32", attributes)


def onnx_qlinear_conv(  # noqa: PLR0917 - ONNX's arguments
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, b=None, *, constant=False, **attributes
):  # fmt: skip
    """onnxruntime's QLinearConv; `constant` makes all but x part of the model, which takes other kernels."""
    feeds = {
        "x": x,
        "x_scale": np.asarray(x_scale, np.float32),
        "x_zero": np.asarray(x_zero, x.dtype),
        "w": w,
        "w_scale": np.asarray(w_scale, np.float32),
        "w_zero": np.asarray(w_zero, w.dtype),
        "y_scale": np.asarray(y_scale, np.float32),
        "y_zero": np.asarray(y_zero, x.dtype),
    } | ({} if b is None else {"b": b})
    if not constant:
        return _run("QLinearConv", feeds, x.dtype.name, attributes)
    dtypes, constants = {"x": x.dtype.name}, {name: array for name, array in feeds.items() if name != "x"}
    return _session(_model("QLinearConv", list(feeds), dtypes, x.dtype.name, attributes, constants)).run(
        None, {"x": x}
    )[0]


def onnx_conv2d_options(geometry):
    """ONNX's attributes of a Geometry."""
    before, after = zip(*geometry.padding, strict=True)
    return {
        "strides": geometry.stride,
        "pads": before + after,
        "dilations": geometry.dilation,
        "group": geometry.groups,
    }


@cache
def onnx_saturates():
    """Whether onnxruntime, on this processor, loses the sum of two products of signed weights past 16 bits.

    It does so on x86-64 with AVX2 or AVX-512 but without VNNI: weights must have 7 bits there.
    """
    x, w = np.full((1, 64, 4, 4), 255, np.uint8), np.full((16, 64, 1, 1), 127, np.int8)
    x_few, w_few = np.full((1, 4, 1, 1), 255, np.uint8), np.full((2, 4, 1, 1), 127, np.int8)
    few = onnx_qlinear_conv(x_few, 1, 0, w_few, 1, 0, 4 * 255 * 127 / 200, 0)  # another kernel
    return not ((onnx_conv_integer(x, w, 0, 0) == 64 * 255 * 127).all() and (few == 200).all())


@cache
def onnx_multiplies(x_dtype, w_dtype):
    """Whether onnxruntime, on this processor, gets such integers right: on some, int8 by uint8 it does not."""
    rng = np.random.default_rng(0)
    x, w = (
        rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)
        for shape, dtype in (((1, 3, 5, 6), x_dtype), ((4, 3, 1, 1), w_dtype))
    )
    w = w >> 1 if w_dtype == "int8" and onnx_saturates() else w
    right = np.einsum("nchw,kcij->nkhw", x.astype(int), w.astype(int))
    return bool((onnx_conv_integer(x, w, 0, 0) == right).all())


def _run(op, feeds, result_dtype, attributes):
    dtypes = tuple((name, array.dtype.name) for name, array in feeds.items())
    return _remembered(op, dtypes, result_dtype, tuple(sorted(attributes.items()))).run(None, feeds)[0]


@lru_cache(maxsize=512)
def _remembered(op, dtypes, result_dtype, attributes):
    names = [name for name, _ in dtypes]
    return _session(_model(op, names, dict(dtypes), result_dtype, dict(attributes)))


def _model(op, names, dtypes, result_dtype, attributes, constants=None):
    from onnx import helper, numpy_helper

    def value(name, dtype):
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), None)

    node = helper.make_node(op, names, ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        op,
        [value(name, dtype) for name, dtype in dtypes.items()],
        [value("y", result_dtype)],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def _session(model):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # a pool of threads for every session would cost more than it computes
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
