"""The prosecutor: puts candidates to the test and reports what fails, on the smallest case found.

Public names only. Hypothesis, rich, torch and the libraries with real images are imported in this package alone.
"""

from refconv.verification.campaign import verify
from refconv.verification.report import Failure, Report, Result

__all__ = ["Failure", "Report", "Result", "verify"]
