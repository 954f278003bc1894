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
from kernels.fft import fft
from kernels.libraries import jax_conv2d, onnx_conv2d
from kernels.sums import im2col
from kernels.winograd import winograd

import refconv
from refconv import ErrorModel
from refconv.cases.plan import plan
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


def forgetful_jax(case, calls=itertools.count(1)):  # noqa: B008 - one for all calls
    """As the corpus has it; what it has compiled for shapes that never come again would fill the memory."""
    if next(calls) % 200 == 0:
        import jax

        jax.clear_caches()
    return jax_conv2d(case)


def torch_conv2d(*arguments):
    return torch.nn.functional.conv2d(*arguments)


torch_conv2d.supports = all_finite

# Without what docs/findings.md has in words: of torch no views, of JAX no large cases.
TORCH = {"views": False}
JAX = {"large": False}
SOME = {"empty_batch": False}  # the emulations do not care for it
CONTIGUOUS = {"views": False}
TILES = SOME | {"kernel": 3, "stride": 1, "dilation": 1}  # what F(m x m, 3 x 3) computes
FLUSHES = direct("float32", flush_to_zero=True)
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
    "fft": (of_case(fft), "float32", {"model": ErrorModel.fft(), "supports": SOME}),
    "jax": (
        of_case(forgetful_jax), "float32",
        {"model": FLUSHES, "supports": CONTIGUOUS | SOME | JAX},
    ),
}  # fmt: skip
TIMES = {"jax": 5}  # it compiles for each geometry, a tenth of a second each: each comes with so many sets of numbers


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
