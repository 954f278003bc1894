"""The exceptions of refconv, at the bottom so that every floor can raise them. Knows nothing else."""


class GeometryError(ValueError):
    """A shape, size or mode that no convolution has: the message names the argument, its value and what it must be."""

    __module__ = "refconv"  # its public address, which tracebacks and pickles name


class BackendUnavailable(RuntimeError):
    """The backend asked for can't run here: the message says what is missing and how to get it."""

    __module__ = "refconv"
