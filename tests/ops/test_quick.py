"""The shortest way: the same bits and the same errors as the long way has, whatever lies in memory."""

import numpy as np
import pytest
import torch
from common import same_bits
from hypothesis import example, given
from hypothesis import strategies as st
from processes import run

import refconv
from refconv import conv2d, strategies
from refconv.ops import quick

CASES = strategies.cases(dtypes=("float32", "float64"), max_multiplications=2**21)
PRECISIONS = ("float32", "float64")


@pytest.fixture(autouse=True, scope="module")
def _ready():
    """The first call of a dtype takes the long way."""
    for dtype in PRECISIONS:
        for precision in PRECISIONS[PRECISIONS.index(dtype) :]:
            for _ in range(2):
                x = np.ones((1, 1, 1, 1), dtype)
                conv2d(x, x, precision=precision)
                conv2d(torch.tensor(x), torch.tensor(x), precision=precision)


def outcome(function, *arguments, **options):
    """The result, or the type and text of an error."""
    try:
        return function(*arguments, **options)
    except (ValueError, TypeError, MemoryError, OverflowError) as error:
        return type(error), str(error)


def same(left, right):
    return same_bits(left, right) if isinstance(left, np.ndarray) and isinstance(right, np.ndarray) else left == right


@given(case=CASES, precision=st.sampled_from(PRECISIONS))
def test_same_bits_as_the_long_way(case, precision):
    precision = max(precision, case.input.dtype.name)
    options = (case.stride[0], 1, case.dilation[0], case.groups)
    arrays = (case.input, case.weight, case.bias)
    short, long = (outcome(conv2d, *arrays, *options, precision=precision, backend=name) for name in ("auto", "cpu"))
    assert same(short, long)
    tensors = [None if array is None else torch.tensor(array) for array in arrays]
    of_tensors = outcome(conv2d, *tensors, *options, precision=precision)
    assert same(of_tensors.numpy() if isinstance(of_tensors, torch.Tensor) else of_tensors, long)


NUMBERS = st.integers(-2, 4) | st.sampled_from(
    (2**27 - 1, 2**30 - 8, 2**31, 2**62, 10**30, True, 1.0, (1, 2), None, "same")
)


@given(
    shape=st.tuples(*[st.integers(0, 5)] * 4), kernel=st.tuples(*[st.integers(0, 3)] * 4),
    options=st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS), bias=st.none() | st.integers(0, 4),
)  # fmt: skip
@example(shape=(1, 2, 3, 3), kernel=(2, 2, 3, 3), options=(0, 0, 1, 1), bias=None)  # a division by zero
@example(shape=(1, 2, 3, 3), kernel=(2, 2, 3, 3), options=(1, 2**62, 1, 1), bias=None)
@example(shape=(1, 2, 3, 3), kernel=(2, 2, 3, 3), options=(1, 0, 1, 1), bias=3)
@example(shape=(1, 2, 3, 3), kernel=(2, 2, 3, 3), options=(1, 0, 1, 1), bias=0)
@example(shape=(1, 2, 5, 5), kernel=(1, 2, 17, 17), options=(1, 2**30 - 8, 2**27 - 1, 1), bias=None)  # past 64 bits
@example(shape=(1, 2, 5, 5), kernel=(1, 2, 2, 2), options=(1, 2**30, 2**31, 1), bias=None)
@example(shape=(1, 2, 5, 5), kernel=(1, 2, 1, 1), options=(10**30, 0, 10**30, 10**30), bias=None)
@example(shape=(1, 2, 3, 3), kernel=(2, 2, 3, 3), options=(1, 500_000, 1, 7), bias=None)  # a result too large to make
def test_same_errors_as_the_long_way(shape, kernel, options, bias):
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(size).astype("float32") for size in (shape, kernel))
    b = None if bias is None else np.ones(bias)
    b = None if b is None else b.astype("float32")
    assert same(
        outcome(conv2d, x, w, b, *options, precision="float32"),
        outcome(conv2d, x, w, b, *options, precision="float32", backend="cpu"),
    )


