"""What the benchmarks share: layers of networks, arrays, torch's calls, and how two calls are timed in turns.

Knows the public names of refconv and torch alone: the suite of today measures commits of long ago, whose insides were
others. For the same reason the clock is not refconv's own: what measures must be the same for every commit.
"""

import ctypes
import functools
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

import refconv

Call = Callable[[], object]
SECONDS = 0.15
LEAST_ROUNDS = 7
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


class Layer(NamedTuple):
    """One convolution: shapes as torch has them, and the options that are not torch's defaults."""

    input: tuple[int, ...]
    weight: tuple[int, ...]
    stride: int = 1
    padding: int = 0
    groups: int = 1


LAYERS = {
    "lenet 5x5 at 28": Layer((1, 1, 28, 28), (20, 1, 5, 5)),
    "resnet50 7x7 at 224": Layer((1, 3, 224, 224), (64, 3, 7, 7), stride=2, padding=3),
    "resnet50 3x3 at 56": Layer((1, 64, 56, 56), (64, 64, 3, 3), padding=1),
    "resnet50 1x1 at 28": Layer((1, 512, 28, 28), (128, 512, 1, 1)),
    "resnext50 3x3 at 56": Layer((1, 128, 56, 56), (128, 4, 3, 3), padding=1, groups=32),
    "mobilenet_v2 3x3 at 56": Layer((1, 144, 56, 56), (144, 1, 3, 3), padding=1, groups=144),
    "convnext_tiny 7x7 at 14": Layer((1, 384, 14, 14), (384, 1, 7, 7), padding=3, groups=384),
}
# Name: dtype of the arrays, precision of refconv's sums, dtype in which torch computes.
SETTINGS = {
    "float32": ("float32", "float32", "float32"),
    "float64": ("float64", "float64", "float64"),
    "float32, sums in float64": ("float32", "float64", "float64"),
    "float32, exact": ("float32", "exact", "float64"),
}


def arrays(dtype: str, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    """Normally distributed numbers, for integers small ones: kernels can be faster on zeros or constants."""
    random = np.random.default_rng(0)
    if dtype.startswith("int"):
        return [random.integers(-100, 100, shape).astype(dtype) for shape in shapes]
    drawn = dtype if dtype in ("float32", "float64") else "float64"  # no wider than needed: peak memory is measured too
    return [random.standard_normal(shape, dtype=drawn).astype(dtype, copy=False) for shape in shapes]


@functools.cache
def arguments(layer: Layer, dtype: str) -> tuple:
    """conv2d's positional arguments, without bias."""
    return (*arrays(dtype, layer.input, layer.weight), None, layer.stride, layer.padding, 1, layer.groups)


def oracle(layer: Layer, setting: str) -> Call:
    """refconv's conv2d of the layer, on NumPy arrays."""
    dtype, precision, _ = SETTINGS[setting]
    return functools.partial(refconv.conv2d, *arguments(layer, dtype), precision=precision)


def peer(layer: Layer, setting: str) -> Call:
    """torch's conv2d of the layer, on tensors; casts, where torch computes in a wider dtype, are part of the call."""
    import torch  # not at the top: the peak memory of refconv would contain it

    dtype, _, wide = SETTINGS[setting]
    x, w, *options = arguments(layer, dtype)
    x, w, wide = torch.from_numpy(x), torch.from_numpy(w), getattr(torch, wide)
    if x.dtype == wide:
        return functools.partial(torch.nn.functional.conv2d, x, w, *options)
    return lambda: torch.nn.functional.conv2d(x.to(wide), w.to(wide), *options).to(x.dtype)


def settle() -> None:
    """Make a process's times repeatable: as many threads for torch as for refconv, and memory that stays with it.

    glibc gives freed arrays back to the system or keeps them, as it happens. A call that gets new pages each time takes
    up to five times as long: a depthwise layer of torch's 1,500 µs or 330 µs, from process to process.
    """
    import numba
    import torch

    torch.set_num_threads(numba.get_num_threads())  # Numba first: starting its threads may change torch's number
    keep = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if keep:
        keep(M_MMAP_MAX, 0)
        keep(M_TRIM_THRESHOLD, 2**31 - 1)


def low_times(calls: Sequence[Call], seconds: float = SECONDS) -> list[float]:
    """Seconds of calls that take turns, each warmed up: of ten calls nine take longer.

    Medians would do on a machine of one's own. Where others compute too, a library whose threads wait for each other
    is held up longer than one whose threads do not, and its median is another library's multiple.
    """
    for call in calls:
        call()
    times: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds * len(calls)
    while len(times[0]) < LEAST_ROUNDS or time.perf_counter() < end:
        for call, taken in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
    return [statistics.quantiles(taken, n=10, method="inclusive")[0] for taken in times]


def in_times_of(ours: Call, theirs: Call, seconds: float = SECONDS) -> float:
    """Our time over theirs. asv flags what rises, so every figure of the suite is better where it is lower."""
    settle()
    time_of_ours, time_of_theirs = low_times([ours, theirs], seconds)
    return round(time_of_ours / time_of_theirs, 3)
