"""Arrangements: equal arrays that lie as their names say, with poison around them."""

import math

import numpy as np
import pytest
from common import same_bits
from hypothesis import given
from hypothesis import strategies as st

from refconv.cases.recipe import OFFSETS
from refconv.core import formats
from refconv.verification.candidate import arrangements
from refconv.verification.candidate.arrangements import (
    ARRANGEMENTS,
    OTHER,
    arrange,
    broadcastable,
    place,
    possible,
    reserve,
)

DTYPES = st.sampled_from(formats.SUPPORTED)
SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@st.composite
def arrays(draw, dtype=DTYPES, shape=SHAPES):
    """Arrays of any bits, NaN with any payload included."""
    dtype, shape = np.dtype(draw(dtype)), draw(shape)
    seed = draw(st.integers(0, 2**32 - 1))
    size = math.prod(shape) * dtype.itemsize
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8).view(dtype).reshape(shape)


def candidates(array, kind="numpy"):
    """Arrangements that the array can have."""
    names = [name for name in ARRANGEMENTS if possible(name, kind, array.dtype, array.ndim)]
    return [name for name in names if name != "broadcast" or broadcastable(array)]


def numbers(*shape, dtype="float32"):
    return np.arange(math.prod(shape)).reshape(shape).astype(dtype)


@given(array=arrays(), data=st.data())
def test_values_are_equal_to_the_last_bit(array, data):
    name = data.draw(st.sampled_from(candidates(array)))
    before = array.copy()
    arranged = arrange(array, name)
    assert same_bits(arranged, array)
    assert same_bits(array, before)
    assert not np.shares_memory(arranged, array)
    assert arranged.flags.writeable


@given(array=arrays(), data=st.data())
def test_all_around_is_poison(array, data):
    name = data.draw(st.sampled_from(candidates(array)))
    placed = place(array, name)
    around = placed.bytes[~placed.inside]
    assert set(around.tolist()) == {arrangements.poison(array.dtype)}
    assert len(around) >= 2 * arrangements.GUARD
    # What reads on in C order as if the view were contiguous, from its first element, stays in the memory.
    assert placed.offset + array.nbytes <= placed.memory.nbytes
    if name != "broadcast":
        assert placed.inside.sum() == array.nbytes
    if array.size:
        placed.view[...] = np.zeros((), array.dtype)
        assert set(placed.bytes[~placed.inside].tolist()) == {arrangements.poison(array.dtype)}
        assert not placed.bytes[placed.inside].any()


@given(dtype=DTYPES)
def test_poison_is_nan_or_large(dtype):
    for byte in (arrangements.poison(dtype), OTHER):
        value = np.full(dtype.itemsize, byte, np.uint8).view(dtype)
        if dtype in formats.INTEGERS:
            assert value > np.iinfo(dtype).max // 8
        elif byte == OTHER:
            assert np.all(np.isfinite(formats.parts(value).astype("float64")))
        else:
            assert np.all(np.isnan(formats.parts(value)))


