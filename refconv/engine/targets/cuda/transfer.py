"""The kernels that move numbers: packing, delivery, and the sums of parts.

Elements lie in planes, rows and columns. On one side they are dense; on the other, three tables (of planes, rows and
columns) give offsets in bytes, or NOTHING: so one kernel serves views of any strides, all padding modes, and weights in
any order. Knows memory and formats; not what an element is.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from refconv.arrays.gpu.device import cuda
from refconv.core import formats
from refconv.engine.targets.cuda.number_formats import Format, reading, store_bits, writing
from refconv.engine.targets.cuda.primitives import Divisor, divided, inner, load, store

NOTHING = -(2**62)  # in a table: a zero, no element; so small that its sums with any offsets are below `_LEAST`
_LEAST = -(2**61)
THREADS = 256
_i32 = np.int32


class Transfer(NamedTuple):
    """What is moved: addresses, and counts of 32 bits."""

    strided: int
    dense: int
    planes: int  # tables of int64
    rows: int
    columns: int
    second: int  # from a sum's first number to the second, in numbers
    slack: int
    zero_point: int
    n_planes: Any
    plane: Any  # elements
    per_columns: Divisor
    form: Format  # of what lies where the tables say


@inner
def _place(job, plane, element):
    """Offset of an element in bytes; below `_LEAST` for a zero."""
    row, column = divided(element, job.per_columns)
    offset = load(np.int64, job.planes, plane) + load(np.int64, job.columns, column)
    return max(offset, NOTHING) + load(np.int64, job.rows, row)


@cache
def packing(accumulator: np.dtype) -> Any:
    """The kernel of a `Transfer` that packs elements as dense numbers of an accumulator's format."""
    number = formats.number(accumulator)
    read, of_number, size = reading(number), number.type, number.itemsize

    def pack(job):
        step = _i32(cuda.gridDim.x * THREADS)
        for plane in range(_i32(cuda.blockIdx.y), job.n_planes, _i32(cuda.gridDim.y)):
            target = job.dense + np.int64(plane) * job.plane * size
            for element in range(_i32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x), job.plane, step):
                place = _place(job, plane, element)
                value = of_number(0)
                if place > _LEAST:
                    value = read(job.strided + place, job.form, job.zero_point)
                store(of_number, target, element, value)

    return cuda.jit(pack)


@cache
def delivery(accumulator: np.dtype) -> Any:
    """The kernel of a `Transfer` that delivers sums: it rounds them and stores them in the output."""
    number, numbers = formats.number(accumulator), formats.numbers(accumulator)
    bits_of, size = writing(number, numbers), number.itemsize

    def deliver(job):
        step = _i32(cuda.gridDim.x * THREADS)
        for plane in range(_i32(cuda.blockIdx.y), job.n_planes, _i32(cuda.gridDim.y)):
            source = job.dense + np.int64(plane) * job.plane * size
            for element in range(_i32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x), job.plane, step):
                place = job.strided + _place(job, plane, element)
                store_bits(place, job.form.size, bits_of(source + element * size, job.second, job.slack, job.form))

    return cuda.jit(deliver)


class Parts(NamedTuple):
    """Sums of blocks (`parts`), and the place of their totals (`sums`)."""

    parts: int  # (n_parts, elements)
    sums: int  # (elements,)
    bias: int  # (channels,)
    n_parts: Any
    elements: Any
    per_outputs: Divisor  # of a channel
    per_channels: Divisor  # of all groups


@cache
def adding(accumulator: np.dtype) -> Any:
    """The kernel of `Parts` that adds the blocks of each sum to its bias, in order."""
    number = formats.number(accumulator)
    of_number, is_float = number.type, number.kind == "f"
    nan = np.float64(np.nan)

    def add(job):
        first = _i32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        for element in range(first, job.elements, _i32(cuda.gridDim.x * THREADS)):
            line, _ = divided(element, job.per_outputs)
            _, channel = divided(line, job.per_channels)
            total = load(of_number, job.bias, channel)
            for part in range(job.n_parts):
                total += load(of_number, job.parts, part * np.int64(job.elements) + element)
            if is_float and total != total:
                total = of_number(nan)
            store(of_number, job.sums, element, total)

    return cuda.jit(add)
