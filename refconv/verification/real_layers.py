"""Layers that people know: torch's documentation examples, and layers over real images, handwritten digits.

Knows recipes and, where they are installed, torchvision and scikit-learn.
"""

import os
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from refconv.cases import fills
from refconv.cases.operands import operands_of
from refconv.cases.recipe import Recipe
from refconv.core.formats import FLOATS
from refconv.core.geometry import Geometry, convolution
from refconv.judge.case import Case
from refconv.judge.given import CLAIMED

DIGITS_PER_CLASS = 2
LARGEST_PIXEL = 16  # of an integer image, so that 8 bits hold it
DIGIT_WEIGHTS = ((20, 1, 5, 5), (3, 1, 3, 3))


class DataUnavailable(Exception):
    """The images are not here: the message says what would bring them."""


class Source(Protocol):
    """Makes a case: a recipe, for instance."""

    def case(self) -> Case:
        """The case."""

    def reseeded(self, seed: int) -> Any:
        """The same call with other numbers."""

    def code(self) -> list[str]:
        """Lines of Python that make its input, weight and bias."""


def documentation_examples(dtype: str, seed: int) -> list[Source]:
    """The examples of torch.nn.Conv2d, on the input that they name.

    https://pytorch.org/docs/stable/generated/torch.nn.Conv2d.html
    """
    fill = "normal" if "normal" in fills.names(dtype) else "integers"
    layers: tuple[tuple[tuple[int, int], Any, Any, Any], ...] = (
        ((3, 3), 2, 0, 1),
        ((3, 5), (2, 1), (4, 2), 1),
        ((3, 5), (2, 1), (4, 2), (3, 1)),
    )
    return [
        Recipe(
            convolution((20, 16, 50, 100), (33, 16, *kernel), None, stride, padding, dilation, 1, "zeros"),
            padding,
            bias=True,
            dtype=dtype,
            fill=fill,
            seed=seed,
        )
        for kernel, stride, padding, dilation in layers
    ]


@dataclass(frozen=True, repr=False)
class DigitLayer:
    """A layer over one image of a handwritten digit."""

    image: int
    weight_shape: tuple[int, ...]
    dtype: str
    seed: int
    layout: str = "NCHW"
    out_dtype: str = ""
    overflow: str = ""
    epilogue: str = ""
    rounded: str = ""

    # As a recipe has them.
    op: ClassVar[str] = "conv2d"
    padding, batched, bias, fill, memory = (0, 0), True, True, "digits", ()
    quantisation, output_padding, requantize, weight_bits = "", (0, 0), "", 0

    @property
    def geometry(self) -> Geometry:
        """Shapes and options."""
        return convolution((1, 1, 28, 28), self.weight_shape, None, 1, 0, 1, 1, "zeros")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each array with four axes."""
        return {"input": (1, 1, 28, 28), "weight": self.weight_shape}

    def case(self) -> Case:
        """The case."""
        fill = "normal" if "normal" in fills.names(self.dtype) else "integers"
        _, weight, bias = fills.operands(
            fill, (1, 1, 1, 1), self.weight_shape, bias=True, dtype=self.dtype, seed=self.seed
        )
        results: dict[str, Any] = {name: value for name in CLAIMED if (value := getattr(self, name))}
        if self.epilogue:
            shape, dtype = self.geometry.output_shape, self.out_dtype or self.dtype
            results["operands"] = operands_of(self.epilogue, shape, shape[1], dtype, "normal", self.seed)
        return Case(input=digit_images(self.dtype)[self.image], weight=weight, bias=bias, **results).made_by(self)

    def __repr__(self) -> str:
        """Code that makes the layer again."""
        called = self.layout, self.out_dtype, self.overflow, self.epilogue, self.rounded
        said = "" if called == ("NCHW", "", "", "", "") else f", {', '.join(map(repr, called))}"
        return f"refconv.verification.DigitLayer({self.image}, {self.weight_shape}, {self.dtype!r}, {self.seed}{said})"

    def reseeded(self, seed: int) -> "DigitLayer":
        """The same call with other numbers."""
        return replace(self, seed=seed)

    def code(self) -> list[str]:
        """Lines of Python that make input, weight and bias."""
        return [
            f"layer = {self!r}.case()",
            "input, weight, bias = layer.input, layer.weight, layer.bias",
        ]


def digit_layers(dtype: str, seed: int) -> list[Source]:
    """A 20-channel 5x5 layer and a 3-channel 3x3 layer over some images of every digit.

    Raises
    ------
    DataUnavailable
        If there are no images here.
    """
    images = range(len(digit_images(dtype)))
    return [DigitLayer(image, weight_shape, dtype, seed) for weight_shape in DIGIT_WEIGHTS for image in images]


@cache
def digit_images(dtype: str) -> np.ndarray:
    """Some images of each digit, (images, 1, 1, 28, 28): from 0 to 1, in integers from 0 to `LARGEST_PIXEL`.

    From MNIST, where torchvision is installed and the data lie in the folder `MNIST_ROOT` (an environment variable;
    ./data if it is not set); else scikit-learn's, enlarged from 8x8.
    """
    data = _mnist() or _scikit_learn()
    if data is None:
        raise DataUnavailable("no digits: install scikit-learn, or torchvision with MNIST in MNIST_ROOT or ./data")
    images, labels = data
    chosen = np.concatenate([np.flatnonzero(labels == digit)[:DIGITS_PER_CLASS] for digit in range(10)])
    pixels = images[chosen].reshape(-1, 1, 1, 28, 28) / images.max()
    scaled = pixels if np.dtype(dtype) in FLOATS else np.rint(LARGEST_PIXEL * pixels)
    converted: np.ndarray = scaled.astype(dtype)
    return converted


def _mnist() -> tuple[np.ndarray, np.ndarray] | None:
    """Images and labels, if they are here."""
    if find_spec("torchvision") is None:
        return None
    try:
        from torchvision.datasets import MNIST

        data = MNIST(Path(os.environ.get("MNIST_ROOT", "data")), train=False, download=False)
    except (ImportError, RuntimeError):  # RuntimeError: made for another torch; or the files are not there
        return None
    return data.data.numpy(), data.targets.numpy()


def _scikit_learn() -> tuple[np.ndarray, np.ndarray] | None:
    """Images and labels, if they are here."""
    if find_spec("sklearn") is None:
        return None
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    digits = load_digits()
    return zoom(digits.images, (1, 3.5, 3.5), order=1), digits.target
