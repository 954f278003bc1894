"""The GPU's tests without a GPU: the compiled PTX run by an interpreter, and the kernels' Python by Numba's simulator.

The interpreter (ptxsim) is no part of this repository: without it, its test is skipped.
"""

import os
import re
import subprocess
import sys
from collections import Counter

import pytest
from marks import evidence
from paths import ROOT

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")

PTXSIM = ROOT.parent / "shared" / "tools" / "ptxsim"
N_CANDIDATES = 33  # tests of candidates, none of which may be skipped


def run(examples, *options, tests=("test_gpu",), **environment):
    """How many tests passed in another process, where a GPU is stood in for, and how many were skipped, by reason."""
    files = [str(path.relative_to(ROOT)) for name in tests for path in (ROOT / "tests").rglob(f"{name}.py")]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *options, *files]
    variables = os.environ | {"REFCONV_GPU_EXAMPLES": str(examples)} | environment
    done = subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = Counter({word: int(number) for number, word in re.findall(r"(\d+) (passed|deselected)", done.stdout)})
    for number, reason in re.findall(r"^SKIPPED \[(\d+)\] \S+ (.*)$", done.stdout, re.MULTILINE):
        found[reason] += int(number)
    return found


def interpreted(examples, *options, tests):
    """The same by the interpreter."""
    path = os.pathsep.join(filter(None, (str(PTXSIM), os.environ.get("PYTHONPATH"))))
    return run(examples, "-p", "ptxsim", *options, tests=tests, PYTHONPATH=path, PTXSIM_RACECHECK="1", PTXSIM_CC="9.0")


needs_interpreter = pytest.mark.skipif(not PTXSIM.is_dir(), reason=f"no interpreter of PTX in {PTXSIM}")


SKIPPED = {
    "what stands in for a GPU does one thing at a time": 1,
    "what stands in for a GPU holds no arrays of torch's": 5,
    "what stands in for a GPU holds no arrays of cupy's": 4,
}
# Those with other marks, and the property suite of each operator: its layers take minutes in the interpreter, and its
# operators, dtypes and options are those of the other tests.
EXPECTED = {
    "not evidence": {"passed": 121, "deselected": 138 + 9} | SKIPPED,
    "evidence": {"passed": 138, "deselected": 121 + 10 + 9},
}


@needs_interpreter
@pytest.mark.parametrize("marks", ["not evidence", pytest.param("evidence", marks=evidence)])
def test_compiled_code(marks):
    """What the compiler makes has the CPU's bits, stays within its memory, and no thread waits for another's write."""
    options = ("-m", marks, "-k", "not property_suite")
    assert interpreted(8, *options, tests=("test_gpu", "test_gpu_arrays")) == EXPECTED[marks]


def test_simulator():
    """The same source, run as Python: no index is out of range, and the bits are the CPU's."""
    assert run(3, NUMBA_ENABLE_CUDASIM="1") == {"passed": 15, "takes minutes in the simulator": 49}


@needs_interpreter
def test_candidates_on_compiled_code():
    """Kernels of numba-cuda, compiled, get Numba's arrays as they were to be, and a wrong one is found."""
    assert interpreted(1, tests=("test_gpu_candidates",)) == {"passed": N_CANDIDATES}


def test_candidates_in_the_simulator():
    """The same, run as Python."""
    assert run(1, tests=("test_gpu_candidates",), NUMBA_ENABLE_CUDASIM="1") == {"passed": N_CANDIDATES}
