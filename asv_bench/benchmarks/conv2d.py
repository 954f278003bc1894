"""conv2d on layers of real networks: time, peak memory, and the ratio to torch.

Knows `refconv.conv2d`, torch's, and how `refconv bench` compares the two; nothing of how either works.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import refconv
from refconv.cases import networks
from refconv.cli import bench
from refconv.engine.targets import cpu


class Layer(NamedTuple):
    """One convolution: shapes as torch has them, and the options that are not torch's defaults."""

    input: tuple[int, int, int, int]
    weight: tuple[int, int, int, int]
    stride: int = 1
    padding: int = 0
    groups: int = 1


LAYERS = {
    "resnet 3x3 at 56": Layer((1, 64, 56, 56), (64, 64, 3, 3), padding=1),
    "resnet 1x1 at 28": Layer((1, 512, 28, 28), (128, 512, 1, 1)),
    "resnet 7x7 at 224": Layer((1, 3, 224, 224), (64, 3, 7, 7), stride=2, padding=3),
    "depthwise 3x3 at 56": Layer((1, 144, 56, 56), (144, 1, 3, 3), padding=1, groups=144),
    "32 groups 3x3 at 56": Layer((1, 128, 56, 56), (128, 4, 3, 3), padding=1, groups=32),
    "small 3x3 at 6": Layer((1, 2, 6, 6), (4, 2, 3, 3)),
}
DTYPES = ["float32", "float64"]
PRECISIONS = ["float64", "float32", "exact"]

Call = Callable[[], object]


@functools.cache
def arguments(layer: str, dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, int, int, int]:
    """conv2d's positional arguments. Normal data: kernels can be faster on zeros or constants."""
    shape = LAYERS[layer]
    draw = np.random.default_rng(0).standard_normal
    tensors = [draw(size).astype(dtype) for size in (shape.input, shape.weight, shape.weight[:1])]
    return (*tensors, shape.stride, shape.padding, 1, shape.groups)


# asv runs setup before every timed call, so what setup makes is made once.
@functools.cache
def oracle(layer: str, dtype: str, precision: str) -> Call:
    """refconv's conv2d of the layer, compiled and warm."""
    call = functools.partial(refconv.conv2d, *arguments(layer, dtype), precision=precision)
    call()
    return call


@functools.cache
def peer(layer: str, dtype: str) -> Call:
    """torch's conv2d of the layer, warm."""
    import torch  # not at the top: the peak memory of refconv would contain it

    *tensors, stride, padding, dilation, groups = arguments(layer, dtype)
    call = functools.partial(
        torch.nn.functional.conv2d, *map(torch.from_numpy, tensors), stride, padding, dilation, groups
    )
    call()
    return call


def network_layer(layer: str) -> networks.Layer:
    """The layer, without bias, as `refconv bench` has it."""
    shape = LAYERS[layer]
    pairs = {"stride": (shape.stride,) * 2, "padding": (shape.padding,) * 2, "dilation": (1, 1)}
    return networks.Layer("asv", layer, shape.input, shape.weight, **pairs, groups=shape.groups)


class Oracle:
    """refconv, by precision."""

    params = (list(LAYERS), DTYPES, PRECISIONS)
    param_names = ("layer", "dtype", "precision")
    skip_params = [(layer, "float64", "float32") for layer in LAYERS]  # refused: sums narrower than the data

    def setup(self, layer: str, dtype: str, precision: str) -> None:
        """Compile and warm up."""
        self.call = oracle(layer, dtype, precision)

    def time_refconv(self, layer: str, dtype: str, precision: str) -> None:
        self.call()

    def track_ratio_to_torch(self, layer: str, dtype: str, precision: str) -> float:
        (row,) = bench.compare([network_layer(layer)], dtype, precision, seconds=0.5)
        return round(row.ratio(), 3)

    track_ratio_to_torch.unit = "ratio torch/refconv"


class Peer:
    """torch, to see its absolute times beside refconv's."""

    params = (list(LAYERS), DTYPES)
    param_names = ("layer", "dtype")

    def setup(self, layer: str, dtype: str) -> None:
        """Warm up."""
        self.call = peer(layer, dtype)

    def time_torch(self, layer: str, dtype: str) -> None:
        self.call()


class Memory:
    """Peak memory of the process; what the convolution adds is `peakmem_refconv` less `peakmem_reference`."""

    params = list(LAYERS)
    param_names = ("layer",)

    def setup(self, layer: str) -> None:
        """Make the arguments, and load all compiled code, so that the reference contains it too."""
        for _ in cpu.warm_up():
            pass
        self.arguments = arguments(layer, "float32")

    def peakmem_refconv(self, layer: str) -> None:
        refconv.conv2d(*self.arguments)

    def peakmem_reference(self, layer: str) -> None:
        pass
