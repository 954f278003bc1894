"""`python -m refconv.mutants`: the table of all mutants, in Markdown, as docs/mutants.md has it.

Knows the registry only.
"""

import sys
from itertools import groupby

from refconv.core.operators import axes_of, kind_of
from refconv.mutants import all as all_mutants
from refconv.mutants.registry import PLANE
from refconv.mutants.sources import LEFT_OUT, SOURCES

HEAD = """\
# Wrong convolutions

`refconv.mutants` has convolutions that are wrong as real kernels were wrong. They measure what a test suite finds
(`refconv mutants --score`), and a candidate that fails is compared with them, to say what it behaves like. Each is a
candidate itself: `refconv verify refconv.mutants:stride-swapped`. Those of an operator share a correct kernel,
`refconv.mutants.base(op)`, of which each changes a step or two.

An entry (RB002) is one of a corpus of real bugs, with its issue; mutants without one are akin to these, or have an
issue of their own. The limits of some are scaled, so that a test can reach them: the summary says so. A mistake in
several operators is one row here, under the names of those of two axes; the mutant of an operator has its name
appended (`stride-swapped-transposed`), and the number of axes if it is another (`stride-ignored-3d`).

This file is written by `python -m refconv.mutants`.
"""


def table() -> str:
    """The whole text."""
    mutants = sorted(all_mutants(), key=lambda mutant: (mutant.kind, mutant.family))
    lines = [HEAD]
    for kind, members in groupby(mutants, key=lambda mutant: mutant.kind):
        lines += [f"## {kind}", "", "| Mutant | Operators | Axes | Entries | Behaves like |", "|---|---|---|---|---|"]
        for family, variants in groupby(members, key=lambda mutant: mutant.family):
            row = list(variants)
            operators = [op for op in PLANE if kind_of(op) in {kind_of(mutant.op) for mutant in row}]
            axes = ", ".join(map(str, sorted({axes_of(mutant.op) for mutant in row})))
            cited = (f"{mutant.entry} ({mutant.source})" if mutant.entry else mutant.source for mutant in row)
            entries = sorted(set(filter(None, cited)))
            lines.append(f"| {family} | {', '.join(operators)} | {axes} | {', '.join(entries)} | {row[0].summary} |")
        lines.append("")
    lines += ["## Left out", "", "Entries that no call of the operators can show:", "", "| Entry | Why |", "|---|---|"]
    lines += [f"| {entry} ({SOURCES[entry]}) | {why} |" for entry, why in LEFT_OUT.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
