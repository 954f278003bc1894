"""Sampling: outputs so large that the oracle would take too long, judged by chosen elements and by checksums.

A chosen element is judged as ever, from its receptive field alone. A checksum (checksums.py) is the sum over the output
channels at one place, with random factors: by linearity it is the one output of a convolution with that sum of the
filters. Knows references, comparisons and checksums; nothing of the whole output that is expected.
"""

import functools
from dataclasses import replace
from typing import Any

import numpy as np

from refconv.core.errors import GeometryError
from refconv.core.geometry import Geometry
from refconv.core.padding import ZERO, element
from refconv.core.receptive_field import receptive_field
from refconv.judge import padded_taps
from refconv.judge.bounds import ErrorModel
from refconv.judge.checksums import Checksums
from refconv.judge.comparison import SUSPICIOUS, Comparison, compare, misshapen
from refconv.judge.reference import Reference
from refconv.judge.standard import either, errors
from refconv.judge.suspicion import with_statistics


def check(
    case: Reference, actual: np.ndarray, model: ErrorModel | None, sample: int, seed: int, *, strict: bool
) -> Comparison:
    """Judge `sample` elements one by one, and all by checksums.

    Raises
    ------
    GeometryError
        For a model whose bound depends on more than an element's receptive field.
    """
    if model is not None and model.unit == 0 and model != ErrorModel.exact():
        raise GeometryError(f"sample={sample}: under model={str(model)!r} an error depends on the whole image")
    unlike = misshapen(actual, case.unwritten, case.__str__)
    if unlike:
        return unlike
    random = np.random.default_rng(seed)
    chosen = np.unravel_index(np.sort(random.choice(actual.size, sample, replace=False, shuffle=False)), actual.shape)
    comparison = _one_by_one(case, actual, model, chosen, strict=strict)
    faults = Checksums(case, model, random).faults(actual)
    missed = f"(1 - f)^{sample}, that is {0.99**sample:.2g} for 1 %"
    notes = [f"judged one by one: {sample} elements; a fault in a share f of all is missed with probability {missed}"]
    seen = f"a single error of {faults.size:.3g} or more is wrong"
    if np.isfinite(faults.likely):
        seen += f", of {faults.likely:.3g} or more suspicious"
    notes.append(f"judged by checksums: all; {seen}")
    if faults.unjudged:
        notes.append(f"{faults.unjudged} checksums could not be judged: NaN, infinity or overflow may be in them")
    if faults.suspicious:
        notes.append(f"{faults.suspicious} checksums are further off than independent roundings could make them")
    verdict = "within bound" if comparison.verdict == "identical" else comparison.verdict
    if verdict == "within bound" and faults.suspicious:
        verdict = SUSPICIOUS
    problem = faults.problem
    return replace(comparison, verdict="wrong" if problem else verdict, problem=problem, notes=tuple(notes))


def _one_by_one(
    case: Reference, actual: np.ndarray, model: ErrorModel | None, chosen: tuple[np.ndarray, ...], *, strict: bool
) -> Comparison:
    """The verdict on the chosen elements, as if the output had no others."""
    part = gathered(case, chosen)
    standard = part.standard(model)
    outputs = actual[chosen].reshape(standard.expected.shape)
    if not strict and padded_taps.matters(case.call, case.weight):
        standard = either(outputs, standard, gathered(case, chosen, skip=True).standard(model))
    comparison = compare(outputs, standard, case.__str__)
    if model is not None:
        comparison = with_statistics(comparison, case, errors(outputs, standard), part.sums, model)
    index = None
    if comparison.worst is not None:
        index = tuple(int(indices[comparison.worst[1]]) for indices in chosen)
    field = None if index is None else receptive_field(case.geometry, index)
    return replace(
        comparison.with_later(receptive_field=lambda: field),
        worst=index,
        **{name: getattr(comparison, name).reshape(-1) for name in ("actual", "expected", "ratio")},
    )


def gathered(case: Reference, index: tuple[np.ndarray, ...], *, skip: bool = False) -> Reference:
    """A case whose m outputs are the chosen ones of `case`: a group for each, over its receptive field.

    They are (1, m, 1, 1), or have as many axes of length 1 as there are spatial ones. With `skip`, taps that lie in a
    padding of zeros become 0 times 0.
    """
    g = case.geometry
    lead = len(index) - len(g.size)
    *batch, k = index[:lead]
    n = batch[0] if batch else np.zeros_like(k)
    n_channels = g.in_channels // g.groups
    channels = (k // (g.out_channels // g.groups) * n_channels)[:, None] + np.arange(n_channels)
    taps = [_along(g, axis, place) for axis, place in enumerate(index[lead:])]  # each (m, 1, R, 1), say
    unit = (1,) * len(g.size)
    images = case.input.reshape(g.batch, g.in_channels, *g.size)
    fields = images[(n.reshape(-1, 1, *unit), channels.reshape(*channels.shape, *unit), *taps)]
    outside = functools.reduce(np.logical_or, (elements == ZERO for elements in taps))
    fields = np.where(outside, fields.dtype.type(0), fields)
    filters = case.weight[k]
    if skip:
        filters = np.where(outside, filters.dtype.type(0), filters)
    bias = None if case.bias is None else case.bias[k]
    operands: dict[str, Any] = {"input": fields.reshape(1, -1, *g.kernel), "weight": filters, "bias": bias}
    return type(case)(op=case.op, groups=len(k), **operands, **case.results)


def _along(g: Geometry, axis: int, place: np.ndarray) -> np.ndarray:
    """The elements of the input that the taps meet along an axis, for each output; spread along that axis."""
    of = g.axes[axis]
    elements = element(
        place[:, None] * of.stride - of.padding[0] + np.arange(of.kernel) * of.dilation, of.size, g.padding_mode
    )
    lengths = [of.kernel if other == axis else 1 for other in range(len(g.size))]
    return elements.reshape(-1, 1, *lengths)
