"""Setup: what the sections of one dtype share: candidate, settings, crew and journal.

Knows these parts by name; not what is done with them.
"""

from dataclasses import dataclass, replace
from functools import cached_property

from refconv.cases.supports import Supports
from refconv.verification.candidate.arrangements import possible
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.examine.crew import Crew
from refconv.verification.examine.journal import Journal
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
    seconds: float | None = None  # time for the generated cases of this dtype; None for no limit

    @cached_property
    def supports(self) -> Supports:
        """The settings' limits, without the views that arrays of the candidate's kind can't be."""
        supports = self.settings.supports
        # As if of float64, whatever the dtype: the result's may differ from the operands'.
        views = tuple(view for view in supports.views if possible(view, self.candidate.arrays, "float64"))
        return replace(supports, views=views, out=self.candidate.style == "out", largest=self.settings.largest)
