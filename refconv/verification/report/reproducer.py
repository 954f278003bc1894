"""Programs: a failing case as a small Python program that shows the fault when it is run, and as a line of a test.

Knows cases, candidates and properties. A program depends on NumPy, refconv and the candidate only (and on the library
of the arrays that it takes).
"""

import textwrap
from pathlib import Path
from typing import Any

from refconv.cases.huge import Huge
from refconv.core.layouts import IMAGES
from refconv.judge.bounds import Claim, ErrorModel, model_of
from refconv.judge.bounds.claim import ByCase
from refconv.judge.case import Case
from refconv.judge.case_code import MOST_WRITTEN, arguments_code, literal, literal_case, tensors
from refconv.verification.candidate import array_kinds
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.candidate.loading import find, module_name
from refconv.verification.examine import property_names as properties
from refconv.verification.examine.model_runs import ModelRun
from refconv.verification.examine.wrong_arguments import Wrong

MAX_LINES = 25
LITERAL_LINES = 5  # lines that the arrays may take together; the program makes those of a larger case from its recipe
LINE_LENGTH = 110

# Properties that a plain call shows; the others need a second call, or a look at more than the result.
PLAIN = (properties.RETURNS, properties.INPUTS, properties.KIND, properties.LAYOUT, properties.VALUES)


def program(candidate: Candidate, source: Any, property_: str, model: Claim | None = None) -> str:
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
        The claim that the candidate is judged by; the direct model if not given.
    """
    is_plain = candidate.style == "return" and candidate.arrays in ("numpy", "torch") and property_ in PLAIN
    is_plain = is_plain and not candidate.is_layer and candidate.arrange is None
    if (
        is_plain
        and not isinstance(source, Wrong | Huge | ModelRun)
        and not source.memory
        and source.layout in IMAGES.values()
    ):
        text = _plain(candidate, source, property_, model)
        if text.count("\n") <= MAX_LINES:
            return text
    return _examined(candidate, source, property_, model)


def example(source: Any, property_: str) -> str:
    """A line for a Hypothesis test of cases; empty where a plain call, of a case of usual size, would not show it."""
    if (
        isinstance(source, Wrong | Huge | ModelRun)
        or property_ not in PLAIN
        or source.memory
        or source.layout not in IMAGES.values()
    ):
        return ""
    code = literal_case(source.case()) or repr(source.case())
    return "" if code.startswith("<") else f"@example({code})"


def _plain(candidate: Candidate, source: Any, property_: str, model: Claim | None) -> str:
    """A program of the arrays, the case and one call."""
    case = source.case()
    arrays = _literals(case)
    if len(arrays) > LITERAL_LINES:
        arrays = source.code()
    imports, load = _load(candidate)
    libraries = ["import numpy as np", "import refconv"] + ["import torch"] * (candidate.arrays == "torch")
    lines = [*imports, *libraries, "", *load, "", *arrays, *_case(case), _arguments(candidate)]
    return "\n".join([*lines, *_ending(candidate, case, property_, _claim(model, source))]) + "\n"


def _examined(candidate: Candidate, source: Any, property_: str, model: Claim | None) -> str:
    """A program that examines as the campaign did, for what one call does not show."""
    options = f"{candidate.arrays!r}, op={candidate.op!r}, style={candidate.style!r}"
    if candidate.target:
        names, load = ["examine", "load"], [f"candidate = load({candidate.target!r}, {options})"]
    else:
        names = ["Candidate", "examine"]
        load = ["function = ...  # put the candidate here: it cannot be imported from where it was defined"]
        load.append(f"candidate = Candidate(function, {options})")
    if candidate.arrange is not None and getattr(candidate.function, "arrange", None) is None:
        targets = list(map(find, candidate.arrange))
        pair = ", ".join(f"load({target!r}, 'numpy').function" if target else "..." for target in targets)
        told = "  # put the functions here that lay arrays out" * (not all(targets))
        load += [f"arrange = {pair}{told}", "candidate = dataclasses.replace(candidate, arrange=arrange)"]
    # The variable that asks for the simulator must be set before Numba is imported.
    simulated = array_kinds.simulated(candidate.arrays)
    before = ["import os", f'os.environ["{array_kinds.SIMULATOR}"] = "1"'] if simulated else []
    recipe = source.recipe if isinstance(source, Wrong) else source
    made = repr(recipe)
    names += ["ModelRun"] * isinstance(recipe, ModelRun)
    names += ["Huge", "Geometry"] * isinstance(recipe, Huge)
    if isinstance(source, Wrong):
        names.append("Wrong")
        made = f"Wrong({made}, {source.way!r})"
    claim = _claim(model, source)
    ending = [f"found = examine(candidate, case, {property_!r}{claim})", "assert found is None, found.text"]
    before += ["import dataclasses"] * ("dataclasses" in load[-1])
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
        f"spec = importlib.util.spec_from_file_location({module_name(Path(place))!r}, {place!r})",
        f"sys.path.insert(0, {str(Path(place).parent)!r})",
        "module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)",
        "spec.loader.exec_module(module)",
        f"candidate = module.{attribute}",
    ]


def _literals(case: Case) -> list[str]:
    """Lines that write the arrays out, to the last bit; `LITERAL_LINES` + 1 empty lines if one is too large."""
    lines = []
    for name, array in tensors(case).items():
        if array.size > MOST_WRITTEN:
            return [""] * (LITERAL_LINES + 1)
        lines += textwrap.wrap(f"{name} = {literal(array)}", LINE_LENGTH, subsequent_indent="    ")
    return lines


def _case(case: Case) -> list[str]:
    texts = arguments_code(case, {name: name for name in tensors(case)})
    options = ", ".join(f"{name}={text}" for name, text in texts.items())
    return ["case = refconv.Case(", *(f"    {line}" for line in _wrapped(options)), ")"]


def _arguments(candidate: Candidate) -> str:
    copy = "np.array" if candidate.arrays == "numpy" else "torch.tensor"
    return f"arguments = [{copy}(each) if isinstance(each, np.ndarray) else each for each in case.arguments()]"


def _claim(model: Claim | None, source: Any) -> str:
    """The last argument of a check, after a comma: the claim; of a function of the case what it says of this one."""
    if isinstance(model, ByCase):
        model = None if isinstance(source, Wrong | Huge) else model_of(model, source.case())
    if model is None:
        return ""
    return f", refconv.ErrorModel.parse({str(model)!r})" if isinstance(model, ErrorModel) else f", {str(model)!r}"


def _ending(candidate: Candidate, case: Case, property_: str, claim: str) -> list[str]:
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
    return [f"refconv.assert_close({call}, case{claim})"]
