"""Drawing: which generated cases a campaign takes, and how large ones a candidate can bear.

Knows plans, setups and times; not who judges.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from refconv.cases import fills
from refconv.cases.layers import NARROW
from refconv.cases.plan import plan
from refconv.cases.recipe import Recipe
from refconv.verification.setup import Setup

NOTICEABLE = 0.002  # seconds by which a small case must take longer than a smaller one, to say anything
BEARABLE, LONGER = 0.1, 4  # what a wide case may take: seconds, or so many times the mean of the others


def recipes(setup: Setup, round_: int, cases: int) -> Iterator[Recipe]:
    """The recipes of a round; the seed of the first round is the campaign's."""
    seed = setup.settings.seed
    if round_:  # were it seed + round_, campaigns of neighboring seeds would share cases
        seed = int(np.random.SeedSequence([seed, round_]).generate_state(1, np.uint64)[0])
    sets = setup.settings.sets
    with setup.faults.noted("drawing cases"):  # what was drawn before is judged
        planned = plan(setup.candidate.op, [setup.dtype], setup.supports, -(-cases // sets), seed)
        names = [name for name in fills.names(setup.dtype) if name in setup.supports.fills(setup.dtype)]
        repeated = (_repeated(recipe, number, names) for recipe in planned for number in range(sets))
        yield from itertools.islice(repeated, cases)


def _repeated(recipe: Recipe, number: int, names: Sequence[str]) -> Recipe:
    """The recipe with other numbers, of a fill in turn of those that show most; the first time as it is."""
    if not number:
        return recipe
    return replace(recipe, seed=(recipe.seed + number) % 2**32, fill=names[(recipe.seed + number) % len(names)])


def within(seconds: float, times: Sequence[tuple[int, float]]) -> float:
    """The most products of a case that a candidate can do in some seconds, by products and seconds of others.

    >>> within(10.0, [(1000 * n, 0.001 * n) for n in range(1, 31)])
    10000000
    >>> within(10.0, [])
    inf
    """
    largest = sorted(times)[-max(1, len(times) // 10) :]  # others take most of their time whatever their size
    # The fastest: a busy machine is no reason to leave anything out.
    most = seconds * max((products / max(time, 1e-9) for products, time in largest), default=math.inf)
    return most if most == math.inf else math.floor(most)


def affordable(times: Sequence[tuple[int, float]]) -> float:
    """The most products of a case that a candidate can do in a bearable time, by products and seconds of others.

    A fifth of a plan are wide cases: if each takes as long as four others, all of them take as long as the others.

    >>> affordable([(1000 * n, 0.001 * n) for n in range(1, 31)]) == NARROW  # a million products in a second
    True
    >>> affordable([(1000, 0.01)] * 9)
    inf
    """
    ordered, third = sorted(times), len(times) // 3
    if not third:
        return math.inf
    (few, short), (many, long) = (np.median(part, axis=0) for part in (ordered[:third], ordered[-third:]))
    if long - short < NOTICEABLE or many <= few:
        return math.inf
    mean = sum(seconds for _, seconds in times) / len(times)
    return max(NARROW, int((many - few) * max(BEARABLE, LONGER * mean) / (long - short)))
