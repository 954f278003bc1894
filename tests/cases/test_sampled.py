"""Sampled outputs: a smaller call, valid, of as many outputs as are wanted, whose sums have all of their terms."""

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refconv.cases.recipe import QUANTIZED, Recipe
from refconv.cases.sampled import outputs_of, sampled
from refconv.core.operators import axes_of, is_transposed, like
from refconv.core.padding import MODES
from refconv.ops.family import OPERATORS

FLOATING = [op for op in OPERATORS if op not in QUANTIZED]


@st.composite
def recipes(draw):
    op = draw(st.sampled_from(list(OPERATORS)))
    axes, transposed = axes_of(op), is_transposed(op)
    number = st.integers(1, 6)
    groups, inputs, outputs, batch, stride, kernel, padding = (draw(number) for _ in range(7))
    kernel = min(kernel, 9 // axes)
    size = draw(st.integers(12, 60 if axes < 3 else 14))
    first, second = (outputs, inputs) if transposed else (inputs, outputs)
    w = (groups * second, first) if first is inputs else (groups * first, second)
    w += (kernel,) * axes
    channels = groups * first if not transposed else w[0]
    options = [f"stride={stride}", f"padding={min(padding, kernel - 1)}", f"groups={groups}"]
    if not transposed and op not in QUANTIZED:
        options.append(f"padding_mode={draw(st.sampled_from(MODES))}")
    shapes = ":".join(",".join(map(str, shape)) for shape in ((batch, channels, *[size] * axes), w))
    dtype, fill = ("uint8", "integers") if op in QUANTIZED else ("float32", "normal")
    return Recipe.parse(f"{shapes}:{','.join(options)}", op=op, dtype=dtype, fill=fill)


@given(recipes(), st.integers(1, 5000), st.booleans())
def test_samples_have_as_many_outputs_and_terms_as_are_wanted(recipe, outputs, whole_images):
    part = sampled(recipe, outputs, whole_images=whole_images)
    assert outputs_of(part) >= min(outputs, outputs_of(recipe))
    assert outputs_of(part) <= outputs_of(recipe)
    assert part.terms() == recipe.terms()
    if outputs >= outputs_of(recipe):
        assert part == recipe
    if whole_images or like(recipe.op) in ("weight", "bias"):
        assert part.geometry.size == recipe.geometry.size
    if part.op not in QUANTIZED:
        assert prod(part.case().unwritten.shape) == outputs_of(part)


def test_samples_are_small():
    """Not many more than are wanted, where images, filters, groups and the middle of the image are left out."""
    for op in OPERATORS:
        dtype, w = "uint8" if op in QUANTIZED else "float32", "64,256" if is_transposed(op) else "256,64"
        size, kernel = ",96" * axes_of(op), ",3" * axes_of(op)
        recipe = Recipe.parse(f"8,64{size}:{w}{kernel}:padding=1", op=op, dtype=dtype)
        assert outputs_of(sampled(recipe, 1000)) < 6000, op
    depthwise = Recipe.parse("1,256,24,24:256,1,3,3")
    assert sampled(depthwise, 484).geometry.groups == 1


@pytest.mark.parametrize("op", FLOATING)
def test_bounds_of_a_sample_are_like_those_of_all_outputs(op):
    """The largest bound of the sample is above the median of all bounds, and not above the largest but by chance."""
    shapes = {1: "2,32,99:32,32,9:padding=4", 2: "2,32,20,20:32,32,3,3:padding=1", 3: "2,8,9,9,9:8,8,3,3,3:padding=1"}
    recipe = Recipe.parse(shapes[axes_of(op)], op=op, fill="normal")
    whole, part = recipe.case().bound(), sampled(recipe, 16).case().bound()
    assert part.size < whole.size or like(op) == "bias"
    assert np.median(whole) < part.max() < whole.max() + np.median(whole)


@pytest.mark.parametrize("padding", ["same_upper", "same_lower", "valid", "1+0x2+2"])
def test_paddings_stay(padding):
    recipe = Recipe.parse(f"1,2,97,98:2,2,3,4:stride=3x2,padding={padding}")
    part = sampled(recipe, 10)
    assert part.geometry.padding == recipe.geometry.padding
    assert part.geometry.size != recipe.geometry.size
    assert part.case().geometry == part.geometry
