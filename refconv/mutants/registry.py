"""What a mutant is, and the decorator that makes one of a changed step of a kernel.

Knows the correct kernels; no mutant.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from refconv.core.operators import kind_of, named
from refconv.mutants.kernels.backward import BiasGradient, InputGradient, Transposed, WeightGradient
from refconv.mutants.kernels.forward import Forward, KernelCall
from refconv.mutants.kernels.quantized import Integer, Quantized
from refconv.mutants.sources import FURTHER, SOURCES
from refconv.ops.family import OPERATORS

PLANE: dict[str, type[KernelCall]] = {
    kernel.op: kernel
    for kernel in (Forward, Transposed, InputGradient, WeightGradient, BiasGradient, Integer, Quantized)
}
# What is appended to the name of a mutant of several operators.
SUFFIXES = {
    "conv2d": "",
    "conv_transpose2d": "-transposed",
    "conv2d_input": "-input-gradient",
    "conv2d_weight": "-weight-gradient",
    "conv2d_bias": "-bias-gradient",
    "conv2d_integer": "-integer",
    "conv2d_quantized": "-quantized",
}
# The same kernels for one and three axes: their number is that of the operator.
KERNELS: dict[str, type[KernelCall]] = PLANE | {
    op: type(kernel.__name__, (kernel,), {"op": op})
    for axes in (1, 3)
    for op, kernel in ((named(kind_of(plane), axes), kernel) for plane, kernel in PLANE.items())
    if op in OPERATORS
}
ANY, SEVERAL = (2, 1, 3), (2, 3)  # the numbers of axes for which a mistake means something
# Words of summaries, which are those of two axes, for other numbers of axes.
WORDS = {
    1: {"rows of zeros": "zeros", "at the top": "in front", "elements of a row": "elements",
        "rows and columns": "elements", "row and column": "element", "columns": "elements", "column": "element",
        "width": "length", "1x1": "pointwise", "3x3": "3-tap"},
    2: {},
    3: {"1x1": "1x1x1", "3x3": "3x3x3"},
}  # fmt: skip
SPATIAL = ("conv2d", "conv_transpose2d", "conv2d_input", "conv2d_weight")
EVERY = (*SPATIAL, "conv2d_integer", "conv2d_quantized")  # operators with windows
DTYPES = dict.fromkeys(KERNELS, ("float32",)) | dict.fromkeys(("conv2d_integer", "conv2d_quantized"), ("int8", "uint8"))

_T = TypeVar("_T")


@dataclass(frozen=True)
class Mutant:
    """A wrong implementation of an operator. Callable as a candidate is; picklable, by its name.

    Parameters
    ----------
    name : str
        Short and unique.
    kind : str
        The class of the bug: "axis_mixup", for instance.
    op : str
        The operator.
    source : str
        The issue of the bug, "tenstorrent/tt-metal#19542"; empty if the mutant is only akin to bugs with an issue.
    entry : str
        The entry of the corpus of bugs, "RB002", or empty.
    summary : str
        One line that reads after "behaves like".
    kernel : type of KernelCall
        The wrong kernel.
    dtypes : tuple of str
        Dtypes in which the mistake shows.
    supports : mapping
        What the candidate must be said to take for the mistake to show, as `refconv.verify` takes it.
    style : {"return", "out"}
        How it is called.
    epilogue : str
        What comes behind its sums, as `refconv.verify` takes it: the claim under which it is wrong.
    family : str
        The name without the operator: the same mistake in several operators.
    requantize : str
        The rule that it claims to follow, of a mistake in this rule; else empty, and it follows any.
    weight_bits : int
        How many bits its weights are said to have, if that matters.
    """

    name: str
    kind: str
    op: str
    source: str
    entry: str
    summary: str
    kernel: type[KernelCall] = field(repr=False)
    dtypes: tuple[str, ...] = ("float32",)
    supports: Mapping[str, Any] = field(default_factory=dict, hash=False)
    style: str = "return"
    family: str = ""
    requantize: str = ""
    weight_bits: int = 0
    epilogue: str = ""

    def __post_init__(self) -> None:
        """Take the module and name by which a mutant is an attribute of the package, as a function would be."""
        for name, value in (("__module__", "refconv.mutants"), ("__name__", self.name), ("__doc__", self.summary)):
            object.__setattr__(self, name, value)

    @property
    def function(self) -> Callable[..., Any]:
        """What is called: the mutant itself."""
        return self

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """The wrong result of a call; written to the last argument if the style is "out"."""
        if self.style == "return":
            return self.kernel(*arguments, epilogue=self.epilogue, **keywords).run()
        call = self.kernel(*arguments[:-1], epilogue=self.epilogue, **keywords)
        call.deliver(call.run(), arguments[-1])
        return None

    def under(self, epilogue: str) -> "Mutant":
        """The same mistake in a kernel with another epilogue."""
        return self if epilogue == self.epilogue else replace(self, epilogue=epilogue)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle a mutant by its name: its kernel's class is no attribute of a module."""
        return _under, (self.name, self.epilogue)


