"""`refconv mutants`: the list of known bugs, and how many of them the suite finds.

Knows typer and rich; the score is computed elsewhere, and imported when the command runs.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

from refconv.cli.options import FAILED, Json, progress_bar
from refconv.core.checks import LARGEST


def mutants(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="All if none is given.")] = None,
    score: Annotated[bool, typer.Option("--score", help="Put each to the test, and print how it is found.")] = False,
    cases: Annotated[int, typer.Option(min=1, max=LARGEST, help="Cases for each.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Another seed gives other cases.")] = 0,
    jobs: Annotated[int | None, typer.Option(min=1, max=LARGEST, help="Processes; as many as processors.")] = None,
    json: Json = None,
) -> None:
    """List the known bugs that refconv looks for, as wrong kernels; with --score, measure that it finds them.

    Exit codes: 0 all good, 1 one was not found, 2 wrong usage.
    """
    from refconv import mutants as registered

    try:
        chosen = [registered.by_name(name) for name in names] if names else list(registered.all())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    console = Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
    if not score:
        for mutant in chosen:
            source = f" ({mutant.source})" if mutant.source else ""
            console.print(f"{mutant.name}  [{mutant.kind}, {mutant.op}]  {mutant.summary}{source}")
        return
    from refconv.verification import mutation_score

    with progress_bar(Console(stderr=True)) as progress:
        rows = mutation_score.score(chosen, cases, seed, jobs, progress)
    console.print(mutation_score.table(rows))
    for line in mutation_score.summary(rows):
        console.print(line)
    if json is not None:
        json.write_text(mutation_score.as_json(rows), encoding="utf-8")
    if not all(row.found for row in rows):
        raise typer.Exit(FAILED)
