"""How far sound sums stay below the limits of `refconv.suspicion`: what its constants rest on.

    python tests/calibration.py         # the table in docs/numerics.md; some minutes
    python tests/calibration.py 5       # from another seed

No test: `test_compare.py` asserts what must hold.
"""

import itertools
import sys

import numpy as np
import torch

from refconv import Case, ErrorModel
from refconv.formats import part
from refconv.suspicion import random_significands, random_signs, statistics

DIRECT = ErrorModel.direct("float32")
LENGTHS = (1, 3, 9, 27, 144, 576, 1152, 4608, 20_000)
OUTPUTS = ((1, 1), (4, 2), (64, 8))  # positions and filters
MULTIPLICATIONS = 1_000_000  # for each line of the table and each number of outputs


def sequential(x, w):
    total = np.zeros((len(w), len(x)), "float32")
    for column, tap in zip(x.T, w.T, strict=True):
        total += tap[:, None] * column
    return total


def fused(x, w):
    total = np.zeros((len(w), len(x)), "float32")
    for column, tap in zip(x.T.astype(float), w.T.astype(float), strict=True):
        total = (total + tap[:, None] * column).astype("float32")
    return total


def pairwise(x, w):
    terms = w[:, None] * x
    while terms.shape[-1] > 1:
        half = terms.shape[-1] // 2
        terms = np.concatenate(
            [terms[..., :half] + terms[..., half : 2 * half], terms[..., 2 * half :]], axis=-1
        )  # fmt: skip
    return terms[..., 0]


def split(x, w):
    """As threads share a sum."""
    stretches = zip(*(np.array_split(each, min(8, x.shape[1]), axis=1) for each in (x, w)), strict=True)
    return sum(sequential(*each) for each in stretches)


SOUND = {
    "sequential": sequential,
    "with FMA": fused,
    "reversed": lambda x, w: sequential(x[:, ::-1], w[:, ::-1]),
    "pairwise": pairwise,
    "split": split,
    "BLAS": lambda x, w: w @ x.T,
    "torch": lambda x, w: torch.nn.functional.linear(torch.tensor(w), torch.tensor(x)).numpy(),
}
FILLS = {
    "normal": lambda random, shape: random.standard_normal(shape),
    "uniform": lambda random, shape: random.uniform(-1, 1, shape),
    "positive": lambda random, shape: 1 - random.random(shape),
}


def shares(x, w, out):
    """The four statistics of a product of filters and positions, as shares of their limits; none if not judged."""
    case = Case(input=x[:, :, None, None], weight=w[:, :, None, None])
    errors = out.T.reshape(case.sums.value.shape).astype(float) - case.sums.value
    if not (random_significands(x) and random_significands(w)):
        return None  # single numbers may look as if they were not
    found = statistics(errors, case.sums, DIRECT, part(out.dtype), random_signs=random_signs(w))
    return [each.value / each.limit for each in found]


def largest(n, fill, random):
    """The largest shares that any sound sum has, and the number of outputs tried."""
    worst, tried = np.zeros(4), 0
    for positions, filters in OUTPUTS:
        repeats = max(1, min(200, MULTIPLICATIONS // (n * positions * filters * len(SOUND))))
        for _ in range(repeats):
            x, w = (FILLS[fill](random, (count, n)).astype("float32") for count in (positions, filters))
            for sound in SOUND.values():
                found = shares(x, w, sound(x, w))
                if found:
                    worst, tried = np.maximum(worst, found), tried + 1
    return worst, tried


def main(seed=0):
    random = np.random.default_rng(seed)
    print("| n | fill | outputs judged | largest error | mean | mean away from zero | mean square |")  # noqa: T201
    print("|--:|---|--:|--:|--:|--:|--:|")  # noqa: T201
    for n, fill in itertools.product(LENGTHS, FILLS):
        worst, tried = largest(n, fill, random)
        print(f"| {n} | {fill} | {tried} | {' | '.join(f'{each:.2f}' for each in worst)} |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
