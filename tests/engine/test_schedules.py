"""The fast schedules: every tile and every cut gives the bits of the nest; panels and memory are bounded."""

import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
from common import ALL, AS_TORCH, MODES, call, same_bits
from hypothesis import example, given
from hypothesis import strategies as st

from refconv import conv2d, strategies
from refconv.engine.flat_layout import layout
from refconv.engine.targets.cpu import execute, plan, schedule, threads

RNG = np.random.default_rng(0)


@contextmanager
def forced(tile, band, n_threads=1, coarse=False):
    """All calls take this tile of those that fit a group, bands of at most so many rows and columns, such threads."""
    kept = execute.cheapest, plan.UNITS_PER_THREAD, plan.CHUNK_CYCLES, execute.small.run

    def chosen(p):
        fitting = p.tiles[min(tile, len(p.tiles) - 1)]
        wanted = tuple(min(size, outputs) for size, outputs in zip(band, p.output, strict=True))
        return schedule.costed(p, *fitting, wanted, n_threads)

    try:
        clear_caches()
        execute.cheapest = chosen
        execute.small.run = lambda _: False  # small problems have plans of their own
        if coarse:  # threads take many units at a time, of several panels
            plan.UNITS_PER_THREAD, plan.CHUNK_CYCLES = 1, 1e9
        yield
    finally:
        execute.cheapest, plan.UNITS_PER_THREAD, plan.CHUNK_CYCLES, execute.small.run = kept
        clear_caches()


def clear_caches():
    """Plans made before are forgotten."""
    execute._prepared.cache_clear()
    execute._prepare.cache_clear()


TILES = st.sampled_from(range(3))  # any other would be compiled for the test alone
BANDS = st.tuples(st.sampled_from((1, 2, 3, 100)), st.sampled_from((1, 5, 16, 33, 100)))


@given(
    case=strategies.cases(
        dtypes=ALL, padding_modes=MODES, asymmetric_padding=True, max_multiplications=20_000, **AS_TORCH
    ),
    tile=TILES,
    band=BANDS,
    n_threads=st.sampled_from((1, 2, 5)),
    coarse=st.booleans(),
)
def test_every_schedule_gives_the_same_bits(case, tile, band, n_threads, coarse):
    """Bands of rows and of columns, groups lower than a tile, more threads than units; whatever the precision."""
    precisions = ["exact", "float64", "float32"][: 2 + (case.input.dtype.itemsize <= 4)]
    expected = [call(case, precision=precision) for precision in precisions]
    with forced(tile, band, n_threads, coarse):
        for precision, result in zip(precisions, expected, strict=True):
            assert same_bits(call(case, precision=precision), result)


@given(
    case=strategies.cases(dtypes=("float32", "int16"), padding_modes=MODES, max_multiplications=1500, **AS_TORCH),
    tile=TILES,
    band=BANDS,
)
def test_every_schedule_is_the_nest_in_python(case, tile, band):
    """The same against the nest that a person reads, run without a compiler."""
    with forced(tile, band):
        assert same_bits(call(case), call(case, backend="python"))


def test_long_sums_in_every_schedule():
    """Several blocks of 256 terms, for which totals leave the registers."""
    x, w = RNG.standard_normal((1, 90, 9, 9)).astype("float32"), RNG.standard_normal((9, 90, 3, 3)).astype("float32")
    for precision in ("float32", "exact"):
        expected = conv2d(x, w, precision=precision)
        for tile in range(3):
            with forced(tile, (3, 100)):
                assert same_bits(conv2d(x, w, precision=precision), expected)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_lies_beyond_an_output_does_not_matter(value):
    """Tiles compute past the ends of rows and channels: special values there reach no output."""
    x = np.full((1, 2, 5, 40), value, "float32")
    x[..., 7:12] = 1
    out = conv2d(x[..., 7:12], np.ones((3, 2, 2, 2), "float32"))
    assert (out == 8).all()


