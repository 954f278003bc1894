"""Tolerance: which rtol and atol are right for a layer, beside those that torch.testing takes by default.

Knows layers, cases and tolerances, and rich for its tables; not the command line.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from rich import box
from rich.table import Table

from refconv.cases import geometry_text
from refconv.cases.networks import Layer
from refconv.cases.recipe import input_shape, weight_shape
from refconv.core.errors import GeometryError
from refconv.judge import tolerances
from refconv.judge.bounds import ErrorModel
from refconv.judge.tolerances import Tolerances

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
class Row:
    """The tolerances that are right for one layer.

    Attributes
    ----------
    layer : Layer
        The convolution.
    terms : int
        n, the number of terms of a sum.
    tolerances : Tolerances
        rtol, atol, and the reason for them.
    unseen : float
        Share of the outputs where, with this pair, a dropped tap of typical size would pass.
    rejects, default_unseen : float or None
        With torch's default pair: the share of the outputs where it is too tight for a sound implementation, and where
        a dropped tap would pass. None where torch has no default.
    """

    layer: Layer
    terms: int
    tolerances: Tolerances
    unseen: float
    rejects: float | None
    default_unseen: float | None


def advise(layer: Layer, dtype: str, model: ErrorModel | None = None) -> Row:
    """The tolerances of a layer on normally distributed data.

    Raises
    ------
    GeometryError
        If the model is of an algorithm that can't compute such a layer.

    Examples
    --------
    >>> row = advise(parsed("1,64,8,8:8,64,3,3:padding=1"), "float32")
    >>> row.terms, 1e-4 < row.tolerances.atol < 1e-1
    (576, True)
    """
    case = layer.case(dtype)
    standard = case.standard(model)
    rtol_and_atol = case.tolerances(model)
    unseen = tolerances.unseen(standard, *rtol_and_atol)
    default = TORCH_DEFAULTS.get(dtype)
    if default is None:
        return Row(layer, case.geometry.terms, rtol_and_atol, unseen, None, None)
    magnitude, most = tolerances.needed(standard)
    rtol, atol = default
    rejects = float(np.mean(most > atol + rtol * magnitude)) if most.size else 0.0
    return Row(layer, case.geometry.terms, rtol_and_atol, unseen, rejects, tolerances.unseen(standard, *default))


def parsed(text: str) -> Layer:
    """A layer from text: the shapes of input and weight, and options.

    Raises
    ------
    GeometryError
        For a text of another form, and for shapes and options of no convolution.

    Examples
    --------
    >>> print(parsed("1,64,56,56:128,64,3,3:stride=2,padding=1"))
    64x56x56 -> 128, 3x3 s2
    """
    geometry, *_ = geometry_text.parsed(text)
    if geometry.padding_mode != "zeros" or any(before != after for before, after in geometry.padding):
        raise GeometryError(f"case={text!r}: must be padded with zeros, by the same number on both sides of an axis")
    x, w = input_shape(geometry), weight_shape(geometry)
    padding = tuple(before for before, _ in geometry.padding)
    return Layer("", "", x, w, geometry.stride, padding, geometry.dilation, geometry.groups)


def table(rows: Iterable[Row], dtype: str) -> Table:
    """The rows for the terminal."""
    default = TORCH_DEFAULTS.get(dtype)
    shown = Table("layer", "shape", box=box.SIMPLE_HEAD, padding=0, pad_edge=False, collapse_padding=True)
    titles = ["n", "rtol", "atol", "dropped tap\nunseen"]
    if default:
        rtol, atol = default
        titles += [f"torch's {rtol:g}, {atol:g}\ntoo tight in", "dropped tap\nunseen"]
    for title in titles:
        shown.add_column(title, justify="right")
    for row in rows:
        cells = [str(row.terms), *(f"{number:.1e}" for number in row.tolerances), _percent(row.unseen)]
        if default:
            cells += [_percent(row.rejects), _percent(row.default_unseen)]
        shown.add_row(f"{row.layer.network} {row.layer.name}".strip() or "case", str(row.layer), *cells)
    return shown


def explanation(rows: list[Row]) -> str:
    """The reason for the tolerances of the layer with the longest sums, and how to read the table."""
    longest = max(rows, key=lambda row: row.terms)
    return (
        f"Why, for {longest.layer}: {longest.tolerances.reason}.\n"
        "Each pair accepts all that the model admits on normally distributed operands, and no pair with a smaller\n"
        "mean of atol + rtol * |expected| does. atol scales with the operands; expected must be rounded once.\n"
        "'dropped tap unseen': share of the outputs in which one missing product of typical size would be accepted."
    )


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.3g} %"
