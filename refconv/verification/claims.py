"""Claims: what a candidate could say of itself for the calls that it refuses to be left out.

Knows recipes and what may be said of them; not why the candidate refuses.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from refconv.cases.numbers import Multiples
from refconv.cases.recipe import ARRANGEMENTS, Recipe
from refconv.cases.said import DEPTHWISE, SQUARE, said_value
from refconv.cases.supports import Supports, channels_of, unsized

FLAGS = ("bias", "empty_batch", "unbatched", "string_padding", "asymmetric_padding", "special", "subnormal", "wide")
NUMBERS: dict[str, Callable[[Recipe], Iterable[int]]] = {
    "groups": lambda recipe: (recipe.geometry.groups,),
    "stride": lambda recipe: recipe.geometry.stride,
    "dilation": lambda recipe: recipe.geometry.dilation,
    "kernel": lambda recipe: recipe.geometry.kernel,
    "batch": lambda recipe: (recipe.geometry.batch,),
}
NAMES: dict[str, Callable[[Recipe], str]] = {
    "padding_mode": lambda recipe: recipe.geometry.padding_mode,
    "layout": lambda recipe: recipe.layout,
}
# Of these a claim may say that they are multiples of a number, the smallest one that leaves out what was refused.
SIZES: dict[str, Callable[[Recipe], int]] = {
    "channels": lambda recipe: channels_of(recipe.op, recipe.geometry)[0],
    "filters": lambda recipe: channels_of(recipe.op, recipe.geometry)[1],
    "height": lambda recipe: recipe.geometry.size[-2],
    "width": lambda recipe: recipe.geometry.size[-1],
}
MULTIPLES = (2, 3, 4, 8, 16, 32, 64)
MOST_LISTED = {"groups": 3, "kernel": 3}  # numbers that a claim may list; of others one: several would be a chance


def leaving_out(refused: Sequence[Recipe], taken: Sequence[Recipe], supports: Supports) -> str:
    """The shortest claim, as JSON, that all calls which were taken meet, and none that was refused; empty if none is.

    What is said already stands in it too: one option takes the place of another.

    >>> from refconv.core.geometry import convolution
    >>> def strided(stride):
    ...     return Recipe(convolution((1, 2, 8, 8), (2, 2, 3, 3), None, stride, 0, 1, 1, "zeros"), 0)
    >>> leaving_out([strided(2), strided((1, 3))], [strided(1)], Supports())
    '{"stride": 1}'
    """
    left, chosen = set(refused), {}
    possible: list[tuple[str, Any, set[Recipe]]] = []
    no_sizes = tuple(SIZES) if supports.shapes is not None or not taken else unsized(taken[0].op)
    for name, value in _claims(taken, no_sizes):
        narrower = replace(supports, **{name: value})
        if taken and all(map(narrower.allows, taken)):
            possible.append((name, value, {recipe for recipe in refused if not narrower.allows(recipe)}))
    while left and any(without & left for *_, without in possible):
        name, value, without = max(possible, key=lambda claim: len(claim[-1] & left))
        left -= without
        chosen[name] = said_value(name, value)
    said = {} if supports.shapes is not None or not taken else supports.said(len(taken[0].geometry.size))
    return json.dumps(said | chosen) if chosen and not left else ""


def _claims(taken: Sequence[Recipe], no_sizes: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """What may be said, as `Supports` has it; what is usual first."""
    for name, numbers_of in NUMBERS.items():
        numbers = {number for recipe in taken for number in numbers_of(recipe)}
        if len(numbers) <= MOST_LISTED.get(name, 1):
            yield name, tuple(sorted(numbers))
    yield "groups", DEPTHWISE
    yield from ((name, False) for name in FLAGS)
    yield "views", ARRANGEMENTS[:1]
    yield from (("square", (name,)) for name in SQUARE)
    for name, size_of in SIZES.items():
        if name in no_sizes or (name == "height" and len(taken[0].geometry.size) == 1):
            continue
        sizes = list(map(size_of, taken))
        yield from ((name, Multiples(of)) for of in MULTIPLES if not any(size % of for size in sizes))
    yield from ((name, tuple(dict.fromkeys(map(name_of, taken)))) for name, name_of in NAMES.items())
