"""Conditions: the fewest traits that failing cases share and of which each passing one lacks some.

Knows recipes and traits; not who was judged.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from refconv.cases.recipe import Recipe
from refconv.verification.diagnose.traits import traits

LARGEST_CONJUNCTION = 6  # traits that a condition joins
EXCEPTIONS = 0.05  # share of the passing cases that may meet a condition: a wrong kernel is right now and then
LACKING = 0.6  # share of the passing cases that must not meet it, if no more of them meet it than cases failed
ALONE = 8  # how many times as much as another case one counts that was made for it, or that lacks a single trait


def conditions(
    failing: Sequence[Recipe],
    passing: Sequence[Recipe],
    experiments: Sequence[Recipe] = (),
    *,
    lacking: float = LACKING,
    shown: bool = False,
) -> tuple[str, ...]:
    """The fewest traits that together all failing cases have and (almost) no passing one has.

    A passing case that lacks one of the shared traits only shows that this one is needed. Of what is left each further
    trait is the one that most of the other passing cases lack.

    Parameters
    ----------
    failing, passing : sequence of Recipe
        The cases.
    experiments : sequence of Recipe
        Passing cases that were made to see what is needed: they count for more.
    lacking : float
        The share of the passing cases that must not have all of these traits.
    shown : bool
        Whether only experiments may show that a trait is needed: where failing cases were chosen, others prove nothing.

    Returns
    -------
    tuple of str
        A conjunction; empty if none tells them apart.

    Examples
    --------
    >>> from refconv.core.geometry import convolution
    >>> def recipe(stride, groups):
    ...     return Recipe(convolution((2, 4, 8, 8), (4, 4 // groups, 3, 3), None, stride, 0, 1, groups, "zeros"), 0)
    >>> conditions([recipe(2, 2), recipe(3, 4)], [recipe(1, 2), recipe(2, 1), recipe(1, 4), recipe(3, 1)])
    ('groups > 1', 'stride > 1')
    """
    common, right = shared(failing), (*experiments, *passing)
    if not common or not right or (len(failing) < 2 and not experiments):
        return ()
    lacks = np.array([[name not in traits(recipe) for name in common] for recipe in right])
    weights = np.where(lacks.sum(axis=1) == 1, ALONE, 1) * np.where(np.arange(len(right)) < len(experiments), ALONE, 1)
    chosen: list[int] = []
    while len(chosen) < LARGEST_CONJUNCTION:
        left = ~lacks[:, chosen].any(axis=1) & ((not shown) | (np.arange(len(right)) < len(experiments)))
        told = (lacks[left] * weights[left, None]).sum(axis=0)
        if not told.max(initial=0):
            break
        chosen.append(int(told.argmax()))
    for trait in list(chosen):  # what a later one made needless
        others = [other for other in chosen if other != trait]
        if others and (lacks[:, others].any(axis=1) == lacks[:, chosen].any(axis=1)).all():
            chosen = others
    meeting = ~lacks[:, chosen].any(axis=1)
    told_apart = 1 - meeting.mean()
    enough = told_apart >= 1 - EXCEPTIONS or (told_apart >= lacking and meeting.sum() <= len(failing))
    return tuple(common[trait] for trait in sorted(chosen)) if enough else ()


def meets(recipe: Recipe, names: Sequence[str]) -> bool:
    """Whether a case has all of these traits."""
    return set(names) <= traits(recipe).keys()


def shared(recipes: Sequence[Recipe]) -> tuple[str, ...]:
    """The traits that all of these cases have, the more telling ones first."""
    if not recipes:
        return ()
    return tuple(name for name in traits(recipes[0]) if all(name in traits(recipe) for recipe in recipes))


def experiment(
    failing: Sequence[Recipe], variations: Sequence[Recipe], fails: Callable[[Recipe], bool | None]
) -> Iterator[Recipe]:
    """Try variations of failing cases until each trait that these share is known to be needed, or can't be changed.

    The variation that lacks the fewest of the shared traits comes first. If it fails too, these are not needed; if it
    passes, one of them is, and no other variation without them has anything to tell.

    Parameters
    ----------
    failing
        Cases that fail.
    variations
        What may be tried.
    fails
        Whether a case fails, None if the candidate refuses it.

    Yields
    ------
    Recipe
        Each variation that was tried.
    """
    common = set(shared(failing))
    untried = {recipe: common - traits(recipe).keys() for recipe in variations}
    needed: list[set[str]] = []
    while True:
        untried = {
            recipe: lost
            for recipe, of_recipe in untried.items()
            if (lost := of_recipe & common) and not any(some <= lost for some in needed)
        }
        if not untried:
            return
        recipe = min(untried, key=lambda recipe: len(untried[recipe]))
        lost = untried.pop(recipe)
        outcome = fails(recipe)
        if outcome:
            common -= lost
        elif outcome is not None:
            needed.append(lost)
        yield recipe
