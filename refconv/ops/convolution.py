"""The operators: arguments checked, lowered to the nest, run on a target, handed back as the caller's kind of array.

Knows every floor below; nothing of judging, generating or printing. Each operator is for any number of spatial axes
inside; the public functions fix it, for their documentation and their messages are about one number of axes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from refconv.arrays import interop
from refconv.core import checks, formats, geometry, transposed_geometry
from refconv.core.checks import Padding, Pair, check_batched, check_weight, choice
from refconv.core.errors import GeometryError
from refconv.core.geometry import Geometry
from refconv.core.padding import MODES
from refconv.engine import integers, lowering, targets
from refconv.engine.evaluate import Way, evaluate, fold_gradient

LAYOUTS = {1: ("NCL", "NLC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}
WEIGHT_LAYOUTS = {1: ("OIL", "OLI"), 2: ("OIHW", "OHWI"), 3: ("OIDHW", "ODHWI")}


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
    padding : int, (h, w), "same", "valid" or ((top, bottom), (left, right))
        Rows and columns added around the input. "same" keeps the size (for stride 1), the odd row or column after.
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
    return _forward(
        2,
        input,
        weight,
        bias,
        (stride, padding, dilation, groups),
        _options(2, padding_mode, precision, out_dtype, layout, weight_layout, overflow, backend),
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
        _options(1, padding_mode, precision, out_dtype, layout, weight_layout, overflow, backend),
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
        _options(3, padding_mode, precision, out_dtype, layout, weight_layout, overflow, backend),
    )


def conv_transpose2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Pair = 1,
    padding: Padding = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
    *,
    precision: str = "float64",
    out_dtype: Any = None,
    layout: str = "NCHW",
    weight_layout: str = "OIHW",
    overflow: str = "raise",
    backend: str = "auto",
) -> Any:
    """2-D transposed convolution: `conv2d_input` of the convolution with the same weight, plus a bias.

    Each element of the input adds weight times itself to a window of the result; windows lie `stride` apart. A sum's
    terms ascend in (k, r, s) over the taps that meet an element of the input or of a border of zeros around it; the
    zeros that are sometimes put between the elements do not exist.

    Parameters
    ----------
    input : array
        (N, C_in, H, W), or (C_in, H, W) for a single image.
    weight : array
        (C_in, C_out // groups, R, S).
    bias : array, optional
        (C_out,).
    stride, dilation : int or (h, w)
        Distances of the windows, and of the elements within one.
    padding : int, (h, w) or ((top, bottom), (left, right))
        Rows and columns taken away from the result's edges.
    output_padding : int or (h, w)
        Rows and columns added to the result after the last one; fewer than stride or dilation.
    groups : int
        Number of parts into which the channels fall.
    precision, out_dtype, layout, weight_layout, overflow, backend
        As `conv2d` takes them; there is no padding mode but zeros. With `weight_layout="OHWI"` the weight's second axis
        comes last.

    Returns
    -------
    array
        (N, C_out, (H - 1) * stride - 2 * padding + dilation * (R - 1) + output_padding + 1, ...).

    Raises
    ------
    GeometryError, TypeError, OverflowError, BackendUnavailable
        As `conv2d` does.

    References
    ----------
    https://pytorch.org/docs/stable/generated/torch.nn.ConvTranspose2d.html

    Examples
    --------
    >>> conv_transpose2d(np.array([[[1.0, 2.0]]]), np.ones((1, 1, 1, 2)), stride=2)
    array([[[1., 1., 2., 2.]]])
    """
    return _transposed(
        2,
        input,
        weight,
        bias,
        (stride, padding, output_padding, dilation, groups),
        _options(2, "zeros", precision, out_dtype, layout, weight_layout, overflow, backend),
    )


def conv_transpose1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Pair = 1,
    padding: Padding = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
    *,
    precision: str = "float64",
    out_dtype: Any = None,
    layout: str = "NCL",
    weight_layout: str = "OIL",
    overflow: str = "raise",
    backend: str = "auto",
) -> Any:
    """1-D transposed convolution: as `conv_transpose2d`, of input (N, C_in, L) with weight (C_in, C_out // groups, S).

    References
    ----------
    https://pytorch.org/docs/stable/generated/torch.nn.ConvTranspose1d.html

    Examples
    --------
    >>> conv_transpose1d(np.array([[1.0, 2.0]]), np.ones((1, 1, 3)), stride=2)
    array([[1., 1., 3., 2., 2.]])
    """
    return _transposed(
        1,
        input,
        weight,
        bias,
        (stride, padding, output_padding, dilation, groups),
        _options(1, "zeros", precision, out_dtype, layout, weight_layout, overflow, backend),
    )


def conv_transpose3d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Pair = 1,
    padding: Padding = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
    *,
    precision: str = "float64",
    out_dtype: Any = None,
    layout: str = "NCDHW",
    weight_layout: str = "OIDHW",
    overflow: str = "raise",
    backend: str = "auto",
) -> Any:
    """3-D transposed convolution: as `conv_transpose2d`, of (N, C_in, D, H, W) with (C_in, C_out // groups, Q, R, S).

    References
    ----------
    https://pytorch.org/docs/stable/generated/torch.nn.ConvTranspose3d.html

    Examples
    --------
    >>> conv_transpose3d(np.ones((1, 1, 1, 2)), np.ones((1, 1, 1, 1, 2)))
    array([[[[1., 2., 1.]]]])
    """
    return _transposed(
        3,
        input,
        weight,
        bias,
        (stride, padding, output_padding, dilation, groups),
        _options(3, "zeros", precision, out_dtype, layout, weight_layout, overflow, backend),
    )


def conv2d_input(
    input_size: Sequence[int],
    weight: Any,
    grad_output: Any,
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
    """Gradient of `conv2d` with respect to its input, given that of its output.

    A sum's terms ascend in (k, r, s), over the taps that meet an element of the output's gradient or of a border of
    zeros around it. Under the padding modes "reflect", "replicate" and "circular" it is the gradient of the padded
    input, unrounded, of which all elements that stand for the same one are added in ascending order. For complex
    numbers it is torch's: with the conjugate of the weight.

    Parameters
    ----------
    input_size : sequence of int
        (N, C_in, H, W), or (C_in, H, W) for a single image; in `layout`.
    weight : array
        (C_out, C_in // groups, R, S).
    grad_output : array
        (N, C_out, P, Q), or (C_out, P, Q): of the shape that the convolution's output has.
    stride, padding, dilation, groups, other options
        As `conv2d` takes them.

    Returns
    -------
    array
        Of `input_size`; the kind of array of `grad_output`. Its dtype follows from that of `grad_output` as the
        result's of `conv2d` does from the input's.

    Raises
    ------
    GeometryError, TypeError, OverflowError, BackendUnavailable
        As `conv2d` does.

    References
    ----------
    `torch.nn.grad.conv2d_input`; padding modes as by torch's autograd of `torch.nn.functional.pad` and `conv2d`.

    Examples
    --------
    >>> conv2d_input((1, 1, 1, 4), np.array([[[[1.0, 2.0]]]]), np.ones((1, 1, 1, 3)))
    array([[[[1., 3., 3., 2.]]]])
    """
    return _input_gradient(
        2,
        input_size,
        weight,
        grad_output,
        (stride, padding, dilation, groups),
        _options(2, padding_mode, precision, out_dtype, layout, weight_layout, overflow, backend),
    )


def conv2d_weight(
    input: Any,
    weight_size: Sequence[int],
    grad_output: Any,
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
    """Gradient of `conv2d` with respect to its weight, given that of its output.

    A sum's terms ascend in (n, p, q). For complex numbers it is torch's: with the conjugate of the input.

    Parameters
    ----------
    input : array
        (N, C_in, H, W), or (C_in, H, W) for a single image.
    weight_size : sequence of int
        (C_out, C_in // groups, R, S); in `weight_layout`.
    grad_output : array
        (N, C_out, P, Q), or (C_out, P, Q): of the shape that the convolution's output has.
    stride, padding, dilation, groups, other options
        As `conv2d` takes them.

    Returns
    -------
    array
        Of `weight_size`; the kind of array of `input`. Its dtype follows from that of `input` as the result's of
        `conv2d` does. For an empty batch zeros.

    Raises
    ------
    GeometryError, TypeError, OverflowError, BackendUnavailable
        As `conv2d` does.

    References
    ----------
    `torch.nn.grad.conv2d_weight`; padding modes as by torch's autograd of `torch.nn.functional.pad` and `conv2d`.

    Examples
    --------
    >>> conv2d_weight(np.array([[[[1.0, 2.0, 3.0]]]]), (1, 1, 1, 2), np.ones((1, 1, 1, 2)))
    array([[[[3., 5.]]]])
    """
    o = _options(2, padding_mode, precision, out_dtype, layout, weight_layout, overflow, backend)
    x, grad = interop.to_numpy("input", input), interop.to_numpy("grad_output", grad_output)
    how = _way(o, input=x, grad_output=grad)
    interop.check_result("input", input, how.dtype)
    batched = check_batched("input", x.shape, 2)
    x, grad = _batched(o, x, batched), _batched(o, grad, batched)
    size = checks.sizes("weight_size", weight_size, 2)
    if o.weights_last:
        size = (size[0], size[-1], *size[1:-1])
    g = _geometry(
        o, geometry.weight_gradient, x.shape, size, grad.shape, stride, padding, dilation, groups, o.padding_mode
    )
    result, out = _new(input, size, how.dtype, last=o.weights_last)
    if result.size:
        evaluate(how, [lowering.weight_gradient(g, x, grad, how.accumulator, out)], result, conjugate="x")
    return interop.like(input, result)


def conv2d_bias(
    grad_output: Any,
    *,
    precision: str = "float64",
    out_dtype: Any = None,
    layout: str = "NCHW",
    overflow: str = "raise",
    backend: str = "auto",
) -> Any:
    """Gradient of `conv2d` with respect to its bias: the sums of the output's gradient over all but the channels.

    A sum's terms ascend in (n, p, q).

    Parameters
    ----------
    grad_output : array
        (N, C_out, P, Q), or (C_out, P, Q) for a single image.
    precision, out_dtype, layout, overflow, backend
        As `conv2d` takes them.

    Returns
    -------
    array
        (C_out,), the kind of array of `grad_output`. Its dtype follows from that of `grad_output` as the result's of
        `conv2d` does from the input's. For an empty batch zeros.

    Raises
    ------
    GeometryError, TypeError, OverflowError, BackendUnavailable
        As `conv2d` does.

    References
    ----------
    https://pytorch.org/docs/stable/generated/torch.nn.functional.conv2d.html, by autograd.

    Examples
    --------
    >>> conv2d_bias(np.ones((2, 1, 3, 4)))
    array([24.])
    """
    o = _options(2, "zeros", precision, out_dtype, layout, "OIHW", overflow, backend)
    grad = interop.to_numpy("grad_output", grad_output)
    how = _way(o, grad_output=grad)
    interop.check_result("grad_output", grad_output, how.dtype)
    grad = _batched(o, grad, check_batched("grad_output", grad.shape, 2, channels="C_out"))
    result = interop.new(grad_output, grad.shape[1:2], how.dtype)
    if grad.size:
        evaluate(how, [lowering.bias_gradient(grad, how.accumulator, result)], result)
    else:
        result[...] = 0
    return interop.like(grad_output, result)


def geometry_of(
    x: np.ndarray, w: np.ndarray, b: np.ndarray | None,
    stride: Any, padding: Any, dilation: Any, groups: Any, padding_mode: Any,
) -> Geometry:  # fmt: skip
    """The geometry of a call of `conv2d`, or an error naming the argument that is wrong."""
    check_weight("weight", w.shape, 2)
    batched = check_batched("input", x.shape, 2)
    return geometry.convolution(
        x.shape if batched else (1, *x.shape), w.shape, None if b is None else b.shape,
        stride, padding, dilation, groups, padding_mode,
    )  # fmt: skip


def convolve(
    g: Geometry, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None, *, overflow: str = "raise"
) -> np.ndarray:
    """`conv2d` of other operands of a call's shapes, by its geometry: which has been checked."""
    o = _options(2, g.padding_mode, "float64", None, "NCHW", "OIHW", overflow, "auto")
    how, batched = _way(o, bias, input=x, weight=w), x.ndim == 4
    return _convolved(o, how, g, x if batched else x[None], w, bias, x, batched=batched)


def common_dtype(x: np.ndarray, w: np.ndarray, b: np.ndarray | None) -> np.dtype:
    """The one dtype of all arrays, or the input's where they may differ."""
    _check_dtypes(None if b is None else b.dtype, ("input", x.dtype), ("weight", w.dtype))
    return x.dtype


def _forward(axes: int, input: Any, weight: Any, bias: Any, arguments: tuple[Any, ...], o: "_Setting") -> Any:
    x, w = interop.to_numpy("input", input), interop.to_numpy("weight", weight)
    b = None if bias is None else interop.to_numpy("bias", bias)
    how = _way(o, b, input=x, weight=w)
    interop.check_result("input", input, how.dtype)
    check_weight("weight", w.shape, axes)
    batched = check_batched("input", x.shape, axes)
    x, w = _batched(o, x, batched), _weights(o, w)
    bias_shape = None if b is None else b.shape
    g = _geometry(o, geometry.convolution, x.shape, w.shape, bias_shape, *arguments, o.padding_mode)
    return interop.like(input, _convolved(o, how, g, x, w, b, input, batched=batched))


def _convolved(
    o: "_Setting", how: Way, g: Geometry, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, beside: Any, *,
    batched: bool,
) -> np.ndarray:  # fmt: skip
    """The result, where the array lies that it is to be beside."""
    result, out = _new(beside, g.output_shape, how.dtype, last=o.channels_last)
    result = result if batched else result[0]
    if result.size:
        evaluate(how, [lowering.forward(g, x, w, b, how.accumulator, out)], result)
    return result


def _transposed(axes: int, input: Any, weight: Any, bias: Any, arguments: tuple[Any, ...], o: "_Setting") -> Any:
    x, w = interop.to_numpy("input", input), interop.to_numpy("weight", weight)
    b = None if bias is None else interop.to_numpy("bias", bias)
    how = _way(o, b, input=x, weight=w)
    interop.check_result("input", input, how.dtype)
    check_weight("weight", w.shape, axes, transposed=True)
    batched = check_batched("input", x.shape, axes)
    x, w = _batched(o, x, batched), _weights(o, w)
    g = _geometry(o, transposed_geometry.transposed, x.shape, w.shape, None if b is None else b.shape, *arguments)
    result, out = _new(input, (g.batch, g.in_channels, *g.size), how.dtype, last=o.channels_last)
    result = result if batched else result[0]
    if result.size:
        evaluate(how, lowering.input_gradient(g, x, w, b, how.accumulator, out), result)
    return interop.like(input, result)


def _input_gradient(
    axes: int, input_size: Any, weight: Any, grad_output: Any, arguments: tuple[Any, ...], o: "_Setting"
) -> Any:
    w, grad = interop.to_numpy("weight", weight), interop.to_numpy("grad_output", grad_output)
    how = _way(o, grad_output=grad, weight=w)
    interop.check_result("grad_output", grad_output, how.dtype)
    check_weight("weight", w.shape, axes)
    batched = check_batched("grad_output", grad.shape, axes, channels="C_out")
    grad, w = _batched(o, grad, batched), _weights(o, w)
    size = checks.sizes("input_size", input_size, axes, batched=batched)
    if o.channels_last:
        size = (size[0], size[-1], *size[1:-1])
    g = _geometry(o, geometry.input_gradient, size, w.shape, grad.shape, *arguments, o.padding_mode)
    result, out = _new(grad_output, size, how.dtype, last=o.channels_last)
    result = result if batched else result[0]
    if not result.size:
        pass
    elif g.padding_mode == "zeros" or not any(map(any, g.padding)):
        evaluate(how, lowering.input_gradient(g, grad, w, None, how.accumulator, out), result, conjugate="w")
    else:
        fold_gradient(how, g, grad, w, out, result)
    return interop.like(grad_output, result)


# Options and numbers


@dataclass(frozen=True, eq=False)  # the same for the same options: compared by identity, which takes no time
class _Setting:
    """What the options of a call come to."""

    backend: str
    target: Any  # for arrays of the host
    padding_mode: str
    precision: str
    out_dtype: Any
    channels_last: bool
    weights_last: bool
    overflow: str


def _options(
    axes: int, padding_mode: Any, precision: Any, out_dtype: Any, layout: Any, weight_layout: Any, overflow: Any,
    backend: Any,
) -> _Setting:  # fmt: skip
    given = (axes, padding_mode, precision, out_dtype, layout, weight_layout, overflow, backend)
    try:
        return _remembered(*given)
    except TypeError:
        pass  # one has no hash, or is wrong: then this says it
    return _setting(*given)


def _setting(
    axes: int, padding_mode: Any, precision: Any, out_dtype: Any, layout: Any, weight_layout: Any, overflow: Any,
    backend: Any,
) -> _Setting:  # fmt: skip
    return _Setting(
        backend,
        targets.choose(backend),
        choice("padding_mode", padding_mode, MODES),
        choice("precision", precision, formats.PRECISIONS),
        None if out_dtype is None else formats.parse("out_dtype", out_dtype),
        choice("layout", layout, LAYOUTS[axes]) == LAYOUTS[axes][1],
        choice("weight_layout", weight_layout, WEIGHT_LAYOUTS[axes]) == WEIGHT_LAYOUTS[axes][1],
        choice("overflow", overflow, integers.OVERFLOWS),
    )


_remembered = lru_cache(maxsize=256)(_setting)


def _way(o: _Setting, bias: np.ndarray | None = None, **operands: np.ndarray) -> Way:
    """How to compute a call whose result is by default what its first operand makes it."""
    dtypes = tuple((name, array.dtype) for name, array in operands.items())
    target: Any = targets.choose(o.backend, on_gpu=True) if interop.together(**operands, bias=bias) else o.target
    return _remembered_way(o, target, None if bias is None else bias.dtype, *dtypes)


@lru_cache(maxsize=1024)
def _remembered_way(o: _Setting, target: Any, bias: np.dtype | None, *operands: tuple[str, np.dtype]) -> Way:
    _check_dtypes(bias, *operands)
    dtype = operands[0][1]
    return Way(target, formats.accumulator(dtype, o.precision), _result(dtype, o.out_dtype), o.overflow)


def _result(dtype: np.dtype, wanted: np.dtype | None) -> np.dtype:
    for kind in (formats.FLOATS, formats.COMPLEX, formats.INTEGERS):
        if wanted is not None and dtype in kind and wanted not in kind:
            raise TypeError(f"out_dtype={wanted}: must be one of {', '.join(map(str, kind))} for {dtype} arrays")
    return formats.result_dtype(dtype) if wanted is None else wanted


def _check_dtypes(bias: np.dtype | None, *operands: tuple[str, np.dtype]) -> None:
    (first, dtype), *others = operands
    for name, other in others:
        if other != dtype and not any({other, dtype} <= each for each in formats.MIXED):
            raise TypeError(f"{name} has dtype {other}: must be that of {first}, {dtype}")
    if bias is not None and bias != dtype and not (dtype in formats.NARROW and bias == np.float32):
        also = " or float32" if dtype in formats.NARROW else ""
        raise TypeError(f"bias has dtype {bias}: must be that of {first}, {dtype}{also}")


# Layouts


def _geometry(o: _Setting, function: Callable[..., Geometry], *arguments: Any) -> Geometry:
    try:
        return function(*arguments)
    except GeometryError as error:
        if o.channels_last or o.weights_last:  # what is wrong is not written as the caller has it
            raise GeometryError(f"{error} (channels before the spatial axes, whatever the layout)") from None
        raise


def _batched(o: _Setting, array: np.ndarray, batched: bool) -> np.ndarray:
    """A view with a batch axis, channels before the spatial axes."""
    if not batched:
        array = array[None]
    return np.moveaxis(array, -1, 1) if o.channels_last else array


def _weights(o: _Setting, w: np.ndarray) -> np.ndarray:
    return np.moveaxis(w, -1, 1) if o.weights_last else w


def _new(array: Any, shape: tuple[int, ...], dtype: np.dtype, *, last: bool) -> tuple[np.ndarray, np.ndarray]:
    """An array for a result, where the caller's is, and a view of it in the order of `shape`.

    Its second axis is stored last if wanted.
    """
    if not last:
        result = interop.new(array, shape, dtype)
        return result, result
    result = interop.new(array, (shape[0], *shape[2:], shape[1]), dtype)
    return result, np.moveaxis(result, -1, 1)
