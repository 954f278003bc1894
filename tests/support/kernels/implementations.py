"""The sound convolutions of the judge's corpus, each with the error model that it claims. No test, no judgement."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from kernels.complex_products import gauss
from kernels.fft import fft
from kernels.flushing import flushed, flushing
from kernels.libraries import jax_conv2d, onnx_conv2d, torch_conv2d
from kernels.lowered import by_products
from kernels.narrow import chopping, cut, in_format, of_one, stored
from kernels.operands import bf16x3, bfloat16, of_operands, tf32
from kernels.sums import _pairwise, _split, bias_after_rounding, im2col, running, sequential, skipping
from kernels.tensor_core import tensor_core
from kernels.winograd import six_by_six, winograd, winograd_by_points, winograd_supports

from refconv import Case, ErrorModel
from refconv.core.formats import rounded

Run = Callable[[Case], np.ndarray]


def everything(_case):
    return True


@dataclass(frozen=True)
class Implementation:
    """A sound convolution: the error model that it claims, and which cases it takes."""

    run: Run
    model: ErrorModel
    supports: Callable[[Case], bool] = everything
    dtype: str = "float32"


DIRECT = ErrorModel.direct("float32")
POINTS = ("0", "1", "-1", "2", "-2", "1/2", "4")  # for F(6x6, 3x3): errors are 20 times as large as usual
SOUND = {
    "torch, oneDNN": Implementation(torch_conv2d, DIRECT),
    "torch without oneDNN": Implementation(partial(torch_conv2d, mkldnn=False), DIRECT),
    "torch, channels_last": Implementation(partial(torch_conv2d, memory_format=torch.channels_last), DIRECT),
    "onnxruntime": Implementation(onnx_conv2d, DIRECT),
    "im2col and sgemm": Implementation(im2col, DIRECT),
    "sequential, no FMA": Implementation(sequential, DIRECT),
    "reversed": Implementation(by_products(lambda terms: running(terms[..., ::-1])), DIRECT),
    "pairwise": Implementation(by_products(_pairwise), DIRECT),
    "split into 8": Implementation(by_products(_split), DIRECT),
    "padding skipped": Implementation(skipping, DIRECT),
    "JAX (flushes)": Implementation(jax_conv2d, ErrorModel.direct("float32", flush_to_zero=True)),
    "flush to zero": Implementation(flushing, ErrorModel.direct("float32", flush_to_zero=True)),
    "TF32, rounded": Implementation(of_operands(tf32), ErrorModel.tf32()),
    "TF32, truncated": Implementation(of_operands(partial(tf32, truncate=True)), ErrorModel.tf32("truncate")),
    "bfloat16 operands": Implementation(of_operands(bfloat16), ErrorModel.direct("float32", "bfloat16")),
    "bf16x3": Implementation(bf16x3, ErrorModel.bf16x3()),
    "tensor core A100, TF32": Implementation(
        of_operands(tf32, partial(tensor_core, block=4, fraction_bits=24)), ErrorModel.tensor_core("A100", "tf32")
    ),
    "tensor core H100, float16": Implementation(
        partial(tensor_core, block=16, fraction_bits=25), ErrorModel.tensor_core("H100"), dtype="float16"
    ),
    "float16, torch": Implementation(partial(torch_conv2d, mkldnn=False), DIRECT, dtype="float16"),
    "float16, bias after rounding": Implementation(
        bias_after_rounding, ErrorModel.direct("float32", bias_after_rounding=True), dtype="float16"
    ),
    "Winograd F(2x2, 3x3)": Implementation(partial(winograd, 2), ErrorModel.winograd(2, 3), winograd_supports),
    "Winograd F(4x4, 3x3)": Implementation(partial(winograd, 4), ErrorModel.winograd(4, 3), winograd_supports),
    "Winograd F(6x6, 3x3)": Implementation(six_by_six(), ErrorModel.winograd(6, 3), winograd_supports),
    "Winograd F(6x6, 3x3), other points": Implementation(
        six_by_six(POINTS), ErrorModel.winograd(6, 3, points=POINTS), winograd_supports
    ),
    "Winograd F(2x2, 3x3), float16 transforms": Implementation(
        partial(winograd_by_points, m=2, r=3, narrow="float16"),
        ErrorModel.winograd(2, 3, transforms="float16"),
        winograd_supports,
    ),
    "FFT": Implementation(fft, ErrorModel.fft()),
    "float16 weights": Implementation(of_one("weight", in_format("float16")), ErrorModel.direct(weights="float16")),
    "bfloat16 results": Implementation(stored(rounded, "bfloat16"), ErrorModel.direct(results="bfloat16")),
    "bfloat16 results, truncated": Implementation(
        stored(cut, "bfloat16"), ErrorModel.direct(results="bfloat16", store="truncate")
    ),
    "float16 sums, truncated": Implementation(
        partial(chopping, dtype="float16"), ErrorModel.direct("float16", sums="truncate"), dtype="float16"
    ),
    "weights flushed to zero": Implementation(of_one("weight", flushed), ErrorModel.direct(flush_to_zero="weights")),
    "results flushed to zero": Implementation(
        lambda case: flushed(im2col(case)), ErrorModel.direct(flush_to_zero="results")
    ),
    "complex, three products": Implementation(gauss, ErrorModel.complex3(), dtype="complex64"),
}
