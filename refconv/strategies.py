"""Hypothesis strategies: geometries, tensors and cases of all operators, for any property test.

Every draw gives a valid case (nothing is filtered), and a failing one shrinks towards a 1x1 kernel over one pixel. What
is drawn are the parameters and one seed, never tensor elements: a draw costs some 0.1 ms. Knows Hypothesis, and the
factors that are worth trying; none of the libraries that are judged.
"""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypedDict, TypeVar, Unpack

import hypothesis.strategies as st
from hypothesis.strategies import SearchStrategy

from refconv.arrays.interop import Operands
from refconv.cases import space
from refconv.cases.fills import known, names, operands
from refconv.cases.fitting import MAX_MULTIPLICATIONS, fitted
from refconv.cases.recipe import QUANTIZED, Recipe, dtypes_of, input_shape, weight_shape
from refconv.cases.supports import Supports
from refconv.cases.values import AXES, Values, rules
from refconv.core.checks import choice, integer
from refconv.core.errors import GeometryError
from refconv.core.formats import parse
from refconv.core.geometry import Geometry
from refconv.core.operators import axes_of, is_transposed
from refconv.core.padding import MODES
from refconv.judge.case import Case
from refconv.judge.given import CLAIMED, check_fused, claimed_rule, result_name, said_rounded
from refconv.ops.epilogue import takes_epilogue, text_of
from refconv.ops.family import OPERATORS
from refconv.ops.requantization import Rule

_T = TypeVar("_T")


class Limits(TypedDict, total=False):
    """What may be drawn; the parameters of `geometries`."""

    depthwise: bool | None
    padding_modes: Sequence[str]
    string_padding: bool
    asymmetric_padding: bool
    max_multiplications: int


class Claims(Limits, total=False):
    """And what is said of results; the further parameters of `cases`."""

    out_dtype: str
    overflow: str
    requantize: Rule
    weight_bits: int
    epilogue: Any
    rounded: str


class _Limits(NamedTuple):
    """`Limits`, checked and complete."""

    depthwise: bool | None = None
    padding_modes: Sequence[str] = ("zeros",)
    string_padding: bool = False
    asymmetric_padding: bool = False
    max_multiplications: int = MAX_MULTIPLICATIONS
    claims: Supports | None = None

    def checked(self) -> "_Limits":
        """These limits, or an error that names a wrong one."""
        modes = tuple(choice("padding_modes", mode, MODES) for mode in self.padding_modes)
        integer("max_multiplications", self.max_multiplications, 1)
        for name in ("padding_modes", "string_padding", "asymmetric_padding"):
            if self.claims is not None and getattr(self, name) != self._field_defaults[name]:
                raise GeometryError(f"{name}={getattr(self, name)!r}: must not be given beside supports")
        return self._replace(padding_modes=modes)

    @property
    def supports(self) -> Supports:
        """The limits as what a candidate takes; whether the input is a single image is left to the draw."""
        if self.claims is not None:
            return replace(self.claims, unbatched=True)
        return Supports(
            padding_mode=tuple(self.padding_modes),
            string_padding=self.string_padding,
            asymmetric_padding=self.asymmetric_padding,
            unbatched=True,
        )


def geometries(
    *,
    depthwise: bool | None = None,
    padding_modes: Sequence[str] = ("zeros",),
    string_padding: bool = False,
    asymmetric_padding: bool = False,
    max_multiplications: int = MAX_MULTIPLICATIONS,
) -> SearchStrategy[Geometry]:
    """Geometries of convolutions: shapes, stride, padding, dilation, groups.

    Parameters
    ----------
    depthwise : bool, optional
        Only depthwise ones (one input channel per group), none of them, or both.
    padding_modes : sequence of {"zeros", "reflect", "replicate", "circular"}
        The modes to draw from.
    string_padding : bool
        Whether the padding may be "same" or "valid", as text. "Same" is unequal on the two sides of an axis where
        dilation * (kernel - 1) is odd.
    asymmetric_padding : bool
        Whether any other padding may be.
    max_multiplications : int
        Largest number of multiplications of a convolution.

    Returns
    -------
    SearchStrategy of Geometry

    Raises
    ------
    GeometryError, TypeError
        For an unknown padding mode or a limit below 1.

    Examples
    --------
    >>> from hypothesis import find
    >>> geometry = find(geometries(depthwise=True), lambda g: g.stride[0] > g.kernel[0])
    >>> geometry.size, geometry.kernel, geometry.stride
    ((1, 1), (1, 1), (2, 1))
    """
    limits = _Limits(depthwise, padding_modes, string_padding, asymmetric_padding, max_multiplications).checked()
    return st.builds(_recipe, _shapes("conv2d", limits), st.just({}), st.just("conv2d"), st.just(limits)).map(
        operator.attrgetter("geometry")
    )


