"""Target "cpu": the nest compiled by Numba over a register tile, its work shared among threads.

Knows plans, the kernel and threads. Kernels run without the interpreter's lock and write to disjoint outputs in the
canonical order: neither the schedule nor the number of threads can change a bit.
"""

from array import array
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from refconv.correlation import Correlation
from refconv.formats import FLOATS, INT64, INTEGERS
from refconv.targets.cpu import threads
from refconv.targets.cpu.convert import converter
from refconv.targets.cpu.job import BIAS, COUNTER_STRIDE, COUNTERS, LINE, OUT, WORKSPACE, Job, W, X
from refconv.targets.cpu.kernel import kernel
from refconv.targets.cpu.microkernel import microkernel
from refconv.targets.cpu.plans import Plan, plan
from refconv.targets.cpu.schedule import Problem, registers, tiles


def run(correlation: Correlation) -> None:
    """Fill `correlation.out`, by as many threads as are worth it of those that Numba is set to use."""
    x, w, bias, out, stride, dilation, padding, padding_mode, accumulator = correlation
    if not w.flags.c_contiguous:
        w = np.ascontiguousarray(w)
    # A plain tuple: this is on the way of each small call. `_prepared` has its names.
    call = _prepared(
        (x.shape, w.shape, out.shape, stride, dilation, padding, padding_mode, x.strides, out.strides),
        (x.dtype, w.dtype, out.dtype, accumulator),
        threads.count(),
    )
    workspace = np.empty(call.workspace, np.uint8)
    block = call.block[:]  # its own: several threads may be here
    start = block.buffer_info()[0]
    block[X], block[W], block[OUT] = x.ctypes.data, w.ctypes.data, out.ctypes.data
    block[WORKSPACE] = -(-workspace.ctypes.data // LINE) * LINE
    block[COUNTERS] = start + 8 * len(Job._fields)
    if bias is not None:
        bias = np.ascontiguousarray(bias, accumulator)
        block[BIAS] = bias.ctypes.data
    threads.share(call.kernel, start, call.threads, (x, w, bias, out, workspace, block))


def warm_up() -> Iterator[tuple[int, int]]:
    """Compile all that any call may need, or load it; yields how many pieces are done, and how many there are."""
    pieces: list[Callable[[], Any]] = [kernel]
    for accumulator in (np.dtype("float32"), np.dtype("float64"), INT64):
        lanes = registers()[0] // accumulator.itemsize
        shapes = dict.fromkeys((channels, each) for channels, vectors in tiles() for each in (vectors, 1))
        pieces += [partial(microkernel, accumulator, *shape, lanes) for shape in shapes]
        floats = tuple(each for each in FLOATS if each.itemsize <= accumulator.itemsize and accumulator in FLOATS)
        pieces += [partial(converter, source, accumulator) for source in floats + INTEGERS]
        pieces += [partial(converter, accumulator, result, result=True) for result in (*floats, INT64)]
    for done, build in enumerate(pieces, 1):
        build()
        yield done, len(pieces)


class _Call(NamedTuple):
    """What calls that differ in nothing but numbers have in common."""

    kernel: Any
    block: "array[int]"  # the kernel's `Job`, then its counters
    threads: int
    workspace: int  # bytes
    plan: Plan  # keeps what the block tells the addresses of


@lru_cache(maxsize=1024)
def _prepared(shapes: tuple[Any, ...], dtypes: tuple[np.dtype, np.dtype, np.dtype, np.dtype], n_threads: int) -> _Call:
    x_shape, w_shape, out_shape, stride, dilation, padding, padding_mode, x_strides, out_strides = shapes
    images, groups, in_channels, *size = x_shape
    found = plan(
        Problem(
            images, groups, in_channels, w_shape[1], tuple(size), w_shape[3:], out_shape[3:],
            stride, dilation, padding, padding_mode, x_strides, out_strides, *dtypes, n_threads,
        )
    )  # fmt: skip
    job = found.job
    counters = [0] * (2 + job.threads) * COUNTER_STRIDE
    return _Call(kernel(), array("q", [*job, *counters]), job.threads, job.threads * job.workspace_size + LINE, found)
