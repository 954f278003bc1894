"""Saved failures: the failures in a report's JSON file, to be tried again.

Knows the file; not how a case is judged.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from refconv.cases.recipe import Recipe


@dataclass(frozen=True)
class Saved:
    """A failure that was written to a file.

    Attributes
    ----------
    op, dtype, property : str
        What failed.
    run : int or None
        The seed of a run of a model that its own file makes.
    arrange : tuple of str
        Where the functions are that lay arrays out.
    recipe : Recipe or None
        Makes the case, or the right call of one that must be refused; None for images, which have no recipe.
    case : str
        The case, as a person reads it.
    way : str
        How the call is wrong, if it must be refused.
    model : str
        The error model that the candidate was judged by; empty if that follows from the dtype.
    """

    op: str
    dtype: str
    property: str
    recipe: Recipe | None
    case: str
    way: str = ""
    model: str = ""
    run: int | None = None
    arrange: tuple[str, ...] = ()


def load(path: str | Path) -> list[Saved]:
    """The failures of a file that `Report.to_json` wrote, in its order.

    Raises
    ------
    OSError
        If the file can't be read.
    ValueError
        If it is no such file: the message names the file and says what is wrong.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        raise ValueError(f"{path}: must be a JSON file written by refconv verify: {error}") from None
    try:
        op = content["op"]
        failures = [failure for result in content["results"] for failure in result["failures"]]
        arrange = tuple(content.get("arrange", ()))
        return [replace(_saved(op, failure, content.get("model", "")), arrange=arrange) for failure in failures]
    except KeyError as error:
        raise ValueError(f"{path}: must be a report written by refconv verify, but has no {error}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: must be a report written by refconv verify: {error}") from error


def _saved(op: str, failure: dict[str, Any], model: str) -> Saved:
    recipe = failure["recipe"]
    # A rule that is a function has its name here, from which it can't be made again.
    by_function = recipe is not None and ":" in recipe.get("requantize", "")
    parsed = None if recipe is None or by_function else Recipe.from_dict(recipe)
    return Saved(
        op,
        failure["dtype"],
        failure["property"],
        parsed,
        failure["case"],
        failure.get("way", ""),
        model,
        failure.get("run"),
    )
