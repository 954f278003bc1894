"""Usual models: the arithmetic that kernels usually have, and what it says of an error that somebody has measured.

Knows cases, error models and tolerances; not where the error was measured.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from refconv.core import formats
from refconv.core.operators import CONV, kind_of
from refconv.judge.bounds import ErrorModel
from refconv.judge.reference import Reference
from refconv.judge.tolerances import needed

TILES, KERNELS = (2, 4, 6), (3, 5)  # of Winograd's algorithm, as libraries have them


class Usual(NamedTuple):
    """A model, and the arithmetic in words."""

    model: ErrorModel
    words: str

    def __str__(self) -> str:
        return f"{self.words} ({self.model})" if self.words else f"the model {self.model}"


def usual_models(case: Reference, *, whole_images: bool = True) -> Iterator[Usual]:
    """The models of the arithmetic that kernels of such a call usually have.

    Parameters
    ----------
    case : Reference
        Of floats or complex numbers.
    whole_images : bool
        Whether the case has images of the true size; if not, errors that depend on the whole image are left out.

    Examples
    --------
    >>> from refconv.judge.case import Case
    >>> case = Case(input=np.ones((1, 1, 8, 8)), weight=np.ones((1, 1, 3, 3)), stride=2)
    >>> [usual.words for usual in usual_models(case)][:3]
    ['float64 sums', 'float32 sums', 'TF32 operands']
    """
    dtype = _dtype(case)
    named = [("direct:float64", "float64 sums"), ("direct:float32", "float32 sums")]
    if dtype == np.float32:
        named += [("bf16x3", "operands split into bfloat16 pairs"), ("tensor_core:A100,tf32", "an A100's TF32 cores")]
    if dtype in formats.NARROW:
        named += [("tensor_core:A100", "an A100's tensor cores")]
    else:
        named += [("tf32", "TF32 operands"), ("direct:float32,float16", "float16 operands"),
                  ("direct:float32,bfloat16", "bfloat16 operands")]  # fmt: skip
    named += [("direct:float16", "float16 sums"), ("direct:bfloat16", "bfloat16 sums")]
    yield from (Usual(ErrorModel.parse(text), words) for text, words in named)
    if whole_images and kind_of(case.op) == CONV:
        accumulator, rows = ErrorModel.inferred(dtype).accumulator, case.geometry.kernel[0]
        models = [ErrorModel.winograd(m, rows, accumulator) for m in TILES if rows in KERNELS and case.axes == 2]
        yield from (Usual(model, "Winograd's algorithm") for model in models if model.supports(case.geometry))
        yield Usual(ErrorModel.fft(accumulator), "Fourier transforms")


def largest_error(case: Reference, model: ErrorModel) -> float:
    """The largest |actual - expected| that a model admits in any output; infinite where anything goes in one.

    >>> from refconv.judge.case import Case
    >>> case = Case(input=np.full((1, 64, 1, 1), 0.1, "float32"), weight=np.full((1, 64, 1, 1), 0.1, "float32"))
    >>> largest_error(case, ErrorModel.direct()) < largest_error(case, ErrorModel.tf32())
    True
    """
    standard = case.standard()
    if case.epilogue:
        standard = case.standard(model)
    else:
        bound = model.bound(case.sums, formats.part(standard.expected.dtype)).view(standard.bound.dtype)
        standard = replace(standard, bound=bound)
    with np.errstate(all="ignore"):
        _, most = needed(standard)
    return float(most.max(initial=0))


def reading(
    case: Reference, error: float, model: ErrorModel | None = None, *, called: str = "", whole_images: bool = True
) -> str:
    """What a measured error may come from, in a sentence: of the usual models the tightest that admits it.

    Models whose largest error is as large as the outputs explain nothing: they admit zeros as well.

    Parameters
    ----------
    case : Reference
        A call of floats or complex numbers, with operands as large as those of which the error was measured.
    error : float
        The largest |actual - expected|.
    model : ErrorModel, optional
        What the implementation says of how it computes; as in `Case.bound`.
    called : str
        The error as its author has it, if the operands were larger.
    whole_images : bool
        As `usual_models` takes it.

    Raises
    ------
    GeometryError
        If the model's algorithm can't compute such a call.

    Examples
    --------
    >>> from refconv.judge.case import Case
    >>> x, w = (np.full((1, 64, 1, 1), value, "float32") for value in (0.1, 0.3))
    >>> print(reading(Case(input=x, weight=w), 0.001))
    0.001 is 134 times the largest error of float32 sums (direct:float32) here, and within that of TF32 operands ...
    """
    called = called or f"{error:g}"
    model = model or ErrorModel.inferred(_dtype(case))
    asked = next((usual for usual in usual_models(case) if usual.model == model), Usual(model, ""))
    most, output = largest_error(case, model), _largest_output(case)
    if np.isposinf(most):
        return f"{called} is admitted by {asked}, as any error is: a number may overflow here."
    if error <= most:
        share = f"{error / most:.2g} of the" if error else "less than the"
        zeros = ", but zeros in place of the outputs too" if most >= output else ""
        return f"{called} is {share} largest error of {asked} here: the model admits it{zeros}."
    times = f"{_times(error, most)} the largest error of" if most else "larger than 0, all that is admitted by"
    said = f"{called} is {times} {asked} here"
    usual = [other for other in usual_models(case, whole_images=whole_images) if other.model != model]
    wider = [(size, other) for other in usual if most < (size := largest_error(case, other.model)) < np.inf]
    wider.sort(key=lambda pair: pair[0])
    telling = [pair for pair in wider if pair[0] < output]
    for size, other in telling:
        if error <= size:
            return f"{said}, and within that of {other}."
    if telling:
        size, other = telling[-1]
        said += f", and {_times(error, size)} that of {other}"
    said += ": no usual arithmetic explains it, the result is wrong."
    vague = next((other for size, other in wider if error <= size), None)
    return said if vague is None else f"{said} That of {vague} is larger, but admits zeros in place of the outputs too."


def _largest_output(case: Reference) -> float:
    """The largest |expected|: a model that admits as large an error everywhere takes zeros for the outputs."""
    with np.errstate(all="ignore"):
        magnitude, _ = needed(case.standard())
    return float(magnitude.max(initial=0))


def _dtype(case: Reference) -> np.dtype:
    """Of the operands; of complex ones, of their parts."""
    return formats.part(next(iter(case.arrays.values())).dtype)


def _times(error: float, most: float) -> str:
    """How many times as large an error is, in words.

    >>> _times(0.02, 0.00117), _times(7e9, 2.0), _times(1.01, 1.0)
    ('17 times', '3.5e+09 times', '1.01 times')
    """
    ratio = error / most
    if ratio >= 1e6:
        return f"{ratio:.1e} times"
    return f"{ratio:,.0f} times" if ratio >= 10 else f"{ratio:.3g} times"
