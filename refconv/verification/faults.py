"""Faults of refconv's own: noted, so that they cost no report, and told apart from those of the candidate.

Knows exceptions; not what was being done.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class WrongUse(TypeError):
    """What is called, or what is said of it, can't be meant so: there is nothing to judge."""


class OfCaller(BaseException):
    """An exception of a function of the caller's, its cause: no fault of refconv's, and to go through to the caller."""


@contextmanager
def of_caller() -> Iterator[None]:
    """Context in which a function of the caller's is called."""
    try:
        yield
    except Exception as error:
        raise OfCaller from error


class Faults:
    """What refconv did wrong in a campaign, each fault once, with its first occasion.

    Examples
    --------
    >>> faults = Faults()
    >>> with faults.noted("while counting to three"):
    ...     [1, 2][2]
    >>> faults.told[0].startswith("refconv's own fault, while counting to three: IndexError: list index out of range (")
    True
    """

    def __init__(self) -> None:
        self._occasions: dict[str, list[str]] = {}

    @property
    def told(self) -> tuple[str, ...]:
        """A line for each fault."""
        return tuple(
            f"refconv's own fault, {doing}: {what}{f' (and {len(others)} more times)' * bool(others)}; please report it"
            for what, (doing, *others) in self._occasions.items()
        )

    @contextmanager
    def noted(self, doing: str) -> Iterator[None]:
        """Context of which an exception is noted, and goes no further; wrong use does."""
        try:
            yield
        except WrongUse:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, results are kept
            self.note(doing, described(error))

    def note(self, doing: str, what: str) -> None:
        """Note a fault."""
        self._occasions.setdefault(what, []).append(doing)


def described(error: BaseException) -> str:
    """An exception in one line, with the place that it comes from.

    >>> described(ValueError("no"))
    'ValueError: no'
    """
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}{where}"
