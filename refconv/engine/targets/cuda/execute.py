"""Running a correlation on the GPU: in pieces that fit the budget, each packed, summed and delivered on the stream.

Packing, sums and delivery are kernels of their own. All are put on a stream, and only results that go to the host are
waited for. Knows plans, kernels and the device's memory; not who asks for the correlation.
"""

import itertools
import math
from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple, get_type_hints

import numpy as np

from refconv.arrays.gpu import buffers, device, streams
from refconv.arrays.gpu.buffers import Part
from refconv.arrays.gpu.streams import Stream
from refconv.arrays.remote import Distant, near
from refconv.core.formats import EXACT, INT64, number, numbers
from refconv.core.formats import WIDE as WIDE_FLOATS
from refconv.engine.correlation import Correlation, halves
from refconv.engine.targets.cuda import launch
from refconv.engine.targets.cuda.extent import Extent, extent, shapes
from refconv.engine.targets.cuda.kernel import Sums, kernel
from refconv.engine.targets.cuda.number_formats import Format, format_of
from refconv.engine.targets.cuda.plan import Problem, Tables, plan
from refconv.engine.targets.cuda.primitives import Divisor, divisor
from refconv.engine.targets.cuda.transfer import THREADS, Parts, Transfer, adding, delivery, packing
from refconv.engine.targets.exact import superaccumulator
from refconv.engine.targets.exact.sums import run_exactly

BUDGET = 2**30  # bytes at a time besides the caller's arrays; a correlation that needs more is computed in pieces
MOST_KEPT = 2**28  # bytes that stay for later calls: workspaces and tables
LEAST_SAVED = 16  # halves must save 1/16 of the memory: less is not worth packing twice what both need
MOST_BLOCKS = 2**16
MOST_PLANES = 2**15  # in a grid's second dimension; kernels loop over more


def run(correlation: Correlation) -> None:
    """Fill `correlation.out`."""
    device.check()
    try:
        if correlation.accumulator is EXACT:
            run_exactly(_on_host(correlation), _run)
        else:
            _run(correlation)
    finally:
        buffers.settle(MOST_KEPT)


def sums(correlation: Correlation, index: tuple[np.ndarray, ...]) -> np.ndarray:
    """The exact sums of some outputs, of these indices, as `Fraction`s, or floats: computed by the host."""
    return superaccumulator.sums(_on_host(correlation), index)


def _on_host(c: Correlation) -> Correlation:
    return c._replace(x=near(c.x), w=near(c.w), bias=near(c.bias))


def _run(c: Correlation) -> None:
    """Compute in one piece; or by halves, if it needs more than the budget, or more than the device has left."""
    axis = _divided_along(c) if _needed(c, c.out.shape) > BUDGET else None
    if axis is None:
        extent(c, c.out.shape).check()
        try:
            _run_piece(c)
        except buffers.OutOfMemory:
            axis = _divided_along(c)
            if axis is None:
                raise
        else:
            buffers.settle(MOST_KEPT, workspaces=False)
            return
    for half in halves(c, axis):
        _run(half)


