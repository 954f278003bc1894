"""The prosecutor: puts candidates to the test and reports what fails, on the smallest case found.

Public names only. rich, torch and the libraries with real images are imported in this package alone.
"""

from refconv.verification.campaign import verify
from refconv.verification.candidates import Candidate, load
from refconv.verification.names import PROPERTIES
from refconv.verification.report import Failure, Report, Result
from refconv.verification.worker import examine

__all__ = ["PROPERTIES", "Candidate", "Failure", "Report", "Result", "examine", "load", "verify"]
