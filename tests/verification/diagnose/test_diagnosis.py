from collections import Counter

import diagnosis as diagnosis_evidence
import numpy as np
import pytest
import variants
from common import AS_TORCH
from hypothesis import given
from marks import evidence
from offset_tables import Kernel
from variants import VARIANTS

import refconv
from refconv import mutants
from refconv.cases.recipe import Recipe
from refconv.core.geometry import convolution
from refconv.strategies import cases
from refconv.verification.diagnose import regions
from refconv.verification.diagnose.altered_calls import alterations
from refconv.verification.diagnose.conditions import conditions
from refconv.verification.diagnose.diagnosis import diagnose
from refconv.verification.diagnose.evidence import Evidence

OPERATORS = ("conv2d", "conv_transpose2d", "conv2d_input", "conv2d_weight", "conv2d_integer", "conv2d_quantized")


def named(part):
    """The only variant with this in its name."""
    (variant,) = [variant for variant in VARIANTS if part in variant.name]
    return variant


def diagnosed(variant, number=120):
    return diagnose(diagnosis_evidence.evidence(variant, number), variant.op, diagnosis_evidence.call(variant))


# What the variants are made of.


@pytest.mark.parametrize("op", OPERATORS)
def test_the_second_base_is_right(op):
    sound = variants.Variant("", "", op, "sound", getattr(Kernel(), op), variants.DTYPES[op])
    assert not any(item.failed for item in diagnosis_evidence.evidence(sound, 60))


def test_every_class_has_variants():
    """But those of claims, which the evidence of variants makes none of."""
    kinds = {mutant.kind for mutant in mutants.all() if not (mutant.epilogue or mutant.requantize)}
    assert {variant.kind for variant in VARIANTS} == kinds - {"requantization"}
    assert len({(variant.op, variant.name) for variant in VARIANTS}) == len(VARIANTS)


# Diagnoses.


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("dilation of the width for both", "behaves like dilation of the width used for the height"),
        ("1x1: padding ignored", "behaves like padding ignored for 1x1 kernels"),
        ("1x1: stride of the height", "but only when: 1x1 kernel"),
        ("paddings swapped", "padding of height and width swapped, in the size of the result too"),
        ("odd height: the last row missing", "wrong: last row"),
        ("the weight read as C-ordered", "as in pytorch/pytorch#192212"),
        ("operands in tf32", "within the bound of tf32"),
        ("now and then a partial sum", "called again it gives another result"),
        ("weights packed once for each shape", "it keeps the first"),
    ],
)
def test_a_diagnosis_says(part, said):
    variant = next(variant for variant in VARIANTS if part in variant.name)
    diagnosis = diagnosed(variant)
    assert diagnosis.kind == variant.kind
    assert said in str(diagnosis)
    assert max(map(len, str(diagnosis).splitlines())) < 240


