"""Epilogues: what a kernel does with a sum before it stores the result, step by step, in words and in float64.

Knows the names of steps, their numbers and operands; not which errors a step may make.
"""

import importlib
import itertools
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from refconv.core.checks import choice
from refconv.core.errors import GeometryError
from refconv.ops.activations import FUNCTIONS
from refconv.ops.family import OPERATORS

OPERANDS = {"scale": ("scale", "shift"), "residual": ("residual",)}  # the arrays that a step takes
NUMBERS = {"clip": ("low", "high"), "leaky_relu": ("slope",)}  # its numbers
NAMES = (*OPERANDS, *FUNCTIONS)
ROUNDED = ("after", "before")
FUSED = ("epilogue", "rounded")  # what is claimed of an epilogue
_STEP = re.compile(r"\s*([^(),]+?)\s*(?:\(([^()]*)\))?\s*(?:,|$)")


@dataclass(frozen=True, eq=False)
class Epilogue:
    """A step of an epilogue that has no name: a function, with the error that a kernel may make of it.

    Parameters
    ----------
    function : callable
        Takes an array of float64 and returns one of the same shape, element by element: the function's value, right to
        8 ULP of float64. At an infinity it must return its limit, or NaN: then the value at the largest number counts
        as the limit. A kernel may have the limit or NaN there; NaN stays NaN.
    error : float
        What a kernel may be wrong by where it computes the function of an exact number, in units in the last place of
        the value, in the format in which it computes (the accumulator's).
    slope : float, optional
        The largest magnitude of the function's derivative: a sum that is wrong by d gives a value that is wrong by
        slope * d at most. If not given, the function must be monotone, for then the ends of an interval become the
        ends of its image; that it is, is checked at some points of each interval.

    Raises
    ------
    TypeError, ValueError
        For a function that can't be called; for an error or a slope that is no number, negative or infinite.

    Notes
    -----
    For results in float64 the expected value is as good as the function, which float64 is too coarse for.

    A process of its own, and a program that shows a failure, find the function by the name that the object has at the
    top level of the module that defines the function.

    Examples
    --------
    >>> softplus = Epilogue(lambda x: np.logaddexp(0, x), error=4)
    >>> softplus.error
    4.0
    """

    function: Callable[[np.ndarray], np.ndarray]
    _: KW_ONLY
    error: float
    slope: float | None = None

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError(f"function={self.function!r}: must be callable")
        for name in ("error", "slope"):
            value = getattr(self, name)
            if value is None and name == "slope":
                continue
            number = _number(name, value)
            if number < 0:
                raise ValueError(f"{name}={value!r}: must not be negative")
            object.__setattr__(self, name, number)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The function's values."""
        return np.asarray(self.function(x), np.float64)

    def everywhere(self, x: np.ndarray) -> np.ndarray:
        """The function's values; at an infinity its own, if it has one, else those at the largest numbers."""
        largest = np.finfo(np.float64).max
        with np.errstate(all="ignore"):
            y = self(np.where(np.isnan(x), 0.0, x))
            far = self(np.clip(np.where(np.isnan(x), 0.0, x), -largest, largest))
            limit = np.where(np.abs(far) >= largest / 2, np.copysign(np.inf, far), far)
        return np.where(np.isnan(x), np.nan, np.where(np.isinf(x) & np.isnan(y), limit, y))

    @property
    def address(self) -> str:
        """Where the object is found: "module:name"; one that no module has is known by a number in this process."""
        module = getattr(self.function, "__module__", None) or ""
        for name, value in vars(sys.modules.get(module, object)).items():
            if value is self:
                return f"{module}:{name}"
        return next((text for text, known in _KNOWN.items() if known is self), None) or _register(self)


_KNOWN: dict[str, Epilogue] = {}
_numbered = itertools.count(1)
HERE = "here:"  # begins the address of what other processes do not find


def _register(step: Epilogue) -> str:
    address = f"{HERE}{next(_numbered)}"
    _KNOWN[address] = step
    return address


@dataclass(frozen=True)
class Step:
    """One step.

    Parameters
    ----------
    name : str
        One of `NAMES`, or the address of an `Epilogue`.
    numbers : tuple of float
        As `NUMBERS` names them.
    custom : Epilogue, optional
        What has the address.
    """

    name: str
    numbers: tuple[float, ...] = ()
    custom: Epilogue | None = None

    def __str__(self) -> str:
        return f"{self.name}({','.join(map(_written, self.numbers))})" if self.numbers else self.name

    def value(self, x: np.ndarray, operands: Sequence[np.ndarray] = ()) -> np.ndarray:
        """What the step makes of float64 numbers, in float64."""
        y: np.ndarray
        if self.name == "scale":
            y = x * operands[0] + operands[1]
        elif self.name == "residual":
            y = x + operands[0]
        elif self.custom is not None:
            y = self.custom.everywhere(x)
        else:
            y = FUNCTIONS[self.name](x, *self.numbers)
        return y

    @property
    def operands(self) -> tuple[str, ...]:
        """The arrays that it takes."""
        return OPERANDS.get(self.name, ())


def steps_of(epilogue: Any) -> tuple[Step, ...]:
    """The steps of an epilogue: of a text, or a sequence of names, names with numbers, and `Epilogue`s.

    Raises
    ------
    GeometryError, TypeError
        Naming the step, and what it must be.

    Examples
    --------
    >>> [str(step) for step in steps_of(["residual", ("clip", 0, 6)])]
    ['residual', 'clip(0,6)']
    >>> steps_of("clip(6,0)")
    Traceback (most recent call last):
    refconv.GeometryError: epilogue: clip(6,0): low must not be above high
    """
    if epilogue is None:
        return ()
    if isinstance(epilogue, str):
        return tuple(_step(*entry) for entry in _entries(epilogue))
    if isinstance(epilogue, Epilogue) or not isinstance(epilogue, Sequence):
        raise TypeError(f"epilogue={epilogue!r}: must be a sequence of steps, or a text")
    return tuple(map(_said, epilogue))


