"""Encoded rows of an evaluation set, one shard of its candidates at a time: no corpus is ever held encoded.

Every passage is encoded once: what else needs the rows of certain passages takes them as they stream by.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from retrieval.data.arrays import FloatArray, scratch_array, wider
from retrieval.data.testset import EvaluationSet, IntArray
from retrieval.models.scores import Statistics
from retrieval.search.ranking import check_count
from retrieval.search.retriever import Retriever, texts_at_once


class KeptRows:
    """The rows of some pool positions, taken from shards that come in the order of the pool."""

    def __init__(self, columns: IntArray, folder: Path | None = None) -> None:
        """The rows of ``columns``, int64[n], ascending; nothing is kept yet.

        ``folder``: where rows that come in several shards go, to a file without a name, mapped into memory;
        ``None``: they stay in memory.
        """
        self._columns = columns
        self._folder = folder
        self._rows: FloatArray = np.empty((0, 0), dtype=np.float32)

    def take(self, shard: FloatArray, start: int) -> None:
        """Take what is wanted of float32[m, …], the rows from pool position ``start`` on.

        Raises:
            OSError: The disk has no room for them.
        """
        first, last = np.searchsorted(self._columns, [start, start + len(shard)])
        if len(shard) == last - first == len(self._columns):
            self._rows = shard
            return
        if start == 0:
            shape = (len(self._columns), *shard.shape[1:])
            if self._folder is None:
                self._rows = np.zeros(shape, dtype=np.float32)
            else:
                self._rows = scratch_array(self._folder, np.float32, shape)
        if first < last:
            wanted = shard[self._columns[first:last] - start]
            if wanted.ndim > 2:  # how long a row is may be known only when texts are encoded
                self._rows = wider(self._rows, wanted.shape[1])
            self._rows[(slice(first, last), *map(slice, wanted.shape[1:]))] = wanted

    def rows(self) -> FloatArray:
        """The rows, float32[n, …], once all shards have been taken."""
        return self._rows


def encoded_set(
    retriever: Retriever, evaluation_set: EvaluationSet, size: int, folder: Path
) -> tuple[FloatArray, FloatArray]:
    """Rows of all queries and of the whole pool of a set, these in a nameless file of ``folder``.

    ``size``: passages that are encoded at a time.

    Raises:
        OSError: The disk has no room for them.
    """
    queries = retriever.encode(evaluation_set.collection, "queries", evaluation_set.query_rows)
    kept = KeptRows(np.arange(len(evaluation_set.passage_rows)), folder)
    for _ in encoded_shards(retriever, evaluation_set, size, [kept]):
        pass
    return queries, kept.rows()


def encoded_shards(
    retriever: Retriever, evaluation_set: EvaluationSet, size: int, kept: Sequence[KeptRows | Statistics]
) -> Iterator[FloatArray]:
    """Rows float32[n, …] of a pool in its order, encoded ``size`` passages at a time, or fewer large ones.

    A shard is let go of before the next is asked for; ``kept`` take the rows that are needed later.

    Raises:
        ParetrieveError: The retriever returned more or fewer rows than it was given texts.
    """
    rows = evaluation_set.passage_rows
    size = texts_at_once(retriever.row_bytes("passages"), size)
    for start in range(0, len(rows), size):
        wanted = rows[start : start + size]
        shard = retriever.encode(evaluation_set.collection, "passages", wanted)
        check_count(shard, len(wanted), "passage", evaluation_set)
        for part in kept:
            part.take(shard, start)
        yield shard
        del shard
