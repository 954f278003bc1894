"""Huge cases: calls in which one array is so large that offsets into it do not fit 31 or 32 bits.

Such offsets are the commonest real fault of kernels for GPUs. The other arrays are as small as they can be, and the
numbers repeat with a prime period: what is read or written 2**31 or 2**32 elements off is wrong. Knows geometries and
formats; not how memory is made, nor who is judged.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from refconv.core import formats
from refconv.core.geometry import Geometry, convolution
from refconv.judge.case import Case

LIMITS = {"2**31 bytes": (2**31, True), "2**32 bytes": (2**32, True), "2**31 elements": (2**31, False)}
PERIOD = 1_000_003  # elements after which numbers repeat
CHANNELS = 523  # of a huge input, and as many terms of a sum; a prime, as the next ones are
TERMS = 1021  # of a sum with a huge weight
SIDES = 1021, 1031  # of an image with huge outputs


@dataclass(frozen=True)
class Huge:
    """A 1x1 convolution with a huge array.

    Parameters
    ----------
    array : {"input", "weight", "output"}
        Which one it is.
    passed : tuple of str
        Which of `LIMITS` its size is just above.
    geometry
        Shapes and options.
    dtype
        Of input and weight.
    seed
        Another seed gives other numbers.
    """

    array: str
    passed: tuple[str, ...]
    geometry: Geometry
    dtype: str
    seed: int = 0

    # As a recipe has them.
    op: ClassVar[str] = "conv2d"
    padding, batched, bias, fill, layout, memory = (0, 0), True, False, "integers", "NCHW", ()

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each array."""
        g = self.geometry
        return {
            "input": (1, g.in_channels, *g.size),
            "weight": (g.out_channels, g.in_channels, 1, 1),
            "output": g.output_shape,
        }

    @property
    def dtypes(self) -> dict[str, np.dtype]:
        """Dtype of each array."""
        dtype = np.dtype(self.dtype)
        return {"input": dtype, "weight": dtype, "output": formats.result_dtype(dtype)}

    @property
    def bytes(self) -> int:
        """Bytes that a call needs: of all arrays, and of a copy of the largest, which many kernels make."""
        sizes = [math.prod(shape) * self.dtypes[name].itemsize for name, shape in self.shapes.items()]
        return sum(sizes) + max(sizes)

    def case(self) -> Case:
        """A case of these shapes whose numbers are all 0; a case has copies of its arrays, so this takes memory."""
        zero = np.zeros((), self.dtype)
        return Case(
            input=np.broadcast_to(zero, self.shapes["input"]), weight=np.broadcast_to(zero, self.shapes["weight"])
        )

    def period(self, name: str) -> np.ndarray:
        """The numbers that an array repeats: integers with exact sums in every format, none of them 0."""
        random = np.random.default_rng([self.seed, len(name)])
        unsigned = np.dtype(self.dtype).kind == "u"
        return random.choice([1, 2, 3, 4] if unsigned else [-2, -1, 1, 2], PERIOD).astype(self.dtype)

    def __str__(self) -> str:
        arrays = ", ".join(f"{name}={self.dtype}{list(self.shapes[name])}" for name in ("input", "weight"))
        needed = f"{self.bytes / 2**30:.1f} GiB"
        return f"conv2d({arrays}), whose {self.array} is above {' and '.join(self.passed)} ({needed})"


def huge_cases(dtype: str, seed: int = 0) -> Iterator[Huge]:
    """Each array just above each of `LIMITS`, the smallest first.

    >>> str(next(huge_cases("uint8"))).partition(", whose ")[2]
    'weight is above 2**31 bytes and 2**31 elements (4.0 GiB)'
    """
    cases = []
    for array in ("input", "weight", "output"):
        size = Huge(array, (), _geometry(array, 1), dtype).dtypes[array].itemsize
        by_elements: dict[int, list[str]] = {}
        for name, (limit, in_bytes) in LIMITS.items():
            by_elements.setdefault(limit // size if in_bytes else limit, []).append(name)
        cases += [
            Huge(array, tuple(names), _geometry(array, elements), dtype, seed)
            for elements, names in by_elements.items()
        ]
    yield from sorted(cases, key=lambda huge: huge.bytes)


def _geometry(array: str, elements: int) -> Geometry:
    """A 1x1 convolution one of whose arrays has more than so many elements."""
    if array == "input":
        side = math.isqrt(elements // CHANNELS) + 1
        image, weight = (1, CHANNELS, side, side + 1), (1, CHANNELS, 1, 1)
    elif array == "weight":
        image, weight = (1, TERMS, 1, 1), (elements // TERMS + 2, TERMS, 1, 1)
    else:
        image, weight = (1, 1, *SIDES), (elements // math.prod(SIDES) + 2, 1, 1, 1)
    return convolution(image, weight, None, 1, 0, 1, 1, "zeros")
