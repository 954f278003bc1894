"""Programs: a failing case as a small Python program that shows the fault when it is run, and as a line of a test.

Knows cases, candidates and properties. A program depends on NumPy, refconv and the candidate only (and on the library
of the arrays that it takes).
"""

import re
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from refconv.cases.huge import Huge
from refconv.cases.recipe import Recipe
from refconv.judge.bounds import ErrorModel
from refconv.judge.case import Case
from refconv.judge.reference import ARRAYS, QUANTIZATION
from refconv.ops.family import OPERATORS
from refconv.verification.candidate import array_kinds
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.candidate.loading import MODULE_NAME
from refconv.verification.examine import property_names as properties
from refconv.verification.examine.wrong_arguments import Wrong

MAX_LINES = 25
LITERAL_LINES = 5  # lines that the arrays may take together; the program makes those of a larger case from its recipe
LINE_LENGTH = 110

# Properties that a plain call shows; the others need a second call, or a look at more than the result.
PLAIN = (properties.RETURNS, properties.INPUTS, properties.KIND, properties.LAYOUT, properties.VALUES)


def program(candidate: Candidate, source: Any, property_: str, model: ErrorModel | None = None) -> str:
    """A program of at most `MAX_LINES` lines, which ends with an exit status other than 0 while the fault is there.

    Parameters
    ----------
    candidate
        The candidate that fails.
    source
        What makes the case: a recipe, for instance.
    property_
        Which property does not hold.
    model
        The error model that the candidate is judged by; the direct one if not given.
    """
    is_plain = candidate.style == "return" and candidate.arrays in ("numpy", "torch") and property_ in PLAIN
    if is_plain and not isinstance(source, Wrong | Huge) and not source.memory and source.layout == "NCHW":
        text = _plain(candidate, source, property_, model)
        if text.count("\n") <= MAX_LINES:
            return text
    return _examined(candidate, source, property_, model)


def example(source: Any) -> str:
    """A line for a Hypothesis test of cases; empty for a call that is no case, or too large for a test of cases."""
    if isinstance(source, Wrong | Huge):
        return ""
    case = source.case()
    literals = {name: _literal(array) for name, array in case.arrays.items()}
    if sum(map(len, literals.values())) <= LITERAL_LINES * LINE_LENGTH:
        return (
            f"@example(refconv.Case({', '.join(f'{name}={text}' for name, text in _fields(case, literals).items())}))"
        )
    if isinstance(source, Recipe):
        return f"@example(refconv.Recipe.from_dict({source.as_dict()!r}).case())"
    return f"@example(refconv.verification.{source!r}.case())"


def _plain(candidate: Candidate, source: Any, property_: str, model: ErrorModel | None) -> str:
    """A program of the arrays, the case and one call."""
    case = source.case()
    arrays = _literals(case)
    if len(arrays) > LITERAL_LINES:
        arrays = source.code()
    imports, load = _load(candidate)
    libraries = ["import numpy as np", "import refconv"] + ["import torch"] * (candidate.arrays == "torch")
    lines = [*imports, *libraries, "", *load, "", *arrays, *_case(case), _arguments(candidate)]
    return "\n".join([*lines, *_ending(candidate, case, property_, model)]) + "\n"


