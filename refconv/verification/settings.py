"""Settings: what is asked of a campaign. Knows error models, supports and expected failures."""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from refconv.cases.own import Own
from refconv.cases.supports import Supports
from refconv.judge.bounds import Claim
from refconv.judge.case import Case
from refconv.verification.candidate.loading import find
from refconv.verification.claim_text import text_of
from refconv.verification.examine.property_names import claims_of
from refconv.verification.report.expected_failures import Expected

DEFAULT_DTYPES = {"conv2d_integer": ("uint8", "int8"), "conv2d_quantized": ("uint8", "int8")}
LARGEST_SEED = 2**63 - 1
Progress = Callable[[str, int, int], None]
Source = Any  # a Recipe, a DigitLayer, a Huge or a Wrong: what an examiner can look at


@dataclass(frozen=True)
class Settings:
    """What is asked of a campaign."""

    cases: int = 1000
    own: tuple[Own, ...] = ()  # cases and shapes of the caller's, in place of generated ones
    seconds: float | None = None
    seed: int = 0
    model: Claim | None = None
    supports: Supports = field(default_factory=Supports)
    supported: Callable[[Case], bool] | None = None
    expected: Expected = field(default_factory=Expected)
    jobs: int = 1
    executor: Executor | None = None
    isolate: bool | None = None
    time_limit: float = 20.0
    resume: Path | None = None
    examples: bool = True
    sets: int = 1
    largest: int | None = None
    shrink_seconds: float = 60.0
    max_failures: int | None = None
    huge: bool = False
    memory: int | None = None  # bytes that huge cases may take; what is free if not given
    progress: Progress | None = None
    tell: Callable[[str], None] | None = None  # called once for each property that fails, as soon as it does

    @property
    def claims(self) -> tuple[str, ...]:
        """The properties that the candidate claims, of those that must be claimed."""
        return claims_of(self.supports)

    @property
    def repeats(self) -> bool:
        """Whether the candidate is to see few geometries."""
        return self.sets > 1 or bool(self.own)

    @property
    def identity(self) -> tuple[Any, ...]:
        """All that the cases and their examinations depend on."""
        supported = None if self.supported is None else find(self.supported)
        asked = self.cases, repr(self.own), self.seed, text_of(self.model) or "None"
        return *asked, self.supports, supported, self.sets, self.largest, self.huge
