"""The pytest plugin: one test for each property and dtype, honest about each, and nothing at all unless asked for."""

import contextlib
from importlib import import_module
from importlib.metadata import entry_points

import pytest

from refconv.core.errors import BackendUnavailable
from refconv.engine import targets
from refconv.engine.targets.jit import cfunctions
from refconv.verification import campaign
from refconv.verification.faults import WrongUse
from refconv.verification.report.report import Report
from refconv.verification.report.results import Failure, Result, Tally

pytest_plugins = "pytester"

# Where refconv is installed from a checkout of an older state, its entry point is not known yet.
PLUGIN = [] if entry_points(group="pytest11", name="refconv") else ["-p", "_refconv_pytest"]
KERNELS = """
import numpy as np
import refconv

def right(*arguments):
    return refconv.conv2d(*arguments)

def raises(*arguments):
    raise ZeroDivisionError("kernel")

def on_a_gpu(*arguments): ...
on_a_gpu.arrays = "numba"
"""


CACHE = str(cfunctions.folder().parents[1])


# pytester forgets modules that are imported during a test, and numba.cuda can't be imported twice.
with contextlib.suppress(BackendUnavailable):
    import_module("refconv.arrays.gpu.device").check()


@pytest.fixture
def kernels(pytester, monkeypatch):
    """A folder with a module of kernels, and one with a test of another kind."""
    # It has a home of its own, but compiled code is to be found where it is: else each worker would compile it.
    monkeypatch.setenv("NUMBA_CACHE_DIR", CACHE)
    pytester.makepyfile(their_kernels=KERNELS, test_other="def test_other(): pass")
    pytester.syspathinsert()
    return pytester


@pytest.fixture
def campaigns(monkeypatch):
    """Results by dtype for campaigns to find, and the calls that asked for them."""
    results, calls = {}, []

    def run(candidate, settings, dtypes):
        (dtype,) = dtypes
        calls.append((candidate.target, candidate.op, dtype, settings))
        if isinstance(results[dtype], Exception):
            raise results[dtype]
        return Report((results[dtype],), {}, notes=(f"a note on {dtype}",), faults=run.faults, op=candidate.op)

    monkeypatch.setattr(campaign, "run", run)
    run.results, run.calls, run.faults = results, calls, ()
    return run


def passed(dtype, *failures, **tallies):
    """A result in which the properties named hold, and the usual ones unless said otherwise."""
    usual = {name: Tally(20) for name in ("returns", "inputs unmodified", "kind of array", "shape and dtype", "values")}
    return Result("generated cases", dtype, 20, 0, failures=failures, tallies=usual | tallies)


def failure(property_="values", dtype="float32"):
    return Failure(
        property_, "generated cases", dtype, None, None, "3 elements are wrong", "import refconv  # shows it\n"
    )


def verify(pytester, *options, target="their_kernels:right"):
    """Run pytest in this process."""
    return pytester.runpytest_inprocess(*PLUGIN, "--refconv", target, *options)


# What is collected.


def test_without_a_target_nothing_happens(kernels):
    result = kernels.runpytest_inprocess(*PLUGIN, "--refconv-cases", "20")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*refconv:*")


def test_loading_the_plugin_is_cheap(kernels):
    kernels.makepyfile(
        test_other="""
        import sys

        def test_nothing_was_imported():
            assert "_refconv_pytest" in sys.modules
            assert not {"refconv", "numpy", "numba", "torch", "hypothesis"} & set(sys.modules)
        """
    )
    result = kernels.runpytest_subprocess(*PLUGIN)
    result.assert_outcomes(passed=1)


def test_one_test_for_each_property_dtype_and_operator(kernels, campaigns):
    options = ("--refconv-dtype", "float32", "--refconv-dtype", "int8", "--refconv-dtype", "float32")
    result = verify(kernels, *options, "--collect-only", "-q")
    assert result.ret == pytest.ExitCode.OK
    tests = [line for line in result.outlines if "::" in line]
    assert len(tests) == len(set(tests))
    for dtype in ("float32", "int8"):
        for name in ("returns", "inputs unmodified", "kind of array", "shape and dtype", "values"):
            assert f"refconv::conv2d::{name}[{dtype}]" in tests
    assert not [test for test in tests if not test.startswith("refconv::conv2d::")]
    assert not campaigns.calls


