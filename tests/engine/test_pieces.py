"""However a correlation is cut, the bits are the same: slabs of terms, runs of positions, bands, pieces of outputs."""

import threading
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
from common import MODES, same_bits
from family import OF_CONVOLUTIONS, OPERATORS, SEEDS, TRANSPOSED, Arrays, axes_of, random_numbers, small_geometries
from hypothesis import given, settings
from hypothesis import strategies as st
from marks import sampled

import refconv
from refconv.core.geometry import convolution
from refconv.core.padding import fold, index_map, pad
from refconv.engine import fold as folding
from refconv.engine import integers
from refconv.engine.correlation import pieces
from refconv.engine.targets import cpu
from refconv.engine.targets.cpu import execute, schedule, threads

SUMS = ("float32", "complex64", "int16")  # dtypes of all kinds of sums


def clear_caches():
    """Plans made before are forgotten."""
    execute._prepared.cache_clear()
    execute._prepare.cache_clear()


@contextmanager
def changed(module, **values):
    """A module with other values of its names, no plans made with those before, and none of small problems' own."""
    kept, of_small = {name: getattr(module, name) for name in values}, execute.small.run
    try:
        execute.small.run = lambda _: False
        for name, value in values.items():
            setattr(module, name, value)
        clear_caches()
        yield
    finally:
        execute.small.run = of_small
        for name, value in kept.items():
            setattr(module, name, value)
        clear_caches()


def geometries(op, **options):
    """Small geometries for an operator."""
    modes = ("zeros",) if op in TRANSPOSED else MODES
    return small_geometries(axes_of(op), modes, **options)


# Slabs


