"""One retriever on one evaluation set: contrastive entropy and a ranking, query by query."""

from collections.abc import Mapping, Sequence
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
from retrieval.evaluation.encoded import KeptRows, encode_pools
from retrieval.run.metric_names import CONTRASTIVE_ENTROPY
from retrieval.search.ranking import PoolSearch, Ranking, check_count, rank, ranking_metrics
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
    """Measure a retriever on one set, its candidates alone where it has some: see :func:`measure_together`.

    ``keep``: keep the encoded rows of the set, in a file without a name; a set with candidates keeps none.
    """
    if (candidates := evaluation_set.candidates) is None:
        return measure_together(retriever, [evaluation_set], config, scratch, keep=[keep])[0]
    clock = Clock()
    with clock:
        queries = retriever.encode(evaluation_set.collection, "queries", evaluation_set.query_rows)
    return _measure_candidates(retriever, queries, evaluation_set, candidates, config, clock)


def measure_together(
    retriever: Retriever,
    sets: Sequence[EvaluationSet],
    config: EvalConfig,
    scratch: Path | None = None,
    *,
    keep: Sequence[bool],
) -> list[SetScores]:
    """Measure a retriever on sets of one collection without candidates; every passage is encoded once.

    Of ``config``, ``negatives``, ``draws``, ``seed`` and ``shard`` are read. ``scratch``: folder for rows of
    many bytes, in files without a name; ``None``: all stay in memory. ``keep``: of which sets the encoded
    rows are kept, in such files.

    Raises:
        OSError: The disk has no room for the rows.
        ParetrieveError: The retriever returned rows of the wrong number, or scores that are not finite.
    """
    pools: list[_WholePool] = []
    for part, kept in zip(sets, keep, strict=True):
        pools.append(_WholePool(retriever, part, config, scratch, keep=kept, beside=pools))
    encode_pools(retriever, [(part.evaluation_set, part) for part in pools], config.shard)
    found = []
    while pools:  # rows of a set are let go of before the next set's are scored
        found.append(pools.pop(0).measured())
    return found


class _WholePool:
    """What a set needs of its encoded pool, taken as it streams by."""

    def __init__(
        self,
        retriever: Retriever,
        evaluation_set: EvaluationSet,
        config: EvalConfig,
        scratch: Path | None,
        *,
        keep: bool,
        beside: "Sequence[_WholePool]",
    ) -> None:
        """Encodes the queries. The other arguments are those of :func:`measure_together`.

        ``beside``: sets that stream by at the same time, whose rows are shared where they are the same.
        """
        self.evaluation_set = evaluation_set
        self._retriever, self._config, self._clock = retriever, config, Clock()
        with self._clock:
            self._queries = retriever.encode(evaluation_set.collection, "queries", evaluation_set.query_rows)
        self._search = PoolSearch(self._queries, evaluation_set, retriever.scores)
        columns = compared_columns(evaluation_set, config.seed)
        self._compared_rows = evaluation_set.passage_rows[columns]
        twins = (part for part in beside if np.array_equal(part._compared_rows, self._compared_rows))
        self._twin = next(twins, None)
        large = retriever.row_bytes("passages") * len(columns) > BYTES_AT_ONCE
        self._compared: KeptRows = (
            self._twin._compared if self._twin else KeptRows(columns, scratch if large else None)
        )
        self._whole = KeptRows(np.arange(len(evaluation_set.passage_rows)), scratch) if keep else None
        self._statistics = retriever.scores.statistics()

    def take(self, shard: FloatArray, start: int) -> None:
        """See :class:`retrieval.evaluation.encoded.Taker`."""
        takers = [None if self._twin else self._compared, self._whole, self._statistics]
        for taker in takers:
            if taker is not None:
                taker.take(shard, start)
        with self._clock:
            self._search.take(shard)

    def measured(self) -> SetScores:
        """The scores, once the whole pool was taken."""
        with self._clock:
            ranking = self._search.ranking()
        own, queries = self.evaluation_set, self._queries
        pairs = _entropies(self._retriever, queries, self._compared.rows(), own, self._config)
        encoded = (queries, self._whole.rows()) if self._whole else None
        found = replace(_set_scores(own, pairs, ranking, encoded), seconds=self._clock.seconds)
        return replace(found, statistics=self._statistics.metrics(queries)) if self._statistics else found


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
