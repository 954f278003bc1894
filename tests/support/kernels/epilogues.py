"""Convolutions with an epilogue, over NumPy, in float32: results are rounded once, or after each step."""

import functools

import numpy as np
from kernels.lowered import lowered, quiet

from refconv.core.formats import rounded

SQRT_HALF, SQRT_2_OVER_PI = np.float32(0.5**0.5), np.float32((2 / np.pi) ** 0.5)


@functools.cache
def _erf():
    from scipy.special import erf

    return erf


def _clip(x, low, high):
    return np.minimum(np.maximum(x, x.dtype.type(low)), x.dtype.type(high))


def _gelu_tanh(x):
    return x / 2 * (1 + np.tanh(SQRT_2_OVER_PI * (x + np.float32(0.044715) * x * x * x)))


# As frameworks write them; numbers are float32.
FUNCTIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: _clip(x, 0, 6),
    "clip": _clip,
    "leaky_relu": lambda x, slope: np.where(x < 0, x * np.float32(slope), x),
    "hardswish": lambda x: x * _clip(x + 3, 0, 6) / 6,
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: x / 2 * (1 + _erf()(x * SQRT_HALF)),
    "gelu_tanh": _gelu_tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
}


@quiet
def sums(input, weight, bias, stride, padding, dilation, groups):
    """The sums in float32, by NumPy's BLAS."""
    import refconv

    case = refconv.Case(
        input=input, weight=weight, bias=bias, stride=stride, padding=padding, dilation=dilation, groups=groups,
        out_dtype="float32",
    )  # fmt: skip
    low = lowered(case)
    return low.image(low.added(low.filters @ low.columns.swapaxes(1, 2))).astype(np.float32)


def convolution(*steps, before=False, of=FUNCTIONS):
    """A kernel with these steps, each a name or a name with its numbers: `before` rounds after each of them, too."""

    @quiet
    def kernel(input, weight, bias, stride, padding, dilation, groups, *operands):
        def kept(x):
            return rounded(x, input.dtype).astype(np.float32) if before else x

        y = kept(sums(input, weight, bias, stride, padding, dilation, groups))
        left = iter([np.asarray(operand, np.float32) for operand in operands])
        for step in steps:
            name, *numbers = (step,) if isinstance(step, str) else step
            if name == "scale":
                y = kept(y * next(left)[:, None, None])
                y = kept(y + next(left)[:, None, None])
            elif name == "residual":
                y = kept(y + next(left))
            else:
                y = kept(of[name](y, *numbers))
            assert y.dtype == np.float32, name
        return rounded(y, input.dtype)

    kernel.epilogue = steps
    kernel.rounded = "before" if before else "after"
    return kernel


EPILOGUES = (
    ("scale",), ("residual",), ("relu",), ("relu6",), (("clip", -1, 2.5),), (("leaky_relu", 0.01),), ("hardswish",),
    ("silu",), ("gelu",), ("gelu_tanh",), ("sigmoid",), ("tanh",),
)  # fmt: skip
CHAINS = (("scale", "residual", "relu"), ("residual", "silu", "scale"), ("residual", ("clip", 0, 6), "residual"))
