"""Running a correlation on the CPU: planned once for its shapes, then one call of the kernel by all threads.

Knows plans, the kernel and threads. Kernels run without the interpreter's lock and write to disjoint outputs in the
canonical order: neither the schedule nor the number of threads can change a bit.
"""

import ctypes
import math
from array import array
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from refconv.core.formats import DELIVERED, EXACT, FLOATS, INT64, INTEGERS, number, numbers
from refconv.engine.correlation import Correlation
from refconv.engine.targets.cpu import threads
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
from refconv.engine.targets.exact import superaccumulator, two_numbers
from refconv.engine.targets.exact.sums import run as run_exactly
from refconv.engine.targets.jit.convert import Steps, converter

# Weights that do not lie one after the other are brought into order by all threads, tile by tile, for each panel anew;
# or, where a channel has more outputs than this and so many panels, copied before, once.
MOST_POSITIONS = 1024


def run(correlation: Correlation) -> None:
    """Fill `correlation.out`, by as many threads as are worth it of those that Numba is set to use."""
    if correlation.accumulator is EXACT:
        run_exactly(correlation, _run)
    else:
        _run(correlation)


def _run(correlation: Correlation) -> None:
    x, w, bias, out, stride, dilation, padding, padding_mode, accumulator, zero_point, slack = correlation
    w_strides = () if w.flags.c_contiguous else w.strides
    # A plain tuple: this is on the way of each small call. `_prepared` has its names.
    prepared = _prepared(
        (x.shape, w.shape, out.shape, stride, dilation, padding, padding_mode, x.strides, w_strides, out.strides),
        (x.dtype, w.dtype, out.dtype, accumulator, zero_point, slack),
        threads.count(),
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
    """The block of a call, its own: several threads may be here."""
    block = call.block[:]
    block[X], block[W], block[OUT], block[WORKSPACE] = x, w.ctypes.data, out.ctypes.data, _first_line(workspace)
    block[COUNTERS] = block.buffer_info()[0] + 8 * len(Job._fields)
    if bias is not None:
        block[BIAS] = bias.ctypes.data
    return block


def _first_line(memory: np.ndarray) -> int:
    address = ctypes.addressof(_BYTE(memory))  # NumPy's own way to say it takes three times as long
    return -(-address // LINE) * LINE


_BYTE: Any = ctypes.c_char.from_buffer


def _run_slabs(correlation: Correlation, prepared: "_Slabs", bias: np.ndarray | None) -> None:
    """One slab of terms after the other, each by all threads; the sums are kept in between."""
    x, w, _, out, *_ = correlation
    sums = np.empty(0, np.uint8)
    for slab in slabs(prepared.problem, prepared.cut):
        problem, start = part(prepared.problem, slab)
        call = _prepare(problem, prepared.schedule)
        # Its own: a thread that comes too late for a slab still clears its part of that one's workspace.
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
    """Compile all that any call may need, or load it; yields how many pieces are done, and how many there are."""
    pieces: list[Callable[[], Any]] = [kernel]
    for accumulator in (np.dtype("float32"), np.dtype("float64"), INT64, EXACT):
        lanes = registers()[0] // number(accumulator).itemsize
        some = tiles(numbers(accumulator))
        shapes = dict.fromkeys((channels, each) for channels, vectors in some for each in (vectors, 1))
        pieces += [partial(microkernel, accumulator, *shape, lanes, each) for shape in shapes for each in (True, False)]
        if accumulator is EXACT:
            pieces += [partial(converter, EXACT, result, result=True) for result in FLOATS]
            pieces += [two_numbers.survey, superaccumulator.accumulate, superaccumulator.rounding]
            continue
        floats = () if accumulator == INT64 else FLOATS
        narrower = tuple(each for each in floats if each.itemsize <= accumulator.itemsize)
        pieces += [partial(converter, source, accumulator) for source in narrower + INTEGERS]
        pieces += [partial(converter, accumulator, result, result=True) for result in (*floats, *DELIVERED)]
    for done, build in enumerate(pieces, 1):
        build()
        yield done, len(pieces)


class _Call(NamedTuple):
    """What calls of the kernel that differ in nothing but numbers have in common."""

    kernel: Any
    block: "array[int]"  # the kernel's `Job`, then its counters
    threads: int
    workspace: int  # bytes, as the next
    sums: int
    copies_weights: bool  # to one after the other
    plan: Plan  # keeps what the block tells the addresses of


class _Slabs(NamedTuple):
    """What correlations have in common whose sums are so long that they are computed slab by slab."""

    problem: Problem
    cut: Cut
    schedule: tuple[Any, ...]  # as `costed` takes it


@lru_cache(maxsize=1024)
def _prepared(shapes: tuple[Any, ...], formats: tuple[Any, ...], n_threads: int) -> "_Call | _Slabs":
    x_shape, w_shape, out_shape, stride, dilation, padding, padding_mode, x_strides, w_strides, out_strides = shapes
    images, groups, in_channels, *size = x_shape
    x_dtype, w_dtype, out_dtype, accumulator, zero_point, slack = formats
    problem = Problem(
        images, groups, in_channels, w_shape[1], tuple(size), w_shape[3:], out_shape[3:], stride, dilation, padding,
        padding_mode, x_strides, w_strides, out_strides, x_dtype, w_dtype, out_dtype, accumulator, n_threads,
        zero_point, slack, math.prod(w_shape[2:]),
    )  # fmt: skip
    how = cut(problem)
    if how is None:
        copied = len(size) > 2 or math.prod(out_shape) > MOST_POSITIONS * math.prod(out_shape[1:3])
        call = _prepare(merged(problem._replace(w_strides=()) if copied else problem))
        return call._replace(copies_weights=copied and bool(w_strides))
    problem = problem._replace(w_dtype=problem.number, w_strides=())
    first, _ = part(problem, next(slabs(problem, how)))
    best = cheapest(with_rows(first))
    # Slabs keep their sums in the same places: no run may depend on a length that differs from slab to slab.
    split = 1 if first.kernel[-1] == problem.kernel[-1] else 2
    return _Slabs(problem, how, (best.channels, best.vectors, best.band, best.threads, split))


@lru_cache(maxsize=1024)
def _prepare(problem: Problem, how: tuple[Any, ...] | None = None) -> _Call:
    """The call for a problem, by a given schedule or the best one."""
    problem = with_rows(problem)
    made = plan(problem, cheapest(problem) if how is None else costed(problem, *how))
    job = made.job
    counters = [0] * (2 + job.threads) * COUNTER_STRIDE
    return _Call(
        kernel(),
        array("q", [*job, *counters]),
        job.threads,
        job.threads * job.workspace_size + LINE,
        job.units * job.sums_size + LINE,
        False,
        made,
    )
