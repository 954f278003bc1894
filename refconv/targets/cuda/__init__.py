"""Target "cuda": the nest compiled by numba-cuda over a register tile, on the current device and stream.

Knows plans, kernels and the device's memory. Operands are packed, sums computed, results delivered, by a kernel each;
all are put on a stream, and nothing is waited for but results that are to come to the host.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple, get_type_hints

import numpy as np

from refconv import device
from refconv.correlation import Correlation, halves
from refconv.device import Buffer, Stream
from refconv.distant import Distant, near
from refconv.formats import EXACT, INT64, number, numbers
from refconv.formats import WIDE as WIDE_FLOATS
from refconv.targets.cpu import exact, superaccumulator
from refconv.targets.cuda.extent import Extent, extent, shapes
from refconv.targets.cuda.formats import Format, format_of
from refconv.targets.cuda.kernel import Sums, kernel
from refconv.targets.cuda.memory import Divisor, divisor
from refconv.targets.cuda.plans import Plan, Problem, Tables, plan
from refconv.targets.cuda.transfer import THREADS, Parts, Transfer, adding, delivery, packing

BUDGET = 2**30  # bytes at a time besides the caller's arrays; a correlation that needs more is computed in pieces
MOST_KEPT = 2**20  # bytes of a problem's tables that stay on the device
LEAST_SAVED = 16  # a part of what is needed: halves that save less are not worth packing the rest once more
MOST_BLOCKS = 2**16
MOST_PLANES = 2**15  # in a grid's second dimension; kernels go on from there


def run(correlation: Correlation) -> None:
    """Fill `correlation.out`."""
    device.check()
    if correlation.accumulator is EXACT:
        exact.run(_on_host(correlation), _run)
        return
    _run(correlation)


def sums(correlation: Correlation, index: tuple[np.ndarray, ...]) -> np.ndarray:
    """The exact sums of some outputs, of these indices, as `Fraction`s, or floats: computed by the host."""
    return superaccumulator.sums(_on_host(correlation), index)


def _on_host(c: Correlation) -> Correlation:
    return c._replace(x=near(c.x), w=near(c.w), bias=near(c.bias))


def _run(c: Correlation) -> None:
    """In one piece, or by halves, while it needs more than the budget, or than the device has left."""
    axis = _divided_along(c) if _needed(c, c.out.shape) > BUDGET else None
    if axis is None:
        extent(c, c.out.shape).check()
        try:
            _run_piece(c)
        except MemoryError:
            axis = _divided_along(c)
            if axis is None:
                raise
        else:
            return
    for half in halves(c, axis):
        _run(half)


def _divided_along(c: Correlation) -> int | None:
    """The axis of which a half needs least; none where it needs about as much as the whole."""
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
    """Bytes for some of the outputs, but a few: of what is packed, tables, sums, and copies of what is the host's."""
    e = extent(c, shape)
    copies = ((c.x, e.seen), (c.w, math.prod(e.w_shape)), (c.out, e.sums))
    return e.packed_bytes + e.table_bytes + sum(n * a.itemsize for a, n in copies if not isinstance(a, Distant))


class _Tables(NamedTuple):
    """The tables of one operand on the device."""

    buffers: tuple[Buffer, Buffer, Buffer]
    counts: tuple[int, int, int]


class _Prepared(NamedTuple):
    """A plan whose tables are on the device."""

    plan: Plan
    x: _Tables
    w: _Tables
    out: _Tables
    bias: _Tables
    offsets: Buffer
    row_places: Buffer
    nothing: Buffer  # what the sums of parts start from: what adding to changes nothing


@lru_cache(maxsize=256)
def _prepared(p: Problem, bias_strides: tuple[int, ...], stream: Stream) -> _Prepared:
    made, parts, of_sums = plan(p), numbers(p.extent.accumulator), number(p.extent.accumulator)
    groups, channels = p.extent.w_shape[:2]
    # A bias may be of two numbers, which are neighbours.
    columns = np.add.outer(np.arange(channels) * bias_strides[1], np.arange(parts) * of_sums.itemsize).reshape(-1)
    bias = Tables(np.zeros(1, np.int64), np.arange(groups) * bias_strides[0], columns)

    def tables(each: Tables) -> _Tables:
        planes, rows, columns = each
        return _Tables((upload(planes), upload(rows), upload(columns)), (len(planes), len(rows), len(columns)))

    def upload(array: np.ndarray) -> Buffer:
        return device.upload(array, stream)

    nothing = np.full(made.shape.block_channels * parts, -0.0 if of_sums.kind == "f" else 0, of_sums)
    found = _Prepared(
        made, tables(made.x), tables(made.w), tables(made.out), tables(bias),
        upload(made.offsets), upload(made.row_places), upload(nothing),
    )  # fmt: skip
    stream.wait()  # other calls may be on other streams
    return found


