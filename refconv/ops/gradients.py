"""The gradients of convolutions with respect to input and weight, as `torch.nn.grad` has them, padding modes included.

`_input_gradient` and others take any number of spatial axes; each public function fixes that number. Knows lowering and
options; nothing of judging.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from refconv.arrays import interop
from refconv.core import checks, geometry
from refconv.core.checks import Padding, Pair, check_batched, check_weight
from refconv.core.geometry import Geometry
from refconv.engine import lowering
from refconv.engine.evaluate import Arithmetic, evaluate
from refconv.engine.fold import fold_gradient
from refconv.ops.options import Options, new_result, options_of


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
    >>> import numpy as np
    >>> conv2d_input((1, 1, 1, 4), np.array([[[[1.0, 2.0]]]]), np.ones((1, 1, 1, 3)))
    array([[[[1., 3., 3., 2.]]]])
    """
    return _input_gradient(
        2,
        input_size,
        weight,
        grad_output,
        (stride, padding, dilation, groups),
        options_of(2, padding_mode, precision, out_dtype, layout, weight_layout, overflow, backend),
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
    >>> import numpy as np
    >>> conv2d_weight(np.array([[[[1.0, 2.0, 3.0]]]]), (1, 1, 1, 2), np.ones((1, 1, 1, 2)))
    array([[[[3., 5.]]]])
    """
    return _weight_gradient(
        2,
        input,
        weight_size,
        grad_output,
        (stride, padding, dilation, groups),
        options_of(2, padding_mode, precision, out_dtype, layout, weight_layout, overflow, backend),
    )


def conv1d_input(
    input_size: Sequence[int], weight: Any, grad_output: Any, stride: Pair = 1, padding: Padding = 0,
    dilation: Pair = 1, groups: int = 1, *, padding_mode: str = "zeros", precision: str = "float64",
    out_dtype: Any = None, layout: str = "NCL", weight_layout: str = "OIL", overflow: str = "raise",
    backend: str = "auto",
) -> Any:  # fmt: skip
    """Gradient of `conv1d` with respect to its input: as `conv2d_input`.

    Shapes are (N, C_in, L) of the input, (C_out, C_in // groups, S) of the weight,
    (N, C_out, P) of the output.

    References
    ----------
    `torch.nn.grad.conv1d_input`.

    Examples
    --------
    >>> import numpy as np
    >>> conv1d_input((1, 1, 4), np.array([[[1.0, 2.0]]]), np.ones((1, 1, 3)))
    array([[[1., 3., 3., 2.]]])
    """
    return _input_gradient(
        1, input_size, weight, grad_output, (stride, padding, dilation, groups),
        options_of(1, padding_mode, precision, out_dtype, layout, weight_layout, overflow, backend),
    )  # fmt: skip


def conv1d_weight(
    input: Any, weight_size: Sequence[int], grad_output: Any, stride: Pair = 1, padding: Padding = 0,
    dilation: Pair = 1, groups: int = 1, *, padding_mode: str = "zeros", precision: str = "float64",
    out_dtype: Any = None, layout: str = "NCL", weight_layout: str = "OIL", overflow: str = "raise",
    backend: str = "auto",
) -> Any:  # fmt: skip
    """Gradient of `conv1d` with respect to its weight: as `conv2d_weight`.

    Shapes are (N, C_in, L) of the input, (C_out, C_in // groups, S) of the weight,
    (N, C_out, P) of the output.

    References
    ----------
    `torch.nn.grad.conv1d_weight`.

    Examples
    --------
    >>> import numpy as np
    >>> conv1d_weight(np.array([[[1.0, 2.0, 3.0]]]), (1, 1, 2), np.ones((1, 1, 2)))
    array([[[3., 5.]]])
    """
    return _weight_gradient(
        1, input, weight_size, grad_output, (stride, padding, dilation, groups),
        options_of(1, padding_mode, precision, out_dtype, layout, weight_layout, overflow, backend),
    )  # fmt: skip


def conv3d_input(
    input_size: Sequence[int], weight: Any, grad_output: Any, stride: Pair = 1, padding: Padding = 0,
    dilation: Pair = 1, groups: int = 1, *, padding_mode: str = "zeros", precision: str = "float64",
    out_dtype: Any = None, layout: str = "NCDHW", weight_layout: str = "OIDHW", overflow: str = "raise",
    backend: str = "auto",
) -> Any:  # fmt: skip
    """Gradient of `conv3d` with respect to its input: as `conv2d_input`.

    Shapes are (N, C_in, D, H, W) of the input, (C_out, C_in // groups, Q, R, S) of the weight,
    (N, C_out, O, P, Q) of the output.

    References
    ----------
    `torch.nn.grad.conv3d_input`.

    Examples
    --------
    >>> import numpy as np
    >>> conv3d_input((1, 1, 1, 1, 4), np.array([[[[[1.0, 2.0]]]]]), np.ones((1, 1, 1, 1, 3)))
    array([[[[[1., 3., 3., 2.]]]]])
    """
    return _input_gradient(
        3, input_size, weight, grad_output, (stride, padding, dilation, groups),
        options_of(3, padding_mode, precision, out_dtype, layout, weight_layout, overflow, backend),
    )  # fmt: skip


def conv3d_weight(
    input: Any, weight_size: Sequence[int], grad_output: Any, stride: Pair = 1, padding: Padding = 0,
    dilation: Pair = 1, groups: int = 1, *, padding_mode: str = "zeros", precision: str = "float64",
    out_dtype: Any = None, layout: str = "NCDHW", weight_layout: str = "OIDHW", overflow: str = "raise",
    backend: str = "auto",
) -> Any:  # fmt: skip
    """Gradient of `conv3d` with respect to its weight: as `conv2d_weight`.

    Shapes are (N, C_in, D, H, W) of the input, (C_out, C_in // groups, Q, R, S) of the weight,
    (N, C_out, O, P, Q) of the output.

    References
    ----------
    `torch.nn.grad.conv3d_weight`.

    Examples
    --------
    >>> import numpy as np
    >>> conv3d_weight(np.array([[[[[1.0, 2.0, 3.0]]]]]), (1, 1, 1, 1, 2), np.ones((1, 1, 1, 1, 2)))
    array([[[[[3., 5.]]]]])
    """
    return _weight_gradient(
        3, input, weight_size, grad_output, (stride, padding, dilation, groups),
        options_of(3, padding_mode, precision, out_dtype, layout, weight_layout, overflow, backend),
    )  # fmt: skip


def _input_gradient(
    axes: int, input_size: Any, weight: Any, grad_output: Any, arguments: tuple[Any, ...], options: Options
) -> Any:
    taken = interop.take("grad_output", weight=weight, grad_output=grad_output)
    w, grad = taken.arrays
    arithmetic = options.arithmetic(taken, grad_output=grad, weight=w)
    taken.check_result(arithmetic.dtype)
    check_weight("weight", w.shape, axes)
    batched = check_batched("grad_output", grad.shape, axes, channels="C_out")
    grad, w = options.batched(grad, batched), options.weights(w)
    size = checks.sizes("input_size", input_size, axes, batched=batched)
    if options.channels_last:
        size = (size[0], size[-1], *size[1:-1])
    g = options.geometry(geometry.input_gradient, size, w.shape, grad.shape, *arguments, options.padding_mode)
    result, out = new_result(taken, size, arithmetic.dtype, last=options.channels_last)
    result = result if batched else result[0]
    if not result.size:
        pass
    elif g.padding_mode == "zeros" or not any(map(any, g.padding)):
        evaluate(
            arithmetic, lowering.input_gradient(g, grad, w, None, arithmetic.accumulator, out), result, conjugate="w"
        )
    else:
        fold_gradient(arithmetic, g, grad, w, out, result)
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
    g = options.geometry(geometry.weight_gradient, x.shape, size, grad.shape, *arguments, options.padding_mode)
    return weight_sums(options, taken, arithmetic, g, (x, grad), conjugate="x")


def sized(options: Options, weight_size: Any, axes: int) -> tuple[int, ...]:
    """The shape of a weight that a caller asks for, channels before the spatial axes."""
    size = checks.sizes("weight_size", weight_size, axes)
    return (size[0], size[-1], *size[1:-1]) if options.weights_last else size


def weight_sums(
    options: Options,
    taken: interop.Taken,
    arithmetic: Arithmetic,
    g: Geometry,
    operands: tuple[np.ndarray, np.ndarray],
    *,
    conjugate: str,
) -> Any:
    """The weight's gradient from the input and the output's gradient of a convolution, with a batch axis."""
    size = (g.out_channels, g.in_channels // g.groups, *g.kernel)
    result, out = new_result(taken, size, arithmetic.dtype, last=options.weights_last)
    if result.size:
        sums = lowering.weight_gradient(g, *operands, arithmetic.accumulator, out)
        evaluate(arithmetic, [sums], result, conjugate=conjugate)
    return taken.give_back(result)
