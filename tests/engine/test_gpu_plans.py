"""What the GPU's kernels are told, worked out without one: how much is packed, what is divided, what is refused.

Arrays here are as large as they say, and one number in memory.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")

from refconv.arrays.gpu import device
from refconv.core.errors import BackendUnavailable
from refconv.core.formats import EXACT, INT64, number, numbers
from refconv.core.geometry import convolution
from refconv.engine import lowering
from refconv.engine.correlation import Correlation
from refconv.engine.targets.cuda import execute
from refconv.engine.targets.cuda.extent import MOST, extent
from refconv.engine.targets.cuda.plan import Problem, plan

pytestmark = pytest.mark.skipif(device.SIMULATED, reason="the simulator has no such memory")
FLOAT32 = np.dtype("float32")
SIZES = st.integers(1, 7)


def huge(*shape, dtype="float32"):
    return np.broadcast_to(np.zeros((), dtype), shape)


def of_one_axis(x, taps, out, *, images=1, channels=1, out_channels=1, groups=1):
    """A correlation along one axis."""
    return Correlation(
        huge(images, groups, channels, x), huge(groups, out_channels, channels, taps), None,
        huge(images, groups, out_channels, out), (1,), (1,), ((0, 0),), "zeros", FLOAT32,
    )  # fmt: skip


def strides(array):
    return tuple(8 * math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim))


@given(
    st.lists(st.tuples(st.integers(0, 7), SIZES, st.integers(-6, 6).filter(bool), SIZES), min_size=1, max_size=3),
    st.lists(st.integers(1, 70), min_size=4, max_size=4),
    st.sampled_from([FLOAT32, INT64, EXACT]),
)
def test_what_is_counted(axes, counts, accumulator):
    """The tables' and the packed operands' sizes, which for huge shapes are told without making any."""
    taps, stride, dilation, output = zip(*axes, strict=True)
    images, groups, channels, out_channels = counts
    c = of_one_axis(1, 1, 1, images=images, groups=groups, channels=channels, out_channels=out_channels)._replace(
        w=huge(groups, out_channels, channels, *taps),
        x=huge(images, groups, channels, *(1,) * len(axes)),
        out=huge(images, groups, out_channels, *output),
        stride=stride,
        dilation=dilation,
        accumulator=accumulator,
    )
    e = extent(c, c.out.shape)
    made = plan(Problem(e, ((0, 0),) * len(axes), "zeros", strides(c.x), strides(c.w), strides(c.out)))
    tables = (*made.x, *made.w, *made.out, made.offsets, made.row_places)
    of_bias = 8 * (1 + groups + out_channels * numbers(accumulator))
    assert e.table_bytes == sum(table.nbytes for table in tables) + of_bias
    n_sums = e.sums * numbers(accumulator) if e.parts == 1 else e.sums * (e.parts + 1)
    n_bias = (groups * out_channels + 2 * e.shape.block_channels) * numbers(accumulator)
    packed = sum(math.prod(map(len, axes)) for axes in (made.x, made.w))
    assert e.packed_bytes == number(accumulator).itemsize * (packed + n_sums + n_bias)


def check(c):
    extent(c, c.out.shape).check()


def forward(x, w, groups=1, accumulator=FLOAT32):
    g = convolution(x, w, None, 1, 0, 1, groups, "zeros")
    return lowering.forward(g, huge(*x), huge(*w), None, accumulator, huge(g.batch, g.out_channels, *g.output_size))


def weight_gradient(x, w):
    g = convolution(x, w, None, 1, 0, 1, 1, "zeros")
    grad = huge(g.batch, g.out_channels, *g.output_size)
    return lowering.weight_gradient(g, huge(*x), grad, FLOAT32, huge(*w))


HUGE = {
    "images": forward((4096, 64, 512, 512), (64, 64, 3, 3)),
    "one image": forward((1, 64, 2**14, 2**14), (64, 64, 3, 3)),
    "one long line": forward((1, 1, 2**27), (1, 1, 2)),
    "one line": forward((1, 2, 1, 2**33), (2, 2, 1, 5)),
    "channels": forward((1, 2**16, 2, 2), (2**17, 2**16, 1, 1)),
    "depthwise": forward((64, 2**12, 256, 256), (2**12, 1, 3, 3), groups=2**12),
    "exact": forward((16, 64, 2048, 2048), (64, 64, 3, 3), accumulator=EXACT),
    "weight gradient": weight_gradient((256, 256, 224, 224), (128, 256, 3, 3)),
    "bias gradient": lowering.bias_gradient(huge(256, 1024, 112, 112), FLOAT32, huge(1024)),
}


@pytest.mark.parametrize("c", HUGE.values(), ids=HUGE)
def test_what_is_divided(c, monkeypatch):
    """Each piece has counts that kernels can count, and about the memory that it may have."""
    pieces = []
    monkeypatch.setattr(execute, "_run_piece", pieces.append)
    assert execute._needed(c, c.out.shape) > execute.BUDGET
    execute._run(c)
    assert sum(piece.out.size for piece in pieces) == c.out.size
    for piece in pieces:
        assert execute._needed(piece, piece.out.shape) <= execute.BUDGET * execute.LEAST_SAVED / (
            execute.LEAST_SAVED - 1
        )
    # Packed and copied, each part of the one may need each part of the other, and tables some of the budget.
    x, rest = (8 * size / execute.BUDGET for size in (c.x.size, c.w.size + 2 * c.out.size))
    assert len(pieces) <= 16 * (1 + x) * (1 + rest)


REFUSED = {
    "terms in an output": of_one_axis(MOST + 1, MOST + 1, 1),
    "elements in a channel of the padded input": of_one_axis(MOST + 1, 2, 1)._replace(dilation=(2**32,), stride=(2,)),
    "channels of the input": of_one_axis(1, 1, 1, images=2**16, channels=2**16),
    "weights in a tile of channels": of_one_axis(2**28, 2**28, 1, out_channels=2**3 + 1),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused(what):
    """One output is not divided: an error says what there is too much of, before anything is moved."""
    with pytest.raises(BackendUnavailable, match=rf"there are \d+ {what}, .*: must be at most {MOST}; use"):
        check(REFUSED[what])


def test_what_is_just_not_refused():
    check(of_one_axis(MOST, MOST, 1))
    with pytest.raises(BackendUnavailable, match=f"there are {MOST + 1} outputs"):
        check(of_one_axis(MOST + 1, 1, MOST + 1))
    with pytest.raises(BackendUnavailable, match="terms in an output"):
        execute._run(of_one_axis(MOST + 1, MOST + 1, 1))
