"""Error bounds: how far off each output may be, at most, if an implementation computes as it says.

An `ErrorModel` is what the implementation says; `sums_of` gives the `Sums` behind the outputs of a call;
`ErrorModel.bound` makes the largest admissible errors of them. direct.py, winograd.py, complex3.py and fft.py hold the
algorithms, output.py what becomes of their sums. A claim (claim.py) says which model is meant for which call.
Knows formats, geometry and arrays of float64; not where the oracle's sums come from, nor what they are compared with.
"""

from refconv.judge.bounds.claim import Claim, Model, claimed, model_of
from refconv.judge.bounds.error_model import ErrorModel
from refconv.judge.bounds.sums import Sums
from refconv.judge.bounds.sums_of_call import sums_of

__all__ = ["Claim", "ErrorModel", "Model", "Sums", "claimed", "model_of", "sums_of"]
