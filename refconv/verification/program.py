"""Programs: a failing case as a small Python program that shows the fault when it is run.

Knows cases, candidates and the properties that a call can violate. A program depends on NumPy, refconv and the
candidate only (and on the library of the arrays that it takes).
"""

import re
import textwrap
from pathlib import Path

import numpy as np

from refconv.bounds import ErrorModel
from refconv.case import Case
from refconv.verification import judgement
from refconv.verification.candidates import MODULE_NAME, Candidate
from refconv.verification.layers import Source

MAX_LINES = 25
LITERAL_LINES = 5  # that the arrays may take together; those of a larger case are made anew, as they were made
LINE_LENGTH = 110


def program(candidate: Candidate, case: Case, source: Source, property_: str, model: ErrorModel | None = None) -> str:
    """A program of at most `MAX_LINES` lines, which ends with exit status 1 for as long as the fault is there.

    Parameters
    ----------
    candidate, case
        What fails, and on what.
    source
        How the arrays were made.
    property_
        Which property of `judgement` does not hold.
    model
        What the candidate is judged by.
    """
    arrays = _literals(case)
    if len(arrays) > LITERAL_LINES:
        arrays = source.code()
    imports, load = _load(candidate)
    libraries = ["import numpy as np", "import refconv"] + ["import torch"] * (candidate.arrays == "torch")
    lines = [*imports, *libraries, "", *load, "", *arrays, *_case(case), _arguments(candidate)]
    return "\n".join([*lines, *_ending(candidate, property_, model)]) + "\n"


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
    """Lines that write the arrays out, to the last bit."""
    lines = []
    for name in ("input", "weight", "bias"):
        array: np.ndarray | None = getattr(case, name)
        if array is not None and array.size > LITERAL_LINES * LINE_LENGTH:
            return [""] * (LITERAL_LINES + 1)
        lines += textwrap.wrap(f"{name} = {_literal(array)}", LINE_LENGTH, subsequent_indent="    ")
    return lines


def _literal(array: np.ndarray | None) -> str:
    if array is None:
        return "None"
    if not array.size:
        return f"np.zeros({array.shape}, {array.dtype.name!r})"
    numbers = re.sub(r"\b(nan|inf)\b", r"np.\1", repr(array.tolist()))  # repr of a float is exact
    return f"np.array({numbers}, {array.dtype.name!r})"


def _case(case: Case) -> list[str]:
    _, _, _, stride, padding, dilation, groups = case.arguments()
    options = f"stride={stride}, padding={padding!r}, dilation={dilation}, groups={groups}"
    return ["case = refconv.Case(", f"    input=input, weight=weight, bias=bias, {options}", ")"]


def _arguments(candidate: Candidate) -> str:
    copy = "np.array" if candidate.arrays == "numpy" else "torch.tensor"
    return f"arguments = [{copy}(each) if isinstance(each, np.ndarray) else each for each in case.arguments()]"


def _ending(candidate: Candidate, property_: str, model: ErrorModel | None) -> list[str]:
    """Lines that call the candidate and demand the property."""
    if property_ == judgement.INPUTS:
        return [
            "candidate(*arguments)",
            "for given, left in zip(case.arguments()[:3], arguments):",
            "    np.testing.assert_array_equal(left, given)",
        ]
    if property_ == judgement.KIND:
        kind = "np.ndarray" if candidate.arrays == "numpy" else "torch.Tensor"
        return ["result = candidate(*arguments)", f"assert isinstance(result, {kind}), type(result)"]
    if property_ == judgement.RETURNS:
        return [
            "try:",
            "    candidate(*arguments)",
            "except SystemExit as error:",
            '    raise AssertionError(f"the candidate ended the program: {error!r}") from error',
        ]
    claim = "" if model is None else f", refconv.ErrorModel.parse({str(model)!r})"
    return [f"refconv.assert_close(candidate(*arguments), case{claim})"]
