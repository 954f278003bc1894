"""Lean: truncation goes towards zero, so that less error lies away from it.

Knows error models and the sums of a call; not how outputs are judged.
"""

import numpy as np
import numpy.typing as npt

from refconv.core.formats import unit_roundoff
from refconv.judge.bounds.direct import Direct
from refconv.judge.bounds.error_model import ErrorModel
from refconv.judge.bounds.rounding import OUTWARDS, lost
from refconv.judge.bounds.sums import Sums


def truncates(model: ErrorModel) -> bool:
    """Whether a model truncates results or sums.

    >>> truncates(ErrorModel.direct(store="truncate")), truncates(ErrorModel.tf32("truncate"))
    (True, False)
    """
    return model.output.store == "truncate" or getattr(model.algorithm, "sums", "") == "truncate"


def lean(model: ErrorModel, sums: Sums, out: npt.DTypeLike) -> np.ndarray:
    """By how much the error that a model admits away from zero is smaller than its bound; 0 where nothing is truncated.

    A stored result that is truncated loses up to 2u of itself and gains nothing. Truncated sums lose where partial sums
    have the sign of e. Where they have the other sign they gain: such partial sums have at most the magnitude of the
    terms of that sign, (S - |e|) / 2, and each of 2n operations gains at most 2u of that. So where all terms have one
    sign nothing is gained at all.

    Parameters
    ----------
    model : ErrorModel
        What the implementation says.
    sums : Sums
        The sums behind the outputs.
    out : dtype
        Floating format of the output (of complex numbers, of the parts).
    """
    output, algorithm = model.output, model.algorithm
    nothing = np.zeros(sums.value.shape)
    if output.bias_after_rounding and sums.bias is not None:
        return nothing
    with np.errstate(all="ignore"):
        stored = 2 * unit_roundoff(output.coarsest(out)) * sums.magnitude if output.store == "truncate" else nothing
        if isinstance(algorithm, Direct) and algorithm.sums == "truncate" and _is_exact(algorithm):
            stored = stored + _of_sums(algorithm, model, sums)
    return np.where(np.isfinite(stored), stored / OUTWARDS, 0)


def one_sided(exact: np.ndarray, bound: np.ndarray, lean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The middle of what may come out, and the largest distance from it.

    >>> [array.tolist() for array in one_sided(np.array([-8.0, 8.0]), np.array([2.0, 2.0]), np.array([2.0, 0.0]))]
    [[-7.0, 8.0], [1.0..., 2.0...]]
    """
    leans = np.isfinite(exact) & np.isfinite(bound) & (bound > 0)
    half = np.where(leans, np.minimum(lean, bound) / 2, 0)
    return exact - np.sign(np.where(leans, exact, 0)) * half, np.where(leans, OUTWARDS * (bound - half), bound)


def _is_exact(algorithm: Direct) -> bool:
    """Whether operands are multiplied as they are."""
    return algorithm.inputs == algorithm.weights == "exact"


def _of_sums(algorithm: Direct, model: ErrorModel, sums: Sums) -> np.ndarray:
    """What truncated sums may be wrong by towards zero, less what they may be wrong by away from it."""
    flush = model.output.flush
    if flush.inputs or flush.weights:
        return np.zeros(sums.value.shape)
    error, unit = algorithm.estimate(sums, flush).error, unit_roundoff(algorithm.accumulator)
    other = OUTWARDS * (sums.absolute - np.abs(sums.value) + 2 * sums.value_error)  # no less than S - |e|
    gained = max(1.0, 4 * sums.terms * unit) * other
    gained = gained + 2 * lost(sums.terms, algorithm.accumulator, flush_to_zero=flush.sums)
    left: np.ndarray = np.maximum(error - gained, 0)
    return left
