"""`precision="exact"`: every output is the exact value rounded once, as `fractions.Fraction` has it."""

import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from common import same_bits
from family import FLOATS, SEEDS, Arrays, random_numbers, small_geometries
from hypothesis import example, given, settings
from hypothesis import strategies as st

import refconv
from refconv import conv2d, conv_transpose1d, count_redone
from refconv.core.formats import parse, round_fraction, round_fractions
from refconv.core.padding import MODES

# --- sums with hard roundings --------------------------------------------------------------------------------------


class Format:
    """A dtype and its limits."""

    def __init__(self, name):
        self.dtype = parse("dtype", name)
        info = ml_dtypes.finfo(self.dtype)
        self.digits, self.largest = int(info.nmant) + 1, float(info.max)
        self.least, self.most = int(info.minexp), int(info.maxexp)
        self.smallest = float(info.smallest_subnormal)

    def random(self, rng, shape, low=-2, high=2):
        """Random significands and signs, exponents from `low` to `high`, but none that the format does not have."""
        low, high = max(low, self.least - self.digits), min(high, self.most - 2)
        values = np.ldexp(rng.uniform(1, 2, shape), rng.integers(low, high, shape, endpoint=True))
        return (rng.choice([-1.0, 1.0], shape) * values).astype(self.dtype)

    def place(self, value):
        """The worth of the last place of a number."""
        exponent = max(math.frexp(float(value))[1] - 1, self.least)
        return math.ldexp(1, exponent - self.digits + 1)


def among_others(f, rng, n, x, w):
    """These terms and others whose sum is 0, in any order: n in all."""
    others, odd = divmod(n - len(x), 2)
    a, b = f.random(rng, others, -8, 8), f.random(rng, others, -8, 8)
    order = rng.permutation(n)
    zero = np.zeros(odd, f.dtype)
    return np.concatenate([x, a, -a, zero])[order], np.concatenate([w, b, b, zero])[order]


def normal(f, rng, n):
    return f.random(rng, n), f.random(rng, n)


def positive(f, rng, n):
    return abs(f.random(rng, n)), abs(f.random(rng, n))


def cancelling(f, rng, n):
    """A sum of 0, or of one term that is far smaller than the others."""
    small = rng.integers(2)
    return among_others(f, rng, n, f.random(rng, small, -40, -8), f.random(rng, small, -40, 2))


def spread(f, rng, n):
    """Exponents over the whole range."""
    low, high = f.least - f.digits, f.most
    return f.random(rng, n, low, high), f.random(rng, n, low, high)


def near(f, rng, n, value):
    """A number and half of its last place: a tie; or a hair beside it; or the hair is as small as the format goes."""
    hair = rng.choice([0, 0, f.smallest, -f.smallest])
    half = math.copysign(f.place(value), value)
    terms = [(value, 1), (half, rng.choice([0.5, -0.5])), (hair, rng.choice([1, f.smallest]))]
    x, w = np.array(terms, np.float64).astype(f.dtype).T
    return among_others(f, rng, n, x, w)


def ties(f, rng, n):
    return near(f, rng, n, float(f.random(rng, 1)[0]))


def powers(f, rng, n):
    """Below a power of two the numbers lie twice as close."""
    return near(f, rng, n, math.ldexp(rng.choice([-1, 1]), int(rng.integers(-3, 4))))


def overflowing(f, rng, n):
    """About where a sum rounds past the largest number."""
    return near(f, rng, n, rng.choice([-1, 1]) * f.largest)


def subnormal(f, rng, n):
    """Sums of a few times the smallest number, and ties between two such."""
    if rng.random() < 0.5:
        return near(f, rng, n, float(rng.integers(-9, 10)) * f.smallest)
    half = (f.least - f.digits) // 2
    return f.random(rng, n, half - 3, half + 3), f.random(rng, n, half - 3, half + 3)


def zeros(f, rng, n):
    """Zeros of both signs, and products that are negative zeros."""
    x, w = rng.choice([0.0, -0.0], n), rng.choice([0.0, -0.0, 1.0, -1.0], n)
    return x.astype(f.dtype), w.astype(f.dtype)


