"""`refconv dashboard`: what asv has measured, on a page; on results that asv itself wrote, of a suite made here."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from refconv.cli import dashboard
from refconv.cli.app import app

pytest.importorskip("asv", reason="asv is not installed")

CONFIGURATION = {
    "version": 1,
    "project": "kernel",
    "repo": "..",
    "branches": ["HEAD"],
    "dvcs": "git",
    "environment_type": "virtualenv",
    "benchmark_dir": "benchmarks",
    "results_dir": "results",
    "html_dir": "html",
    "regressions_thresholds": {".*": 0.2},
}
BENCHMARKS = """
import json, os

STATE = json.loads(os.environ["STATE"])


class Kernel:
    params = (["small", "large"], [1, 2])
    param_names = ("size", "count")
    unit = "torch's times"

    def setup(self, size, count):
        if (size, count) == ("large", 2):
            raise NotImplementedError("refused")

    def track_time(self, size, count):
        return STATE["time"] * count if size == "small" else 7.0


def track_error():
    if STATE["fails"]:
        raise RuntimeError("it failed")
    return 0.5


track_error.unit = "of the error bound"
"""
# What is measured at each commit, the oldest first.
STATES = [
    {"time": 1.0, "fails": False},
    {"time": 1.1, "fails": True},
    {"time": 1.0, "fails": True},
    {"time": 3.0, "fails": False},
]


def run(*command, folder, **environment):
    """The output of a command that may fail."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={**ENVIRONMENT, **environment}
    )
    return done.stdout.strip()


