"""The overview of the asv suite: every benchmark runs and gives a figure that is worse when refconv is slower."""

import inspect
import itertools
import math
import sys
import time

import pytest
from paths import ROOT

import refconv

SLOW = ("Campaign", "Start", "Memory")  # seconds each: in a test of their own, cut short


@pytest.fixture
def overview(monkeypatch):
    """The module, as asv imports it, with the shortest measurements."""
    monkeypatch.syspath_prepend(str(ROOT / "asv_bench"))
    from benchmarks import common, overview

    monkeypatch.setattr(common, "LEAST_ROUNDS", 2)
    monkeypatch.setattr(common.low_times, "__defaults__", (0.0,))
    monkeypatch.setattr(common.in_times_of, "__defaults__", (0.0,))
    monkeypatch.setattr(overview.NeverSeen, "COUNT", 3)
    yield overview
    for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
        del sys.modules[name]


def benchmarks(module):
    """Instances of the classes, their methods that asv calls, and the combinations of parameters."""
    for name, class_ in inspect.getmembers(module, inspect.isclass):
        if class_.__module__ == module.__name__ and name not in SLOW:
            params = getattr(class_, "params", [()])
            combinations = itertools.product(*params) if isinstance(params[0], list) else ((value,) for value in params)
            combinations = [()] if params == [()] else list(combinations)
            for method in (method for method in vars(class_) if method.startswith("track_")):
                yield class_(), method, combinations


def test_every_benchmark_gives_a_figure(overview):
    names = set()
    for benchmark, method, combinations in benchmarks(overview):
        assert getattr(benchmark, "unit", None) or getattr(benchmark, method).unit
        for combination in combinations:
            figure = getattr(benchmark, method)(*combination)
            assert math.isfinite(figure), (method, combination)
            assert figure >= 0, (method, combination)
            names.add((type(benchmark).__name__, method))
    assert len(names) == 9


def test_slow_benchmarks_run_too(overview, monkeypatch):
    monkeypatch.setattr(overview.Campaign, "CASES", 4)
    assert overview.Campaign().track_verify() > 0
    assert overview.Start().track_start("import") > 0
    monkeypatch.setattr(overview, "DENSE", overview.DENSE._replace(input=(1, 64, 8, 8)))
    for what in overview.Memory.params:
        memory = overview.Memory()
        memory.setup(what)
        memory.peakmem_process(what)


def test_figures_are_lower_where_refconv_is_faster(overview, monkeypatch):
    """asv flags what rises."""
    figures = [("Networks", "track_conv2d", ("lenet 5x5 at 28", "float32")), ("NeverSeen", "track_new_geometry", ())]
    figures += [("Calls", "track_small_call", ("NumPy",)), ("NeverSeen", "track_case_and_check", ())]

    def measure():
        return [getattr(getattr(overview, name)(), method)(*parameters) for name, method, parameters in figures]

    before = measure()
    for owner, name in ((refconv, "conv2d"), (refconv.Case, "check")):
        monkeypatch.setattr(owner, name, delayed(getattr(owner, name)))
    assert all(after > fast for after, fast in zip(measure(), before, strict=True))


def delayed(function):
    """The function, a quarter of a second slower: more than another process on the machine can make of any call."""

    def slow(*arguments, **options):
        time.sleep(0.25)
        return function(*arguments, **options)

    return slow
