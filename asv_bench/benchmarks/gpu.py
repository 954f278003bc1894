"""On a GPU: the ratio to torch's conv2d there. Without one nothing is measured.

Knows refconv's conv2d and torch's, on tensors that are there already; nothing of how either works. To run it without
asv: `python asv_bench/benchmarks/gpu.py`.
"""

import functools
import statistics
from collections.abc import Callable

from refconv.cases import networks
from refconv.cli import timing
from refconv.core.errors import BackendUnavailable

LAYERS = {str(layer): layer for name in ("resnet50", "mobilenet_v2") for layer in networks.layers(name)}
PRECISIONS = ("float32", "float64")
SECONDS = 0.5

Call = Callable[[], object]


def check() -> None:
    """Tell asv to skip where there is no GPU, or none that torch can use."""
    import torch

    try:
        from refconv.arrays.gpu import device

        device.check()
    except BackendUnavailable as error:
        raise NotImplementedError(str(error)) from error
    if not torch.cuda.is_available():
        raise NotImplementedError("torch has no GPU")


@functools.cache
def calls(layer: str, precision: str) -> tuple[Call, Call]:
    """refconv's call and torch's, without TF32, on float32 tensors of the GPU: each until its result is there."""
    import torch

    import refconv

    x, w, _, *options = LAYERS[layer].case("float32").arguments()
    x, w = (torch.from_numpy(array).cuda() for array in (x, w))
    wide = getattr(torch, precision)

    def ours() -> None:
        refconv.conv2d(x, w, None, *options, precision=precision)
        torch.cuda.synchronize()

    def theirs() -> None:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            torch.nn.functional.conv2d(x.to(wide), w.to(wide), None, *options).to(x.dtype)
        torch.cuda.synchronize()

    return ours, theirs


def ratio(layer: str, precision: str) -> float:
    """Median time of torch's call over that of refconv's."""
    ours, theirs = calls(layer, precision)
    (time_of_ours, time_of_theirs), _ = timing.in_turns(ours, [theirs], SECONDS)
    return time_of_theirs / time_of_ours


class Gpu:
    """refconv's times in torch's, by what sums are accumulated in: means over the layers."""

    params = list(PRECISIONS)
    param_names = ("precision",)
    timeout = 600

    def setup(self, precision: str) -> None:
        """Skip without a GPU."""
        check()

    def track_in_torchs_times(self, precision: str) -> float:
        return round(1 / statistics.geometric_mean(ratio(layer, precision) for layer in LAYERS), 3)

    track_in_torchs_times.unit = "torch's times"


def main() -> None:
    """Print all ratios."""
    check()
    for precision in PRECISIONS:
        for layer in LAYERS:
            print(f"{precision} sums, {layer}: torch/refconv {ratio(layer, precision):.2f}", flush=True)


if __name__ == "__main__":
    main()
