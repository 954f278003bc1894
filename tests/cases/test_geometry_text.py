"""Geometries and recipes as text: what is written is read again as the same."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import refconv
from refconv.cases.plan import plan
from refconv.cases.recipe import Recipe
from refconv.cases.supports import Supports
from refconv.ops.family import OPERATORS
from refconv.strategies import recipes

EVERYTHING = {"string_padding": True, "asymmetric_padding": True, "unbatched": True}
SCOPE = {"refconv": refconv, "np": np}


@given(st.sampled_from(list(OPERATORS)).flatmap(lambda op: recipes(op, **EVERYTHING)))
def test_a_recipe_and_its_case_show_themselves_as_code(recipe):
    assert eval(repr(recipe), SCOPE) == recipe  # noqa: S307 - a line of ours
    case = recipe.case()
    again = eval(repr(case), SCOPE)  # noqa: S307
    assert [array.tobytes() for array in again.arrays.values()] == [array.tobytes() for array in case.arrays.values()]
    assert str(again) == str(case)
    assert repr(pickle.loads(pickle.dumps(case))) == repr(copy.deepcopy(case)) == repr(case)  # noqa: S301


@pytest.mark.parametrize("op", OPERATORS)
def test_recipes_of_a_campaign_show_themselves_as_code(op):
    supports = Supports.parse(EVERYTHING | {"layout": ["NCHW", "NHWC"]})
    dtype = "int8" if OPERATORS[op].is_quantized else "float16"
    for recipe in plan(op, [dtype], supports, 150):
        assert eval(repr(recipe), SCOPE) == recipe  # noqa: S307


@given(st.data())
def test_a_case_of_few_numbers_without_a_seed_is_written_out(data):
    fills = ("integers", "normal", "special")
    case = data.draw(
        refconv.strategies.cases(dtypes=("float32", "bfloat16", "complex64"), fills=fills, max_multiplications=20)
    )
    bare = refconv.Case(**{name: getattr(case, name) for name in ("input", "weight", "bias", "stride", "padding")},
                        dilation=case.dilation, groups=case.groups)  # fmt: skip
    written = repr(bare)
    if written.startswith("<"):
        assert sum(array.size for array in bare.arrays.values()) > 8
        return
    again = eval(written, SCOPE)  # noqa: S307
    for name, array in bare.arrays.items():
        assert getattr(again, name).dtype == array.dtype
        wide = np.complex128 if array.dtype.kind == "c" else np.float64
        np.testing.assert_array_equal(getattr(again, name).astype(wide), array.astype(wide))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,2,3:1,2,3,3", "must be like"),
        ("1,1,5,5:1,1,3,3:stride", "'stride' must be one of"),
        ("1,1,5,5:1,1,3,3:stride=0", "stride"),
        ("1,1,5,5:1,1,3,3:speed=2", "'speed=2' must be one of"),
        ("1,1,5,5:1,1,7,3", "kernel"),
        ("1,3,5,5:2,2,3,3", "groups"),
        ("1,1,5,5:1,1,3,3:output_padding=1", "output_padding must not be given for conv2d"),
        ("1,1,5,5:1,1,3,3:padding_mode=mirror", "padding_mode"),
        ("1,1,5,5:1,1,3,3:padding=same,stride=2", "stride"),
        ("1,1,5,5:1,1,3,3:stride=1,stride=2", "stride must be given once"),
        ("1,1,5,5:1,1,3,3:groups=0", "groups=0"),
    ],
)
def test_a_text_of_no_convolution_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        Recipe.parse(text)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dtype": "float23"}, "dtype"),
        ({"fill": "ones"}, "fill"),
        ({"seed": -1}, "seed"),
        ({"layout": "CHW"}, "layout"),
        ({"bias": True, "op": "conv2d_input"}, "bias=True: conv2d_input has none"),
    ],
)
def test_a_recipe_that_can_not_be_made_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        Recipe.parse("1,1,5,5:1,1,3,3", **options)