def _examined(candidate: Candidate, source: Any, property_: str, model: ErrorModel | None) -> str:
    """A program that examines as the campaign did, for what one call does not show."""
    options = f"{candidate.arrays!r}, op={candidate.op!r}, style={candidate.style!r}"
    if candidate.target:
        names, load = ["examine", "load"], [f"candidate = load({candidate.target!r}, {options})"]
    else:
        names = ["Candidate", "examine"]
        load = ["function = ...  # put the candidate here: it cannot be imported from where it was defined"]
        load.append(f"candidate = Candidate(function, {options})")
    # The variable that asks for the simulator must be set before Numba is imported.
    simulated = array_kinds.simulated(candidate.arrays)
    before = ["import os", f'os.environ["{array_kinds.SIMULATOR}"] = "1"'] if simulated else []
    recipe = source.recipe if isinstance(source, Wrong) else source
    if isinstance(recipe, Recipe):
        made = f"refconv.Recipe.from_dict({recipe.as_dict()!r})"
    else:
        names.append(type(recipe).__name__)
        names += ["Geometry"] * isinstance(recipe, Huge)
        made = repr(recipe)
    if isinstance(source, Wrong):
        names.append("Wrong")
        made = f"Wrong({made}, {source.way!r})"
    claim = "" if model is None else f", refconv.ErrorModel.parse({str(model)!r})"
    ending = [f"found = examine(candidate, case, {property_!r}{claim})", "assert found is None, found.text"]
    imports = [*before, "import refconv", f"from refconv.verification import {', '.join(sorted(names))}"]
    return "\n".join([*imports, "", *load, *_wrapped(f"case = {made}", "    "), *ending]) + "\n"


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text, LINE_LENGTH - 4, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _load(candidate: Candidate) -> tuple[list[str], list[str]]:
    """Imports of the standard library, and lines that load the candidate."""
    place, _, attribute = candidate.target.rpartition(":")
    if not place:
        return [], ["candidate = ...  # put the candidate here: it cannot be imported from where it was defined"]
    if not place.endswith(".py"):
        first, *rest = attribute.split(".")
        if not rest:
            return [], [f"from {place} import {first} as candidate"]
        return [], [f"from {place} import {first}", f"candidate = {attribute}"]
    return ["import importlib.util", "import sys"], [
        f"spec = importlib.util.spec_from_file_location({MODULE_NAME!r}, {place!r})",
        f"sys.path.insert(0, {str(Path(place).parent)!r})",
        "module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)",
        "spec.loader.exec_module(module)",
        f"candidate = module.{attribute}",
    ]


def _literals(case: Case) -> list[str]:
    """Lines that write the arrays out, to the last bit; `LITERAL_LINES` + 1 empty lines if one is too large."""
    lines = []
    for name, array in case.arrays.items():
        if array.size > LITERAL_LINES * LINE_LENGTH:
            return [""] * (LITERAL_LINES + 1)
        lines += textwrap.wrap(f"{name} = {_literal(array)}", LINE_LENGTH, subsequent_indent="    ")
    return lines


def _literal(value: Any) -> str:
    if isinstance(value, np.generic):
        return f"np.{value.dtype.name}({value!s})"
    if not isinstance(value, np.ndarray):
        return repr(value)
    if not value.size:
        return f"np.zeros({value.shape}, {value.dtype.name!r})"
    numbers = re.sub(r"\b(nan|inf)\b", r"np.\1", repr(value.tolist()))  # repr of a float is exact
    return f"np.array({numbers}, {value.dtype.name!r})"


def _fields(case: Case, arrays: dict[str, str]) -> dict[str, str]:
    """The arguments of `Case`, as text."""
    texts = {"op": repr(case.op)} if case.op != "conv2d" else {}
    for name, value in zip(OPERATORS[case.op].parameters, case.arguments(), strict=True):
        if name in ARRAYS:
            texts |= {name: arrays[name]} if name in arrays else {}
        else:
            texts[name] = _literal(value) if name in QUANTIZATION else repr(value)
    return texts | {name: repr(value) for name, value in case.keywords().items()}


def _case(case: Case) -> list[str]:
    texts = _fields(case, {name: name for name in case.arrays})
    options = ", ".join(f"{name}={text}" for name, text in texts.items())
    return ["case = refconv.Case(", *(f"    {line}" for line in _wrapped(options)), ")"]


def _arguments(candidate: Candidate) -> str:
    copy = "np.array" if candidate.arrays == "numpy" else "torch.tensor"
    return f"arguments = [{copy}(each) if isinstance(each, np.ndarray) else each for each in case.arguments()]"


def _ending(candidate: Candidate, case: Case, property_: str, model: ErrorModel | None) -> list[str]:
    """Lines that call the candidate and demand the property."""
    call = f"candidate(*arguments{', **case.keywords()' if case.keywords() else ''})"
    if property_ == properties.INPUTS:
        return [
            call,
            "for given, left in zip(case.arguments(), arguments):",
            "    np.testing.assert_array_equal(left, given)",
        ]
    if property_ == properties.KIND:
        kind = "np.ndarray" if candidate.arrays == "numpy" else "torch.Tensor"
        return [f"result = {call}", f"assert isinstance(result, {kind}), type(result)"]
    if property_ == properties.RETURNS:
        return [
            "try:",
            f"    {call}",
            "except SystemExit as error:",
            '    raise AssertionError(f"the candidate ended the program: {error!r}") from error',
        ]
    claim = "" if model is None else f", refconv.ErrorModel.parse({str(model)!r})"
    return [f"refconv.assert_close({call}, case{claim})"]
