"""The strategies: every class of geometry is reached, nothing invalid is drawn, and what fails shrinks."""

from collections import Counter
from functools import cache

import numpy as np
import pytest
from common import ALL, FLOATS, MODES, SOME
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from refconv import GeometryError, assert_close, conv2d
from refconv.cases.fills import LARGEST_INTEGER, names, operands
from refconv.cases.supports import Supports
from refconv.core.formats import result_dtype
from refconv.core.geometry import Geometry
from refconv.ops.family import OPERATORS
from refconv.strategies import arrays, cases, geometries, recipes
from refconv.verification.report.coverage import OF_GEOMETRY, classes

EXAMPLES = 1000
EVERYTHING = {"padding_modes": MODES, "asymmetric_padding": True, "string_padding": True, "unbatched": True}
PADDING_CLASSES = [
    "padding 'same'",
    "padding 'valid'",
    "even kernel with 'same'",
    "four-sided padding",
    *(f"padding mode {mode!r}" for mode in MODES[1:]),
]


@cache
def drawn():
    """How many of `EXAMPLES` cases, the same ones every time, belong to each class, and what they are filled with."""
    counts: Counter[str] = Counter()

    @settings(max_examples=EXAMPLES, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(recipes(**EVERYTHING))
    def count(recipe):
        counts.update([*classes(recipe.case()), recipe.fill])

    count()
    return counts


@pytest.mark.parametrize("name", [*OF_GEOMETRY, *PADDING_CLASSES, "unbatched", "bias", *names("float32")])
def test_every_class_is_reached(name):
    assert drawn()[name] >= EXAMPLES / 100


def test_nearly_every_draw_is_another_case():
    calls = []

    @settings(max_examples=EXAMPLES, database=None)
    @given(recipes())
    def count(recipe):
        calls.append(recipe)

    count()
    assert len(calls) == EXAMPLES  # nothing was drawn in vain either
    assert len(set(calls)) > 0.95 * EXAMPLES


def test_draws_are_independent():
    # Hypothesis likes to copy one draw over another: that would show as equal axes.
    unequal = drawn()["unequal dilation"]
    assert unequal >= EXAMPLES / 2


def test_shrinks_to_one_pixel():
    case = find(cases(**EVERYTHING), lambda _: True)
    assert case.geometry == Geometry(1, 1, 1, (1, 1), (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1, "zeros")
    assert case.bias is None
    assert case.input.ndim == 4


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (lambda g: g.groups > 1, {"groups": 2, "in_channels": 2, "out_channels": 2, "size": (1, 1)}),
        (lambda g: g.stride[0] > g.kernel[0], {"stride": (2, 1), "kernel": (1, 1), "size": (1, 1)}),
        (lambda g: g.batch == 0, {"batch": 0, "in_channels": 1, "size": (1, 1), "kernel": (1, 1)}),
        (lambda g: g.dilation[1] > 1 and g.kernel[1] > 1, {"dilation": (1, 2), "kernel": (1, 2), "groups": 1}),
        (lambda g: min(g.output_size) > 4, {"kernel": (1, 1), "stride": (1, 1), "in_channels": 1}),
    ],
)
def test_shrinks_to_the_condition(condition, expected):
    geometry = find(geometries(), condition)
    assert {name: getattr(geometry, name) for name in expected} == expected


@given(cases(dtypes=ALL, max_multiplications=2000, **EVERYTHING))
def test_every_case_is_valid(case):
    assert conv2d(*case.arguments(), padding_mode=case.padding_mode).shape == case.expected().shape


@pytest.mark.parametrize("op", sorted(SOME))
@given(st.data())
@settings(max_examples=25, deadline=None)
def test_cases_of_every_operator(op, data):
    case = data.draw(cases(op, max_multiplications=1000, **EVERYTHING))
    assert case.op == op
    assert case.check(case.expected()).ok


@given(st.data(), st.integers(1, 10_000))
def test_limit_on_multiplications(data, limit):
    g = data.draw(geometries(max_multiplications=limit, padding_modes=MODES, string_padding=True))
    assert np.prod(g.output_shape) * g.terms <= limit


@given(cases(depthwise=True))
def test_depthwise_only(case):
    g = case.geometry
    assert g.groups == g.in_channels
    assert g.out_channels in (g.groups, 2 * g.groups, 3 * g.groups)


@given(cases(depthwise=False))
def test_no_depthwise(case):
    assert case.geometry.groups == 1 or case.geometry.groups < case.geometry.in_channels


@given(cases(dtypes=["float64"], padding_modes=["circular"], fills=["positive"]))
def test_what_is_excluded_is_not_drawn(case):
    assert all(before == after for before, after in case.geometry.padding)
    assert not isinstance(case.padding, str)
    assert case.input.ndim == 4
    assert case.input.dtype == np.float64
    assert case.padding_mode == "circular"
    assert (case.input > 0).all()


