"""Kernels made for one layout, or that return another dtype, say so: sound ones pass, and wrong ones fail."""

import functools

import numpy as np
import pytest
from campaigns import verify
from common import SOME
from kernels.libraries import jax_as_tensorflow, onnx_auto_pad
from marks import sampled
from typer.testing import CliRunner

import refconv
from refconv.cli.app import app
from refconv.core.layouts import Layouts, result_name
from refconv.core.operators import axes_of
from refconv.judge.case import Case
from refconv.ops.family import OPERATORS
from refconv.verification import Candidate
from refconv.verification.replay import again
from refconv.verification.report.saved_failures import load

NHWC = {"input_layout": "NHWC", "weight_layout": "HWIO", "output_layout": "NHWC"}
pytestmark = pytest.mark.usefixtures("generated_only")
failing = functools.partial(verify, max_failures=1, shrink_seconds=0.1)  # what fails is not looked into


def made_for(op, layouts, change=lambda result: result):
    """A kernel that takes and returns arrays in these layouts and no other; `change` makes it wrong."""

    def kernel(*arguments, padding_mode="zeros"):
        call = dict(zip(OPERATORS[op].parameters, arguments, strict=True))
        groups = call.get("groups", 1)
        for name in ("input", "weight", "grad_output"):
            if name in call:
                call[name] = np.ascontiguousarray(layouts.restored(name, call[name]))
        for name in ("input_size", "weight_size"):
            if name in call:
                call[name] = layouts.restored_size(name, call[name])
        mode = {"padding_mode": padding_mode} if OPERATORS[op].has_padding_mode else {}
        result = layouts.stored(result_name(op), change(getattr(refconv, op)(**call, **mode)), groups)
        return np.ascontiguousarray(result)

    return kernel


ORDERS = ("NHWC,HWIO,NHWC", "NCHW,OHWI,NHWC", "CHWN,IHWO,CHWN")


@pytest.mark.parametrize(("op", "order"), sampled(sorted(SOME), ORDERS, every=3))
def test_a_kernel_of_fixed_layouts_passes(op, order):
    axes = axes_of(op)
    named = {1: order.replace("H", "").replace("W", "L"), 2: order, 3: order.replace("H", "DH")}[axes]
    layouts = Layouts.parse(named, axes)
    claims = dict(zip(("input_layout", "weight_layout", "output_layout"), layouts, strict=True))
    supports = claims | {"unbatched": True, "padding_mode": ["zeros", "circular"], "padding": ["numbers"]}
    report = verify(made_for(op, layouts), op, cases=20, largest=10_000, supports=supports)
    assert report.ok, report.failures


def test_a_depthwise_kernel_may_have_its_multiplier_last():
    layouts = Layouts("NHWC", "HWCM", "NHWC")
    supports = NHWC | {"weight_layout": "HWCM"}
    report = verify(made_for("conv2d", layouts), cases=30, largest=10_000, supports=supports)
    assert report.ok, report.failures
    assert "depthwise" in report.coverage


def test_a_kernel_of_other_layouts_than_it_says_fails():
    kernel = made_for("conv2d", Layouts("NHWC", "HWIO", "NHWC"))
    assert not failing(kernel, cases=20, largest=10_000, supports=NHWC | {"weight_layout": "HWOI"}).ok
    shifted = made_for("conv2d", Layouts("NHWC", "HWIO", "NHWC"), lambda result: np.roll(result, 1, axis=-1))
    report = verify(shifted, cases=40, largest=10_000, supports=NHWC)
    assert not report.ok
    assert "layout='NHWC,HWIO,NHWC'" in report.failures[0].snippet  # so that it is called as it was


def test_an_output_written_in_place_has_the_layout_too():
    kernel = made_for("conv2d", Layouts("NHWC", "HWIO", "NHWC"))

    def into(*arguments):
        arguments[-1][...] = kernel(*arguments[:-1])

    assert verify(into, cases=25, largest=10_000, supports=NHWC, style="out").ok


def with_keyword(*arguments, layout="NCHW"):
    return made_for("conv2d", Layouts.parse(layout))(*arguments)


def with_keywords(*arguments, **keywords):
    return with_keyword(*arguments, **keywords)


def nhwc_only(input, weight, bias, stride, padding, dilation, groups):
    return with_keyword(input, weight, bias, stride, padding, dilation, groups, layout="NHWC")


@pytest.mark.parametrize(
    ("kernel", "layout"), [(with_keyword, ["NCHW", "NHWC"]), (with_keywords, ["NCHW", "NHWC"]), (nhwc_only, "NHWC")]
)
def test_the_keyword_goes_to_those_that_have_it(kernel, layout):
    report = verify(kernel, cases=30, largest=10_000, supports={"layout": layout})
    assert report.ok, report.failures