def special(f, rng, n):
    """Infinities, NaN, zeros among the others."""
    x, w = normal(f, rng, n)
    for array in (x, w):
        places = rng.random(n) < 1 / n
        array[places] = np.array(rng.choice([np.nan, np.inf, -np.inf, 0.0], places.sum())).astype(f.dtype)
    return x, w


KINDS = (normal, positive, cancelling, spread, ties, powers, overflowing, subnormal, zeros, special)


def total(f, x, w, bias):
    """Products and bias by rational numbers, rounded once; by IEEE's rules where the sum is not finite."""
    terms = [*zip(x.astype(np.float64).tolist(), w.astype(np.float64).tolist(), strict=True), (float(bias), 1.0)]
    if all(math.isfinite(a) and math.isfinite(b) for a, b in terms):
        return round_fraction(sum((Fraction(a) * Fraction(b) for a, b in terms), Fraction(0)), f.dtype)
    with np.errstate(all="ignore"):
        infinite = sum(a * b for a, b in terms if not (math.isfinite(a) and math.isfinite(b)))
        return np.array(infinite).astype(f.dtype)[()] if infinite == infinite else f.dtype.type(np.nan)


def sums(terms, biases):
    """All sums at once, each a group of its own; and one by one, so that the others' numbers do not matter."""
    x, w = (np.stack(operands) for operands in zip(*terms, strict=True))
    together = conv2d(x.reshape(1, -1, 1, 1), w[:, :, None, None], biases, groups=len(x), precision="exact").reshape(-1)
    alone = [
        conv2d(a[None, :, None, None], b[None, :, None, None], c[None], precision="exact").reshape(())
        for a, b, c in zip(x, w, biases, strict=True)
    ]
    return together, np.stack(alone)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_sums_are_correctly_rounded(dtype, kind):
    """Some 1,500 sums of each kind, of 1 to 600 terms, each among others and alone."""
    f, rng = Format(dtype), np.random.default_rng([FLOATS.index(dtype), KINDS.index(kind)])
    for n, count in ((1, 40), (2, 40), (3, 60), (4, 60), (9, 40), (64, 20), (255, 6), (257, 6), (600, 4)):
        if n < 3 and kind in (ties, powers, overflowing, subnormal):  # of three terms
            continue
        terms = [kind(f, rng, n) for _ in range(count)]
        biases = np.where(rng.random(count) < 0.5, 0, f.random(rng, count)).astype(f.dtype)
        if kind in (ties, powers, overflowing, subnormal):
            biases[:] = -0.0
        expected = np.array([total(f, *pair, bias) for pair, bias in zip(terms, biases, strict=True)], f.dtype)
        for results in sums(terms, biases):
            assert same_bits(results, expected)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, np.inf, np.nan])
def test_no_terms(dtype, value):
    """Elements of a transposed convolution that meet no tap are the bias; a negative zero is no sum."""
    f = Format(dtype)
    bias = np.array([value]).astype(f.dtype)
    out = conv_transpose1d(np.ones((1, 2), f.dtype), np.ones((1, 1, 1), f.dtype), bias, stride=3, precision="exact")
    with np.errstate(all="ignore"):
        expected = np.array([1 + value, 0 + value, 0 + value, 1 + value]).astype(f.dtype)
    np.copyto(expected, f.dtype.type(np.nan), where=np.isnan(expected))
    assert same_bits(out[0], expected)


@given(small_geometries(modes=MODES), st.sampled_from(("float32", "complex64")), SEEDS)
@settings(max_examples=20)
def test_operators_are_correctly_rounded(geometry, dtype, seed):
    """All but the transposed: products of float32 are exact in float64, and so are few of their sums: integers are."""
    arrays = Arrays(geometry, seed, random_numbers(dtype))
    scaled = Arrays(geometry, seed, lambda rng, shape: np.rint(random_numbers(dtype)(rng, shape) * 2**20))
    for op in ("conv2d", "conv2d_input", "conv2d_weight", "conv2d_bias"):
        # 21 bits each: below 2**53, float64 is exact.
        assert same_bits(scaled.call(op, precision="exact"), scaled.call(op))
        assert same_bits(arrays.call(op, precision="exact"), arrays.call(op, precision="exact", backend="python"))


