"""Names of the properties that are checked and reported, and what they mean. Knows nothing else."""

from typing import Any

RETURNS, INPUTS, KIND = "returns", "inputs unmodified", "kind of array"
WRITTEN, OUTSIDE = "every output written", "nothing outside written"
LAYOUT, VALUES = "shape and dtype", "values"
DETERMINISTIC, STALE, VIEWS = "deterministic", "no stale state", "views"
BATCH, GROUPS, ADJOINT, ERRORS = "batch", "groups", "adjoint", "errors"
BATCH_INVARIANT, THREADS = "batch_invariant", "threads"
CLAIMED = (
    DETERMINISTIC,
    BATCH_INVARIANT,
    THREADS,
    ERRORS,
)  # checked only of candidates that claim them, as keys of `supports`

MEANINGS = {
    RETURNS: "it returns: no exception, no crash, no endless loop",
    INPUTS: "it leaves its arguments as they were",
    KIND: "arrays of the kind that went in come back",
    LAYOUT: "the result has the shape and dtype that it must have",
    VALUES: "every element is within the error bound, and all together look like roundings",
    WRITTEN: "every element of out= is written",
    OUTSIDE: "nothing around out= is written",
    DETERMINISTIC: "the same call gives the same bits",
    STALE: "a call is right whatever was called before: the same again, other weights, another image",
    VIEWS: "views give what copies give",
    BATCH: "images one by one give what they give together",
    GROUPS: "groups one by one give what they give together",
    BATCH_INVARIANT: "an image, or a group, gives the same bits alone and with others",
    THREADS: "calls from two threads at the same time are both right",
    ADJOINT: "<f(x), y> = <x, f*(y)>, exactly in integers",
    ERRORS: "impossible arguments are refused",
}
PROPERTIES = tuple(MEANINGS)


def claims_of(supports: Any) -> tuple[str, ...]:
    """The properties that a candidate claims, of those that must be claimed, by what it is said to support."""
    return tuple(name for name in CLAIMED if getattr(supports, name))
