"""Truncation goes towards zero: what lies as far away from it on the other side is wrong."""

from functools import partial

import numpy as np
import pytest
from bounded import BOTH, FLOAT32, cases, computed, direct
from hypothesis import given
from hypothesis import strategies as st
from kernels.narrow import chopping, cut, stored
from kernels.sums import im2col

from refconv import Case, conv2d
from refconv.core.formats import unit_roundoff

TRUNCATED = {
    "results in bfloat16": (stored(cut, "bfloat16"), direct(results="bfloat16", store="truncate"), FLOAT32),
    "results": (lambda case: cut(im2col(case), case.input.dtype), direct(store="truncate"), ("bfloat16", "float16")),
    "float32 sums": (partial(chopping, dtype="float32"), direct(sums="truncate"), BOTH),
    "float16 sums": (partial(chopping, dtype="float16"), direct("float16", sums="truncate"), ("float16",)),
}


@pytest.mark.parametrize("name", TRUNCATED)
@given(st.data())
def test_what_truncates_is_not_wrong(name, data):
    run, model, dtypes = TRUNCATED[name]
    case = data.draw(cases(dtypes))
    comparison = case.check(computed(run, case), model)
    assert comparison.ok, comparison


@pytest.mark.parametrize("name", TRUNCATED)
@pytest.mark.parametrize("terms", [3, 300, 4608])
@pytest.mark.parametrize("minority", [0, 1, 3])
def test_sums_of_nearly_one_sign(name, terms, minority):
    """Where few terms have the other sign little is gained."""
    run, model, dtypes = TRUNCATED[name]
    rng = np.random.default_rng([terms, minority])
    for scale in (1.0, 2.0**-8):
        x, w = rng.uniform(0.5, 1, (2, 1, terms, 1, 1))
        x[0, rng.permutation(terms)[:minority]] *= -scale
        case = Case(input=x.astype(dtypes[0]), weight=w.astype(dtypes[0]))
        assert case.check(run(case), model).ok


def positive(dtype, terms):
    rng = np.random.default_rng(terms)
    return Case(**{name: rng.uniform(0.5, 1, (1, terms, 1, 1)).astype(dtype) for name in ("input", "weight")})


@pytest.mark.parametrize("terms", [50, 500])
def test_sums_that_are_too_large_are_wrong(terms):
    """One framework's float16 sums are 9 % too small: none is 9 % too large."""
    case, model = positive("float16", terms), direct("float16", sums="truncate")
    exact = conv2d(case.input.astype("float64"), case.weight.astype("float64"))
    share = terms * unit_roundoff("float16") / 2
    for factor, ok in ((1 - share, True), (1 + share, False)):
        assert case.check((exact * factor).astype("float16"), model).ok == ok


@pytest.mark.parametrize("model", [direct(store="truncate"), direct(results="bfloat16", store="truncate")], ids=str)
def test_results_that_are_rounded_away_from_zero_are_wrong(model):
    dtype = "bfloat16" if model.output.results is None else "float32"
    wrong = tried = 0
    for terms in range(2, 60):
        case = positive(dtype, terms)
        exact = conv2d(case.input.astype("float64"), case.weight.astype("float64"))
        unit = 2 * unit_roundoff("bfloat16") * 2.0 ** np.floor(np.log2(exact))
        below = np.floor(exact / unit) * unit
        if (exact - below < unit / 8).any():  # the next number above is nearly a unit away
            tried += 1
            assert case.check(below.astype(dtype), model).ok
            wrong += not case.check((below + unit).astype(dtype), model).ok
    assert wrong == tried > 0
