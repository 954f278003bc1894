"""`refconv bench`: what it computes from times, that all sides are treated alike, and what it refuses."""

import json
import math
from itertools import repeat

import numpy as np
import pytest
import torch
from cases import DENSE, DEPTHWISE, PAIRS
from hypothesis import given
from hypothesis import strategies as st
from paths import ROOT
from rich.console import Console
from typer.testing import CliRunner

import refconv
from refconv import GeometryError
from refconv.cases import networks
from refconv.cases.networks import Layer
from refconv.cli import app, bench, peers, timing
from refconv.cli.bench import SETTINGS, Row, Setting, compare, means, settings, sound
from refconv.engine.targets.cpu import threads
from refconv.verification.candidate.candidate import Candidate

GOOD = f"{ROOT}/examples/im2col_kernel.py:conv2d"
SMALL = (DENSE, DEPTHWISE)


def measured(ratio, network="small", **options):
    """A row as if it had been measured."""
    return Row(Layer(network, "layer", (1, 1, 1, 1), (1, 1, 1, 1), **PAIRS, groups=1), 7, 1e-3, ratio * 1e-3, **options)


def timed(function, arrays="numpy", **options):
    """The row of a candidate on a small layer."""
    (row,) = compare([DENSE], seconds=0.0, candidate=Candidate(function, arrays, ""), **options)
    return row


def text_of(table):
    """What a table looks like, plain."""
    console = Console(width=160)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


# Times


class Clock:
    """A clock that calls advance, and a record of who was called."""

    def __init__(self):
        self.now, self.calls = 0.0, []

    def call(self, name, durations):
        durations = iter(durations)

        def take():
            self.calls.append(name)
            self.now += next(durations)

        return take


def test_calls_take_turns_after_a_warm_up_that_does_not_count():
    clock = Clock()
    ours, theirs = [100, 9, 1, 5, 3, 7, 2, 8], [50, 1, 1, 1, 2, 1, 1, 1]
    medians, rounds = timing.in_turns(
        clock.call("ours", ours), [clock.call("theirs", theirs)], seconds=0.0, clock=lambda: clock.now
    )
    assert (medians, rounds) == ([5, 1], 7)
    assert clock.calls == ["ours", "theirs"] * 8


@given(seconds=st.integers(0, 200), ours=st.integers(1, 9), peers=st.lists(st.integers(1, 9), min_size=1, max_size=2))
def test_ours_goes_before_each_peer_and_rounds_fill_the_time(seconds, ours, peers):
    clock = Clock()
    calls = [clock.call(name, repeat(duration)) for name, duration in enumerate([ours, *peers])]
    medians, rounds = timing.in_turns(calls[0], calls[1:], seconds, clock=lambda: clock.now)
    assert medians == [ours, *peers]
    assert rounds == max(timing.LEAST_ROUNDS, math.ceil(seconds / sum(ours + peer for peer in peers)))
    warm_up, turns = [0, 1, 2][: len(calls)], [0, 1, 0, 2][: 2 * len(peers)]
    assert clock.calls == warm_up + turns * rounds


def test_after_a_rest_ours_is_called_untimed_first(monkeypatch):
    """Busy threads of the last peer have come to rest, and ours are awake again, when ours is timed."""
    clock = Clock()
    rest = clock.call("rest", repeat(1000))
    monkeypatch.setattr(timing.time, "sleep", lambda _: rest())
    ours, peers = clock.call("ours", repeat(1)), [clock.call("torch", repeat(2)), clock.call("kernel", repeat(3))]
    medians, rounds = timing.in_turns(ours, peers, 0.0, rest=0.5, clock=lambda: clock.now)
    assert (medians, rounds) == ([1, 2, 3], timing.LEAST_ROUNDS)
    turns = ["rest", "ours", "ours", "torch", "ours", "kernel"]
    assert clock.calls == ["ours", "torch", "kernel"] + turns * rounds