def strides(array):
    """In elements."""
    return tuple(step // array.itemsize for step in array.strides)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 4, 5)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_strides_are_as_named(shape, dtype):
    *batch, c, h, w = shape
    x = numbers(*shape, dtype=dtype)
    has_batch = bool(batch)
    dense = strides(x)
    batch_size = batch[0] if batch else 0

    def expect(name, *steps, offset=0):
        placed = place(x, name)
        assert strides(placed.view) == steps[not has_batch :], name
        assert placed.offset == arrangements.GUARD + offset * x.itemsize, name

    expect("contiguous", c * h * w, h * w, w, 1)
    expect("offset", c * h * w, h * w, w, 1, offset=arrangements.START)
    expect("channel_chunk", 2 * c * h * w, h * w, w, 1, offset=c * h * w)
    expect("channels_last", c * h * w, 1, w * c, c)
    expect("channels_last_chunk", 2 * c * h * w, 1, w * 2 * c, 2 * c)
    expect("channels_last_pitch", c * h * (w + arrangements.PITCH), 1, (w + arrangements.PITCH) * c, c)
    expect("negative", *(-step for step in (c * h * w, h * w, w, 1)), offset=x.size - 1)
    pitch = w + arrangements.PITCH
    expect("row_pitch", c * h * pitch, h * pitch, pitch, 1)
    expect("interleaved", 2 * c * h * w, 2 * h * w, 2 * w, 2)
    if has_batch:
        expect("transposed", h * w, batch_size * h * w, w, 1)
        expect("w_slice", c * 3 * h * w, 3 * h * w, w, 1, offset=h * w)
    # A chunk of a single image's channels only begins later.
    dense_ones = {"contiguous", "offset", *OFFSETS, "unaligned", *["channel_chunk"] * (not has_batch)}
    for name in set(candidates(x)) - dense_ones:
        assert strides(arrange(x, name)) != dense


def test_the_axes_that_are_transposed():
    def swapped(*shape):
        return strides(arrange(numbers(*shape), "transposed"))

    assert swapped(2, 3) == (1, 2)
    assert swapped(1, 3, 4, 5) == (60, 20, 1, 4)
    assert swapped(2, 1, 1, 5) == (1, 2, 2, 2)
    assert swapped(1, 1, 1, 5)[3] == 1  # nothing to swap


@pytest.mark.parametrize("dtype", [dtype for dtype in formats.SUPPORTED if dtype.itemsize > 1])
def test_unaligned_is_not_aligned(dtype):
    arranged = arrange(np.ones((2, 3), dtype), "unaligned")
    assert arranged.__array_interface__["data"][0] % dtype.itemsize
    assert arranged.flags.c_contiguous
    assert not possible("unaligned", "torch", dtype)


def test_an_offset_breaks_a_vectors_alignment():
    assert (place(np.ones(4, "float32"), "offset").offset - arrangements.GUARD) % 16


@given(dtype=DTYPES, shape=st.lists(st.integers(1, 4), max_size=4).map(tuple))
def test_addresses_are_off_by_as_much_as_their_names_say(dtype, shape):
    for name, size in OFFSETS.items():
        assert possible(name, "numpy", dtype) == (size >= dtype.itemsize)
        if size >= dtype.itemsize:
            arranged = arrange(np.ones(shape, dtype), name)
            assert arranged.__array_interface__["data"][0] % arrangements.ALIGNED == size
            assert arranged.flags.c_contiguous
    assert arrange(np.ones(shape, dtype), "contiguous").__array_interface__["data"][0] % arrangements.ALIGNED == 0


def test_broadcast_wherever_the_values_allow_it():
    x = np.broadcast_to(numbers(1, 3, 4, 1), (2, 3, 4, 5))
    placed = place(x, "broadcast")
    assert strides(placed.view) == (0, 4, 1, 0)
    assert placed.inside.sum() == numbers(3, 4).nbytes
    assert not broadcastable(numbers(2, 2))
    with pytest.raises(ValueError, match="memory='broadcast'"):
        arrange(numbers(2, 2), "broadcast")
    assert broadcastable(np.full(3, np.nan))
    assert not broadcastable(np.array([0.0, -0.0]))


@pytest.mark.parametrize("name", arrangements.ARRANGEMENTS)
def test_no_elements_lie_nowhere(name):
    """Not even beyond the memory, where the planes are larger than the guards."""
    reserved = reserve((0, 32, 15, 40), np.dtype("float32"), name, 0)
    assert reserved.view.shape == (0, 32, 15, 40)
    assert reserved.offset <= reserved.memory.nbytes
    assert not reserved.inside.any()


@given(shape=SHAPES, dtype=DTYPES, byte=st.integers(0, 255))
def test_reserved_memory_has_guards(shape, dtype, byte):
    for name in ("contiguous", "row_pitch"):
        if possible(name, "numpy", dtype, len(shape)):
            reserved = reserve(shape, dtype, name, byte)
            assert reserved.view.shape == shape
            assert reserved.offset == arrangements.GUARD or not reserved.view.size
            assert (reserved.bytes == byte).all()
            assert not reserved.inside[: arrangements.GUARD].any()
            assert not reserved.inside[-arrangements.GUARD :].any()


@pytest.mark.parametrize(
    ("shape", "dtype", "name", "message"),
    [
        ((2, 2), "float32", "sideways", "memory='sideways'"),
        ((2, 2), "int8", "unaligned", "int8 has one byte"),
        ((2, 2), "float64", "offset_4", "numbers of float64 have 8 bytes"),
        ((2, 2), "int8", "channels_last", "too few axes"),
        ((2,), "int8", "transposed", "too few axes"),
    ],
)
def test_what_cannot_be(shape, dtype, name, message):
    with pytest.raises(ValueError, match=message):
        arrange(np.ones(shape, dtype), name)


def test_possible_is_checked_and_says_what_a_kind_can_have():
    with pytest.raises(ValueError, match="memory='sideways'"):
        possible("sideways", "numpy", "int8")
    assert [name for name in ARRANGEMENTS if possible(name, "jax", "float32")] == ["contiguous"]
    assert {name for name in ARRANGEMENTS if not possible(name, "torch", "float32")} == {"negative", "unaligned"}
    assert {name for name in ARRANGEMENTS if not possible(name, "numpy", "int8")} == {"unaligned"}
    assert not possible("transposed", "numpy", "int8", ndim=1)
