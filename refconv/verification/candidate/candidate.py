"""Candidates: the functions under test, each with its kind of arrays, its style and where it is loaded from.

Knows how a function is called; not how it is found, and not how it is judged.
"""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from refconv.cases.recipe import OUTPUT, Recipe
from refconv.core.checks import choice
from refconv.core.layouts import LAYOUTS, Layouts
from refconv.core.operators import axes_of
from refconv.judge.case import Case
from refconv.ops.family import OPERATORS
from refconv.verification.candidate import array_kinds
from refconv.verification.candidate.call import Arguments, Arrange, Outcome, Way, call_function, check_arrange
from refconv.verification.candidate.modules import Built, Layer

ARRAYS = array_kinds.KINDS
STYLES = ("return", "out")
MOST_SIMULATED = 20_000  # multiplications that a simulator does in about a second; 3 of 4 generated cases have fewer


@dataclass(frozen=True)
class Candidate:
    """A function under test.

    Parameters
    ----------
    function
        Called positionally, as torch.nn.functional.conv2d is. An attribute `device` says where torch tensors are to be.
    arrays : {"numpy", "torch", "cupy", "numba", "jax"}
        The kind of arrays that the function takes and returns.
    target
        Where it can be loaded from, `module:attribute`, `path/to/file.py:attribute` or `path/to/lib.so:symbol`; empty
        if from nowhere.
    style : {"return", "out"}
        Whether it returns its result, or writes it to an array that it gets as its last positional argument.
    op
        The operator that it claims to be.
    arrange : pair of callables, optional
        How arrays are laid out for it, and how its results are laid out as torch has them: `call.Arrange`.
    shapes : tuple of str
        Shapes that its own file names, as geometries in text: they are tried too.
    """

    function: Callable[..., Any]
    arrays: str = "numpy"
    target: str = ""
    style: str = "return"
    op: str = "conv2d"
    arrange: Arrange | None = None
    shapes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        array_kinds.check(self.arrays)
        choice("style", self.style, STYLES)
        choice("op", self.op, tuple(OPERATORS))
        if self.style == "out" and self.arrays == "jax":
            raise ValueError("style='out': jax arrays can't be written to")
        check_arrange(self.arrange)
        if not callable(self.function):
            raise TypeError(f"candidate={self.function!r}: must be callable")

    @property
    def identity(self) -> tuple[str, ...]:
        """All that tells the candidate from others; if it is in a file, a digest of the file's content, too."""
        path = Path(self.target.rpartition(":")[0])
        content = sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        return self.target, self.op, self.arrays, self.style, content

    def arguments(self, case: Case) -> list[Any]:
        """The positional arguments of a call: fresh, writable copies of the arrays, of the candidate's kind."""
        return Arguments(case, self._way()).positional

    def call(
        self,
        case: Case,
        *,
        layout: str = "",
        memory: Iterable[tuple[str, str]] = (),
        around: int | None = None,
    ) -> Outcome:
        """Call the function, and check all that it did except the numbers.

        The result is a copy. Where elements of an output look as if they had not been written, there is a second call.

        Parameters
        ----------
        case : Case
            The call.
        layout : str
            How arrays are handed over and come back, as a recipe has it; for "NHWC" there is a keyword `layout="NHWC"`
            too, if the function has it.
        memory : iterable of (str, str)
            Names of arrays and how each lies in memory, see `arrangements.arrange`; others are contiguous.
            What a candidate of the style "out" writes to is named "output".
        around : int, optional
            The bytes around the arrays; poison, which is NaN or large, if not given.

        Raises
        ------
        Unsupported
            If the candidate raises NotImplementedError, or its kind of arrays has no such dtype.
        ValueError
            For arrays that can't lie in memory so, or a name that no array has.

        Examples
        --------
        >>> import numpy as np
        >>> import refconv
        >>> case = Case(input=np.ones((1, 1, 2, 2)), weight=np.ones((1, 1, 1, 1)))
        >>> Candidate(refconv.conv2d).call(case, memory=[("input", "row_pitch")])
        Outcome(result=array([[[[1., 1.], [1., 1.]]]]), faults=())
        """
        way = self._way(layout, memory)
        return call_function(self.function, case, replace(way, around=around))

    @property
    def device(self) -> str:
        """The device of the torch tensors that the function takes."""
        return str(getattr(self.function, "device", "cpu")) if self.arrays == "torch" else "cpu"

    def is_stranded(self) -> bool:
        """Whether this process can't use the candidate's device any more, after what the candidate did to it."""
        return array_kinds.broken(self.arrays, self.device)

    def takes_too_long(self, case: Case) -> bool:
        """Whether the candidate's arrays are a simulator's, and the case is too large for a simulator."""
        return case.geometry.products > MOST_SIMULATED and array_kinds.simulated(self.arrays)

    def memory(self, recipe: Recipe) -> tuple[tuple[str, str], ...]:
        """The arrangements of a recipe, without the output's if the function returns its result."""
        if self.arrange is not None:
            return ()
        return tuple(arrangement for arrangement in recipe.memory if self.style == "out" or arrangement[0] != OUTPUT)

    def _way(self, layout: str = "", memory: Iterable[tuple[str, str]] = ()) -> Way:
        axes = axes_of(self.op)
        first, last = LAYOUTS[axes]
        keyword = layout if layout == last and self.is_told_layouts else ""
        layouts = Layouts.parse(layout or first, axes)
        return Way(self.arrays, self.device, self.style, layouts, keyword, self.arrange, dict(memory))

    @property
    def is_layer(self) -> bool:
        """Whether what is called is a class or an object like torch.nn.Conv2d."""
        return isinstance(self.function, Built | Layer)

    @cached_property
    def is_told_layouts(self) -> bool:
        """Whether the function has a keyword `layout`; taken to have one if it does not say what it has."""
        try:
            parameters = inspect.signature(self.function).parameters.values()
        except (ValueError, TypeError):
            return True
        return any(
            parameter.kind == parameter.VAR_KEYWORD
            or (parameter.name == "layout" and parameter.kind != parameter.POSITIONAL_ONLY)
            for parameter in parameters
        )
