"""tile_tail: what no whole tile covers."""

import ml_dtypes
import numpy as np

from variants.registry import corpus, strided, when

VARIANTS, add = corpus()


def _tail_pixel(block):
    def change(c, out, _):
        flat = out.reshape(*out.shape[:2], out.shape[2] * out.shape[3]).copy()
        first = flat.shape[2] // block * block
        if 0 < first < flat.shape[2]:
            flat[..., first] = flat[..., first - 1]
        return flat.reshape(out.shape)

    return change


def _tail(axis, block, value=0):
    """A tail that is not computed."""

    def change(c, out, _):
        out = out.copy()
        last = out.shape[axis] // block * block
        np.moveaxis(out, axis, 0)[last:] = value
        return out

    return change


def _tail_of_blocks(c, a):
    w = a["weight"].copy()
    first = len(w) // 8 * 8
    if first:
        w[first:] = w[first - 8 : len(w) - 8]
    return {**a, "weight": w}


def _coarse_tail(c, out, _):
    out = out.copy()
    last = out.shape[1] // 8 * 8
    out[:, last:] = out[:, last:].astype(ml_dtypes.float8_e4m3fn).astype(out.dtype)
    return out


add("RB071", "tile_tail", "conv2d", "first pixel after the blocks of 4 is the one before it", result=_tail_pixel(4))
add(
    "RB072",
    "tile_tail",
    "conv2d",
    "3x3: rows beyond the blocks of 4 missing",
    result=when(lambda c: c.kernel == (3, 3), _tail(2, 4)),
)
add(
    "RB074",
    "tile_tail",
    "conv2d_input",
    "columns beyond the blocks of 8 missing, with a stride",
    result=when(strided, _tail(3, 8)),
)
add("RB076", "tile_tail", "conv2d", "odd height: the last row missing", result=_tail(2, 2))
add("RB078", "tile_tail", "conv2d", "channels beyond the blocks of 8 in a coarse format", result=_coarse_tail)
add(
    "RB080",
    "tile_tail",
    "conv2d",
    "channels beyond the blocks of 8 by the last block's weights",
    operands=_tail_of_blocks,
)
add("RB080", "tile_tail", "conv2d", "channels beyond the blocks of 4 missing", result=_tail(1, 4))
add("RB076", "tile_tail", "conv2d", "columns beyond the blocks of 16 missing", result=_tail(3, 16))
