"""Mutants of one and three axes: their kernels are right in generated cases, and each of them is found in a plan."""

import pytest
from marks import sampled

from refconv import mutants
from refconv.cases.plan import plan
from refconv.cases.supports import Supports
from refconv.core.operators import axes_of, kind_of
from refconv.mutants.registry import KERNELS
from refconv.verification.mutation_score import score_one

OTHERS = [op for op in KERNELS if axes_of(op) != 2]
MODES = ("zeros", "reflect", "replicate", "circular")


@pytest.mark.parametrize("op", OTHERS)
def test_base_is_right(op):
    claims = {"padding_mode": MODES, "string_padding": True} if kind_of(op) == "conv" else {}
    for recipe in plan(op, ["float32"], Supports.parse(claims, axes_of(op)), 60, 0):
        case = recipe.case()
        keywords = {} if case.padding_mode == "zeros" else {"padding_mode": case.padding_mode}
        report = case.check(mutants.base(op)(*case.arguments(), **keywords))
        assert report.ok, (recipe, report)


def test_families_are_those_of_two_axes_or_of_an_axis_that_only_three_have():
    plane = {mutant.family for mutant in mutants.all() if axes_of(mutant.op) == 2}
    further = {mutant.family for mutant in mutants.all()} - plane
    assert all("depth" in name or "plane" in name or "reversed" in name for name in further), further


@pytest.mark.parametrize("name", [*sampled([mutant.name for mutant in mutants.all() if mutant.op in OTHERS], every=41)])
def test_mutant_is_found(name):
    assert score_one(name, 1000, 0).found
