"""layout_stride: memory read by other strides or from another offset."""

from types import SimpleNamespace

import numpy as np
from numpy.lib.array_utils import byte_bounds

from variants.registry import corpus

VARIANTS, add = corpus()


def memory(array):
    """The memory around an array, flat, and where in it the array begins."""
    whole = array
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    low, high = byte_bounds(whole)
    around = SimpleNamespace(
        __array_interface__={"shape": (high - low,), "typestr": "|u1", "data": (low, True), "version": 3}
    )
    return np.asarray(around), array.__array_interface__["data"][0] - low


def reread(array, strides, offset=0):
    """The array as if it had other strides in elements; round and round in the memory that there is."""
    around, start = memory(array)
    index = sum(
        np.arange(n).reshape([-1 if a == i else 1 for i in range(array.ndim)]) * s
        for a, (n, s) in enumerate(zip(array.shape, strides, strict=True))
    )
    places = (start + offset + index * array.itemsize)[..., None] + np.arange(array.itemsize)
    return np.ascontiguousarray(around[places % len(around)]).view(array.dtype)[..., 0] if array.size else array


def c_strides(shape):
    return tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))


def as_c_order(*names):
    return lambda c, a: {
        name: reread(array, c_strides(array.shape)) if name in names and array is not None else array
        for name, array in a.items()
    }


def _wrong_stride(name, axis):
    def change(c, a):
        array = a[name]
        strides = [s // array.itemsize for s in array.strides]
        strides[axis] = c_strides(array.shape)[axis]
        return {**a, name: reread(array, strides)}

    return change


def _offset_twice(c, a):
    w = a["weight"]
    flat = np.roll(np.ascontiguousarray(w).reshape(-1), -(memory(w)[1] // w.itemsize))
    return {**a, "weight": flat.reshape(w.shape)}


add("RB085", "layout_stride", "conv2d", "the input read as C-ordered", operands=as_c_order("input"))
add("RB085", "layout_stride", "conv2d", "the bias read as dense", operands=as_c_order("bias"))
add("RB086", "layout_stride", "conv2d_input", "the gradient read as C-ordered", operands=as_c_order("grad_output"))
add("RB087", "layout_stride", "conv2d", "channels of the input lie H W apart", operands=_wrong_stride("input", 1))
add("RB088", "layout_stride", "conv2d", "a copy of the weight, read from the original's offset", operands=_offset_twice)
add("RB089", "layout_stride", "conv2d", "rows of the weight lie S apart", operands=_wrong_stride("weight", 2))
add("RB090", "layout_stride", "conv2d_weight", "the input read as C-ordered", operands=as_c_order("input"))
add("RB091", "layout_stride", "conv2d", "the weight read as C-ordered", operands=as_c_order("weight"))
