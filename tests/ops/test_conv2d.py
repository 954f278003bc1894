"""conv2d against torch and SciPy within the bound, exactly on integers, and against itself by its algebra."""

import numpy as np
import pytest
import scipy.signal
import torch
from common import ALL, AS_TORCH, FLOATS, MODES, call, same_bits
from hypothesis import given

from refconv import Case, assert_close, conv2d, strategies


def torch_conv2d(case):
    """torch's convolution as torch.nn.Conv2d calls it."""
    x, w, b, stride, padding, dilation, groups = (
        torch.tensor(argument) if isinstance(argument, np.ndarray) else argument for argument in case.arguments()
    )
    (top, bottom), (left, right) = case.geometry.padding
    if case.padding_mode != "zeros" or isinstance(padding[0], tuple):
        mode = "constant" if case.padding_mode == "zeros" else case.padding_mode
        x = torch.nn.functional.pad(x, (left, right, top, bottom), mode=mode)
        padding = 0
    return torch.nn.functional.conv2d(x, w, b, stride, padding, dilation, groups).numpy()


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@given(strategies.cases(dtypes=FLOATS, padding_modes=MODES, asymmetric_padding=True, **AS_TORCH))
def test_torch_is_within_the_bound(case):
    """Two witnesses that share no code: every element of torch's result lies within the error bound."""
    assert_close(torch_conv2d(case), case)


@given(strategies.cases(dtypes=FLOATS, padding_modes=MODES, asymmetric_padding=True, **AS_TORCH))
def test_speed_tier_is_within_the_bound(case):
    """Sums in the input's own dtype are what the bound was derived for."""
    assert_close(call(case, precision=case.input.dtype.name), case)


@given(strategies.cases(dtypes=ALL[2:-1], padding_modes=MODES, **AS_TORCH))
def test_integers_equal_torch(case):
    """Integers leave no room for rounding. torch sums in the input's type, so it gets int64, and knows no dilation."""
    x, w, b, stride, _, dilation, groups = case.arguments()
    wide = Case(
        input=x.astype("int64"),
        weight=stuffed(w, dilation).astype("int64"),
        bias=None if b is None else b.astype("int64"),
        stride=stride,
        padding=case.geometry.padding,
        groups=groups,
        padding_mode=case.padding_mode,
    )
    assert np.array_equal(call(case), torch_conv2d(wide))


def stuffed(weight, dilation):
    """The kernel with the zeros between its elements that a dilation stands for."""
    taps = (d * (k - 1) + 1 for k, d in zip(weight.shape[2:], dilation, strict=True))
    out = np.zeros((*weight.shape[:2], *taps), weight.dtype)
    out[:, :, :: dilation[0], :: dilation[1]] = weight
    return out


@given(
    strategies.cases(dtypes=("float64",), fills=("integers",), padding_modes=MODES, asymmetric_padding=True, **AS_TORCH)
)
def test_integer_fills_are_exact(case):
    """Small integers as floats: the result is the exact one, in every precision, whatever sums them."""
    assert np.array_equal(call(case), call_as(case, np.int64))
    narrow = call_as(case, np.float32, precision="float32")
    assert np.array_equal(narrow, call(case))


def call_as(case, dtype, **options):
    """`conv2d` with a case's arguments, its arrays in another dtype."""
    arguments = (
        argument.astype(dtype) if isinstance(argument, np.ndarray) else argument for argument in case.arguments()
    )
    return conv2d(*arguments, padding_mode=case.padding_mode, **options)


@given(strategies.cases(dtypes=("float64",), depthwise=False, max_multiplications=20_000, **AS_TORCH))
def test_scipy_is_within_the_bound(case):
    """scipy.signal.correlate2d over the padded input, strided and channel by channel."""
    x, w, b, (stride_h, stride_w), _, dilation, groups = case.arguments()
    kernel = stuffed(w, dilation)
    images = np.pad(x if x.ndim == 4 else x[None], ((0, 0), (0, 0), *case.geometry.padding))
    out = np.zeros(case.geometry.output_shape)
    for n, k in np.ndindex(out.shape[:2]):
        group = k // (len(w) // groups)
        for c in range(w.shape[1]):
            plane = images[n, group * w.shape[1] + c]
            out[n, k] += scipy.signal.correlate2d(plane, kernel[k, c], "valid")[::stride_h, ::stride_w]
    out += 0 if b is None else b[:, None, None]
    assert_close(out.reshape(case.expected().shape), case)


EXACT = {"dtypes": ("float64",), "fills": ("integers",), "asymmetric_padding": True, "string_padding": True,
         "unbatched": True}  # fmt: skip


@given(strategies.cases(**EXACT))
def test_linear_in_the_input(case):
    """conv(2x + x') = 2 conv(x) + conv(x'), exactly on integers."""
    x, w, _, *rest = case.arguments()
    other = x[..., ::-1, :]
    assert np.array_equal(
        conv2d(2 * x + other, w, None, *rest), 2 * conv2d(x, w, None, *rest) + conv2d(other, w, None, *rest)
    )


