"""Actual against expected: which elements are wrong, how far apart they are, and a text that says so.

Knows two arrays and the largest admissible difference between them; not how either was computed.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from refconv.formats import COMPLEX, FLOATS, parts, ulp_distance


@dataclass(frozen=True, eq=False)
class Comparison:
    """What the judge found: a verdict, its grounds, and the arrays for whoever wants to look closer.

    Attributes
    ----------
    verdict : str
        "identical" (equal values; NaN where NaN), "within bound" or "wrong".
    problem : str
        Why nothing could be compared (shape, dtype), else empty.
    n_wrong : int
        Number of elements outside their bound.
    worst : tuple of int or None
        Index of the element with the largest error in units of its bound.
    max_bound_ratio : float
        That error, in units of its bound; above 1 is wrong. Of a complex element the worse part's.
    n_free : int
        Number of elements that could not be judged, for a sum in some order may overflow there.
    max_ulp : int
        Largest distance from the expected value in units in the last place (float outputs; inf and NaN left out).
    """

    verdict: str
    problem: str
    n_wrong: int
    n_free: int
    worst: tuple[int, ...] | None
    max_bound_ratio: float
    max_ulp: int
    actual: np.ndarray
    expected: np.ndarray
    ratio: np.ndarray
    description: str = ""

    @property
    def ok(self) -> bool:
        """Whether the output may come from a sound kernel."""
        return self.verdict != "wrong"

    def __str__(self) -> str:
        lines = [f"{self.verdict}: {self.description}" if self.description else self.verdict]
        if self.problem:
            return "\n".join([*lines, f"  {self.problem}"])
        if self.verdict == "identical":
            return "\n".join([*lines, f"  all {self.actual.size} elements equal"])
        lines.append(f"  {self.n_wrong} of {self.actual.size} elements outside the error bound")
        if self.n_free:
            lines.append(f"  {self.n_free} not judged: a sum may overflow there, and anything may come of it")
        if self.worst is not None:
            error = f"error {self.max_bound_ratio:.3g} times the bound"
            if np.isinf(self.max_bound_ratio):  # exact sums, NaN and infinity leave no room
                error = "which must be equal"
            values = f"actual {self.actual[self.worst]!s}, expected {self.expected[self.worst]!s}"
            lines.append(f"  worst at {self.worst}: {values}, {error}")
        lines.append(f"  largest distance {self.max_ulp} ULP")
        return "\n".join(lines)


def mismatch(actual: np.ndarray, expected: np.ndarray, problem: str, description: str = "") -> Comparison:
    """The verdict on an output that can't be compared element by element."""
    return Comparison("wrong", problem, expected.size, 0, None, np.inf, 0, actual, expected, np.empty(0), description)


def compare(
    actual: np.ndarray, expected: np.ndarray, exact: np.ndarray, bound: np.ndarray, description: str = ""
) -> Comparison:
    """Judge `actual`.

    Parameters
    ----------
    actual, expected
        Arrays to be of one shape and dtype; `expected` is the rounded oracle's.
    exact
        The oracle's value before rounding; NaN and inf stand for themselves.
    bound
        Largest admissible |actual - exact|; infinite where anything goes. For complex arrays it is complex: one for the
        real part and one for the imaginary part.
    """
    if actual.shape != expected.shape:
        return mismatch(actual, expected, f"shape {actual.shape}: must be {expected.shape}", description)
    if actual.dtype != expected.dtype:
        return mismatch(actual, expected, f"dtype {actual.dtype}: must be {expected.dtype}", description)
    given, wanted = parts(actual), parts(expected)
    ratio = _worse(_bound_ratio(given, wanted, parts(exact), parts(bound)), actual)
    wrong = ~(ratio <= 1)  # not `ratio > 1`, which a NaN would pass
    n_wrong = int(np.count_nonzero(wrong))
    identical = bool(_same(given, wanted).all())
    worst = None
    if actual.size and not identical:
        worst = tuple(map(int, np.unravel_index(np.argmax(ratio), ratio.shape)))
    return Comparison(
        verdict="wrong" if n_wrong else "identical" if identical else "within bound",
        problem="",
        n_wrong=n_wrong,
        n_free=int(np.count_nonzero(_worse(np.isposinf(parts(bound)), actual))),
        worst=worst,
        max_bound_ratio=float(ratio.max(initial=0)),
        max_ulp=_max_ulp(given, wanted),
        actual=actual,
        expected=expected,
        ratio=ratio,
        description=description,
    )


def _worse(found: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Of what was found for the parts of each element, the larger."""
    return found.reshape(*actual.shape, 2).max(axis=-1) if actual.dtype in COMPLEX else found


def _same(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # a candidate's signalling NaN, which ml_dtypes converts
        same: np.ndarray = (actual == expected) | ((actual != actual) & (expected != expected))
    return same


def _bound_ratio(actual: np.ndarray, expected: np.ndarray, exact: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """|actual - exact| / bound; 0 where values are the same or anything goes, infinite where they can't be compared."""
    same = _same(actual, expected)
    if actual.dtype not in FLOATS:
        return np.where(same, 0.0, np.inf)
    with np.errstate(all="ignore"):
        wide = actual.astype(np.float64)
        ratio = np.abs(wide - exact) / bound
    comparable = np.isfinite(wide) & np.isfinite(exact) & (bound > 0)
    ratio = np.where(comparable, ratio, np.inf)
    ratio[np.isposinf(bound)] = 0
    # Equal infinities and NaNs have no ratio, and a bound of 0 asks for equality.
    ratio[same & ~comparable] = 0
    return ratio


def _max_ulp(actual: np.ndarray, expected: np.ndarray) -> int:
    if actual.dtype not in FLOATS:
        return 0
    with np.errstate(invalid="ignore"):
        finite = np.isfinite(actual) & np.isfinite(expected)
    return int(ulp_distance(actual[finite], expected[finite]).max(initial=0))


def as_text(value: Any) -> str:
    """Shape and dtype of an array, short."""
    return f"{value.dtype}{list(value.shape)}"
