"""Receptive fields: which elements of the input an output depends on.

Knows geometry and padding; no numbers, and nothing of what came out.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from refconv.core.geometry import Geometry
from refconv.core.padding import ZERO, element


@dataclass(frozen=True)
class ReceptiveField:
    """The elements of the input that an output depends on, as indices along each axis.

    Attributes
    ----------
    batch : tuple of int
        Number of the image; empty for an input without a batch axis.
    channels : range
        Input channels of the output's group.
    places : tuple of tuple of int
        For each spatial axis, in the order of the kernel's taps; those that lie in a padding of zeros are left out,
        those that another padding mode repeats come again.
    padding : str
        What lies in the padding, in words; empty if nothing does.
    """

    batch: tuple[int, ...]
    channels: range
    places: tuple[tuple[int, ...], ...]
    padding: str

    @property
    def index(self) -> tuple[Any, ...]:
        """The index that takes the field out of the input, as an array (channels, rows, columns).

        >>> from refconv.core.geometry import convolution
        >>> g = convolution((1, 1, 4, 4), (1, 1, 3, 3), None, 1, 1, 2, 1, "zeros")
        >>> field = receptive_field(g, (0, 0, 1, 0))
        >>> print(field)
        input[0, 0:1, 0:3:2, 1:4:2]; 5 of the kernel's 9 taps lie in the padding (zeros)
        >>> np.arange(16).reshape(1, 1, 4, 4)[field.index]
        array([[[ 1,  3],
                [ 9, 11]]])
        """
        return (*self.batch, *np.ix_(self.channels, *self.places))

    def __str__(self) -> str:
        axes = [*map(str, self.batch), *(_short(axis) for axis in (self.channels, *self.places))]
        return f"input[{', '.join(axes)}]" + (f"; {self.padding}" if self.padding else "")


def receptive_field(geometry: Geometry, index: tuple[int, ...]) -> ReceptiveField:
    """The receptive field of the output at `index`, of (N, C_out, P, Q) or (C_out, P, Q), or with other axes."""
    g = geometry
    lead = len(index) - len(g.size)
    *batch, channel = index[:lead]
    group_channels = g.in_channels // g.groups
    first = channel // (g.out_channels // g.groups) * group_channels
    places, met = [], 1
    for axis, place in enumerate(index[lead:]):
        position = place * g.stride[axis] - g.padding[axis][0] + np.arange(g.kernel[axis]) * g.dilation[axis]
        inside = (position >= 0) & (position < g.size[axis])
        indices = element(position, g.size[axis], g.padding_mode)
        places.append(tuple(map(int, indices[indices != ZERO])))
        met *= int(inside.sum())
    taps = math.prod(g.kernel)
    padded = taps - met
    words = f"{padded} of the kernel's {taps} taps lie in the padding ({g.padding_mode})" if padded else ""
    return ReceptiveField(tuple(batch), range(first, first + group_channels), tuple(places), words)


def _short(indices: Any) -> str:
    """Indices in the notation of a slice if they are evenly spaced, else as a list."""
    numbers = list(indices)
    if not numbers:
        return "0:0"
    step = numbers[1] - numbers[0] if len(numbers) > 1 else 1
    if step > 0 and numbers == list(range(numbers[0], numbers[-1] + 1, step)):
        return f"{numbers[0]}:{numbers[-1] + 1}" + (f":{step}" if step > 1 else "")
    return str(numbers)
