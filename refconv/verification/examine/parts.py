"""Parts: an image, or a group, of a call by itself, and its part of the result.

Knows cases and recipes; not what is asked of a part.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from refconv.cases.recipe import Recipe
from refconv.cases.values import recipe_of, values_of
from refconv.core.operators import like
from refconv.judge.case import Case
from refconv.judge.case_code import QUANTIZATION
from refconv.verification.candidate.call import IMAGES


def has_images(recipe: Recipe, case: Case) -> bool:
    """Whether there are several images, each with a part of the result."""
    return recipe.batched and case.geometry.batch > 1 and like(case.op) in ("output", "input")


def has_groups(recipe: Recipe, case: Case) -> bool:
    """Whether there are several groups; not if a function has a rule for each channel of all of them."""
    return recipe.batched and case.groups > 1 and like(case.op) != "bias" and not callable(case.requantize)


def images_of(recipe: Recipe, case: Case, result: np.ndarray) -> Iterator[tuple[str, Case, np.ndarray]]:
    """The first and the last image: what it is, its call alone, and its part of the result."""
    images = case.geometry.batch
    if not has_images(recipe, case):
        return
    for n in _ends(images):
        yield f"image {n} of {images} alone", *image(case, result, n)


def groups_of(recipe: Recipe, case: Case, result: np.ndarray) -> Iterator[tuple[str, Case, np.ndarray]]:
    """The first and the last group, likewise."""
    groups = case.groups
    if not has_groups(recipe, case):
        return
    for number in _ends(groups):
        yield f"group {number} of {groups} alone", *group(case, result, number)


def image(case: Case, result: np.ndarray, number: int) -> tuple[Case, np.ndarray]:
    """The call of one image by itself, and its part of the result."""
    only = slice(number, number + 1)
    arrays = {name: getattr(case, name)[only] for name in case.arrays if name in IMAGES}
    operands = [array[only] if array.ndim > 1 else array for array in case.operands]
    return replace(case, **arrays, operands=tuple(operands), **_one_image(case)), result[only]


def group(case: Case, result: np.ndarray, number: int) -> tuple[Case, np.ndarray]:
    """The call of one group by itself, and its part of the result."""
    axis = 0 if like(case.op) == "weight" else 1
    return _group(case, number), _of_group(result, axis, number, case.groups)


def one_image(recipe: Recipe) -> Recipe:
    """The recipe of a call of the same shapes with one image, contiguous, as a part is."""
    return replace(recipe, memory=(), geometry=replace(recipe.geometry, batch=1))


def one_group(recipe: Recipe) -> Recipe:
    """The recipe of a call of the same shapes with one group, contiguous, as a part is."""
    return recipe_of(recipe.op, values_of(replace(recipe, memory=()))._replace(groups=1))


def _one_image(case: Case) -> dict[str, Any]:
    return {} if case.input_size is None else {"input_size": (1, *case.input_size[1:])}


def _ends(count: int) -> list[int]:
    """Numbers of the images, or groups, to be called alone: the first and the last."""
    return sorted({count - 1, 0})


def _of_group(array: np.ndarray, axis: int, number: int, groups: int) -> np.ndarray:
    """A group's part of an array, along the axis of the channels."""
    size = array.shape[axis] // groups
    return array[(slice(None),) * axis + (slice(number * size, (number + 1) * size),)]


def _group(case: Case, number: int) -> Case:
    """The call of one group by itself."""
    groups = case.groups
    changed: dict[str, Any] = {
        name: _of_group(array, int(name in IMAGES), number, groups) for name, array in case.arrays.items()
    }
    operands = [_of_group(array, int(array.ndim > 1), number, groups) for array in case.operands]
    changed["operands"] = tuple(operands)
    if case.input_size is not None:
        changed["input_size"] = (case.input_size[0], case.input_size[1] // groups, *case.input_size[2:])
    if case.weight_size is not None:
        changed["weight_size"] = (case.weight_size[0] // groups, *case.weight_size[1:])
    for name in QUANTIZATION:
        value = getattr(case, name)
        if getattr(value, "ndim", 0):
            changed[name] = _of_group(value, 0, number, groups)
    return replace(case, groups=1, **changed)