def arrays(geometry: Geometry, *, dtype: str = "float32", bias: bool | None = None) -> SearchStrategy[Operands]:
    """Input, weight and bias (or None) for a geometry, by all the fills of `refconv.cases.fills.names`.

    Parameters
    ----------
    geometry : Geometry
        The shapes.
    dtype : str
        A float or integer dtype.
    bias : bool, optional
        With one, without, or both.

    Returns
    -------
    SearchStrategy of (ndarray, ndarray, ndarray or None)

    Examples
    --------
    >>> from hypothesis import find
    >>> from refconv.core.geometry import convolution
    >>> geometry = convolution((1, 2, 3, 3), (2, 1, 2, 2), None, 1, 0, 1, 2, "zeros")
    >>> [array.shape for array in find(arrays(geometry, bias=True), lambda operands: True)]
    [(1, 2, 3, 3), (2, 1, 2, 2), (2,)]
    """
    return st.builds(
        lambda fill, with_bias, seed: operands(
            fill, input_shape(geometry), weight_shape(geometry), bias=with_bias, dtype=dtype, seed=seed
        ),
        st.sampled_from(names(dtype)),
        st.booleans() if bias is None else st.just(bias),
        _SEEDS,
    )


def cases(
    op: str = "conv2d",
    *,
    dtypes: Sequence[str] | None = None,
    fills: Sequence[str] | None = None,
    unbatched: bool = False,
    supports: Mapping[str, Any] | None = None,
    **limits: Unpack[Claims],
) -> SearchStrategy[Case]:
    """Calls of an operator, with their arrays; by default as `refconv.verify` makes them.

    Parameters
    ----------
    op : str
        The operator, as `refconv.Case` has it: "conv2d", "conv1d", "conv_transpose3d", "conv2d_input", ...
    dtypes : sequence of str, optional
        The dtypes to draw from; float32 if not given, uint8 and int8 for the last two operators.
    fills : sequence of str, optional
        What the arrays may be filled with (`refconv.cases.fills.operands`); `refconv.cases.fills.names` if not given.
    unbatched : bool
        Whether the input may be a single image (C_in, H, W).
    supports : mapping, optional
        What the kernel takes, see `refconv.Supports`: multiples of channels, layouts, kinds of numbers, ... A case in
        other layouts than torch's has its arguments, and judges outputs, in these.
    out_dtype, overflow, epilogue, rounded
        Of the results, as `Case` takes them; empty for the usual ones. The operands of an epilogue are drawn, too.
    **limits
        `requantize` and `weight_bits` as `Case` takes them; what remains as `geometries` takes it, of the forward
        convolution concerned; what the operator has not is not drawn. Of padding not beside `supports`, which says what
        there is.

    Returns
    -------
    SearchStrategy of Case

    Examples
    --------
    A property test of a kernel of one's own, with the error bound as the judge:

    >>> from hypothesis import given, settings
    >>> import refconv
    >>> @settings(deadline=None, max_examples=10)  # no deadline: the first call compiles
    ... @given(cases(dtypes=["float32", "float64"]))
    ... def test_kernel(case):
    ...     refconv.assert_close(refconv.conv2d(*case.arguments()), case)
    >>> test_kernel()
    """
    drawn = recipes(op, dtypes=dtypes, fills=fills, unbatched=unbatched, supports=supports, **limits)
    return st.builds(_case, drawn)


def recipes(
    op: str = "conv2d",
    *,
    dtypes: Sequence[str] | None = None,
    fills: Sequence[str] | None = None,
    unbatched: bool = False,
    supports: Mapping[str, Any] | None = None,
    **limits: Unpack[Claims],
) -> SearchStrategy[Recipe]:
    """As `cases`, but before the tensors are made."""
    choice("op", op, tuple(OPERATORS))
    shapes: Any = {name: value for name, value in limits.items() if name not in CLAIMED}
    rule, bits = claimed_rule(op, limits.get("requantize", ""), limits.get("weight_bits", 8))
    claims = None if supports is None else Supports.parse(supports, axes_of(op))
    checked = _Limits(**shapes, claims=claims).checked()
    dtype_names = [_dtype(op, dtype) for dtype in dtypes or (("uint8", "int8") if op in QUANTIZED else ("float32",))]
    told = _told(op, dtype_names, {name: limits.get(name) or "" for name in CLAIMED})
    rest = st.fixed_dictionaries(
        {
            # One draw for both: which fills there are depends on the dtype.
            "dtype and fill": st.sampled_from(
                [(dtype, fill) for dtype in dtype_names for fill in _fills(dtype, fills) if checked.supports.has(fill)]
            ),
            "bias": st.booleans(),
            "batched": st.sampled_from((True, True, True, False)) if unbatched else st.just(True),
            "seed": _SEEDS,
            **{name: st.just(value) for name, value in told.items()},
            "requantize": st.just(rule),
            "weight_bits": st.just(bits),
        }
    )
    return st.builds(_recipe, _shapes(op, checked), rest, st.just(op), st.just(checked))


