"""Sampled outputs: a smaller call whose outputs are outputs of a large one, each the sum of as many terms.

Of random numbers one image, filter or channel is as good as another: a call with fewer of them gives a sample. Knows
recipes; not what the sample is taken for.
"""

import math
from dataclasses import replace

from refconv.cases.recipe import QUANTIZED, Recipe
from refconv.core.geometry import Geometry
from refconv.core.operators import like
from refconv.ops.family import Call

# Axes that no sum goes over, in the order in which they are thinned: images, then channels of a group, then groups.
_FORWARD, _BACKWARD = ("batch", "outputs", "groups"), ("batch", "inputs", "groups")
FREE = {  # by what the result is like
    "output": _FORWARD,
    "input": _BACKWARD,
    "weight": ("outputs", "inputs", "groups"),
    "bias": ("outputs", "groups"),
}
LOCAL = ("output", "input")  # sums over a kernel


def outputs_of(recipe: Recipe) -> int:
    """How many outputs the call has.

    >>> outputs_of(Recipe.parse("2,4,8,8:6,4,3,3"))
    432
    """
    op = "conv2d" if recipe.op in QUANTIZED else recipe.op
    return math.prod(Call(op, recipe.geometry, recipe.output_padding).shape)


def sampled(recipe: Recipe, outputs: int, *, whole_images: bool = False) -> Recipe:
    """The recipe with fewer images, channels and groups, and smaller images, but at least so many outputs.

    Sums keep all of their terms, and images keep what padding touches: both borders, and some of the middle.

    Parameters
    ----------
    recipe : Recipe
        The call, of random numbers.
    outputs : int
        How many outputs are to be left, at least; all are left if there are fewer.
    whole_images : bool
        Whether images keep their size, for the sake of errors that depend on the whole image.

    Examples
    --------
    >>> recipe = Recipe.parse("8,64,224,224:256,64,3,3:padding=1", fill="normal")
    >>> part = sampled(recipe, 1000)
    >>> part
    refconv.Recipe.parse('1,64,39,39:1,64,3,3:padding=1', fill='normal')
    >>> outputs_of(part), part.terms() == recipe.terms()
    (1521, True)
    """
    g, total = recipe.geometry, outputs_of(recipe)
    if outputs >= total:
        return recipe
    inputs, filters = g.in_channels // g.groups, g.out_channels // g.groups
    numbers = {"batch": g.batch, "groups": g.groups, "inputs": inputs, "outputs": filters}
    for name in FREE[like(recipe.op)]:
        before = numbers[name]
        numbers[name] = max(1, -(-before * outputs // total))
        total = total // before * numbers[name]
    groups = numbers["groups"]
    g = replace(
        g, batch=numbers["batch"], groups=groups, in_channels=groups * numbers["inputs"],
        out_channels=groups * numbers["outputs"],
    )  # fmt: skip
    if like(recipe.op) in LOCAL and not whole_images:
        g = replace(g, size=_smaller(g, min(1.0, outputs / total)))
    return replace(recipe, geometry=g)


def _smaller(geometry: Geometry, share: float) -> tuple[int, ...]:
    """Image sizes that leave at least this share of the outputs, and the borders; in step with the stride."""
    sizes = []
    for axis in geometry.axes:
        middle = axis.size - 2 * (axis.extent + max(axis.padding))
        fewer = int(max(0, middle) * (1 - share ** (1 / len(geometry.size))))
        sizes.append(axis.size - fewer // axis.stride * axis.stride)
    return tuple(sizes)
