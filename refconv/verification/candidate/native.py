"""Native: functions of a shared library, called as candidates are, through the C ABI of `refconv.h`.

Knows ctypes and operators; not what is judged. What a C function gets is said in `refconv.h`, which lies beside this
file; its path is `HEADER`.
"""

import ctypes
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from refconv.core.checks import integer_sides
from refconv.core.geometry import Geometry
from refconv.core.operators import axes_of, is_transposed
from refconv.ops.family import OPERATORS

HEADER = Path(__file__).with_name("refconv.h")
LIBRARIES = (".so", ".dylib", ".dll")  # what files of shared libraries are called
DONE, UNSUPPORTED = 0, 1  # what a function returns
MEANING = "refconv.h has 0, REFCONV_DONE, and 1, REFCONV_UNSUPPORTED, for a case that it does not do"

FIELDS = (
    "n", "c_in", "h", "w", "c_out", "r", "s", "stride_h", "stride_w", "pad_top", "pad_bottom", "pad_left", "pad_right",
    "dilation_h", "dilation_w", "groups", "out_h", "out_w", "output_padding_h", "output_padding_w",
)  # fmt: skip
# Of other numbers of axes: numbers, then arrays with one for each axis, of which the last are not used.
NUMBERS = ("axes", "n", "c_in", "c_out", "groups")
ALONG = ("size", "kernel", "stride", "pad_before", "pad_after", "dilation", "out", "output_padding")
PLANAR, MOST_AXES = 2, 3

_PER_CHANNEL = ("weight_scale", "weight_zero_point")


class Convolution(ctypes.Structure):
    """`refconv_conv2d` of `refconv.h`."""

    _fields_ = [(name, ctypes.c_int64) for name in FIELDS]


class AnyConvolution(ctypes.Structure):
    """`refconv_conv` of `refconv.h`."""

    _fields_: ClassVar[list[Any]] = [
        *((name, ctypes.c_int64) for name in NUMBERS),
        *((name, ctypes.c_int64 * MOST_AXES) for name in ALONG),
    ]


class ReturnCode(RuntimeError):
    """A function of a shared library has returned an error: what it means only its author knows."""


class Native:
    """A function of a shared library, called as `Candidate` calls functions that write their result.

    Parameters
    ----------
    path, symbol : str
        Where it is.
    op : str
        The operator that it claims to be.

    Raises
    ------
    OSError
        If the library can't be loaded.
    AttributeError
        If it has no such symbol.
    """

    arrays = "numpy"
    style = "out"
    supports: ClassVar[dict[str, bool]] = {"views": False}

    def __init__(self, path: str, symbol: str, op: str = "conv2d") -> None:
        self.path, self.symbol, self.op = path, symbol, op
        self._function = ctypes.CDLL(path)[symbol]
        self._function.restype = ctypes.c_int

    def __reduce__(self) -> tuple[Any, ...]:
        return Native, (self.path, self.symbol, self.op)

    def __call__(self, *arguments: Any, **keywords: Any) -> None:
        """Call the function; the last argument is the output.

        Raises
        ------
        NotImplementedError
            If the function says so, or for what the C ABI does not have: other padding modes than zeros, other layouts
            than NCHW, views.
        ReturnCode
            If the function returns an error.
        """
        if keywords:
            raise NotImplementedError(f"the C ABI has no {', '.join(keywords)}")
        *values, output = arguments
        names = OPERATORS[self.op].parameters
        named, of_epilogue = dict(zip(names, values[: len(names)], strict=True)), values[len(names) :]
        convolution = (_convolution if axes_of(self.op) == PLANAR else _any_convolution)(*_call(self.op, named))
        operands = [_operand(name, named, convolution.c_out) for name in OPERATORS[self.op].operands]
        arrays = [None if array is None else _contiguous(array) for array in [*operands, *of_epilogue, output]]
        pointers = [None if array is None else array.ctypes.data for array in arrays]
        self._function.argtypes = [ctypes.POINTER(type(convolution)), *[ctypes.c_void_p] * len(pointers)]
        code = self._function(ctypes.byref(convolution), *pointers)
        if code == UNSUPPORTED:
            raise NotImplementedError(f"{self.symbol} returned {code}, REFCONV_UNSUPPORTED")
        if code != DONE:
            raise ReturnCode(f"{self.symbol} returned {code}, an error of its own: {MEANING}")


def _operand(name: str, named: dict[str, Any], c_out: int) -> np.ndarray | None:
    """An array as it is; scales and zero points, which may be single or plain numbers, as `refconv.h` says."""
    value = named[name]
    if name.endswith("_scale"):
        value = np.asarray(value, np.float32)
    elif isinstance(value, int):
        value = np.asarray(value, named["weight" if name == "weight_zero_point" else "input"].dtype)
    return np.array(np.broadcast_to(value, (c_out,))) if name in _PER_CHANNEL else value


def _contiguous(value: Any) -> np.ndarray:
    array = np.asarray(value)
    if not (array.flags.c_contiguous and array.flags.aligned):
        raise NotImplementedError("the C ABI has contiguous arrays only")
    return array


class _Call(NamedTuple):
    """Shapes and options of a call, as a function is told them."""

    input: tuple[int, ...]
    output: tuple[int, ...]
    output_padding: tuple[int, ...]
    geometry: Geometry


def _call(op: str, named: dict[str, Any]) -> _Call:
    """What a function is told of a call; raises as `refconv.conv2d` does if it is impossible."""
    g = OPERATORS[op].geometry(SimpleNamespace(**{"bias": None, "padding_mode": "zeros"} | named))
    input, output, extra = (g.batch, g.in_channels, *g.size), g.output_shape, (0,) * len(g.size)
    if is_transposed(op):  # the other way round; where the output padding is large, `output` is longer than its input
        images = named["input"].shape if "input" in named else named["input_size"]
        input, output, extra = (g.batch, *images[-1 - len(g.size) :]), input, tuple(named["output_padding"])
        g = replace(g, padding=integer_sides(named["padding"], len(g.size)))  # of gradients, as it was given
    return _Call(input, output, extra, g)


def _convolution(input: tuple[int, ...], output: tuple[int, ...], extra: tuple[int, ...], g: Geometry) -> Convolution:
    """Two axes."""
    _, c_out, *size = output
    numbers = (*g.kernel, *g.stride, *chain.from_iterable(g.padding), *g.dilation, g.groups)
    return Convolution(*input, c_out, *numbers, *size, *extra)


def _any_convolution(
    input: tuple[int, ...], output: tuple[int, ...], extra: tuple[int, ...], g: Geometry
) -> AnyConvolution:
    """One axis, or three."""
    (n, c_in, *size), (_, c_out, *out) = input, output
    along = (size, g.kernel, g.stride, *zip(*g.padding, strict=True), g.dilation, out, extra)
    arrays = ((ctypes.c_int64 * MOST_AXES)(*numbers) for numbers in along)
    return AnyConvolution(len(size), n, c_in, c_out, g.groups, *arrays)
