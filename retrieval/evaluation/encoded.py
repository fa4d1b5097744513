"""Encoded rows of evaluation sets, one shard of their candidates at a time: no corpus is ever held encoded.

Every passage is encoded once for all sets of its collection. Whoever needs rows takes them as they stream by.
"""

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Protocol

import numpy as np

from retrieval.data.arrays import FloatArray, scratch_array, wider
from retrieval.data.testset import EvaluationSet, IntArray
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


class Taker(Protocol):
    """What looks at the rows of a pool as they stream by."""

    def take(self, shard: FloatArray, start: int) -> None:
        """The rows float32[n, …] from pool position ``start`` on; they come in the order of the pool."""


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
    encode_pools(retriever, [(evaluation_set, kept)], size)
    return queries, kept.rows()


def encode_pools(retriever: Retriever, pools: Sequence[tuple[EvaluationSet, Taker]], size: int) -> None:
    """Encode the pools of sets of one collection, a passage of several once, and hand each its own.

    They are encoded in the order of the collection, ``size`` passages at a time, or fewer large ones. A shard
    is let go of before the next is asked for.

    Raises:
        ParetrieveError: The retriever returned more or fewer rows than it was given texts.
    """
    first = pools[0][0]
    rows = union_of_pools([part for part, _ in pools])
    size = texts_at_once(retriever.row_bytes("passages"), size)
    for start in range(0, len(rows), size):
        wanted = rows[start : start + size]
        shard = retriever.encode(first.collection, "passages", wanted)
        check_count(shard, len(wanted), "passage", first)
        for part, taker in pools:
            _hand_over(shard, wanted, part.passage_rows, taker)
        del shard


def union_of_pools(sets: Sequence[EvaluationSet]) -> IntArray:
    """int64[n], the ascending rows of all passages that some set of one collection has in its pool."""
    return reduce(np.union1d, (part.passage_rows for part in sets))


def _hand_over(shard: FloatArray, rows: IntArray, pool: IntArray, taker: Taker) -> None:
    """Give ``taker`` what its pool holds of the shard float32[n, …] of the ascending ``rows``, int64[n]."""
    begin, end = np.searchsorted(pool, [rows[0], rows[-1] + 1])
    if begin == end:
        return
    whole = end - begin == len(rows)
    taker.take(shard if whole else shard[np.searchsorted(rows, pool[begin:end])], int(begin))
