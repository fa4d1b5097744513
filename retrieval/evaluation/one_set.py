"""One retriever on one evaluation set: contrastive entropy and a ranking, query by query."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.config import EvalConfig
from retrieval.data.arrays import BYTES_AT_ONCE, FloatArray
from retrieval.data.testset import EvaluationSet, IntArray
from retrieval.evaluation.clock import Clock
from retrieval.evaluation.contrastive_entropy import (
    compared_columns,
    contrastive_entropy,
    draws_of,
    means_by_query,
)
from retrieval.evaluation.encoded import KeptRows, encoded_shards
from retrieval.models.scores import Statistics
from retrieval.run.metric_names import CONTRASTIVE_ENTROPY
from retrieval.search.ranking import Ranking, check_count, rank, ranking_metrics
from retrieval.search.reranking import rerank
from retrieval.search.retriever import Retriever, texts_at_once


@dataclass(frozen=True)
class SetScores:
    """Scores of one evaluation set, query by query."""

    evaluation_set: EvaluationSet
    queries: dict[str, NDArray[np.float64]]
    """Metric (``bm25/…``, ``untrained/…`` for the references') -> float64[q]."""
    pairs: NDArray[np.float64]
    """float64[pairs], contrastive entropy of each relevant pair."""
    encoded: tuple[FloatArray, FloatArray] | None = None
    """Its queries float32[q, …] and pool float32[p, …], where they were kept for an attack."""
    ranking: Ranking | None = None
    """What ranking metrics are of, where the set was ranked."""
    statistics: dict[str, float] = field(default_factory=dict)
    """What the family tells of the rows."""
    seconds: float = 0.0
    """Of encoding its queries and of ranking for them, without the encoding of passages."""


def measure(
    retriever: Retriever,
    evaluation_set: EvaluationSet,
    config: EvalConfig,
    scratch: Path | None = None,
    *,
    keep: bool = False,
) -> SetScores:
    """Measure a retriever, which is asked for every text once, on one set.

    Of ``config``, ``negatives``, ``draws``, ``seed`` and ``shard`` are read. ``scratch``: folder for rows of
    many bytes, in files without a name; ``None``: all stay in memory. ``keep``: keep the encoded rows of the
    set, in such a file; not of a set with candidates, of which alone the ranking is.

    Raises:
        OSError: The disk has no room for the rows.
        ParetrieveError: The retriever returned rows of the wrong number, or scores that are not finite.
    """
    clock = Clock()
    with clock:
        queries = retriever.encode(evaluation_set.collection, "queries", evaluation_set.query_rows)
    if (candidates := evaluation_set.candidates) is not None:
        return _measure_candidates(retriever, queries, evaluation_set, candidates, config, clock)
    columns = compared_columns(evaluation_set, config.seed)
    large = retriever.row_bytes("passages") * len(columns) > BYTES_AT_ONCE
    compared = KeptRows(columns, scratch if large else None)
    whole = [KeptRows(np.arange(len(evaluation_set.passage_rows)), scratch)] if keep else []
    statistics = retriever.scores.statistics()
    takers: list[KeptRows | Statistics] = [compared, *whole]
    if statistics is not None:
        takers.append(statistics)
    shards = encoded_shards(retriever, evaluation_set, config.shard, takers)
    with clock:
        ranking = rank(queries, clock.without(shards), evaluation_set, retriever.scores)
    pairs = _entropies(retriever, queries, compared.rows(), evaluation_set, config)
    encoded = (queries, whole[0].rows()) if whole else None
    found = replace(_set_scores(evaluation_set, pairs, ranking, encoded), seconds=clock.seconds)
    return found if statistics is None else replace(found, statistics=statistics.metrics(queries))


def measure_others(
    retriever: Retriever,
    queries: Mapping[str, FloatArray],
    measured: SetScores,
    config: EvalConfig,
    scratch: Path,
) -> dict[str, SetScores]:
    """Measure a set with other rows in the place of its queries': by name, float32[q, …].

    Judgements, candidates, draws and negatives are those of the set, whose passages are not encoded again:
    ``measured`` holds their rows, but where a set has candidates. ``scratch``: see :func:`measure`.

    Raises:
        ParetrieveError: There are too few or too many rows, or scores are not finite.
    """
    own = measured.evaluation_set
    if measured.encoded is None:
        assert own.candidates is not None
        return {
            name: _measure_candidates(retriever, rows, own, own.candidates, config, Clock())
            for name, rows in queries.items()
        }
    pool, columns = measured.encoded[1], compared_columns(own, config.seed)
    size = texts_at_once(retriever.row_bytes("passages"), config.shard)
    starts = range(0, len(pool), size)
    compared = pool
    if len(columns) < len(pool):
        large = retriever.row_bytes("passages") * len(columns) > BYTES_AT_ONCE
        kept = KeptRows(columns, scratch if large else None)
        for start in starts:
            kept.take(pool[start : start + size], start)
        compared = kept.rows()
    found = {}
    for name, rows in queries.items():
        shards = (pool[start : start + size] for start in starts)
        ranking = rank(rows, shards, own, retriever.scores)
        found[name] = _set_scores(own, _entropies(retriever, rows, compared, own, config), ranking)
    return found


def _measure_candidates(
    retriever: Retriever,
    queries: FloatArray,
    evaluation_set: EvaluationSet,
    candidates: IntArray,
    config: EvalConfig,
    clock: Clock,
) -> SetScores:
    compared = compared_columns(evaluation_set, config.seed)
    columns = np.union1d(compared, candidates[candidates >= 0])
    rows = evaluation_set.passage_rows[columns]
    passages = retriever.encode(evaluation_set.collection, "passages", rows)
    check_count(passages, len(columns), "passage", evaluation_set)
    with clock:
        ranking = rerank(queries, passages, columns, candidates, retriever.scores)
    own = passages[np.searchsorted(columns, compared)]
    found = _set_scores(evaluation_set, _entropies(retriever, queries, own, evaluation_set, config), ranking)
    return replace(found, seconds=clock.seconds)


def _entropies(
    retriever: Retriever,
    queries: FloatArray,
    compared: FloatArray,
    evaluation_set: EvaluationSet,
    config: EvalConfig,
) -> NDArray[np.float64]:
    return contrastive_entropy(
        queries,
        compared,
        evaluation_set,
        scores=retriever.scores,
        negatives=config.negatives,
        draws=draws_of(retriever.scores, config.draws),
        seed=config.seed,
    )


def _set_scores(
    evaluation_set: EvaluationSet,
    pairs: NDArray[np.float64],
    ranking: Ranking,
    encoded: tuple[FloatArray, FloatArray] | None = None,
) -> SetScores:
    metrics = {CONTRASTIVE_ENTROPY: means_by_query(pairs, evaluation_set)}
    metrics |= ranking_metrics(ranking, evaluation_set)
    return SetScores(evaluation_set, metrics, pairs, encoded, ranking)
