"""Target "cpu": the nest compiled by Numba over a register tile, its work shared among threads.

Public names only: what a target is asked for, and compiling ahead of time.
"""

from refconv.engine.targets.cpu.execute import run, sums, warm_up

__all__ = ["run", "sums", "warm_up"]
