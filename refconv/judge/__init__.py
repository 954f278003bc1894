"""The judge: what must come out of a call, how far an implementation may be from it, and the verdict on what did.

Public names only. Knows operators; not how cases are made, and none of the libraries that are judged.
"""

from refconv.judge.bounds.error_model import ErrorModel
from refconv.judge.case import Case, assert_close
from refconv.judge.comparison import Comparison

__all__ = ["Case", "Comparison", "ErrorModel", "assert_close"]
