"""The claim of how a candidate computes, as text: for reports, and for processes that must make it again.

Knows claims, and how a function is found by its target; nothing of what is judged by them.
"""

from refconv.judge.bounds import Claim, claimed
from refconv.judge.bounds.claim import ByCase
from refconv.verification.candidate.loading import find, load

FUNCTION = "function "  # then its target


def text_of(claim: Claim | None) -> str:
    """The text of a claim, empty if there is none; of a function of a case its target, or its name if it has none.

    >>> text_of(claimed("winograd:6,3|direct")), text_of(None)
    ('winograd:6,3|direct:float32', '')
    """
    if isinstance(claim, ByCase):
        return FUNCTION + (find(claim.function) or str(claim))
    return "" if claim is None else str(claim)


def claim_of(text: str | None) -> Claim | None:
    """The claim that has a text; None for an empty one.

    Raises
    ------
    TargetError
        For a function that can't be loaded.

    Examples
    --------
    >>> str(claim_of("tf32")), claim_of("")
    ('tf32', None)
    """
    if not text:
        return None
    if text.startswith(FUNCTION):
        return ByCase(load(text.removeprefix(FUNCTION), "numpy").function)
    return claimed(text)


def is_known_elsewhere(claim: Claim | None) -> bool:
    """Whether another process can make the claim again: not a function that no module has at its top level."""
    return not isinstance(claim, ByCase) or bool(find(claim.function))
