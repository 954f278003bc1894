"""Candidates by the C ABI: the examples, compiled, and every function and field that refconv.h declares."""

import pickle
import re
import shutil
import subprocess
from functools import cache

import numpy as np
import pytest
from candidates import a_case, case_of_operator
from common import PLANAR, same_bits
from paths import EXAMPLES

import refconv
from refconv.cases.fills import operands
from refconv.verification.candidate import native
from refconv.verification.candidate.call import Unsupported
from refconv.verification.candidate.loading import TargetError, load

C_EXAMPLES = EXAMPLES / "c"
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc to compile the examples with")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A function that makes a shared library of an example, as its comment says."""
    folder = tmp_path_factory.mktemp("libraries")

    @cache
    def make(source, *flags):
        (line,) = re.findall(r"^ \*     (gcc .*)$", (C_EXAMPLES / f"{source}.c").read_text(), re.MULTILINE)
        library = str(folder / f"{source}{''.join(flags)}.so")
        command = [library if word == f"lib{source}.so" else word for word in line.split()]
        assert library in command
        subprocess.run([*command, "-Wall", "-Wextra", "-Werror", *flags], cwd=C_EXAMPLES.parents[1], check=True)
        return library

    return make


GEOMETRIES = [
    {},
    {"stride": (2, 1)},
    {"padding": (2, 1)},
    {"padding": ((0, 1), (2, 0))},
    {"padding": "same"},
    {"dilation": (1, 2), "padding": (1, 2)},
    {"groups": 2},
    {"groups": 2, "stride": (1, 3), "dilation": (2, 1), "padding": (2, 2)},
]


