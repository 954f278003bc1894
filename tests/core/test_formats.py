"""Formats: rounding against NumPy's own, distances, units."""

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from refconv.core.formats import (
    FLOATS,
    INT64,
    NARROW,
    accumulator,
    largest,
    part,
    parts,
    result_dtype,
    round_fraction,
    rounded,
    ulp_distance,
    underflow_unit,
    unit_roundoff,
)
from refconv.engine.targets.jit.convert import Steps, converter

FORMATS = [np.float16, np.float32, np.float64, ml_dtypes.bfloat16]
FINITE = st.floats(allow_nan=False, allow_infinity=False)
WIDE_INTEGERS = st.integers(-(2**63), 2**64 - 1)


def codes(dtype):
    """All numbers of a narrow format, NaNs included."""
    return np.arange(2 ** (8 * dtype.itemsize), dtype=np.uint32).astype(f"u{dtype.itemsize}").view(dtype)


def finite(dtype):
    """All its finite numbers as float64s, in ascending order."""
    with np.errstate(invalid="ignore"):  # signalling NaNs
        numbers = codes(dtype).astype(np.float64)
    return np.unique(numbers[np.isfinite(numbers)])


def neighborhood(dtype):
    """Float64s about all that matters to a format: its numbers, what lies midway, and what is next to these."""
    numbers = finite(dtype)
    step = numbers[-1] - numbers[-2]
    numbers = np.concatenate([[-numbers[-1] - step], numbers, [numbers[-1] + step]])  # past the largest
    points = np.concatenate([numbers, (numbers[1:] + numbers[:-1]) / 2])
    special = [np.nan, -np.nan, np.inf, -np.inf, -0.0, 5e-324, -5e-324, 2.0**-1022, 2.0**-150, 1e300, -1e300]
    with np.errstate(all="ignore"):
        return np.concatenate([points, np.nextafter(points, np.inf), np.nextafter(points, -np.inf), special])


def reference(value, dtype):
    """A number rounded as a rational one; NaN, infinity and the sign of zero by themselves."""
    if np.isnan(value):
        return dtype.type(np.nan)
    if value == 0:
        return dtype.type(value)
    # Any number past all others is as good as infinity.
    return round_fraction(
        Fraction(2) ** 1100 * int(np.sign(value)) if np.isinf(value) else Fraction(float(value)), dtype
    )


def same(left, right):
    return left.dtype == right.dtype and left.tobytes() == right.tobytes()


@given(FINITE, st.sampled_from(FORMATS))
@example(65520.0, np.float16)  # the tie between the largest finite number and infinity
@example(65519.999, np.float16)
@example(2.0**-25, np.float16)  # the tie between zero and the smallest subnormal
@example(-(2.0**-26), np.float16)
def test_rounding_is_the_casts(value, dtype):
    """A float64 rounded as a rational number is what the cast makes of it, sign of zero included."""
    with np.errstate(over="ignore", under="ignore"):
        expected = np.float64(value).astype(dtype)
    ours = round_fraction(Fraction(value), dtype)
    assert ours.dtype == expected.dtype
    assert ours == expected
    assert value == 0 or np.signbit(ours) == np.signbit(expected)


@given(st.fractions(), st.sampled_from(FORMATS[:3]))
def test_nothing_is_nearer(exact, dtype):
    """Both neighbours are at least as far away; of two as near, the even one was taken."""
    ours = round_fraction(exact, dtype)
    if not np.isfinite(ours):
        return
    error = abs(Fraction(float(ours)) - exact)
    for neighbor in np.nextafter(ours, np.array([-np.inf, np.inf], dtype)):
        if np.isfinite(neighbor):
            distance = abs(Fraction(float(neighbor)) - exact)
            assert error < distance or (error == distance and ours.view(f"i{ours.itemsize}") % 2 == 0)


@pytest.mark.parametrize("dtype", FORMATS)
def test_units(dtype):
    """By their definition: half the gap above 1, half the gap above 0."""
    one = np.ones((), dtype)
    assert unit_roundoff(dtype) == float(np.nextafter(one, one + one) - one) / 2
    gap = float(np.nextafter(one * 0, one))
    assert underflow_unit(dtype) in (gap / 2, gap)
    assert underflow_unit(dtype) > 0


@given(st.floats(width=32, allow_nan=False), st.integers(0, 1000))
def test_ulp_distance_counts_steps(start, steps):
    """`steps` times nextafter is `steps` away, through zero and up to infinity."""
    value = np.float32(start)
    taken = 0
    for _ in range(steps):
        if np.isposinf(value):
            break
        with np.errstate(over="ignore"):
            value = np.nextafter(value, np.float32(np.inf))
        taken += 1
    # +0 and -0 are the same: the step between them does not exist.
    assert ulp_distance(np.float32([start]), value[None]) == taken


