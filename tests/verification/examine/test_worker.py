"""Candidates in processes of their own: crashes and hangs are findings, and who examines changes nothing."""

import json
import multiprocessing
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from unittest.mock import Mock

import kernel_beside_a_slow_judge
import kernels_that_crash as kernels
import pytest
import torch
from paths import SUPPORT

import refconv
from refconv.cases import shrink
from refconv.cases.fitting import fitted
from refconv.cases.values import Values
from refconv.verification import prosecution, sections
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.candidate.loading import TargetError, load
from refconv.verification.examine import worker
from refconv.verification.examine.crew import Crew
from refconv.verification.examine.examination import Examination, Finding
from refconv.verification.examine.in_process import Here, Spec, examiner
from refconv.verification.examine.isolated import Isolated
from refconv.verification.examine.journal import Journal
from refconv.verification.replay import again
from refconv.verification.report.saved_failures import Saved

TARGET = "kernels_that_crash:conv2d"
PATIENCE = 300.0  # seconds that shrinking a crash may take here: a slow machine, too, is to get to the smallest case


@pytest.fixture(autouse=True)
def generated_only(monkeypatch):
    """A campaign without the fixed sections, nor the diagnosis of what fails: most of the time, and not looked at."""
    monkeypatch.setattr(sections, "FIXED", {})
    monkeypatch.setattr(prosecution.Prosecution, "_diagnosis", lambda *_: None)


def told(report):
    """All that a report says of the candidate, but for how long it took and who examined it."""
    failures = [
        (failure.property, failure.dtype, failure.recipe, failure.text.split("\n")[0]) for failure in report.failures
    ]
    results = [
        (result.section, result.dtype, result.n_cases, result.n_unsupported, result.max_ulp)
        for result in report.results
    ]
    return results, failures, report.coverage, report.interactions.pairs, dict(report.properties)


@pytest.mark.parametrize(
    ("candidate", "said", "holds"),
    [
        (kernels.segmentation_fault, "Segmentation fault", lambda g: g.stride[1] > 1),
        (kernels.aborts, "Abort", lambda g: g.groups > 1),
    ],
)
def test_a_crash_is_reported_and_shrunk(monkeypatch, candidate, said, holds):
    monkeypatch.setattr(shrink, "CRASH_SECONDS", PATIENCE)
    report = refconv.verify(candidate, cases=60)
    (failure,) = report.failures
    assert failure.property == "returns"
    assert said in failure.text
    assert "exit status -" in failure.text
    assert holds(failure.case.geometry)
    assert failure.case.input.size + failure.case.weight.size <= 6
    assert report.n_cases >= worker.MOST_CRASHES


def test_a_case_that_nobody_waits_for_is_not_blamed_on_another():
    """The next case is asked about before the answer to one is here, and may end the process."""
    strided, plain = fitted("conv2d", Values(stride_w=2)), fitted("conv2d", Values())
    worker = Isolated(Spec("kernels_that_crash:segmentation_fault", "numpy", "return", "conv2d"), 60.0)
    assert next(worker.examine_all([plain, strided])).findings == ()
    assert worker.call(plain).tobytes() == plain.case().expected().tobytes()
    first, second, third = worker.examine_all([plain, strided, plain])
    assert [bool(examination.findings) for examination in (first, second, third)] == [False, True, False]
    worker.close()


def test_a_lost_device_is_a_crash(monkeypatch):
    """The next case is put to another process; within one, all that is left to say is that it is lost."""
    strided, plain = fitted("conv2d", Values(stride_w=2)), fitted("conv2d", Values())
    worker = Isolated(Spec("kernels_that_crash:loses_its_device", "torch", "return", "conv2d"), 60.0)
    (finding,) = worker.examine(strided).findings
    assert (finding.property, finding.crash) == ("returns", True)
    assert "an illegal memory access" in finding.text
    assert worker.examine(plain).findings == ()
    worker.close()
    for name, owner in (("synchronize", torch.cpu), ("from_numpy", torch)):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # back to what they are at the end
    here = Here(examiner(Candidate(kernels.loses_its_device, "torch"), None))
    here.examine(strided)
    (finding,) = here.examine(plain).findings
    assert (finding.property, finding.crash) == ("returns", True)
    assert "the device can't be used any more: RuntimeError: an illegal" in finding.text


def test_an_endless_loop_is_reported_and_shrunk(monkeypatch):
    monkeypatch.setattr(shrink, "CRASH_SECONDS", PATIENCE)
    report = refconv.verify(kernels.never_returns, cases=20, time_limit=1, examples=False)
    (failure,) = report.failures
    assert failure.property == "returns"
    assert "did not return within" in failure.text
    assert failure.case.dilation[0] > 1
    assert failure.case.input.size + failure.case.weight.size <= 6


