"""Layouts: which axis of an array stands where, as letters say it: NHWC for images, HWIO and HWCM for weights.

The spatial letters are L for one axis, H and W for two, D, H and W for three. Knows shapes and arrays, and of operators
their names.
"""

from typing import Any, NamedTuple

import numpy as np

from refconv.core.errors import GeometryError
from refconv.core.operators import kind_of

# By the number of spatial axes. Torch's order, in which everything is computed, and channels last.
LAYOUTS = {1: ("NCL", "NLC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}
WEIGHT_LAYOUTS = {1: ("OIL", "OLI"), 2: ("OIHW", "OHWI"), 3: ("OIDHW", "ODHWI")}
IMAGES = {axes: names[0] for axes, names in LAYOUTS.items()}
WEIGHTS = {axes: names[0] for axes, names in WEIGHT_LAYOUTS.items()}
# Of the weight of a depthwise convolution, with M filters for each channel C: TensorFlow's.
DEPTHWISE = {1: "LCM", 2: "HWCM", 3: "DHWCM"}


class Layouts(NamedTuple):
    """The layouts of all arrays of a call. Its text has them with commas between: "NHWC,HWIO,NHWC".

    Parameters
    ----------
    input, output : str
        Of the input and its size, and of the output and its gradient: the letters of "NCHW" in any order; of other
        numbers of axes likewise.
    weight : str
        Of the weight and its size: the letters of "OIHW" in any order, or "HWCM". O is the first axis that torch's
        weight has, also where the operator is a transposed convolution: that of the convolution behind it.

    Examples
    --------
    >>> layouts = Layouts("NHWC", "HWIO", "NHWC")
    >>> layouts.stored("weight", np.zeros((8, 4, 3, 5))).shape, str(layouts)
    ((3, 5, 4, 8), 'NHWC,HWIO,NHWC')
    """

    input: str = IMAGES[2]
    weight: str = WEIGHTS[2]
    output: str = IMAGES[2]

    @classmethod
    def usual(cls, axes: int) -> "Layouts":
        """Torch's, for so many spatial axes.

        >>> str(Layouts.usual(1))
        'NCL,OIL,NCL'
        """
        return cls(IMAGES[axes], WEIGHTS[axes], IMAGES[axes])

    @property
    def axes(self) -> int:
        """The number of spatial axes."""
        return len(self.input) - 2

    @property
    def are_usual(self) -> bool:
        """Whether they are torch's."""
        return self == self.usual(self.axes)

    @classmethod
    def parse(cls, text: Any, axes: int = 2) -> "Layouts":
        """The layouts of a text, for so many spatial axes; one layout alone is that of input and output.

        Raises
        ------
        GeometryError
            For letters of another rank or role.

        Examples
        --------
        >>> Layouts.parse("NHWC")
        Layouts(input='NHWC', weight='OIHW', output='NHWC')
        """
        usual, names = cls.usual(axes), text.split(",") if isinstance(text, str) else []
        if len(names) == 1:
            names = [names[0], usual.weight, names[0]]
        if len(names) != len(cls._fields):
            raise GeometryError(f"layout={text!r}: must be one layout, or those of input, weight and output")
        return cls(*(checked("layout", name, order) for name, order in zip(names, usual, strict=True)))

    def __str__(self) -> str:
        return ",".join(self)

    def stored(self, name: str, array: np.ndarray, groups: int = 1) -> np.ndarray:
        """An array of a call in its layout, of one in torch's; where it can't be, as it is.

        Parameters
        ----------
        name : str
            Which array: `"input"`, `"weight"`, `"grad_output"` or another argument, which has no layout.
        array : ndarray
            With or without a batch axis.
        groups : int
            For a depthwise weight.
        """
        layout = self._of(name)
        if layout in DEPTHWISE.values():
            return _multiplied(array, groups, self.axes)
        usual, layout = _orders(layout, array.ndim)
        return array.transpose([usual.index(letter) for letter in layout]) if layout else array

    def restored(self, name: str, array: np.ndarray) -> np.ndarray:
        """The same array in torch's layout; where it can't be, as it is."""
        layout = self._of(name)
        if layout in DEPTHWISE.values() and array.ndim == len(layout):
            filters = array.transpose(self.axes, self.axes + 1, *range(self.axes))
            return filters.reshape(-1, 1, *filters.shape[2:]) if filters.size else array
        usual, layout = _orders(layout, array.ndim)
        return array.transpose([layout.index(letter) for letter in usual]) if layout else array

    def size(self, name: str, size: tuple[int, ...], groups: int = 1) -> tuple[int, ...]:
        """The size of an array in its layout."""
        return self.stored(name.removesuffix("_size"), np.broadcast_to(np.int8(0), size), groups).shape

    def restored_size(self, name: str, size: tuple[int, ...]) -> tuple[int, ...]:
        """The size of an array in torch's layout."""
        return self.restored(name.removesuffix("_size"), np.broadcast_to(np.int8(0), size)).shape

    def _of(self, name: str) -> str:
        names = {"input": self.input, "weight": self.weight, "output": self.output, "grad_output": self.output}
        return names.get("output" if name.startswith("residual") else name, "")  # a residual is like the output


def checked(name: str, layout: Any, usual: str) -> str:
    """The layout, if it has the letters of the usual one, or is a depthwise weight's; else an error that names it.

    >>> checked("weight_layout", "NHWC", WEIGHTS[2])
    Traceback (most recent call last):
    refconv.GeometryError: weight_layout='NHWC': must have the letters of 'OIHW' in some order, or be 'HWCM'
    """
    depthwise = DEPTHWISE[len(usual) - 2] if "O" in usual else ""
    if isinstance(layout, str) and (sorted(layout) == sorted(usual) or (layout and layout == depthwise)):
        return layout
    also = f", or be {depthwise!r}" if depthwise else ""
    raise GeometryError(f"{name}={layout!r}: must have the letters of {usual!r} in some order{also}")


def result_name(op: str) -> str:
    """Which array of a call the result of an operator is like, empty for one that has no layout.

    >>> result_name("conv2d"), result_name("conv2d_input")
    ('output', 'input')
    """
    gradient = kind_of(op).rpartition("_")[2]
    return {"input": "input", "weight": "weight", "bias": ""}.get(gradient, "output")


def _orders(layout: str, axes: int) -> tuple[str, str]:
    """The usual order and the layout, for so many axes (an image may have no batch); empty where nothing is to move."""
    usual = (WEIGHTS if "O" in layout else IMAGES).get(len(layout) - 2, "")
    if axes == len(usual) - 1 and "N" in usual:
        usual, layout = usual[1:], layout.replace("N", "")
    return (usual, layout) if len(layout) == axes and layout != usual else ("", "")


def _multiplied(weight: np.ndarray, groups: int, axes: int) -> np.ndarray:
    """A depthwise weight (C M, 1, R, S) as (R, S, C, M)."""
    if weight.ndim != axes + 2 or weight.shape[1] != 1 or groups < 1 or len(weight) % groups:
        return weight
    filters = weight.reshape(groups, len(weight) // groups, *weight.shape[2:])
    return filters.transpose(*range(2, axes + 2), 0, 1)
