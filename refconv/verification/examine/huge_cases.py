"""Huge cases: called without any copy, and judged on some outputs, those at every limit of an offset among them.

Knows candidates and the judge of chosen outputs; not which cases there are.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from refconv.cases.huge import LIMITS, Huge
from refconv.judge.bounds import ErrorModel, model_of
from refconv.judge.case import Case
from refconv.judge.comparison import Comparison, compare, misshapen
from refconv.verification.candidate import array_kinds
from refconv.verification.candidate.arrangements import Place, poison, reserve
from refconv.verification.candidate.call import Raised, Unsupported, call_in_place
from refconv.verification.examine.examination import Examination, Finding, refused
from refconv.verification.examine.examiner import Examiner
from refconv.verification.examine.property_names import KIND, LAYOUT, RETURNS, VALUES

RUN = 64  # outputs on each side of a limit
CHOSEN = 1000  # outputs that chance chooses
LINE = 4096  # most channels that are looked at for one pixel


def examine(examiner: Examiner, huge: Huge) -> Examination:
    """Whether the candidate returns, and whether the chosen outputs are right."""
    candidate = examiner.candidate
    if array_kinds.simulated(candidate.arrays) or not examiner.is_supported(case := huge.case()):
        return refused()
    model = model_of(examiner.model, case)
    image, weight = (_filled(huge, name) for name in ("input", "weight"))
    dtype, g = huge.dtypes["output"], huge.geometry
    written = reserve(huge.shapes["output"], dtype, "contiguous", poison(dtype)) if candidate.style == "out" else None
    arguments = (image, weight, None, g.stride, huge.padding, g.dilation, g.groups)
    try:
        result, faults = call_in_place(candidate.function, arguments, written, candidate.arrays, candidate.device)
    except Unsupported as refusal:
        return refused(str(refusal))
    except Raised as raised:
        return Examination(True, (RETURNS,), (Finding(RETURNS, str(raised)),))
    if result is None:
        return Examination(True, (RETURNS, KIND), tuple(Finding(*fault) for fault in faults))
    comparison = judged(huge, image.view, weight.view, result, model)
    findings = [Finding(*fault) for fault in faults]
    if not comparison.ok:
        property_ = VALUES if (result.shape, result.dtype) == (huge.shapes["output"], dtype) else LAYOUT
        findings.append(Finding(property_, str(comparison), comparison))
    checked = (RETURNS, KIND, LAYOUT, VALUES)
    return Examination(True, checked, tuple(findings), comparison.max_ulp, comparison.max_bound_ratio)


def judged(
    huge: Huge, image: np.ndarray, weight: np.ndarray, result: np.ndarray, model: ErrorModel | None = None
) -> Comparison:
    """The verdict on the outputs of `places_of`: each is one output of a small case, of a group for each of them."""
    unwritten = np.broadcast_to(np.zeros((), huge.dtypes["output"]), huge.shapes["output"])
    unlike = misshapen(result, unwritten, huge.__str__)
    if unlike:
        return unlike
    chosen = np.unravel_index(places_of(huge), result.shape)
    _, k, p, q = chosen
    fields, filters = image[0, :, p, q], weight[k]
    small = Case(input=fields.reshape(1, -1, 1, 1), weight=filters, groups=len(k))
    comparison = compare(result[chosen].reshape(1, -1, 1, 1), small.standard(model), huge.__str__)
    note = f"judged: {len(k)} of {result.size} outputs, those at each limit among them"
    worst = None if comparison.worst is None else tuple(int(index[comparison.worst[1]]) for index in chosen)
    flat = {name: getattr(comparison, name).reshape(-1) for name in ("actual", "expected", "ratio")}
    return replace(comparison, worst=worst, notes=(*comparison.notes, note), **flat)


def places_of(huge: Huge) -> np.ndarray:
    """Which outputs are looked at, by their number: at the limits, one pixel in all channels, and some by chance."""
    size = math.prod(huge.shapes["output"])
    pixels = math.prod(huge.geometry.output_size)
    around = {0, size, *_at_limits(huge)}
    runs = [np.arange(max(0, at - RUN), min(size, at + RUN)) for at in around if 0 <= at <= size]
    channels = np.linspace(0, size // pixels - 1, min(LINE, size // pixels)).astype(np.int64)
    lines = [channels * pixels, channels * pixels + pixels - 1]
    random = np.random.default_rng(huge.seed).integers(size, size=CHOSEN)
    return np.unique(np.concatenate([*runs, *lines, random]))


def _at_limits(huge: Huge) -> Iterator[int]:
    """The outputs at, or computed from, an element before which there are so many bytes or elements."""
    for name, shape in huge.shapes.items():
        for limit, in_bytes in LIMITS.values():
            element = limit // huge.dtypes[name].itemsize if in_bytes else limit
            if element < math.prod(shape):
                filter_or_channel, pixel = divmod(element, math.prod(shape[2:]))
                if name == "weight":
                    yield filter_or_channel // shape[1] * math.prod(huge.geometry.output_size)
                else:
                    yield element if name == "output" else pixel


def _filled(huge: Huge, name: str) -> Place:
    """An array in memory of its own, which repeats its numbers."""
    place = reserve(huge.shapes[name], huge.dtypes[name], "contiguous", poison(huge.dtypes[name]))
    flat, period = place.view.reshape(-1), huge.period(name)
    whole = len(flat) // len(period) * len(period)
    flat[:whole].reshape(-1, len(period))[...] = period
    flat[whole:] = period[: len(flat) - whole]
    return place
