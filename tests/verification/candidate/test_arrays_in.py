"""Arguments of a candidate: kinds of arrays, how they lie in memory, layouts, keywords and scalars."""

import dataclasses

import numpy as np
import pytest
import torch
from candidates import a_case, case_of_operator, faults, writes
from common import same_bits

import refconv
from refconv.cases.fills import operands
from refconv.cases.recipe import OFFSETS
from refconv.core import formats
from refconv.verification.candidate.arrangements import ARRANGEMENTS, possible
from refconv.verification.candidate.candidate import Candidate

DENSE = ("contiguous", "offset", *OFFSETS, "unaligned")  # all bytes where they are in a contiguous array
FLOATS = [str(dtype) for dtype in formats.FLOATS]


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("name", ARRANGEMENTS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float8_e5m2", "int8", "complex64"])
def test_arrays_lie_as_asked_for_and_the_result_is_the_same(kind, name, dtype):
    case = a_case(dtype, broadcast="xwb" if name == "broadcast" else "")
    where = [
        operand for operand in ("input", "weight", "bias") if possible(name, kind, dtype, getattr(case, operand).ndim)
    ]
    seen = []

    def candidate(*arguments):
        seen.append([array.strides if kind == "numpy" else array.stride() for array in arguments[:3]])
        return refconv.conv2d(*arguments)

    memory = [(operand, name) for operand in where]
    outcome = Candidate(candidate, kind).call(case, memory=memory)
    assert outcome.faults == ()
    assert same_bits(outcome.result, case.expected())
    plain = Candidate(candidate, kind).call(case)
    assert plain.faults == ()
    if where and name not in DENSE:
        assert seen[0] != seen[1]


@pytest.mark.parametrize("dtype", [*FLOATS, "complex128", "int16", "uint8"])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("style", ["return", "out"])
def test_every_dtype(dtype, kind, style):
    def candidate(*arguments):
        if style == "return":
            return refconv.conv2d(*arguments)
        arguments[-1][...] = refconv.conv2d(*arguments[:-1])
        return None

    case = a_case(dtype)
    outcome = Candidate(candidate, kind, style=style).call(case)
    assert outcome.faults == ()
    assert same_bits(outcome.result, case.expected())


@pytest.mark.parametrize("name", [name for name in ARRANGEMENTS if name not in DENSE])
@pytest.mark.parametrize("operand", ["input", "weight"])
def test_who_takes_memory_for_contiguous_is_seen(name, operand):
    def candidate(*arguments):
        read = list(arguments)
        index = ["input", "weight"].index(operand)
        read[index] = np.lib.stride_tricks.as_strided(
            read[index], strides=np.empty(read[index].shape, read[index].dtype).strides
        )
        return refconv.conv2d(*read)

    case = a_case(broadcast="xw" if name == "broadcast" else "")
    right = Candidate(candidate).call(case)
    assert same_bits(right.result, case.expected())
    outcome = Candidate(candidate).call(case, memory=[(operand, name)])
    assert outcome.faults == ()
    assert not case.check(outcome.result).ok


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("style", ["return", "out"])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_channels_last(batched, style, kind):
    def candidate(input, weight, bias, stride, padding, dilation, groups, *out, layout):
        assert layout == "NHWC"
        assert tuple(input.shape) == (2, 7, 6, 4)[not batched :]
        assert weight.shape == (6, 2, 3, 2)
        result = refconv.conv2d(input, weight, bias, stride, padding, dilation, groups, layout=layout)
        if not out:
            return result
        out[0][...] = result
        return out[0]

    case = a_case(batched=batched)
    outcome = Candidate(candidate, kind, style=style).call(case, layout="NHWC", memory=[("input", "row_pitch")])
    assert outcome.faults == ()
    assert same_bits(outcome.result, case.expected())


def test_channels_last_of_gradients():
    x, w, _ = operands("integers", (2, 4, 7, 6), (6, 4, 3, 2))
    grad = refconv.conv2d(x, w)
    options = ((1, 1), (0, 0), (1, 1), 1)
    for case in (
        case_of_operator("conv2d_input", x.shape, w, grad, *options),
        case_of_operator("conv2d_input", x.shape[1:], w, grad[0], *options),
        case_of_operator("conv2d_weight", x, w.shape, grad, *options),
        case_of_operator("conv2d_bias", grad),
    ):
        for style in ("return", "out"):
            function = getattr(refconv, case.op) if style == "return" else writes(of=getattr(refconv, case.op))
            outcome = Candidate(function, op=case.op, style=style).call(case, layout="NHWC")
            assert outcome.faults == ()
            assert same_bits(outcome.result, case.expected())


def test_keywords_are_handed_over():
    case = dataclasses.replace(a_case(), padding_mode="reflect")
    outcome = Candidate(refconv.conv2d).call(case)
    assert outcome.faults == ()
    assert same_bits(outcome.result, case.expected())
    assert not same_bits(outcome.result, a_case().expected())


def test_scalars_are_handed_over():
    def candidate(*arguments):
        assert all(isinstance(argument, torch.Tensor) for argument in arguments[:9] if argument is not None)
        return refconv.conv2d_quantized(*arguments)

    scale, zero = np.float32(0.5), np.int8(3)
    x, w = np.ones((1, 2, 3, 3), "int8"), np.ones((2, 2, 1, 1), "int8")
    given = x, scale, zero, w, np.full(2, scale), np.zeros(2, "int8"), scale, zero
    case = case_of_operator("conv2d_quantized", *given)
    outcome = Candidate(candidate, "torch").call(case)
    assert outcome.faults == ()
    assert same_bits(outcome.result, case.expected())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": [("bias2", "offset")]}, "memory of 'bias2'"),
        ({"memory": [("output", "offset")]}, "memory of 'output'"),
        ({"memory": [("input", "sideways")]}, "memory='sideways'"),
        ({"memory": [("input", "broadcast")]}, "memory='broadcast'"),
        ({"layout": "CHW"}, "layout=.CHW."),
        ({"memory": [("input", "negative")], "arrays": "torch"}, "negative strides"),
        ({"memory": [("input", "offset")], "arrays": "jax"}, "jax"),
        ({"arrays": "tinygrad"}, "arrays='tinygrad'"),
        ({"style": "inplace"}, "style='inplace'"),
        ({"op": "conv9d"}, "op='conv9d'"),
        ({"style": "out", "arrays": "jax"}, "jax arrays can't be written to"),
        ({"style": "out", "memory": [("output", "broadcast")]}, "memory of 'output'"),
    ],
)
def test_wrong_arguments(options, message):
    if options.get("arrays") == "jax" and "memory" in options:
        options = {**options, "memory": [("input", "row_pitch")]}
    with pytest.raises(ValueError, match=message):
        faults(refconv.conv2d, **options)


def test_torch_candidates_get_writable_copies():
    x, w, b = operands("normal", (1, 1, 2, 2), (1, 1, 1, 1), bias=True)
    case = refconv.Case(input=x, weight=w, bias=b)
    for arrays, kind in (("numpy", np.ndarray), ("torch", torch.Tensor)):
        arguments = Candidate(print, arrays, "").arguments(case)
        assert all(isinstance(array, kind) for array in arguments[:3])
        assert arguments[3:] == [(1, 1), (0, 0), (1, 1), 1]
        arguments[0][:] = 0
        assert np.array_equal(case.input, x)
