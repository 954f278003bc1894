"""Calls: the arguments of one call of a function, and all that the call can do wrong whatever it computes.

Knows cases, kinds of arrays and memory; not where functions come from, and not which numbers are right.
"""

import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from refconv.cases.recipe import OUTPUT
from refconv.core.errors import BackendUnavailable
from refconv.core.layouts import DEPTHWISE, Layouts, result_name
from refconv.judge.case import SIZES, Case
from refconv.verification.candidate import array_kinds
from refconv.verification.candidate.arrangements import OTHER, Place, bits, place, poison, reserve
from refconv.verification.candidate.array_kinds import Handed
from refconv.verification.candidate.clock import calling
from refconv.verification.examine.property_names import INPUTS, KIND, LAYOUT, OUTSIDE, RETURNS, WRITTEN
from refconv.verification.faults import WrongUse, described

# Arguments that have a batch axis.
IMAGES, USUAL = ("input", "grad_output"), Layouts.usual(2)
ARRANGED = ("input", "weight", "grad_output", "output")  # what a caller's own arrangement is for


# How a caller lays arrays out: (name, array in torch's order) -> array for the candidate; and back, of a result
# (name, array of the candidate, shape in torch's order) -> array.
Arrange: TypeAlias = tuple[Callable[[str, np.ndarray], np.ndarray], Callable[..., np.ndarray]]


def check_arrange(arrange: Any) -> None:
    """Refuse what is no pair of functions."""
    is_pair = isinstance(arrange, tuple | list) and len(arrange) == 2
    if arrange is not None and not (is_pair and all(map(callable, arrange))):
        raise TypeError(f"arrange={arrange!r}: must be two functions, one for what is handed over, one for results")


class Unsupported(Exception):
    """The candidate says that it does not do this case, or its kind of arrays can't hold it."""


class Raised(Exception):
    """The candidate has raised anything but NotImplementedError: the message is its traceback."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of a call, and what was wrong about it.

    Attributes
    ----------
    result : ndarray or None
        The array returned or written, in NCHW whatever the layout was; None if that is no such array.
    faults : tuple of (str, str)
        Each property of a call that does not hold, and what happened.
    held : ndarray or None
        The result in the memory that the candidate returned, if that can be seen: later calls must not change it.
    """

    result: np.ndarray | None
    faults: tuple[tuple[str, str], ...] = ()
    held: np.ndarray | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Way:
    """How a case is put to a function.

    Attributes
    ----------
    arrays, device, style
        As `Candidate` has them.
    layouts : Layouts
        Of the arrays.
    layout : str
        The keyword that says so; empty if there is none.
    arrange : Arrange or None
        The caller's own way to lay arrays out, in place of layouts.
    memory : mapping of str to str
        Arrangements by the names of arrays; others are contiguous.
    around : int or None
        The bytes around the arrays that are handed over; poison if not given.
    """

    arrays: str = "numpy"
    device: str = "cpu"
    style: str = "return"
    layouts: Layouts = USUAL
    layout: str = ""
    arrange: Arrange | None = None
    memory: Mapping[str, str] = field(default_factory=dict)
    around: int | None = None

    def stored(self, name: str, array: np.ndarray, groups: int = 1) -> np.ndarray:
        """An array of the call as it is handed over; `"output"` is what is written to."""
        if self.arrange is None or _arranged_as(name) not in ARRANGED:
            return self.layouts.stored(name, array, groups)
        try:
            return np.asarray(self.arrange[0](_arranged_as(name), array))
        except Exception as error:
            raise WrongUse(f"arrange raised {described(error)}, for {name} of shape {array.shape}") from error

    def usual(self, case: Case, result: np.ndarray) -> np.ndarray:
        """A result in torch's order; of another number of axes, as it is."""
        name = result_name(case.op)
        if self.arrange is None or name not in ARRANGED:
            return self.layouts.restored(name, result)
        return np.asarray(self.arrange[1](name, result, case.unwritten.shape))


def _arranged_as(name: str) -> str:
    """What an array is laid out as: a residual as the output."""
    return "output" if name.startswith("residual") else name


