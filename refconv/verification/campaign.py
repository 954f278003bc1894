"""Campaigns: many cases put to one candidate, section by section, and the report.

Knows sections, settings and reports, and puts them together; not how any of them works.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

from refconv.cases import own
from refconv.cases.recipe import Recipe
from refconv.core.checks import integer
from refconv.judge.bounds import Model, claimed
from refconv.judge.case import Case
from refconv.ops.requantization import Rule
from refconv.verification.asked import limits, settled
from refconv.verification.candidate.call import Arrange
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.candidate.loading import candidate_of, end_loading, find, load, targets_of
from refconv.verification.claim_text import text_of
from refconv.verification.examine.crew import crew
from refconv.verification.examine.journal import Journal
from refconv.verification.faults import Faults, OfCaller, described
from refconv.verification.memory import size
from refconv.verification.report.expected_failures import Expected
from refconv.verification.report.report import Report
from refconv.verification.report.results import Result
from refconv.verification.sections import Section, sections
from refconv.verification.settings import LARGEST_SEED, Progress, Settings
from refconv.verification.setup import Setup
from refconv.verification.stopwatch import Stopwatch


def verify(  # noqa: PLR0913 - the contract's options
    candidate: Callable[..., Any] | str,
    op: str = "conv2d",
    *,
    dtypes: Sequence[str] | None = None,
    cases: int | Sequence[Case | Recipe | str] = 1000,
    seconds: float | None = None,
    seed: int = 0,
    model: Model | None = None,
    arrays: str | None = None,
    style: str = "return",
    supports: Mapping[str, Any] | Callable[[Case], bool] | None = None,
    out_dtype: str | None = None,
    overflow: str | None = None,
    requantize: Rule | None = None,
    weight_bits: int = 8,
    epilogue: Any = None,
    rounded: str | None = None,
    arrange: Arrange | None = None,
    expected_failures: str | Path | None = None,
    jobs: int = 1,
    executor: Executor | None = None,
    isolate: bool | None = None,
    time_limit: float = 20.0,
    resume: str | Path | None = None,
    examples: bool = True,
    sets: int | None = None,
    largest: int | None = None,
    shrink_seconds: float = 60.0,
    max_failures: int | None = None,
    huge: bool = False,
    memory: int | str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Put a candidate to the test: on generated cases and, a conv2d, on torch's examples and on real images.

    Parameters
    ----------
    candidate : callable or str
        Called as torch's function is, positionally: for a conv2d `candidate(input, weight, bias, stride, padding,
        dilation, groups)`, where the bias may be None, and stride, padding and dilation are pairs (h, w). It may raise
        NotImplementedError for what it does not support: such cases are counted, and count as nothing else. A class
        whose constructor takes what torch.nn.Conv2d's does is built for each case, and given weight and bias; an
        object like a torch.nn.Conv2d is given these, and images. Text names a target as the command line has it.
    op : str
        The operator that the candidate claims to be: "conv2d", "conv_transpose2d", "conv2d_input", "conv2d_weight",
        "conv2d_bias", "conv_transpose2d_input", "conv_transpose2d_weight", the same with one axis or three ("conv1d",
        "conv3d_input", ...), "conv2d_integer" or "conv2d_quantized".
    dtypes : sequence of str, optional
        Dtypes to test; float32 if not given, uint8 and int8 for the last two operators.
    cases : int or sequence of (Case, Recipe or str)
        Number of generated cases for each dtype; or the only cases, for a candidate that is made for certain shapes:
        `refconv.Case`s, which are judged as they are, and geometries as text, as `refconv.Recipe.parse` takes them. Of
        each of their shapes there are `sets` cases more, 24 if that is not given, with other numbers, memory orders
        and biases; the candidate is called with no other shape, and there are no fixed cases.
    seconds : float, optional
        Time to spend on generated cases, of all dtypes together, however many cases that makes: then `cases` does not
        count.
    seed : int
        From 0 to 2**63 - 1; the same one gives the same cases, whatever examines them, but for wide ones that a slow
        candidate is spared (see `largest`).
    model : ErrorModel, str or callable, optional
        What the candidate says of how it computes: a model, the text of one, several with "|" between them (the first
        that can be, for each call), or a function of a case that returns any of these. By default that it sums
        directly, in float32 or wider. Outputs that are suspicious under it count as failures.
    arrays : {"numpy", "torch", "cupy", "numba", "jax"}, optional
        The kind of arrays that the candidate takes and returns; if not given, what its attribute `arrays` says, torch
        for what comes from torch, else NumPy. "numba" is Numba's device arrays, which without a GPU
        need the environment variable NUMBA_ENABLE_CUDASIM=1: Numba's simulator, for which large cases count as
        unsupported.
    style : {"return", "out"}
        Whether it returns its result, or writes it to an array that it gets as its last positional argument.
    supports : mapping or callable, optional
        What may be generated, see `refconv.Supports`; or a function of a case, True for what is supported. A
        method `supports` of the candidate does the same. All that torch's function takes, if not given.
    out_dtype, overflow : str, optional
        Of the results, as `refconv.Case` takes them: a kernel that returns int8 for int8 says `out_dtype="int8"`, or
        `"operand"` for the dtype of the operands, and whether sums that do not fit `"wrap"` or `"saturate"`. The
        operator's usual dtype if not given.
    requantize, weight_bits : str or callable, int
        Of a quantized convolution, as `refconv.conv2d_quantized` takes them: the rule by which sums become results, and
        4 for int8 weights that hold -8 to 7. Attributes of the candidate of these names do the same. A rule that is a
        function is called in this process, and so is the candidate then.
    epilogue : sequence or str, optional
        What the kernel does with its sums, as `refconv.Case` takes it: `("residual", "relu")`. It gets the operands as
        further positional arguments, in that order, before an output that it is to write to.
    rounded : {"after", "before"}, optional
        Whether the kernel rounds to the dtype of its results once, behind the epilogue, or its sums already.
    arrange : pair of callables, optional
        Lays arrays out as no layout of `supports` says, in blocks for instance: the first function takes the name of an
        array ("input", "weight", "grad_output"; "output" for what is written to) and the array in torch's order, and
        returns what the candidate gets. The second takes the name, a result, and the shape that it has in torch's
        order, and returns it in that order. An attribute `arrange` of the candidate does the same.
    expected_failures : path, optional
        A file of failures that are known: they do not count. docs/verify.md has its form.
    jobs : int
        Number of processes.
    executor : concurrent.futures.Executor, optional
        Who runs the cases in its processes, which must be able to load the candidate: a ProcessPoolExecutor, or what
        dask.distributed's `Client.get_executor()` returns.
    isolate : bool, optional
        Whether the candidate runs in a process of its own, so that a crash or an endless loop is a failure like any
        other. By default, if it can be loaded there: a function that a module has, not one made in a function.
    time_limit : float
        Seconds that a call of the candidate may take in such a process; ten times that for the first one.
    resume : path, optional
        A file that what is done is written to; if it is there already, what stands in it is not done again.
    examples : bool
        Whether there are fixed cases, too: torch's examples, and real images.
    sets : int, optional
        How many of the cases have the same geometry, each with other numbers: for a candidate that takes long to be
        made ready for a geometry.
    largest : int, optional
        The most products that a case may have, fixed ones included. If not given, the first cases measure the
        candidate, and those that would take it longer than all others are left out, which a note says.
    shrink_seconds : float
        The most time that failing cases, all together, may take to be made small and to be tried around.
    max_failures : int, optional
        Failures that end the campaign; if not given, 200 end a section.
    huge : bool
        Whether a conv2d is also called with arrays of more than 2**31 and 2**32 bytes and 2**31 elements.
    memory : int or str, optional
        Bytes that these calls may take, or text such as "20G"; what is free, less 1 GiB, if not given. Calls that need
        more are left out, which a note says.
    progress : callable, optional
        Called with a section's name (after a semicolon, what failed so far and how often), the number of cases done and
        the number of cases in all.

    Returns
    -------
    Report
        Its `ok` is the verdict; its `failures` hold the smallest case found for each property violated and each
        cause.

    Raises
    ------
    GeometryError, TypeError, ValueError
        For a wrong argument.
    TypeError
        If equal TypeErrors in cases that have nothing in common prove that the candidate is not meant to be called so.
    BackendUnavailable, ModuleNotFoundError
        For a kind of arrays that there can't be here.

    Examples
    --------
    >>> import refconv
    >>> report = verify(refconv.conv2d, cases=20, isolate=False)
    >>> report.ok, report.failures
    (True, [])
    """
    end_loading()
    if isinstance(candidate, str):
        tested = replace(load(candidate, arrays, op=op, style=style), arrange=arrange)
    else:
        tested = candidate_of(candidate, find(candidate), arrays, op, style, arrange)
    allowed, supported = limits(
        tested, supports, out_dtype=out_dtype, overflow=overflow, requantize=requantize, weight_bits=weight_bits,
        epilogue=epilogue, rounded=rounded,
    )  # fmt: skip
    is_number = hasattr(cases, "__index__")
    listed = () if is_number else own.listed(_sequence(cases), op)
    number = integer("cases", cases, 1) if is_number else None
    asked, sets = own.numbers(listed, number, None if sets is None else integer("sets", sets, 1))
    settings = Settings(
        cases=asked or Settings.cases,
        own=listed,
        seconds=seconds,
        seed=integer("seed", seed, 0, LARGEST_SEED),
        model=claimed(model),
        supports=allowed,
        supported=supported,
        expected=Expected() if expected_failures is None else Expected.read(expected_failures),
        jobs=integer("jobs", jobs, 1),
        executor=executor,
        isolate=isolate,
        time_limit=time_limit,
        resume=None if resume is None else Path(resume),
        examples=examples,
        sets=sets,
        largest=None if largest is None else integer("largest", largest, 1),
        shrink_seconds=shrink_seconds,
        max_failures=None if max_failures is None else integer("max_failures", max_failures, 1),
        huge=huge,
        memory=None if memory is None else size("memory", memory),
        progress=progress,
    )
    return run(tested, settings, dtypes)


