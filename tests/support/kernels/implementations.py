"""Convolutions by others and in other arithmetic: sound ones, each with the error model that it claims, and faults.

Each takes a Case and returns an array. No test, no judgement; torch, JAX and onnxruntime by way of `peers`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
import peers
import torch

from refconv import Case, ErrorModel
from refconv.core.formats import rounded

Run = Callable[[Case], np.ndarray]


# --- a case as products ----------------------------------------------------------------------------------------------


class Lowered:
    """The operands as float32 matrices, one pair for each group: a row of n terms for each output position and filter.

    Attributes
    ----------
    columns : (groups, N * P * Q, n)
    filters : (groups, C_out / groups, n)
    bias : (groups, C_out / groups, 1) or None
    """

    def __init__(self, case):
        g = self.geometry = case.geometry
        self.batched = case.input.ndim == 4
        images = case.input.astype("float32").reshape(g.batch, g.in_channels, *g.size)
        self.columns = self._columns(images)
        self.filters = case.weight.astype("float32").reshape(g.groups, -1, g.terms)
        self.bias = None if case.bias is None else case.bias.astype("float32").reshape(g.groups, -1, 1)

    def _columns(self, images):
        g = self.geometry
        padded = np.pad(images, ((0, 0), (0, 0), *g.padding))
        extents = [d * (k - 1) + 1 for d, k in zip(g.dilation, g.kernel, strict=True)]
        windows = np.lib.stride_tricks.sliding_window_view(padded, extents, axis=(2, 3))
        steps = (slice(None, None, step) for step in (*g.stride, *g.dilation))
        windows = windows[(slice(None), slice(None), *steps)]
        windows = windows.reshape(g.batch, g.groups, g.in_channels // g.groups, *windows.shape[2:]).transpose(
            1, 0, 3, 4, 2, 5, 6
        )
        return windows.reshape(g.groups, -1, g.terms)

    def inside(self):
        """Which elements of the columns are none of the padding."""
        g = self.geometry
        return self._columns(np.ones((g.batch, g.in_channels, *g.size), "float32")) != 0

    def products(self):
        """(groups, C_out / groups, N * P * Q, n), rounded to float32."""
        return self.filters[:, :, None] * self.columns[:, None]

    def added(self, sums):
        """Sums with the bias added in float32."""
        return sums if self.bias is None else sums + self.bias

    def image(self, sums):
        """The output tensor of sums (groups, C_out / groups, N * P * Q)."""
        g = self.geometry
        out = sums.reshape(g.out_channels, g.batch, *g.output_size).swapaxes(0, 1)
        return np.ascontiguousarray(out if self.batched else out[0])


@lru_cache(maxsize=1)
def lowered(case):
    return Lowered(case)


def quiet(function):
    """Without NumPy's warnings of what special values lead to."""

    def run(*arguments, **options):
        with np.errstate(all="ignore"):
            return function(*arguments, **options)

    return run


def by_products(add):
    """A convolution by a function that adds up products along the last axis; the bias last."""

    @quiet
    def run(case):
        low = lowered(case)
        return low.image(low.added(add(low.products())))

    return run


def narrowed(run):
    """The result of a convolution in float32, rounded to the case's dtype."""
    return lambda case: rounded(run(case), case.input.dtype)


# --- orders of summation in float32 ----------------------------------------------------------------------------------


@quiet
def im2col(case):
    """A matrix product by NumPy's BLAS."""
    low = lowered(case)
    return low.image(low.added(low.filters @ low.columns.swapaxes(1, 2)))


@quiet
def sequential(case):
    """One addition after the other, without FMA, from the bias on."""
    low = lowered(case)
    terms = low.products()
    if low.bias is not None:
        terms = np.concatenate([np.broadcast_to(low.bias[..., None], (*terms.shape[:3], 1)), terms], axis=-1)
    return low.image(_running(terms))


def _running(terms):
    return terms.cumsum(axis=-1, dtype=terms.dtype)[..., -1]


def _pairwise(terms):
    while terms.shape[-1] > 1:
        half = terms.shape[-1] // 2
        pairs = terms[..., :half] + terms[..., half : 2 * half]
        terms = np.concatenate([pairs, terms[..., 2 * half :]], axis=-1)
    return terms[..., 0]


