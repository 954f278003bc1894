"""A case, functions to call with it, and the properties that a call violates. No test."""

import ctypes

import numpy as np

import refconv
from refconv.cases.fills import operands
from refconv.ops.family import OPERATORS
from refconv.verification.candidate.candidate import Candidate


def a_case(dtype="float32", *, batched=True, broadcast=(), fill="integers"):
    """A case of which no two sizes are equal."""
    x, w, b = operands(fill, (2, 4, 7, 6), (6, 2, 3, 2), bias=True, dtype=dtype, seed=1)
    for name, array in zip("xwb", (x, w, b), strict=True):
        if name in broadcast:
            array[:] = array[:1]
    options = {"stride": (2, 1), "padding": (0, 1), "dilation": (1, 2), "groups": 2}
    return refconv.Case(input=x if batched else x[0], weight=w, bias=b, **options)


def case_of_operator(op, *arguments):
    """A case of any operator, with the arguments of its call."""
    return refconv.Case(op=op, **dict(zip(OPERATORS[op].parameters, arguments, strict=False)))


def faults(function, case=None, **options):
    """The properties that a call of a candidate violates."""
    call = {name: options.pop(name) for name in ("memory", "layout") if name in options}
    return dict(Candidate(function, **options).call(case or a_case(), **call).faults)


def returning(value):
    return lambda *_: value


def raising(error):
    def candidate(*_):
        raise error

    return candidate


def beyond(array, count=None):
    """The memory from an array's first element on, and before it."""
    address = array.ctypes.data
    count = count or array.size + 8
    return np.frombuffer((ctypes.c_char * (count * array.itemsize)).from_address(address), array.dtype)


def writes(then=lambda _: None, of=refconv.conv2d):
    """A function that writes its output, and something else after that."""

    def candidate(*arguments, **keywords):
        *given, out = arguments
        out[...] = of(*given, **keywords)
        return then(out)

    return candidate
