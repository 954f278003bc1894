"""Actual against expected: which elements are wrong, how far apart they are, and a text that says so.

Knows two arrays and the largest admissible difference between them; not how either was computed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from refconv.core.formats import COMPLEX, FLOATS, part, parts, ulp_distance, underflow_unit, unit_roundoff
from refconv.core.receptive_field import ReceptiveField
from refconv.judge.error_statistics import Statistic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUSPICIOUS = "suspicious"


@dataclass(frozen=True, eq=False, kw_only=True)
class Standard:
    """What an output is judged by. Of complex numbers bound, unit, mean and product are complex: one for each part.

    Attributes
    ----------
    expected : ndarray
        The oracle's output, rounded: it tells shape and dtype.
    exact : ndarray
        The same before rounding; NaN and inf stand for themselves.
    bound : ndarray
        Largest admissible |actual - exact|; infinite where anything goes.
    unit : ndarray
        u S, what errors are counted in; 0 where nothing is counted.
    mean : ndarray
        Mean size of the products.
    typical : callable
        To the root mean square of the products, which is not below their mean: asked only where that says nothing.
    model : str
        What the bound allows, in a word or two.
    """

    expected: np.ndarray
    exact: np.ndarray
    bound: np.ndarray
    unit: np.ndarray
    mean: np.ndarray
    typical: Callable[[], np.ndarray]
    model: str = ""

    @property
    def vacuous(self) -> bool:
        """Whether the bound can't tell the expected output from zeros, or from one without a tap, in any element."""
        exact, bound = (parts(each) for each in (self.exact, self.bound))
        with np.errstate(invalid="ignore"):
            special = ~np.isfinite(exact) & ~np.isposinf(bound)
            if not (special | (np.abs(exact) > bound)).any():  # from zeros
                return True
            passes = bound + self._half_ulp(exact)  # an output without one of the products
            told = special.any() or (parts(self.mean) > passes).any() or (parts(self.product) > passes).any()
        return not told

    @cached_property
    def product(self) -> np.ndarray:
        """Size of a typical product: the root mean square of the terms."""
        return self.typical()

    def _half_ulp(self, exact: np.ndarray) -> np.ndarray:
        dtype = part(self.expected.dtype)
        if dtype not in FLOATS:
            return np.zeros(exact.shape)
        found: np.ndarray = np.maximum(unit_roundoff(dtype) * np.abs(exact), underflow_unit(dtype))
        return found


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison:
    """What the judge found: a verdict, its grounds, and the arrays for whoever wants to look closer.

    Attributes
    ----------
    verdict : str
        "identical" (equal values; NaN where NaN), "within bound", "suspicious" (every element is within its bound, but
        all together can't come from the accumulator that is claimed) or "wrong".
    problem : str
        Why nothing could be compared (shape, dtype), or what else is wrong; else empty.
    n_wrong : int
        Number of elements outside their bound.
    n_free : int
        Number of elements that could not be judged, for a sum in some order may overflow there.
    vacuous : bool
        Whether the bound could not have told the expected output from zeros, or from one without a tap.
    worst : tuple of int or None
        Index of the element with the largest error in units of its bound.
    receptive_field : ReceptiveField or None
        What that element depends on.
    max_bound_ratio : float
        Its error, in units of its bound; above 1 is wrong. Of a complex element the worse part's.
    max_ulp, median_ulp : int
        Largest and typical distance from the expected value in units in the last place (float outputs; inf and NaN
        left out).
    bias, spread : float
        Mean and root mean square of actual - exact, in units of u S: the unit roundoff of the accumulator times the sum
        of the terms' absolute values.
    statistics : tuple of Statistic
        Of all errors together: the largest, their mean, their mean away from zero and their mean square, with the
        limits that a sound implementation keeps. Empty where nothing can be concluded from them.
    actual, expected, ratio : ndarray
        The arrays, and the errors in units of their bounds.
    """

    verdict: str
    problem: str = ""
    n_wrong: int
    n_free: int = 0
    vacuous: bool = False
    worst: tuple[int, ...] | None = None
    receptive_field: ReceptiveField | None = None
    max_bound_ratio: float = np.inf
    max_ulp: int = 0
    median_ulp: int = 0
    bias: float = 0.0
    spread: float = 0.0
    statistics: tuple[Statistic, ...] = ()
    actual: np.ndarray
    expected: np.ndarray
    ratio: np.ndarray
    description: str = ""
    model: str = ""
    allow_suspicious: bool = False
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the output may come from a sound implementation."""
        return self.verdict in ("identical", "within bound") or (self.verdict == SUSPICIOUS and self.allow_suspicious)

    def with_statistics(self, statistics: tuple[Statistic, ...]) -> Self:
        """The same, the errors of all elements together looked at too."""
        verdict = self.verdict
        if verdict == "within bound" and not all(each.ok for each in statistics):
            verdict = SUSPICIOUS
        return replace(self, statistics=statistics, verdict=verdict)

    def __str__(self) -> str:
        lines = [f"{self.verdict}: {self.description}" if self.description else self.verdict]
        lines += [f"  {self.problem}"] if self.problem else []
        if self.worst is not None or self.verdict == "within bound":
            lines += self._grounds()
        elif not self.problem:
            lines.append(f"  all {self.actual.size} elements equal")
        if self.vacuous and not self.problem:
            lines.append("  vacuous: zeros, or an output without one of the taps, would have passed too")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def _grounds(self) -> list[str]:
        """What the elements are like."""
        bound = f"the error bound of {self.model}" if self.model else "the error bound"
        lines = [f"  {self.n_wrong} of {self.actual.size} elements outside {bound}"]
        lines += [f"  the {each.name} is {each.value:.3g}, but at most {each.limit:.3g} from a sound implementation"
                  for each in self.statistics if not each.ok and self.verdict == SUSPICIOUS]  # fmt: skip
        if self.n_free:
            lines.append(f"  {self.n_free} not judged: a sum may overflow there, and anything may come of it")
        if self.worst is not None:
            lines += self._worst(self.worst)
        lines.append(f"  distance: largest {self.max_ulp} ULP, median {self.median_ulp} ULP")
        if self.spread:
            lines.append(f"  error / (u S): mean {self.bias:.2g}, root mean square {self.spread:.2g}")
        return lines

    def _worst(self, index: tuple[int, ...]) -> list[str]:
        error = f"error {self.max_bound_ratio:.3g} times the bound"
        if np.isinf(self.max_bound_ratio):  # exact sums, NaN and infinity leave no room
            error = "which must be equal"
        at = np.unravel_index(np.argmax(self.ratio), self.ratio.shape)
        values = f"actual {self.actual[at]!s}, expected {self.expected[at]!s}"
        field = [f"    of {self.receptive_field}"] if self.receptive_field else []
        return [f"  worst at {index}: {values}, {error}", *field]

    def plot(self) -> "Figure":
        """Figure of where the errors are: a map of the worst image and channel, and a histogram of ULPs.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ValueError
            If shapes or dtypes differ: then there are no errors to be seen.
        ModuleNotFoundError
            Without matplotlib.
        """
        from refconv.judge.error_map import figure

        return figure(self)


def mismatch(actual: np.ndarray, expected: np.ndarray, problem: str, description: str = "") -> Comparison:
    """The verdict on an output that can't be compared element by element."""
    return Comparison(
        verdict="wrong",
        problem=problem,
        n_wrong=expected.size,
        actual=actual,
        expected=expected,
        ratio=np.empty(0),
        description=description,
    )


