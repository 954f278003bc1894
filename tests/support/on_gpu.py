"""Whether there is a GPU, or what stands in for one: the marks of all tests that need it. No test, no judgement."""

import os
import sys

import pytest

from refconv.core.errors import BackendUnavailable

buffers = device = libraries = numba_arrays = streams = None  # without numba-cuda
try:
    from refconv.arrays.gpu import buffers, device, libraries, numba_arrays, streams  # noqa: F401 - handed on

    device.check()
    MISSING = ""
except BackendUnavailable as error:
    MISSING = str(error)

SIMULATED = not MISSING and device.SIMULATED
INTERPRETED = "ptxsim" in sys.modules  # by the interpreter of PTX
STOOD_IN_FOR = SIMULATED or INTERPRETED
WORKSPACE = None if MISSING else buffers.workspace
MARKS = [pytest.mark.gpu, pytest.mark.skipif(bool(MISSING), reason=MISSING)]
EXAMPLES = int(os.environ.get("REFCONV_GPU_EXAMPLES", "300"))  # that Hypothesis generates for a test


class Apart:
    """A workspace each part of which is memory of its own, filled with NaN."""

    def __init__(self, n_bytes, stream):
        self.n_bytes, self.stream = n_bytes, stream

    def parts(self, sizes):
        return [buffers.Part(buffers.Buffer(size), 0, size) for size in sizes]


@pytest.fixture(autouse=True, scope="module")
def apart():
    """Under the interpreter of PTX, which only knows the bounds, and the first contents, of what is allocated."""
    with pytest.MonkeyPatch.context() as patched:
        if INTERPRETED:
            patched.setattr(buffers, "workspace", Apart)
        yield
