"""Wrong arguments: each is refused before anything is computed, by an error that names it, its value and the remedy."""

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from refconv import BackendUnavailable, GeometryError, conv2d

X, W, B = np.ones((2, 4, 5, 6), "float32"), np.ones((6, 4, 3, 3), "float32"), np.ones(6, "float32")

# (changed arguments, error, words that its message must hold)
WRONG = {
    "input of rank 2": ({"input": X[0, 0]}, GeometryError, ["input", "(5, 6)", "4 axes"]),
    "input of rank 5": ({"input": X[None]}, GeometryError, ["input", "(1, 2, 4, 5, 6)", "4 axes"]),
    "weight of rank 3": ({"weight": W[0]}, GeometryError, ["weight", "(4, 3, 3)", "4 axes"]),
    "weight of rank 5": ({"weight": W[None]}, GeometryError, ["weight", "(1, 6, 4, 3, 3)", "4 axes"]),
    "bias of rank 2": ({"bias": B[None]}, GeometryError, ["bias", "(1, 6)", "(6,)"]),
    "bias of rank 0": ({"bias": B.sum()[...]}, GeometryError, ["bias", "()", "(6,)"]),
    "bias too short": ({"bias": B[:5]}, GeometryError, ["bias", "(5,)", "(6,)"]),
    "weight for other channels": ({"weight": W[:, :3]}, GeometryError, ["weight", "(6, 3, 3, 3)", "= 4"]),
    "weight for other groups": ({"groups": 2}, GeometryError, ["weight", "(6, 4, 3, 3)", "= 2"]),
    "groups that divide no input": ({"groups": 3}, GeometryError, ["groups=3", "in_channels=4"]),
    "groups that divide no output": ({"groups": 4, "weight": W[:, :1]}, GeometryError, ["groups=4", "out_channels=6"]),
    "kernel too tall": ({"weight": np.ones((6, 4, 7, 3), "float32")}, GeometryError, ["kernel (7, 3)", "(5, 6)"]),
    "kernel too wide by dilation": ({"dilation": (1, 4)}, GeometryError, ["dilation=(1, 4)", "(5, 6)"]),
    "no output channel": ({"weight": W[:0]}, GeometryError, ["weight", "(0, 4, 3, 3)", "empty"]),
    "empty kernel": ({"weight": W[:, :, :0]}, GeometryError, ["weight", "(6, 4, 0, 3)", "empty"]),
    "empty image": ({"input": X[:, :, :0], "padding": 2}, GeometryError, ["input", "(2, 4, 0, 6)", "empty"]),
    "reflect as wide as the input": (
        {"padding": (5, 1), "padding_mode": "reflect"}, GeometryError, ["padding", "reflect", "at most 4"],
    ),
    "reflect wider on one side": (
        {"padding": ((0, 0), (0, 6)), "padding_mode": "reflect"}, GeometryError, ["padding", "reflect", "at most 5"],
    ),
    "circular wider than the input": (
        {"padding": (0, 7), "padding_mode": "circular"}, GeometryError, ["padding", "circular", "at most 6"],
    ),
    "replicate of nothing": (
        {"input": X[:0, :, :0], "padding": 2, "padding_mode": "replicate"}, GeometryError, ["replicate", "(0, 6)"],
    ),
    "same with a stride": ({"padding": "same", "stride": 2}, GeometryError, ["'same'", "stride=(2, 2)", "1"]),
    "padding by another name": ({"padding": "SAME"}, GeometryError, ["padding='SAME'", "'same'", "'valid'"]),
    "unknown padding mode": ({"padding_mode": "constant"}, GeometryError, ["padding_mode='constant'", "'reflect'"]),
    "padding mode of another type": ({"padding_mode": 1}, GeometryError, ["padding_mode=1", "'zeros'"]),
    "three-sided padding": ({"padding": ((1, 1), (1,))}, GeometryError, ["padding=", "((top, bottom), (left, right))"]),
    "padding of pairs and numbers": ({"padding": ((1, 1), 1)}, GeometryError, ["padding=", "(left, right)"]),
    "flat four-sided padding": ({"padding": (1, 1, 1, 1)}, GeometryError, ["padding=(1, 1, 1, 1)", "2 of them"]),
    "absurd padding": ({"padding": 10**8}, GeometryError, ["padding", "memory", "GiB"]),
    "absurd padding of no images": ({"input": X[:0], "padding": 2**31 - 1}, GeometryError, ["padding", "memory"]),
    "padding past all indices": ({"padding": 2**31}, GeometryError, ["padding=2147483648", "at most"]),
    "negative one-sided padding": ({"padding": ((0, -1), (0, 0))}, GeometryError, ["padding=-1", "at least 0"]),
    "unknown precision": ({"precision": "double"}, GeometryError, ["precision='double'", "'float64'"]),
    "precision narrower than the input": (
        {"input": X.astype("float64"), "weight": W.astype("float64"), "precision": "float32"},
        TypeError, ["precision='float32'", "float64"],
    ),
    "unknown backend": ({"backend": "gpu"}, GeometryError, ["backend='gpu'", "'cpu'"]),
    "other weight dtype": ({"weight": W.astype("float64")}, TypeError, ["weight", "float64", "float32"]),
    "other bias dtype": ({"bias": B.astype("float64")}, TypeError, ["bias", "float64", "float32"]),
    "integer weights for a float input": ({"weight": W.astype("int32")}, TypeError, ["weight", "int32", "float32"]),
    "input is a list": ({"input": X.tolist()}, TypeError, ["input", "list", "array"]),
    "input is a number": ({"input": 1.0}, TypeError, ["input", "float", "array"]),
    "input is a NumPy scalar": ({"input": np.float32(1)}, TypeError, ["input", "float32", "array"]),
    "input is None": ({"input": None}, TypeError, ["input", "NoneType", "array"]),
    "weight is a string": ({"weight": "weight"}, TypeError, ["weight", "str", "array"]),
    "masked input": ({"input": np.ma.masked_equal(X, 1)}, TypeError, ["input", "masked", "filled"]),
    "sparse input": ({"input": torch.tensor(X).to_sparse()}, TypeError, ["input", "sparse", "strided"]),
    "tensor on no device": ({"input": torch.tensor(X).to("meta")}, BackendUnavailable, ["input", "'meta'", "CPU"]),
}  # fmt: skip


