"""Coverage: which classes of geometry the judged cases belong to, and which pairs and triples of levels they have.

Knows cases and recipes, and the levels of their factors; not who was judged on them.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from refconv.cases.levels import large
from refconv.cases.recipe import Recipe
from refconv.cases.space import Space, space
from refconv.cases.supports import Supports
from refconv.cases.triples import Triples
from refconv.cases.values import values_of
from refconv.core.checks import integer_sides
from refconv.core.geometry import Geometry
from refconv.core.layouts import IMAGES
from refconv.core.operators import BIAS, TRANSPOSED, is_transposed, kind_of
from refconv.judge.case import Case

MOST_NAMED = 1000  # missing pairs that the JSON report lists
Level = tuple[str, str]  # a factor and its level
Pair = tuple[Level, ...]


def classes(source: Any) -> list[str]:
    """Names of the classes that a case, or a recipe, belongs to.

    >>> import numpy as np
    >>> classes(Case(input=np.ones((1, 2, 1, 3)), weight=np.ones((2, 1, 1, 2)), groups=2))
    ['batch 1', 'depthwise', 'unequal size', 'unequal kernel']
    """
    met = _met(source)
    g, padding = met.geometry, met.padding
    # The geometry of a bias gradient means nothing but the shape of its output.
    relevant = OF_BIAS if kind_of(getattr(source, "op", "conv2d")) == BIAS else tuple(OF_GEOMETRY)
    names = [name for name in relevant if OF_GEOMETRY[name](g)]
    if isinstance(padding, str):
        names.append(f"padding {padding!r}")
        if padding == "same" and any(taps % 2 == 0 for taps in g.kernel):
            names.append("even kernel with 'same'")
    elif any(before != after for before, after in g.padding):
        names.append("four-sided padding")
    if g.padding_mode != "zeros":
        names.append(f"padding mode {g.padding_mode!r}")
    if any(met.output_padding):
        names.append("output padding")
    names += [name for name, holds in (("unbatched", not met.batched), ("bias", met.bias)) if holds]
    if isinstance(source, Recipe):
        names += [f"layout {source.layout}"] * (source.layout not in IMAGES.values())
        names += sorted({f"memory {arrangement!r}" for _, arrangement in source.memory})
        names += [f"zero points {source.quantisation!r}"] * bool(source.quantisation)
        names += large(source)
    return names


class _Met(NamedTuple):
    """What classes need to know, of a case and of a recipe alike."""

    geometry: Geometry
    padding: Any
    output_padding: tuple[int, ...]
    batched: bool
    bias: bool


def _met(source: Any) -> _Met:
    op, extra = getattr(source, "op", "conv2d"), getattr(source, "output_padding", (0, 0))
    if not isinstance(source, Case):
        return _Met(source.geometry, source.padding, extra, source.batched, source.bias)
    batched = all(array.ndim != source.axes + 1 for array in source.arrays.values())
    geometry = source.geometry
    if is_transposed(op):  # as the call has the padding, of which a gradient leaves out what meets nothing
        geometry = replace(geometry, padding=integer_sides(source.padding, source.axes))
    return _Met(geometry, source.padding, extra if is_transposed(op) else (), batched, source.bias is not None)


def size(source: Any) -> int:
    """Number of elements of input, weight and output, to find the smallest case.

    >>> from refconv.cases.fitting import fitted
    >>> from refconv.cases.values import Values
    >>> size(fitted("conv2d", Values(height=3, rows=2)))
    7
    """
    g: Geometry | None = getattr(getattr(source, "recipe", source), "geometry", None)
    if g is None:  # a model's run, which its own file makes
        return 0
    output = g.batch * g.out_channels * math.prod(g.output_size)
    weight = g.out_channels * g.in_channels // g.groups * math.prod(g.kernel)
    return g.batch * g.in_channels * math.prod(g.size) + weight + output


def extent(source: Any) -> dict[str, int]:
    """The sizes of a case that kernels have limits for.

    >>> from refconv.cases.fitting import fitted
    >>> from refconv.cases.values import Values
    >>> extent(fitted("conv2d", Values(height=3, rows=2)))["height"]
    3
    """
    g: Geometry | None = getattr(getattr(source, "recipe", source), "geometry", None)
    if g is None:
        return {}
    filters, shape = g.out_channels, (g.batch, g.in_channels, *g.size)
    if kind_of(getattr(source, "op", "conv2d")) == TRANSPOSED:
        shape, filters = source.shapes()["input"], g.in_channels
    images, channels, *size = shape
    names = ("depth", "height", "width")[-len(size) :]
    return {
        "images": images, "channels": channels, "filters": filters, **dict(zip(names, size, strict=True)),
        **{f"kernel {name}": taps for name, taps in zip(names, g.kernel, strict=True)},
        "terms": g.terms, "products": g.products,
    }  # fmt: skip


class Interactions:
    """Which pairs and triples of levels the judged cases have, each dtype by itself.

    Pairs that only unsupported cases have are counted apart: attempted is not covered.

    Parameters
    ----------
    op, dtypes, supports
        As given to `refconv.cases.plan`: they determine which pairs are possible.

    Examples
    --------
    >>> from refconv.cases.plan import plan
    >>> interactions = Interactions("conv2d_bias", ("float32",), Supports())
    >>> for recipe in plan("conv2d_bias", ["float32"], Supports(), 500):
    ...     interactions.add(recipe)
    >>> covered, possible = interactions.pairs
    >>> covered == possible, interactions.missing_pairs()
    (True, [])
    """

    def __init__(self, op: str, dtypes: tuple[str, ...], supports: Supports) -> None:
        self._parts = {(op, dtypes, supports): _Part.of(space(op, dtypes, supports))}

    def add(self, recipe: Recipe) -> None:
        """Count a case that was judged."""
        levels, part = self._part()
        ids = np.array(levels.ids(values_of(recipe)))
        part.covered[ids[levels.left], ids[levels.right]] = True
        part.triples.add(ids)

    def add_unsupported(self, recipe: Recipe) -> None:
        """Count a case that the candidate does not support."""
        levels, part = self._part()
        ids = np.array(levels.ids(values_of(recipe)))
        part.refused[ids[levels.left], ids[levels.right]] = True

    def _part(self) -> tuple[Space, "_Part"]:
        ((key, part),) = self._parts.items()  # only of one dtype: cases are not added to merged interactions
        return space(*key), part

    def __add__(self, other: "Interactions") -> "Interactions":
        """The interactions that either covered, or refused."""
        merged = object.__new__(Interactions)
        merged._parts = dict(self._parts)
        for key, part in other._parts.items():
            merged._parts[key] = merged._parts[key] | part if key in merged._parts else part
        return merged

    @property
    def pairs(self) -> tuple[int, int]:
        """Numbers of pairs covered, and of pairs possible: for all of these a recipe was found that has them."""
        covered = sum(int(part.covered.sum()) for part in self._parts.values())
        return covered, sum(int(part.possible(space(*key)).sum()) for key, part in self._parts.items())

    @property
    def triples(self) -> tuple[int, int]:
        """Numbers of triples covered, and of those of which all three pairs are possible.

        The second is an upper bound: three pairs may be possible that are not so together.
        """
        return (
            sum(len(part.triples) for part in self._parts.values()),
            sum(space(*key).triples() for key in self._parts),
        )

    @property
    def refused(self) -> int:
        """Number of the missing pairs that unsupported cases have."""
        return sum(int((part.refused & ~part.covered).sum()) for part in self._parts.values())

    def missing_pairs(self) -> list[Pair]:
        """The pairs possible but not covered, each as two (factor, level), and the dtype if there are several."""
        return self._named(lambda levels, part: part.possible(levels) & ~part.covered)

    def refused_pairs(self) -> list[Pair]:
        """The missing pairs that unsupported cases have."""
        return self._named(lambda _, part: part.refused & ~part.covered)

    def _named(self, which: Callable[[Space, "_Part"], np.ndarray]) -> list[Pair]:
        pairs = []
        for key, part in self._parts.items():
            levels, (_, dtypes, _) = space(*key), key
            dtype = [("dtype", ", ".join(dtypes))] * (len(self._parts) > 1)
            pairs += [(levels.names[a], levels.names[b], *dtype) for a, b in np.argwhere(which(levels, part)).tolist()]
        return pairs

    def shares(self) -> Mapping[tuple[str, str], tuple[int, int]]:
        """For each two factors, the numbers of pairs of their levels that are covered, and that are possible."""
        counts: dict[tuple[str, str], tuple[int, int]] = {}
        for key, part in self._parts.items():
            levels = space(*key)
            starts = np.flatnonzero(np.diff(levels.factor_of, prepend=-1))
            done, possible = (
                np.add.reduceat(np.add.reduceat(flags.astype(int), starts, 0), starts, 1)
                for flags in (part.covered, part.possible(levels))
            )
            for a, b in zip(levels.left, levels.right, strict=True):
                names = levels.factors[a], levels.factors[b]
                so_far = counts.get(names, (0, 0))
                counts[names] = so_far[0] + int(done[a, b]), so_far[1] + int(possible[a, b])
        return counts

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the counts, and the matrix of factors."""
        return {
            "pairs": list(self.pairs),
            "triples": list(self.triples),
            "refused": self.refused,
            "missing": len(self.missing_pairs()),
            "shares": [
                {"factors": list(factors), "covered": covered, "possible": possible}
                for factors, (covered, possible) in self.shares().items()
            ],
        }