ENVIRONMENT = {
    "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
    **{f"GIT_{who}_{what}": "somebody" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """The folder of a suite that asv has run on four commits and published; and the commits."""
    repository = tmp_path_factory.mktemp("repository")
    folder = repository / "suite"
    (folder / "benchmarks").mkdir(parents=True)
    (folder / "asv.conf.json").write_text(json.dumps(CONFIGURATION))
    (folder / "benchmarks" / "__init__.py").write_text(BENCHMARKS)
    home = {"HOME": str(repository)}
    run("git", "init", "--quiet", folder=repository)
    run("git", "add", ".", folder=repository)
    run("asv", "machine", "--yes", folder=folder, **home)
    commits = []
    for number, state in enumerate(STATES):
        run("git", "commit", "--allow-empty", "-m", f"Step <{number}>", folder=repository)
        commits.append(run("git", "rev-parse", "HEAD", folder=repository))
        where = ("-E", f"existing:{sys.executable}", "--set-commit-hash", commits[-1])
        run("asv", "run", *where, folder=folder, STATE=json.dumps(state), **home)
    _not_built(folder, commits[2])
    run("asv", "publish", folder=folder, **home)
    return folder, commits


def _not_built(folder, commit):
    """Make the results of a commit what asv writes if it can't build the commit: no value, and no duration."""
    (path,) = folder.glob(f"results/*/{commit[:8]}-*.json")
    results = json.loads(path.read_text())
    results["results"] = {name: [None, *row[1:4]] for name, row in results["results"].items()}
    path.write_text(json.dumps(results))


@pytest.fixture(scope="module")
def content(suite):
    return dashboard.collect(suite[0])


def test_every_figure_of_every_commit_is_collected(suite, content):
    assert [commit["hash"] for commit in content["commits"]] == suite[1]
    assert [commit["subject"] for commit in content["commits"]] == [f"Step <{number}>" for number in range(4)]
    assert [commit["built"] for commit in content["commits"]] == [True, True, False, True]
    (machine,) = content["machines"]
    figures = {(figure["benchmark"], *figure["parameters"].values()): figure for figure in machine["figures"]}
    times = {key[1:]: figure["values"] for key, figure in figures.items() if key[0] == "Kernel.track_time"}
    assert times == {
        ("small", "1"): [1.0, 1.1, "failed", 3.0],
        ("small", "2"): [2.0, 2.2, "failed", 6.0],
        ("large", "1"): [7.0, 7.0, "failed", 7.0],
        ("large", "2"): ["skipped", "skipped", "failed", "skipped"],
    }
    assert figures["track_error",]["values"] == [0.5, "failed", "failed", 0.5]
    assert figures["Kernel.track_time", "small", "1"]["unit"] == "torch's times"


def test_troubles_are_one_line_each(suite, content):
    _, (_, second, third, fourth) = (suite[0], [commit[:8] for commit in suite[1]])
    assert sorted(dashboard.troubles(content)) == [
        f"failed: track_error at {second}",
        f"not built: {third}",
        f"slower or larger: Kernel.track_time('small', 1), from 1.1 torch's times to 3 torch's times at {fourth}",
        f"slower or larger: Kernel.track_time('small', 2), from 2.2 torch's times to 6 torch's times at {fourth}",
    ]


def test_command_writes_page_and_json_and_says_the_troubles(suite, content, tmp_path):
    answer = CliRunner().invoke(app, ["dashboard", str(suite[0]), "--json", str(tmp_path / "summary.json")])
    assert answer.exit_code == 0, answer.output
    *troubles, last = answer.output.splitlines()
    assert troubles == dashboard.troubles(content)
    assert "html/summary.html" in last
    assert "no network" in last
    assert json.loads((tmp_path / "summary.json").read_text()) == content
    page = (suite[0] / "html" / "summary.html").read_text()
    assert page == dashboard.page(content)


def test_page_needs_nothing_but_itself(content):
    page = dashboard.page(content)
    assert not re.search(r"https?:|<script|<link|@import|url\(", page)
    assert "Step &lt;0&gt;" in page
    assert page.count('<tr class="bad">') == 2
    assert "<html" not in dashboard.page(content, whole=False)


def test_page_without_troubles_says_so(content):
    machine = content["machines"][0]
    figures = [figure for figure in machine["figures"] if figure["parameters"].get("size") == "large"]
    sound = {**content, "machines": [{**machine, "figures": figures, "regressions": []}]}
    sound["commits"] = [{**commit, "built": True} for commit in content["commits"]]
    sound["machines"][0]["figures"] = [{**figure, "values": [1.0] * 4} for figure in figures]
    assert "nothing failed" in dashboard.page(sound)
    assert not dashboard.troubles(sound)


def test_a_benchmark_that_has_changed_is_not_compared_with_its_past(suite, tmp_path):
    """asv gives a benchmark a new version when its code changes; figures of another version are left out."""
    folder, commits = suite
    copy = tmp_path / "suite"
    for path in ("asv.conf.json", "html/index.json", "html/regressions.json"):
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        (copy / path).write_bytes((folder / path).read_bytes())
    for path in folder.glob("results/*/*-*.json"):
        results = json.loads(path.read_text())
        if results["commit_hash"] == commits[0]:
            results["results"]["track_error"][2] = "another version"
        (copy / "results" / path.parent.name).mkdir(parents=True, exist_ok=True)
        (copy / "results" / path.parent.name / path.name).write_text(json.dumps(results))
    (machine,) = dashboard.collect(copy)["machines"]
    (figure,) = [figure for figure in machine["figures"] if figure["benchmark"] == "track_error"]
    assert figure["values"] == [None, "failed", "failed", 0.5]


@given(
    level=st.floats(1e-3, 1e3),
    noise=st.lists(st.floats(0.96, 1.04), min_size=2, max_size=6),
    step=st.floats(1.4, 10),
    data=st.data(),
)
def test_what_rises_and_stays_is_flagged_once_and_noise_is_not(level, noise, step, data):
    """With a threshold of 0.2: a rise by 40 % at least stands out of noise of 4 %, however few commits there are."""
    position = data.draw(st.integers(1, len(noise) - 1))
    values = [level * factor for factor in noise]
    assert jumps(values) == []
    risen = [*values[:position], *(step * value for value in values[position:])]
    before = max(risen[max(0, position - 2) : position])
    assert jumps(risen) == [(f"commit {position}", before, risen[position])]
    assert jumps([*risen, level]) == []  # won back
    assert jumps([*values, level / step, level, level]) == []  # one lucky value makes no regression of the next
    assert jumps([value for before in risen for value in (before, None)])[0][1:] == jumps(risen)[0][1:]


def jumps(values):
    figure = {"name": "kernel.track_time('small')", "unit": "s", "values": values}
    hashes = [f"commit {number}" for number in range(len(values))]
    thresholds = {r"kernel.*'small'": 0.2, ".*": 0.1, "other": 9.0}
    flagged = dashboard._jumps([figure], hashes, thresholds)
    return [(jump["commit"], jump["before"], jump["after"]) for jump in flagged]


def test_commits_of_another_branch_are_left_out(suite, content):
    """They are in the results, and asv's list of revisions has them; but the line of HEAD does not pass them."""
    folder, commits = suite
    run("git", "checkout", "--quiet", "-b", "other", commits[1], folder=folder)
    try:
        assert [commit["hash"] for commit in dashboard.collect(folder)["commits"]] == commits[:2]
    finally:
        run("git", "checkout", "--quiet", "-", folder=folder)
    assert dashboard.collect(folder) == content


def test_results_that_are_not_published_are_refused(suite, tmp_path):
    copy = tmp_path / "suite"
    shutil.copytree(suite[0], copy)
    index = json.loads((copy / "html" / "index.json").read_text())
    (number,) = (number for number, hash_ in index["revision_to_hash"].items() if hash_ == suite[1][-1])
    del index["revision_to_hash"][number]
    (copy / "html" / "index.json").write_text(json.dumps(index))
    with pytest.raises(dashboard.NotPublished, match=f"{suite[1][-1][:8]} was measured after"):
        dashboard.collect(copy)


def test_pages_lie_where_the_configuration_says(suite, tmp_path):
    copy = tmp_path / "suite"
    shutil.copytree(suite[0], copy)
    (copy / "html").rename(copy / "pages")
    (copy / "asv.conf.json").write_text(json.dumps({**CONFIGURATION, "html_dir": "pages"}))
    assert CliRunner().invoke(app, ["dashboard", str(copy)]).exit_code == 0
    assert (copy / "pages" / "summary.html").is_file()


@pytest.mark.parametrize("text", [None, json.dumps(CONFIGURATION), "{", "[]"])
def test_a_folder_without_published_results_is_refused(tmp_path, text):
    if text is not None:
        (tmp_path / "asv.conf.json").write_text(text)
    answer = CliRunner().invoke(app, ["dashboard", str(tmp_path)])
    assert answer.exit_code == 2
    assert str(tmp_path) in re.sub(r"[\s│]+", "", answer.output)
