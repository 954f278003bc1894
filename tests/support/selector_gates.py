"""Gates: conjunctions of two to six conditions of the kind that libraries choose kernels by, each open to a real layer.

A wrong fast path is wrong behind such a gate. Nothing is computed here: a case enters a gate by its geometry, and
counts if its numbers would show a lost or an exchanged term.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache

import numpy as np

from refconv.cases.layers import network_layers
from refconv.cases.recipe import Recipe
from refconv.cases.values import Values, output_size, values_of

ORDERS = (2, 3, 4, 5, 6)
EACH = 1000  # gates of each order
SEED = 18
# Fills of which every term is seen: a term that is lost or exchanged for another changes the sum by more than rounding.
TELLING = ("integers", "normal", "uniform", "positive", "positions")


def pixels(v: Values) -> int:
    """Of the output of one image."""
    _, rows, columns = output_size(v)
    return rows * columns


def terms(v: Values) -> int:
    return v.inputs * v.rows * v.columns


Condition = Callable[[Values], bool]

# By what they are about: a gate has at most one condition of each.
CONDITIONS: dict[str, dict[str, Condition]] = {
    "kernel": {
        **{f"{n}x{n}": lambda v, n=n: v.rows == v.columns == n for n in (1, 3, 5, 7)},
        "even kernel": lambda v: v.rows % 2 == v.columns % 2 == 0,
        "unequal kernel": lambda v: v.rows != v.columns,
        "1xS": lambda v: v.rows == 1 < v.columns,
        "square kernel": lambda v: v.rows == v.columns,
    },
    "stride": {
        "stride 1": lambda v: v.stride_h == v.stride_w == 1,
        "stride 2": lambda v: v.stride_h == v.stride_w == 2,
        "stride above 1": lambda v: min(v.stride_h, v.stride_w) > 1,
        "stride as the kernel": lambda v: (v.stride_h, v.stride_w) == (v.rows, v.columns),
    },
    "dilation": {
        "dilation 1": lambda v: v.dilation_h == v.dilation_w == 1,
        "dilation above 1": lambda v: min(v.dilation_h, v.dilation_w) > 1,
    },
    "groups": {
        "dense": lambda v: v.groups == 1,
        "grouped": lambda v: v.groups > 1 < v.inputs,
        "depthwise": lambda v: v.groups > 1 == v.inputs,
    },
    "channels": {
        "C = 3": lambda v: v.inputs == 3,
        **{f"C from {n}": lambda v, n=n: v.inputs >= n for n in (4, 8, 16, 32, 64, 128)},
        **{f"C = {n}n": lambda v, n=n: v.inputs % n == 0 for n in (4, 8, 16, 32, 64, 128)},
        **{f"C not {n}n": lambda v, n=n: v.inputs % n > 0 for n in (4, 8, 16, 32, 64, 128)},
    },
    "filters": {
        **{f"K from {n}": lambda v, n=n: v.outputs >= n for n in (4, 8, 16, 32, 64, 128)},
        **{f"K = {n}n": lambda v, n=n: v.outputs % n == 0 for n in (4, 8, 16, 32, 64, 128)},
        **{f"K not {n}n": lambda v, n=n: v.outputs % n > 0 for n in (4, 8, 16, 32, 64, 128)},
    },
    "balance": {
        "C = K": lambda v: v.inputs == v.outputs,
        "C > K": lambda v: v.inputs > v.outputs,
        "K > C": lambda v: v.outputs > v.inputs,
    },
    "pixels": {
        **{f"pixels from {n}": lambda v, n=n: pixels(v) >= n for n in (49, 196, 784, 3136)},
        "pixels odd": lambda v: pixels(v) % 2 == 1,
        **{f"pixels not {n}n": lambda v, n=n: pixels(v) % n > 0 for n in (4, 8, 16)},
    },
    "terms": {f"terms above {n}": lambda v, n=n: terms(v) > n for n in (64, 128, 256, 512, 1024, 2048)},
    "padding": {
        "no padding": lambda v: v.top == v.left == v.bottom == v.right == 0,
        "padding kernel // 2": lambda v: (
            v.top == v.bottom == v.rows // 2 and v.left == v.right == v.columns // 2 and v.rows * v.columns > 1
        ),
    },
    "batch": {"one image": lambda v: v.batch == 1, "several images": lambda v: v.batch > 1},
    "bias": {"bias": lambda v: v.bias, "no bias": lambda v: not v.bias},
    "memory": {
        "contiguous": lambda v: v.first == "contiguous",
        "channels last": lambda v: v.first == "channels_last",
    },
}
NAMES = [name for conditions in CONDITIONS.values() for name in conditions]
ABOUT = np.repeat(np.arange(len(CONDITIONS)), [len(conditions) for conditions in CONDITIONS.values()])


def met(calls: Iterable[Values]) -> np.ndarray:
    """Which conditions each call meets: flags (calls, conditions)."""
    tests = [test for conditions in CONDITIONS.values() for test in conditions.values()]
    return np.array([[test(v) for test in tests] for v in calls])


def network_calls() -> list[Values]:
    """Each layer of the package's networks, in batches of 1 and 8, with and without bias, in both orders of memory."""
    return [
        v._replace(batch=batch, bias=bias, first=first)
        for v in network_layers()
        for batch in (1, 8)
        for bias in (False, True)
        for first in ("contiguous", "channels_last")
    ]


@cache
def gates(order: int, count: int = EACH, seed: int = SEED) -> list[tuple[int, ...]]:
    """Different gates of so many conditions, by number: each of conditions that one call of a network meets."""
    random, flags = np.random.default_rng([seed, order]), met(network_calls())
    drawn: dict[tuple[int, ...], None] = {}
    while len(drawn) < count:
        holding = random.permutation(np.flatnonzero(flags[random.integers(len(flags))]))
        _, first = np.unique(ABOUT[holding], return_index=True)  # one condition about each thing
        drawn[tuple(sorted(holding[np.sort(first)[:order]].tolist()))] = None
    return list(drawn)


def entries(recipes: Sequence[Recipe], order: int, count: int = EACH, seed: int = SEED) -> np.ndarray:
    """By how many of the recipes each gate of an order is entered, with numbers that tell."""
    telling = [
        recipe
        for recipe in recipes
        if recipe.fill in TELLING and all(arrangement != "broadcast" for _, arrangement in recipe.memory)
    ]
    flags = met([values_of(recipe) for recipe in telling])
    return np.array([flags[:, list(gate)].all(axis=1).sum() for gate in gates(order, count, seed)])
