"""The convolutional layers of well-known networks, as shapes and as cases.

Knows recipes and cases; not what is done with them.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from refconv.cases.recipe import Recipe
from refconv.core.checks import choice
from refconv.core.geometry import convolution
from refconv.judge.case import Case


@dataclass(frozen=True)
class Layer:
    """One convolution of a network, on one image, without bias.

    Attributes
    ----------
    network, name : str
        Where it stands.
    input, weight : tuple of int
        Shapes (N, C_in, H, W) and (C_out, C_in // groups, R, S).
    stride, padding, dilation : tuple of int
        Per axis, (h, w).
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

    def recipe(self, dtype: str = "float32") -> Recipe:
        """The layer on normally distributed data: kernels can be faster on zeros and constants."""
        geometry = convolution(
            self.input, self.weight, None, self.stride, self.padding, self.dilation, self.groups, "zeros"
        )
        return Recipe(geometry, self.padding, dtype=dtype, fill="normal")

    def case(self, dtype: str) -> Case:
        """The case of the recipe."""
        return self.recipe(dtype).case()

    def __str__(self) -> str:
        _, *image = self.input
        steps = ((letter, getattr(self, name)) for letter, name in (("s", "stride"), ("d", "dilation")))
        marks = [letter + _short(pair) for letter, pair in steps if pair != (1, 1)]
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
    content = json.loads((files("refconv.cases") / "data" / "conv2d_layers.json").read_text(encoding="utf-8"))
    return tuple(
        Layer(
            network=entry["net"],
            name=entry["name"],
            input=(entry["N"], entry["C"], entry["H"], entry["W"]),
            weight=(entry["K"], entry["C"] // entry["groups"], entry["R"], entry["S"]),
            stride=tuple(entry["stride"]),
            padding=tuple(entry["padding"]),
            dilation=tuple(entry["dilation"]),
            groups=entry["groups"],
        )
        for entry in content
    )


def _short(pair: tuple[int, ...]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else "x".join(map(str, pair))
