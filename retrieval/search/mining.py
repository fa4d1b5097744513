"""Mining: the passages that BM25 or an encoder ranks highest for each training query, relevant ones removed.

Exact, streamed, in bounded memory, and done once per collection, method and depth: what is mined depends
neither on the subset of the pairs nor on the seed, so that all runs of a sweep share it.
"""

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from retrieval.data.arrays import FloatArray, new_array
from retrieval.data.cache import build_once, digest
from retrieval.data.collection import Collection
from retrieval.data.negatives import MANIFEST, Relevance, relevance_of
from retrieval.errors import ConfigError
from retrieval.search.bm25 import bm25_index
from retrieval.search.loading import BM25, TEXTS_A_BLOCK, load_retriever, model_identity
from retrieval.search.ranking import Ranking, top_k_of_blocks
from retrieval.search.retriever import Retriever, texts_at_once

TRAIN = "train"
SURPLUS = 200
"""Relevant passages of one query that are made up for by looking deeper; with more its list is shorter."""

_VERSION = "mining 1"
_QUERIES_A_CHUNK = 1024
_MEMORY = 4_000_000_000
"""Bytes that the queries of one pass over the passages may take, with their results."""
_BYTES_A_RESULT = 56
"""Measured at the peak of :func:`top_k_of_blocks`: keys, their sorted copy, positions and scores."""


def mine(collection: Collection, source: str, depth: int, cache: Path) -> Path:
    """Folder with the :class:`NegativeLists` of a collection's training queries, built once into ``cache``.

    Each query gets a list of ``depth`` passages; those that are relevant in any split, their copies and
    passages without text are in none. ``source``: ``bm25``, a run folder, or a folder or hub id of a
    sentence-transformers model.

    Raises:
        ConfigError: ``source`` cannot be loaded.
    """
    key = digest([_VERSION, collection.fingerprint, model_identity(source), depth])

    def build(target: Path) -> None:
        rows = training_queries(collection)
        relevance = relevance_of(collection, cache)
        k = depth + min(relevance.most, SURPLUS)
        found = (
            _bm25(collection, rows, k, cache)
            if source == BM25
            else search(_miner(source), collection, rows, k)
        )
        write_lists(target, rows, found, relevance, depth, {"source": source})

    describes = f"hard negatives of {collection.name} by {source}"
    return build_once(cache / "negatives" / key[:32], build, describe=describes)


def _miner(source: str) -> Retriever:
    retriever = load_retriever(source)
    if retriever.scores.by_pair:
        raise ConfigError(
            f"strategy.hard.source={source} scores pairs by a pass each and cannot search a corpus; mine by "
            "bm25, and let it judge what was mined (strategy=denoising strategy.denoise.teacher)"
        )
    return retriever


def training_queries(collection: Collection) -> NDArray[np.int64]:
    """Rows of the queries with a training judgement, ascending: int64[q]."""
    rows: NDArray[np.int64] = np.unique(collection.judgements(TRAIN).query_rows).astype(np.int64)
    return rows


