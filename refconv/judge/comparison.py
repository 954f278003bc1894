"""Actual against expected: which elements are wrong, how far apart they are, and a text that says so.

Here the verdict is given: by the errors one by one, and by statistics of all of them together. Knows two arrays, the
largest admissible difference between them and statistics; not how any of them was computed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from refconv.core.formats import parts
from refconv.core.receptive_field import ReceptiveField
from refconv.judge.error_map import figure
from refconv.judge.error_statistics import Statistic
from refconv.judge.standard import Standard, bound_ratio, errors, relative_errors, same_values, ulps, worse_part

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUSPICIOUS = "suspicious"


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Comparison:
    """What the judge found: a verdict, its grounds, and the arrays for a closer look.

    Attributes
    ----------
    verdict : str
        "identical" (equal values; NaN where NaN), "within bound", "suspicious" (every element is within its bound, but
        all together can't come from the accumulator that is claimed) or "wrong".
    problem : str
        Why nothing could be compared (shape, dtype), or what else is wrong; else empty.
    n_wrong : int
        Number of elements outside their bound.
    worst : tuple of int or None
        Index of the element with the largest error in units of its bound.
    max_bound_ratio : float
        Its error, in units of its bound; above 1 is wrong. Of a complex element the worse part's.
    actual, expected, ratio : ndarray
        The arrays, and the errors in units of their bounds.
    """

    verdict: str
    problem: str = ""
    n_wrong: int
    worst: tuple[int, ...] | None = None
    max_bound_ratio: float = np.inf
    actual: np.ndarray
    expected: np.ndarray
    ratio: np.ndarray
    model: str = ""
    allow_suspicious: bool = False
    notes: tuple[str, ...] = ()
    diagnose: Callable[[], Any] | None = None
    later: Mapping[str, Callable[[], Any]] = field(default_factory=dict)

    # What the verdict does not depend on is computed when it is first read: for a small case it takes longer than all
    # the rest.

    @cached_property
    def description(self) -> str:
        """What was computed."""
        return str(self._later("description", ""))

    @cached_property
    def n_free(self) -> int:
        """Number of elements that could not be judged, for a sum in some order may overflow there."""
        return int(self._later("n_free", 0))

    @cached_property
    def vacuous(self) -> bool:
        """Whether the bound could not have told the expected output from zeros, or from one without a tap."""
        return bool(self._later("vacuous", False))

    @cached_property
    def receptive_field(self) -> ReceptiveField | None:
        """What the element `worst` depends on."""
        field_of_worst: ReceptiveField | None = self._later("receptive_field", None)
        return field_of_worst

    @cached_property
    def max_ulp(self) -> int:
        """Largest distance from the expected value in units in the last place (float outputs; not inf and NaN)."""
        return int(self._later("max_ulp", 0))

    @cached_property
    def median_ulp(self) -> int:
        """Typical distance."""
        return int(self._later("median_ulp", 0))

    @cached_property
    def bias(self) -> float:
        """Mean of actual - exact, in units of u S: the accumulator's unit roundoff times the sum of the magnitudes."""
        return float(self._later("bias", 0.0))

    @cached_property
    def spread(self) -> float:
        """Root mean square of actual - exact, in the same units."""
        return float(self._later("spread", 0.0))

    @cached_property
    def statistics(self) -> tuple[Statistic, ...]:
        """Of all errors together: the largest, their mean, their mean away from zero and their mean square.

        With the limits that a sound implementation keeps; empty where nothing can be concluded from them.
        """
        statistics: tuple[Statistic, ...] = self._later("statistics", ())
        return statistics

    def __getstate__(self) -> dict[str, Any]:
        """For pickles, what would be computed later: workers send comparisons."""
        return self.__dict__ | {"later": {name: partial(_known, self._later(name, None)) for name in self.later}}

    def with_later(self, **later: Callable[[], Any]) -> Self:
        """The comparison with further functions that compute what is read later."""
        return replace(self, later={**self.later, **later})

    def _later(self, name: str, usual: Any) -> Any:
        compute = self.later.get(name)
        if compute is None:
            return usual
        with np.errstate(all="ignore"):
            return compute()

    @cached_property
    def diagnosis(self) -> Any:
        """The mistake that the output looks like, found when this is first read: seconds, for a large layer.

        Returns
        -------
        Diagnosis or None
            Its text says what the output is equal to, or where it is wrong, as far as one case can tell; its `kind`
            and `mutant` name the class and the known bug. None for an output that is ok.

        Raises
        ------
        ModuleNotFoundError
            Without the packages of `refconv[verify]`.

        Examples
        --------
        >>> import refconv
        >>> x, w, bias = (np.arange(1.0, 1 + np.prod(n)).reshape(n) for n in ((1, 2, 4, 4), (3, 2, 2, 2), (3,)))
        >>> case = refconv.Case(input=x, weight=w, bias=bias)
        >>> print(case.check(refconv.conv2d(x, w)).diagnosis)
        behaves like bias ignored: 27 of 27 wrong outputs equal
        """
        return None if self.ok or self.diagnose is None else self.diagnose()

    def __repr__(self) -> str:
        return f"<Comparison {self.verdict}: {self.description}>"

    @property
    def ok(self) -> bool:
        """Whether the output may come from a sound implementation."""
        return self.verdict in ("identical", "within bound") or (self.verdict == SUSPICIOUS and self.allow_suspicious)

    def with_statistics(self, statistics: Callable[[], tuple[Statistic, ...]], *, decide: bool = True) -> Self:
        """The comparison with statistics of all errors together: suspicious if one of them is beyond its limit.

        With `decide` false it is known already that none is: they are computed when they are read.
        """
        if self.verdict != "within bound" or not decide:
            return self.with_later(statistics=statistics)
        computed = statistics()
        verdict = self.verdict if all(statistic.ok for statistic in computed) else SUSPICIOUS
        return replace(self.with_later(statistics=lambda: computed), verdict=verdict)

    def __str__(self) -> str:
        lines = [f"{self.verdict}: {self.description}" if self.description else self.verdict]
        lines += [f"  {self.problem}"] if self.problem else []
        if self.worst is not None or self.verdict == "within bound":
            lines += self._grounds()
        elif not self.problem:
            lines.append(f"  all {self.actual.size} elements equal")
        if self.vacuous and self.verdict != "wrong":
            lines.append("  vacuous: zeros, or an output without one of the taps, would have passed too")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def _grounds(self) -> list[str]:
        """Lines on the elements outside their bound, the statistics, and the distances."""
        bound = f"the error bound of {self.model}" if self.model else "the error bound"
        lines = [f"  {self.n_wrong} of {self.actual.size} elements outside {bound}"]
        if not_finite := int(np.count_nonzero(~np.isfinite(self.actual) & ~(self.ratio <= 1))):
            lines.append(f"  {not_finite} of these are NaN or infinite")
        lines += [f"  the {statistic.name} is {statistic.value:.3g}, but at most {statistic.limit:.3g} "
                  "from a sound implementation"
                  for statistic in self.statistics if not statistic.ok and self.verdict == SUSPICIOUS]  # fmt: skip
        if self.n_free:
            lines.append(f"  {self.n_free} not judged: a sum may overflow there, and anything may come of it")
        if self.worst is not None:
            lines += self._worst(self.worst)
        if self.max_ulp or self.verdict != "wrong":
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
        if self.ratio.shape != self.expected.shape or self.ratio.ndim < 2:
            raise ValueError(f"nothing to plot: {self.problem or 'the output is a sample, not an image'}")
        # The description can be long: its first words say what was called.
        title = f"{self.verdict}: {self.n_wrong} of {self.actual.size} elements wrong"
        return figure(self.actual, self.expected, self.ratio, self.worst, title)


def _known(value: Any) -> Any:
    return value


def mismatch(actual: np.ndarray, expected: np.ndarray, problem: str, describe: Callable[[], str] = str) -> Comparison:
    """The verdict on an output that can't be compared element by element."""
    return Comparison(
        verdict="wrong",
        problem=problem,
        n_wrong=expected.size,
        actual=actual,
        expected=expected,
        ratio=np.empty(0),
        later={"description": describe},
    )


def misshapen(actual: np.ndarray, expected: np.ndarray, describe: Callable[[], str] = str) -> Comparison | None:
    """The verdict on an output of another shape or dtype, None if they are as expected."""
    for name in ("shape", "dtype"):
        value, required = getattr(actual, name), getattr(expected, name)
        if value != required:
            return mismatch(actual, expected, f"{name} {value}: must be {required}", describe)
    return None


def compare(actual: np.ndarray, standard: Standard, describe: Callable[[], str] = str) -> Comparison:
    """Judge an output element by element.

    Parameters
    ----------
    actual
        The output, of the expected shape and dtype (see `misshapen`).
    standard
        What it is judged by.
    describe
        Says what was computed, for the text.

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
    values, expected_values = parts(actual), parts(expected)
    ratio = worse_part(bound_ratio(values, expected_values, parts(standard.exact), parts(standard.bound)), actual)
    n_wrong = int(np.count_nonzero(~(ratio <= 1)))  # not `ratio > 1`, which a NaN would pass
    identical = bool(same_values(values, expected_values).all())
    worst = None
    if actual.size and not identical:
        worst = tuple(map(int, np.unravel_index(np.argmax(ratio), ratio.shape)))
    distances = cache(lambda: ulps(actual, expected))
    relative = cache(lambda: relative_errors(errors(actual, standard), standard))
    later: dict[str, Callable[[], Any]] = {
        "description": describe,
        "n_free": lambda: np.count_nonzero(worse_part(np.isposinf(parts(standard.bound)), actual)),
        "vacuous": lambda: standard.vacuous,
        "max_ulp": lambda: distances().max(initial=0),
        "median_ulp": lambda: np.median(distances()) if distances().size else 0,
        "bias": lambda: relative().mean() if relative().size else 0,
        "spread": lambda: np.sqrt(np.square(relative()).mean()) if relative().size else 0,
    }
    return Comparison(
        verdict="wrong" if n_wrong else "identical" if identical else "within bound",
        n_wrong=n_wrong,
        worst=worst,
        max_bound_ratio=float(ratio.max(initial=0)),
        actual=actual,
        expected=expected,
        ratio=ratio,
        model=standard.model,
        later=later,
    )
