"""Threads of any kind, in any process: the same bits, and no call that waits for ever."""

import os
import threading
import time
from pathlib import Path

import numba
import numpy as np
import pytest
import torch
from common import same_bits
from marks import sampled
from paths import ROOT
from processes import python

from refconv import Case, conv2d
from refconv.engine.targets.cpu import threads

RNG = np.random.default_rng(0)
# Large enough to be shared among threads, with rows, columns and channels that no tile divides.
X, W, B = (RNG.standard_normal(shape).astype("float32") for shape in ((2, 34, 29, 31), (27, 17, 3, 3), (27,)))
OPTIONS = {"stride": (1, 2), "padding": (1, 2), "groups": 1}


def large():
    """A call that is worth several threads."""
    return conv2d(X, np.concatenate([W, W], axis=1), B, **OPTIONS)


@pytest.fixture
def shared(monkeypatch):
    """What was shared among how many threads; as if there were two processors at least."""
    numbers, share = [], threads.share
    monkeypatch.setattr(threads, "count", lambda: 2)
    monkeypatch.setattr(threads, "share", lambda *arguments: numbers.append(arguments[2]) or share(*arguments))
    return numbers


def test_a_pool_of_python_threads_gives_the_same_bits(monkeypatch, shared):
    """Where there is no OpenMP runtime."""
    expected = large()
    monkeypatch.setattr(threads, "openmp", lambda: None)
    for _ in range(20):
        assert same_bits(large(), expected)
    assert set(shared) == {2}


def test_openmp_gives_the_same_bits(monkeypatch, shared):
    """Where there is an OpenMP runtime; also when its threads are asleep."""
    expected, runtime = large(), threads._gomp_parallel(True)
    if runtime is None:
        pytest.skip("neither torch nor the system has an OpenMP runtime with GNU's entry point")
    monkeypatch.setattr(threads, "openmp", lambda: runtime)
    for pause in (0, 0, 0.03):
        time.sleep(pause)
        assert same_bits(large(), expected)
    assert set(shared) == {2}


def printed(program, **environment):
    """The words that a new process prints; it must end by itself, and well."""
    program = f"import numpy as np, refconv\n{program}"
    return python("-W", "ignore", "-c", program, cwd=ROOT, env=os.environ | environment, timeout=120).stdout.split()


BIG = """
x, w = np.ones((1, 64, 40, 40)), np.ones((64, 64, 3, 3))
print(refconv.conv2d(x, w).max())
print(refconv.conv2d(x, w).max())
"""


@pytest.mark.parametrize(
    ("variable", "torch"),
    sampled(
        ["OMP_THREAD_LIMIT=1", "OMP_DYNAMIC=true", "OMP_NUM_THREADS=1", "NONE=1"],
        ["", "import torch\n", "import sys; sys.modules['torch'] = None\n"],
        every=3,
    ),
)
def test_a_runtime_may_give_fewer_threads_than_asked_for(torch, variable):
    """No call waits for a thread that does not come; and torch may be blocked."""
    name, value = variable.split("=")
    assert printed(torch + BIG, **{name: value, "NUMBA_NUM_THREADS": "2"}) == ["576.0"] * 2


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
    assert printed(program) == ["True", "torchs", "is", "False", "None"]


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
    printed(FORK.format(before=before), NUMBA_NUM_THREADS="2")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system does not tell who was forked")
@pytest.mark.parametrize("start", STARTS)
def test_a_child_of_multiprocessing_computes(start):
    """Also if refconv is imported there for the first time."""
    ending = "\nprocess.start()\nprocess.join(60)\nstopped = process.exitcode\nprocess.kill()\nsys.exit(stopped != 0)"
    printed(CHILD.format(start=STARTS[start] + ending), NUMBA_NUM_THREADS="2")


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
    assert printed(program, NUMBA_NUM_THREADS="2") == ["576.0"]


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
    assert printed(SHORT_OF_MEMORY.format(shape=shape, kernel=kernel)) == ["1024.0", "1.0", expected]


def test_case_takes_the_fast_path_too():
    """The judge's own sums are the operator's: what is tested here holds for it."""
    case = Case(input=X, weight=np.concatenate([W, W], axis=1), bias=B, **OPTIONS)
    assert same_bits(case.expected(), large())
