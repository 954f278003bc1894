"""rtol and atol of a case: they allow all that the bound allows, and hardly more."""

import pickle

import numpy as np
import torch
from cases import case_of
from common import AS_TORCH
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from refconv import Case, ErrorModel, strategies
from refconv.cases.fills import operands
from refconv.core.formats import parts
from refconv.judge import tolerances

MODELS = st.sampled_from([None, *map(ErrorModel.parse, ("tf32", "direct:float16", "exact", "fft"))])
DTYPES = ("float16", "bfloat16", "float32", "float64", "complex64")


@given(strategies.cases(dtypes=DTYPES, max_multiplications=20_000, **AS_TORCH), MODELS)
@settings(max_examples=150)
def test_tolerances_are_safe_and_tight(case, model):
    """What is as far off as the bound allows passes torch's comparison too; no smaller pair of two digits does it."""
    assume(case.expected().size)
    pair = case.tolerances(model)
    rtol, atol = pair
    assert (rtol, atol) == (pair.rtol, pair.atol)
    standard = case.standard(model)
    magnitude, most = tolerances.needed(standard)
    covered = np.isfinite(most)
    assert (most <= atol + rtol * magnitude)[covered].all()
    assert rtol >= 0
    assert atol >= 0
    least = best_pair(magnitude[covered], most[covered])
    mean = magnitude[covered].mean() if covered.any() else 0
    assert least * (1 - 2**-20) <= atol + rtol * mean <= least * 1.13 + most[covered].max(initial=0) * 2**-30
    if model is None and standard.expected.dtype != np.float64:
        expected, exact, bound = (parts(array) for array in (standard.expected, standard.exact, standard.bound))
        for sign in (-1, 1):
            out = np.where(bound > 0, exact + sign * bound, expected.astype(float))
            out = np.where(np.isfinite(bound), out, np.nan).view(standard.exact.dtype)
            good = np.isfinite(out) & np.isfinite(standard.expected.astype(standard.exact.dtype))
            actual, desired = (
                torch.tensor(array[good].astype(standard.exact.dtype)) for array in (out, standard.expected)
            )
            torch.testing.assert_close(actual, desired, rtol=rtol, atol=atol)


def best_pair(x, y):
    """The smallest mean of atol + rtol x, by a linear program."""
    from scipy.optimize import linprog

    scale = y.max(initial=0)
    if not scale:
        return 0
    reach = x.max() or 1
    solution = linprog(
        [1, x.mean() / reach],
        A_ub=-np.stack([np.ones_like(x), x / reach], axis=1),
        b_ub=-y / scale,
        bounds=[(0, None)] * 2,
    )
    assert solution.success
    return solution.fun * scale


def test_tolerances_of_integers():
    x, w, _ = operands("integers", (1, 2, 3, 3), (1, 2, 1, 1), dtype="int8")
    pair = Case(input=x, weight=w).tolerances()
    assert tuple(pair) == (0, 0)
    assert "equal" in pair.reason
    assert pickle.loads(pickle.dumps(pair)).reason == pair.reason  # noqa: S301 - our own


def test_where_nothing_cancels_there_is_no_atol():
    rtol, atol = case_of("positive", 64).tolerances()
    assert atol == 0
    assert 576 * 2**-24 < rtol < 577 * 2**-24 * 1.1


def test_tolerances_of_nothing():
    empty = Case(input=np.ones((0, 1, 2, 2), "float32"), weight=np.ones((1, 1, 1, 1), "float32"))
    assert tuple(empty.tolerances()) == (0, 0)
