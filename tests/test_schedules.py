"""The fast schedules: every tile and every cut gives the bits of the nest; threads of any kind; bounded memory."""

import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numba
import numpy as np
import pytest
import torch
from common import ALL, MODES, call, same_bits
from hypothesis import example, given
from hypothesis import strategies as st

from refconv import Case, conv2d, strategies
from refconv.layout import layout
from refconv.targets import cpu
from refconv.targets.cpu import schedule, threads

ROOT = Path(__file__).parents[1]
RNG = np.random.default_rng(0)
# Large enough to be shared among threads, with rows, columns and channels that no tile divides.
X, W, B = (RNG.standard_normal(shape).astype("float32") for shape in ((2, 34, 29, 31), (27, 17, 3, 3), (27,)))
OPTIONS = {"stride": (1, 2), "padding": (1, 2), "groups": 1}


def large(**options):
    """A call that is worth several threads."""
    return conv2d(X, np.concatenate([W, W], axis=1), B, **OPTIONS | options)


@contextmanager
def forced(channels, vectors, band, n_threads=1):
    """All calls take this tile, and bands of at most so many rows and columns."""
    chosen, count = schedule.schedule, threads.count

    def costed(p):
        wanted = tuple(min(size, outputs) for size, outputs in zip(band, p.output, strict=True))
        height = channels if channels <= p.channels else 1
        return schedule._costed(p, height, vectors, wanted)._replace(cycles=np.inf)

    def forget():
        schedule.prepare.cache_clear()
        cpu._prepared.cache_clear()

    try:
        forget()
        schedule.schedule, threads.count = costed, lambda: n_threads
        yield
    finally:
        schedule.schedule, threads.count = chosen, count
        forget()


def shapes():
    """The tiles that are chosen from; any other would be compiled for the test alone."""
    return st.sampled_from(list(schedule.tiles()))


BANDS = st.tuples(st.sampled_from((1, 2, 3, 100)), st.sampled_from((1, 5, 16, 33, 100)))


@given(
    case=strategies.cases(dtypes=ALL, padding_modes=MODES, asymmetric_padding=True, max_multiplications=20_000),
    tile=shapes(),
    band=BANDS,
    n_threads=st.sampled_from((1, 2, 5)),
)
def test_every_schedule_gives_the_same_bits(case, tile, band, n_threads):
    """Bands of rows and of columns, tiles higher than a group, more threads than units; also in the speed tier."""
    precisions = ["float64", "float32"][: 1 + (case.input.dtype.itemsize <= 4)]
    expected = [call(case, precision=precision) for precision in precisions]
    with forced(*tile, band, n_threads):
        for precision, result in zip(precisions, expected, strict=True):
            assert same_bits(call(case, precision=precision), result)


@given(
    case=strategies.cases(dtypes=("float32", "int16"), padding_modes=MODES, max_multiplications=1500),
    tile=shapes(),
    band=BANDS,
)
def test_every_schedule_is_the_nest_in_python(case, tile, band):
    """The same against the nest that a person reads, run without a compiler."""
    with forced(*tile, band):
        assert same_bits(call(case), call(case, backend="python"))


def test_long_sums_in_every_schedule():
    """Several blocks of 256 terms, for which totals leave the registers."""
    x, w = RNG.standard_normal((1, 90, 9, 9)).astype("float32"), RNG.standard_normal((9, 90, 3, 3)).astype("float32")
    expected = conv2d(x, w, precision="float32")
    for tile in schedule.tiles():
        with forced(*tile, (3, 100)):
            assert same_bits(conv2d(x, w, precision="float32"), expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e-45, -0.0])
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


def test_a_pool_of_python_threads_gives_the_same_bits(monkeypatch):
    """Where there is no OpenMP runtime."""
    expected = large()
    monkeypatch.setattr(threads, "team", lambda: None)
    for _ in range(20):
        assert same_bits(large(), expected)


def test_a_team_gives_the_same_bits(monkeypatch):
    """Where there is an OpenMP runtime; also by a team that is asleep."""
    expected, together = large(), threads._openmp(True)
    if together is None:
        pytest.skip("torch has no OpenMP runtime with GNU's entry point here")
    monkeypatch.setattr(threads, "team", lambda: together)
    for pause in (0, 0, 0.03):
        time.sleep(pause)
        assert same_bits(large(), expected)