def call_function(function: Callable[..., Any], case: Case, way: Way) -> Outcome:
    """Call a function, as `Candidate.call` says."""
    made = Arguments(case, way)
    try:
        returned = _called(function, made.positional, made.keywords, way)
    except Raised as raised:
        return Outcome(None, ((RETURNS, str(raised)),))
    faults = [*made.changed(), *made.strays()]
    result, more = _written(made, returned) if made.output else _returned(way, returned)
    faults += more
    if made.output:
        try:
            faults += _unwritten(function, case, way, made)
        except Raised as raised:
            faults.append((RETURNS, f"the same call again: {raised}"))
    if result is None:
        return Outcome(None, tuple(faults))
    try:
        usual = way.usual(case, result)
    except Exception as error:  # noqa: BLE001 - the caller's function, on a result of any shape
        fault = LAYOUT, f"the result of shape {result.shape} can't be brought back: {_traceback(error)}"
        return Outcome(None, (*faults, fault), result)
    # A copy: a function may return the same memory every time.
    return Outcome(np.array(usual, order="C"), tuple(faults), usual)


def call_in_place(
    function: Callable[..., Any], arguments: Sequence[Any], output: Place | None, kind: str, device: str
) -> tuple[np.ndarray | None, list[tuple[str, str]]]:
    """Call a function on arrays where they lie, without any copy, and return the result and its faults.

    Neither inputs nor the memory around arrays are looked at again.

    Parameters
    ----------
    function
        What is called.
    arguments
        Its arguments, a place for each array.
    output
        Where the result is to be written; None for a function that returns it.
    kind, device
        As `Way` has them.

    Raises
    ------
    Raised, Unsupported
        If the function raises; if the kind of arrays has no such dtype.
    """
    way = Way(kind, device, "return" if output is None else "out")
    try:
        given = [array_kinds.handed(one, kind, device).array if isinstance(one, Place) else one for one in arguments]
        written = None if output is None else array_kinds.handed(output, kind, device)
    except TypeError as error:
        raise Unsupported(str(error)) from error
    if written is None:
        return _returned(way, _called(function, given, {}, way))
    returned = _called(function, [*given, written.array], {}, way)
    return written.view, [] if returned is None or returned is written.array else [_other_output(returned)]


