"""Error models: their texts and errors, and where they leave an output free."""

import numpy as np
import pytest
from bounded import direct
from kernels.winograd import winograd_by_points

from refconv import Case, ErrorModel, GeometryError


def test_bounds_do_not_warn():
    """Whatever the caller's settings are."""
    x, w = np.full((1, 1, 1, 2), 1e-200 + 1e-200j), np.full((1, 1, 1, 1), 1e-200 + 0j)
    with np.errstate(all="raise"):
        Case(input=x, weight=w).bound()


# --- where anything goes ---------------------------------------------------------------------------------------------


def one(x, w, dtype="float32", bias=None):
    """A 1x1 convolution of so many channels."""
    shape = (1, len(x), 1, 1)
    return Case(
        input=np.array(x, dtype).reshape(shape),
        weight=np.array(w, dtype).reshape(shape),
        bias=None if bias is None else np.array([bias], dtype),
    )


FREE = {
    "sums overflow": (one([3e38, 3e38], [1, -1]), direct()),
    "a narrow accumulator does": (one([60000, 60000], [1, -1], "float16"), direct("float16")),
    "double sums do": (one([1e308, 1e308], [1, 1], "float64"), direct("float64")),
    "an operand becomes infinite": (one([3.4028e38], [2.0**-100]), ErrorModel.tf32()),
    "a weight becomes infinite": (one([2.0**-100], [3.4028e38]), ErrorModel.bf16x3()),
    "rounding may just make infinity": (one([65504, 15.5], [1, 1], "float16"), direct()),
    "the sum without its bias": (
        one([60000, 60000], [1.1, 1.1], "float16", -60000),
        direct(bias_after_rounding=True),
    ),
    "the finite sum beside an infinity": (one([np.inf, 3e38, 3e38], [1, 1, 1]), direct()),
    "infinity, of which nothing is left": (one([np.inf], [1.5]), ErrorModel.bf16x3()),
    "a transform": (one([3e38], [1.5]), ErrorModel.fft()),
}
JUDGED = {
    "a wide accumulator": (one([3e38, 3e38], [1, -1]), direct("float64")),
    "smaller numbers": (one([1e38, 1e38], [1, -1]), direct()),
    "a wider accumulator than the output": (one([60000, 60000], [1, -1], "float16"), direct()),
    "operands as they are": (one([3.4028e38], [2.0**-100]), direct()),
    "truncated operands": (one([3.4028e38], [2.0**-100]), ErrorModel.tf32("truncate")),
    "infinity for certain": (one([65504, 65504], [1, 1], "float16"), direct()),
    "a bias that takes back": (one([60000, 60000], [1, 1], "float16", -60000), direct()),
    "infinity": (one([np.inf], [1.5]), direct()),
    "infinity in doubles": (one([np.inf], [1.5], "float64"), direct("float64")),
    "an infinite bias": (one([1.5], [1.5], bias=np.inf), direct(bias_after_rounding=True)),
    "NaN": (one([np.nan, 3e38, 3e38], [1, 1, 1]), direct()),
    "NaN, split": (one([np.nan, np.inf], [1, 1]), ErrorModel.bf16x3()),
    "a transform of smaller numbers": (one([1e30], [1.5]), ErrorModel.fft()),
}


@pytest.mark.parametrize("name", [*FREE, *JUDGED])
def test_where_anything_goes(name):
    """Where a sum or an operand may overflow, and only there."""
    case, model = (FREE | JUDGED)[name]
    assert np.isinf(model.bound(case.sums, case.input.dtype)).item() == (name in FREE)


def test_infinity_and_nan_spread_over_tiles_and_images():
    """Free is what the emulations spoil; what is beyond is judged."""
    x = np.random.default_rng(0).standard_normal((2, 4, 16, 16)).astype("float32")
    w = np.random.default_rng(1).standard_normal((4, 2, 3, 3)).astype("float32")
    x[0, 3, 8, 9] = np.nan
    case = Case(input=x, weight=w, groups=2, padding=1)
    assert np.isinf(case.bound()).sum() == 0
    free = np.isinf(case.bound(ErrorModel.winograd(4, 3)))
    assert not free[1].any() and not free[0, :2].any()  # noqa: PT018 - another image, another group
    rows, columns = np.nonzero(free[0, 2])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 12, 5, 13)  # 5 rows on, 4 back
    for shift in range(4):
        assert free[np.isnan(winograd_by_points(case, 4, 3, shift=shift))].all()
    assert np.isinf(case.bound(ErrorModel.fft())[0, 2:]).all()
    assert np.isinf(case.bound(ErrorModel.fft())).sum() == 2 * 16 * 16
    w[1, 0, 1, 1] = np.inf
    case = Case(input=np.abs(x[1:]) + 1, weight=w, groups=2, padding=1)
    for model in (ErrorModel.winograd(2, 3), ErrorModel.fft()):
        free = np.isinf(case.bound(model))
        assert free[:, 1].all()
        assert free.sum() == 16 * 16


# --- names and errors ------------------------------------------------------------------------------------------------


