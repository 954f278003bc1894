"""The other operators and dtypes: the ratio to torch, and the memory that a call takes besides input and result.

Knows refconv's operators and torch's; nothing of how either works. To run it without asv, printing a table:
`python asv_bench/benchmarks/family.py`.
"""

import functools
import tracemalloc
from collections.abc import Callable

import numpy as np

import refconv
from refconv.cli import timing

Call = Callable[[], object]

# Operator, dtype, input, weight, stride, padding, groups.
CASES = {
    "conv2d float16": ("conv2d", "float16", (1, 64, 56, 56), (64, 64, 3, 3), 1, 1, 1),
    "conv2d bfloat16": ("conv2d", "bfloat16", (1, 64, 56, 56), (64, 64, 3, 3), 1, 1, 1),
    "conv2d int64": ("conv2d", "int64", (1, 64, 56, 56), (64, 64, 3, 3), 1, 1, 1),
    "conv2d int8": ("conv2d", "int8", (1, 64, 56, 56), (64, 64, 3, 3), 1, 1, 1),
    "conv2d complex64": ("conv2d", "complex64", (1, 64, 56, 56), (64, 64, 3, 3), 1, 1, 1),
    "conv2d float32, 32 groups": ("conv2d", "float32", (1, 128, 56, 56), (128, 4, 3, 3), 1, 1, 32),
    "conv2d_input float32": ("conv2d_input", "float32", (1, 64, 56, 56), (64, 64, 3, 3), 1, 1, 1),
    "conv2d_input float32, stride 2": ("conv2d_input", "float32", (1, 128, 56, 56), (128, 128, 3, 3), 2, 1, 1),
    "conv2d_weight float32": ("conv2d_weight", "float32", (1, 64, 56, 56), (64, 64, 3, 3), 1, 1, 1),
    "conv2d_weight float32, batch 32": ("conv2d_weight", "float32", (32, 64, 28, 28), (64, 64, 3, 3), 1, 1, 1),
    "conv2d_weight float32, depthwise": ("conv2d_weight", "float32", (1, 96, 56, 56), (96, 1, 3, 3), 1, 1, 96),
    "conv_transpose2d float32, stride 2": ("conv_transpose2d", "float32", (1, 64, 28, 28), (64, 64, 4, 4), 2, 1, 1),
    "conv3d float32": ("conv3d", "float32", (1, 32, 16, 28, 28), (32, 32, 3, 3, 3), 1, 1, 1),
}
TORCHS_OWN_PRECISION = {"conv2d_input", "conv2d_weight", "conv_transpose2d", "conv3d"}
SECONDS = 1.0


@functools.cache
def arrays(case: str) -> tuple[np.ndarray, np.ndarray]:
    """Input and weight. Normal data: kernels can be faster on zeros or constants; for integers, small ones."""
    _, dtype, *shapes = CASES[case][:4]
    random = np.random.default_rng(0)
    if dtype.startswith("int"):
        return tuple(random.integers(-100, 100, shape).astype(dtype) for shape in shapes)
    numbers = [random.standard_normal(shape) for shape in shapes]
    if dtype.startswith("complex"):
        numbers = [array + 1j * array[::-1] for array in numbers]
    return tuple(array.astype("float32" if dtype == "bfloat16" else dtype) for array in numbers)


@functools.cache
def calls(case: str) -> tuple[Call, Call]:
    """refconv's call and torch's, on the same tensors; sums in float64, in float32 where torch's are."""
    import torch
    from torch.nn import functional, grad

    operator, dtype, x_shape, w_shape, stride, padding, groups = CASES[case]
    x, w = (torch.from_numpy(array).to(getattr(torch, dtype)) for array in arrays(case))
    narrow = operator in TORCHS_OWN_PRECISION or "groups" in case
    ours = functools.partial(getattr(refconv, operator), precision="float32" if narrow else "float64")
    options = (stride, padding, 1, groups)
    if operator == "conv_transpose2d":
        options = (stride, padding, 0, groups, 1)
    if operator in ("conv2d_input", "conv2d_weight"):
        gradient = torch.randn(functional.conv2d(x, w, None, *options).shape)
        first, second = (x_shape, w) if operator == "conv2d_input" else (x, w_shape)
        return (
            functools.partial(ours, first, second, gradient, *options),
            functools.partial(getattr(grad, operator), first, second, gradient, *options),
        )
    theirs = getattr(functional, operator)
    return functools.partial(ours, x, w, None, *options), functools.partial(theirs, x, w, None, *options)


