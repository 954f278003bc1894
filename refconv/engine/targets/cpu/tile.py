"""The register tile: some output channels times some neighboring outputs, as vectors of the processor.

A tile is a Numba type: its accumulator and its shape are part of the type, so that kernels are specialized by types
alone and can be cached on disk. Knows LLVM and Numba; no kernel, and no processor. `engine/nest.py` defines a tile's
operations.
"""

# Numba refuses overloads whose annotations differ from their implementation's.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_constant
from numba.extending import (
    models,
    overload_attribute,
    overload_method,
    register_model,
    typeof_impl,
)
from numba.np.numpy_support import from_dtype

from refconv.engine.targets.jit import arithmetic
from refconv.engine.targets.jit.extending import intrinsic

_INT32, _INT64 = ir.IntType(32), ir.IntType(64)
_ELEMENTS = {types.float32: ir.FloatType(), types.float64: ir.DoubleType(), types.int64: _INT64}


class TileType(types.Type):
    """Numba's type of a `Tile`."""

    def __init__(
        self, accumulator: Any, channels: int, vectors: int, lanes: int, numbers: int, side_by_side: bool
    ) -> None:
        self.accumulator, self.channels, self.vectors, self.lanes = accumulator, channels, vectors, lanes
        self.numbers, self.side_by_side = numbers, side_by_side
        kind = " side by side" * side_by_side
        super().__init__(name=f"Tile({numbers} {accumulator}, {channels} x {vectors} x {lanes}{kind})")

    @property
    def step(self) -> int:
        """Numbers of memory from one element of an array, as the nest counts them, to the next."""
        return self.lanes if self.side_by_side else 1

    @property
    def positions(self) -> int:
        """Neighboring outputs of a channel, as the nest counts them."""
        return self.vectors if self.side_by_side else self.vectors * self.lanes

    @property
    def vector(self) -> ir.Type:
        """LLVM's type of one vector."""
        return ir.VectorType(_ELEMENTS[self.accumulator], self.lanes)

    @property
    def values(self) -> ir.Type:
        """LLVM's type of all the sums of a tile, channel by channel; then, if there are, their second numbers."""
        return ir.ArrayType(self.vector, self.numbers * self.sums)

    @property
    def sums(self) -> int:
        """How many vectors of sums a tile has."""
        return self.channels * self.vectors


class Tile:
    """Which tile to use: a value with nothing in it but its type.

    Parameters
    ----------
    number
        float32, float64 or int64: what a sum is made of.
    channels, vectors, lanes
        Output channels; vectors of neighboring outputs of a channel; outputs in a vector.
    numbers
        1, or 2 for sums of two numbers.
    side_by_side
        Whether the lanes are channels of a depthwise convolution: then each element of an array, of weights and of
        biases too, is a vector, of as many channels side by side, and the tile's positions are vectors.
    """

    def __init__(
        self, number: np.dtype, channels: int, vectors: int, lanes: int, numbers: int = 1, *, side_by_side: bool = False
    ) -> None:
        self.numba_type = TileType(from_dtype(number), channels, vectors, lanes, numbers, side_by_side)


class SumsType(types.Type):
    """Numba's type of the sums that a tile holds in registers."""

    def __init__(self, tile: TileType) -> None:
        self.tile = tile
        super().__init__(name=f"Sums({tile})")


@register_model(SumsType)
class _SumsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, sums: SumsType) -> None:
        super().__init__(manager, sums, sums.tile.values)


register_model(TileType)(models.OpaqueModel)
typeof_impl.register(Tile)(lambda value, context: value.numba_type)


@lower_constant(TileType)
def _constant(context: Any, builder: Any, typ: Any, value: Any) -> Any:
    return context.get_dummy_value()


def _pointer(context: Any, builder: Any, tile: TileType, array_type: Any, array: Any, index: Any) -> Any:
    index = builder.mul(index, _INT64(tile.step))
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [index])


