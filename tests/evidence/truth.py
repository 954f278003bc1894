"""How true diagnoses are: random gates with random damages, and what is said of each, tried on fresh cases.

    PYTHONPATH=tests/support python tests/evidence/truth.py [number, 300 if not given]

Each candidate is right but for calls that meet a gate (`selector_gates`), where it does a damage (`damages`). A
campaign of 1,000 cases says what it says; then each statement is counted by itself, on cases of other seeds:

* a mistake is true if it gives 95% of the wrong outputs of failing cases, and changes at most 5% of the right outputs
  of those and of passing cases that meet its condition;
* a condition is true if 90% of the failing and at most 10% of the passing cases meet it; of rare gates that asks for
  little, so another line counts the conditions of which nine in ten of the cases that meet them are behind the gate;
* a model is true if it admits 95% of the failing cases' results;
* a position is true if 95% of the wrong outputs of failing cases lie there, or (of values) 90% of the cases have it.
"""

# ruff: noqa: T201 - it prints

import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
from damages import DAMAGES, UNKNOWN, Damaged
from selector_gates import ORDERS, TELLING, gates

import refconv
from refconv import mutants
from refconv.cases.plan import plan
from refconv.cases.supports import Supports
from refconv.cases.values import values_of
from refconv.verification.candidate.candidate import Candidate
from refconv.verification.diagnose import regions
from refconv.verification.diagnose.altered_calls import alterations
from refconv.verification.diagnose.conditions import meets
from refconv.verification.diagnose.evidence import Evidence, Failing
from refconv.verification.diagnose.matching import agreement
from refconv.verification.diagnose.traits import traits

SEED, CASES, FRESH = 18, 1000, (101, 102, 103)
DTYPES = ("float32", "float16")
LARGEST = 2**25  # products of a case that statements are tried on
MOST = 40  # failing cases, and as many passing ones, that they are tried on


@dataclass(frozen=True)
class Outcome:
    """What was said of a candidate: each statement, and whether it is true."""

    name: str
    entered: bool
    failed: bool
    said: str = ""
    statements: tuple[tuple[str, str, bool], ...] = ()  # kind, text, truth
    precise: tuple[bool, ...] = ()  # of each condition, whether it is hardly met outside the gate

    @property
    def named(self) -> bool:
        """Whether there is a mistake or a condition."""
        return any(kind in ("mistake", "model", "condition") for kind, *_ in self.statements)


@cache
def fresh(dtype):
    return [recipe for seed in FRESH for recipe in plan("conv2d", [dtype], Supports(), CASES, seed)]


def size(recipe):
    """Products of a case."""
    return recipe.geometry.products


def entered(damaged, dtype):
    """Whether the campaign's plan has a case behind the gate whose numbers tell, and which the damage changes."""
    candidate = Candidate(damaged)
    for recipe in plan("conv2d", [dtype], Supports(), CASES, 0):
        if recipe.fill in TELLING and behind(damaged, recipe):
            case = recipe.case()
            result = candidate.call(case, memory=recipe.memory).result
            if result is None or not case.check(result).ok:
                return True
    return False


def behind(damaged, recipe):
    """Whether a recipe meets the gate."""
    of_memory = {"contiguous": "input in C order", "channels_last": "input channels last"}
    first = next((way for way, trait in of_memory.items() if trait in traits(recipe)), "transposed")
    return damaged.meets(values_of(recipe)._replace(first=first))