def dot(x, w, **options):
    """A sum of products by way of an operator."""
    return conv2d(x[None, :, None, None], w[None, :, None, None], **options).reshape(())


def test_every_precision_but_exact_is_wrong_here():
    """What is asked for is worth asking for: large terms cancel, and what is left is the smallest."""
    x, w = np.array([2.0**600, 1, -(2.0**600)]), np.array([2.0**300, 1, 2.0**300])
    assert dot(x, w) == 0
    assert dot(x, w, precision="exact") == 1


def test_redone_sums_are_counted():
    """None where all is certain; those that are NaN; all where no power of two is large enough to start from."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((1, 8, 6, 6)), rng.standard_normal((4, 8, 3, 3))
    spoiled = x.copy()
    spoiled[0, 3, 2, 2] = np.nan
    for given_, factor, redone in ((x, 1, 0), (spoiled, 1, 36), (x, 1e307, 64), (x * 1e-200, 1e-200, 64)):
        with count_redone() as count:
            out = conv2d(given_, w * factor, precision="exact")
        assert (count.sums, count.redone) == (64, redone)
        assert same_bits(out, conv2d(given_, w * factor, precision="exact", backend="python"))
    assert (count.sums, count.redone) == (64, 64)  # afterwards nobody counts
    with count_redone() as count:
        refconv.conv2d_input(
            x.shape,
            w.astype("complex128"),
            np.ones((1, 4, 8, 8), "complex128"),
            padding=2,
            padding_mode="reflect",
            precision="exact",
        )
    assert count.sums == 2 * x.size + count.redone  # what padding stands for
    assert 0 < count.redone < 2 * x.size


def test_too_large_on_either_side_is_one_nan():
    """In float8_e4m3fn: what a sum may be off is larger than all of its numbers, and the sum is 1."""
    x = np.array([1.0, 2.0**127]).astype(parse("dtype", "bfloat16"))
    out = conv2d(x[None, None, None], np.ones((1, 1, 1, 1), x.dtype), precision="exact", out_dtype="float8_e4m3fn")
    assert out.astype(float).tolist()[0][0][0][0] == 1
    assert np.isnan(out.astype(float)[0, 0, 0, 1])


def test_float16_is_never_redone():
    """Of the smallest and the largest numbers, in long sums: low holds every multiple of the smallest product."""
    rng = np.random.default_rng(0)
    f = Format("float16")
    x, w = (f.random(rng, 50_000, f.least - f.digits, f.most) for _ in range(2))
    with count_redone() as count:
        dot(x, w, precision="exact")
    assert count.redone == 0


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=9), st.data())
@example([0.1] * 3, None)
def test_any_float64(values, data):
    """Whatever Hypothesis makes of them."""
    x = np.array(values)
    w = np.array(values[::-1] if data is None else data.draw(st.permutations(values)))
    f = Format("float64")
    assert same_bits(dot(x, w, precision="exact")[None], np.array([total(f, x, w, 0)]))


def test_sums_that_are_not_rounded():
    """Chosen outputs as rational numbers, by the superaccumulator and by Python."""
    rng = np.random.default_rng(0)
    from refconv.core.formats import EXACT
    from refconv.core.geometry import convolution
    from refconv.engine import lowering, targets

    g = convolution((2, 4, 5, 6), (6, 2, 3, 2), (6,), (2, 1), ((1, 0), (2, 1)), (1, 2), 2, "reflect")
    x, w, b = (rng.standard_normal(shape) for shape in ((2, 4, 5, 6), (6, 2, 3, 2), (6,)))
    x[0, 0, 0, 0] = np.inf
    correlation = lowering.forward(g, x, w, b, EXACT, np.empty(g.output_shape))
    index = np.nonzero(rng.random(correlation.out.shape) < 0.5)
    compiled, read = (targets.choose(target).sums(correlation, index) for target in ("cpu", "python"))
    assert compiled.tolist() == read.tolist()
    assert {type(number) for number in compiled} == {float, Fraction}
    out = conv2d(x, w, b, (2, 1), ((1, 0), (2, 1)), (1, 2), 2, padding_mode="reflect", precision="exact")
    assert same_bits(round_fractions(compiled, "float64"), out.reshape(correlation.out.shape)[index])