def test_time_that_is_not_the_candidates_does_not_count():
    report = refconv.verify(kernel_beside_a_slow_judge.conv2d, cases=2, time_limit=1.5, examples=False)
    assert report.ok, report.failures[0].text
    assert report.seconds > 2 * 2


def test_too_slow_is_not_endless():
    """A call that ends within three times the limit is slow; of the next one that does not, nothing is known."""
    worker = Isolated(Spec("kernels_that_crash:slow_if_dilated", "numpy", "return", "conv2d"), 1.0)
    plain, dilated = (fitted("conv2d", Values(dilation_h=dilation)) for dilation in (1, 2))
    assert worker.examine(plain).findings == ()
    (finding,) = worker.examine(dilated).findings
    assert finding.text.startswith("too slow: the call took longer than the 1 s that it may take (--time-limit)")
    worker.close()
    worker = Isolated(Spec("kernels_that_crash:never_returns", "numpy", "return", "conv2d"), 0.5)
    assert worker.examine(plain).findings == ()
    (finding,) = worker.examine(dilated).findings
    assert finding.text == "endless, it seems: it did not return within 1.5 s"
    worker.close()


def test_a_sound_candidate_passes_there_whatever_it_prints():
    report = refconv.verify(kernels.prints, cases=30)
    assert report.ok
    assert report.notes == ()


def test_what_a_candidate_remembers_is_no_wrong_value():
    report = refconv.verify(kernels.remembers_weights, cases=100)
    assert {failure.property for failure in report.failures} >= {"no stale state"}
    assert "values" not in {failure.property for failure in report.failures}


def test_the_same_cases_and_findings_whoever_examines():
    """In this process, in one of its own, in two of them, in an executor's."""
    options = {"cases": 120, "seed": 5}
    alone = told(refconv.verify(kernels.wrong_stride, isolate=False, **options))
    assert told(refconv.verify(kernels.wrong_stride, **options)) == alone
    assert told(refconv.verify(kernels.wrong_stride, jobs=2, **options)) == alone
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as executor:
        assert told(refconv.verify(kernels.wrong_stride, executor=executor, **options)) == alone
    assert alone[1]


def test_on_a_dask_cluster():
    """Two real workers, each a process, and the command line by their address."""
    distributed = pytest.importorskip("distributed")
    alone = told(refconv.verify(kernels.wrong_stride, isolate=False, cases=60))
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        with distributed.Client(cluster) as client, client.get_executor() as executor:
            report = refconv.verify(kernels.wrong_stride, executor=executor, cases=60)
            assert told(report) == alone
        done = subprocess.run(
            [sys.executable, "-m", "refconv", "verify", "refconv:conv2d_bias", "--op", "conv2d_bias",
             "--cases", "30", "--dask", cluster.scheduler_address],
            capture_output=True, text=True, cwd=SUPPORT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_lost_worker_loses_no_result(monkeypatch, tmp_path):
    monkeypatch.setenv("REFCONV_TEST_MARKER", str(tmp_path / "killed"))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        report = refconv.verify(kernels.kills_the_first_worker, executor=executor, cases=60)
    assert report.ok
    assert report.n_cases == 60
    assert any("was lost" in note for note in report.notes)


def test_a_campaign_is_resumed(tmp_path):
    path = tmp_path / "journal"
    options = {"cases": 100, "isolate": False, "resume": path}
    kernels.calls.clear()
    kernels.stops.add(60)
    with pytest.raises(KeyboardInterrupt):
        refconv.verify(kernels.counts, **options)
    lines = path.read_text().splitlines()
    assert 1 < len(lines) < 5
    path.write_text("\n".join(lines) + '\n["generated ca')  # it was stopped while it wrote
    kernels.stops.clear()
    kernels.calls.clear()
    resumed = refconv.verify(kernels.counts, **options)
    assert any(note.startswith("resumed: ") for note in resumed.notes)
    again = len(kernels.calls)
    kernels.calls.clear()
    assert told(resumed) == told(refconv.verify(kernels.counts, cases=100, isolate=False))
    assert again < len(kernels.calls)
    for other in ({"cases": 101}, {"arrays": "torch"}, {"seed": 1}):
        with pytest.raises(ValueError, match="is of another campaign"):
            refconv.verify(kernels.counts, **options | other)
    path.write_text(path.read_text() + "[1, 2]\n")
    with pytest.raises(ValueError, match=r"line .* can't be read"):
        refconv.verify(kernels.counts, **options)
    path.write_text("something else\n")
    with pytest.raises(ValueError, match="must be a file that a campaign wrote"):
        refconv.verify(kernels.counts, **options)
    with pytest.raises(ValueError, match="resume="):
        refconv.verify(lambda *_: None, **options)


def test_supports_may_be_a_function():
    for options in ({"isolate": False}, {"jobs": 2}):
        report = refconv.verify(kernels.conv2d, supports=kernels.depthwise_only, cases=30, **options)
        assert report.ok
        assert report.n_unsupported > report.coverage["batch 1"] / 2


def test_who_cannot_be_loaded_stays_here_and_the_report_says_so():

    def inside(*arguments):
        return refconv.conv2d(*arguments)

    report = refconv.verify(inside, cases=10)
    assert report.ok
    assert "examined in this process" in report.notes[0]
    with pytest.raises(ValueError, match="jobs=2"):
        refconv.verify(inside, cases=10, jobs=2)
    with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match="executor="):
        refconv.verify(inside, cases=10, executor=executor)