REGISTRY: dict[str, Mutant] = {}


def mutant(
    *,
    kind: str,
    summary: str,
    op: str | tuple[str, ...] = "conv2d",
    entry: str = "",
    step: str = "prepare",
    when: Callable[[Any], bool] | None = None,
    axes: tuple[int, ...] = (2,),
    **options: Any,
) -> Callable[[_T], _T]:
    """Register a mutant of each operator: what is decorated replaces a step of its kernel, or several if it is a class.

    Parameters
    ----------
    kind, summary, entry
        As `Mutant` has them; the source is that of the entry.
    op : str or tuple of str
        The operator, or several: a mutant for each.
    step : str
        The method of `KernelCall` that a decorated function replaces.
    when : callable, optional
        On which calls the step is replaced; all if not given.
    axes : tuple of int
        For which numbers of spatial axes the mistake is made. `op` names the operators of two; the entry and the source
        are of these.
    **options
        source of a bug that is no entry, dtypes, supports, style, requantize, weight_bits, epilogue and name, as
        `Mutant` has them; the name is the function's by default. With `suffix` the operator is appended to the name of
        a single mutant, too.
    """
    operators = (op,) if isinstance(op, str) else op

    def register(changed: _T) -> _T:
        plain = options.pop("name", changed.__name__.replace("_", "-").lower())  # type: ignore[attr-defined]
        source, suffix = options.pop("source", ""), options.pop("suffix", False)
        for operator, count in ((operator, count) for operator in operators for count in axes):
            own = named(kind_of(operator), count)
            if own not in KERNELS:
                continue
            name = plain + SUFFIXES[operator] if suffix or len(operators) > 1 else plain
            name += f"-{count}d" if count != 2 else ""
            if name in REGISTRY:
                raise ValueError(f"{name}: there is another mutant of this name")
            kernel = _kernel(KERNELS[own], changed, step, when)
            if "requantize" in options:
                kernel.rule = options["requantize"]  # type: ignore[attr-defined]  # it is of a quantized convolution
            fields = {"dtypes": DTYPES[own], "family": plain} | options
            of_entry, other = (entry, source or FURTHER.get(plain, "")) if count == 2 else ("", "")
            cited = SOURCES.get(of_entry, other)
            REGISTRY[name] = Mutant(name, kind, own, cited, of_entry, _worded(summary, count), kernel, **fields)
        return changed

    return register


def _worded(summary: str, axes: int) -> str:
    """A summary in the words of so many axes."""
    for plane, other in WORDS[axes].items():
        summary = summary.replace(plane, other)
    return summary


def _kernel(base: type[KernelCall], changed: Any, step: str, when: Callable[[Any], bool] | None) -> type[KernelCall]:
    """The kernel with a step, or several, replaced."""
    if isinstance(changed, type):
        return type(changed.__name__, (changed, base), {})
    getattr(base, step)  # an error here, not a mutant that equals its base
    method = changed if when is None else _gated(changed, getattr(base, step), when)
    return type(changed.__name__, (base,), {step: method})


def _gated(changed: Callable[..., Any], kept: Callable[..., Any], when: Callable[[Any], bool]) -> Any:
    """A method that is `changed` on some calls and `kept` on the others."""

    def method(call: KernelCall, *arguments: Any) -> Any:
        return (changed if when(call) else kept)(call, *arguments)

    return method


def _under(name: str, epilogue: str) -> Mutant:
    """The mutant of a name with an epilogue."""
    return by_name(name).under(epilogue)


def by_name(name: str) -> Mutant:
    """The mutant of a name.

    Examples
    --------
    >>> by_name("dilation-height-for-width").entry
    'RB002'
    """
    try:
        return REGISTRY[name]
    except KeyError:
        raise ValueError(f"name={name!r}: must be the name of a mutant; see refconv.mutants.all()") from None
