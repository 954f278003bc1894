"""The gradients of transposed convolutions: a convolution of the gradient, and the gradient of that one's weight.

A transposed convolution is the gradient of a convolution's input. So its own gradient with respect to its input is that
convolution, and with respect to its weight the gradient of that convolution's weight, input and gradient exchanged.
That with respect to its bias is `conv2d_bias` of its output's gradient. Knows lowering and options; nothing of judging.
"""

from collections.abc import Sequence
from typing import Any

from refconv.arrays import interop
from refconv.core import checks, transposed_geometry
from refconv.core.checks import Padding, Pair, check_batched, check_weight
from refconv.engine import lowering
from refconv.engine.evaluate import evaluate
from refconv.ops.gradients import sized, weight_sums
from refconv.ops.options import Options, new_result, options_of


def conv_transpose2d_input(
    input_size: Sequence[int], weight: Any, grad_output: Any, stride: Pair = 1, padding: Padding = 0,
    output_padding: Pair = 0, groups: int = 1, dilation: Pair = 1, *, precision: str = "float64", out_dtype: Any = None,
    layout: str = "NCHW", weight_layout: str = "OIHW", overflow: str = "raise", backend: str = "auto",
) -> Any:  # fmt: skip
    """Gradient of `conv_transpose2d` with respect to its input, given that of its output: a convolution.

    A sum's terms ascend in (k, r, s), as those of `conv2d` do. For complex numbers it is torch's: with the conjugate of
    the weight.

    Parameters
    ----------
    input_size : sequence of int
        (N, C_in, H, W), or (C_in, H, W) for a single image; in `layout`.
    weight : array
        (C_in, C_out // groups, R, S).
    grad_output : array
        (N, C_out, P, Q), or (C_out, P, Q): of the shape that the transposed convolution's output has.
    stride, padding, output_padding, groups, dilation, other options
        As `conv_transpose2d` takes them.

    Returns
    -------
    array
        Of `input_size`; the kind of array of `grad_output`, whose dtype decides that of the result as the input's does
        in `conv2d`.

    Raises
    ------
    GeometryError, TypeError, OverflowError, BackendUnavailable
        As `conv_transpose2d` does, and for a `grad_output` that is not of its output's shape.

    References
    ----------
    https://pytorch.org/docs/stable/generated/torch.nn.functional.conv_transpose2d.html, by autograd.

    Examples
    --------
    >>> import numpy as np
    >>> conv_transpose2d_input((1, 1, 1, 2), np.array([[[[1.0, 2.0]]]]), np.ones((1, 1, 1, 3)))
    array([[[[3., 3.]]]])
    """
    return _input_gradient(
        2, input_size, weight, grad_output, (stride, padding, output_padding, dilation, groups),
        options_of(2, "zeros", precision, out_dtype, layout, weight_layout, overflow, backend),
    )  # fmt: skip


def conv_transpose2d_weight(
    input: Any, weight_size: Sequence[int], grad_output: Any, stride: Pair = 1, padding: Padding = 0,
    output_padding: Pair = 0, groups: int = 1, dilation: Pair = 1, *, precision: str = "float64", out_dtype: Any = None,
    layout: str = "NCHW", weight_layout: str = "OIHW", overflow: str = "raise", backend: str = "auto",
) -> Any:  # fmt: skip
    """Gradient of `conv_transpose2d` with respect to its weight, given that of its output.

    A sum's terms ascend in (n, h, w), the places of the input. For complex numbers it is torch's: with the conjugate of
    the input.

    Parameters
    ----------
    input : array
        (N, C_in, H, W), or (C_in, H, W) for a single image.
    weight_size : sequence of int
        (C_in, C_out // groups, R, S); in `weight_layout`.
    grad_output : array
        (N, C_out, P, Q), or (C_out, P, Q): of the shape that the transposed convolution's output has.
    stride, padding, output_padding, groups, dilation, other options
        As `conv_transpose2d` takes them.

    Returns
    -------
    array
        Of `weight_size`; the kind of array of `input`, whose dtype decides that of the result as it does in `conv2d`.
        For an empty batch zeros.

    Raises
    ------
    GeometryError, TypeError, OverflowError, BackendUnavailable
        As `conv_transpose2d` does, and for a `grad_output` that is not of its output's shape.

    References
    ----------
    https://pytorch.org/docs/stable/generated/torch.nn.functional.conv_transpose2d.html, by autograd.

    Examples
    --------
    >>> import numpy as np
    >>> conv_transpose2d_weight(np.array([[[[1.0, 2.0]]]]), (1, 1, 1, 2), np.ones((1, 1, 1, 3)))
    array([[[[3., 3.]]]])
    """
    return _weight_gradient(
        2, input, weight_size, grad_output, (stride, padding, output_padding, dilation, groups),
        options_of(2, "zeros", precision, out_dtype, layout, weight_layout, overflow, backend),
    )  # fmt: skip


def conv_transpose1d_input(
    input_size: Sequence[int], weight: Any, grad_output: Any, stride: Pair = 1, padding: Padding = 0,
    output_padding: Pair = 0, groups: int = 1, dilation: Pair = 1, *, precision: str = "float64", out_dtype: Any = None,
    layout: str = "NCL", weight_layout: str = "OIL", overflow: str = "raise", backend: str = "auto",
) -> Any:  # fmt: skip
    """Gradient of `conv_transpose1d` with respect to its input: as `conv_transpose2d_input`.

    References
    ----------
    https://pytorch.org/docs/stable/generated/torch.nn.functional.conv_transpose1d.html, by autograd.

    Examples
    --------
    >>> import numpy as np
    >>> conv_transpose1d_input((1, 1, 2), np.array([[[1.0, 2.0]]]), np.ones((1, 1, 3)))
    array([[[3., 3.]]])
    """
    return _input_gradient(
        1, input_size, weight, grad_output, (stride, padding, output_padding, dilation, groups),
        options_of(1, "zeros", precision, out_dtype, layout, weight_layout, overflow, backend),
    )  # fmt: skip


