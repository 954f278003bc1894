"""Convolutions of complex numbers by real ones: three or four of these."""

from dataclasses import replace
from functools import wraps

import numpy as np
from kernels.lowered import quiet
from kernels.sums import im2col


def _real(case, x, w, run):
    return run(replace(case, input=np.ascontiguousarray(x), weight=np.ascontiguousarray(w), bias=None))


def _together(case, real, imaginary):
    out = (real + 1j * imaginary).astype(case.input.dtype)
    out.real, out.imag = real, imaginary  # of infinite numbers too
    if case.bias is None:
        return out
    bias = case.bias[:, None, None]
    out.real, out.imag = out.real + bias.real, out.imag + bias.imag
    return out


@quiet
def gauss(case, run=im2col):
    """c (a + b), a (d - c) and b (c + d), each summed by itself."""
    (a, b), (c, d) = ((array.real, array.imag) for array in (case.input, case.weight))
    first, second, third = (_real(case, *pair, run) for pair in ((a + b, c), (a, d - c), (b, c + d)))
    return _together(case, first - third, first + second)


@quiet
def karatsuba(case, run=im2col):
    """a c, b d and (a + b) (c + d), each summed by itself."""
    (a, b), (c, d) = ((array.real, array.imag) for array in (case.input, case.weight))
    first, second, third = (_real(case, *pair, run) for pair in ((a, c), (b, d), (a + b, c + d)))
    return _together(case, first - second, third - first - second)


def by_parts(run):
    """A real convolution that takes complex cases too: by four real ones."""

    @wraps(run)
    @quiet
    def of_any(case, *rest):
        if case.input.dtype.kind != "c":
            return run(case, *rest)
        (a, b), (c, d) = ((array.real, array.imag) for array in (case.input, case.weight))
        ac, bd, ad, bc = (_real(case, *pair, run) for pair in ((a, c), (b, d), (a, d), (b, c)))
        return _together(case, ac - bd, ad + bc)

    return of_any
