"""A figure for each thing that users wait for or rely on: what `make dashboard` follows from commit to commit.

At most three minutes on two cores, once all is compiled. Lower is better throughout, since asv flags what rises. Knows
public names alone.
"""

import functools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import refconv

from . import common
from .common import LAYERS, SETTINGS, Layer

TORCHS_TIMES = "torch's times"
DENSE = LAYERS["resnet50 3x3 at 56"]


class Networks:
    """conv2d on layers of networks, by dtype and by what sums are accumulated in."""

    params = (list(LAYERS), list(SETTINGS))
    param_names = ("layer", "setting")
    unit = TORCHS_TIMES

    def track_conv2d(self, layer: str, setting: str) -> float:
        return common.in_times_of(*(make(LAYERS[layer], setting) for make in (common.oracle, common.peer)))


class Batches:
    """conv2d in float32 by the number of images."""

    params = (1, 8, 32)
    param_names = ("images",)
    unit = TORCHS_TIMES

    def track_conv2d(self, images: int) -> float:
        layer = DENSE._replace(input=(images, *DENSE.input[1:]))
        return common.in_times_of(common.oracle(layer, "float32"), common.peer(layer, "float32"))


class Operators:
    """The other operators on the same layer: stride 1, padding 1, and float32 sums where torch's are."""

    params = ("conv2d_input", "conv2d_weight", "conv_transpose2d", "conv1d", "conv3d", "conv2d int8", "conv2d float16")
    param_names = ("operator",)
    unit = TORCHS_TIMES

    def track_operator(self, operator: str) -> float:
        import torch

        name, _, dtype = operator.partition(" ")
        axes = int(name.partition("d")[0][-1])
        x, w = common.arrays(dtype or "float32", (1, 32, *(28,) * axes), (32, 32, *(3,) * axes))
        gradient = name in ("conv2d_input", "conv2d_weight")
        first, second = (x.shape if name == "conv2d_input" else x), (w.shape if name == "conv2d_weight" else w)
        arguments = (first, second, x if gradient else None, 1, 1)
        tensors = [torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in arguments]
        function = getattr(torch.nn.grad if gradient else torch.nn.functional, name)
        options = {} if dtype else {"precision": "float32"}
        ours = functools.partial(getattr(refconv, name), *arguments, **options)
        return common.in_times_of(ours, functools.partial(function, *tensors))


class Peak:
    """A dense layer, in the time that its operations take at the peak, which a product of two matrices has here."""

    params = ("float32", "float64")
    param_names = ("dtype",)
    unit = "times of the peak"

    def track_conv2d(self, dtype: str) -> float:
        import torch

        side, layer = 1024, Layer((1, 128, 56, 56), (128, 128, 3, 3), padding=1)
        a, b = (torch.from_numpy(array) for array in common.arrays(dtype, (side, side), (side, side)))
        ratio = common.in_times_of(common.oracle(layer, dtype), functools.partial(torch.mm, a, b), seconds=0.5)
        products = np.prod(layer.weight) * np.prod(layer.input[2:])
        return round(float(ratio * side**3 / products), 3)


class Calls:
    """What one call costs, whatever it computes: a small layer, warm, on NumPy arrays and on torch's tensors."""

    params = ("NumPy", "tensors")
    param_names = ("arrays",)
    unit = TORCHS_TIMES

    def track_small_call(self, arrays: str) -> float:
        import torch

        x, w = common.arrays("float32", (1, 2, 6, 6), (4, 2, 3, 3))
        tensors = torch.from_numpy(x), torch.from_numpy(w)
        ours = functools.partial(refconv.conv2d, *(tensors if arrays == "tensors" else (x, w)), precision="float32")
        return common.in_times_of(ours, functools.partial(torch.nn.functional.conv2d, *tensors))