BLOCK = 4


def pack(name, array):
    """NCHW4c of images; weights as they are."""
    if name == "weight":
        return array
    missing = -array.shape[-3] % BLOCK
    padded = np.pad(array, [(0, missing) if axis == array.ndim - 3 else (0, 0) for axis in range(array.ndim)])
    blocks = padded.reshape(*array.shape[:-3], padded.shape[-3] // BLOCK, BLOCK, *array.shape[-2:])
    return np.ascontiguousarray(np.moveaxis(blocks, -3, -1))


def unpack(_name, array, shape):
    blocks = np.moveaxis(array, -1, -3)
    channels = array.shape[-4] * BLOCK
    return blocks.reshape(*shape[:-3], channels, *array.shape[-3:-1])[..., : shape[-3], :, :]


def blocked(input, weight, bias, stride, padding, dilation, groups):
    channels = weight.shape[1] * groups
    shape = (*input.shape[:-4], channels, *input.shape[-3:-1])
    image = np.ascontiguousarray(unpack("input", input, shape))
    return pack("output", refconv.conv2d(image, weight, bias, stride, padding, dilation, groups))


@pytest.mark.parametrize("isolate", [False, True])
def test_blocks_are_laid_out_by_the_authors_functions(isolate):
    report = refconv.verify(blocked, cases=20, largest=10_000, arrange=(pack, unpack), isolate=isolate)
    assert report.ok, report.failures
    wrong = refconv.verify(
        lambda *call: blocked(*call)[..., ::-1], cases=20, largest=10_000, arrange=(pack, unpack), isolate=False
    )
    assert not wrong.ok


def broken(_name, _array):
    raise IndexError("no such block")


def flattened(_name, array, _shape):
    return array.reshape(7, 11, 13)


def of_another_shape(*call):
    return blocked(*call)[..., :-1]


def test_what_the_authors_functions_raise_is_theirs_or_the_kernels():
    with pytest.raises(ValueError, match="arrange: IndexError: no such block"):
        verify(blocked, cases=5, arrange=(broken, unpack))
    with pytest.raises(ValueError, match="arrange: ValueError: cannot reshape"):
        verify(blocked, cases=5, arrange=(pack, flattened))
    with pytest.raises(ValueError, match="arrange: the second function must undo the first"):
        verify(blocked, cases=5, arrange=(pack, lambda *unpacked: unpack(*unpacked)[..., ::-1]))
    report = verify(of_another_shape, cases=5, largest=10_000, arrange=(pack, unpack))
    assert "can't be brought back" in report.failures[0].text


def test_programs_and_replays_lay_arrays_out_too(tmp_path):
    saved = tmp_path / "report.json"
    report = refconv.verify(of_another_shape, cases=5, largest=10_000, arrange=(pack, unpack), examples=False)
    report.to_json(saved)
    program = report.failures[0].snippet
    assert f"load({__name__ + ':pack'!r}, 'numpy').function" in program
    with pytest.raises(AssertionError, match="can't be brought back"):
        exec(compile(program, "program", "exec"), {})  # noqa: S102 - a program of ours
    mended = program.replace("of_another_shape", "blocked")
    exec(compile(mended, "program", "exec"), {})  # noqa: S102
    (failure,) = load(saved)
    assert again(Candidate(of_another_shape, target=f"{__name__}:of_another_shape"), failure).failed
    assert not again(Candidate(blocked, target=f"{__name__}:blocked"), failure).failed
    with pytest.raises(TypeError, match="arrange=5: must be two functions"):
        verify(blocked, cases=5, arrange=5)


def returns(dtype, overflow):
    def kernel(*call):
        return refconv.conv2d(*call, out_dtype=dtype, overflow=overflow)

    return kernel


def returns_the_operands(overflow):
    return lambda *call: returns(call[0].dtype.name, overflow)(*call)


@pytest.mark.parametrize(("overflow", "other"), [("wrap", "saturate"), ("saturate", "wrap")])
def test_integers_may_stay_narrow(overflow, other):
    both = {"dtypes": ["int8", "uint8"], "out_dtype": "operand", "cases": 15, "largest": 10_000}
    assert verify(returns_the_operands(overflow), overflow=overflow, **both).ok
    assert not failing(returns_the_operands(other), overflow=overflow, **both).ok
    narrow = {"dtypes": ["int8"], "out_dtype": "int8", "overflow": overflow, "cases": 40, "largest": 10_000}
    assert verify(returns("int8", overflow), **narrow).ok
    assert not failing(returns("int8", other), **narrow).ok
    assert not failing(returns("int32", "raise"), **narrow).ok


def rounded_to(dtype, saturates):
    def kernel(*call):
        case = Case(input=call[0], weight=call[1], bias=call[2], stride=call[3], padding=call[4], dilation=call[5],
                    groups=call[6], out_dtype=dtype, overflow="saturate" if saturates else "raise")  # fmt: skip
        return case.expected()

    return kernel


@pytest.mark.parametrize(
    ("operand", "result"), [("float16", "float32"), ("bfloat16", "float16"), ("float32", "float16")]
)
def test_floats_may_be_returned_in_another_format(operand, result):
    options = {"dtypes": [operand], "cases": 25, "largest": 10_000, "out_dtype": result}
    assert verify(rounded_to(result, saturates=False), **options).ok
    assert not failing(rounded_to(operand, saturates=False), **options).ok


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "float16"])
def test_narrow_floats_may_saturate(dtype):
    options = {"dtypes": [dtype], "cases": 60, "largest": 10_000}
    assert verify(rounded_to(dtype, saturates=True), **options, overflow="saturate").ok
    assert not failing(rounded_to(dtype, saturates=False), **options, overflow="saturate").ok


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"supports": NHWC | {"layout": "NHWC"}}, "supports['layout']='NHWC': must not be given beside input_layout"),
        ({"supports": {"input_layout": "NCL"}}, "supports['input_layout']='NCL': must have the letters of 'NCHW'"),
        ({"supports": {"weight_layout": "HWCM", "groups": 1}}, "supports['groups']=1: must be 'depthwise'"),
        ({"supports": NHWC, "arrange": (pack, unpack)}, "must name no layout"),
        ({"supports": {"layout": ["NCHW", "NHWC"]}}, "must be one: the candidate has no keyword layout"),
        ({"supports": {"square": "strides"}}, "supports['square']='strides': must be one of"),
        ({"dtypes": ["int8"], "out_dtype": "int8"}, "overflow=None: must be 'wrap' or 'saturate' for out_dtype='int8'"),
        ({"out_dtype": "int8"}, "out_dtype=int8: must be one of float32"),
        ({"overflow": "wrap"}, "overflow='wrap': must not be given, for float32 results"),
        ({"dtypes": ["int8"], "overflow": "wrap"}, "overflow='wrap': must be given with out_dtype"),
        ({"op": "conv2d_quantized", "out_dtype": "int8"}, "out_dtype='int8': must not be given for conv2d_quantized"),
        ({"supports": NHWC, "huge": True}, "huge=True: must be False"),
    ],
    ids=range(12),
)
def test_claims_that_can_not_be_are_refused(options, said):
    with pytest.raises((ValueError, TypeError)) as raised:
        verify(nhwc_only, cases=5, **options)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--dtype", "int8", "--out-dtype", "int8", "--overflow", "wrap"], 0),
        (["--dtype", "int8", "--out-dtype", "int8", "--overflow", "saturate"], 1),
        (["--dtype", "int8", "--out-dtype", "int8"], 2),
        (["--out-dtype", "int8", "--overflow", "wrap"], 2),
    ],
    ids=str,
)
def test_the_command_says_the_same(tmp_path, options, code):
    (tmp_path / "kernel.py").write_text(
        "import refconv\ndef conv2d(*call):\n    return refconv.conv2d(*call, out_dtype='int8', overflow='wrap')\n"
    )
    command = ["verify", f"{tmp_path}/kernel.py:conv2d", "--no-isolate", "--cases", "40", "--no-examples"]
    outcome = CliRunner().invoke(app, [*command, "--largest", "10000", *options])
    assert outcome.exit_code == code, outcome.output


def test_libraries_that_have_the_thing_pass():
    """As tests/evidence/false_alarms.py has them, in thousands of cases."""
    claims = NHWC | {"views": False, "empty_batch": False, "large": False, "padding": ["numbers", "same_upper"]}
    model = refconv.ErrorModel.direct(flush_to_zero=True)  # as JAX compiles
    assert verify(jax_as_tensorflow, cases=15, largest=10_000, supports=claims, model=model).ok
    narrow = {"dtypes": ["int8"], "out_dtype": "int8", "overflow": "wrap"}
    assert verify(jax_as_tensorflow, cases=15, largest=10_000, supports=claims, **narrow).ok
    claims = {"padding": ["same_upper", "same_lower", "valid"], "dilation": 1, "views": False, "empty_batch": False}
    assert verify(onnx_auto_pad, cases=15, largest=10_000, supports=claims).ok
