"""Names of operators: what an operator computes, and over how many spatial axes.

Knows names only. `conv3d_input` is of the kind `conv_input` and has three axes. A result is like an array of the
convolution that the operator belongs to: like its output, its input, its weight or its bias.
"""

import re
from functools import cache

CONV, TRANSPOSED, INPUT, WEIGHT, BIAS = "conv", "conv_transpose", "conv_input", "conv_weight", "conv_bias"
TRANSPOSED_INPUT, TRANSPOSED_WEIGHT = "conv_transpose_input", "conv_transpose_weight"
INTEGER, QUANTIZED = "conv_integer", "conv_quantized"
# What the result is like, in the convolution whose input's gradient a transposed convolution is.
_LIKE = {
    CONV: "output", INTEGER: "output", QUANTIZED: "output", TRANSPOSED_INPUT: "output",
    TRANSPOSED: "input", INPUT: "input",
    WEIGHT: "weight", TRANSPOSED_WEIGHT: "weight", BIAS: "bias",
}  # fmt: skip
_NAME = re.compile(r"(conv(?:_transpose)?)([123])d(\w*)")


@cache
def _parts(op: str) -> tuple[str, int]:
    name = _NAME.fullmatch(op)
    if name is None:
        raise ValueError(f"op={op!r}: must be the name of an operator")
    return name[1] + name[3], int(name[2])


def kind_of(op: str) -> str:
    """What an operator computes, whatever the number of axes.

    >>> kind_of("conv3d_input"), kind_of("conv_transpose1d"), kind_of("conv2d")
    ('conv_input', 'conv_transpose', 'conv')
    """
    return _parts(op)[0]


def axes_of(op: str) -> int:
    """How many spatial axes an operator has.

    >>> axes_of("conv_transpose3d_weight")
    3
    """
    return _parts(op)[1]


def named(kind: str, axes: int) -> str:
    """The operator of a kind with so many axes.

    >>> named("conv_transpose_input", 1), named("conv", 3)
    ('conv_transpose1d_input', 'conv3d')
    """
    base = TRANSPOSED if kind.startswith(TRANSPOSED) else CONV
    return f"{base}{axes}d{kind.removeprefix(base)}"


def like(op: str) -> str:
    """Which array of a convolution the result is like: "output", "input", "weight" or "bias".

    Of a transposed convolution and its gradients: of the convolution whose input's gradient it is.

    >>> like("conv2d"), like("conv_transpose2d"), like("conv_transpose2d_input"), like("conv1d_weight")
    ('output', 'input', 'output', 'weight')
    """
    return _LIKE[kind_of(op)]


def is_transposed(op: str) -> bool:
    """Whether the operator is a transposed convolution or a gradient of one, which has an output padding."""
    return kind_of(op).startswith(TRANSPOSED)
