"""Layouts: every order of the axes of images and weights, there and back."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refconv import GeometryError
from refconv.core.layouts import DEPTHWISE, IMAGES, WEIGHTS, Layouts, checked


def layouts_of(axes):
    images, weights = ([*map("".join, itertools.permutations(usual[axes]))] for usual in (IMAGES, WEIGHTS))
    of_weights = st.sampled_from([*weights, DEPTHWISE[axes]])
    return st.builds(Layouts, st.sampled_from(images), of_weights, st.sampled_from(images))


LAYOUTS = st.sampled_from((1, 2, 3)).flatmap(layouts_of)
NAMES = ("input", "weight", "grad_output", "output")


def array_of(shape):
    return np.arange(np.prod(shape, dtype=int)).reshape(shape)


SIZES = st.lists(st.integers(1, 3), min_size=3, max_size=3)


@given(LAYOUTS, st.sampled_from(NAMES), st.integers(1, 3), st.integers(1, 3), SIZES)
def test_an_array_comes_back(layouts, name, groups, multiplier, sizes):
    first = groups * multiplier
    array = array_of((first, 1 if name == "weight" else 2, *sizes[: layouts.axes]))
    stored = layouts.stored(name, array, groups)
    np.testing.assert_array_equal(layouts.restored(name, stored), array)
    assert layouts.size(name, array.shape, groups) == stored.shape
    assert layouts.restored_size(name, stored.shape) == array.shape


@given(LAYOUTS, st.sampled_from(("input", "grad_output")))
def test_a_single_image_has_the_same_order_without_its_batch(layouts, name):
    array = array_of((2, 3, 4, 2)[: layouts.axes + 1])
    np.testing.assert_array_equal(layouts.stored(name, array), layouts.stored(name, array[None]).reshape(-1, *(
        length for length, letter in zip(layouts.stored(name, array[None]).shape, layouts._of(name), strict=True)
        if letter != "N"
    ))[0])  # fmt: skip
    np.testing.assert_array_equal(layouts.restored(name, layouts.stored(name, array)), array)


def test_letters_say_where_axes_are():
    weight = array_of((6, 2, 3, 5))
    stored = Layouts("NHWC", "HWIO", "NHWC").stored("weight", weight)
    assert stored[1, 4, 1, 5] == weight[5, 1, 1, 4]
    depthwise = array_of((6, 1, 3, 5))  # of 3 channels with 2 filters each
    assert Layouts("NHWC", DEPTHWISE[2]).stored("weight", depthwise, 3)[1, 4, 2, 1] == depthwise[5, 0, 1, 4]


@pytest.mark.parametrize("name", ["bias", "input_scale", "padding", ""])
def test_what_has_no_layout_stays(name):
    array = array_of((2, 3, 4, 5))
    assert Layouts("NHWC", "HWIO", "NHWC").stored(name, array) is array


@given(LAYOUTS)
def test_text_comes_back(layouts):
    assert Layouts.parse(str(layouts), layouts.axes) == layouts


def test_one_layout_is_that_of_images():
    assert Layouts.parse("NCHW") == Layouts.usual(2)
    assert Layouts.parse("NHWC") == Layouts("NHWC", "OIHW", "NHWC")
    assert Layouts.parse("NLC", 1) == Layouts("NLC", "OIL", "NLC")


@pytest.mark.parametrize("text", ["", "NCL", "NHWC,HWIO", "NHWC,NHWC,NHWC", "OIHW", "HWCM,OIHW,NCHW", 5, None])
def test_wrong_letters_are_refused(text):
    with pytest.raises(GeometryError, match="layout="):
        Layouts.parse(text)


def test_a_layout_of_another_rank_is_refused_by_name():
    with pytest.raises(GeometryError, match=r"weight_layout='OIDHW': must have the letters of 'OIHW'"):
        checked("weight_layout", "OIDHW", WEIGHTS[2])


@pytest.mark.parametrize(("name", "shape"), [("input", (2, 3)), ("weight", (2, 3, 4)), ("grad_output", (2,) * 5)])
def test_an_array_of_other_axes_stays_as_it_is(name, shape):
    """What must be refused is handed over as it is."""
    array = array_of(shape)
    layouts = Layouts("NHWC", "HWIO", "NHWC")
    assert layouts.stored(name, array) is array
    assert layouts.restored(name, array) is array
