"""Diagnosing a single wrong output, of a case that its author made: there is no candidate to be called again.

Knows cases, comparisons and `diagnose`, of which it asks what one case can tell.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from refconv.cases.recipe import Recipe
from refconv.core import formats
from refconv.judge.bounds import ErrorModel
from refconv.judge.case import Case
from refconv.judge.comparison import Comparison
from refconv.mutants import all as all_mutants
from refconv.verification.diagnose.altered_calls import alterations
from refconv.verification.diagnose.diagnosis import diagnose
from refconv.verification.diagnose.evidence import Evidence, Failing
from refconv.verification.diagnose.findings import Diagnosis, Suspect
from refconv.verification.examine.property_names import VALUES

GATED = "-if-"  # in the name of a mutant that is wrong under a condition: one case can't show a condition
TELLING = 6  # fewest different wrong outputs by which one case tells a mistake: fewer may be so by chance
MOST = 2**23  # products of a case on which all known mistakes are tried within seconds


def diagnosis(case: Case, actual: np.ndarray, comparison: Comparison, model: ErrorModel | None = None) -> Diagnosis:
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
    model : ErrorModel, optional
        By which it was judged.
    """
    part = _part(case, actual, comparison.worst)
    if part is None:
        return _with_place(_diagnosed(case, actual, model), comparison)
    of_part = _diagnosed(*part, model)
    if not of_part.mutant:
        return _with_place(_diagnosed(case, actual, model, alterations()), comparison)
    channels = part[1].shape[-3]
    looked_at = f"compared with it: {channels} of {case.geometry.out_channels} output channels of one image"
    return replace(of_part, text=f"{of_part.text}\n  ({looked_at})")


def _diagnosed(case: Case, actual: np.ndarray, model: ErrorModel | None, suspects: Sequence[Suspect] = ()) -> Diagnosis:
    evidence = Evidence(_described(case), case, actual, failed=True, fault=VALUES, model=model)
    every = suspects or (*(mutant for mutant in all_mutants() if GATED not in mutant.name), *alterations())
    failing = Failing(evidence)
    telling = failing.misshapen or _different(actual[failing.wrong]) >= TELLING
    # A function of the right results (it has no class) may make zeros of some of them: then all tell.
    function = not failing.misshapen and _different(failing.standard[0][failing.wrong]) >= 2 * TELLING <= _different(
        actual
    )
    chosen = [suspect for suspect in every if telling or (function and not suspect.kind)]
    return diagnose([evidence], case.op, None, suspects=chosen)


def _different(numbers: np.ndarray) -> int:
    """How many different finite numbers there are."""
    parts = formats.parts(numbers)
    return int(np.unique(parts[np.isfinite(parts)].astype(np.float64)).size)


def _with_place(made: Diagnosis, comparison: Comparison) -> Diagnosis:
    """The diagnosis; if it names no mistake, with the smallest box around the wrong outputs."""
    ratio = comparison.ratio
    if made.mutant or ratio.shape != comparison.actual.shape or ratio.ndim not in (3, 4):
        return made
    where = np.nonzero(~(ratio <= 1))
    names = ("images", "channels", "rows", "columns")[-ratio.ndim :]
    ends = [(int(index.min()), int(index.max())) for index in where] if where[0].size else []
    parts = [
        f"{name} {low} to {high} of {size}"
        for name, (low, high), size in zip(names, ends, ratio.shape, strict=bool(ends))
        if high - low + 1 < size
    ]
    return replace(made, text=f"{made.text}\n  between: {', '.join(parts)}") if parts else made


def _described(case: Case) -> Recipe:
    """A recipe of the same call, for what is said of calls; the numbers that it would make are others."""
    first = next(iter(case.arrays.values()))
    fill = "integers" if first.dtype in formats.INTEGERS or case.adds_exactly else "normal"
    if any(array.dtype not in formats.INTEGERS and not np.isfinite(formats.parts(array)).all()
           for array in case.arrays.values()):  # fmt: skip
        fill = "special"
    return Recipe(
        case.geometry,
        case.padding,
        batched=all(getattr(case, name, None) is None or getattr(case, name).ndim == 4
                    for name in ("input", "grad_output")),
        bias=case.bias is not None,
        dtype=str(first.dtype),
        fill=fill,
        op=case.op,
        output_padding=tuple(case.output_padding) if case.op == "conv_transpose2d" else (0, 0),  # type: ignore[arg-type]
    )  # fmt: skip


def _part(case: Case, actual: np.ndarray, worst: tuple[int, ...] | None) -> tuple[Case, np.ndarray] | None:
    """Of a large layer the image of the worst output and filters around its own, with their outputs; else None."""
    g = case.geometry
    whole = actual.shape == g.output_shape and actual.ndim == 4
    if g.products <= MOST or case.op != "conv2d" or g.groups > 1 or not whole:
        return None
    image, channel, *_ = worst or (0, 0)
    number = max(1, MOST // (g.terms * math.prod(g.output_size)))
    start = max(0, min(channel - number // 2, g.out_channels - number))
    images, filters = slice(image, image + 1), slice(start, start + number)
    bias = None if case.bias is None else case.bias[filters]
    part = replace(case, input=case.input[images], weight=case.weight[filters], bias=bias)
    return part, np.ascontiguousarray(actual[images, filters])
