"""Channels side by side: the bits of the nest that has them one after the other, in every operator."""

from contextlib import contextmanager

import numpy as np
from common import same_bits
from hypothesis import example, given
from hypothesis import strategies as st

import refconv
from refconv.core.geometry import convolution
from refconv.engine.targets.cpu import depthwise, execute

MODES = ("zeros", "reflect", "replicate", "circular")
LANES = {"float32": depthwise.registers()[0] // 4, "float64": depthwise.registers()[0] // 8}


@contextmanager
def changed(lanes_of, placed):
    """Which problems may have channels side by side, and which have."""
    kept = depthwise.LEAST_PRODUCTS, depthwise.lanes_of, depthwise.placed
    try:
        execute._prepared.cache_clear()
        depthwise.LEAST_PRODUCTS, depthwise.lanes_of, depthwise.placed = 0, lanes_of, placed
        yield
    finally:
        depthwise.LEAST_PRODUCTS, depthwise.lanes_of, depthwise.placed = kept
        execute._prepared.cache_clear()


def results(dtype, channels, shape, options, mode, view, special):
    """What every operator makes of random numbers."""
    (images, size, kernel), (stride, padding, dilation) = shape, options
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype(dtype) for shape in ((images, channels, *size), (channels, 1, *kernel)))
    bias = rng.standard_normal(channels).astype(dtype)
    if special:
        x[0, 0, 0, 0], x[-1, -1, -1, -1], w[-1, 0, 0, 0] = np.nan, -np.inf, -0.0
    x, w = view(x), view(w)
    arguments, keywords = (stride, padding, dilation, channels), {"precision": dtype}
    yield refconv.conv2d(x, w, None, *arguments, **keywords, padding_mode=mode)
    out = refconv.conv2d(x, w, bias, *arguments, **keywords, padding_mode=mode)
    yield out
    gradient = view(rng.standard_normal(out.shape).astype(dtype))
    yield refconv.conv2d_input(x.shape, w, gradient, *arguments, **keywords, padding_mode=mode)
    yield refconv.conv2d_weight(x, w.shape, gradient, *arguments, **keywords, padding_mode=mode)
    yield refconv.conv_transpose2d(gradient, w, bias, stride, padding, 0, channels, dilation, **keywords)


VIEWS = {
    "as it is": lambda a: a,
    "channels last": lambda a: np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    "reversed": lambda a: a[::-1, ::-1, ::-1, ::-1],
    "transposed": lambda a: np.ascontiguousarray(a.swapaxes(2, 3)).swapaxes(2, 3),
}
SMALL = st.integers(1, 3)


@given(
    dtype=st.sampled_from(("float32", "float64")),
    more=st.integers(0, 20),
    shape=st.tuples(
        SMALL, st.tuples(st.integers(1, 20), st.integers(1, 40)), st.tuples(st.integers(1, 5), st.integers(1, 7))
    ),
    options=st.tuples(SMALL, st.integers(0, 3), SMALL),
    mode=st.sampled_from(MODES),
    view=st.sampled_from(sorted(VIEWS)),
    special=st.booleans(),
)
@example("float32", 0, (1, (14, 14), (3, 3)), (2, 1, 1), "zeros", "as it is", True)
@example("float64", 3, (2, (7, 7), (7, 7)), (1, 3, 1), "zeros", "as it is", False)
def test_same_bits(dtype, more, shape, options, mode, view, special):
    channels = LANES[dtype] + more
    arguments = dtype, channels, shape, options, mode, VIEWS[view], special
    (images, size, kernel), (stride, padding, dilation) = shape, options
    try:
        convolution((images, channels, *size), (channels, 1, *kernel), None, stride, padding, dilation, channels, mode)
        with changed(lambda _: 0, None):
            expected = list(results(*arguments))
    except refconv.GeometryError:
        return  # nothing that a convolution can be
    with changed(depthwise.lanes_of, depthwise.side_by_side):
        for result, right in zip(results(*arguments), expected, strict=True):
            assert same_bits(result, right)


def test_the_cost_model_chooses(monkeypatch):
    """Only where channels are as many as a vector has lanes."""
    chosen = []
    placed = depthwise.placed
    monkeypatch.setattr(depthwise, "placed", lambda p, lanes: chosen.append(placed(p, lanes)) or chosen[-1])
    execute._prepared.cache_clear()
    x, w = np.ones((1, 96, 14, 14), "float32"), np.ones((96, 1, 3, 3), "float32")
    refconv.conv2d(x, w, None, 2, 1, 1, 96, precision="float32")
    assert [p.is_side_by_side for p in chosen] == [True]
    refconv.conv2d(x[:, :3], w[:3], None, 2, 1, 1, 3, precision="float32")
    assert len(chosen) == 1
