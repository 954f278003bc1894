"""A case: one call of an operator with its arrays, what must come out, and the judgement on what did.

Knows the reference, comparisons and their statistics; not how cases are made, and none of the libraries that are
judged.
"""

from collections.abc import Callable
from dataclasses import InitVar, dataclass, replace
from functools import partial
from itertools import starmap
from typing import Any, ClassVar

import numpy as np

from refconv.arrays.interop import to_numpy
from refconv.core import formats, layouts
from refconv.core.checks import choice, integer
from refconv.core.errors import GeometryError
from refconv.core.layouts import Layouts, result_name
from refconv.core.operators import CONV, kind_of
from refconv.core.receptive_field import receptive_field
from refconv.judge import numbers, padded_taps, sampling, tolerances
from refconv.judge.bounds import ErrorModel, Model
from refconv.judge.bounds.rounding import OUTWARDS
from refconv.judge.case_code import ARRAYS
from refconv.judge.comparison import Comparison, compare, mismatch, misshapen
from refconv.judge.epilogue.of_reference import alternatives
from refconv.judge.reference import Reference
from refconv.judge.standard import either, errors
from refconv.judge.suspicion import with_statistics
from refconv.ops.epilogue import operand_names, steps_of
from refconv.ops.family import OPERATORS

SIZES = ("input_size", "weight_size")  # arguments that are shapes of arrays


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Case(Reference):
    """One call of an operator with its arrays. Immutable: the arrays are read-only copies.

    Parameters
    ----------
    op : str
        The operator: "conv2d", "conv_transpose2d", "conv2d_input", "conv2d_weight", "conv2d_bias",
        "conv_transpose2d_input", "conv_transpose2d_weight", the same with one or three axes ("conv1d", "conv3d", ...),
        "conv2d_integer" or "conv2d_quantized".
    input, weight, bias, stride, padding, dilation, groups, ...
        As the operator takes them; arrays of any kind, held as NumPy arrays. What it does not take must not be given.
    out_dtype, overflow : str
        As `refconv.conv2d` takes them; of results in float16, bfloat16 or float8, `overflow="saturate"` puts the
        largest number in place of what is larger, infinity included.
    requantize, weight_bits : as `refconv.conv2d_quantized` takes them
    epilogue : sequence or str
        What is done with the sums, in this order: "scale" (times a number of each output channel, plus another one),
        "residual" (plus an array of the output's shape), "relu", "relu6", ("clip", low, high), ("leaky_relu", slope),
        "hardswish", "silu", "gelu", "gelu_tanh", "sigmoid", "tanh", or a `refconv.Epilogue`; or a text of these,
        "residual,clip(0,6)", as the attribute is. Of convolutions of real floats that go forward.
    operands : tuple of arrays
        Those of the epilogue: of a scale two vectors, scale and shift, of a residual one array. In the dtype of the
        result, or float32 for narrower ones; a residual is laid out as the output. They come last among the arguments.
    rounded : {"after", "before"}
        Whether results are rounded once, behind the epilogue, or the sums first, then the epilogue's steps.
    layout, weight_layout : str
        In which input, output and their sizes, and the weight, are given, and outputs are judged: the letters of "NCHW"
        and "OIHW" in any order, or "HWCM" for a depthwise weight (`groups` must be given); with one axis "NCL", "OIL",
        with three "NCDHW", "OIDHW". Attributes, and copies by `dataclasses.replace`, are in torch's order,
        `arguments()` as they were given.

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

    # What diagnoses a wrong output stands above the judge, so the package's face says which function does: it is called
    # with the case, the output, the comparison and the model when a diagnosis is read.
    diagnoser: ClassVar[Callable[..., Any] | None] = None
    layout: InitVar[str | None] = None
    weight_layout: InitVar[str | None] = None

    def __post_init__(self, layout: str | None, weight_layout: str | None) -> None:
        """Keep what is given in torch's layout: a copy of the case, or of a part of it, is in that layout."""
        choice("op", self.op, tuple(OPERATORS))
        usual = Layouts.usual(self.axes)
        images = usual.input if layout is None else layouts.checked("layout", layout, usual.input)
        weights = usual.weight if weight_layout is None else weight_layout
        given = Layouts(images, layouts.checked("weight_layout", weights, usual.weight), images)
        if given != usual:
            self._restore(given)
        super().__post_init__()

    @property
    def layouts(self) -> Layouts:
        """Those that the case is given in."""
        return self._given_layouts or Layouts.usual(self.axes)

    def _restore(self, given: Layouts) -> None:
        """Bring what is given in other layouts into torch's."""
        for name in ARRAYS:
            if getattr(self, name) is not None:
                self._keep(name, given.restored(name, to_numpy(name, getattr(self, name))))
        names = operand_names(steps_of(self.epilogue))
        if isinstance(self.operands, tuple | list) and len(self.operands) == len(names):
            pairs = zip(names, self.operands, strict=True)
            self._keep("operands", tuple(given.restored(name, to_numpy(name, array)) for name, array in pairs))
        for name in SIZES:
            if getattr(self, name) is not None:
                self._keep(name, given.restored_size(name, tuple(map(int, getattr(self, name)))))
        self._keep("_given_layouts", given)

    def given_in(self, layout: str) -> "Case":
        """The same case, as if it had been given in layouts that a recipe names: "NHWC", or "NHWC,HWIO,NHWC"."""
        given = Layouts.parse(layout, self.axes)
        if given == self.layouts:
            return self
        case = replace(self)
        object.__setattr__(case, "_given_layouts", given)
        return case if self.recipe is None else case.made_by(self.recipe)

    def _usual(self, output: np.ndarray) -> np.ndarray:
        """An output in torch's layout."""
        return self.layouts.restored(result_name(self.op), output)

    def _stored(self, output: np.ndarray) -> np.ndarray:
        """An array like the output in the layout of the case."""
        return self.layouts.stored(result_name(self.op), output, self.geometry.groups)

    def arguments(self) -> tuple[Any, ...]:
        """The positional arguments of a candidate, in the case's layout; else as `Reference.arguments`."""
        arguments = zip(self.parameters, super().arguments(), strict=True)
        return tuple(starmap(self._given, arguments))

    def _given(self, name: str, value: Any) -> Any:
        """An argument in the case's layout."""
        if name in SIZES:
            return self.layouts.size(name, value, self.geometry.groups)
        return self.layouts.stored(name, value, self.geometry.groups) if isinstance(value, np.ndarray) else value

    def expected(self, precision: str = "exact") -> np.ndarray:
        """The oracle's output, rounded, in the case's layout; `precision` as `refconv.conv2d` has it."""
        return self._stored(super().expected(precision))

    def is_expected(self, actual: np.ndarray) -> bool:
        """Whether an output is the oracle's own to the last bit: then `check` finds it "identical".

        No bounds are computed, so this is several times as fast as `check`.

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
        return super().is_expected(self._usual(actual))

    def __str__(self) -> str:
        usual = Layouts.usual(self.axes).input
        shown = f" (in {self.layouts.input} and {self.layouts.weight}; indices are in {usual})"
        return super().__str__() + shown * (not self.layouts.are_usual)

    def __repr__(self) -> str:
        if self.layouts.are_usual:
            return super().__repr__()
        usual = super().__repr__() if self.recipe is not None else repr(replace(self))
        return f"<{self}>" if usual.startswith("<") else f"{usual}.given_in({str(self.layouts)!r})"

    def check(
        self,
        actual: Any,
        model: Model | None = None,
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
        model : ErrorModel, str or callable, optional
            What the implementation says of how it computes; as in `bound`.
        strict : bool
            Whether taps that lie in a padding of zeros must be multiplied by these: 0 times infinity is NaN. By default
            an implementation may skip them.
        allow_suspicious : bool
            Whether "suspicious" is good enough.
        sample : int, optional
            Judge so many outputs of a conv2d one by one, chosen at random, and all others by checksums only: for
            outputs so large that the oracle would take too long. See `judge/sampling.py`.
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
            return self._judged(
                actual, self._model(model), sample, seed, strict=strict, allow_suspicious=allow_suspicious
            )

    def bound(self, model: Model | None = None) -> np.ndarray:
        """Largest admissible error of each element against the exact, unrounded value.

        Parameters
        ----------
        model : ErrorModel, str or callable, optional
            What the implementation says of how it computes: a model, the text of one, several with "|" between them
            (the first that can be, of such a call), or a function of the case that returns any of these. By default
            that it sums directly, in any order, in float32 (or float64 for float64 and complex128), and rounds once.

        Returns
        -------
        ndarray of float64
            Infinite where anything goes; 0 where NaN or infinity must come out, and for integers. For complex numbers
            two bounds as one complex number, of the real part and of the imaginary part: each is a sum of two real
            products for each complex one. Where no sum is rounded, as with small integers, the bound is the distance
            between the exact value and that value rounded: there `check` asks for the rounded value itself.

        Raises
        ------
        GeometryError
            If the model's algorithm can't compute such a call: Winograd's with a stride, for instance.

        Examples
        --------
        >>> case = Case(input=np.full((1, 1, 1, 1), 0.1, "float16"), weight=np.ones((1, 1, 1, 1), "float16"))
        >>> bool(case.bound() < case.bound(ErrorModel.direct("float16")))
        True
        """
        if self._fused is not None and (claimed := self._model(model)) is not None:
            return self._stored(self._fused.bound(self.standard(claimed)))
        bounds, value = self._limits(self._model(model)), self._value
        if self._dtype in formats.INTEGERS:
            return self._stored(bounds)
        if self._saturates:
            value, bounds = numbers.clipped(value, bounds, formats.largest(self._dtype))
        limits, value = formats.parts(bounds), formats.parts(value)
        # Where float64 adds integers exactly, the oracle's own sum has no error.
        certain = self.sums.integral & (self.sums.absolute < 1 / formats.unit_roundoff("float64"))
        with np.errstate(all="ignore"):
            once = np.abs(formats.parts(self._expected).astype(np.float64) - value)
            once = OUTWARDS * (once + np.where(certain, 0, self.sums.value_error))
        limits = np.where((limits == 0) & np.isfinite(once), once, limits)
        return self._stored(limits.view(bounds.dtype))

    def tolerances(self, model: Model | None = None) -> tolerances.Tolerances:
        """The rtol and atol to write into an assert_close for this call: tight, and safe.

        The pair with the smallest mean of ``atol + rtol * |expected|`` among those that accept every output that the
        model admits, compared with the rounded expected one; both rounded up to two digits.

        Parameters
        ----------
        model : ErrorModel, str or callable, optional
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

    def _judged(
        self,
        actual: Any,
        model: ErrorModel | None,
        sample: int | None,
        seed: int,
        *,
        strict: bool,
        allow_suspicious: bool,
    ) -> Comparison:
        """Judge chosen elements if `sample` asks for fewer than there are, else all."""
        try:
            # A copy, for an array that is written to meanwhile would be judged in parts.
            output = np.array(self._usual(to_numpy("actual", actual)), order="C")
        except TypeError as error:
            return mismatch(np.empty(0), self.unwritten, str(error), self.__str__)
        if sample is not None and kind_of(self.op) != CONV:
            raise GeometryError(f"sample={sample}: must not be given for {self.op}")
        if sample is not None and self.overflow != "raise":  # checksums add the outputs
            raise GeometryError(f"sample={sample}: must not be given with overflow={self.overflow!r}")
        if sample is not None and self.epilogue:
            raise GeometryError(f"sample={sample}: must not be given with epilogue={self.epilogue!r}")
        if sample is not None and integer("sample", sample, 1) < self.unwritten.size:
            comparison = sampling.check(self, output, model, sample, seed, strict=strict)
        else:
            comparison = self._compare(output, model, strict=strict)
        comparison = replace(comparison, allow_suspicious=allow_suspicious)
        if comparison.ok or self.diagnoser is None:
            return comparison
        usual = self if self.layouts.are_usual else replace(self)
        return replace(comparison, diagnose=partial(self.diagnoser, usual, output, comparison, model, strict=strict))

    def _compare(self, actual: np.ndarray, model: ErrorModel | None, *, strict: bool) -> Comparison:
        """Judge all elements one by one, then all together."""
        standard = self.standard(model)
        if unlike := misshapen(actual, standard.expected, self.__str__):
            return unlike
        skips = model is not None and not strict and padded_taps.matters(self.call, self._second)
        if model is not None and self._fused is not None:
            further = [self._skipping_sums()] if skips else []
            for other in alternatives(self._fused, further, self.sums, model, strict=strict):
                standard = either(actual, standard, other)
        elif model is not None and skips:
            standard = either(actual, standard, self._skipping(standard, model))
        comparison = compare(actual, standard, self.__str__)
        worst = comparison.worst
        if worst is None:
            return comparison
        if kind_of(self.op) == CONV:
            comparison = comparison.with_later(receptive_field=lambda: receptive_field(self.geometry, worst))
        if model is None:
            return comparison
        difference = errors(actual, standard)
        if self._fused is not None:
            unchanged = self._fused.unchanged(model, self.sums) & np.isfinite(difference)
            difference = np.where(unchanged, actual.astype(np.float64) - self.sums.value, np.nan)
        return with_statistics(comparison, self, difference, self.sums, model)


def assert_close(actual: Any, case: Case, model: Model | None = None, **options: Any) -> None:
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
