"""Running a correlation on the CPU.

A call looks up what was prepared for its shapes and dtypes (`_Call`: the plan as a block of integers), copies the
block, fills in the addresses of its own arrays, and has all threads call the compiled kernel with the block's address.
Very long sums (`_Slabs`) take several such calls. Kernels run without the interpreter's lock and write to disjoint
outputs in the canonical order: neither the schedule nor the number of threads can change a bit.

Knows plans, the kernel and threads; not who asks for the correlation.
"""

import ctypes
import math
from array import array
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from refconv.core.formats import DELIVERED, EXACT, FLOATS, INT64, INTEGERS, WIDE, number, numbers
from refconv.engine.correlation import Correlation
from refconv.engine.targets.cpu import depthwise, small, threads
from refconv.engine.targets.cpu.entry import entry
from refconv.engine.targets.cpu.job import (
    BIAS,
    COUNTER_STRIDE,
    COUNTERS,
    FIRST_TERM,
    LINE,
    OUT,
    SUMS,
    WORKSPACE,
    Job,
    W,
    X,
)
from refconv.engine.targets.cpu.kernel import kernel
from refconv.engine.targets.cpu.microkernel import microkernel
from refconv.engine.targets.cpu.plan import Plan, plan
from refconv.engine.targets.cpu.schedule import (
    SIDE_BY_SIDE,
    Cut,
    Problem,
    cheapest,
    costed,
    cut,
    merged,
    part,
    registers,
    slabs,
    tiles,
    with_rows,
)
from refconv.engine.targets.cpu.transpose import gatherer, scatterer
from refconv.engine.targets.exact import superaccumulator, two_numbers
from refconv.engine.targets.exact.sums import run_exactly
from refconv.engine.targets.jit.convert import Steps, converter

# Weights that are not contiguous are put in order by the threads, tile by tile, again for each panel. If a channel has
# more outputs than this, and so many panels, they are copied once before.
MOST_POSITIONS = 1024


def run(correlation: Correlation) -> None:
    """Fill `correlation.out`, by as many threads as are worth it of those that Numba is set to use."""
    if correlation.accumulator is EXACT:
        run_exactly(correlation, _run)
    else:
        _run(correlation)


def _run(correlation: Correlation) -> None:
    lanes = depthwise.lanes_of(correlation)
    if lanes and correlation.x.shape[1] % lanes:
        for part in depthwise.whole(correlation, lanes):
            _run(part)
        return
    if not lanes and small.run(correlation):
        return
    x, w, bias, out, stride, dilation, padding, padding_mode, accumulator, zero_point, slack = correlation
    w_strides = () if w.flags.c_contiguous else w.strides
    # Plain tuples: named ones would slow down every small call. `_prepared` names their entries.
    prepared = _prepared(
        (x.shape, w.shape, out.shape, stride, dilation, padding, padding_mode, x.strides, w_strides, out.strides),
        (x.dtype, w.dtype, out.dtype, accumulator, zero_point, slack),
        threads.count(),
        lanes,
    )
    if bias is not None:
        with np.errstate(all="ignore"):  # a signalling NaN
            bias = np.ascontiguousarray(bias, number(accumulator))
    if isinstance(prepared, _Slabs):
        _run_slabs(correlation, prepared, bias)
        return
    if prepared.copies_weights:
        w = np.ascontiguousarray(w)
    workspace = np.empty(prepared.workspace, np.uint8)
    block = _filled(prepared, x.ctypes.data, w, bias, out, workspace)
    threads.share(prepared.kernel, block.buffer_info()[0], prepared.threads, (x, w, bias, out, workspace, block))


def _filled(
    call: "_Call", x: int, w: np.ndarray, bias: np.ndarray | None, out: np.ndarray, workspace: np.ndarray
) -> "array[int]":
    """A copy of the prepared block with the addresses of a call: other threads may make calls at the same time."""
    block = call.block[:]
    block[X], block[W], block[OUT], block[WORKSPACE] = x, w.ctypes.data, out.ctypes.data, _first_line(workspace)
    block[COUNTERS] = block.buffer_info()[0] + 8 * len(Job._fields)
    if bias is not None:
        block[BIAS] = bias.ctypes.data
    return block