VIEWS = {
    "reversed": lambda a: a[::-1, :, ::-1],
    "every other column": lambda a: a[..., ::2],
    "transposed": lambda a: a.swapaxes(2, 3),
    "channels reversed": lambda a: a[:, ::-1],
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
    "other byte order": lambda a: a.astype(a.dtype.newbyteorder()),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_views(view):
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal((3, 4, 7, 6)).astype("float32") for _ in range(2))
    x, w = view(x), view(w)[..., :2, :2]
    x.setflags(write=False)
    assert same_bits(conv2d(x, w, precision="float32"), conv2d(x, w, precision="float32", backend="cpu"))


UNUSUAL = {
    "gradient": lambda t: t.requires_grad_(),
    "sparse": lambda t: t.to_sparse(),
    "negated later": lambda t: t._neg_view(),
    "parameter": torch.nn.Parameter,
    "conjugated": lambda t: t.conj(),
}


@pytest.mark.parametrize("change", UNUSUAL.values(), ids=UNUSUAL)
def test_unusual_tensors_take_the_long_way(change):
    x, w = torch.ones(1, 1, 3, 3), torch.ones(1, 1, 2, 2)
    both = [outcome(conv2d, change(x.clone()), w, precision="float32", backend=name) for name in ("auto", "cpu")]
    assert str(both[0]) == str(both[1])


BIASES = {
    "as it is": lambda b: b,
    "other dtype": lambda b: b.astype("float64"),
    "strided": lambda b: np.repeat(b, 2)[::2],
    "two axes": lambda b: b[None],
    "too short": lambda b: b[:1],
    "other bytes": lambda b: b.astype(">f4"),
    "list": list,
}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("change", BIASES.values(), ids=BIASES)
def test_biases(precision, change):
    x, w, bias = np.ones((1, 2, 4, 4), "float32"), np.ones((3, 2, 2, 2), "float32"), np.arange(3, dtype="float32")
    short, long = (
        outcome(conv2d, x, w, change(bias), precision=precision, backend=backend) for backend in ("auto", "cpu")
    )
    assert same(short, long)


@pytest.mark.parametrize("precision", [[], {}, 32, None, "float16"])
def test_wrong_precisions(precision):
    x = np.ones((1, 1, 2, 2), "float32")
    assert outcome(conv2d, x, x, precision=precision) == outcome(conv2d, x, x, precision=precision, backend="cpu")


def test_arrays_of_other_kinds_without_torch():
    program = (
        "import numpy as np, refconv, sys\n"
        "class Sub(np.ndarray): pass\n"
        "x = np.ones((1, 1, 2, 2), 'float32')\n"
        "for array in (x, x, x.view(Sub), np.ma.masked_array(x)):\n"
        "    try: print(float(refconv.conv2d(array, x)[0, 0, 0, 0]))\n"
        "    except TypeError as error: print('masked' in str(error))\n"
        "print('torch' in sys.modules)\n"
    )
    assert run(program).stdout.split() == ["4.0", "4.0", "4.0", "True", "False"]


def test_small_calls_take_the_shortest_way(monkeypatch):
    """So that the comparisons above compare two ways."""
    taken = []
    kept = quick.conv2d
    monkeypatch.setattr(quick, "conv2d", lambda *arguments: taken.append(kept(*arguments)) or taken[-1])
    x = np.ones((1, 2, 6, 6), "float32")
    for arrays in ((x, x), (torch.tensor(x), torch.tensor(x))):
        conv2d(*arrays, padding=1)
    assert [type(result) for result in taken] == [np.ndarray, torch.Tensor]
    assert quick.conv2d(np.ones((1, 64, 56, 56), "float32"), np.ones((64, 64, 3, 3), "float32"),
                        None, 1, 1, 1, 1, "float32") is None  # fmt: skip
    assert refconv.conv2d(x, x, padding=1).flags.owndata