@needs_gcc
@pytest.mark.parametrize("options", GEOMETRIES, ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(2, 4, 7, 6), (4, 7, 6), (0, 4, 7, 6)])
def test_a_convolution_in_c(compiled, options, bias, shape):
    candidate = load(f"{compiled('conv2d')}:conv2d_f32")
    assert (candidate.arrays, candidate.style, candidate.function.supports) == ("numpy", "out", {"views": False})
    weight = (6, 4 // options.get("groups", 1), 3, 2)
    x, w, b = operands("normal", (shape if len(shape) == 4 else (1, *shape)), weight, bias=bias)
    case = refconv.Case(input=x.reshape(shape), weight=w, bias=b, **options)
    outcome = candidate.call(case)
    assert outcome.faults == ()
    assert case.check(outcome.result).ok


@needs_gcc
@pytest.mark.parametrize(
    ("bug", "options", "violated", "right"),
    [
        (1, {"dilation": (2, 1)}, [], False),
        (1, {"dilation": (2, 2)}, [], True),
        (2, {}, ["every output written"], False),
        (2, {"dilation": (2, 2)}, [], True),
        (3, {}, ["nothing outside written"], True),  # the next row, or nobody, overwrites what was too much
    ],
)
def test_mistakes_in_c_are_seen(compiled, bug, options, violated, right):
    case = refconv.Case(input=np.ones((1, 1, 6, 6), "float32"), weight=np.ones((1, 1, 2, 2), "float32"), **options)
    outcome = load(f"{compiled('conv2d', f'-DBUG={bug}')}:conv2d_f32").call(case)
    assert [name for name, _ in outcome.faults] == violated
    assert case.check(outcome.result).ok == right


@needs_gcc
def test_the_other_operators_in_c(compiled):
    x, w, b = operands("integers", (2, 4, 7, 6), (6, 2, 3, 2), bias=True)
    options = (2, 1), (0, 1), (1, 2), 2
    grad = refconv.conv2d(x, w, None, *options)
    grad[...] = np.arange(grad.size).reshape(grad.shape) % 7 - 3
    transposed = (2, 1), (1, 0), (1, 0), 2, (1, 2)
    x8, w8 = x.astype("int8"), w.astype("int8")
    zeros = np.int8(3), np.arange(6, dtype="int8")
    # Powers of two: no product of scales is rounded.
    half, quarters = np.float32(0.5), np.array([0.25, 0.5, 1, 2, 0.125, 0.25], "float32")
    quantized = x8, half, zeros[0], w8, quarters, zeros[1], half, np.int8(-5)
    called = {
        "conv2d_input_f32": ("conv2d_input", x.shape, w, grad, *options),
        "conv2d_weight_f32": ("conv2d_weight", x, w.shape, grad, *options),
        "conv2d_bias_f32": ("conv2d_bias", grad),
        "conv_transpose2d_f32": ("conv_transpose2d", grad, w, b[:4], *transposed),
        "conv2d_integer_s8": ("conv2d_integer", x8, w8, *zeros, *options),
        "conv2d_quantized_s8": ("conv2d_quantized", *quantized, b.astype("int32"), *options),
    }
    plain = {
        "conv2d_integer_s8": ("conv2d_integer", x8, w8, 3, -2, *options),
        "conv2d_quantized_s8": ("conv2d_quantized", x8, 0.5, 3, w8, 0.25, -2, 2.0, 7, None, *options),
    }
    for symbol, (op, *arguments) in [*called.items(), *plain.items()]:
        case = case_of_operator(op, *arguments)
        outcome = load(f"{compiled('family')}:{symbol}", op=op).call(case)
        assert outcome.faults == ()
        assert same_bits(outcome.result, case.expected()), symbol


SOURCE = """
#include "refconv.h"
int unsupported(const refconv_conv2d *g) { return g->groups == 2 ? REFCONV_UNSUPPORTED : REFCONV_DONE; }
int fails(void) { return 7; }
"""


@needs_gcc
def test_what_a_function_in_c_returns(tmp_path):
    (tmp_path / "a.c").write_text(SOURCE)
    command = ["gcc", "-shared", "-fPIC", "-I", str(native.HEADER.parent), "-o", "a.so", "a.c"]
    subprocess.run(command, cwd=tmp_path, check=True)
    with pytest.raises(Unsupported, match="unsupported returned 1"):
        load(f"{tmp_path}/a.so:unsupported").call(a_case())
    (fault,) = load(f"{tmp_path}/a.so:fails").call(a_case()).faults
    assert fault[0] == "returns"
    assert "ReturnCode: fails returned 7, an error of its own" in fault[1]


@needs_gcc
def test_what_the_c_abi_does_not_have(compiled):
    candidate = load(f"{compiled('conv2d')}:conv2d_f32")
    for options in ({"memory": [("input", "row_pitch")]}, {"memory": [("output", "row_pitch")]}, {"layout": "NHWC"}):
        with pytest.raises(Unsupported, match="the C ABI has"):
            candidate.call(a_case(), **options)


@needs_gcc
def test_functions_in_c_go_to_other_processes(compiled):
    candidate = pickle.loads(pickle.dumps(load(f"{compiled('conv2d')}:conv2d_f32")))  # noqa: S301 - our own
    assert candidate.call(a_case()).faults == ()


@needs_gcc
def test_libraries_that_cannot_be_loaded(compiled, tmp_path):
    library = compiled("conv2d")
    broken = tmp_path / "broken.so"
    broken.write_text("no library")
    for target, options, message in (
        (f"{library}:conv9d", {}, "no symbol conv9d"),
        (f"{library}:conv2d_f32", {"arrays": "torch"}, "arrays='torch'"),
        ("no/such.so:conv2d", {}, "no file no/such.so"),
        (f"{broken}:conv2d", {}, "loading .*broken.so failed"),
        ("kernel.py:conv2d", {"abi": "c"}, "the C ABI is for shared libraries"),
        ("torch:conv2d", {"abi": "c"}, "the C ABI is for shared libraries"),
    ):
        with pytest.raises(TargetError, match=message):
            load(target, **options)
    with pytest.raises(ValueError, match="abi='rust'"):
        load("torch:conv2d", abi="rust")
    with pytest.raises(ValueError, match="op='conv9d'"):
        load(f"{library}:conv2d_f32", op="conv9d")


CONV3D = """
#include "refconv.h"
int conv(const refconv_conv *g, const float *x, const float *w, const float *b, float *y) {
    const int64_t *in = g->size, *k = g->kernel, *out = g->out;
    if (g->axes != 3) return 7;
    if (g->groups != 1) return REFCONV_UNSUPPORTED;
    for (int64_t n = 0; n < g->n; n++) for (int64_t f = 0; f < g->c_out; f++)
    for (int64_t o = 0; o < out[0]; o++) for (int64_t p = 0; p < out[1]; p++) for (int64_t q = 0; q < out[2]; q++) {
        float sum = b ? b[f] : 0;
        for (int64_t c = 0; c < g->c_in; c++) for (int64_t t = 0; t < k[0] * k[1] * k[2]; t++) {
            int64_t d = o * g->stride[0] + t / (k[1] * k[2]) * g->dilation[0] - g->pad_before[0];
            int64_t h = p * g->stride[1] + t / k[2] % k[1] * g->dilation[1] - g->pad_before[1];
            int64_t v = q * g->stride[2] + t % k[2] * g->dilation[2] - g->pad_before[2];
            if (d < 0 || h < 0 || v < 0 || d >= in[0] || h >= in[1] || v >= in[2]) continue;
            sum += x[(((n * g->c_in + c) * in[0] + d) * in[1] + h) * in[2] + v]
                 * w[(f * g->c_in + c) * k[0] * k[1] * k[2] + t];
        }
        y[(((n * g->c_out + f) * out[0] + o) * out[1] + p) * out[2] + q] = sum;
    }
    return REFCONV_DONE;
}
"""


@needs_gcc
def test_three_axes_and_an_error_of_its_own(tmp_path):
    """A refconv_conv holds the numbers of each axis; of a code that is not documented, nothing is guessed."""
    (source := tmp_path / "conv.c").write_text(CONV3D)
    library = tmp_path / "conv.so"
    command = ["gcc", "-O2", "-shared", "-fPIC", f"-I{native.HEADER.parent}", str(source), "-o", str(library)]
    subprocess.run(command, check=True)
    report = refconv.verify(f"{library}:conv", "conv3d", cases=60, seed=1, largest=20_000)
    assert report.ok, report.failures
    assert 0 < report.n_unsupported < 60
    (failure, *_) = refconv.verify(f"{library}:conv", "conv1d", cases=10, largest=1000).failures
    assert "ReturnCode: conv returned 7, an error of its own" in failure.text
    assert failure.diagnosis is None


def test_the_header_says_what_is_passed():
    header = native.HEADER.read_text()
    (struct,) = re.findall(r"typedef struct \{(.*?)\} refconv_conv2d;", header, re.DOTALL)
    fields = re.findall(r"\w+", re.sub(r"/\*.*?\*/|int64_t", "", struct))
    assert tuple(fields) == native.FIELDS
    (struct,) = re.findall(r"typedef struct \{([^{}]*?)\} refconv_conv;", header, re.DOTALL)
    fields = re.findall(r"[a-z_]+", re.sub(r"/\*.*?\*/|int64_t|\[3\]", "", struct))
    assert tuple(fields) == native.NUMBERS + native.ALONG
    for op in PLANAR:
        assert f" *   {op} " in header
    assert f"REFCONV_DONE {native.DONE}\n" in header
    assert f"REFCONV_UNSUPPORTED {native.UNSUPPORTED}\n" in header


@needs_gcc
def test_operands_of_an_epilogue_come_before_the_output(tmp_path):
    source = tmp_path / "fused.c"
    source.write_text(f"""#include "{C_EXAMPLES / "conv2d.c"}"
int fused(const refconv_conv2d *g, const float *input, const float *weight, const float *bias, const float *residual,
          float *output) {{
    int code = conv2d_f32(g, input, weight, bias, output);
    for (int64_t i = 0; i < g->n * g->c_out * g->out_h * g->out_w; i++) output[i] += residual[i];
    return code;
}}
""")
    library = tmp_path / "libfused.so"
    command = ["gcc", "-shared", "-fPIC", f"-I{native.HEADER.parent}", str(source), "-o", str(library), "-lm"]
    subprocess.run(command, check=True)
    case = refconv.Recipe.parse("2,4,7,6:6,4,3,2", epilogue="residual", bias=True).case()
    outcome = load(f"{library}:fused").call(case)
    assert outcome.faults == ()
    assert case.check(outcome.result).verdict == "identical"
