"""Recipes: how a generated case is made, in a few numbers; its tensors come from a seed.

Knows geometries, fills and cases; not who draws the numbers.
"""

from dataclasses import dataclass

from refconv import fills
from refconv.case import Case
from refconv.geometry import Geometry, Padding


@dataclass(frozen=True)
class Recipe:
    """A case before its tensors exist: small, comparable, and the same case every time.

    Parameters
    ----------
    geometry
        Shapes and options.
    padding
        The padding as the call has it, `"same"` for instance; what it means stands in the geometry.
    batched
        Whether the input has a batch axis; without one the batch is 1.
    bias
        Whether there is a bias.
    dtype, fill, seed
        As `refconv.fills.operands` takes them.

    Examples
    --------
    >>> from refconv.geometry import convolution
    >>> geometry = convolution((1, 2, 5, 5), (3, 2, 2, 2), None, 1, "same", 1, 1, "zeros")
    >>> Recipe(geometry, "same").case()
    conv2d(input=float32[1, 2, 5, 5], weight=float32[3, 2, 2, 2], bias=None, stride=(1, 1), padding='same', ...
    """

    geometry: Geometry
    padding: Padding
    batched: bool = True
    bias: bool = False
    dtype: str = "float32"
    fill: str = "integers"
    seed: int = 0

    def case(self) -> Case:
        """The case."""
        g = self.geometry
        x, w, b = fills.operands(
            self.fill, input_shape(g), weight_shape(g), bias=self.bias, dtype=self.dtype, seed=self.seed
        )
        return Case(
            input=x if self.batched else x[0],
            weight=w,
            bias=b,
            stride=g.stride,
            padding=self.padding,
            dilation=g.dilation,
            groups=g.groups,
            padding_mode=g.padding_mode,
        )

    def code(self) -> list[str]:
        """Lines of Python that make input, weight and bias."""
        g = self.geometry
        options = f"bias={self.bias}, dtype={self.dtype!r}, seed={self.seed}"
        lines = [
            "from refconv.fills import operands",
            "input, weight, bias = operands(",
            f"    {self.fill!r}, {input_shape(g)}, {weight_shape(g)}, {options}",
            ")",
        ]
        return lines if self.batched else [*lines, "input = input[0]"]


def input_shape(geometry: Geometry) -> tuple[int, ...]:
    """(N, C_in, H, W)."""
    return (geometry.batch, geometry.in_channels, *geometry.size)


def weight_shape(geometry: Geometry) -> tuple[int, ...]:
    """(C_out, C_in // groups, R, S)."""
    return (geometry.out_channels, geometry.in_channels // geometry.groups, *geometry.kernel)
