"""A case: one call of an operator with its arrays, what must come out, and the judgement on what did.

Knows operators, bounds and comparisons; not how cases are made, and none of the libraries that are judged.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from refconv.arrays.interop import to_numpy
from refconv.core import formats
from refconv.core.checks import Padding, Pair, choice, integer, per_axis
from refconv.core.errors import GeometryError
from refconv.core.geometry import Geometry
from refconv.core.receptive_field import receptive_field
from refconv.judge import error_statistics, padded_taps, sampling, tolerances
from refconv.judge.bounds import ErrorModel, Sums, sums_of
from refconv.judge.bounds.rounding import OUTWARDS
from refconv.judge.comparison import Comparison, Standard, as_text, compare, either, errors, mismatch, misshapen
from refconv.ops import options
from refconv.ops.family import OPERATORS, Call, Operator, compute

ARRAYS = ("input", "weight", "bias", "grad_output")
TAKEN = {
    name: frozenset({"op", *each.parameters, *(["padding_mode"] if each.has_padding_mode else [])})
    for name, each in OPERATORS.items()
}
QUANTISATION = tuple(f"{array}_{each}" for array in ("input", "weight", "output") for each in ("scale", "zero_point"))


@dataclass(frozen=True, eq=False, kw_only=True)
class Case:
    """One call of an operator with its arrays. Immutable: the arrays are read-only copies.

    Parameters
    ----------
    op : str
        The operator: "conv2d", "conv_transpose2d", "conv2d_input", "conv2d_weight", "conv2d_bias", "conv2d_integer" or
        "conv2d_quantized".
    input, weight, bias, stride, padding, dilation, groups, ...
        As the operator of `refconv` takes them; arrays of any kind, held as NumPy arrays. What it does not take must
        not be given.

    Raises
    ------
    GeometryError, TypeError
        As the operator does.

    Examples
    --------
    >>> case = Case(input=np.ones((1, 1, 3, 3), "float32"), weight=np.ones((1, 1, 2, 2), "float32"), stride=2)
    >>> case.expected()
    array([[[[4.]]]], dtype=float32)
    >>> case.check(np.full((1, 1, 1, 1), 4, "float32")).verdict
    'identical'
    """

    op: str = "conv2d"
    input: np.ndarray = None  # type: ignore[assignment]  # an operator that takes it insists
    weight: np.ndarray = None  # type: ignore[assignment]
    bias: np.ndarray | None = None
    grad_output: np.ndarray = None  # type: ignore[assignment]
    input_size: Sequence[int] | None = None
    weight_size: Sequence[int] | None = None
    stride: Pair = 1
    padding: Padding = 0
    output_padding: Pair = 0
    dilation: Pair = 1
    groups: int = 1
    padding_mode: str = "zeros"
    input_scale: Any = None
    input_zero_point: Any = 0
    weight_scale: Any = None
    weight_zero_point: Any = 0
    output_scale: Any = None
    output_zero_point: Any = 0

    def __post_init__(self) -> None:
        choice("op", self.op, tuple(OPERATORS))
        self._check_given()
        for name in (*ARRAYS, *QUANTISATION):
            given = getattr(self, name)
            if given is not None and (
                name in ARRAYS or (hasattr(given, "shape") and not isinstance(given, np.generic))
            ):
                self._keep(name, _frozen(to_numpy(name, given)))
        if not self._operator.is_quantized:
            options.common_dtype(self._first, self._first if self._second is None else self._second, self.bias)
        self._keep_tuples()
        if self._operator.is_quantized:
            _ = self._expected  # zero points and scales, too, are to be right from the start

    def _check_given(self) -> None:
        """Refuse what the operator does not take, and insist on what it must have."""
        taken = self._taken
        for each in fields(self):
            name, given = each.name, getattr(self, each.name)
            if name in taken:
                if given is None and name != "bias":
                    raise TypeError(f"{name}=None: must be given for {self.op}")
            elif given is not each.default and (type(given) is not type(each.default) or given != each.default):
                raise TypeError(f"{name}={given!r}: {self.op} does not take it")

    def _keep_tuples(self) -> None:
        """What the caller holds may change: keep tuples only."""
        g = self.geometry
        kept: dict[str, Any] = {"stride": g.stride, "dilation": g.dilation, "groups": g.groups}
        if not isinstance(self.padding, str):
            kept["padding"] = g.padding
        for name in ("input_size", "weight_size"):
            if getattr(self, name) is not None:
                kept[name] = tuple(map(int, getattr(self, name)))
        kept["output_padding"] = per_axis("output_padding", self.output_padding, 0)
        for name in kept.keys() & self._taken:
            self._keep(name, kept[name])

    @property
    def _taken(self) -> frozenset[str]:
        """Names of the fields that the operator takes."""
        return TAKEN[self.op]

    def _keep(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def _operator(self) -> Operator:
        return OPERATORS[self.op]

    @property
    def _first(self) -> np.ndarray:
        found: np.ndarray = getattr(self, self._operator.first)
        return found

    @property
    def _second(self) -> np.ndarray | None:
        return getattr(self, self._operator.second) if self._operator.second else None

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The tensors of the call, by name, in its order.

        >>> list(Case(input=np.ones((1, 1, 1)), weight=np.ones((1, 1, 1, 1))).arrays)
        ['input', 'weight']
        """
        found = {name: getattr(self, name) for name in self._operator.parameters if name in ARRAYS}
        return {name: array for name, array in found.items() if array is not None}

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are made anew, for a copied array could be written to."""
        return partial(Case, **{each.name: getattr(self, each.name) for each in fields(self)}), ()

    @cached_property
    def geometry(self) -> Geometry:
        """Shapes and options, normalised: pairs as tuples, padding as ((top, bottom), (left, right)).

        Of the forward convolution concerned: that of which a gradient is a gradient, or of which a transposed
        convolution is the gradient.
        """
        return self._operator.geometry(self)

    @cached_property
    def call(self) -> Call:
        """The call without its numbers, of an operator without zero points."""
        return Call(self.op, self.geometry, per_axis("output_padding", self.output_padding, 0))

    def arguments(self) -> tuple[Any, ...]:
        """The positional arguments of a candidate: for a conv2d input, weight, bias, stride, padding, dilation, groups.

        Stride and dilation are pairs, padding is (h, w), a string if it was given as one, else four-sided.
        """
        return tuple(self._argument(name) for name in self._operator.parameters)

    def keywords(self) -> dict[str, Any]:
        """What comes by keyword: the padding mode, unless it is zeros."""
        return {} if self.padding_mode == "zeros" else {"padding_mode": self.padding_mode}

    def _argument(self, name: str) -> Any:
        value = getattr(self, name)
        if isinstance(value, np.ndarray):
            return value.view()  # a candidate may change its shape
        if name == "padding" and not isinstance(value, str) and all(before == after for before, after in value):
            return tuple(before for before, _ in value)
        return value

    def expected(self, precision: str = "exact") -> np.ndarray:
        """The oracle's output, rounded; `precision` as `refconv.conv2d` has it."""
        if precision == "exact":
            return self._expected.copy()
        return compute(self.op, self.arguments(), self.padding_mode, precision)

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
        if self._dtype in formats.INTEGERS:
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
        if model is None:
            return np.zeros(self._expected.shape)
        found = model.bound(self.sums, formats.part(self._dtype))
        return found.view(np.complex128) if self._dtype in formats.COMPLEX else found

    @cached_property
    def sums(self) -> Sums:
        """The sums behind the outputs, of floats and complex numbers: what error models look at."""
        return sums_of(self.call, self._operands, self._value, self._special, exact=self._is_double)

    def is_expected(self, actual: np.ndarray) -> bool:
        """Whether an output is the oracle's own to the last bit: `check` has to find it "identical" then.

        That takes no bounds, so that it is several times as fast.

        Parameters
        ----------
        actual : ndarray
            Of any shape and dtype.

        Raises
        ------
        OverflowError
            If the expected integers do not fit.

        Examples
        --------
        >>> case = Case(input=np.ones((1, 1, 1)), weight=np.ones((1, 1, 1, 1)))
        >>> case.is_expected(np.ones((1, 1, 1))), case.is_expected(np.ones((1, 1, 1), "float32"))
        (True, False)
        """
        expected = self._expected
        alike = actual.shape == expected.shape and actual.dtype == expected.dtype
        return alike and actual.tobytes() == expected.tobytes()

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
            Judge so many outputs of a conv2d one by one, chosen at random, and all others by checksums only: for
            outputs so large that the oracle would take too long. See `refconv.judge.sampling`.
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
        if sample is not None and self.op != "conv2d":
            raise GeometryError(f"sample={sample}: must not be given for {self.op}")
        if sample is not None and integer("sample", sample, 1) < self.unwritten.size:
            comparison = sampling.check(self, found, model, sample, seed, strict=strict)
        else:
            comparison = self._compare(found, model, strict=strict)
        return replace(comparison, allow_suspicious=allow_suspicious)

    def _compare(self, actual: np.ndarray, model: ErrorModel | None, *, strict: bool) -> Comparison:
        """Judge all elements one by one, then all together."""
        standard, description = self.standard(model), str(self)
        unlike = misshapen(actual, standard.expected, description)
        if unlike:
            return unlike
        if model is not None and not strict and padded_taps.matters(self.call, self._second):
            standard = either(actual, standard, self._skipping(standard, model))
        comparison = compare(actual, standard, description)
        if comparison.worst is None:
            return comparison
        if self.op == "conv2d":
            comparison = replace(comparison, receptive_field=receptive_field(self.geometry, comparison.worst))
        if model is None or not self.random:
            return comparison
        difference, out = errors(actual, standard), formats.part(actual.dtype)
        statistics = error_statistics.statistics(difference, self.sums, model, out, random_signs=self.random_signs)
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
            one = np.ones(exact.shape)  # integers: nothing is too small to be seen
            return Standard(
                expected=expected, exact=exact, bound=bound, unit=np.zeros(exact.shape), mean=one, typical=one.copy
            )
        terms = max(1, self.sums.terms)

        def arranged(array: np.ndarray) -> np.ndarray:
            return np.ascontiguousarray(array).view(exact.dtype) if exact.dtype in formats.COMPLEX else array

        unit, mean = arranged(formats.unit_roundoff(model.accumulator) * self.sums.absolute), self.sums.absolute / terms
        return Standard(
            expected=expected,
            exact=exact,
            bound=bound,
            unit=unit,
            mean=arranged(mean),
            typical=lambda: arranged(self.sums.squares / terms**0.5),
            model=str(model),
        )

    def _skipping(self, standard: Standard, model: ErrorModel) -> Standard:
        """The standard of an implementation that skips padded taps."""
        value, special = padded_taps.outputs(self.call, *self._operands)
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
        arguments = zip(self._operator.parameters, self.arguments(), strict=True)
        mode = [f"{name}={value!r}" for name, value in self.keywords().items()]
        return f"{self.op}({', '.join([*(f'{name}={_text(value)}' for name, value in arguments), *mode])})"

    __repr__ = __str__

    @cached_property
    def _expected(self) -> np.ndarray:
        """The exact value, rounded once: that of the float64 sum, wherever its own error can't matter."""
        if not self._operator.is_quantized and self._dtype not in formats.INTEGERS:
            found = self._certainly_rounded()
            if found is not None:
                return found
        return compute(self.op, self.arguments(), self.padding_mode, "exact")

    def _certainly_rounded(self) -> np.ndarray | None:
        """The float64 sum rounded, if the exact one is certainly rounded to the same everywhere."""
        if self._adds_exactly:
            return formats.rounded(self._value, self._dtype)
        if self._is_double:
            return None
        with np.errstate(all="ignore"):
            value, part = formats.parts(self._value), formats.part(self._dtype)
            error = np.where(np.isfinite(value), self.sums.value_error, 0)
            found, low, high = (formats.rounded(each, part) for each in (value, value - error, value + error))
        # A sum that overflows on the way is no sum of narrow numbers; what is not finite is so for its operands.
        certain = ((low == high) | np.isnan(value)).all() and not (np.isinf(value) & (self.sums.special == 0)).any()
        return found.view(self._dtype).reshape(self._value.shape) if certain else None

    @cached_property
    def _adds_exactly(self) -> bool:
        """Whether the operands are integers so small that float64 rounds no sum of their products, in any order."""
        x, w, bias = (0.0 if each is None else _largest_integer(each) for each in self._operands)
        products = self.call.products * (2 if self._dtype in formats.COMPLEX else 1)
        return products * x * (w if self._second is not None else 1) + bias < 1 / formats.unit_roundoff("float64")

    @cached_property
    def _dtype(self) -> np.dtype:
        """Of the output."""
        return self._expected.dtype if self._operator.is_quantized else formats.result_dtype(self._first.dtype)

    @cached_property
    def _value(self) -> np.ndarray:
        """The exact value as float64 (complex128) has it; of narrower formats with an error of the oracle's own."""
        if self._dtype in formats.INTEGERS or (self._is_double and not self._adds_exactly):
            return self._expected
        return self.call.apply(*_mapped(_widened, self._operands))

    @property
    def _is_double(self) -> bool:
        return formats.part(self._first.dtype) == np.float64

    @cached_property
    def _special(self) -> np.ndarray:
        """NaN and infinity where they must come out, whatever the finite numbers are; elsewhere a number."""
        wide = _mapped(_widened, self._operands)
        if all(each is None or np.isfinite(each).all() for each in wide):
            return np.zeros(())
        return self.call.apply(*_mapped(_signs, wide))

    @cached_property
    def _standards(self) -> dict[ErrorModel | None, Standard]:
        return {}

    def _model(self, model: ErrorModel | None) -> ErrorModel | None:
        """The model that is meant; None for integers, of which every one is exact."""
        if model is not None and not isinstance(model, ErrorModel):
            raise TypeError(f"model={model!r}: must be an ErrorModel")
        return None if self._dtype in formats.INTEGERS else model or ErrorModel.inferred(self._dtype)

    @property
    def unwritten(self) -> np.ndarray:
        """An array of the output's shape and dtype, without memory of its own."""
        shape = self.geometry.output_shape if self._operator.is_quantized else self.call.shape
        if len(shape) == 4 and self._first.ndim == 3 and self.op != "conv2d_weight":
            shape = shape[1:]
        return np.broadcast_to(np.zeros((), self._dtype), shape)

    @cached_property
    def random(self) -> bool:
        """Whether the operands are such that errors of roundings have mean 0."""
        return all(error_statistics.random_significands(_real(each)) for each in self._operands[:2] if each is not None)

    @cached_property
    def random_signs(self) -> bool:
        """Whether the weights' signs are random, so that partial sums are not much larger than the sums."""
        signs = _real(self._first if self._second is None else self._second)
        if self.op == "conv2d":
            return error_statistics.random_signs(signs)
        signs = signs[None] if self._second is not self.weight and self._first.ndim == 3 else signs
        return error_statistics.random_signs(np.swapaxes(signs, 0, 1))  # its second axis is not summed over

    @property
    def _operands(self) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        return self._first, self._second, self.bias


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


def _frozen(array: np.ndarray) -> np.ndarray:
    """A copy over bytes: memory that nobody can write to, whatever flags are set."""
    return np.ndarray(array.shape, array.dtype, array.tobytes())


def _largest_integer(array: np.ndarray) -> float:
    """The largest magnitude of integers, of complex numbers that of both parts; infinite if there are other numbers."""
    with np.errstate(invalid="ignore"):  # signalling NaNs
        each = formats.parts(array).astype(np.float64)
    return float(np.abs(each).max(initial=0)) if (each == np.rint(each)).all() else np.inf


def _text(value: Any) -> str:
    return as_text(value) if isinstance(value, np.ndarray) and value.ndim else repr(value)


def _mapped(
    function: Callable[[np.ndarray], np.ndarray], operands: tuple[np.ndarray, np.ndarray | None, np.ndarray | None]
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Operands that a function changed, all that there are."""
    x, w, bias = operands
    return function(x), None if w is None else function(w), None if bias is None else function(bias)


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
