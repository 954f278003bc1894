"""Findings: what all failing cases have in common: what rules look at.

Knows evidence, conditions and regions; compares with no mutant.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from refconv.cases.recipe import Recipe
from refconv.mutants import Mutant
from refconv.verification.diagnose import regions
from refconv.verification.diagnose.altered_calls import Alteration
from refconv.verification.diagnose.conditions import conditions, shared
from refconv.verification.diagnose.evidence import LARGEST, Evidence, Failing
from refconv.verification.diagnose.traits import traits
from refconv.verification.examine.property_names import RETURNS

CLAIM = 0.9  # share of the wrong outputs that a mutant must predict for the candidate to behave like it
LEANING = 0.3  # share of the passing cases that must lack a condition for the class to be guessed by it
BY_CHANCE = 1e-3  # what is less probable is no chance
Suspect: TypeAlias = Mutant | Alteration


@dataclass(frozen=True)
class Diagnosis:
    """The mistake that a candidate seems to make.

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
    gate : tuple of str
        The conditions under which only the mutant's mistake is made, if there are any.
    model : str
        An error model that admits the results; or empty.
    """

    kind: str
    mutant: str
    text: str
    matches: int = 0
    compared: int = 0
    conditions: tuple[str, ...] = ()
    positions: tuple[str, ...] = ()
    gate: tuple[str, ...] = ()
    model: str = ""

    def __str__(self) -> str:
        return self.text


class Findings:
    """What all failing cases have in common: what rules look at."""

    def __init__(
        self,
        op: str,
        failing: Sequence[Failing],
        passing: Sequence[Evidence],
        repeatable: bool,
        experiments: Sequence[Evidence] = (),
        others: Sequence[tuple[Recipe, bool]] = (),
    ) -> None:
        self.op, self.failing, self.passing, self.repeatable = op, failing, passing, repeatable
        self.experiments, self.others = experiments, others

    @cached_property
    def conditions(self) -> tuple[str, ...]:
        """The traits that failing cases share and passing ones lack, in the campaign and in the experiments.

        If that leaves none, there may be several causes: then those of the cases around the smallest failing one.
        """
        around = [item.recipe for item in self.experiments if item.failed]
        failing = [case.recipe for case in self.failing] + [recipe for recipe, failed in self.others if failed]
        right = [item.recipe for item in self.experiments if not item.failed]
        passing = [item.recipe for item in self.passing] + [recipe for recipe, failed in self.others if not failed]
        shown = bool(right)  # what experiments can show they must show
        return conditions(failing + around, passing, right, shown=shown) or conditions(
            around, passing, right, shown=True
        )

    def may_be(self, mutant: Suspect) -> bool:
        """Whether a mutant is one of the operator, and of the formats that failed.

        An alteration raises where there is no such call: where nothing was returned that explains nothing.
        """
        if not isinstance(mutant, Mutant):
            return not self.raised
        dtypes = {case.recipe.dtype for case in self.failing}
        if mutant.epilogue not in ("", self.epilogue):
            return False
        if mutant.op != self.op or (mutant.style == "out" and not self.written):
            return False
        recipe = self.failing[0].recipe
        if mutant.weight_bits not in (0, recipe.weight_bits):
            return False
        if mutant.requantize and mutant.requantize != (recipe.requantize or "float"):
            return False
        return mutant.kind != "accum_dtype" or mutant.dtypes == ("float32",) or dtypes <= {*mutant.dtypes}

    @property
    def epilogue(self) -> str:
        """What comes behind the sums, of all cases."""
        return next((case.evidence.case.epilogue for case in self.failing), "")

    @property
    def written(self) -> bool:
        """Whether the candidate writes to an array that it is given."""
        return any("written" in case.evidence.fault or "output" in dict(case.recipe.memory) for case in self.failing)

    @cached_property
    def leaning(self) -> tuple[str, ...]:
        """As `conditions`, but fewer passing cases need lack them."""
        passing = [item.recipe for item in self.passing]
        return conditions([case.recipe for case in self.failing], passing, lacking=LEANING)

    @cached_property
    def shared(self) -> frozenset[str]:
        """All traits that the failing cases share."""
        return frozenset(shared([case.recipe for case in self.failing]))

    @cached_property
    def lie_so(self) -> bool:
        """Whether one array is not contiguous in any failing case, and that is no chance."""
        if self.conditions:
            return False
        for name in (trait for trait in self.shared if trait.endswith("not contiguous")):
            often = sum(name in traits(item.recipe) for item in self.passing) / max(1, len(self.passing))
            if often ** len(self.failing) < BY_CHANCE:
                return True
        return False

    @cached_property
    def views(self) -> list[regions.Wrong]:
        """The outputs that have the right shape."""
        return [case.view for case in self.judged if case.view is not None]

    @cached_property
    def judged(self) -> list[Failing]:
        """The failing cases of which there may be a result, of the campaign and of the experiments."""
        return [*self.failing, *self.around]

    @cached_property
    def around(self) -> list[Failing]:
        """The failing cases of the experiments of which there is a result."""
        return [Failing(item) for item in self.experiments if item.failed and item.actual is not None]

    @cached_property
    def regions(self) -> tuple[str, ...]:
        """Where these outputs are wrong; empty if another one has a wrong shape."""
        return regions.regions(self.views) if len(self.views) == len(self.judged) else ()

    @cached_property
    def values(self) -> tuple[str, ...]:
        """What is the matter with the values, in all cases but for a chance."""
        views = [case.view for case in self.judged if case.exact and case.view is not None] or self.views
        views = [wrong for wrong in views if wrong.mask.any() and wrong.mask.size <= LARGEST]
        views = [wrong for wrong in views if wrong.mask.sum() > 1] or views  # of a single number much may be said
        counts = Counter(name for wrong in views for name in regions.values(wrong))
        return tuple(name for name, times in counts.items() if times >= regions.NEARLY_ALL * len(views))

    @cached_property
    def sizes(self) -> tuple[str, ...]:
        """What is the matter with wrong shapes."""
        shapes = [
            regions.Shapes(item.actual.shape, item.standard[0].shape, item.case.geometry)
            for item in self.failing
            if item.actual is not None
        ]
        return regions.sizes(shapes, self.op)

    @property
    def raised(self) -> bool:
        """Whether the candidate returned nothing in any failing case."""
        return all(case.actual is None for case in self.failing)

    @cached_property
    def positions(self) -> tuple[str, ...]:
        """Where and how outputs are wrong, in words."""
        return (*self.regions[:2], *self.values, *self.sizes)

    def when(self, *starts: str) -> bool:
        """Whether a condition starts with one of these words."""
        return any(condition.startswith(starts) for condition in self.conditions)

    def where(self, *starts: str) -> bool:
        """Whether one of the first two regions starts with one of these words."""
        return any(region.startswith(starts) for region in self.regions[:2])

    def diagnosis(self, kind: str, text: str) -> Diagnosis:
        """A diagnosis with conditions and positions."""
        parts = [text]
        if not self.repeatable:
            parts.append("called again it gives another result")
        if self.raised and self.failing[0].evidence.fault in ("", RETURNS):
            parts.append("raises")
        if self.conditions:
            parts.append("when: " + " and ".join(self.conditions))
        if self.positions:
            parts.append("wrong: " + "; ".join(self.positions))
        return Diagnosis(kind, "", "\n  ".join(parts), conditions=self.conditions, positions=self.positions)
