"""Cases of conv2d: expected results, bounds that hold and mean something, and wrong outputs that `check` must see."""

import copy
import pickle
from fractions import Fraction

import numpy as np
import pytest
import torch
from common import ALL, AS_TORCH, MODES, call, same_bits
from hypothesis import given
from hypothesis import strategies as st

from refconv import Case, ErrorModel, GeometryError, assert_close, ops, strategies
from refconv.cases.fills import LARGEST_INTEGER, names, operands
from refconv.core.formats import NARROW, part, parts, rounded, unit_roundoff

RNG = np.random.default_rng(0)
CASE = Case(
    input=RNG.standard_normal((2, 8, 6, 7)).astype("float32"),
    weight=RNG.standard_normal((4, 8, 3, 3)).astype("float32"),
    bias=RNG.standard_normal(4).astype("float32"),
    padding=1,
)
GOOD = CASE.expected()


def spoiled(value, index=(1, 2, 3, 4)):
    """The right output with one wrong element."""
    out = GOOD.copy()
    out[index] = value
    return out


ADVERSARIES = {
    "all zero": np.zeros_like(GOOD),
    "all NaN": np.full_like(GOOD, np.nan),
    "one NaN": spoiled(np.nan),
    "one infinity": spoiled(np.inf),
    "one element unwritten": spoiled(0),
    "one element's sign": spoiled(-GOOD[1, 2, 3, 4]),
    "right values, wrong place": np.roll(GOOD, 1, axis=-1),
    "images exchanged": GOOD[::-1],
    "scaled by 1.001": (GOOD * 1.001).astype("float32"),
    "wrong dtype": GOOD.astype("float64"),
    "wrong shape": GOOD[:, :, :-1],
    "an axis too many": GOOD[None],
    "broadcastable": GOOD[:1],
    "bias forgotten": GOOD - CASE.bias[:, None, None],
    "empty": GOOD[:0],
}


@pytest.mark.parametrize("name", ADVERSARIES)
def test_adversaries_are_rejected(name):
    """Nothing slips through, and the text says that it is wrong."""
    comparison = CASE.check(ADVERSARIES[name])
    assert comparison.verdict == "wrong"
    assert not comparison.ok
    assert comparison.n_wrong
    assert "wrong" in str(comparison)
    with pytest.raises(AssertionError, match="wrong"):
        assert_close(ADVERSARIES[name], CASE)


def test_the_wrong_element_is_named():
    """Index, both values, how far outside."""
    comparison = CASE.check(spoiled(7.5))
    assert comparison.worst == (1, 2, 3, 4)
    assert comparison.n_wrong == 1
    assert comparison.max_bound_ratio > 1
    assert "(1, 2, 3, 4)" in str(comparison)
    assert "7.5" in str(comparison)


def test_the_right_output_is_identical():
    """To itself, as torch's tensor too, and with the sign of a zero changed."""
    assert CASE.check(GOOD).verdict == "identical"
    assert CASE.check(torch.tensor(GOOD)).verdict == "identical"
    zero = Case(input=np.zeros((1, 1, 1, 1)), weight=np.ones((1, 1, 1, 1)))
    assert zero.check(-zero.expected()).verdict == "identical"


def test_a_last_bit_is_within_the_bound_of_a_long_sum():
    """Rounded differently is not wrong."""
    comparison = CASE.check(np.nextafter(GOOD, np.float32(np.inf)))
    assert comparison.verdict == "within bound"
    assert comparison.max_ulp == 1
    assert 0 < comparison.max_bound_ratio < 1


def exact_output(case):
    """Every output as a rational number, by the formula."""
    g = case.geometry
    images = case.input if case.input.ndim == 4 else case.input[None]
    padded = np.pad(images, ((0, 0), (0, 0), *g.padding))
    for n, k, p, q in np.ndindex(g.output_shape):
        first = k // (g.out_channels // g.groups) * case.weight.shape[1]
        total = Fraction(0) if case.bias is None else Fraction(float(case.bias[k]))
        for c, r, s in np.ndindex(case.weight.shape[1:]):
            row, column = p * g.stride[0] + r * g.dilation[0], q * g.stride[1] + s * g.dilation[1]
            total += Fraction(float(case.weight[k, c, r, s])) * Fraction(float(padded[n, first + c, row, column]))
        yield (n, k, p, q), total


