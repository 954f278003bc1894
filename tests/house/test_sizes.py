"""Sizes of files and functions: limits, and the named exceptions from them, each with its reason."""

import ast
from functools import cache

import pytest
from paths import ROOT

LINES, BODY_LINES, PARAMETERS = 400, 40, 8  # at most

TORCH = "torch's arguments, in torch's order, and options that all operators share"
ONNX = "ONNX's arguments, in ONNX's order"
OPTIONS = "each parameter is an option of the command"

LONG_FILES = {
    "tests/arrays/test_gpu_arrays.py": (
        "tests/engine/test_gpu_elsewhere.py runs it by name where a GPU is stood in for, and counts its tests; all of"
        " them are about the same three libraries' arrays"
    ),
}
MANY_PARAMETERS = {
    "refconv/engine/targets/cpu/entry.py::_entry": "Numba reads each from Python by itself; a tuple would take longer",
    "refconv/cli/app.py::bench_layers": OPTIONS,
    "refconv/cli/app.py::print_tolerances": OPTIONS,
    "refconv/cli/verify.py::verify": OPTIONS,
    "refconv/mutants/kernels/quantized.py::Quantized.parse": ONNX,
    "refconv/nn/layer.py::Layer.__init__": TORCH,
    "refconv/nn/layers.py::Conv2d.__init__": TORCH,
    "refconv/nn/layers.py::ConvTranspose2d.__init__": TORCH,
    "refconv/ops/quantized.py::conv2d_quantized": ONNX,
    "refconv/verification/campaign.py::verify": "public: docs/api.md names its keywords, the settings of a campaign",
    "tests/support/offset_tables.py::Kernel.conv2d_quantized": ONNX,
    "tests/support/peers.py::onnx_qlinear_conv": ONNX,
    "tests/support/variants/quantized.py::_quantized_padding": ONNX,
    "tests/verification/candidate/test_arrays_in.py::test_channels_last.candidate": (
        "torch's arguments, and the two further ones that the test is about"
    ),
} | {
    f"refconv/ops/{file}.py::{base}{axes}d{of}": TORCH
    for file, base, arrays in (
        ("convolution", "conv", [""]), ("transposed", "conv_transpose", [""]),
        ("gradients", "conv", ["_input", "_weight"]),
        ("transposed_gradients", "conv_transpose", ["_input", "_weight"]),
    )
    for of in arrays
    for axes in (1, 2, 3)
}  # fmt: skip


@cache
def sources():
    """Text of every source file of the house, by its path from the root."""
    folders = [path for name in ("refconv", "tests", "asv_bench/benchmarks") for path in (ROOT / name).rglob("*.py")]
    paths = [ROOT / "_refconv_pytest.py", *folders]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in sorted(paths)}


def functions(node, outer=()):
    """Every function in a tree of syntax, nested ones too, with its dotted name."""
    for child in ast.iter_child_nodes(node):
        scope = (*outer, child.name) if hasattr(child, "name") and isinstance(child, ast.stmt) else outer
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield ".".join(scope), child
        yield from functions(child, scope)


def body_lines(function):
    """Lines of a function without its signature and docstring."""
    statements = function.body[ast.get_docstring(function) is not None :]
    return statements[-1].end_lineno - statements[0].lineno + 1 if statements else 0


def parameters(function):
    """Number of a function's parameters, without self and cls."""
    signature = function.args
    positional = [parameter.arg for parameter in (*signature.posonlyargs, *signature.args)]
    bound = positional[:1] in (["self"], ["cls"])
    return len(positional) - bound + len(signature.kwonlyargs) + sum(map(bool, (signature.vararg, signature.kwarg)))


def of_functions(measure, texts):
    """The measure of every function in some texts, by path and name; of several with one name, the largest."""
    measures = {}
    for path, text in texts.items():
        for name, function in functions(ast.parse(text)):
            place = f"{path}::{name}"
            measures[place] = max(measures.get(place, 0), measure(function))
    return measures


def check(measures, limit, excepted):
    """Fail for what is above the limit and not excepted, and for what is excepted and not above the limit."""
    above = {place: number for place, number in measures.items() if number > limit}
    assert {place: number for place, number in above.items() if place not in excepted} == {}, f"at most {limit}"
    assert [place for place in excepted if place not in above] == [], "no longer an exception"


def test_files_are_short():
    check({path: len(text.splitlines()) for path, text in sources().items()}, LINES, LONG_FILES)


def test_functions_fit_a_screen():
    check(of_functions(body_lines, sources()), BODY_LINES, {})


def test_functions_take_few_parameters():
    check(of_functions(parameters, sources()), PARAMETERS, MANY_PARAMETERS)


PLANTED = """
class Kernel:
    @staticmethod
    def long(
        x,
    ):
        '''Whose docstring
        does not count.'''
        def many(a, b, /, c, *d, e, f, g, h, **i):
            '''Nothing.'''
{more}
    def few(self, a, b, c, d, e, f, g, *, h): pass
"""


def planted(lines):
    """A text with a body of so many lines, and a function of nine parameters in it."""
    return {"a.py": PLANTED.format(more="        x = 1\n" * (lines - 2))}


def test_a_long_body_is_found():
    """Its signature and docstring do not count, and functions in it do."""
    lengths = of_functions(body_lines, planted(BODY_LINES))
    assert lengths == {"a.py::Kernel.long": BODY_LINES, "a.py::Kernel.long.many": 0, "a.py::Kernel.few": 1}
    check(lengths, BODY_LINES, {})
    with pytest.raises(AssertionError, match="at most 40"):
        check(of_functions(body_lines, planted(BODY_LINES + 1)), BODY_LINES, {})


def test_a_ninth_parameter_is_found():
    """Of whatever kind, but self."""
    counts = of_functions(parameters, planted(BODY_LINES))
    assert counts == {"a.py::Kernel.long": 1, "a.py::Kernel.long.many": 9, "a.py::Kernel.few": PARAMETERS}
    check(counts, PARAMETERS, {"a.py::Kernel.long.many": "planted"})
    with pytest.raises(AssertionError, match="at most 8"):
        check(counts, PARAMETERS, {})


def test_an_exception_that_is_none_is_found():
    with pytest.raises(AssertionError, match="no longer an exception"):
        check({"a.py": LINES}, LINES, {"a.py": "was long"})
