"""Convolutions: arguments checked, lowered to the nest, run on a target, handed back as the caller's kind of array.

`_forward` takes any number of spatial axes; each public function fixes that number, as its documentation and its
messages do. Knows every floor below; nothing of judging, generating or printing.
"""

from typing import Any

import numpy as np

from refconv.arrays import interop
from refconv.core import geometry
from refconv.core.checks import Padding, Pair, check_batched, check_weight
from refconv.core.geometry import Geometry
from refconv.core.layouts import IMAGES, WEIGHTS
from refconv.engine import lowering
from refconv.engine.evaluate import Arithmetic, evaluate
from refconv.ops import quick
from refconv.ops.options import Options, new_result, options_of

# The options of a call that may take the shortest way. Compared by identity, which takes no time and raises nothing.
_ZEROS, _NCHW, _OIHW, _RAISE, _AUTO = "zeros", "NCHW", "OIHW", "raise", "auto"


def conv2d(
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
    out_dtype: Any = None,
    layout: str = "NCHW",
    weight_layout: str = "OIHW",
    overflow: str = "raise",
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
        (N, C_in, H, W), or (C_in, H, W) for a single image. NumPy, torch, CuPy, Numba or anything with DLPack,
        `__array__` or `__cuda_array_interface__`; any strides. Never modified. Its dtype is float16, bfloat16,
        float8_e4m3fn, float8_e5m2, float32, float64, complex64, complex128 or any integer type.
    weight : array
        (C_out, C_in // groups, R, S), of the input's dtype; 8-bit floats may mix, and so may int8 and uint8.
    bias : array, optional
        (C_out,), of the input's dtype, or float32 for floats narrower than that.
    stride, dilation : int or (h, w)
        Steps of the window, and between the elements within it.
    padding : int, (h, w), ((top, bottom), (left, right)), "same", "valid", "same_upper" or "same_lower"
        Rows and columns added around the input. "same" keeps the size (for stride 1), the odd row or column after;
        "same_upper" and "same_lower" are ONNX's, with any stride: the output has ceil(size / stride) rows or columns,
        and of an odd total the extra one comes last ("SAME" of TensorFlow), or first.
    groups : int
        Number of parts into which the channels fall; C_in for a depthwise convolution.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        What the padding is filled with.
    precision : {"float64", "float32", "exact"}
        Type in which floats, or the parts of complex numbers, are accumulated before they are rounded to the result's
        dtype, once; at least as wide as the input's. "exact": the sum is not rounded before, so every result is the
        number nearest to the exact value, ties to even; `refconv.count_redone` counts those that took longer.
        Integers are exact anyway.
    out_dtype : dtype, optional
        Of the result, of the input's kind. By default the input's; for integers int32 if they are narrower than 32
        bits, uint64 for uint64, int64 for the others.
    layout : {"NCHW", "NHWC"}
        Of input and result. The channels of an unbatched input come first or last likewise.
    weight_layout : {"OIHW", "OHWI"}
        Of the weight.
    overflow : {"raise", "wrap", "saturate"}
        What becomes of an integer result that does not fit into its dtype.
    backend : {"auto", "cpu", "python", "cuda"}
        Who computes: compiled parallel code, (slow, for proof) Python itself, or a GPU. "auto": where the arrays live.

    Returns
    -------
    array
        (N, C_out, P, Q), or without N for a single image; the input's kind of array.

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
    if (
        padding_mode is _ZEROS
        and out_dtype is None
        and layout is _NCHW
        and weight_layout is _OIHW
        and overflow is _RAISE
        and backend is _AUTO
    ):
        result = quick.conv2d(input, weight, bias, stride, padding, dilation, groups, precision)
        if result is not None:
            return result
    return _forward(
        2,
        input,
        weight,
        bias,
        (stride, padding, dilation, groups),
        options_of(2, padding_mode, precision, out_dtype, layout, weight_layout, overflow, backend),
    )


def conv1d(
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
    out_dtype: Any = None,
    layout: str = "NCL",
    weight_layout: str = "OIL",
    overflow: str = "raise",
    backend: str = "auto",
) -> Any:
    """1-D convolution: as `conv2d`, of input (N, C_in, L) with weight (C_out, C_in // groups, S).

    Layouts are "NCL" and "NLC", of weights "OIL" and "OLI".

    References
    ----------
    https://pytorch.org/docs/stable/generated/torch.nn.Conv1d.html

    Examples
    --------
    >>> conv1d(np.arange(5.0)[None], np.array([[[-1.0, 0.0, 1.0]]]))
    array([[2., 2., 2.]])
    """
    return _forward(
        1,
        input,
        weight,
        bias,
        (stride, padding, dilation, groups),
        options_of(1, padding_mode, precision, out_dtype, layout, weight_layout, overflow, backend),
    )


def conv3d(
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
    out_dtype: Any = None,
    layout: str = "NCDHW",
    weight_layout: str = "OIDHW",
    overflow: str = "raise",
    backend: str = "auto",
) -> Any:
    """3-D convolution: as `conv2d`, of input (N, C_in, D, H, W) with weight (C_out, C_in // groups, Q, R, S).

    Layouts are "NCDHW" and "NDHWC", of weights "OIDHW" and "ODHWI".

    References
    ----------
    https://pytorch.org/docs/stable/generated/torch.nn.Conv3d.html

    Examples
    --------
    >>> conv3d(np.ones((1, 2, 3, 3, 3)), np.ones((1, 2, 2, 2, 2)), stride=2)
    array([[[[[16.]]]]])
    """
    return _forward(
        3,
        input,
        weight,
        bias,
        (stride, padding, dilation, groups),
        options_of(3, padding_mode, precision, out_dtype, layout, weight_layout, overflow, backend),
    )


def geometry_of(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, *options: Any, axes: int = 2) -> Geometry:
    """The geometry of a call of `conv1d`, `conv2d` or `conv3d`, or an error naming the argument that is wrong.

    `options` are stride, padding, dilation, groups and padding mode.
    """
    check_weight("weight", w.shape, axes)
    batched = check_batched("input", x.shape, axes)
    return geometry.convolution(
        x.shape if batched else (1, *x.shape), w.shape, None if b is None else b.shape, *options
    )


def convolve(
    g: Geometry,
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    overflow: str = "raise",
    conjugate: str = "",
) -> np.ndarray:
    """A convolution of operands that have the shapes of `g`, a geometry that has been checked already."""
    options, batched = checked_options(g, overflow), x.ndim == w.ndim
    taken = interop.take("input", input=x, weight=w, bias=bias)
    operands, arithmetic = (x if batched else x[None], w, bias), options.arithmetic(taken, bias, input=x, weight=w)
    return _convolved(options, taken, arithmetic, g, operands, batched=batched, conjugate=conjugate)


def checked_options(g: Geometry, overflow: str = "raise") -> Options:
    """The options of a geometry that has been checked already: sums in float64, layouts as torch has them."""
    axes = len(g.size)
    return options_of(axes, g.padding_mode, "float64", None, IMAGES[axes], WEIGHTS[axes], overflow, "auto")


def _forward(axes: int, input: Any, weight: Any, bias: Any, arguments: tuple[Any, ...], options: Options) -> Any:
    taken = interop.take("input", input=input, weight=weight, bias=bias)
    x, w, b = taken.arrays
    arithmetic = options.arithmetic(taken, b, input=x, weight=w)
    taken.check_result(arithmetic.dtype)
    check_weight("weight", w.shape, axes)
    batched = check_batched("input", x.shape, axes)
    x, w = options.batched(x, batched), options.weights(w)
    bias_shape = None if b is None else b.shape
    g = options.geometry(geometry.convolution, x.shape, w.shape, bias_shape, *arguments, options.padding_mode)
    return taken.give_back(_convolved(options, taken, arithmetic, g, (x, w, b), batched=batched))


def _convolved(
    options: Options,
    taken: interop.Taken,
    arithmetic: Arithmetic,
    g: Geometry,
    operands: tuple[np.ndarray, np.ndarray, np.ndarray | None],
    *,
    batched: bool,
    conjugate: str = "",
) -> np.ndarray:
    """The result, where the arrays lie; not yet of the caller's kind of array."""
    result, out = new_result(taken, g.output_shape, arithmetic.dtype, last=options.channels_last)
    result = result if batched else result[0]
    if result.size:
        sums = lowering.forward(g, *operands, arithmetic.accumulator, out)
        evaluate(arithmetic, [sums], result, conjugate=conjugate)
    return result