def run(candidate: Candidate, settings: Settings, dtypes: Sequence[str] | None = None) -> Report:
    """Do as `verify`, for a candidate that may have been loaded by its address."""
    start = time.monotonic()
    settings, names = settled(settings, candidate, dtypes)
    seconds = None if settings.seconds is None else settings.seconds / len(names)
    faults = Faults()
    with (
        crew(candidate, settings) as examining,
        Journal(settings.resume, (*candidate.identity, *targets_of(candidate), settings.identity)) as journal,
    ):
        stopwatch = Stopwatch(settings.shrink_seconds)
        setups = [Setup(candidate, settings, examining, journal, dtype, stopwatch, faults, seconds) for dtype in names]
        done, results = _judged(setups)
        notes = [*examining.notes, *journal.notes, *(note for section in done for note in section.notes)]
    covered = sum((section.classes for section in done), Counter[str]())
    interactions = [section.interactions for section in done if section.interactions is not None]
    report = Report(
        results,
        dict(covered.most_common()),
        dict(reduce(or_, (section.sizes for section in done), Counter[str]())),
        interactions=sum(interactions[1:], interactions[0]) if interactions else None,
        notes=tuple(notes),
        faults=faults.told,
        op=candidate.op,
        target=candidate.target,
        seconds=time.monotonic() - start,
        seed=settings.seed,
        model=text_of(settings.model),
        arrange=targets_of(candidate),
        deterministic=settings.supports.deterministic,
    )
    checked: dict[tuple[str, str, str], list[str]] = {
        (candidate.op, dtype, name): []
        for name, of_dtype in report.properties.items() for dtype, tally in of_dtype.items() if tally.checked
    }  # fmt: skip
    for failure in report.failures:
        checked.setdefault((candidate.op, failure.dtype, failure.property), []).append(failure.cause)
    return replace(report, notes=(*notes, *settings.expected.unmatched(checked)))


def _judged(setups: Sequence[Setup]) -> tuple[list[Section], tuple[Result, ...]]:
    """The sections that were gone through, with their results: all, or those up to the failure that ends it."""
    done: list[Section] = []
    try:
        for setup in setups:
            most = setup.settings.max_failures
            for section in sections(setup):
                done.append(section)
                if most is not None and sum(section.unexpected for section in done) >= most:
                    section.further_notes.append(f"ended after {most} failures; what would come later was not begun")
                    return done, tuple(section.result for section in done)
        return done, tuple(section.result for section in done)
    except OfCaller as error:
        raise error.__cause__ or error from None
    except ValueError as error:  # of arguments there was none left to refuse
        raise RuntimeError(described(error)) from error


def _sequence(cases: Any) -> Sequence[Case | Recipe | str]:
    """The cases of a caller, if they are a sequence of some."""
    if isinstance(cases, str | Case | Recipe) or not isinstance(cases, Iterable) or not (entries := list(cases)):
        raise TypeError(f"cases={cases!r}: must be a number, or a sequence of cases that is not empty")
    return entries
