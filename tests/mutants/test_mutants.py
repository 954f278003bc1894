"""Mutants: the kernel that they share is right, and each differs from it where its bug shows, and only there."""

import json
import pickle
from functools import cache

import numpy as np
import pytest
from calls import (
    ONE_PIXEL,
    OPERATORS,
    PLACES,
    PLAIN,
    QUANTISED,
    NoSuchCallError,
    call,
    impossible,
    large,
    real,
    special,
    view,
    with_numbers,
)
from common import AS_TORCH, same_bits
from hypothesis import given, settings
from paths import ROOT
from processes import run

import refconv
from refconv import mutants, strategies
from refconv.core.operators import axes_of
from refconv.mutants.__main__ import table
from refconv.mutants.sources import LEFT_OUT, SOURCES
from refconv.verification.candidate.loading import find, load

CORPUS = ROOT.parent / "shared" / "bugs" / "real_conv_bugs.json"
BY_ADDRESS = [mutant for mutant in mutants.all() if mutant.family == "weights-cached-by-address"]
DTYPES = ("float32", "float64", "float16", "bfloat16", "complex64", "int8", "uint8", "int32", "uint64")
ALL = [mutant for mutant in mutants.all() if axes_of(mutant.op) == 2]  # of others: test_other_axes.py
RULES = "requantization"  # the class of the mistakes in a rule that its mutants claim
# Classes whose mutants are right on a plain call (contiguous, 3x3, stride 1, nothing else), and those that are not.
QUIET = {
    "axis_mixup", "param_ignored", "fastpath_gate", "groups_indexing", "bias_handling", "degenerate", "pad_side",
    "pad_boundary", "large_index", "nonfinite", "layout_stride",
}  # fmt: skip
LOUD = {
    "padding-1-if-3x3", "last-element-taken-for-padding", "kernel-ohwi", "kernel-hwio", "input-as-nhwc",
    "gradient-as-nhwc", "result-in-nhwc", "image-transposed", "result-transposed",
}  # fmt: skip


@settings(deadline=None)
@given(
    strategies.cases(
        dtypes=DTYPES,
        fills=["integers"],
        padding_modes=["zeros", "reflect", "replicate", "circular"],
        asymmetric_padding=True,
        **AS_TORCH,
    )
)
def test_base_of_conv2d_is_exact(case):
    keywords = {} if case.padding_mode == "zeros" else {"padding_mode": case.padding_mode}
    assert same_bits(mutants.base("conv2d")(*case.arguments(), **keywords), case.expected())


@pytest.mark.parametrize("op", OPERATORS)
def test_base_is_exact(op):
    for seed in range(100):
        dtype = ("int8", "uint8")[seed % 2] if op in QUANTISED else DTYPES[seed % len(DTYPES)]
        arguments, keywords = call(op, seed, dtype)
        expected = getattr(refconv, op)(*arguments, **keywords)
        assert same_bits(mutants.base(op)(*arguments, **keywords), expected), (seed, dtype)


@pytest.mark.parametrize("op", QUANTISED)
def test_base_rounds_as_refconv_does(op):
    for seed in range(100):
        arguments, keywords = with_numbers(op, seed, ("int8", "uint8")[seed % 2], real, inputs=2)
        assert same_bits(mutants.base(op)(*arguments), getattr(refconv, op)(*arguments, **keywords)), seed


@pytest.mark.parametrize("op", [op for op in OPERATORS if op not in QUANTISED])
def test_base_has_nan_and_infinity_where_refconv_has(op):
    for seed in range(50):
        arguments, keywords = with_numbers(op, seed, "float32", special, padding=(0, 0), mode="zeros")
        if op in {"conv_transpose2d", "conv2d_input"}:  # weights that meet no element may be multiplied by 0, or not
            arguments = (arguments[0], call(op, seed, padding=(0, 0), mode="zeros")[0][1], *arguments[2:])
        actual, expected = (function(*arguments, **keywords) for function in (mutants.base(op), getattr(refconv, op)))
        np.testing.assert_array_equal(actual, expected, err_msg=str(seed))


