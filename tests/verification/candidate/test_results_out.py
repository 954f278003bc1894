"""What a candidate returns, writes and leaves behind: the faults of a call, whatever its numbers are."""

import re
import warnings

import numpy as np
import pytest
import torch
from candidates import a_case, beyond, faults, raising, returning, writes
from hypothesis import example, given
from hypothesis import strategies as st

import refconv
from refconv.cases.fills import operands
from refconv.core import formats
from refconv.verification.candidate import call as one_call
from refconv.verification.candidate.arrangements import ALIGNED, ARRANGEMENTS, OTHER, poison, possible
from refconv.verification.candidate.call import Unsupported
from refconv.verification.candidate.candidate import Candidate


def changes_its_bias(*arguments):
    arguments[2][0] += 1
    return refconv.conv2d(*arguments)


def writes_behind_its_input(input, *rest):
    out = refconv.conv2d(input, *rest)
    beyond(input)[input.size] = 7
    return out


def takes_another_shape(input, *rest):
    out = refconv.conv2d(input, *rest)
    input.shape = (*input.shape, 1)
    return out


@pytest.mark.parametrize(
    ("candidate", "violated", "text"),
    [
        (raising(RuntimeError("no")), "returns", "RuntimeError: no"),
        (raising(SystemExit(0)), "returns", "SystemExit: 0"),
        (changes_its_bias, "inputs unmodified", "argument bias"),
        (writes_behind_its_input, "inputs unmodified", "around its argument input"),
        (takes_another_shape, "inputs unmodified", "argument input"),
        (returning([1.0]), "kind of array", "builtins.list"),
        (returning(torch.ones(1)), "kind of array", "torch.Tensor"),
        (returning(np.ones(1, bool)), "shape and dtype", "bool"),
    ],
)
def test_faults(candidate, violated, text):
    outcome = Candidate(candidate).call(a_case())
    ((fault, why),) = outcome.faults
    assert fault == violated
    assert text in why
    assert one_call.__file__ not in why
    assert (outcome.result is None) == (violated != "inputs unmodified")


def test_a_tensor_that_became_another_is_seen():
    def candidate(input, *rest):
        out = refconv.conv2d(input, *rest)
        input.set_(torch.zeros_like(input))
        return out

    assert list(faults(candidate, arrays="torch")) == ["inputs unmodified"]


def test_what_is_no_fault():
    def warns(*arguments):
        warnings.warn("slow", stacklevel=2)
        return refconv.conv2d(*arguments)

    assert faults(warns) == {}  # pytest turns warnings into errors
    with pytest.raises(Unsupported, match="groups"):
        faults(raising(NotImplementedError("groups")))
    with pytest.raises(KeyboardInterrupt):
        faults(raising(KeyboardInterrupt()))


def test_results_are_copies():
    kept = np.ones((1, 1, 1, 1), "float32")
    candidate = Candidate(returning(kept))
    first = candidate.call(a_case()).result
    kept[...] = 2
    assert first == 1
    assert candidate.call(a_case()).result == 2


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("name", [arrangement for arrangement in ARRANGEMENTS if arrangement != "broadcast"])
def test_results_without_elements(kind, name):
    case = refconv.Case(input=np.ones((0, 32, 15, 40), "float32"), weight=np.ones((32, 32, 1, 1), "float32"))
    if possible(name, kind, "float32"):
        assert faults(lambda *_: None, case, arrays=kind, style="out", memory=[("output", name)]) == {}