@given(strategies.cases(dtypes=("float32", "float64"), asymmetric_padding=True, max_multiplications=300, **AS_TORCH))
def test_the_oracle_keeps_its_promise(case):
    """Oracle and speed tier lie within the bound of the exact value."""
    expected, bound = case.expected(), case.bound()
    narrow = case.expected(case.input.dtype.name)
    for index, exact in exact_output(case):
        at = index if case.input.ndim == 4 else index[1:]
        for out in (expected, narrow):
            assert abs(Fraction(float(out[at])) - exact) <= Fraction(float(bound[at]))


@given(strategies.cases(dtypes=ALL, padding_modes=MODES, max_multiplications=5000, **AS_TORCH))
def test_expected_is_what_conv2d_returns(case):
    """Of the operator, bit for bit."""
    for precision in ("exact", "float64", "float32")[: 2 + (case.input.dtype.itemsize <= 4)]:
        assert same_bits(case.expected(precision), call(case, precision=precision))


@given(strategies.cases(dtypes=("float32",), fills=("normal", "positive"), **AS_TORCH), st.data())
def test_a_dropped_product_is_seen(case, data):
    """Where the products are of one size, an output without one of them is outside the bound."""
    if 0 in case.geometry.output_shape or not case.weight.all() or not case.input.all():
        return
    weight = case.weight.copy()
    index = data.draw(st.tuples(*(st.integers(0, size - 1) for size in weight.shape)))
    weight[index] = 0
    x, _, *rest = case.arguments()
    names = ("bias", "stride", "padding", "dilation", "groups")
    other = Case(input=x, weight=weight, **dict(zip(names, rest, strict=True)))
    difference = np.abs(other.expected().astype(float) - case.expected())
    assert case.check(other.expected()).ok == bool((difference <= 2 * case.bound()).all())


def test_overflow_frees_the_element_and_only_it():
    """Where a sum in some order can overflow, anything goes; where it can't, infinity is wrong."""
    x = np.array([[[[3e38, 1.0]]]], "float32")
    case = Case(input=x.repeat(2, axis=1), weight=np.array([[[[1.0]], [[-1.0]]]], "float32"))
    assert case.expected().tolist() == [[[[0, 0]]]]
    assert case.check(np.array([[[[np.nan, 0]]]], "float32")).ok
    assert not case.check(np.array([[[[0, np.nan]]]], "float32")).ok
    assert not case.check(np.array([[[[0, np.inf]]]], "float32")).ok


def test_special_values_must_be_where_they_belong():
    """NaN and infinity reach exactly the outputs whose receptive field holds them."""
    x = np.ones((1, 1, 1, 6), "float32")
    x[..., 2], x[..., 5] = np.nan, np.inf
    case = Case(input=x, weight=np.ones((1, 1, 1, 2), "float32"))
    expected = np.array([[[[2, np.nan, np.nan, 2, np.inf]]]], "float32")
    assert case.check(expected).verdict == "identical"
    for position, value in ((1, 2), (0, np.nan), (4, np.nan), (4, -np.inf), (4, 3e38)):
        wrong = expected.copy()
        wrong[..., position] = value
        comparison = case.check(wrong)
        assert comparison.worst == (0, 0, 0, position)
        assert comparison.n_wrong == 1


def test_integers_must_be_equal():
    """No bound, no rounding."""
    case = Case(input=np.full((1, 1, 2, 2), 3, "int8"), weight=np.full((1, 1, 1, 1), 5, "int8"))
    assert case.check(case.expected()).verdict == "identical"
    assert case.check(case.expected() + np.int32(1)).n_wrong == 4


