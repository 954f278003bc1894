"""Memory: how much of it a campaign may use, as it is asked for or as there is.

Knows sizes in text and what the system says of itself; not what the memory is for.
"""

import os
import re
from pathlib import Path

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
RESERVE = 2**30  # bytes that are left to others
CGROUP = Path("/sys/fs/cgroup")  # of this process, where it is in a container


def size(name: str, value: int | str) -> int:
    """Bytes, of a number or of text such as "20G".

    Raises
    ------
    TypeError, ValueError
        Naming the argument, its value and what it must be.

    Examples
    --------
    >>> size("memory", "1.5G"), size("memory", 4096)
    (1610612736, 4096)
    >>> size("memory", "-1")
    Traceback (most recent call last):
    ValueError: memory='-1': must be a positive number of bytes, which K, M, G or T may follow
    """
    wanted = "must be a positive number of bytes, which K, M, G or T may follow"
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError(f"{name}={value!r}: {wanted}")
    parsed = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", str(value).upper().removesuffix("IB").removesuffix("B"))
    n_bytes = int(float(parsed[1]) * UNITS[parsed[2]]) if parsed else 0
    if n_bytes <= 0:
        raise ValueError(f"{name}={value!r}: {wanted}")
    return n_bytes


def available() -> int:
    """Bytes that are free, less a reserve, in the container if this is one."""
    free = [_of_system(), *_of_container()]
    return max(0, min(free) - RESERVE)


def _of_system() -> int:
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        line = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())
        if line:
            return int(line[1]) * 2**10
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _of_container() -> list[int]:
    try:
        limit, used = ((CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return []
    return [int(limit) - int(used)] if limit.isdecimal() else []