class _Part(NamedTuple):
    """Covered and refused pairs of one space: flags [i, j] for the levels numbered i < j; and covered triples."""

    covered: np.ndarray
    refused: np.ndarray
    triples: Triples

    @classmethod
    def of(cls, levels: Space) -> "_Part":
        """A part in which nothing is covered yet."""
        return cls(np.zeros_like(levels.possible), np.zeros_like(levels.possible), Triples(levels))

    def possible(self, levels: Space) -> np.ndarray:
        """The possible pairs, i < j: those that the search found, and those that a case has although it did not."""
        possible: np.ndarray = np.triu(levels.possible) | self.covered
        return possible

    def __or__(self, other: "_Part") -> "_Part":
        return _Part(self.covered | other.covered, self.refused | other.refused, self.triples | other.triples)


def _listed(pair: Pair) -> list[list[str]]:
    return [list(level) for level in pair]


def _depthwise(g: Geometry) -> bool:
    return g.groups == g.in_channels > 1


def _remainders(g: Geometry) -> list[int]:
    """Rows or columns that the last step of the stride leaves over, for axes with a stride."""
    return [axis.left_over for axis in g.axes if axis.stride > 1]


def _near_power_of_two(size: int) -> bool:
    """Whether a size is 8, 16, 32, ... or one more or less."""
    return size >= 7 and any((size + step).bit_count() == 1 for step in (-1, 0, 1))


