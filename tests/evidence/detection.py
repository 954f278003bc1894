"""Evidence about the judge: does it reject what is sound, and what does it catch? Counted, and printed as tables.

    PYTHONPATH=tests/support python tests/evidence/detection.py                  # all tables
    PYTHONPATH=tests/support python tests/evidence/detection.py sound detection  # some of them
    PYTHONPATH=tests/support python tests/evidence/detection.py --write          # all of them, into docs/detection.md

No test: `tests/judge/test_corpus.py` asserts what must hold.
"""

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from kernels.faults import FAULTS
from kernels.implementations import DIRECT, SOUND
from kernels.sums import im2col
from kernels.winograd import winograd_supports
from paths import ROOT

from refconv import Case
from refconv.cases.fills import known, names, operands
from refconv.cases.recipe import Recipe
from refconv.core.geometry import Geometry, convolution
from refconv.judge.comparison import Comparison

FILLS = known("float32")
DEFAULT = names("float32")
GEOMETRIES = 96
SEEDS = 2
TERMS, LONG = (27, 144, 576, 1152, 4608), 36_864
CLAIMS = 5  # seeds for each claim
DOCUMENT = ROOT / "docs" / "detection.md"


# --- the corpus ------------------------------------------------------------------------------------------------------


class Sample(NamedTuple):
    """A case of the corpus."""

    number: int  # of its geometry
    fill: str
    case: Case


