"""The prosecutor: puts candidates to the test and reports what fails, on the smallest case found.

Public names only. rich, torch and the libraries with real images are imported in this package alone.
"""

from refconv.verification.campaign import verify
from refconv.verification.candidates import Candidate, load
from refconv.verification.layers import DigitLayer
from refconv.verification.misuse import Wrong
from refconv.verification.names import PROPERTIES
from refconv.verification.report import Failure, Report, Result
from refconv.verification.worker import examine

__all__ = ["PROPERTIES", "Candidate", "DigitLayer", "Failure", "Report", "Result", "Wrong", "examine", "load", "verify"]
