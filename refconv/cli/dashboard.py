"""Dashboard: what an asv suite has measured from commit to commit, on one page that needs neither scripts nor network.

`collect` reads what `asv run` and `asv publish` have left in a suite's folder, `page` draws it. Knows asv's files, and
for the page jinja2; nothing of what was measured.
"""

import itertools
import json
import math
import operator
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from refconv.core.optional import optional_module

FAILED, SKIPPED = "failed", "skipped"  # in the place of a number; None: not measured
# Units whose figures say more when read the other way round; measured so that lower is better, as asv flags rises.
READINGS = {"times of the peak": ("{:.0%} of the peak", 1.0), "ms a case": ("{:,.0f} cases/s", 1e3)}
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
        `machines`, each with asv's description and its `figures`: `benchmark`, `parameters`, `unit`, a value for each
        commit (None where nothing was measured, "failed" or "skipped"); `regressions`, those that asv flagged, and
        rises beyond asv's thresholds from one commit to the next.

    Raises
    ------
    ModuleNotFoundError
        If asv is not installed.
    NotPublished
        If there is no suite, or none of its results is published.
    """
    configuration = _configuration(folder)
    published = folder / configuration.html_dir
    try:
        index = _json(published / "index.json")
        flagged = _json(published / "regressions.json")["regressions"]
    except FileNotFoundError as error:
        raise NotPublished(f"no {error.filename}: run `asv run` and `asv publish` in {folder} first") from None
    results = _results(folder / configuration.results_dir)
    measured = set(itertools.chain.from_iterable(results.values()))
    revisions = sorted((int(revision), hash_) for revision, hash_ in index["revision_to_hash"].items())
    hashes = [hash_ for _, hash_ in revisions if hash_ in measured]
    machines = []
    for (machine, python), by_commit in results.items():
        figures = list(_figures(index["benchmarks"], [by_commit.get(hash_) for hash_ in hashes]))
        by_asv = _regressions(flagged, {f"machine-{machine}", f"python-{python}"}, index, figures)
        regressions = _once([*by_asv, *_jumps(figures, hashes, configuration.regressions_thresholds)])
        machines.append(
            {**index["machines"][machine], "python": python, "figures": figures, "regressions": regressions}
        )
    return {
        "project": index["project"],
        "commits": [
            _commit(folder, hash_, [by_commit[hash_] for by_commit in results.values() if hash_ in by_commit])
            for hash_ in hashes
        ],
        "machines": machines,
    }


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
    >>> figure = {"benchmark": "kernel.time", "parameters": {}, "unit": "s", "values": [1.0, "failed"]}
    >>> commits = [{"hash": 40 * digit, "built": True} for digit in "01"]
    >>> troubles({"commits": commits, "machines": [{"figures": [figure], "regressions": []}]})
    ['failed: kernel.time at 11111111']
    """
    lines = []
    for machine in content["machines"]:
        for regression in machine["regressions"]:
            before, after = (text_of(regression[side], regression["unit"]) for side in ("before", "after"))
            name = name_of(regression["benchmark"], regression["parameters"])
            lines.append(f"slower or larger: {name}, from {before} to {after} at {regression['commit'][:8]}")
    lines += [f"not built: {_short(commit)}" for commit in content["commits"] if not commit["built"]]
    for figure in itertools.chain.from_iterable(machine["figures"] for machine in content["machines"]):
        pairs = zip(content["commits"], figure["values"], strict=True)
        commits = [_short(commit) for commit, value in pairs if value == FAILED and commit["built"]]
        if commits:
            lines.append(f"failed: {name_of(figure['benchmark'], figure['parameters'])} at {', '.join(commits)}")
    return lines


def name_of(benchmark: str, parameters: Mapping[str, str]) -> str:
    """A figure's name: the benchmark's, and in brackets the parameters."""
    return f"{benchmark}({', '.join(parameters.values())})" if parameters else benchmark


def text_of(value: Value, unit: str) -> str:
    """A value with its unit, in three digits.

    >>> text_of(0.00123, "seconds"), text_of(2.5, "ms a case"), text_of("failed", "s"), text_of(1.25, "torch's times")
    ('1.23 ms', '400 cases/s', 'failed', "1.25 torch's times")
    """
    if value is None or isinstance(value, str):
        return value or ""
    if unit in READINGS and value:
        form, over = READINGS[unit]
        return form.format(over / value)
    for size, name in SCALES.get(unit, ()):
        if value >= size:
            return f"{value / size:.3g} {name}"
    return f"{value:,.0f} {unit}".rstrip() if value >= 1e3 else f"{value:.3g} {unit}".rstrip()