class Arguments:
    """The arguments of one call, fresh and writable, and after the call, what the function did to them.

    Attributes
    ----------
    positional : list
        The positional arguments.
    keywords : dict
        The keyword arguments.
    output : Handed or None
        The array that the function is to write to, which is the last positional argument; None if it returns one.

    Raises
    ------
    Unsupported
        If the kind of arrays has no such dtype.
    ValueError
        If an array can't be arranged as it should be, or there is none of that name.
    """

    def __init__(self, case: Case, way: Way, fill: int | None = None) -> None:
        self._way, self._groups = way, case.geometry.groups if way.layouts.weight in DEPTHWISE.values() else 1
        self._inputs: dict[str, tuple[np.ndarray, Handed, np.ndarray]] = {}
        self.output: Handed | None = None
        self.positional = [
            self._argument(name, value) for name, value in zip(case.parameters, case.arguments(), strict=True)
        ]
        self.keywords: dict[str, Any] = case.keywords()
        if way.layout:
            self.keywords["layout"] = way.layout
        if way.style == "out":
            self._fill = poison(case.unwritten.dtype) if fill is None else fill
            self.positional.append(self._output(case))
        for name in way.memory:
            if name not in self._inputs and not (name == OUTPUT and self.output):
                raise ValueError(f"memory of {name!r}: there is no such array")

    def changed(self) -> Iterator[tuple[str, str]]:
        """Faults: inputs, or the memory around them, that the call changed."""
        for name, (original, handed, before) in self._inputs.items():
            if not _same(original, handed.array, self._way.arrays):
                yield INPUTS, f"the candidate has changed its argument {name}"
            elif not np.array_equal(before, handed.bytes):
                yield INPUTS, f"the candidate has written to the memory around its argument {name}"

    def strays(self) -> Iterator[tuple[str, str]]:
        """Faults: elements that were written outside the output."""
        if self.output is None:
            return
        output = self.output.place
        (strays,) = np.nonzero((self.output.bytes != self._fill) & ~output.inside)
        if not len(strays):
            return
        size = output.view.itemsize
        elements = np.unique((strays - output.offset) // size)
        (inside,) = np.nonzero(output.inside)
        end = (inside[-1] + 1 - output.offset) // size if len(inside) else 0
        before, behind = int((elements < 0).sum()), int((elements >= end).sum())
        where = {"before it": before, "between its elements": len(elements) - before - behind, "behind it": behind}
        counts = ", ".join(f"{count} {place}" for place, count in where.items() if count)
        yield OUTSIDE, f"the candidate has written to elements that do not belong to the output: {counts}"

    def untouched(self) -> np.ndarray:
        """For each element of the output, whether it still is poison, as before the call."""
        assert self.output is not None  # noqa: S101 - asked only where there is one
        untouched: np.ndarray = (bits(self.output.view) == self._fill).all(axis=-1)
        return untouched

    def _argument(self, name: str, value: Any) -> Any:
        if name in SIZES:
            return self._way.layouts.size(name, value, self._groups)
        if not isinstance(value, np.ndarray) and (self._way.arrays == "numpy" or not isinstance(value, np.generic)):
            return value
        way = self._way
        original = way.stored(name, np.asarray(value), self._groups)
        placed = place(original, way.memory.get(name, "contiguous"), way.around, axes=way.layouts.axes)
        handed = self._handed(name, placed)
        self._inputs[name] = original, handed, handed.bytes.copy()
        return handed.array

    def _output(self, case: Case) -> Any:
        shape = self._way.stored(result_name(case.op), case.unwritten, self._groups).shape
        name = self._way.memory.get(OUTPUT, "contiguous")
        if name == "broadcast":
            raise ValueError("memory of 'output': elements that share memory can't be written to")
        placed = reserve(shape, case.unwritten.dtype, name, self._fill, axes=self._way.layouts.axes)
        self.output = self._handed(OUTPUT, placed)
        return self.output.array

    def _handed(self, name: str, placed: Any) -> Handed:
        try:
            return array_kinds.handed(placed, self._way.arrays, self._way.device)
        except TypeError as error:
            raise Unsupported(f"{name}: {error}") from error


def _called(function: Callable[..., Any], positional: Sequence[Any], keywords: Mapping[str, Any], way: Way) -> Any:
    """Call the function, and wait until it is done."""
    # A warning is no verdict, and must not become one where the caller turns warnings into errors.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with calling():
                returned = function(*positional, **keywords)
                array_kinds.finish(returned, way.arrays, way.device)
        except NotImplementedError as error:
            raise Unsupported(str(error)) from error
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit and pytest's outcomes included: none of them is a result
            raise Raised(_traceback(error)) from error
    return returned


def _returned(way: Way, returned: Any) -> tuple[np.ndarray | None, list[tuple[str, str]]]:
    """The result of a function that returns it, and faults of its type."""
    unlike = array_kinds.unlike(returned, way.arrays, way.device)
    if unlike:
        hint = "; one that writes its result to an array of the caller's has style='out' (--style out)"
        return None, [(KIND, unlike + hint * (returned is None))]
    try:
        return array_kinds.on_host("result", returned, way.arrays), []
    except (TypeError, BackendUnavailable) as error:
        return None, [(LAYOUT, str(error))]


def _written(made: Arguments, returned: Any) -> tuple[np.ndarray | None, list[tuple[str, str]]]:
    """The result of a function that writes it, and faults of what it returned besides."""
    assert made.output is not None  # noqa: S101 - asked only where there is one
    if returned is None or returned is made.output.array:
        return made.output.view, []
    return made.output.view, [_other_output(returned)]


def _other_output(returned: Any) -> tuple[str, str]:
    kind = f"{type(returned).__module__}.{type(returned).__name__}"
    return KIND, f"must return None or the output that it was given, not a {kind}"


def _unwritten(function: Callable[..., Any], case: Case, way: Way, made: Arguments) -> list[tuple[str, str]]:
    """Faults: elements of the output that were not written.

    A result may look like poison, but not like two kinds of poison: if there seem to be such elements, the function is
    called again, on an output of the other kind.
    """
    untouched = made.untouched()
    if not untouched.any():
        return []
    again = Arguments(case, way, OTHER)
    _called(function, again.positional, again.keywords, way)
    untouched &= again.untouched()
    if not untouched.any():
        return []
    first = tuple(map(int, np.argwhere(untouched)[0]))
    text = f"{int(untouched.sum())} of {untouched.size} elements were not written, the first at {first}"
    return [(WRITTEN, text)]


def _same(original: np.ndarray, argument: Any, kind: str) -> bool:
    """Whether an argument still has the shape, dtype and bits that it was given."""
    try:
        left = array_kinds.on_host("argument", argument, kind)
    except (TypeError, BackendUnavailable, RuntimeError):  # its type was changed, or its memory freed
        return False
    return (original.shape, original.dtype) == (left.shape, left.dtype) and original.tobytes() == left.tobytes()


def _traceback(error: BaseException) -> str:
    """The traceback from the candidate's frame on, without refconv's frames above it."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename in (__file__, array_kinds.__file__):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames)).rstrip()