def ratio(case: str) -> float:
    """Median time of torch's call over that of refconv's; they take turns, with as many threads each."""
    import torch

    from refconv.engine.targets.cpu import threads

    before = torch.get_num_threads()
    torch.set_num_threads(threads.count())
    try:
        ours, theirs = calls(case)
        (time_of_ours, time_of_theirs), _ = timing.in_turns(ours, [theirs], SECONDS)
    finally:
        torch.set_num_threads(before)
    return time_of_theirs / time_of_ours


class Family:
    """refconv's times in torch's."""

    params = list(CASES)
    param_names = ("case",)

    def track_in_torchs_times(self, case: str) -> float:
        return round(1 / ratio(case), 3)

    track_in_torchs_times.unit = "torch's times"


def _image(dtype: str) -> np.ndarray:
    """1 GiB in one plane, not all of it zeros."""
    side = {1: 32768, 4: 16384}[np.dtype(dtype).itemsize]
    image = np.zeros((1, 1, side, side), dtype)
    image[..., ::97] = 1
    return image


def _batch() -> np.ndarray:
    return _image("float32").reshape(1024, 64, 64, 64)


PLANE, SQUARE = np.ones((1, 1, 3, 3), "float32"), np.ones((64, 64, 3, 3), "float32")
# A call on 1 GiB of input: of one plane, or of many small images.
LARGE: dict[str, tuple[Callable[[], np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    "conv2d": (lambda: _image("float32"), lambda x: refconv.conv2d(x, PLANE, padding=1)),
    "conv2d, int8": (lambda: _image("int8"), lambda x: refconv.conv2d(x, PLANE.astype("int8"), padding=1)),
    "conv2d_input": (lambda: _image("float32"), lambda x: refconv.conv2d_input(x.shape, PLANE, x, 1, 1)),
    "conv2d_input, reflect": (
        lambda: _image("float32"),
        lambda x: refconv.conv2d_input(x.shape, PLANE, x, 1, 1, padding_mode="reflect"),
    ),
    "conv2d_weight": (lambda: _image("float32"), lambda x: refconv.conv2d_weight(x, PLANE.shape, x, 1, 1)),
    "conv2d_bias": (lambda: _image("float32"), refconv.conv2d_bias),
    "conv_transpose2d": (lambda: _image("float32"), lambda x: refconv.conv_transpose2d(x, PLANE, None, 1, 1)),
    "conv2d_integer": (
        lambda: _image("uint8"),
        lambda x: refconv.conv2d_integer(x, PLANE.astype("int8"), 3, 1, padding=1),
    ),
    "conv2d_quantized": (
        lambda: _image("uint8"),
        lambda x: refconv.conv2d_quantized(x, 0.5, 3, PLANE.astype("int8"), 0.5, 1, 0.5, 2, padding=1),
    ),
    "conv2d, many images": (_batch, lambda x: refconv.conv2d(x, SQUARE, padding=1)),
    "conv2d_input, many images": (_batch, lambda x: refconv.conv2d_input(x.shape, SQUARE, x, 1, 1)),
    "conv2d_weight, many images": (_batch, lambda x: refconv.conv2d_weight(x, SQUARE.shape, x, 1, 1)),
    "conv2d_bias, many images": (_batch, refconv.conv2d_bias),
}


def mebibytes_beyond(case: str) -> float:
    """Most MiB that a call has allocated at a time, besides input and result."""
    make, call = LARGE[case]
    x = make()
    call(x[..., :64, :64])  # compiled before
    tracemalloc.start()
    try:
        out = call(x)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (peak - out.nbytes) / 2**20


class Memory:
    """Memory for 1 GiB of input. NumPy's allocations are traced, and there are no others of that size."""

    params = list(LARGE)
    param_names = ("case",)
    timeout = 600

    def track_mebibytes_beyond_input_and_result(self, case: str) -> float:
        return round(mebibytes_beyond(case), 1)

    track_mebibytes_beyond_input_and_result.unit = "MiB"


if __name__ == "__main__":
    for name in CASES:
        print(f"{name:40}{ratio(name):8.2f} times torch's speed", flush=True)
    for name in LARGE:
        print(f"{name:40}{mebibytes_beyond(name):8.1f} MiB beyond input and result", flush=True)