def test_a_pool_after_a_pause_a_team_in_between():
    """Without torch: threads that sleep are not waited for, threads that are awake are used."""
    program = """
import time
import numpy as np
import refconv
from refconv.targets.cpu import threads
x, w = np.ones((1, 64, 40, 40)), np.ones((64, 64, 3, 3))
print(threads.team() is None)
refconv.conv2d(x, w)
print(threads.team() is threads._openmp(False))
refconv.conv2d(x, w)
time.sleep(2 * threads.AWAKE_SECONDS)
print(threads.team() is None)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"] * 3


def test_eight_threads_at_once():
    """Concurrent calls neither abort nor disturb one another."""
    expected, results = large(), []
    callers = [threading.Thread(target=lambda: results.extend(large() for _ in range(10))) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(results) == 80
    assert all(same_bits(result, expected) for result in results)


FORK = """
import os, sys
import numpy as np
{imports}
import refconv
x, w = np.ones((1, 64, 40, 40)), np.ones((64, 64, 3, 3))
before = refconv.conv2d(x, w)
child = os.fork()
if child == 0:
    os._exit(0 if (refconv.conv2d(x, w) == before).all() else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no os.fork on this system")
@pytest.mark.parametrize("imports", ["", "import torch; torch.ones(999, 999) @ torch.ones(999, 999)"])
def test_a_forked_child_computes(imports):
    """Also when torch's threads, or ours, ran before."""
    program = FORK.format(imports=imports)
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], cwd=ROOT, check=True, timeout=120)


def test_one_thread_of_numba_is_one_thread(monkeypatch):
    """numba.set_num_threads holds for refconv: nothing is shared then."""
    expected = large()
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        monkeypatch.setattr(threads, "team", None)  # any use of them would fail
        monkeypatch.setattr(threads, "_pool", None)
        assert same_bits(large(), expected)
    finally:
        numba.set_num_threads(before)


@pytest.mark.parametrize("number", [1, 3])
def test_torchs_number_of_threads_stays(number):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(number)
        large()
        assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(before)


def test_threads_at_the_end_of_a_program():
    """A thread that outlives the main one can still compute, though no pool takes work then."""
    program = """
import threading, time
import numpy as np
import refconv
from refconv.targets.cpu import threads
threads.team = lambda: None
x, w = np.ones((1, 64, 40, 40)), np.ones((64, 64, 3, 3))
refconv.conv2d(x, w)
def late():
    threading.main_thread().join()
    print(refconv.conv2d(x, w).sum())
threading.Thread(target=late).start()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout) > 0
    assert not done.stderr


# Sizes


@given(
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    dilation=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    output=st.tuples(st.integers(1, 6), st.integers(1, 6)),
)
def test_a_layout_puts_each_element_in_its_place(kernel, stride, dilation, output):
    """For every output and tap: the element at the tap's place, a step for each output on, is the padded input's."""
    found = layout(kernel, stride, dilation, output)
    places = {}  # of the padded input's elements
    for b, a, j, v in np.ndindex(*map(len, found.residues[::-1]), *found.lengths):
        row = found.residues[0][a] + j * stride[0]
        places[row, found.residues[1][b] + v * stride[1]] = len(places)
    assert len(places) == found.channel
    for p, q, r, s in np.ndindex(*output, *kernel):
        expected = places[p * stride[0] + r * dilation[0], q * stride[1] + s * dilation[1]]
        tap = found.taps[r * kernel[1] + s]
        assert tap + p * found.steps[0] + q * found.steps[1] == expected


@given(st.data())
def test_panels_are_bounded(data):
    """However large the input: a panel holds no more than the cost model allows, or is the smallest there is."""
    sizes = st.sampled_from((1, 3, 16, 56, 224, 1000))
    height, width, kernel, channels = (data.draw(sizes) for _ in range(4))
    kernel = min(kernel, 7)
    output = height, width
    p = schedule.Problem(
        images=1, groups=1, in_channels=channels, channels=data.draw(sizes),
        size=(height + kernel - 1, width + kernel - 1),
        kernel=(kernel, kernel), output=output, stride=(1, 1), dilation=(1, 1), padding=((0, 0), (0, 0)),
        padding_mode="zeros", x_strides=(4,) * 5, out_strides=(4,) * 5, itemsize=4, w_itemsize=4, threads=2,
    )  # fmt: skip
    found = schedule.schedule(p)
    elements = channels * layout(p.kernel, p.stride, p.dilation, found.band).channel
    one_row = channels * kernel * (found.vectors * schedule.lanes(4) + kernel - 1)
    assert 4 * elements <= max(16 * schedule.PANEL_BYTES, 8 * one_row)


def test_memory_beyond_input_and_output_is_small():
    """An input of 256 MiB is packed by panels: what is added to it and the output is a small part of that."""
    program = """
import resource
import numpy as np
import refconv
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
w = np.ones((2, 64, 3, 3), "float32")
refconv.conv2d(np.ones((1, 64, 64, 64), "float32"), w, padding=1)
x = np.ones((1, 64, 1024, 1024), "float32")
before = peak()
out = refconv.conv2d(x, w, padding=1)
print(peak() - before - out.nbytes / 2**20)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 32


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
