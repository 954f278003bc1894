"""Tolerance: which rtol and atol are right for a call, beside those that torch.testing takes by default.

Knows recipes, cases and tolerances, and rich for its tables; not the command line.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from refconv.cases import networks, own
from refconv.cases.recipe import QUANTIZED, Recipe
from refconv.cases.sampled import outputs_of, sampled
from refconv.core.errors import GeometryError
from refconv.judge import tolerances
from refconv.judge.bounds import ErrorModel
from refconv.judge.bounds.claim import Alternatives
from refconv.judge.tolerances import Tolerances
from refconv.judge.usual_models import reading
from refconv.verification.memory import available

SECONDS = 15.0  # for a call, if no other time is asked for
FIRST = 2**27  # products of all outputs, or of the sample that is timed
PER_OUTPUT = 2**8  # products that take as long as what is done with an output once its sums are known
MOST = 2**23  # outputs that are computed if no number is asked for
BYTES, BYTES_PER_OUTPUT = 32, 256  # that an element of the operands takes at least, and an output
SHARE = 0.7  # of the time that is left, which a larger sample is expected to take
STEP = 8  # how many times as large it is, at most

EQUAL = "sums of integers are exact: outputs must be equal"

# https://docs.pytorch.org/docs/stable/testing.html#torch.testing.assert_close; it has none for 8 bits.
TORCH_DEFAULTS = {
    "float16": (1e-3, 1e-5),
    "bfloat16": (1.6e-2, 1e-5),
    "float32": (1.3e-6, 1e-5),
    "float64": (1e-7, 1e-7),
    "complex64": (1.3e-6, 1e-5),
    "complex128": (1e-7, 1e-7),
}


@dataclass(frozen=True)
class Question:
    """What is asked of every call.

    Attributes
    ----------
    model : ErrorModel or Alternatives, optional
        How the sums are computed; by default as `ErrorModel.inferred` has it.
    sample : int, optional
        How many outputs are computed, at least; by default as many as `seconds` allow.
    seconds : float
        Time for a call.
    errors : tuple of float
        Largest errors that were measured, to be explained.
    scale : float
        Standard deviation of the products of the operands of which they were measured.
    """

    model: ErrorModel | Alternatives | None = None
    sample: int | None = None
    seconds: float = SECONDS
    errors: tuple[float, ...] = ()
    scale: float = 1.0


@dataclass(frozen=True)
class NamedRecipe:
    """A call that tolerances are wanted for, its name and its shape as the table shows them."""

    name: str
    shape: str
    recipe: Recipe


@dataclass(frozen=True)
class Row:
    """The tolerances that are right for one call.

    Attributes
    ----------
    name, shape : str
        What the call is.
    terms : int
        n, the number of terms of a sum.
    outputs, n_sampled : int
        How many outputs there are, and of how many the tolerances were computed.
    tolerances : Tolerances
        rtol, atol, and the reason for them.
    unseen : float
        Share of the outputs where, with this pair, a dropped tap of typical size would pass.
    rejects, default_unseen : float or None
        With torch's default pair: the share of the outputs where it is too tight for a sound implementation, and where
        a dropped tap would pass. None where torch has no default.
    readings : tuple of str
        A sentence for each error that was measured.
    """

    name: str
    shape: str
    terms: int
    outputs: int
    n_sampled: int
    tolerances: Tolerances
    unseen: float
    rejects: float | None = None
    default_unseen: float | None = None
    readings: tuple[str, ...] = ()

    @property
    def is_sample(self) -> bool:
        """Whether not all outputs were computed."""
        return self.n_sampled < self.outputs


def parsed(
    text: str, op: str = "conv2d", dtype: str = "float32", out_dtype: str = "", epilogue: str = "", rounded: str = ""
) -> NamedRecipe:
    """A call from text: the shapes of input and weight, and options, as `Recipe.parse` takes them.

    Raises
    ------
    GeometryError
        For a text of another form, and for shapes and options of no convolution.

    Examples
    --------
    >>> parsed("1,64,56,56:128,64,3,3:stride=2,padding=same_upper").recipe.geometry.output_size
    (28, 28)
    """
    fill = "integers" if op in QUANTIZED else "normal"
    said: dict[str, Any] = {"out_dtype": out_dtype, "epilogue": epilogue, "rounded": rounded}
    return NamedRecipe("case", text, Recipe.parse(text, op=op, dtype=dtype, fill=fill, **said))


def of_network(
    network: str, op: str = "conv2d", dtype: str = "float32", out_dtype: str = "", epilogue: str = "", rounded: str = ""
) -> Iterator[NamedRecipe]:
    """The layers of a network, as calls of an operator.

    Raises
    ------
    GeometryError
        For a network that is not known.

    Examples
    --------
    >>> first = next(of_network("resnet50", "conv2d_weight"))
    >>> first.name, first.shape, first.recipe.terms()
    ('resnet50 conv1', '3x224x224 -> 64, 7x7 s2', 12544)
    """
    fill = "integers" if op in QUANTIZED else "normal"
    for layer, recipe in zip(networks.layers(network), own.of_networks([network], op), strict=True):
        said: dict[str, Any] = {"out_dtype": out_dtype, "epilogue": epilogue, "rounded": rounded}
        yield NamedRecipe(f"{layer.network} {layer.name}", str(layer), replace(recipe, dtype=dtype, fill=fill, **said))


def advise(call: NamedRecipe, question: Question = Question()) -> Row:
    """The tolerances of a call on normally distributed data: of a sample of its outputs, if all would take too long.

    Raises
    ------
    GeometryError
        If the model is of an algorithm that can't compute such a call, or if the call does not fit into memory.

    Examples
    --------
    >>> row = advise(parsed("1,64,8,8:8,64,3,3:padding=1", "conv2d_input"))
    >>> row.terms, row.n_sampled, 1e-5 < row.tolerances.atol < 1e-2
    (72, 4096, True)
    """
    recipe, total = call.recipe, outputs_of(call.recipe)
    if recipe.op in QUANTIZED:
        readings = tuple(f"{error:g}: {EQUAL}{', and are not' if error else ''}." for error in question.errors)
        none = Tolerances(0.0, 0.0, EQUAL)
        return Row(call.name, call.shape, recipe.terms(), total, total, none, 0.0, readings=readings)
    if question.sample is not None:
        return _row(call, question, question.sample)
    first = max(1, FIRST // (recipe.terms() + PER_OUTPUT))
    if total <= first:
        return _row(call, question, total)
    return _within(call, question, first)


def _within(call: NamedRecipe, question: Question, first: int) -> Row:
    """The row, of all outputs or of the largest sample that the time allows: larger and larger ones, each timed."""
    start = time.perf_counter()
    row, seconds = _timed(call, question, first)
    if seconds < question.seconds / 4:
        row, seconds = _timed(call, question, first)  # the first time something may have been compiled
    slope = seconds / row.n_sampled
    while row.is_sample:
        left = SHARE * (question.seconds - (time.perf_counter() - start))
        most = min(
            MOST,
            available() // (2 * BYTES_PER_OUTPUT),
            STEP * row.n_sampled,
            row.n_sampled + int((left - seconds) / slope),
        )
        if most >= row.outputs:
            return _row(call, question, row.outputs)
        if most < 2 * row.n_sampled:
            break
        before, seconds_before = row, seconds
        # Doubled some times: the same number, but by chance, when it is asked for again.
        row, seconds = _timed(call, question, row.n_sampled << int(math.log2(most / row.n_sampled)))
        slope = max(slope / STEP, (seconds - seconds_before) / (row.n_sampled - before.n_sampled))
    return row


def _timed(call: NamedRecipe, question: Question, outputs: int) -> tuple[Row, float]:
    """The row, and how long it took."""
    start = time.perf_counter()
    row = _row(call, question, outputs)
    return row, time.perf_counter() - start


def _row(call: NamedRecipe, question: Question, outputs: int) -> Row:
    """The row, of so many outputs at least."""
    recipe = call.recipe
    model = _model_of(question.model, recipe)
    whole_images = model is not None and model.unit == 0 and model != ErrorModel.exact()
    part = sampled(recipe, outputs, whole_images=whole_images)
    _check_memory(part, call.shape)
    case = part.case()
    standard, pair = case.standard(model), case.tolerances(model)
    rejects = default_unseen = None
    result = recipe.out_dtype or recipe.dtype
    if result in TORCH_DEFAULTS:
        rtol, atol = TORCH_DEFAULTS[result]
        magnitude, most = tolerances.needed(standard)
        rejects = float(np.mean(most > atol + rtol * magnitude)) if most.size else 0.0
        default_unseen = tolerances.unseen(standard, rtol, atol)
    whole_images = part.geometry.size == recipe.geometry.size
    readings = tuple(
        reading(case, error / question.scale, model, called=f"{error:g}", whole_images=whole_images)
        for error in question.errors
    )
    return Row(
        call.name, call.shape, recipe.terms(), outputs_of(recipe), outputs_of(part), pair,
        tolerances.unseen(standard, *pair), rejects, default_unseen, readings,
    )  # fmt: skip


def _model_of(claim: ErrorModel | Alternatives | None, recipe: Recipe) -> ErrorModel | None:
    """The model that is claimed for a call."""
    if not isinstance(claim, Alternatives):
        return claim
    return claim.of(recipe.op, recipe.geometry, np.dtype(recipe.out_dtype or recipe.dtype))


def _check_memory(part: Recipe, shape: str) -> None:
    """Refuse what does not fit into memory."""
    elements, free = sum(map(math.prod, part.shapes().values())), available()
    least = BYTES * elements + BYTES_PER_OUTPUT * outputs_of(part)
    if least > free:
        raise GeometryError(f"{shape}: needs some {least:,} bytes: must be at most {free:,}, what is free")


def table(rows: Sequence[Row], dtype: str) -> Table:
    """The rows for the terminal."""
    default, samples = TORCH_DEFAULTS.get(dtype), any(row.is_sample for row in rows)
    shown = Table("layer", "shape", box=box.SIMPLE_HEAD, padding=0, pad_edge=False, collapse_padding=True)
    titles = ["n", *["outputs\nsampled"] * samples, "rtol", "atol", "dropped tap\nunseen"]
    if default:
        rtol, atol = default
        titles += [f"torch's {rtol:g}, {atol:g}\ntoo tight in", "dropped tap\nunseen"]
    for title in titles:
        shown.add_column(title, justify="right")
    for row in rows:
        cells = [str(row.terms), *[f"{row.n_sampled:,} of {row.outputs:,}" if row.is_sample else "all"] * samples]
        cells += [*(f"{number:.1e}" for number in row.tolerances), _percent(row.unseen)]
        if default:
            cells += [_percent(row.rejects), _percent(row.default_unseen)]
        shown.add_row(row.name, row.shape, *cells)
    return shown


def explanation(rows: Sequence[Row]) -> str:
    """The reason for the tolerances of the layer with the longest sums, and how to read the table."""
    longest = max(rows, key=lambda row: row.terms)
    text = f"Why, for {longest.shape}: {longest.tolerances.reason}."
    if not any(longest.tolerances):
        return text
    text += (
        "\nEach pair accepts all that the model admits on normally distributed operands, and no pair with a smaller\n"
        "mean of atol + rtol * |expected| does. atol scales with the operands; expected must be rounded once.\n"
        "'dropped tap unseen': share of the outputs in which one missing product of typical size would be accepted."
    )
    if any(row.is_sample for row in rows):
        text += (
            "\nWhere outputs are sampled, the pair accepts all that the model admits of the sample. Other outputs are\n"
            "sums of as many such terms, but a few may need more, above all where n is small: of 1,000 outputs among\n"
            "millions atol may be half as large for n = 27. --sample and --seconds take more outputs."
        )
    return text


def readings(rows: Sequence[Row], scale: float) -> str:
    """What measured errors may come from, a sentence for each; and what they are compared with."""
    lines = [f"{row.name} {row.shape}: {said}" if len(rows) > 1 else said for row in rows for said in row.readings]
    if any(any(row.tolerances) for row in rows):
        lines.append(
            "Errors are compared with bounds for normally distributed operands, whose products have the standard\n"
            f"deviation {scale:g}. Bounds grow as operands do: --scale says how large they were. Bounds are for the\n"
            "worst roundings; errors on random operands are far smaller, which `case.check` of an output looks at too."
        )
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.3g} %"
