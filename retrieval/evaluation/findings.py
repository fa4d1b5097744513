"""Warnings about what was measured: scores that tell no passage from another, queries that are in no mean."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from retrieval.codes import Finding, finding
from retrieval.data.testset import EvaluationSet
from retrieval.evaluation.suite import Measured
from retrieval.search.ranking import Ranking

MOST_CONSTANT = 0.1
ROUNDING = {"32": 1e-5, "bf16": 2.0**-8}
"""Share of a score by which equal ones may differ, by the precision of what they are made of.

In bf16 each number of a state is off by a share of 2⁻⁹ at most, so two inner products with states that
should be equal differ by 2·2⁻⁹ of them at most. In fp32 the sum over d numbers is what rounds: by some
√d·2⁻²⁴, which is a sixth of the value here for 768 of them.
"""


def findings_of_sets(measured: Measured, precision: str) -> Iterator[Finding]:
    """Warnings about the sets of a suite that were ranked; those of an attack are part of one.

    ``precision``: the retriever's, see :attr:`Retriever.precision`.
    """
    rounding = ROUNDING[precision]
    for prefix, part in measured.scores.items():
        if part.ranking is None:
            continue
        own, queries = part.evaluation_set, len(part.evaluation_set.query_rows)
        negatives = int(measured.metrics["eval/negatives"])
        constant = constant_queries(part.ranking, part.pairs, own, negatives, rounding)
        if constant > MOST_CONSTANT * queries:
            found = f"all passages have one score at {constant:,} of {queries:,} queries"
            yield finding("CONSTANT_SCORES", f"{prefix} ({own.name}): {found}")
        left_out = own.collection.counts.get(f"dropped/{own.split}/queries", 0)
        if left_out:
            found = f"judged queries without a judgement above 0: {left_out:,}"
            yield finding("QUERIES_LEFT_OUT", f"{prefix} ({own.name}): {found}")


def constant_queries(
    ranking: Ranking,
    pairs: NDArray[np.float64],
    evaluation_set: EvaluationSet,
    negatives: int,
    rounding: float,
) -> int:
    """How many queries give all passages one score, but for ``rounding``, a share of it.

    It shows in the ranking's scores, which are the best ones, and in the contrastive entropy of their
    ``pairs``, float64[pairs] against ``negatives`` passages each, which are any.
    """
    found = ranking.columns >= 0
    highest = np.where(found, ranking.scores, -np.inf).max(axis=1, initial=-np.inf)
    lowest = np.where(found, ranking.scores, np.inf).min(axis=1, initial=np.inf)
    allowed = rounding * np.abs(highest)
    off = np.maximum.reduceat(np.abs(pairs - np.log(negatives + 1)), evaluation_set.indptr[:-1])
    return int(((highest - lowest <= allowed) & (off <= allowed + ROUNDING["32"] ** 2)).sum())
