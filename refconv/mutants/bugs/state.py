"""Mutants that keep state between calls: caches, buffers, and races between threads, which a counter decides here.

Knows kernels and the registry.
"""

import itertools
import math
from typing import Any

import numpy as np

from refconv.mutants.kernels.forward import Array, KernelCall
from refconv.mutants.registry import ANY, SPATIAL, mutant

KIND = "state_race"
DETERMINISTIC = {"deterministic": True}
CALLS = itertools.count()  # the number of a call decides who wins a race, or the order of a sum
KEPT: dict[Any, Any] = {}
MOST_KEPT = 10_000  # entries of KEPT, which is then cleared: a long campaign must not fill the memory


def _remember(key: Any, value: Any) -> None:
    if len(KEPT) >= MOST_KEPT:
        KEPT.clear()
    KEPT[key] = value


@mutant(
    kind=KIND,
    op=("conv2d", "conv_transpose2d", "conv2d_input"),
    axes=ANY,
    entry="RB160",
    supports=DETERMINISTIC,
    summary="the first weight of a shape used for all weights of that shape",
)
def weights_cached_by_shape(c: KernelCall) -> None:
    """Packed once, and found by the shape."""
    key = ("weights", c.op, c.w.shape, c.groups, c.dtype)
    if key not in KEPT:
        _remember(key, c.w.copy())
    c.w = KEPT[key].copy()


@mutant(
    kind=KIND,
    op=("conv2d", "conv_transpose2d", "conv2d_input"),
    entry="RB160",
    supports=DETERMINISTIC,
    summary="the last weight of a shape used once more, if it lies at the same address",
)
def weights_cached_by_address(c: KernelCall) -> None:
    """Packed once, and found by the address, which memory that was freed has too."""
    key = ("address", c.op, c.w.shape, c.groups, c.dtype, c.raw["weight"].__array_interface__["data"][0])
    if key not in KEPT:
        _remember(key, c.w.copy())
    c.w = KEPT[key].copy()


@mutant(
    kind=KIND,
    op="conv2d_weight",
    entry="RB158",
    step="compute",
    supports=DETERMINISTIC,
    summary="every other time the gradient of one half of the pixels lost",
)
def update_lost(c: KernelCall) -> Array:
    """Two threads add to one array without a lock."""
    sums = _halves(c)
    return sums[0] + sums[1] if next(CALLS) % 2 else sums[1]


def _halves(c: KernelCall) -> list[Array]:
    """The gradients of the upper and of the lower half of grad_output."""
    middle = (c.out_size[0] + 1) // 2
    y, gradients = c.y, []
    for half in (slice(None, middle), slice(middle, None)):
        c.y = np.zeros_like(y)
        c.y[:, :, half] = y[:, :, half]
        sums = c.dot(c.pixels().swapaxes(1, 2), c.windows())
        gradients.append(sums.reshape(c.out_channels, c.filter_size, *c.kernel))
    return gradients


@mutant(
    kind=KIND,
    op=("conv2d", "conv_transpose2d", "conv2d_input"),
    entry="RB159",
    step="finish",
    supports=DETERMINISTIC,
    summary="every other time a row of the result left with half of its sum",
)
def tiles_overlap(c: KernelCall, sums: Array) -> Array:
    """Two workers write the row that their tiles have in common, one of them before it is done."""
    if next(CALLS) % 2:
        sums[..., sums.shape[2] // 2, :] /= 2
    return sums


@mutant(
    kind=KIND,
    op=SPATIAL,
    step="dot",
    supports=DETERMINISTIC,
    summary="sums in float32 in another order each time",
    axes=ANY,
)
def order_of_sums_changes(c: KernelCall, left: Array, right: Array) -> Array:
    """As atomic additions have it: within every bound, but not the same bits twice."""
    if left.dtype.kind != "f" or not left.shape[2]:
        return KernelCall.dot(c, left, right)
    total = np.zeros((left.shape[0], left.shape[1], right.shape[2]), np.float32)
    order = np.random.default_rng(next(CALLS)).permutation(left.shape[2])
    for term in order:
        total += (left[:, :, term, None] * right[:, term, None, :]).astype(np.float32)
    return total.astype(np.float64)


@mutant(
    kind=KIND,
    op=("conv2d", "conv_transpose2d"),
    axes=ANY,
    step="finish",
    supports=DETERMINISTIC,
    summary="the last result of a shape added to the result",
)
def buffer_not_cleared(c: KernelCall, sums: Array) -> Array:
    """The accumulators are those of the call before."""
    key = ("accumulators", c.op, sums.shape)
    accumulated: Array = sums + KEPT.get(key, 0)
    _remember(key, sums)
    return accumulated


@mutant(
    kind=KIND,
    op=("conv2d", "conv_transpose2d"),
    axes=ANY,
    step="store",
    supports=DETERMINISTIC,
    summary="a result that the next call of that shape overwrites",
)
def buffer_handed_out(c: KernelCall, sums: Array) -> Array:
    """There is one buffer for each shape."""
    result = KernelCall.store(c, sums)
    key = ("results", c.op, result.shape, result.dtype)
    if key not in KEPT:
        _remember(key, result)
    kept: Array = KEPT[key]
    kept[...] = result
    return kept


@mutant(
    kind=KIND,
    step="gather",
    supports=DETERMINISTIC,
    when=lambda c: c.mode == "zeros",
    summary="padding that consists of what calls before left in a buffer",
)
def padding_not_cleared(c: KernelCall) -> Array:
    """The buffer for padded inputs is cleared when it grows, and then used as it is."""
    shape = (*c.x.shape[:2], *(n + b + a for n, b, a in zip(c.size, c.before, c.after, strict=True)))
    needed, key = math.prod(shape), ("padded", c.x.dtype)
    if KEPT.get(key, np.empty(0)).size < needed:
        _remember(key, np.zeros(needed, c.x.dtype))
    padded = KEPT[key][:needed].reshape(shape)
    top, left = c.before
    padded[:, :, top : top + c.size[0], left : left + c.size[1]] = c.x
    rows, columns = (c.positions(axis) + c.before[axis] for axis in (0, 1))
    gathered = padded.take(rows.reshape(-1), 2).take(columns.reshape(-1), 3)
    result: Array = gathered.reshape(*c.x.shape[:2], *rows.shape, *columns.shape)
    return result


@mutant(kind=KIND, op=("conv2d", "conv_transpose2d"), step="run", summary="the input overwritten with 0", axes=ANY)
def input_overwritten(c: KernelCall) -> Array:
    """Its memory serves as scratch."""
    result = KernelCall.run(c)
    c.raw["input"][...] = 0
    return result


@mutant(kind=KIND, op=("conv2d", "conv2d_input"), step="run", summary="the weight flipped in place", axes=ANY)
def weight_flipped_in_place(c: KernelCall) -> Array:
    """And not flipped back."""
    result = KernelCall.run(c)
    c.raw["weight"][...] = np.flip(c.raw["weight"], tuple(range(2, 2 + c.axes))).copy()
    return result


@mutant(kind=KIND, step="deliver", style="out", summary="the result added to what out holds", axes=ANY)
def added_to_out(c: KernelCall, result: Array, out: Array) -> None:
    """It is taken for cleared."""
    out += result
