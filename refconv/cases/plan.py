"""Plans: cases that cover the interactions of the conditions that convolution kernels break under.

Of 162 real bugs 40% need one condition that is not the default, 81% up to two at once and 97% up to three. So a part of
a plan covers every pair of levels of two factors that is possible at all, then as many triples as it can. But a fast
path is behind conditions that are ordinary, four or six at once: for these there are layers and ordinary calls.

Libraries of covering arrays (allpairspy, covertable) do not fit: they choose levels as if these were free, and take
forbidden combinations as rules, of which there would be thousands. Here a row is fitted first, and counts for the
levels that the fitted recipe has.

Knows recipes, how they are fitted, and their levels; not who is judged on them.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from refconv.cases.corners import Corners
from refconv.cases.fitting import size_of
from refconv.cases.layers import Layers, ordinary
from refconv.cases.recipe import Recipe
from refconv.cases.space import MOST_LARGE, Space, changes_for
from refconv.cases.space import space as space_of
from refconv.cases.supports import Supports
from refconv.cases.triples import Triples
from refconv.cases.values import Values, recipe_of

# How much of a plan each kind of cases is; and of its first cases, which are to find the most in the shortest time:
# there each way of being large comes once. What is left covers pairs and triples.
SHARES = {"ordinary": 1 / 3, "layer": 1 / 5, "large": 1 / 40, "corner": 1 / 15}
QUICK = 2**20  # multiplications of a large case that is quickly judged, whatever its numbers
FIRST = 80
SHARES_OF_FIRST = {"ordinary": 0.04, "layer": 0.04, "large": 0.22, "corner": 0.3}
ROW_CANDIDATES, ROW_STEPS = 4, 30  # for each row of the covering array of pairs: starts, and changes to the best start
TRIPLE_CANDIDATES = 4  # candidates for each case after the covering array
TRIPLES_SOUGHT = 256  # random triples, among which to find those that a candidate is built around


def plan(op: str, dtypes: Sequence[str], supports: Supports, cases: int, seed: int = 0) -> Iterator[Recipe]:
    """Recipes of `cases` cases, by what real kernels break under; the same for the same arguments.

    Five kinds of cases come in turn, in the proportions of `SHARES`: ordinary calls in which up to two things are
    unusual; layers of networks (`layers`); cases that are large in one respect, by the rows of `LARGE`; special values
    and smallest convolutions (`corners`); and cases that cover interactions. Of these the first cover every pair of
    levels that is possible and that no other case has, those that cover the most first. Then each covers as many new
    triples as can be found quickly: half the candidates for it are random, half are built around triples that no case
    had before. 1,000 cases cover all pairs, and most triples that may be possible (see `Space.triples`).

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
    makers = {
        "ordinary": lambda: ordinary(space, rng),
        "layer": Layers(space, rng).next,
        "corner": Corners(space, rng).next,
        "large": _Large(space, rng, seed).next,
        "covering": covering.next,
    }
    for kind in itertools.islice(_kinds(space), cases):
        v = makers[kind]()
        covering.note(v)
        yield recipe_of(op, v._replace(seed=int(rng.integers(2**32))))


def _kinds(space: Space) -> Iterator[str]:
    """Which kind of case comes when: whichever has the largest part of its share still to come."""
    due: Counter[str] = Counter()
    for number in itertools.count():
        shares = SHARES_OF_FIRST if number < FIRST else SHARES
        shares = {kind: share for kind, share in shares.items() if kind != "large" or space.large}
        due.update(shares | {"covering": 1 - sum(shares.values())})
        ((kind, _),) = due.most_common(1)
        due[kind] -= 1
        yield kind


class _Large:
    """Large cases by the rows of `LARGE` in turn: all along one axis, then all along the other."""

    def __init__(self, space: Space, rng: np.random.Generator, seed: int) -> None:
        self.space, self.rng, self.seed = space, rng, seed
        self.drawn = 0

    def next(self) -> Values:
        """The next one."""
        turn, row = divmod(self.drawn, len(self.space.large))
        self.drawn += 1
        return _large_one(self.space, self.rng, *self.space.large[row], exchanged=(self.seed + turn) % 2 > 0)


def _large_one(
    space: Space, rng: np.random.Generator, name: str, changes: dict[str, Any], *, exchanged: bool
) -> Values:
    """A large case, its axes exchanged or not; all options that cost nothing are random."""
    v = Values()._replace(**_free(space, rng), **changes_for(space.op, name, changes))
    # In a long sum of other numbers, a missing term may hide in the bound; and exact sums are quickly judged.
    if rng.integers(4) or size_of(v) > QUICK:
        v = v._replace(fill="integers")
    if name.startswith("batch") or v.batch > 1:
        v = v._replace(batched=True)
    if exchanged and len(space.rules.axes) > 1:
        v = v._replace(
            height=v.width, width=v.height, rows=v.columns, columns=v.rows, top=v.left, left=v.top,
            stride_h=v.stride_w, stride_w=v.stride_h,
        )  # fmt: skip
    return space.settled(v, MOST_LARGE)


def _free(space: Space, rng: np.random.Generator) -> dict[str, Any]:
    """Random options that cost nothing; nothing broadcast, for equal values along an axis hide a wrong index."""
    (random,) = space.random(rng, 1)
    names = ("bias", "layout", "first", "second", "third", "output", "quantisation", "dtype", "fill", "batched")
    options = {name: getattr(random, name) for name in names}
    return {name: "contiguous" if value == "broadcast" else value for name, value in options.items()}


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
        return self._row() if self.n_missing else self._best()

    def note(self, v: Values) -> None:
        """Count what a case covers."""
        ids = np.array(self.space.ids(v))
        pairs = ids[self.space.left], ids[self.space.right]
        self.n_missing -= int(self.missing[pairs].sum())
        self.missing[pairs] = self.missing[pairs[::-1]] = False
        self.covered.add(ids)

    def _new_pairs(self, v: Values) -> int:
        ids = np.array(self.space.ids(v))
        return int(np.count_nonzero(self.missing[ids[self.space.left], ids[self.space.right]]))

    def _row(self) -> Values:
        """A row of the covering array: a missing pair, and as many others as `ROW_STEPS` changes add."""
        space = self.space
        flat = np.flatnonzero(self.missing)
        starts: list[tuple[int, Values]] = []
        for chosen in self.rng.choice(flat, ROW_CANDIDATES).tolist():
            v = space.witnesses[space.witness.flat[chosen]]
            starts.append((self._new_pairs(v), v))
        most, v = max(starts, key=lambda start: start[0])
        for chosen in self.rng.choice(flat, ROW_STEPS).tolist():
            a, b = divmod(chosen, len(space.names))
            witness = space.witnesses[space.witness[a, b]]
            changed = space.joined(v, (witness, a), (witness, b))
            if (count := self._new_pairs(changed)) > most:
                most, v = count, changed
        return v

    def _best(self) -> Values:
        """The candidate with the most new triples."""
        candidates = [self._random() for _ in range(TRIPLE_CANDIDATES // 2)] + self._built(TRIPLE_CANDIDATES // 2)
        ids = np.array([self.space.ids(v) for v in candidates])
        return candidates[int(self.covered.new(ids).argmax())]

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
