"""The commands: arguments in, tables and exit codes out.

Knows typer and rich; what a command does is done elsewhere, and imported when the command runs.
"""

from __future__ import annotations

import json as json_module
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import refconv
from refconv import formats
from refconv.geometry import LARGEST

if TYPE_CHECKING:
    from refconv.benchmark import Row, Setting
    from refconv.bounds import ErrorModel
    from refconv.verification.campaign import Progress as Callback
    from refconv.verification.candidates import Candidate
    from refconv.verification.report import Report

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

FAILED, WRONG_USAGE = 1, 2


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"refconv {refconv.__version__}")
        raise typer.Exit


def _dtypes(names: list[str] | None) -> list[str]:
    supported = [str(dtype) for dtype in formats.SUPPORTED]
    names = names or ["float32"]
    for name in names:
        if name not in supported:
            raise typer.BadParameter(f"{name!r}: must be one of {', '.join(supported)}")
    return names


def _folder_exists(path: Path | None) -> Path | None:
    if path is not None and not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"no folder {path.absolute().parent}")
    return path


_Arrays = Annotated[
    str | None,
    typer.Option(
        help="numpy or torch: what TARGET takes and returns. If not given, torch for what comes from torch or has "
        "an attribute arrays = 'torch', else numpy."
    ),
]
_Model = Annotated[
    str | None,
    typer.Option(
        help="How the sums are computed: direct:float16, tf32, bf16x3, tensor_core:A100, winograd:4,3, fft, exact, ... "
        "If not given: directly, in float32, or float64 for 64 bits."
    ),
]
_Json = Annotated[
    Path | None,
    typer.Option(dir_okay=False, writable=True, callback=_folder_exists, help="Write the report to this file."),
]


