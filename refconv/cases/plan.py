"""Plans: cases that cover the interactions of the conditions that convolution kernels break under.

Of 162 real bugs 40% need one condition that is not the default, 81% up to two at once and 97% up to three. So a plan
first covers every pair of levels of two factors that is possible at all, then as many triples as its cases can.

That is no use of a library of covering arrays (allpairspy, covertable): they choose levels as if these were free, and
take forbidden combinations as rules, of which there would be thousands. Here a row is fitted first and counts for the
levels that it then has.

Knows recipes, how they are fitted, and their levels; not who is judged on them.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from refconv.cases.fitting import settled
from refconv.cases.recipe import Recipe
from refconv.cases.space import Space, changes_for, space
from refconv.cases.supports import Supports
from refconv.cases.triples import Triples
from refconv.cases.values import Values, recipe_of

# What fast paths are written for: their conditions hold together in layers, but hardly ever by chance. Channels in
# pairs; kernel, padding, stride and dilation together; sizes in tiles, and what is left over beside them.
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
LAYER_GROUPS = (2, 4, 16, 32)  # of a grouped one: with so many channels in each
LAYERS = 2**19  # multiplications of one at most
ELEMENT = 8  # so many multiplications are as dear as an element of the arrays, which the judge looks at often

EVERY_LARGE = 20  # each so many-th case of a plan is a large one, in turn
EVERY_LAYER = 5  # and of the others each so many-th one is like a network's layer
ROW_CANDIDATES, ROW_STEPS = 4, 30  # for each row of the covering array of pairs: starts, and changes tried to the best
TRIPLE_CANDIDATES = 4  # for each case after that
TRIPLES_SOUGHT = 256  # random triples, among which candidates look for one that is not covered yet


def plan(op: str, dtypes: Sequence[str], supports: Supports, cases: int, seed: int = 0) -> Iterator[Recipe]:
    """Recipes of `cases` cases that cover interactions; the same for the same arguments.

    First every pair of levels that is possible: some 300 cases, of which those that cover the most come first. Then
    cases of which each covers as many triples as can be found quickly: half the candidates for it are random, half are
    built around triples that no case had before. Of the triples that may be possible (see `Space.triples`) 1,000 cases
    cover some 85%, 10,000 some 99.7%, and what is left then is impossible, with few exceptions. Every
    `EVERY_LARGE`-th case is a large one of `LARGE`, in turn, every `EVERY_LAYER`-th one of the others such as networks
    have: kernel, stride, padding and channels that go together.

    Parameters
    ----------
    op, dtypes
        The operator, and the dtypes of its arrays: a factor like others.
    supports
        What may be generated.
    cases
        How many.
    seed
        From 0; another one gives other cases, and covers the same pairs.

    Examples
    --------
    >>> recipes = list(plan("conv2d", ["float32"], Supports(), 3, seed=1))
    >>> len(recipes), recipes == list(plan("conv2d", ["float32"], Supports(), 3, seed=1))
    (3, True)
    """
    here = space(op, tuple(dtypes), supports)
    rng = np.random.default_rng([seed, *op.encode()])
    covering = _Covering(here, rng)
    cycle = itertools.cycle(here.large)
    for number in range(1, cases + 1):
        if here.large and number % EVERY_LARGE == 0:
            # Along one axis, the next time along the other.
            v = _large_one(here, rng, *next(cycle), exchanged=(seed + number // EVERY_LARGE // len(here.large)) % 2 > 0)
        elif number % EVERY_LAYER == 0:
            v = _layer(here, rng)
        else:
            v = covering.next()
        yield recipe_of(op, v._replace(seed=int(rng.integers(2**32))))


def _large_one(here: Space, rng: np.random.Generator, name: str, changes: dict[str, Any], *, exchanged: bool) -> Values:
    """A large case, its axes exchanged or not; all that costs nothing is random."""
    v = Values()._replace(**_free(here, rng), **changes_for(here.op, name, changes))
    if rng.integers(4):  # in long sums of anything else, one number more or less may be lost in the bound
        v = v._replace(fill="integers")
    if name.startswith("batch") or v.batch > 1:
        v = v._replace(batched=True)
    if exchanged:
        v = v._replace(
            height=v.width, width=v.height, rows=v.columns, columns=v.rows, top=v.left, left=v.top,
            stride_h=v.stride_w, stride_w=v.stride_h,
        )  # fmt: skip
    return settled(here.rules, v)


def _free(here: Space, rng: np.random.Generator) -> dict[str, Any]:
    """All that costs nothing, at random; but no values that are the same all along an axis, which hide an index."""
    (other,) = here.random(rng, 1)
    names = ("bias", "layout", "first", "second", "third", "output", "quantisation", "dtype", "fill", "batched")
    found = {name: getattr(other, name) for name in names}
    return {name: "contiguous" if value == "broadcast" else value for name, value in found.items()}


def _layer(here: Space, rng: np.random.Generator) -> Values:
    """A layer such as networks have: both axes alike, dense, grouped or depthwise."""

    def one(some: Sequence[Any]) -> Any:
        return some[int(rng.integers(len(some)))]

    (inputs, outputs), (kernel, padding, stride, dilation) = one(LAYER_CHANNELS), one(LAYER_KERNELS)
    height, width, batch = one(LAYER_SIZES), one(LAYER_SIZES), one(LAYER_BATCHES)
    kind, groups = int(rng.integers(4)), 1
    if kind == 0:  # depthwise
        groups, inputs, outputs = inputs, 1, 1
    elif kind == 1:
        groups, inputs, outputs = one(LAYER_GROUPS), min(inputs, 48) // 4 or 1, min(outputs, 96) // 4 or 1
    least = dilation * (kernel - 1) + 1
    pixel = groups * max(inputs * outputs * kernel**2 // stride**2, ELEMENT * (inputs + outputs))
    while batch * height * width * pixel > LAYERS:  # the channels are what must not be halved, nor a long axis at once
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
    )._replace(**_free(here, rng))  # fmt: skip
    if rng.integers(2):  # views are for one half: fast paths are not for all of them
        v = v._replace(first="contiguous", second="contiguous", third="contiguous", output="contiguous")
    return settled(here.rules, v._replace(batched=v.batched or batch > 1), LAYERS)


class _Covering:
    """Cases one after another, each chosen for what it covers that none before it did."""

    def __init__(self, here: Space, rng: np.random.Generator) -> None:
        self.here, self.rng = here, rng
        self.missing = here.possible.copy()  # pairs
        self.n_missing = int(self.missing.sum()) // 2
        self.covered = Triples(here)
        self.drawn: list[Values] = []

    def next(self) -> Values:
        """The next case, settled."""
        v, ids = self._row() if self.n_missing else self._best()
        pairs = ids[self.here.left], ids[self.here.right]
        self.n_missing -= int(self.missing[pairs].sum())
        self.missing[pairs] = self.missing[pairs[::-1]] = False
        self.covered.add(ids)
        return v

    def _new_pairs(self, ids: np.ndarray) -> int:
        return int(np.count_nonzero(self.missing[ids[self.here.left], ids[self.here.right]]))

    def _row(self) -> tuple[Values, np.ndarray]:
        """A row of the covering array: a pair that is missing, and as many others as some steps bring."""
        here = self.here
        flat = np.flatnonzero(self.missing)
        starts = []
        for chosen in self.rng.choice(flat, ROW_CANDIDATES).tolist():
            v = here.witnesses[here.witness.flat[chosen]]
            ids = np.array(here.ids(v))
            starts.append((self._new_pairs(ids), v, ids))
        most, v, ids = max(starts, key=lambda start: start[0])
        for chosen in self.rng.choice(flat, ROW_STEPS).tolist():
            a, b = divmod(chosen, len(here.names))
            witness = here.witnesses[here.witness[a, b]]
            changed = here.joined(v, (witness, a), (witness, b))
            found = np.array(here.ids(changed))
            if (count := self._new_pairs(found)) > most:
                most, v, ids = count, changed, found
        return v, ids

    def _best(self) -> tuple[Values, np.ndarray]:
        """The best of some candidates by the triples that are new."""
        candidates = [self._random() for _ in range(TRIPLE_CANDIDATES // 2)] + self._built(TRIPLE_CANDIDATES // 2)
        ids = np.array([self.here.ids(v) for v in candidates])
        best = int(np.argmax(self.covered.new(ids)))
        return candidates[best], ids[best]

    def _random(self) -> Values:
        if not self.drawn:
            self.drawn = self.here.random(self.rng, 256)
        return self.drawn.pop()

    def _built(self, count: int) -> list[Values]:
        """Candidates that are likely to have a triple each that is missing."""
        here, rng = self.here, self.rng
        sought = np.sort(rng.integers(len(here.names), size=(TRIPLES_SOUGHT, 3)), axis=1)
        a, b, c = sought.T
        possible = here.possible[a, b] & here.possible[a, c] & here.possible[b, c]
        found = []
        for a, b, c in sought[possible & ~self.covered.have(sought)][:count].tolist():
            witness = here.witnesses[here.witness[a, b]]
            having = here.having[c]
            base = self._random() if rng.integers(2) else witness
            third = here.pool[having[rng.integers(len(having))]]
            found.append(here.joined(base, (third, c), (witness, a), (witness, b)))
        return found