def test_operators_have_dtypes_of_their_own(kernels):
    result = verify(kernels, "--refconv-op", "conv2d_integer", "--refconv-op", "conv2d_bias", "--collect-only", "-q")
    dtypes = {line.rpartition("[")[0]: set() for line in result.outlines if "::" in line}
    for line in result.outlines:
        if "::" in line:
            dtypes[line.rpartition("[")[0]].add(line.rpartition("[")[2].rstrip("]"))
    assert dtypes["refconv::conv2d_bias::values"] == {"float32"}
    assert dtypes["refconv::conv2d_integer::values"] == {"uint8", "int8"}


def test_paths_bring_other_tests(kernels, campaigns):
    campaigns.results["float32"] = passed("float32")
    result = verify(kernels, "test_other.py", "-v")
    result.stdout.fnmatch_lines(["*test_other.py::test_other PASSED*", "*refconv::conv2d::values?float32? PASSED*"])
    assert result.ret == pytest.ExitCode.OK


def test_tests_can_be_chosen(kernels, campaigns):
    campaigns.results["int8"] = passed("int8")
    result = verify(kernels, "--refconv-dtype", "float32", "--refconv-dtype", "int8", "-k", "values and int8", "-v")
    result.assert_outcomes(passed=1, deselected=result.parseoutcomes()["deselected"])
    result.stdout.fnmatch_lines(["*refconv::conv2d::values?int8? PASSED*"])
    assert [call[2] for call in campaigns.calls] == ["int8"]  # the other campaign never ran


# What is asked.