def refused(error, words, **arguments):
    """The call must raise `error` with all the words, and quickly: nothing is computed."""
    with pytest.raises(error) as caught:
        conv2d(**{"input": X, "weight": W, **arguments})
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", WRONG)
def test_refused(name):
    """One wrong argument at a time."""
    arguments, error, words = WRONG[name]
    refused(error, words, **arguments)


@pytest.mark.parametrize("argument", ["stride", "dilation", "groups", "padding"])
@pytest.mark.parametrize(
    "value", [-1, 0, 1.0, float("nan"), True, np.True_, torch.tensor(True), None, "1", b"1", 1j], ids=repr
)
def test_not_a_count(argument, value):
    """Sizes are positive integers (padding may be 0); a bool, a float or NaN is none."""
    if (argument, repr(value)) == ("padding", "0"):
        assert conv2d(X, W, padding=value).shape == (2, 6, 3, 4)
    else:
        kind = GeometryError if type(value) is int else (TypeError, GeometryError)
        refused(kind, [f"{argument}="], **{argument: value})


@pytest.mark.parametrize("argument", ["stride", "dilation", "padding"])
@pytest.mark.parametrize(
    "value", [(), (1, 1, 1), (1, True), (True, 1), (1, 1.0), (1, None), (1, "1"), {1, 2}, {1: 1, 2: 2}], ids=repr
)
def test_not_a_pair(argument, value):
    """Wrong lengths and wrong elements, also right after the same call with right ones was remembered."""
    conv2d(X, W, **{argument: (1, 1)})
    refused((TypeError, GeometryError), [f"{argument}="], **{argument: value})


def test_true_is_not_one_after_one_was_cached():
    """A cache keyed by value would take True for 1."""
    conv2d(X, W, stride=1, groups=1)
    refused(TypeError, ["stride=True"], stride=True)
    refused(TypeError, ["groups=True"], groups=True)


UNSUPPORTED = [bool, object, "S1", "U1", "M8[s]", "V4", "longdouble", ml_dtypes.int4, ml_dtypes.float8_e3m4]


@pytest.mark.parametrize("dtype", UNSUPPORTED, ids=str)
@pytest.mark.parametrize("argument", ["input", "weight", "bias"])
def test_unsupported_dtypes(dtype, argument):
    """bool, object, strings, times, and formats that are not supported."""
    array = np.zeros({"input": X, "weight": W, "bias": B}[argument].shape, dtype)
    refused(TypeError, [argument, str(np.dtype(dtype)), "float32"], **{argument: array})


UNSUPPORTED_TORCH = [torch.bool, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz]


