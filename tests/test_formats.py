"""Formats: rounding against NumPy's own, distances, units."""

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from refconv.formats import round_fraction, ulp_distance, underflow_unit, unit_roundoff

FORMATS = [np.float16, np.float32, np.float64, ml_dtypes.bfloat16]
FINITE = st.floats(allow_nan=False, allow_infinity=False)


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
    for neighbour in np.nextafter(ours, np.array([-np.inf, np.inf], dtype)):
        if np.isfinite(neighbour):
            distance = abs(Fraction(float(neighbour)) - exact)
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