def test_ulp_distance_has_the_whole_range():
    """From the lowest to the highest float64: more steps than int64 counts."""
    lowest, highest = np.array([-np.inf]), np.array([np.inf])
    assert int(ulp_distance(lowest, highest)[0]) == 2 * 0x7FF0000000000000


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_every_number_and_every_midpoint_is_rounded_once(dtype):
    """And what float64 has next to them; overflow, subnormals and NaN as `round_fraction` has them."""
    values = neighborhood(dtype)
    results = rounded(values, dtype)
    # Of 16-bit formats a part, another for each residue of the codes: rational numbers are slow.
    for i in range(0, len(values), 1 if dtype.itemsize == 1 else 101):
        assert same(results[i], np.asarray(reference(values[i], dtype))[()]), values[i]
    # All of them: themselves, and right on both sides of each midpoint and at it.
    numbers = finite(dtype)
    middles = (numbers[1:] + numbers[:-1]) / 2
    assert same(rounded(np.nextafter(middles, -np.inf), dtype).astype(np.float64) + 0.0, numbers[:-1] + 0.0)
    assert same(rounded(np.nextafter(middles, np.inf), dtype).astype(np.float64) + 0.0, numbers[1:] + 0.0)
    assert np.array_equal(rounded(numbers, dtype).astype(np.float64), numbers)
    ties = rounded(middles, dtype)
    assert ((ties.astype(np.float64) == numbers[:-1]) | (ties.astype(np.float64) == numbers[1:])).all()
    assert not (ties.view(f"u{dtype.itemsize}") & 1).any()


@given(FINITE, st.sampled_from(FLOATS))
@example(1 + 2.0**-8 + 2.0**-40, np.dtype(ml_dtypes.bfloat16))  # float32 would make it a tie
@example(464.0, np.dtype(ml_dtypes.float8_e4m3fn))  # a tie between the largest number and a NaN
@example(np.nextafter(464.0, 500), np.dtype(ml_dtypes.float8_e4m3fn))
@example(2.0**-134 + 2.0**-180, np.dtype(ml_dtypes.bfloat16))  # just past half the smallest subnormal
def test_rounding_an_array_is_rounding_rational_numbers(value, dtype):
    assert same(rounded(np.array([value]), dtype)[0], np.asarray(reference(value, dtype))[()])
    with np.errstate(all="ignore"):
        single = np.float32(value)
    assert same(rounded(np.asarray(single), dtype)[()], np.asarray(reference(single, dtype))[()])


@given(WIDE_INTEGERS, st.sampled_from(FLOATS))
@example(2**62 + 2**53 + 1, np.dtype(ml_dtypes.bfloat16))  # float64 would make it a tie
@example(2**54 + 2**46 + 1, np.dtype(ml_dtypes.bfloat16))
@example(2**54 + 2**46 - 1, np.dtype(ml_dtypes.bfloat16))
def test_integers_are_rounded_once_too(value, dtype):
    array = np.array(value, np.int64 if value < 2**63 else np.uint64)
    assert same(rounded(array, dtype)[()], np.asarray(round_fraction(Fraction(value), dtype))[()])


def test_rounding_keeps_shapes_parts_and_integers():
    """Views, complex numbers, and what is no float."""
    values = np.arange(24, dtype=np.float64).reshape(2, 3, 4)[:, ::2, ::-1]
    assert np.array_equal(rounded(values, "float16"), values)
    numbers = np.array([complex(np.nan, 1 + 2.0**-30), complex(-np.nan, -1e300)])
    result = rounded(-numbers, "complex64")
    assert same(result, np.array([np.nan, -1, np.nan, np.inf], "float32").view("complex64"))
    assert same(rounded(np.array([300, -1]), "int32"), np.array([300, -1], "int32"))
    with np.errstate(all="raise"):
        assert np.isinf(rounded(np.array([1e300, 1e-300]), "float16")[0])


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_distances_in_narrow_formats(dtype):
    """Next in the order of the numbers is one step away; both zeros are one number."""
    ordered = rounded(finite(dtype), dtype)
    assert (ulp_distance(ordered[1:], ordered[:-1]) == 1).all()
    assert ulp_distance(ordered[:1], ordered[-1:]) == len(ordered) - 1
    assert largest(dtype) == float(ordered[-1])


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_units_of_narrow_formats(dtype):
    """The gap above 1, and above 0."""
    positive = finite(dtype)
    above_one = positive[positive > 1][0]
    assert unit_roundoff(dtype) == (above_one - 1) / 2
    assert underflow_unit(dtype) == positive[positive > 0][0] / 2