def _run_piece(c: Correlation) -> None:
    of_sums, parts = number(c.accumulator), numbers(c.accumulator)
    stream = device.stream_of(c.out, c.x, c.w, c.bias)
    bias = np.broadcast_to(np.zeros((), of_sums), c.w.shape[:2]) if c.bias is None else c.bias
    x, w, b = (device.operand(each, stream) for each in (c.x, c.w, bias))
    out = device.room(c.out)
    e = extent(c, c.out.shape)
    p = Problem(e, c.padding, c.padding_mode, x.strides, w.strides, out.strides)
    prepared = _prepared if e.table_bytes <= MOST_KEPT else _prepared.__wrapped__
    found = prepared(p, b.strides, stream)
    made = found.plan
    room = made.shape.block_channels * parts  # a tile reads past the last channel
    packed_x, packed_w, packed_bias = (
        Buffer(count * of_sums.itemsize)
        for count in (made.packed_x, made.packed_w, c.w.shape[0] * c.w.shape[1] * parts + room)
    )
    sums = Buffer(max(made.parts, parts) * e.sums * of_sums.itemsize)
    for source, dtype, tables, target, zero_point in (
        (x, c.x.dtype, found.x, packed_x, c.zero_point),
        (w, c.w.dtype, found.w, packed_w, 0),
        (b, bias.dtype, found.bias, packed_bias, 0),
    ):
        form = format_of(dtype, of_sums if of_sums.kind == "f" else np.dtype("float64"))
        job = _transfer(source.address, target, tables, form)._replace(zero_point=zero_point)
        _move(packing(of_sums), job, stream)
    start = found.nothing if made.parts > 1 else packed_bias
    of_units = Sums(
        x=packed_x.address, w=packed_w.address, bias=start.address, sums=sums.address,
        offsets=found.offsets.address, rows=found.row_places.address, **made.counts,
    )  # fmt: skip
    blocks = min(int(of_units.units), MOST_BLOCKS)
    device.launch(kernel(c.accumulator, made.shape), blocks, made.shape.threads, stream, of_units)
    if made.parts > 1:
        sums = _added(sums, packed_bias, made, e, stream)
    job = _transfer(out.address, sums, found.out, format_of(c.out.dtype, np.dtype("float64")))
    _move(delivery(c.accumulator), job._replace(second=e.sums, slack=c.slack), stream)
    device.bring_back(out, c.out, stream)
    device.keep(stream, c.x, c.w, c.bias)


def _added(parts: Buffer, bias: Buffer, made: Plan, e: Extent, stream: Stream) -> Buffer:
    """The sums of the parts of each sum."""
    total = Buffer(e.sums * number(e.accumulator).itemsize)
    job = Parts(
        parts.address, total.address, bias.address, np.int32(made.parts), np.int32(e.sums),
        made.counts["per_outputs"], divisor(e.w_shape[0] * e.w_shape[1]),
    )  # fmt: skip
    device.launch(adding(e.accumulator), _blocks(e.sums), THREADS, stream, job)
    return total


def _blocks(elements: int) -> int:
    return min(-(-elements // THREADS), MOST_BLOCKS)


def _transfer(strided: int, dense: Buffer, tables: _Tables, form: Format) -> Transfer:
    n_planes, n_rows, n_columns = tables.counts
    planes, rows, columns = (each.address for each in tables.buffers)
    return Transfer(
        strided, dense.address, planes, rows, columns, 0, 0, 0,
        np.int32(n_planes), np.int32(n_rows * n_columns), divisor(max(1, n_columns)), form,
    )  # fmt: skip


def _move(function: Any, job: Transfer, stream: Stream) -> None:
    if job.n_planes and job.plane:
        grid = (_blocks(int(job.plane)), min(int(job.n_planes), MOST_PLANES))
        device.launch(function, grid, THREADS, stream, job)


def specialisations() -> dict[str, tuple[Any, NamedTuple]]:
    """All kernels that there are, by name, and what each is told: an example."""
    count, whole = np.int32(1), divisor(1)
    form = format_of(np.dtype("float32"), np.dtype("float32"))
    kinds: dict[Any, Any] = {Divisor: whole, int: 1}
    sums = Sums(**{name: kinds.get(kind, count) for name, kind in get_type_hints(Sums).items()})
    transfer = Transfer(1, 1, 1, 1, 1, 1, 1, 1, count, count, whole, form)
    found: dict[str, tuple[Any, NamedTuple]] = {}
    for accumulator in (*WIDE_FLOATS, INT64, EXACT):
        name, of_sums = "exact" if accumulator is EXACT else accumulator.name, number(accumulator)
        for shape_name, shape in shapes(accumulator).items():
            found[f"{shape_name} {name}"] = (kernel(accumulator, shape), sums)
        found[f"deliver {name}"] = (delivery(accumulator), transfer)
        if accumulator is not EXACT:
            found[f"pack {name}"] = (packing(of_sums), transfer)
            found[f"add {name}"] = (adding(accumulator), Parts(1, 1, 1, count, count, whole, whole))
    return found