@pytest.mark.parametrize("with_candidate", [False, True])
def test_only_a_candidate_is_followed_by_a_rest(monkeypatch, with_candidate):
    rests = []
    monkeypatch.setattr(timing.time, "sleep", rests.append)
    candidate = Candidate(refconv.conv2d) if with_candidate else None
    compare([DENSE], seconds=0.0, candidate=candidate)
    assert rests == [timing.REST] * timing.LEAST_ROUNDS * with_candidate


# Ratios


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(1e-3, 1e3)), min_size=1))
def test_means_are_geometric_and_weigh_layers_alike(pairs):
    averages = means([measured(ratio, network) for network, ratio in pairs])
    assert [*averages] == [*dict.fromkeys(network for network, _ in pairs), bench.ALL]
    logarithm = math.fsum(math.log(averages[network]) for network, _ in pairs)
    assert math.log(averages[bench.ALL]) * len(pairs) == pytest.approx(logarithm)
    logarithms = [math.log(ratio) for network, ratio in pairs if network == pairs[0][0]]
    assert math.log(averages[pairs[0][0]]) == pytest.approx(math.fsum(logarithms) / len(logarithms))


def test_above_one_is_faster():
    row = measured(2.0, candidate=4e-3, verdict="identical")
    assert row.ratio() == pytest.approx(2)
    assert row.candidate_ratio() == pytest.approx(4)


def test_wrong_candidates_have_no_ratio():
    rows = [
        measured(1.0, candidate=4e-3, verdict="identical"),
        measured(1.0, candidate=1e-9, verdict="wrong: values", fault="all of them"),
        measured(1.0, "other", verdict="unsupported"),
    ]
    assert means(rows, Row.candidate_ratio) == pytest.approx({"small": 4, bench.ALL: 4})
    assert means(rows[1:], Row.candidate_ratio) == {}


@pytest.mark.parametrize(
    ("verdicts", "faults", "expected"),
    [
        (["", ""], ["", ""], True),
        (["identical", "within bound"], ["", ""], True),
        (["identical", "unsupported"], ["", ""], True),
        (["unsupported", "unsupported"], ["", ""], False),
        (["identical", "wrong: values"], ["", "why"], False),
    ],
)
def test_sound(verdicts, faults, expected):
    rows = [measured(1.0, verdict=verdict, fault=fault) for verdict, fault in zip(verdicts, faults, strict=True)]
    assert sound(rows) is expected


# Comparisons


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_a_comparison(setting):
    done = []
    rows = compare(
        SMALL, setting.dtype, setting.precision, seconds=0.0, progress=lambda *arguments: done.append(arguments)
    )
    assert [row.layer for row in rows] == list(SMALL)
    assert done == [(str(setting), 1, 2), (str(setting), 2, 2)]
    for row in rows:
        assert row.rounds == timing.LEAST_ROUNDS
        assert min(row.refconv, row.peer) > 0
        assert (row.candidate, row.verdict, row.fault) == (None, "", "")


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("layer", SMALL, ids=str)
def test_torch_computes_the_same_in_the_accumulator(layer, setting):
    case = layer.case(setting.dtype)
    result = peers.torch_call(case, setting.precision)()
    assert case.check(result).ok
    if setting.precision == "float64":
        wide = layer.case("float64")
        arrays = [torch.tensor(array.astype("float64")) for array in (case.input, case.weight)]
        exact = torch.nn.functional.conv2d(*arrays, None, *wide.arguments()[3:])
        assert torch.equal(result, exact.to(result.dtype))


@pytest.mark.parametrize("n_threads", [None, 1])
def test_both_sides_use_the_same_number_of_threads(n_threads):
    seen = set()

    def candidate(*arguments):
        seen.add((threads.count(), torch.get_num_threads()))
        return refconv.conv2d(*arguments)

    ours, theirs = threads.count(), torch.get_num_threads()
    try:
        torch.set_num_threads(ours + 1)
        timed(candidate, n_threads=n_threads)
        assert (threads.count(), torch.get_num_threads()) == (ours, ours + 1)
    finally:
        torch.set_num_threads(theirs)
    assert seen == {(n_threads or ours,) * 2}