def test_what_is_accumulated_in_what():
    """Complex numbers part by part."""
    for narrow in ("float16", "bfloat16", "float8_e5m2", "float8_e4m3fn", "float32", "complex64"):
        for precision in ("float32", "float64"):
            assert accumulator(np.dtype(narrow), precision) == precision
        assert result_dtype(np.dtype(narrow)) == narrow
    for wide in ("float64", "complex128"):
        with pytest.raises(TypeError, match=f"precision='float32'.*{wide}"):
            accumulator(np.dtype(wide), "float32")
    assert accumulator(np.dtype("uint8"), "float32") is INT64
    assert [part(np.dtype(name)).name for name in ("complex64", "complex128", "bfloat16")] == [
        "float32", "float64", "bfloat16",
    ]  # fmt: skip
    assert parts(np.array([[1 + 2j], [3 + 4j]])).tolist() == [[1, 2], [3, 4]]


def converted(values, target, *, result=False, gap=1, out_gap=1, shift=0):
    """`values` as the compiled converter has them, from and to every `gap`-th place."""
    memory = np.repeat(values, gap)
    out = np.zeros(len(values) * out_gap, target)
    size, out_size = values.itemsize, out.itemsize
    steps = np.array(Steps(0, 0, gap * size, 0, 0, out_gap * out_size, shift), np.int64)
    arguments = (memory.ctypes.data, out.ctypes.data, steps.ctypes.data, 1, 1, len(values))
    converter(values.dtype, np.dtype(target), result=result).ctypes(*arguments)
    return out[::out_gap].copy()


GAPS = [(1, 1), (2, 1), (3, 2)]  # for each loop one


@pytest.mark.parametrize("dtype", NARROW, ids=str)
@pytest.mark.parametrize("wide", ["float32", "float64"])
def test_compiled_widening_is_exact(dtype, wide):
    values = codes(dtype)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        expected = values.astype(wide)
    for gap, out_gap in GAPS:
        actual = converted(values, wide, gap=gap, out_gap=out_gap)
        assert np.array_equal(np.isnan(actual), np.isnan(expected))
        numbers = ~np.isnan(expected)
        assert same(actual[numbers], expected[numbers])


@pytest.mark.parametrize("dtype", NARROW, ids=str)
@pytest.mark.parametrize("wide", ["float32", "float64"])
def test_compiled_narrowing_is_rounding(dtype, wide):
    """All that matters to the format, and bits at random."""
    random = np.random.default_rng(0)
    bits = random.integers(0, 2**64, 200_000, dtype=np.uint64).view(wide)
    with np.errstate(all="ignore"):
        near = neighborhood(dtype).astype(wide)
        scattered = random.standard_normal(200_000) * np.exp2(random.integers(-160, 140, 200_000))
        values = np.concatenate([near, bits, scattered.astype(wide)])
    for gap, out_gap in GAPS:
        assert same(converted(values, dtype, result=True, gap=gap, out_gap=out_gap), rounded(values, dtype))


@pytest.mark.parametrize("dtype", NARROW, ids=str)
@pytest.mark.parametrize("wide", ["float32", "float64"])
def test_conversions_where_subnormal_numbers_are_flushed(dtype, wide):
    """torch may set the processor so: the same bits all the same."""
    narrow = codes(dtype)
    with np.errstate(all="ignore"):
        numbers = np.concatenate([neighborhood(dtype), np.exp2(np.arange(-160, -100.0))]).astype(wide)
    expected = converted(narrow, wide), converted(numbers, dtype, result=True)
    assert torch.set_flush_denormal(True)
    try:
        actual = converted(narrow, wide), converted(numbers, dtype, result=True)
    finally:
        torch.set_flush_denormal(False)
    assert all(map(same, actual, expected))


@pytest.mark.parametrize("wide", ["float32", "float64", "int64"])
@pytest.mark.parametrize("integer", ["int32", "uint32", "int16", "uint8", "int8"])
def test_compiled_sums_become_integers(wide, integer):
    info = np.iinfo(integer)
    values = np.array([info.min, info.max, 0, 1, 100]) if wide != "float32" else np.array([0, 1, 100, info.min])
    for gap, out_gap in GAPS:
        actual = converted(values.astype(wide), integer, result=True, gap=gap, out_gap=out_gap)
        assert same(actual, values.astype(integer))


@pytest.mark.parametrize("integer", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"])
@pytest.mark.parametrize("wide", ["float32", "float64", "int64"])
def test_a_zero_point_is_subtracted_before_anything_is_rounded(integer, wide):
    info = np.iinfo(integer)
    values = np.array([info.min, info.min + 1, info.max // 2, info.max - 1, info.max], integer)
    for shift in (0, 5, info.min, info.max):
        exact = [int(value) - int(shift) for value in values]
        if all(-(2**63) <= number < 2**63 for number in exact):
            for gap, out_gap in GAPS:
                actual = converted(values, wide, gap=gap, out_gap=out_gap, shift=shift)
                assert same(actual, np.array(exact, np.int64).astype(wide))