@pytest.mark.parametrize("op", PLACES)
def test_base_refuses_what_is_impossible(op):
    refused = 0
    for seed in range(10):
        arguments, keywords = impossible(op, seed)
        outcomes = [_outcome(function, arguments, keywords) for function in (mutants.base(op), getattr(refconv, op))]
        assert _same(*outcomes)
        refused += isinstance(outcomes[0], type)
    assert refused >= 6


def test_base_of_unknown_operator():
    with pytest.raises(refconv.GeometryError, match="op='conv4d'"):
        mutants.base("conv4d")


# --- every mutant


LARGE = 2**16 + 3
CLEAN = {"mode": "zeros", "stride": (1, 1), "dilation": (1, 1)}
VARIED = {  # parameters of calls, by their seed
    "depthwise": lambda seed: {
        "inputs": 1, "groups": (3, 6, 9)[seed % 3], "outputs": 1 + seed % 2, "mode": "zeros",
        "kernel": ((3, 3), (2, 3), (3, 4))[seed // 3 % 3], "padding": ((1, 1), (0, 1), (3, 3))[seed % 3],
        "size": ((9, 9), (2, 7))[seed % 2],
    },
    "padded": lambda seed: {
        "padding": ((1, 1), (6, 6), (0, 3))[seed % 3], "size": ((3, 3), (2, 12), (1, 1))[seed // 3 % 3],
        "kernel": ((3, 3), (2, 2), (1, 7))[seed % 3], "mode": "zeros",
    },
    "strings": lambda seed: {
        "padding": ("same", "valid")[seed % 2], "stride": (1, 1), "dilation": (1 + seed % 3, 1), "mode": "zeros",
        "kernel": ((3, 3), (2, 3), (4, 2))[seed % 3], "size": (9, 11),
    },
    "modes": lambda seed: {
        "mode": ("reflect", "replicate", "circular", "circular")[seed % 4], "size": (5, 6),
        "padding": ((1, 2), ((2, 0), (1, 0)), (2, 2))[seed % 3],
    },
    "network": lambda seed: {
        "kernel": (3, 3), "stride": (1 + seed % 2,) * 2, "dilation": (1 + seed // 2 % 2,) * 2, "padding": (0, 0),
        "mode": "zeros", "size": (11, 6 + seed), "groups": 1, "inputs": 3, "outputs": 3,
    },
    "channels": lambda seed: CLEAN | {
        "groups": 1, "inputs": (32, 5, 9, 17)[seed % 4], "outputs": (32, 17, 9, 5)[seed % 4], "size": (4, 4),
        "kernel": ((3, 3), (1, 1))[seed // 4 % 2], "padding": (1, 1), "stride": (1, 1 + seed // 8 % 2), "batch": 2,
        "batched": True,
    },
    "wide": lambda seed: {"size": (3, 37), "kernel": ((1, 3), (3, 3))[seed % 2], "padding": (1, 1)},
    "whole": lambda seed: CLEAN | {
        "size": (4, 3), "kernel": (4, 3), "padding": ((1, 1), (0, 0))[seed % 2], "output_padding": (0, 0),
    },
    "same padded size": lambda seed: PLAIN | {
        "size": ((4, 4), (2, 2))[seed % 2], "padding": ((1, 1), (2, 2))[seed % 2],
    },
    "views": lambda seed: {"batched": True, "inputs": 3, "outputs": 1 + 2 * (seed % 2)},
}  # fmt: skip
FIXED = {
    "empty": {"batch": 0, "batched": True},
    "images": ONE_PIXEL | {"batch": LARGE},
    "inputs": ONE_PIXEL | {"inputs": LARGE},
    "outputs": ONE_PIXEL | {"outputs": LARGE},
    "pixels": ONE_PIXEL | {"size": (1, LARGE)},
    "half": ONE_PIXEL | {"size": (1, 1100), "kernel": (1, 3), "stride": (1, 2)},
    "taps": ONE_PIXEL | {"size": (300, 1), "kernel": (257, 1), "batch": 2},
    "repeated": PLAIN,
}
FAMILIES = ("random", *VARIED, *FIXED, "special", "reals", "huge", "impossible")
CHANGED = {"views": view, "special": special, "reals": real, "huge": large}
FIRST = {  # where the bugs of a class show
    "layout_stride": ["views"],
    "nonfinite": ["special", "huge"],
    "degenerate": ["repeated", "empty", "impossible", "whole", "padded"],
    "large_index": ["images", "inputs", "outputs", "pixels", "taps", "half", "channels"],
    "accum_dtype": ["reals"],
    "quant_padding": ["reals", "strings"],
    "state_race": ["repeated", "same padded size", "reals"],
    "tile_tail": ["wide", "channels", "depthwise", "network"],
    "pad_side": ["padded", "strings", "modes"],
    "pad_boundary": ["padded", "depthwise", "modes"],
}
FEW = {"images", "inputs", "outputs", "pixels", "half", "taps"}  # one call of each is enough, and takes long enough
ONLY = {  # the operators that have such calls, if not all
    "strings": {"conv2d", "conv2d_input", "conv2d_weight", *QUANTISED},
    "modes": {"conv2d", "conv2d_input", "conv2d_weight"},
    "impossible": set(PLACES),
    "huge": set(OPERATORS) - {*QUANTISED},
}


@cache
def _calls(family, op, dtype):
    """Calls of a family, each with what must come out; those of large arrays in one dtype only."""
    outcomes = []
    for seed in range(1 if family in FEW else 24):
        try:
            arguments, keywords = _call(family, op, seed, dtype)
        except NoSuchCallError:
            continue  # a mutant that needs it fails the test
        outcomes.append((arguments, keywords, _outcome(mutants.base(op), arguments, keywords)))
    return outcomes


def _call(family, op, seed, dtype):
    if family == "impossible":
        return impossible(op, seed)
    fixed = VARIED[family](seed) if family in VARIED else FIXED.get(family, {})
    return (
        with_numbers(op, seed, dtype, CHANGED[family], **fixed) if family in CHANGED else call(op, seed, dtype, **fixed)
    )


def _outcome(function, arguments, keywords):
    """What a function returns, or the type of what it raises; or that it modified its arguments, which are restored."""
    arrays = [array for array in arguments if isinstance(array, np.ndarray)]
    before = [array.copy() for array in arrays]
    try:
        result = function(*arguments, **keywords)
    except (ValueError, TypeError, IndexError, KeyError) as error:
        return type(error)
    changed = [pair for pair in zip(arrays, before, strict=True) if not same_bits(*pair)]
    for array, kept in changed:
        array[...] = kept
    return "modified" if changed else result


def _same(left, right):
    return same_bits(left, right) if isinstance(left, np.ndarray) and isinstance(right, np.ndarray) else left is right


def _written(mutant, arguments, keywords, expected, seed):
    """What a mutant leaves in an output array and the memory around it, and what it must."""
    memories = []
    for function in (lambda *given: mutant(*given, **keywords), lambda *given: given[-1].__setitem__(..., expected)):
        memory = np.full((*expected.shape, 2), 77, expected.dtype)
        out = memory[..., 1] if seed % 2 else memory.reshape(-1)[1 : 1 + expected.size].reshape(expected.shape)
        function(*arguments, out)
        memories.append(memory)
    return memories


def _differs(mutant, family):
    """Whether a mutant differs from its base on some call of a family."""
    last = None
    for dtype in mutant.dtypes[: 1 if family in FEW else None]:
        for seed, (arguments, keywords, expected) in enumerate(_calls(family, mutant.op, dtype)):
            if mutant.style == "out":
                if isinstance(expected, np.ndarray) and not _same(
                    *_written(mutant, arguments, keywords, expected, seed)
                ):
                    return True
                continue
            outcome = _outcome(mutant, arguments, keywords)
            if not _same(outcome, expected) or (last is not None and not _same(*last)):
                return True
            last = (outcome, expected)
    return False


CLAIMING = [other for other in ALL if other.kind == RULES or other.epilogue]


@pytest.mark.parametrize("mutant", [other for other in ALL if other not in (*BY_ADDRESS, *CLAIMING)],
                         ids=lambda mutant: mutant.name)  # fmt: skip
def test_mutant_is_wrong(mutant):
    """Those of a rule have tests of their own, test_requantization.py."""
    wanted = FIRST.get(mutant.kind, [])
    families = dict.fromkeys((*wanted, *FAMILIES))
    assert any(_differs(mutant, family) for family in families if mutant.op in ONLY.get(family, OPERATORS))


@pytest.mark.parametrize("mutant", [other for other in ALL if other.epilogue], ids=lambda mutant: mutant.name)
def test_mutant_is_wrong_under_its_epilogue(mutant):
    recipe = refconv.Recipe.parse(
        "3,4,4,5:4,2,2,2:groups=2", op=mutant.op, epilogue=mutant.epilogue, bias=True, fill="normal", seed=1
    )
    case = recipe.case()
    right = mutants.base(mutant.op)(*case.arguments(), epilogue=mutant.epilogue)
    refconv.assert_close(right, case)
    assert not case.check(mutant(*case.arguments())).ok


@pytest.mark.parametrize("mutant", BY_ADDRESS, ids=lambda mutant: mutant.name)
def test_mutant_is_wrong_when_a_weight_is_changed_in_place(mutant):
    arguments, _ = call(mutant.op, 0, **PLAIN)
    assert _same(mutant(*arguments), mutants.base(mutant.op)(*arguments))
    arguments[1][...] += 1
    assert not _same(mutant(*arguments), mutants.base(mutant.op)(*arguments))


@pytest.mark.parametrize("mutant", [other for other in ALL if other.kind in QUIET and other.family not in LOUD and
                                    other.style == "return"], ids=lambda mutant: mutant.name)  # fmt: skip
def test_mutant_is_right_on_a_plain_call(mutant):
    for dtype in mutant.dtypes:
        arguments, keywords = call(mutant.op, 0, dtype, **PLAIN)
        assert same_bits(mutant(*arguments, **keywords), mutants.base(mutant.op)(*arguments, **keywords))


def test_every_entry_of_the_corpus_is_implemented_or_left_out():
    implemented = {mutant.entry for mutant in ALL if mutant.entry}
    assert implemented | set(LEFT_OUT) == set(SOURCES)
    assert not implemented & set(LEFT_OUT)


@pytest.mark.skipif(not CORPUS.exists(), reason=f"the corpus of bugs is not here: {CORPUS}")
def test_entries_are_those_of_the_corpus():
    corpus = json.loads(CORPUS.read_text())
    assert {entry["id"]: f"{entry['repo']}#{entry['issue']}" for entry in corpus} == SOURCES
    kinds = {entry["id"]: entry["class"] for entry in corpus}
    assert {mutant.name: mutant.kind for mutant in ALL if mutant.entry} == {
        mutant.name: kinds[mutant.entry] for mutant in ALL if mutant.entry
    }


def test_mutants_are_well_formed():
    assert len({mutant.name for mutant in mutants.all()}) == len(mutants.all())
    for mutant in mutants.all():
        assert mutant.summary[0].islower() or mutant.summary[0].isupper()
        assert not mutant.summary.endswith(".")
        assert pickle.loads(pickle.dumps(mutant)) is mutant  # noqa: S301 - its own
        assert mutants.by_name(mutant.name) is mutant.function is mutant
    with pytest.raises(ValueError, match="name='x'"):
        mutants.by_name("x")


def test_mutant_is_a_target_of_the_command_line():
    mutant = mutants.by_name("stride-swapped")
    assert find(mutant) == "refconv.mutants:stride-swapped"
    assert load("refconv.mutants:stride-swapped").function is mutant


def test_mutants_load_neither_numba_nor_torch():
    program = "import sys, refconv.mutants; print(sorted({'numba', 'torch', 'hypothesis'} & set(sys.modules)))"
    done = run(program)
    assert done.stdout.strip() == "[]"


def test_table_is_current():
    assert (ROOT / "docs" / "mutants.md").read_text() == table(), "python -m refconv.mutants > docs/mutants.md"
