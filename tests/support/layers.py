"""Arguments of layers, as Hypothesis draws them, and what a layer and torch's must have in common. No test."""

import numpy as np
from common import MODES
from hypothesis import strategies as st

ATTRIBUTES = (
    "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "transposed", "output_padding",
    "groups", "padding_mode",
)  # fmt: skip


def one_or_pair(numbers, alone=True):
    """An int, a pair as tuple or list, or (as torch takes it, but for the kernel) a sequence of one."""
    return st.one_of(numbers, st.tuples(numbers, numbers), st.lists(numbers, min_size=1 if alone else 2, max_size=2))


@st.composite
def arguments(draw, least_channels=0):
    """Keyword arguments that torch's constructor takes, each left out at times."""
    n_groups = draw(st.integers(1, 3))
    padding = draw(st.one_of(one_or_pair(st.integers(0, 3)), st.sampled_from(("same", "valid"))))
    optional = {
        "stride": st.sampled_from((1, (1, 1), [1])) if padding == "same" else one_or_pair(st.integers(1, 3)),
        "padding": st.just(padding),
        "dilation": one_or_pair(st.integers(1, 3)),
        "bias": st.booleans(),
        "padding_mode": st.sampled_from(MODES),
    }
    drawn = draw(st.fixed_dictionaries({}, optional=optional))
    return drawn | {
        "in_channels": n_groups * draw(st.integers(least_channels, 3)),
        "out_channels": n_groups * draw(st.integers(1, 3)),
        "kernel_size": draw(one_or_pair(st.integers(1, 4), alone=False)),
        **({"groups": n_groups} if n_groups > 1 or draw(st.booleans()) else {}),
    }


@st.composite
def transposed_arguments(draw):
    """The same for ConvTranspose2d."""
    n_groups = draw(st.integers(1, 3))
    steps = {"stride": one_or_pair(st.integers(1, 3)), "dilation": one_or_pair(st.integers(1, 3))}
    drawn = draw(st.fixed_dictionaries({}, optional=steps))
    pairs = [np.broadcast_to(drawn.get(name, 1), 2) for name in steps]
    least = int(np.max(pairs, axis=0).min())  # of both axes, so that one number may stand for both
    rest = {
        "padding": one_or_pair(st.integers(0, 3)),
        "output_padding": one_or_pair(st.integers(0, least - 1)),
        "bias": st.booleans(),
        "padding_mode": st.just("zeros"),
    }
    drawn |= draw(st.fixed_dictionaries({}, optional=rest))
    return drawn | {
        "in_channels": n_groups * draw(st.integers(1, 3)),
        "out_channels": n_groups * draw(st.integers(1, 3)),
        "kernel_size": draw(one_or_pair(st.integers(1, 4), alone=False)),
        **({"groups": n_groups} if n_groups > 1 or draw(st.booleans()) else {}),
    }


def is_sequence_of_one(value):
    """What torch's layers take for the width or the height alone in modes other than zeros."""
    return hasattr(value, "__len__") and len(value) == 1


def alike(ours, theirs):
    """Text, attributes and parameter shapes of a layer and torch's."""
    assert repr(ours) == repr(theirs)
    for name in ATTRIBUTES:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.weight.shape == theirs.weight.shape
    assert (ours.bias is None) == (theirs.bias is None)
    assert ours.bias is None or ours.bias.shape == theirs.bias.shape
