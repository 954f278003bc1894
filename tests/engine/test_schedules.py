"""The fast schedules: every tile and every cut gives the bits of the nest; threads of any kind; bounded memory."""

import os
import subprocess
import sys
import threading
import time
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import numba
import numpy as np
import pytest
import torch
from common import ALL, MODES, call, same_bits
from hypothesis import example, given
from hypothesis import strategies as st
from paths import ROOT

from refconv import Case, conv2d, strategies
from refconv.engine.flat_layout import layout
from refconv.engine.targets.cpu import execute, plan, schedule, threads

RNG = np.random.default_rng(0)
# Large enough to be shared among threads, with rows, columns and channels that no tile divides.
X, W, B = (RNG.standard_normal(shape).astype("float32") for shape in ((2, 34, 29, 31), (27, 17, 3, 3), (27,)))
OPTIONS = {"stride": (1, 2), "padding": (1, 2), "groups": 1}


def large():
    """A call that is worth several threads."""
    return conv2d(X, np.concatenate([W, W], axis=1), B, **OPTIONS)


@contextmanager
def forced(tile, band, n_threads=1, coarse=False):
    """All calls take this tile of those that fit a group, bands of at most so many rows and columns, such threads."""
    kept = execute.cheapest, plan.UNITS_PER_THREAD, plan.CHUNK_CYCLES

    def chosen(p):
        shapes = [shape for shape in schedule.tiles(p.numbers) if shape[0] <= p.channels]
        fitting = shapes[min(tile, len(shapes) - 1)]
        wanted = tuple(min(size, outputs) for size, outputs in zip(band, p.output, strict=True))
        return schedule.costed(p, *fitting, wanted, n_threads)

    try:
        clear_caches()
        execute.cheapest = chosen
        if coarse:  # threads take many units at a time, of several panels
            plan.UNITS_PER_THREAD, plan.CHUNK_CYCLES = 1, 1e9
        yield
    finally:
        execute.cheapest, plan.UNITS_PER_THREAD, plan.CHUNK_CYCLES = kept
        clear_caches()


def clear_caches():
    """Plans made before are forgotten."""
    execute._prepared.cache_clear()
    execute._prepare.cache_clear()


TILES = st.sampled_from(range(3))  # any other would be compiled for the test alone
BANDS = st.tuples(st.sampled_from((1, 2, 3, 100)), st.sampled_from((1, 5, 16, 33, 100)))


@given(
    case=strategies.cases(dtypes=ALL, padding_modes=MODES, asymmetric_padding=True, max_multiplications=20_000),
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
    case=strategies.cases(dtypes=("float32", "int16"), padding_modes=MODES, max_multiplications=1500),
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


# Threads


@pytest.fixture
def shared(monkeypatch):
    """What was shared among how many threads; as if there were two processors at least."""
    found, share = [], threads.share
    monkeypatch.setattr(threads, "count", lambda: 2)
    monkeypatch.setattr(threads, "share", lambda *arguments: found.append(arguments[2]) or share(*arguments))
    return found


def test_a_pool_of_python_threads_gives_the_same_bits(monkeypatch, shared):
    """Where there is no OpenMP runtime."""
    expected = large()
    monkeypatch.setattr(threads, "openmp", lambda: None)
    for _ in range(20):
        assert same_bits(large(), expected)
    assert set(shared) == {2}


def test_openmp_gives_the_same_bits(monkeypatch, shared):
    """Where there is an OpenMP runtime; also when its threads are asleep."""
    expected, found = large(), threads._gomp_parallel(True)
    if found is None:
        pytest.skip("neither torch nor the system has an OpenMP runtime with GNU's entry point")
    monkeypatch.setattr(threads, "openmp", lambda: found)
    for pause in (0, 0, 0.03):
        time.sleep(pause)
        assert same_bits(large(), expected)
    assert set(shared) == {2}


def run(program, **environment):
    """What a new process prints; it must end by itself, and well."""
    command = [sys.executable, "-W", "ignore", "-c", f"import numpy as np, refconv\n{program}"]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=True, timeout=120
    ).stdout.split()


BIG = """
x, w = np.ones((1, 64, 40, 40)), np.ones((64, 64, 3, 3))
print(refconv.conv2d(x, w).max())
print(refconv.conv2d(x, w).max())
"""


@pytest.mark.parametrize("torch", ["", "import torch\n", "import sys; sys.modules['torch'] = None\n"])
@pytest.mark.parametrize("variable", ["OMP_THREAD_LIMIT=1", "OMP_DYNAMIC=true", "OMP_NUM_THREADS=1", "NONE=1"])
def test_a_runtime_may_give_fewer_threads_than_asked_for(torch, variable):
    """No call waits for a thread that does not come; and torch may be blocked."""
    name, value = variable.split("=")
    assert run(torch + BIG, **{name: value, "NUMBA_NUM_THREADS": "2"}) == ["576.0"] * 2


def test_a_pool_after_a_pause_openmp_in_between():
    """Without torch: threads that sleep are not waited for, threads that are awake are used."""
    program = """
from refconv.engine.targets.cpu import threads
print(threads.openmp() is None)
threads._gomp_parallel = lambda torchs: f"torchs is {torchs}"
threads._latest[0], threads.AWAKE_SECONDS = 0, float("inf")
print(threads.openmp())
threads.AWAKE_SECONDS = 0
print(threads.openmp())
"""
    assert run(program) == ["True", "torchs", "is", "False", "None"]


