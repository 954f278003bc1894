"""Properties: each is violated by who violates it, and by nobody else; each has a program that shows it."""

import functools
import itertools
from collections import deque

import numpy as np
import pytest
import torch
from common import PLANAR, SOME
from marks import sampled

import refconv
from refconv import mutants
from refconv.cases.plan import plan
from refconv.cases.recipe import Recipe
from refconv.cases.supports import Supports
from refconv.core.geometry import convolution
from refconv.core.layouts import LAYOUTS
from refconv.ops.family import OPERATORS
from refconv.verification import PROPERTIES, Candidate, examine, prosecution, real_layers, sections
from refconv.verification.examine import wrong_arguments
from refconv.verification.report.reproducer import MAX_LINES, PLAIN, example, program
from refconv.verification.settings import DEFAULT_DTYPES

verify = functools.partial(refconv.verify, isolate=False, cases=150)


@pytest.fixture(autouse=True)
def generated_only(monkeypatch):
    """A campaign without the fixed sections, nor the diagnosis of what fails: most of the time, and not looked at."""
    monkeypatch.setattr(sections, "FIXED", {})
    monkeypatch.setattr(prosecution.Prosecution, "_diagnosis", lambda *_: None)


def of_the_first_image(input, *rest):
    """All images are the first."""
    return refconv.conv2d(np.broadcast_to(input[:1], input.shape), *rest)


def right_together(input, weight, bias, stride, padding, dilation, groups):
    """Wrong for one image, which nobody asks for but to compare."""
    out = refconv.conv2d(input, weight, bias, stride, padding, dilation, groups)
    return out if len(input) != 1 else out + 1


def right_in_groups(input, weight, bias, stride, padding, dilation, groups):
    out = refconv.conv2d(input, weight, bias, stride, padding, dilation, groups)
    return out if groups > 1 or input.shape[1] != 2 else out + 1


calls = itertools.count()


def never_the_same(*arguments):
    """Within the bound, but another sum each time."""
    return np.nextafter(refconv.conv2d(*arguments), np.float32(np.inf * (-1) ** next(calls)))


kept = {}


def keeps_weights(input, weight, *rest):
    key = (input.shape, weight.shape, *rest[1:])
    return refconv.conv2d(input, kept.setdefault(key, weight.copy()), *rest)


def hands_out_its_buffer(*arguments, buffers={}):  # noqa: B006 - that is the mistake
    out = refconv.conv2d(*arguments)
    buffer = buffers.setdefault(out.shape, out)
    buffer[...] = out
    return buffer


def reads_as_contiguous(input, *rest):
    flat = np.lib.stride_tricks.as_strided(input, input.shape, np.zeros(input.shape, input.dtype).strides)
    return refconv.conv2d(flat if input.size else input, *rest)


def refuses_nothing(*arguments):
    try:
        return refconv.conv2d(*arguments)
    except (ValueError, TypeError):
        return np.zeros((1, 1, 1, 1), "float32")


def leaves_one_out(*arguments):
    *inputs, out = arguments
    result = refconv.conv2d(*inputs)
    out.reshape(-1)[:-1] = result.reshape(-1)[:-1]


def writes_behind(*arguments):
    *inputs, out = arguments
    out[...] = refconv.conv2d(*inputs)
    if out.size:
        np.lib.stride_tricks.as_strided(out, (out.size + 1,), (out.itemsize,))[-1] = 1


SEEN = set()


def wrong_the_second_time(input, *rest):
    """An image that was seen before lies packed on some device, without its last pixel."""
    key = input.shape, input.tobytes()
    if input.size > 1 and key in SEEN:
        input = input.copy()
        input[..., -1, -1] = 0
    SEEN.add(key)
    return refconv.conv2d(input, *rest)


LAST = deque(maxlen=2)


