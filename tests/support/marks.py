"""Marks of tests. `evidence`: not run by `make test`, but by `make evidence`, before a release. No test."""

import itertools

import pytest

evidence = pytest.mark.evidence


def sampled(*axes, every):
    """All combinations as parameters; of neighbors one in so many is run always, the others are evidence.

    Along each axis that is long enough each value is run always with one value at least of every other axis.
    """
    return [
        pytest.param(*values, marks=() if sum(index) % every == 0 else evidence)
        for index, values in zip(
            itertools.product(*(range(len(axis)) for axis in axes)), itertools.product(*axes), strict=True
        )
    ]