def test_threads_are_as_before_after_an_error():
    ours, theirs = threads.count(), torch.get_num_threads()

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare([DENSE], seconds=0.0, n_threads=1, progress=stop)
    assert (threads.count(), torch.get_num_threads()) == (ours, theirs)


@pytest.mark.parametrize(
    ("function", "arrays"),
    [(refconv.conv2d, "numpy"), (refconv.conv2d, "torch"), (torch.conv2d, "torch")],
    ids=["NumPy", "tensors", "torch"],
)
def test_a_sound_candidate(function, arrays):
    row = timed(function, arrays)
    assert row.verdict in ("identical", "within bound")
    assert row.candidate_ratio() > 0
    assert sound([row])


def test_a_wrong_candidate_is_timed_and_marked():
    row = timed(lambda *arguments: refconv.conv2d(*arguments) + np.float32(1))
    assert row.verdict == "wrong: values"
    assert "outside the error bound" in row.fault
    assert row.candidate > 0
    assert row.candidate_ratio() is None
    assert "wrong: values" in text_of(bench.table([row], SETTINGS[0]))


def test_a_candidate_that_raises_has_no_time():
    row = timed(lambda *_: 1 // 0)
    assert (row.candidate, row.verdict) == (None, "wrong: returns")
    assert "ZeroDivisionError" in row.fault


def test_a_candidate_that_raises_while_it_is_timed():
    """It was right when it was judged: what was measured of the others is kept."""
    calls = []

    def tired(*arguments):
        calls.append(arguments)
        return refconv.conv2d(*arguments) if len(calls) < 4 else 1 // 0

    row = timed(tired)
    assert (row.candidate, row.verdict) == (None, "wrong: returns")
    assert "ZeroDivisionError" in row.fault
    assert min(row.refconv, row.peer) > 0


def test_a_candidate_may_leave_layers_out():
    def dense(input, weight, bias, stride, padding, dilation, groups):
        if groups > 1:
            raise NotImplementedError
        return refconv.conv2d(input, weight, bias, stride, padding, dilation, groups)

    rows = compare(SMALL, seconds=0.0, candidate=Candidate(dense, "numpy", ""))
    assert [row.verdict for row in rows] == ["identical", "unsupported"]
    assert [row.candidate is None for row in rows] == [False, True]
    assert sound(rows)
    assert not sound(rows[1:])


# What it refuses


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dtype": "int8"}, GeometryError, "dtype='int8': must be one of 'float32', 'float64'"),
        ({"precision": "float16"}, GeometryError, "precision='float16': must be one of"),
        ({"dtype": "float64", "precision": "float32"}, TypeError, "precision='float32': must be at least as wide"),
        ({"against": "tensorflow"}, GeometryError, "against='tensorflow': must be one of 'torch', 'onnxruntime'"),
        ({"against": "onnxruntime"}, ValueError, "against='onnxruntime': computes float32 only, with float32 sums"),
        (
            {"against": "onnxruntime", "dtype": "float64", "precision": "float64"},
            ValueError,
            "must be torch for float64",
        ),
        ({"n_threads": 0}, ValueError, "n_threads=0: must be from 1 to"),
        ({"n_threads": 10_000}, ValueError, "n_threads=10000: must be from 1 to"),
    ],
)
def test_wrong_arguments(options, error, message):
    with pytest.raises(error, match=message):
        compare([DENSE], seconds=0.0, **options)


def test_unknown_networks_are_refused_with_the_known_ones():
    with pytest.raises(GeometryError, match=r"network='vgg': must be one of 'resnet50', .*'vgg16'"):
        networks.layers("vgg")


def test_torch_is_needed(monkeypatch):
    monkeypatch.setattr(bench, "find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'refconv\[bench\]'"):
        compare([DENSE])