def _same_for_all(builder: Any, tile: TileType, pointer: Any) -> Any:
    """The number at a pointer in all lanes; of channels side by side, the vector of their numbers."""
    if tile.side_by_side:
        return builder.load(*_vector_pointer(builder, tile, pointer, 0)[:1], align=tile.accumulator.bitwidth // 8)
    return _everywhere(builder, tile, builder.load(pointer))


def _vector_pointer(builder: Any, tile: TileType, pointer: Any, number: int) -> Any:
    """Pointer to the vector `number` vectors after a pointer, and the alignment in bytes that it is sure to have."""
    at = builder.gep(pointer, [_INT64(number * tile.lanes)])
    return builder.bitcast(at, tile.vector.as_pointer()), tile.accumulator.bitwidth // 8


def _everywhere(builder: Any, tile: TileType, scalar: Any) -> Any:
    """A vector with `scalar` in all lanes."""
    undefined = ir.Constant(tile.vector, ir.Undefined)
    lanes = ir.Constant(ir.VectorType(_INT32, tile.lanes), [0] * tile.lanes)
    return builder.shuffle_vector(builder.insert_element(undefined, scalar, _INT32(0)), undefined, lanes)


@intrinsic
def _tile_start(typing_context: Any, tile: Any, total: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        return ir.Constant(tile.values, None) if tile.numbers == 1 else operands[1]

    return SumsType(tile)(tile, total), generate


@intrinsic
def _tile_bias(typing_context: Any, tile: Any, bias: Any, k: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        _, bias, k = operands
        start = _pointer(context, builder, tile, signature.args[1], bias, builder.mul(k, _INT64(tile.numbers)))
        total = ir.Constant(tile.values, ir.Undefined)
        for number, channel in itertools.product(range(tile.numbers), range(tile.channels)):
            place = builder.gep(start, [_INT64((channel * tile.numbers + number) * tile.step)])
            value = _same_for_all(builder, tile, place)
            for v in range(tile.vectors):
                total = builder.insert_value(total, value, number * tile.sums + channel * tile.vectors + v)
        return total

    return SumsType(tile)(tile, bias, types.intp), generate


@intrinsic
def _tile_fma(typing_context: Any, tile: Any, block: Any, x: Any, x_at: Any, w: Any, w_at: Any, terms: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        _, block, x, x_at, w, w_at, terms = operands
        x_start = _pointer(context, builder, tile, signature.args[2], x, x_at)
        w_start = _pointer(context, builder, tile, signature.args[4], w, w_at)
        inputs = []
        for v in range(tile.vectors):
            pointer, alignment = _vector_pointer(builder, tile, x_start, v)
            inputs.append(builder.load(pointer, align=alignment))
        for channel in range(tile.channels):
            weights = _same_for_all(
                builder, tile, builder.gep(w_start, [builder.mul(terms, _INT64(channel * tile.step))])
            )
            for v, values in enumerate(inputs):
                block = arithmetic.with_product(builder, tile, block, channel * tile.vectors + v, values, weights)
        return block

    return block(tile, block, x, types.intp, w, types.intp, types.intp), generate


@intrinsic
def _tile_add(typing_context: Any, tile: Any, total: Any, block: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        return arithmetic.with_block(builder, tile, *operands[1:])

    return total(tile, total, block), generate


def _sums_pointers(context: Any, builder: Any, tile: TileType, array_type: Any, operands: Any) -> Iterator[Any]:
    """Pointers to the vectors of a tile's sums, one after the other, and their alignments.

    Of sums of two numbers, the first numbers lie in the place of totals and the second in the place of blocks.
    """
    sums, part, k, i = operands
    array = context.make_array(array_type)(context, builder, sums)
    _, channels, row = cgutils.unpack_tuple(builder, array.shape)  # contiguous
    starts = [part] if tile.numbers == 1 else [_INT64(0), _INT64(1)]
    rows = [builder.add(builder.mul(start, channels), k) for start in starts]
    for k, channel in itertools.product(rows, range(tile.channels)):
        at = builder.add(builder.mul(builder.add(k, _INT64(channel)), row), i)
        start = builder.gep(array.data, [builder.mul(at, _INT64(tile.step))])
        for v in range(tile.vectors):
            yield _vector_pointer(builder, tile, start, v)


@intrinsic
def _tile_load(typing_context: Any, tile: Any, sums: Any, part: Any, k: Any, i: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        total = ir.Constant(tile.values, ir.Undefined)
        for at, (pointer, alignment) in enumerate(
            _sums_pointers(context, builder, tile, signature.args[1], operands[1:])
        ):
            total = builder.insert_value(total, builder.load(pointer, align=alignment), at)
        return total

    return SumsType(tile)(tile, sums, types.intp, types.intp, types.intp), generate


@intrinsic
def _tile_store(typing_context: Any, tile: Any, total: Any, sums: Any, part: Any, k: Any, i: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        for at, (pointer, alignment) in enumerate(
            _sums_pointers(context, builder, tile, signature.args[2], operands[2:])
        ):
            builder.store(builder.extract_value(operands[1], at), pointer, align=alignment)
        return context.get_dummy_value()

    return types.void(tile, total, sums, types.intp, types.intp, types.intp), generate


@overload_attribute(TileType, "channels", inline="always")
def _channels(tile):
    channels = tile.channels
    return lambda tile: channels


@overload_attribute(TileType, "positions", inline="always")
def _positions(tile):
    positions = tile.positions
    return lambda tile: positions


@overload_method(TileType, "start", inline="always")
def _start(tile, total):
    return lambda tile, total: _tile_start(tile, total)


@overload_method(TileType, "bias", inline="always")
def _bias(tile, bias, k):
    return lambda tile, bias, k: _tile_bias(tile, bias, k)


@overload_method(TileType, "fma", inline="always")
def _fma(tile, block, x, x_at, w, w_at, terms):
    return lambda tile, block, x, x_at, w, w_at, terms: _tile_fma(tile, block, x, x_at, w, w_at, terms)


@overload_method(TileType, "add", inline="always")
def _add(tile, total, block):
    return lambda tile, total, block: _tile_add(tile, total, block)


@overload_method(TileType, "load", inline="always")
def _load(tile, sums, part, k, i):
    return lambda tile, sums, part, k, i: _tile_load(tile, sums, part, k, i)


@overload_method(TileType, "store", inline="always")
def _store(tile, total, sums, part, k, i):
    return lambda tile, total, sums, part, k, i: _tile_store(tile, total, sums, part, k, i)
