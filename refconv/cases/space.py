"""The space of a plan: what values are drawn from, and which pairs of levels are possible for a candidate.

Knows values, levels and fitting; not in which order cases come.
"""

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from refconv.cases import fills
from refconv.cases.fitting import settled
from refconv.cases.levels import FACTORS, LARGE, OF_AXES, factors_of, large_of, levels_of
from refconv.cases.numbers import examples_of
from refconv.cases.recipe import ARRANGEMENTS, LAYOUTS, MIXED, OFFSETS, OUTPUT, QUANTIZATIONS
from refconv.cases.supports import LETTERS, Supports
from refconv.cases.values import AXES, OF_OUTPUT, OF_VECTORS, Rules, Values, for_axes, rules
from refconv.core.checks import STRIDED_SAME
from refconv.core.operators import axes_of, like
from refconv.core.padding import MODES


def weighted(views: Sequence[str]) -> tuple[str, ...]:
    """Arrangements to draw from: half are contiguous, and one in a while begins off a power of two."""
    others = [view for view in views if view != "contiguous" for _ in range(1 if view in OFFSETS else 2)]
    return ("contiguous",) * max(len(others), 1) + tuple(others)


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
EXTRAS = (0, 0, 1)
PADS = (0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 4, 6, 6, 8, 8, 17, 17, 20)
DRAWN: dict[str, Sequence[Any]] = {
    "batch": BATCHES, "groups": GROUPS, "inputs": CHANNELS, "outputs": CHANNELS, "depth": SIZES, "height": SIZES,
    "width": SIZES, "planes": KERNELS, "rows": KERNELS, "columns": KERNELS, "front": PADS, "top": PADS, "left": PADS,
    "back": PADS, "bottom": PADS, "right": PADS, "stride_d": STRIDES, "stride_h": STRIDES, "stride_w": STRIDES,
    "dilation_d": DILATIONS, "dilation_h": DILATIONS, "dilation_w": DILATIONS, "extra_d": EXTRAS, "extra_h": EXTRAS,
    "extra_w": EXTRAS, "depthwise": (None, None, None, True),
    "padding": ("symmetric",) * 6 + ("four-sided",) * 4 + ("same", "same", "valid"),
    "mode": MODES, "batched": (True, True, True, False), "bias": (False, True), "layout": LAYOUTS,
    "first": weighted(ARRANGEMENTS), "second": weighted(ARRANGEMENTS), "third": weighted(OF_VECTORS),
    "output": weighted(OF_OUTPUT),
    "quantisation": [kind + mixed for mixed in ("", MIXED) for kind in QUANTIZATIONS],
}  # fmt: skip
PLANNED = 30_000  # most multiplications of a case of a plan that is neither large nor like a layer
MOST_LARGE = 2**26  # most multiplications of a large one
SEARCH = 10_000  # random recipes among which pairs of levels are looked for
ATTEMPTS = 24  # tries to make a pair that no random recipe has; if all fail, the pair counts as impossible

# Which values decide the level of a factor: see `_fields`.
_ALONG = {letter: frozenset((*axis, "padding", "mode")) for letter, axis in zip(LETTERS, AXES, strict=True)}
_OF_CHANNELS = frozenset(("groups", "inputs", "outputs", "depthwise"))
_OF_BATCH = frozenset(("batch", "batched"))
_AXIS_OF = {name: letter for names in OF_AXES for letter, name in zip(LETTERS, names, strict=True)}
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
    **dict.fromkeys(
        ("groups", "depthwise", "group's inputs and outputs", "C_in", "C_out", "C_in / groups"), _OF_CHANNELS
    ),
}


def _fields(factor: str) -> frozenset[str]:
    """The names of the values that decide the level of a factor."""
    if factor in _AXIS_OF:
        return _ALONG[_AXIS_OF[factor]]
    if factor in ("padding", "padding mode", "output pixels"):
        return frozenset().union(*_ALONG.values())
    if factor.startswith("memory of"):
        return _OF_BATCH | {"first", "second", "third", "output", "bias"}
    return _OTHER[factor]


