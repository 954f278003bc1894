"""Options: what the commands share: options with their checks, loading of the target, progress, exit codes.

Knows typer and rich; no command.
"""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from refconv.core import formats
from refconv.core.errors import BackendUnavailable

if TYPE_CHECKING:
    from refconv.judge.bounds import ErrorModel
    from refconv.judge.bounds.claim import Alternatives
    from refconv.verification.candidate.candidate import Candidate
    from refconv.verification.settings import Progress as Callback


FAILED, WRONG_USAGE, OWN_FAULT, INTERRUPTED, TERMINATED = 1, 2, 3, 130, 143


class Terminated(KeyboardInterrupt):
    """Asked to end, by SIGTERM: to be told from an interrupt by its exit code only."""


def _terminate(*_: Any) -> NoReturn:
    raise Terminated


def checked_dtypes(names: list[str] | None) -> list[str] | None:
    """The dtypes, if all of them are supported; None, which means the operator's default ones, if there are none."""
    supported = [str(dtype) for dtype in formats.SUPPORTED]
    for name in names or ():
        if name not in supported:
            raise typer.BadParameter(f"{name!r}: must be one of {', '.join(supported)}")
    return names or None


def known_operator(name: str) -> str:
    """The name, if it is an operator's."""
    from refconv.ops.family import OPERATORS

    if name not in OPERATORS:
        raise typer.BadParameter(f"{name!r}: must be one of {', '.join(OPERATORS)}")
    return name


def known_style(name: str) -> str:
    """The name, if it is one of a candidate's styles."""
    if name not in ("return", "out"):
        raise typer.BadParameter(f"{name!r}: must be return or out")
    return name


def existing_folder(path: Path | None) -> Path | None:
    """The path, if a file can be made there."""
    if path is not None and not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"no folder {path.absolute().parent}")
    return path


Op = Annotated[
    str,
    typer.Option(
        callback=known_operator,
        help="The operator: conv2d, conv_transpose2d, conv2d_input, conv2d_weight, conv2d_bias, "
        "conv_transpose2d_input, conv_transpose2d_weight, the same with 1d or 3d, conv2d_integer or conv2d_quantized.",
    ),
]
Style = Annotated[str, typer.Option(callback=known_style, help="return, or out: TARGET writes to its last argument.")]
Abi = Annotated[str | None, typer.Option(help="c: TARGET is a function of a shared library, see refconv.h.")]
Arrays = Annotated[
    str | None,
    typer.Option(
        help="numpy, torch, cupy, numba or jax: what TARGET takes and returns. If not given, what its attribute arrays "
        "says, torch for what comes from torch, else numpy."
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="How the sums are computed: direct:float16, tf32, bf16x3, tensor_core:A100, winograd:4,3, fft, complex3, "
        "exact, ...; or the first of several that can be: winograd:4,3|direct. If not given: directly, in float32, or "
        "float64 for 64 bits."
    ),
]
Requantize = Annotated[
    str | None,
    typer.Option(
        help="Of conv2d_quantized, how sums become results: float, float-away, fixed, fixed-double, "
        "fixed-double-up or fixed-16.",
        show_default="float",
    ),
]
WeightBits = Annotated[int, typer.Option(help="Of conv2d_quantized: 4 if int8 weights hold -8 to 7 only.")]
EpilogueOf = Annotated[
    str | None,
    typer.Option(
        metavar="STEPS",
        help="What is done with the sums: of scale, residual, relu, relu6, clip(LOW,HIGH), leaky_relu(SLOPE), "
        "hardswish, silu, gelu, gelu_tanh, sigmoid, tanh and module:name of a refconv.Epilogue, with commas between.",
    ),
]
Rounded = Annotated[
    str | None,
    typer.Option(help="With --epilogue: after it, once, or before: the sums first.", show_default="after"),
]
Json = Annotated[
    Path | None,
    typer.Option(dir_okay=False, writable=True, callback=existing_folder, help="Write the report to this file."),
]


def parsed_model(text: str | None) -> ErrorModel | Alternatives | None:
    """The error model of a text, or alternatives; None without a text."""
    from refconv.judge.bounds import claimed
    from refconv.judge.bounds.claim import ByCase

    try:
        claim = claimed(text)
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(str(error), param_hint="--model") from None
    assert not isinstance(claim, ByCase)  # noqa: S101 - a text is no function
    return claim


def epilogue_of(op: str, dtype: str, epilogue: str | None, rounded: str | None) -> tuple[str, str]:
    """An epilogue and when results are rounded, as a recipe has them, of results in a dtype."""
    from refconv.judge.given import check_fused, said_rounded
    from refconv.ops.epilogue import takes_epilogue, text_of

    try:
        text, when = text_of(epilogue), said_rounded(rounded)
        if text and not takes_epilogue(op):
            raise typer.BadParameter(f"{text!r}: {op} does not take it", param_hint="--epilogue")
        check_fused(text, when, formats.parse("dtype", dtype), "raise")
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(str(error), param_hint="--epilogue") from None
    return text, when.removeprefix("after")


def refuse_beside(option: str | bool, others: Mapping[str, Any], why: str) -> None:
    """Refuse an option, if it is given, beside another one that says the same."""
    for name, value in others.items():
        if option and value is not None:
            shown = name if value is True else f"{name} {value}"
            raise typer.BadParameter(f"must not be given beside {shown}: {why}", param_hint=str(option))


@contextmanager
def no_fault_of_ours() -> Iterator[None]:
    """Context whose unexpected exceptions are told as what they are, with an exit code of their own."""
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _terminate) if in_main else None
    try:
        yield
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except KeyboardInterrupt as interrupt:
        typer.echo("refconv: interrupted", err=True)
        raise typer.Exit(TERMINATED if isinstance(interrupt, Terminated) else INTERRUPTED) from None
    except Exception as error:  # noqa: BLE001 - told, with all there is to be known of it
        typer.echo("".join(traceback.format_exception(error)), err=True)
        typer.echo("refconv: this is refconv's own fault; please report it", err=True)
        raise typer.Exit(OWN_FAULT) from None
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def check_compiler() -> None:
    """End if the compiled target can't be used."""
    from refconv.engine import targets

    try:
        targets.choose("cpu")
    except BackendUnavailable as error:
        typer.echo(f"refconv: {error}", err=True)
        raise typer.Exit(WRONG_USAGE) from None


def load_target(
    target: str, arrays: str | None, op: str = "conv2d", style: str = "return", abi: str | None = None
) -> Candidate:
    """The candidate; exit with 2 and a message if it can't be loaded."""
    from refconv.verification.candidate.loading import TargetError, load

    sys.path.insert(0, str(Path.cwd()))  # as for `python -m`
    try:
        return load(target, arrays, abi, op, style)
    except (TargetError, ValueError, ModuleNotFoundError, BackendUnavailable) as error:
        typer.echo(f"refconv: can't load the target: {error}", err=True)
        raise typer.Exit(WRONG_USAGE) from None


@contextmanager
def progress_bar(console: Console) -> Iterator[Callback]:
    """A callback that shows the progress: bars on a terminal, plain lines elsewhere."""
    if not console.is_terminal:
        yield lambda label, done, total: _plain_line(console, label, done, total)
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as bars:
        tasks = {}

        def update(label: str, done: int, total: int) -> None:
            name = label.partition(";")[0]  # what failed so far comes after it
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], description=label, completed=done)

        yield update


def _plain_line(console: Console, label: str, done: int, total: int) -> None:
    from refconv.verification.report.text import progress_line

    if line := progress_line(label, done, total):
        console.print(line, highlight=False)