@given(st.data(), geometries(max_multiplications=1000), st.sampled_from(ALL), st.sampled_from((None, True, False)))
def test_arrays_fit_their_geometry(data, g, dtype, bias):
    x, w, b = data.draw(arrays(g, dtype=dtype, bias=bias))
    assert x.shape == (g.batch, g.in_channels, *g.size)
    assert w.shape == (g.out_channels, g.in_channels // g.groups, *g.kernel)
    assert x.dtype == w.dtype == dtype
    assert bias is None or (b is not None) is bias
    assert b is None or (b.shape == (g.out_channels,) and b.dtype == dtype)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"op": "conv9d"}, "op='conv9d'"),
        ({"dtypes": ["float128"]}, "dtypes='float128'"),
        ({"padding_modes": ["mirror"]}, "padding_modes='mirror'"),
        ({"max_multiplications": 0}, "max_multiplications=0"),
        ({"fills": ["noise"]}, "fills='noise'"),
        ({"dtypes": ["int8"], "fills": ["normal"]}, "fills='normal'"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(GeometryError, match=message):
        cases(**options)


@pytest.mark.parametrize("dtype", ALL)
@given(st.integers(1, 40), st.integers(1, 40), st.booleans(), st.integers(0, 100))
def test_integers_add_up_exactly_in_any_order(dtype, channels, taps, bias, seed):
    x, w, b = operands("integers", (1, channels, 3, taps), (2, channels, 1, taps), bias=bias, dtype=dtype, seed=seed)
    limit = 1 / np.finfo(dtype).epsneg if dtype in FLOATS else int(np.iinfo(result_dtype(np.dtype(dtype))).max)
    largest = [int(np.abs(array.astype(object)).max()) for array in (x, w)]
    assert largest[0] * largest[1] * channels * taps + (0 if b is None else int(np.abs(b).max())) <= limit
    assert (x != 0).all()
    assert dtype not in FLOATS or max(largest) <= LARGEST_INTEGER


@pytest.mark.parametrize("fill", names("float32"))
def test_a_fill_is_the_same_for_the_same_seed(fill):
    first, again, other = (operands(fill, (1, 2, 3, 4), (2, 2, 1, 1), seed=seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert np.array_equal(first, other) is (fill == "positions")


def test_positions_are_distinct():
    x, w, b = operands("positions", (2, 2, 3, 4), (2, 2, 2, 2), bias=True)
    for array in (x, w, b):
        assert len(np.unique(array)) == array.size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("noise", (1, 1, 1, 1), (1, 1, 1, 1)), "fill='noise'"),
        (("integers", (0, 2**25, 1, 1), (0, 2**25, 1, 1)), "cannot be exact"),
        (("positions", (2**25, 1, 1, 0), (1, 1, 1, 1)), None),
        (("positions", (2, 2**24, 1, 1), (1, 1, 1, 1)), "no 33554432 consecutive integers"),
    ],
)
def test_fills_refuse_what_they_cannot_do(arguments, message):
    if message is None:
        assert operands(*arguments)[0].size == 0
        return
    with pytest.raises(ValueError, match=message):
        operands(*arguments)


@given(st.sampled_from(sorted(OPERATORS)).flatmap(cases))
def test_by_default_as_verify_makes_them(case):
    """A kernel of the README's contract: images with a batch axis, stride, padding and dilation as pairs of numbers."""
    arguments = dict(zip(OPERATORS[case.op].parameters, case.arguments(), strict=True))
    for name in ("input", "grad_output"):
        assert name not in arguments or arguments[name].ndim == case.axes + 2
    for name in ("stride", "padding", "dilation"):
        assert name not in arguments or all(isinstance(number, int) for number in arguments[name])


CLAIMS = {
    "channels": {"multiple_of": 4},
    "kernel": [1, 3],
    "square": True,
    "padding": ["numbers", "same_upper"],
    "input_layout": "NHWC",
    "weight_layout": "HWIO",
    "output_layout": "NHWC",
    "special": False,
}


@given(cases(supports=CLAIMS), recipes(supports=CLAIMS))
def test_what_a_kernel_takes_is_all_that_is_drawn(case, recipe):
    assert Supports.parse(CLAIMS).allows(recipe)
    input, weight, bias, *options = case.arguments()
    assert input.shape[-1] % 4 == 0
    assert weight.shape[:2] in ((1, 1), (3, 3))
    result = conv2d(input, np.ascontiguousarray(weight.transpose(3, 2, 0, 1)), bias, *options, layout="NHWC")
    assert_close(result, case)


def test_padding_is_said_once():
    with pytest.raises(GeometryError, match="string_padding=True: must not be given beside supports"):
        cases(supports=CLAIMS, string_padding=True)


@given(cases(dtypes=["int8", "uint8"], out_dtype="int8", overflow="wrap"))
def test_results_are_those_asked_for(case):
    assert case.expected().dtype == np.int8


def test_results_that_there_can_not_be_are_refused():
    with pytest.raises(TypeError, match="out_dtype=int8: must be one of float32"):
        cases(out_dtype="int8")