def test_a_worker_that_cannot_load_says_why():
    spec = Spec("kernels_that_crash:nothing", "numpy", "return", "conv2d")
    with pytest.raises(TargetError, match="has no nothing"):
        Isolated(spec, 1.0).start()


def test_seconds_instead_of_cases():
    start = time.monotonic()
    report = refconv.verify(kernels.conv2d, seconds=3, cases=5, isolate=False)
    assert report.ok
    assert report.n_cases > 5
    assert time.monotonic() - start < 30


def test_a_report_is_replayed(tmp_path):
    path = tmp_path / "failures.json"
    refconv.verify(kernels.wrong_stride, cases=100).to_json(path)
    assert json.loads(path.read_text())["results"][0]["failures"]

    def replay(target):
        return subprocess.run(
            [sys.executable, "-m", "refconv", "replay", str(path), target],
            capture_output=True, text=True, cwd=SUPPORT, check=False,
        )  # fmt: skip

    failing, sound = replay("kernels_that_crash:wrong_stride"), replay(TARGET)
    assert failing.returncode == 1, failing.stderr
    assert "FAILS: conv2d, float32, " in failing.stdout
    assert sound.returncode == 0, sound.stderr
    assert "passes: conv2d" in sound.stdout


@pytest.mark.parametrize(
    ("target", "property_", "verdict", "failed"),
    [
        (TARGET, "values", "passes", False),
        (TARGET, "every output written", "not tried, for there is no such thing about this candidate", False),
        ("kernels_that_crash:raises", "values", "FAILS, but in 'returns'", True),
    ],
)
def test_replay_passes_what_it_has_looked_at_only(target, property_, verdict, failed):
    recipe = fitted("conv2d", Values(batch=2, height=3))
    replayed = again(load(target), Saved("conv2d", "float32", property_, recipe, ""))
    assert (replayed.verdict, replayed.failed) == (verdict, failed)


def test_who_has_expected_crashes_gets_the_whole_chunk(tmp_path):
    """A worker gives a chunk up after five crashes: what it left is examined all the same, and kept."""
    crash = Examination(True, ("returns",), (Finding("returns", "it crashed", crash=True),))
    examines = Mock(examine_all=lambda chunk: (crash for _ in chunk))
    task = Mock(side_effect=lambda chunk: list(worker.until_crashed(examines, chunk)))
    numbers = list(range(40))
    with ThreadPoolExecutor(1) as executor, Journal(tmp_path / "journal", "these") as journal:
        crew = Crew(examines, executor, task)
        examined = list(crew.examine(iter(numbers), journal.of("section", 0)))
    assert [number for number, _ in examined] == numbers
    assert task.call_count == 2
    with Journal(tmp_path / "journal", "these") as journal:
        assert journal.notes == ["resumed: 40 cases had been examined before"]


def test_what_can_not_be_loaded_again_is_a_finding(tmp_path):
    """A kernel that loads once, a device that it holds for ever, say, is to blame for that; refconv is not."""
    path = tmp_path / "once.py"
    path.write_text(
        "import os, pathlib, refconv\n"
        "pathlib.Path(__file__).with_suffix('.taken').touch(exist_ok=False)\n"
        "def conv2d(x, w, b, stride, *others):\n"
        "    return os._exit(3) if stride[0] > 1 else refconv.conv2d(x, w, b, stride, *others)\n"
    )
    isolated = Isolated(Spec(f"{path}:conv2d", "numpy", "return", "conv2d"), 20.0)
    try:
        isolated.start()
        sound, ends = fitted("conv2d", Values()), fitted("conv2d", Values(stride_h=2, height=3))
        assert not isolated.examine(sound).findings
        assert "it ended its process" in isolated.examine(ends).findings[0].text
        (finding,) = isolated.examine(sound).findings
        assert finding.text.startswith("a new process can't load it any more: importing")
    finally:
        isolated.close()
