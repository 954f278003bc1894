"""Cases of one's own: shapes that a candidate is made for, with many numbers and memory orders; arrays as given.

Knows recipes, values and what is supported; not who names the shapes.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from refconv.cases import networks
from refconv.cases.fitting import fitted
from refconv.cases.recipe import QUANTIZED, Recipe
from refconv.cases.space import DRAWN, weighted
from refconv.cases.supports import Supports
from refconv.cases.values import recipe_of, values_of
from refconv.core.errors import GeometryError
from refconv.core.operators import axes_of
from refconv.judge.case import Case
from refconv.judge.given import CLAIMED

EACH = 24  # cases of each shape, if no other number is asked for: each fill comes, contiguous and not
BYTES = 16  # of an element of a call's arrays, and of what it is judged by
ORDINARY = ("integers", "normal", "positions")  # every second case has such numbers, of which each term is seen


@dataclass(frozen=True, eq=False)
class GivenCase:
    """A case of its author's, as campaigns have recipes; `call` is a recipe of the same call, or that which made it."""

    given: Case
    call: Recipe
    is_given: bool = True  # else it has other numbers

    def case(self) -> Case:
        """The case; with another seed, the same call with other numbers, or with these in another order."""
        if self.is_given:
            return self.given
        if self.made:
            return self.call.case()
        rng = np.random.default_rng(self.call.seed)
        shuffled: dict[str, Any] = {
            name: rng.permutation(array.reshape(-1)).reshape(array.shape) for name, array in self.given.arrays.items()
        }
        return replace(self.given, **shuffled)

    def called_as(self, supports: Supports) -> "GivenCase":
        """The case as the candidate is called with it."""
        told = {name: value for name in CLAIMED if (value := getattr(supports, name))}
        given = replace(self.given, **told) if told or not self.given.layouts.are_usual else self.given
        return GivenCase(given, supports.of_every_call(self.call), self.is_given)

    @property
    def made(self) -> bool:
        """Whether a recipe made the case."""
        return isinstance(self.given.recipe, Recipe)

    def reseeded(self, seed: int) -> "GivenCase":
        """The same call with other numbers."""
        return GivenCase(self.given, self.call.reseeded(seed), is_given=False)

    def code(self) -> list[str]:
        """Lines of Python that make the arrays: those of a case that can't be written out are its author's."""
        text = repr(self.given)
        made = "...  # the case that was given" if text.startswith("<") else text
        return [f"given = {made}", *(f"{name} = given.{name}" for name in ("input", "weight", "bias"))]

    def __repr__(self) -> str:
        return repr(self.given)

    def __getattr__(self, name: str) -> Any:
        """What a recipe has, the recipe of the call has."""
        if name.startswith("_"):  # while a copy is made there is no call yet
            raise AttributeError(name)
        return getattr(self.call, name)


Own: TypeAlias = Recipe | GivenCase


def listed(cases: Iterable[Case | Recipe | str], op: str) -> tuple[Own, ...]:
    """The shapes and cases that a caller names.

    Raises
    ------
    GeometryError, TypeError
        For what is none, or of another operator.

    Examples
    --------
    >>> [shape.geometry.size for shape in listed(["1,4,8,8:4,4,3,3:padding=1", "1,4,9,9:4,4,3,3"], "conv2d")]
    [(8, 8), (9, 9)]
    """
    return tuple(_listed(case, op) for case in cases)


def _listed(case: Case | Recipe | str, op: str) -> Own:
    if isinstance(case, str):
        return Recipe.parse(case, op=op, dtype="uint8" if op in QUANTIZED else "float32")
    if not isinstance(case, Case | Recipe):
        raise TypeError(f"cases: {case!r} must be a Case, a Recipe or a text")
    if case.op != op:
        raise GeometryError(f"cases: {case} is of {case.op}: must be of {op}")
    whole = case.case() if isinstance(case, Recipe) else case
    return GivenCase(whole, whole.recipe if isinstance(whole.recipe, Recipe) else Recipe.like(whole))


