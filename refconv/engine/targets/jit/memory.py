"""Memory as kernels see it: numbers of any type at addresses, any number of bytes apart; counters that threads share.

Addresses, not arrays, cross from Python into kernels: with arrays, Numba would compile a kernel for every dtype, layout
and writability. Knows LLVM and Numba; not what is stored where.
"""

import os
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.np.arrayobj import populate_array

from refconv.engine.targets.jit.extending import intrinsic

_INT8, _INT64 = ir.IntType(8), ir.IntType(64)


def _pointer(context: Any, builder: Any, dtype: Any, base: Any, index: Any, step: Any) -> Any:
    """Pointer to the number `index` steps of `step` bytes after address `base`."""
    at = builder.gep(builder.inttoptr(base, _INT8.as_pointer()), [builder.mul(index, step)])
    return builder.bitcast(at, context.get_value_type(dtype).as_pointer())


@intrinsic
def load(typing_context: Any, dtype: Any, base: Any, index: Any, step: Any) -> Any:
    """The number that lies `index` steps of `step` bytes after an address."""
    number = dtype.instance_type

    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        return builder.load(_pointer(context, builder, number, *operands[1:]), align=1)

    return number(dtype, types.intp, types.intp, types.intp), generate


@intrinsic
def store(typing_context: Any, dtype: Any, base: Any, index: Any, step: Any, value: Any) -> Any:
    """Store a number `index` steps of `step` bytes after an address."""
    number = dtype.instance_type

    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        *place, value = operands[1:]
        builder.store(value, _pointer(context, builder, number, *place), align=1)
        return context.get_dummy_value()

    return types.void(dtype, types.intp, types.intp, types.intp, number), generate


@intrinsic
def load_record(typing_context: Any, kind: Any, base: Any) -> Any:
    """The named tuple of integers that lies at an address."""
    record = types.NamedUniTuple(types.int64, len(kind.instance_class._fields), kind.instance_class)

    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        pointer = builder.inttoptr(operands[1], context.get_value_type(record).as_pointer())
        return builder.load(pointer)

    return record(kind, types.intp), generate


@intrinsic
def store_record(typing_context: Any, base: Any, record: Any) -> Any:
    """Store a named tuple of integers at an address."""

    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        pointer = builder.inttoptr(operands[0], context.get_value_type(record).as_pointer())
        builder.store(operands[1], pointer)
        return context.get_dummy_value()

    return types.void(types.intp, record), generate


@intrinsic
def allocate(typing_context: Any, size: Any) -> Any:
    """The address of so many bytes of new memory, by C's `malloc`."""

    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        function = ir.FunctionType(_INT8.as_pointer(), [_INT64])
        malloc = cgutils.get_or_insert_function(builder.module, function, "malloc")
        return builder.ptrtoint(builder.call(malloc, operands), _INT64)

    return types.int64(types.int64), generate


@intrinsic
def release(typing_context: Any, base: Any) -> Any:
    """Give memory back that `allocate` made."""

    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        function = ir.FunctionType(ir.VoidType(), [_INT8.as_pointer()])
        free = cgutils.get_or_insert_function(builder.module, function, "free")
        builder.call(free, [builder.inttoptr(operands[0], _INT8.as_pointer())])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def view(typing_context: Any, dtype: Any, base: Any, size: Any) -> Any:
    """A contiguous array over the memory at an address."""
    number = dtype.instance_type
    array_type = types.Array(number, 1, "C")

    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        array = context.make_array(array_type)(context, builder)
        data = builder.inttoptr(operands[1], context.get_value_type(number).as_pointer())
        itemsize = context.get_constant(types.intp, number.bitwidth // 8)
        populate_array(array, data=data, shape=[operands[2]], strides=[itemsize], itemsize=itemsize, meminfo=None)
        return array._getvalue()  # noqa: SLF001 - Numba's way

    return array_type(dtype, types.intp, types.intp), generate


@intrinsic
def clear(typing_context: Any, base: Any, size: Any) -> Any:
    """Fill bytes with zeros."""

    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        pointer = builder.inttoptr(operands[0], _INT8.as_pointer())
        cgutils.memset(builder, pointer, operands[1], 0)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), generate


@intrinsic
def call(typing_context: Any, function: Any, arguments: Any) -> Any:
    """Call the C function at an address with a tuple of integers."""

    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        function, packed = operands
        unpacked = [builder.extract_value(packed, i) for i in range(len(arguments))]
        pointer = ir.FunctionType(ir.VoidType(), [_INT64] * len(arguments)).as_pointer()
        builder.call(builder.inttoptr(function, pointer), unpacked)
        return context.get_dummy_value()

    return types.void(types.intp, types.UniTuple(types.intp, len(arguments))), generate


@intrinsic
def fetch_add(typing_context: Any, counter: Any, value: Any) -> Any:
    """Add to the counter at an address and return its value before, atomically."""

    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        return builder.atomic_rmw("add", builder.inttoptr(operands[0], _INT64.as_pointer()), operands[1], "seq_cst")

    return types.int64(types.intp, types.int64), generate


@intrinsic
def yield_thread(typing_context: Any) -> Any:
    """Let another thread have the processor."""

    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        if os.name == "posix":
            function = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, function, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), generate
