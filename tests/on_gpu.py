"""Whether there is a GPU, or what stands in for one: the marks of all tests that need it. No test, no judgement."""

import os
import sys

import pytest

from refconv.errors import BackendUnavailable

device = None  # without numba-cuda
try:
    from refconv import device

    device.check()
    MISSING = ""
except BackendUnavailable as error:
    MISSING = str(error)

SIMULATED = not MISSING and device.SIMULATED
STOOD_IN_FOR = SIMULATED or "ptxsim" in sys.modules  # by the simulator, or by the interpreter of PTX
MARKS = [pytest.mark.gpu, pytest.mark.skipif(bool(MISSING), reason=MISSING)]
EXAMPLES = int(os.environ.get("REFCONV_GPU_EXAMPLES", "300"))  # that Hypothesis generates for a test
