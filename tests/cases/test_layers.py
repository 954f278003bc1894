"""Layers, ordinary calls and corners: that a plan enters the gates of real networks, and goes through its corners."""

from functools import cache

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from selector_gates import ORDERS, TELLING, entries, met, network_calls

from refconv.cases.corners import CLASSES, SMALLEST, corners
from refconv.cases.fitting import size_of
from refconv.cases.layers import WIDE, Layers, affordable, network_layers, ordinary, thrifty
from refconv.cases.plan import plan
from refconv.cases.space import space
from refconv.cases.supports import Supports
from refconv.cases.values import Values, output_size, values_of

GATES = 300  # of each order


@cache
def planned(op="conv2d", dtype="float32", seed=3):
    return tuple(plan(op, [dtype], Supports(), 1000, seed))


@cache
def entered(order):
    return entries(planned(), order, GATES)


@pytest.mark.parametrize("order", ORDERS)
def test_a_plan_enters_most_gates_of_each_order(order):
    assert (entered(order) > 0).mean() >= 0.93


def test_a_plan_enters_nearly_all_gates_and_most_of_them_often():
    assert np.mean([entered(order) > 0 for order in ORDERS]) >= 0.97
    assert np.mean([entered(order) >= 3 for order in ORDERS]) >= 0.9


# Conditions of wrong fast paths that 1,000 cases of an earlier plan did not enter, or hardly.
REPORTED = {
    "the first layer of most networks (iree#16175)": lambda v: (
        (v.groups, v.inputs, v.rows, v.columns, v.stride_h, v.stride_w) == (1, 3, 3, 3, 2, 2) and v.outputs % 4 == 0
    ),
    "1x1 in an odd number of stages of 8 channels (burn#5626)": lambda v: (
        (v.groups, v.rows, v.columns, v.stride_h, v.stride_w, v.top, v.left) == (1, 1, 1, 1, 1, 0, 0)
        and v.inputs % 16 == 8
        and v.outputs > 1
        and v.height * v.width > 1
    ),
    "1x1 whose pixels by eight leave four (ncnn#1384)": lambda v: (
        (v.groups, v.rows, v.columns, v.stride_h, v.stride_w) == (1, 1, 1, 1, 1)
        and v.inputs % 4 == v.outputs % 4 == 0
        and output_size(v)[0] * output_size(v)[1] % 8 == 4
    ),
    "1x1 of 96 channels and 32768 pixels (cubek#519)": lambda v: (
        (v.groups, v.rows, v.columns) == (1, 1, 1) and v.inputs >= 96 and v.height * v.width >= 32768
    ),
}


@pytest.mark.parametrize("name", REPORTED)
@pytest.mark.parametrize("seed", [3, 4])
def test_reported_conditions_are_entered(name, seed):
    entering = [r for r in planned(seed=seed) if r.fill in TELLING and REPORTED[name](values_of(r))]
    assert len(entering) >= 2


@given(st.sampled_from(network_calls()))
@settings(max_examples=200, deadline=None)
def test_a_layer_is_made_smaller_where_no_selector_can_tell(v):
    smaller = thrifty(v)
    assert (met([smaller]) == met([v])).all()
    assert size_of(smaller) <= size_of(v)
    assert thrifty(smaller) == smaller


@given(st.sampled_from(network_calls()), st.integers(1, 2**27), st.integers(0, 9))
@example(
    Values(height=1, width=2000, rows=3, columns=3, top=1, bottom=1, left=1, right=1), 1000, 0
)  # its one row became three
@settings(max_examples=100, deadline=None)
def test_what_is_not_affordable_is_made_smaller(v, limit, seed):
    smaller = affordable(v, limit, np.random.default_rng(seed))
    assert smaller.height <= v.height
    assert smaller.width <= v.width
    assert min(output_size(smaller)) >= 1
    assert size_of(smaller) <= limit or (smaller.batch, smaller.inputs, smaller.outputs) == (1, 1, 1)
    assert (smaller.rows, smaller.columns, smaller.groups) == (v.rows, v.columns, v.groups)


def test_all_layers_of_the_networks_come_in_turn():
    here = space("conv2d", ("float32",), Supports())
    layers = Layers(here, np.random.default_rng(0))
    drawn = [layers.next() for _ in network_layers()]
    kinds = {(v.rows, v.columns, v.stride_h, v.dilation_h) for v in network_layers()}
    assert {(v.rows, v.columns, v.stride_h, v.dilation_h) for v in drawn} == kinds
    assert all(size_of(v) <= WIDE and v.fill in TELLING for v in drawn)
    assert {v.batch > 1 for v in drawn} == {v.bias for v in drawn} == {True, False}


def test_ordinary_calls_are_ordinary_but_for_two_things():
    here, rng = space("conv2d", ("float32",), Supports()), np.random.default_rng(0)
    drawn = [ordinary(here, rng) for _ in range(400)]
    usual = [
        sum((v.rows == v.columns, v.stride_h == v.stride_w, v.dilation_h == v.dilation_w, v.first == "contiguous"))
        for v in drawn
    ]
    assert np.mean(usual) > 3.5
    pointwise = [v for v in drawn if (v.rows, v.columns, v.groups, v.stride_h, v.stride_w) == (1, 1, 1, 1, 1)]
    assert len(pointwise) > 40
    pixels = {output_size(v)[0] * output_size(v)[1] % 8 for v in drawn}
    assert pixels == set(range(8))


@pytest.mark.parametrize("op", ["conv2d", "conv2d_input", "conv2d_weight", "conv_transpose2d"])
def test_special_values_come_where_libraries_change_kernels(op):
    here = space(op, ("float32",), Supports())
    of_plan = {values_of(recipe)._replace(seed=0, layout="NCHW") for recipe in planned(op)}
    missing = [v for v in corners() if here.settled(v) not in of_plan]
    assert missing == []
    special = [v for v in corners() if v.fill == "special"]
    assert len(special) == 2 * len(CLASSES)
    assert {v.bias for v in special} == {True, False}


@pytest.mark.parametrize("op", ["conv2d", "conv2d_integer", "conv_transpose2d", "conv2d_weight"])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_the_smallest_convolutions_are_there_for_every_dtype(op, dtype):
    sizes = {
        recipe.geometry.kernel
        for recipe in planned(op, dtype)
        if recipe.geometry.output_shape == (1, 1, 1, 1) and recipe.geometry.in_channels == 1
    }
    assert sizes >= set(SMALLEST)


def test_special_data_has_every_special_value():
    special = [recipe for recipe in planned() if recipe.fill == "special"][:20]
    seen = np.concatenate([recipe.case().input.ravel() for recipe in special])
    assert np.isnan(seen).any()
    assert np.isposinf(seen).any()
    assert np.isneginf(seen).any()
    assert ((seen == 0) & np.signbit(seen)).any()
