"""The commands: arguments in, tables and exit codes out.

Knows typer and rich; what a command does is done elsewhere, and imported when the command runs.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from refconv.cases.geometry_text import FORM
from refconv.cli.mutants import mutants
from refconv.cli.options import (
    FAILED,
    Arrays,
    EpilogueOf,
    Json,
    Model,
    Op,
    Rounded,
    check_compiler,
    checked_dtypes,
    epilogue_of,
    load_target,
    parsed_model,
    progress_bar,
    refuse_beside,
)
from refconv.cli.verify import replay, verify
from refconv.core import formats
from refconv.core.version import __version__

if TYPE_CHECKING:
    from refconv.cases.networks import Layer
    from refconv.cli.bench import Row, Setting
    from refconv.verification.candidate.candidate import Candidate

SECONDS_PER_LAYER = 10  # that a written suite takes for a layer and dtype, two cores
FURTHER = "Also padding by sides (1+0x2+2) or by name, groups, padding_mode and output_padding."

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _version(asked_for: bool) -> None:
    if asked_for:
        typer.echo(f"refconv {__version__}")
        raise typer.Exit


@app.callback()
def refconv_(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A validation oracle for convolution kernels."""


app.command()(verify)
app.command()(replay)
app.command()(mutants)


@app.command("bench")
def bench_layers(  # noqa: PLR0913 - the command's options
    target: Annotated[
        str | None, typer.Argument(metavar="TARGET", help="A convolution to be timed too, as `verify` takes it.")
    ] = None,
    *,
    network: Annotated[
        list[str] | None,
        typer.Option(
            help="Whose layers; repeat it for several. If not given: resnet50, resnext50_32x4d, mobilenet_v2 and "
            "convnext_tiny; with --asv, resnet50."
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
    against: Annotated[
        str,
        typer.Option(help="torch, or onnxruntime: the faster of both for each layer, each in a process of its own."),
    ] = "torch",
    threads: Annotated[
        int | None, typer.Option(help="For refconv and torch alike; by default what refconv would use.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0, help="To be spent on each layer, at least.")] = 0.3,
    arrays: Arrays = None,
    json: Json = None,
    asv: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Measure nothing; write a suite for asv, which follows TARGET over commits."),
    ] = None,
) -> None:
    """Time refconv beside torch, and TARGET, over the layers of networks.

    Ratios above 1 say that refconv is faster. Times are medians; all sides take turns in this process, with the same
    number of threads. float32 with float64 sums means: torch in float64, casting included. Against onnxruntime, each
    library has a process, and the median of three blocks of --seconds counts.
    Exit codes: 0 all good, 1 TARGET is wrong, 2 wrong usage or TARGET can't be loaded.
    """
    check_compiler()
    from refconv.cases import networks
    from refconv.cli import bench
    from refconv.cli.environment import environment

    try:
        layers = [layer for name in dict.fromkeys(network or bench.NETWORKS) for layer in networks.layers(name)]
        if against != "torch":  # it computes in float32 only
            dtype, precision = dtype or ["float32"], precision or "float32"
        settings = bench.settings(dtype or (["float32"] if target else []), precision)
        bench.check(against, threads)
        for setting in settings:
            bench.check_setting(against, setting)
    except (ValueError, ModuleNotFoundError) as error:
        raise typer.BadParameter(str(error)) from None
    candidate = None if target is None else load_target(target, arrays, _op_of(layers))
    if asv is not None:
        unused = {"--precision": precision, "--json": json, "--threads": threads}
        for name in (name for name, value in unused.items() if value is not None):
            raise typer.BadParameter(f"does not go with {name}: nothing is measured", param_hint="--asv")
        _write_suite(asv, candidate, layers if network else networks.layers("resnet50"), dtype or ["float32"])
        return
    where = environment()
    # Figures are not folded where nothing says how wide the paper is.
    console = Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
    results: dict[Setting, tuple[Row, ...]] = {}
    with progress_bar(Console(stderr=True)) as progress:
        for setting in settings:
            results[setting] = _timed(
                bench.compare, layers, setting.dtype, setting.precision, candidate=candidate, against=against,
                seconds=seconds, n_threads=threads, progress=progress,
            )  # fmt: skip
            console.print(bench.table(results[setting], setting, against))
    console.print(bench.summary(results, against))
    where["threads"] = environment()["threads"]  # whose they are is known once they have run
    console.print(f"Threads: {threads or where['threads']}. Load before: {where['load']}.")
    if json is not None:
        json.write_text(bench.as_json(results, where, against), encoding="utf-8")
    _judge(results, target)


def _op_of(layers: Sequence[Layer]) -> str:
    """The operator of all layers: a kernel is one of it."""
    op, *others = dict.fromkeys(layer.op for layer in layers)
    if others:
        raise typer.BadParameter(
            f"must be of one operator for a TARGET, not {op} and {others[0]}", param_hint="--network"
        )
    return op


def _write_suite(folder: Path, candidate: Candidate | None, layers: Sequence[Layer], dtypes: Sequence[str]) -> None:
    """Write a suite for asv and say how to run it."""
    from refconv.cli import asv_suite

    if candidate is None:
        raise typer.BadParameter("needs a TARGET: the kernel to be followed", param_hint="--asv")
    try:
        files = asv_suite.write(folder, candidate, layers, dtypes)
    except (asv_suite.NoSuite, ValueError, ModuleNotFoundError) as error:
        raise typer.BadParameter(str(error), param_hint="--asv") from None
    seconds = SECONDS_PER_LAYER * len(layers) * len(set(dtypes))
    typer.echo(f"Written: {', '.join(map(str, files))}.")
    typer.echo(f"A commit takes some {seconds / 60:.0f} min. Look the files over, commit them, then:")
    typer.echo(f"cd {folder} && asv machine --yes && asv run 'HEAD^!'; asv publish; refconv dashboard .")
    typer.echo("HEAD^! is the last commit, HEAD~3..HEAD are the last three.")


@app.command("dashboard")
def write_dashboard(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="An asv suite's folder, after `asv run` and `asv publish`.")
    ],
    *,
    json: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write what was measured to this file, too.")
    ] = None,
) -> None:
    """Draw what an asv suite has measured: DIR/html/summary.html, which needs neither scripts nor the network.

    Says in a line each what got slower or larger, which commits were not built and which benchmarks failed.
    Exit codes: 0 all good, 2 wrong usage or nothing published.
    """
    from json import dumps

    from refconv.cli import dashboard

    try:
        content = dashboard.collect(folder)
        page = dashboard.published(folder) / "summary.html"
        page.write_text(dashboard.page(content), encoding="utf-8")
    except (dashboard.NotPublished, ModuleNotFoundError) as error:
        raise typer.BadParameter(str(error), param_hint="DIR") from None
    if json is not None:
        json.write_text(dumps(content, indent=1) + "\n", encoding="utf-8")
    for trouble in dashboard.troubles(content):
        typer.echo(trouble)
    typer.echo(f"{page}: no network needed. {page.with_name('index.html')} is asv's own, whose scripts come from it.")


