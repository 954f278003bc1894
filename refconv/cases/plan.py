"""Factors: plans of cases that cover the interactions of the conditions that convolution kernels break under.

Of 162 real bugs 40% need one condition that is not the default, 81% up to two at once and 97% up to three. So a plan
first covers every pair of levels of two factors that is possible at all, then as many triples as its cases can.

That is no use of a library of covering arrays (allpairspy, covertable): they choose levels as if these were free, and
take forbidden combinations as rules, of which there would be thousands. Here a row is fitted first and counts for the
levels that it then has.

Knows recipes, how they are fitted, and their levels; not who is judged on them.
"""

import copy
import itertools
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from refconv.cases import fills
from refconv.cases.fitting import (
    OF_OUTPUT,
    OF_VECTORS,
    Rules,
    Values,
    fitted,
    recipe_of,
    rules,
    settled,
    smaller,
    values_of,
)
from refconv.cases.levels import FACTORS, LARGE, factors_of, large, large_of, levels, levels_of
from refconv.cases.recipe import ARRANGEMENTS, LAYOUTS, MIXED, OUTPUT, QUANTISATIONS, Recipe
from refconv.cases.supports import Supports
from refconv.core.padding import MODES

__all__ = ["Space", "Values", "fitted", "large", "levels", "plan", "smaller", "space", "values_of"]

# --- what is worth trying, simplest first; a value that stands here twice is drawn twice as often ---------------------

BATCHES = (1,) * 8 + (2,) * 6 + (3, 3, 3, 4, 5, 7, 8, 9, 17, 0)
GROUPS = (1, 1, 1, 1, 2, 2, 3, 4, 5, 8, 16)
CHANNELS = (1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 5, 6, 6, 7, 8, 9, 10, 12, 15, 16, 17, 24, 31, 32, 33, 48, 65)
SIZES = (
    1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 19, 21, 31, 32, 33, 63, 64, 65, 100, 129,
    257,
)  # fmt: skip
KERNELS = (1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 4, 5, 6, 7)
STRIDES = (1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 4, 5, 5, 8)
DILATIONS = (1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 4, 6)
PADS = (0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 4, 6, 6, 8, 8, 17, 17, 20)

DRAWN: dict[str, Sequence[Any]] = {
    "batch": BATCHES, "groups": GROUPS, "inputs": CHANNELS, "outputs": CHANNELS, "height": SIZES, "width": SIZES,
    "rows": KERNELS, "columns": KERNELS, "top": PADS, "left": PADS, "bottom": PADS, "right": PADS,
    "stride_h": STRIDES, "stride_w": STRIDES, "dilation_h": DILATIONS, "dilation_w": DILATIONS,
    "extra_h": (0, 0, 1), "extra_w": (0, 0, 1), "depthwise": (None, None, None, True),
    "padding": ("symmetric",) * 6 + ("four-sided",) * 4 + ("same", "same", "valid"),
    "mode": MODES, "batched": (True, True, True, False), "bias": (False, True), "layout": LAYOUTS,
    "first": ("contiguous",) * 8 + ARRANGEMENTS[1:], "second": ("contiguous",) * 8 + ARRANGEMENTS[1:],
    "third": ("contiguous",) * 4 + OF_VECTORS[1:], "output": ("contiguous",) * 8 + OF_OUTPUT[1:],
    "quantisation": [each + mixed for mixed in ("", MIXED) for each in QUANTISATIONS],
}  # fmt: skip

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

PLANNED = 30_000  # multiplications of the other cases of a plan, at most
EVERY_LARGE = 20  # each so many-th case of a plan is a large one, in turn
EVERY_LAYER = 5  # and of the others each so many-th one is like a network's layer


# --- what is possible ------------------------------------------------------------------------------------------------