@given(
    name=st.sampled_from([arrangement for arrangement in ARRANGEMENTS if arrangement != "broadcast"]),
    dtype=st.sampled_from(formats.SUPPORTED),
    left=st.integers(0, 95),
)
@example(name="row_pitch", dtype=np.dtype("int8"), left=95)
def test_one_element_that_was_not_written(name, dtype, left):
    if not possible(name, "numpy", formats.result_dtype(dtype)):
        name = "contiguous"
    values = operands("integers", (1, 4, 3, 8), (4, 4, 1, 1), dtype=str(dtype))
    case = refconv.Case(input=values[0], weight=values[1])
    index = np.unravel_index(left, case.unwritten.shape)

    def forgets(*arguments):
        *given, out = arguments
        held = out[index].copy()
        out[...] = refconv.conv2d(*given)
        out[index] = held

    assert faults(writes(), case, style="out", memory=[("output", name)]) == {}
    violated = faults(forgets, case, style="out", memory=[("output", name)])
    assert list(violated) == ["every output written"]
    assert (
        f"1 of 96 elements were not written, the first at {tuple(map(int, index))}" in violated["every output written"]
    )


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "bfloat16", "complex64"])
@pytest.mark.parametrize("byte", ["poison", "other"])
def test_values_that_look_like_poison_are_no_fault(dtype, byte):
    case = a_case(dtype)
    out_dtype = case.unwritten.dtype
    value = np.full(out_dtype.itemsize, poison(out_dtype) if byte == "poison" else OTHER, np.uint8).view(out_dtype)[0]

    def candidate(*arguments):
        arguments[-1][...] = value

    assert faults(candidate, case, style="out") == {}


def test_who_adds_to_the_output_has_written_it():
    def candidate(*arguments):
        *given, out = arguments
        out += refconv.conv2d(*given)

    outcome = Candidate(candidate, style="out").call(a_case())
    assert outcome.faults == ()
    assert not a_case().check(outcome.result).ok


@given(
    name=st.sampled_from([arrangement for arrangement in ARRANGEMENTS if arrangement != "broadcast"]),
    where=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
)
def test_one_bit_outside_the_output(name, where, bit):
    def candidate(*arguments):
        *given, out = arguments
        out[...] = refconv.conv2d(*given)
        memory = out
        while memory.base is not None:
            memory = memory.base
        inside = np.zeros(memory.nbytes, bool)
        offset = out.ctypes.data - memory.ctypes.data
        np.ndarray((*out.shape, out.itemsize), bool, inside, offset, (*out.strides, 1))[...] = True
        # What the memory was aligned with lies beyond the guards.
        outside = np.nonzero(~inside)[0][ALIGNED:-ALIGNED]
        memory.view(np.uint8)[outside[int(where * len(outside))]] ^= 1 << bit

    violated = faults(candidate, style="out", memory=[("output", name)])
    assert list(violated) == ["nothing outside written"]
    assert re.search(r": 1 (before|behind|between)", violated["nothing outside written"])


def test_where_it_was_written_is_said():
    def candidate(*arguments):
        *given, out = arguments
        out[...] = refconv.conv2d(*given)
        around = beyond(out, 400)
        around[[5, 8, 330]] = 1  # rows are 6 long and 9 apart

    case = a_case()
    assert case.unwritten.shape == (2, 6, 3, 6)
    violated = faults(candidate, case, style="out", memory=[("output", "row_pitch")])
    assert violated["nothing outside written"].endswith(": 1 between its elements, 1 behind it")


def test_dense_rows_in_an_output_with_a_pitch():
    """NVIDIA/cutlass#1323."""

    def candidate(*arguments):
        *given, out = arguments
        beyond(out)[: out.size] = refconv.conv2d(*given).reshape(-1)

    assert faults(candidate, style="out") == {}
    assert set(faults(candidate, style="out", memory=[("output", "row_pitch")])) == {
        "nothing outside written",
        "every output written",
    }


def test_what_a_writer_returns():
    assert faults(writes(lambda out: out), style="out") == {}
    violated = faults(writes(lambda out: out.copy()), style="out")
    assert list(violated) == ["kind of array"]
    assert "numpy.ndarray" in violated["kind of array"]
    assert list(faults(writes(lambda _: 0), style="out")) == ["kind of array"]


def test_a_second_call_that_fails():
    count = iter(range(2))

    def candidate(*_):
        if next(count):
            raise ZeroDivisionError

    violated = faults(candidate, style="out")
    assert list(violated) == ["returns"]
    assert "the same call again: " in violated["returns"]


def test_torch_writes_too():
    def candidate(*arguments):
        *given, out = arguments
        torch.add(torch.nn.functional.conv2d(*given), 0, out=out)
        return out

    for name in ("contiguous", "row_pitch", "channels_last", "interleaved"):
        assert faults(candidate, arrays="torch", style="out", memory=[("output", name)]) == {}
