"""What a campaign works with in one dtype: the candidate, what is asked, who examines, what was done before.

Knows the parts that it holds by name; not what is done with them.
"""

from dataclasses import dataclass, replace
from functools import cached_property

from refconv.cases.supports import Supports
from refconv.verification.candidate.arrangements import possible
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.examine.crew import Crew
from refconv.verification.examine.journal import Journal
from refconv.verification.settings import Settings


@dataclass(frozen=True)
class Setup:
    """What the sections of one dtype have in common."""

    candidate: Candidate
    settings: Settings
    crew: Crew
    journal: Journal
    dtype: str
    seconds: float | None = None  # to be spent on generated cases of this dtype

    @cached_property
    def supports(self) -> Supports:
        """What may be generated: without views that there can't be of the candidate's kind of array."""
        supports = self.settings.supports
        # Of any dtype: the result may be of another one than the operands.
        views = tuple(view for view in supports.views if possible(view, self.candidate.arrays, "float64"))
        return replace(supports, views=views, out=self.candidate.style == "out")