def _told(op: str, dtypes: Sequence[str], told: dict[str, Any]) -> dict[str, str]:
    """What is said of results, as a recipe has it, checked for operands of some dtypes."""
    text, when, overflow = text_of(told["epilogue"]), said_rounded(told["rounded"] or None), told["overflow"] or "raise"
    if text and not takes_epilogue(op):
        raise GeometryError(f"epilogue={text!r}: {op} does not take it")
    for name in dtypes:
        if told["out_dtype"] or told["overflow"]:
            result_name(parse("dtypes", name), told["out_dtype"] or None, overflow)
        check_fused(text, when, parse("dtypes", told["out_dtype"] or name), overflow)
    return told | {"epilogue": text, "rounded": when.removeprefix("after")}


def _dtype(op: str, name: str) -> str:
    return choice("dtypes", name, dtypes_of(op))


def _fills(dtype: str, fills: Sequence[str] | None) -> tuple[str, ...]:
    return names(dtype) if fills is None else tuple(choice("fills", fill, known(dtype)) for fill in fills)


def _case(recipe: Recipe) -> Case:
    """The case of a recipe, in its layout."""
    return recipe.case().given_in(recipe.layout)


_SEEDS = st.integers(0, 2**32 - 1)


def _recipe(shape: Values, rest: dict[str, Any], op: str, limits: _Limits) -> Recipe:
    drawn = {name: value for name, value in rest.items() if name != "dtype and fill"}
    if rest:
        drawn["dtype"], drawn["fill"] = rest["dtype and fill"]
    # A single image has a batch of 1: where another batch was drawn, the batch decides, for it is the rarer.
    drawn["batched"] = drawn.get("batched", True) or shape.batch != 1
    return fitted(op, shape._replace(**drawn), limits.supports, limits.max_multiplications)


def _shapes(op: str, limits: _Limits) -> SearchStrategy[Values]:
    """Numbers drawn independently, so that each shrinks by itself; `_recipe` fits them to each other."""
    paddings = ["symmetric"] * 6 + ["four-sided"] * 4 * limits.asymmetric_padding
    paddings += ["same", "same", "valid"] * limits.string_padding
    modes = limits.padding_modes
    if limits.claims is not None:
        paddings, modes = list(rules(op, limits.claims).paddings), limits.claims.padding_mode
    axes = AXES[-axes_of(op) :]
    left_out = [] if "four-sided" in paddings else [axis.after for axis in axes]
    left_out += [] if is_transposed(op) else [axis.extra for axis in axes]
    left_out += [] if op in QUANTIZED else ["quantisation"]
    names = ("batch", "groups", "inputs", "outputs", *(name for along in zip(*axes, strict=True) for name in along),
             "quantisation")  # fmt: skip
    drawn: dict[str, Sequence[Any]] = {name: space.DRAWN[name] for name in names if name not in left_out}
    drawn["depthwise"] = space.DRAWN["depthwise"] if limits.depthwise is None else (limits.depthwise,)
    drawn["padding"], drawn["mode"] = paddings, modes
    return st.builds(_values, **{name: _one_of(number, values) for number, (name, values) in enumerate(drawn.items())})


def _values(**numbers: Any) -> Values:
    """`Values` of these numbers: of `Values` itself Hypothesis would draw the other fields too, by their types."""
    return Values(**numbers)


def _one_of(number: int, values: Sequence[_T]) -> SearchStrategy[_T]:
    """One of `values`, of which the first is the simplest.

    Numbered, so that no two draws look alike to Hypothesis: where they do (so would two `map` in a row), it spends five
    cases out of six on copying one over another, which is little more than making the axes equal.
    """
    return st.sampled_from([(number, value) for value in values]).map(operator.itemgetter(1))
