"""Error models: what an implementation says of how it computes, and the error that it may then make.

Knows algorithms and the sums of a call; not the call itself, and nothing of how outputs are judged.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, Unpack

import numpy as np
import numpy.typing as npt

from refconv.core import formats
from refconv.core.checks import choice
from refconv.core.errors import GeometryError
from refconv.core.geometry import Geometry
from refconv.core.operators import CONV, axes_of, kind_of
from refconv.judge.bounds.algorithm import Algorithm, accumulator_dtype, dtype_refusal, refusal
from refconv.judge.bounds.complex3 import Complex3
from refconv.judge.bounds.direct import ROUNDINGS, Direct, Exact, TensorCore
from refconv.judge.bounds.fft import FFT
from refconv.judge.bounds.model_text import parsed, with_arguments
from refconv.judge.bounds.output import PLAIN, Options, Output
from refconv.judge.bounds.sums import Sums
from refconv.judge.bounds.unrounded import Unrounded, unrounded
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
    output: Output = PLAIN

    @classmethod
    def direct(
        cls,
        accumulator: npt.DTypeLike = "float32",
        operands: str = "exact",
        *,
        inputs: str | None = None,
        weights: str | None = None,
        sums: str = "nearest",
        **options: Unpack[Options],
    ) -> Self:
        """Products and sums in an accumulator, in any order, with or without fused multiply-adds.

        Parameters
        ----------
        accumulator : dtype
            A floating format.
        operands : {"exact", "tf32", "tf32_truncated", "bfloat16", "float16", "bf16x3"}
            What input and weight are rounded to before they are multiplied.
        inputs, weights : str, optional
            The same for one of them, where they differ; not "bf16x3". A gradient of the output counts as an input.
        sums : {"nearest", "truncate"}
            Whether products and sums are rounded to the nearest number, or toward zero, which costs twice as much.
        flush_to_zero : bool, str or sequence of str
            Whether subnormal operands, partial sums and outputs may become zero; or which of them, of "inputs",
            "weights" (and the bias), "sums" and "results".
        bias_after_rounding : bool
            Whether the bias is added to the sum that is already rounded to the output's format.
        results : dtype, optional
            A floating format that results are rounded to before they are stored as numbers of the output's format,
            which must not have fewer significant bits. Past its largest number anything goes.
        store : {"nearest", "truncate"}
            Whether results are rounded to the nearest number, or toward zero.

        References
        ----------
        Jeannerod and Rump, "Improved error bounds for inner products in floating-point arithmetic", SIAM J. Matrix
        Anal. Appl. 34 (2013): n u S.

        Examples
        --------
        >>> str(ErrorModel.direct(weights="float16", results="bfloat16", flush_to_zero="inputs"))
        'direct:float32,weights=float16,results=bfloat16,flush_to_zero=inputs'
        """
        return cls(Direct.of(accumulator, operands, inputs, weights, sums), Output.of(options))

    @classmethod
    def tf32(cls, rounding: str = "nearest", **options: Unpack[Options]) -> Self:
        """Operands in TensorFloat-32 (11 significant bits), rounded or truncated; exact products, float32 sums.

        Parameters
        ----------
        rounding : {"nearest", "truncate"}
            How operands become TF32.
        **options
            `flush_to_zero`, `bias_after_rounding`, `results` and `store`, as in `direct`.

        References
        ----------
        NVIDIA, "NVIDIA A100 Tensor Core GPU Architecture" (2020), for the format; (2u + u^2) S for its operands.

        Examples
        --------
        >>> str(ErrorModel.tf32("truncate"))
        'tf32:truncate'
        """
        operands = {"nearest": "tf32", "truncate": "tf32_truncated"}[choice("rounding", rounding, ROUNDINGS)]
        return cls.direct("float32", operands, **options)

    @classmethod
    def bf16x3(cls, **options: Unpack[Options]) -> Self:
        """Operands as sums of two bfloat16, three products of their four, float32 sums; options as in `tf32`.

        References
        ----------
        Henry, Tang and Heinecke, "Leveraging the bfloat16 artificial intelligence datatype for higher-precision
        computations", ARITH 2019; XLA calls it BF16_BF16_F32_X3.

        Examples
        --------
        >>> ErrorModel.bf16x3().unit < ErrorModel.tf32().unit
        True
        """
        return cls.direct("float32", "bf16x3", **options)

    @classmethod
    def complex3(cls, accumulator: npt.DTypeLike = "float32", **options: Unpack[Options]) -> Self:
        """Three real sums for a complex one, in any order (Gauss, Karatsuba); of complex dtypes only.

        Parameters
        ----------
        accumulator : dtype
            Format of the parts' sums.
        **options
            As in `tf32`.

        References
        ----------
        Higham, "Stability of a method for multiplying complex matrices with three real matrix multiplications", SIAM
        J. Matrix Anal. Appl. 13 (1992).

        Examples
        --------
        >>> str(ErrorModel.complex3())
        'complex3'
        """
        return cls(Complex3(accumulator_dtype(accumulator)), Output.of(options))

    @classmethod
    def tensor_core(
        cls,
        gpu: str | None = None,
        operands: str = "exact",
        *,
        block: int | None = None,
        fraction_bits: int | None = None,
        accumulator: npt.DTypeLike = "float32",
        **options: Unpack[Options],
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
        **options
            As in `tf32`.

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
        return cls(TensorCore.of(gpu, operands, block, fraction_bits, accumulator), Output.of(options))

    @classmethod
    def winograd(
        cls,
        m: int,
        r: int,
        accumulator: npt.DTypeLike = "float32",
        *,
        points: Any = None,
        transforms: npt.DTypeLike | None = None,
        **options: Unpack[Options],
    ) -> Self:
        """Winograd's minimal filtering F(m x m, r x r), tiles wherever they may lie.

        Parameters
        ----------
        m, r : int
            Sizes of the tiles of the output and of the kernel.
        accumulator : dtype
            Format of transforms and sums.
        points : sequence of numbers or str, or str, optional
            The m + r - 2 points, infinity left out, that make the transforms: numbers, or texts such as "-1/2"; or one
            text, "0;1;-1". The customary ones, 0, 1, -1, 2, -2, 1/2, ..., if not given.
        transforms : dtype, optional
            Format of the transforms of input and weight and of what becomes of these; that of the sums if not given.
        **options
            As in `tf32`.

        Raises
        ------
        GeometryError
            For m and r that have no customary transform, if no points are given; for points that make none.

        References
        ----------
        Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016, for the transforms; Barabasz,
        Anderson, Soodhalter and Gregg, "Error analysis and improving the accuracy of Winograd convolution for deep
        neural networks", ACM Trans. Math. Softw. 46 (2020), for their error.

        Examples
        --------
        >>> str(ErrorModel.winograd(4, 3)), str(ErrorModel.winograd(4, 3, points=(0, 1, -1, 3, "-1/3")))
        ('winograd:4,3', 'winograd:4,3,points=0;1;-1;3;-1/3')
        """
        return cls(Winograd.of(m, r, accumulator, points, transforms), Output.of(options))

    @classmethod
    def fft(cls, accumulator: npt.DTypeLike = "float32", **options: Unpack[Options]) -> Self:
        """Fast Fourier transforms of input and filters, their products added, and transformed back.

        Parameters
        ----------
        accumulator : dtype
            Format of the real and the imaginary parts.
        **options
            As in `tf32`.

        References
        ----------
        Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed. (2002), theorem 24.2.

        Examples
        --------
        >>> str(ErrorModel.fft())
        'fft'
        """
        return cls(FFT(accumulator_dtype(accumulator)), Output.of(options))

    @classmethod
    def exact(cls, **options: Unpack[Options]) -> Self:
        """The exact value, rounded once: what is not the oracle's own output is wrong; options as in `tf32`.

        Examples
        --------
        >>> str(ErrorModel.exact())
        'exact'
        """
        return cls(Exact(), Output.of(options))

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
            For a name or arguments that no model has; a text that is nearly a model's is told which.

        Examples
        --------
        >>> ErrorModel.parse("winograd:2,3") == ErrorModel.winograd(2, 3)
        True
        """
        model: Self = parsed(cls, name)
        return model

    def __str__(self) -> str:
        return with_arguments(str(self.algorithm), self.output.arguments())

    @property
    def accumulator(self) -> np.dtype:
        """Format in which sums are accumulated."""
        return self.algorithm.accumulator

    @property
    def unit(self) -> float:
        """As `Algorithm.unit`; 0 where no error belongs to one product."""
        return self.algorithm.unit

    @property
    def statistical(self) -> bool:
        """Whether errors have mean 0: not if something is truncated, transformed, flushed, or rounded on the way."""
        return self.algorithm.statistical and self.output.statistical

    @property
    def flush_to_zero(self) -> bool:
        """Whether any subnormal numbers may become zero."""
        return bool(self.output.flush)

    def supports(self, geometry: Geometry) -> bool:
        """Whether the algorithm can compute such a convolution at all.

        >>> from refconv.core.geometry import convolution
        >>> strided = convolution((1, 1, 8, 8), (1, 1, 3, 3), None, 2, 1, 1, 1, "zeros")
        >>> ErrorModel.winograd(2, 3).supports(strided), ErrorModel.fft().supports(strided)
        (False, True)
        """
        return not refusal(self.algorithm, geometry)

    def limits(self, op: str = "conv2d", dtype: npt.DTypeLike | None = None) -> Mapping[str, int]:
        """What convolutions its errors are known of: the numbers that these options must have on both axes.

        Raises
        ------
        GeometryError
            If it knows nothing of an operator, or of a dtype of outputs, if one is named.

        Examples
        --------
        >>> ErrorModel.winograd(2, 3).limits()
        {'stride': 1, 'dilation': 1, 'kernel': 3}
        """
        planar = self.algorithm.planar_only
        if (self.algorithm.forward_only and kind_of(op) != CONV) or (planar and axes_of(op) != 2):
            known = "a conv2d" if planar else "convolutions"
            raise GeometryError(f"model={str(self)!r}: its errors are known of {known} only, not of a {op}")
        if dtype is not None and (why := dtype_refusal(self.algorithm, dtype) or self.output.refusal(dtype)):
            raise GeometryError(f"model={str(self)!r}: {why}")
        return self.algorithm.limits

    def unrounded(self, sums: Sums, out: npt.DTypeLike) -> Unrounded:
        """The errors of sums before they are stored; raises as `bound` does."""
        self.limits(sums.call.op, np.result_type(out, np.complex64) if sums.is_complex else out)
        return unrounded(self.algorithm, self.output, sums, str(self))

    def bound(self, sums: Sums, out: npt.DTypeLike, *, saturates: bool = False) -> np.ndarray:
        """Largest admissible error ``|actual - e|`` of each output against the exact, unrounded value e.

        Rounding to the output's format is included. All is rounded outwards: the bound never undershoots.

        Parameters
        ----------
        sums : Sums
            The sums behind the outputs.
        out : dtype
            Floating format of the output (of complex numbers, of the parts).
        saturates : bool
            Whether the largest number of that format stands for what is larger; the bound is of outputs before that.

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
            If the algorithm can't compute such a convolution, or no such outputs.
        """
        with np.errstate(all="ignore"):
            error, free, overflow, without_rounding = self.unrounded(sums, out)
            stored = self.output.stored(error, without_rounding, sums, out, saturates=saturates)
            bound, overflow, exact = stored.bound, overflow | stored.free, stored.exact
        bound = np.where(exact | ~np.isfinite(sums.value), 0, bound)
        return np.where(free | (overflow & ~exact & ~np.isnan(sums.special)), np.inf, bound)
