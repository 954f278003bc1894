"""What is asked of a campaign: settings, claims and dtypes, refused before anything runs if they can't be.

Knows settings, candidates and what may be generated; not how cases are judged.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from refconv.cases import own
from refconv.cases.fitting import fitted
from refconv.cases.huge import huge_cases
from refconv.cases.recipe import QUANTIZED, dtypes_of
from refconv.cases.supports import Supports, unsized
from refconv.cases.values import Values
from refconv.core import formats, layouts
from refconv.core.checks import choice
from refconv.core.operators import axes_of
from refconv.judge.case import Case
from refconv.judge.given import CLAIMED, OF_SUMS, check_fused, claimed_rule, result_name, said_rounded
from refconv.ops.epilogue import FUSED, operand_names, steps_of, takes_epilogue, text_of
from refconv.ops.requantization import rule_name
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.candidate.kernelbench import Unbounded
from refconv.verification.memory import available
from refconv.verification.settings import DEFAULT_DTYPES, Settings

INT32 = 4  # bytes


def limits(
    candidate: Candidate,
    supports: Mapping[str, Any] | Callable[[Case], bool] | None,
    **claims: Any,
) -> tuple[Supports, Callable[[Case], bool] | None]:
    """What may be generated, and a function that says of a case whether it is supported.

    An attribute `supports` of the candidate says either; what the argument `supports` says counts more. So it is with
    `claims`, those of `CLAIMED`, and attributes of these names.

    Raises
    ------
    GeometryError, TypeError
        For claims that are none, or of layouts that the candidate can't be told or can't be called in.
    """
    own = getattr(candidate.function, "supports", None)
    mappings = [claim for claim in (own, supports) if isinstance(claim, Mapping)]
    mapped = {name: value for mapping in mappings for name, value in mapping.items()}
    parsed = Supports.parse(mapped, axes_of(candidate.op))
    if supports is not None and not callable(supports) and not isinstance(supports, Mapping):
        raise TypeError(f"supports={supports!r}: must be a mapping, or a function of a case")
    if len(parsed.layout) > 1 and not candidate.is_told_layouts:
        raise ValueError(f"supports['layout']={parsed.layout}: must be one: the candidate has no keyword layout")
    fixed = parsed.layouts or (parsed.layout != ("NCHW",) and "layout")
    if fixed and (candidate.is_layer or candidate.arrange is not None):
        why = "a class or a layer gets images in NCHW" if candidate.is_layer else "arrange lays arrays out"
        raise ValueError(f"supports: must name no layout {fixed!r}: {why}")
    usual = {"weight_bits": 8}  # which says nothing, as None does
    said: dict[str, Any] = {
        name: getattr(candidate.function, name, None) if claims.get(name) in (None, usual.get(name)) else claims[name]
        for name in CLAIMED
    }
    rule, bits = claimed_rule(candidate.op, said["requantize"], said["weight_bits"] or 8)
    parsed = replace(
        parsed, out_dtype=str(said["out_dtype"] or ""), overflow=str(said["overflow"] or ""), requantize=rule,
        weight_bits=bits, epilogue=text_of(said["epilogue"] or ""),
        rounded=said_rounded(said["rounded"] or None).removeprefix("after"),
    )  # fmt: skip
    return parsed, next((claim for claim in (supports, own) if callable(claim)), None)


def settled(settings: Settings, candidate: Candidate, dtypes: Sequence[str] | None) -> tuple[Settings, tuple[str, ...]]:
    """The settings with all that follows from them, and the dtypes to test.

    Raises
    ------
    ValueError, TypeError
        For what there can't be, naming it.
    """
    names = _checked_dtypes(candidate.op, dtypes, settings.own)
    if isinstance(candidate.function, Unbounded):
        _check_alone(settings, candidate, names)
    _check_settings(settings, candidate)
    settings = _with_memory(settings, candidate, names)
    _check_arrange(candidate, settings.supports, names[0])
    for name in names:
        _check_results(settings.supports, candidate.op, name)
    check_epilogue(candidate.op, settings.supports, names)
    _check_operands(settings, candidate)
    return replace(settings, supports=_possible(settings, candidate.op, names)), names


def _check_arrange(candidate: Candidate, supports: Supports, dtype: str) -> None:
    """Refuse functions that lay arrays out of which the second does not undo the first, on a result as an example."""
    if candidate.arrange is None:
        return
    case = fitted(candidate.op, Values(height=4, width=5, rows=2, columns=2, dtype=dtype), supports).case()
    array = np.arange(case.unwritten.size).reshape(case.unwritten.shape).astype(case.unwritten.dtype)
    name = layouts.result_name(candidate.op)
    there, back = candidate.arrange
    try:
        alike = np.array_equal(np.asarray(back(name, there(name, array), array.shape)), array)
    except Exception as error:
        raise ValueError(f"arrange: {type(error).__name__}: {error}, for {name} of shape {array.shape}") from error
    if not alike:
        raise ValueError(f"arrange: the second function must undo the first, for {name} of shape {array.shape}")


def _check_alone(settings: Settings, candidate: Candidate, dtypes: Sequence[str]) -> None:
    """Refuse what can't be asked of a model that is run as its file says."""
    why = f"{candidate.function.__name__} is no convolution alone, and is run in float32 as its file says"
    asked = {
        "dtypes": dtypes != ("float32",) and list(dtypes), "cases": settings.own, "op": candidate.op != "conv2d" and
        candidate.op, "model": settings.model and str(settings.model), "supports": settings.supports.said(),
        "huge": settings.huge, "arrange": candidate.arrange, **settings.supports.of_calls,
    }  # fmt: skip
    for name, value in asked.items():
        if value:
            raise ValueError(f"{name}={value!r}: must not be given: {why}")


