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

from refconv.core import formats
from refconv.core.checks import LARGEST
from refconv.core.errors import BackendUnavailable
from refconv.core.version import __version__

if TYPE_CHECKING:
    from refconv.cli.bench import Row, Setting
    from refconv.judge.bounds import ErrorModel
    from refconv.verification.campaign import Progress as Callback
    from refconv.verification.candidate.candidate import Candidate
    from refconv.verification.report.report import Report

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

FAILED, WRONG_USAGE = 1, 2


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"refconv {__version__}")
        raise typer.Exit


def _dtypes(names: list[str] | None) -> list[str] | None:
    """The dtypes, each looked at; none for those that the operator has by default."""
    supported = [str(dtype) for dtype in formats.SUPPORTED]
    for name in names or ():
        if name not in supported:
            raise typer.BadParameter(f"{name!r}: must be one of {', '.join(supported)}")
    return names or None


def _operator(name: str) -> str:
    from refconv.ops.family import OPERATORS

    if name not in OPERATORS:
        raise typer.BadParameter(f"{name!r}: must be one of {', '.join(OPERATORS)}")
    return name


def _known_style(name: str) -> str:
    if name not in ("return", "out"):
        raise typer.BadParameter(f"{name!r}: must be return or out")
    return name


def _folder_exists(path: Path | None) -> Path | None:
    if path is not None and not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"no folder {path.absolute().parent}")
    return path


_Op = Annotated[
    str,
    typer.Option(
        callback=_operator,
        help="What TARGET is: conv2d, conv_transpose2d, conv2d_input, conv2d_weight, "
        "conv2d_bias, conv2d_integer or conv2d_quantized.",
    ),
]
_Style = Annotated[str, typer.Option(callback=_known_style, help="return, or out: TARGET writes to its last argument.")]
_Abi = Annotated[str | None, typer.Option(help="c: TARGET is a function of a shared library, see refconv.h.")]
_Arrays = Annotated[
    str | None,
    typer.Option(
        help="numpy, torch, cupy, numba or jax: what TARGET takes and returns. If not given, what its attribute arrays "
        "says, torch for what comes from torch, else numpy."
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
def verify(  # noqa: PLR0913 - the command's options
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="module:attribute, path/to/file.py:attribute or path/to/lib.so:symbol"),
    ],
    *,
    op: _Op = "conv2d",
    dtype: Annotated[
        list[str] | None,
        typer.Option(
            callback=_dtypes, help="A dtype to test, float32 (or uint8 and int8) if none is given; repeat it."
        ),
    ] = None,
    cases: Annotated[int, typer.Option(min=1, max=LARGEST, help="Generated cases for each dtype.")] = 1000,
    seconds: Annotated[float | None, typer.Option(min=0, help="Time for generated cases, instead of a number.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Another seed gives other cases.")] = 0,
    arrays: _Arrays = None,
    style: _Style = "return",
    abi: _Abi = None,
    supports: Annotated[
        str,
        typer.Option(
            metavar="JSON", help='What TARGET takes: {"groups": "depthwise", "unbatched": true, "errors": true}.'
        ),
    ] = "{}",
    model: _Model = None,
    jobs: Annotated[int, typer.Option(min=1, max=LARGEST, help="Processes.")] = 1,
    dask: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Of a dask.distributed scheduler.")] = None,
    isolate: Annotated[
        bool | None,
        typer.Option(help="Whether TARGET runs in a process of its own; by default if it can be loaded there."),
    ] = None,
    time_limit: Annotated[float, typer.Option(min=0.01, help="Seconds that a case may take there.")] = 20.0,
    expected_failures: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A file of known failures: op/dtype/property  # reason."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(dir_okay=False, callback=_folder_exists, help="What is done is kept here, and not done again."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(dir_okay=False, writable=True, callback=_folder_exists, help="Write an HTML page to this file."),
    ] = None,
    json: _Json = None,
) -> None:
    """Put TARGET to the test.

    TARGET is called as torch's function is, a conv2d with (input, weight, bias, stride, padding, dilation, groups).
    Exit codes: 0 all good, 1 it failed, 2 wrong usage or TARGET can't be loaded.
    """
    from refconv.verification import campaign
    from refconv.verification.report.expected_failures import Expected

    claim = _parsed_model(model)
    candidate = _load(target, arrays, op, style, abi)
    try:
        limits, supported = campaign.limits(candidate.function, _json_object(supports))
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(str(error), param_hint="--supports") from None
    with _progress(Console(stderr=True)) as progress, _distributed(dask) as executor:
        try:
            settings = campaign.Settings(
                cases=cases, seconds=seconds, seed=seed, model=claim, supports=limits, supported=supported,
                jobs=jobs, executor=executor, isolate=isolate, time_limit=time_limit, resume=resume, progress=progress,
                expected=Expected() if expected_failures is None else Expected.read(expected_failures),
            )  # fmt: skip
            found = campaign.run(candidate, settings, dtype)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    _print(found, target)
    if json is not None:
        found.to_json(json)
    if report is not None:
        from refconv.cli.environment import environment

        found.to_html(report, environment())
    if not found.ok:
        raise typer.Exit(FAILED)


