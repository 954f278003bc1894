"""Fitting, levels, plans and shrinking: always valid, what they say they are, and covering what they say they cover."""

import pickle
from dataclasses import replace
from functools import cache
from unittest.mock import Mock

import numpy as np
import pytest
from common import SOME
from hypothesis import given, settings
from hypothesis import strategies as st

import refconv
from refconv.cases.fills import every, known
from refconv.cases.fitting import MAX_MULTIPLICATIONS, fitted, size_of
from refconv.cases.layers import NARROW, ORDINARY, network_layers
from refconv.cases.levels import FACTORS, LARGE, factors_of, large, levels
from refconv.cases.plan import FIRST, plan
from refconv.cases.recipe import (
    ARRANGEMENTS,
    LAYOUTS,
    MIXED,
    OUTPUT,
    QUANTIZATIONS,
    QUANTIZED,
    Recipe,
    input_shape,
    weight_shape,
)
from refconv.cases.shrink import rank, shrink, smaller
from refconv.cases.space import space
from refconv.cases.supports import Supports
from refconv.cases.values import ANYTHING, AXES, OF_OUTPUT, PADDINGS, Values, values_of
from refconv.core import geometry, transposed_geometry
from refconv.core.operators import axes_of, is_transposed, like
from refconv.core.padding import MODES
from refconv.verification.candidate import arrangements
from refconv.verification.report.coverage import Interactions, classes

OPS = sorted(SOME)
BUDGET = 1000
FEWEST_CASES, MOST_CASES = 200, 900  # that all pairs need


def dtype_of(op):
    return "int8" if op in QUANTIZED else "float32"


NUMBER, SMALL = st.integers(-1, 70), st.integers(0, 9)
DRAWN = st.builds(
    lambda **numbers: Values(**numbers),  # noqa: PLW0108 - of a NamedTuple Hypothesis draws all other fields too
    **dict.fromkeys(("batch", "groups", "inputs", "outputs"), NUMBER),
    **{axis.size: NUMBER for axis in AXES},
    **{name: SMALL for axis in AXES for name in (axis.taps, axis.before, axis.after, axis.extra)},
    **{name: st.integers(1, 6) for axis in AXES for name in (axis.stride, axis.dilation)},
    depthwise=st.sampled_from((None, True, False)),
    padding=st.sampled_from(PADDINGS),
    mode=st.sampled_from(MODES),
    layout=st.sampled_from(LAYOUTS),
    **dict.fromkeys(("first", "second", "third"), st.sampled_from(ARRANGEMENTS)),
    output=st.sampled_from(OF_OUTPUT),
    **dict.fromkeys(("batched", "bias"), st.booleans()),
    quantisation=st.sampled_from([kind + mixed for kind in QUANTIZATIONS for mixed in ("", MIXED)]),
    fill=st.sampled_from(every()),
    seed=st.integers(0, 2**32 - 1),
)


def drawn_recipe(op, values):
    return fitted(op, values._replace(dtype=dtype_of(op)))


@pytest.mark.parametrize("op", OPS)
@given(DRAWN)
@settings(deadline=None)
def test_any_numbers_give_a_valid_recipe(op, values):
    recipe = drawn_recipe(op, values)
    g = recipe.geometry
    rebuilt = geometry.convolution(
        input_shape(g), weight_shape(g), None, g.stride, recipe.padding, g.dilation, g.groups, g.padding_mode
    )
    assert rebuilt == g
    assert size_of(values_of(recipe)) <= MAX_MULTIPLICATIONS
    if op == "conv_transpose2d":
        shape = recipe.shapes()["input"]
        options = g.stride, recipe.padding, recipe.output_padding, g.dilation, g.groups
        assert transposed_geometry.transposed(shape, weight_shape(g), None, *options) == g


@pytest.mark.parametrize("op", OPS)
@given(DRAWN)
@settings(deadline=None)
def test_a_recipe_is_made_again_of_its_numbers(op, values):
    recipe = drawn_recipe(op, values)
    assert fitted(op, values_of(recipe)) == recipe
    assert Recipe.from_dict(recipe.as_dict()) == recipe
    assert hash(pickle.loads(pickle.dumps(recipe))) == hash(recipe)  # noqa: S301 - our own


