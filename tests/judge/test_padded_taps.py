"""Kernels that leave out the taps in the padding: NaN and infinity times zero may be missing, and nothing else."""

import itertools

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from kernels.sums import inner_taps

from refconv import Case, strategies


@given(
    strategies.cases(
        dtypes=("float32",), fills=("normal", "integers"), string_padding=False, max_multiplications=800, unbatched=True
    ),
    st.data(),
)
@settings(max_examples=150)
def test_padded_taps_may_be_skipped(case, data):
    """Of operands with NaN, infinities and zeros the one and the other output are accepted, and nothing else."""
    assume(case.input.ndim == 4 and case.expected().size)
    seed = data.draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    arrays = {}
    for name, share in (("input", 0.1), ("weight", 0.3)):
        values = getattr(case, name).copy()
        where = random.random(values.shape) < share
        values[where] = random.choice([np.nan, np.inf, -np.inf, 0, -0.0], int(where.sum()))
        arrays[name] = values
    g = case.geometry
    case = Case(**arrays, bias=case.bias, stride=g.stride, padding=g.padding, dilation=g.dilation, groups=g.groups)
    out = inner_taps(case)
    comparison = case.check(out)
    assert comparison.verdict != "wrong", str(comparison)
    assert case.check(case.expected()).ok
    assert case.check(case.expected(), strict=True).ok
    differ = ~((out == case.expected()) | (np.isnan(out) & np.isnan(case.expected())))
    strict = case.check(out, strict=True)
    special = differ & ~(np.isfinite(out) & np.isfinite(case.expected()))
    assert (strict.verdict == "wrong") == bool(special.any())
    for index in itertools.islice(zip(*np.nonzero(np.isfinite(out)), strict=True), 3):
        wrong = out.copy()
        wrong[index] = np.nan
        assert case.check(wrong).ok == bool(np.isnan(case.expected()[index]) or np.isinf(case.bound()[index]))


def test_padded_taps_of_complex_numbers_may_be_skipped():
    w = np.array([1 + 2j, complex(np.inf, 1)], "complex64").reshape(1, 1, 1, 2)
    case = Case(input=np.full((1, 1, 1, 2), 1 - 1j, "complex64"), weight=w, padding=((0, 0), (0, 1)))
    out = case.expected()
    assert np.isnan(out[0, 0, 0, 1])
    out[0, 0, 0, 1] = (1 - 1j) * (1 + 2j)
    assert case.check(out).ok
    assert case.check(out, strict=True).n_wrong == 1
    out[0, 0, 0, 1] = 1
    assert case.check(out).n_wrong == 1