@pytest.mark.parametrize("dtype", UNSUPPORTED_TORCH, ids=str)
def test_unsupported_torch_dtypes(dtype):
    """torch's own likewise, without torch's own error."""
    refused(TypeError, ["input", str(dtype), "float32"], input=torch.zeros(X.shape).to(dtype))


def test_length_one_sequences_mean_all_axes():
    """As in torch."""
    for argument in ("stride", "dilation", "padding"):
        assert np.array_equal(conv2d(X, W, **{argument: (1,)}), conv2d(X, W, **{argument: 1}))


# Counts below 1 are refused by the tests above; torch refuses them too, unless an empty array lets it leave early.
COUNT, PADDING = st.integers(1, 4), st.integers(0, 4)
COUNTS = st.one_of(COUNT, st.tuples(COUNT, COUNT))
PADDINGS = st.one_of(PADDING, st.tuples(PADDING, PADDING), st.just("same"), st.just("valid"))


@given(
    st.tuples(*[st.integers(0, 3)] * 2, *[st.integers(0, 5)] * 2),
    st.tuples(*[st.integers(0, 4)] * 2, *[st.integers(1, 4)] * 2),
    st.sampled_from([None, 0, 1, 2, 3]),
    COUNTS,
    PADDINGS,
    COUNTS,
    COUNT,
    st.sampled_from(["zeros", "reflect", "replicate", "circular"]),
)
@example((2, 0, 5, 6), (6, 0, 3, 3), 6, 1, 0, 1, 1, "zeros")  # no input channels: torch makes no output channels
@example((0, 4, 0, 6), (6, 4, 3, 3), None, 1, 2, 1, 1, "zeros")
@example((1, 0, 5, 5), (1, 0, 1, 1), None, 1, 0, 1, 1, "reflect")  # nothing to repeat, says torch
@example((0, 1, 5, 5), (1, 1, 1, 1), None, 1, 1, 1, 1, "circular")
@example((1, 0, 5, 5), (1, 0, 1, 1), None, 1, "valid", 1, 1, "reflect")
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors is a no-op")
def test_refuses_what_torch_refuses(x_shape, w_shape, bias, stride, padding, dilation, groups, mode):
    """Both raise, or both succeed with the same shape. torch.nn.Conv2d is what joins modes and convolution in torch."""
    x, w = torch.zeros(x_shape), torch.zeros(w_shape)
    b = None if bias is None else torch.zeros(bias)
    arguments = (stride, padding, dilation, groups)
    try:
        theirs = torch_layer(x, w, b, *arguments, mode).shape
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        with pytest.raises((GeometryError, TypeError)):
            pytest.fail(f"torch: {error}; refconv: {conv2d(x, w, b, *arguments, padding_mode=mode).shape}")
    else:
        assert conv2d(x, w, b, *arguments, padding_mode=mode).shape == theirs


def torch_layer(x, w, b, stride, padding, dilation, groups, mode):
    """torch.nn.Conv2d's forward with given tensors, padding modes included."""
    if mode == "zeros":
        return torch.nn.functional.conv2d(x, w, b, stride, padding, dilation, groups)
    if padding == "same":
        if stride not in (1, (1, 1)):
            raise ValueError("torch.nn.Conv2d refuses it at construction")
        dilations = (dilation, dilation) if isinstance(dilation, int) else dilation
        totals = [d * (k - 1) for d, k in zip(dilations, w.shape[2:], strict=True)]
        sides = [side for total in reversed(totals) for side in (total // 2, total - total // 2)]
    else:
        padding = 0 if padding == "valid" else padding  # which the layer pads by, and may refuse to
        height, width = (padding, padding) if isinstance(padding, int) else padding
        sides = [width, width, height, height]
    if min(sides) < 0:
        raise ValueError("torch.nn.functional.pad would crop; a convolution's padding is not negative")
    padded = torch.nn.functional.pad(x, sides, mode=mode)
    return torch.nn.functional.conv2d(padded, w, b, stride, 0, dilation, groups)


def test_inputs_are_never_modified():
    """Nor need they be writable."""
    copies = X.copy(), W.copy(), B.copy()
    for array in (X, W, B):
        array.setflags(write=False)
    try:
        for mode in ("zeros", "reflect"):
            conv2d(X, W, B, padding=1, padding_mode=mode)
    finally:
        for array in (X, W, B):
            array.setflags(write=True)
    assert all(np.array_equal(now, before) for now, before in zip((X, W, B), copies, strict=True))
