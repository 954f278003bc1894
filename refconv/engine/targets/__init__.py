"""Targets: what runs the nest. Python itself ("python"), compiled parallel CPU code ("cpu"), a GPU ("cuda").

Knows what a target is and which there are; a target is imported when first asked for, for Numba takes long to load.
"""

import os
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from refconv.core.checks import choice
from refconv.core.errors import BackendUnavailable, GeometryError
from refconv.engine.correlation import Correlation

BACKENDS = ("auto", "cpu", "python", "cuda")


def _born_of_a_fork() -> bool:
    """Whether this process was forked without starting a program since, as far as the system tells (Linux does)."""
    try:
        flags = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[6])
    except (OSError, ValueError, IndexError):
        return False
    return bool(flags & 0x40)  # PF_FORKNOEXEC


# Forks are recorded from the import of refconv on: modules that use threads may be imported later.
_FORKED = [_born_of_a_fork()]
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _FORKED.append(True))


def forked() -> bool:
    """Whether this process was forked: then an OpenMP runtime may count on threads that only the parent has."""
    return any(_FORKED)


class Target(Protocol):
    """Where the nest runs."""

    def run(self, correlation: Correlation) -> None:
        """Fill `correlation.out`."""

    def sums(self, correlation: Correlation, index: tuple[np.ndarray, ...]) -> np.ndarray:
        """The exact sums of some outputs, of these indices: `Fraction`s, or floats where they are NaN or infinity."""


def choose(backend: str, *, on_gpu: bool = False) -> Target:
    """The target of a backend's name; "auto" is where the arrays live.

    Raises
    ------
    GeometryError
        For a name that no target has.
    BackendUnavailable
        If it can't run here, or the arrays live on the GPU and it runs elsewhere.
    """
    name = choice("backend", backend, BACKENDS)
    if on_gpu and name not in ("auto", "cuda"):
        raise BackendUnavailable(f"backend={backend!r}: must be 'cuda' or 'auto' for arrays on the GPU, or copy them")
    return _target("cuda" if on_gpu else name)


@cache
def _target(backend: str) -> Target:
    if backend == "cuda":
        import_module("refconv.arrays.gpu.device").check()
        return cast(Target, import_module("refconv.engine.targets.cuda"))
    if backend == "python":
        return cast(Target, import_module("refconv.engine.targets.python"))
    from numba import config

    if config.DISABLE_JIT:  # type: ignore[attr-defined] # made at run time
        raise BackendUnavailable("backend='cpu': NUMBA_DISABLE_JIT is set; unset it, or use backend='python'")
    return cast(Target, import_module("refconv.engine.targets.cpu"))


def check_device(device: str) -> None:
    """Refuse a device that refconv has no target for."""
    kind = device.partition(":")[0]
    if kind == "cuda":
        choose(kind)
    elif kind != "cpu":
        raise GeometryError(f"device={device!r}: must be 'cpu' or 'cuda'")