@evidence  # test_every_mutant_gets_an_answer and test_truth.py try them too
def test_all_mutants_are_told_apart_from_what_is_right():
    """A mutant as the candidate is recognised as itself, or as one that did the same."""
    float32_mutants = [
        mutant
        for mutant in mutants.all()
        if mutant.op == "conv2d" and not mutant.supports and mutant.dtypes == ("float32",)
    ]
    wrong = Counter()
    for mutant in float32_mutants[:: max(1, len(float32_mutants) // 12)]:
        variant = variants.Variant("", mutant.kind, "conv2d", mutant.name, mutant)
        evidence = diagnosis_evidence.evidence(variant, 120)
        if any(item.failed for item in evidence):
            wrong[diagnose(evidence, "conv2d", diagnosis_evidence.call(variant)).kind == mutant.kind] += 1
    assert wrong[True] >= 0.9 * wrong.total()


def test_nothing_failed():
    recipe = Recipe(convolution((1, 1, 2, 2), (1, 1, 1, 1), None, 1, 0, 1, 1, "zeros"), 0)
    case = recipe.case()
    assert not diagnose([Evidence(recipe, case, case.expected(), failed=False)], "conv2d", lambda *_: None).kind


def test_where_numbers_are_right_the_property_says_it():
    recipe = Recipe(convolution((1, 1, 2, 2), (1, 1, 1, 1), None, 1, 0, 1, 1, "zeros"), 0)
    case = recipe.case()
    evidence = [Evidence(recipe, case, case.expected(), failed=True, fault="no stale state")]
    diagnosis = diagnose(evidence, "conv2d", lambda case, _: case.expected())
    assert diagnosis.kind == "state_race"
    assert "no stale state" in str(diagnosis)


def test_what_raises_always():
    recipe = Recipe(convolution((1, 1, 2, 2), (1, 1, 1, 1), None, 1, 0, 1, 1, "zeros"), 0)
    diagnosis = diagnose(
        [Evidence(recipe, recipe.case(), None, failed=True, fault="returns")], "conv2d", lambda *_: None
    )
    assert "raises" in str(diagnosis)


# Alterations, conditions and positions.


@given(cases(**AS_TORCH, asymmetric_padding=True, max_multiplications=2000))
def test_an_alteration_of_what_is_equal_changes_nothing(case):
    g = case.geometry
    for alteration in alterations():
        if alteration.name.endswith("-swapped-throughout"):
            name = alteration.name.partition("-")[0]
            if getattr(g, name)[0] == getattr(g, name)[1]:
                assert alteration(case).tobytes() == case.expected().tobytes()


def test_conditions_hold_for_failing_cases_only():
    def recipe(stride, kernel):
        return Recipe(convolution((1, 1, 9, 9), (1, 1, *kernel), None, stride, 0, 1, 1, "zeros"), 0)

    failing = [recipe(stride, (1, 1)) for stride in (2, 3, 4)]
    passing = [recipe(1, (1, 1)), recipe(2, (2, 2)), recipe(3, (1, 2)), recipe(3, (3, 3))]
    assert conditions(failing, passing) == ("1x1 kernel", "stride > 1")
    assert conditions(failing, []) == ()
    assert conditions([], passing) == ()
    assert conditions(failing, failing) == ()


@pytest.mark.parametrize(
    ("failing", "passing", "condition"),
    [
        (
            ("offset_4", "offset_16", "offset", "unaligned"),
            ("offset_32", "offset_64", "channels_last", "row_pitch"),
            "input not aligned to 32 bytes",
        ),
        (
            ("channels_last", "channels_last_chunk"),
            ("transposed", "row_pitch", "offset_8"),
            "input with its channels side by side",
        ),
        (("offset_16", "row_pitch", "negative"), ("contiguous",), "input not contiguous"),
        (("negative", "negative"), ("transposed", "broadcast", "interleaved"), "input with negative strides"),
    ],
)
def test_conditions_on_memory(failing, passing, condition):
    geometry = convolution((2, 3, 4, 8), (3, 3, 1, 1), None, 1, 0, 1, 1, "zeros")

    def recipes(ways):
        return [
            Recipe(geometry, 0, seed=seed, memory=(("input", way),) * (way != "contiguous"))
            for seed, way in enumerate(ways)
        ]

    assert conditions(recipes(failing), recipes((*passing, "contiguous"))) == (condition,)


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (np.s_[:, :, :, -1], "last column"),
        (np.s_[:, :, -1:], "last row"),
        (np.s_[1:], "images after the first"),
        (np.s_[:, 8:], "channels beyond the last whole block of 8"),
        (np.s_[:, :, 4:], "rows beyond the last whole block of 4"),
        (np.s_[:, :, 1::2], "every second of the rows"),
        (np.s_[:, 6:], "groups after the first"),
        (np.s_[:, :, 0, :], "where it meets the padding above or to the left"),
        (np.s_[:], "everywhere"),
    ],
)
def test_regions_are_named(where, name):
    geometry = convolution((3, 4, 7, 9), (12, 2, 3, 3), None, 1, (1, 0), 1, 2, "zeros")
    mask = np.zeros(geometry.output_shape, bool)
    mask[where] = True
    assert name in regions.regions([regions.Wrong("conv2d", geometry, mask, mask, mask)])


def test_a_region_must_hold_all_that_is_wrong():
    mask = np.zeros((2, 3, 5, 6), bool)
    mask[0, 0, 1, 1] = mask[1, 2, 4, 5] = mask[0, 1, 0, 0] = True
    assert regions.regions([regions.Wrong("conv2d", None, mask, mask, mask)]) == ()


def test_a_missing_bias_is_seen():
    rng = np.random.default_rng(0)
    expected, bias = rng.integers(1, 99, (2, 3, 4, 4)).astype(float), np.array([1.0, 2.0, 4.0])
    for actual in (expected - bias[:, None, None], expected - bias[:, None, None] + bias[[1, 2, 0]][:, None, None]):
        wrong = regions.Wrong("conv2d", None, actual != expected, actual, expected, bias)
        assert "the bias is missing or another channel's" in regions.values(wrong)
    wrong = regions.Wrong("conv2d", None, expected > 0, rng.random(expected.shape), expected, bias)
    assert regions.values(wrong) == ()


def test_sizes_are_explained_by_a_formula_for_all_cases():
    shapes = []
    for dilation in (2, 3):
        right = convolution((1, 1, 12, 12), (1, 1, 3, 3), None, 1, 0, dilation, 1, "zeros")
        shapes.append(regions.Shapes((1, 1, 10, right.output_size[1]), right.output_shape, right))
    assert regions.sizes(shapes, "conv2d") == ("height 10, not 8: without the dilation",)
    assert regions.sizes([regions.Shapes((1, 2, 3), (1, 1, 2, 3), None)], "conv2d") == ("3 axes, not 4",)


def test_refconv_itself_is_given_no_class():
    variant = variants.Variant("", "", "conv2d", "right", refconv.conv2d)
    assert not any(item.failed for item in diagnosis_evidence.evidence(variant, 60))
