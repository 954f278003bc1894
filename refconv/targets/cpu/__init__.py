"""Target "cpu": the nest compiled by Numba over a register tile, its work shared among threads.

Knows schedules, the kernel and threads. Kernels run without the interpreter's lock and write to disjoint outputs in the
canonical order: neither the schedule nor the number of threads can change a bit.
"""

from array import array
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from refconv.correlation import Correlation
from refconv.formats import FLOATS, INT64, INTEGERS
from refconv.layout import Size
from refconv.padding import Sides
from refconv.targets.cpu import threads
from refconv.targets.cpu.convert import converter
from refconv.targets.cpu.job import BIAS, COUNTERS, OUT, PACE, TEAM, W, X
from refconv.targets.cpu.kernel import kernel
from refconv.targets.cpu.pack import packer
from refconv.targets.cpu.schedule import Problem, lanes, prepare, tiles
from refconv.targets.cpu.tiled import tiled

# Below so many cycles (some 0.03 ms) waking a second thread may cost more than it saves.
SERIAL_CYCLES = 100_000


def run(correlation: Correlation) -> None:
    """Fill `correlation.out`: in this thread if that is little work, else in as many as Numba is set to use."""
    x, w, bias, out, stride, dilation, padding, padding_mode, accumulator = correlation
    if not w.flags.c_contiguous:
        w = np.ascontiguousarray(w)
    call = _prepared(
        x.shape, x.strides, x.dtype, w.shape, w.dtype, out.shape, out.strides, out.dtype,
        stride, dilation, padding, padding_mode, accumulator, threads.count(),
    )  # fmt: skip
    block = call.block[:]  # its own: several threads may be here
    start = block.buffer_info()[0]
    block[X], block[W], block[OUT] = x.ctypes.data, w.ctypes.data, out.ctypes.data
    if bias is not None:
        bias = np.ascontiguousarray(bias, accumulator)
        block[BIAS] = bias.ctypes.data
    block[COUNTERS] = start + 8 * call.counters
    team = threads.team() if call.threads > 1 else None
    block[TEAM] = call.threads if team else 1
    threads.share(team, call.kernel, start, call.threads, (x, w, bias, out, block))


def warm_up() -> Iterator[tuple[str, int, int]]:
    """Compile all that any call may need, or load it; yields what is done, and how many of how many."""
    pieces: list[tuple[str, Callable[[], Any]]] = [("kernel", kernel), ("packing", packer)]
    for accumulator in (np.dtype("float32"), np.dtype("float64"), INT64):
        nests = (partial(tiled, accumulator, *tile, lanes(accumulator.itemsize)) for tile in tiles())
        pieces += [(f"nest, {accumulator}", partial(nest, slim=slim)) for nest in nests for slim in (False, True)]
        floats = tuple(each for each in FLOATS if each.itemsize <= accumulator.itemsize and accumulator in FLOATS)
        into = (partial(converter, source, accumulator) for source in floats + INTEGERS)
        out_of = (partial(converter, accumulator, result, result=True) for result in (*floats, INT64))
        pieces += [(f"conversion, {accumulator}", build) for build in (*into, *out_of)]
    for number, (name, build) in enumerate(pieces, 1):
        build()
        yield name, number, len(pieces)


class _Call(NamedTuple):
    """What calls that differ in nothing but numbers have in common."""

    kernel: Any
    block: "array[int]"  # the kernel's `Job`, then its counters
    counters: int  # where in it they start
    threads: int
    held: tuple[Any, ...]  # what the block points to


@lru_cache(maxsize=1024)
def _prepared(  # noqa: PLR0913, PLR0917 - the key of a cache
    x_shape: Size, x_strides: Size, x_dtype: np.dtype, w_shape: Size, w_dtype: np.dtype,
    out_shape: Size, out_strides: Size, out_dtype: np.dtype,
    stride: Size, dilation: Size, padding: Sides, padding_mode: str, accumulator: np.dtype, n_threads: int,
) -> _Call:  # fmt: skip
    images, groups, in_channels, *size = x_shape
    problem = Problem(
        images=images,
        groups=groups,
        in_channels=in_channels,
        channels=w_shape[1],
        size=tuple(size),
        kernel=w_shape[3:],
        output=out_shape[3:],
        stride=stride,
        dilation=dilation,
        padding=padding,
        padding_mode=padding_mode,
        x_strides=x_strides,
        out_strides=out_strides,
        itemsize=accumulator.itemsize,
        w_itemsize=w_dtype.itemsize,
        threads=1,
    )
    plan = prepare(problem)
    if n_threads > 1 and plan.schedule.cycles > SERIAL_CYCLES:
        plan = prepare(problem._replace(threads=n_threads))
    zeros = np.zeros(groups * w_shape[1], accumulator)
    tile = accumulator, plan.schedule.channels, plan.schedule.vectors, lanes(accumulator.itemsize)
    job = plan.job._replace(
        bias=zeros.ctypes.data,
        pack=packer().address,
        nest_wide=tiled(*tile).address,
        nest_slim=tiled(*tile, slim=True).address,
        widen_x=converter(x_dtype, accumulator).address,
        widen_w=0 if w_dtype == accumulator else converter(w_dtype, accumulator).address,
        narrow=converter(accumulator, out_dtype, result=True).address,
    )
    counters = [0] * (2 + job.threads) * PACE
    return _Call(kernel(), array("q", [*job, *counters]), len(job), min(job.threads, job.units), (plan, zeros))
