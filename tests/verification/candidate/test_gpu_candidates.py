"""Candidates that take Numba's device arrays: what they get, and what they do wrong on the device, is seen.

Run on a GPU by `make gpu`; without one, under an interpreter of PTX and under Numba's simulator by test_gpu_elsewhere.
"""

import os
from functools import partial

import candidates
import numpy as np
import pytest
from candidates import a_case
from common import same_bits
from on_gpu import MARKS, MISSING, SIMULATED, device, numba_arrays
from paths import ROOT
from processes import run

import refconv
from refconv.cases.recipe import OFFSETS
from refconv.verification import campaign
from refconv.verification.candidate import array_kinds
from refconv.verification.candidate.arrangements import ARRANGEMENTS, possible
from refconv.verification.candidate.call import Unsupported
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.candidate.loading import load
from refconv.verification.settings import Settings

pytestmark = MARKS
if not MISSING:
    cuda = device.cuda

EXAMPLE = ROOT / "examples" / "cuda_kernel.py"
CASES = 8
# Each other way to lie in memory is compiled anew.
SMALL = refconv.Supports.parse({"large": False, "views": SIMULATED})
faults = partial(candidates.faults, arrays="numba")
DTYPES = ("float32", "float64", "float16", "bfloat16", "int8", "uint64", "complex128")


def host(array):
    """The numbers of an argument that is an array."""
    return array_kinds.on_host("array", array, "numba") if isinstance(array, device.Array) else array


def on_device(array):
    """A copy on the device, made of bytes: Numba copies no bfloat16."""
    return numba_arrays.lay(array.reshape(-1).view(np.uint8), 0, array)[1]


@cuda.jit if not MISSING else lambda function: function
def copy(source, target):
    index = cuda.grid(1)
    if index < target.size:
        q, p = index % target.shape[3], index // target.shape[3] % target.shape[2]
        k = index // (target.shape[2] * target.shape[3]) % target.shape[1]
        n = index // (target.shape[1] * target.shape[2] * target.shape[3])
        target[n, k, p, q] = source[n, k, p, q]


def returns(*arguments):
    assert all(isinstance(array, device.Array) for array in arguments[:2])
    return on_device(refconv.conv2d(*map(host, arguments)))


