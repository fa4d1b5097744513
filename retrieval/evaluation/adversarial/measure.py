"""Ranks of attacked passages, and the in-domain metrics once they stand in the pool.

For a query the pool holds the attacked texts of its own targets in place of the originals; the passages
attacked for other queries are as they were.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from retrieval.config import EvalConfig
from retrieval.data.arrays import FloatArray
from retrieval.data.testset import EvaluationSet, IntArray
from retrieval.evaluation.adversarial.adversarial_set import Target, columns_of
from retrieval.evaluation.contrastive_entropy import draws_of, means_by_query, negative_candidates
from retrieval.evaluation.one_set import SetScores
from retrieval.models.scores import Scores
from retrieval.run.metric_names import CONTRASTIVE_ENTROPY
from retrieval.search.ranking import DEPTH, Ranking, check_finite, ranking_metrics, top_k
from retrieval.search.reranking import rerank

_BLOCK_ELEMENTS = 8_000_000


@dataclass(frozen=True)
class AttackedPool:
    """Attacked queries and the passages they rank, encoded; the passages with their original texts."""

    evaluation_set: EvaluationSet
    """The attacked queries."""
    queries: FloatArray
    """float32[q, …]."""
    passages: FloatArray
    """float32[p, …]; may be memory-mapped."""
    scores: Scores
    targets: Sequence[Target]
    """By ascending query."""

    @cached_property
    def ranked(self) -> Ranking | None:
        """The candidates of every query, where not the whole pool is ranked, in their order."""
        candidates = self.evaluation_set.candidates
        if candidates is None:
            return None
        return rerank(self.queries, self.passages, np.arange(len(self.passages)), candidates, self.scores)

    def owners(self) -> list[int]:
        """Position of each target's query."""
        return [target.query for target in self.targets]

    def spans(self) -> list[slice]:
        """Where the targets of each query stand among all."""
        spans = [slice(0, 0)] * len(self.queries)
        for query, own in groupby(range(len(self.targets)), key=lambda index: self.targets[index].query):
            indexes = list(own)
            spans[query] = slice(indexes[0], indexes[-1] + 1)
        return spans


def target_scores(pool: AttackedPool, rows: FloatArray) -> FloatArray:
    """Scores float32[t] of the targets, were their rows float32[t, …]."""
    scores = pool.scores.pairs(pool.queries[pool.owners()], np.asarray(rows, dtype=np.float32))
    check_finite(scores)
    return scores


