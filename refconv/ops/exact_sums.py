"""Exact sums: those behind some outputs of a convolution, as rational numbers, for who must round them differently.

Knows lowering and targets; not what becomes of the sums.
"""

from typing import Any

import numpy as np

from refconv.core import formats
from refconv.engine import lowering, targets
from refconv.ops.family import Call


def exact_sums(call: Call, operands: tuple[np.ndarray, np.ndarray, np.ndarray | None], index: np.ndarray) -> list[Any]:
    """The exact sums behind the outputs at some flat indices: `Fraction`s, or floats where they are NaN or infinite.

    Parameters
    ----------
    call : Call
        Of a convolution that goes forward, transposed or not, of real floats.
    operands : tuple of ndarray
        Input, with or without a batch axis, weight and bias or None.
    index : ndarray of int
        Which outputs.

    Examples
    --------
    >>> from fractions import Fraction
    >>> from refconv.core.geometry import convolution
    >>> x, w = np.full((1, 1, 1, 2), 0.1), np.full((1, 1, 1, 2), 0.1)
    >>> call = Call("conv2d", convolution(x.shape, w.shape, None, 1, 0, 1, 1, "zeros"))
    >>> exact_sums(call, (x, w, None), np.array([0])) == [2 * Fraction(0.1) ** 2]
    True
    """
    x, w, bias = operands
    g = call.geometry
    x = x if x.ndim == w.ndim else x[None]
    # In place of outputs, the place of each in the answer: correlations have views of their own.
    places = np.full(call.shape, -1.0)
    places.reshape(-1)[index] = np.arange(len(index))
    if call.op.startswith("conv_transpose"):
        correlations = lowering.input_gradient(g, x, w, bias, formats.EXACT, places)
    else:
        correlations = iter([lowering.forward(g, x, w, bias, formats.EXACT, places)])
    target: Any = targets.choose("auto")
    sums: list[Any] = [None] * len(index)
    for correlation in correlations:
        chosen = np.nonzero(correlation.out >= 0)
        if not len(chosen[0]):
            continue
        for place, value in zip(correlation.out[chosen].tolist(), target.sums(correlation, chosen), strict=True):
            sums[int(place)] = value
    return sums
