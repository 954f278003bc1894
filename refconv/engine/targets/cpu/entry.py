"""The shortest way to a small convolution: a compiled function that takes the arrays themselves.

Asking NumPy for shapes, strides and addresses takes Python longer than a small convolution. This function is called as
the C function that Numba makes for CPython, not by way of its dispatcher. It refuses what is not small or not right,
which then takes the long way, with its messages. Knows small problems; nothing of the caller's kinds of arrays.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import int64, types
from numba.np.numpy_support import from_dtype

from refconv.engine.targets.cpu.depthwise import LEAST_PRODUCTS
from refconv.engine.targets.cpu.small import MOST_OPTION, MOST_PRODUCTS, MOST_STRIDE, TOLD, functions
from refconv.engine.targets.cpu.small_plan import Functions
from refconv.engine.targets.jit.cfunctions import entry_point, inner
from refconv.engine.targets.jit.memory import allocate, call, load_record, release, view


def _entry(x, w, bias, out, stride, padding, dilation, groups, to_functions):  # noqa: PLR0913, PLR0917
    """Compute a convolution into `out`; returns 1, or 0 for what is not small or not right: then nothing is done."""
    images, _, height, width = x.shape
    outputs, in_group, kernel_rows, kernel_columns = w.shape
    if not _is_small(x, w, out, groups):
        return 0
    at = allocate(8 * len(TOLD))
    told = view(np.int64, at, len(TOLD))
    told[:] = 0
    told[TOLD.images], told[TOLD.groups] = images, groups
    told[TOLD.in_channels], told[TOLD.channels] = in_group, outputs // groups
    told[TOLD.depth], told[TOLD.height], told[TOLD.width] = 1, height, width
    told[TOLD.kernel_planes], told[TOLD.kernel_rows], told[TOLD.kernel_columns] = 1, kernel_rows, kernel_columns
    told[TOLD.planes], told[TOLD.rows], told[TOLD.columns] = 1, out.shape[2], out.shape[3]
    told[TOLD.plane_stride], told[TOLD.row_stride], told[TOLD.column_stride] = 1, stride, stride
    told[TOLD.plane_dilation], told[TOLD.row_dilation], told[TOLD.column_dilation] = 1, dilation, dilation
    for side in range(TOLD.top, TOLD.right + 1):
        told[side] = padding
    _tell_strides(told, TOLD.x_image, x.strides, in_group)
    _tell_strides(told, TOLD.w_group, w.strides, outputs // groups)
    told[TOLD.w_group], told[TOLD.w_channel] = outputs // groups * w.strides[0], w.strides[0]
    told[TOLD.w_in_channel] = w.strides[1]
    item = w.itemsize
    dense = kernel_rows * kernel_columns * item
    rows_in_order = w.strides[3] == item and w.strides[2] == kernel_columns * item
    told[TOLD.w_contiguous] = rows_in_order and w.strides[1] == dense and w.strides[0] == in_group * dense
    _tell_strides(told, TOLD.out_image, out.strides, outputs // groups)
    told[TOLD.x], told[TOLD.w], told[TOLD.out] = x.ctypes.data, w.ctypes.data, out.ctypes.data
    told[TOLD.bias] = bias.ctypes.data if bias.size else 0
    told[TOLD.functions] = to_functions
    call(load_record(Functions, to_functions).small, (at,))
    done = told[TOLD.done]
    release(at)
    return done


@inner
def _is_small(x, w, out, groups):
    """Whether these make a convolution, a small one, which has no faster way."""
    outputs, in_group, kernel_rows, kernel_columns = w.shape
    if in_group * groups != x.shape[1] or outputs % groups:
        return False
    terms = in_group * kernel_rows * kernel_columns
    if kernel_rows > MOST_OPTION or kernel_columns > MOST_OPTION or terms > MOST_PRODUCTS or x.size == 0:
        return False
    products = out.size * terms
    depthwise = in_group == 1 and outputs == groups and products >= LEAST_PRODUCTS
    return 0 < products <= MOST_PRODUCTS and not depthwise


@inner
def _tell_strides(told, first, strides, channels):
    """Strides of an image, a group and a channel, then of planes, rows and columns."""
    told[first], told[first + 1], told[first + 2] = strides[0], channels * strides[1], strides[1]
    told[first + 3], told[first + 4], told[first + 5] = 0, strides[2], strides[3]


@cache
def entry(dtype: np.dtype, accumulator: np.dtype) -> Callable[..., np.ndarray | None]:
    """A convolution of small arrays of a dtype, summed in an accumulator's format.

    Returns
    -------
    callable
        Of x (N, C, H, W), w (K, C // groups, R, S), bias (K,) or None, stride, padding, dilation and groups: the
        result, or None for what takes the long way. The arrays must be of `dtype`, a bias of the accumulator's and
        contiguous, the options integers; whether they make a convolution is looked at here.
    """
    array, no_bias = types.Array(from_dtype(dtype), 4, "A"), np.empty(0, accumulator)
    vector = types.Array(from_dtype(accumulator), 1, "C")
    compute = entry_point(_entry, int64(array, array, vector, array, *[int64] * 5), dtype, accumulator)
    told = functions(dtype, dtype, dtype, accumulator)
    address, empty = told.buffer_info()[0], np.empty

    def convolve(
        x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, stride: int, padding: int, dilation: int, groups: int
    ) -> np.ndarray | None:
        if not 0 <= padding <= MOST_OPTION or not 0 < groups <= MOST_PRODUCTS:
            return None
        try:
            images, _, height, width = x.shape
            channels, _, taps, columns = w.shape
        except ValueError:
            return None
        if stride == dilation == 1:  # the usual numbers, in fewer steps of Python's
            more = padding + padding + 1
            rows, columns = height - taps + more, width - columns + more
        elif 0 < stride <= MOST_STRIDE and 0 < dilation <= MOST_OPTION:
            rows = (height + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
            columns = (width + 2 * padding - dilation * (columns - 1) - 1) // stride + 1
        else:
            rows = columns = 0
        if (
            rows < 1
            or columns < 1
            or not 0 < images * channels * rows * columns <= MOST_PRODUCTS
            or (bias is not None and len(bias) != channels)
        ):
            return None
        out = empty((images, channels, rows, columns), dtype)
        if compute(x, w, no_bias if bias is None else bias, out, stride, padding, dilation, groups, address):
            return out
        return None

    convolve.kept = told  # type: ignore[attr-defined]  # its memory is read by compiled code
    return convolve