TEXTS = {
    "direct:float32": direct(),
    "direct:float16": direct("float16"),
    "direct:float32,bfloat16": direct("float32", "bfloat16"),
    "direct:float64,tf32": direct("float64", "tf32"),
    "direct:float32,flush_to_zero": direct(flush_to_zero=True),
    "tf32": ErrorModel.tf32(),
    "tf32:truncate": ErrorModel.tf32("truncate"),
    "tf32:flush_to_zero,bias_after_rounding": ErrorModel.tf32(flush_to_zero=True, bias_after_rounding=True),
    "bf16x3": ErrorModel.bf16x3(),
    "tensor_core:A100": ErrorModel.tensor_core(),
    "tensor_core:H100,tf32": ErrorModel.tensor_core("H100", "tf32"),
    "tensor_core:V100,accumulator=float16": ErrorModel.tensor_core("V100", accumulator="float16"),
    "tensor_core:block=8,fraction_bits=13,operands=tf32": ErrorModel.tensor_core(
        operands="tf32", block=8, fraction_bits=13
    ),
    "winograd:2,3": ErrorModel.winograd(2, 3),
    "winograd:4,3,float64,bias_after_rounding": ErrorModel.winograd(4, 3, "float64", bias_after_rounding=True),
    "fft": ErrorModel.fft(),
    "fft:float64": ErrorModel.fft("float64"),
    "fft:flush_to_zero": ErrorModel.fft(flush_to_zero=True),
    "exact": ErrorModel.exact(),
}


@pytest.mark.parametrize("text", TEXTS)
def test_texts_and_models(text):
    """Each is the other's."""
    assert str(TEXTS[text]) == text
    assert ErrorModel.parse(text) == TEXTS[text]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "model=''"),
        ("tf64", "model='tf64': must be one of 'direct', 'tf32'"),
        ("inferred:float32", "model='inferred'"),
        ("direct:int8", "model='direct:int8': accumulator='int8': must be a floating format"),
        ("direct:float31", "accumulator='float31'"),
        ("direct:float32,tf33", "operands='tf33'"),
        ("direct:float32,tf32,3", "too many positional arguments"),
        ("direct:float32,", "operands=''"),
        ("tf32:up", "rounding='up'"),
        ("bf16x3:1", "too many positional arguments"),
        ("tensor_core:P100", "gpu='P100': must be one of 'V100'"),
        ("tensor_core:A100,block=8,fraction_bits=23", "gpu='A100': must not be given with block=8"),
        ("tensor_core:block=8", "fraction_bits=None"),
        ("tensor_core:block=0,fraction_bits=23", "block=0"),
        ("winograd:2", "missing a required argument: 'r'"),
        ("winograd:2,x", "r='x'"),
        ("winograd:1,3", "m=1"),
        ("winograd:11,3", "m=11: m + r - 1 must be at most 12"),
        ("fft:sized=3", "unexpected keyword argument 'sized'"),
        ("exact:now", "too many positional arguments"),
        ("direct:float32,store=truncate,store=nearest", "store is given twice"),
        ("direct:float32,flush_to_zero,flush_to_zero=inputs", "flush_to_zero is given twice"),
    ],
)
def test_texts_of_no_model(text, message):
    """The error says what is wrong with which argument."""
    with pytest.raises(GeometryError) as error:
        ErrorModel.parse(text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": (1, 2)}, "model='winograd:2,3': stride (1, 2): must be (1, 1)"),
        ({"dilation": 2}, "model='winograd:2,3': dilation (2, 2): must be (1, 1)"),
    ],
)
def test_winograd_refuses_what_it_cannot_compute(options, message):
    """By its name, and `supports` says so before."""
    x, w = np.ones((1, 1, 9, 9), "float32"), np.ones((1, 1, 3, 3), "float32")
    case, model = Case(input=x, weight=w, **options), ErrorModel.winograd(2, 3)
    assert not model.supports(case.geometry)
    assert ErrorModel.fft().supports(case.geometry)
    with pytest.raises(GeometryError) as error:
        case.bound(model)
    assert str(error.value) == message
    with pytest.raises(GeometryError, match=r"kernel \(3, 3\): must be \(5, 5\)"):
        Case(input=x, weight=w).bound(ErrorModel.winograd(2, 5))


def test_which_models_statistics_may_judge():
    """Those of roundings to nearest, unless something else happens on the way."""
    judged = [direct(), direct("float16"), ErrorModel.tf32(), ErrorModel.bf16x3(), direct("float32", "bfloat16")]
    assert all(model.statistical for model in judged)
    others = [
        ErrorModel.tf32("truncate"),
        ErrorModel.tensor_core("A100"),
        ErrorModel.winograd(2, 3),
        ErrorModel.fft(),
        ErrorModel.exact(),
        direct(flush_to_zero=True),
        direct(bias_after_rounding=True),
    ]
    assert not any(model.statistical for model in others)
    assert direct().unit == 2.0**-24 < ErrorModel.bf16x3().unit < ErrorModel.tf32().unit
    assert ErrorModel.fft().unit == 0


@pytest.mark.parametrize(
    ("dtype", "accumulator"),
    [
        ("float8_e5m2", "float32"),
        ("bfloat16", "float32"),
        ("float32", "float32"),
        ("float64", "float64"),
        ("complex64", "float32"),
        ("complex128", "float64"),
    ],
)
def test_a_direct_sum_is_inferred(dtype, accumulator):
    """In float32, or wider if the operands are."""
    assert ErrorModel.inferred(dtype) == direct(accumulator)