@app.command()
def replay(
    failures: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="What verify --json wrote.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="As `verify` takes it.")],
    arrays: _Arrays = None,
    style: _Style = "return",
    abi: _Abi = None,
    model: _Model = None,
) -> None:
    """Try the failures of a report again, on TARGET.

    Exit codes: 0 none is left, 1 some are, 2 wrong usage or TARGET can't be loaded.
    """
    from refconv.verification.replay import again
    from refconv.verification.report import saved_failures

    claim = _parsed_model(model)
    try:
        known = saved_failures.load(failures)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="FAILURES") from None
    candidates = {op: _load(target, arrays, op, style, abi) for op in dict.fromkeys(each.op for each in known)}
    left = 0
    for each in known:
        found = again(candidates[each.op], each, claim)
        left += found.failed
        typer.echo(f"{found.verdict}: {each.op}, {each.dtype}, {each.property}: {each.case}")
        if found.text:
            typer.echo(f"{found.text}\n")
    typer.echo(f"{target}: {left} of {len(known)} failures are left")
    if left:
        raise typer.Exit(FAILED)


@app.command()
def mutants(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="All if none is given.")] = None,
    score: Annotated[bool, typer.Option("--score", help="Put each to the test, and print how it is found.")] = False,
    cases: Annotated[int, typer.Option(min=1, max=LARGEST, help="Cases for each.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Another seed gives other cases.")] = 0,
    jobs: Annotated[int | None, typer.Option(min=1, max=LARGEST, help="Processes; as many as processors.")] = None,
    json: _Json = None,
) -> None:
    """List the known bugs that refconv looks for, as wrong kernels; with --score, measure that it finds them.

    Exit codes: 0 all good, 1 one was not found, 2 wrong usage.
    """
    from refconv import mutants as known

    try:
        wanted = [known.by_name(name) for name in names] if names else list(known.all())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    console = Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
    if not score:
        for each in wanted:
            console.print(
                f"{each.name}  [{each.kind}, {each.op}]  {each.summary}{f' ({each.source})' if each.source else ''}"
            )
        return
    from refconv.verification import mutation_score

    with _progress(Console(stderr=True)) as progress:
        rows = mutation_score.score(wanted, cases, seed, jobs, progress)
    console.print(mutation_score.table(rows))
    for line in mutation_score.summary(rows):
        console.print(line)
    if json is not None:
        json.write_text(mutation_score.as_json(rows), encoding="utf-8")
    if not all(row.found for row in rows):
        raise typer.Exit(FAILED)


@contextmanager
def _distributed(address: str | None) -> Iterator[Any]:
    """An executor on the workers of a dask scheduler; none without an address."""
    if address is None:
        yield None
        return
    try:
        import distributed
    except ModuleNotFoundError:
        raise typer.BadParameter("needs dask: pip install 'refconv[dask]'", param_hint="--dask") from None
    try:
        client: Any = distributed.Client(address, timeout=20)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{address!r}: no scheduler there ({error})", param_hint="--dask") from None
    with client:
        yield client.get_executor()


def _json_object(text: str) -> dict[str, Any]:
    found = json_module.loads(text)
    if not isinstance(found, dict):
        raise TypeError(f"{text!r}: must be a JSON object")
    return found