def _split(terms, parts=8):
    """As threads share a sum: stretches of it, then the sum of these."""
    stretches = np.array_split(terms, min(parts, terms.shape[-1]), axis=-1)
    return _running(np.stack([_running(each) for each in stretches], axis=-1))


@quiet
def skipping(case):
    """Taps that fall on the padding are left out, not multiplied by zero."""
    low = lowered(case)
    terms = np.where(low.inside()[:, None], low.products(), np.float32(0))
    return low.image(low.added(_running(terms)))


@quiet
def flushing(case):
    """Subnormal operands, products and sums become zero, as with -ffast-math or on many accelerators."""
    low = lowered(case)
    columns, filters = _flushed(low.columns), _flushed(low.filters)
    total = np.zeros((*filters.shape[:2], columns.shape[1]), "float32")
    for term in range(columns.shape[-1]):
        product = _flushed(filters[:, :, None, term] * columns[:, None, :, term])
        total = _flushed(total + product)
    return low.image(total if low.bias is None else _flushed(total + _flushed(low.bias)))


def _flushed(values):
    return np.where(np.abs(values) < np.finfo("float32").tiny, np.float32(0), values)


def _cut(values):
    """float64 numbers cut off to float32, toward zero."""
    nearest = values.astype("float32")
    nearest.view(np.int32)[...] -= np.abs(nearest) > np.abs(values)
    return nearest.astype(float)


@quiet
def bias_after_rounding(case):
    """The sum is rounded to the output format, and once more after the bias is added."""
    low = lowered(case)
    sums = rounded(_running(low.products()), case.input.dtype).astype("float32")
    return rounded(low.image(low.added(sums)), case.input.dtype)


# --- rounded operands ------------------------------------------------------------------------------------------------


def with_operands(change, case):
    """The case with other numbers in input and weight."""
    with np.errstate(all="ignore"):
        x, w = (change(each).astype(each.dtype) for each in (case.input, case.weight))
        return replace(case, input=x, weight=w)


def of_operands(change, run=im2col):
    """A convolution after a change of the operands."""
    return lambda case: run(with_operands(change, case))


def tf32(values, *, truncate=False):
    """float32 numbers of 11 significant bits: to nearest, ties to even, or toward zero."""
    bits = values.astype("float32").view(np.uint32)
    if not truncate:
        bits = np.where(np.isfinite(values), bits + 0xFFF + ((bits >> 13) & 1), bits)
    return np.where(np.isnan(values), values, (bits & np.uint32(0xFFFFE000)).view(np.float32))


def bfloat16(values):
    return rounded(rounded(values, "bfloat16"), "float32")


@quiet
def bf16x3(case):
    """Operands as sums of two bfloat16; three matrix products of the four.

    The rest of an infinity is NaN: such corrections are left out, as XLA does.
    """
    low = lowered(case)
    x, w = low.columns.swapaxes(1, 2), low.filters
    first, second = bfloat16(x), bfloat16(w)
    corrections = second @ bfloat16(x - first) + bfloat16(w - second) @ first
    return low.image(low.added(second @ first + np.where(np.isnan(corrections), np.float32(0), corrections)))


@quiet
def tensor_core(case, block, fraction_bits):
    """Blocks of exact products and the sum so far, aligned to the largest exponent, truncated, added, truncated.

    Fasi, Higham, Mikaitis and Pranesh, "Numerical behavior of NVIDIA tensor cores", PeerJ Computer Science 7:e330
    (2021), section 3. Of operands whose products float64 holds.
    """
    low = lowered(case)
    x, w = low.columns.astype(float)[:, None], low.filters.astype(float)[:, :, None]
    products, exponents = x * w, _exponent(x) + _exponent(w)  # of products not normalised
    total = np.zeros(products.shape[:-1])
    for first in range(0, products.shape[-1], block):
        some = slice(first, first + block)
        addends = np.concatenate([products[..., some], total[..., None]], axis=-1)
        largest = np.concatenate([exponents[..., some], _exponent(total)[..., None]], axis=-1).max(axis=-1)
        quantum = np.ldexp(1.0, np.maximum(largest - fraction_bits, -1000))
        total = _truncated((np.trunc(addends / quantum[..., None]) * quantum[..., None]).sum(axis=-1))
    total = total if low.bias is None else (total + low.bias).astype("float32")
    return rounded(low.image(total), case.input.dtype)


