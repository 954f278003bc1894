"""The part of the input that the worst output is computed from."""

import numpy as np
from common import AS_TORCH
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import refconv
from refconv import Case, strategies


@given(
    strategies.cases(
        dtypes=("float32",),
        fills=("normal",),
        padding_modes=("zeros", "reflect", "replicate", "circular"),
        max_multiplications=2000,
        **AS_TORCH,
    ),
    st.data(),
)
@settings(max_examples=60)
def test_receptive_field(case, data):
    """What is outside of it changes nothing, and all that is inside changes the output."""
    out = case.expected("float32")
    assume(out.size)
    index = tuple(data.draw(st.integers(0, size - 1)) for size in out.shape)
    wrong = out.copy()
    wrong[index] += 1 + abs(wrong[index])
    field = case.check(wrong).receptive_field
    inside = np.zeros(case.input.shape, bool)
    inside[field.index] = True
    x, *rest = case.arguments()
    for changed, reached in ((np.where(inside, x, x + 1), False), (np.where(inside, np.nan, x), True)):
        other = refconv.conv2d(changed.astype("float32"), *rest, padding_mode=case.padding_mode, precision="float32")
        assert (other[index].tobytes() == out[index].tobytes()) == (not (reached and inside.any()))


def test_the_receptive_field_in_words():
    case = Case(input=np.ones((2, 4, 5, 5), "float32"), weight=np.ones((4, 2, 3, 3), "float32"), padding=1, groups=2)
    wrong = case.expected()
    wrong[1, 3, 0, 4] = 0
    comparison = case.check(wrong)
    assert (
        str(comparison.receptive_field)
        == "input[1, 2:4, 0:2, 3:5]; 5 of the kernel's 9 taps lie in the padding (zeros)"
    )
    assert str(comparison.receptive_field) in str(comparison)