def search(
    retriever: Retriever, collection: Collection, query_rows: NDArray[np.int64], k: int
) -> Iterator[Ranking]:
    """The ``k`` passages of highest score of each query, exactly, some queries at a time.

    Passages are encoded as they stream by and never stored. Memory is bounded: queries whose rows and
    results take more than 4 GB (about 400,000 of them) go through the passages in several passes.
    """
    passages = collection.counts["passages"]

    def blocks() -> Iterator[FloatArray]:
        size = texts_at_once(retriever.row_bytes("passages"), TEXTS_A_BLOCK)
        for start in range(0, passages, size):
            rows = np.arange(start, min(start + size, passages))
            yield retriever.encode(collection, "passages", rows)

    row = retriever.encode(collection, "queries", query_rows[:1])
    pass_size = max(1, _MEMORY // (_BYTES_A_RESULT * k + row.nbytes))
    for start in range(0, len(query_rows), pass_size):
        part = query_rows[start : start + pass_size]
        queries = retriever.encode(collection, "queries", part)
        ranking = top_k_of_blocks(queries, blocks(), k, retriever.scores)
        for first in range(0, len(part), _QUERIES_A_CHUNK):
            span = slice(first, first + _QUERIES_A_CHUNK)
            yield Ranking(ranking.columns[span], ranking.scores[span])


def _bm25(collection: Collection, query_rows: NDArray[np.int64], k: int, cache: Path) -> Iterator[Ranking]:
    index = bm25_index(collection, cache)
    for start in range(0, len(query_rows), _QUERIES_A_CHUNK):
        yield index.top_k(collection.query_texts(query_rows[start : start + _QUERIES_A_CHUNK]), k)


def write_lists(
    folder: Path,
    query_rows: NDArray[np.int64],
    rankings: Iterable[Ranking],
    relevance: Relevance,
    depth: int,
    about: dict[str, Any],
) -> None:
    """Write the lists of ``query_rows`` (int64[q]) from their rankings, which come in order."""
    writer = ListWriter(folder, query_rows, depth)
    started = time.perf_counter()
    with tqdm(total=len(query_rows), desc="mining negatives", unit="query", delay=2, leave=False) as bar:
        for ranking in rankings:
            queries = query_rows[writer.done : writer.done + len(ranking.columns)]
            kept = writer.irrelevant(ranking, queries, relevance)
            rows = writer.add(ranking.columns, ranking.scores, kept)
            found = relevance.of(queries[:, None], np.maximum(rows, 0)) & (rows >= 0)
            assert not found.any(), "a relevant passage is among the negatives"
            bar.update(len(queries))
    writer.finish({**about, "depth": depth, "seconds": time.perf_counter() - started})


class ListWriter:
    """Writes :class:`NegativeLists` to a folder, some queries at a time, counting what is left out."""

    def __init__(self, folder: Path, query_rows: NDArray[np.int64], depth: int) -> None:
        shape = (len(query_rows), depth)
        self._folder = folder
        self._query_rows = query_rows
        self._rows = new_array(folder / "rows.npy", np.int32, shape)
        self._scores = new_array(folder / "scores.npy", np.float32, shape)
        self.done = 0
        """Queries whose lists are written."""
        self.counts = dict.fromkeys(
            ("queries", "kept", "filtered_relevant", "filtered_empty", "short_lists", "empty_lists"), 0
        )

    def irrelevant(
        self, ranking: Ranking, query_rows: NDArray[np.int64], relevance: Relevance
    ) -> NDArray[np.bool_]:
        """Which results may be negatives (bool[n, k]); what may not is counted."""
        found = ranking.columns >= 0
        columns = np.where(found, ranking.columns, 0)
        relevant = found & relevance.of(query_rows[:, None], columns)
        empty = found & ~relevant & relevance.empty(columns)
        self.counts["filtered_relevant"] += int(relevant.sum())
        self.counts["filtered_empty"] += int(empty.sum())
        return found & ~relevant & ~empty

    def add(
        self, columns: NDArray[np.integer], scores: NDArray[np.float32], kept: NDArray[np.bool_]
    ) -> NDArray[np.int32]:
        """Write the first ``depth`` kept results of the next queries; returns the rows that were written."""
        depth = self._rows.shape[1]
        order = np.argsort(~kept, axis=1, kind="stable")[:, :depth]
        missing = ((0, 0), (0, depth - order.shape[1]))
        valid = np.pad(np.take_along_axis(kept, order, axis=1), missing)
        rows = np.pad(np.take_along_axis(columns, order, axis=1), missing)
        values = np.pad(np.take_along_axis(scores, order, axis=1), missing)
        span = slice(self.done, self.done + len(columns))
        self._rows[span] = np.where(valid, rows, -1)
        self._scores[span] = np.where(valid, values, np.float32(-np.inf))
        self.done = span.stop
        lengths = valid.sum(axis=1)
        self.counts["queries"] += len(lengths)
        self.counts["kept"] += int(lengths.sum())
        self.counts["short_lists"] += int((lengths < depth).sum())
        self.counts["empty_lists"] += int((lengths == 0).sum())
        return self._rows[span]

    def finish(self, about: dict[str, Any]) -> None:
        """Write queries and manifest; ``about``: what the manifest says beside the counts."""
        if self.done != len(self._query_rows):
            raise ValueError(f"{self.done} lists were written for {len(self._query_rows)} queries")
        self._rows.flush()
        self._scores.flush()
        np.save(self._folder / "query_rows.npy", self._query_rows, allow_pickle=False)
        manifest = {**about, "counts": self.counts}
        (self._folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
