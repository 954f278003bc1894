"""The gradients of convolutions with respect to their bias. Knows lowering and options; nothing of judging."""

from typing import Any

from refconv.arrays import interop
from refconv.core.checks import check_batched
from refconv.engine import lowering
from refconv.engine.evaluate import evaluate
from refconv.ops.options import Options, options_of


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
    >>> import numpy as np
    >>> conv2d_bias(np.ones((2, 1, 3, 4)))
    array([24.])
    """
    return _bias_gradient(
        2, grad_output, options_of(2, "zeros", precision, out_dtype, layout, "OIHW", overflow, backend)
    )


def conv1d_bias(
    grad_output: Any, *, precision: str = "float64", out_dtype: Any = None, layout: str = "NCL",
    overflow: str = "raise", backend: str = "auto",
) -> Any:  # fmt: skip
    """Gradient of `conv1d` with respect to its bias: as `conv2d_bias`, of a gradient (N, C_out, P).

    References
    ----------
    https://pytorch.org/docs/stable/generated/torch.nn.functional.conv1d.html, by autograd.

    Examples
    --------
    >>> import numpy as np
    >>> conv1d_bias(np.ones((2, 1, 3)))
    array([6.])
    """
    return _bias_gradient(
        1, grad_output, options_of(1, "zeros", precision, out_dtype, layout, "OIL", overflow, backend)
    )


def conv3d_bias(
    grad_output: Any, *, precision: str = "float64", out_dtype: Any = None, layout: str = "NCDHW",
    overflow: str = "raise", backend: str = "auto",
) -> Any:  # fmt: skip
    """Gradient of `conv3d` with respect to its bias: as `conv2d_bias`, of a gradient (N, C_out, O, P, Q).

    References
    ----------
    https://pytorch.org/docs/stable/generated/torch.nn.functional.conv3d.html, by autograd.

    Examples
    --------
    >>> import numpy as np
    >>> conv3d_bias(np.ones((2, 1, 3, 2, 2)))
    array([24.])
    """
    return _bias_gradient(
        3, grad_output, options_of(3, "zeros", precision, out_dtype, layout, "OIDHW", overflow, backend)
    )


def _bias_gradient(axes: int, grad_output: Any, options: Options) -> Any:
    taken = interop.take("grad_output", grad_output=grad_output)
    (grad,) = taken.arrays
    arithmetic = options.arithmetic(taken, grad_output=grad)
    taken.check_result(arithmetic.dtype)
    grad = options.batched(grad, check_batched("grad_output", grad.shape, axes, channels="C_out"))
    result = taken.new(grad.shape[1:2], arithmetic.dtype)
    if grad.size:
        evaluate(arithmetic, [lowering.bias_gradient(grad, arithmetic.accumulator, result)], result)
    else:
        result[...] = 0
    return taken.give_back(result)
