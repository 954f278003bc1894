"""Wrong use told from a wrong kernel: calls that can't be meant so, whatever a kernel computes.

Knows findings and recipes; not what is done with cases that fail otherwise.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from refconv.cases.fitting import fitted
from refconv.cases.recipe import Recipe
from refconv.cases.supports import Supports
from refconv.cases.values import Values, for_axes, values_of
from refconv.core.layouts import IMAGES
from refconv.core.operators import axes_of
from refconv.verification.candidate.array_kinds import NO_GPU
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.examine.examination import Examination
from refconv.verification.examine.property_names import RETURNS
from refconv.verification.faults import WrongUse

ENOUGH = 3  # equal errors, of cases that differ in all of `DIFFERENT`
MANY = 10  # of cases that can't differ in something

DIFFERENT: dict[str, Callable[[Recipe], Any]] = {
    "bias": lambda recipe: recipe.bias,
    "groups": lambda recipe: recipe.geometry.groups,
    "pairs": lambda recipe: (recipe.geometry.stride, recipe.geometry.padding, recipe.geometry.dilation),
    "batch": lambda recipe: recipe.geometry.batch,
}


# Plain calls of which every kernel takes some; they differ in all of that, too.
_LAYER = {"height": 8, "width": 8, "rows": 3, "columns": 3, "top": 1, "bottom": 1, "left": 1, "right": 1}
PLAIN: tuple[dict[str, Any], ...] = (
    {},
    {"inputs": 64, "outputs": 64, "height": 8, "width": 8, "bias": True},
    _LAYER | {"inputs": 16, "outputs": 16},
    _LAYER | {"inputs": 64, "outputs": 64, "bias": True},
    _LAYER | {"groups": 16},
    _LAYER | {"inputs": 8, "outputs": 8, "batch": 2, "groups": 2, "stride_h": 2, "stride_w": 2, "bias": True},
)


class Watch:
    """Watches the calls of a candidate for what proves that it is not meant to be called so.

    Parameters
    ----------
    candidate
        Who is called.
    supports
        What it is said to take.
    examine
        Examines one case more.
    """

    def __init__(self, candidate: Candidate, supports: Supports, examine: Callable[[Recipe], Examination]) -> None:
        self.candidate, self.supports, self.examine = candidate, supports, examine
        self._seen: list[Recipe] = []
        self._refused: dict[str, list[Recipe]] = {}
        self._decided: set[str] = set()  # errors that plain calls do not all raise

    def look(self, recipe: Any, examination: Examination) -> None:
        """Look at a case that was judged.

        Raises
        ------
        WrongUse
            If it is one of several different ones that raise what every plain call raises too.
        """
        if isinstance(recipe, Recipe):
            self._seen.append(recipe)
            for error in self._errors(examination):
                self._refused.setdefault(error, []).append(recipe)
                if self._are_different(self._refused[error]):
                    self._decide(error)

    def settle(self) -> None:
        """Decide, of fewer cases, at the end of all of them.

        Raises
        ------
        WrongUse
            As `look`.
        """
        for error in list(self._refused):
            self._decide(error)

    def _are_different(self, alike: list[Recipe]) -> bool:
        """Whether cases are as different as can be: whatever a kernel makes of its arguments, it is not that."""
        constant = [name for name, of in DIFFERENT.items() if len(set(map(of, alike))) == 1]
        least = MANY if constant else ENOUGH
        return len(alike) >= least and all(len(set(map(DIFFERENT[name], self._seen))) == 1 for name in constant)

    def _decide(self, error: str) -> None:
        """Try plain calls: unless all raise the same, it is the kernel that raises it for some."""
        if error in self._decided:
            return
        self._decided.add(error)
        first = min(self._refused[error], key=lambda recipe: recipe.geometry.products)
        values = Values(dtype=first.dtype, layout=values_of(first).layout)
        axes = axes_of(first.op)
        plain = {fitted(first.op, values._replace(**for_axes(axes, changes)), self.supports) for changes in PLAIN}
        allowed = list(filter(self.supports.allows, plain))
        if allowed and all(error in self._errors(self.examine(recipe)) for recipe in allowed):
            raise WrongUse(self._explained(first, error))

    def _errors(self, examination: Examination) -> list[str]:
        """What was raised that may be wrong use."""
        errors = []
        for finding in examination.findings:
            if finding.property == RETURNS and not finding.crash:
                raised = re.findall(rf"^TypeError\b.*|^.*(?:{NO_GPU}).*", finding.text, re.MULTILINE)[-1:]
                # torch tells the types that it got, of which that of the bias differs.
                errors += [re.sub(r"got \(.*?\)", "got (...)", error) for error in raised]
        return errors

    def _explained(self, recipe: Recipe, error: str) -> str:
        case = recipe.case()
        names = case.parameters
        keywords = [f"{name}={value!r}" for name, value in case.keywords().items()]
        keywords += [f"layout={recipe.layout!r}"] * (recipe.layout not in IMAGES.values())
        told = [*map(_told, case.arguments()), *keywords]
        out = ["out"] * (self.candidate.style == "out")
        name = getattr(self.candidate.function, "__name__", "the candidate")
        lines = [
            f"{name} can't be called as it was, whatever the case: {error}",
            f"  it was called as: {name}({', '.join([*told, *out])})",
            f"  expected: a function of ({', '.join([*names, *out])}), all of them positional",
        ]
        if recipe.layout not in IMAGES.values():
            lines.append("  and of the keyword layout, as several layouts are said to be supported")
        if self.candidate.arrays == "numpy" and re.search(
            r"\b(Tensor|torch)\b|invalid combination of arguments", error
        ):
            lines.append("  it seems to take tensors: arrays='torch' (--arrays torch) hands them over")
        if re.search(NO_GPU, error):
            lines.append("  it needs a GPU, and torch has none here")
        return "\n".join(lines)


def _told(argument: Any) -> str:
    if isinstance(argument, np.ndarray):
        return f"{argument.dtype} {argument.shape}"
    return repr(argument)