def _possible(settings: Settings, op: str, dtypes: Sequence[str]) -> Supports:
    """What may be called under all that is said of the candidate; refused if that is nothing."""
    supports = settings.supports
    if settings.model is not None:  # of other cases it can't say whether a result is right
        for dtype in dtypes:
            result = supports.of_dtype(dtype).out_dtype or formats.result_dtype(np.dtype(dtype))
            supports = supports.within(settings.model.limits(op, result), f"model={str(settings.model)!r}")
    for name in unsized(op):
        if getattr(supports, name) is not None:
            raise ValueError(f"supports[{name!r}]: must not be given for {op}: give its shapes as cases")
    if settings.own:
        return supports.of_shapes(own.shapes_within(settings.own, available()))
    if not supports.allows(fitted(op, Values(dtype=dtypes[0]), supports)):
        raise ValueError(f"supports={supports.said(axes_of(op))}: no call of {op} meets all of it")
    return supports


def _check_results(supports: Supports, op: str, dtype: str) -> None:
    """Refuse results that there can't be, and integers that may not fit and of which nothing is said."""
    said = {name: value for name in OF_SUMS if (value := getattr(supports.of_dtype(dtype), name))}
    if callable(supports.requantize):
        _check_function(supports, op, dtype)
    if said and op in QUANTIZED:
        raise ValueError(f"{next(iter(said))}={next(iter(said.values()))!r}: must not be given for {op}")
    operand = np.dtype(dtype)
    if not said:
        return
    if "out_dtype" not in said and operand.kind in "iu" and operand.itemsize < INT32:
        raise ValueError(
            f"overflow={said['overflow']!r}: must be given with out_dtype: sums of {dtype} are int32, which holds them"
        )
    try:
        name = result_name(operand, said.get("out_dtype"), said.get("overflow", "raise"))
    except TypeError as error:
        raise ValueError(str(error)) from None
    narrow = name is not None and operand in formats.INTEGERS and np.can_cast(name, formats.result_dtype(operand))
    if narrow and np.dtype(name) != formats.result_dtype(operand) and said.get("overflow", "raise") == "raise":
        raise ValueError(f"overflow={said.get('overflow')!r}: must be 'wrap' or 'saturate' for out_dtype={name!r}")


def _check_function(supports: Supports, op: str, dtype: str) -> None:
    """Refuse a rule that does not return what a rule returns, on a call as an example."""
    try:
        fitted(op, Values(height=4, width=5, rows=2, columns=2, dtype=dtype), supports).case()
    except Exception as error:
        name = "" if str(error).startswith("requantize=") else f"requantize={rule_name(supports.requantize)}: "
        raise ValueError(f"{name}{error}") from error