def _divided_along(c: Correlation) -> int | None:
    """The axis whose halves need the least memory; None where they need about as much as the whole."""
    shape = c.out.shape
    halved = {
        axis: _needed(c, (*shape[:axis], -(-size // 2), *shape[axis + 1 :]))
        for axis, size in enumerate(shape)
        if size > 1 and axis != 1  # of groups
    }
    axis = min(halved, key=halved.__getitem__, default=None)
    needed = _needed(c, shape)
    return None if axis is None or needed - halved[axis] < needed / LEAST_SAVED else axis


def _needed(c: Correlation, shape: tuple[int, ...]) -> int:
    """Bytes needed for outputs of this shape: packed operands, tables, sums, and copies of the host's arrays."""
    e = extent(c, shape)
    spans = (
        size if outputs == all_outputs else min(size, span)
        for size, outputs, all_outputs, span in zip(c.x.shape[3:], e.output, c.out.shape[3:], e.spans, strict=True)
    )
    copied = _copied(c.x, (*e.x_shape[:3], *spans)) + _copied(c.w, e.w_shape) + _copied(c.out, shape)
    copied += 0 if c.bias is None else _copied(c.bias, (*e.w_shape[:2], *c.bias.shape[2:]))
    return e.packed_bytes + e.table_bytes + copied + len(_Memory._fields) * buffers.ALIGNMENT


def _copied(array: np.ndarray, shape: tuple[int, ...]) -> int:
    """Bytes of a part of an array of the host, each element once."""
    once = (size for size, step in zip(shape, array.strides, strict=True) if step)
    return 0 if isinstance(array, Distant) else math.prod(once) * array.itemsize


class _Tables(NamedTuple):
    """The tables of one operand on the device: addresses and lengths."""

    planes: int
    rows: int
    columns: int
    n_planes: int
    n_rows: int
    n_columns: int


class _Prepared(NamedTuple):
    """A plan whose tables are on the device, one after the other in a buffer."""

    counts: dict[str, Any]  # of a `Sums`
    lengths: tuple[int, ...]  # of the tables, in elements
    starts: tuple[int, ...]  # of the tables in the buffer, in bytes

    def tables(self, which: int, address: int) -> _Tables:
        """The tables of the input (0), the weights (1), the output (2) or the bias (3), in a buffer at `address`."""
        own = slice(3 * which, 3 * which + 3)
        return _Tables(*(address + start for start in self.starts[own]), *self.lengths[own])


def _prepared(p: Problem, bias_strides: tuple[int, ...]) -> tuple[np.ndarray, _Prepared]:
    """The bytes of all tables, the last being what sums of parts start from; and the plan."""
    planned, parts, of_sums = plan(p), numbers(p.extent.accumulator), number(p.extent.accumulator)
    groups, channels = p.extent.w_shape[:2]
    # A bias may consist of two numbers, which lie next to each other.
    columns = np.add.outer(np.arange(channels) * bias_strides[1], np.arange(parts) * of_sums.itemsize).reshape(-1)
    bias = Tables(np.zeros(1, np.int64), np.arange(groups) * bias_strides[0], columns)
    # Sums of parts start from -0.0, or the integer 0: adding these changes nothing.
    nothing = np.full(p.extent.shape.block_channels * parts, -0.0 if of_sums.kind == "f" else 0, of_sums)
    arrays = (*planned.x, *planned.w, *planned.out, *bias, planned.offsets, planned.row_places, nothing)
    starts = (0, *itertools.accumulate(array.nbytes for array in arrays))
    data = np.concatenate([array.view(np.uint8) for array in arrays])
    return data, _Prepared(planned.counts, tuple(map(len, arrays)), starts[:-1])


class _Memory(NamedTuple):
    """What a piece needs in the device's memory: parts of the stream's workspace."""

    x: Part  # copies of the host's arrays
    w: Part
    bias: Part
    out: Part
    packed_x: Part
    packed_w: Part
    packed_bias: Part
    sums: Part
    total: Part  # of parts


def _memory(e: Extent, prepared: _Prepared, n_bytes: Iterable[int], stream: Stream) -> _Memory:
    """All memory at once: without room, nothing is on the stream yet. Copies of the host's arrays have `n_bytes`."""
    of_sums, parts = number(e.accumulator), numbers(e.accumulator)
    bias = (math.prod(e.w_shape[:2]) + e.shape.block_channels) * parts  # a tile reads past the last channel
    sums = e.sums * max(e.parts, parts)
    total = e.sums if e.parts > 1 else 0
    packed = (
        count * of_sums.itemsize
        for count in (math.prod(prepared.lengths[:3]), math.prod(prepared.lengths[3:6]), bias, sums, total)
    )
    sizes = (*n_bytes, *packed)
    return _Memory(*buffers.workspace(sum(map(buffers.aligned, sizes)), stream).parts(sizes))


def _run_piece(c: Correlation) -> None:
    e, of_sums = extent(c, c.out.shape), number(c.accumulator)
    stream = streams.stream_of(c.out, c.x, c.w, c.bias)
    bias = np.broadcast_to(np.zeros((), of_sums), c.w.shape[:2]) if c.bias is None else c.bias
    x, w, b, out = launch.operand(c.x), launch.operand(c.w), launch.operand(bias), launch.result(c.out)
    p = Problem(e, c.padding, c.padding_mode, x.strides, w.strides, out.strides)
    tables, prepared = buffers.tables((p, b.strides), stream, partial(_prepared, p, b.strides))
    m = _memory(e, prepared, (x.n_bytes, w.n_bytes, b.n_bytes, out.n_bytes), stream)
    of_x, of_w, of_out, of_bias = (prepared.tables(which, tables.address) for which in range(4))
    for source, place, source_tables, target, zero_point in (
        (x, m.x, of_x, m.packed_x, c.zero_point),
        (w, m.w, of_w, m.packed_w, 0),
        (b, m.bias, of_bias, m.packed_bias, 0),
    ):
        form = format_of(source.array.dtype, of_sums if of_sums.kind == "f" else np.dtype("float64"))
        job = _transfer(source.put(place, stream), target, source_tables, form)._replace(zero_point=zero_point)
        _move(packing(of_sums), job, stream)
    offsets, row_places, nothing = (tables.address + start for start in prepared.starts[-3:])
    start = nothing if e.parts > 1 else m.packed_bias.address
    of_units = Sums(
        x=m.packed_x.address, w=m.packed_w.address, bias=start, sums=m.sums.address,
        offsets=offsets, rows=row_places, **prepared.counts,
    )  # fmt: skip
    blocks = min(int(of_units.units), MOST_BLOCKS)
    launch.launch(kernel(c.accumulator, e.shape), blocks, e.shape.threads, stream, of_units)
    if e.parts > 1:
        _add(m, prepared, e, stream)
    sums = m.total if e.parts > 1 else m.sums
    job = _transfer(out.at(m.out), sums, of_out, format_of(c.out.dtype, np.dtype("float64")))
    _move(delivery(c.accumulator), job._replace(second=e.sums, slack=c.slack), stream)
    if out.n_bytes:
        m.out.read(c.out, stream)
    launch.keep(stream, c.x, c.w, c.bias)


def _add(m: _Memory, prepared: _Prepared, e: Extent, stream: Stream) -> None:
    """Add the parts of each sum to its total."""
    job = Parts(
        m.sums.address, m.total.address, m.packed_bias.address, np.int32(e.parts), np.int32(e.sums),
        prepared.counts["per_outputs"], divisor(e.w_shape[0] * e.w_shape[1]),
    )  # fmt: skip
    launch.launch(adding(e.accumulator), _blocks(e.sums), THREADS, stream, job)


def _blocks(elements: int) -> int:
    return min(-(-elements // THREADS), MOST_BLOCKS)


def _transfer(strided: int, dense: Part, tables: _Tables, form: Format) -> Transfer:
    return Transfer(
        strided, dense.address, *tables[:3], 0, 0, 0,
        np.int32(tables.n_planes), np.int32(tables.n_rows * tables.n_columns), divisor(max(1, tables.n_columns)), form,
    )  # fmt: skip


def _move(function: Any, job: Transfer, stream: Stream) -> None:
    if job.n_planes and job.plane:
        grid = (_blocks(int(job.plane)), min(int(job.n_planes), MOST_PLANES))
        launch.launch(function, grid, THREADS, stream, job)


def specializations() -> dict[str, tuple[Any, NamedTuple]]:
    """All kernels by name, each with an example of its argument."""
    count, whole = np.int32(1), divisor(1)
    form = format_of(np.dtype("float32"), np.dtype("float32"))
    kinds: dict[Any, Any] = {Divisor: whole, int: 1}
    sums = Sums(**{name: kinds.get(kind, count) for name, kind in get_type_hints(Sums).items()})
    transfer = Transfer(1, 1, 1, 1, 1, 1, 1, 1, count, count, whole, form)
    kernels: dict[str, tuple[Any, NamedTuple]] = {}
    for accumulator in (*WIDE_FLOATS, INT64, EXACT):
        name, of_sums = "exact" if accumulator is EXACT else accumulator.name, number(accumulator)
        for shape_name, shape in shapes(accumulator).items():
            kernels[f"{shape_name} {name}"] = (kernel(accumulator, shape), sums)
        kernels[f"deliver {name}"] = (delivery(accumulator), transfer)
        if accumulator is not EXACT:
            kernels[f"pack {name}"] = (packing(of_sums), transfer)
            kernels[f"add {name}"] = (adding(accumulator), Parts(1, 1, 1, count, count, whole, whole))
    return kernels
