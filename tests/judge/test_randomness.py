"""Which operands are random enough for statistics of their errors: significands and signs."""

import numpy as np
import pytest

from refconv.judge import randomness


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.full(1000, 0.1), False),
        (np.arange(1, 1000.0), False),
        (np.arange(1, 1000) / 64, False),
        (0.1 * (1 + 1e-6 * np.random.default_rng(0).standard_normal(1000)), False),
        (np.repeat(np.random.default_rng(0).standard_normal(500), 2), False),
        (np.append(np.random.default_rng(0).standard_normal(1000), 1e30 * np.ones(20)), False),
        (np.append(np.random.default_rng(0).standard_normal(1000), np.finfo("float32").max), False),
        (np.random.default_rng(0).standard_normal(1000), True),
        (np.random.default_rng(0).random(1000, "float32"), True),
        (np.zeros(10), False),
        (np.empty(0), False),
    ],
    ids=[
        "constant",
        "integers",
        "fractions",
        "nearly constant",
        "repeated",
        "the largest repeated",
        "the largest of all",
        "normal",
        "uniform",
        "zeros",
        "empty",
    ],
)
def test_random_significands(array, expected):
    assert randomness.random_significands(array.astype("float32")) == expected


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn"])
def test_random_significands_of_narrow_formats(dtype):
    """Of which there are so few that random ones repeat."""
    random = np.random.default_rng(0).standard_normal(1000).astype(dtype)
    assert randomness.random_significands(random)
    for other in (np.full(1000, 0.1), np.arange(1, 1000) % 16, np.repeat(random[:5], 100)):
        assert not randomness.random_significands(other.astype(dtype))


def test_random_signs():
    """Whatever half of a filter is larger than the other."""
    white = np.random.default_rng(0).standard_normal((8, 16, 3, 3))
    assert randomness.random_signs(white)
    assert not randomness.random_signs(np.abs(white))
    for half in (np.arange(16) < 8, np.arange(16) % 2 < 1):
        assert not randomness.random_signs(np.abs(white) * np.where(half, 1, -1)[:, None, None])
