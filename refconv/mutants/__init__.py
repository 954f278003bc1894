"""Wrong convolutions, as real kernels were wrong: what a suite must find, and what a candidate may behave like.

Knows geometries and formats; loads NumPy only. Each mutant changes a step or two of a correct kernel (`kernels`), so
that its code shows the mistake and nothing else.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from refconv.core.checks import choice
from refconv.mutants.registry import KERNELS, REGISTRY, Mutant, by_name

__all__ = ["Mutant", "all", "base", "by_name"]

_KINDS = (
    "axis_mixup", "ignored_parameter", "fast_path", "group_indexing", "kernel_orientation", "bias_and_batch",
    "output_size", "degenerate", "padding", "tile_tail", "memory_layout", "gradient_geometry", "large_index",
    "precision", "zero_point", "requantization", "state", "epilogue",
)  # fmt: skip
for _kind in _KINDS:
    import_module(f"refconv.mutants.bugs.{_kind}")


def all() -> tuple[Mutant, ...]:  # noqa: A001 - the public name
    """All mutants, in a fixed order.

    Examples
    --------
    >>> import refconv.mutants
    >>> len(refconv.mutants.all()) > 100
    True
    """
    return tuple(REGISTRY.values())


def base(op: str) -> Callable[..., Any]:
    """The correct implementation that the mutants of an operator share.

    Examples
    --------
    >>> import numpy as np
    >>> base("conv2d")(np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2)))
    array([[[[4.]]]])
    """
    return partial(_run, choice("op", op, tuple(KERNELS)))


def _run(op: str, *arguments: Any, **keywords: Any) -> Any:
    return KERNELS[op](*arguments, **keywords).run()


def __getattr__(name: str) -> Mutant:
    """A mutant by its name, so that `refconv.mutants:stride-swapped` is a target of the command line."""
    try:
        return by_name(name)
    except ValueError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