def drawn(number):
    """So many candidates, each with its dtype; of each order as many."""
    random = np.random.default_rng(SEED)
    for index in range(number):
        order = ORDERS[index % len(ORDERS)]
        of_order = gates(order)
        damage = list(DAMAGES)[random.integers(len(DAMAGES))]
        yield Damaged(of_order[random.integers(len(of_order))], damage), DTYPES[index // len(ORDERS) % 2]


def outcome(damaged, dtype):
    """Let a campaign say what it says of a candidate, and try that."""
    name = f"{dtype}, {' and '.join(damaged.conditions)}: {damaged.damage}"
    is_entered = entered(damaged, dtype)
    report = refconv.verify(damaged, dtypes=(dtype,), cases=CASES, isolate=False, examples=False)
    if report.ok:
        return Outcome(name, is_entered, failed=False)
    candidate, recipes = Candidate(damaged), fresh(dtype)
    failing, passing = [], []
    inside = [recipe for recipe in recipes if size(recipe) <= LARGEST and behind(damaged, recipe)]
    for recipe in sorted(inside, key=size):
        if len(failing) == MOST:
            break
        case = recipe.case()
        result = candidate.call(case, memory=recipe.memory).result
        failed = not case.check(result).ok
        (failing if failed else passing).append(Failing(Evidence(recipe, case, result, failed, "values")))
    outside = [recipe for recipe in recipes if not behind(damaged, recipe)]
    statements, said, precise = [], [], []
    for failure in report.failures:
        if failure.diagnosis is not None and failing:
            said.append(f"[{failure.property}, {failure.n_cases} cases] {failure.diagnosis}")
            statements += tried(failure.diagnosis, failing, passing, outside)
            for condition in filter(None, {failure.diagnosis.conditions, failure.diagnosis.gate}):
                n_inside = sum(meets(recipe, condition) for recipe in recipes if behind(damaged, recipe))
                precise.append(sum(meets(recipe, condition) for recipe in outside) <= n_inside / 9)
    return Outcome(name, is_entered, True, "\n      ".join(said), tuple(statements), tuple(precise))


def tried(diagnosis, failing, passing, outside):
    """Each statement of a diagnosis, and whether it is true."""
    for condition in {diagnosis.conditions, diagnosis.gate}:
        if condition:
            of_failing = np.mean([meets(case.recipe, condition) for case in failing])
            others = [case.recipe for case in passing] + outside
            of_passing = np.mean([meets(recipe, condition) for recipe in others])
            yield "condition", " and ".join(condition), bool(of_failing >= 0.9 and of_passing <= 0.1)
    if diagnosis.mutant:
        yield "mistake", diagnosis.mutant, mistaken_so(diagnosis, failing, passing, outside)
    if diagnosis.model:
        model = refconv.ErrorModel.parse(diagnosis.model)
        admitted = [model.supports(c.case.geometry) and c.case.check(c.actual, model).ok for c in failing]
        yield "model", diagnosis.model, np.mean(admitted) >= 0.95
    for position in diagnosis.positions:
        yield "position", position, lies_there(position, failing)


def mistaken_so(diagnosis, failing, passing, outside):
    """Whether a mistake gives the wrong outputs, and changes no others."""
    suspects = {suspect.name: suspect for suspect in (*alterations(), *mutants.all())}
    right = [case for case in passing if meets(case.recipe, diagnosis.gate)]
    cheap = [recipe for recipe in outside if recipe.geometry.products <= 2**16 and meets(recipe, diagnosis.gate)]
    right += [
        Failing(Evidence(recipe, case := recipe.case(), case.expected(), False))
        for recipe in cheap[:: -(-len(cheap) // MOST) or 1]
    ]
    predicted = n_wrong = changed = n_right = 0
    for case in (*failing, *right):
        same, wrong, strays = agreement(suspects[diagnosis.mutant], case)
        predicted, n_wrong = predicted + same, n_wrong + (wrong if case in failing else 0)
        changed, n_right = changed + strays, n_right + case.actual.size - (wrong if case in failing else 0)
    return predicted >= 0.95 * n_wrong and changed <= 0.05 * max(1, n_right)


def lies_there(position, failing):
    """Whether what is wrong is wrong so."""
    views = [case.view for case in failing if case.view is not None]
    if position == "everywhere":
        return bool(sum(view.mask.sum() for view in views) >= 0.95 * sum(view.mask.size for view in views))
    if position in regions.REGIONS:
        inside = total = 0
        for view in views:
            region = regions.REGIONS[position](view)
            inside += 0 if region is None else (view.mask & region).sum()
            total += view.mask.sum()
        return bool(inside >= 0.95 * total)
    exact = [case.view for case in failing if case.exact and case.view is not None] or views
    return bool(np.mean([position in regions.values(view) for view in exact]) >= 0.9)


def main(number=300, jobs=2):
    with ProcessPoolExecutor(jobs) as pool:
        outcomes = []
        for one in pool.map(outcome, *zip(*drawn(number), strict=True)):
            outcomes.append(one)
            print(f"{len(outcomes)} {'' if one.failed else 'NOT FOUND ' if one.entered else 'not entered '}{one.name}")
            print(f"      {one.said}")
            for kind, text, truth in one.statements:
                if not truth:
                    print(f"    ! untrue {kind}: {text}")
            sys.stdout.flush()
    summary(outcomes)


def summary(outcomes):
    n_entered, failed = [one for one in outcomes if one.entered], [one for one in outcomes if one.failed]
    found = sum(one.failed for one in n_entered)
    print(
        f"\n{len(outcomes)} candidates; {len(n_entered)} entered, of these {found} found ({found / len(n_entered):.1%})"
    )
    named = sum(one.named for one in failed)
    print(f"{named} of {len(failed)} get a mistake, a model or a condition ({named / len(failed):.1%})")
    counts = Counter((kind, truth) for one in failed for kind, _, truth in one.statements)
    for kind in ("mistake", "model", "condition", "position"):
        true, untrue = counts[kind, True], counts[kind, False]
        print(f"{kind}: {true} of {true + untrue} true ({true / max(1, true + untrue):.1%})")
    true = sum(times for (_, truth), times in counts.items() if truth)
    print(f"all: {true} of {sum(counts.values())} true ({true / max(1, sum(counts.values())):.1%})")
    precise = [narrow for one in failed for narrow in one.precise]
    print(f"{sum(precise)} of {len(precise)} conditions are hardly met outside the gate")
    unknown = [one for one in failed if any(one.name.endswith(damage) for damage in UNKNOWN)]
    true, every = (
        (sum(truth for *_, truth in one.statements) for one in unknown),
        [len(one.statements) for one in unknown],
    )
    print(f"of damages that no mutant has: {sum(true)} of {sum(every)} true")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
