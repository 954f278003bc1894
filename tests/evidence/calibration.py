"""How far sound sums stay below the limits of `refconv.judge.error_statistics`: what its constants rest on.

    PYTHONPATH=tests/support python tests/evidence/calibration.py         # the table in docs/numerics.md; half a minute
    PYTHONPATH=tests/support python tests/evidence/calibration.py 5       # from another seed

No test: `tests/judge/test_statistics.py` asserts what must hold.
"""

import itertools
import sys

import numpy as np
from kernels.implementations import DIRECT, SOUND
from kernels.lowered import lowered, quiet

from refconv import Case
from refconv.core.formats import part
from refconv.judge.error_statistics import statistics

LENGTHS = (1, 3, 9, 27, 144, 576, 1152, 4608, 20_000)
OUTPUTS = ((1, 1), (4, 2), (64, 8))  # positions and filters
MULTIPLICATIONS = 1_000_000  # for each line of the table and each number of outputs


@quiet
def fused(case):
    """One fused multiply-add after the other: in float64 the products are exact."""
    low = lowered(case)
    total = np.zeros((*low.filters.shape[:2], low.columns.shape[1]), "float32")
    for term in range(low.columns.shape[-1]):
        total = (total + low.filters[:, :, None, term].astype(float) * low.columns[:, None, :, term]).astype("float32")
    return low.image(total)


NAMES = ("torch, oneDNN", "im2col and sgemm", "sequential, no FMA", "reversed", "pairwise", "split into 8")
JUDGED = (fused, *(SOUND[name].run for name in NAMES))
FILLS = {
    "normal": lambda random, shape: random.standard_normal(shape),
    "uniform": lambda random, shape: random.uniform(-1, 1, shape),
    "positive": lambda random, shape: 1 - random.random(shape),
}


def shares(case, out):
    """The four statistics of an output, as shares of their limits; none if not judged."""
    errors = out.astype(float) - case.sums.value
    judged = statistics(errors, case.sums, DIRECT, part(out.dtype), random_signs=case.random_signs)
    return [statistic.value / statistic.limit for statistic in judged]


def largest(n, fill, random):
    """The largest shares that any sound sum has, and the number of outputs tried."""
    worst, tried = np.zeros(4), 0
    for positions, filters in OUTPUTS:
        repeats = max(1, min(200, MULTIPLICATIONS // (n * positions * filters * len(JUDGED))))
        for _ in range(repeats):
            x, w = (FILLS[fill](random, (count, n, 1, 1)).astype("float32") for count in (positions, filters))
            case = Case(input=x, weight=w)
            if not case.random:
                continue  # single numbers may look as if they were not
            for sound in JUDGED:
                reached = shares(case, sound(case))
                if reached:
                    worst, tried = np.maximum(worst, reached), tried + 1
    return worst, tried


def main(seed=0):
    random = np.random.default_rng(seed)
    print("| n | fill | outputs judged | largest error | mean | mean away from zero | mean square |")  # noqa: T201
    print("|--:|---|--:|--:|--:|--:|--:|")  # noqa: T201
    for n, fill in itertools.product(LENGTHS, FILLS):
        worst, tried = largest(n, fill, random)
        print(f"| {n} | {fill} | {tried} | {' | '.join(f'{share:.2f}' for share in worst)} |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
