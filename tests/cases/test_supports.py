"""What a candidate is said to take: every name and value is checked, and nothing else is generated."""

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from marks import sampled

from refconv import GeometryError
from refconv.cases.fitting import fitted, size_of
from refconv.cases.plan import plan
from refconv.cases.recipe import ARRANGEMENTS, ARRAYS, LAYOUTS, QUANTIZED
from refconv.cases.said import SQUARE
from refconv.cases.shrink import smaller
from refconv.cases.space import space
from refconv.cases.supports import Supports
from refconv.cases.values import ANYTHING, Values, values_of
from refconv.core.checks import PADDING_NAMES

NUMBERS = st.lists(st.integers(1, 7), min_size=1, max_size=3)
FLAGS = ("asymmetric_padding", "string_padding", "unbatched", "empty_batch", "bias", "large", "errors", "deterministic")
MAPPINGS = st.fixed_dictionaries(
    {},
    optional={
        "groups": st.one_of(st.just("depthwise"), st.integers(1, 4), NUMBERS),
        "batch": st.one_of(st.integers(1, 4), st.lists(st.integers(0, 4), min_size=1)),
        "stride": NUMBERS,
        "dilation": st.one_of(st.integers(1, 3), NUMBERS),
        "kernel": NUMBERS,
        "padding_mode": st.sampled_from(["zeros", "circular", ("zeros", "reflect"), ["replicate", "zeros"]]),
        "layout": st.sampled_from(["NCHW", "NHWC", LAYOUTS]),
        "square": st.one_of(st.booleans(), st.lists(st.sampled_from(SQUARE), min_size=1)),
        "views": st.one_of(st.booleans(), st.lists(st.sampled_from(ARRANGEMENTS), min_size=1)),
        **dict.fromkeys(FLAGS, st.booleans()),
    },
)
SIZES = st.one_of(
    st.integers(1, 70),
    st.lists(st.integers(1, 70), min_size=1, max_size=3),
    st.fixed_dictionaries({"multiple_of": st.integers(1, 16)}, optional={"at_least": st.integers(1, 40)}),
)
PADS = st.one_of(st.integers(0, 3), st.lists(st.sampled_from([0, 1, 2, "numbers", *PADDING_NAMES]), min_size=1))
SIZED = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("channels", "filters", "height", "width"), SIZES),
        "padding": PADS,
        "padding_w": st.integers(0, 3),
        "stride_h": NUMBERS,
        "kernel_w": NUMBERS,
        "weight_layout": st.sampled_from(["HWIO", "OHWI"]),
        "output_layout": st.sampled_from(["NHWC", "CHWN"]),
        "dilation_h": NUMBERS,
        "groups": st.one_of(st.just("depthwise"), st.just([1, 2]), st.just({"multiple_of": 2})),
        **dict.fromkeys(("special", "subnormal", "wide", "asymmetric_padding"), st.booleans()),
    },
)
NUMBERS_OF_ALL = st.integers(0, 2**32 - 1).map(
    lambda seed: space("conv2d", ("float32",), ANYTHING).random(np.random.default_rng(seed), 1)[0]
)
OPS = st.sampled_from(sorted(ARRAYS))


def dtype_of(op):
    return "int8" if op in QUANTIZED else "float32"


@given(OPS, MAPPINGS, NUMBERS_OF_ALL, st.integers(0, 2000))
@settings(deadline=None)
def test_what_is_fitted_keeps_to_it(op, mapping, values, limit):
    if not mapping.get("empty_batch", True) and not np.any(mapping.get("batch", 1)):
        with pytest.raises(ValueError, match=r"supports\['batch'\]"):
            Supports.parse(mapping)
        return
    supports = Supports.parse(mapping)
    recipe = fitted(op, values._replace(dtype=dtype_of(op)), supports, limit)
    assert supports.allows(recipe)
    assert fitted(op, values_of(recipe), supports, limit) == recipe
    assert all(map(supports.allows, smaller(recipe, supports)))


@given(OPS, SIZED, NUMBERS_OF_ALL, st.integers(0, 2000))
@example(
    "conv2d", {"channels": [3, 64]}, Values(groups=5, inputs=1, outputs=2, depthwise=True), 100
)  # once left as it was, with channels that are not taken
@settings(deadline=None)
def test_sizes_are_fitted_together(op, mapping, values, limit):
    try:
        supports = Supports.parse(mapping)
    except GeometryError as error:
        assert "must have a number that its axes have" in str(error)  # noqa: PT017 - of both axes and of one
        return
    values = values._replace(dtype=dtype_of(op))
    assume(supports.allows(fitted(op, Values(dtype=values.dtype), supports, limit)))  # else campaigns refuse it
    recipe = fitted(op, values, supports, limit)
    assert supports.allows(recipe)
    if size_of(values_of(recipe)) <= limit:  # else what is taken may be no smaller, and several are as small
        assert fitted(op, values_of(recipe), supports, limit) == recipe
    assert Supports.parse(supports.said()) == supports


MAPPINGS = [
    {
        "channels": {"multiple_of": 16},
        "filters": [32, 64],
        "height": [7, 14],
        "padding": ["valid", 1],
        "special": False,
    },
    {"width": {"multiple_of": 4, "at_least": 8}, "stride_h": 1, "padding": ["numbers", "same_upper", "same_lower"]},
    {"groups": 1, "stride": 2, "kernel": 3, "dilation": [1, 6], "views": False, "bias": False},
    {"groups": "depthwise", "padding_mode": ("zeros", "circular"), "asymmetric_padding": True, "unbatched": True},
    {"batch": 2, "string_padding": True, "layout": "NHWC", "large": False, "empty_batch": False},
]


