"""Which share of random gates a plan enters: conjunctions of conditions that libraries choose kernels by.

    PYTHONPATH=tests/support python tests/evidence/gates.py

Nothing is computed but geometry. `tests/support/selector_gates.py` says which conditions there are; each gate is open
to a layer of a real network. A case counts if its numbers would show a lost or an exchanged term.
"""

# ruff: noqa: T201 - it prints

import numpy as np
from selector_gates import EACH, ORDERS, entries

from refconv.cases.plan import plan
from refconv.cases.supports import Supports

CASES = 1000


def main(seeds=(0, 1, 2)):
    print(f"{EACH:,} gates of each order; plans of {CASES:,} float32 cases, seeds {seeds}\n")
    print("| conditions | entered | by three cases or more |")
    print("| --- | --- | --- |")
    plans = [list(plan("conv2d", ["float32"], Supports(), CASES, seed)) for seed in seeds]
    counts = {order: np.array([entries(recipes, order) for recipes in plans]) for order in ORDERS}
    for order, of_order in counts.items():
        print(f"| {order} | {(of_order > 0).mean():.1%} | {(of_order >= 3).mean():.1%} |")
    every = np.concatenate(list(counts.values()), axis=1)
    print(f"| all | {(every > 0).mean():.1%} | {(every >= 3).mean():.1%} |")


if __name__ == "__main__":
    main()
