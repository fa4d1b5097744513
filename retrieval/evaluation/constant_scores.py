"""Queries at which a model tells no passage from another, so that the order of ties is its ranking."""

import numpy as np
from numpy.typing import NDArray

from retrieval.data.testset import EvaluationSet
from retrieval.search.ranking import Ranking

MOST_CONSTANT = 0.1
ROUNDING = 1e-5
"""Share of a score by which equal ones may differ."""


def constant_queries(
    ranking: Ranking, pairs: NDArray[np.float64], evaluation_set: EvaluationSet, negatives: int
) -> int:
    """How many queries give all passages one score, but for rounding.

    It shows in the ranking's scores, which are the best ones, and in the contrastive entropy of their
    ``pairs``, float64[pairs] against ``negatives`` passages each, which are any.
    """
    found = ranking.columns >= 0
    highest = np.where(found, ranking.scores, -np.inf).max(axis=1, initial=-np.inf)
    lowest = np.where(found, ranking.scores, np.inf).min(axis=1, initial=np.inf)
    allowed = ROUNDING * np.abs(highest)
    off = np.maximum.reduceat(np.abs(pairs - np.log(negatives + 1)), evaluation_set.indptr[:-1])
    return int(((highest - lowest <= allowed) & (off <= allowed + ROUNDING**2)).sum())