@pytest.mark.parametrize(("op", "mapping"), sampled(sorted(ARRAYS), MAPPINGS, every=5))
def test_a_plan_keeps_to_it(op, mapping):
    supports = Supports.parse(mapping)
    recipes = list(plan(op, [dtype_of(op)], supports, 70))
    assert len(recipes) == 70
    assert all(map(supports.allows, recipes))


@pytest.mark.parametrize(
    ("mapping", "values"),
    [
        ({"groups": 1}, Values(groups=2)),
        ({"groups": "depthwise"}, Values(inputs=2)),
        ({"batch": [1, 2]}, Values(batch=3)),
        ({"stride": 1}, Values(stride_w=2)),
        ({"dilation": [1]}, Values(dilation_h=2)),
        ({"kernel": [1, 3]}, Values(rows=2, height=2)),
        ({}, Values(mode="reflect")),
        ({}, Values(layout="NHWC")),
        ({"input_layout": "NHWC"}, Values()),
        ({"square": True}, Values(rows=2, height=2)),
        ({"square": ["stride"]}, Values(stride_w=2)),
        ({}, Values(padding="same")),
        ({}, Values(padding="four-sided", top=1)),
        ({}, Values(batched=False)),
        ({"empty_batch": False}, Values(batch=0)),
        ({"bias": False}, Values(bias=True)),
        ({"channels": {"multiple_of": 4}}, Values(inputs=6)),
        ({"filters": [1, 8]}, Values(outputs=2)),
        ({"height": {"at_least": 1, "multiple_of": 1}, "width": [1, 4]}, Values(width=3)),
        ({"stride_h": 1}, Values(stride_h=2)),
        ({"kernel_w": 1}, Values(columns=2, width=2)),
        ({"padding": 0}, Values(top=1)),
        ({"padding_w": [0, 2]}, Values(left=1)),
        ({"padding": ["numbers", "same_upper"]}, Values(padding="same_lower", rows=2)),
        ({"special": False}, Values(fill="special")),
        ({"subnormal": False}, Values(fill="subnormal")),
        ({"wide": False}, Values(fill="wide")),
        ({"views": False}, Values(first="negative")),
        ({"views": ["offset"]}, Values(second="negative")),
    ],
)
def test_what_is_not_named_is_not_allowed(mapping, values):
    supports = Supports.parse(mapping)
    assert supports.allows(fitted("conv2d", Values(), supports))
    assert not supports.allows(fitted("conv2d", values))
    assert supports.allows(fitted("conv2d", values, supports))


def test_defaults():
    assert Supports.parse(None) == Supports.parse({}) == Supports()
    assert Supports.parse({"views": True, "padding_mode": ("zeros",), "layout": "NCHW"}) == Supports()
    assert Supports.parse({"views": False}).views == ("contiguous",)
    assert Supports.parse({"kernel": (5, 3, 3)}).kernel == (3, 5)


@pytest.mark.parametrize(
    ("mapping", "error", "message"),
    [
        ({"strings": True}, GeometryError, "supports='strings'"),
        ({"unbatched": 1}, TypeError, r"supports\['unbatched'\]=1: must be True or False"),
        ({"groups": "dense"}, GeometryError, r"supports\['groups'\]='dense': must be one of 'depthwise'"),
        ({"groups": 0}, GeometryError, r"supports\['groups'\]=0: must be at least 1"),
        ({"stride": True}, TypeError, r"supports\['stride'\]=True: must be an integer"),
        ({"kernel": []}, ValueError, r"supports\['kernel'\]=\[\]: must name one at least"),
        ({"dilation": "2"}, TypeError, r"supports\['dilation'\]='2': must be an integer"),
        ({"batch": {"least": 1}}, GeometryError, r"supports\['batch'\]='least': must be one of 'multiple_of'"),
        ({"channels": {"multiple_of": 0}}, GeometryError, r"supports\['channels'\]\['multiple_of'\]=0"),
        ({"views": {"multiple_of": 2}}, TypeError, r"supports\['views'\]=.*not a mapping"),
        ({"padding": "full"}, GeometryError, r"supports\['padding'\]='full': must be one of 'numbers'"),
        ({"padding": -1}, GeometryError, r"supports\['padding'\]=-1"),
        ({"stride": 1, "stride_h": 2}, GeometryError, r"supports\['stride'\]=1: must have a number that its axes have"),
        ({"padding_names": "same"}, GeometryError, "supports='padding_names'"),
        ({"layout": ("NCHW", "CHWN")}, GeometryError, r"supports\['layout'\]='CHWN'"),
        ({"padding_mode": "mirror"}, GeometryError, r"supports\['padding_mode'\]='mirror'"),
        ({"views": ["upside_down"]}, GeometryError, r"supports\['views'\]='upside_down'"),
        ([("bias", True)], TypeError, "supports=.*must be a mapping"),
    ],
)
def test_wrong_names_and_values(mapping, error, message):
    with pytest.raises(error, match=message):
        Supports.parse(mapping)


@given(NUMBERS_OF_ALL, st.integers(0, 2000), st.tuples(st.integers(1, 4), st.integers(1, 4)), st.data())
def test_output_padding_is_fitted_to_the_size(values, limit, stride, data):
    extra = tuple(data.draw(st.integers(0, step - 1)) for step in stride)
    mapping = {"stride_h": stride[0], "stride_w": stride[1], "output_padding": list(extra)}
    supports = Supports.parse(mapping)
    recipe = fitted("conv_transpose2d", values, supports, limit)
    assert recipe.output_padding == extra
    assert supports.allows(recipe)
    if size_of(values_of(recipe)) <= limit:
        assert fitted("conv_transpose2d", values_of(recipe), supports, limit) == recipe
    assert Supports.parse(supports.said()) == supports
