"""What is attacked: some test queries, and for each of them passages at set ranks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from retrieval.config import AttackConfig
from retrieval.data.cache import digest
from retrieval.data.testset import EvaluationSet, IntArray
from retrieval.search.ranking import Ranking

_QUERY_STREAM, _TARGET_STREAM = 1, 2


@dataclass(frozen=True)
class Target:
    """A passage to be promoted for a query."""

    query: int
    """Position of the query in the set of attacked queries."""
    column: int
    """Pool position of the passage."""


def choose_queries(evaluation_set: EvaluationSet, count: int, seed: int) -> IntArray:
    """The ascending positions int64 of at most ``count`` queries; fewer are a subset of more."""
    order = np.random.default_rng((seed, _QUERY_STREAM)).permutation(len(evaluation_set.query_rows))
    return np.sort(order[:count])


def take_queries(evaluation_set: EvaluationSet, positions: IntArray) -> EvaluationSet:
    """The set with the queries at some ascending positions int64 only; the pool stays as it is."""
    counts = np.diff(evaluation_set.indptr)[positions]
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    pairs = np.repeat(evaluation_set.indptr[positions] - indptr[:-1], counts) + np.arange(indptr[-1])
    return replace(
        evaluation_set,
        query_rows=evaluation_set.query_rows[positions],
        indptr=indptr,
        columns=evaluation_set.columns[pairs],
        grades=evaluation_set.grades[pairs],
        identical=evaluation_set.identical[positions],
        fingerprint=digest(["queries of", evaluation_set.fingerprint, positions.tolist()]),
    )


def choose_targets(ranking: Ranking, evaluation_set: EvaluationSet, config: AttackConfig) -> list[Target]:
    """Choose one irrelevant passage from each of ``config.targets`` equal blocks of the attacked ranks.

    A block of relevant passages only gives none; neither do ranks beyond the end of the pool.

    Args:
        ranking: The candidates of every query, at least ``config.last_rank`` deep where the pool is.
        evaluation_set: The attacked queries.
        config: Ranks, number of targets and seed are read.
    """
    ranks = np.arange(config.first_rank - 1, min(config.last_rank, ranking.columns.shape[1]))
    targets = []
    for query, row in enumerate(evaluation_set.query_rows.tolist()):
        relevant = evaluation_set.columns[evaluation_set.indptr[query] : evaluation_set.indptr[query + 1]]
        generator = np.random.default_rng((config.seed, _TARGET_STREAM, row))
        for block in np.array_split(ranks, config.targets):
            columns = ranking.columns[query, block]
            eligible = columns[(columns >= 0) & ~np.isin(columns, relevant)]
            if len(eligible):
                targets.append(Target(query, int(generator.choice(eligible))))
    return targets
