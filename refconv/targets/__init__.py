"""Targets: who runs the nest. Python itself ("python"), compiled parallel CPU code ("cpu").

Knows what a target is and which there are; a target is imported when first asked for, for Numba takes long to load.
"""

import os
import sys
from functools import cache
from importlib import import_module
from typing import Protocol, cast

from refconv.correlation import Correlation
from refconv.errors import BackendUnavailable, GeometryError
from refconv.geometry import choice

BACKENDS = ("auto", "cpu", "python", "cuda")
NO_CUDA = "this version of refconv has no CUDA kernels yet; use 'cpu'"


_FORKED: list[bool] = []


def forked() -> bool:
    """Whether this process was forked: then an OpenMP runtime may count on threads that only the parent has."""
    process = sys.modules.get("multiprocessing.process")
    return bool(_FORKED) or (process is not None and type(process.current_process()).__name__ == "ForkProcess")


# Noted from the import of refconv on, for what uses threads may be imported in the child only.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _FORKED.append(True))


class Target(Protocol):
    """Where the nest runs."""

    def run(self, correlation: Correlation) -> None:
        """Fill `correlation.out`."""


def choose(backend: str) -> Target:
    """The target of a backend's name; "auto" is where the arrays live, and so far they live on the CPU."""
    return _target(choice("backend", backend, BACKENDS))


@cache
def _target(backend: str) -> Target:
    if backend == "cuda":
        raise BackendUnavailable(f"backend='cuda': {NO_CUDA}")
    if backend == "python":
        return cast(Target, import_module("refconv.targets.python"))
    from numba import config

    if config.DISABLE_JIT:  # type: ignore[attr-defined] # made at run time
        raise BackendUnavailable("backend='cpu': NUMBA_DISABLE_JIT is set; unset it, or use backend='python'")
    return cast(Target, import_module("refconv.targets.cpu"))


def check_device(device: str) -> None:
    """Refuse a device that refconv has no target for."""
    kind = device.partition(":")[0]
    if kind == "cuda":
        raise BackendUnavailable(f"device={device!r}: {NO_CUDA}")
    if kind != "cpu":
        raise GeometryError(f"device={device!r}: must be 'cpu' or 'cuda'")
