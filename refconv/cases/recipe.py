"""Recipes: how a generated case is made, in a few numbers; its tensors come from a seed.

Knows geometries, fills and cases; not who draws the numbers.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from refconv.cases import fills, geometry_text
from refconv.cases.operands import operands_of
from refconv.core import formats, layouts
from refconv.core.checks import Padding, choice, integer, integer_sides, per_axis
from refconv.core.errors import GeometryError
from refconv.core.geometry import Geometry
from refconv.core.layouts import Layouts
from refconv.core.operators import BIAS, axes_of, is_transposed, kind_of, like
from refconv.judge.case import Case
from refconv.judge.case_code import claim_code
from refconv.judge.given import CLAIMED, check_fused, said_rounded
from refconv.ops.epilogue import operand_names, steps_of, takes_epilogue, text_of
from refconv.ops.family import OPERATORS, Call
from refconv.ops.quantized import EIGHT_BITS, INT16, limits_of
from refconv.ops.requantization import TWICE, Rule, rule_name

LAYOUTS = layouts.LAYOUTS[2]  # for other numbers of axes, they stand for channels first and channels last

# Arrangements in memory that begin so many bytes behind what any vector asks for.
OFFSETS = {f"offset_{size}": size for size in (4, 8, 16, 32, 64)}
# How an array may lie in memory, the simplest first.
ARRANGEMENTS = (
    "contiguous", *reversed(OFFSETS), "offset", "channel_chunk", "channels_last", "channels_last_chunk",
    "channels_last_pitch", "transposed", "broadcast", "negative", "unaligned", "row_pitch", "w_slice", "interleaved",
)  # fmt: skip

OUTPUT = "output"  # the name of what a result is written to

# The arrays of each operator that have spatial axes, in the order of the call.
_SPATIAL = ("input", "weight", "grad_output")
ARRAYS = {op: tuple(name for name in operator.operands if name in _SPATIAL) for op, operator in OPERATORS.items()}
BIASED = tuple(op for op, operator in OPERATORS.items() if operator.has_bias)
MODAL = tuple(op for op, operator in OPERATORS.items() if operator.has_padding_mode)
QUANTIZED = tuple(op for op, operator in OPERATORS.items() if operator.is_quantized)

# Kinds of zero points and scales, the simplest first. `MIXED` after a kind: the weight has the other 8-bit dtype.
QUANTIZATIONS = ("plain", "input", "weight", "both", "per_channel", "extreme")
MIXED = "/mixed"

WIDE_BIAS = 5 * 2**29  # past int32, and its products with a multiplier of 31 bits are numbers of int64

_OTHER = {"int8": "uint8", "uint8": "int8"}


def dtypes_of(op: str) -> tuple[str, ...]:
    """The dtypes of input that an operator takes.

    >>> dtypes_of("conv2d_quantized")
    ('int8', 'uint8', 'int16')
    """
    if op not in QUANTIZED:
        return tuple(map(str, formats.SUPPORTED))
    return tuple(map(str, (*EIGHT_BITS, *[INT16] * (op == "conv2d_quantized"))))


@dataclass(frozen=True, repr=False)
class Recipe:
    """A case before its tensors exist: small, comparable, and the same case every time. Its `repr` is code.

    Parameters
    ----------
    geometry
        Shapes and options, of the forward convolution.
    padding
        The padding as the call has it, `"same"` for instance; the geometry has it in numbers.
    batched
        Whether the arrays have a batch axis; without one the batch is 1.
    bias
        Whether there is a bias.
    dtype, fill, seed
        As `refconv.cases.fills.operands` takes them.
    op
        The operator.
    output_padding
        Of a transposed convolution, whose result is of the geometry's size; by default 0 along each axis.
    layout : str
        In which the arrays are handed over; those of the case are always in torch's order, which is the default.
        "NCHW", "NHWC", or those of input, weight and output, which the candidate is made for: "NHWC,HWIO,NHWC"
        (`refconv.core.layouts`); with other numbers of axes likewise.
    memory
        Pairs of an array's name and its arrangement in memory; arrays without a pair are contiguous. An array to be
        broadcast has the same values all along its first axis. `OUTPUT` names the array that a result is written to.
    quantisation
        Which zero points and scales there are: one of `QUANTIZATIONS`, perhaps with `MIXED` after it.
    out_dtype, overflow, requantize, weight_bits, rounded
        As `Case` takes them; empty, or 0, for its defaults.
    epilogue : str
        As text; its operands come from the seed, too.

    Examples
    --------
    >>> from refconv.core.geometry import convolution
    >>> geometry = convolution((1, 2, 5, 5), (3, 2, 2, 2), None, 1, "same", 1, 1, "zeros")
    >>> print(Recipe(geometry, "same").case())
    conv2d(input=float32[1, 2, 5, 5], weight=float32[3, 2, 2, 2], bias=None, stride=(1, 1), padding='same', ...
    >>> Recipe(geometry, "same", seed=3)
    refconv.Recipe.parse('1,2,5,5:3,2,2,2:padding=same', seed=3)
    """

    geometry: Geometry
    padding: Padding
    batched: bool = True
    bias: bool = False
    dtype: str = "float32"
    fill: str = "integers"
    seed: int = 0
    op: str = "conv2d"
    output_padding: tuple[int, ...] = ()
    layout: str = ""
    memory: tuple[tuple[str, str], ...] = ()
    quantisation: str = ""
    out_dtype: str = ""
    overflow: str = ""
    requantize: Rule = ""
    weight_bits: int = 0
    epilogue: str = ""
    rounded: str = ""

    def __post_init__(self) -> None:
        """Fill in what is usual for the operator's number of axes."""
        axes = len(self.geometry.size)
        object.__setattr__(self, "output_padding", self.output_padding or (0,) * axes)
        object.__setattr__(self, "layout", self.layout or layouts.IMAGES[axes])

    def case(self) -> Case:
        """The case. Its `repr` is the recipe's, called."""
        results: dict[str, Any] = {name: value for name in CLAIMED if (value := getattr(self, name))}
        if self.epilogue:
            shape = Call(self.op, self.geometry, self.output_padding).shape[not self.batched :]
            of_results = self._results(), self.out_dtype or self.dtype
            results["operands"] = operands_of(self.epilogue, shape, *of_results, self.fill, self.seed)
        return Case(op=self.op, **self._arrays(), **self._options(), **results).made_by(self)

    @classmethod
    def parse(cls, text: str, *, op: str = "conv2d", **others: Any) -> "Recipe":
        """The recipe of a geometry in text, with numbers from a seed.

        Parameters
        ----------
        text : str
            The shapes of input and weight, of a gradient those of the convolution that it belongs to, and the options
            that are not usual: `"1,64,56,56:128,64,3,3:stride=2,padding=1x0"`.
        op, **others
            As `Recipe` has them.

        Raises
        ------
        GeometryError, TypeError
            For a text of another form, and for shapes and options of no convolution.

        Examples
        --------
        >>> case = Recipe.parse("1,2,5,5:3,2,2,2", dtype="float16", fill="normal", seed=7).case()
        >>> case.unwritten.shape
        (1, 3, 4, 4)
        """
        choice("op", op, tuple(OPERATORS))
        geometry, padding, output_padding = geometry_text.parsed(text, op)
        recipe = cls(geometry, padding, op=op, output_padding=output_padding, **others)
        choice("dtype", recipe.dtype, dtypes_of(op))
        choice("fill", recipe.fill, fills.known(recipe.dtype))
        Layouts.parse(recipe.layout, axes_of(op))
        for name in ("bias", "batched"):
            if not isinstance(getattr(recipe, name), bool):
                raise TypeError(f"{name}={getattr(recipe, name)!r}: must be True or False")
        if recipe.bias and op not in BIASED:
            raise GeometryError(f"bias=True: {op} has none")
        integer("seed", recipe.seed, 0, 2**63 - 1)
        return recipe._with_checked_epilogue()

    def _with_checked_epilogue(self) -> "Recipe":
        """The recipe with its epilogue as text, or an error that names what it can't be."""
        epilogue, rounded = text_of(self.epilogue), said_rounded(self.rounded or None)
        if epilogue and not takes_epilogue(self.op):
            raise GeometryError(f"epilogue={epilogue!r}: {self.op} does not take it")
        check_fused(epilogue, rounded, np.dtype(self.out_dtype or self.dtype), self.overflow or "raise")
        return replace(self, epilogue=epilogue, rounded=rounded.removeprefix("after"))

    @classmethod
    def like(cls, case: Case) -> "Recipe":
        """A recipe of the same call with other numbers, of the kind that the case seems to have.

        >>> Recipe.like(Case(input=np.ones((1, 2, 5, 5)), weight=np.ones((3, 2, 2, 2)), padding=(1, 0)))
        refconv.Recipe.parse('1,2,5,5:3,2,2,2:padding=1x0', dtype='float64')
        """
        arrays = case.arrays
        dtype = next(iter(arrays.values())).dtype
        fill = "integers" if dtype in formats.INTEGERS or case.adds_exactly else "normal"
        if not all(array.dtype in formats.INTEGERS or np.isfinite(formats.parts(array)).all()
                   for array in arrays.values()):  # fmt: skip
            fill = "special"
        batched = all(array.ndim == case.axes + 2 for name, array in arrays.items() if name in ("input", "grad_output"))
        extra, geometry = per_axis("output_padding", case.output_padding, 0, case.axes), case.geometry
        if is_transposed(case.op):  # of a gradient's padding, what meets nothing is left out
            geometry = replace(geometry, padding=integer_sides(case.padding, case.axes))
        given = (geometry, case.padding, batched, case.bias is not None, str(dtype), fill, 0, case.op)
        quantisation = "plain" if case.op in QUANTIZED else ""
        return cls(*given, extra, quantisation=quantisation, **case.results)

    def __repr__(self) -> str:
        """Code that makes the recipe again."""
        x = self._transposed_shape() if is_transposed(self.op) else input_shape(self.geometry)
        usual = {"layout": layouts.IMAGES[len(self.geometry.size)]}
        options = [repr(geometry_text.written(
            x, weight_shape(self.geometry), self.geometry, self.padding, self.output_padding, self.op
        ))]  # fmt: skip
        options += [
            f"{field.name}={claim_code(value)}"
            for field in fields(self)
            if field.name not in ("geometry", "padding", "output_padding")
            and (value := getattr(self, field.name)) != usual.get(field.name, field.default)
        ]
        return f"refconv.Recipe.parse({', '.join(options)})"

    def reseeded(self, seed: int) -> "Recipe":
        """The same call with other numbers."""
        return replace(self, seed=seed)

    def code(self) -> list[str]:
        """Lines of Python that make the arrays, each under its name in the call."""
        if self.op != "conv2d" or self.epilogue:
            names = "".join(f"{name}, " for name in operand_names(steps_of(self.epilogue)))
            return [
                f"case = {self!r}.case()",
                *(f"{name} = case.arrays[{name!r}]" for name in (*ARRAYS[self.op], *["bias"] * self.bias)),
                *([f"{names}= case.operands"] if names else []),
            ]
        g = self.geometry
        options = f"bias={self.bias}, dtype={self.dtype!r}, seed={self.seed}"
        lines = [
            "from refconv.cases.fills import operands",
            "input, weight, bias = operands(",
            f"    {self.fill!r}, {input_shape(g)}, {weight_shape(g)}, {options}",
            ")",
            *([] if self.batched else ["input = input[0]"]),
        ]
        return lines + [f"{name}[:] = {name}[:1]" for name, arrangement in self.memory if arrangement == "broadcast"]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(replace(self, requantize=rule_name(self.requantize)))

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Recipe":
        """The recipe of such a dictionary, lists in place of tuples or not.

        >>> from refconv.core.geometry import convolution
        >>> recipe = Recipe(convolution((1, 1, 2, 2), (1, 1, 1, 2), None, 1, 0, 1, 1, "zeros"), (0, 0))
        >>> Recipe.from_dict(recipe.as_dict()) == recipe
        True
        """
        plain = {name: _tuples(value) for name, value in fields.items() if name != "geometry"}
        geometry = {name: _tuples(value) for name, value in fields["geometry"].items()}
        return cls(geometry=Geometry(**geometry), **plain)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each array with spatial axes, with a batch; in the order of the call."""
        g = self.geometry
        output = (g.batch, g.out_channels, *g.output_size)
        shapes = {"input": input_shape(g), "weight": weight_shape(g), "grad_output": output}
        if is_transposed(self.op):
            shapes |= {"input": self._transposed_shape(), "grad_output": input_shape(g)}
        return {name: shapes[name] for name in ARRAYS[self.op]}

    def _transposed_shape(self) -> tuple[int, ...]:
        """The shape of a transposed convolution's input."""
        g = self.geometry
        # Output padding that reaches the stride is a longer output of the forward convolution, not of the call.
        axes = zip(g.output_size, self.output_padding, g.stride, strict=True)
        return (g.batch, g.out_channels, *(size - extra // step for size, extra, step in axes))

    def terms(self) -> int:
        """How many numbers a sum has at most, with the bias."""
        return Call("conv2d" if self.op in QUANTIZED else self.op, self.geometry).products + self.bias

    def _arrays(self) -> dict[str, Any]:
        """All arrays of the call, zero points and scales too."""
        shapes, g = self.shapes(), self.geometry
        # The second array is the one whose axes a sum goes over, but for `kept`: see `fills.tensors`.
        operator = OPERATORS[self.op]
        names = (operator.first, operator.second) if operator.second else ("", *shapes)
        array_shapes = [shapes.get(name, (1,) * (operator.axes + 2)) for name in names]
        if self.bias and self.op not in QUANTIZED:
            names, array_shapes = (*names, "bias"), [*array_shapes, (self._results(),)]
        other = _OTHER[self.dtype] if self.quantisation.endswith(MIXED) else self.dtype
        dtypes = (self.dtype, "int8" if self.op in QUANTIZED and self.dtype == str(INT16) else other)
        kept = int(like(self.op) != "output")
        tensors = fills.tensors(self.fill, array_shapes, dtypes, terms=self.terms(), seed=self.seed, kept=kept)
        arrays = {name: array for name, array in zip(names, tensors, strict=True) if name}
        if not self.batched:
            arrays |= {name: arrays[name][0] for name in ("input", "grad_output") if name in arrays}
        if self.weight_bits == 4:
            arrays["weight"] >>= 4
        if self.op in QUANTIZED:
            arrays |= self._quantization(dtypes, g.out_channels)
        for name, arrangement in self.memory:
            if arrangement == "broadcast":
                arrays[name][:] = arrays[name][:1]
        return arrays

    def _results(self) -> int:  # channels, each of which has a bias
        return self.geometry.in_channels if is_transposed(self.op) else self.geometry.out_channels

    def _options(self) -> dict[str, Any]:
        """All arguments of the call that are no arrays."""
        g = self.geometry
        if kind_of(self.op) == BIAS:
            return {}
        options: dict[str, Any] = {
            "stride": g.stride, "padding": self.padding, "dilation": g.dilation, "groups": g.groups,
            **({"padding_mode": g.padding_mode} if self.op in MODAL else {}),
        }  # fmt: skip
        x = input_shape(g)
        if is_transposed(self.op):
            options["output_padding"], x = self.output_padding, self._transposed_shape()
        if "input_size" in OPERATORS[self.op].parameters:
            options["input_size"] = x[not self.batched :]
        if "weight_size" in OPERATORS[self.op].parameters:
            options["weight_size"] = weight_shape(g)
        return options

    def _quantization(self, dtypes: tuple[str, str], channels: int) -> dict[str, Any]:
        """Zero points and scales (and the bias of a quantized convolution), from the seed."""
        kind, wide = self.quantisation.removesuffix(MIXED), self.dtype == str(INT16)
        random = np.random.default_rng([self.seed, 1])
        many = kind == "per_channel"
        points: dict[str, Any] = {}
        for name, dtype in zip(("input", "weight"), dtypes, strict=True):
            count = channels if many and name == "weight" else 1
            moved = kind in (name, "both", "per_channel", "extreme") and not wide
            bits = self.weight_bits if name == "weight" else 0
            drawn = _zero_points(random, kind, dtype, count, bits) if moved else 0
            points[f"{name}_zero_point"] = _of(drawn, dtype, many and name == "weight")
        if self.op == "conv2d_integer":
            return points
        # Plain scales are powers of two, so that ties occur; the result spreads over most of its 256 values.
        scales = np.exp2(
            random.integers(-6, 0, 2 + channels) if kind == "plain" else random.uniform(-6, 0, 2 + channels)
        )
        step = 8 if self.weight_bits == 4 else 128
        spread = scales[0] * scales[1] * 2.0 ** round(math.log2(max(self.terms(), 1)) / 2) * step
        drawn = 0 if kind == "plain" or wide else _zero_points(random, kind, self.dtype, 1)
        points["output_zero_point"] = _of(drawn, self.dtype)
        bias = random.integers(-(2**14), 2**14, channels, dtype=np.int64 if wide else np.int32)
        edge = random.random() < 1 / 2
        if kind == "plain" and edge:  # together 1 - 2**-34, of which 31 bits are 2**31; in float32 a power of two
            scales *= [1 - 2.0**-17, *[1 + 2.0**-17] * (len(scales) - 1)]
        elif kind == "extreme" and edge:  # perhaps more than a step for each
            spread /= 2**10
        elif wide and edge and self.requantize not in TWICE:
            bias = random.integers(-WIDE_BIAS, WIDE_BIAS, channels)
            spread = scales[0] * scales[1] * 2.0**16
        return points | {
            "input_scale": np.float32(scales[0]),
            "weight_scale": _of(scales[2:] if many else scales[1], "float32", many),
            "output_scale": np.float32(spread),
            "bias": bias if self.bias else None,
        }


def input_shape(geometry: Geometry) -> tuple[int, ...]:
    """(N, C_in, H, W)."""
    return (geometry.batch, geometry.in_channels, *geometry.size)


def weight_shape(geometry: Geometry) -> tuple[int, ...]:
    """(C_out, C_in // groups, R, S)."""
    return (geometry.out_channels, geometry.in_channels // geometry.groups, *geometry.kernel)


def _zero_points(random: np.random.Generator, kind: str, dtype: str, count: int, bits: int = 0) -> np.ndarray:
    """Zero points: any but 0; of kind "extreme" the dtype's smallest and largest."""
    low, high = limits_of(np.dtype(dtype), bits)
    if kind == "extreme":
        return random.choice([low, high], count)
    points = random.integers(low, high, count)  # without `high`, which 0 stands for
    return np.where(points == 0, high, points)


def _of(value: Any, dtype: str, several: bool = False) -> Any:
    """One number of a dtype, or several."""
    numbers = np.asarray(value).astype(dtype)
    return numbers if several else numbers.reshape(-1)[0]


def _tuples(value: Any) -> Any:
    """Lists as tuples, all the way down."""
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