def ranks_of(pool: AttackedPool, reached: Sequence[FloatArray]) -> list[IntArray]:
    """Ranks int64[t] that the targets would have, for each of the scores float32[t] in ``reached``.

    Counted over the whole pool, one block of rows at a time, or over the query's candidates where these alone
    are ranked; a target that is none of them is added to them. A rank is one more than the number of other
    candidates with at least the same score: ties count against the attacker. Every target is judged
    against the original texts of the others.
    """
    targets, identical = pool.targets, pool.evaluation_set.identical
    if pool.ranked is not None:
        return _ranks_among(pool.ranked, targets, reached)
    above = [np.zeros(len(targets), dtype=np.int64) for _ in reached]
    rows = max(1, _BLOCK_ELEMENTS // max(1, len(targets)))
    excluded = np.array([[target.column, identical[target.query]] for target in targets])
    for start in range(0, len(pool.passages), rows):
        block = np.asarray(pool.passages[start : start + rows], dtype=np.float32)
        others = pool.scores.matrix(pool.queries, block)[pool.owners()]
        target, which = np.nonzero((excluded >= start) & (excluded < start + len(block)))
        others[target, excluded[target, which] - start] = -np.inf
        for counts, own in zip(above, reached, strict=True):
            counts += (others >= own[:, None]).sum(axis=1)
    return [1 + counts for counts in above]


def _ranks_among(
    ranking: Ranking, targets: Sequence[Target], reached: Sequence[FloatArray]
) -> list[IntArray]:
    owners = [target.query for target in targets]
    others = np.where(
        ranking.columns[owners] == columns_of(targets)[:, None], -np.inf, ranking.scores[owners]
    )
    return [1 + (others >= own[:, None]).sum(axis=1) for own in reached]


def measured(pool: AttackedPool, reached: Sequence[FloatArray], config: EvalConfig) -> list[SetScores]:
    """The metrics of the attacked queries for each float32[t] of the targets' scores.

    ``reached``: such as those with the original and with the attacked texts. Of ``config``, ``negatives``,
    ``draws`` and ``seed`` are read.
    """
    evaluation_set, spans = pool.evaluation_set, pool.spans()
    entropies = _contrastive_entropies(pool, spans, reached, config)
    most = max((len(range(*span.indices(len(pool.targets)))) for span in spans), default=0)
    ranking = pool.ranked or top_k(pool.queries, pool.passages, DEPTH + most + 1, scores=pool.scores)
    results = []
    for own, pairs in zip(reached, entropies, strict=True):
        replaced = _with_targets(ranking, evaluation_set, pool.targets, spans, own)
        by_query = means_by_query(pairs, evaluation_set)
        queries = {CONTRASTIVE_ENTROPY: by_query, **ranking_metrics(replaced, evaluation_set)}
        results.append(SetScores(evaluation_set=evaluation_set, queries=queries, pairs=pairs))
    return results


def _with_targets(
    ranking: Ranking,
    evaluation_set: EvaluationSet,
    targets: Sequence[Target],
    spans: list[slice],
    scores: FloatArray,
) -> Ranking:
    """The :data:`DEPTH` best of each query with its targets at their scores, after equal ones."""
    columns = np.full((len(spans), DEPTH), -1, dtype=np.int64)
    values = np.full((len(spans), DEPTH), -np.inf, dtype=np.float32)
    for query, span in enumerate(spans):
        own = columns_of(targets[span])
        out = np.concatenate([own, evaluation_set.identical[query : query + 1], [-1]])
        kept = ~np.isin(ranking.columns[query], out)
        found = np.concatenate([ranking.columns[query][kept], own])
        reached = np.concatenate([ranking.scores[query][kept], scores[span]])
        order = np.argsort(-reached, kind="stable")[:DEPTH]
        columns[query, : len(order)] = found[order]
        values[query, : len(order)] = reached[order]
    return Ranking(columns=columns, scores=values)


def _contrastive_entropies(
    pool: AttackedPool, spans: list[slice], reached: Sequence[FloatArray], config: EvalConfig
) -> list[NDArray[np.float64]]:
    """Contrastive entropy with the targets as negatives, float64[pairs], for each set of scores.

    Of the W negatives of every draw, one for each target of the query is that target; the others are drawn
    without replacement from the query's irrelevant candidates that are no target. So constant scores still
    give ln(1 + W), and the draws are the same for all sets of scores.
    """
    evaluation_set = pool.evaluation_set
    candidates = negative_candidates(evaluation_set, config.seed)
    draws = draws_of(pool.scores, config.draws)
    results = [np.empty(len(evaluation_set.columns)) for _ in reached]
    for query, span in enumerate(spans):
        pairs = slice(evaluation_set.indptr[query], evaluation_set.indptr[query + 1])
        own = [target.column for target in pool.targets[span]]
        forbidden = [*own, *evaluation_set.columns[pairs], evaluation_set.identical[query]]
        allowed = candidates[~np.isin(candidates, forbidden)]
        generator = np.random.default_rng((config.seed, int(evaluation_set.query_rows[query])))
        drawn = np.stack(
            [generator.choice(allowed, config.negatives - len(own), replace=False) for _ in range(draws)]
        )
        row = pool.queries[query : query + 1]
        used, positions = np.unique(drawn, return_inverse=True)
        negatives = pool.scores.matrix(row, pool.passages[used])[0].astype(np.float64)
        relevant = pool.scores.matrix(row, pool.passages[evaluation_set.columns[pairs]])[0].astype(np.float64)
        against = np.logaddexp.reduce(negatives[positions.reshape(drawn.shape)], axis=1)
        for entropies, own_scores in zip(results, reached, strict=True):
            total = np.logaddexp.reduce(
                [against, *np.broadcast_to(own_scores[span, None], (len(own), draws))]
            )
            entropies[pairs] = np.logaddexp(0.0, total - relevant[:, None]).mean(axis=1)
    return results