@pytest.mark.parametrize("op", OPERATORS)
def test_slabs_of_terms_give_the_same_bits(op):
    """Cut along channels and along every axis of the kernel, in the middle of blocks of 256 terms."""
    seen = set()

    @settings(max_examples=max(10, settings().max_examples // 5))
    @given(geometries(op), st.sampled_from(SUMS), SEEDS, st.sampled_from((1, 50, 300, 2000)))
    def check(geometry, dtype, seed, slab_bytes):
        arrays = Arrays(geometry, seed, random_numbers(dtype))
        expected = arrays.call(op)
        with changed(schedule, SLAB_LIMIT=0, SLAB_BYTES=slab_bytes):
            assert same_bits(arrays.call(op), expected)
            used = execute._prepare.cache_info()
            seen.add(used.hits + used.misses > 1)

    check()
    assert True in seen  # several slabs


@pytest.mark.parametrize(
    ("dtype", "precision"), [("float32", "float32"), ("float64", "float64"), ("float32", "exact"), ("float64", "exact")]
)
@pytest.mark.parametrize("slab_bytes", [1, 700, 5000, 60_000])
def test_slabs_of_long_sums_give_the_same_bits(dtype, precision, slab_bytes):
    """Several blocks of 256 terms in a slab and several slabs in a block, with threads."""
    rng = np.random.default_rng(0)
    x, w, gradient = (rng.standard_normal(s).astype(dtype) for s in ((3, 40, 19, 23), (17, 40, 3, 2), (3, 17, 19, 22)))
    calls = (
        lambda: refconv.conv2d(x, w, w[:, 0, 0, 0], padding=1, precision=precision),
        lambda: refconv.conv2d_weight(x, w.shape, gradient, padding=((1, 1), (0, 0)), precision=precision),
        lambda: refconv.conv2d_bias(gradient, precision=precision),
    )
    for call in calls:
        expected = call()
        with changed(schedule, SLAB_LIMIT=0, SLAB_BYTES=slab_bytes):
            assert same_bits(call(), expected)


def problem(in_channels, kernel, **changes):
    """A problem whose output has 3 elements along each axis."""
    single = np.dtype("float32")
    axes = len(kernel)
    return schedule.Problem(
        images=1, groups=1, in_channels=in_channels, channels=4, size=tuple(n + 2 for n in kernel), kernel=kernel,
        output=(3,) * axes, stride=(1,) * axes, dilation=(1,) * axes, padding=((0, 0),) * axes, padding_mode="zeros",
        x_strides=(4,) * (3 + axes), w_strides=(), out_strides=(4,) * (3 + axes), x_dtype=single, w_dtype=single,
        out_dtype=single, accumulator=single, threads=1, zero_point=0, slack=0,
        all_terms=in_channels * int(np.prod(kernel)),
    )._replace(**changes)  # fmt: skip


@given(st.integers(1, 7), st.lists(st.integers(1, 6), min_size=1, max_size=3), st.data())
def test_slabs_hold_every_term_once_and_in_order(in_channels, kernel, data):
    """Terms ascend in (channel, taps); where a slab starts is the number of its first."""
    axis = data.draw(st.integers(0, len(kernel)))
    cut = schedule.Cut(axis, data.draw(st.integers(1, (in_channels, *kernel)[axis])))
    numbers = np.arange(in_channels * int(np.prod(kernel))).reshape(in_channels, *kernel)
    terms = []
    for slab in schedule.slabs(problem(in_channels, tuple(kernel)), cut):
        assert slab.first_term == len(terms)
        terms += numbers[(slab.channels, *slab.taps)].reshape(-1).tolist()
    assert terms == numbers.reshape(-1).tolist()


def test_which_sums_are_cut():
    """Those whose smallest panel is too large, into the largest slabs that are small enough."""
    assert schedule.cut(problem(64, (3, 3))) is None
    assert schedule.cut(problem(2**20, (3, 3))).axis == 0
    for kernel, axis in (((2**12, 2**12), 1), ((2**16, 2), 1), ((2, 2**24), 2)):
        cut = schedule.cut(problem(1, kernel))
        assert cut.axis == axis
        assert 1 <= cut.length < kernel[axis - 1]


def test_a_thread_that_comes_too_late_for_a_slab_disturbs_nobody(monkeypatch):
    """The pool returns once all work is done; a thread that had none yet may start while the next slab is computed."""
    rng = np.random.default_rng(0)
    x, gradient = (rng.standard_normal((2, 24, 19, 23)).astype("float32") for _ in range(2))
    expected, cheapest = refconv.conv2d_weight(x, (24, 24, 3, 3), gradient, padding=1), execute.cheapest
    late = []

    def three_threads(p):
        best = cheapest(p)
        return schedule.costed(p, best.channels, best.vectors, best.band, 3)

    def share(function, argument, n_threads, kept):
        assert n_threads == 3
        function.ctypes(argument)
        # One of the slab before, now that this one has begun; what it lives on is kept.
        if late:
            function.ctypes(late[-1][0])
        late.append((argument, kept))

    monkeypatch.setattr(threads, "share", share)
    with changed(schedule, SLAB_LIMIT=0, SLAB_BYTES=5000), changed(execute, cheapest=three_threads):
        assert same_bits(refconv.conv2d_weight(x, (24, 24, 3, 3), gradient, padding=1), expected)
    workspaces = [kept[4].ctypes.data for _, kept in late]
    assert len(set(workspaces)) == len(workspaces) > 2


# Runs and bands


@pytest.mark.parametrize("op", ["conv2d", "conv3d", "conv2d_input", "conv2d_weight", "conv_transpose3d"])
def test_runs_and_bands_give_the_same_bits(op):
    """Positions between rows and planes computed or left out; leading axes cut one by one or not at all."""

    @given(
        geometries(op),
        st.sampled_from(SUMS),
        SEEDS,
        st.sampled_from((0, 1, 2)),
        st.sampled_from([(1, 1), (2, 1), (3, 2), (100, 100)]),
        st.booleans(),
        st.tuples(st.sampled_from(range(3)), st.sampled_from((1, 3))),
        st.sampled_from(("float64", "exact")),
    )
    def check(geometry, dtype, seed, split, rows_and_columns, cut, tile_and_threads, precision):
        tile, n_threads = tile_and_threads
        arrays = Arrays(geometry, seed, random_numbers(dtype))
        expected = arrays.call(op, precision=precision)

        def chosen(p):
            shapes = [shape for shape in schedule.tiles(p.numbers) if shape[0] <= p.channels]
            fitting = shapes[min(tile, len(shapes) - 1)]
            band = tuple(map(min, rows_and_columns, p.output[-2:]))
            leading = tuple(1 if cut else size for size in p.output[:-2])
            return schedule.costed(p, *fitting, (*leading, *band), n_threads, split)

        with changed(execute, cheapest=chosen):
            assert same_bits(arrays.call(op, precision=precision), expected)

    check()


@given(small_geometries(2, MODES), st.sampled_from(("float32", "bfloat16", "int8")), SEEDS, st.sampled_from((0, 10**9)))
def test_weights_in_any_order_copied_or_converted_tile_by_tile(geometry, dtype, seed, most_positions):
    """Transposed weights are copied, or, for few outputs, brought into order by each thread."""
    arrays = Arrays(geometry, seed, random_numbers(dtype))
    for op in ("conv2d", "conv2d_input"):
        expected = arrays.call(op)
        plain = arrays.weight
        arrays.weight = np.ascontiguousarray(plain.transpose(3, 1, 0, 2)).transpose(2, 1, 3, 0)
        with changed(execute, MOST_POSITIONS=most_positions):
            assert same_bits(arrays.call(op), expected)
        arrays.weight = plain


# Pieces


@given(
    small_geometries(2, MODES),
    st.sampled_from(("int8", "uint16", "int64", "uint64")),
    SEEDS,
    st.sampled_from((1, 5, 30, 200)),
    st.sampled_from(("wrap", "saturate")),
)
def test_pieces_of_outputs_give_the_same_integers(geometry, dtype, seed, most, overflow):
    """Integers of the whole range, which go by limbs and Python's integers, piece by piece."""
    info = np.iinfo(dtype)
    arrays = Arrays(geometry, seed, lambda rng, shape: rng.integers(info.min, info.max, shape, dtype, endpoint=True))
    for op in ("conv2d", "conv2d_input", "conv2d_weight"):
        expected = arrays.call(op, overflow=overflow, out_dtype="int16")
        fewer = {"MOST_ELEMENTS": most, "MOST_OBJECTS": most, "MOST_INPUTS": most}
        with changed(integers, **fewer), changed(folding, MOST_ELEMENTS=most):
            assert same_bits(arrays.call(op, overflow=overflow, out_dtype="int16"), expected)


@given(small_geometries(2, MODES), st.sampled_from(SUMS), SEEDS, st.sampled_from((1, 30, 200)))
def test_gradients_folded_row_by_row_have_the_same_bits(geometry, dtype, seed, most):
    """Of the padded gradient only some rows are there at a time."""
    arrays = Arrays(geometry, seed, random_numbers(dtype))
    expected = arrays.call("conv2d_input")
    with changed(folding, MOST_ELEMENTS=most), changed(integers, MOST_OBJECTS=most):
        assert same_bits(arrays.call("conv2d_input"), expected)


@given(small_geometries(2, MODES), SEEDS, st.sampled_from((1, 7, 60)))
def test_pieces_cover_each_output_once(geometry, seed, most):
    """And compute what the whole computes."""
    arrays = Arrays(geometry, seed, random_numbers("float64"))
    correlations = []
    target = cpu.run

    def run(c):
        whole = np.empty(c.out.shape)
        target(c._replace(out=whole))
        counts = np.zeros(c.out.shape, int)
        for index, piece in pieces(c, most):
            assert piece.out.size <= max(most, c.out.shape[1] * c.out.shape[4])
            counts[index] += 1
            target(piece)
        assert (counts == 1).all()
        assert same_bits(np.ascontiguousarray(c.out), whole)
        correlations.append(c)

    with changed(cpu, run=run):
        arrays.call("conv2d")
    assert correlations or not arrays.input.size


def test_an_overflow_names_the_element_wherever_it_is_computed():
    """Also in a later piece, in channels-last results, and without a batch axis."""
    x, w = np.zeros((2, 3, 4, 5), "int16"), np.ones((4, 3, 1, 1), "int16")
    x[1, 2, 3, 4] = 300
    w[:3] = 0
    with changed(integers, MOST_ELEMENTS=7):
        with pytest.raises(OverflowError, match=r"output \(1, 3, 3, 4\) is 300: .* int8 "):
            refconv.conv2d(x, w, out_dtype="int8")
        with pytest.raises(OverflowError, match=r"output \(3, 4, 3\) is 300: "):
            refconv.conv2d(np.moveaxis(x, 1, -1)[1], w, out_dtype="int8", layout="NHWC")


@pytest.mark.parametrize("mode", MODES[1:])
@given(size=st.integers(1, 6), before=st.integers(0, 6), after=st.integers(0, 6))
def test_folding_is_the_adjoint_of_padding(mode, size, before, after):
    """<pad(x), y> = <x, fold(y)>."""
    largest = {"reflect": size - 1, "circular": size}.get(mode, 6)
    before, after = min(before, largest), min(after, largest)
    x, y = np.arange(1.0, size + 1), np.arange(2.0, before + size + after + 2) ** 2
    folded = fold(y, [index_map(size, before, after, mode)], (size,))
    assert (pad(x, ((before, after),), mode) * y).sum() == (x * folded).sum()


# Memory and threads


def peak(call):
    """Bytes allocated at most at a time, besides the result."""
    call()
    tracemalloc.start()
    try:
        out = call()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return most - out.nbytes


MIB = 2**20
X = np.ones((16, 16, 256, 256), "float32")  # 64 MiB
W = np.ones((16, 16, 3, 3), "float32")
PLANE = X.reshape(1, 1, -1, 4096)
Z = np.ones((1, 4, 1024, 1024), "uint8")
LARGE = {
    "conv2d": lambda: refconv.conv2d(X, W, padding=1),
    "conv2d, narrow result": lambda: refconv.conv2d(X, W, padding=1, out_dtype="bfloat16"),
    "conv2d_input": lambda: refconv.conv2d_input(X.shape, W, X, padding=1),
    "conv2d_weight": lambda: refconv.conv2d_weight(X, W.shape, X, padding=1),
    "conv2d_weight, one image": lambda: refconv.conv2d_weight(
        X.reshape(1, 1, -1, 4096), (1, 1, 1, 1), X.reshape(1, 1, -1, 4096)
    ),
    "conv2d_bias": lambda: refconv.conv2d_bias(X),
    "conv_transpose2d": lambda: refconv.conv_transpose2d(X, W, None, 2),
    "conv2d_input, reflect": lambda: refconv.conv2d_input(X.shape, W, X, padding=1, padding_mode="reflect"),
}


@pytest.mark.parametrize("case", sampled(LARGE, every=2))
def test_memory_does_not_grow_with_the_input(case):
    """Less than half of the input: panels, or some images or rows of an unrounded gradient."""
    assert peak(LARGE[case]) < X.nbytes / 2


RNG = np.random.default_rng(0)


def numbers(dtype, *shape):
    """Of the whole range for integers, which then go by limbs."""
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        return RNG.integers(info.min, info.max, shape, dtype, endpoint=True)
    return RNG.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize(
    ("op", "dtype"),
    sampled(
        [*OF_CONVOLUTIONS[:3], "conv_transpose2d", "conv3d", "conv2d strided", "conv2d_input circular"],
        ["float16", "float64", "complex64", "int8", "int32", "uint64"],
        every=3,
    ),
)
def test_memory_is_at_most_two_and_a_half_times_the_arrays(op, dtype):
    """All that is allocated, result included; input, weight and result counted at the accumulator's width."""
    op, _, variant = op.partition(" ")
    axes = axes_of(op)
    size = {2: (128, 128), 3: (16, 32, 32)}[axes]
    if dtype in ("int32", "uint64"):  # Python's integers, all of which are counted
        size = {2: (48, 48), 3: (8, 16, 16)}[axes]
    stride, mode = 4 if variant == "strided" else 1, variant if variant in MODES else "zeros"
    geometry = convolution((4, 8, *size), (8, 8, *(3,) * axes), None, stride, 1, 1, 1, mode)
    arrays = Arrays(geometry, 0, lambda _, shape: numbers(dtype, *shape))
    kind = np.dtype(dtype).kind
    options = {"overflow": "saturate"} if kind in "iu" else {}
    out = arrays.call(op, **options)
    most = peak(lambda: arrays.call(op, **options)) + out.nbytes
    operands = [argument.size for argument in arrays.arguments(op) if isinstance(argument, np.ndarray)]
    width = 16 if kind == "c" else 8
    # Panels take some, however small the arrays.
    assert most <= 2.5 * width * (sum(operands) + out.size) + 2 * MIB


def test_memory_of_quantised_convolutions():
    """int32 sums exist for some of the outputs at a time."""
    w = np.ones((64, 4, 1, 1), "int8")
    assert peak(lambda: refconv.conv2d_quantized(Z, 0.5, 3, w, 0.5, 1, 0.5, 2)) < 64 * Z[0, 0].size / 2


def test_operators_at_once():
    """Python threads that call different operators, with slabs and without, do not disturb one another."""
    calls = [LARGE[name] for name in ("conv2d", "conv2d_input", "conv2d_weight", "conv2d_bias")]
    expected = [call() for call in calls]
    results = {}
    callers = [threading.Thread(target=lambda n=n: results.update({n: calls[n % 4]()})) for n in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert all(same_bits(results[n], expected[n % 4]) for n in range(8))
