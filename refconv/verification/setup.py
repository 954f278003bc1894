"""Setup: what the sections of one dtype share: candidate, settings, crew and journal.

Knows these parts by name; not what is done with them.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from refconv.cases.supports import Supports
from refconv.core.formats import result_dtype
from refconv.verification.candidate.arrangements import possible
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.examine.crew import Crew
from refconv.verification.examine.journal import Journal
from refconv.verification.faults import Faults
from refconv.verification.settings import Settings
from refconv.verification.stopwatch import Stopwatch


@dataclass(frozen=True)
class Setup:
    """What the sections of one dtype share."""

    candidate: Candidate
    settings: Settings
    crew: Crew
    journal: Journal
    dtype: str
    stopwatch: Stopwatch
    faults: Faults
    seconds: float | None = None  # time for the generated cases of this dtype; None for no limit
    told: set[str] = field(default_factory=set)  # properties whose failures an earlier section has made small

    @cached_property
    def supports(self) -> Supports:
        """The settings' limits, without the views that arrays of the candidate's kind can't be."""
        supports = self.settings.supports.of_dtype(self.dtype)
        # The result's numbers may be wider than the operands'. What these can't be is left to each case.
        widest = max(np.dtype(self.dtype), result_dtype(np.dtype(self.dtype)), key=lambda dtype: dtype.itemsize)
        views = tuple(view for view in supports.views if possible(view, self.candidate.arrays, widest))
        views = views if self.candidate.arrange is None else ("contiguous",)
        return replace(supports, views=views, out=self.candidate.style == "out", largest=self.settings.largest)
