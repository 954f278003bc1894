"""Environment: versions, processor, threads and GPU of where refconv runs: what a report of a bug or a figure needs.

Knows where each of these is asked for, and imports no library to learn its version.
"""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

from refconv.core.errors import BackendUnavailable
from refconv.core.version import __version__
from refconv.engine import targets

# The extra that brings a package; None for packages that refconv cannot run without.
PACKAGES = {
    "numpy": None,
    "numba": None,
    "llvmlite": None,
    "ml_dtypes": None,
    "torch": "bench",
    "hypothesis": "verify",
    "numba-cuda": "cuda",
}


def environment() -> dict[str, str]:
    """Names and values, to be shown or stored as they are.

    Examples
    --------
    >>> environment()["ml_dtypes"] == version("ml_dtypes")
    True
    """
    return {
        "refconv": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()}, {platform.system()})",
        **{name: _version(name, extra) for name, extra in PACKAGES.items()},
        "processor": _processor(),
        "threads": _threads(),
        "cache": _cache(),
        "load": _load(),
        "GPU": _gpu(),
    }


def _version(package: str, extra: str | None) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return f"not installed: pip install 'refconv[{extra}]'" if extra else "not installed, but needed"


def _processor() -> str:
    from llvmlite import binding

    from refconv.engine.targets.cpu.schedule import registers

    size, count = registers()
    return f"{binding.get_host_cpu_name()} ({platform.machine()}), {count} vectors of {size} bytes used"


def _threads() -> str:
    from refconv.engine.targets.cpu import threads

    return f"{threads.count()}, on {os.cpu_count()} processors, {threads.runtime()}"


def _cache() -> str:
    """Where compiled code of this version is kept, and how much of it there is."""
    from refconv.engine.targets.jit import cfunctions

    files = list(cfunctions.folder().glob("*.bin")) if cfunctions.folder().is_dir() else []
    size = sum(file.stat().st_size for file in files)
    return f"{cfunctions.folder()}, {len(files)} files, {size / 2**20:.1f} MiB"


def _load() -> str:
    """How busy the machine was: on a busy one a benchmark says little."""
    try:
        return f"{os.getloadavg()[0]:.2f}, the average of the last minute"
    except (AttributeError, OSError):  # AttributeError: not on Windows
        return "unknown"


def _gpu() -> str:
    try:
        targets.choose("cuda")
    except BackendUnavailable as error:
        return f"not used: {error}"
    return "used for arrays that live there"
