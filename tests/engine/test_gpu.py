"""The GPU computes the same bits as the CPU.

Run on a GPU by `make gpu`; without one, under an interpreter of PTX and under Numba's simulator by test_gpu_elsewhere.
"""

import numpy as np
import pytest
from common import PLANAR, same_bits
from family import (
    DTYPES,
    FEWER,
    INTEGERS,
    NARROW,
    OPERATORS,
    Arrays,
    axes_of,
    calls,
    modes_of,
    precisions_of,
    random_numbers,
)
from hypothesis import given, settings
from marks import sampled
from on_gpu import EXAMPLES, INTERPRETED, MARKS, SIMULATED, STOOD_IN_FOR, apart  # noqa: F401 - a fixture

import refconv
from refconv.core.geometry import convolution

pytestmark = MARKS

slow = pytest.mark.skipif(SIMULATED, reason="takes minutes in the simulator")


def all_numbers(dtype):
    """Numbers of a dtype, integers of its whole range."""
    if dtype not in INTEGERS:
        return random_numbers(dtype)
    info = np.iinfo(dtype)
    return lambda rng, shape: rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def small_geometry(op, seed):
    """One or two groups, images, channels, with strides, dilations, and padding of either side, in a mode."""
    rng, axes = np.random.default_rng(seed), axes_of(op)

    def integers(low, high, n=axes):
        return tuple(map(int, rng.integers(low, high, n, endpoint=True)))

    images, groups, inputs, outputs = integers(1, 2, 4)
    shapes = (images, groups * inputs, *integers(3, 4)), (groups * outputs, inputs, *integers(1, 2))
    sides = tuple(zip(integers(0, 1), integers(0, 1), strict=True))
    modes = modes_of(op)
    return convolution(*shapes, None, integers(1, 2), sides, integers(1, 2), groups, modes[seed % len(modes)])


# In the simulator, which takes seconds for each, one dtype with every operator: narrow ones, an exact sum, int64's. The
# interpreter of PTX takes a third of them always: each operator with five dtypes, each dtype with three operators.
PAIRS = sampled(FEWER if INTERPRETED else OPERATORS, DTYPES, every=3 if INTERPRETED else 1)
if SIMULATED:
    PAIRS = [(op, DTYPES[(number - 2) % len(DTYPES)]) for number, op in enumerate(FEWER)]


@pytest.mark.parametrize(("op", "dtype"), PAIRS)
def test_operators(op, dtype):
    """A generated geometry for each: in every precision on a GPU.

    In one where there is none: with the dtypes, every operator and every dtype meets every precision that it has.
    """
    turn, precisions = OPERATORS.index(op) + DTYPES.index(dtype), precisions_of(dtype)
    geometry = small_geometry(op, OPERATORS.index(op) * len(DTYPES) + DTYPES.index(dtype))
    arrays = Arrays(geometry, turn, all_numbers(dtype))
    options = {"overflow": "wrap"} if dtype in INTEGERS else {}
    for precision in (precisions[turn % len(precisions)],) if STOOD_IN_FOR else precisions:
        expected = arrays.call(op, precision=precision, backend="cpu", **options)
        actual = arrays.call(op, precision=precision, backend="cuda", **options)
        assert same_bits(actual, expected), (precision, geometry)


@given(calls(tiny=SIMULATED))
@settings(max_examples=EXAMPLES)
def test_arrays_of_the_host(call):
    op, dtype, precision, geometry, seed = call
    arrays = Arrays(geometry, seed, random_numbers(dtype))
    expected = arrays.call(op, precision=precision, backend="cpu")
    assert same_bits(arrays.call(op, precision=precision, backend="cuda"), expected)


@slow
@pytest.mark.parametrize("op", PLANAR if STOOD_IN_FOR else refconv.ops.family.OPERATORS)
def test_property_suite(op):
    """What is asked of anybody's kernel: views, batches, groups, adjoints, the same bits twice."""

    def candidate(*arguments, **keywords):
        return getattr(refconv, op)(*arguments, backend="cuda", **keywords)

    candidate.deterministic = True
    report = refconv.verify(candidate, op, cases=EXAMPLES, isolate=False)
    assert report.ok, str(report)


