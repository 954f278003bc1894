"""A case: one call of an operator with its arrays, what must come out, and the judgement on what did.

Knows operators, bounds and comparisons; not how cases are made, and none of the libraries that are judged.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from refconv import formats, ops, sampling, skipping, suspicion, tolerances
from refconv.arrays import Operands, to_numpy
from refconv.bounds import ErrorModel, Sums, convolution_sums
from refconv.bounds.rounding import OUTWARDS
from refconv.compare import Comparison, Standard, as_text, compare, either, errors, mismatch, misshapen
from refconv.geometry import Geometry, Padding, Pair, choice, integer
from refconv.receptive import receptive_field

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

    def expected(self, precision: str = "exact") -> np.ndarray:
        """The oracle's output, rounded; `precision` as `refconv.conv2d` has it."""
        if precision == "exact":
            return self._expected.copy()
        return ops.convolve(self.geometry, *self._arrays, precision=precision)

    def bound(self, model: ErrorModel | None = None) -> np.ndarray:
        """Largest admissible error of each element against the exact, unrounded value.

        Parameters
        ----------
        model : ErrorModel, optional
            What the implementation says of how it computes; by default that it sums directly, in any order, in float32
            (or float64 for float64 and complex128), and rounds once.

        Returns
        -------
        ndarray of float64
            Infinite where anything goes; 0 where NaN or infinity must come out, and for integers. For complex numbers
            two bounds as one complex number, of the real part and of the imaginary part: each is a sum of two real
            products for each complex one. Where no sum is rounded, as of small integers, it is the distance of the
            exact value, rounded, from itself: there `check` asks for that very number.

        Raises
        ------
        GeometryError
            If the model can't be of such a call: Winograd's with a stride, for instance.

        Examples
        --------
        >>> case = Case(input=np.full((1, 1, 1, 1), 0.1, "float16"), weight=np.ones((1, 1, 1, 1), "float16"))
        >>> bool(case.bound() < case.bound(ErrorModel.direct("float16")))
        True
        """
        found = self._limits(self._model(model))
        if self.input.dtype in formats.INTEGERS:
            return found
        limits, value = formats.parts(found), formats.parts(self._value)
        # Integers whose float64 sums are exact have no error of the oracle's own.
        certain = self.sums.integral & (self.sums.absolute < 1 / formats.unit_roundoff("float64"))
        with np.errstate(all="ignore"):
            once = np.abs(formats.parts(self._expected).astype(np.float64) - value)
            once = OUTWARDS * (once + np.where(certain, 0, self.sums.value_error))
        limits = np.where((limits == 0) & np.isfinite(once), once, limits)
        return limits.view(found.dtype)

    def _limits(self, model: ErrorModel | None) -> np.ndarray:
        """As `ErrorModel.bound` has it: 0 where only the exact value rounded once will do."""
        dtype = formats.result_dtype(self.input.dtype)
        if model is None:
            return np.zeros(self._expected.shape)
        found = model.bound(self.sums, formats.part(dtype))
        return found.view(np.complex128) if dtype in formats.COMPLEX else found

    @cached_property
    def sums(self) -> Sums:
        """The sums behind the outputs, of floats and complex numbers: what error models look at."""
        return convolution_sums(self.geometry, self._arrays, self._value, self._special, exact=self._is_double)

    def check(
        self,
        actual: Any,
        model: ErrorModel | None = None,
        *,
        strict: bool = False,
        allow_suspicious: bool = False,
        sample: int | None = None,
        seed: int = 0,
    ) -> Comparison:
        """Judge an output.

        Parameters
        ----------
        actual : array
            What a candidate returned; any kind of array that `refconv.conv2d` takes. Anything else is wrong.
        model : ErrorModel, optional
            What the implementation says of how it computes; as in `bound`.
        strict : bool
            Whether taps that lie in a padding of zeros must be multiplied by these: 0 times infinity is NaN. By default
            an implementation may skip them.
        allow_suspicious : bool
            Whether "suspicious" is good enough.
        sample : int, optional
            Judge so many outputs one by one, chosen at random, and all others by checksums only: for outputs so large
            that the oracle would take too long. See `refconv.sampling`.
        seed : int
            Another seed chooses other outputs and checksums.

        Returns
        -------
        Comparison
            Its `ok` says whether the output may come from a sound implementation, its text why or why not.

        Raises
        ------
        GeometryError, TypeError
            For a model that such a call can't have; never for `actual`.
        OverflowError
            As `refconv.conv2d` does, if the integers that must come out do not fit their dtype.

        Examples
        --------
        >>> rng = np.random.default_rng(0)
        >>> x, w = (rng.standard_normal((4, 64, 3, 3)).astype("float32") for _ in range(2))
        >>> case = Case(input=x, weight=w, padding=1)
        >>> case.check(case.expected() * np.float32(1.00001)).verdict
        'suspicious'
        """
        with np.errstate(all="ignore"):  # the caller's settings are not for what is computed here
            return self._check(actual, self._model(model), (sample, seed), strict, allow_suspicious)

    def _check(
        self,
        actual: Any,
        model: ErrorModel | None,
        sampled: tuple[int | None, int],
        strict: bool,
        allow_suspicious: bool,
    ) -> Comparison:
        sample, seed = sampled
        try:
            # A copy: what changes while it is looked at would be judged in parts.
            found = np.array(to_numpy("actual", actual))
        except TypeError as error:
            return mismatch(np.empty(0), self.unwritten, str(error), str(self))
        if sample is not None and integer("sample", sample, 1) < self.unwritten.size:
            comparison = sampling.check(self, found, model, sample, seed, strict=strict)
        else:
            comparison = self._compare(found, model, strict=strict)
        return replace(comparison, allow_suspicious=allow_suspicious)

    def _compare(self, actual: np.ndarray, model: ErrorModel | None, *, strict: bool) -> Comparison:
        """Judge all elements one by one, then all together."""
        standard = self.standard(model)
        unlike = misshapen(actual, standard.expected, str(self))
        if unlike:
            return unlike
        if model is not None and not strict and skipping.matters(self.geometry, self.weight):
            standard = either(actual, standard, self._skipping(standard, model))
        comparison = compare(actual, standard, str(self))
        if comparison.worst is None:
            return comparison
        comparison = replace(comparison, receptive_field=receptive_field(self.geometry, comparison.worst))
        if model is None or not self.random:
            return comparison
        difference, out = errors(actual, standard), formats.part(actual.dtype)
        statistics = suspicion.statistics(difference, self.sums, model, out, random_signs=self.random_signs)
        return comparison.with_statistics(statistics)

    def standard(self, model: ErrorModel | None = None) -> Standard:
        """What outputs are judged by, element by element, under a model (as in `bound`)."""
        model = self._model(model)
        if model not in self._standards:
            self._standards[model] = self._make_standard(model, self._expected, self._value, self._limits(model))
        return self._standards[model]

    def _make_standard(
        self, model: ErrorModel | None, expected: np.ndarray, exact: np.ndarray, bound: np.ndarray
    ) -> Standard:
        if model is None:
            product = np.ones(exact.shape)  # integers: nothing is too small to be seen
            return Standard(expected=expected, exact=exact, bound=bound, unit=np.zeros(exact.shape), product=product)
        unit = formats.unit_roundoff(model.accumulator) * self.sums.absolute
        product = self.sums.squares / max(1, self.sums.terms) ** 0.5
        if exact.dtype in formats.COMPLEX:
            unit, product = (np.ascontiguousarray(each).view(exact.dtype) for each in (unit, product))
        return Standard(expected=expected, exact=exact, bound=bound, unit=unit, product=product, model=str(model))

    def _skipping(self, standard: Standard, model: ErrorModel) -> Standard:
        """The standard of an implementation that skips padded taps."""
        value, special = skipping.outputs(self.geometry, *self._arrays)
        bound = model.bound(replace(self.sums, value=value, special=special), formats.part(standard.expected.dtype))
        value, bound = value.view(standard.exact.dtype), bound.view(standard.bound.dtype)
        return self._make_standard(model, formats.rounded(value, standard.expected.dtype), value, bound)

    def tolerances(self, model: ErrorModel | None = None) -> tolerances.Tolerances:
        """The rtol and atol to write into an assert_close for this call: tight, and safe.

        The pair with the smallest mean of ``atol + rtol * |expected|`` among those that accept every output that the
        model admits, compared with the rounded expected one; both rounded up to two digits.

        Parameters
        ----------
        model : ErrorModel, optional
            As in `bound`.

        Returns
        -------
        Tolerances
            A pair (rtol, atol), whose `reason` says in words why.

        Examples
        --------
        >>> case = Case(input=np.full((1, 64, 1, 1), 0.1, "float32"), weight=np.full((1, 64, 1, 1), 0.1, "float32"))
        >>> rtol, atol = case.tolerances()
        >>> rtol, atol
        (4e-06, 0.0)
        """
        if self._model(model) is None:
            return tolerances.Tolerances(0.0, 0.0, "sums of integers are exact: outputs must be equal")
        with np.errstate(all="ignore"):
            return tolerances.tightest(self.standard(model), self.sums.terms)

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
    def _expected(self) -> np.ndarray:
        return ops.convolve(self.geometry, *self._arrays, precision="exact")

    @cached_property
    def _value(self) -> np.ndarray:
        """The exact value as float64 (complex128) has it; of narrower formats with an error of the oracle's own."""
        if self.input.dtype in formats.INTEGERS or self._is_double:
            return self._expected
        return ops.convolve(self.geometry, *_mapped(_widened, self._arrays))

    @property
    def _is_double(self) -> bool:
        return formats.part(self.input.dtype) == np.float64

    @cached_property
    def _special(self) -> np.ndarray:
        """NaN and infinity where they must come out, whatever the finite numbers are; elsewhere a number."""
        wide = _mapped(_widened, self._arrays)
        if all(each is None or np.isfinite(each).all() for each in wide):
            return np.zeros(())
        return ops.convolve(self.geometry, *_mapped(_signs, wide))

    @cached_property
    def _standards(self) -> dict[ErrorModel | None, Standard]:
        return {}

    def _model(self, model: ErrorModel | None) -> ErrorModel | None:
        """The model that is meant; None for integers, of which every one is exact."""
        if model is not None and not isinstance(model, ErrorModel):
            raise TypeError(f"model={model!r}: must be an ErrorModel")
        dtype = formats.result_dtype(self.input.dtype)
        return None if dtype in formats.INTEGERS else model or ErrorModel.inferred(dtype)

    @property
    def unwritten(self) -> np.ndarray:
        """An array of the output's shape and dtype, without memory of its own."""
        shape = self.geometry.output_shape[self.input.ndim == 3 :]
        return np.broadcast_to(np.zeros((), formats.result_dtype(self.input.dtype)), shape)

    @cached_property
    def random(self) -> bool:
        """Whether the operands are such that errors of roundings have mean 0."""
        return all(map(suspicion.random_significands, map(_real, self._arrays[:2])))

    @cached_property
    def random_signs(self) -> bool:
        """Whether the weights' signs are random, so that partial sums are not much larger than the sums."""
        return suspicion.random_signs(_real(self.weight))

    @property
    def _arrays(self) -> Operands:
        return self.input, self.weight, self.bias


