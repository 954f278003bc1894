"""Libraries by themselves: each in a process of its own, timed in blocks that take turns.

Threads of onnxruntime wait busily for the next call, and so do OpenMP's: in one process each would take the other's
processors. So a library has a process, in which only its own threads are awake during a block. Knows libraries and how
a layer is called in each; nothing of tables. `python -m refconv.cli.peers LIBRARY THREADS` is such a process.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from functools import partial
from typing import Any, Self

import numpy as np

from refconv import ops
from refconv.cases.networks import Layer
from refconv.cli.timing import keep_memory
from refconv.judge.case import Case
from refconv.verification.candidate.candidate import Candidate

LIBRARIES = ("refconv", "torch", "onnxruntime")
BLOCKS = 3  # for each library and layer; the median counts
LEAST_CALLS = 3  # in a block
IR_VERSION, OPSET = 9, 17  # of ONNX: old enough for every onnxruntime of the last years


class Library:
    """The process of a library. To be used with `with`.

    Parameters
    ----------
    name : {"refconv", "torch", "onnxruntime"}
        Which.
    threads : int
        How many it uses.
    """

    def __init__(self, name: str, threads: int) -> None:
        command = [sys.executable, "-m", __name__, name, str(threads)]
        self.name = name
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):  # of a process that has ended
                    pipe.close()
        self._process.wait()

    def block(self, layer: Layer, dtype: str, precision: str, seconds: float) -> float:
        """Seconds of a call of a layer: the median of a block of calls that takes so long.

        Raises
        ------
        RuntimeError
            If the process has ended; it has printed why.
        """
        assert self._process.stdin is not None  # noqa: S101 - pipes were asked for
        assert self._process.stdout is not None  # noqa: S101
        try:
            asked = json.dumps([asdict(layer), dtype, precision, seconds])
            print(asked, file=self._process.stdin, flush=True)
            return float(self._process.stdout.readline())
        except (OSError, ValueError):
            raise RuntimeError(
                f"the process of {self.name} ended while it computed {layer.network} {layer.name}"
            ) from None


def in_blocks(
    layers: Sequence[Layer], dtype: str, precision: str, seconds: float, threads: int,
    done: Callable[[int], None] = lambda _: None,
) -> list[dict[str, float]]:  # fmt: skip
    """For each layer the time of a call in each library: the median of blocks of so many seconds that take turns."""
    times = []
    with ExitStack() as stack:
        libraries = [stack.enter_context(Library(name, threads)) for name in LIBRARIES]
        for number, layer in enumerate(layers, 1):
            blocks = [[library.block(layer, dtype, precision, seconds) for library in libraries] for _ in range(BLOCKS)]
            times.append(dict(zip(LIBRARIES, map(statistics.median, zip(*blocks, strict=True)), strict=True)))
            done(number)
    return times


def torch_call(case: Case, dtype: str) -> Callable[..., Any]:
    """torch's convolution of a layer, computed in a type that is not narrower."""
    import torch

    function = getattr(torch.nn.functional, case.op)
    x, w, _, *options = Candidate(function, "torch", "", op=case.op).arguments(case)
    if dtype == case.input.dtype:
        return partial(function, x, w, None, *options)
    wide, narrow = getattr(torch, dtype), x.dtype
    return lambda: function(x.to(wide), w.to(wide), None, *options).to(narrow)


def onnxruntime_call(case: Case, threads: int) -> Callable[..., Any]:
    """onnxruntime's Conv of a layer in float32; the weight belongs to the model, and may be packed before the calls."""
    import onnxruntime
    from onnx import TensorProto, helper

    g = case.geometry
    node = helper.make_node(
        "Conv", ["x", "w"], ["y"], strides=g.stride, dilations=g.dilation, group=g.groups,
        pads=[side[i] for i in (0, 1) for side in g.padding],
    )  # fmt: skip
    weight = helper.make_tensor("w", TensorProto.FLOAT, case.weight.shape, case.weight.tobytes(), raw=True)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", case.input.shape), ("y", g.output_shape))
    ]
    graph = helper.make_graph([node], "convolution", ends[:1], ends[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return partial(session.run, None, {"x": np.array(case.input)})


def block(call: Callable[[], Any], seconds: float) -> float:
    """The median time of calls for so many seconds, warmed up."""
    call()
    call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < LEAST_CALLS or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _call(library: str, case: Case, precision: str, threads: int) -> Callable[..., Any]:
    if library == "torch":
        return torch_call(case, precision)
    if library == "onnxruntime":
        return onnxruntime_call(case, threads)
    return partial(getattr(ops, case.op), *case.arguments(), precision=precision)


def _serve(library: str, threads: int) -> None:
    """Answer each line, a layer and how to compute it, with the time of a call."""
    if library == "refconv":
        import numba

        numba.set_num_threads(threads)
    elif library == "torch":
        import torch

        torch.set_num_threads(threads)
    keep_memory()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    latest, call = "", None
    for line in sys.stdin:
        fields, dtype, precision, seconds = json.loads(line)
        if call is None or line != latest:
            values: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
            }
            layer = Layer(**values)
            latest, call = line, _call(library, layer.case(dtype), precision, threads)
        print(repr(block(call, seconds)), file=answers, flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