def writes(*arguments):
    *given, out = arguments
    copy[-(-out.size // 32), 32](returns(*given), out)


@pytest.mark.parametrize(
    "name", [arrangement for arrangement in ARRANGEMENTS if possible(arrangement, "numba", "float32")]
)
def test_arrays_lie_as_asked_for(name):
    seen = {}

    def candidate(*arguments):
        seen["input"] = tuple(arguments[0].strides)
        writes(*arguments)

    case = a_case(broadcast="xwb" if name == "broadcast" else "")
    where = [(array, name) for array in ("input", "weight", "output") if (array, name) != ("output", "broadcast")]
    outcome = Candidate(candidate, "numba", style="out").call(case, memory=where)
    assert outcome.faults == ()
    assert same_bits(outcome.result, case.expected())
    assert (seen["input"] == case.input.strides) == (name in ("contiguous", *OFFSETS, "offset"))


@pytest.mark.parametrize("name", ["negative", "unaligned"])
def test_arrays_that_numba_does_not_have(name):
    with pytest.raises(ValueError, match="numba has no"):
        Candidate(returns, "numba").call(a_case(), memory=[("input", name)])


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype):
    case = a_case(dtype)
    outcome = Candidate(returns, "numba").call(case)
    assert outcome.faults == ()
    assert same_bits(outcome.result, case.expected())


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
def test_dtypes_that_numba_does_not_have(dtype):
    with pytest.raises(Unsupported, match=f"input: Numba has no {dtype}"):
        faults(returns, a_case(dtype))


def test_numbers_and_empty_arrays():
    x, w = np.ones((0, 2, 3, 3), "int8"), np.ones((2, 2, 1, 1), "int8")
    case = refconv.Case(op="conv2d_integer", input=x, weight=w, input_zero_point=np.int8(3), weight_zero_point=0)
    seen = []

    def candidate(*arguments):
        seen.append(arguments[2])

    assert faults(candidate, case, style="out", op="conv2d_integer") == {}
    assert isinstance(seen[0], device.Array)
    assert host(seen[0]) == 3


@cuda.jit if not MISSING else lambda function: function
def poke(array, index, value):
    array[index] = value


def beyond(array, byte, value):
    """Write a byte that lies so far from an array's first element: what Numba would not, a wrong address does."""
    bytes_ = np.empty(2 * 4096 + byte, np.uint8)[:1]
    if SIMULATED:
        memory = array._ary
        while memory.base is not None and isinstance(memory.base, np.ndarray):
            memory = memory.base
        start = array._ary.ctypes.data - memory.ctypes.data
        memory.view(np.uint8)[start + byte] = value
        return
    place = numba_arrays._Lying(array, byte, bytes_)
    poke[1, 1](cuda.as_cuda_array(place, sync=False).view(np.uint8), 0, value)


def test_faults():
    def changes(*arguments):
        poke[1, 1](arguments[2], 0, 7)
        return returns(*arguments)

    def spills(*arguments):
        writes(*arguments)
        beyond(arguments[-1], -1, 7)

    def reaches(*arguments):
        beyond(arguments[0], arguments[0].size * 4, 7)
        return returns(*arguments)

    def forgets(*_):
        pass

    assert faults(changes) == {"inputs unmodified": "the candidate has changed its argument bias"}
    assert "around its argument input" in faults(reaches)["inputs unmodified"]
    assert "1 before it" in faults(spills, style="out")["nothing outside written"]
    assert "the first at (0, 0, 0, 0)" in faults(forgets, style="out")["every output written"]
    assert "but what came back is of type numpy.ndarray" in faults(lambda *_: np.ones(1))["kind of array"]
    assert "ZeroDivisionError" in faults(lambda *_: 1 // 0)["returns"]


def test_a_kernel_that_reads_beyond_its_input():
    """The simulator refuses; on a device it reads poison."""

    @cuda.jit
    def kernel(x, out):
        out[0, 0, 0, 0] = x[x.shape[0], 0, 0, 0]

    def candidate(x, *rest):
        kernel[1, 1](x, rest[-1])

    violated = faults(candidate, style="out")
    assert ("IndexError" in violated["returns"]) if SIMULATED else ("every output written" in violated)


def test_no_time_is_wasted_in_the_simulator():
    case = refconv.Case(input=np.ones((1, 1, 300, 300), "float32"), weight=np.ones((1, 1, 1, 1), "float32"))
    assert Candidate(returns, "numba").takes_too_long(case) == SIMULATED
    assert not Candidate(returns, "numba").takes_too_long(a_case())
    assert not Candidate(returns, "numpy").takes_too_long(case)


@pytest.mark.usefixtures("generated_only")
def test_the_example_is_sound():
    """In the simulator in a process of its own, as by the command line."""
    candidate = load(f"{EXAMPLE}:conv2d")
    assert (candidate.arrays, candidate.style) == ("numba", "out")
    settings = Settings(cases=CASES, isolate=SIMULATED, supports=SMALL)
    report = campaign.run(candidate, settings, ["float32"])
    assert report.ok, report.failures
    assert report.n_cases == CASES


# The first is the faster one to shrink in the simulator, and the second the one that needs no address to be refused.
MISTAKE = ("0 <= w < input.shape[3]", "0 <= w") if SIMULATED else ("q * stride[1]", "q * stride[0]")


@pytest.mark.usefixtures("generated_only")
def test_a_mistake_is_found_and_shrunk(tmp_path):
    """The program that shows it runs as it is printed."""
    source = EXAMPLE.read_text()
    assert source.count(MISTAKE[0]) == 1
    file = tmp_path / "wrong_cuda_kernel.py"
    file.write_text(source.replace(*MISTAKE))
    settings = Settings(cases=CASES, isolate=False, supports=SMALL)
    failure = campaign.run(load(f"{file}:conv2d"), settings, ["float32"]).failures[0]
    geometry = failure.case.geometry
    assert geometry.padding[1] != (0, 0) if SIMULATED else geometry.stride[0] != geometry.stride[1]
    assert failure.case.input.size + failure.case.weight.size <= 8
    assert failure.property == ("returns" if SIMULATED else "values")
    assert failure.snippet.count("\n") <= 25
    if not SIMULATED:
        with pytest.raises(AssertionError, match="wrong"):
            exec(compile(failure.snippet, "program", "exec"), {})  # noqa: S102 - our own
        return
    # Without what this process has: the program itself asks for the simulator.
    variables = {name: value for name, value in os.environ.items() if name != array_kinds.SIMULATOR}
    done = run(failure.snippet, env=variables, check=False)
    assert done.returncode == 1
    assert "AssertionError: Traceback" in done.stderr
