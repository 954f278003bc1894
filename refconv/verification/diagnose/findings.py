"""Findings: everything that is known of all failing cases together, but for mutants: what rules look at.

Knows evidence, conditions and regions.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from refconv.mutants import Mutant
from refconv.verification.diagnose import regions
from refconv.verification.diagnose.altered_calls import Alteration
from refconv.verification.diagnose.conditions import Levels, conditions, shared
from refconv.verification.diagnose.evidence import LARGEST, Evidence, Failing

CLAIM = 0.9  # of the wrong outputs that a mutant must predict for the candidate to behave like it
LEANING = 0.3  # of the passing cases that lack a condition that the class is guessed by
BY_CHANCE = 1e-3  # a probability that does not count
Suspect: TypeAlias = Mutant | Alteration


@dataclass(frozen=True)
class Diagnosis:
    """What a candidate seems to do.

    Attributes
    ----------
    kind : str
        Class of the bug, as of `refconv.mutants`; empty if nothing is typical of one.
    mutant : str
        Name of the mutant that behaves the same; or empty.
    text : str
        What to print.
    matches, compared : int
        Wrong outputs that the mutant predicts, and those compared.
    conditions : tuple of str
        What all failing cases share and (almost) all passing ones lack.
    positions : tuple of str
        Where outputs are wrong, and how.
    """

    kind: str
    mutant: str
    text: str
    matches: int = 0
    compared: int = 0
    conditions: tuple[str, ...] = ()
    positions: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.text


class Findings:
    """Everything that is known but for mutants: what rules look at."""

    def __init__(
        self,
        op: str,
        failing: Sequence[Failing],
        passing: Sequence[Evidence],
        repeatable: bool,
        levels: Levels | None,
    ) -> None:
        self.op, self.failing, self.passing, self.repeatable, self.levels = op, failing, passing, repeatable, levels

    @cached_property
    def conditions(self) -> tuple[str, ...]:
        """What failing cases share and passing ones lack."""
        return conditions(
            [each.key for each in self.failing], [(each.case, each.recipe) for each in self.passing], self.levels
        )

    def may_be(self, mutant: Mutant) -> bool:
        """Whether a mutant is one of the operator, and of the formats that failed."""
        dtypes = {each.recipe.dtype for each in self.failing}
        if mutant.op != self.op or (mutant.style == "out" and not self.written):
            return False
        return mutant.kind != "accum_dtype" or mutant.dtypes == ("float32",) or dtypes <= {*mutant.dtypes}

    @property
    def written(self) -> bool:
        """Whether the candidate writes to an array that it is given."""
        return any("written" in each.evidence.fault or "output" in dict(each.recipe.memory) for each in self.failing)

    @cached_property
    def leaning(self) -> tuple[str, ...]:
        """As `conditions`, but what fewer passing cases lack will do."""
        passing = [(each.case, each.recipe) for each in self.passing]
        return conditions([each.key for each in self.failing], passing, lacking=LEANING)

    @cached_property
    def shared(self) -> frozenset[str]:
        """All that the failing cases share."""
        return shared([each.key for each in self.failing])

    @cached_property
    def lie_so(self) -> bool:
        """Whether all failing cases have the same array not contiguous, and that can't be by chance."""
        if self.conditions:
            return False
        for name in (each for each in self.shared if each.endswith("not contiguous")):
            often = sum(name in shared([(each.case, each.recipe)]) for each in self.passing) / max(1, len(self.passing))
            if often ** len(self.failing) < BY_CHANCE:
                return True
        return False

    @cached_property
    def views(self) -> list[regions.Wrong]:
        """The outputs that have the right shape."""
        return [each.view for each in self.failing if each.view is not None]

    @cached_property
    def regions(self) -> tuple[str, ...]:
        """Where they are wrong."""
        return regions.regions(self.views) if len(self.views) == len(self.failing) else ()

    @cached_property
    def values(self) -> tuple[str, ...]:
        """What is the matter with the values, in (almost) all cases."""
        views = [each.view for each in self.failing if each.exact and each.view is not None] or self.views
        views = [each for each in views if each.mask.any() and each.mask.size <= LARGEST]
        found = Counter(name for each in views for name in regions.values(each))
        return tuple(name for name, times in found.items() if times >= CLAIM * len(views))

    @cached_property
    def sizes(self) -> tuple[str, ...]:
        """What is the matter with wrong shapes."""
        shapes = [
            regions.Shapes(each.actual.shape, each.standard[0].shape, each.case.geometry)
            for each in self.failing
            if each.actual is not None
        ]
        return regions.sizes(shapes, self.op)

    @property
    def raised(self) -> bool:
        """Whether nothing came of any failing case."""
        return all(each.actual is None for each in self.failing)

    @cached_property
    def positions(self) -> tuple[str, ...]:
        """Where and how outputs are wrong, in words."""
        return (*self.regions[:2], *self.values, *self.sizes)

    def when(self, *starts: str) -> bool:
        """Whether one of these is among the conditions."""
        return any(each.startswith(starts) for each in self.conditions)

    def where(self, *starts: str) -> bool:
        """Whether one of these is among the regions."""
        return any(each.startswith(starts) for each in self.regions[:2])

    def diagnosis(self, kind: str, text: str) -> Diagnosis:
        """A diagnosis with conditions and positions."""
        parts = [text]
        if not self.repeatable:
            parts.append("called again it gives another result")
        if self.raised:
            parts.append("raises")
        if self.conditions:
            parts.append("when: " + " and ".join(self.conditions))
        if self.positions:
            parts.append("wrong: " + "; ".join(self.positions))
        return Diagnosis(kind, "", "\n  ".join(parts), conditions=self.conditions, positions=self.positions)
