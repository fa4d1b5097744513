"""Evaluation sets: the queries and the candidate passages that every run of a collection is measured on.

A set depends on the collection, the split and the configuration only, never on the model, so that
differences between runs are paired: same queries, same candidates, same negatives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrieval.data.cache import digest

if TYPE_CHECKING:
    from retrieval.config import EvalConfig
    from retrieval.data.collection import Collection

IntArray: TypeAlias = NDArray[np.int64]

# Two streams of one seed: which queries are kept must say nothing about which passages are.
_QUERY_STREAM, _PASSAGE_STREAM = 1, 2
_BLOCK = 10_000


@dataclass(frozen=True)
class EvaluationSet:
    """Test queries, their candidate pool and the relevance between them.

    Relevance is in compressed rows: the relevant passages of query ``i`` are
    ``columns[indptr[i]:indptr[i + 1]]``, positions in the pool in ascending order, with ``grades``
    above zero beside them.
    """

    name: str
    collection: Collection
    split: str
    query_rows: IntArray
    """int64[q], ascending rows of the collection's queries."""
    passage_rows: IntArray
    """int64[p], ascending rows of the collection's passages: the candidate pool."""
    indptr: IntArray
    """int64[q + 1]."""
    columns: IntArray
    """int64[pairs], positions in ``passage_rows``."""
    grades: NDArray[np.int32]
    """int32[pairs], all above zero."""
    identical: IntArray
    """int64[q], the pool position of the passage that bears the query's own id and is to be left out
    of ranking and negatives (BEIR's rule for ArguAna and Quora); −1 for none."""
    fingerprint: str
    """SHA-256 over the collection's fingerprint and everything that chose this set."""
    candidates: IntArray | None = None
    """int64[q, k], the pool positions that are ranked for each query, −1 where there are fewer; ``None``:
    the whole pool is."""

    def queries(self) -> list[str]:
        """The texts of the queries, in the order of ``query_rows``."""
        return self.collection.query_texts(self.query_rows)

    def passages(self) -> Iterator[str]:
        """The texts of the candidate pool, in the order of ``passage_rows``."""
        for start in range(0, len(self.passage_rows), _BLOCK):
            yield from self.collection.passage_texts(self.passage_rows[start : start + _BLOCK])

    def query_ids(self) -> list[str]:
        """The ids of the queries, in the order of ``query_rows``."""
        return self.collection.query_ids(self.query_rows)

    def passage_ids(self, columns: IntArray) -> list[str]:
        """The ids of the passages at pool positions int64[k]."""
        return self.collection.passage_ids(self.passage_rows[columns])

    def columns_of(self, passage_ids: Sequence[str]) -> IntArray:
        """int64[k]: the pool positions of the passages of some ids, −1 where the pool has none."""
        return _columns(self.passage_rows, self.collection.passage_rows(passage_ids))

    def pair_queries(self) -> IntArray:
        """int64[pairs]: the position of the query of every relevant pair."""
        return np.repeat(np.arange(len(self.query_rows)), np.diff(self.indptr))


def build_evaluation_set(
    collection: Collection, split: str, config: EvalConfig, *, drop_identical: bool = False
) -> EvaluationSet:
    """Choose the queries and the candidate pool of a collection's split.

    Queries are those of the lowest seeded hash, so that a smaller ``config.max_queries`` is a subset of
    a larger one. The pool holds every relevant passage of the chosen queries and, up to
    ``config.pool``, the passages of the lowest seeded hash; the whole corpus where it is ``None``.

    ``config``: ``max_queries``, ``pool`` and ``seed`` are read; ``drop_identical``: leave the passage with
    a query's own id out of its candidates.

    Raises:
        KeyError: The collection has no such split.
    """
    judgements = collection.judgements(split)
    query_rows = _lowest_hashes(
        np.unique(judgements.query_rows), config.max_queries, config.seed, _QUERY_STREAM
    )
    kept = np.isin(judgements.query_rows, query_rows)
    relevant_rows = judgements.passage_rows[kept]
    passage_rows = _choose_pool(relevant_rows, collection.counts["passages"], config)
    positions = np.searchsorted(query_rows, judgements.query_rows[kept])
    identical = np.full(len(query_rows), -1, dtype=np.int64)
    if drop_identical:
        identical = _columns(passage_rows, collection.passage_rows(collection.query_ids(query_rows)))
    indptr = np.searchsorted(positions, np.arange(len(query_rows) + 1)).astype(np.int64)
    choice = [collection.fingerprint, split, config.max_queries, config.pool, config.seed, drop_identical]
    if judgements.source:
        choice.append(judgements.source)
    return EvaluationSet(
        name=collection.name,
        collection=collection,
        split=split,
        query_rows=query_rows,
        passage_rows=passage_rows,
        indptr=indptr,
        columns=np.searchsorted(passage_rows, relevant_rows).astype(np.int64),
        grades=judgements.grades[kept],
        identical=identical,
        fingerprint=digest(["evaluation set 1", *choice]),
    )