def wrong_after_another_size(input, *rest):
    """A plan that is kept for the last size but one is not whole any more."""
    out = refconv.conv2d(input, *rest)
    if len(LAST) == 2 and out.size and LAST[0] == (input.shape, rest[0].shape) != LAST[1] and input.shape != LAST[1][0]:
        out = out + out.dtype.type(1)
    LAST.append((input.shape, rest[0].shape))
    return out


def right_but_not_alike(input, *rest):
    """Sums in another precision for one image than for several: right, but not the same bits."""
    precision = "float32" if len(input) > 1 else "float64"
    return refconv.conv2d(input, *rest, precision=precision)


CLAIMS = {"deterministic": True, "errors": True, "views": False, "large": False}
VIOLATED = [
    (right_together, "batch", {"supports": CLAIMS | {"batch": [2, 3]}}),
    (right_in_groups, "groups", {"supports": CLAIMS | {"groups": [2, 3]}}),
    (never_the_same, "deterministic", {"supports": CLAIMS, "model": refconv.ErrorModel.direct("float16")}),
    (keeps_weights, "no stale state", {"supports": CLAIMS}),
    (hands_out_its_buffer, "no stale state", {"supports": CLAIMS}),
    (wrong_the_second_time, "no stale state", {"supports": CLAIMS}),
    (wrong_after_another_size, "no stale state", {"supports": CLAIMS}),
    (right_but_not_alike, "batch_invariant", {"supports": {"batch_invariant": True, "batch": [2, 3]}}),
    (reads_as_contiguous, "views", {"supports": {"large": False}}),
    (refuses_nothing, "errors", {"supports": CLAIMS}),
    (leaves_one_out, "every output written", {"style": "out", "supports": {"views": False}}),
    (writes_behind, "nothing outside written", {"style": "out", "supports": {"views": False}}),
    (of_the_first_image, "values", {"supports": CLAIMS}),
]


@pytest.mark.parametrize(
    ("candidate", "property_", "options"), VIOLATED, ids=lambda value: getattr(value, "__name__", None)
)
def test_who_violates_a_property_is_told_so(candidate, property_, options):
    report = verify(candidate, **options)
    failures = {failure.property: failure for failure in report.failures}
    assert property_ in failures
    assert len(failures[property_].snippet.splitlines()) <= MAX_LINES
    tally = report.properties[property_]["float32"]
    assert 0 < tally.failed <= tally.checked


@pytest.mark.parametrize(("op", "style"), sampled(SOME, ["return", "out"], every=2))
def test_the_oracle_violates_none(op, style):
    function = getattr(refconv, op)

    def out(*arguments, **keywords):
        arguments[-1][...] = function(*arguments[:-1], **keywords)

    layouts = list(LAYOUTS[OPERATORS[op].axes])
    claims = {"deterministic": True, "errors": True, "unbatched": True, "layout": layouts, "large": False}
    if OPERATORS[op].has_padding_mode:
        claims |= {"padding_mode": ["zeros", "reflect", "circular", "replicate"]}
    if OPERATORS[op].is_quantized:  # these have one layout
        claims |= {"layout": "NCHW"}
    dtypes = DEFAULT_DTYPES.get(op, ("float32",))[: None if style == "return" else 1]
    candidate = function if style == "return" else out
    report = verify(candidate, op, dtypes=dtypes, style=style, supports=claims, cases=60)
    assert report.ok, report.failures
    checked = {name for name, of_dtype in report.properties.items() if sum(of_dtype.values(), start=NOTHING).checked}
    without = {"every output written", "nothing outside written"} if style == "return" else {"kind of array"}
    assert checked >= {"returns", "inputs unmodified", "values", "deterministic", "errors"} - without


NOTHING = refconv.verification.report.results.Tally()


