"""`refconv verify` and `refconv replay`: a candidate put to the test, and its saved failures tried again.

Knows typer and rich; a candidate is tested elsewhere, by modules that are imported when a command runs.
"""

from __future__ import annotations

import json as json_module
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from refconv.cases.geometry_text import FORM
from refconv.cli.options import (
    FAILED,
    OWN_FAULT,
    WRONG_USAGE,
    Abi,
    Arrays,
    EpilogueOf,
    Json,
    Model,
    Op,
    Requantize,
    Rounded,
    Style,
    WeightBits,
    checked_dtypes,
    existing_folder,
    load_target,
    no_fault_of_ours,
    parsed_model,
    progress_bar,
    refuse_beside,
)
from refconv.core.checks import LARGEST

if TYPE_CHECKING:
    from refconv.verification.report.report import Report
    from refconv.verification.report.results import Failure

CASES, QUICK = 1000, 100  # generated cases for each dtype


def verify(  # noqa: PLR0913 - the command's options
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="module:attribute, path/to/file.py:attribute or path/to/lib.so:symbol"),
    ],
    *,
    op: Op = "conv2d",
    dtype: Annotated[
        list[str] | None,
        typer.Option(
            callback=checked_dtypes, help="A dtype to test, float32 (or uint8 and int8) if none is given; repeat it."
        ),
    ] = None,
    cases: Annotated[
        int | None, typer.Option(min=1, max=LARGEST, help="Generated cases for each dtype.", show_default="1000")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help=f"The first {QUICK} cases, which find most; no fixed ones.")
    ] = False,
    case: Annotated[
        list[str] | None,
        typer.Option(metavar="SHAPES", help=f"The only geometry that TARGET is made for, {FORM}; repeat it."),
    ] = None,
    network: Annotated[
        list[str] | None, typer.Option(help="As --case, for each layer of a network; repeat it.")
    ] = None,
    sets: Annotated[
        int | None,
        typer.Option(min=1, max=LARGEST, help="Cases of each geometry, with other numbers.", show_default="1, or 24"),
    ] = None,
    largest: Annotated[int | None, typer.Option(min=1, help="The most products that a case may have.")] = None,
    examples: Annotated[
        bool | None, typer.Option(help="Fixed cases too: torch's examples, and real images; not with --quick.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="Time for generated cases, instead of a number.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Another seed gives other cases.")] = 0,
    arrays: Arrays = None,
    style: Style = "return",
    abi: Abi = None,
    supports: Annotated[
        str,
        typer.Option(
            metavar="JSON", help='What TARGET takes: {"groups": "depthwise", "unbatched": true, "errors": true}.'
        ),
    ] = "{}",
    out_dtype: Annotated[
        str | None, typer.Option(metavar="DTYPE", help="Of the results; operand: as the operands.")
    ] = None,
    overflow: Annotated[
        str | None, typer.Option(help="wrap or saturate: what becomes of results that do not fit their dtype.")
    ] = None,
    requantize: Requantize = None,
    weight_bits: WeightBits = 8,
    epilogue: EpilogueOf = None,
    rounded: Rounded = None,
    model: Model = None,
    jobs: Annotated[int, typer.Option(min=1, max=LARGEST, help="Processes.")] = 1,
    dask: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Of a dask.distributed scheduler.")] = None,
    isolate: Annotated[
        bool | None,
        typer.Option(help="Whether TARGET runs in a process of its own; by default if it can be loaded there."),
    ] = None,
    time_limit: Annotated[float, typer.Option(min=0.01, help="Seconds that a call of TARGET may take there.")] = 20.0,
    expected_failures: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A file of known failures: op/dtype/property  # reason."),
    ] = None,
    shrink_seconds: Annotated[
        float, typer.Option(min=0.001, help="Time to make failing cases small, all together.")
    ] = 60.0,
    max_failures: Annotated[
        int | None, typer.Option(min=1, help="Failures that end it; if not given, 200 end a section.")
    ] = None,
    exit_first: Annotated[bool, typer.Option("-x", "--exit-first", help="As --max-failures 1.")] = False,
    huge: Annotated[
        bool, typer.Option("--huge", help="Also arrays of more than 2**31 and 2**32 bytes, and 2**31 elements.")
    ] = False,
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="What these may take, 20G for instance.", show_default="what is free"),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(dir_okay=False, callback=existing_folder, help="What is done is kept here, and not done again."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(dir_okay=False, writable=True, callback=existing_folder, help="Write an HTML page to this file."),
    ] = None,
    json: Json = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False, callback=existing_folder, help="Write the pairs of options not covered to this file."
        ),
    ] = None,
) -> None:
    """Put TARGET to the test.

    TARGET is called as torch's function is, a conv2d with (input, weight, bias, stride, padding, dilation, groups).
    Exit codes: 0 all good, 1 it failed, 2 wrong usage or TARGET can't be loaded or called so, 3 refconv's own fault,
    130 or 143 interrupted.
    """
    from refconv.cases import own
    from refconv.verification import asked, campaign
    from refconv.verification.memory import size
    from refconv.verification.report.expected_failures import Expected
    from refconv.verification.settings import Settings

    refuse_beside(quick and "--quick", {"--cases": cases, "--seconds": seconds}, "it says how many cases")
    refuse_beside(exit_first and "-x", {"--max-failures": max_failures}, "it says how many failures")
    others = {"--seconds": seconds, "--largest": largest, "--huge": huge or None, "--quick": quick or None}
    refuse_beside("--case" if case else bool(network) and "--network", others, "all of its cases are judged")
    claim = parsed_model(model)
    candidate = load_target(target, arrays, op, style, abi)
    try:
        limits, supported = asked.limits(
            candidate, _json_object(supports), out_dtype=out_dtype, overflow=overflow, requantize=requantize,
            weight_bits=weight_bits, epilogue=epilogue, rounded=rounded,
        )  # fmt: skip
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(str(error), param_hint=_option_of(error)) from None
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    with no_fault_of_ours(), progress_bar(console) as progress, _distributed(dask) as executor, _wrong_usage():
        listed = (*own.listed(case or (), op), *own.of_networks(network or (), op))
        number, sets = own.numbers(listed, QUICK if quick else cases, sets)
        settings = Settings(
            cases=number or CASES, own=listed, seconds=seconds, seed=seed, model=claim, supports=limits,
            supported=supported, jobs=jobs, executor=executor, isolate=isolate, time_limit=time_limit,
            resume=resume, progress=progress, tell=console.print, sets=sets, largest=largest,
            examples=not quick if examples is None else examples, shrink_seconds=shrink_seconds,
            max_failures=1 if exit_first else max_failures, huge=huge,
            memory=None if memory is None else size("memory", memory),
            expected=Expected() if expected_failures is None else Expected.read(expected_failures),
        )  # fmt: skip
        outcome = campaign.run(candidate, settings, dtype)
    with no_fault_of_ours():
        _write(outcome, json, pairs, report)
        _print(outcome, target)
        _print_left_out(quick, op, examples)
    if not outcome.ok:
        raise typer.Exit(OWN_FAULT if outcome.faults else FAILED)