@app.callback()
def refconv_(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A validation oracle for convolution kernels."""


@app.command()
def verify(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="module:attribute or path/to/file.py:attribute")],
    dtype: Annotated[
        list[str] | None,
        typer.Option(callback=_dtypes, help="A dtype to test, float32 if none is given; repeat it for several."),
    ] = None,
    cases: Annotated[int, typer.Option(min=1, max=LARGEST, help="Generated cases for each dtype.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Another seed gives other cases.")] = 0,
    arrays: _Arrays = None,
    supports: Annotated[
        str,
        typer.Option(metavar="JSON", help='What else TARGET takes: {"string_padding": true, "unbatched": true}.'),
    ] = "{}",
    model: _Model = None,
    json: _Json = None,
) -> None:
    """Put TARGET, a conv2d, to the test.

    TARGET is called as torch.nn.functional.conv2d is: (input, weight, bias, stride, padding, dilation, groups).
    Exit codes: 0 all good, 1 it failed, 2 wrong usage or TARGET can't be loaded.
    """
    from refconv.verification import campaign

    try:
        limits = campaign.checked(_json_object(supports))
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(str(error), param_hint="--supports") from None
    claim = _parsed_model(model)
    candidate = _load(target, arrays)
    with _progress(Console(stderr=True)) as progress:
        report = campaign.run(
            candidate, "conv2d", dtypes=dtype or [], cases=cases, seed=seed, supports=limits, model=claim,
            progress=progress,
        )  # fmt: skip
    _print(report, target)
    if json is not None:
        report.to_json(json)
    if not report.ok:
        raise typer.Exit(FAILED)


def _json_object(text: str) -> dict[str, Any]:
    found = json_module.loads(text)
    if not isinstance(found, dict):
        raise TypeError(f"{text!r}: must be a JSON object")
    return found


@app.command()
def bench(  # noqa: PLR0913 - the command's options
    target: Annotated[
        str | None, typer.Argument(metavar="TARGET", help="A conv2d to be timed too, as `verify` takes it.")
    ] = None,
    *,
    network: Annotated[
        list[str] | None,
        typer.Option(
            help="Whose layers; repeat it for several. If not given: resnet50, resnext50_32x4d, mobilenet_v2 and "
            "convnext_tiny."
        ),
    ] = None,
    dtype: Annotated[
        list[str] | None,
        typer.Option(help="float32 or float64. If not given: both, but float32 alone if there is a TARGET."),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="float32, float64 or exact: what sums are accumulated in. If not given: each but exact."),
    ] = None,
    against: Annotated[str, typer.Option(help="The peer; so far there is torch only.")] = "torch",
    threads: Annotated[
        int | None, typer.Option(help="For refconv and torch alike; by default what refconv would use.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0, help="To be spent on each layer, at least.")] = 0.3,
    arrays: _Arrays = None,
    json: _Json = None,
) -> None:
    """Time refconv beside torch, and TARGET, over the layers of networks.

    Ratios above 1 say that refconv is faster. Times are medians; all sides take turns in this process, with the same
    number of threads. float32 with float64 sums means: torch in float64, casting included.
    Exit codes: 0 all good, 1 TARGET is wrong, 2 wrong usage or TARGET can't be loaded.
    """
    _check_compiler()
    from refconv import benchmark, networks
    from refconv.info import environment

    try:
        layers = [layer for name in dict.fromkeys(network or benchmark.NETWORKS) for layer in networks.layers(name)]
        settings = benchmark.settings(dtype or (["float32"] if target else []), precision)
        benchmark.check(against, threads)
    except (ValueError, ModuleNotFoundError) as error:
        raise typer.BadParameter(str(error)) from None
    candidate = None if target is None else _load(target, arrays)
    where = environment()
    # Figures are not folded where nothing says how wide the paper is.
    console = Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
    results: dict[Setting, tuple[Row, ...]] = {}
    with _progress(Console(stderr=True)) as progress:
        for setting in settings:
            results[setting] = benchmark.compare(
                layers, setting.dtype, setting.precision, candidate=candidate, against=against, seconds=seconds,
                n_threads=threads, progress=progress,
            )  # fmt: skip
            console.print(benchmark.table(results[setting], setting, against))
    console.print(benchmark.summary(results, against))
    where["threads"] = environment()["threads"]  # whose they are is known once they have run
    console.print(f"Threads: {threads or where['threads']}. Load before: {where['load']}.")
    if json is not None:
        json.write_text(benchmark.as_json(results, where, against), encoding="utf-8")
    _judge(results, target)


def _judge(results: dict[Setting, tuple[Row, ...]], target: str | None) -> None:
    """Say what is wrong with the candidate, on the first such layer of each setting, and end."""
    from refconv import benchmark

    failed = [(setting, rows) for setting, rows in results.items() if not benchmark.sound(rows)]
    for setting, rows in failed:
        wrong = [row for row in rows if row.fault]
        where = f"{wrong[0].layer.network} {wrong[0].layer.name}" if wrong else "every layer"
        what = f"{wrong[0].verdict}\n{wrong[0].fault}" if wrong else benchmark.UNSUPPORTED
        typer.echo(f"\nFAILED {where}, {setting}: {what}")
    if failed:
        typer.echo(f"{target}: FAILED")
        raise typer.Exit(FAILED)


@app.command()
def tolerance(
    network: Annotated[
        list[str] | None, typer.Option(help="Whose layers; repeat it for several. resnet50 if there is no --case.")
    ] = None,
    case: Annotated[
        list[str] | None,
        typer.Option(metavar="SHAPES", help="N,C,H,W:K,C/groups,R,S[:stride=2,padding=1x0,dilation=1]; repeat it."),
    ] = None,
    dtype: Annotated[str, typer.Option(help="Any float or complex dtype.")] = "float32",
    model: _Model = None,
) -> None:
    """Print which rtol and atol to write into an assert_close, for each layer.

    They accept every output that the error model admits, and no more than they must.
    Exit codes: 0 all good, 2 wrong usage.
    """
    from refconv import advice, networks

    (dtype,) = _dtypes([dtype])
    if dtype in map(str, formats.INTEGERS):
        raise typer.BadParameter(
            f"{dtype!r}: integers must be equal, there is nothing to tolerate", param_hint="--dtype"
        )
    claim = _parsed_model(model)
    try:
        layers = [advice.parsed(each) for each in case or ()]
        for name in dict.fromkeys(network or ([] if case else ["resnet50"])):
            layers += networks.layers(name)
        with _progress(Console(stderr=True)) as progress:
            rows = []
            for layer in layers:
                rows.append(advice.advise(layer, dtype, claim))
                progress("layers", len(rows), len(layers))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    console = Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
    console.print(advice.table(rows, dtype))
    console.print(advice.explanation(rows))


def _parsed_model(text: str | None) -> ErrorModel | None:
    from refconv.bounds import ErrorModel

    try:
        return None if text is None else ErrorModel.parse(text)
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(str(error), param_hint="--model") from None


@app.command()
def warmup() -> None:
    """Compile everything now, so that no later call has to wait for it: it is kept on disk."""
    _check_compiler()
    from refconv.targets import cpu
    from refconv.targets.cpu.compiled import folder

    start = time.perf_counter()
    with _progress(Console(stderr=True)) as progress:
        for done, total in cpu.warm_up():
            progress("compiled", done, total)
    kept = len(list(folder().glob("*.bin"))) if folder().is_dir() else 0
    typer.echo(f"{total} pieces in {time.perf_counter() - start:.1f} s, {kept} are kept in {folder()}")


@app.command()
def info() -> None:
    """Print versions, processor, threads and GPU: what a report of a bug or a figure should say."""
    from refconv.info import environment

    for name, value in environment().items():
        typer.echo(f"{name:<12}{value}")


def _check_compiler() -> None:
    """End if the compiled target can't be used."""
    from refconv import targets

    try:
        targets.choose("cpu")
    except refconv.BackendUnavailable as error:
        typer.echo(f"refconv: {error}", err=True)
        raise typer.Exit(WRONG_USAGE) from None


def _load(target: str, arrays: str | None) -> Candidate:
    from refconv.verification.candidates import TargetError, load

    sys.path.insert(0, str(Path.cwd()))  # as for `python -m`
    try:
        return load(target, arrays)
    except (TargetError, ValueError, ModuleNotFoundError) as error:
        typer.echo(f"refconv: can't load the target: {error}", err=True)
        raise typer.Exit(WRONG_USAGE) from None


@contextmanager
def _progress(console: Console) -> Iterator[Callback]:
    """A callback that shows how far things are: bars on a terminal, plain lines elsewhere."""
    if not console.is_terminal:
        yield lambda label, done, total: _plain_line(console, label, done, total)
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as bars:
        tasks = {}

        def update(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = bars.add_task(label, total=total)
            bars.update(tasks[label], completed=done)

        yield update


def _plain_line(console: Console, label: str, done: int, total: int) -> None:
    if done == total or done % max(1, total // 4) == 0:
        console.print(f"{label}: {done} of {total}", highlight=False)


def _print(report: Report, target: str) -> None:
    """The table, what was covered, and the smallest case of each property violated, with its program."""
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    console.print(report.table())
    classes = ", ".join(f"{name} {count}" for name, count in report.coverage.items())
    console.print(f"Generated cases by class: {classes or 'none'}", soft_wrap=False)
    for result in report.results:
        if result.skipped:
            console.print(f"{result.section}, {result.dtype}: skipped: {result.skipped}")
    shown = {failure.property: failure for failure in reversed(report.failures)}
    for failure in reversed(shown.values()):
        console.print(f"\nFAILED {failure}\n\nThis program shows it:\n")
        console.print(failure.snippet)
    console.print(f"{target}: {'passed' if report.ok else 'FAILED'}, {report.n_cases} cases judged")
