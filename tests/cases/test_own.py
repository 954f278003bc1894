"""Cases of one's own: shapes in text, recipes, and cases with their arrays."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import refconv
from refconv.cases import networks, own
from refconv.cases.fills import known
from refconv.cases.recipe import Recipe
from refconv.cases.shrink import smaller
from refconv.cases.supports import Supports, same_call
from refconv.cases.values import recipe_of, values_of
from refconv.cases.variations import variations
from refconv.ops.family import OPERATORS
from refconv.strategies import recipes

SHAPES = ["1,4,8,8:4,4,3,3:padding=1", "2,6,9,9:4,3,3,3:stride=2"]
EVERYTHING = {"string_padding": True, "asymmetric_padding": True, "unbatched": True}


def given_case(**options):
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype("float32") for shape in ((2, 4, 9, 7), (6, 2, 3, 3)))
    return refconv.Case(input=x, weight=w, groups=2, **options)


@given(st.sampled_from(list(OPERATORS)).flatmap(lambda op: recipes(op, **EVERYTHING)))
def test_what_is_drawn_has_the_shapes_that_were_named(recipe):
    """And so has whatever is tried to make a failure small, or to see what it needs."""
    shapes = own.shapes_of([recipe])
    supports = Supports().of_shapes(shapes)
    assert same_call(recipe_of(recipe.op, values_of(recipe)), recipe)
    some = list(own.drawn(recipe.op, recipe.dtype, supports, 6, 0))
    for other in [*some, *list(smaller(some[-1], supports))[:5], *list(variations(some[-1], supports))[:5]]:
        assert same_call(other, recipe)
        assert supports.allows(other)


def test_the_cases_of_a_shape_have_all_fills_and_many_orders():
    supports = Supports(layout=("NCHW", "NHWC")).of_shapes(own.shapes_of(own.listed(SHAPES, "conv2d")))
    some = list(own.drawn("conv2d", "float32", supports, own.EACH * 2, 0))
    for number in (0, 1):
        of_shape = some[number::2]
        assert len({recipe.geometry for recipe in of_shape}) == 1
        assert {recipe.fill for recipe in of_shape} == set(known("float32"))
        assert len({recipe.memory for recipe in of_shape}) > 10
        assert {(recipe.bias, recipe.layout) for recipe in of_shape} == {
            (bias, layout) for bias in (False, True) for layout in ("NCHW", "NHWC")
        }
        assert (of_shape[0].memory, of_shape[0].fill) == ((), "integers")


@pytest.mark.parametrize("case", [given_case(), given_case(bias=np.ones(6, "float32"), padding="same")])
def test_a_given_case_keeps_its_arrays(case):
    (source,) = own.listed([case], "conv2d")
    assert source.case() is case
    assert (source.geometry, source.dtype, source.bias) == (case.geometry, "float32", case.bias is not None)
    shuffled = source.reseeded(3).case()
    assert not np.array_equal(shuffled.input, case.input)
    assert sorted(shuffled.input.flat) == sorted(case.input.flat)
    for other in (pickle.loads(pickle.dumps(source)), copy.deepcopy(source)):  # noqa: S301
        assert other.case().input.tobytes() == case.input.tobytes()


def test_a_case_that_a_recipe_made_is_judged_with_its_numbers():
    recipe = Recipe.parse(SHAPES[0], seed=7, fill="normal", dtype="float64")
    by_case, by_recipe, by_text = own.listed([recipe.case(), recipe, SHAPES[0]], "conv2d")
    assert by_text == Recipe.parse(SHAPES[0])
    for source in (by_case, by_recipe):
        assert (source.call, source.made, source.dtype) == (recipe, True, "float64")
        assert source.case().input.tobytes() == recipe.case().input.tobytes()
        assert source.reseeded(8).case().input.tobytes() == recipe.reseeded(8).case().input.tobytes()


@pytest.mark.parametrize("op", ["conv2d_integer", "conv2d_quantized"])
def test_shapes_of_quantized_operators(op):
    (shape,) = own.listed(SHAPES[:1], op)
    assert shape.case().op == op


def test_padding_in_one_number_is_the_same_shape_as_in_two():
    x, w = np.ones((1, 1, 4, 4)), np.ones((1, 1, 3, 3))
    listed = own.listed([refconv.Case(input=x, weight=w, padding=1), "1,1,4,4:1,1,3,3:padding=1"], "conv2d")
    assert len(own.shapes_of(listed)) == 1


def test_what_does_not_fit_into_memory_is_refused():
    listed = own.listed(["1,4,1000000,1000000:4,4,3,3"], "conv2d")
    with pytest.raises(ValueError, match=r"needs .* bytes: must be at most 1,000,000"):
        own.shapes_within(listed, 10**6)


@pytest.mark.parametrize("op", ["conv2d", "conv_transpose2d", "conv2d_input", "conv2d_weight"])
def test_the_layers_of_a_network_are_shapes(op):
    shapes = own.of_networks(["resnet50", "resnet50"], op)
    assert len(shapes) == len(networks.layers("resnet50"))
    assert all(shape.op == op for shape in shapes)
    assert min(shapes, key=lambda shape: shape.geometry.products).case().op == op


@pytest.mark.parametrize(
    ("cases", "error", "said"),
    [
        ([3], TypeError, "cases: 3 must be a Case, a Recipe or a text"),
        (["1,1,3,3:1,1,5,5"], ValueError, "case='1,1,3,3:1,1,5,5': weight with kernel"),
        ([refconv.Case(op="conv2d_bias", grad_output=np.ones((1, 1, 2, 2)))], ValueError, "must be of conv2d"),
        ([Recipe.parse(SHAPES[0], op="conv2d_input")], ValueError, "must be of conv2d"),
    ],
)
def test_what_is_no_case_is_refused(cases, error, said):
    with pytest.raises(error, match=said):
        own.listed(cases, "conv2d")


@pytest.mark.parametrize(("claim", "said"), [({"stride": 2}, "padding=1"), ({"channels": 8}, "padding=1")])
def test_shapes_that_contradict_a_claim_are_refused(claim, said):
    with pytest.raises(ValueError, match=f"{said}.*must be one that the candidate and its model are said to take"):
        Supports.parse(claim).of_shapes(own.shapes_of(own.listed(SHAPES, "conv2d")))
