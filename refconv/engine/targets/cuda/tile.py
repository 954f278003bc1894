"""The register tile of a thread: some output channels times some neighboring outputs, each sum a value of its own.

A tile is a Numba type, as the CPU's is: its accumulator and its shape are part of the type. Its sums are LLVM values,
so that they are registers and never memory. Knows LLVM and numba-cuda; no kernel. `engine/nest.py` defines a tile's
operations.

`x` and `w` say where the numbers lie: either `primitives.Staged`, rows of numbers in shared memory, one row for each
term; or addresses in global memory, for x one for each position, for w that of the only channel.
"""

# Numba refuses overloads whose annotations differ from their implementation's.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from typing import Any

import numpy as np
from llvmlite import ir

from refconv.arrays.gpu.device import extending, from_dtype, lower_constant, register_model, typeof_impl, types
from refconv.engine.targets.jit import arithmetic

_INT64 = ir.IntType(64)
_ELEMENTS = {types.float32: ir.FloatType(), types.float64: ir.DoubleType(), types.int64: _INT64}
GLOBAL = 1  # LLVM's address space
VECTOR_BYTES = 16  # that one instruction loads at most


class TileType(types.Opaque):
    """Numba's type of a `Tile`."""

    def __init__(self, accumulator: Any, channels: int, positions: int, numbers: int) -> None:
        self.accumulator, self.channels, self.positions, self.numbers = accumulator, channels, positions, numbers
        super().__init__(name=f"Tile({numbers} {accumulator}, {channels} x {positions})")

    @property
    def element(self) -> ir.Type:
        """LLVM's type of a number."""
        return _ELEMENTS[self.accumulator]

    @property
    def size(self) -> int:
        """Bytes of a number."""
        return int(self.accumulator.bitwidth) // 8

    @property
    def sums(self) -> int:
        """How many sums a tile has."""
        return self.channels * self.positions

    @property
    def values(self) -> ir.Type:
        """LLVM's type of all the sums of a tile, channel by channel; then, if there are, their second numbers."""
        return ir.ArrayType(self.element, self.numbers * self.sums)


class Tile:
    """Which tile to use: a value with nothing in it but its type.

    Parameters
    ----------
    number
        float32, float64 or int64: what a sum is made of.
    channels, positions
        Output channels; neighboring outputs of a channel.
    numbers
        1, or 2 for sums of two numbers.
    """

    def __init__(self, number: np.dtype, channels: int, positions: int, numbers: int = 1) -> None:
        self.channels, self.positions, self.numbers = channels, positions, numbers
        self.numba_type = TileType(from_dtype(number), channels, positions, numbers)


class SumsType(types.Type):
    """Numba's type of the sums that a tile holds in registers."""

    def __init__(self, tile: TileType) -> None:
        self.tile = tile
        super().__init__(name=f"Sums({tile})")


@register_model(SumsType)
class _SumsModel(extending.core_models.PrimitiveModel):
    def __init__(self, manager: Any, sums: SumsType) -> None:
        super().__init__(manager, sums, sums.tile.values)


typeof_impl.register(Tile)(lambda value, context: value.numba_type)
register_model(TileType)(extending.core_models.OpaqueModel)


@lower_constant(TileType)
def _constant(context: Any, builder: Any, typ: Any, value: Any) -> Any:
    return context.get_dummy_value()


