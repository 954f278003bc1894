"""Error bounds: what an implementation that computes as it says may get wrong at most, output by output.

Knows formats, geometry and arrays of float64; not where the oracle's sums come from, nor what they are compared with.
"""

from refconv.bounds.calls import sums_of
from refconv.bounds.models import ErrorModel
from refconv.bounds.sums import Sums

__all__ = ["ErrorModel", "Sums", "sums_of"]