_ALONG = {
    "h": frozenset(("height", "rows", "top", "bottom", "stride_h", "dilation_h", "extra_h", "padding", "mode")),
    "w": frozenset(("width", "columns", "left", "right", "stride_w", "dilation_w", "extra_w", "padding", "mode")),
}
_OF_CHANNELS = frozenset(("groups", "inputs", "outputs", "depthwise"))
_OF_BATCH = frozenset(("batch", "batched"))
_HEIGHT = ("height", "kernel rows", "kernel's reach and height", "output height")
_WIDTH = ("width", "kernel columns", "kernel's reach and width", "output width")
_OTHER = {
    "batch": _OF_BATCH,
    "batched": _OF_BATCH,
    "batch and C_in": _OF_BATCH | _OF_CHANNELS,
    "bias": frozenset(("bias",)),
    "layout": frozenset(("layout",)),
    "fill": frozenset(("fill", "dtype")),
    "dtype": frozenset(("fill", "dtype")),
    "zero points": frozenset(("quantisation",)),
    "weight's dtype": frozenset(("quantisation",)),
}


def _fields(factor: str) -> frozenset[str]:
    """The numbers that the level of a factor hangs on."""
    if factor in _HEIGHT or factor.endswith("(h)"):
        return _ALONG["h"]
    if factor in _WIDTH or factor.endswith("(w)"):
        return _ALONG["w"]
    if factor in ("padding", "padding mode", "output pixels"):
        return _ALONG["h"] | _ALONG["w"]
    if factor.startswith("memory of"):
        return _OF_BATCH | {"first", "second", "third", "output", "bias"}
    return _OTHER.get(factor, _OF_CHANNELS)


SEARCH = 10_000  # random recipes among which pairs are looked for
ATTEMPTS = 24  # then, to make a pair that none of them has; if they all fail, it counts as impossible


