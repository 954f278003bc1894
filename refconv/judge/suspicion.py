"""Suspicion: statistics of all errors of an output together, computed only where they may decide.

Knows comparisons, references and statistics.
"""

import numpy as np

from refconv.core import formats
from refconv.judge import error_statistics
from refconv.judge.bounds import ErrorModel, Sums
from refconv.judge.comparison import Comparison
from refconv.judge.reference import Reference


def with_statistics(
    comparison: Comparison, case: Reference, errors: np.ndarray, sums: Sums, model: ErrorModel
) -> Comparison:
    """The comparison with its statistics, of a case whose operands may be random; errors and sums of its outputs.

    Whether operands look random, and which errors depend on one another, takes longer to find out than all the rest of
    a small case: it is looked at only where a statistic may be beyond its limit, or when the statistics are read.
    """
    out = formats.part(comparison.actual.dtype)

    def statistics() -> tuple[error_statistics.Statistic, ...]:
        if not case.random:
            return ()
        return error_statistics.statistics(errors, sums, model, out, random_signs=case.random_signs)

    decide = not error_statistics.certainly_unsuspicious(errors, sums, model, out)
    return comparison.with_statistics(statistics, decide=decide)
