"""Cases of a few multiplications, and the assertion that an output lies within the bound of an error model."""

from fractions import Fraction

import numpy as np
from common import exact_sums
from hypothesis import settings
from hypothesis import strategies as st

from refconv import Case, ErrorModel, strategies
from refconv.cases.fills import known, operands

HALVES = ("float16", "bfloat16")
FLOAT32 = ("float32",)
BOTH = (*HALVES, "float32")
FEW = settings().max_examples // 5  # where many models are tried
HAIR = 1 + Fraction(1, 2**40)
direct = ErrorModel.direct


def exact_values(case):
    """Every output as a rational number, or a float where it is NaN or infinite."""
    g = case.geometry
    return exact_sums(g, case.input.reshape(g.batch, g.in_channels, *g.size), case.weight, case.bias)


def assert_within(case, out, model):
    """Every output within its bound; the very number where that is 0 or the exact value not finite."""
    bound = model.bound(case.sums, out.dtype)
    assert bound.shape == out.shape == case.expected().shape
    assert not np.isnan(bound).any()
    rows = zip(out.flat, case.expected().flat, exact_values(case).flat, bound.flat, strict=True)
    for actual, expected, exact, most in rows:
        if np.isinf(most):
            continue
        if most == 0 or not isinstance(exact, Fraction) or not np.isfinite(float(actual)):
            assert actual == expected or (actual != actual and expected != expected)
        else:
            assert abs(Fraction(float(actual)) - exact) <= Fraction(float(most))


def assert_within_over_the_range(run, model, scale):
    """Of float32 numbers of a scale, products of up to its square, and of sums that cancel."""
    rng = np.random.default_rng(3)
    with np.errstate(all="ignore"):
        x = (rng.standard_normal((1, 30, 2, 3)) * scale).astype("float32")
        w = rng.standard_normal((2, 30, 1, 1)).astype("float32")
        for other in (1.0, scale, 1 / scale):
            case = Case(input=x, weight=(w * np.float64(other)).astype("float32"), bias=(x[0, :2, 0, 0] / 8))
            assert_within(case, run(case), model)
            twice = Case(input=np.concatenate([x, -x], axis=1), weight=np.concatenate([case.weight] * 2, axis=1))
            assert_within(twice, run(twice), model)


def computed(run, case):
    """The output; of no images, which the emulations don't take, the oracle's."""
    return run(case) if case.expected().size else case.expected()


TILES = [(2, 3), (4, 3), (6, 3), (2, 5), (3, 2)]


def cases(dtypes, **limits):
    """Small ones, of every fill."""
    fills = sorted(set.union(*(set(known(dtype)) for dtype in dtypes)))
    wide = {"asymmetric_padding": True, "string_padding": True, "unbatched": True, "max_multiplications": 600}
    return strategies.cases(dtypes=dtypes, fills=fills, **wide | limits)


@st.composite
def tiled(draw, tiles=tuple(TILES)):
    """Cases for Winograd's algorithm, with the sizes of its tiles."""
    m, r = draw(st.sampled_from(tiles))
    dtype = draw(st.sampled_from(BOTH))
    groups, inputs, outputs = (draw(st.integers(1, 3)) for _ in range(3))
    size = [draw(st.integers(r, 3 * m)) if 3 * m > r else r for _ in range(2)]
    padding = draw(st.integers(0, 2))
    shapes = (1, groups * inputs, *size), (groups * outputs, inputs, r, r)
    fill, seed = draw(st.sampled_from(known(dtype))), draw(st.integers(0, 2**32 - 1))
    x, w, b = operands(fill, *shapes, bias=draw(st.booleans()), dtype=dtype, seed=seed)
    return Case(input=x, weight=w, bias=b, padding=padding, groups=groups), m, r