class Space:
    """All levels of an operator's factors under what is supported, and which pairs of them some recipe has.

    The search for these is the same in every run, whatever the seed of a plan: a pair is possible if a recipe was found
    that has it, which is kept as a witness, so a plan can cover each. Levels are numbered through.
    """

    def __init__(self, op: str, dtypes: tuple[str, ...], supports: Supports) -> None:
        self.rules: Rules = rules(op, supports)
        self.op, self.dtypes, self.supports = op, dtypes, supports
        self.factors = tuple(each for each in factors_of(op) if supports.out or each != f"memory of {OUTPUT}")
        names = [[(factor, level) for level in _offered(factor, dtypes)] for factor in self.factors]
        starts = np.cumsum([0, *map(len, names)])
        self.names = list(itertools.chain.from_iterable(names))
        self.factor_of = np.repeat(np.arange(len(names)), np.diff(starts))
        self._index = [
            (factor, {level: int(start) + n for n, (_, level) in enumerate(of)})
            for factor, of, start in zip(self.factors, names, starts[:-1], strict=True)
        ]
        self._of_factor = [tuple(map(Values._fields.index, _fields(factor))) for factor in self.factors]
        self.left, self.right = np.triu_indices(len(self.factors), 1)
        self._values = self._choices()
        self._search()
        self.large = self._large()

    def ids(self, v: Values) -> list[int]:
        """The numbers of its levels, one for each factor."""
        found = levels_of(self.op, v)
        return [index[found[factor]] for factor, index in self._index]

    def settled(self, v: Values) -> Values:
        """As `fitting.settled`, for cases that take a few milliseconds to judge."""
        return settled(self.rules, v, PLANNED)

    def random(self, rng: np.random.Generator, count: int) -> list[Values]:
        """Settled numbers, all drawn independently."""
        columns = []
        for values in self._values.values():
            drawn = rng.integers(len(values), size=count).tolist()
            columns.append([values[each] for each in drawn])
        names = [name for name in self._values if name != "dtype and fill"]
        pairs = columns.pop()
        return [
            self.settled(Values(**dict(zip(names, row, strict=True)), dtype=dtype, fill=fill))
            for *row, (dtype, fill) in zip(*columns, pairs, strict=True)
        ]

    def joined(self, base: Values, *parts: tuple[Values, int]) -> Values:
        """`base` with all that some levels (by number) hang on from other numbers."""
        numbers = list(base)
        for v, level in parts:
            for at in self._of_factor[self.factor_of[level]]:
                numbers[at] = v[at]
        return self.settled(Values._make(numbers))

    @property
    def impossible(self) -> list[tuple[tuple[str, str], tuple[str, str]]]:
        """Pairs of levels of different factors, each as (factor, level), that no recipe has."""
        other = self.factor_of[:, None] < self.factor_of[None, :]
        return [(self.names[a], self.names[b]) for a, b in np.argwhere(other & ~self.possible)]

    def triples(self) -> int:
        """Number of triples of which all three pairs are possible: those that are possible themselves, or more."""
        pairs = self.possible.astype(np.int64)
        return int((pairs @ pairs * pairs).sum()) // 6

    def _choices(self) -> dict[str, Sequence[Any]]:
        """What is drawn for each number."""
        supports, found = self.supports, dict(DRAWN)
        for names, allowed in (
            (("batch",), supports.batch),
            (("groups",), self.rules.groups),
            (("rows", "columns"), supports.kernel),
            (("stride_h", "stride_w"), supports.stride),
            (("dilation_h", "dilation_w"), supports.dilation),
        ):
            if allowed is not None:
                found |= dict.fromkeys(names, allowed)
        found["mode"] = ("zeros",) * (2 * len(self.rules.modes) - 2) + self.rules.modes
        found["padding"] = tuple(each for each in DRAWN["padding"] if each in self.rules.paddings)
        found["layout"] = supports.layout
        found["first"] = found["second"] = ("contiguous",) * (len(supports.views) - 1) + supports.views
        if not supports.out:
            found["output"] = ("contiguous",)
        often = {"integers": 5, "normal": 2, "positions": 2}
        found["dtype and fill"] = [
            (dtype, fill) for dtype in self.dtypes for fill in fills.known(dtype) for _ in range(often.get(fill, 1))
        ]
        return found

    def _search(self) -> None:
        """Find a witness of each pair that is possible."""
        rng = np.random.default_rng(0)
        self.pool = self.random(rng, SEARCH)
        self.pool_ids = np.array([self.ids(v) for v in self.pool])
        size = len(self.names)
        self.witnesses = list(self.pool)
        self.witness = np.full((size, size), -1)
        for a, b in zip(self.left.tolist(), self.right.tolist(), strict=True):
            self.witness[self.pool_ids[:, a], self.pool_ids[:, b]] = np.arange(SEARCH)
        self.having = [np.flatnonzero(self.pool_ids[:, f] == level) for level, f in enumerate(self.factor_of)]
        there = np.array([len(each) > 0 for each in self.having])
        wanted = (self.factor_of[:, None] < self.factor_of[None, :]) & there[:, None] & there[None, :]
        for a, b in np.argwhere(wanted & (self.witness < 0)).tolist():
            self._attempt(rng, a, b)
        self.witness = np.maximum(self.witness, self.witness.T)
        self.possible = self.witness >= 0

    def _attempt(self, rng: np.random.Generator, a: int, b: int) -> None:
        """Try to make a pair of levels of what has one of them each."""
        chosen = rng.integers(2**31, size=(ATTEMPTS, 2)).tolist()
        for number, (i, j) in enumerate(chosen):
            if self.witness[a, b] >= 0:
                return
            parts = (
                (self.pool[self.having[a][i % len(self.having[a])]], a),
                (
                    self.pool[self.having[b][j % len(self.having[b])]],
                    b,
                ),
            )
            base = (parts[0][0], Values(dtype=self.dtypes[0]), parts[1][0])[number % 3]
            v = self.joined(base, *parts[:: 1 if number % 2 else -1])
            ids = np.array(self.ids(v))
            new = self.witness[ids[self.left], ids[self.right]] < 0
            if new.any():
                self.witness[ids[self.left[new]], ids[self.right[new]]] = len(self.witnesses)
                self.witnesses.append(v)

    def _large(self) -> list[tuple[str, dict[str, Any]]]:
        """The ways of being large that are possible."""
        if not self.supports.large:
            return []
        found = []
        for name, changes in LARGE.items():
            v = settled(self.rules, Values(dtype=self.dtypes[0])._replace(**_for(self.op, name, changes)))
            if name in large_of(self.op, v):
                found.append((name, changes))
        return found


