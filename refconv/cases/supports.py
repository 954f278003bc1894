"""What a candidate is said to take, as `refconv.verify` is told: checked by name and value, then applied to recipes.

Knows geometries' options and recipes; not how cases are made, nor who is judged.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from refconv.cases.recipe import ARRANGEMENTS, LAYOUTS, MODAL
from refconv.core.checks import choice, integer
from refconv.core.errors import GeometryError
from refconv.core.padding import MODES

DEPTHWISE = "depthwise"
NOT_CLAIMED = ("out", "largest")  # what is no claim of the candidate's


@dataclass(frozen=True)
class Supports:
    """What may be generated. By default what torch.nn.functional.conv2d takes with its padding in numbers.

    Parameters
    ----------
    groups : {"depthwise"} or tuple of int, optional
        Only these, or one input channel in each group; any if not given.
    batch, stride, dilation, kernel : tuple of int, optional
        Only these (for both axes); any if not given.
    padding_mode, layout : tuple of str
        Only these.
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
    errors, deterministic, batch_invariant, threads : bool
        What the candidate also claims: that wrong arguments raise, that the same call gives the same bits, that an
        image, or a group, gives the same bits alone and with others, and that two threads may call it at the same time.

    Examples
    --------
    >>> Supports.parse({"groups": 2, "padding_mode": "zeros", "unbatched": True}).groups
    (2,)
    """

    groups: str | tuple[int, ...] | None = None
    batch: tuple[int, ...] | None = None
    stride: tuple[int, ...] | None = None
    dilation: tuple[int, ...] | None = None
    kernel: tuple[int, ...] | None = None
    padding_mode: tuple[str, ...] = ("zeros",)
    layout: tuple[str, ...] = ("NCHW",)
    string_padding: bool = False
    asymmetric_padding: bool = False
    unbatched: bool = False
    empty_batch: bool = True
    bias: bool = True
    views: tuple[str, ...] = ARRANGEMENTS
    out: bool = False
    large: bool = True
    largest: int | None = None
    errors: bool = False
    deterministic: bool = False
    batch_invariant: bool = False
    threads: bool = False

    @classmethod
    def parse(cls, supports: Mapping[str, Any] | None) -> "Supports":
        """From what the caller says: numbers and names alone or several of them, `"views"` also True or False.

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
        names = tuple(field.name for field in fields(cls) if field.name not in NOT_CLAIMED)
        parsed = {choice("supports", name, names): _parsed(name, value) for name, value in supports.items()}
        if "batch" in parsed and not parsed.get("empty_batch", True):
            parsed["batch"] = tuple(size for size in parsed["batch"] if size)
            if not parsed["batch"]:
                raise GeometryError(f"supports['batch']={supports['batch']!r}: must not be 0 alone without empty_batch")
        return cls(**parsed)

    def within(self, limits: Mapping[str, int], why: str) -> "Supports":
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
        for name, number in limits.items():
            allowed = getattr(self, name)
            if allowed is not None and number not in allowed:
                raise GeometryError(f"supports[{name!r}]={allowed}: must be {number} or more numbers, for {why}")
        changes: dict[str, Any] = {name: (number,) for name, number in limits.items()}
        return replace(self, **changes)

    def allows(self, recipe: Any) -> bool:
        """Whether the call of a recipe, or of what has its attributes, is one that is said to be taken.

        >>> from refconv.core.geometry import convolution
        >>> from refconv.cases.recipe import Recipe
        >>> recipe = Recipe(convolution((1, 2, 5, 5), (2, 1, 3, 3), None, 1, 0, 1, 2, "zeros"), (0, 0))
        >>> Supports().allows(recipe), Supports(groups=(1,)).allows(recipe)
        (True, False)
        """
        g, op = recipe.geometry, getattr(recipe, "op", "conv2d")  # a layer over real images has no op
        numbers: tuple[tuple[tuple[int, ...] | None, Iterable[int]], ...] = (
            (self.stride, g.stride),
            (self.dilation, g.dilation),
            (self.kernel, g.kernel),
            (None if isinstance(self.groups, str) else self.groups, (g.groups,)),
        )
        unequal = any(before != after for before, after in g.padding)
        named = isinstance(recipe.padding, str)
        return (
            (op == "conv2d_bias" or all(allowed is None or set(used) <= set(allowed) for allowed, used in numbers))
            and (self.batch is None or g.batch in self.batch)
            and (self.groups != DEPTHWISE or g.groups == g.in_channels)
            and (op not in MODAL or g.padding_mode in self.padding_mode)
            and recipe.layout in self.layout
            and (self.string_padding or not named)
            and (self.asymmetric_padding or named or not unequal)
            and (self.unbatched or recipe.batched)
            and (self.largest is None or g.products <= self.largest)
            and (self.empty_batch or g.batch > 0)
            and (self.bias or not recipe.bias)
            and all(arrangement in self.views for _, arrangement in recipe.memory)
        )


_LEAST = {"groups": 1, "batch": 0, "stride": 1, "dilation": 1, "kernel": 1}
_NAMES = {"padding_mode": MODES, "layout": LAYOUTS, "views": ARRANGEMENTS}


def _parsed(name: str, value: Any) -> Any:
    label = f"supports[{name!r}]"
    if name == "groups" and isinstance(value, str):
        return choice(label, value, (DEPTHWISE,))
    if name in _LEAST:
        return tuple(sorted({integer(label, number, _LEAST[name]) for number in _several(label, value)}))
    if name == "views" and isinstance(value, bool):
        return ARRANGEMENTS if value else ARRANGEMENTS[:1]
    if name in _NAMES:
        allowed = _NAMES[name]
        chosen = [choice(label, option, allowed) for option in _several(label, value)]
        if name == "views":
            chosen.append(ARRANGEMENTS[0])  # every candidate takes contiguous arrays
        return tuple(option for option in allowed if option in chosen)
    if not isinstance(value, bool):
        raise TypeError(f"{label}={value!r}: must be True or False")
    return value


def _several(label: str, value: Any) -> list[Any]:
    """One value or several, as a list."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        return [value]
    if isinstance(value, Mapping):
        raise TypeError(f"{label}={value!r}: must be one value or a list of them, not a mapping")
    values = list(value)
    if not values:
        raise ValueError(f"{label}={value!r}: must name one at least")
    return values