def test_a_case_is_immutable():
    """Its arrays are copies and can't be written to."""
    x = np.ones((1, 1, 2, 2))
    case = Case(input=x, weight=np.ones((1, 1, 1, 1)))
    x[...] = 5
    assert case.expected().tolist() == [[[[1, 1], [1, 1]]]]
    with pytest.raises(ValueError, match="read-only"):
        case.input[...] = 5
    with pytest.raises(AttributeError):
        case.stride = 2


def test_copies_are_as_immutable():
    """Copied, pickled, and with flags set; what a candidate does to the arrays that it is given stays with these."""
    for case in (copy.deepcopy(CASE), copy.copy(CASE), pickle.loads(pickle.dumps(CASE))):  # noqa: S301 - our own
        assert same_bits(case.input, CASE.input)
        assert str(case) == str(CASE)
        with pytest.raises(ValueError, match="cannot set WRITEABLE flag"):
            case.input.setflags(write=True)
    CASE.arguments()[0].shape = (-1,)
    assert CASE.arguments()[0].shape == CASE.input.shape


def test_integers_that_only_seem_small_enough():
    """A sum of magnitudes that float64 rounds down to 2**53 is more than that, and partial sums may be rounded."""
    case = Case(input=np.array([2.0**53, 1, -1]).reshape(1, 3, 1, 1), weight=np.ones((1, 3, 1, 1)))
    for right in (2.0**53, 2.0**53 - 1):
        assert case.check(np.full((1, 1, 1, 1), right)).ok


def test_the_callers_floating_point_errors_are_not_ours():
    """Underflow and overflow in a caller who has NumPy raise for them."""
    tiny = Case(input=np.full((1, 1, 1, 1), 1e-30, "float32"), weight=np.full((1, 1, 1, 1), 1e-15, "float32"))
    with np.errstate(all="raise"):
        assert tiny.expected() == call(tiny, backend="python") == call(tiny)
        assert tiny.check(tiny.expected()).verdict == "identical"


def test_bad_cases():
    """Refused at once, as conv2d would refuse them."""
    with pytest.raises(GeometryError, match="groups=3"):
        Case(input=CASE.input, weight=CASE.weight, groups=3)
    with pytest.raises(TypeError, match="weight has dtype float64"):
        Case(input=CASE.input, weight=CASE.weight.astype("float64"))
    with pytest.raises(GeometryError, match="op='conv4d'"):
        Case(op="conv4d", input=CASE.input, weight=CASE.weight)


@pytest.mark.parametrize(
    "actual", [[1.0], None, 1.0, GOOD.astype(object), GOOD > 0], ids=["list", "None", "scalar", "object", "bool"]
)
def test_what_is_no_array_is_wrong(actual):
    """A candidate may return anything: that is judged like all else."""
    comparison = CASE.check(actual)
    assert comparison.verdict == "wrong"
    assert comparison.problem.startswith("actual ")


NARROW_NAMES = tuple(map(str, NARROW))


@given(strategies.cases(dtypes=NARROW_NAMES, asymmetric_padding=True, max_multiplications=300, **AS_TORCH))
def test_the_oracle_keeps_its_promise_in_narrow_formats(case):
    """Rounded once; oracle and speed tier lie within the bound of the exact value."""
    bound, outs = case.bound(), (case.expected(), case.expected("float32"))
    for index, exact in exact_output(case):
        at = index if case.input.ndim == 4 else index[1:]
        for out in outs:
            if np.isfinite(float(out[at])) and np.isfinite(bound[at]):
                assert abs(Fraction(float(out[at])) - exact) <= Fraction(float(bound[at]))


@given(strategies.cases(dtypes=NARROW_NAMES, padding_modes=MODES, max_multiplications=5000, **AS_TORCH))
def test_expected_is_what_conv2d_returns_in_narrow_formats(case):
    """Case and operator round alike."""
    for precision in ("exact", "float64", "float32"):
        assert same_bits(case.expected(precision), call(case, precision=precision))