def shapes_within(own: Sequence[Own], memory: int) -> tuple[Recipe, ...]:
    """The different shapes, if their arrays fit into memory.

    Raises
    ------
    GeometryError
        If some need more bytes.
    """
    shapes = shapes_of(own)
    for shape in shapes:
        elements = sum(map(math.prod, shape.shapes().values())) + math.prod(shape.geometry.output_shape)
        if elements * BYTES > memory:
            raise GeometryError(
                f"cases: {shape} needs {elements * BYTES:,} bytes: must be at most {memory:,}, what is free"
            )
    return shapes


def of_networks(names: Iterable[str], op: str) -> list[Recipe]:
    """The layers of networks as shapes of an operator: of a gradient, those of the convolution that it belongs to."""
    layers = [layer for name in dict.fromkeys(names) for layer in networks.layers(name)]
    count = "one axis" if axes_of(op) == 1 else f"{axes_of(op)} axes"
    for layer in layers:
        if len(layer.stride) != axes_of(op):
            raise GeometryError(f"network={layer.network!r}: must have layers of {count}, for {op}")
    return [recipe_of(op, values_of(layer.recipe())) for layer in layers]


def numbers(own: Sequence[Own], cases: int | None, sets: int | None) -> tuple[int | None, int]:
    """How many cases there are to be, all together (None if that is left open), and of each generated geometry.

    >>> numbers((), 300, None), numbers(listed(["1,1,8,8:1,1,3,3"], "conv2d"), None, None)
    ((300, 1), (24, 1))
    """
    if not own:
        return cases, sets or 1
    shapes = len(shapes_of(own))
    each = sets or (-(-cases // shapes) if cases else EACH)
    return each * shapes, 1


def shapes_of(own: Sequence[Own]) -> tuple[Recipe, ...]:
    """The different shapes, each as the plainest recipe of it."""
    calls = (entry.call if isinstance(entry, GivenCase) else entry for entry in own)
    plain = (
        replace(
            recipe,
            bias=False,
            dtype="float32",
            fill="integers",
            seed=0,
            layout="",
            memory=(),
            quantisation="",
            out_dtype="",
            overflow="",
            requantize="",
            weight_bits=0,
            epilogue="",
            rounded="",
        )
        for recipe in (recipe_of(recipe.op, values_of(recipe)) for recipe in calls)
    )
    return tuple(dict.fromkeys(plain))


def drawn(op: str, dtype: str, supports: Supports, number: int, seed: int) -> Iterator[Recipe]:
    """So many recipes of the shapes that are supported, in turn; the first of each is plain.

    >>> supports = Supports(shapes=shapes_of(listed(["1,4,8,8:4,4,3,3", "2,4,9,9:4,4,3,3"], "conv2d")))
    >>> [recipe.geometry.size for recipe in drawn("conv2d", "float32", supports, 3, 0)]
    [(8, 8), (9, 9), (8, 8)]
    """
    shapes, known = supports.shapes or (), supports.fills(dtype)
    usual = [fill for fill in ORDINARY if fill in known]
    views = weighted(supports.views)
    for count in range(number):
        turn, index = divmod(count, len(shapes))
        rng = np.random.default_rng([seed, *op.encode(), turn, index])
        fill = known[turn // 2 % len(known)] if turn % 2 else usual[turn // 2 % len(usual)]
        v = values_of(shapes[index])._replace(dtype=dtype, fill=fill, seed=int(rng.integers(2**32)))
        if turn:
            memory: dict[str, Any] = {name: str(rng.choice(views)) for name in ("first", "second", "third", "output")}
            v = v._replace(
                bias=bool(rng.integers(2)), layout=str(rng.choice(supports.layout)),
                quantisation=str(rng.choice(DRAWN["quantisation"])), **memory,
            )  # fmt: skip
        yield fitted(op, v, supports)