def _option_of(error: Exception) -> str:
    """The option that a message is about: it begins with the name; what others claim, `supports` claims too."""
    name = re.split(r"\W", str(error), maxsplit=1)[0]
    named = name in ("epilogue", "rounded", "requantize", "weight_bits")
    return f"--{name.replace('_', '-')}" if named else "--supports"


@contextmanager
def _wrong_usage() -> Iterator[None]:
    """Context whose errors of arguments, and calls that prove wrong use, end the command as wrong usage does."""
    from refconv.verification.faults import WrongUse

    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    except WrongUse as error:
        typer.echo(f"refconv: {error}", err=True)
        raise typer.Exit(WRONG_USAGE) from None


def _print_left_out(quick: bool, op: str, examples: bool | None) -> None:
    """What --quick leaves out."""
    if not quick:
        return
    fixed = ", torch's examples and real images" if op == "conv2d" and not examples else ""
    typer.echo(f"--quick: the first {QUICK} of {CASES} cases; left out: later ones{fixed}")


def _write(outcome: Report, json: Path | None, pairs: Path | None, page: Path | None) -> None:
    """Write the files that are asked for, before anything is printed: what fails there costs no file."""
    if json is not None:
        outcome.to_json(json)
    if pairs is not None:
        outcome.pairs_to_json(pairs)
    if page is not None:
        from refconv.cli.environment import environment

        outcome.to_html(page, environment())


def replay(
    failures: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="What verify --json wrote.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="As `verify` takes it.")],
    arrays: Arrays = None,
    style: Style = "return",
    abi: Abi = None,
    model: Model = None,
) -> None:
    """Try the failures of a report again, on TARGET.

    Exit codes: 0 none is left, 1 some are, 2 wrong usage or TARGET can't be loaded.
    """
    from refconv.verification.replay import again
    from refconv.verification.report import saved_failures

    claim = parsed_model(model)
    try:
        saved = saved_failures.load(failures)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="FAILURES") from None
    candidates = {
        op: load_target(target, arrays, op, style, abi) for op in dict.fromkeys(failure.op for failure in saved)
    }
    left = untried = 0
    for failure in saved:
        outcome = again(candidates[failure.op], failure, claim)
        left += outcome.failed
        untried += outcome.verdict.startswith("not tried")
        typer.echo(f"{outcome.verdict}: {failure.op}, {failure.dtype}, {failure.property}: {failure.case}")
        if outcome.text:
            typer.echo(f"{outcome.text}\n")
    not_tried = f", {untried} were not tried" if untried else ""
    typer.echo(f"{target}: {left} of {len(saved)} failures are left{not_tried}")
    if left:
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
    content = json_module.loads(text)
    if not isinstance(content, dict):
        raise TypeError(f"{text!r}: must be a JSON object")
    return content


def _first_ones(report: Report) -> Iterator[Failure]:
    """The failures of each property in the first section and dtype that has any: all causes, expected ones apart."""
    first: dict[tuple[str, bool], tuple[str, str]] = {}
    for failure in report.failures:
        where = failure.section, failure.dtype
        if first.setdefault((failure.property, bool(failure.expected)), where) == where:
            yield failure


def _print(report: Report, target: str) -> None:
    """The verdict, the smallest case of each property violated with its program, the tables, and what was covered."""
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    verdict = f"{target}: {report.verdict}"
    console.print(verdict)
    for fault in report.faults:
        console.print(fault)
    for failure in _first_ones(report):
        console.print(f"\nFAILED {failure}\n\nThis program shows it:\n")
        console.print(failure.snippet)
        if failure.example:
            console.print(f"For a test of yours: {failure.example}")
    console.print(report.table())
    console.print(report.property_table())
    for line in report.coverage_lines():
        console.print(line)
    for result in report.results:
        if result.skipped:
            console.print(f"{result.section}, {result.dtype}: skipped: {result.skipped}")
    for note in report.notes:
        console.print(f"Note: {note}")
    console.print(report.reach)
    if report.failures:  # what stands above may have left the screen
        console.print(verdict)
