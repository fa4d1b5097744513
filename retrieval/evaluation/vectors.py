"""Vectors of an evaluation set, one shard of its candidates at a time: no corpus is ever held as vectors.

    kept = KeptRows(compared_columns(evaluation_set, seed))
    ranking = rank(encoder.queries(evaluation_set), encoded_shards(encoder, evaluation_set, size, kept), ...)
    entropy = contrastive_entropy(query_vectors, kept.vectors(), ...)

Every passage is encoded once: what else needs the vectors of certain passages takes them as they stream by.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from retrieval.data.arrays import scratch_array
from retrieval.data.testset import EvaluationSet, IntArray
from retrieval.search.ranking import FloatArray, check_count


class Encoder(Protocol):
    """What is measured: inner products of its vectors are the scores."""

    def queries(self, evaluation_set: EvaluationSet) -> FloatArray:
        """Return float32[q, d]: the vectors of a set's queries."""
        ...

    def passages(self, evaluation_set: EvaluationSet, span: slice) -> FloatArray:
        """Return float32[n, d]: the vectors of the candidates at the pool positions of ``span``."""
        ...


class KeptRows:
    """The vectors of some pool positions, taken from shards that come in the order of the pool."""

    def __init__(self, columns: IntArray) -> None:
        """``columns``: int64[n], ascending."""
        self._columns = columns
        self._vectors: FloatArray = np.empty((0, 0), dtype=np.float32)

    def take(self, shard: FloatArray, start: int) -> None:
        """Take what is wanted of float32[m, d], the vectors from pool position ``start`` on."""
        first, last = np.searchsorted(self._columns, [start, start + len(shard)])
        if len(shard) == last - first == len(self._columns):
            self._vectors = shard
            return
        if start == 0:
            self._vectors = np.empty((len(self._columns), shard.shape[1]), dtype=np.float32)
        if first < last:
            self._vectors[first:last] = shard[self._columns[first:last] - start]

    def vectors(self) -> FloatArray:
        """Return float32[n, d], once all shards have been taken."""
        return self._vectors


def encoded_shards(
    encoder: Encoder, evaluation_set: EvaluationSet, size: int, kept: KeptRows
) -> Iterator[FloatArray]:
    """Encode a pool in its order and yield float32[n, d], ``size`` passages at a time.

    Args:
        encoder: Called once a shard; a shard is let go of before the next is asked for.
        evaluation_set: Whose pool is encoded.
        size: Passages a shard.
        kept: Takes the vectors that are needed later.

    Raises:
        ParetrieveError: The encoder returned more or fewer vectors than it was given texts.
    """
    passages = len(evaluation_set.passage_rows)
    for start in range(0, passages, size):
        span = slice(start, min(start + size, passages))
        shard = encoder.passages(evaluation_set, span)
        check_count(shard, span.stop - start, "passage", evaluation_set)
        kept.take(shard, start)
        yield shard
        del shard


class KeepVectors:
    """An encoder that keeps all vectors of one set, so that the attack on it needs no second pass.

    Those of a pool that comes in several shards go to a file without a name, mapped into memory.
    """

    def __init__(self, encoder: Encoder, kept: EvaluationSet | None, folder: Path) -> None:
        """``kept``: the set, compared by identity, or ``None``; ``folder``: where the file is, it exists."""
        self._encoder = encoder
        self._kept = kept
        self._folder = folder
        self.query_vectors: FloatArray = np.empty((0, 0), dtype=np.float32)
        """float32[q, d]."""
        self.passage_vectors: FloatArray = np.empty((0, 0), dtype=np.float32)
        """float32[p, d] in pool order."""

    def queries(self, evaluation_set: EvaluationSet) -> FloatArray:
        """See :class:`Encoder`."""
        vectors = self._encoder.queries(evaluation_set)
        if evaluation_set is self._kept:
            self.query_vectors = vectors
        return vectors

    def passages(self, evaluation_set: EvaluationSet, span: slice) -> FloatArray:
        """See :class:`Encoder`.

        Raises:
            OSError: The disk has no room for the vectors.
        """
        vectors = self._encoder.passages(evaluation_set, span)
        if evaluation_set is self._kept:
            self._keep(vectors, span.start, len(evaluation_set.passage_rows))
        return vectors

    def _keep(self, vectors: FloatArray, start: int, passages: int) -> None:
        if len(vectors) == passages:
            self.passage_vectors = vectors
            return
        if start == 0:
            self.passage_vectors = scratch_array(self._folder, np.float32, (passages, vectors.shape[1]))
        self.passage_vectors[start : start + len(vectors)] = vectors