@pytest.mark.parametrize("op", OPS)
@given(DRAWN)
@settings(max_examples=25, deadline=None)
def test_a_case_is_what_the_recipe_says(op, values):
    recipe = fitted(op, values._replace(dtype=dtype_of(op)), limit=1000)
    case = recipe.case()
    assert case.op == op
    if like(op) != "bias":
        said = case.geometry if not is_transposed(op) else replace(case.geometry, padding=recipe.geometry.padding)
        assert said == recipe.geometry  # a gradient leaves out the padding that meets nothing
    for name, shape in recipe.shapes().items():
        dropped = not recipe.batched and name != "weight"
        assert case.arrays[name].shape == shape[dropped:]
    for name, arrangement in recipe.memory:
        array = case.unwritten if name == OUTPUT else case.arrays[name]
        assert arrangements.possible(arrangement, "numpy", array.dtype, array.ndim, case.axes)
        if arrangement == "broadcast":
            assert array[1:].tobytes() == np.broadcast_to(array[:1], array[1:].shape).tobytes()
    assert ("bias" in case.arrays) is recipe.bias
    assert case.check(case.expected()).ok


@pytest.mark.parametrize("op", OPS)
def test_code_makes_the_arrays_of_the_case(op):
    for recipe in plan(op, [dtype_of(op)], ANYTHING, 20, 3):
        names = {"refconv": refconv}
        exec("\n".join(recipe.code()), names)  # noqa: S102 - what a report prints
        for name, array in recipe.case().arrays.items():
            assert names[name].tobytes() == array.tobytes()
            assert names[name].dtype == array.dtype


@pytest.mark.parametrize("op", [op for op in OPS if op not in QUANTIZED])
@given(DRAWN, st.sampled_from(("float16", "float32", "int8")))
@settings(max_examples=20, deadline=None)
def test_integers_are_exact_in_the_accumulator(op, values, dtype):
    """No sum of absolute products rounds: then neither does any other order of the additions."""
    recipe = fitted(op, values._replace(dtype=dtype, fill="integers"), limit=3000)
    case = recipe.case()
    if dtype == "int8":
        assert case.expected().dtype == np.int32  # or it would have raised
    elif 0 not in case.unwritten.shape:
        assert (case.sums.absolute <= 1 / np.finfo(dtype).epsneg).all()


@pytest.mark.parametrize("op", OPS)
@given(DRAWN)
@settings(deadline=None)
def test_levels_are_known(op, values):
    level_of = levels(drawn_recipe(op, values))
    assert tuple(level_of) == (*factors_of(op), "large")
    assert all(level in FACTORS[name] for name, level in level_of.items() if name != "large")


@pytest.mark.parametrize("op", OPS)
@given(DRAWN)
@settings(max_examples=20, deadline=None)
def test_smaller_recipes_are_simpler(op, values):
    recipe = drawn_recipe(op, values)
    for simpler in smaller(recipe):
        assert rank(simpler) < rank(recipe)
        assert min(rank(simpler)) >= 0
        assert (simpler.op, simpler.dtype) == (recipe.op, recipe.dtype)
        assert fitted(op, values_of(simpler)) == simpler


