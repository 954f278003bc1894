"""Diagnosing a single wrong output, of a case that its author made: there is no candidate to be called again.

Knows cases, comparisons and `diagnose`, of which it asks what one case can tell.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from refconv.cases.recipe import Recipe
from refconv.core import formats
from refconv.core.operators import CONV, kind_of, like
from refconv.judge.bounds import Model
from refconv.judge.case import Case
from refconv.judge.comparison import SUSPICIOUS, Comparison
from refconv.mutants import all as all_mutants
from refconv.verification.diagnose import regions
from refconv.verification.diagnose.altered_calls import alterations
from refconv.verification.diagnose.diagnosis import MODELS, diagnose
from refconv.verification.diagnose.evidence import Evidence, Failing
from refconv.verification.diagnose.findings import Diagnosis, Suspect
from refconv.verification.examine import parts
from refconv.verification.examine.property_names import VALUES

GATED = "-if-"  # in the name of a mutant that is wrong under a condition: one case can't show a condition
TELLING = 6  # fewest different wrong outputs by which one case tells a mistake: fewer may be so by chance
WITH_IMAGES = ("output", "input")  # what results are like that have a part for each image
MOSTLY = 0.75  # share of a region that must be wrong
MOST = 2**23  # products of a case on which all known mistakes are tried within seconds


def diagnosis(
    case: Case, actual: np.ndarray, comparison: Comparison, model: Model | None = None, *, strict: bool = False
) -> Diagnosis:
    """What a wrong output looks like.

    Of a large layer the known mistakes, which are slow kernels, are compared with a part of the output only, and the
    text says so; where the output is wrong, and what else it may be equal to, is looked for in all of it.

    Parameters
    ----------
    case : Case
        The call.
    actual : ndarray
        Its wrong output.
    comparison : Comparison
        The judgement on it.
    model, strict
        By which it was judged, as `Case.check` has them.
    """
    if comparison.verdict == SUSPICIOUS:
        return Diagnosis(
            "accum_dtype", "", "every element is within its bound, but together the errors are no roundings"
        )
    evidence = Evidence(Recipe.like(case), case, actual, failed=True, fault=VALUES, model=model, strict=strict)
    failing = Failing(evidence)
    if not failing.wrong.any():  # checksums alone tell
        return Diagnosis("", "", "no output is wrong by itself; checksums of many are")
    part = _part(case, actual, comparison.worst)
    if part is None:
        return _with_place(_diagnosed(evidence), failing)
    some = replace(evidence, case=part[0], actual=part[1], recipe=Recipe.like(part[0]))
    of_part = _diagnosed(some)
    if not of_part.mutant:
        return _with_place(_diagnosed(evidence, alterations()), failing)
    looked_at = f"compared with it: {list(part[1].shape)} of {list(actual.shape)} outputs"
    return replace(of_part, text=f"{of_part.text}\n  ({looked_at})")


def _diagnosed(evidence: Evidence, suspects: Sequence[Suspect] = ()) -> Diagnosis:
    """The diagnosis, of mistakes that one case can tell; of models those that say something of finite numbers."""
    every = suspects or (*(mutant for mutant in all_mutants() if GATED not in mutant.name), *alterations())
    failing = Failing(evidence)
    assert evidence.actual is not None  # noqa: S101 - it was judged
    telling = failing.misshapen or _different(evidence.actual[failing.wrong]) >= TELLING
    # A function of the right results (it has no class) may make zeros of some of them: then all tell.
    function = not failing.misshapen and min(
        _different(failing.standard[0][failing.wrong]), _different(evidence.actual)
    ) >= 2 * TELLING  # fmt: skip
    chosen = [suspect for suspect in every if telling or (function and not suspect.kind)]
    models = () if evidence.recipe.fill == "special" else MODELS
    return diagnose([evidence], evidence.recipe.op, None, suspects=chosen, models=models)


def _different(numbers: np.ndarray) -> int:
    """How many different finite numbers there are."""
    parts = formats.parts(numbers)
    return int(np.unique(parts[np.isfinite(parts)].astype(np.float64)).size)


def _with_place(made: Diagnosis, failing: Failing) -> Diagnosis:
    """The diagnosis, with the smallest box around the wrong outputs, and with no region of which most is right."""
    view = failing.view
    if view is None or made.model:
        return made
    positions = tuple(name for name in made.positions if name not in regions.REGIONS or _is_filled(name, view))
    said, kept = "\n  wrong: " + "; ".join(made.positions), "\n  wrong: " + "; ".join(positions)
    text = made.text.replace(said, kept * bool(positions)) if made.positions else made.text
    ends = [(int(index.min()), int(index.max()), size)
            for index, size in zip(np.nonzero(view.mask), view.mask.shape, strict=True)]  # fmt: skip
    case = failing.case
    first = "images" if like(case.op) in WITH_IMAGES else "filters"
    names = (first, "channels", *("planes", "rows", "columns")[-case.axes :])[: view.mask.ndim]
    box = [
        f"{name} {low} to {high} of {size}"
        for name, (low, high, size) in zip(names, ends, strict=True)
        if high - low + 1 < size
    ]
    if box:
        text += f"\n  {'but only there' if made.mutant else 'between'}: {', '.join(box)}"
    return replace(made, text=text, positions=positions)


def _is_filled(name: str, view: regions.Wrong) -> bool:
    """Whether most elements of a region are wrong."""
    inside = regions.REGIONS[name](view)
    return inside is not None and bool(view.mask[np.broadcast_to(inside, view.mask.shape)].mean() >= MOSTLY)


def _part(case: Case, actual: np.ndarray, worst: tuple[int, ...] | None) -> tuple[Case, np.ndarray] | None:
    """Of a large layer the image of the worst output, and its group or filters around its own; else None."""
    g = case.geometry
    whole = actual.shape == case.unwritten.shape and actual.ndim == case.axes + 2
    if g.products <= MOST or like(case.op) not in WITH_IMAGES or not whole:
        return None
    image, channel, *_ = worst or (0, 0)
    part, result = parts.image(case, actual, image)
    if g.groups > 1:
        return parts.group(part, result, channel * g.groups // actual.shape[1])
    number = max(1, MOST // (g.terms * math.prod(g.output_size)))
    if kind_of(case.op) != CONV or number >= g.out_channels:
        return part, result
    start = max(0, min(channel - number // 2, g.out_channels - number))
    filters = slice(start, start + number)
    bias = None if case.bias is None else case.bias[filters]
    return replace(part, weight=case.weight[filters], bias=bias), np.ascontiguousarray(result[:, filters])