def check_epilogue(op: str, supports: Supports, dtypes: Sequence[str]) -> None:
    """Refuse an epilogue that there can't be, of an operator's results for operands of some dtypes."""
    said = {name: value for name in FUSED if (value := getattr(supports, name))}
    if said and not takes_epilogue(op):
        raise ValueError(f"{next(iter(said))}={next(iter(said.values()))!r}: must not be given for {op}")
    for dtype in dtypes if said else ():
        told = supports.of_dtype(dtype).out_dtype
        result = np.dtype(told) if told else formats.result_dtype(np.dtype(dtype))
        check_fused(supports.epilogue, supports.rounded or "after", result, supports.overflow or "raise")


def _check_operands(settings: Settings, candidate: Candidate) -> None:
    """Refuse candidates that get no operands, and cases with another epilogue than the candidate is said to have."""
    supports = settings.supports
    if candidate.is_layer and operand_names(steps_of(supports.epilogue)):
        raise ValueError(f"epilogue={supports.epilogue!r}: must have no operands: a layer gets none of them")
    for entry in settings.own:
        case = entry.given if isinstance(entry, own.GivenCase) else None
        if case is not None and any(case.results.get(name, "") != getattr(supports, name) for name in FUSED):
            raise ValueError(f"cases: {case} must have epilogue={supports.epilogue!r}, as is said of the candidate")


def _checked_dtypes(op: str, dtypes: Sequence[str] | None, listed: Sequence[own.Own] = ()) -> tuple[str, ...]:
    """The dtypes to test, without repetition; if none are named, those of given cases, or the operator's usual ones."""
    supported = dtypes_of(op)
    of_given = tuple(entry.dtype for entry in listed if isinstance(entry, own.GivenCase))
    names = (of_given or DEFAULT_DTYPES.get(op, ("float32",))) if dtypes is None else dtypes
    for dtype in of_given:
        if dtype not in names:
            raise ValueError(f"dtypes={dtypes!r}: must have {dtype}, which a case of `cases` has")
    if isinstance(names, str):
        raise TypeError(f"dtypes={names!r}: must be a sequence of names, not one")
    if not names:
        raise ValueError(f"dtypes={dtypes!r}: must name one at least of {', '.join(supported)}")
    return tuple(dict.fromkeys(choice("dtype", dtype, supported) for dtype in names))


def _with_memory(settings: Settings, candidate: Candidate, dtypes: Sequence[str]) -> Settings:
    """The settings with the memory for huge cases; those that there can't be are refused."""
    if settings.memory is not None and not settings.huge:
        raise ValueError(f"memory={settings.memory}: must not be given without huge=True, whose cases it is for")
    if not settings.huge:
        return settings
    if candidate.op != "conv2d":
        raise ValueError(f"huge=True: must be False for op={candidate.op!r}: there are huge cases of conv2d only")
    if candidate.is_layer or candidate.arrange is not None or settings.supports.of_calls:
        raise ValueError("huge=True: must be False for layers, and where layouts, results or `arrange` are claimed")
    least = min(huge.bytes for dtype in dtypes for huge in huge_cases(dtype))
    memory = available() if settings.memory is None else settings.memory
    if memory < least:
        free = " (what is free, less 1 GiB)" if settings.memory is None else ""
        raise ValueError(f"memory={memory}{free}: must be at least {least}, which the smallest huge case takes")
    return replace(settings, memory=memory)


def _check_settings(settings: Settings, candidate: Candidate) -> None:
    """Refuse a time that is not positive, and a journal for a candidate that has no address to be known by again."""
    for name in ("seconds", "shrink_seconds"):
        value = getattr(settings, name)
        if value is None and name == "seconds":
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name}={value!r}: must be a number")
        if not value > 0:
            raise ValueError(f"{name}={value}: must be positive")
    for name, value in (("seconds", settings.seconds), ("largest", settings.largest), ("huge", settings.huge)):
        if settings.own and value:
            raise ValueError(f"{name}={value!r}: must not be given beside cases of one's own, of which all are judged")
    for name in ("examples", "huge"):
        value = getattr(settings, name)
        if not isinstance(value, bool):
            raise TypeError(f"{name}={value!r}: must be True or False")
    if settings.resume is not None and not candidate.target:
        raise ValueError(f"resume={str(settings.resume)!r}: must not be given for what no module has at its top level")
