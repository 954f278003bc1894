"""Exact sums beside torch's in float64, beside the naive loops compiled, and how many sums are redone.

Knows refconv's conv2d, and how `refconv bench` compares it with torch's; nothing of how either works. To run it without
asv, printing a table for each layer: `python asv_bench/benchmarks/exact.py`.
"""

import functools
import statistics
from collections.abc import Callable

from numba import njit, prange

import refconv
from refconv.cases import networks
from refconv.cli import bench, timing

LAYERS = {str(layer): layer for layer in networks.layers("resnet50")}
DTYPES = ("float64", "float32")

Call = Callable[[], object]


@njit(parallel=True)
def naive(x, w, out, stride, padding):
    """The seven loops, as one writes them down; float64 sums, all threads, no groups and no dilation."""
    for k in prange(w.shape[0]):
        for n in range(x.shape[0]):
            for p in range(out.shape[2]):
                for q in range(out.shape[3]):
                    total = 0.0
                    for c in range(w.shape[1]):
                        for r in range(w.shape[2]):
                            for s in range(w.shape[3]):
                                row, column = p * stride[0] + r - padding[0], q * stride[1] + s - padding[1]
                                if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
                                    total += x[n, c, row, column] * w[k, c, r, s]
                    out[n, k, p, q] = total


def arguments(layer: str, dtype: str) -> tuple:
    """conv2d's positional arguments."""
    return LAYERS[layer].case(dtype).arguments()


def ratio(ours: Call, theirs: Call) -> float:
    """The other side's median time over refconv's."""
    (time_of_ours, time_of_theirs), _ = timing.in_turns(ours, [theirs], 0.0)
    return time_of_theirs / time_of_ours


@functools.cache
def beside_torch(layer: str, dtype: str) -> float:
    """torch's time in float64 over refconv's, as `refconv bench --precision exact` has it."""
    (row,) = bench.compare([LAYERS[layer]], dtype, "exact")
    return row.ratio()


@functools.cache
def beside_naive(layer: str, dtype: str) -> float:
    """The naive loops' time over refconv's."""
    x, w, _, stride, padding, *rest = arguments(layer, dtype)
    out = refconv.conv2d(x, w, None, stride, padding, *rest)
    wide = [array.astype("float64") for array in (x, w)]
    return ratio(
        functools.partial(refconv.conv2d, x, w, None, stride, padding, *rest, precision="exact"),
        functools.partial(naive, *wide, out.astype("float64"), stride, padding),
    )


def redone(layer: str, dtype: str) -> int:
    """Number of sums that are computed a second time."""
    with refconv.count_redone() as count:
        refconv.conv2d(*arguments(layer, dtype), precision="exact")
    return count.redone


def mean(ratio_of: Callable[[str, str], float], dtype: str) -> float:
    """Geometric mean over the layers."""
    return statistics.geometric_mean(ratio_of(layer, dtype) for layer in LAYERS)


class Exact:
    """refconv's times in those of torch and of the naive loops: means over the layers of resnet50."""

    params = list(DTYPES)
    param_names = ("dtype",)
    timeout = 600

    def track_in_torchs_times(self, dtype: str) -> float:
        return round(1 / mean(beside_torch, dtype), 3)

    track_in_torchs_times.unit = "torch's times in float64"

    def track_in_loops_times(self, dtype: str) -> float:
        return round(1 / mean(beside_naive, dtype), 4)

    track_in_loops_times.unit = "times of naive loops"


def main() -> None:
    """Print all ratios. torch comes first: the naive loops have threads of their own, which would slow it down."""
    both = [(layer, dtype) for dtype in DTYPES for layer in LAYERS]
    torchs = {pair: beside_torch(*pair) for pair in both}
    loops = {pair: beside_naive(*pair) for pair in both}
    for dtype in DTYPES:
        print(f"{dtype:<28} torch float64 / exact   naive / exact   redone")
        for layer in LAYERS:
            times = f"{torchs[layer, dtype]:>21.2f} {loops[layer, dtype]:>15.1f}"
            print(f"{layer:<28} {times} {redone(layer, dtype):>8}")
        means = [statistics.geometric_mean(ratios[layer, dtype] for layer in LAYERS) for ratios in (torchs, loops)]
        print(f"{'geometric mean':<28} {means[0]:>21.2f} {means[1]:>15.1f}\n")


if __name__ == "__main__":
    main()
