"""Shrinking: from a recipe that fails to the simplest one that still does.

Greedy: of the simpler recipes the first that fails in the same way is taken, until none does. Hypothesis would do it by
drawing the case anew, which it can't from a case that it has not drawn; so it is done on the recipe's own numbers, of
which it is known what makes them simpler. Knows recipes; not who judges them.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from refconv.cases.fitting import ANYTHING, smaller
from refconv.cases.recipe import Recipe
from refconv.cases.supports import Supports

ATTEMPTS = 600
SECONDS = 10.0
CRASHES, CRASH_SECONDS = 100, 25.0  # of a crash or an endless loop: each takes another process
SEEDS = 4  # that are tried where a simpler case passes: its numbers may hide the fault


def shrink(
    recipe: Recipe, fails: Callable[[Recipe], bool], supports: Supports = ANYTHING, *, crash: bool = False
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

    Examples
    --------
    >>> from refconv.core.geometry import convolution
    >>> recipe = Recipe(convolution((2, 3, 9, 8), (4, 3, 3, 3), None, 2, 1, 1, 1, "zeros"), (1, 1))
    >>> found = shrink(recipe, lambda each: each.geometry.stride[0] > 1)
    >>> found.geometry.stride, found.geometry.kernel, found.geometry.batch
    ((2, 1), (1, 1), 1)
    """
    attempts, seconds = (CRASHES, CRASH_SECONDS) if crash else (ATTEMPTS, SECONDS)
    end = time.monotonic() + seconds
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
    """The same with a small seed, if one fails too."""
    candidates = (replace(recipe, seed=seed) for seed in range(SEEDS) if seed < recipe.seed)
    return next(filter(fails, candidates), recipe)
