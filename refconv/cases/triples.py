"""Triples of levels: which of them the cases so far have covered, in a bit for each. Knows spaces."""

import copy

import numpy as np

from refconv.cases.space import Space


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