def take_queries(evaluation_set: EvaluationSet, positions: IntArray) -> EvaluationSet:
    """The set with the queries at some ascending positions int64 only; the pool stays as it is."""
    counts = np.diff(evaluation_set.indptr)[positions]
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    pairs = np.repeat(evaluation_set.indptr[positions] - indptr[:-1], counts) + np.arange(indptr[-1])
    candidates = evaluation_set.candidates
    return replace(
        evaluation_set,
        query_rows=evaluation_set.query_rows[positions],
        indptr=indptr,
        columns=evaluation_set.columns[pairs],
        grades=evaluation_set.grades[pairs],
        identical=evaluation_set.identical[positions],
        fingerprint=digest(["queries of", evaluation_set.fingerprint, positions.tolist()]),
        candidates=None if candidates is None else candidates[positions],
    )


def first_queries(evaluation_set: EvaluationSet, count: int, seed: int) -> EvaluationSet:
    """The set with at most ``count`` queries, those that ``max_queries`` would choose; the pool stays."""
    rows = _lowest_hashes(evaluation_set.query_rows, count, seed, _QUERY_STREAM)
    return take_queries(evaluation_set, np.searchsorted(evaluation_set.query_rows, rows))


def _choose_pool(relevant_rows: IntArray, passages: int, config: EvalConfig) -> IntArray:
    """The ascending rows of the pool: all relevant passages, filled up to ``config.pool``."""
    if config.pool is None or config.pool >= passages:
        return np.arange(passages, dtype=np.int64)
    relevant = np.unique(relevant_rows)
    others = np.ones(passages, dtype=bool)
    others[relevant] = False
    missing = max(0, config.pool - len(relevant))
    sample = _lowest_hashes(np.flatnonzero(others), missing, config.seed, _PASSAGE_STREAM)
    return np.sort(np.concatenate([relevant, sample]))


def _columns(passage_rows: IntArray, rows: IntArray) -> IntArray:
    """int64[k]: the places of ``rows`` in the ascending ``passage_rows``, −1 where there is none."""
    places = np.minimum(np.searchsorted(passage_rows, rows), len(passage_rows) - 1)
    return np.where(passage_rows[places] == rows, places, -1)


def _lowest_hashes(rows: IntArray, count: int | None, seed: int, stream: int) -> IntArray:
    """The ``count`` rows of the lowest hash, ascending; all of them for ``None``."""
    if count is None or count >= len(rows):
        return rows.astype(np.int64)
    hashes = _hash(rows, seed, stream)
    return np.sort(rows[np.argsort(hashes, kind="stable")[:count]]).astype(np.int64)


def _hash(rows: IntArray, seed: int, stream: int) -> NDArray[np.uint64]:
    """Hashes uint64[n] of rows by the finaliser of SplitMix64 (Steele et al. 2014), keyed by seed."""
    golden = 0x9E3779B97F4A7C15
    key = np.uint64((seed * golden + stream * 0xD1B54A32D192ED03) % 2**64)
    state = _mix(rows.astype(np.uint64) ^ _mix(np.array([key]))) + np.uint64(golden)
    return _mix(state)


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
