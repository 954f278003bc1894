"""Campaigns on cases of one's own: nothing else is called, and what is wrong there is told."""

import numpy as np
import pytest
from campaigns import verify
from typer.testing import CliRunner

import refconv
from refconv.cases.networks import layers
from refconv.cases.recipe import Recipe
from refconv.cli.app import app
from refconv.verification.diagnose import single_case

SHAPES = ("1,8,14,14:16,8,3,3:padding=1", "2,4,9,9:4,2,3,3:stride=2")
CLAIMS = {"deterministic": True, "batch_invariant": True, "threads": True}


def of_shapes(kernel, shapes=SHAPES):
    """A kernel that ends the test if it is called with any other shape."""
    geometries = {Recipe.parse(shape).geometry for shape in shapes}

    def called(input, weight, bias, stride, padding, dilation, groups):
        case = refconv.Case(input=input, weight=weight, bias=bias, stride=stride, padding=padding, dilation=dilation,
                            groups=groups)  # fmt: skip
        if case.geometry not in geometries:
            pytest.exit(f"called with {case}")
        return kernel(case)

    return called


def right(case):
    return refconv.conv2d(*case.arguments())


def without_bias(case):
    return refconv.conv2d(case.input, case.weight, None, case.stride, case.padding, 1, case.groups)


def without_last_columns(case):
    result = right(case)
    result[..., 12:] = 0
    return result


def raises(case):
    if case.bias is not None:
        raise ValueError("no bias")
    return right(case)


def test_a_kernel_of_some_shapes_is_judged_on_these_alone():
    report = verify(of_shapes(right), cases=SHAPES, supports=CLAIMS)
    assert report.ok
    assert report.judged == "48 cases judged"
    assert [result.section for result in report.results] == ["own cases"]
    checked = report.properties
    assert checked["threads"]["float32"].checked
    assert not checked["batch"]["float32"].checked  # an image alone is another shape
    assert report.sizes["filters"] == 16


@pytest.mark.parametrize("most", [single_case.MOST, 1000])  # with the second all are large
@pytest.mark.parametrize(
    ("kernel", "said"), [(without_bias, "bias ignored"), (without_last_columns, "columns"), (raises, '"bias": false')]
)
def test_a_wrong_kernel_is_told_without_any_other_shape(kernel, said, most, monkeypatch):
    monkeypatch.setattr(single_case, "MOST", most)
    report = verify(of_shapes(kernel), cases=SHAPES, supports=CLAIMS, shrink_seconds=5)
    assert not report.ok
    assert not report.faults
    assert said in str(report.failures[0])
    assert all(failure.recipe.geometry in {Recipe.parse(shape).geometry for shape in SHAPES}
               for failure in report.failures)  # fmt: skip


def test_a_given_case_is_judged_as_it_is():
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype("float64") for shape in ((1, 3, 30, 30), (2, 3, 3, 3)))
    case = refconv.Case(input=x, weight=w)

    def wrong_on_it(input, *others):
        y = refconv.conv2d(input, *others)
        return y * 1.5 if np.array_equal(input, x) else y

    report = verify(wrong_on_it, cases=[case])
    (failure,) = report.failures
    assert failure.dtype == "float64"
    assert (failure.n_cases, failure.case) == (1, case)
    assert "...  # the case that was given" in failure.snippet
    assert report.n_cases == 25


def test_how_many_cases_there_are_of_each():
    assert verify(of_shapes(right), cases=SHAPES, sets=3).n_cases == 6
    assert verify(of_shapes(right), cases=iter(SHAPES), dtypes=("float16", "int8"), sets=2).n_cases == 8


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"cases": []}, TypeError, "must be a number, or a sequence of cases"),
        ({"cases": SHAPES[0]}, TypeError, "must be a number, or a sequence of cases"),
        ({"cases": 2.5}, TypeError, "must be a number, or a sequence of cases"),
        ({"cases": SHAPES, "seconds": 1}, ValueError, "seconds=1: must not be given beside cases"),
        ({"cases": SHAPES, "largest": 9}, ValueError, "largest=9: must not be given beside cases"),
        ({"cases": SHAPES, "huge": True}, ValueError, "huge=True: must not be given beside cases"),
        ({"cases": SHAPES, "supports": {"kernel": 5}}, ValueError, "said to take"),
        ({"cases": SHAPES, "model": refconv.ErrorModel.winograd(4, 3)}, ValueError, "said to take"),
        ({"supports": {"channels": 3, "groups": 2}}, ValueError, "no call of conv2d meets all of it"),
        ({"op": "conv_transpose2d", "supports": {"padding": "same_upper"}}, ValueError, "no call of conv_transpose2d"),
    ],
)
def test_what_can_not_be_is_refused(options, error, said):
    with pytest.raises(error, match=said):
        verify(refconv.conv2d, **options)


def call(*arguments):
    return CliRunner().invoke(app, ["verify", "refconv:conv2d", "--no-isolate", *arguments], prog_name="refconv")


def test_shapes_on_the_command_line():
    result = call("--case", SHAPES[0], "--case", SHAPES[1], "--sets", "2")
    assert result.exit_code == 0, result.output
    assert "passed, 4 cases judged" in result.stdout
    of_network = call("--network", "first_layers", "--sets", "1")
    assert f"passed, {len(layers('first_layers'))} cases judged" in of_network.stdout


@pytest.mark.parametrize("option", [("--quick",), ("--seconds", "1"), ("--largest", "9"), ("--huge",)])
def test_what_contradicts_shapes_is_wrong_usage(option):
    result = call("--case", SHAPES[0], *option)
    assert result.exit_code == 2
    assert "all of its cases are judged" in " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize("claim", ["same_upper", "same_lower"])
def test_padding_that_depends_on_the_stride(claim):
    def as_for_stride_1(input, weight, bias, stride, padding, dilation, groups):
        assert padding == claim
        sides = []
        for kernel, step in zip(weight.shape[2:], dilation, strict=True):
            total = step * (kernel - 1)
            ends = total // 2, total - total // 2
            sides.append(ends if claim == "same_upper" else ends[::-1])
        return refconv.conv2d(input, weight, bias, stride, tuple(sides), dilation, groups)

    supports = {"padding": claim}
    assert verify(refconv.conv2d, cases=100, examples=False, supports=supports).ok
    report = verify(as_for_stride_1, cases=100, examples=False, supports=supports, shrink_seconds=5)
    assert report.failures[0].property in ("values", "shape and dtype")
