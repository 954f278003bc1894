"""Verified cases a second: generation, oracle, judge and a cheap candidate together, in two processes.

Knows how a campaign is run; nothing of how. To run it without asv: `python asv_bench/benchmarks/verification.py`.
"""

import time
from pathlib import Path

from refconv.verification import campaign, load

CANDIDATE = Path(__file__).parents[2] / "examples" / "im2col_kernel.py"
CASES = 2000
JOBS = 2


def cases_a_second(dtype: str, seed: int) -> float:
    """Generated cases over the time from the first to the last; what workers take to start is not in it."""
    times: list[float] = []
    settings = campaign.Settings(
        cases=CASES, seed=seed, jobs=JOBS, progress=lambda *_: times.append(time.perf_counter())
    )
    kept, campaign.FIXED = campaign.FIXED, {}
    try:
        campaign.run(load(f"{CANDIDATE}:conv2d"), settings, [dtype])
    finally:
        campaign.FIXED = kept
    return (len(times) - 1) / (times[-1] - times[0])


class TrackCampaign:
    """Cases a second."""

    params = ["float32", "float64", "int8"]
    param_names = ["dtype"]
    unit = "cases/s"
    timeout = 600

    def track_cases_a_second(self, dtype: str) -> float:
        return cases_a_second(dtype, 0)


if __name__ == "__main__":
    for dtype in TrackCampaign.params:
        rates = sorted(cases_a_second(dtype, seed) for seed in range(3))
        print(f"{dtype}: {rates[1]:.0f} cases a second (from {rates[0]:.0f} to {rates[2]:.0f}), {JOBS} processes")
