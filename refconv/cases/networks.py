"""The convolutional layers of well-known networks, as shapes and as cases.

Those with one spatial axis: wav2vec 2.0 (Baevski et al., NeurIPS 2020, arXiv:2006.11477; one second of 16 kHz),
Conformer (Gulati et al., Interspeech 2020, arXiv:2005.08100; depthwise kernels of 31 as NeMo and torchaudio have them,
ten seconds), WaveNet (van den Oord et al., 2016, arXiv:1609.03499; channels of `wavenet_params.json` in
ibab/tensorflow-wavenet). With three: I3D (Carreira and Zisserman, CVPR 2017, arXiv:1705.07750; blocks 3b, 4b and 5b, 64
frames), R(2+1)D (Tran et al., CVPR 2018, arXiv:1711.11248; torchvision's `r2plus1d_18`, 16 frames), 3D U-Net (Cicek et
al., MICCAI 2016, arXiv:1606.06650; all but the largest layer).

Knows recipes and cases; not what is done with them.
"""

import itertools
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from refconv.cases.recipe import Recipe
from refconv.core.checks import choice
from refconv.core.geometry import convolution
from refconv.core.operators import CONV, named
from refconv.judge.case import Case

FILES = ("conv2d_layers.json", "conv1d_layers.json", "conv3d_layers.json")


@dataclass(frozen=True)
class Layer:
    """One convolution of a network, on one image, without bias.

    Attributes
    ----------
    network, name : str
        Where it stands.
    input, weight : tuple of int
        Shapes (N, C_in, H, W) and (C_out, C_in // groups, R, S), or those of one spatial axis or three.
    stride, padding, dilation : tuple of int
        Per axis, (h, w) of two.
    groups : int
        As in `refconv.conv2d`.
    """

    network: str
    name: str
    input: tuple[int, ...]
    weight: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @property
    def op(self) -> str:
        """The operator: conv1d, conv2d or conv3d."""
        return named(CONV, len(self.stride))

    def recipe(self, dtype: str = "float32") -> Recipe:
        """The layer on normally distributed data: kernels can be faster on zeros and constants."""
        geometry = convolution(
            self.input, self.weight, None, self.stride, self.padding, self.dilation, self.groups, "zeros"
        )
        return Recipe(geometry, self.padding, dtype=dtype, fill="normal", op=self.op)

    def case(self, dtype: str) -> Case:
        """The case of the recipe."""
        return self.recipe(dtype).case()

    def __str__(self) -> str:
        _, *image = self.input
        steps = ((letter, getattr(self, name)) for letter, name in (("s", "stride"), ("d", "dilation")))
        marks = [letter + _short(numbers) for letter, numbers in steps if max(numbers) > 1]
        marks += [f"g{self.groups}"] if self.groups > 1 else []
        kernel = "x".join(map(str, self.weight[2:]))
        return " ".join([f"{'x'.join(map(str, image))} -> {self.weight[0]}, {kernel}", *marks])


def networks() -> tuple[str, ...]:
    """Names of the networks whose layers are known."""
    return tuple(dict.fromkeys(layer.network for layer in layers()))


def layers(network: str | None = None) -> tuple[Layer, ...]:
    """The different convolutions of one network, or of all.

    Parameters
    ----------
    network : str, optional
        One of `networks()`.

    Raises
    ------
    GeometryError
        A `ValueError`: for a network that is not among them.

    Examples
    --------
    >>> print(layers("resnet50")[0])
    3x224x224 -> 64, 7x7 s2
    """
    if network is None:
        return _layers()
    choice("network", network, networks())
    return tuple(layer for layer in _layers() if layer.network == network)


@cache
def _layers() -> tuple[Layer, ...]:
    folder = files("refconv.cases") / "data"
    content = (json.loads((folder / name).read_text(encoding="utf-8")) for name in FILES)
    return tuple(map(_layer, itertools.chain.from_iterable(content)))


def _layer(entry: dict[str, Any]) -> Layer:
    size, kernel = ([entry[letter] for letter in letters if letter in entry] for letters in ("LDHW", "QRS"))
    return Layer(
        network=entry["net"],
        name=entry["name"],
        input=(entry["N"], entry["C"], *size),
        weight=(entry["K"], entry["C"] // entry["groups"], *kernel),
        stride=tuple(entry["stride"]),
        padding=tuple(entry["padding"]),
        dilation=tuple(entry["dilation"]),
        groups=entry["groups"],
    )


def _short(numbers: tuple[int, ...]) -> str:
    return str(numbers[0]) if len(set(numbers)) == 1 else "x".join(map(str, numbers))