def test_settings():
    assert settings() == SETTINGS
    assert settings(["float64"], "exact") == (Setting("float64", "exact"),)
    assert settings(["float64"]) == (Setting("float64", "float64"),)
    assert settings(["float32"], "float64") == (Setting("float32", "float64"),)
    assert settings([], "float64") == (Setting("float64", "float64"), Setting("float32", "float64"))
    with pytest.raises(ValueError, match="precision='float32': must be at least as wide as dtype float64"):
        settings(["float64"], "float32")
    with pytest.raises(GeometryError, match="dtype='int8'"):
        settings(["int8"])


# The commands


@pytest.fixture
def small_networks(monkeypatch):
    """Networks that take no time."""
    monkeypatch.setattr(networks, "_layers", lambda: SMALL)
    monkeypatch.setattr(bench, "NETWORKS", ("small", "other"))


def call(*arguments):
    """Run a command in this process."""
    return CliRunner().invoke(app.app, arguments, prog_name="refconv")


@pytest.mark.usefixtures("small_networks")
def test_the_command_prints_all_three_figures(tmp_path):
    path = tmp_path / "times.json"
    done = call("bench", "--seconds", "0", "--json", str(path))
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert sum("4x6x6 -> 8, 3x3" in line for line in lines) == 3
    (last,) = [line.split() for line in lines if line.split()[:2] == ["all", "layers"]]
    assert len(last) == 2 + 3
    assert "\x1b" not in done.stdout
    assert "float32 with float64 sums: 2 of 2" in done.stderr
    content = json.loads(path.read_text())
    assert content["environment"]["refconv"] == refconv.__version__
    assert [(comparison["dtype"], comparison["precision"]) for comparison in content["comparisons"]] == [
        (setting.dtype, setting.precision) for setting in SETTINGS
    ]
    for comparison, figure in zip(content["comparisons"], last[2:], strict=True):
        assert [row["layer"]["name"] for row in comparison["rows"]] == ["dense", "depthwise"]
        assert f"{comparison['geometric_means'][bench.ALL]:.2f}" == figure


@pytest.mark.usefixtures("small_networks")
def test_the_command_with_a_candidate():
    done = call("bench", GOOD, "--seconds", "0", "--network", "small", "--precision", "float32")
    assert done.exit_code == 0
    assert "candidate/refconv" in done.stdout
    assert "depthwise" not in done.stdout
    assert "float64" not in done.stdout


@pytest.mark.usefixtures("small_networks")
def test_the_command_with_a_wrong_candidate(tmp_path):
    path = tmp_path / "kernel.py"
    path.write_text("import refconv\n\ndef conv2d(*arguments):\n    return -refconv.conv2d(*arguments)\n")
    done = call("bench", f"{path}:conv2d", "--seconds", "0", "--network", "other")
    assert done.exit_code == 1
    for setting in ("float32", "float32 with float64 sums"):
        assert f"FAILED other depthwise, {setting}: wrong: values\n" in done.stdout
    assert done.stdout.endswith("kernel.py:conv2d: FAILED\n")


@pytest.mark.usefixtures("small_networks")
def test_the_command_with_a_candidate_that_does_nothing(tmp_path):
    path = tmp_path / "kernel.py"
    path.write_text("def conv2d(*_):\n    raise NotImplementedError\n")
    done = call("bench", f"{path}:conv2d", "--seconds", "0")
    assert done.exit_code == 1
    assert "FAILED every layer, float32: unsupported" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--network", "vgg"], "network='vgg': must be one of 'resnet50', 'resnext50_32x4d', 'vgg16'"),
        (["--dtype", "int8"], "dtype='int8': must be one of 'float32', 'float64'"),
        (["--dtype", "float64", "--precision", "float32"], "must be at least as wide"),
        (["--against", "scipy"], "against='scipy': must be one of 'torch', 'onnxruntime'"),
        (["--against", "onnxruntime", "--dtype", "float64"], "must be"),
        (["--threads", "0"], "n_threads=0: must be from 1 to"),
        (["--seconds", "-1"], "--seconds"),
        (["--json", "no/such/folder/times.json"], "no folder"),
        (["nowhere:conv2d"], "no module 'nowhere': install it"),
    ],
)
def test_wrong_usage(arguments, message):
    done = call("bench", *arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert not done.stdout
