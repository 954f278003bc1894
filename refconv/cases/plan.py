"""Plans: cases that cover the interactions of the conditions that convolution kernels break under.

Of 162 real bugs 40% need one condition that is not the default, 81% up to two at once and 97% up to three. So a plan
first covers every pair of levels of two factors that is possible at all, then as many triples as its cases can.

Libraries of covering arrays (allpairspy, covertable) do not fit: they choose levels as if these were free, and take
forbidden combinations as rules, of which there would be thousands. Here a row is fitted first, and counts for the
levels that the fitted recipe has.

Knows recipes, how they are fitted, and their levels; not who is judged on them.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from refconv.cases.fitting import settled
from refconv.cases.recipe import Recipe
from refconv.cases.space import Space, changes_for
from refconv.cases.space import space as space_of
from refconv.cases.supports import Supports
from refconv.cases.triples import Triples
from refconv.cases.values import Values, recipe_of

# What fast paths are written for: their conditions hold together in the layers of networks, but hardly ever by chance.
# Channels are (inputs, outputs), kernels (kernel, padding, stride, dilation); sizes fill tiles or leave a remainder.
LAYER_CHANNELS = (
    (32, 32), (32, 32), (64, 32), (16, 64), (3, 32), (16, 16), (8, 8), (4, 4), (128, 128), (24, 40), (2, 300), (48, 96),
)  # fmt: skip
LAYER_KERNELS = (
    (3, 1, 1, 1), (3, 1, 1, 1), (3, 0, 1, 1), (3, 1, 2, 1), (1, 0, 1, 1), (1, 0, 1, 1), (1, 0, 2, 1), (5, 2, 1, 1),
    (5, 2, 2, 1), (7, 3, 2, 1), (7, 3, 1, 1), (2, 0, 2, 1), (4, 0, 4, 1), (4, 1, 2, 1), (3, 2, 1, 2), (3, 4, 1, 4),
    (3, 12, 1, 12), (8, 0, 8, 1), (16, 0, 16, 1),
)  # fmt: skip
LAYER_SIZES = (4, 6, 7, 8, 8, 9, 10, 12, 13, 14, 16, 17, 21, 28, 33, 56, 100, 129, 224, 256)
LAYER_BATCHES = (1, 1, 1, 2, 3, 4, 8, 9, 17, 33)
LAYER_GROUPS = (2, 4, 16, 32)  # of a grouped layer, with a quarter of the channels (at most 12, 24) in each
LAYERS = 2**19  # most multiplications of a layer
ELEMENT = 8  # cost of an array's element in multiplications: the judge looks at each element often

EVERY_LARGE = 20  # the 20th, 40th, ... case of a plan is a large one, by the rows of `LARGE` in turn
EVERY_LAYER = 5  # the 5th, 10th, 15th, 25th, ... case is like a network's layer
ROW_CANDIDATES, ROW_STEPS = 4, 30  # for each row of the covering array of pairs: starts, and changes to the best start
TRIPLE_CANDIDATES = 4  # candidates for each case after the covering array
TRIPLES_SOUGHT = 256  # random triples, among which to find those that a candidate is built around


def plan(op: str, dtypes: Sequence[str], supports: Supports, cases: int, seed: int = 0) -> Iterator[Recipe]:
    """Recipes of `cases` cases that cover interactions; the same for the same arguments.

    First every pair of levels that is possible: some 300 cases, of which those that cover the most come first. Then
    each case covers as many new triples as can be found quickly: half the candidates for it are random, half are
    built around triples that no case had before. Of the triples that may be possible (see `Space.triples`) 1,000 cases
    cover some 85%, 10,000 some 99.7%, and what is left then is impossible, with few exceptions. Every
    `EVERY_LARGE`-th case is a large one, by the rows of `LARGE` in turn. Every `EVERY_LAYER`-th case that is not large
    is like a network's layer: its kernel, stride, padding and channels go together.

    Parameters
    ----------
    op, dtypes
        The operator, and the dtypes of its arrays: a factor like others.
    supports
        What may be generated.
    cases
        How many recipes.
    seed
        From 0; another seed gives other cases, and covers the same pairs.

    Examples
    --------
    >>> recipes = list(plan("conv2d", ["float32"], Supports(), 3, seed=1))
    >>> len(recipes), recipes == list(plan("conv2d", ["float32"], Supports(), 3, seed=1))
    (3, True)
    """
    space = space_of(op, tuple(dtypes), supports)
    rng = np.random.default_rng([seed, *op.encode()])
    covering = _Covering(space, rng)
    cycle = itertools.cycle(space.large)
    for number in range(1, cases + 1):
        if space.large and number % EVERY_LARGE == 0:
            # All rows of `LARGE` along one axis, then all along the other.
            exchanged = (seed + number // EVERY_LARGE // len(space.large)) % 2 > 0
            v = _large_one(space, rng, *next(cycle), exchanged=exchanged)
        elif number % EVERY_LAYER == 0:
            v = _layer(space, rng)
        else:
            v = covering.next()
        yield recipe_of(op, v._replace(seed=int(rng.integers(2**32))))


def _large_one(
    space: Space, rng: np.random.Generator, name: str, changes: dict[str, Any], *, exchanged: bool
) -> Values:
    """A large case, its axes exchanged or not; all options that cost nothing are random."""
    v = Values()._replace(**_free(space, rng), **changes_for(space.op, name, changes))
    if rng.integers(4):  # in a long sum of other numbers, a missing term may hide in the bound
        v = v._replace(fill="integers")
    if name.startswith("batch") or v.batch > 1:
        v = v._replace(batched=True)
    if exchanged:
        v = v._replace(
            height=v.width, width=v.height, rows=v.columns, columns=v.rows, top=v.left, left=v.top,
            stride_h=v.stride_w, stride_w=v.stride_h,
        )  # fmt: skip
    return settled(space.rules, v)


def _free(space: Space, rng: np.random.Generator) -> dict[str, Any]:
    """Random options that cost nothing; nothing broadcast, for equal values along an axis hide a wrong index."""
    (random,) = space.random(rng, 1)
    names = ("bias", "layout", "first", "second", "third", "output", "quantisation", "dtype", "fill", "batched")
    options = {name: getattr(random, name) for name in names}
    return {name: "contiguous" if value == "broadcast" else value for name, value in options.items()}


def _layer(space: Space, rng: np.random.Generator) -> Values:
    """A layer such as networks have: both axes alike, dense, grouped or depthwise."""

    def pick(options: Sequence[Any]) -> Any:
        return options[int(rng.integers(len(options)))]

    (inputs, outputs), (kernel, padding, stride, dilation) = pick(LAYER_CHANNELS), pick(LAYER_KERNELS)
    height, width, batch = pick(LAYER_SIZES), pick(LAYER_SIZES), pick(LAYER_BATCHES)
    kind, groups = int(rng.integers(4)), 1
    if kind == 0:  # depthwise
        groups, inputs, outputs = inputs, 1, 1
    elif kind == 1:
        groups, inputs, outputs = pick(LAYER_GROUPS), min(inputs, 48) // 4 or 1, min(outputs, 96) // 4 or 1
    least = dilation * (kernel - 1) + 1
    pixel = groups * max(inputs * outputs * kernel**2 // stride**2, ELEMENT * (inputs + outputs))
    while batch * height * width * pixel > LAYERS:  # channels are never halved, and of two axes the shorter first
        if batch > 1 and (min(height, width) <= least or rng.integers(3) == 0):
            batch //= 2
        elif max(height, width) <= least:
            break
        elif min(height, width) > least:
            height, width = (height // 2, width) if height < width else (height, width // 2)
        else:
            height, width = (height // 2, width) if height > width else (height, width // 2)
    v = Values(
        batch=batch, groups=groups, inputs=inputs, outputs=outputs, height=height, width=width, rows=kernel,
        columns=kernel, top=padding, left=padding, bottom=padding, right=padding, stride_h=stride, stride_w=stride,
        dilation_h=dilation, dilation_w=dilation,
    )._replace(**_free(space, rng))  # fmt: skip
    if rng.integers(2):  # no views in half of the layers: many fast paths take none
        v = v._replace(first="contiguous", second="contiguous", third="contiguous", output="contiguous")
    return settled(space.rules, v._replace(batched=v.batched or batch > 1), LAYERS)


class _Covering:
    """Cases one after another, each chosen for the pairs and triples that no case before it covered."""

    def __init__(self, space: Space, rng: np.random.Generator) -> None:
        self.space, self.rng = space, rng
        self.missing = space.possible.copy()  # pairs
        self.n_missing = int(self.missing.sum()) // 2
        self.covered = Triples(space)
        self.drawn: list[Values] = []

    def next(self) -> Values:
        """The next case, settled."""
        v, ids = self._row() if self.n_missing else self._best()
        pairs = ids[self.space.left], ids[self.space.right]
        self.n_missing -= int(self.missing[pairs].sum())
        self.missing[pairs] = self.missing[pairs[::-1]] = False
        self.covered.add(ids)
        return v

    def _new_pairs(self, ids: np.ndarray) -> int:
        return int(np.count_nonzero(self.missing[ids[self.space.left], ids[self.space.right]]))

    def _row(self) -> tuple[Values, np.ndarray]:
        """A row of the covering array: a missing pair, and as many others as `ROW_STEPS` changes add."""
        space = self.space
        flat = np.flatnonzero(self.missing)
        starts = []
        for chosen in self.rng.choice(flat, ROW_CANDIDATES).tolist():
            v = space.witnesses[space.witness.flat[chosen]]
            ids = np.array(space.ids(v))
            starts.append((self._new_pairs(ids), v, ids))
        most, v, ids = max(starts, key=lambda start: start[0])
        for chosen in self.rng.choice(flat, ROW_STEPS).tolist():
            a, b = divmod(chosen, len(space.names))
            witness = space.witnesses[space.witness[a, b]]
            changed = space.joined(v, (witness, a), (witness, b))
            changed_ids = np.array(space.ids(changed))
            if (count := self._new_pairs(changed_ids)) > most:
                most, v, ids = count, changed, changed_ids
        return v, ids

    def _best(self) -> tuple[Values, np.ndarray]:
        """The candidate with the most new triples."""
        candidates = [self._random() for _ in range(TRIPLE_CANDIDATES // 2)] + self._built(TRIPLE_CANDIDATES // 2)
        ids = np.array([self.space.ids(v) for v in candidates])
        best = int(np.argmax(self.covered.new(ids)))
        return candidates[best], ids[best]

    def _random(self) -> Values:
        if not self.drawn:
            self.drawn = self.space.random(self.rng, 256)
        return self.drawn.pop()

    def _built(self, count: int) -> list[Values]:
        """Candidates, each built around a triple that is not covered yet; fitting may undo it."""
        space, rng = self.space, self.rng
        sought = np.sort(rng.integers(len(space.names), size=(TRIPLES_SOUGHT, 3)), axis=1)
        a, b, c = sought.T
        possible = space.possible[a, b] & space.possible[a, c] & space.possible[b, c]
        candidates = []
        for a, b, c in sought[possible & ~self.covered.have(sought)][:count].tolist():
            witness = space.witnesses[space.witness[a, b]]
            having = space.having[c]
            base = self._random() if rng.integers(2) else witness
            third = space.pool[having[rng.integers(len(having))]]
            candidates.append(space.joined(base, (third, c), (witness, a), (witness, b)))
        return candidates