def conv_transpose1d_weight(
    input: Any, weight_size: Sequence[int], grad_output: Any, stride: Pair = 1, padding: Padding = 0,
    output_padding: Pair = 0, groups: int = 1, dilation: Pair = 1, *, precision: str = "float64", out_dtype: Any = None,
    layout: str = "NCL", weight_layout: str = "OIL", overflow: str = "raise", backend: str = "auto",
) -> Any:  # fmt: skip
    """Gradient of `conv_transpose1d` with respect to its weight: as `conv_transpose2d_weight`.

    References
    ----------
    https://pytorch.org/docs/stable/generated/torch.nn.functional.conv_transpose1d.html, by autograd.

    Examples
    --------
    >>> import numpy as np
    >>> conv_transpose1d_weight(np.array([[[1.0, 2.0]]]), (1, 1, 2), np.ones((1, 1, 3)))
    array([[[3., 3.]]])
    """
    return _weight_gradient(
        1, input, weight_size, grad_output, (stride, padding, output_padding, dilation, groups),
        options_of(1, "zeros", precision, out_dtype, layout, weight_layout, overflow, backend),
    )  # fmt: skip


def conv_transpose3d_input(
    input_size: Sequence[int], weight: Any, grad_output: Any, stride: Pair = 1, padding: Padding = 0,
    output_padding: Pair = 0, groups: int = 1, dilation: Pair = 1, *, precision: str = "float64", out_dtype: Any = None,
    layout: str = "NCDHW", weight_layout: str = "OIDHW", overflow: str = "raise", backend: str = "auto",
) -> Any:  # fmt: skip
    """Gradient of `conv_transpose3d` with respect to its input: as `conv_transpose2d_input`.

    References
    ----------
    https://pytorch.org/docs/stable/generated/torch.nn.functional.conv_transpose3d.html, by autograd.

    Examples
    --------
    >>> import numpy as np
    >>> conv_transpose3d_input((1, 1, 1, 1, 2), np.array([[[[[1.0, 2.0]]]]]), np.ones((1, 1, 1, 1, 3)))
    array([[[[[3., 3.]]]]])
    """
    return _input_gradient(
        3, input_size, weight, grad_output, (stride, padding, output_padding, dilation, groups),
        options_of(3, "zeros", precision, out_dtype, layout, weight_layout, overflow, backend),
    )  # fmt: skip


def conv_transpose3d_weight(
    input: Any, weight_size: Sequence[int], grad_output: Any, stride: Pair = 1, padding: Padding = 0,
    output_padding: Pair = 0, groups: int = 1, dilation: Pair = 1, *, precision: str = "float64", out_dtype: Any = None,
    layout: str = "NCDHW", weight_layout: str = "OIDHW", overflow: str = "raise", backend: str = "auto",
) -> Any:  # fmt: skip
    """Gradient of `conv_transpose3d` with respect to its weight: as `conv_transpose2d_weight`.

    References
    ----------
    https://pytorch.org/docs/stable/generated/torch.nn.functional.conv_transpose3d.html, by autograd.

    Examples
    --------
    >>> import numpy as np
    >>> conv_transpose3d_weight(np.array([[[[[1.0, 2.0]]]]]), (1, 1, 1, 1, 2), np.ones((1, 1, 1, 1, 3)))
    array([[[[[3., 3.]]]]])
    """
    return _weight_gradient(
        3, input, weight_size, grad_output, (stride, padding, output_padding, dilation, groups),
        options_of(3, "zeros", precision, out_dtype, layout, weight_layout, overflow, backend),
    )  # fmt: skip


def _input_gradient(
    axes: int, input_size: Any, weight: Any, grad_output: Any, arguments: tuple[Any, ...], options: Options
) -> Any:
    taken = interop.take("grad_output", weight=weight, grad_output=grad_output)
    w, grad = taken.arrays
    arithmetic = options.arithmetic(taken, grad_output=grad, weight=w)
    taken.check_result(arithmetic.dtype)
    check_weight("weight", w.shape, axes, transposed=True)
    batched = check_batched("grad_output", grad.shape, axes, channels="C_out")
    grad, w = options.batched(grad, batched), options.weights(w)
    size = checks.sizes("input_size", input_size, axes, batched=batched)
    if options.channels_last:
        size = (size[0], size[-1], *size[1:-1])
    g = options.geometry(transposed_geometry.input_gradient, size, w.shape, grad.shape, *arguments)
    result, out = new_result(taken, size, arithmetic.dtype, last=options.channels_last)
    result = result if batched else result[0]
    if result.size:
        sums = lowering.forward(g, grad, w, None, arithmetic.accumulator, out)
        evaluate(arithmetic, [sums], result, conjugate="w")
    return taken.give_back(result)


def _weight_gradient(
    axes: int, input: Any, weight_size: Any, grad_output: Any, arguments: tuple[Any, ...], options: Options
) -> Any:
    taken = interop.take("input", input=input, grad_output=grad_output)
    x, grad = taken.arrays
    arithmetic = options.arithmetic(taken, input=x, grad_output=grad)
    taken.check_result(arithmetic.dtype)
    x = options.batched(x, check_batched("input", x.shape, axes))
    grad = options.batched(grad, check_batched("grad_output", grad.shape, axes, channels="C_out"))
    size = sized(options, weight_size, axes)
    g = options.geometry(transposed_geometry.weight_gradient, x.shape, size, grad.shape, *arguments)
    return weight_sums(options, taken, arithmetic, g, (grad, x), conjugate="w")