def test_the_options_reach_the_campaign(kernels, campaigns):
    campaigns.results |= {dtype: passed(dtype) for dtype in ("float32", "float64")}
    options = ["--refconv-cases", "30", "--refconv-seed", "7", "--refconv-model", "direct:float64"]
    options += ["--refconv-dtype", "float64", "--refconv-dtype", "float32", "--refconv-supports", '{"unbatched": true}']
    result = verify(kernels, *options)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["refconv: their_kernels:right, 30 cases, seed 7, model direct:float64"])
    assert [call[:3] for call in campaigns.calls] == [
        ("their_kernels:right", "conv2d", dtype) for dtype in ("float64", "float32")
    ]
    for *_, given in campaigns.calls:
        assert (given.cases, given.seed, str(given.model)) == (30, 7, "direct:float64")
        assert given.supports.unbatched


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "their_kernels:none"}, "kernels has no none"),
        ({"target": "no_such_module:conv2d"}, "no module 'no_such_module'"),
        ({"target": "conv2d"}, "must be module:attribute"),
        ({"target": "their_kernels:np"}, "must be callable"),
        ("--refconv-op=conv9d", "--refconv-op='conv9d'"),
        ("--refconv-dtype=float7", "--refconv-dtype='float7'"),
        ("--refconv-cases=0", "--refconv-cases=0"),
        ("--refconv-cases=many", "invalid int value: 'many'"),
        ("--refconv-seed=-1", "--refconv-seed=-1"),
        ("--refconv-supports={", "--refconv: Expecting"),
        ("--refconv-supports=[]", "must be a mapping"),
        ('--refconv-supports={"strings": true}', "strings"),
        ("--refconv-model=quick", "model='quick'"),
        ("--refconv-epilogue=clip(6,0)", "clip(6,0): low must not be above high"),
        ("--refconv-rounded=before", "rounded='before': must be given with an epilogue"),
        ("--refconv-expected=none.txt", "none.txt"),
        ("--refconv-expected=wrong.txt", "wrong.txt, line 1: 'values' must be op/dtype/property"),
    ],
)
def test_wrong_usage(kernels, options, message):
    kernels.makefile(".txt", wrong="values")
    result = verify(kernels, **options) if isinstance(options, dict) else verify(kernels, options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in result.stderr.str()


def test_a_missing_gpu_is_wrong_usage(kernels):
    try:
        targets.choose("cuda")
    except BackendUnavailable:
        result = verify(kernels, target="their_kernels:on_a_gpu")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert "arrays='numba' needs a GPU" in result.stderr.str()
    else:
        pytest.skip("there is a GPU")


# What comes of it.


def test_each_property_has_its_own_outcome(kernels, campaigns):
    campaigns.results["float32"] = passed(
        "float32", failure(), values=Tally(20, 1), **{"kind of array": Tally(skipped="not claimed")}
    )
    result = verify(kernels, "-v", "-k", "returns or values or kind")
    for line in ("returns?float32? PASSED*", "values?float32? FAILED*", "kind of array?float32? SKIPPED*"):
        result.stdout.fnmatch_lines([f"refconv::conv2d::{line}"])
    result.stdout.fnmatch_lines(["*3 elements are wrong*", "*import refconv  # shows it*"])
    result.stdout.fnmatch_lines(["*refconv: not checked*", "conv2d::kind of array?float32?: not claimed"])
    result.stdout.no_fnmatch_line("*runtest*")  # no traceback of the plugin
    assert result.outlines.count("conv2d, float32: a note on float32") == 1
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert len(campaigns.calls) == 1


def test_what_nobody_counted_was_not_checked(kernels, campaigns):
    campaigns.results["float32"] = Result("generated cases", "float32", 20)
    result = verify(kernels)
    assert set(result.parseoutcomes()) == {"skipped"}
    result.stdout.fnmatch_lines(["conv2d::values?float32?: not checked"])


def test_a_count_of_failures_is_a_failure(kernels, campaigns):
    campaigns.results["float32"] = passed("float32", values=Tally(20, 3))
    result = verify(kernels, "-k", "values")
    result.stdout.fnmatch_lines(["*3 of 20 cases failed*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_nothing_judged_is_a_failure(kernels, campaigns):
    campaigns.results["float32"] = Result("generated cases", "float32", n_unsupported=400)
    result = verify(kernels)
    assert result.parseoutcomes()["failed"] == 1
    result.stdout.fnmatch_lines(["*nothing judged; the candidate refused 400 cases*"])


def test_expected_failures(kernels, campaigns):
    kernels.makefile(".txt", known="conv2d/float32/values # a\nconv2d/*/ret* # b\n*/*/kind* # c\nconv2d/int8/* # d")
    campaigns.results["float32"] = passed("float32", failure(), **{"kind of array": Tally(skipped="not claimed")})
    result = verify(kernels, "--refconv-expected", "known.txt", "-v", "-k", "returns or values or kind")
    for line in ("values?float32? XFAIL (a)*", "returns?float32? XPASS (b)*", "kind of array?float32? SKIPPED*"):
        result.stdout.fnmatch_lines([f"refconv::conv2d::{line}"])
    result.stdout.fnmatch_lines(["refconv: line 4, conv2d/int8/[*] (d): matches no test"])
    assert result.ret == pytest.ExitCode.OK


def test_a_fault_of_refconv_is_never_expected(kernels, campaigns):
    kernels.makefile(".txt", known="*/*/* # nothing works")
    campaigns.results["float32"] = ZeroDivisionError("a fault of refconv")
    result = verify(kernels, "--refconv-expected", "known.txt")
    assert set(result.parseoutcomes()) == {"failed"}
    result.stdout.fnmatch_lines(["*ZeroDivisionError: a fault of refconv*"])
    assert len(campaigns.calls) == 1


def test_a_campaign_with_a_fault_of_refconv_is_not_green(kernels, campaigns):
    """Whichever property is asked for; and what failed is told too."""
    campaigns.faults = ("refconv's own fault, while judging: IndexError",)
    campaigns.results["float32"] = passed("float32", failure())
    result = verify(kernels, "-k", "values or kind")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*3 elements are wrong*", "*refconv's own fault, while judging: IndexError*"])


def test_wrong_use_is_told_without_a_traceback(kernels, campaigns):
    campaigns.results["float32"] = WrongUse("right can't be called as it was")
    result = verify(kernels, "-k", "values")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*right can't be called as it was*"])
    result.stdout.no_fnmatch_line("*Traceback*")


# The whole, as a user runs it.


def test_a_campaign(kernels):
    result = kernels.runpytest_subprocess(*PLUGIN, "--refconv", "their_kernels.py:right", "--refconv-cases", "20")
    assert result.ret == pytest.ExitCode.OK


@pytest.mark.parametrize("workers", [(), ("-n", "2", "--dist", "loadscope")], ids=["alone", "xdist"])
def test_a_campaign_that_fails(kernels, workers):
    """Of an operator for which there are no examples, which torch would have to be imported for."""
    options = ("--refconv", "their_kernels.py:raises", "--refconv-op", "conv2d_bias", "--refconv-cases", "20")
    result = kernels.runpytest_subprocess(*PLUGIN, *workers, *options)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    if not workers:  # those of pytest-xdist have no terminal
        result.stdout.fnmatch_lines(["refconv: generated cases, float32: returns fails: ZeroDivisionError: kernel"])
        result.stdout.fnmatch_lines(["refconv: generated cases, float32: 20 of 20; failed: returns 20"])
    result.stdout.fnmatch_lines(["*ZeroDivisionError: kernel*", "*candidate = module.raises*"])
    result.stdout.fnmatch_lines(["FAILED refconv::conv2d_bias::returns?float32?*"])
    result.stdout.fnmatch_lines(["*1 failed*"])
