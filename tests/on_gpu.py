"""Whether there is a GPU, or what stands in for one: the marks of all tests that need it. No test, no judgement."""

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
MARKS = [pytest.mark.gpu, pytest.mark.skipif(bool(MISSING), reason=MISSING)]