@lru_cache(maxsize=16)
def space(op: str, dtypes: tuple[str, ...], supports: Supports) -> Space:
    """The space, searched once in a process."""
    return Space(op, dtypes, supports)


def _offered(factor: str, dtypes: tuple[str, ...]) -> tuple[str, ...]:
    """Levels of a factor that the dtypes leave."""
    if factor == "dtype":
        return dtypes
    if factor == "fill":
        return tuple(each for each in FACTORS[factor] if any(each in fills.known(dtype) for dtype in dtypes))
    return FACTORS[factor]


def _for(op: str, name: str, changes: dict[str, Any]) -> dict[str, Any]:
    """What makes a convolution large so, for the operator: some sum over the other channels."""
    if op not in ("conv2d_input", "conv_transpose2d") or not name.startswith("sums"):
        return changes
    other = {"inputs": "outputs", "outputs": "inputs"}
    return {other.get(name, name): value for name, value in changes.items()}


# --- plans -----------------------------------------------------------------------------------------------------------

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
    v = Values()._replace(**_free(here, rng), **_for(here.op, name, changes))
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


class Triples:
    """Which triples of levels were covered: for every pair a set of levels, those of later factors, in bits."""

    def __init__(self, here: Space) -> None:
        self.left, self.right, self.size = here.left, here.right, len(here.names)
        words, bits = np.divmod(np.arange(self.size), 64)
        self.alone = np.zeros((self.size, int(words[-1]) + 1), np.uint64)  # each level as a set of its own
        self.alone[np.arange(self.size), words] = np.uint64(1) << bits.astype(np.uint64)
        self.covered = np.zeros((self.size**2, self.alone.shape[1]), np.uint64)

    def add(self, ids: np.ndarray) -> None:
        """Those of a case."""
        self.covered[self._pairs(ids)] |= self._thirds(ids)

    def new(self, ids: np.ndarray) -> np.ndarray:
        """How many are new in each of some cases."""
        missing = self._thirds(ids) & ~self.covered[self._pairs(ids)]
        counts: np.ndarray = np.bitwise_count(missing).sum(axis=(-2, -1), dtype=int)
        return counts

    def have(self, triples: np.ndarray) -> np.ndarray:
        """Whether they are covered; their levels ascend."""
        a, b, c = triples.T
        found: np.ndarray = (self.alone[c] & self.covered[a * self.size + b]).any(axis=-1)
        return found

    def __len__(self) -> int:
        return int(np.bitwise_count(self.covered).sum(dtype=int))

    def __or__(self, other: "Triples") -> "Triples":
        merged = copy.copy(self)
        merged.covered = self.covered | other.covered
        return merged

    def _pairs(self, ids: np.ndarray) -> np.ndarray:
        """Where the sets of a case's pairs are."""
        found: np.ndarray = ids[..., self.left] * self.size + ids[..., self.right]
        return found

    def _thirds(self, ids: np.ndarray) -> np.ndarray:
        """For each pair the levels of all later factors."""
        bits = self.alone[ids]
        from_here = np.cumsum(bits[..., ::-1, :], axis=-2, dtype=np.uint64)[..., ::-1, :]
        found: np.ndarray = (from_here - bits)[..., self.right, :]
        return found
