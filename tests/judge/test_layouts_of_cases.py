"""Cases given in other layouts than torch's: the same case, whose outputs are judged in that layout."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from common import SOME
from hypothesis import given
from hypothesis import strategies as st

import refconv
from refconv import strategies
from refconv.core.layouts import Layouts
from refconv.judge.given import TAKEN

OF_IMAGES, OF_WEIGHTS = ("NHWC", "CHWN", "NCHW"), ("HWIO", "OHWI", "IHWO", "OIHW")
OPS = sorted(SOME)


def given_in(case, layouts):
    """The same case, given in other layouts."""
    fields = {name: getattr(case, name) for name in TAKEN[case.op] if name != "op"}
    for name in ("input", "weight", "grad_output"):
        if fields.get(name) is not None:
            fields[name] = layouts.stored(name, fields[name], case.groups)
    for name in ("input_size", "weight_size"):
        if fields.get(name) is not None:
            fields[name] = layouts.size(name, fields[name], case.groups)
    return refconv.Case(op=case.op, **fields, layout=layouts.input, weight_layout=layouts.weight)


@given(
    st.sampled_from(OPS).flatmap(lambda op: strategies.cases(op, unbatched=True)),
    st.sampled_from(OF_IMAGES),
    st.sampled_from(OF_WEIGHTS),
)
def test_it_is_the_same_case(case, images, weights):
    images, weights = (
        {1: name.replace("H", "").replace("W", "L"), 2: name, 3: name.replace("H", "DH")}[case.axes]
        for name in (images, weights)
    )
    other = given_in(case, Layouts(images, weights, images))
    assert {name: array.tobytes() for name, array in other.arrays.items()} == {
        name: array.tobytes() for name, array in case.arrays.items()
    }
    for given_, usual in zip(other.arguments(), case.arguments(), strict=True):
        if isinstance(usual, np.ndarray):
            assert given_.size == usual.size
    expected = other.expected()
    assert np.array_equal(other._usual(expected), case.expected(), equal_nan=expected.dtype.kind == "f")
    assert other.check(expected).verdict == "identical"
    assert other.is_expected(expected)
    assert other.bound().shape == expected.shape
    for copied in (pickle.loads(pickle.dumps(other)), copy.copy(other)):  # noqa: S301 - our own
        assert copied.check(expected).verdict == "identical"
    assert replace(other).check(case.expected()).verdict == "identical"  # a copy made so is in torch's layout


@given(strategies.cases(depthwise=True))
def test_a_depthwise_weight_may_have_its_multiplier_last(case):
    layouts = Layouts("NHWC", "HWCM", "NHWC")
    other = given_in(case, layouts)
    assert other.weight.tobytes() == case.weight.tobytes()
    assert other.check(layouts.stored("output", case.expected())).ok


def test_an_output_in_another_layout_is_wrong():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 3, 6, 4)), rng.standard_normal((5, 3, 3, 3))
    case = refconv.Case(input=x.transpose(0, 2, 3, 1), weight=w.transpose(2, 3, 1, 0), layout="NHWC",
                        weight_layout="HWIO")  # fmt: skip
    comparison = case.check(refconv.conv2d(x, w))
    assert comparison.verdict == "wrong"
    assert "input=float64[2, 6, 4, 3], weight=float64[3, 3, 3, 5]" in str(comparison)
    assert "(in NHWC and HWIO; indices are in NCHW)" in str(comparison)
    assert comparison.diagnosis is not None
    assert repr(case).startswith("<conv2d(")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layout": "NDHWC"}, "layout='NDHWC': must have the letters of 'NCHW'"),
        (
            {"weight_layout": "NHWC"},
            "weight_layout='NHWC': must have the letters of 'OIHW' in some order, or be 'HWCM'",
        ),
        ({"layout": 1}, "layout=1"),
    ],
)
def test_wrong_layouts_are_refused(options, said):
    with pytest.raises(refconv.GeometryError, match=said):
        refconv.Case(input=np.ones((1, 1, 2, 2)), weight=np.ones((1, 1, 1, 1)), **options)
