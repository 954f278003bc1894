"""Names of the properties that are checked and reported, and what they mean. Knows nothing else."""

RETURNS, INPUTS, KIND = "returns", "inputs unmodified", "kind of array"
WRITTEN, OUTSIDE = "every output written", "nothing outside written"
LAYOUT, VALUES = "shape and dtype", "values"
DETERMINISTIC, STALE, VIEWS = "deterministic", "no stale state", "views"
BATCH, GROUPS, ADJOINT, ERRORS = "batch", "groups", "adjoint", "errors"

MEANINGS = {
    RETURNS: "it returns: no exception, no crash, no endless loop",
    INPUTS: "it leaves its arguments as they were",
    KIND: "arrays of the kind that went in come back",
    LAYOUT: "the result has the shape and dtype that it must have",
    VALUES: "every element is within the error bound, and all together look like roundings",
    WRITTEN: "every element of out= is written",
    OUTSIDE: "nothing around out= is written",
    DETERMINISTIC: "the same call gives the same bits",
    STALE: "other weights of the same shape are used, not those of the call before",
    VIEWS: "views give what copies give",
    BATCH: "images one by one give what they give together",
    GROUPS: "groups one by one give what they give together",
    ADJOINT: "<f(x), y> = <x, f*(y)>, exactly in integers",
    ERRORS: "impossible arguments are refused",
}
PROPERTIES = tuple(MEANINGS)