def small_operands(count: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Small images and weights, of other shapes each time."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        images, channels, height, width = random.integers((1, 1, 5, 5), (4, 17, 21, 21))
        filters, *kernel = random.integers((1, 1, 1), (17, 5, 5))
        shapes = (images, channels, height, width), (filters, channels, *kernel)
        yield tuple(random.standard_normal(shape).astype("float32") for shape in shapes)


class NeverSeen:
    """Small layers of shapes that no call has had: planning counts."""

    COUNT = 300

    def track_new_geometry(self) -> float:
        import torch

        common.settle()
        spent = {refconv.conv2d: 0.0, torch.nn.functional.conv2d: 0.0}
        for seed in (0, 1):  # the first seed warms up
            spent = dict.fromkeys(spent, 0.0)
            for operands in small_operands(self.COUNT, seed):
                for function, taken in spent.items():
                    kind = torch.from_numpy if function is torch.nn.functional.conv2d else np.asarray
                    x, w = map(kind, operands)
                    start = time.perf_counter()
                    function(x, w)
                    spent[function] = taken + time.perf_counter() - start
        ours, theirs = spent.values()
        return round(ours / theirs, 3)

    track_new_geometry.unit = TORCHS_TIMES

    def track_case_and_check(self) -> float:
        results = [(*pair, refconv.conv2d(*pair, precision="float32")) for pair in small_operands(self.COUNT, 2)]
        times = []
        for x, w, result in results:
            start = time.perf_counter()
            refconv.Case(input=x, weight=w).check(result)
            times.append(time.perf_counter() - start)
        return round(1e3 * statistics.median(times), 3)

    track_case_and_check.unit = "ms"


class Campaign:
    """`refconv.verify` of a sound kernel, two processes: generation, oracle, judge and the kernel together."""

    unit = "ms a case"
    timeout = 300
    CASES = 300

    def track_verify(self) -> float:
        times: list[float] = []
        kernel = Path(__file__).parents[2] / "examples" / "im2col_kernel.py"
        sys.path.insert(0, str(kernel.parent))
        from im2col_kernel import conv2d

        refconv.verify(conv2d, cases=self.CASES, seed=0, jobs=2, progress=lambda *_: times.append(time.perf_counter()))
        return round(1e3 * (times[-1] - times[0]) / (len(times) - 1), 3)


FIRST_RESULT = "import numpy as np, refconv; refconv.conv2d(np.ones((1, 3, 32, 32), 'f4'), np.ones((8, 3, 3, 3), 'f4'))"
PROGRAMS = {  # name: program, how often, and whether with an empty cache of compiled code
    "import": ("import refconv", 5, False),
    "first result": (FIRST_RESULT, 5, False),
    "first result, nothing compiled": (FIRST_RESULT, 1, True),
    "all of it compiled": ("import sys, runpy; sys.argv[1:] = ['warmup']; runpy.run_module('refconv')", 1, True),
}


def seconds_of(name: str) -> float:
    """Seconds that a new process takes for one of the programs, the start of Python included."""
    program, repeat, cold = PROGRAMS[name]
    times = []
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, **({"NUMBA_CACHE_DIR": folder} if cold else {})}
        for attempt in range(repeat + (not cold)):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True)
            if cold or attempt:  # the first one fills the caches
                times.append(time.perf_counter() - start)
    return round(statistics.median(times), 3)


class Start:
    """Seconds until something is there."""

    params = list(PROGRAMS)[:3]
    param_names = ("until",)
    unit = "s"
    timeout = 300

    def track_start(self, until: str) -> float:
        return seconds_of(until)


class Memory:
    """Peak memory of the process: what the convolution adds is the difference from a process that does without."""

    params = ("conv2d", "nothing")
    param_names = ("what",)

    def setup(self, what: str) -> None:
        """Make the arguments, and load the compiled code, so that both processes contain it."""
        self.arguments = common.arguments(DENSE._replace(input=(16, 64, 224, 224)), "float32")
        x, *rest = self.arguments
        refconv.conv2d(x[:1, :, :64, :64], *rest)

    def peakmem_process(self, what: str) -> None:
        if what == "conv2d":
            refconv.conv2d(*self.arguments)


class Accuracy:
    """Largest error over a network layer, in units in the last place of the exact result, and of its bound."""

    params = ("float32", "float32, sums in float64", "float32, exact", "float64")
    param_names = ("setting",)

    def track_largest_error(self, setting: str) -> float:
        return float(self._judged(setting).max_ulp)

    track_largest_error.unit = "ULP"

    def track_share_of_bound(self, setting: str) -> float:
        return round(self._judged(setting).max_bound_ratio, 4)

    track_share_of_bound.unit = "of the error bound"

    def _judged(self, setting: str) -> refconv.judge.comparison.Comparison:
        call = common.oracle(DENSE, setting)
        x, w, _, stride, padding, _, groups = common.arguments(DENSE, SETTINGS[setting][0])
        case = refconv.Case(input=x, weight=w, stride=stride, padding=padding, groups=groups)
        return case.check(call())