def _exponent(values):
    """Of the leading bit; very small for 0."""
    return np.where(values == 0, -5000, np.frexp(values)[1] - 1)


def _truncated(values):
    """float64 numbers as float32 has them, cut off toward zero, subnormal ones too."""
    quantum = np.ldexp(1.0, np.maximum(np.frexp(values)[1] - 24, -149))
    return np.trunc(values / quantum) * quantum


# --- by transforms ---------------------------------------------------------------------------------------------------

# Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016, section 4.
WINOGRAD = {
    2: (
        [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
        [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
        [[1, 1, 1, 0], [0, 1, -1, -1]],
    ),
    4: (
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ],
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ],
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    ),
}


def winograd(m, case):
    """F(m x m, 3 x 3) in float32, tiles from the upper left corner on."""
    return by_tiles(case, WINOGRAD[m])


@quiet
def by_tiles(case, matrices, shift=0):
    """Minimal filtering in float32, by the matrices of input, weights and output; tiles begin `shift` before these."""
    g, low = case.geometry, lowered(case)
    data, taps, inverse = (np.array(each, "float32") for each in matrices)
    (m, t), (P, Q) = inverse.shape, g.output_size
    images = case.input.astype("float32").reshape(g.batch, g.in_channels, *g.size)
    rows, columns = (-(-(size + shift) // m) for size in (P, Q))
    ends = [
        (shift, tiles * m + t - m - shift - size) for tiles, size in zip((rows, columns), g.padded_size, strict=True)
    ]
    padded = np.pad(np.pad(images, ((0, 0), (0, 0), *g.padding)), ((0, 0), (0, 0), *ends))
    tiles = np.lib.stride_tricks.sliding_window_view(padded, (t, t), axis=(2, 3))[:, :, ::m, ::m]
    u = (taps @ case.weight.astype("float32") @ taps.T).reshape(g.groups, -1, g.in_channels // g.groups, t * t)
    v = (data @ tiles @ data.T).reshape(g.batch, g.groups, -1, rows * columns, t * t)
    products = np.matmul(u.transpose(3, 0, 1, 2)[:, None], v.transpose(4, 0, 1, 2, 3))  # (t^2, N, groups, K/g, tiles)
    sums = np.moveaxis(products, 0, -1).reshape(g.batch, g.out_channels, rows, columns, t, t)
    out = (inverse @ sums @ inverse.T).swapaxes(3, 4).reshape(g.batch, g.out_channels, rows * m, columns * m)
    out = out[:, :, shift : shift + P, shift : shift + Q]
    out = out if case.bias is None else out + case.bias.astype("float32")[:, None, None]
    return np.ascontiguousarray(out if low.batched else out[0])


def winograd_supports(case):
    g = case.geometry
    return g.kernel == (3, 3) and g.stride == g.dilation == (1, 1)


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


# --- libraries -------------------------------------------------------------------------------------------------------


def torch_conv2d(case, *, mkldnn=True, memory_format=torch.contiguous_format):
    """torch.nn.functional.conv2d."""
    x, w, b, *options = case.arguments()
    tensors = [None if each is None else torch.tensor(each) for each in (x, w, b)]
    if memory_format == torch.channels_last:
        tensors[:2] = (each.contiguous(memory_format=memory_format) if each.ndim == 4 else each for each in tensors[:2])
    with torch.backends.mkldnn.flags(enabled=mkldnn):
        return torch.nn.functional.conv2d(*tensors, *options).numpy()


@quiet
def jax_conv2d(case):
    """lax.conv_general_dilated, the bias added in float32."""
    g, low = case.geometry, lowered(case)
    images = case.input.reshape(g.batch, g.in_channels, *g.size)
    out = peers.jax_conv(images, case.weight, g.stride, g.padding, g.dilation, g.groups)
    out = out if case.bias is None else out + case.bias[:, None, None]
    return out if low.batched else out[0]


@quiet
def onnx_conv2d(case):
    """onnxruntime's Conv, the bias added in float32."""
    g, low = case.geometry, lowered(case)
    images = case.input.reshape(g.batch, g.in_channels, *g.size)
    out = peers.onnx_conv(images, case.weight, **peers.onnx_conv2d_options(g))
    out = out if case.bias is None else out + case.bias[:, None, None]
    return out if low.batched else out[0]


# --- the sound ones, and what each claims ----------------------------------------------------------------------------


def everything(_case):
    return True


@dataclass(frozen=True)
class Implementation:
    """A sound convolution: the error model that it claims, and which cases it takes."""

    run: Run
    model: ErrorModel
    supports: Callable[[Case], bool] = everything
    dtype: str = "float32"


_DIRECT = ErrorModel.direct("float32")
SOUND = {
    "torch, oneDNN": Implementation(torch_conv2d, _DIRECT),
    "torch without oneDNN": Implementation(partial(torch_conv2d, mkldnn=False), _DIRECT),
    "torch, channels_last": Implementation(partial(torch_conv2d, memory_format=torch.channels_last), _DIRECT),
    "onnxruntime": Implementation(onnx_conv2d, _DIRECT),
    "im2col and sgemm": Implementation(im2col, _DIRECT),
    "sequential, no FMA": Implementation(sequential, _DIRECT),
    "reversed": Implementation(by_products(lambda terms: _running(terms[..., ::-1])), _DIRECT),
    "pairwise": Implementation(by_products(_pairwise), _DIRECT),
    "split into 8": Implementation(by_products(_split), _DIRECT),
    "padding skipped": Implementation(skipping, _DIRECT),
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
    "float16, torch": Implementation(partial(torch_conv2d, mkldnn=False), _DIRECT, dtype="float16"),
    "float16, bias after rounding": Implementation(
        bias_after_rounding, ErrorModel.direct("float32", bias_after_rounding=True), dtype="float16"
    ),
    "Winograd F(2x2, 3x3)": Implementation(partial(winograd, 2), ErrorModel.winograd(2, 3), winograd_supports),
    "Winograd F(4x4, 3x3)": Implementation(partial(winograd, 4), ErrorModel.winograd(4, 3), winograd_supports),
    "FFT": Implementation(fft, ErrorModel.fft()),
}


# --- faults ----------------------------------------------------------------------------------------------------------


@quiet
def truncating(case):
    """Every sum is cut off to float32, toward zero; products are exact."""
    low = lowered(case)
    total = np.zeros((*low.filters.shape[:2], low.columns.shape[1]))
    for term in range(low.columns.shape[-1]):
        total = _cut(total + low.filters[:, :, None, term].astype(float) * low.columns[:, None, :, term])
    total = total if low.bias is None else _cut(total + low.bias)
    return low.image(rounded(total, case.input.dtype))


@quiet
def float16_sums(case):
    """Products and sums rounded to float16."""
    low = lowered(case)
    terms = low.products().astype("float16")
    if low.bias is not None:
        terms = np.concatenate([terms, np.broadcast_to(low.bias[..., None], (*terms.shape[:3], 1))], axis=-1)
    return low.image(_running(terms.astype("float16")).astype(case.input.dtype))


def dropped_tap(case, run):
    """The last tap of the last channel forgotten, in every filter."""
    weight = case.weight.copy()
    weight[:, -1, -1, -1] = 0
    return run(replace(case, weight=weight))


def scaled(case, run):
    out = run(case)
    return (out * np.float64(1.0005)).astype(out.dtype)


def replaced(value, case, run):
    """One element, in the middle, is another number."""
    out = run(case).copy()
    out.reshape(-1)[out.size // 2] = value
    return out


FAULTS = {
    "TF32 operands, rounded": lambda case, run: run(with_operands(tf32, case)),
    "TF32 operands, truncated": lambda case, run: run(with_operands(partial(tf32, truncate=True), case)),
    "bfloat16 operands": lambda case, run: run(with_operands(bfloat16, case)),
    "float16 accumulation": lambda case, _: float16_sums(case),
    "truncating accumulation": lambda case, _: truncating(case),
    "one tap dropped": dropped_tap,
    "scaled by 1.0005": quiet(scaled),
    "one element unwritten": partial(replaced, 0),
    "one NaN": partial(replaced, np.nan),
}
