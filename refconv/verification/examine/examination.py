"""Examinations: what was checked of a candidate on one case, and what does not hold.

Knows comparisons; no candidate.
"""

from dataclasses import dataclass

from refconv.judge.comparison import Comparison


@dataclass(frozen=True, eq=False)
class Finding:
    """A property that does not hold; `crash` if the candidate ended its process or its device, or did not end."""

    property: str
    text: str
    comparison: Comparison | None = None
    crash: bool = False


@dataclass(frozen=True, eq=False)
class Examination:
    """What was checked on one case, and what does not hold.

    Attributes
    ----------
    supported : bool
        Whether the candidate takes the case at all.
    checked : tuple of str
        The properties that were checked.
    findings : tuple of Finding
        One for each of them that does not hold.
    max_ulp, max_bound_ratio
        As the judge's comparison has them; 0 if the result is the oracle's own to the last bit.
    seconds : float
        What the candidate's call took.
    fault : str
        What refconv itself did wrong, so that nothing is known of the case; empty if nothing.
    refusal : str
        Why the candidate does not take the case, in its words.
    """

    supported: bool = True
    checked: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    max_ulp: int = 0
    max_bound_ratio: float = 0.0
    seconds: float = 0.0
    fault: str = ""
    refusal: str = ""

    def lacks(self, property_: str) -> Finding | None:
        """The finding about a property, if it does not hold."""
        return next((finding for finding in self.findings if finding.property == property_), None)


def refused(why: str = "") -> Examination:
    """The examination of a case that the candidate does not take."""
    return Examination(supported=False, refusal=why)
