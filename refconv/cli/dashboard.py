"""Dashboard: what an asv suite has measured from commit to commit, on one page that needs neither scripts nor network.

`collect` reads what `asv run` and `asv publish` have left in a suite's folder, `page` draws it. Knows asv's files, and
for the page jinja2; nothing of what was measured.
"""

import itertools
import json
import math
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from refconv.core.optional import optional_module

FAILED, SKIPPED = "failed", "skipped"  # in the place of a number; None: not measured
SCALES = {"bytes": ((2**30, "GiB"), (2**20, "MiB"), (1, "B")), "seconds": ((1, "s"), (1e-3, "ms"), (1e-6, "µs"))}
WIDTH, HEIGHT, MARGIN = 120, 24, 3  # of a line of values, in pixels

Value = float | str | None


class NotPublished(Exception):
    """A folder without published results of an asv suite: the message says what to run."""


def collect(folder: Path) -> dict[str, Any]:
    """All that has been measured and published, as JSON has it.

    Parameters
    ----------
    folder : Path
        Of a suite: where its asv.conf.json lies.

    Returns
    -------
    dict
        `project`; `commits`, the oldest first, each with `hash`, `subject`, `date` in ms since 1970, and whether it was
        `built`;
        `machines`, each with asv's description and its `figures`: `name`, as asv has it, `benchmark`, `parameters`,
        `unit`, a value for each commit (None where nothing was measured, "failed" or "skipped"); `regressions`, those
        that asv flagged, and rises beyond asv's thresholds above both commits before.

    Raises
    ------
    ModuleNotFoundError
        If asv is not installed.
    NotPublished
        If there is no suite, or its results are not published.
    """
    configuration = _configuration(folder)
    try:
        index = _json(published(folder) / "index.json")
        flagged = _json(published(folder) / "regressions.json")["regressions"]
    except FileNotFoundError as error:
        raise NotPublished(f"no {error.filename}: run `asv run` and `asv publish` in {folder} first") from None
    results = _results(folder / configuration.results_dir)
    measured = set(itertools.chain.from_iterable(results.values()))
    revisions = sorted((int(revision), hash_) for revision, hash_ in index["revision_to_hash"].items())
    late = sorted(measured - {hash_ for _, hash_ in revisions})
    if late:
        raise NotPublished(f"{late[0][:8]} was measured after `asv publish`: run that in {folder} again")
    subjects = _subjects(folder / configuration.repo, configuration.branches)
    hashes = [hash_ for _, hash_ in revisions if hash_ in measured and (subjects is None or hash_ in subjects)]
    machines = []
    for (machine, _), by_commit in results.items():
        figures = list(_figures(index["benchmarks"], [by_commit.get(hash_) for hash_ in hashes]))
        about = next(iter(by_commit.values()))["machine"]
        place = {f"machine-{machine}", f"python-{about['python']}"}
        by_asv = _regressions(flagged, place, index["revision_to_hash"], figures)
        jumps = _jumps(figures, hashes, configuration.regressions_thresholds)
        unique = {(jump["name"], jump["commit"]): jump for jump in (*by_asv, *jumps) if jump["commit"] in hashes}
        machines.append({**about, "figures": figures, "regressions": [*unique.values()]})
    return {
        "project": index["project"],
        "commits": [
            _commit(hash_, subjects, [by_commit[hash_] for by_commit in results.values() if hash_ in by_commit])
            for hash_ in hashes
        ],
        "machines": machines,
    }


def published(folder: Path) -> Path:
    """Where a suite's pages are: `html_dir` of its asv.conf.json.

    Raises
    ------
    ModuleNotFoundError, NotPublished
        As by `collect`.
    """
    return folder / str(_configuration(folder).html_dir)


def page(content: Mapping[str, Any], *, whole: bool = True) -> str:
    """The HTML of what `collect` returns, regressions and failures first.

    Parameters
    ----------
    content
        What `collect` returned, or JSON made from it.
    whole
        Whether to write a whole page; else what belongs into another page's body.

    Raises
    ------
    ModuleNotFoundError
        If jinja2 is not installed.
    """
    jinja2 = optional_module("jinja2", "a dashboard")
    jinja = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    jinja.filters |= {
        "value": text_of,
        "line": line,
        "change": change,
        "day": _day,
        "groups": _groups,
        "latest": _latest,
    }
    template = jinja.from_string(
        resources.files(__package__).joinpath("templates", "dashboard.html.jinja").read_text("utf-8")
    )
    html: str = template.render(content=content, whole=whole, troubles=troubles(content), width=WIDTH, height=HEIGHT)
    return html