def _timed(compare: Any, *arguments: Any, **options: Any) -> Any:
    """What was measured, unless the process of a library has ended: it has printed why."""
    try:
        return compare(*arguments, **options)
    except RuntimeError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(FAILED) from None


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


def _checked_errors(errors: list[float] | None) -> list[float] | None:
    for error in errors or ():
        if not 0 <= error < math.inf:
            raise typer.BadParameter(f"{error:g}: must be a finite number, not below 0")
    return errors


def _checked_scale(scale: float | None) -> float | None:
    if scale is not None and not 0 < scale < math.inf:
        raise typer.BadParameter(f"{scale:g}: must be a finite number above 0")
    return scale


@app.command("tolerance")
def print_tolerances(  # noqa: PLR0913 - the command's options
    *,
    network: Annotated[
        list[str] | None, typer.Option(help="Whose layers; repeat it for several. resnet50 if there is no --case.")
    ] = None,
    case: Annotated[
        list[str] | None, typer.Option(metavar="SHAPES", help=f"A call, {FORM}; repeat it. {FURTHER}")
    ] = None,
    op: Op = "conv2d",
    dtype: Annotated[
        str | None,
        typer.Option(help="Any float or complex dtype, float32 if not given; of quantized operators an integer one."),
    ] = None,
    out_dtype: Annotated[
        str | None, typer.Option(help="Of the results, if it is not the usual one: a float or complex dtype.")
    ] = None,
    epilogue: EpilogueOf = None,
    rounded: Rounded = None,
    model: Model = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Compute so many outputs of each call, at least.", show_default="by time")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(min=0, help="Time for a call, for all outputs or for a sample of them.", show_default="15"),
    ] = None,
    error: Annotated[
        list[float] | None,
        typer.Option(callback=_checked_errors, help="A greatest absolute difference, to be explained; repeat it."),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            callback=_checked_scale, show_default="1",
            help="With --error: the standard deviation of input times that of weight, where it was measured.",
        ),
    ] = None,
) -> None:  # fmt: skip
    """Print which rtol and atol to write into an assert_close, for each layer, and what an error may come from.

    They accept every output that the error model admits, and no more than they must. A sentence for each --error says
    how large it is beside the error model's bound, and which usual arithmetic may make such an error.
    Exit codes: 0 all good, 2 wrong usage.
    """
    from refconv.cli import tolerance

    refuse_beside(sample is not None and "--sample", {"--seconds": seconds}, "it says how many outputs")
    if scale is not None and not error:
        raise typer.BadParameter("says how large the operands were of which an --error is given", param_hint="--scale")
    dtype = _dtype_of(op, dtype, model)
    result = _result_of(op, dtype, out_dtype)
    question = tolerance.Question(
        parsed_model(model), sample, tolerance.SECONDS if seconds is None else seconds, tuple(error or ()), scale or 1.0
    )
    rows: list[tolerance.Row] = []
    try:
        fused = epilogue_of(op, result or dtype, epilogue, rounded)
        calls = [tolerance.parsed(text, op, dtype, result, *fused) for text in case or ()]
        for name in dict.fromkeys(network or ([] if case else ["resnet50"])):
            calls += tolerance.of_network(name, op, dtype, result, *fused)
        with progress_bar(Console(stderr=True)) as progress:
            for call in calls:
                rows.append(tolerance.advise(call, question))
                progress("layers", len(rows), len(calls))
    except (ValueError, TypeError) as error_:
        raise typer.BadParameter(str(error_)) from None
    console = Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
    console.print(tolerance.table(rows, result or dtype))
    console.print(tolerance.explanation(rows))
    if error:
        console.print(tolerance.readings(rows, question.scale))