@given(
    strategies.cases(dtypes=NARROW_NAMES, asymmetric_padding=True, max_multiplications=300, **AS_TORCH),
    st.booleans(),
)
def test_a_narrow_accumulator_is_within_the_bound(case, backwards):
    """The loosest sound kernel: each product and each sum rounded to the narrow format."""
    g, dtype = case.geometry, case.input.dtype
    images = case.input if case.input.ndim == 4 else case.input[None]
    padded = np.pad(images.astype(float), ((0, 0), (0, 0), *g.padding))
    out = np.zeros(g.output_shape, dtype)
    for n, k, p, q in np.ndindex(g.output_shape):
        first = k // (g.out_channels // g.groups) * case.weight.shape[1]
        terms = [] if case.bias is None else [float(case.bias[k])]
        for c, r, s in np.ndindex(case.weight.shape[1:]):
            row, column = p * g.stride[0] + r * g.dilation[0], q * g.stride[1] + s * g.dilation[1]
            product = float(case.weight[k, c, r, s]) * padded[n, first + c, row, column]  # exact in float64
            terms.append(float(rounded(np.array(product), dtype)))
        total = 0.0
        for term in reversed(terms) if backwards else terms:
            total = float(rounded(np.array(total + term), dtype))
        out[n, k, p, q] = total
    comparison = case.check(out if case.input.ndim == 4 else out[0], ErrorModel.direct(dtype))
    assert comparison.ok, str(comparison)


@pytest.mark.filterwarnings("ignore:TF32 acceleration on top of oneDNN")
@given(strategies.cases(dtypes=("float16", "bfloat16"), string_padding=False, unbatched=True))
def test_torch_is_within_the_bound_of_narrow_formats(case):
    """As a peer, in its own dtypes. Without oneDNN: in torch 2.13 its bfloat16 is wrong where columns are strided."""
    x, w, b, *options = case.arguments()
    if 0 in (*x.shape, *w.shape):
        return
    tensors = (
        None if array is None else torch.tensor(array.astype("float32")).to(getattr(torch, x.dtype.name))
        for array in (x, w, b)
    )
    with torch.backends.mkldnn.flags(enabled=False):
        out = torch.nn.functional.conv2d(*tensors, *options)
    comparison = case.check(out)
    assert comparison.ok, str(comparison)


@pytest.mark.parametrize("dtype", NARROW_NAMES)
def test_adversaries_in_narrow_formats(dtype):
    """One wrong element, a wrong kind of number, and sums so long that most weights are 0."""
    x, w, b = operands("integers", (1, 300, 5, 4), (3, 300, 3, 3), bias=True, dtype=dtype)
    case = Case(input=x, weight=w, bias=b)
    good = case.expected()
    assert not case.bound().any()
    assert case.check(good).verdict == "identical"
    for value in (np.nan, 0 if good[0, 1, 2, 1] else 1, -good[0, 1, 2, 1] or 1):
        wrong = good.copy()
        wrong[0, 1, 2, 1] = value
        assert case.check(wrong).worst == (0, 1, 2, 1)
        assert case.check(wrong).n_wrong == 1
    assert "dtype" in case.check(good.astype("float32")).problem


def test_overflow_without_infinity():
    """What is too large for float8_e4m3fn is NaN; where no sum comes near it, NaN is wrong."""
    ones = np.ones((1, 1, 1, 1), "float8_e4m3fn")
    case = Case(input=np.array([[[[448, 1]], [[448, 1]]]], "float8_e4m3fn"), weight=ones.repeat(2, axis=1))
    assert case.check(case.expected()).verdict == "identical"
    assert np.isnan(case.expected().astype(float)).tolist() == [[[[True, False]]]]
    assert not case.check(np.full((1, 1, 1, 2), np.nan, "float8_e4m3fn")).ok


