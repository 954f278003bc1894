"""Triples of levels: which of them the cases so far have covered, a bit for each triple. Knows spaces."""

import copy

import numpy as np

from refconv.cases.space import Space


class Triples:
    """Which triples of levels were covered: for every pair of levels the set of third levels, in bits."""

    def __init__(self, space: Space) -> None:
        self.left, self.right, self.size = space.left, space.right, len(space.names)
        words, bits = np.divmod(np.arange(self.size), 64)
        self.alone = np.zeros((self.size, int(words[-1]) + 1), np.uint64)  # each level as a set of its own
        self.alone[np.arange(self.size), words] = np.uint64(1) << bits.astype(np.uint64)
        self.covered = np.zeros((self.size**2, self.alone.shape[1]), np.uint64)

    def add(self, ids: np.ndarray) -> None:
        """Note the triples of a case, by the numbers of its levels, as covered."""
        self.covered[self._pairs(ids)] |= self._thirds(ids)

    def new(self, ids: np.ndarray) -> np.ndarray:
        """How many triples of each case no case before had."""
        missing = self._thirds(ids) & ~self.covered[self._pairs(ids)]
        counts: np.ndarray = np.bitwise_count(missing).sum(axis=(-2, -1), dtype=int)
        return counts

    def have(self, triples: np.ndarray) -> np.ndarray:
        """Whether each triple of ascending levels is covered."""
        a, b, c = triples.T
        covered: np.ndarray = (self.alone[c] & self.covered[a * self.size + b]).any(axis=-1)
        return covered

    def __len__(self) -> int:
        return int(np.bitwise_count(self.covered).sum(dtype=int))

    def __or__(self, other: "Triples") -> "Triples":
        merged = copy.copy(self)
        merged.covered = self.covered | other.covered
        return merged

    def _pairs(self, ids: np.ndarray) -> np.ndarray:
        """The rows of `covered` that belong to the pairs of a case."""
        rows: np.ndarray = ids[..., self.left] * self.size + ids[..., self.right]
        return rows

    def _thirds(self, ids: np.ndarray) -> np.ndarray:
        """For each pair of a case the set of the case's levels of all later factors."""
        bits = self.alone[ids]
        from_this_on = np.cumsum(bits[..., ::-1, :], axis=-2, dtype=np.uint64)[..., ::-1, :]
        later: np.ndarray = (from_this_on - bits)[..., self.right, :]
        return later
