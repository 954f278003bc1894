"""How often a diagnosis names the right class, on variants of the bug corpus: a confusion matrix.

    PYTHONPATH=tests/support python tests/evidence/diagnosis.py [part of a variant's name or class]

Rules and variants were written side by side, so the figure says that they agree; what to expect of unknown bugs says
``--held-out STEP``: every so many-th mutant is the candidate, compared with all others.
"""

# ruff: noqa: T201 - it prints

import sys
import time
from collections import Counter
from functools import lru_cache

from variants import VARIANTS, Variant

from refconv import mutants
from refconv.cases.plan import plan
from refconv.cases.supports import Supports
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.diagnose.altered_calls import alterations
from refconv.verification.diagnose.diagnosis import diagnose
from refconv.verification.diagnose.evidence import Evidence

CASES, SEED = 400, 20
UNSEEN = "not detected"
EVERYTHING = {
    "string_padding": True, "asymmetric_padding": True, "unbatched": True,
    "padding_mode": ("zeros", "reflect", "replicate", "circular"),
}  # fmt: skip


@lru_cache(maxsize=3)
def cases(op, dtypes, everything, number):
    """Recipes with their cases: those of one variant after the other are the same."""
    supports = Supports.parse(EVERYTHING if everything else {})
    return [(recipe, recipe.case()) for recipe in plan(op, dtypes, supports, number, SEED)]


def call(variant):
    """A candidate, as `diagnose` calls it."""
    candidate = Candidate(variant.function, op=variant.op)
    return lambda case, recipe: candidate.call(case, memory=recipe.memory).result


def evidence(variant, number=CASES):
    """What comes of a variant on planned cases."""
    once, examined = call(variant), []
    for recipe, case in cases(variant.op, variant.dtypes, bool(variant.supports), number):
        actual = once(case, recipe)
        examined.append(Evidence(recipe, case, actual, actual is None or not case.check(actual).ok))
    return examined


def main(part=""):
    chosen = [variant for variant in VARIANTS if part in variant.name or part == variant.kind]
    _name(chosen, lambda variant, examined: diagnose(examined, variant.op, call(variant)))


def held_out(step):
    """Every so many-th mutant as the candidate, itself not among those it is compared with."""
    chosen = [
        Variant("", mutant.kind, mutant.op, mutant.name, mutant, mutant.dtypes, dict(mutant.supports))
        for mutant in mutants.all() if mutant.style == "return"
    ][::step]  # fmt: skip

    def named(variant, examined):
        others = [mutant for mutant in mutants.all() if mutant.op == variant.op and mutant.name != variant.name]
        return diagnose(examined, variant.op, call(variant), suspects=[*others, *alterations()])

    _name(chosen, named)


def _name(chosen, named):
    """Name each, and print what was said of it and a confusion matrix."""
    confusion, right, number = Counter(), 0, 0
    for variant in sorted(chosen, key=lambda variant: (variant.op, variant.dtypes, bool(variant.supports))):
        start = time.perf_counter()
        examined = evidence(variant)
        middle = time.perf_counter()
        failed = sum(case.failed for case in examined)
        diagnosis = named(variant, examined) if failed else None
        kind = diagnosis.kind if diagnosis else UNSEEN
        number += 1
        right += kind == variant.kind
        confusion[variant.kind, kind] += 1
        times = f"{middle - start:.1f} + {time.perf_counter() - middle:.1f} s"
        mark = "  " if kind == variant.kind else "! "
        print(f"{mark}{variant.op} {variant.name} [{variant.kind}] {failed} failed, {times}")
        print(f"      {kind}: {diagnosis}", flush=True)
    unseen = sum(times for (_, said), times in confusion.items() if said == UNSEEN)
    print(f"\n{right} of {number - unseen} named right; {unseen} more have failed on no case")
    for (kind, said), times in sorted(confusion.items()):
        print(f"  {kind} -> {said or 'nothing'}: {times}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--held-out"]:
        held_out(int(sys.argv[2]))
    else:
        main(*sys.argv[1:])
