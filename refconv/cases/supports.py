"""What a candidate is said to take, as `refconv.verify` is told: checked by name and value, then applied to recipes.

Knows geometries' options and recipes; not how cases are made, nor who is judged.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from refconv.cases import fills
from refconv.cases.numbers import Multiples, Numbers, both
from refconv.cases.recipe import ARRANGEMENTS, MODAL, Recipe
from refconv.cases.said import DEPTHWISE, FIXED_LAYOUTS, IN_NUMBERS, from_layouts, parsed, parsed_padding, said_value
from refconv.core.checks import choice
from refconv.core.errors import GeometryError
from refconv.core.geometry import Geometry
from refconv.core.layouts import LAYOUTS, Layouts
from refconv.core.operators import BIAS, is_transposed, kind_of
from refconv.judge.given import CLAIMED
from refconv.ops.requantization import Rule

SIZES = ("channels", "filters", "depth", "height", "width")
SPATIAL_SIZES, LETTERS = SIZES[2:], "dhw"  # of the spatial axes; an operator has the last ones
OPERAND = "operand"  # for the dtype of results: that of the operands
UNUSUAL = ("special", "subnormal", "wide")  # fills of numbers that a candidate may be said not to take
# What callers say elsewhere, or in other words.
NOT_CLAIMED = ("out", "largest", "shapes", "padding_names", "numeric_padding", *CLAIMED)


@dataclass(frozen=True)
class Supports:
    """What may be generated. By default what torch.nn.functional.conv2d takes with its padding in numbers.

    Parameters
    ----------
    groups : {"depthwise"} or tuple of int, optional
        Only these, or one input channel in each group; any if not given.
    batch, channels, filters, depth, height, width : tuple of int or Multiples, optional
        Only these; any if not given. Channels are those of the input, filters the output's, the last three the sizes of
        the input: depth with three axes only, width alone with one. Of a gradient they are those of the convolution
        that it belongs to. Bias gradients have no claims of sizes, transposed convolutions none but of channels.
    stride, dilation, kernel, padding : tuple of int or Multiples, optional
        Only these, for all axes; any if not given.
    stride_d, stride_h, stride_w, dilation_d, ..., kernel_d, ..., padding_d, ... : tuple of int or Multiples, optional
        The same for one axis.
    output_padding : tuple of int, optional
        Of a transposed convolution, along all axes, each below the stride; any if not given.
    square : tuple of {"kernel", "stride", "padding", "dilation"}
        What is the same for all axes. Callers may also say True, for all of them.
    padding_names : tuple of {"same", "valid", "same_upper", "same_lower"}
        Texts that the padding may be. Callers say `padding="valid"`, or several, `"numbers"` for others.
    numeric_padding : bool
        Whether padding may be in numbers. Callers say so in `padding`.
    special, subnormal, wide : bool
        Whether there may be NaN, infinities and -0, subnormal numbers, and numbers of the whole range of exponents.
    padding_mode, layout : tuple of str
        Only these. "NCHW" and "NHWC" stand for channels first and last with other numbers of axes, too; callers say
        "NCL" and "NLC", "NCDHW" and "NDHWC".
    input_layout, weight_layout, output_layout : str
        The layouts that the candidate is made for: the letters of "NCHW" and "OIHW" in any order, or "HWCM", which goes
        with depthwise groups alone. Empty if `layout` says which there are.
    string_padding, asymmetric_padding, unbatched : bool
        Whether padding "same" and "valid", padding unequal on the sides of an axis, and input without a batch axis may
        be generated.
    empty_batch, bias : bool
        Whether a batch of no images and a bias may be generated.
    views : tuple of str
        The arrangements in memory that arrays may have.
    out : bool
        Whether the result is written to an array of the caller's, which may be a view too. Callers cannot set it: the
        candidate's style decides.
    large : bool
        Whether large sizes may be generated: what is cheap, such as a batch of 65537, and layers of true width.
    largest : int, optional
        The most products of a case. Callers cannot set it: `refconv.verify` has an option for it.
    shapes : tuple of Recipe, optional
        The only shapes, with their options. Callers cannot set them here: `refconv.verify` takes them as cases.
    out_dtype, overflow, requantize, weight_bits, epilogue, rounded
        Of every call, as `Recipe` has them. Callers cannot set them here: `refconv.verify` has options for them.
    errors, deterministic, batch_invariant, threads : bool
        What the candidate also claims: that wrong arguments raise, that the same call gives the same bits, that an
        image, or a group, gives the same bits alone and with others, and that two threads may call it at the same time.

    Examples
    --------
    >>> Supports.parse({"groups": 2, "padding_mode": "zeros", "unbatched": True}).groups
    (2,)
    """

    groups: str | tuple[int, ...] | None = None
    batch: Numbers | None = None
    channels: Numbers | None = None
    filters: Numbers | None = None
    depth: Numbers | None = None
    height: Numbers | None = None
    width: Numbers | None = None
    stride: Numbers | None = None
    stride_d: Numbers | None = None
    stride_h: Numbers | None = None
    stride_w: Numbers | None = None
    dilation: Numbers | None = None
    dilation_d: Numbers | None = None
    dilation_h: Numbers | None = None
    dilation_w: Numbers | None = None
    kernel: Numbers | None = None
    kernel_d: Numbers | None = None
    kernel_h: Numbers | None = None
    kernel_w: Numbers | None = None
    padding: Numbers | None = None
    padding_d: Numbers | None = None
    padding_h: Numbers | None = None
    padding_w: Numbers | None = None
    square: tuple[str, ...] = ()
    output_padding: tuple[int, ...] | None = None
    padding_names: tuple[str, ...] = ()
    numeric_padding: bool = True
    padding_mode: tuple[str, ...] = ("zeros",)
    layout: tuple[str, ...] = ("NCHW",)
    input_layout: str = ""
    weight_layout: str = ""
    output_layout: str = ""
    string_padding: bool = False
    asymmetric_padding: bool = False
    unbatched: bool = False
    empty_batch: bool = True
    bias: bool = True
    special: bool = True
    subnormal: bool = True
    wide: bool = True
    views: tuple[str, ...] = ARRANGEMENTS
    out: bool = False
    large: bool = True
    largest: int | None = None
    shapes: tuple[Recipe, ...] | None = None
    out_dtype: str = ""
    overflow: str = ""
    requantize: Rule = ""
    weight_bits: int = 0
    epilogue: str = ""
    rounded: str = ""
    errors: bool = False
    deterministic: bool = False
    batch_invariant: bool = False
    threads: bool = False

    @classmethod
    def parse(cls, supports: Mapping[str, Any] | None, axes: int = 2) -> "Supports":
        """From what the caller says: numbers and names alone or several of them, `"views"` also True or False.

        `axes` is the number of the operator's spatial axes.

        Raises
        ------
        GeometryError, TypeError
            Naming the key, its value and what it must be.

        Examples
        --------
        >>> Supports.parse({"stride": 0})
        Traceback (most recent call last):
        refconv.GeometryError: supports['stride']=0: must be at least 1 and at most 2147483647
        """
        if supports is None:
            return cls()
        if not isinstance(supports, Mapping):
            raise TypeError(f"supports={supports!r}: must be a mapping of names to values")
        missing = LETTERS[:-axes]
        names = tuple(
            field.name
            for field in fields(cls)
            if field.name not in (*NOT_CLAIMED, *SPATIAL_SIZES[: len(missing)])
            and field.name.rpartition("_")[2] not in tuple(missing)
        )
        given = {choice("supports", name, names): value for name, value in supports.items()}
        claims = {name: parsed(name, value, axes) for name, value in given.items() if name != "padding"}
        if "padding" in given:
            claims |= parsed_padding(given["padding"])
        if "batch" in claims and not claims.get("empty_batch", True):
            claims["batch"] = both(claims["batch"], Multiples(1, 1))
            if not claims["batch"]:
                raise GeometryError(f"supports['batch']={supports['batch']!r}: must not be 0 alone without empty_batch")
        claims |= from_layouts(given, claims)
        claimed = cls(**claims)
        for name in ("stride", "dilation", "kernel", "padding"):
            if () in tuple(claimed.along(name, letter) for letter in LETTERS):
                raise GeometryError(f"supports[{name!r}]={given.get(name)!r}: must have a number that its axes have")
        return claimed

    def along(self, name: str, letter: str) -> Numbers | None:
        """What may be of stride, dilation, kernel or padding along an axis, "d", "h" or "w"; None for any number.

        >>> Supports(stride=(1, 2), stride_w=(2, 3)).along("stride", "w")
        (2,)
        """
        return both(getattr(self, name), getattr(self, f"{name}_{letter}"))

    @property
    def layouts(self) -> str:
        """All layouts that the candidate is made for, as a recipe has them; empty if it is made for none.

        >>> Supports(input_layout="NHWC", weight_layout="HWIO").layouts
        'NHWC,HWIO,NCHW'
        """
        said = [getattr(self, name) for name in FIXED_LAYOUTS]
        if not any(said):
            return ""
        axes = len(next(filter(None, said))) - 2
        return ",".join(layout or usual for layout, usual in zip(said, Layouts.usual(axes), strict=True))

    def of_every_call(self, recipe: Any) -> Any:
        """A recipe, or what has its fields, as the candidate is called with it: in its layouts, with its results."""
        return replace(recipe, **self.of_calls) if self.of_calls else recipe

    def of_dtype(self, dtype: str) -> "Supports":
        """What is supported of operands of a dtype: `OPERAND` stands for theirs as that of the results.

        >>> Supports(out_dtype=OPERAND).of_dtype("int8").out_dtype
        'int8'
        """
        return replace(self, out_dtype=dtype) if self.out_dtype == OPERAND else self

    @property
    def of_calls(self) -> dict[str, Any]:
        """What all calls have in common, as fields of a recipe."""
        common = {"layout": self.layouts, **{name: getattr(self, name) for name in CLAIMED}}
        return {name: value for name, value in common.items() if value}

    def fills(self, dtype: str) -> tuple[str, ...]:
        """What arrays of a dtype may be filled with, of what there is for it.

        >>> "special" in Supports(special=False).fills("float32")
        False
        """
        return tuple(filter(self.has, fills.known(dtype)))

    def said(self, axes: int = 2) -> dict[str, Any]:
        """What differs from the default, as a caller says it of an operator with so many spatial axes.

        >>> Supports.parse({"stride": 1, "padding": ["valid", 0], "filters": {"multiple_of": 8}}).said()
        {'filters': {'multiple_of': 8}, 'stride': 1, 'padding': [0, 'valid']}
        """
        said = {
            field.name: said_value(field.name, value)
            for field in fields(self)
            if field.name not in NOT_CLAIMED and (value := getattr(self, field.name)) != field.default
        }
        if "layout" in said:
            names = [LAYOUTS[axes][LAYOUTS[2].index(layout)] for layout in self.layout]
            said["layout"] = names if len(names) > 1 else names[0]
        if self.padding_names or not self.numeric_padding:
            numbers = self.padding if isinstance(self.padding, tuple) else ()
            in_words = [IN_NUMBERS] if self.numeric_padding and self.padding is None else []
            said["padding"] = [*numbers, *in_words, *self.padding_names]
        return said

    def _names(self, padding: str) -> bool:
        """Whether padding may be this text."""
        return padding in self.padding_names or (self.string_padding and padding in ("same", "valid"))

    def _has_layout(self, layout: str) -> bool:
        """Whether arrays may come so: with channels first or last, whatever the number of axes."""
        names = LAYOUTS.get(len(layout) - 2, ())
        return layout in names and LAYOUTS[2][names.index(layout)] in self.layout

    def has(self, fill: str) -> bool:
        """Whether arrays may hold such numbers."""
        return fill not in UNUSUAL or getattr(self, fill)

    def within(self, limits: Mapping[str, int | tuple[int, ...]], why: str) -> "Supports":
        """What is supported of what an error model can bound, say.

        Raises
        ------
        GeometryError
            If that is nothing.

        Examples
        --------
        >>> Supports(stride=(1, 2)).within({"stride": 1, "kernel": 3}, "model='winograd:4,3'").kernel
        (3,)
        """
        changes: dict[str, Any] = {}
        for name, limit in limits.items():
            numbers = limit if isinstance(limit, tuple) else (limit,)
            for allowed in (getattr(self, name), *(self.along(name, letter) for letter in LETTERS)):
                if allowed is not None and not any(number in allowed for number in numbers):
                    required = " or ".join(map(str, numbers))
                    raise GeometryError(f"supports[{name!r}]={allowed}: must be {required} or more numbers, for {why}")
            claimed = getattr(self, name)
            changes[name] = tuple(number for number in numbers if claimed is None or number in claimed)
        return replace(self, **changes)

    def allows(self, recipe: Any) -> bool:
        """Whether the call of a recipe, or of what has its attributes, is one that is said to be taken.

        >>> recipe = Recipe.parse("1,2,5,5:2,1,3,3")
        >>> Supports().allows(recipe), Supports(groups=(1,)).allows(recipe)
        (True, False)
        """
        g, op = recipe.geometry, getattr(recipe, "op", "conv2d")  # a layer over real images has no op
        letters, bias = LETTERS[-len(g.size) :], kind_of(op) == BIAS
        of_axes = (("stride", g.stride), ("dilation", g.dilation), ("kernel", g.kernel))
        pairs = dict(of_axes, padding=g.padding)
        numbers: list[tuple[Numbers | None, int]] = [
            (None if isinstance(self.groups, str) else self.groups, g.groups),
            *zip((self.channels, self.filters), channels_of(op, g), strict=True),
            *zip((self.depth, self.height, self.width)[-len(g.size) :], g.size, strict=True),
            *((self.along(name, letter), n) for name, used in of_axes for letter, n in zip(letters, used, strict=True)),
        ]  # fmt: skip
        if not isinstance(recipe.padding, str):
            by_axis = zip(letters, g.padding, strict=True)
            numbers += [(self.along("padding", letter), side) for letter, sides in by_axis for side in sides]
        unequal = any(before != after for before, after in g.padding)
        named = isinstance(recipe.padding, str)
        return (
            (bias or all(allowed is None or number in allowed for allowed, number in numbers))
            and (self.batch is None or g.batch in self.batch)
            and (self.groups != DEPTHWISE or g.groups == g.in_channels)
            and (op not in MODAL or g.padding_mode in self.padding_mode)
            and (recipe.layout == self.layouts if self.layouts else self._has_layout(recipe.layout))
            and (self.numeric_padding if not named else self._names(recipe.padding))
            and self.has(recipe.fill)
            and (self.asymmetric_padding or named or not unequal)
            and (self.unbatched or recipe.batched)
            and all(len(set(pairs[name])) == 1 for name in self.square if name != "padding" or not named)
            and (not is_transposed(op) or self.output_padding in (None, recipe.output_padding))
            and (self.largest is None or g.products <= self.largest)
            and (self.empty_batch or g.batch > 0)
            and (self.bias or not recipe.bias)
            and all(arrangement in self.views for _, arrangement in recipe.memory)
            and (self.shapes is None or any(same_call(recipe, shape) for shape in self.shapes))
        )

    def of_shapes(self, shapes: tuple[Recipe, ...]) -> "Supports":
        """What is supported of these shapes alone; what they have of padding and axes is taken to be supported.

        Raises
        ------
        GeometryError
            If another claim leaves out one of them.
        """
        wider = replace(
            self,
            padding_names=tuple(
                dict.fromkeys(
                    (*self.padding_names, *(shape.padding for shape in shapes if isinstance(shape.padding, str)))
                )
            ),
            numeric_padding=True,
            asymmetric_padding=True,
            unbatched=self.unbatched or not all(shape.batched for shape in shapes),
            padding_mode=tuple(dict.fromkeys((*self.padding_mode, *(shape.geometry.padding_mode for shape in shapes)))),
        )
        for shape in shapes:
            first = LAYOUTS[len(shape.geometry.size)][LAYOUTS[2].index(self.layout[0])]
            if not wider.allows(replace(shape, layout=self.layouts or first)):
                raise GeometryError(f"cases: {shape} must be one that the candidate and its model are said to take")
        return replace(wider, shapes=shapes)


def unsized(op: str) -> tuple[str, ...]:
    """The claims of sizes that say nothing of an operator: its shapes are named as cases.

    >>> unsized("conv_transpose2d"), unsized("conv1d")
    (('depth', 'height', 'width'), ())
    """
    return SIZES if kind_of(op) == BIAS else SPATIAL_SIZES if is_transposed(op) else ()


def channels_of(op: str, g: Geometry) -> tuple[int, int]:
    """Input and output channels of an operator, of a gradient those of the convolution that it belongs to."""
    return (g.out_channels, g.in_channels) if is_transposed(op) else (g.in_channels, g.out_channels)


def same_call(recipe: Any, shape: Recipe) -> bool:
    """Whether two recipes have the same shapes and options, whatever their numbers are."""
    named = isinstance(recipe.padding, str) or isinstance(shape.padding, str)  # else the geometry has it
    names = ("geometry", "batched", "output_padding", *["padding"] * named)
    return all(getattr(recipe, name) == getattr(shape, name) for name in names)
