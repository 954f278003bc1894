"""Target "cuda": the nest compiled by numba-cuda, a tile for each thread, operands packed into the GPU's memory.

Public names only: the functions of a `Target`.
"""

from refconv.engine.targets.cuda.execute import run, sums

__all__ = ["run", "sums"]