@pytest.mark.parametrize("op", OPS)
@given(DRAWN)
@settings(max_examples=20, deadline=None)
def test_shrinking_ends_at_the_simplest(op, values):
    recipe = drawn_recipe(op, values)
    for _ in range(5):
        recipe = next(smaller(recipe), recipe)
    assert recipe == fitted(op, Values(dtype=recipe.dtype))
    assert not list(smaller(recipe))


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (lambda g: g.groups > 1, {"groups": 2, "size": (1, 1), "kernel": (1, 1), "stride": (1, 1)}),
        (lambda g: g.kernel[0] < g.kernel[1], {"kernel": (1, 2), "size": (1, 2), "padding": ((0, 0), (0, 0))}),
        (lambda g: g.dilation[0] > 1 and g.kernel[0] > 1, {"dilation": (2, 1), "kernel": (2, 1), "size": (3, 1)}),
        (lambda g: (g.padded_size[1] - g.kernel[1]) % g.stride[1] > 1, {"stride": (1, 3), "size": (1, 3)}),
    ],
)
def test_shrinks_to_the_condition(condition, expected):
    """From every case of a plan that meets it."""
    for recipe in filter(lambda recipe: condition(recipe.geometry), plan("conv2d", ["float32"], ANYTHING, 40, 0)):
        smallest = recipe
        while (
            simpler := next((candidate for candidate in smaller(smallest) if condition(candidate.geometry)), None)
        ) is not None:
            smallest = simpler
        assert {name: getattr(smallest.geometry, name) for name in expected} == expected
        assert (smallest.bias, smallest.memory, smallest.layout, smallest.fill) == (False, (), "NCHW", "integers")


@pytest.mark.parametrize(
    "condition",
    [lambda g: g.groups > 1, lambda g: g.stride[1] > 1, lambda g: g.dilation[0] > 1],
    ids=["groups", "stride", "dilation"],
)
def test_one_cause_is_found_in_few_failures(condition):
    """Each may cost a process: all but the cause is set back at once, not one thing after the other."""
    for recipe in filter(lambda recipe: condition(recipe.geometry), plan("conv2d", ["float32"], ANYTHING, 40, 0)):
        fails = Mock(side_effect=lambda candidate: condition(candidate.geometry))
        assert condition(shrink(recipe, fails).geometry)
        failures = sum(condition(call.args[0].geometry) for call in fails.call_args_list)
        assert failures <= 10  # up to 17 if each other thing takes one


@cache
def planned(op):
    return tuple(plan(op, [dtype_of(op)], Supports(), BUDGET, seed=1))


@cache
def covered(op, cases):
    interactions = Interactions(op, (dtype_of(op),), Supports())
    for recipe in planned(op)[:cases]:
        interactions.add(recipe)
    return interactions


@pytest.mark.parametrize("op", OPS)
def test_every_possible_pair_is_covered(op):
    assert covered(op, MOST_CASES).missing_pairs() == []
    pairs, possible = covered(op, MOST_CASES).pairs
    assert pairs == possible > 1000
    assert covered(op, FEWEST_CASES).missing_pairs()
    assert all(n_covered == n_possible for n_covered, n_possible in covered(op, MOST_CASES).shares().values())


@pytest.mark.parametrize("op", OPS)
def test_most_triples_are_covered(op):
    triples, possible = covered(op, BUDGET).triples
    assert triples > 2 * possible / 3


@pytest.mark.parametrize("op", OPS)
def test_every_way_of_being_large_comes_in_turn(op):
    here = space(op, (dtype_of(op),), Supports())
    names = {name for name, _ in here.large}
    assert names <= set(LARGE)
    assert len(names) >= 6
    assert {name for recipe in planned(op)[:FIRST] for name in large(recipe)} >= names
    layers = network_layers(axes_of(op))
    widest = max(max(v.groups * v.inputs, v.groups * v.outputs, v.width * (axes_of(op) == 1)) for v in layers)
    for recipe in plan(op, [dtype_of(op)], Supports(large=False), 100):
        assert max(*input_shape(recipe.geometry), *weight_shape(recipe.geometry)) <= widest
        assert size_of(values_of(recipe)) <= NARROW or recipe.geometry.products <= ORDINARY


@pytest.mark.parametrize(("op", "largest"), [("conv2d", 1), ("conv2d_weight", 1000), ("conv_transpose2d", 10**6)])
def test_no_case_is_larger_than_it_may_be(op, largest):
    for recipe in plan(op, [dtype_of(op)], Supports(largest=largest), 120):
        assert recipe.geometry.products <= largest


@pytest.mark.parametrize("op", OPS)
def test_a_plan_is_the_same_for_the_same_seed(op):
    first = planned(op)[:60]
    assert tuple(plan(op, [dtype_of(op)], Supports(), BUDGET, seed=1))[:60] == first
    other = tuple(plan(op, [dtype_of(op)], Supports(), 60, seed=2))
    assert not set(other) & set(first)