def text_of(epilogue: Any) -> str:
    """The epilogue as a text, as cases and recipes hold it; empty for none.

    >>> text_of(("scale", ("leaky_relu", 0.01))), text_of(None)
    ('scale,leaky_relu(0.01)', '')
    """
    return ",".join(map(str, steps_of(epilogue)))


def operand_names(steps: Sequence[Step]) -> tuple[str, ...]:
    """The names of all operands in the order in which a candidate gets them; later ones of a name are numbered.

    >>> operand_names(steps_of("scale,relu,residual,residual"))
    ('scale', 'shift', 'residual', 'residual_2')
    """
    names: list[str] = []
    for name in itertools.chain.from_iterable(step.operands for step in steps):
        number = 1 + sum(known.partition("_")[0] == name for known in names)
        names.append(name if number == 1 else f"{name}_{number}")
    return tuple(names)


def takes_epilogue(op: str) -> bool:
    """Whether an operator may have an epilogue: a convolution, of floats, that goes forward.

    >>> takes_epilogue("conv_transpose2d"), takes_epilogue("conv2d_weight"), takes_epilogue("conv2d_quantized")
    (True, False, False)
    """
    operator = OPERATORS[op]
    return operator.has_bias and not operator.is_quantized


def with_operands(steps: Sequence[Step], operands: Sequence[np.ndarray]) -> Iterator[tuple[Step, tuple[Any, ...]]]:
    """The steps, each with its own operands."""
    left = iter(operands)
    for step in steps:
        yield step, tuple(itertools.islice(left, len(step.operands)))


def applied(steps: Sequence[Step], sums: np.ndarray, operands: Sequence[np.ndarray]) -> np.ndarray:
    """What the epilogue makes of sums, in float64; operands as `arranged` has them.

    >>> applied(steps_of("residual,relu"), np.array([1.0, -3.0]), [np.array([0.5, 1.0])]).tolist()
    [1.5, 0.0]
    """
    for step, own in with_operands(steps, operands):
        sums = step.value(sums, own)
    return sums


def arranged(names: Sequence[str], operands: Sequence[np.ndarray], axes: int) -> list[np.ndarray]:
    """Operands in float64, vectors by channel with so many spatial axes behind them."""
    wide = [np.asarray(array, np.float64) for array in operands]
    return [
        array.reshape(-1, *(1,) * axes) if not name.startswith("residual") else array
        for name, array in zip(names, wide, strict=True)
    ]


def found_elsewhere(epilogue: str) -> bool:
    """Whether other processes find all functions of an epilogue."""
    return HERE not in epilogue


def _entries(text: str) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The names of a text, and what stands in brackets behind each."""
    end = 0
    while end < len(text.rstrip()) or (end and text[end - 1] == ","):
        match = _STEP.match(text, end)
        if match is None:
            raise GeometryError(f"epilogue={text!r}: must be names with commas between, as in 'residual,clip(0,6)'")
        name, numbers = match.groups()
        yield name, tuple(numbers.split(",")) if numbers else ()
        end = match.end()


def _said(step: Any) -> Step:
    """A step as a caller of Python says it."""
    if isinstance(step, Epilogue):
        return Step(step.address, (), step)
    if isinstance(step, Step):
        return step
    if isinstance(step, str):
        return _step(step, ())
    if isinstance(step, tuple | list) and step and isinstance(step[0], str):
        return _step(step[0], tuple(step[1:]))
    hint = ": of a function its error must be known, refconv.Epilogue(function, error=...)" * callable(step)
    raise TypeError(f"epilogue: {step!r} must be a name, a name with its numbers, or a refconv.Epilogue{hint}")


def _step(name: str, given: tuple[Any, ...]) -> Step:
    """The step of a name and its numbers, checked."""
    if ":" in name and not given:
        return Step(name, (), _loaded(name))
    choice("epilogue", name, NAMES)
    wanted = NUMBERS.get(name, ())
    if len(given) != len(wanted):
        takes = f"{name}({', '.join(wanted)})" if wanted else f"{name} alone, which takes no number"
        raise GeometryError(f"epilogue: {name} with {len(given)} numbers: must be {takes}")
    numbers = tuple(
        _number(f"epilogue: {name}: {of}", value, finite=name != "clip")
        for of, value in zip(wanted, given, strict=True)
    )
    step = Step(name, numbers)
    if name == "clip" and numbers[0] > numbers[1]:
        raise GeometryError(f"epilogue: {step}: low must not be above high")
    return step


def _loaded(address: str) -> Epilogue:
    """The `Epilogue` of an address."""
    if address in _KNOWN:
        return _KNOWN[address]
    module, _, name = address.partition(":")
    try:
        loaded = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise GeometryError(f"epilogue: {address!r}: must be module:name of a refconv.Epilogue ({error})") from None
    if not isinstance(loaded, Epilogue):
        raise TypeError(f"epilogue: {address!r}: must be a refconv.Epilogue, whose error is known")
    return loaded


def _number(name: str, value: Any, *, finite: bool = True) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float | np.number):
        raise TypeError(f"{name}={value!r}: must be a number")
    try:
        number = float(value)
    except ValueError:
        raise GeometryError(f"{name}={value!r}: must be a number") from None
    if math.isnan(number) or (finite and math.isinf(number)):
        raise GeometryError(f"{name}={value!r}: must be {'finite' if finite else 'a number'}")
    return number


def _written(number: float) -> str:
    return str(int(number)) if number.is_integer() and abs(number) < 1e6 else repr(number)