def _staged(
    context: Any, builder: Any, tile: TileType, source_type: Any, source: Any, at: Any, count: int
) -> list[Any]:
    """A thread's numbers in one row of shared memory, by as few loads as possible."""
    array, start, row = (builder.extract_value(source, i) for i in range(3))
    data = context.make_array(source_type.types[0])(context, builder, array).data
    start, row = (builder.sext(index, _INT64) if index.type != _INT64 else index for index in (start, row))
    first = builder.gep(data, [builder.add(start, builder.mul(at, row))])
    lanes = min(count, VECTOR_BYTES // tile.size)
    values = []
    for part in range(0, count, lanes):
        vector = ir.VectorType(tile.element, lanes)
        place = builder.bitcast(builder.gep(first, [_INT64(part)]), vector.as_pointer(first.type.addrspace))
        loaded = builder.load(place, align=lanes * tile.size)
        values += [builder.extract_element(loaded, ir.IntType(32)(lane)) for lane in range(lanes)]
    return values


def _addressed(builder: Any, tile: TileType, addresses: Any, at: Any, count: int) -> list[Any]:
    """For each of some addresses, the number that lies `at` numbers after it."""
    values = []
    for i in range(count):
        address = builder.add(builder.extract_value(addresses, i), builder.mul(at, _INT64(tile.size)))
        pointer = builder.inttoptr(address, tile.element.as_pointer(GLOBAL))
        values.append(builder.load(pointer, align=tile.size))
    return values


def _loaded(
    context: Any, builder: Any, tile: TileType, source_type: Any, source: Any, at: Any, count: int
) -> list[Any]:
    if isinstance(source_type, types.NamedTuple):
        return _staged(context, builder, tile, source_type, source, at, count)
    return _addressed(builder, tile, source, at, count)


@extending.intrinsic
def _tile_start(typing_context: Any, tile: Any, total: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        return ir.Constant(tile.values, None) if tile.numbers == 1 else operands[1]

    return SumsType(tile)(tile, total), generate


@extending.intrinsic
def _tile_bias(typing_context: Any, tile: Any, bias: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        address, total = builder.extract_value(operands[1], 0), ir.Constant(tile.values, ir.Undefined)
        pointer = builder.inttoptr(address, tile.element.as_pointer(GLOBAL))
        for number in range(tile.numbers):
            for channel in range(tile.channels):
                value = builder.load(builder.gep(pointer, [_INT64(channel * tile.numbers + number)]), align=tile.size)
                for i in range(tile.positions):
                    at = number * tile.sums + channel * tile.positions + i
                    total = builder.insert_value(total, value, at)
        return total

    return SumsType(tile)(tile, bias), generate


@extending.intrinsic
def _tile_fma(typing_context: Any, tile: Any, block: Any, x: Any, x_at: Any, w: Any, w_at: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        _, block, x, x_at, w, w_at = operands
        inputs = _loaded(context, builder, tile, signature.args[2], x, x_at, tile.positions)
        weights = _loaded(context, builder, tile, signature.args[4], w, w_at, tile.channels)
        for at in range(tile.sums):
            number, weight = inputs[at % tile.positions], weights[at // tile.positions]
            block = arithmetic.with_product(builder, tile, block, at, number, weight)
        return block

    return block(tile, block, x, types.int64, w, types.int64), generate


@extending.intrinsic
def _tile_add(typing_context: Any, tile: Any, total: Any, block: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        return arithmetic.with_block(builder, tile, *operands[1:])

    return total(tile, total, block), generate


@extending.intrinsic
def _tile_gathered(typing_context: Any, tile: Any, numbers: Any) -> Any:
    """The sums from an array in local memory."""

    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        data = context.make_array(signature.args[1])(context, builder, operands[1]).data
        total = ir.Constant(tile.values, ir.Undefined)
        for at in range(tile.numbers * tile.sums):
            total = builder.insert_value(total, builder.load(builder.gep(data, [_INT64(at)])), at)
        return total

    return SumsType(tile)(tile, numbers), generate


@extending.intrinsic
def _tile_spread(typing_context: Any, tile: Any, total: Any, numbers: Any) -> Any:
    """Store the sums in an array in local memory."""

    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        data = context.make_array(signature.args[2])(context, builder, operands[2]).data
        for at in range(tile.numbers * tile.sums):
            builder.store(builder.extract_value(operands[1], at), builder.gep(data, [_INT64(at)]))
        return context.get_dummy_value()

    return types.void(tile, total, numbers), generate


@extending.overload_attribute(TileType, "channels", inline="always")
def _channels(tile):
    channels = tile.channels
    return lambda tile: channels


@extending.overload_attribute(TileType, "positions", inline="always")
def _positions(tile):
    positions = tile.positions
    return lambda tile: positions


@extending.overload_method(TileType, "start", inline="always")
def _start(tile, total):
    return lambda tile, total: _tile_start(tile, total)


@extending.overload_method(TileType, "bias", inline="always")
def _bias(tile, bias, k):
    return lambda tile, bias, k: _tile_bias(tile, bias)


@extending.overload_method(TileType, "fma", inline="always")
def _fma(tile, block, x, x_at, w, w_at, terms):
    return lambda tile, block, x, x_at, w, w_at, terms: _tile_fma(tile, block, x, x_at, w, w_at)


@extending.overload_method(TileType, "add", inline="always")
def _add(tile, total, block):
    return lambda tile, total, block: _tile_add(tile, total, block)


@extending.overload_method(TileType, "load", inline="always")
def _load(tile, sums, part, k, i):
    return lambda tile, sums, part, k, i: _tile_gathered(tile, sums[part])


@extending.overload_method(TileType, "store", inline="always")
def _store(tile, total, sums, part, k, i):
    return lambda tile, total, sums, part, k, i: _tile_spread(tile, total, sums[part])