@pytest.mark.parametrize("claim", ["deterministic", "batch_invariant"])
def test_torch_gives_the_same_bits_for_the_same_call_and_claims_no_more(claim):
    """Whether the bits of an image depend on the others is a claim of its own (pytorch#134908)."""

    def conv2d(*arguments):
        return torch.nn.functional.conv2d(*arguments)

    supports = {claim: True, "views": False, "empty_batch": False, "large": False}
    report = refconv.verify(conv2d, arrays="torch", supports=supports, cases=60)
    assert {failure.property for failure in report.failures} <= {"batch_invariant"}
    assert report.properties[claim]["float32"].checked
    assert report.ok is (claim == "deterministic")


def test_pure_functions_have_no_state():
    """Right by chance for the first numbers, wrong for others: that is no memory."""

    def skips_small_weights(input, weight, *rest):
        return refconv.conv2d(input, np.where(abs(weight) < 4, 0, weight).astype("float32"), *rest)

    assert {failure.property for failure in verify(skips_small_weights).failures} == {"values"}


WITH_MUTANTS = [op for op in PLANAR if not op.startswith("conv_transpose2d_")]


def sources():
    geometry = convolution((2, 4, 5, 5), (4, 2, 3, 3), None, (2, 1), ((1, 0), (0, 1)), (1, 2), 2, "zeros")
    for op in WITH_MUTANTS:
        dtype = "int8" if OPERATORS[op].is_quantized else "bfloat16"
        kind = "plain" if OPERATORS[op].is_quantized else ""
        padding = ((1, 0), (0, 1))
        yield op, Recipe(geometry, padding, dtype=dtype, op=op, fill="integers", quantisation=kind, bias=op == "conv2d")
    yield "conv2d", wrong_arguments.Wrong(Recipe(geometry, ((1, 0), (0, 1))), "stride 0")
    yield "conv2d", real_layers.digit_layers("float32", 0)[0]


SOURCES = [pytest.param(*pair, id=f"{pair[0]}-{type(pair[1]).__name__}") for pair in sources()]


@pytest.mark.parametrize(("op", "source"), SOURCES)
@pytest.mark.parametrize("style", ["return", "out"])
@pytest.mark.parametrize("property_", PROPERTIES)
def test_every_property_has_a_program(op, source, style, property_):
    """It is short, and Python; where the candidate is sound it runs to its end."""
    candidate = Candidate(getattr(refconv, op), target=f"refconv:{op}", style=style, op=op)
    text = program(candidate, source, property_, refconv.ErrorModel.direct("float32"))
    assert len(text.splitlines()) <= MAX_LINES
    compile(text, "program", "exec")
    line = example(source, property_)
    shown = property_ in PLAIN and not isinstance(source, wrong_arguments.Wrong) and not source.memory
    assert line.startswith("@example(") is shown
    if line:
        compile(f"{line}\ndef test(case): pass", "example", "exec")


@pytest.mark.parametrize(("op", "source"), SOURCES)
def test_programs_of_sound_candidates_end_well(op, source):
    wrong = isinstance(source, wrong_arguments.Wrong)
    for property_ in ["errors"] if wrong else ["values", "inputs unmodified", "returns", "batch"]:
        text = program(Candidate(getattr(refconv, op), target=f"refconv:{op}", op=op), source, property_)
        exec(compile(text, "program", "exec"), {})  # noqa: S102 - a program of ours


def test_misuse_is_refused_by_the_oracle_and_by_every_mutants_base():
    for op in WITH_MUTANTS:
        dtype = "int8" if OPERATORS[op].is_quantized else "float32"
        supports = Supports.parse({"asymmetric_padding": True, "string_padding": True})
        wrongs = wrong_arguments.wrongs(plan(op, [dtype], supports, 70, 3))
        assert {wrong.way for wrong in wrongs} >= (
            {"stride 0"} if op != "conv2d_bias" else {"an output gradient of one axis"}
        )
        for wrong in wrongs:
            for function in (getattr(refconv, op), mutants.base(op)):
                assert examine(Candidate(function, op=op), wrong, "errors") is None, wrong