def assert_close(actual: Any, case: Case, model: ErrorModel | None = None, **options: Any) -> None:
    """Raise AssertionError, with the whole story, unless `actual` may come from a sound implementation of `case`.

    Parameters
    ----------
    actual : array
        The output to be judged.
    case : Case
        The call that it came from.
    model, **options
        As `Case.check` takes them.

    Raises
    ------
    AssertionError
        If the verdict is "wrong", or "suspicious" unless that is allowed.
    GeometryError, TypeError
        As `Case.check` does.

    Examples
    --------
    >>> case = Case(input=np.ones((1, 1, 1, 1)), weight=np.ones((1, 1, 1, 1)))
    >>> assert_close(np.zeros((1, 1, 1, 1)), case)
    Traceback (most recent call last):
    AssertionError: wrong: conv2d(input=float64[1, 1, 1, 1], weight=float64[1, 1, 1, 1], bias=None, stride=(1, 1), ...
    """
    __tracebackhide__ = True
    comparison = case.check(actual, model, **options)
    if not comparison.ok:
        raise AssertionError(str(comparison))


def _mapped(function: Callable[[np.ndarray], np.ndarray], operands: Operands) -> Operands:
    """Operands that a function changed, all that there are."""
    x, w, bias = operands
    return function(x), function(w), None if bias is None else function(bias)


def _widened(array: np.ndarray) -> np.ndarray:
    """Floats as float64, complex numbers as complex128, integers as they are."""
    if array.dtype in formats.INTEGERS:
        return array
    with np.errstate(invalid="ignore"):  # signalling NaNs
        return np.asarray(array, np.complex128 if array.dtype in formats.COMPLEX else np.float64)


def _real(array: np.ndarray) -> np.ndarray:
    """Complex numbers as pairs of real ones, along a last axis."""
    return array[..., None].view(formats.part(array.dtype)) if array.dtype in formats.COMPLEX else array


def _signs(wide: np.ndarray) -> np.ndarray:
    """Finite numbers as -1, 0 or 1, so that no sum of them overflows; complex numbers part by part."""
    each = formats.parts(wide)
    signs: np.ndarray = np.where(np.isfinite(each), np.sign(each), each).view(wide.dtype)
    return signs
