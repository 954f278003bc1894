"""Sound implementations put to the test: how many cases, and whether any of them fails.

    PYTHONPATH=tests/support python tests/evidence/false_alarms.py [--cases 20000] [NAME]...

What fails is a false alarm of refconv, or a bug of theirs.
"""

# ruff: noqa: T201 - it prints

import argparse
import dataclasses
import functools
import itertools
import time
from unittest import mock

import numpy as np
import torch
from kernels.compiled import frozen_relu, relu
from kernels.complex_products import gauss
from kernels.epilogues import CHAINS, EPILOGUES, convolution
from kernels.fft import fft
from kernels.implementations import POINTS
from kernels.libraries import jax_as_tensorflow, jax_conv2d, onnx_auto_pad, onnx_conv2d, onnx_quantized
from kernels.narrow import in_format, of_one, stored
from kernels.requantized import STEPS
from kernels.requantized import kernel as requantized
from kernels.sums import im2col
from kernels.winograd import six_by_six, winograd, winograd_supports

import refconv
from refconv import ErrorModel
from refconv.cases.plan import plan
from refconv.core.formats import rounded
from refconv.verification import drawing

direct = ErrorModel.direct


def of_case(run, supports=None):
    """An implementation of a case as a candidate."""

    def candidate(input, weight, bias, stride, padding, dilation, groups):
        return run(
            refconv.Case(
                input=input, weight=weight, bias=bias, stride=stride, padding=padding, dilation=dilation, groups=groups
            )
        )

    if supports:
        candidate.supports = supports
    return candidate


def all_finite(case):
    """But for NaN and infinity in bfloat16, which torch lets into neighboring columns: see docs/findings.md."""
    return all(np.isfinite(array.astype("float32")).all() for array in case.arrays.values())


def forgetful(run):
    """A function of JAX's: what JAX has compiled for shapes that never come again would fill the memory."""
    calls = itertools.count(1)

    def forgetting(*arguments):
        if next(calls) % 200 == 0:
            import jax

            jax.clear_caches()
        return run(*arguments)

    return forgetting


def winograd_or_direct(case):
    """As libraries do: by minimal filtering where that is possible."""
    return six_by_six()(case) if winograd_supports(case) else im2col(case)


def torch_conv2d(*arguments):
    return torch.nn.functional.conv2d(*arguments)


torch_conv2d.supports = all_finite

# Without what findings/in-words.md has: of torch no views, compiled no groups and dilations, of conv3d's weight
# gradient no deep kernels; of JAX no large cases.
TORCH = {"views": False}
SHALLOW = {"kernel_d": [1, 2, 3]}
JAX = {"large": False}
SOME = {"empty_batch": False}  # the emulations do not care for it
CONTIGUOUS = {"views": False}
AS_TENSORFLOW = CONTIGUOUS | SOME | JAX | {
    "input_layout": "NHWC", "weight_layout": "HWIO", "output_layout": "NHWC",
}  # fmt: skip
TILES = SOME | {"kernel": 3, "stride": 1, "dilation": 1}  # what F(m x m, 3 x 3) computes
QUANTIZED = {"op": "conv2d_quantized"}
FLUSHES = direct("float32", flush_to_zero=True)


def transposed_gradient(axes, of):
    """The gradient of torch's transposed convolution with respect to its input or weight, by its autograd."""
    function = getattr(torch.nn.functional, f"conv_transpose{axes}d")

    def gradient(first, second, grad_output, *options):
        tensors = [torch.empty(array) if isinstance(array, tuple) else array for array in (first, second)]
        x, w = (array.detach().requires_grad_() for array in tensors)
        (result,) = torch.autograd.grad(function(x, w, None, *options), {"input": x, "weight": w}[of], grad_output)
        return result

    gradient.arrays = "torch"
    return gradient


def torch_family():
    """torch's convolutions of one and three axes, transposed ones, and the gradients of all, by name."""
    for axes in (1, 3):
        for op in (f"conv{axes}d", f"conv_transpose{axes}d"):
            yield op, getattr(torch.nn.functional, op)
        for of in ("input", "weight"):
            yield f"conv{axes}d_{of}", getattr(torch.nn.grad, f"conv{axes}d_{of}")
    for axes, of in itertools.product((1, 2, 3), ("input", "weight")):
        yield f"conv_transpose{axes}d_{of}", transposed_gradient(axes, of)