def misshapen(actual: np.ndarray, expected: np.ndarray, description: str = "") -> Comparison | None:
    """The verdict on an output of another shape or dtype, None if they are as expected."""
    for name in ("shape", "dtype"):
        found, wanted = getattr(actual, name), getattr(expected, name)
        if found != wanted:
            return mismatch(actual, expected, f"{name} {found}: must be {wanted}", description)
    return None


def compare(actual: np.ndarray, standard: Standard, description: str = "") -> Comparison:
    """Judge an output element by element.

    Parameters
    ----------
    actual
        The output, of the expected shape and dtype (see `misshapen`).
    standard
        What it is judged by.
    description
        What was computed, for the text.

    Examples
    --------
    >>> one, zero = np.ones(1), np.zeros(1)
    >>> standard = Standard(expected=one, exact=one, bound=one / 8, unit=zero, mean=one, typical=one.copy)
    >>> print(compare(np.array([1.25]), standard))
    wrong
      1 of 1 elements outside the error bound
      worst at (0,): actual 1.25, expected 1.0, error 2 times the bound
      distance: largest 1125899906842624 ULP, median 1125899906842624 ULP
    """
    expected = standard.expected
    given, wanted = parts(actual), parts(expected)
    ratio = _worse(bound_ratio(given, wanted, parts(standard.exact), parts(standard.bound)), actual)
    n_wrong = int(np.count_nonzero(~(ratio <= 1)))  # not `ratio > 1`, which a NaN would pass
    identical = bool(_same(given, wanted).all())
    worst = None
    if actual.size and not identical:
        worst = tuple(map(int, np.unravel_index(np.argmax(ratio), ratio.shape)))
    distances = ulps(actual, expected)
    relative = _relative(errors(actual, standard), standard)
    return Comparison(
        verdict="wrong" if n_wrong else "identical" if identical else "within bound",
        n_wrong=n_wrong,
        n_free=int(np.count_nonzero(_worse(np.isposinf(parts(standard.bound)), actual))),
        vacuous=standard.vacuous,
        worst=worst,
        max_bound_ratio=float(ratio.max(initial=0)),
        max_ulp=int(distances.max(initial=0)),
        median_ulp=int(np.median(distances)) if distances.size else 0,
        bias=float(relative.mean()) if relative.size else 0.0,
        spread=float(np.sqrt(np.square(relative).mean())) if relative.size else 0.0,
        actual=actual,
        expected=expected,
        ratio=ratio,
        description=description,
        model=standard.model,
    )