@given(strategies.cases(**EXACT))
def test_groups_are_concatenated_parts(case):
    """A grouped convolution is one convolution for each group, side by side, to the bit."""
    x, w, b, stride, padding, dilation, groups = case.arguments()
    parts = [
        conv2d(x_part, w_part, b_part, stride, padding, dilation)
        for x_part, w_part, b_part in zip(
            np.split(x, groups, axis=-3),
            np.split(w, groups),
            [None] * groups if b is None else np.split(b, groups),
            strict=True,
        )
    ]
    assert same_bits(np.concatenate(parts, axis=-3), call(case))


@given(strategies.cases(dtypes=FLOATS, asymmetric_padding=True, **AS_TORCH))
def test_dilation_is_a_zero_stuffed_kernel(case):
    """Within the bound, for the stuffed kernel has more terms and so other blocks."""
    x, w, b, stride, _, dilation, groups = case.arguments()
    assert_close(conv2d(x, stuffed(w, dilation), b, stride, case.geometry.padding, 1, groups), case)


@given(strategies.cases(dtypes=FLOATS, asymmetric_padding=True, **AS_TORCH))
def test_stride_is_subsampling(case):
    """Every stride_h-th row and stride_w-th column of the convolution with stride 1, to the bit."""
    x, w, b, (stride_h, stride_w), _, dilation, groups = case.arguments()
    dense = conv2d(x, w, b, 1, case.geometry.padding, dilation, groups)
    assert same_bits(np.ascontiguousarray(dense[..., ::stride_h, ::stride_w]), call(case))


@given(strategies.cases(dtypes=FLOATS, padding_modes=MODES, asymmetric_padding=True, **AS_TORCH))
def test_padding_is_a_padded_input(case):
    """Padding first (by NumPy) and then not at all, to the bit."""
    x, w, b, stride, _, dilation, groups = case.arguments()
    mode = {"zeros": "constant", "replicate": "edge", "circular": "wrap"}.get(case.padding_mode, case.padding_mode)
    widths = [*[(0, 0)] * (x.ndim - 2), *case.geometry.padding]
    # NumPy repeats nothing into an empty array, not even along its other axes; zeros it does.
    padded = np.pad(x, widths, mode=mode if x.size else "constant")
    assert same_bits(conv2d(padded, w, b, stride, 0, dilation, groups), call(case))


@given(strategies.cases(dtypes=FLOATS, depthwise=False, string_padding=False, unbatched=True))
def test_shift_moves_the_output(case):
    """A row and a column of zeros more at the top left: the output for stride 1 moves by one row and column."""
    x, w, b, _, _, dilation, groups = case.arguments()
    (top, bottom), (left, right) = case.geometry.padding
    plain = conv2d(x, w, b, 1, ((top, bottom), (left, right)), dilation, groups)
    moved = conv2d(x, w, b, 1, ((top + 1, bottom), (left + 1, right)), dilation, groups)
    assert same_bits(np.ascontiguousarray(moved[..., 1:, 1:]), plain)


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 5)])
def test_delta_kernel_copies_its_tap(kernel):
    """A kernel with a single 1 selects a shifted window of the input, bit for bit."""
    x = np.random.default_rng(1).standard_normal((2, 3, 7, 8))
    for r, s in np.ndindex(kernel):
        w = np.zeros((3, 1, *kernel))
        w[:, :, r, s] = 1
        rows, columns = 8 - kernel[0], 9 - kernel[1]
        assert same_bits(conv2d(x, w, groups=3), np.ascontiguousarray(x[:, :, r : r + rows, s : s + columns]))


@pytest.mark.parametrize("dtype", ALL)
def test_result_dtypes(dtype):
    """Floats keep their dtype; integers are widened as documented."""
    wide = {"uint64": "uint64", "int32": "int64", "uint32": "int64", "int64": "int64"}
    expected = dtype if dtype in FLOATS else wide.get(dtype, "int32")
    assert conv2d(np.ones((1, 1, 2, 2), dtype), np.ones((1, 1, 1, 1), dtype)).dtype == expected


@given(strategies.cases(dtypes=("float32",), max_multiplications=5000, **AS_TORCH))
def test_unbatched_is_a_batch_of_one(case):
    """(C, H, W) in, (C, H, W) out."""
    x, *rest = case.arguments()
    if x.ndim == 4 and len(x) == 1:
        assert same_bits(conv2d(x[0], *rest), conv2d(x, *rest)[0])
    elif x.ndim == 3:
        assert same_bits(conv2d(x, *rest), conv2d(x[None], *rest)[0])


def test_padding_as_an_array():
    """Four-sided padding in the form in which NumPy has its widths."""
    x, w = np.arange(12.0).reshape(1, 1, 3, 4), np.ones((1, 1, 2, 2))
    assert same_bits(conv2d(x, w, padding=np.array([[1, 2], [0, 1]])), conv2d(x, w, padding=((1, 2), (0, 1))))


def test_real_networks_first_layers_against_torch():
    """The documentation's examples of torch.nn.Conv2d, whole, within the bound."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((20, 16, 50, 100)).astype("float32")
    for kernel, options in (
        ((3, 3), {"stride": 2}),
        ((3, 5), {"stride": (2, 1), "padding": (4, 2)}),
        ((3, 5), {"stride": (2, 1), "padding": (4, 2), "dilation": (3, 1)}),
    ):
        w = rng.standard_normal((33, 16, *kernel)).astype("float32")
        case = Case(input=x, weight=w, bias=w[:, 0, 0, 0], **options)
        assert_close(torch_conv2d(case), case)