CANDIDATES = {
    "torch float32": (torch.nn.functional.conv2d, "float32", {"arrays": "torch", "supports": TORCH}),
    "torch float64": (torch.nn.functional.conv2d, "float64", {"arrays": "torch", "supports": TORCH}),
    "torch bfloat16": (torch_conv2d, "bfloat16", {"arrays": "torch", "model": FLUSHES, "supports": TORCH}),
    "onnxruntime": (of_case(onnx_conv2d), "float32", {"supports": CONTIGUOUS}),
    "im2col + sgemm": (of_case(im2col), "float32", {"supports": SOME}),
    "winograd 2": (
        of_case(functools.partial(winograd, 2)), "float32",
        {"model": ErrorModel.winograd(2, 3), "supports": TILES},
    ),
    "winograd 4": (
        of_case(functools.partial(winograd, 4)), "float32",
        {"model": ErrorModel.winograd(4, 3), "supports": TILES},
    ),
    "winograd 6": (of_case(six_by_six()), "float32", {"model": ErrorModel.winograd(6, 3), "supports": TILES}),
    "winograd 6, other points": (
        of_case(six_by_six(POINTS)), "float32",
        {"model": ErrorModel.winograd(6, 3, points=POINTS), "supports": TILES},
    ),
    "winograd 6 or direct": (
        of_case(winograd_or_direct), "float32", {"model": "winograd:6,3|direct", "supports": SOME},
    ),
    "bfloat16 results": (
        of_case(stored(rounded, "bfloat16")), "float32", {"model": direct(results="bfloat16"), "supports": SOME},
    ),
    "float16 weights": (
        of_case(of_one("weight", in_format("float16"))), "float32",
        {"model": direct(weights="float16"), "supports": SOME},
    ),
    "complex, three products": (
        of_case(gauss), "complex64", {"model": ErrorModel.complex3(), "supports": SOME},
    ),
    "fft": (of_case(fft), "float32", {"model": ErrorModel.fft(), "supports": SOME}),
    "jax": (
        of_case(forgetful(jax_conv2d)), "float32",
        {"model": FLUSHES, "supports": CONTIGUOUS | SOME | JAX},
    ),
    "jax NHWC HWIO": (
        forgetful(jax_as_tensorflow), "float32",
        {"model": FLUSHES, "supports": AS_TENSORFLOW | {"padding": ["numbers", "valid", "same_upper"]}},
    ),
    "jax int8": (
        forgetful(jax_as_tensorflow), "int8", {"supports": AS_TENSORFLOW, "out_dtype": "int8", "overflow": "wrap"},
    ),
    **{
        f"{dtype} {rule}": (requantized(rule), dtype, QUANTIZED | {"requantize": rule})
        for dtype, rule in (*(("int8", rule) for rule in STEPS), ("int16", "fixed"), ("int16", "fixed-16"))
    },
    "int4 weights": (requantized("fixed"), "int8", QUANTIZED | {"requantize": "fixed", "weight_bits": 4}),
    "onnxruntime int8": (onnx_quantized, "int8", QUANTIZED | {"supports": CONTIGUOUS | SOME}),
    "onnxruntime uint8": (onnx_quantized, "uint8", QUANTIZED | {"supports": CONTIGUOUS | SOME}),
    "onnxruntime auto_pad": (
        onnx_auto_pad, "float32",
        {"supports": CONTIGUOUS | SOME | {"padding": ["same_upper", "same_lower", "valid"], "dilation": 1}},
    ),
}  # fmt: skip


def name_of(steps):
    """An epilogue in a row's name."""
    return ", ".join(step if isinstance(step, str) else step[0] for step in steps)


CANDIDATES |= {
    f"{name_of(steps)} {dtype}": (convolution(*steps), dtype, {"supports": SOME})
    for steps in (*EPILOGUES, *CHAINS) for dtype in ("float32", "float16")
} | {
    f"{name_of(steps)} float16, rounded before": (convolution(*steps, before=True), "float16", {"supports": SOME})
    for steps in (*EPILOGUES, *CHAINS)
}  # fmt: skip
COMPILED = TORCH | SOME | {"groups": 1, "dilation": 1, "large": False}
CANDIDATES |= {
    f"torch {op}": (
        function,
        "float32",
        {"op": op, "arrays": "torch", "supports": TORCH | SOME | (SHALLOW if op.endswith("3d_weight") else {})},
    )
    for op, function in torch_family()
}
CANDIDATES |= {
    "torch.compile, relu": (relu, "float32", {"supports": COMPILED, "examples": False}),
    "torch.compile, relu, frozen": (
        frozen_relu, "float32", {"supports": COMPILED, "examples": False, "largest": 100_000},
    ),
}  # fmt: skip
# JAX compiles for each geometry, a tenth of a second each, Inductor for some seconds: each comes with so many sets of
# numbers.
TIMES = dict.fromkeys(("jax", "jax NHWC HWIO", "jax int8"), 5) | {"torch.compile, relu": 100}


def several_times(times):
    """A plan of which each recipe comes so many times, each time with other numbers and another further property."""

    def repeated(op, dtypes, supports, cases, seed=0):
        for recipe in plan(op, dtypes, supports, -(-cases // times), seed):
            yield from (dataclasses.replace(recipe, seed=recipe.seed + number) for number in range(times))

    return repeated


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CANDIDATES)}; all if none is given")
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name in options.names or CANDIDATES:
        candidate, dtype, more = CANDIDATES[name]
        start = time.perf_counter()
        with mock.patch.object(drawing, "plan", several_times(TIMES.get(name, 1))):
            report = refconv.verify(
                candidate, dtypes=(dtype,), cases=options.cases, seed=options.seed, isolate=False, **more
            )
        seconds = time.perf_counter() - start
        ratio = max(result.max_bound_ratio for result in report.results)
        counts = f"{report.n_cases} cases in {seconds:.0f} s, {report.n_unsupported} unsupported"
        violated = f"{len(report.failures)} properties violated, largest error {ratio:.3g} of its bound"
        print(f"{name}: {counts}, {violated}", flush=True)
        for failure in report.failures:
            print(f"\n{failure}\n\n{failure.snippet}\n{failure.example}", flush=True)


if __name__ == "__main__":
    main()