def _first_line(memory: np.ndarray) -> int:
    address = ctypes.addressof(_BYTE(memory))  # `array.ctypes.data` takes three times as long
    return -(-address // LINE) * LINE


_BYTE: Any = ctypes.c_char.from_buffer


def _run_slabs(correlation: Correlation, prepared: "_Slabs", bias: np.ndarray | None) -> None:
    """Compute one slab of terms after the other, each by all threads; the sums are kept from slab to slab."""
    x, w, _, out, *_ = correlation
    sums = np.empty(0, np.uint8)
    for slab in slabs(prepared.problem, prepared.cut):
        problem, start = part(prepared.problem, slab)
        call = _prepare(problem, prepared.schedule)
        # A new one for each slab: a thread that starts late still clears its part of an earlier slab's workspace.
        workspace = np.empty(call.workspace, np.uint8)
        if not len(sums):
            sums = np.empty(call.sums, np.uint8)
        weights = _copied(w[:, :, slab.channels, *slab.taps], problem.number)
        block = _filled(call, x.ctypes.data + start, weights, bias, out, workspace)
        block[SUMS], block[FIRST_TERM] = _first_line(sums), slab.first_term
        kept = (x, weights, bias, out, workspace, sums, block)
        threads.share(call.kernel, block.buffer_info()[0], call.threads, kept)


def _copied(w: np.ndarray, accumulator: np.dtype) -> np.ndarray:
    """A contiguous copy in the accumulator's format."""
    w = np.ascontiguousarray(w)
    if w.dtype == accumulator:
        return w
    out = np.empty(w.shape, accumulator)
    steps = np.array(Steps(0, 0, w.itemsize, 0, 0, out.itemsize))
    converter(w.dtype, accumulator).ctypes(w.ctypes.data, out.ctypes.data, steps.ctypes.data, 1, 1, w.size)
    return out


sums = superaccumulator.sums


def warm_up() -> Iterator[tuple[int, int]]:
    """Compile or load all functions that a call may need; yields how many are done, and how many there are."""
    pieces: list[Callable[[], Any]] = [kernel, small.small]
    for accumulator in (np.dtype("float32"), np.dtype("float64"), INT64, EXACT):
        lanes = registers()[0] // number(accumulator).itemsize
        if accumulator in WIDE:
            vector = depthwise.vector_of(accumulator)
            counts = (*(vectors for _, vectors in SIDE_BY_SIDE), 1)
            pieces += [partial(microkernel, vector, 1, count, 1, True) for count in counts]
            pieces += [partial(function, accumulator, lanes) for function in (gatherer, scatterer)]
        shapes = dict.fromkeys(
            (channels, count) for channels, vectors in tiles(numbers(accumulator)) for count in (vectors, 1)
        )
        pieces += [
            partial(microkernel, accumulator, *shape, lanes, whole) for shape in shapes for whole in (True, False)
        ]
        if accumulator is EXACT:
            pieces += [partial(converter, EXACT, result, result=True) for result in FLOATS]
            pieces += [two_numbers.survey, superaccumulator.accumulate, superaccumulator.rounding]
            continue
        floats = () if accumulator == INT64 else FLOATS
        narrower = tuple(dtype for dtype in floats if dtype.itemsize <= accumulator.itemsize)
        pieces += [partial(converter, source, accumulator) for source in narrower + INTEGERS]
        pieces += [partial(converter, accumulator, result, result=True) for result in (*floats, *DELIVERED)]
    single, double = np.dtype("float32"), np.dtype("float64")
    pieces += [partial(entry, *dtypes) for dtypes in ((single, single), (single, double), (double, double))]
    for done, build in enumerate(pieces, 1):
        build()
        yield done, len(pieces)


class _Call(NamedTuple):
    """What is prepared once for all calls with the same shapes, strides, dtypes, options and number of threads."""

    kernel: Any
    block: "array[int]"  # the kernel's `Job`, addresses of arrays still missing, then its counters
    threads: int
    workspace: int  # bytes, for all threads
    sums: int  # bytes, where sums are kept from slab to slab
    copies_weights: bool  # whether the weights are made contiguous before the call
    plan: Plan  # keeps the tables alive whose addresses are in the block


class _Slabs(NamedTuple):
    """What is prepared for sums so long that they are computed in slabs of terms, a call of the kernel for each."""

    problem: Problem
    cut: Cut
    schedule: tuple[Any, ...]  # as `costed` takes it


@lru_cache(maxsize=1024)
def _prepared(shapes: tuple[Any, ...], formats: tuple[Any, ...], n_threads: int, lanes: int) -> "_Call | _Slabs":
    """The prepared call of a correlation, by channels side by side if `lanes` is not 0 and that takes less time."""
    x_shape, w_shape, out_shape, stride, dilation, padding, padding_mode, x_strides, w_strides, out_strides = shapes
    images, groups, in_channels, *size = x_shape
    x_dtype, w_dtype, out_dtype, accumulator, zero_point, slack = formats
    problem = Problem(
        images, groups, in_channels, w_shape[1], tuple(size), w_shape[3:], out_shape[3:], stride, dilation, padding,
        padding_mode, x_strides, w_strides, out_strides, x_dtype, w_dtype, out_dtype, accumulator, n_threads,
        zero_point, slack, math.prod(w_shape[2:]),
    )  # fmt: skip
    slab_cut = cut(problem)
    if lanes and slab_cut is None:
        chosen = depthwise.placed(problem, lanes)
        if chosen is not problem:
            return _prepare(chosen)
    if slab_cut is None:
        copied = len(size) > 2 or math.prod(out_shape) > MOST_POSITIONS * math.prod(out_shape[1:3])
        call = _prepare(merged(problem._replace(w_strides=()) if copied else problem))
        return call._replace(copies_weights=copied and bool(w_strides))
    problem = problem._replace(w_dtype=problem.number, w_strides=())
    first, _ = part(problem, next(slabs(problem, slab_cut)))
    best = cheapest(with_rows(first))
    # All slabs keep their sums in the same places: so the runs must not depend on a length that differs among slabs.
    split = 1 if first.kernel[-1] == problem.kernel[-1] else 2
    return _Slabs(problem, slab_cut, (best.channels, best.vectors, best.band, best.threads, split))


@lru_cache(maxsize=1024)
def _prepare(problem: Problem, schedule: tuple[Any, ...] | None = None) -> _Call:
    """The prepared call for a problem, by a given schedule (the arguments of `costed`) or the cheapest one."""
    problem = with_rows(problem)
    planned = plan(problem, cheapest(problem) if schedule is None else costed(problem, *schedule))
    job = planned.job
    counters = [0] * (2 + job.threads) * COUNTER_STRIDE
    return _Call(
        kernel(),
        array("q", [*job, *counters]),
        job.threads,
        job.threads * job.workspace_size + LINE,
        job.units * job.sums_size + LINE,
        False,
        planned,
    )
