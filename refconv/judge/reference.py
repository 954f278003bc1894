"""The reference: one call of an operator with its arrays, what must come out of it, and what outputs are judged by.

Knows operators, bounds and standards; not how an output is compared with them, and nothing of verdicts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from typing import Any, ClassVar, Self

import numpy as np

from refconv.arrays.interop import to_numpy
from refconv.core import formats
from refconv.core.checks import Padding, Pair, choice, padding_sides, per_axis
from refconv.core.geometry import Geometry
from refconv.core.layouts import Layouts
from refconv.core.operators import CONV, kind_of, like
from refconv.judge import given, numbers, padded_taps, randomness
from refconv.judge.bounds import ErrorModel, Model, Sums, model_of, sums_of
from refconv.judge.bounds.lean import lean, one_sided, truncates
from refconv.judge.case_code import ARRAYS, QUANTIZATION, call_text, literal_case
from refconv.judge.epilogue.of_reference import WithEpilogue, standard_of
from refconv.judge.standard import Standard
from refconv.ops import options
from refconv.ops.family import OPERATORS, Call, Operator, compute
from refconv.ops.requantization import Rule

WIDEST = 8  # bytes of a float64: a result that is no narrower is the exact value as `sums` have it


@dataclass(frozen=True, eq=False, kw_only=True)
class Reference(WithEpilogue):
    """The part of a `Case` that knows no output to be judged: the call, what must come out of it, and the standard.

    Fields are documented at `Case`; a function that gets a reference makes further ones by `type(reference)(...)`.
    Immutable: the arrays are read-only copies. What takes long is computed when it is first asked for, and kept.
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
    out_dtype: Any = None
    overflow: str = "raise"
    requantize: Rule = "float"
    weight_bits: int = 8

    def __post_init__(self) -> None:
        choice("op", self.op, tuple(OPERATORS))
        self._keep("overflow", given.said_overflow(self.overflow))
        self._keep_epilogue()
        given.check_fields(self)
        for name in (*ARRAYS, *QUANTIZATION):
            value = getattr(self, name)
            is_array = hasattr(value, "shape") and not isinstance(value, np.generic)
            if value is not None and (name in ARRAYS or is_array):
                self._keep(name, numbers.frozen(to_numpy(name, value)))
        if not self._operator.is_quantized:
            options.common_dtype(self._first, self._first if self._second is None else self._second, self.bias)
            self._keep("out_dtype", given.result_name(self._first.dtype, self.out_dtype, self.overflow))
        self._keep_tuples()
        self._keep_operands()
        if self._operator.is_quantized:
            _ = self._expected  # computed now, so that wrong zero points and scales are refused here

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The tensors of the call, by name, in the order of its arguments.

        >>> from refconv.judge.case import Case
        >>> list(Case(input=np.ones((1, 1, 1)), weight=np.ones((1, 1, 1, 1))).arrays)
        ['input', 'weight']
        """
        arrays = {name: getattr(self, name) for name in self._operator.parameters if name in ARRAYS}
        return {name: array for name, array in arrays.items() if array is not None}

    @property
    def results(self) -> dict[str, Any]:
        """What is claimed of the results (`given.CLAIMED`), where it is not the usual."""
        usual = {field.name: field.default for field in fields(self)}
        return {name: value for name in given.CLAIMED if (value := getattr(self, name)) != usual[name]}

    @cached_property
    def geometry(self) -> Geometry:
        """Shapes and options, normalised: pairs as tuples, padding as ((top, bottom), (left, right)).

        For a gradient, those of the convolution that it belongs to; for a transposed convolution and its gradients,
        those of the convolution whose input gradient it is.
        """
        return self._operator.geometry(self)

    @cached_property
    def call(self) -> Call:
        """The call without its numbers, of an operator without zero points."""
        return Call(self.op, self.geometry, per_axis("output_padding", self.output_padding, 0, self.axes))

    def arguments(self) -> tuple[Any, ...]:
        """The positional arguments of a candidate: for a conv2d input, weight, bias, stride, padding, dilation, groups.

        Stride and dilation are pairs; padding is (h, w), four-sided if the sides differ, or the string that was given.
        The operands of an epilogue come last.
        """
        return (*self._own_arguments(), *(operand.view() for operand in self.operands))

    def keywords(self) -> dict[str, Any]:
        """The arguments that come by keyword: the padding mode, unless it is zeros."""
        return {} if self.padding_mode == "zeros" else {"padding_mode": self.padding_mode}

    @property
    def unwritten(self) -> np.ndarray:
        """An array of the output's shape and dtype, without memory of its own."""
        shape = self.geometry.output_shape if self._operator.is_quantized else self.call.shape
        if self._first.ndim == self.axes + 1 and like(self.op) in ("output", "input"):
            shape = shape[1:]
        return np.broadcast_to(np.zeros((), self._dtype), shape)

    @cached_property
    def random(self) -> bool:
        """Whether the operands look random, so that the errors of roundings have mean 0."""
        return all(
            randomness.random_significands(numbers.real(array)) for array in self._operands[:2] if array is not None
        )

    @cached_property
    def random_signs(self) -> bool:
        """Whether the weights' signs are random, so that partial sums are not much larger than the sums."""
        signs = numbers.real(self._first if self._second is None else self._second)
        if kind_of(self.op) == CONV:
            return randomness.random_signs(signs)
        signs = signs[None] if self._second is not self.weight and self._first.ndim == self.axes + 1 else signs
        return randomness.random_signs(np.swapaxes(signs, 0, 1))  # the second axis is not summed over

    def expected(self, precision: str = "exact") -> np.ndarray:
        """The oracle's output, rounded; `precision` as `refconv.conv2d` has it."""
        if precision == "exact":
            return self._expected.copy()
        if self._fused is not None:
            double = np.promote_types(self._dtype, np.float32) if precision == "float32" else np.dtype("float64")
            return self._fused.of_precision(self._computed(precision, double).astype(np.float64))
        return self._result(self._computed(precision, self._dtype))

    def is_expected(self, actual: np.ndarray) -> bool:
        """As `Case.is_expected`, in torch's layout."""
        expected = self._expected
        alike = actual.shape == expected.shape and actual.dtype == expected.dtype
        return alike and actual.tobytes() == expected.tobytes()

    @cached_property
    def sums(self) -> Sums:
        """The sums behind the outputs, for floats and complex numbers: what error models look at."""
        return sums_of(self.call, self._operands, self._value, self._special, exact=self._is_double)

    def standard(self, model: Model | None = None) -> Standard:
        """What outputs are judged by, element by element, under a model; kept for the next output."""
        model = self._model(model)
        if model not in self._standards:
            if self._fused is None or model is None:
                self._standards[model] = self._make_standard(model, self._expected, self._value, self._limits(model))
            else:
                self._standards[model] = standard_of(self._fused, self.sums, model)
        return self._standards[model]

    def __str__(self) -> str:
        return call_text(self)

    def __repr__(self) -> str:
        """Code that makes the case again; `<...>` of arrays without a seed that are too many to be written out."""
        return f"{self.recipe!r}.case()" if self.recipe is not None else literal_case(self) or f"<{self}>"

    recipe: ClassVar[Any] = None  # what made the case, if that is known
    _given_layouts: ClassVar[Layouts | None] = None  # of a case that is given in others than torch's

    def made_by(self, recipe: Any) -> Self:
        """The same case, which shows itself by what made it: a recipe, whose `repr` is code and has a method `case`."""
        self._keep("recipe", recipe)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles run the constructor again, for a copied array could be written to."""
        made = partial(type(self), **{field.name: getattr(self, field.name) for field in fields(self)})
        kept = {name: self.__dict__[name] for name in ("recipe", "_given_layouts") if name in self.__dict__}
        return made, (), kept or None

    # What the fields hold: checked, and kept so that nobody can change it.

    def _keep_tuples(self) -> None:
        """Keep numbers and sizes as tuples of our own: what the caller holds may change."""
        g = self.geometry
        kept: dict[str, Any] = {"stride": g.stride, "dilation": g.dilation, "groups": g.groups}
        if not isinstance(self.padding, str):
            kept["padding"] = padding_sides(self.padding, self.axes)
        for name in ("input_size", "weight_size"):
            if getattr(self, name) is not None:
                kept[name] = tuple(map(int, getattr(self, name)))
        kept["output_padding"] = per_axis("output_padding", self.output_padding, 0, self.axes)
        for name in kept.keys() & given.TAKEN[self.op]:
            self._keep(name, kept[name])

    def _keep(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _own_arguments(self) -> tuple[Any, ...]:
        """The operator's positional arguments, without what belongs to an epilogue."""
        return tuple(self._argument(name) for name in self._operator.parameters)

    def _argument(self, name: str) -> Any:
        value = getattr(self, name)
        if isinstance(value, np.ndarray):
            return value.view()  # a candidate may change its shape
        if name == "padding" and not isinstance(value, str) and all(before == after for before, after in value):
            return tuple(before for before, _ in value)
        return value

    # The operands of the sums.

    @property
    def _operator(self) -> Operator:
        """The operator's row in the table."""
        return OPERATORS[self.op]

    @property
    def _first(self) -> np.ndarray:
        first: np.ndarray = getattr(self, self._operator.first)
        return first

    @property
    def _second(self) -> np.ndarray | None:
        return getattr(self, self._operator.second) if self._operator.second else None

    @property
    def _operands(self) -> numbers.Operands:
        """First array, second array and bias, as `Call.apply` takes them."""
        return self._first, self._second, self.bias

    @property
    def _is_double(self) -> bool:
        return formats.part(self._first.dtype) == np.float64

    # What must come out.

    @cached_property
    def _dtype(self) -> np.dtype:
        """Dtype of the output."""
        if self._operator.is_quantized:
            return self._expected.dtype
        return formats.result_dtype(self._first.dtype) if self.out_dtype is None else np.dtype(self.out_dtype)

    @cached_property
    def _expected(self) -> np.ndarray:
        """What must come out: the exact value rounded once, and saturated if that is asked for."""
        return self._result(self._rounded) if self._fused is None else self._fused.expected

    @property
    def _saturates(self) -> bool:
        """Whether floats that are too large become the largest number."""
        return self.overflow == "saturate" and self._dtype not in formats.INTEGERS

    @cached_property
    def _rounded(self) -> np.ndarray:
        """The exact value rounded once; computed from the float64 sum where the error of that sum can't matter."""
        if not self._operator.is_quantized and self._dtype not in formats.INTEGERS:
            rounded = self._certainly_rounded()
            if rounded is not None:
                return rounded
        return self._computed("exact", None if self._operator.is_quantized else self._dtype)

    def _computed(self, precision: str, dtype: np.dtype | None) -> np.ndarray:
        """The oracle's result in a dtype."""
        others = {name: getattr(self, name) for name in given.OF_SCALES if name in given.TAKEN[self.op]}
        arguments = self._own_arguments()
        return compute(self.op, arguments, self.padding_mode, precision, dtype, self.overflow, **others)

    def _result(self, rounded: np.ndarray, value: np.ndarray | None = None) -> np.ndarray:
        """Rounded sums as they must come out, where `overflow` says what becomes of floats that are too large."""
        if not self._saturates:
            return rounded
        return numbers.saturated(rounded, self._value if value is None else value)

    def _certainly_rounded(self) -> np.ndarray | None:
        """The float64 sums rounded, if the exact sums are certainly rounded to the same; else None."""
        if self.adds_exactly:
            return formats.rounded(self._value, self._dtype)
        if self._is_double:
            return None
        with np.errstate(all="ignore"):
            value, part = formats.parts(self._value), formats.part(self._dtype)
            error = np.where(np.isfinite(value), self.sums.value_error, 0)
            rounded, low, high = (formats.rounded(sums, part) for sums in (value, value - error, value + error))
        # Sums of narrow numbers do not overflow in float64: an infinity must come from an operand.
        certain = ((low == high) | np.isnan(value)).all() and not (np.isinf(value) & (self.sums.special == 0)).any()
        return rounded.view(self._dtype).reshape(self._value.shape) if certain else None

    @cached_property
    def adds_exactly(self) -> bool:
        """Whether the operands are integers so small that float64 rounds no sum of their products, in any order."""
        x, w, bias = (0.0 if operand is None else numbers.largest_integer(operand) for operand in self._operands)
        products = self.call.products * (2 if self._dtype in formats.COMPLEX else 1)
        return products * x * (w if self._second is not None else 1) + bias < 1 / formats.unit_roundoff("float64")

    @cached_property
    def _value(self) -> np.ndarray:
        """The exact values in float64 (complex128), up to `sums.value_error`, the error of the oracle's own sums."""
        if self._dtype in formats.INTEGERS:
            return self._expected
        if self._is_double and not self.adds_exactly:
            return self._rounded if formats.part(self._dtype).itemsize >= WIDEST else self._computed("exact", None)
        return self.call.apply(*numbers.mapped(numbers.widened, self._operands))

    @cached_property
    def _special(self) -> np.ndarray:
        """NaN and infinity where they must come out, whatever the finite numbers are; elsewhere any number."""
        wide = numbers.mapped(numbers.widened, self._operands)
        if all(operand is None or np.isfinite(operand).all() for operand in wide):
            return np.zeros(())
        return self.call.apply(*numbers.mapped(numbers.signs, wide))

    # What outputs are judged by.

    @cached_property
    def _standards(self) -> dict[ErrorModel | None, Standard]:
        return {}

    def _model(self, model: Model | None) -> ErrorModel | None:
        """The model to judge by: that claimed, or one inferred from the dtype; None for integers, which are exact."""
        claimed = model_of(model, self)
        return None if self._dtype in formats.INTEGERS else claimed or ErrorModel.inferred(self._first.dtype)

    def _limits(self, model: ErrorModel | None) -> np.ndarray:
        """The bounds as `ErrorModel.bound` has them: 0 where only the exact value rounded once will do."""
        if model is None:
            return np.zeros(self._expected.shape)
        bounds = model.bound(self.sums, formats.part(self._dtype), saturates=self._saturates)
        return bounds.view(np.complex128) if self._dtype in formats.COMPLEX else bounds

    def _make_standard(
        self,
        model: ErrorModel | None,
        expected: np.ndarray,
        exact: np.ndarray,
        bound: np.ndarray,
        sums: Sums | None = None,
    ) -> Standard:
        if model is None:
            ones = np.ones(exact.shape)  # integers: nothing is too small to be seen
            return Standard(
                expected=expected, exact=exact, bound=bound, unit=np.zeros(exact.shape), mean=ones, typical=ones.copy
            )
        terms = max(1, self.sums.terms)
        if truncates(model):
            leaning = lean(model, sums or self.sums, formats.part(self._dtype))
            sides = one_sided(formats.parts(exact), formats.parts(bound), leaning)
            exact, bound = (side.view(whole.dtype) for side, whole in zip(sides, (exact, bound), strict=True))
        if self._saturates:
            exact, bound = numbers.clipped(exact, bound, formats.largest(self._dtype))

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

    def _skipping_sums(self) -> Sums:
        """The sums of an implementation that skips padded taps."""
        value, special = padded_taps.outputs(self.call, *self._operands)
        return replace(self.sums, value=value, special=special)

    def _skipping(self, standard: Standard, model: ErrorModel) -> Standard:
        """The standard for an implementation that skips padded taps."""
        sums = self._skipping_sums()
        bound = model.bound(sums, formats.part(standard.expected.dtype), saturates=self._saturates)
        value, bound = sums.value.view(standard.exact.dtype), bound.view(standard.bound.dtype)
        expected = self._result(formats.rounded(value, standard.expected.dtype), value)
        return self._make_standard(model, expected, value, bound, sums)