@app.command("bench")
def bench_layers(  # noqa: PLR0913 - the command's options
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
    from refconv.cases import networks
    from refconv.cli import bench
    from refconv.cli.environment import environment

    try:
        layers = [layer for name in dict.fromkeys(network or bench.NETWORKS) for layer in networks.layers(name)]
        settings = bench.settings(dtype or (["float32"] if target else []), precision)
        bench.check(against, threads)
    except (ValueError, ModuleNotFoundError) as error:
        raise typer.BadParameter(str(error)) from None
    candidate = None if target is None else _load(target, arrays)
    where = environment()
    # Figures are not folded where nothing says how wide the paper is.
    console = Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
    results: dict[Setting, tuple[Row, ...]] = {}
    with _progress(Console(stderr=True)) as progress:
        for setting in settings:
            results[setting] = bench.compare(
                layers, setting.dtype, setting.precision, candidate=candidate, against=against, seconds=seconds,
                n_threads=threads, progress=progress,
            )  # fmt: skip
            console.print(bench.table(results[setting], setting, against))
    console.print(bench.summary(results, against))
    where["threads"] = environment()["threads"]  # whose they are is known once they have run
    console.print(f"Threads: {threads or where['threads']}. Load before: {where['load']}.")
    if json is not None:
        json.write_text(bench.as_json(results, where, against), encoding="utf-8")
    _judge(results, target)


def _judge(results: dict[Setting, tuple[Row, ...]], target: str | None) -> None:
    """Say what is wrong with the candidate, on the first such layer of each setting, and end."""
    from refconv.cli import bench

    failed = [(setting, rows) for setting, rows in results.items() if not bench.sound(rows)]
    for setting, rows in failed:
        wrong = [row for row in rows if row.fault]
        where = f"{wrong[0].layer.network} {wrong[0].layer.name}" if wrong else "every layer"
        what = f"{wrong[0].verdict}\n{wrong[0].fault}" if wrong else bench.UNSUPPORTED
        typer.echo(f"\nFAILED {where}, {setting}: {what}")
    if failed:
        typer.echo(f"{target}: FAILED")
        raise typer.Exit(FAILED)


@app.command("tolerance")
def print_tolerances(
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
    from refconv.cases import networks
    from refconv.cli import tolerance

    _dtypes([dtype])
    if dtype in map(str, formats.INTEGERS):
        raise typer.BadParameter(
            f"{dtype!r}: integers must be equal, there is nothing to tolerate", param_hint="--dtype"
        )
    claim = _parsed_model(model)
    try:
        layers = [tolerance.parsed(each) for each in case or ()]
        for name in dict.fromkeys(network or ([] if case else ["resnet50"])):
            layers += networks.layers(name)
        with _progress(Console(stderr=True)) as progress:
            rows = []
            for layer in layers:
                rows.append(tolerance.advise(layer, dtype, claim))
                progress("layers", len(rows), len(layers))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    console = Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
    console.print(tolerance.table(rows, dtype))
    console.print(tolerance.explanation(rows))


def _parsed_model(text: str | None) -> ErrorModel | None:
    from refconv.judge.bounds import ErrorModel

    try:
        return None if text is None else ErrorModel.parse(text)
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(str(error), param_hint="--model") from None


@app.command()
def warmup() -> None:
    """Compile everything now, so that no later call has to wait for it: it is kept on disk."""
    _check_compiler()
    from refconv.engine.targets import cpu
    from refconv.engine.targets.jit.cfunctions import folder

    start = time.perf_counter()
    with _progress(Console(stderr=True)) as progress:
        for done, total in cpu.warm_up():
            progress("compiled", done, total)
    kept = len(list(folder().glob("*.bin"))) if folder().is_dir() else 0
    typer.echo(f"{total} pieces in {time.perf_counter() - start:.1f} s, {kept} are kept in {folder()}")


@app.command()
def info() -> None:
    """Print versions, processor, threads and GPU: what a report of a bug or a figure should say."""
    from refconv.cli.environment import environment

    for name, value in environment().items():
        typer.echo(f"{name:<12}{value}")


def _check_compiler() -> None:
    """End if the compiled target can't be used."""
    from refconv.engine import targets

    try:
        targets.choose("cpu")
    except BackendUnavailable as error:
        typer.echo(f"refconv: {error}", err=True)
        raise typer.Exit(WRONG_USAGE) from None


def _load(
    target: str, arrays: str | None, op: str = "conv2d", style: str = "return", abi: str | None = None
) -> Candidate:
    from refconv.verification.candidate.candidate import TargetError, load

    sys.path.insert(0, str(Path.cwd()))  # as for `python -m`
    try:
        return load(target, arrays, abi, op, style)
    except (TargetError, ValueError, ModuleNotFoundError, BackendUnavailable) as error:
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
    """The tables, what was covered, and the smallest case of each property violated, with its program."""
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    console.print(report.table())
    console.print(report.property_table())
    classes = ", ".join(f"{name} {count}" for name, count in report.coverage.items())
    console.print(f"Generated cases by class: {classes or 'none'}", soft_wrap=False)
    for line in report.coverage_lines():
        console.print(line, soft_wrap=False)
    for result in report.results:
        if result.skipped:
            console.print(f"{result.section}, {result.dtype}: skipped: {result.skipped}")
    for note in report.notes:
        console.print(f"Note: {note}")
    shown = {failure.property: failure for failure in reversed(report.failures)}
    for failure in reversed(shown.values()):
        console.print(f"\nFAILED {failure}\n\nThis program shows it:\n")
        console.print(failure.snippet)
        if failure.example:
            console.print(f"For a test of yours: {failure.example}")
    console.print(f"{target}: {'passed' if report.ok else 'FAILED'}, {report.n_cases} cases judged")