def troubles(content: Mapping[str, Any]) -> list[str]:
    """A line for each regression, commit that was not built, and benchmark that failed on one that was.

    Examples
    --------
    >>> figure = {"name": "kernel.time", "unit": "s", "values": [1.0, "failed"]}
    >>> commits = [{"hash": 40 * digit, "built": True} for digit in "01"]
    >>> troubles({"commits": commits, "machines": [{"figures": [figure], "regressions": []}]})
    ['failed: kernel.time at 11111111']
    """
    lines = []
    for machine in content["machines"]:
        for regression in machine["regressions"]:
            before, after = (text_of(regression[side], regression["unit"]) for side in ("before", "after"))
            where = f"{regression['commit'][:8]}" + f" on {machine['machine']}" * (len(content["machines"]) > 1)
            lines.append(f"slower or larger: {regression['name']}, from {before} to {after} at {where}")
    lines += [f"not built: {_short(commit)}" for commit in content["commits"] if not commit["built"]]
    for figure in itertools.chain.from_iterable(machine["figures"] for machine in content["machines"]):
        pairs = zip(content["commits"], figure["values"], strict=True)
        commits = [_short(commit) for commit, value in pairs if value == FAILED and commit["built"]]
        if commits:
            lines.append(f"failed: {figure['name']} at {', '.join(commits)}")
    return lines


def text_of(value: Value, unit: str) -> str:
    """A value with its unit, in three digits.

    >>> text_of(0.00123, "seconds"), text_of(0.9997, "seconds"), text_of("failed", "s"), text_of(1.25, "torch's times")
    ('1.23 ms', '1 s', 'failed', "1.25 torch's times")
    """
    if value is None or isinstance(value, str):
        return value or ""
    rounded = float(f"{value:.3g}")
    for size, name in SCALES.get(unit, ()):
        if rounded >= size:
            return f"{_digits(value / size)} {name}"
    return f"{_digits(value)} {unit}".rstrip()


def _digits(value: float) -> str:
    """Three digits, or all that stand before the point."""
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


def change(values: Sequence[Value]) -> str:
    """How much the last value differs from the number before, in per cent of that one; empty where one is missing.

    >>> change([2.0, None, 3.0]), change([1.0]), change([0.0, 0.0]), change([1.0, 2.0, "failed"])
    ('+50%', '', '', '')
    """
    numbers = [value for value in values if isinstance(value, float)]
    if len(numbers) < 2 or not numbers[-2] or not isinstance(values[-1], float):
        return ""
    return f"{round(100 * (numbers[-1] / numbers[-2] - 1)):+}%".replace("+0%", "0%")


def line(values: Sequence[Value]) -> list[tuple[float, float]]:
    """Pixels of a line through the numbers, from the left; its height goes from zero to the largest number."""
    most = max((value for value in values if isinstance(value, float)), default=0.0) or 1.0
    step = (WIDTH - 2 * MARGIN) / max(1, len(values) - 1)
    return [
        (round(MARGIN + step * position, 1), round(HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * max(0, value) / most, 1))
        for position, value in enumerate(values)
        if isinstance(value, float)
    ]


def _configuration(folder: Path) -> Any:
    config = optional_module("asv.config", "a dashboard")
    path = folder / "asv.conf.json"
    if not path.is_file():
        raise NotPublished(f"no {path}: must be the folder of an asv suite")
    try:
        return config.Config.load(str(path))
    except (ValueError, optional_module("asv.util", "a dashboard").UserError) as error:
        raise NotPublished(f"{path}: must be a configuration of asv: {error}") from None


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _results(folder: Path) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
    """Results by machine and environment, then by commit."""
    results: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for path in sorted(folder.glob("*/*-*.json")):
        result = _json(path)
        key = result["params"]["machine"], result["env_name"]
        results.setdefault(key, {})[result["commit_hash"]] = {
            "machine": {**result["params"], "python": result["python"]},
            "date": result["date"],
            # asv leaves out columns at the end of a row that hold nothing.
            "results": {
                name: dict(zip(result["result_columns"], row, strict=False)) for name, row in result["results"].items()
            },
        }
    return results


def _built(result: Mapping[str, Any]) -> bool:
    """Whether anything was run: asv notes no duration for the benchmarks of a commit that it could not build."""
    return any("duration" in row for row in result["results"].values())


