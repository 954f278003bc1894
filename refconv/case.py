"""A case: one call of an operator with its arrays, what must come out, and the judgement on what did.

Knows operators, bounds and comparisons; not how cases are made, and none of the libraries that are judged.
"""

from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any

import numpy as np

from refconv import bounds, formats, ops
from refconv.arrays import to_numpy
from refconv.compare import Comparison, as_text, compare, mismatch
from refconv.geometry import Geometry, Padding, Pair, choice

OPERATORS = ("conv2d",)


@dataclass(frozen=True, eq=False, kw_only=True)
class Case:
    """One call of an operator with its arrays. Immutable: the arrays are read-only copies.

    Parameters
    ----------
    op : {"conv2d"}
        The operator.
    input, weight, bias, stride, padding, dilation, groups, padding_mode
        As `refconv.conv2d` takes them; arrays of any kind, held as NumPy arrays.

    Raises
    ------
    GeometryError, TypeError
        As `refconv.conv2d` does.

    Examples
    --------
    >>> case = Case(input=np.ones((1, 1, 3, 3), "float32"), weight=np.ones((1, 1, 2, 2), "float32"), stride=2)
    >>> case.expected()
    array([[[[4.]]]], dtype=float32)
    >>> case.check(np.full((1, 1, 1, 1), 4, "float32")).verdict
    'identical'
    """

    input: np.ndarray
    weight: np.ndarray
    bias: np.ndarray | None = None
    stride: Pair = 1
    padding: Padding = 0
    dilation: Pair = 1
    groups: int = 1
    padding_mode: str = "zeros"
    op: str = "conv2d"

    def __post_init__(self) -> None:
        choice("op", self.op, OPERATORS)
        for name in ("input", "weight", "bias"):
            given = getattr(self, name)
            if given is not None:
                found = to_numpy(name, given)
                # Over bytes: memory that nobody can write to, whatever flags are set.
                object.__setattr__(self, name, np.ndarray(found.shape, found.dtype, found.tobytes()))
        ops.common_dtype(self.input, self.weight, self.bias)
        g = self.geometry
        # What the caller holds may change: keep tuples only.
        kept = {"stride": g.stride, "dilation": g.dilation, "groups": g.groups}
        if not isinstance(self.padding, str):
            kept["padding"] = g.padding
        for name, value in kept.items():
            object.__setattr__(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are made anew, for a copied array could be written to."""
        return partial(Case, **{each.name: getattr(self, each.name) for each in fields(self)}), ()

    @cached_property
    def geometry(self) -> Geometry:
        """Shapes and options, normalised: pairs as tuples, padding as ((top, bottom), (left, right))."""
        return ops.geometry_of(
            self.input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups, self.padding_mode
        )

    def arguments(self) -> tuple[Any, ...]:
        """The positional arguments of a candidate: input, weight, bias, stride, padding, dilation, groups.

        Stride and dilation are pairs, padding is (h, w), a string if it was given as one, else four-sided.
        """
        g = self.geometry
        padding: Any = g.padding
        if isinstance(self.padding, str):
            padding = self.padding
        elif all(before == after for before, after in g.padding):
            padding = tuple(before for before, _ in g.padding)
        # Views: a candidate may change their shape.
        x, w, b = (each if each is None else each.view() for each in (self.input, self.weight, self.bias))
        return x, w, b, g.stride, padding, g.dilation, g.groups

    def expected(self, precision: str = "float64") -> np.ndarray:
        """The oracle's output, rounded; `precision` as `refconv.conv2d` has it."""
        if precision == "float64":
            # Rounded once, as conv2d does.
            return formats.rounded(self._exact, formats.result_dtype(self.input.dtype))
        out: np.ndarray = self._call(self.input, self.weight, self.bias, precision=precision)
        return out

    def bound(self) -> np.ndarray:
        """Largest admissible error of each element against the exact, unrounded value, as float64.

        That of a direct sum in an accumulator of the input's dtype, in any order, with or without fused multiply-adds,
        rounded once, plus the oracle's own error (`refconv.bounds`). Zero for integers, for floats that are integers
        so small that no sum of them is rounded, and where NaN or infinity must come out; infinite where a sum in some
        order may overflow. For complex numbers two bounds as one complex number, of the real part and of the imaginary
        part: each is a sum of two real products for each complex one.
        """
        dtype = formats.part(self.input.dtype)
        if dtype in formats.INTEGERS:
            return np.zeros(self._exact.shape)
        is_complex = self.input.dtype in formats.COMPLEX
        exact, special = formats.parts(self._exact), formats.parts(self._special)
        terms = self.geometry.terms * (1 + is_complex) + (self.bias is not None)
        with np.errstate(all="ignore"):
            absolute_sum = bounds.exact_sum(terms, self._absolute_sum)
            oracle = bounds.direct_sum(terms, absolute_sum, np.dtype("float64"))
            candidate = bounds.direct_sum(terms, absolute_sum, dtype)
            bound = bounds.rounded(candidate, np.abs(exact) + oracle, dtype) + oracle
            overflow = ~(absolute_sum + bounds.rounded(candidate, absolute_sum, dtype) < formats.largest(dtype))
        bound = np.where(np.isfinite(exact), bound, 0)
        if self._integral:  # then a partial sum, in any order, is an integer: exact below 1 / u
            # Below it: what was computed as 1 / u itself may be more.
            is_exact = self._absolute_sum < 1 / formats.unit_roundoff(dtype)
            bound, overflow = np.where(is_exact, 0, bound), overflow & ~is_exact
        bound = np.where(overflow & ~np.isnan(special), np.inf, bound)
        return bound.view(np.complex128) if is_complex else bound

    def check(self, actual: Any) -> Comparison:
        """Judge an output.

        Parameters
        ----------
        actual : array
            What a candidate returned; any kind of array that `refconv.conv2d` takes. Anything else is wrong.

        Returns
        -------
        Comparison
            Its `ok` says whether the output may come from a sound kernel, its text why or why not.
        """
        try:
            found = to_numpy("actual", actual)
        except TypeError as error:
            return mismatch(np.empty(0), self.expected(), str(error), str(self))
        return compare(found, self.expected(), self._exact, self.bound(), str(self))

    def __str__(self) -> str:
        g = self.geometry
        mode = "" if self.padding_mode == "zeros" else f", padding_mode={self.padding_mode!r}"
        return (
            f"{self.op}(input={as_text(self.input)}, weight={as_text(self.weight)}, "
            f"bias={'None' if self.bias is None else as_text(self.bias)}, stride={g.stride}, "
            f"padding={self.arguments()[4]!r}, dilation={g.dilation}, groups={g.groups}{mode})"
        )

    __repr__ = __str__

    @cached_property
    def _exact(self) -> np.ndarray:
        """The oracle's output before it is rounded to a narrower format."""
        out: np.ndarray = self._call(*(_map(_widened, each) for each in self._arrays))
        return out

    @cached_property
    def _absolute_sum(self) -> np.ndarray:
        """The oracle over absolute values, of the parts of complex numbers; NaN and inf count as 0, being compared."""
        if self.input.dtype not in formats.COMPLEX:
            return self._magnitudes(*self._arrays)
        x, w, b = ((None, None) if each is None else (each.real, each.imag) for each in self._arrays)
        real = self._magnitudes(x[0], w[0], b[0]) + self._magnitudes(x[1], w[1], None)
        imaginary = self._magnitudes(x[0], w[1], b[1]) + self._magnitudes(x[1], w[0], None)
        return np.stack([real, imaginary], axis=-1).reshape(*real.shape[:-1], -1)  # as `formats.parts`

    def _magnitudes(self, *arrays: np.ndarray | None) -> np.ndarray:
        out: np.ndarray = self._call(*(_map(_magnitude, each) for each in arrays))
        return out

    @cached_property
    def _special(self) -> np.ndarray:
        """NaN and infinity where they must come out, whatever the finite numbers are; elsewhere a number."""
        wide = [_map(_widened, each) for each in self._arrays]
        if all(each is None or np.isfinite(each).all() for each in wide):
            return np.zeros(())
        out: np.ndarray = self._call(*(_map(_signs, each) for each in wide))
        return out

    @cached_property
    def _integral(self) -> bool:
        """Whether all numbers are integers."""
        wide = [formats.parts(_widened(each)) for each in self._arrays if each is not None]
        return all(bool((each == np.rint(each)).all()) for each in wide)

    @property
    def _arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        return self.input, self.weight, self.bias

    def _call(self, x: Any, w: Any, b: Any, **options: Any) -> Any:
        return ops.conv2d(
            x, w, b, self.stride, self.padding, self.dilation, self.groups, padding_mode=self.padding_mode, **options
        )


def assert_close(actual: Any, case: Case) -> None:
    """Raise AssertionError, with the whole story, unless `actual` may come from a sound kernel called as `case`.

    Parameters
    ----------
    actual : array
        The output to be judged.
    case : Case
        The call that it came from.

    Raises
    ------
    AssertionError
        If an element lies outside its error bound, or shape or dtype are not the oracle's.

    Examples
    --------
    >>> case = Case(input=np.ones((1, 1, 1, 1)), weight=np.ones((1, 1, 1, 1)))
    >>> assert_close(np.zeros((1, 1, 1, 1)), case)
    Traceback (most recent call last):
    AssertionError: wrong: conv2d(input=float64[1, 1, 1, 1], weight=float64[1, 1, 1, 1], bias=None, stride=(1, 1), ...
    """
    __tracebackhide__ = True
    comparison = case.check(actual)
    if not comparison.ok:
        raise AssertionError(str(comparison))


def _map(function: Any, array: np.ndarray | None) -> np.ndarray | None:
    return None if array is None else function(array)


def _widened(array: np.ndarray) -> np.ndarray:
    """Floats as float64, complex numbers as complex128, integers as they are."""
    if array.dtype in formats.INTEGERS:
        return array
    with np.errstate(invalid="ignore"):  # signalling NaNs
        return np.asarray(array, np.complex128 if array.dtype in formats.COMPLEX else np.float64)


def _signs(wide: np.ndarray) -> np.ndarray:
    """Finite numbers as -1, 0 or 1, so that no sum of them overflows; complex numbers part by part."""
    each = formats.parts(wide)
    signs: np.ndarray = np.where(np.isfinite(each), np.sign(each), each).view(wide.dtype)
    return signs


def _magnitude(array: np.ndarray) -> np.ndarray:
    wide: np.ndarray = np.abs(_widened(array))
    wide[~np.isfinite(wide)] = 0
    return wide
