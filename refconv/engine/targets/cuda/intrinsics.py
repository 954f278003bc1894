"""What kernels need beyond Python's arithmetic, in LLVM's terms: numbers at addresses, vectors, bits.

`simulated` has the same for Numba's simulator. Knows LLVM and numba-cuda; not what is stored where.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from typing import Any

from llvmlite import ir

from refconv.arrays.gpu.device import cgutils, extending, from_dtype, populate_array, types  # noqa: F401 - `primitives`
from refconv.engine.targets.cuda.tile import GLOBAL, Tile  # noqa: F401 - `primitives`

_INT64 = ir.IntType(64)


def _element(context: Any, dtype: Any) -> tuple[Any, int]:
    """LLVM's type of a number, and its size."""
    number = dtype.instance_type
    return context.get_value_type(number), number.bitwidth // 8


def _pointer(builder: Any, element: Any, size: int, base: Any, index: Any) -> Any:
    address = builder.add(base, builder.mul(index, _INT64(size)))
    return builder.inttoptr(address, element.as_pointer(GLOBAL))


@extending.intrinsic
def load(typing_context: Any, dtype: Any, base: Any, index: Any) -> Any:
    """The number that lies `index` numbers after an address of global memory."""

    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        element, size = _element(context, signature.args[0])
        return builder.load(_pointer(builder, element, size, *operands[1:]), align=size)

    return dtype.instance_type(dtype, types.int64, types.int64), generate


@extending.intrinsic
def store(typing_context: Any, dtype: Any, base: Any, index: Any, value: Any) -> Any:
    """Store a number `index` numbers after an address of global memory."""

    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        element, size = _element(context, signature.args[0])
        builder.store(operands[3], _pointer(builder, element, size, *operands[1:3]), align=size)
        return context.get_dummy_value()

    return types.void(dtype, types.int64, types.int64, dtype.instance_type), generate


@extending.intrinsic
def table(typing_context: Any, base: Any, size: Any) -> Any:
    """An array of integers over the global memory at an address."""
    table_type = types.Array(types.int64, 1, "C", readonly=True)

    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        array = context.make_array(table_type)(context, builder)
        data = builder.inttoptr(operands[0], _INT64.as_pointer(GLOBAL))
        data = builder.addrspacecast(data, _INT64.as_pointer())
        itemsize = _INT64(8)
        populate_array(array, data=data, shape=[operands[1]], strides=[itemsize], itemsize=itemsize, meminfo=None)
        return array._getvalue()  # noqa: SLF001 - Numba's way

    return table_type(types.int64, types.int64), generate


@extending.intrinsic
def put(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
    """Store a number in an array in shared or local memory, at an index that is not negative."""

    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, operands[0]).data
        builder.store(operands[2], builder.gep(data, [operands[1]]))
        return context.get_dummy_value()

    return types.void(array, types.int64, array.dtype), generate


@extending.intrinsic
def take(typing_context: Any, array: Any, index: Any) -> Any:
    """The number at an index of such an array."""

    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, operands[0]).data
        return builder.load(builder.gep(data, [operands[1]]))

    return array.dtype(array, types.int64), generate


@extending.intrinsic
def copy_vector(typing_context: Any, array: Any, index: Any, base: Any, at: Any) -> Any:
    """Copy 16 bytes from `at` numbers after an address, a multiple of 16, to an index of such an array."""
    number = array.dtype

    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        array, index, base, at = operands
        size = number.bitwidth // 8
        vector = ir.VectorType(context.get_value_type(number), 16 // size)
        data = context.make_array(signature.args[0])(context, builder, array).data
        loaded = builder.load(_pointer(builder, vector, size, base, at), align=16)
        place = builder.gep(data, [index])
        builder.store(loaded, builder.bitcast(place, vector.as_pointer(place.type.addrspace)), align=16)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64, types.int64), generate


def _reinterpreted(source: Any, target: Any) -> Any:
    @extending.intrinsic
    def function(typing_context: Any, number: Any) -> Any:
        """The number with the same bits."""

        def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
            return builder.bitcast(operands[0], context.get_value_type(target))

        return target(source), generate

    return function


bits_of_float: Any = _reinterpreted(types.float32, types.int32)
float_of: Any = _reinterpreted(types.int32, types.float32)
bits_of_double: Any = _reinterpreted(types.float64, types.int64)
double_of: Any = _reinterpreted(types.int64, types.float64)


@extending.intrinsic
def product(typing_context: Any, left: Any, right: Any) -> Any:
    """left * right, float64, rounded: the compiler may not fuse it with an addition."""

    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        double = ir.DoubleType()
        function = ir.FunctionType(double, [double] * 2)
        return builder.call(cgutils.get_or_insert_function(builder.module, function, "llvm.nvvm.mul.rn.d"), operands)

    return types.float64(types.float64, types.float64), generate
