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
    kind = type(input)
    if (kind is not np.ndarray and not _is_tensor(kind)) or type(weight) is not kind or type(precision) is not str:
        return None
    dtype = input.dtype
    entry = _ENTRIES[precision].get(dtype) if precision in _ENTRIES else None
    if entry is None:
        _make(precision, dtype)
        return None
    if weight.dtype is not dtype or not (type(stride) is type(padding) is type(dilation) is type(groups) is int):
        return None
    if kind is not np.ndarray:
        return None if bias is not None else _of_tensors(entry, input, weight, (stride, padding, dilation, groups))
    if bias is not None and not (
        # In the format of the sums, as compiled code reads it.
        type(bias) is kind
        and bias.dtype is dtype is PRECISIONS[precision]
        and bias.ndim == 1
        and bias.flags.c_contiguous
    ):
        return None
    return entry(input, weight, bias, stride, padding, dilation, groups)


def _is_tensor(kind: type) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and kind is torch.Tensor


def _of_tensors(
    entry: Callable[..., np.ndarray | None], input: Any, weight: Any, options: tuple[int, int, int, int]
) -> Any:
    try:
        result = entry(input.numpy(), weight.numpy(), None, *options)
    except (RuntimeError, TypeError):  # of a tensor with a gradient, on another device, without numbers, ...
        return None
    return None if result is None else sys.modules["torch"].from_numpy(result)


def _make(precision: Any, dtype: Any) -> None:
    """Make an entry if there can be one."""
    name = str(dtype).removeprefix("torch.")
    if precision in PRECISIONS and name in PRECISIONS and name <= precision and _TARGET in sys.modules:
        _ENTRIES[precision][dtype] = _entry(name, precision)


@cache
def _entry(name: str, precision: str) -> Callable[..., np.ndarray | None]:
    from refconv.engine.targets.cpu.entry import entry

    return entry(np.dtype(name), formats.accumulator(np.dtype(name), precision))
