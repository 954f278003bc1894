"""Sums of products, term by term or in the blocks of a tensor core: how wrong they may be before they are rounded.

Knows the sums of a call and what its operands become; not the output's format.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from refconv.core.checks import choice, integer
from refconv.core.errors import GeometryError
from refconv.core.formats import unit_roundoff
from refconv.judge.bounds.algorithm import ANYTHING, Estimate, Unrounded, accumulator_dtype
from refconv.judge.bounds.flush import NOTHING, Flush
from refconv.judge.bounds.operands import EXACT, FORMATS, PARTS, Operands, of_call
from refconv.judge.bounds.rounding import OUTWARDS, direct_sum, lost, smallest_normal
from refconv.judge.bounds.sums import Sums


@dataclass(frozen=True)
class Direct(Unrounded):
    """Products and sums in an accumulator, in any order, of operands that may be rounded first."""

    accumulator: np.dtype
    inputs: str = "exact"
    weights: str = "exact"
    sums: str = "nearest"

    forward_only = False
    limits: ClassVar[Mapping[str, int]] = ANYTHING

    @classmethod
    def of(cls, accumulator: npt.DTypeLike, operands: str, inputs: str | None, weights: str | None, sums: str) -> Self:
        """Direct sums of operands that are rounded to one format, or to one each.

        Raises
        ------
        GeometryError, TypeError
            For an unknown format, one for all operands beside one for some, an accumulator of no floating format.
        """
        choice("operands", operands, tuple(FORMATS))
        choice("sums", sums, ROUNDINGS)
        for name, value in (("inputs", inputs), ("weights", weights)):
            if value is not None and choice(name, value, tuple(PARTS)) and operands != "exact":
                raise GeometryError(f"{name}={value!r}: must not be given with operands={operands!r}, which has both")
        inputs, weights = operands if inputs is None else inputs, operands if weights is None else weights
        return cls(accumulator_dtype(accumulator), inputs, weights, sums)

    @property
    def statistical(self) -> bool:
        """Whether roundings are to nearest, so that their errors have mean 0."""
        return "tf32_truncated" not in (self.inputs, self.weights) and self.sums == "nearest"

    @property
    def unit(self) -> float:
        """Largest error of one product and its addition, relative to |x w|, but for terms of higher order."""
        operands = self._operands("conv2d")
        return operands.copies * self._roundoff + operands.product_error

    @property
    def operand_deviation(self) -> float:
        """Standard deviation of the error that rounding the operands makes in one product, relative to |x w|."""
        return self._operands("conv2d").deviation

    @property
    def _roundoff(self) -> float:
        return unit_roundoff(self.accumulator) * (1 if self.sums == "nearest" else 2)

    def _operands(self, op: str) -> Operands:
        return of_call(self.inputs, self.weights, op)

    def least(self, dtype: np.dtype) -> float:
        """Operands that are smaller lose more than a relative error by their own rounding; or 0."""
        least = self._operands("conv2d").least
        return max(least, smallest_normal(self.accumulator), smallest_normal(dtype)) if least else 0.0

    def operand_loss(self, sums: Sums) -> np.ndarray:
        """What the sums lose by operands that are so small, at most."""
        return self._operands(sums.call.op).lost(sums)

    def estimate(self, sums: Sums, flush: Flush = NOTHING) -> Estimate:
        """n u (S + d) + d, and what underflow loses, where d is the error of all products of rounded operands.

        Where operations are truncated, 2 n u (S + d).
        """
        operands = self._operands(sums.call.op)
        products = operands.error(sums, flush)
        peak = OUTWARDS * (operands.growth * sums.absolute if operands.copies > 1 else sums.absolute) + products
        error = direct_sum(
            operands.copies * sums.terms,
            peak,
            self.accumulator,
            flush_to_zero=flush.sums,
            truncated=self.sums == "truncate",
        )
        return Estimate(error + products, peak, operands.free(sums))

    def exact(self, sums: Sums) -> np.ndarray:
        """Where no order of summation rounds: sums of small integers."""
        return _small(sums, self._operands(sums.call.op), 1 / unit_roundoff(self.accumulator))

    def __str__(self) -> str:
        plain = self.accumulator == np.float32 and self.sums == "nearest"
        if self.inputs == self.weights and self.inputs in ("tf32", "tf32_truncated", "bf16x3") and plain:
            return self.inputs.replace("_truncated", ":truncate")
        named = {"inputs": self.inputs, "weights": self.weights, "sums": self.sums}
        operands = [self.inputs] if self.inputs == self.weights != "exact" else []
        if self.inputs == self.weights:
            del named["inputs"], named["weights"]
        shown = [f"{name}={value}" for name, value in named.items() if value not in ("exact", "nearest")]
        return ",".join([f"direct:{self.accumulator}", *operands, *shown])


@dataclass(frozen=True)
class TensorCore(Unrounded):
    """Blocks of exact products and the sum so far, aligned to the largest of these, truncated and added."""

    accumulator: np.dtype
    block: int
    fraction_bits: int
    operands: str = "exact"
    gpu: str = ""

    statistical = False  # it truncates
    forward_only = False
    limits: ClassVar[Mapping[str, int]] = ANYTHING

    @classmethod
    def of(
        cls,
        gpu: str | None,
        operands: str,
        block: int | None,
        fraction_bits: int | None,
        accumulator: npt.DTypeLike,
    ) -> Self:
        """The tensor core of a GPU ("A100" if nothing is given), or one with a block and fraction bits of its own.

        Raises
        ------
        GeometryError, TypeError
            For an unknown GPU, sizes below 1 or in addition to a GPU, an accumulator of no floating format.
        """
        choice("operands", operands, tuple(FORMATS))
        if block is None and fraction_bits is None:
            gpu = choice("gpu", gpu or "A100", tuple(GPUS))
            size, tf32_size, bits = GPUS[gpu]
            return cls(
                accumulator_dtype(accumulator), tf32_size if operands.startswith("tf32") else size, bits, operands, gpu
            )
        if gpu is not None:
            raise GeometryError(f"gpu={gpu!r}: must not be given with block={block} and fraction_bits={fraction_bits}")
        sizes = integer("block", block, 1), integer("fraction_bits", fraction_bits, 1)
        return cls(accumulator_dtype(accumulator), *sizes, operands)

    @property
    def unit(self) -> float:
        """Largest error of one product and its addition, relative to |x w|, but for terms of higher order."""
        truncation = 2 * unit_roundoff(self.accumulator) + 2.0**-self.fraction_bits
        return truncation + FORMATS[self.operands].product_error

    def least(self, dtype: np.dtype) -> float:
        """Operands that are smaller lose more than a relative error by their own rounding; or 0."""
        least = FORMATS[self.operands].least
        return max(least, smallest_normal(self.accumulator), smallest_normal(dtype)) if least else 0.0

    def estimate(self, sums: Sums, flush: Flush = NOTHING) -> Estimate:
        """t (S + d) / (1 - t) + d, and what underflow loses, where d is the error of the products of rounded operands.

        t has 2^-fraction_bits for every product: of a block's addends, all but the largest may lose what lies below
        so many bits after its leading one. And 3u for every block: 2u for truncating its sum to the accumulator's
        format, u for one ordinary addition, be it of the bias or of partial sums. Every loss is relative to a partial
        sum, which is at most S + d and the error itself.
        """
        operands = FORMATS[self.operands]
        products = operands.error(sums, flush)
        peak = OUTWARDS * (operands.growth * sums.absolute if operands.copies > 1 else sums.absolute) + products
        n = operands.copies * sums.terms
        loss = n * 2.0**-self.fraction_bits + self._blocks(sums, n) * 3 * unit_roundoff(self.accumulator)
        underflow = 2 * lost(n, self.accumulator, flush_to_zero=flush.sums)
        worst = OUTWARDS * loss / (1 - loss) if loss < 1 else np.inf
        return Estimate(OUTWARDS * (worst * peak + underflow + products), peak, operands.free(sums))

    def exact(self, sums: Sums) -> np.ndarray:
        """Where no order of summation rounds or truncates: sums of small integers."""
        most = min(1 / unit_roundoff(self.accumulator), 2.0 ** (self.fraction_bits + 1))
        return _small(sums, FORMATS[self.operands], most)

    def __str__(self) -> str:
        text = self.gpu or f"block={self.block},fraction_bits={self.fraction_bits}"
        operands = "" if self.operands == "exact" else f",{'' if self.gpu else 'operands='}{self.operands}"
        accumulator = "" if self.accumulator == np.float32 else f",accumulator={self.accumulator}"
        return f"tensor_core:{text}{operands}{accumulator}"

    def _blocks(self, sums: Sums, terms: int) -> int:
        """Largest number of blocks with a product, if none spans two taps of the kernel, and one for the bias."""
        run = max(1, sums.run)
        return -(-terms // run) * -(-run // self.block) + 1


@dataclass(frozen=True)
class Exact(Unrounded):
    """The exact value, rounded once."""

    accumulator = np.dtype("float64")
    statistical = False
    unit = 0.0
    forward_only = False
    limits: ClassVar[Mapping[str, int]] = ANYTHING

    def estimate(self, sums: Sums, flush: Flush = NOTHING) -> Estimate:
        """No error, but for operands that are flushed to zero."""
        error = EXACT.error(sums, flush)
        return Estimate(error, np.zeros(()), np.zeros((), bool))

    def exact(self, sums: Sums) -> np.ndarray:
        """Everywhere."""
        return np.ones(sums.value.shape, bool)

    def __str__(self) -> str:
        return "exact"


def _small(sums: Sums, operands: Operands, most: float) -> np.ndarray:
    """Where all partial sums are integers below `most`, and no operand is changed by rounding."""
    small: np.ndarray = sums.absolute < (most if sums.integral and operands.exact(sums) else 0)
    return small


ROUNDINGS = ("nearest", "truncate")

# Products in a block of float16 or bfloat16 operands, products in a block of TF32, bits kept below the leading one.
GPUS = {
    "V100": (4, 4, 23),
    "T4": (4, 4, 24),
    "A100": (8, 4, 24),
    "H100": (16, 4, 25),
}
