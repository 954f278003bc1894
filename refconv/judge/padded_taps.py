"""Skipped taps: what comes out where taps that lie in a padding of zeros are left out instead of multiplied.

The outputs differ only where a weight (for the weight gradient, the output's gradient) is not finite: a padded 0 times
infinity is NaN. Knows the operators; no bounds, no verdicts.
"""

import numpy as np

from refconv.core import formats
from refconv.core.operators import CONV, TRANSPOSED, kind_of
from refconv.ops.family import Call


def matters(call: Call, second: np.ndarray | None) -> bool:
    """Whether skipping padded taps can change an output. False for gradients of complex numbers: it is not known.

    >>> from refconv.core.geometry import convolution
    >>> w = np.full((1, 1, 1, 1), np.inf)
    >>> matters(Call("conv2d", convolution((1, 1, 1, 1), w.shape, None, 1, 1, 1, 1, "zeros")), w)
    True
    """
    if second is None or second.dtype in formats.INTEGERS or not call.meets_zeros:
        return False
    if second.dtype in formats.COMPLEX and kind_of(call.op) not in (CONV, TRANSPOSED):
        return False
    return not np.isfinite(formats.parts(second)).all()


def outputs(call: Call, x: np.ndarray, w: np.ndarray | None, bias: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The unrounded outputs, and NaN and infinity where operands make them come out (elsewhere 0).

    Parameters
    ----------
    call
        Operator and geometry.
    x, w, bias
        Operands, floats or complex numbers. What is returned is real: of complex outputs the parts, as
        `refconv.core.formats.parts` has them.

    Examples
    --------
    >>> from refconv.core.geometry import convolution
    >>> x, w = np.ones((1, 1, 1, 1)), np.array([[[[2.0, np.inf]]]])
    >>> call = Call("conv2d", convolution(x.shape, w.shape, None, 1, ((0, 0), (0, 1)), 1, 1, "zeros"))
    >>> call.apply(x, w).item(), outputs(call, x, w, None)[0].item()
    (nan, 2.0)
    """
    if w is None:
        raise TypeError("w=None: only products have taps")
    with np.errstate(all="ignore"):
        if x.dtype not in formats.COMPLEX:
            return _sums(call, [(x, w)], bias)
        b = (None, None) if bias is None else (bias.real, bias.imag)
        real = _sums(call, [(x.real, w.real), (-x.imag, w.imag)], b[0])
        imaginary = _sums(call, [(x.real, w.imag), (x.imag, w.real)], b[1])
        value, special = (np.stack(pair, axis=-1) for pair in zip(real, imaginary, strict=True))
    return tuple(array.reshape(*array.shape[:-2], 2 * array.shape[-2]) for array in (value, special))  # type: ignore[return-value]


def _sums(
    call: Call, products: list[tuple[np.ndarray, np.ndarray]], bias: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    def total(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        return call.apply(x.astype(float), w.astype(float))

    def infinite(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Number of products that are +infinity."""
        count: np.ndarray = (
            total(x > 0, w == np.inf)
            + total(x < 0, w == -np.inf)
            + total(x == np.inf, w > 0)
            + total(x == -np.inf, w < 0)
        )
        return count

    value = nan = plus = minus = np.zeros(())
    if bias is not None:
        column = bias.astype(float).reshape(-1, *(1 for _ in call.geometry.size))
        value, nan, plus, minus = _finite(column), np.isnan(column), column == np.inf, column == -np.inf
    for x, w in products:
        value = value + total(_finite(x), _finite(w))
        nan = nan + total(np.isnan(x), w == w) + total(x == x, np.isnan(w)) + total(np.isnan(x), np.isnan(w))
        nan = nan + total(np.isinf(x), w == 0) + total(x == 0, np.isinf(w))
        plus, minus = plus + infinite(x, w), minus + infinite(-x, w)
    special = np.where(plus > 0, np.inf, np.where(minus > 0, -np.inf, 0))
    special = np.where((nan > 0) | ((plus > 0) & (minus > 0)), np.nan, special)
    return np.where(special == 0, value, special), special


def _finite(array: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(array), array, 0).astype(float)
