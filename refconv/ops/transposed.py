"""Transposed convolutions, as torch has them. Knows lowering and options; nothing of judging."""

from typing import Any

from refconv.arrays import interop
from refconv.core import transposed_geometry
from refconv.core.checks import Padding, Pair, check_batched, check_weight
from refconv.engine import lowering
from refconv.engine.evaluate import evaluate
from refconv.ops.options import Options, new_result, options_of


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
    >>> import numpy as np
    >>> conv_transpose2d(np.array([[[1.0, 2.0]]]), np.ones((1, 1, 1, 2)), stride=2)
    array([[[1., 1., 2., 2.]]])
    """
    return _transposed(
        2,
        input,
        weight,
        bias,
        (stride, padding, output_padding, dilation, groups),
        options_of(2, "zeros", precision, out_dtype, layout, weight_layout, overflow, backend),
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
    >>> import numpy as np
    >>> conv_transpose1d(np.array([[1.0, 2.0]]), np.ones((1, 1, 3)), stride=2)
    array([[1., 1., 3., 2., 2.]])
    """
    return _transposed(
        1,
        input,
        weight,
        bias,
        (stride, padding, output_padding, dilation, groups),
        options_of(1, "zeros", precision, out_dtype, layout, weight_layout, overflow, backend),
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
    >>> import numpy as np
    >>> conv_transpose3d(np.ones((1, 1, 1, 2)), np.ones((1, 1, 1, 1, 2)))
    array([[[[1., 2., 1.]]]])
    """
    return _transposed(
        3,
        input,
        weight,
        bias,
        (stride, padding, output_padding, dilation, groups),
        options_of(3, "zeros", precision, out_dtype, layout, weight_layout, overflow, backend),
    )


def _transposed(axes: int, input: Any, weight: Any, bias: Any, arguments: tuple[Any, ...], options: Options) -> Any:
    taken = interop.take("input", input=input, weight=weight, bias=bias)
    x, w, b = taken.arrays
    arithmetic = options.arithmetic(taken, b, input=x, weight=w)
    taken.check_result(arithmetic.dtype)
    check_weight("weight", w.shape, axes, transposed=True)
    batched = check_batched("input", x.shape, axes)
    x, w = options.batched(x, batched), options.weights(w)
    g = options.geometry(transposed_geometry.transposed, x.shape, w.shape, None if b is None else b.shape, *arguments)
    result, out = new_result(taken, (g.batch, g.in_channels, *g.size), arithmetic.dtype, last=options.channels_last)
    result = result if batched else result[0]
    if result.size:
        evaluate(arithmetic, lowering.input_gradient(g, x, w, b, arithmetic.accumulator, out), result)
    return taken.give_back(result)
