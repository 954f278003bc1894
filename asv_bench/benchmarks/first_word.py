"""The first word of a failure: from the start of `refconv verify` to the line that names a property which fails.

Knows the command line; nothing of how it works. To run it without asv: `python asv_bench/benchmarks/first_word.py`.
"""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
KERNEL = "examples/wrong_kernel.py:conv2d"
SAID = "fails"  # the line on standard error that names the property


def seconds() -> float:
    """How long a user waits for the first failure of a deliberately wrong kernel, all that is imported included."""
    command = [sys.executable, "-m", "refconv", "verify", str(ROOT / KERNEL)]
    start = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stderr is not None  # noqa: S101
            if not any(SAID in line for line in process.stderr):
                raise RuntimeError(f"{KERNEL}: no failure was told")
            return time.perf_counter() - start
        finally:
            process.kill()


class FirstWord:
    """What the author of a wrong kernel waits."""

    unit = "s"
    timeout = 120

    def setup_cache(self) -> None:
        """Compile what is compiled once for a machine."""
        seconds()

    def track_first_failure(self) -> float:
        return round(sorted(seconds() for _ in range(3))[1], 2)


if __name__ == "__main__":
    seconds()
    times = sorted(seconds() for _ in range(5))
    print(f"first failure told after {times[2]:.2f} s (from {times[0]:.2f} to {times[-1]:.2f})")