def _figures(benchmarks: Mapping[str, Any], results: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """A figure for each benchmark and combination of parameters that was measured, in the order of the names."""
    for name, benchmark in sorted(benchmarks.items()):
        rows = [result and result["results"].get(name) for result in results]
        for combination in itertools.product(*benchmark["params"]):
            values = [
                _value(row, combination) if row and row["version"] == benchmark["version"] else None for row in rows
            ]
            if any(value is not None for value in values):
                yield {
                    "name": f"{name}({', '.join(combination)})" if combination else name,  # as asv has it
                    "benchmark": name,
                    "parameters": _parameters(benchmark, combination),
                    "unit": benchmark["unit"],
                    "values": values,
                }


def _parameters(benchmark: Mapping[str, Any], combination: Sequence[str]) -> dict[str, str]:
    """The parameters' values by their names; asv has them as Python writes them, texts in quotes."""
    return dict(zip(benchmark["param_names"], (value.strip("'") for value in combination), strict=True))


def _value(row: Mapping[str, Any], combination: Sequence[str]) -> Value:
    """What was measured for a combination of parameters: a commit may have been measured with fewer of them."""
    if row["result"] is None:
        return FAILED
    value = dict(zip(itertools.product(*row["params"]), row["result"], strict=True)).get(tuple(combination), SKIPPED)
    if value is None:
        return FAILED
    if value == SKIPPED or math.isnan(value):
        return SKIPPED
    return float(value) if math.isfinite(value) else FAILED


def _regressions(
    flagged: Sequence[Any], place: set[str], revisions: Mapping[str, str], figures: Sequence[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The jumps that asv flagged on a machine: the commit after each, and the values on both sides."""
    by_name = {figure["name"]: figure for figure in figures}
    for name, path, _, _, _, _, jumps in flagged:
        if place <= set(path.split("/")) and name in by_name:
            for _, after, value_before, value_after in jumps:
                yield _regression(by_name[name], revisions[str(after)], value_before, value_after)


def _jumps(
    figures: Sequence[dict[str, Any]], hashes: Sequence[str], thresholds: Mapping[str, float]
) -> Iterator[dict[str, Any]]:
    """Rises above both commits before, by more than the threshold, that no later commit has won back.

    asv looks for steps in a long and noisy line; of three or four commits it may call a threefold time noise. Two
    commits before, as one alone may have been lucky.
    """
    for figure in figures:
        # As asv has it: the largest of the thresholds whose pattern fits, 5 % where none does.
        fitting = [float(value) for pattern, value in thresholds.items() if re.match(pattern, figure["name"])]
        limit = 1 + max(fitting, default=0.05)
        pairs = zip(hashes, figure["values"], strict=True)
        numbers = [(hash_, value) for hash_, value in pairs if isinstance(value, float)]
        for position in range(1, len(numbers)):
            before = max(value for _, value in numbers[max(0, position - 2) : position])
            commit, after = numbers[position]
            if min(value for _, value in numbers[position:]) > limit * before:
                yield _regression(figure, commit, before, after)


def _regression(figure: Mapping[str, Any], commit: str, before: float, after: float) -> dict[str, Any]:
    return {"name": figure["name"], "unit": figure["unit"], "commit": commit, "before": before, "after": after}


def _commit(commit: str, subjects: Mapping[str, str] | None, results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    built = any(map(_built, results))
    return {"hash": commit, "subject": (subjects or {}).get(commit, ""), "date": results[0]["date"], "built": built}


def _subjects(repository: Path, branches: Sequence[str | None]) -> dict[str, str] | None:
    """First lines of the messages of the commits on the suite's branches; None where they can't be asked for."""
    names = [name or "HEAD" for name in branches]
    command = ["git", "-C", str(repository), "log", "--first-parent", "--format=%H %s", *names, "--"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - git, to read
    except (OSError, subprocess.CalledProcessError):  # no git, no such branch, or the repository is an address
        return None
    pairs = (line.partition(" ") for line in answer.stdout.splitlines())
    return {hash_: subject for hash_, _, subject in pairs}


def _short(commit: Mapping[str, Any]) -> str:
    return str(commit["hash"])[:8]


def _latest(values: Sequence[Value]) -> Value:
    """The last value that there is."""
    return next((value for value in reversed(values) if value is not None), None)


def _groups(figures: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    for name, group in itertools.groupby(figures, lambda figure: figure["benchmark"]):
        yield name, list(group)


def _day(date: float) -> str:
    return f"{datetime.fromtimestamp(date / 1000, UTC):%Y-%m-%d}"
