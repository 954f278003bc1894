"""Where numba-cuda is not installed, what is written with it is skipped, and pytest says so.

Here, for what is in a package is collected by the hooks of the folders that it lies in.
"""

from importlib import import_module
from pathlib import Path

import pytest

from refconv.core.errors import BackendUnavailable

ROOT = Path(__file__).parent
OF_THE_GPU = (
    ROOT / "refconv" / "arrays" / "gpu",
    ROOT / "refconv" / "engine" / "targets" / "cuda",
    ROOT / "tests" / "support" / "gpu_code.py",
)


def pytest_make_collect_report(collector):
    if isinstance(collector, pytest.File) and any(map(collector.path.is_relative_to, OF_THE_GPU)):
        try:
            import_module("refconv.arrays.gpu.device")
        except BackendUnavailable as error:
            return pytest.CollectReport(collector.nodeid, "skipped", (str(collector.path), 0, f"Skipped: {error}"), [])
    return None