def _geometry(rng: np.random.Generator, terms: float, winograd: bool) -> Geometry:
    """A geometry of about so many terms and at most some 100,000 multiplications, if it can."""
    widest = math.isqrt(round(terms))
    kernel = (3, 3) if winograd else _pair(rng, np.minimum([1, 1, 2, 3, 3, 3, 4, 5, 7], widest))
    stride, dilation = ((1, 1) if winograd else _pair(rng, [1, 1, 1, 2, 3]) for _ in range(2))
    inputs = max(1, round(terms / math.prod(kernel)))
    groups, outputs, batch = (int(rng.choice(choices)) for choices in ((1, 1, 1, 2, 3), (1, 2, 3, 4), (1, 1, 2)))
    positions = 100_000 / (inputs * math.prod(kernel) * groups * outputs * batch)
    largest = max(2, min(12, round(math.sqrt(positions))))
    size, padding = [], []
    for taps, step, gap in zip(kernel, stride, dilation, strict=True):
        wanted = int(rng.integers(largest)) * step + gap * (taps - 1) + 1
        padding.append(int(rng.integers(0, min(taps - 1, (wanted - 1) // 2), endpoint=True)))
        size.append(wanted - 2 * padding[-1])
    shapes = (batch, groups * inputs, *size), (groups * outputs, inputs, *kernel)
    return convolution(*shapes, None, stride, tuple(padding), dilation, groups, "zeros")


def _pair(rng: np.random.Generator, values: Sequence[int] | np.ndarray) -> tuple[int, int]:
    """Two of the values, as often as not the same."""
    first, second = map(int, rng.choice(values, 2))
    return first, first if rng.integers(2) else second


@cache
def corpus(dtype: str = "float32", winograd: bool = False) -> list[Sample]:
    """Cases of all fills for each of some geometries; these are few, for JAX compiles for each."""
    rng = np.random.default_rng(5)
    members = []
    for number, terms in enumerate(np.geomspace(1, 5000, GEOMETRIES)):
        geometry, bias = _geometry(rng, terms, winograd), bool(rng.integers(2))
        padding = tuple(before for before, _ in geometry.padding)
        for fill in known(dtype):
            for seed in rng.integers(2**32, size=SEEDS).tolist():
                case = Recipe(geometry, padding, True, bias, dtype, fill, seed).case()
                members.append(Sample(number, fill, case))
    return members


def samples(name: str) -> list[Sample]:
    """What an implementation is judged on: all cases of its dtype, or such as Winograd's algorithm takes."""
    sound = SOUND[name]
    return corpus(sound.dtype, sound.supports is winograd_supports)


# --- sound implementations -------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What became of a sound implementation under the model that it claims."""

    verdicts: Counter[str] = field(default_factory=Counter)
    vacuous: int = 0
    rejected: list[tuple[Sample, Comparison]] = field(default_factory=list)


def tally(name: str, every: int = 1) -> Tally:
    """Judge a sound implementation on its corpus, or on each so many-th geometry of it."""
    sound, counts = SOUND[name], Tally()
    for sample in samples(name):
        if sample.number % every:
            continue
        comparison = sample.case.check(sound.run(sample.case), sound.model)
        counts.verdicts[comparison.verdict] += 1
        counts.vacuous += comparison.vacuous
        if not comparison.ok:
            counts.rejected.append((sample, comparison))
    return counts


def sound_table() -> str:
    """Verdicts on every sound implementation."""
    rows = []
    for name, sound in SOUND.items():
        judged, general = tally(name), corpus(sound.dtype)
        supported = sum(sound.supports(sample.case) for sample in general) / len(general)
        counts = [judged.verdicts[verdict] for verdict in ("identical", "within bound", "suspicious", "wrong")]
        rows.append([name, f"`{sound.model}`", f"{supported:.0%}", *counts, f"{judged.vacuous / sum(counts):.0%}"])
    head = ["implementation", "model", "supported", "identical", "within bound", "suspicious", "wrong", "vacuous"]
    return _table(head, rows)


# --- what a model still catches --------------------------------------------------------------------------------------


def caught(name: str, fault: str, every: int = 1) -> str:
    """Share of geometries on which one of the default fills gives a fault of a sound implementation away.

    Of those only on which it changes anything: there may be none, as of TF32 operands where these are what is claimed.
    """
    sound, seen = SOUND[name], {}
    for number, fill, case in samples(name):
        if number % every or fill not in DEFAULT or seen.get(number):
            continue
        actual = FAULTS[fault](case, sound.run)
        if not np.array_equal(actual, sound.run(case), equal_nan=True):
            seen[number] = not case.check(actual, sound.model).ok
    return f"{sum(seen.values()) / len(seen):.0%}" if seen else "none"


def caught_table(every: int = 2) -> str:
    """For each model, by the first implementation that claims it, the share of each fault that is caught."""
    first: dict[str, str] = {}
    for name, sound in SOUND.items():
        first.setdefault(str(sound.model), name)
    rows = [[f"`{model}`", name, *(caught(name, fault, every) for fault in FAULTS)] for model, name in first.items()]
    return _table(["model", "by", *FAULTS], rows)


# --- dishonest claims ------------------------------------------------------------------------------------------------


@cache
def claim(terms: int, fill: str, seed: int, channels: int = 8, size: int = 8) -> Case:
    """A 3x3 convolution of so many terms, with size x size outputs in each channel."""
    shapes = (1, terms // 9, size + 2, size + 2), (channels, terms // 9, 3, 3)
    x, w, _ = operands(fill, *shapes, seed=seed)
    return Case(input=x, weight=w)


def detected(fault: str, case: Case, **options: bool) -> bool:
    """Whether a fault that claims to be a direct float32 sum is rejected."""
    return not case.check(FAULTS[fault](case, im2col), DIRECT, **options).ok


def _always(fault: str, terms: int, fill: str, *shape: int, **options: bool) -> bool:
    return all(detected(fault, claim(terms, fill, seed, *shape), **options) for seed in range(CLAIMS))


def detection_table() -> str:
    """For each fault and fill, the numbers of terms at which it is rejected for every seed."""
    rows = []
    for fault in FAULTS:
        detecting = {fill: [n for n in TERMS if _always(fault, n, fill)] for fill in FILLS}
        together = [n for n in TERMS if any(n in detecting[fill] for fill in DEFAULT)]
        rows.append([fault, *map(_terms, detecting.values()), _terms(together)])
    return _table(["fault", *FILLS, "default fills"], rows)


def bound_table() -> str:
    """For each fault and number of terms, the default fills that need no statistics to reject it for every seed."""
    rows = []
    for fault in FAULTS:
        detecting = [[fill for fill in DEFAULT if _always(fault, n, fill, allow_suspicious=True)] for n in TERMS]
        rows.append([fault, *(", ".join(fills) or "-" for fills in detecting)])
    return _table(["fault", *(f"n = {terms}" for terms in TERMS)], rows)


def outputs_table() -> str:
    """For each fault and number of terms, how many outputs it takes to reject it for every seed."""
    columns = (*TERMS, LONG)
    rows = [[fault, *(_outputs_needed(fault, terms) for terms in columns)] for fault in FAULTS]
    return _table(["fault", *(f"n = {terms}" for terms in columns)], rows)


def _outputs_needed(fault: str, terms: int) -> str:
    """Of some numbers the smallest, with normal data or with positive, whichever takes fewer."""
    for shape in ((1, 1), (2, 1), (4, 1), (8, 1), (8, 2), (8, 4), (8, 8)):
        if any(_always(fault, terms, fill, *shape) for fill in ("normal", "positive")):
            return str(shape[0] * shape[1] ** 2)
    return "more"


# --- text ------------------------------------------------------------------------------------------------------------


def _terms(terms: Sequence[int]) -> str:
    if len(terms) in (0, len(TERMS)):
        return "all" if terms else "-"
    return ", ".join(map(str, terms))


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


TABLES: dict[str, Callable[[], str]] = {
    "sound": sound_table,
    "caught": caught_table,
    "detection": detection_table,
    "bound": bound_table,
    "outputs": outputs_table,
}


def main(arguments: Sequence[str]) -> None:
    """Print tables, or write them into the document."""
    torch.set_num_threads(1)  # for outputs of this size a second one only waits
    wanted = [argument for argument in arguments if argument != "--write"] or list(TABLES)
    for name in wanted:
        table = TABLES[name]()
        sys.stdout.write(f"{name}\n\n{table}\n\n")
        if "--write" in arguments:
            _write(name, table)


def _write(name: str, table: str) -> None:
    """Put a table between its marks in the document."""
    begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
    before, _, rest = DOCUMENT.read_text().partition(begin)
    _, _, after = rest.partition(end)
    DOCUMENT.write_text(before + begin + table + end + after)


if __name__ == "__main__":
    main(sys.argv[1:])
