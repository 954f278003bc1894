"""The operators: arguments checked, lowered to the nest, run on a target, handed back as the caller's kind of array.

Knows every floor below; nothing of judging, generating or printing.
"""

from typing import Any

import numpy as np

from refconv import arrays, formats, geometry, integers, targets
from refconv.errors import GeometryError
from refconv.geometry import Geometry, Padding, Pair
from refconv.lowering import forward


def conv2d(  # noqa: PLR0913 - torch's arguments
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    precision: str = "float64",
    backend: str = "auto",
) -> Any:
    """2-D convolution (cross-correlation), with a defined and reproducible result.

    out[n, k, p, q] = bias[k] + the sum over c, r, s of weight[k, c, r, s] times the padded input at
    [n, group * C_in // groups + c, p * stride_h + r * dilation_h, q * stride_w + s * dilation_w], where the group is
    k // (C_out // groups). The order of the additions is fixed, so the result is the same to the last bit for every
    backend, number of threads and batch size.

    Parameters
    ----------
    input : array
        (N, C_in, H, W), or (C_in, H, W) for a single image; float32, float64 or any integer type. NumPy, torch (CPU) or
        anything with DLPack or `__array__`; any strides. Never modified.
    weight : array
        (C_out, C_in // groups, R, S), of the input's dtype.
    bias : array, optional
        (C_out,), of the input's dtype.
    stride, dilation : int or (h, w)
        Steps of the window, and between the elements within it.
    padding : int, (h, w), "same", "valid" or ((top, bottom), (left, right))
        Rows and columns added around the input. "same" keeps the size (for stride 1), the odd row or column after.
    groups : int
        Number of parts into which the channels fall; C_in for a depthwise convolution.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        What the padding is filled with.
    precision : {"float64", "float32"}
        Type in which float sums are accumulated, before they are rounded to the input's dtype once. Integers are exact.
    backend : {"auto", "cpu", "python", "cuda"}
        Who computes: compiled parallel code, or (slow, for proof) Python itself.

    Returns
    -------
    array
        (N, C_out, P, Q), or without N for a single image; the input's kind of array and its dtype. Integers give int32
        for types narrower than 32 bits, uint64 for uint64, int64 for the others.

    Raises
    ------
    GeometryError
        A `ValueError`: shapes, sizes or modes that no convolution has.
    TypeError
        Anything that is no array, or of a dtype that is not supported or does not match.
    OverflowError
        An integer result that does not fit into its dtype.
    BackendUnavailable
        A backend or device that is not usable here.

    References
    ----------
    https://pytorch.org/docs/stable/generated/torch.nn.Conv2d.html, whose arguments these are.

    Examples
    --------
    >>> image = np.arange(16.0).reshape(1, 1, 4, 4)
    >>> conv2d(image, np.array([[[[-1.0, 1.0]]]]), stride=(2, 1))
    array([[[[1., 1., 1.],
             [1., 1., 1.]]]])
    """
    x, w = arrays.to_numpy("input", input), arrays.to_numpy("weight", weight)
    b = None if bias is None else arrays.to_numpy("bias", bias)
    dtype = common_dtype(x, w, b)
    target = targets.choose(backend)
    accumulator = formats.accumulator(dtype, precision)
    shape = geometry_of(x, w, b, stride, padding, dilation, groups, padding_mode)
    result_dtype = formats.result_dtype(dtype)
    batched = x[None] if x.ndim == 3 else x
    if accumulator is formats.INT64 and 0 not in shape.output_shape:
        out = integers.convolve(shape, batched, w, b, result_dtype, target)
    else:
        out = np.empty(shape.output_shape, result_dtype)
        if out.size:
            target.run(forward(shape, batched, w, b, accumulator, out))
    return arrays.like(input, out[0] if x.ndim == 3 else out)


def geometry_of(
    x: np.ndarray, w: np.ndarray, b: np.ndarray | None,
    stride: Any, padding: Any, dilation: Any, groups: Any, padding_mode: Any,
) -> Geometry:  # fmt: skip
    """The geometry of a call of `conv2d`, or an error naming the argument that is wrong."""
    if w.ndim != 4:
        raise GeometryError(f"weight of shape {w.shape}: must have 4 axes (C_out, C_in // groups, R, S)")
    if x.ndim not in (3, 4):
        raise GeometryError(f"input of shape {x.shape}: must have 4 axes (N, C_in, H, W), or 3 without the batch")
    return geometry.convolution(
        x.shape if x.ndim == 4 else (1, *x.shape), w.shape, None if b is None else b.shape,
        stride, padding, dilation, groups, padding_mode,
    )  # fmt: skip


def common_dtype(x: np.ndarray, w: np.ndarray, b: np.ndarray | None) -> np.dtype:
    """The one dtype of all arrays."""
    for name, array in (("weight", w), ("bias", b)):
        if array is not None and array.dtype != x.dtype:
            raise TypeError(f"{name} has dtype {array.dtype}: must be the input's, {x.dtype}")
    return x.dtype
