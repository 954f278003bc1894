"""Shrinking: from a recipe that fails to the simplest one that still does.

Greedy: the first simpler recipe that fails in the same way is taken, until none does. Hypothesis can shrink only what
it has drawn itself, and it has not drawn the recipes of a plan. So shrinking works on the recipe's own values, and
knows what makes each of them simpler. Knows recipes; not who judges them.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from refconv.cases import fills
from refconv.cases.fitting import MAX_MULTIPLICATIONS, SIMPLEST, fitted, size_of
from refconv.cases.recipe import ARRANGEMENTS, LAYOUTS, MIXED, QUANTIZATIONS, Recipe
from refconv.cases.supports import Supports
from refconv.cases.values import ANYTHING, AXES, OF_OUTPUT, PADDINGS, Values, values_of
from refconv.core.padding import MODES

ATTEMPTS = 600
SECONDS = 10.0
CRASHES, CRASH_SECONDS = 100, 25.0  # the same for a crash or an endless loop: each takes another process
SEEDS = 4  # the seeds below this are tried in place of the simplest recipe's


def shrink(
    recipe: Recipe,
    fails: Callable[[Recipe], bool],
    supports: Supports = ANYTHING,
    *,
    crash: bool = False,
    seconds: float = math.inf,
) -> Recipe:
    """The simplest recipe found that still fails.

    Parameters
    ----------
    recipe
        One that fails.
    fails
        Whether another one fails in the same way.
    supports
        What may be tried.
    crash
        Whether each failure costs a process.
    seconds
        The most time that this may take; never more than `SECONDS`, or `CRASH_SECONDS`.

    Examples
    --------
    >>> from refconv.core.geometry import convolution
    >>> recipe = Recipe(convolution((2, 3, 9, 8), (4, 3, 3, 3), None, 2, 1, 1, 1, "zeros"), (1, 1))
    >>> simplest = shrink(recipe, lambda simpler: simpler.geometry.stride[0] > 1)
    >>> simplest.geometry.stride, simplest.geometry.kernel, simplest.geometry.batch
    ((2, 1), (1, 1), 1)
    """
    attempts, most = (CRASHES, CRASH_SECONDS) if crash else (ATTEMPTS, SECONDS)
    end = time.monotonic() + min(most, seconds)
    passed: set[Recipe] = set()
    progress = True
    while progress:
        progress = False
        for simpler in smaller(recipe, supports):
            if simpler in passed:
                continue
            if attempts <= 0 or time.monotonic() > end:
                return recipe
            attempts -= 1
            if fails(simpler):
                recipe, progress = simpler, True
                break
            passed.add(simpler)
    return _plain_seed(recipe, fails)


def _plain_seed(recipe: Recipe, fails: Callable[[Recipe], bool]) -> Recipe:
    """The recipe with the smallest of a few seeds with which it still fails."""
    candidates = (replace(recipe, seed=seed) for seed in range(SEEDS) if seed < recipe.seed)
    return next(filter(fails, candidates), recipe)


# Options by name, each with its values from the simplest on, and numbers, both in the order in which `rank` compares
# them: fewer options before smaller kernels before smaller inputs.
_NAMED: dict[str, tuple[Any, ...]] = {
    "quantisation": tuple(kind + mixed for mixed in ("", MIXED) for kind in QUANTIZATIONS),
    "padding": PADDINGS,
    "mode": MODES,
    "layout": LAYOUTS,
    "batched": (True, False),
    "bias": (False, True),
    "first": ARRANGEMENTS,
    "second": ARRANGEMENTS,
    "third": ARRANGEMENTS,
    "output": OF_OUTPUT,
    "fill": ("integers", "positions", *(fill for fill in fills.every() if fill not in ("integers", "positions"))),
}
_OPTIONS = (
    "extra_d", "extra_h", "extra_w", "groups", "stride_d", "stride_h", "stride_w", "dilation_d", "dilation_h",
    "dilation_w",
)  # fmt: skip
_KERNEL, _CHANNELS = ("planes", "rows", "columns"), ("inputs", "outputs", "batch")
_SIDES, _SIZES = ("front", "top", "left", "back", "bottom", "right"), ("depth", "height", "width")
_PARTS = (_OPTIONS, _KERNEL, _SIDES, _CHANNELS, _SIZES)
_NUMBERS = tuple(name for part in _PARTS for name in part)


_TOGETHER = ("taps", "stride", "dilation", "size", "before")  # what may be made smaller along all axes at once


def rank(recipe: Recipe) -> tuple[int, ...]:
    """How complicated a recipe is: tuples of numbers from 0 on, compared in order, so that no descent is endless."""
    v = values_of(recipe)
    named = tuple(allowed.index(getattr(v, name)) for name, allowed in _NAMED.items())
    numbers = tuple(abs(getattr(v, name) - getattr(SIMPLEST, name)) for name in _NUMBERS)
    options = numbers[: len(_OPTIONS)]
    return (sum(map(bool, named)), sum(map(bool, options)), sum(named), *_sums(numbers), v.seed)


def _sums(numbers: tuple[int, ...]) -> tuple[int, ...]:
    """Sums of options, kernel, padding, channels and batch, and size; then each number alone, to break ties."""
    rest = iter(numbers)
    parts = [[next(rest) for _ in part] for part in _PARTS]
    return (*map(sum, parts), *(number for part in parts for number in part))


def smaller(recipe: Recipe, supports: Supports = ANYTHING) -> Iterator[Recipe]:
    """Simpler valid recipes of the same operator and dtype, the boldest first; each lower by `rank`.

    Examples
    --------
    >>> recipe = fitted("conv2d", Values(batch=3, rows=2, stride_h=2, height=9))
    >>> simplest = next(smaller(recipe)).geometry
    >>> simplest.batch, simplest.kernel, simplest.stride, simplest.size
    (1, (1, 1), (1, 1), (1, 1))
    """
    v, current_rank = values_of(recipe), rank(recipe)
    limit = max(MAX_MULTIPLICATIONS, size_of(v))
    seen = {recipe}
    for changes in _simplifications(v, len(recipe.geometry.size)):
        simpler = fitted(recipe.op, v._replace(**changes), supports, limit)
        if simpler not in seen and rank(simpler) < current_rank:
            seen.add(simpler)
            yield simpler


def _simplifications(v: Values, axes: int) -> Iterator[dict[str, Any]]:
    """Changes to the values: all to the simplest, all but one, whole parts, each by itself, halves, steps."""
    plain = {name: allowed[0] for name, allowed in _NAMED.items()}
    absent = {name for axis in AXES[:-axes] for name in axis}
    simple = {name: getattr(SIMPLEST, name) for name in _NUMBERS if name not in absent}
    options = {name: simple[name] for name in _OPTIONS if name in simple}
    simplest = plain | simple
    yield simplest
    # Most faults need one value only. Keeping that one shrinks all others at once; singly, each may cost a process.
    complicated = [name for name in simplest if getattr(v, name) != simplest[name]]
    yield from ({name: simplest[name] for name in simplest if name != kept} for kept in complicated)
    yield simple
    yield plain | options
    yield options
    yield plain
    yield {name: simple[name] for name in ("inputs", "outputs", "groups", "batch")}
    yield {name: simple[name] for name in (*_SIDES, *_SIZES) if name in simple}
    for name, allowed in _NAMED.items():
        for value in allowed[: allowed.index(getattr(v, name))]:
            yield {name: value}
    yield from ({name: number} for name, number in simple.items())
    above = {name: getattr(v, name) for name in simple if getattr(v, name) > simple[name]}
    yield from ({name: (number + simple[name]) // 2} for name, number in above.items())
    yield from ({name: number - 1} for name, number in above.items())
    yield from _steps(v, axes)
    yield {"seed": 0}
    yield {"seed": v.seed // 2}


def _steps(v: Values, axes: int) -> Iterator[dict[str, Any]]:
    """Changes to several values at once that keep what ties them together: remainders, equal axes, reach."""
    along = [(axis, *(getattr(v, name) for name in axis)) for axis in AXES[-axes:]]
    # An input as long as the kernel's reach, in place of the padding that it would need.
    for axis, size, taps, before, after, _, dilation, _ in along:
        for length in (dilation * (taps - 1) + 1, size + before + after):
            yield {axis.before: 0, axis.after: 0, axis.size: length}
    yield from ({axis.size: size - stride} for axis, size, _, _, _, stride, _, _ in along)
    yield from ({axis.taps: taps - 1, axis.size: size - dilation} for axis, size, taps, _, _, _, dilation, _ in along)
    of_all = [tuple(getattr(axis, field) for axis in AXES[-axes:]) for field in _TOGETHER]
    sides = [(axis.before, axis.after) for axis in AXES[-axes:]]
    for several in (*of_all[:-1], ("inputs", "outputs"), *sides, of_all[-1]):
        if len(several) > 1:
            yield {name: max(getattr(v, name) - 1, getattr(SIMPLEST, name)) for name in several}
    # As many channels, in one group.
    yield {"groups": 1, "inputs": v.groups * v.inputs, "outputs": v.groups * v.outputs}
