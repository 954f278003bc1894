"""How sums become outputs, whatever computes them: what is stored, in which format, and what is flushed to zero.

Knows formats and the sums of a call; no algorithm.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Self, TypedDict

import numpy as np
import numpy.typing as npt

from refconv.core import formats
from refconv.core.checks import choice
from refconv.judge.bounds.algorithm import floating
from refconv.judge.bounds.flush import NOTHING, Flush
from refconv.judge.bounds.rounding import OUTWARDS, rounded
from refconv.judge.bounds.sums import Sums

STORES = ("nearest", "truncate")


class Options(TypedDict, total=False):
    """The keywords that every error model takes; `ErrorModel.direct` documents them."""

    flush_to_zero: Any
    bias_after_rounding: bool
    results: npt.DTypeLike
    store: str


class Stored(NamedTuple):
    """What outputs may be, by the error of their sums."""

    bound: np.ndarray  # largest error
    free: np.ndarray  # where a number may overflow on the way
    exact: np.ndarray  # where nothing but the exact value rounded once may come out


@dataclass(frozen=True)
class Output:
    """What becomes of sums.

    Parameters
    ----------
    flush
        What may be flushed to zero, operands and partial sums included.
    bias_after_rounding
        Whether the bias is added to a sum that is stored already.
    results
        The format that results are rounded to before they become outputs; None for that of the outputs.
    store
        How a result is rounded to that format: to the nearest number, or truncated.
    """

    flush: Flush = NOTHING
    bias_after_rounding: bool = False
    results: np.dtype | None = None
    store: str = "nearest"

    @classmethod
    def of(cls, given: Options) -> Self:
        """What the keywords of an error model say.

        Raises
        ------
        GeometryError, TypeError
            For a keyword that there is not, and for what one can't be.
        """
        named: dict[str, Any] = dict(given)
        for name, value in named.items():
            if name not in Options.__annotations__:
                raise TypeError(f"{name}={value!r}: got an unexpected keyword argument {name!r}")
        bias_after_rounding, results = named.get("bias_after_rounding", False), named.get("results")
        if not isinstance(bias_after_rounding, bool):
            raise TypeError(f"bias_after_rounding={bias_after_rounding!r}: must be True or False")
        return cls(
            Flush.of(named.get("flush_to_zero", False)),
            bias_after_rounding,
            None if results is None else floating("results", results),
            choice("store", named.get("store", "nearest"), STORES),
        )

    def arguments(self) -> dict[str, str]:
        """What differs from the default, as a model's text has it; empty for what is written without a value."""
        arguments = {} if self.results is None else {"results": str(self.results)}
        if self.store != "nearest":
            arguments["store"] = self.store
        if self.flush:
            arguments["flush_to_zero"] = "" if self.flush.everything else str(self.flush)
        return arguments | ({"bias_after_rounding": ""} if self.bias_after_rounding else {})

    def refusal(self, dtype: npt.DTypeLike) -> str:
        """Why results can't become outputs of a dtype, or nothing."""
        out = formats.part(np.dtype(dtype))
        if self.results is None or out in formats.INTEGERS:
            return ""
        if formats.unit_roundoff(self.results) >= formats.unit_roundoff(out):
            return ""
        return f"results={str(self.results)!r}: must have no more significant bits than the output's {np.dtype(dtype)}"

    @property
    def statistical(self) -> bool:
        """Whether all roundings to the formats of results are to nearest, once each, so that they have mean 0."""
        return self.store == "nearest" and not self.flush and not self.bias_after_rounding

    def coarsest(self, out: npt.DTypeLike) -> np.dtype:
        """The format with the largest unit roundoff of those that results are stored in."""
        return np.dtype(out) if self.results is None else self.results

    def stored(
        self, error: np.ndarray, exact: np.ndarray, sums: Sums, out: npt.DTypeLike, *, saturates: bool = False
    ) -> Stored:
        """What outputs may be, by the largest error of the sums, and by where sums are exact.

        A sum is rounded to `results`, then to the output's format unless that has all numbers of `results`, and with
        `bias_after_rounding` both once more. Truncated, each rounding costs twice as much. That goes towards zero,
        which lean.py makes use of: here bounds are symmetric.

        Where a sum may lie past the largest number of `results`, anything goes. So does it past the largest number of
        the output's format where results are truncated: either that number comes out, or infinity. Where it saturates,
        that number does.
        """
        path = self.path(out)
        error, free = self.biased(error, sums, path)
        for dtype in path[:-1] if path[-1] == out else path:
            error = self._rounded(error, sums.magnitude, dtype)
            free = free | self._past(sums, error, dtype)
        bound = self._rounded(error, sums.magnitude, out) if path[-1] == out else error
        bound = OUTWARDS * (bound + sums.value_error)
        if not saturates:
            free = free | (sums.at_the_edge(bound, out) if self.store == "nearest" else self._past(sums, bound, out))
        return Stored(bound, free, self._exact(exact, sums, out))

    def biased(self, error: np.ndarray, sums: Sums, path: tuple[np.dtype, ...]) -> tuple[np.ndarray, np.ndarray]:
        """The error of sums that are stored before the bias is added, if they are, and where these may overflow."""
        free = np.zeros((), bool)
        if self.bias_after_rounding and sums.bias is not None:
            before = np.minimum(sums.magnitude + sums.bias_magnitude, sums.absolute)
            for dtype in path:
                error = self._rounded(error, before, dtype)
                free = free | ~(before + error < formats.largest(dtype))
        return error, free

    def path(self, out: npt.DTypeLike) -> tuple[np.dtype, ...]:
        """The formats that a result is rounded to, one after the other."""
        out = np.dtype(out)
        if self.results is None or self.results == out:
            return (out,)
        return (self.results,) if _holds(out, self.results) else (self.results, out)

    def _rounded(self, error: np.ndarray, value: np.ndarray, dtype: np.dtype | npt.DTypeLike) -> np.ndarray:
        truncated = self.store == "truncate"
        return rounded(error, value, dtype, flush_to_zero=self.flush.results, truncated=truncated)

    @staticmethod
    def _past(sums: Sums, error: np.ndarray, dtype: npt.DTypeLike) -> np.ndarray:
        """Where a sum that is wrong by as much may lie past the largest number of a format."""
        past: np.ndarray = ~(sums.magnitude + error < formats.largest(dtype)) & np.isfinite(sums.special)
        return past

    def _exact(self, exact: np.ndarray, sums: Sums, out: npt.DTypeLike) -> np.ndarray:
        """Where nothing may be rounded but the exact value, once, to the output's format."""
        if self.flush:
            exact = exact & sums.integral
        if self.bias_after_rounding and sums.bias is not None:
            exact = exact & sums.integral & (sums.absolute < 1 / formats.unit_roundoff(self.coarsest(out)))
        path = self.path(out)
        if path != (np.dtype(out),) or self.store == "truncate":  # a second rounding, or truncation, may change it
            exact = exact & sums.certain
            for dtype in path:
                exact = exact & (formats.rounded(sums.value, dtype).astype(np.float64) == sums.value)
        return exact


PLAIN = Output()


def _holds(dtype: np.dtype, other: np.dtype) -> bool:
    """Whether a format has all numbers of another one."""
    return (
        formats.unit_roundoff(dtype) <= formats.unit_roundoff(other)
        and formats.underflow_unit(dtype) <= formats.underflow_unit(other)
        and formats.largest(dtype) >= formats.largest(other)
    )