def test_eight_threads_at_once(shared):
    """Concurrent calls neither abort nor disturb one another."""
    expected, results = large(), []
    callers = [threading.Thread(target=lambda: results.extend(large() for _ in range(10))) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(results) == 80
    assert all(same_bits(result, expected) for result in results)
    assert set(shared) == {2}


FORK = """
import os, sys
{before}
x, w = np.ones((1, 64, 40, 40)), np.ones((64, 64, 3, 3))
child = os.fork()
if child == 0:
    os._exit(0 if refconv.conv2d(x, w).max() == 576 else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
CHILD = """
import multiprocessing, sys, torch
torch.ones(999, 999) @ torch.ones(999, 999)
for name in [name for name in sys.modules if name.partition(".")[0] == "refconv"]:
    del sys.modules[name]  # as if it had not been imported
def child():
    import refconv
    assert refconv.conv2d(np.ones((1, 64, 40, 40)), np.ones((64, 64, 3, 3))).max() == 576
{start}
"""
STARTS = {
    "a context": "process = multiprocessing.get_context('fork').Process(target=child)",
    "the default": "multiprocessing.set_start_method('fork')\nprocess = multiprocessing.Process(target=child)",
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no os.fork on this system")
@pytest.mark.parametrize(
    "before",
    [
        "",
        "refconv.conv2d(np.ones((1, 64, 40, 40)), np.ones((64, 64, 3, 3)))",
        "import torch; torch.ones(999, 999) @ torch.ones(999, 999)",
    ],
    ids=["nothing", "a call", "torch"],
)
def test_a_forked_child_computes(before):
    """Whatever ran before in the parent, whose threads it has not."""
    run(FORK.format(before=before), NUMBA_NUM_THREADS="2")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system does not tell who was forked")
@pytest.mark.parametrize("start", STARTS)
def test_a_child_of_multiprocessing_computes(start):
    """Also if refconv is imported there for the first time."""
    ending = "\nprocess.start()\nprocess.join(60)\nstopped = process.exitcode\nprocess.kill()\nsys.exit(stopped != 0)"
    run(CHILD.format(start=STARTS[start] + ending), NUMBA_NUM_THREADS="2")


def test_one_thread_of_numba_is_one_thread(monkeypatch):
    """numba.set_num_threads holds for refconv: nothing is shared then."""
    expected = large()
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        monkeypatch.setattr(threads, "openmp", None)  # any use of them would fail
        monkeypatch.setattr(threads, "_pool", None)
        assert same_bits(large(), expected)
    finally:
        numba.set_num_threads(before)


@pytest.mark.parametrize("number", [1, 3])
def test_torchs_number_of_threads_stays(number, shared):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(number)
        large()
        assert torch.get_num_threads() == number
        assert shared == [2]
    finally:
        torch.set_num_threads(before)


def test_threads_at_the_end_of_a_program():
    """A thread that outlives the main one can still compute, though no pool takes work then."""
    program = """
import threading
from refconv.engine.targets.cpu import threads
threads.openmp = lambda: None
x, w = np.ones((1, 64, 40, 40)), np.ones((64, 64, 3, 3))
refconv.conv2d(x, w)
def late():
    threading.main_thread().join()
    print(refconv.conv2d(x, w).max())
threading.Thread(target=late).start()
"""
    assert run(program, NUMBA_NUM_THREADS="2") == ["576.0"]


SHORT_OF_MEMORY = """
import resource
def ones(*shape):
    return np.ones((1, *shape))
print(refconv.conv2d(ones(2**10, 1, 1), ones(2**10, 1, 1)).item())
print(refconv.conv2d(ones(1, 1, 2**10), ones(1, 1, 1)).max())
x, w = ones(*{shape}), ones(*{kernel})
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + x.nbytes // 2
resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
try:
    print(refconv.conv2d(x, w).max())
except MemoryError:
    print("refused")
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the size of a process can't be asked on this system")
@pytest.mark.parametrize(
    ("shape", "kernel", "expected"),
    [
        ((1, 2**12, 2**11), (1, 1, 1), "refused"),  # not a result of whatever lay there
        ((2**23, 1, 1), (2**23, 1, 1), str(2.0**23)),  # long sums are computed slab by slab
    ],
    ids=["no place for the result", "no place for a panel of all channels"],
)
def test_little_memory(shape, kernel, expected):
    """An error where the result does not fit; nothing as large as the input is needed besides."""
    assert run(SHORT_OF_MEMORY.format(shape=shape, kernel=kernel)) == ["1024.0", "1.0", expected]


# Sizes


@given(
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    dilation=st.tuples(st.sampled_from((1, 2, 3, 9)), st.sampled_from((1, 2, 3, 9))),
    output=st.tuples(st.integers(1, 6), st.integers(1, 6)),
)
def test_a_layout_puts_each_element_in_its_place(kernel, stride, dilation, output):
    """For every output and tap: the element at the tap's place, a step for each output on, is the padded input's."""
    found = layout(kernel, stride, dilation, output)
    elements = [
        (found.starts[0][a] + j * stride[0], found.starts[1][b] + v * stride[1])
        for b, a, j, v in np.ndindex(*map(len, found.starts[::-1]), *found.lengths)
    ]
    assert len(elements) == found.channel
    for p, q, r, s in np.ndindex(*output, *kernel):
        place = found.taps[r * kernel[1] + s] + p * found.steps[0] + q * found.steps[1]
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
    found = schedule.cheapest(p)
    columns = (found.vectors * p.lanes, width)  # of a tile, and of a row
    panel, *least = (
        4 * channels * layout(p.kernel, p.stride, p.dilation, band).channel
        for band in (found.band, *((1, min(each, width)) for each in columns))
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


def test_case_takes_the_fast_path_too():
    """The judge's own sums are the operator's: what is tested here holds for it."""
    case = Case(input=X, weight=np.concatenate([W, W], axis=1), bias=B, **OPTIONS)
    assert same_bits(case.expected(), large())