@pytest.mark.parametrize("dtype", [*NARROW_NAMES, "complex64", "complex128"])
def test_every_fill_of_every_format(dtype):
    """None is refused, however many terms; of integers the sums are exact, positions are integers."""
    shapes = (2, 8, 9, 9), (3, 8, 5, 5)
    for fill in names(dtype):
        x, w, b = operands(fill, *shapes, bias=True, dtype=dtype, seed=3)
        assert {array.dtype for array in (x, w, b)} == {np.dtype(dtype)}
        wide = [parts(array).astype(float) for array in (x, w, b)]
        assert all(np.isfinite(array).all() for array in wide)
        if fill == "positive":
            assert all((array > 0).all() and (array <= 1).all() for array in wide)
        if fill == "positions":
            assert all(array.reshape(-1)[:3].tolist() == [1, 2, 3] for array in wide)
            assert all((array == np.rint(array)).all() for array in wide)
    x, w, b = (abs(parts(array).astype(float)) for array in operands("integers", *shapes, bias=True, dtype=dtype))
    assert x.all()
    assert x.max() <= LARGEST_INTEGER
    sums = x.max() * w.reshape(3, -1).sum(axis=1)  # both parts of a complex weight: no sum has more
    assert (sums + b.max() <= 1 / unit_roundoff(part(np.dtype(dtype)))).all()


def by_real_convolutions(x, w, b, *options):
    """conv2d of complex numbers by four of real ones: another order of the additions."""
    ordinary, products = (
        [ops.conv2d(*operands, *options) for operands in pairs]
        for pairs in (
            [(x.real, w.real, b.real), (x.real, w.imag, b.imag)],
            [(x.imag, w.imag, None), (x.imag, w.real, None)],
        )
    )
    out = np.empty(ordinary[0].shape, x.dtype)
    out.real, out.imag = ordinary[0] - products[0], ordinary[1] + products[1]
    return out


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("fill", names("complex64"))
def test_complex_numbers_are_judged_part_by_part(dtype, fill):
    x, w, b = operands(fill, (2, 4, 6, 5), (4, 2, 3, 3), bias=True, dtype=dtype)
    case = Case(input=x, weight=w, bias=b, padding=1, groups=2)
    good, bound = case.expected(), case.bound()
    assert good.dtype == dtype
    assert bound.dtype == np.complex128
    assert case.check(good).verdict == "identical"
    assert not bound.any() if fill == "integers" else (parts(bound) > 0).all() or fill == "positions"
    # A kernel in the parts' own type, the terms in another order.
    other = by_real_convolutions(x[:, :, ::-1, ::-1], w[:, :, ::-1, ::-1], b, 1, 1, 1, 2)[:, :, ::-1, ::-1]
    assert case.check(other).ok
    for value in (np.nan, 1j * np.nan, 1j * (1 + 2 * bound[1, 2, 3, 4].imag), 1 + 2 * bound[1, 2, 3, 4].real):
        wrong = good.copy()
        wrong[1, 2, 3, 4] += value
        comparison = case.check(wrong)
        assert not comparison.ok
        assert comparison.worst == (1, 2, 3, 4)
        assert comparison.n_wrong == 1
    assert case.check(good.conj()).n_wrong
    assert case.check(good.real.copy()).problem


def test_complex_special_values():
    """NaN and infinity in the parts that they reach."""
    x = np.ones((1, 1, 1, 3), "complex64")
    x[..., 2] = complex(1, np.inf)
    case = Case(input=x, weight=np.full((1, 1, 1, 1), 1 + 1j, "complex64"))
    expected = np.array([[[[1 + 1j, 1 + 1j, complex(-np.inf, np.inf)]]]], "complex64")
    assert case.check(expected).verdict == "identical"
    for value in (complex(-np.inf, 1), complex(np.inf, np.inf), complex(-np.inf, np.nan), 1 + 1j):
        wrong = expected.copy()
        wrong[..., 2] = value
        assert case.check(wrong).n_wrong == 1
    large = Case(
        input=np.full((1, 2, 1, 1), 3e38, "complex64"), weight=np.array([1, -1], "complex64").reshape(1, 2, 1, 1)
    )
    assert case.check(case.expected()).n_free == 0
    assert large.check(np.full((1, 1, 1, 1), np.nan, "complex64")).n_free == 1