# Images, input channels, size, output channels, kernel, stride, groups: each kind of unit, with terms that fill blocks
# or do not, and channels and positions that fill units or do not; sums in parts.
SIZES = {
    "dense, whole": (1, 16, 9, 64, 4, 1, 1),
    "dense, ragged": (2, 31, 8, 70, 3, 2, 1),
    "grouped": (2, 36, 6, 20, 3, 1, 2),
    "depthwise": (2, 5, 9, 5, 3, 2, 5),
    "depthwise, long": (1, 6, 40, 3, 33, 1, 3),
    "in parts": (1, 700, 3, 3, 2, 1, 1),
    "dense, small": (1, 1, 3, 33, 2, 1, 1),
    "in parts, one channel": (1, 1, 28, 1, 28, 1, 1),
}
SMALL = {("dense, small", "float32"), ("in parts, one channel", "float32"), ("in parts, one channel", "int32")}


@pytest.mark.parametrize(
    ("size", "dtype"),
    [
        pytest.param(*unit.values, marks=[*unit.marks, *([] if unit.values in SMALL else [slow])])
        for unit in sampled(SIZES, ("float32", "float64", "int32", "exact"), every=2 if INTERPRETED else 1)
    ],
)
def test_units(size, dtype):
    """Accumulators float32, float64, int64, and two float64."""
    images, channels, edge, out_channels, kernel, stride, groups = SIZES[size]
    rng = np.random.default_rng(0)
    element = "float32" if dtype == "exact" else dtype

    def numbers(*shape):
        if dtype == "int32":
            return rng.integers(-(2**24), 2**24, shape, dtype)
        return rng.standard_normal(shape).astype(element)

    options = {"out_dtype": "int64"} if dtype == "int32" else {"precision": dtype}
    x, w = numbers(images, channels, edge, edge), numbers(out_channels, channels // groups, kernel, kernel)
    arguments = (x, w, numbers(out_channels), stride, 1, 1, groups)
    expected = refconv.conv2d(*arguments, backend="cpu", **options)
    assert same_bits(refconv.conv2d(*arguments, backend="cuda", **options), expected)


@slow
@pytest.mark.parametrize("shapes", [((65537, 1, 1, 1), (1, 1, 1, 1)), ((1, 1, 1, 1), (65537, 1, 1, 1))])
def test_many_images_and_channels(shapes):
    """More than a grid has in its second dimension."""
    x, w = (np.arange(np.prod(shape), dtype="float32").reshape(shape) for shape in shapes)
    assert same_bits(refconv.conv2d(x, w, backend="cuda"), refconv.conv2d(x, w, backend="cpu"))


@slow
@pytest.mark.parametrize("budget", [1, 2**12])
@pytest.mark.parametrize("op", ["conv2d", "conv2d_input", "conv2d_weight", "conv2d_bias"])
def test_less_memory(op, budget, monkeypatch):
    """Work is split, and the bits are the same."""

    from refconv.engine.targets.cuda import execute

    geometry = refconv.core.geometry.convolution((2, 4, 3, 3), (4, 2, 2, 2), None, 1, 1, 1, 2, "zeros")
    arrays = Arrays(geometry, 0, random_numbers("float32"))
    monkeypatch.setattr(execute, "BUDGET", budget)
    assert same_bits(arrays.call(op, backend="cuda"), arrays.call(op, backend="cpu"))


@slow
def test_special_numbers():
    """Of every format: NaN of both signs, infinities, zeros, subnormals; as operands and as results."""
    for name in (*NARROW, "float32", "float64"):
        dtype = np.dtype(name)
        if dtype.itemsize < 4:
            values = np.arange(2 ** (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}").view(dtype)
        else:
            info = np.finfo(dtype)
            magnitudes = [0, info.smallest_subnormal, info.tiny, 1, info.max, np.inf, np.nan]
            values = np.array([sign * number for number in magnitudes for sign in (1, -1)], dtype)
        x = values.reshape(1, 1, 1, -1)
        for weight in (1, -1, 2.0**-3, 0):
            w = np.full((1, 1, 1, 1), weight).astype(dtype)
            for precision in {"float64", "exact"} | ({"float32"} if dtype.itemsize < 8 else set()):
                expected = refconv.conv2d(x, w, precision=precision, backend="cpu")
                assert same_bits(refconv.conv2d(x, w, precision=precision, backend="cuda"), expected), (name, weight)
