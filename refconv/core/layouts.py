"""Layouts: which axis of an array stands where, as letters say it: NHWC for images, HWIO and HWCM for weights.

Knows shapes and arrays; no operator.
"""

from typing import Any, NamedTuple

import numpy as np

from refconv.core.errors import GeometryError

IMAGES, WEIGHTS = "NCHW", "OIHW"  # torch's order, in which everything is computed
DEPTHWISE = "HWCM"  # of the weight of a depthwise convolution, with M filters for each channel C: TensorFlow's
_GRADIENTS = {"conv2d_input": "input", "conv2d_weight": "weight", "conv2d_bias": ""}  # what the result is one of


class Layouts(NamedTuple):
    """The layouts of all arrays of a call. Its text has them with commas between: "NHWC,HWIO,NHWC".

    Parameters
    ----------
    input, output : str
        Of the input and its size, and of the output and its gradient: the letters of "NCHW" in any order.
    weight : str
        Of the weight and its size: the letters of "OIHW" in any order, or "HWCM". O is the first axis that torch's
        weight has, also where the operator is a transposed convolution: that of the convolution behind it.

    Examples
    --------
    >>> layouts = Layouts("NHWC", "HWIO", "NHWC")
    >>> layouts.stored("weight", np.zeros((8, 4, 3, 5))).shape, str(layouts)
    ((3, 5, 4, 8), 'NHWC,HWIO,NHWC')
    """

    input: str = IMAGES
    weight: str = WEIGHTS
    output: str = IMAGES

    @classmethod
    def parse(cls, text: Any) -> "Layouts":
        """The layouts of a text; one layout alone is that of input and output.

        Raises
        ------
        GeometryError
            For letters of another rank or role.

        Examples
        --------
        >>> Layouts.parse("NHWC")
        Layouts(input='NHWC', weight='OIHW', output='NHWC')
        """
        names = text.split(",") if isinstance(text, str) else []
        if len(names) == 1:
            names = [names[0], WEIGHTS, names[0]]
        if len(names) != len(cls._fields):
            raise GeometryError(f"layout={text!r}: must be one layout, or those of input, weight and output")
        usual = (IMAGES, WEIGHTS, IMAGES)
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
        if layout == DEPTHWISE:
            return _multiplied(array, groups)
        usual, layout = _orders(layout, array.ndim)
        return array.transpose([usual.index(letter) for letter in layout]) if layout else array

    def restored(self, name: str, array: np.ndarray) -> np.ndarray:
        """The same array in torch's layout; where it can't be, as it is."""
        layout = self._of(name)
        if layout == DEPTHWISE and array.ndim == len(DEPTHWISE):
            filters = array.transpose(2, 3, 0, 1)
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


USUAL = Layouts()


def checked(name: str, layout: Any, usual: str) -> str:
    """The layout, if it has the letters of the usual one, or is a depthwise weight's; else an error that names it.

    >>> checked("weight_layout", "NHWC", WEIGHTS)
    Traceback (most recent call last):
    refconv.GeometryError: weight_layout='NHWC': must have the letters of 'OIHW' in some order, or be 'HWCM'
    """
    if isinstance(layout, str) and (sorted(layout) == sorted(usual) or (usual == WEIGHTS and layout == DEPTHWISE)):
        return layout
    also = f", or be {DEPTHWISE!r}" * (usual == WEIGHTS)
    raise GeometryError(f"{name}={layout!r}: must have the letters of {usual!r} in some order{also}")


def result_name(op: str) -> str:
    """Which array of a call the result of an operator is like, empty for one that has no layout.

    >>> result_name("conv2d"), result_name("conv2d_input")
    ('output', 'input')
    """
    return _GRADIENTS.get(op, "output")


def _orders(layout: str, axes: int) -> tuple[str, str]:
    """The usual order and the layout, for so many axes (an image may have no batch); empty where nothing is to move."""
    usual = WEIGHTS if "O" in layout else IMAGES
    if axes == len(usual) - 1 and usual == IMAGES:
        usual, layout = usual[1:], layout.replace("N", "")
    return (usual, layout) if len(layout) == axes and layout != usual else ("", "")


def _multiplied(weight: np.ndarray, groups: int) -> np.ndarray:
    """A depthwise weight (C M, 1, R, S) as (R, S, C, M)."""
    if weight.ndim != len(DEPTHWISE) or weight.shape[1] != 1 or groups < 1 or len(weight) % groups:
        return weight
    return weight.reshape(groups, len(weight) // groups, *weight.shape[2:]).transpose(2, 3, 0, 1)