def either(actual: np.ndarray, standard: Standard, other: Standard) -> Standard:
    """The standard, but another one's where the output meets only that."""
    met, met_otherwise = (
        bound_ratio(*map(parts, (actual, each.expected, each.exact, each.bound))) <= 1 for each in (standard, other)
    )
    chosen = met_otherwise & ~met

    def mixed(name: str) -> np.ndarray:
        ours, theirs = (getattr(each, name) for each in (standard, other))
        return np.where(chosen, parts(theirs), parts(ours)).view(ours.dtype)

    return replace(standard, expected=mixed("expected"), exact=mixed("exact"), bound=mixed("bound"))


def errors(actual: np.ndarray, standard: Standard) -> np.ndarray:
    """actual - exact in float64, of complex numbers part by part; NaN where anything goes or only equality does."""
    bound = parts(standard.bound)
    if part(actual.dtype) not in FLOATS:
        return np.full(bound.shape, np.nan)
    with np.errstate(all="ignore"):
        difference = parts(actual).astype(np.float64) - parts(standard.exact)
    return np.where(np.isfinite(difference) & np.isfinite(bound) & (bound > 0), difference, np.nan)


def _relative(difference: np.ndarray, standard: Standard) -> np.ndarray:
    """The errors in units of u S, those that can be."""
    unit = parts(standard.unit)
    counted = np.isfinite(difference) & (unit > 0)
    with np.errstate(over="ignore"):
        found: np.ndarray = difference[counted] / unit[counted]
    return found


def _worse(found: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Of what was found for the parts of each element, the larger."""
    return found.reshape(*actual.shape, 2).max(axis=-1) if actual.dtype in COMPLEX else found


def _same(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # a candidate's signalling NaN, which ml_dtypes converts
        same: np.ndarray = (actual == expected) | ((actual != actual) & (expected != expected))
    return same


def bound_ratio(actual: np.ndarray, expected: np.ndarray, exact: np.ndarray, bound: np.ndarray) -> np.ndarray:
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


def ulps(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Distances in units in the last place, of the finite numbers among the parts; none of integers."""
    given, wanted = parts(actual), parts(expected)
    if given.dtype not in FLOATS:
        return np.empty(0, np.uint64)
    with np.errstate(invalid="ignore"):
        finite = np.isfinite(given) & np.isfinite(wanted)
    return ulp_distance(given[finite], wanted[finite])


def as_text(value: Any) -> str:
    """Shape and dtype of an array, short."""
    return f"{value.dtype}{list(value.shape)}"
