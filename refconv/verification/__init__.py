"""The prosecutor: puts candidates to the test and reports what fails, on the smallest case found.

`campaign` runs `sections` of cases, `prosecution` makes failures of what they find; `candidate`, `examine`, `diagnose`
and `report` are packages of their own. `replay` tries saved failures again, `mutation_score` tests the tests; `former`
is for programs of 0.1.0. This file has public names only. rich, and the libraries with real images, are imported in
this package and the command line alone.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from refconv.cases.huge import Huge
from refconv.core.geometry import Geometry
from refconv.verification.campaign import verify
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.candidate.loading import load
from refconv.verification.examine.in_process import examine
from refconv.verification.examine.model_runs import ModelRun
from refconv.verification.examine.property_names import PROPERTIES
from refconv.verification.examine.wrong_arguments import Wrong
from refconv.verification.real_layers import DigitLayer
from refconv.verification.report.report import Report
from refconv.verification.report.results import Failure, Result

__all__ = [
    "PROPERTIES",
    "Candidate",
    "DigitLayer",
    "Failure",
    "Geometry",
    "Huge",
    "ModelRun",
    "Report",
    "Result",
    "Wrong",
    "examine",
    "load",
    "verify",
]

_FORMER = ("layers", "misuse")  # modules of 0.1.0, which the programs that it emitted import
__path__.append(str(Path(__file__).parent / "former" / "of_verification"))


def __getattr__(name: str) -> Any:
    if name in _FORMER:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
