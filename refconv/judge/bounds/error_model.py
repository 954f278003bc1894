"""Error models: what an implementation says of how it computes, and the error that it may then make.

Knows algorithms and the sums of a call; not the call itself, and nothing of how outputs are judged.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from refconv.core import formats
from refconv.core.checks import choice
from refconv.core.errors import GeometryError
from refconv.core.geometry import Geometry
from refconv.judge.bounds.algorithm import Algorithm, accumulator_dtype, refusal
from refconv.judge.bounds.direct import Direct, Exact, TensorCore
from refconv.judge.bounds.fft import FFT
from refconv.judge.bounds.model_text import FLAGS, parts_of, with_flags
from refconv.judge.bounds.operands import FORMATS
from refconv.judge.bounds.rounding import OUTWARDS, rounded
from refconv.judge.bounds.sums import Sums
from refconv.judge.bounds.winograd import Winograd


@dataclass(frozen=True)
class ErrorModel:
    """What an implementation may get wrong. Made by the class methods below, or by `parse` from text.

    Examples
    --------
    >>> model = ErrorModel.tf32()
    >>> str(model), str(model.accumulator), model.statistical
    ('tf32', 'float32', True)
    """

    algorithm: Algorithm
    flush_to_zero: bool = False
    bias_after_rounding: bool = False

    @classmethod
    def direct(
        cls,
        accumulator: npt.DTypeLike = "float32",
        operands: str = "exact",
        *,
        flush_to_zero: bool = False,
        bias_after_rounding: bool = False,
    ) -> Self:
        """Products and sums in an accumulator, in any order, with or without fused multiply-adds.

        Parameters
        ----------
        accumulator : dtype
            A floating format.
        operands : {"exact", "tf32", "tf32_truncated", "bfloat16", "float16", "bf16x3"}
            What input and weight are rounded to before they are multiplied.
        flush_to_zero : bool
            Whether subnormal operands, partial sums and outputs may become zero.
        bias_after_rounding : bool
            Whether the bias is added to the sum that is already rounded to the output's format.

        References
        ----------
        Jeannerod and Rump, "Improved error bounds for inner products in floating-point arithmetic", SIAM J. Matrix
        Anal. Appl. 34 (2013): n u S.

        Examples
        --------
        >>> str(ErrorModel.direct("float16", flush_to_zero=True))
        'direct:float16,flush_to_zero'
        """
        choice("operands", operands, tuple(FORMATS))
        return cls(Direct(accumulator_dtype(accumulator), operands), flush_to_zero, bias_after_rounding)

    @classmethod
    def tf32(cls, rounding: str = "nearest", *, flush_to_zero: bool = False, bias_after_rounding: bool = False) -> Self:
        """Operands in TensorFloat-32 (11 significant bits), rounded or truncated; exact products, float32 sums.

        Parameters
        ----------
        rounding : {"nearest", "truncate"}
            How operands become TF32.
        flush_to_zero, bias_after_rounding
            As in `direct`.

        References
        ----------
        NVIDIA, "NVIDIA A100 Tensor Core GPU Architecture" (2020), for the format; (2u + u^2) S for its operands.

        Examples
        --------
        >>> str(ErrorModel.tf32("truncate"))
        'tf32:truncate'
        """
        operands = {"nearest": "tf32", "truncate": "tf32_truncated"}[choice("rounding", rounding, ROUNDINGS)]
        return cls.direct("float32", operands, flush_to_zero=flush_to_zero, bias_after_rounding=bias_after_rounding)

    @classmethod
    def bf16x3(cls, *, flush_to_zero: bool = False, bias_after_rounding: bool = False) -> Self:
        """Operands as sums of two bfloat16, three products of their four, float32 sums.

        Parameters
        ----------
        flush_to_zero, bias_after_rounding
            As in `direct`.

        References
        ----------
        Henry, Tang and Heinecke, "Leveraging the bfloat16 artificial intelligence datatype for higher-precision
        computations", ARITH 2019; XLA calls it BF16_BF16_F32_X3.

        Examples
        --------
        >>> ErrorModel.bf16x3().unit < ErrorModel.tf32().unit
        True
        """
        return cls.direct("float32", "bf16x3", flush_to_zero=flush_to_zero, bias_after_rounding=bias_after_rounding)

    @classmethod
    def tensor_core(
        cls,
        gpu: str | None = None,
        operands: str = "exact",
        *,
        block: int | None = None,
        fraction_bits: int | None = None,
        accumulator: npt.DTypeLike = "float32",
        flush_to_zero: bool = False,
        bias_after_rounding: bool = False,
    ) -> Self:
        """Blocks of exact products, aligned to the largest, truncated, and added without rounding in between.

        Parameters
        ----------
        gpu : {"V100", "T4", "A100", "H100"}, optional
            The GPU whose block and bits are meant; "A100" if neither it nor these are given.
        operands : str
            As in `direct`.
        block : int, optional
            Number of products that are added at a time.
        fraction_bits : int, optional
            Number of bits that are kept below the leading one of the largest addend: float32's 23 and any extra ones.
        accumulator : dtype
            Format of the sums.
        flush_to_zero, bias_after_rounding
            As in `direct`.

        References
        ----------
        Fasi, Higham, Mikaitis and Pranesh, "Numerical behavior of NVIDIA tensor cores", PeerJ Computer Science 7:e330
        (2021) for V100, T4 and A100; Khattak and Mikaitis, "Accurate models of NVIDIA tensor cores", arXiv:2512.07004
        (2025) for H100.

        Examples
        --------
        >>> str(ErrorModel.tensor_core("A100", "tf32")), str(ErrorModel.tensor_core(block=32, fraction_bits=13))
        ('tensor_core:A100,tf32', 'tensor_core:block=32,fraction_bits=13')
        """
        choice("operands", operands, tuple(FORMATS))
        algorithm = TensorCore.of(gpu, operands, block, fraction_bits, accumulator)
        return cls(algorithm, flush_to_zero, bias_after_rounding)

    @classmethod
    def winograd(
        cls,
        m: int,
        r: int,
        accumulator: npt.DTypeLike = "float32",
        *,
        flush_to_zero: bool = False,
        bias_after_rounding: bool = False,
    ) -> Self:
        """Winograd's minimal filtering F(m x m, r x r), tiles wherever they may lie.

        Parameters
        ----------
        m, r : int
            Sizes of the tiles of the output and of the kernel.
        accumulator : dtype
            Format of transforms and sums.
        flush_to_zero, bias_after_rounding
            As in `direct`.

        Raises
        ------
        GeometryError
            For m and r that have no customary transform.

        References
        ----------
        Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016, for the transforms; Barabasz,
        Anderson, Soodhalter and Gregg, "Error analysis and improving the accuracy of Winograd convolution for deep
        neural networks", ACM Trans. Math. Softw. 46 (2020), for their error.

        Examples
        --------
        >>> str(ErrorModel.winograd(4, 3))
        'winograd:4,3'
        """
        return cls(Winograd(accumulator_dtype(accumulator), m, r), flush_to_zero, bias_after_rounding)

    @classmethod
    def fft(
        cls,
        accumulator: npt.DTypeLike = "float32",
        *,
        flush_to_zero: bool = False,
        bias_after_rounding: bool = False,
    ) -> Self:
        """Fast Fourier transforms of input and filters, their products added, and transformed back.

        Parameters
        ----------
        accumulator : dtype
            Format of the real and the imaginary parts.
        flush_to_zero, bias_after_rounding
            As in `direct`.

        References
        ----------
        Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed. (2002), theorem 24.2.

        Examples
        --------
        >>> str(ErrorModel.fft())
        'fft'
        """
        return cls(FFT(accumulator_dtype(accumulator)), flush_to_zero, bias_after_rounding)

    @classmethod
    def exact(cls, *, flush_to_zero: bool = False, bias_after_rounding: bool = False) -> Self:
        """The exact value, rounded once: what is not the oracle's own output is wrong.

        Parameters
        ----------
        flush_to_zero, bias_after_rounding
            As in `direct`.

        Examples
        --------
        >>> str(ErrorModel.exact())
        'exact'
        """
        return cls(Exact(), flush_to_zero, bias_after_rounding)

    @classmethod
    def inferred(cls, dtype: npt.DTypeLike) -> Self:
        """The direct model of an implementation that says nothing: float32 sums of float32 and narrower formats.

        Parameters
        ----------
        dtype : dtype
            Of the operands; of complex ones the parts are summed.

        Examples
        --------
        >>> str(ErrorModel.inferred("float16")), str(ErrorModel.inferred("complex128"))
        ('direct:float32', 'direct:float64')
        """
        return cls.direct("float64" if formats.part(np.dtype(dtype)) == np.float64 else "float32")

    @classmethod
    def parse(cls, name: str) -> Self:
        """The model of a text: the name of a class method, then its arguments.

        Parameters
        ----------
        name : str
            "tf32", "direct:float16", "winograd:2,3", "tensor_core:block=8,fraction_bits=24", "fft:flush_to_zero", ...

        Raises
        ------
        GeometryError
            For a name or arguments that no model has.

        Examples
        --------
        >>> ErrorModel.parse("winograd:2,3") == ErrorModel.winograd(2, 3)
        True
        """
        kind, positional, named = parts_of(name)
        make = getattr(cls, choice("model", kind, KINDS))
        try:
            inspect.signature(make).bind(*positional, **named)
            model: Self = make(*positional, **named)
        except (TypeError, GeometryError) as error:
            raise GeometryError(f"model={name!r}: {error}") from None
        return model

    def __str__(self) -> str:
        return with_flags(str(self.algorithm), [flag for flag in FLAGS if getattr(self, flag)])

    @property
    def accumulator(self) -> np.dtype:
        """Format in which sums are accumulated."""
        return self.algorithm.accumulator

    @property
    def unit(self) -> float:
        """Largest error of one product and its addition, relative to ``|x w|``, but for terms of higher order.

        0 where no error belongs to one product: transforms, and no errors at all.
        """
        return self.algorithm.unit

    @property
    def statistical(self) -> bool:
        """Whether errors have mean 0 and add up as independent ones do, where significands are random.

        Not if something is truncated, transformed, flushed to zero, or rounded to the output's format on the way.
        """
        return self.algorithm.statistical and not self.flush_to_zero and not self.bias_after_rounding

    def supports(self, geometry: Geometry) -> bool:
        """Whether the algorithm can compute such a convolution at all.

        >>> from refconv.core.geometry import convolution
        >>> strided = convolution((1, 1, 8, 8), (1, 1, 3, 3), None, 2, 1, 1, 1, "zeros")
        >>> ErrorModel.winograd(2, 3).supports(strided), ErrorModel.fft().supports(strided)
        (False, True)
        """
        return not refusal(self.algorithm, geometry)

    def limits(self, op: str = "conv2d") -> Mapping[str, int]:
        """What convolutions its errors are known of: the numbers that these options must have on both axes.

        Raises
        ------
        GeometryError
            If it knows nothing of an operator.

        Examples
        --------
        >>> ErrorModel.winograd(2, 3).limits()
        {'stride': 1, 'dilation': 1, 'kernel': 3}
        """
        if self.algorithm.forward_only and op != "conv2d":
            raise GeometryError(f"model={str(self)!r}: its errors are known of a conv2d only, not of a {op}")
        return self.algorithm.limits

    def bound(self, sums: Sums, out: npt.DTypeLike) -> np.ndarray:
        """Largest admissible error ``|actual - e|`` of each output against the exact, unrounded value e.

        Rounding to the output's format is included. All is rounded outwards: the bound never undershoots.

        Parameters
        ----------
        sums : Sums
            The sums behind the outputs.
        out : dtype
            Floating format of the output (of complex numbers, of the parts).

        Returns
        -------
        ndarray of float64
            In the shape of `sums.value`. 0 where the exact value rounded once, that very number, must come out: where
            sums of integers are exact, and everywhere under `exact`; and where NaN or infinity must. Infinite where
            anything goes: a number on the way may overflow, or NaN and infinity spread beyond the outputs that they
            belong to.

        Raises
        ------
        GeometryError
            If the algorithm can't compute such a convolution.
        """
        self.limits(sums.call.op)
        if why := refusal(self.algorithm, sums.geometry):
            raise GeometryError(f"model={str(self)!r}: {why}")
        with np.errstate(all="ignore"):
            error, peak, free = self.algorithm.estimate(sums, flush_to_zero=self.flush_to_zero)
            overflow = ~(peak + error < formats.largest(self.accumulator))
            if self.bias_after_rounding and sums.bias is not None:
                before = np.minimum(sums.magnitude + sums.bias_magnitude, sums.absolute)
                error = rounded(error, before, out, flush_to_zero=self.flush_to_zero)
                overflow = overflow | ~(before + error < formats.largest(out))
            bound = rounded(error, sums.magnitude, out, flush_to_zero=self.flush_to_zero)
            bound = OUTWARDS * (bound + sums.value_error)
            overflow = overflow | sums.at_the_edge(bound, out)
        exact = self._rounds_once(sums, out)
        bound = np.where(exact | ~np.isfinite(sums.value), 0, bound)
        return np.where(free | (overflow & ~exact & ~np.isnan(sums.special)), np.inf, bound)

    def _rounds_once(self, sums: Sums, out: npt.DTypeLike) -> np.ndarray:
        """Where nothing may be rounded but the exact value, once."""
        exact = self.algorithm.exact(sums)
        if self.flush_to_zero:
            exact = exact & sums.integral
        if self.bias_after_rounding and sums.bias is not None:
            exact = exact & sums.integral & (sums.absolute < 1 / formats.unit_roundoff(out))
        return exact


ROUNDINGS = ("nearest", "truncate")
KINDS = ("direct", "tf32", "bf16x3", "tensor_core", "winograd", "fft", "exact")
