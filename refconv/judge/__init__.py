"""The judge: what a call must return, how far an implementation may be from it, and the verdict on an output.

A `Case` is a call with its arrays. `Case.check` judges an output under an `ErrorModel`, which says how the
implementation computes, and returns a `Comparison`; `assert_close` raises where that is not ok. Public names only.
Knows operators; not how cases are made, and none of the libraries that are judged.
"""

from refconv.judge.bounds.error_model import ErrorModel
from refconv.judge.case import Case, assert_close
from refconv.judge.comparison import Comparison

__all__ = ["Case", "Comparison", "ErrorModel", "assert_close"]