def _result_of(op: str, dtype: str, out_dtype: str | None) -> str:
    """The dtype of the results, empty for the usual one; refused where it does not go with the operands."""
    from refconv.cases.recipe import QUANTIZED
    from refconv.judge.given import result_name

    if out_dtype is None:
        return ""
    if op in QUANTIZED:
        raise typer.BadParameter(f"{out_dtype}: must not be given for {op}", param_hint="--out-dtype")
    try:
        return result_name(formats.parse("dtype", dtype), out_dtype, "raise") or ""
    except TypeError as error:
        raise typer.BadParameter(str(error), param_hint="--out-dtype") from None


def _dtype_of(op: str, dtype: str | None, model: str | None) -> str:
    """The dtype, or the operator's usual one; refused where it, or a model, does not go with the operator."""
    from refconv.cases.recipe import QUANTIZED, dtypes_of

    if op in QUANTIZED:
        if model is not None:
            raise typer.BadParameter(f"must not be given for {op}: sums of integers are exact", param_hint="--model")
        if dtype not in (None, *dtypes_of(op)):
            wide = ", or int16" * ("int16" in dtypes_of(op))
            raise typer.BadParameter(f"{dtype!r}: must be int8 or uint8 for {op}{wide}", param_hint="--dtype")
        return dtype or "uint8"
    dtype = dtype or "float32"
    checked_dtypes([dtype])
    if dtype in map(str, formats.INTEGERS):
        raise typer.BadParameter(
            f"{dtype!r}: integers must be equal, there is nothing to tolerate", param_hint="--dtype"
        )
    return dtype


@app.command()
def warmup() -> None:
    """Compile everything now, so that no later call has to wait for it: it is kept on disk."""
    check_compiler()
    from refconv.engine.targets import cpu
    from refconv.engine.targets.jit.cfunctions import folder

    start = time.perf_counter()
    with progress_bar(Console(stderr=True)) as progress:
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
