"""What the options of a call come to: target, numbers, layouts; checked once for all calls that have the same.

Knows targets and number formats; no operator.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from refconv.arrays.interop import Taken
from refconv.core import formats
from refconv.core.checks import choice
from refconv.core.errors import GeometryError
from refconv.core.geometry import Geometry
from refconv.core.layouts import IMAGES, LAYOUTS, WEIGHT_LAYOUTS, WEIGHTS
from refconv.core.padding import MODES
from refconv.engine import integers, targets
from refconv.engine.evaluate import Arithmetic


@dataclass(frozen=True, eq=False)  # the same object for the same options: compared by identity, which takes no time
class Options:
    """The options of a call, checked."""

    backend: str
    target: Any  # for arrays of the host
    padding_mode: str
    precision: str
    out_dtype: np.dtype | None
    channels_last: bool
    weights_last: bool
    overflow: str

    def arithmetic(self, taken: Taken, bias: np.ndarray | None = None, **operands: np.ndarray) -> Arithmetic:
        """Target, accumulator, result dtype and overflow of a call; the first operand's dtype decides the defaults.

        Raises
        ------
        TypeError
            For dtypes that may not be combined, and a result's dtype of another kind than theirs.
        BackendUnavailable
            For arrays on the GPU and a backend that runs elsewhere.
        """
        dtypes = tuple((name, array.dtype) for name, array in operands.items())
        target: Any = targets.choose(self.backend, on_gpu=True) if taken.on_gpu else self.target
        return _arithmetic(self, target, None if bias is None else bias.dtype, *dtypes)

    def geometry(self, function: Callable[..., Geometry], *arguments: Any) -> Geometry:
        """The geometry that `function` makes of shapes and arguments; its error says so if the layout differs."""
        try:
            return function(*arguments)
        except GeometryError as error:
            if self.channels_last or self.weights_last:  # the shapes in the message are not in the caller's order
                raise GeometryError(f"{error} (channels before the spatial axes, whatever the layout)") from None
            raise

    def batched(self, array: np.ndarray, batched: bool) -> np.ndarray:
        """A view of an input or output with a batch axis, channels before the spatial axes."""
        if not batched:
            array = array[None]
        return np.moveaxis(array, -1, 1) if self.channels_last else array

    def weights(self, weight: np.ndarray) -> np.ndarray:
        """A view of a weight with its channels before the spatial axes."""
        return np.moveaxis(weight, -1, 1) if self.weights_last else weight


def options_of(
    axes: int, padding_mode: Any, precision: Any, out_dtype: Any, layout: Any, weight_layout: Any, overflow: Any,
    backend: Any,
) -> Options:  # fmt: skip
    """The options of a call with so many spatial axes, checked.

    Raises
    ------
    GeometryError, TypeError, BackendUnavailable
        Naming the option, its value and what it must be.
    """
    options = (axes, padding_mode, precision, out_dtype, layout, weight_layout, overflow, backend)
    try:
        return _remembered(*options)
    except TypeError:
        pass  # an option is unhashable (or invalid): checked again without the cache, for the error message
    return _checked(*options)


def _checked(
    axes: int, padding_mode: Any, precision: Any, out_dtype: Any, layout: Any, weight_layout: Any, overflow: Any,
    backend: Any,
) -> Options:  # fmt: skip
    return Options(
        backend,
        targets.choose(backend),
        choice("padding_mode", padding_mode, MODES),
        choice("precision", precision, formats.PRECISIONS),
        None if out_dtype is None else formats.parse("out_dtype", out_dtype),
        choice("layout", layout, LAYOUTS[axes]) != IMAGES[axes],
        choice("weight_layout", weight_layout, WEIGHT_LAYOUTS[axes]) != WEIGHTS[axes],
        choice("overflow", overflow, integers.OVERFLOWS),
    )


_remembered = lru_cache(maxsize=256)(_checked)


@lru_cache(maxsize=1024)
def _arithmetic(options: Options, target: Any, bias: np.dtype | None, *operands: tuple[str, np.dtype]) -> Arithmetic:
    _check_dtypes(bias, *operands)
    dtype = operands[0][1]
    accumulator = formats.accumulator(dtype, options.precision)
    return Arithmetic(target, accumulator, checked_result(dtype, options.out_dtype), options.overflow)


def checked_result(dtype: np.dtype, out_dtype: np.dtype | None) -> np.dtype:
    """The dtype of a result over operands of `dtype`: what is asked for, if it is of their kind, or the usual one."""
    for kind in (formats.FLOATS, formats.COMPLEX, formats.INTEGERS):
        if out_dtype is not None and dtype in kind and out_dtype not in kind:
            raise TypeError(f"out_dtype={out_dtype}: must be one of {', '.join(map(str, kind))} for {dtype} arrays")
    return formats.result_dtype(dtype) if out_dtype is None else out_dtype


def common_dtype(x: np.ndarray, w: np.ndarray, b: np.ndarray | None) -> np.dtype:
    """The one dtype of all arrays, or the input's where they may differ."""
    _check_dtypes(None if b is None else b.dtype, ("input", x.dtype), ("weight", w.dtype))
    return x.dtype


def _check_dtypes(bias: np.dtype | None, *operands: tuple[str, np.dtype]) -> None:
    (first, dtype), *others = operands
    for name, other in others:
        if other != dtype and not any({other, dtype} <= mixed for mixed in formats.MIXED):
            raise TypeError(f"{name} has dtype {other}: must be that of {first}, {dtype}")
    if bias is not None and bias != dtype and not (dtype in formats.NARROW and bias == np.float32):
        also = " or float32" if dtype in formats.NARROW else ""
        raise TypeError(f"bias has dtype {bias}: must be that of {first}, {dtype}{also}")


def new_result(taken: Taken, shape: tuple[int, ...], dtype: np.dtype, *, last: bool) -> tuple[np.ndarray, np.ndarray]:
    """An array for a result, and a view of it in the order of `shape`; with `last` its second axis is stored last."""
    if not last:
        result = taken.new(shape, dtype)
        return result, result
    result = taken.new((shape[0], *shape[2:], shape[1]), dtype)
    return result, np.moveaxis(result, -1, 1)
