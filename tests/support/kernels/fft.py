"""Convolutions by Fourier transforms."""

from functools import partial

import numpy as np
from kernels.lowered import narrowed, quiet
from scipy import fft as scipy_fft


def power_of_two(elements, taps):
    """Of a transform that nothing wraps around in."""
    return 1 << (elements + taps - 2).bit_length()


@quiet
def fft(case, transforms=np.fft, length=power_of_two):
    """By float32 Fourier transforms of the padded input and the dilated filters, of some length along each axis."""
    g = case.geometry
    images = case.input.astype("float32").reshape(g.batch, g.groups, -1, *g.size)
    padded = np.pad(images, ((0, 0), (0, 0), (0, 0), *g.padding))
    dilated = np.zeros((*case.weight.shape[:2], *(d * (k - 1) + 1 for d, k in zip(g.dilation, g.kernel, strict=True))))
    dilated[:, :, :: g.dilation[0], :: g.dilation[1]] = case.weight
    size = [length(a, b) for a, b in zip(padded.shape[3:], dilated.shape[2:], strict=True)]
    x = transforms.rfft2(padded, size)[:, :, None]
    w = transforms.rfft2(dilated.astype("float32"), size).conj()
    w = w.reshape(g.groups, -1, *w.shape[1:])
    out = transforms.irfft2((x * w).sum(axis=3), size).reshape(g.batch, g.out_channels, *size)
    out = out[:, :, :: g.stride[0], :: g.stride[1]][:, :, : g.output_size[0], : g.output_size[1]]
    out = out if case.bias is None else out + case.bias.astype("float32")[:, None, None]
    return np.ascontiguousarray(out if case.input.ndim == 4 else out[0])


def fft_of_any_size(case):
    """By transforms of the sizes that SciPy likes, of small primes."""
    return narrowed(partial(fft, transforms=scipy_fft, length=_length_of_small_primes))(case)


def _length_of_small_primes(elements, _taps):
    return scipy_fft.next_fast_len(elements, real=True)