@given(
    shift=st.integers(0, 3),
    flips=st.tuples(*[st.sampled_from((1, -1))] * 4),
    order=st.permutations(range(4)),
    gaps=st.tuples(*[st.sampled_from((1, 2))] * 4),
)
@example(shift=1, flips=(1, 1, 1, -1), order=range(4), gaps=(1, 1, 1, 1))
def test_any_memory_layout(shift, flips, order, gaps):
    """Unaligned, reversed, transposed and strided views of input and weight give the bits of their copies."""

    def view(shape):
        sizes = [shape[axis] * gaps[axis] for axis in order]
        memory = np.zeros(4 * int(np.prod(sizes)) + 4, np.uint8)
        plain = memory[shift : shift + 4 * int(np.prod(sizes))].view("float32").reshape(sizes)
        plain[...] = RNG.standard_normal(sizes)
        back = plain.transpose(np.argsort(order))
        return back[tuple(slice(None, None, flip * gap) for flip, gap in zip(flips, gaps, strict=True))]

    x, w = view((2, 4, 6, 7)), view((6, 2, 3, 2))
    expected = conv2d(x.copy(), w.copy(), padding=1, groups=2)
    assert same_bits(conv2d(x, w, padding=1, groups=2), expected)


@given(
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    dilation=st.tuples(st.sampled_from((1, 2, 3, 9)), st.sampled_from((1, 2, 3, 9))),
    output=st.tuples(st.integers(1, 6), st.integers(1, 6)),
)
def test_a_layout_puts_each_element_in_its_place(kernel, stride, dilation, output):
    """For every output and tap: the element at the tap's place, a step for each output on, is the padded input's."""
    flat = layout(kernel, stride, dilation, output)
    elements = [
        (flat.starts[0][a] + j * stride[0], flat.starts[1][b] + v * stride[1])
        for b, a, j, v in np.ndindex(*map(len, flat.starts[::-1]), *flat.lengths)
    ]
    assert len(elements) == flat.channel
    for p, q, r, s in np.ndindex(*output, *kernel):
        place = flat.taps[r * kernel[1] + s] + p * flat.steps[0] + q * flat.steps[1]
        assert elements[place] == (p * stride[0] + r * dilation[0], q * stride[1] + s * dilation[1])


@given(st.data())
def test_panels_are_bounded(data):
    """However large the input: a panel holds no more than the cost model allows, or is the smallest there is."""
    sizes = st.sampled_from((1, 3, 16, 56, 224, 1000))
    height, width, kernel, channels = (data.draw(sizes) for _ in range(4))
    kernel, dilation, dtype = min(kernel, 224), data.draw(st.sampled_from((1, 2, 40))), np.dtype("float32")
    p = schedule.Problem(
        images=1, groups=1, in_channels=channels, channels=data.draw(sizes),
        size=(height + dilation * (kernel - 1), width + dilation * (kernel - 1)),
        kernel=(kernel, kernel), output=(height, width), stride=(1, 1), dilation=(dilation,) * 2, padding=((0, 0),) * 2,
        padding_mode="zeros", x_strides=(4,) * 5, w_strides=(), out_strides=(4,) * 5,
        x_dtype=dtype, w_dtype=dtype, out_dtype=dtype, accumulator=dtype, threads=2, zero_point=0, slack=0,
        all_terms=channels * kernel**2,
    )  # fmt: skip
    chosen = schedule.cheapest(p)
    columns = (chosen.vectors * p.lanes, width)  # of a tile, and of a row
    panel, *least = (
        4 * channels * layout(p.kernel, p.stride, p.dilation, band).channel
        for band in (chosen.band, *((1, min(outputs, width)) for outputs in columns))
    )
    assert panel <= 4 * max(schedule.PANEL_BYTES, *least)


def test_memory_beyond_input_and_output_is_the_workspace(monkeypatch):
    """An input of 64 MiB is packed by panels: nothing grows with it."""
    monkeypatch.setattr(threads, "count", lambda: 2)
    x, w = np.ones((1, 16, 1024, 1024), "float32"), np.ones((2, 16, 3, 3), "float32")
    conv2d(x, w)
    tracemalloc.start()
    try:
        out = conv2d(x, w)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - out.nbytes < x.nbytes // 16


def test_integers_at_the_limits_of_each_accumulator():
    """Integers in every accumulator, up to the last magnitude that it holds exactly, and one past it."""
    for bits in (24, 53):
        for step in (-1, 0, 1):
            x = np.array([2 ** (bits - 12), step], "int64").reshape(1, 2, 1, 1)
            w = np.array([2**12, 1], "int64").reshape(1, 2, 1, 1)
            assert conv2d(x, w).item() == 2**bits + step