def change(values: Sequence[Value]) -> str:
    """How much the last number differs from the one before, in per cent of that one; empty without two numbers.

    >>> change([2.0, None, 3.0]), change([1.0]), change([0.0, 0.0])
    ('+50%', '', '')
    """
    numbers = [value for value in values if isinstance(value, float)]
    if len(numbers) < 2 or not numbers[-2]:
        return ""
    return f"{round(100 * (numbers[-1] / numbers[-2] - 1)):+}%".replace("+0%", "0%")


def line(values: Sequence[Value]) -> list[tuple[float, float]]:
    """Pixels of a line through the numbers, from the left; its height goes from zero to the largest number."""
    most = max((value for value in values if isinstance(value, float)), default=0.0) or 1.0
    step = (WIDTH - 2 * MARGIN) / max(1, len(values) - 1)
    return [
        (round(MARGIN + step * position, 1), round(HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * value / most, 1))
        for position, value in enumerate(values)
        if isinstance(value, float)
    ]


def _configuration(folder: Path) -> Any:
    config = optional_module("asv.config", "a dashboard")
    if not (folder / "asv.conf.json").is_file():
        raise NotPublished(f"no {folder / 'asv.conf.json'}: must be the folder of an asv suite")
    return config.Config.load(str(folder / "asv.conf.json"))


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _results(folder: Path) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
    """Results by machine and Python, then by commit."""
    results: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for path in sorted(folder.glob("*/*-*.json")):
        result = _json(path)
        key = result["params"]["machine"], result["python"]
        results.setdefault(key, {})[result["commit_hash"]] = {
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
                parameters = _parameters(benchmark, combination)
                yield {"benchmark": name, "parameters": parameters, "unit": benchmark["unit"], "values": values}


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
    return SKIPPED if value == SKIPPED or math.isnan(value) else float(value)


def _regressions(
    flagged: Sequence[Any], place: set[str], index: Mapping[str, Any], figures: Sequence[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The jumps that asv flagged on a machine: the commit after each, and the values on both sides."""
    for name, path, _, position, _, _, jumps in flagged:
        if place <= set(path.split("/")):
            benchmark = index["benchmarks"][name.partition("(")[0]]
            combinations = list(itertools.product(*benchmark["params"]))
            parameters = {} if position is None else _parameters(benchmark, combinations[position])
            (figure,) = (f for f in figures if (f["benchmark"], f["parameters"]) == (benchmark["name"], parameters))
            for _, after, value_before, value_after in jumps:
                yield _regression(figure, index["revision_to_hash"][str(after)], value_before, value_after)


def _jumps(
    figures: Sequence[dict[str, Any]], hashes: Sequence[str], thresholds: Mapping[str, float]
) -> Iterator[dict[str, Any]]:
    """Rises from one commit to the next, by more than the threshold, that no later commit has won back.

    asv looks for steps in a long and noisy line; of three or four commits it may call a threefold time noise.
    """
    for figure in figures:
        name = name_of(figure["benchmark"], {key: repr(value) for key, value in figure["parameters"].items()})
        # As asv has it: the largest of the thresholds whose pattern fits, 5 % where none does.
        fitting = [float(value) for pattern, value in thresholds.items() if re.match(pattern, name)]
        limit = 1 + max(fitting, default=0.05)
        numbers = [
            (hash_, value) for hash_, value in zip(hashes, figure["values"], strict=True) if isinstance(value, float)
        ]
        for position in range(1, len(numbers)):
            before, (commit, after) = numbers[position - 1][1], numbers[position]
            if min(value for _, value in numbers[position:]) > limit * before:
                yield _regression(figure, commit, before, after)


def _regression(figure: Mapping[str, Any], commit: str, before: float, after: float) -> dict[str, Any]:
    named = {name: figure[name] for name in ("benchmark", "parameters", "unit")}
    return {**named, "commit": commit, "before": before, "after": after}


def _once(regressions: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One regression for each figure and commit."""
    key = operator.itemgetter("benchmark", "parameters", "commit")
    return [*{repr(key(regression)): regression for regression in regressions}.values()]


def _commit(folder: Path, commit: str, results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    built = any(map(_built, results))
    return {"hash": commit, "subject": _subject(folder, commit), "date": results[0]["date"], "built": built}


def _subject(folder: Path, commit: str) -> str:
    """The first line of a commit's message; empty where the commit is not, as in another clone."""
    command = ["git", "-C", str(folder), "show", "--no-patch", "--format=%s", commit]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603 - git


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
