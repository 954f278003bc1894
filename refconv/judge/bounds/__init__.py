"""Error bounds: what an implementation that computes as it says may get wrong at most, output by output.

Knows formats, geometry and arrays of float64; not where the oracle's sums come from, nor what they are compared with.
"""

from refconv.judge.bounds.error_model import ErrorModel
from refconv.judge.bounds.sums import Sums
from refconv.judge.bounds.sums_of_call import sums_of

__all__ = ["ErrorModel", "Sums", "sums_of"]
