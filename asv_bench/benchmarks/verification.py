"""Verified cases a second: generation, oracle, judge and a cheap candidate together, in two processes.

Of small cases alone, and of all that a campaign mixes: with them layers such as networks have, and large ones. Knows
how a campaign is run; nothing of how. To run it without asv: `python asv_bench/benchmarks/verification.py`.
"""

import time
from pathlib import Path
from unittest.mock import patch

from refconv.cases import plan
from refconv.verification import campaign, load, sections
from refconv.verification.settings import Settings

CANDIDATE = Path(__file__).parents[2] / "examples" / "im2col_kernel.py"
CASES = 2000
JOBS = 2


def cases_a_second(dtype: str, cases: str, seed: int) -> float:
    """Generated cases over the time from the first to the last; what workers take to start is not in it."""
    times: list[float] = []
    settings = Settings(cases=CASES, seed=seed, jobs=JOBS, progress=lambda *_: times.append(time.perf_counter()))
    small = {} if cases == "small" else None  # no layers, no large cases, no corners
    with (
        patch.object(sections, "FIXED", {}),
        patch.object(plan, "SHARES", plan.SHARES if small is None else small),
        patch.object(plan, "SHARES_OF_FIRST", plan.SHARES_OF_FIRST if small is None else small),
    ):
        campaign.run(load(f"{CANDIDATE}:conv2d"), settings, [dtype])
    return (len(times) - 1) / (times[-1] - times[0])


class Campaign:
    """What a case costs."""

    params = (["float32", "float64", "int8"], ["small", "mixed"])
    param_names = ["dtype", "cases"]
    unit = "ms a case"
    timeout = 600

    def track_verify(self, dtype: str, cases: str) -> float:
        return round(1e3 / cases_a_second(dtype, cases, 0), 3)


if __name__ == "__main__":
    for dtype in Campaign.params[0]:
        for cases in Campaign.params[1]:
            rates = sorted(cases_a_second(dtype, cases, seed) for seed in range(3))
            spread = f"from {rates[0]:.0f} to {rates[2]:.0f}"
            print(f"{dtype}, {cases}: {rates[1]:.0f} cases a second ({spread}), {JOBS} processes", flush=True)
