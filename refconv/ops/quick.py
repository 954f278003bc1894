"""The shortest way through a usual convolution of small arrays, past what looks at every kind of array and option.

Knows NumPy's and torch's arrays, and compiled code that takes them. What is unusual, large or wrong in any way is left
to the long way, which has the messages.
"""

import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from refconv.core import formats

PRECISIONS = {"float32": np.dtype("float32"), "float64": np.dtype("float64")}
# By precision and by NumPy's or torch's dtype: made when the second such call comes; the first one loads the target.
_ENTRIES: dict[str, dict[Any, Callable[..., np.ndarray | None]]] = {precision: {} for precision in PRECISIONS}
_TARGET = "refconv.engine.targets.cpu"


def conv2d(
    input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: Any, precision: str
) -> Any:
    """The result of a call with the usual options, or None."""
    try:
        entry = _ENTRIES[precision][input.dtype]
    except (KeyError, TypeError, AttributeError):
        _make(precision, getattr(input, "dtype", None))
        return None
    kind = type(input)
    if type(weight) is not kind or weight.dtype is not input.dtype or not (
        type(stride) is type(padding) is type(dilation) is type(groups) is int
    ):  # fmt: skip
        return None
    if kind is np.ndarray and bias is None:
        return entry(input, weight, None, stride, padding, dilation, groups)
    if kind is not np.ndarray:
        return _of_tensors(entry, input, weight, bias, (stride, padding, dilation, groups))
    if type(bias) is kind and bias.dtype is PRECISIONS[precision] and bias.ndim == 1 and bias.flags.c_contiguous:
        return entry(input, weight, bias, stride, padding, dilation, groups)
    return None


def _of_tensors(
    entry: Callable[..., np.ndarray | None], input: Any, weight: Any, bias: Any, options: tuple[int, ...]
) -> Any:
    torch = sys.modules["torch"]
    if type(input) is not torch.Tensor or bias is not None:
        return None
    try:
        result = entry(input.numpy(), weight.numpy(), None, *options)
    except (RuntimeError, TypeError):  # of a tensor with a gradient, on another device, without numbers, ...
        return None
    return None if result is None else torch.from_numpy(result)


def _make(precision: Any, dtype: Any) -> None:
    """Make an entry if there can be one."""
    name = str(dtype).removeprefix("torch.")
    if precision in PRECISIONS and name in PRECISIONS and name <= precision and _TARGET in sys.modules:
        _ENTRIES[precision][dtype] = _entry(name, precision)


@cache
def _entry(name: str, precision: str) -> Callable[..., np.ndarray | None]:
    from refconv.engine.targets.cpu.entry import entry

    return entry(np.dtype(name), formats.accumulator(np.dtype(name), precision))