class Space:
    """All levels of an operator's factors under what is supported, and which pairs of levels some recipe has.

    The search for pairs is the same in every run, whatever the seed of a plan. A pair is possible if the search found a
    recipe that has it; the recipe's values are kept as a witness, so that a plan can cover the pair. Levels are
    numbered through.
    """

    def __init__(self, op: str, dtypes: tuple[str, ...], supports: Supports) -> None:
        self.rules: Rules = rules(op, supports)
        self.op, self.dtypes, self.supports = op, dtypes, supports
        self.factors = tuple(name for name in factors_of(op) if supports.out or name != f"memory of {OUTPUT}")
        names = [[(factor, level) for level in _offered(factor, dtypes, supports)] for factor in self.factors]
        starts = np.cumsum([0, *map(len, names)])
        self.names = list(itertools.chain.from_iterable(names))
        self.factor_of = np.repeat(np.arange(len(names)), np.diff(starts))
        self._index = [
            (factor, {level: int(start) + n for n, (_, level) in enumerate(of)})
            for factor, of, start in zip(self.factors, names, starts[:-1], strict=True)
        ]
        self._fields_of = [tuple(map(Values._fields.index, _fields(factor))) for factor in self.factors]
        self.left, self.right = np.triu_indices(len(self.factors), 1)
        self._values = self._choices()
        self._search()
        self.large = self._large()

    def ids(self, v: Values) -> list[int]:
        """The numbers of the levels of some values, one for each factor."""
        levels = levels_of(self.op, v)
        return [index[levels[factor]] for factor, index in self._index]

    def settled(self, v: Values, limit: int = PLANNED) -> Values:
        """As `fitting.settled`; by default for cases that take a few milliseconds to judge."""
        return settled(self.rules, v, self.within(limit))

    def within(self, limit: int) -> int:
        """The limit, or the most multiplications that a case may have, if these are fewer."""
        return limit if self.supports.largest is None else min(limit, self.supports.largest)

    def draw(self, rng: np.random.Generator, field: str) -> Any:
        """One value of a field, by itself; of "dtype and fill" a pair of both."""
        if field == "dtype":
            return self.draw(rng, "dtype and fill")[0]
        values = self._values[field]
        return values[int(rng.integers(len(values)))]

    def random(self, rng: np.random.Generator, count: int) -> list[Values]:
        """Settled values, each drawn independently of the others."""
        columns = []
        for values in self._values.values():
            drawn = rng.integers(len(values), size=count).tolist()
            columns.append([values[index] for index in drawn])
        names = [name for name in self._values if name != "dtype and fill"]
        pairs = columns.pop()
        return [
            self.settled(Values(**dict(zip(names, row, strict=True)), dtype=dtype, fill=fill))
            for *row, (dtype, fill) in zip(*columns, pairs, strict=True)
        ]

    def joined(self, base: Values, *parts: tuple[Values, int]) -> Values:
        """`base`, with the values that decide a level (by number) from each of the parts."""
        values = list(base)
        for v, level in parts:
            for at in self._fields_of[self.factor_of[level]]:
                values[at] = v[at]
        return self.settled(Values._make(values))

    def triples(self) -> int:
        """Number of triples whose three pairs are all possible; some of these triples may still be impossible."""
        pairs = self.possible.astype(np.int64)
        return int((pairs @ pairs * pairs).sum()) // 6

    def _choices(self) -> dict[str, Sequence[Any]]:
        """What each value is drawn from."""
        supports, of = self.supports, self.rules
        choices = {name: values for name, values in DRAWN.items() if name not in of.absent}
        for name, allowed in (
            ("batch", supports.batch), ("groups", of.groups), *of.along.items(),
            *((axis.size, sizes) for axis, sizes in zip(of.axes, of.sizes, strict=True)),
            *((side, pads) for axis, pads in zip(of.axes, of.pads, strict=True) for side in (axis.before, axis.after)),
        ):  # fmt: skip
            if allowed is not None:
                choices[name] = examples_of(allowed, tuple(choices[name]))
        choices["mode"] = ("zeros",) * (2 * len(of.modes) - 2) + of.modes
        choices["padding"] = tuple(
            padding for padding in (*DRAWN["padding"], *2 * STRIDED_SAME) if padding in of.paddings
        )
        choices["layout"] = supports.layout
        choices["first"] = choices["second"] = weighted(supports.views)
        if not supports.out:
            choices["output"] = ("contiguous",)
        weights = {"integers": 5, "normal": 2, "positions": 2}
        choices["dtype and fill"] = [
            (dtype, fill)
            for dtype in self.dtypes
            for fill in supports.fills(dtype)
            for _ in range(weights.get(fill, 1))
        ]
        return choices

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
        reached = np.array([len(members) > 0 for members in self.having])
        pairs = (self.factor_of[:, None] < self.factor_of[None, :]) & reached[:, None] & reached[None, :]
        for a, b in np.argwhere(pairs & (self.witness < 0)).tolist():
            self._attempt(rng, a, b)
        self.witness = np.maximum(self.witness, self.witness.T)
        self.possible = self.witness >= 0

    def _attempt(self, rng: np.random.Generator, a: int, b: int) -> None:
        """Try to make a pair of levels by joining values that have one of the two each."""
        chosen = rng.integers(2**31, size=(ATTEMPTS, 2)).tolist()
        for number, (i, j) in enumerate(chosen):
            if self.witness[a, b] >= 0:
                return
            parts = (
                (self.pool[self.having[a][i % len(self.having[a])]], a),
                (self.pool[self.having[b][j % len(self.having[b])]], b),
            )
            base = (parts[0][0], Values(dtype=self.dtypes[0]), parts[1][0])[number % 3]
            v = self.joined(base, *parts[:: 1 if number % 2 else -1])
            ids = np.array(self.ids(v))
            new = self.witness[ids[self.left], ids[self.right]] < 0
            if new.any():
                self.witness[ids[self.left[new]], ids[self.right[new]]] = len(self.witnesses)
                self.witnesses.append(v)

    def _large(self) -> list[tuple[str, dict[str, Any]]]:
        """The rows of `LARGE` that are possible."""
        if not self.supports.large:
            return []
        possible = []
        for name, changes in LARGE.items():
            v = self.settled(Values(dtype=self.dtypes[0])._replace(**changes_for(self.op, name, changes)), MOST_LARGE)
            if name in large_of(self.op, v):
                possible.append((name, changes))
        return possible


@lru_cache(maxsize=16)
def space(op: str, dtypes: tuple[str, ...], supports: Supports) -> Space:
    """The space of an operator and what is supported, searched once in a process."""
    return Space(op, dtypes, supports)


def _offered(factor: str, dtypes: tuple[str, ...], supports: Supports) -> tuple[str, ...]:
    """Levels of a factor that the dtypes leave, and the names that padding is said to have beyond torch's."""
    if factor == "dtype":
        return dtypes
    if factor == "fill":
        return tuple(fill for fill in FACTORS[factor] if any(fill in fills.known(dtype) for dtype in dtypes))
    if factor == "padding":
        return tuple(level for level in FACTORS[factor] if level not in STRIDED_SAME or level in supports.padding_names)
    return FACTORS[factor]


def changes_for(op: str, name: str, changes: dict[str, Any]) -> dict[str, Any]:
    """The changes of a row of `LARGE` for an operator: where sums go over output channels, these become the many."""
    changes = for_axes(axes_of(op), changes, spread=False)
    if like(op) != "input" or not name.startswith("sums"):
        return changes
    other = {"inputs": "outputs", "outputs": "inputs"}
    return {other.get(field, field): value for field, value in changes.items()}
