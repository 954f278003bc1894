"""Without a GPU: what is missing is said, with how to get it; nothing is imported before it is asked for."""

import os
import re
from contextlib import nullcontext
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from paths import ROOT
from processes import python, run

import refconv
from refconv.arrays import interop
from refconv.core.errors import BackendUnavailable
from refconv.engine import targets

X, W = np.ones((1, 1, 2, 2)), np.ones((1, 1, 1, 1))


def unavailable():
    """The message of the backend, none where there is a GPU."""
    try:
        targets.choose("cuda")
    except BackendUnavailable as error:
        return str(error)
    return pytest.skip("there is a GPU")


def test_what_is_missing_is_said():
    """By every operator, with the command that installs it."""
    message = unavailable()
    assert message.startswith("backend='cuda': ")
    assert "pip install 'refconv[cuda]'" in message
    assert "backend='cpu'" in message
    for call in (
        lambda: refconv.conv2d(X, W, backend="cuda"),
        lambda: refconv.conv2d_bias(X, backend="cuda"),
        lambda: refconv.nn.Conv2d(1, 1, 1, device="cuda"),
    ):
        with pytest.raises(BackendUnavailable) as error:
            call()
        assert str(error.value) == message


def test_arrays_of_the_device_without_one():
    """What claims to lie on a GPU is not read as if it lay here."""
    unavailable()

    class Lent:
        def __dlpack__(self, **options):
            raise AssertionError("it was asked for")

        def __dlpack_device__(self):
            return (2, 0)

    class Claims:
        __cuda_array_interface__ = {  # noqa: RUF012 - the protocol's
            "data": (16, False), "shape": (1, 1, 2, 2), "typestr": "<f8", "strides": None, "version": 3,
        }  # fmt: skip

    for array in (Claims(), Lent()):
        with pytest.raises(BackendUnavailable, match="cuda"):
            refconv.conv2d(array, W)


class Found:
    """What numba-cuda says of a driver and a GPU."""

    def __init__(self, driver=(13, 0), compiler=(13, 5), capability=(9, 0)):
        self.cudadrv, self.runtime = SimpleNamespace(driver=SimpleNamespace()), SimpleNamespace()
        self.cudadrv.driver.get_version, self.runtime.get_version = lambda: driver, lambda: compiler
        self.is_available = lambda: True
        self.get_current_device = lambda: SimpleNamespace(compute_capability=capability)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Found(driver=(12, 4)), ["driver", "CUDA 12.4", "CUDA 13.5", "nvidia.com/drivers", "'numba-cuda[cu12]'"]),
        (Found(capability=(7, 0)), ["capability 7.0", "must be at least 7.5", "use another GPU, or backend='cpu'"]),
        (Found(), []),
        (Found(driver=(13, 9), compiler=(12, 9), capability=(7, 5)), []),
    ],
    ids=["old driver", "old GPU", "usable", "old compiler"],
)
def test_what_is_too_old_is_said(found, said, monkeypatch):
    """With what was found, what is needed, and what to do."""
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    from refconv.arrays.gpu import device

    monkeypatch.setattr(device, "cuda", found)
    monkeypatch.setattr(device, "SIMULATED", False)
    message = device._missing.__wrapped__() or device._too_old.__wrapped__(0)
    assert bool(message) == bool(said)
    assert [words for words in said if words not in message] == []


def test_each_gpu_is_asked(monkeypatch):
    """One that can be used says nothing of another that becomes the current one."""
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    from refconv.arrays.gpu import device

    cuda, capabilities = Found(), [(9, 0), (7, 0)]
    monkeypatch.setattr(device, "cuda", cuda)
    monkeypatch.setattr(device, "SIMULATED", False)
    monkeypatch.setattr(device, "_missing", lambda: "")
    monkeypatch.setattr(device, "_too_old", cache(device._too_old.__wrapped__))
    for gpu in (0, 1, 0, 1):
        current = SimpleNamespace(id=gpu, compute_capability=capabilities[gpu])
        monkeypatch.setattr(cuda, "get_current_device", lambda current=current: current)
        with pytest.raises(BackendUnavailable, match=r"capability 7\.0") if gpu else nullcontext():
            device.check()


def test_arrays_of_a_gpu_in_the_simulator(monkeypatch):
    """It has no such memory."""
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    from refconv.arrays.gpu import libraries

    monkeypatch.setattr(libraries, "SIMULATED", True)
    monkeypatch.setattr(libraries, "check", lambda: None)
    with pytest.raises(BackendUnavailable, match=r"input lies on a GPU, .*: unset NUMBA_ENABLE_CUDASIM"):
        libraries.adopt("input", X)


def test_a_tensor_that_cannot_be_reached_is_no_wrong_argument(monkeypatch):
    """What is missing is said of torch's tensors as of any other array."""

    class OnGpu(torch.Tensor):
        is_cpu, is_cuda = False, True

    def missing(*_):
        raise BackendUnavailable("the driver is too old")

    monkeypatch.setattr(interop, "_adopted", missing)
    with pytest.raises(BackendUnavailable, match="the driver is too old"):
        interop.to_numpy("input", torch.ones(1).as_subclass(OnGpu))


def test_nothing_is_imported_for_the_cpu():
    program = (
        "import sys, numpy, refconv; refconv.conv2d(numpy.ones((1, 1, 2, 2)), numpy.ones((1, 1, 1, 1)));"
        "sys.exit(any(name.startswith(('numba.cuda.cudadrv', 'refconv.arrays.gpu')) for name in sys.modules))"
    )
    run(program)


WITHOUT_NUMBA_CUDA = """
import sys
class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "numba_cuda":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path[:] = [Nowhere(), *(each for each in sys.meta_path if type(each).__name__ != "NumbaCudaFinder")]
"""


@pytest.mark.parametrize("simulator", ["0", "1"])
def test_doctests_are_skipped_without_numba_cuda(tmp_path, simulator):
    """And pytest says which, of all that needs it."""
    (tmp_path / "without_numba_cuda.py").write_text(WITHOUT_NUMBA_CUDA)
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    what = (
        "refconv/arrays/gpu",
        "refconv/arrays/interop.py",
        "refconv/engine/targets/cuda",
        "tests/support/gpu_code.py",
    )
    options = ("-p", "without_numba_cuda", "-p", "no:cacheprovider", "-n", "0", "--collect-only", *what)
    variables = os.environ | {"PYTHONPATH": path, "NUMBA_ENABLE_CUDASIM": simulator}
    done = python("-m", "pytest", *options, cwd=ROOT, env=variables, check=False)
    modules = {"tests/support/gpu_code.py"}
    folders = ROOT / "refconv/arrays/gpu", ROOT / "refconv/engine/targets/cuda"
    modules |= {path.relative_to(ROOT).as_posix() for folder in folders for path in folder.glob("*.py")}
    skipped = re.findall(r"SKIPPED \[\d\] ([\w/.]+):0: .*numba-cuda is not installed", done.stdout)
    assert set(skipped) == modules, done.stdout + done.stderr
    assert "ERROR" not in done.stdout