OF_GEOMETRY: dict[str, Callable[[Geometry], bool]] = {
    "batch 0": lambda g: g.batch == 0,
    "batch 1": lambda g: g.batch == 1,
    "batch above 1": lambda g: g.batch > 1,
    "depthwise": _depthwise,
    "depthwise, multiplier above 1": lambda g: _depthwise(g) and g.out_channels > g.in_channels,
    "grouped, not depthwise": lambda g: 1 < g.groups < g.in_channels,
    "stride": lambda g: max(g.stride) > 1,
    "stride above kernel": lambda g: any(step > taps for step, taps in zip(g.stride, g.kernel, strict=True)),
    "stride leaves 0 over": lambda g: 0 in _remainders(g),
    "stride leaves 1 over": lambda g: 1 in _remainders(g),
    "stride leaves 2 or more over": lambda g: max(_remainders(g), default=0) > 1,
    "dilation": lambda g: max(g.dilation) > 1 and max(axis.extent for axis in g.axes) > max(g.kernel),
    "unequal size": lambda g: len(set(g.size)) > 1,
    "unequal kernel": lambda g: len(set(g.kernel)) > 1,
    "unequal stride": lambda g: len(set(g.stride)) > 1,
    "unequal padding": lambda g: len(set(g.padding)) > 1,
    "unequal dilation": lambda g: len(set(g.dilation)) > 1,
    "kernel larger than input": lambda g: any(axis.extent > axis.size for axis in g.axes),
    "padding": lambda g: any(map(any, g.padding)),
    "padding not below kernel": lambda g: any(max(p) >= taps for p, taps in zip(g.padding, g.kernel, strict=True)),
    "1x1 kernel": lambda g: max(g.kernel) == 1,
    "output of size 1": lambda g: max(g.output_size) == 1,
    "size near a power of two": lambda g: any(map(_near_power_of_two, g.size)),
    "channels near a power of two": lambda g: any(map(_near_power_of_two, (g.in_channels, g.out_channels))),
}
OF_BIAS = ("batch 0", "batch 1", "batch above 1")