def test_several_dtypes_are_a_factor():
    dtypes = ("float32", "bfloat16", "int8")
    recipes = list(plan("conv2d", dtypes, Supports(), 90))
    assert {recipe.dtype for recipe in recipes} == set(dtypes)
    assert all(recipe.fill in known(recipe.dtype) for recipe in recipes)
    assert "dtype" in levels(recipes[0])


def test_impossible_pairs_are_impossible():
    """Of many random cases none has a pair that the search did not find: what is missing in a report could be there."""
    here = space("conv2d", ("float32",), Supports())
    ids = np.array([here.ids(v) for v in here.random(np.random.default_rng(7), 5000)])
    assert all(here.possible[ids[:, a], ids[:, b]].all() for a, b in zip(here.left, here.right, strict=True))
    other = here.factor_of[:, None] < here.factor_of[None, :]
    pairs = {(here.names[a], here.names[b]) for a, b in np.argwhere(other & ~here.possible)}
    assert (("batch", "0"), ("batch and C_in", "equal")) in pairs
    assert (("stride (h)", "1"), ("remainder (h)", "1")) in pairs


def test_interactions_merge_and_travel():
    half = covered("conv2d", 200)
    other = Interactions("conv2d", ("float32",), Supports())
    for recipe in planned("conv2d")[200:MOST_CASES]:
        other.add(recipe)
    whole = half + other
    assert whole.pairs == covered("conv2d", MOST_CASES).pairs
    assert whole.triples == covered("conv2d", MOST_CASES).triples
    assert half.pairs < whole.pairs  # the parts stay as they were
    travelled = pickle.loads(pickle.dumps(whole))  # noqa: S301 - our own
    assert travelled.as_dict() == whole.as_dict()
    assert travelled.missing_pairs() == []


def test_interactions_of_several_dtypes_stand_side_by_side():
    parts = [Interactions("conv2d_bias", (dtype,), Supports()) for dtype in ("float32", "float64")]
    parts[0].add(fitted("conv2d_bias", Values()))
    both = parts[0] + parts[1]
    assert both.pairs == (parts[0].pairs[0], parts[0].pairs[1] + parts[1].pairs[1])
    assert {pair[-1] for pair in both.missing_pairs()} == {("dtype", "float32"), ("dtype", "float64")}


def test_what_is_refused_is_not_covered():
    interactions = Interactions("conv2d_bias", ("float32",), Supports())
    recipes = list(plan("conv2d_bias", ["float32"], Supports(), MOST_CASES))
    for recipe in recipes:
        (interactions.add_unsupported if recipe.geometry.batch == 0 else interactions.add)(recipe)
    missing = interactions.missing_pairs()
    assert missing == interactions.refused_pairs()
    assert len(missing) == interactions.refused == interactions.as_dict()["refused"]
    assert {pair for pair in missing if ("batch", "0") in pair} >= {
        pair for pair in covered("conv2d_bias", 0).missing_pairs() if ("batch", "0") in pair
    }


@pytest.mark.parametrize("op", OPS)
def test_arrays_can_lie_as_the_plan_has_them(op):
    assert ARRANGEMENTS == arrangements.ARRANGEMENTS
    for recipe in planned(op)[:100]:
        arrays = recipe.case().arrays
        for name, arrangement in recipe.memory:
            laid_out = arrangements.arrange(arrays[name], arrangement, axes_of(op))
            assert laid_out.tobytes() == arrays[name].tobytes()


def test_classes_of_a_recipe_are_those_of_its_case_and_more():
    for op in OPS:
        for recipe in planned(op)[:100]:
            of_case, of_recipe = classes(recipe.case()), classes(recipe)
            assert of_recipe[: len(of_case)] == of_case
    names = classes(fitted("conv2d", Values(batch=65537, layout="NHWC", first="negative")))
    assert names[-3:] == ["layout NHWC", "memory 'negative'", "batch above 65536"]
